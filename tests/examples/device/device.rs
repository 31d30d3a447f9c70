//! A client as a small device runs it: the core's client over one TCP connection, in one loop that never blocks. Fixed
//! buffers, a timer wheel turned by hand, a flash of eight places; no sockets, threads or collections of std.
//!
//! What the board can do is behind [`Board`]: four calls of any TCP stack, two clocks. The loop is [`Device::step`]: call it
//! when the stack stirs, and at the latest when it says.

use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::client::{
    Client, ClientConfig, ClientEvent, ClientTxn, Command, Credential, Input, Misuse, OutboxEntry, Output,
    Saved, StoreError,
};
use ntproto_core::crypto::{identity::DeviceKeys, rustcrypto::RUSTCRYPTO};
use ntproto_core::ids::{ConversationId, DeviceId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::demux::Demux;
use ntproto_proto::v2;

/// Bytes taken from the stack at once.
const RX: usize = 1024;
/// Bytes of frames under way.
const TX: usize = 2048;
/// Places of the flash for messages that wait: beyond these a message is refused.
const OUTBOX: usize = 8;
/// Messages a device holds until the application asks.
const INBOX: usize = 8;

/// What the board has.
pub trait Board {
    /// Milliseconds since it was switched on; starts over after 49 days.
    fn ticks(&mut self) -> u32;
    /// Milliseconds since 1970, as far as it knows.
    fn unix(&mut self) -> u64;
    /// Begins to connect to the server, in place of what there was.
    fn dial(&mut self);
    /// How the connection is.
    fn link(&mut self) -> Link;
    /// Takes bytes for the server: how many it took.
    fn send(&mut self, bytes: &[u8]) -> usize;
    /// Gives bytes of the server: how many there were.
    fn receive(&mut self, buffer: &mut [u8]) -> usize;
    /// Drops the connection.
    fn hang_up(&mut self);
    /// The application's own timer rang.
    fn blink(&mut self);
}

/// How a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is none.
    Down,
    /// It is not known yet.
    Dialling,
    /// It is up.
    Up,
}

// ── timers ──────────────────────────────────────────────────────────────────────────────────────

/// Slots of the wheel, and the milliseconds of one: a turn is a second.
const SLOTS: usize = 64;
const SLOT_MS: u64 = 16;

/// The timers there are, each a bit in a slot.
const CLIENT: u8 = 1;
const BLINK: u8 = 2;
const TIMERS: usize = 2;
/// The application's timer rings so often.
const BLINK_MS: u64 = 500;

/// A hashed timer wheel. A timer beyond this turn passes its slot and stays.
struct Wheel {
    slots: [u8; SLOTS],
    due: [u64; TIMERS],
    /// The slot up to which it was turned, counted from the start.
    turned: u64,
}

impl Wheel {
    const fn new() -> Self {
        Self { slots: [0; SLOTS], due: [u64::MAX; TIMERS], turned: 0 }
    }

    /// Sets a timer, in place of where it stood; `u64::MAX`: it does not run.
    fn set(&mut self, timer: u8, due: u64) {
        let n = timer.trailing_zeros() as usize;
        if self.due[n] == due {
            return;
        }
        self.slots.iter_mut().for_each(|slot| *slot &= !timer);
        self.due[n] = due;
        if due != u64::MAX {
            let slot = due.div_ceil(SLOT_MS).max(self.turned + 1);
            self.slots[(slot % SLOTS as u64) as usize] |= timer;
        }
    }

    /// Turns it to `now`: the timers that rang, as bits.
    fn turn(&mut self, now: u64) -> u8 {
        let (mut rang, to) = (0, now / SLOT_MS);
        // More than a turn late, every slot is looked at once.
        self.turned = self.turned.max(to.saturating_sub(SLOTS as u64));
        while self.turned < to {
            self.turned += 1;
            let slot = &mut self.slots[(self.turned % SLOTS as u64) as usize];
            for (n, due) in self.due.iter_mut().enumerate() {
                let timer = 1 << n;
                if *slot & timer != 0 && *due <= now {
                    *slot &= !timer;
                    *due = u64::MAX;
                    rang |= timer;
                }
            }
        }
        rang
    }

    /// When the next timer is due.
    fn next(&self) -> u64 {
        self.due.into_iter().min().unwrap_or(u64::MAX)
    }
}

// ── flash ───────────────────────────────────────────────────────────────────────────────────────

/// What survives a reset. Here it is memory; a board writes the page it changed before it answers.
#[derive(Default)]
pub struct Flash {
    identity: Option<(Uin, DeviceId)>,
    ticket: Option<v2::Ticket>,
    epoch: Option<[u8; 16]>,
    cursor: u64,
    last_order: u64,
    outbox: [Option<OutboxEntry>; OUTBOX],
}

impl Flash {
    fn saved(&self) -> Saved {
        Saved {
            identity: self.identity,
            ticket: self.ticket.clone(),
            outbox: self.outbox.iter().flatten().cloned().collect(),
            last_order: self.last_order,
            epoch: self.epoch,
            cursor: self.cursor,
            ..Saved::default()
        }
    }

    fn commit(&mut self, txn: ClientTxn) -> Result<(), StoreError> {
        match txn {
            ClientTxn::Enqueue(entry) => {
                let place = self.outbox.iter_mut().find(|place| place.is_none()).ok_or(StoreError::Full)?;
                self.last_order = entry.order;
                *place = Some(entry);
            }
            ClientTxn::Apply(apply) => {
                self.epoch = apply.epoch.or(self.epoch);
                self.cursor = apply.cursor.unwrap_or(self.cursor);
                for settled in apply.settled {
                    for place in &mut self.outbox {
                        if place.as_ref().is_some_and(|entry| entry.order == settled.order) {
                            *place = None;
                        }
                    }
                }
            }
            ClientTxn::SaveIdentity(uin, device) => self.identity = Some((uin, device)),
            ClientTxn::SaveTicket(ticket) => self.ticket = ticket,
            // Messages are acted upon as they come, and receipts for them owed to nobody: a reset may cost one.
            ClientTxn::Confirm(_) | ClientTxn::ReceiptsSent(_) | ClientTxn::Read(_) => {}
        }
        Ok(())
    }
}

// ── the loop ────────────────────────────────────────────────────────────────────────────────────

/// A message that came.
pub struct Received {
    /// Who sent it.
    pub from: Uin,
    /// What it says.
    pub body: bytes::Bytes,
}

/// The device.
pub struct Device<B> {
    /// What it runs on.
    pub board: B,
    client: Client,
    flash: Flash,
    wheel: Wheel,
    demux: Demux,
    link: Link,
    rx: [u8; RX],
    tx: TxBuf,
    /// How much of `tx` the stack took; none: it is free.
    sent: Option<usize>,
    inbox: [Option<Received>; INBOX],
    /// Milliseconds since it was switched on, and the tick that was counted last.
    elapsed: u64,
    tick: u32,
    /// Messages the server has stored.
    pub stored: u32,
}

impl<B: Board> Device<B> {
    /// A device that knows its server by its static key. `seed` comes from the board's noise source.
    pub fn new(mut board: B, server_static: [u8; 32], seed: [u8; 32], flash: Flash) -> Self {
        let mut rng = Rng::new(seed);
        let tick = board.ticks();
        let now = Now { mono: Instant::from_micros(0), unix: UnixMillis(board.unix()) };
        let config = ClientConfig {
            enrol: Some(Credential::Open),
            device_name: "sensor".into(),
            transports: vec![TransportId::Tcp],
            ..ClientConfig::new(&RUSTCRYPTO, server_static, DeviceKeys::generate(&mut rng, &RUSTCRYPTO))
        };
        let mut client = Client::new(config, flash.saved(), rng.array(), now);
        client.call(now, Command::Start).expect("a new client can be started");
        let mut wheel = Wheel::new();
        wheel.set(BLINK, BLINK_MS);
        Self {
            board,
            client,
            flash,
            wheel,
            demux: Demux::new(),
            link: Link::Down,
            rx: [0; RX],
            tx: TxBuf::new(TX),
            sent: None,
            inbox: [const { None }; INBOX],
            elapsed: 0,
            tick,
            stored: 0,
        }
    }

    /// Who it is, once it was let in.
    pub fn uin(&self) -> Option<Uin> {
        self.client.identity().map(|(uin, _)| uin)
    }

    /// Sends a message.
    pub fn send(&mut self, to: Uin, body: &[u8]) -> Result<(), Misuse> {
        let conversation = ConversationId::direct(self.uin().ok_or(Misuse::State)?, to);
        let body = bytes::Bytes::copy_from_slice(body);
        let now = self.now();
        let send = Command::Send {
            trace: None,
            conversation,
            client_msg_id: None,
            body,
            deadline: None,
            action: ntproto_core::client::SendAction::Message,
        };
        self.client.call(now, send).map(drop)
    }

    /// A message that came.
    pub fn take(&mut self) -> Option<Received> {
        self.inbox.iter_mut().find_map(Option::take)
    }

    /// Does everything there is to do now. The milliseconds until it wants to be called again, if nothing stirs.
    pub fn step(&mut self) -> u64 {
        let now = self.now();
        let rang = self.wheel.turn(self.elapsed);
        if rang & BLINK != 0 {
            self.board.blink();
            self.wheel.set(BLINK, self.elapsed + BLINK_MS);
        }
        if rang & CLIENT != 0 {
            self.client.handle(now, Input::Timeout);
        }
        self.look_at_link(now);
        self.receive(now);
        self.drain(now);
        self.wheel.next().saturating_sub(self.elapsed)
    }

    fn now(&mut self) -> Now {
        let tick = self.board.ticks();
        self.elapsed += u64::from(tick.wrapping_sub(self.tick));
        self.tick = tick;
        Now { mono: Instant::from_micros(self.elapsed * 1_000), unix: UnixMillis(self.board.unix()) }
    }

    fn look_at_link(&mut self, now: Now) {
        let link = self.board.link();
        if link == self.link {
            return;
        }
        match link {
            Link::Up => self.client.handle(now, Input::Connected(Binding::TCP)),
            Link::Down => {
                self.sent = None;
                self.client.handle(now, Input::Disconnected);
            }
            Link::Dialling => {}
        }
        self.link = link;
    }

    fn receive(&mut self, now: Now) {
        loop {
            let len = self.board.receive(&mut self.rx);
            let mut data = &self.rx[..len];
            if len == 0 {
                return;
            }
            while let Some((channel, piece)) = self.demux.next(&mut data) {
                self.client.handle(now, Input::Bytes { channel, data: &piece });
            }
        }
    }

    /// Does what the client wants, until it waits.
    fn drain(&mut self, now: Now) {
        loop {
            if let Some(sent) = &mut self.sent {
                *sent += self.board.send(&self.tx.as_slice()[*sent..]);
                if *sent == self.tx.as_slice().len() {
                    self.sent = None;
                }
            }
            let tx = match self.sent {
                None => {
                    self.tx.clear();
                    Some(&mut self.tx)
                }
                Some(_) => None,
            };
            match self.client.poll_output(now, tx) {
                Output::Transmit { .. } => self.sent = Some(0),
                Output::Connect { .. } => {
                    self.demux = Demux::new();
                    (self.sent, self.link) = (None, Link::Dialling);
                    self.board.dial();
                }
                Output::Disconnect(_) => {
                    (self.sent, self.link) = (None, Link::Down);
                    self.board.hang_up();
                }
                Output::Store(op, txn) => {
                    let result = self.flash.commit(txn);
                    self.client.handle(now, Input::StoreDone(op, result));
                }
                Output::Event(event) => self.event(now, event),
                Output::Wait { at, .. } => {
                    let due = at.map_or(u64::MAX, |at| at.as_micros().div_ceil(1_000));
                    return self.wheel.set(CLIENT, due);
                }
            }
        }
    }

    fn event(&mut self, now: Now, event: ClientEvent) {
        match event {
            ClientEvent::Message(inbound) => {
                // One that nobody makes room for is dropped: a command to a device is of no use later.
                if let Some(place) = self.inbox.iter_mut().find(|place| place.is_none()) {
                    *place = Some(Received { from: Uin(inbound.message.sender), body: inbound.message.body });
                    // A client that has stopped confirms nothing.
                    let _ = self.client.call(now, Command::Confirm(inbound.position));
                }
            }
            ClientEvent::Sent { .. } => self.stored += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A timer rings once, not before its time, and at the latest a slot after the wheel was turned past it.
        #[test]
        fn a_timer_rings_in_its_time(steps in prop::collection::vec((0..3_000u64, any::<bool>(), 0..5_000u64), 1..60)) {
            let (mut wheel, mut now, mut due) = (Wheel::new(), 0, u64::MAX);
            for (pass, set, after) in steps {
                now += pass;
                let rang = wheel.turn(now) & CLIENT != 0;
                if rang {
                    prop_assert!(due <= now, "early");
                    due = u64::MAX;
                }
                prop_assert!(due.saturating_add(2 * SLOT_MS) > now, "{due} did not ring at {now}");
                if set {
                    due = now + after;
                    wheel.set(CLIENT, due);
                    prop_assert_eq!(wheel.next(), due);
                }
            }
        }
    }
}
