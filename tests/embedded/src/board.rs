//! The board: ARM's MPS2+ with image AN386, a Cortex-M4F that QEMU knows as `mps2-an386`.
//!
//! The first serial port is the connection, the second one the log. The system timer wakes the processor every
//! millisecond, which empties the port often enough.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::Peripherals;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
use ntproto_core::time::{Instant, Now, UnixMillis};

/// Ticks of the system clock in a millisecond.
const TICKS_PER_MS: u32 = 25_000;
const CONNECTION: Uart = Uart(0x4000_4000);
const LOG: Uart = Uart(0x4000_5000);

/// The last page of flash, which whoever sets the device up writes: `server key[32] ‖ seed[32] ‖ time u64, little-endian`.
const PAGE: usize = 0x000f_f000;

/// What the device was given.
pub(crate) struct Provision {
    /// The server's static key, as a verified certificate says.
    pub(crate) server_key: [u8; 32],
    /// What all randomness grows from. This board has no random number generator, so a page is good for one start: a
    /// second one with the same seed would use the same keys again. A real device draws it from its generator at every start.
    pub(crate) seed: [u8; 32],
    /// The time when the page was written, in milliseconds since 1970. There is no calendar on the board.
    pub(crate) time: UnixMillis,
}

impl Provision {
    /// Reads the page.
    pub(crate) fn read() -> Self {
        let byte = |at: usize| {
            // SAFETY: within the page, which is always there and never part of the program (memory.x).
            unsafe { core::ptr::read_volatile((PAGE + at) as *const u8) }
        };
        Self {
            server_key: core::array::from_fn(byte),
            seed: core::array::from_fn(|i| byte(32 + i)),
            time: UnixMillis(u64::from_le_bytes(core::array::from_fn(|i| byte(64 + i)))),
        }
    }
}

/// Milliseconds since the start; wraps after 49 days.
static MILLIS: AtomicU32 = AtomicU32::new(0);

#[exception]
fn SysTick() {
    // No other writer, so a load and a store are enough.
    MILLIS.store(MILLIS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// What a panic ends in: the log says where, and nothing runs on.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // Writing to a register can't fail.
    let _ = writeln!(Log, "{info}");
    halt()
}

fn halt() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}

/// The clock and the ports.
pub(crate) struct Board {
    /// Milliseconds when the clock was last looked at.
    last: u32,
    /// Microseconds until then.
    micros: u64,
    /// The calendar at the start.
    started: UnixMillis,
}

impl Board {
    /// Sets everything up.
    pub(crate) fn take(started: UnixMillis) -> Self {
        CONNECTION.open();
        LOG.open();
        if let Some(mut peripherals) = Peripherals::take() {
            peripherals.SYST.set_clock_source(SystClkSource::Core);
            peripherals.SYST.set_reload(TICKS_PER_MS - 1);
            peripherals.SYST.clear_current();
            peripherals.SYST.enable_counter();
            peripherals.SYST.enable_interrupt();
        }
        Self { last: 0, micros: 0, started }
    }

    /// Both clocks. A server that finds the calendar too far off says what time it is.
    pub(crate) fn now(&mut self) -> Now {
        let now = MILLIS.load(Ordering::Relaxed);
        self.micros += u64::from(now.wrapping_sub(self.last)) * 1000;
        self.last = now;
        Now { mono: Instant::from_micros(self.micros), unix: UnixMillis(self.started.0 + self.micros / 1000) }
    }

    /// Sends all of it, at the speed of the line.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| CONNECTION.put(byte));
    }

    /// Takes what has come.
    pub(crate) fn receive(&mut self, into: &mut [u8]) -> usize {
        let mut count = 0;
        while let (Some(slot), Some(byte)) = (into.get_mut(count), CONNECTION.get()) {
            *slot = byte;
            count += 1;
        }
        count
    }

    /// Waits for the next millisecond.
    pub(crate) fn sleep(&mut self) {
        cortex_m::asm::wfi();
    }

    /// A line on the log.
    pub(crate) fn log(&mut self, what: &str, number: u64) {
        // Writing to a register can't fail.
        let _ = writeln!(Log, "{what} {number}");
    }

    /// A last line on the log.
    pub(crate) fn halt(&mut self, why: &str) -> ! {
        let _ = writeln!(Log, "{why}");
        halt()
    }
}

/// The log as text.
struct Log;

impl core::fmt::Write for Log {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        text.bytes().for_each(|byte| LOG.put(byte));
        Ok(())
    }
}

/// A serial port (ARM's CMSDK UART) by the address of its registers.
struct Uart(usize);

impl Uart {
    const DATA: usize = 0;
    const STATE: usize = 4;
    const CONTROL: usize = 8;
    const DIVIDER: usize = 16;
    const FULL_OUT: u32 = 1;
    const FULL_IN: u32 = 2;

    fn open(&self) {
        // The smallest divider there is, and both directions on.
        self.write(Self::DIVIDER, 16);
        self.write(Self::CONTROL, 3);
    }

    fn put(&self, byte: u8) {
        while self.read(Self::STATE) & Self::FULL_OUT != 0 {}
        self.write(Self::DATA, u32::from(byte));
    }

    fn get(&self) -> Option<u8> {
        (self.read(Self::STATE) & Self::FULL_IN != 0).then(|| self.read(Self::DATA) as u8)
    }

    fn read(&self, register: usize) -> u32 {
        // SAFETY: the registers of this port, aligned, on this board always there.
        unsafe { core::ptr::read_volatile((self.0 + register) as *const u32) }
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: as above; writing them touches no memory.
        unsafe { core::ptr::write_volatile((self.0 + register) as *mut u32, value) }
    }
}
