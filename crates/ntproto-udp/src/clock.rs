//! The host's clocks, as core wants them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ntproto_core::time::{Instant, Now, UnixMillis};

/// A monotonic clock that goes on while the device is suspended, and the wall clock.
///
/// It counts suspended time on Linux and Android (`CLOCK_BOOTTIME`), macOS and iOS; elsewhere as `std` does.
/// A phone that wakes after an hour thus knows at once that its connection is long dead.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Duration,
    base: std::time::Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        let base = std::time::Instant::now();
        Self { origin: elapsed(base), base }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.mono(), unix: UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)) }
    }

    /// The monotonic clock alone.
    #[must_use]
    pub fn mono(&self) -> Instant {
        let micros = elapsed(self.base).saturating_sub(self.origin).as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The instant its count began: what [`ntproto_quic::Endpoint::new`] asks for.
    #[must_use]
    pub fn base(&self) -> std::time::Instant {
        self.base
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn elapsed(_base: std::time::Instant) -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    #[cfg(not(target_vendor = "apple"))]
    let id = ClockId::Boottime;
    // On Apple's systems CLOCK_MONOTONIC itself counts sleep.
    #[cfg(target_vendor = "apple")]
    let id = ClockId::Monotonic;
    Duration::try_from(clock_gettime(id)).unwrap_or_default()
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn elapsed(base: std::time::Instant) -> Duration {
    base.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward_with_real_time() {
        let clock = Clock::start();
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(20));
        let after = clock.now();
        let passed = after.mono.saturating_since(before.mono);
        assert!(passed >= Duration::from_millis(20) && passed < Duration::from_secs(5), "{passed:?}");
        assert!(after.unix.0 > 1_700_000_000_000 && after.unix >= before.unix);
        assert!(before.mono.as_micros() < 1_000_000, "it begins near zero");
    }
}
