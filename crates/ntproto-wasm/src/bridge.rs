//! The client behind one stream of bytes, or the three streams of a WebTransport session: what a host in another
//! language drives.
//!
//! ```text
//! receive ─▶ demux ─▶ ┌────────┐ ─▶ transmit
//! connected, timeout ▶│ Client │ ─▶ event, wait, connect, disconnect
//! commands ─────────▶ └───┬────┘
//!                         ▼
//!            store: a record to append ─▶ stored
//! ```

use std::collections::VecDeque;

use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::client::{
    Client, ClientConfig, ClientEvent, ClientTxn, Command, Input, Misuse, OpId, Output, RequestId, StoreError,
};
use ntproto_core::code::ErrorCode;
use ntproto_core::endpoint::WaitReason;
use ntproto_core::time::{Instant, Now};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::demux::Demux;

use crate::state::State;

/// How much is given out at once: what a socket takes without waiting.
pub const TX_LIMIT: usize = 64 * 1024;

/// What the host is to do next.
#[derive(Debug)]
#[must_use]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made: a box would cost more")]
pub enum Next {
    /// Write these bytes: to the stream, or over WebTransport to the stream of this channel.
    Transmit(Channel, Vec<u8>),
    /// Open a stream to the server; the number counts attempts.
    Connect(u32),
    /// Close it.
    Disconnect(ErrorCode),
    /// Append this record to what is kept, and say when it is durable.
    Store(OpId, Vec<u8>),
    /// Tell the application.
    Event(ClientEvent),
    /// Nothing before this instant, unless something comes.
    Wait(Option<Instant>, WaitReason),
}

/// A client and what carries its bytes.
///
/// ```
/// use ntproto_core::client::{ClientConfig, Command};
/// use ntproto_core::crypto::{identity::DeviceKeys, rustcrypto::RUSTCRYPTO};
/// use ntproto_core::{rng::Rng, time::{Instant, Now, UnixMillis}};
/// use ntproto_wasm::{bridge::{Bridge, Next}, state::State};
/// let now = Now { mono: Instant::ORIGIN, unix: UnixMillis(0) };
/// let server = RUSTCRYPTO_KEY;
/// # const RUSTCRYPTO_KEY: [u8; 32] = [9; 32];
/// let keys = DeviceKeys::generate(&mut Rng::new([1; 32]), &RUSTCRYPTO);
/// let mut bridge = Bridge::new(ClientConfig::new(&RUSTCRYPTO, server, keys), State::default(), [2; 32], now);
/// bridge.call(now, Command::Start).expect("it was not started before");
/// assert!(matches!(bridge.poll(now, true), Next::Connect(0)));
/// ```
pub struct Bridge {
    client: Client,
    transport: TransportId,
    demux: Demux,
    tx: TxBuf,
    state: State,
    /// What the host was asked to keep and has not kept yet, in order.
    storing: VecDeque<(OpId, ClientTxn)>,
}

impl Bridge {
    /// A client over TCP that goes on where `state` was left.
    #[must_use]
    pub fn new(config: ClientConfig, state: State, seed: [u8; 32], now: Now) -> Self {
        Self::over(TransportId::Tcp, config, state, seed, now)
    }

    /// One over WebTransport: its host opens a stream for each channel, whose first byte is the channel's number.
    #[must_use]
    pub fn over_web(config: ClientConfig, state: State, seed: [u8; 32], now: Now) -> Self {
        Self::over(TransportId::Web, config, state, seed, now)
    }

    fn over(
        transport: TransportId,
        mut config: ClientConfig,
        state: State,
        seed: [u8; 32],
        now: Now,
    ) -> Self {
        config.transports = vec![transport];
        let client = Client::new(config, state.saved(), seed, now);
        let (demux, tx) = (Demux::new(), TxBuf::new(TX_LIMIT));
        Self { client, transport, demux, tx, state, storing: VecDeque::new() }
    }

    /// The stream asked for is open.
    pub fn connected(&mut self, now: Now) {
        self.demux = Demux::new();
        let binding = Binding { transport: self.transport, exporter: [0; 32] };
        self.client.handle(now, Input::Connected(binding));
    }

    /// Bytes of the stream, in order.
    pub fn receive(&mut self, now: Now, mut bytes: &[u8]) {
        while let Some((channel, data)) = self.demux.next(&mut bytes) {
            self.client.handle(now, Input::Bytes { channel, data: &data });
        }
    }

    /// Bytes of the stream of a channel, in order: over WebTransport.
    pub fn receive_on(&mut self, now: Now, channel: Channel, data: &[u8]) {
        self.client.handle(now, Input::Bytes { channel, data });
    }

    /// The stream is closed, or could not be opened.
    pub fn disconnected(&mut self, now: Now) {
        self.client.handle(now, Input::Disconnected);
    }

    /// The device has another network, or woke up.
    pub fn network_changed(&mut self, now: Now) {
        self.client.handle(now, Input::NetworkChanged);
    }

    /// The instant of [`Next::Wait`] has come.
    pub fn timeout(&mut self, now: Now) {
        self.client.handle(now, Input::Timeout);
    }

    /// A record is durable, or will never be. They end in the order they were asked for; another number than the next one is ignored.
    pub fn stored(&mut self, now: Now, op: OpId, result: Result<(), StoreError>) {
        if self.storing.front().is_none_or(|(next, _)| *next != op) {
            return;
        }
        if let (Some((_, txn)), Ok(())) = (self.storing.pop_front(), result) {
            self.state.apply(&txn);
        }
        self.client.handle(now, Input::StoreDone(op, result));
    }

    /// Does what the application asks.
    ///
    /// # Errors
    /// [`Misuse`]; nothing has changed.
    pub fn call(&mut self, now: Now, command: Command) -> Result<RequestId, Misuse> {
        self.client.call(now, command)
    }

    /// All that is kept and durable, as one record: it takes the place of those that were appended so far, but for those that are
    /// still being written.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.state.snapshot()
    }

    /// What to do next. Bytes come only while the stream takes some.
    pub fn poll(&mut self, now: Now, writable: bool) -> Next {
        let tx = writable.then_some(&mut self.tx);
        match self.client.poll_output(now, tx) {
            Output::Transmit { channel } => {
                let bytes = self.tx.as_slice().to_vec();
                self.tx.clear();
                Next::Transmit(channel, bytes)
            }
            Output::Connect { attempt, .. } => Next::Connect(attempt),
            Output::Disconnect(code) => Next::Disconnect(code),
            Output::Store(op, txn) => {
                let record = crate::state::record(&txn);
                self.storing.push_back((op, txn));
                Next::Store(op, record)
            }
            Output::Event(event) => Next::Event(event),
            Output::Wait { at, why } => Next::Wait(at, why),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use ntproto_core::client::Credential;
    use ntproto_core::crypto::identity::DeviceKeys;
    use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
    use ntproto_core::rng::Rng;
    use ntproto_core::time::UnixMillis;

    /// What a client says first.
    fn first(make: fn(ClientConfig, State, [u8; 32], Now) -> Bridge) -> (Channel, u8) {
        let now = Now { mono: Instant::ORIGIN, unix: UnixMillis(0) };
        let keys = DeviceKeys::generate(&mut Rng::new([1; 32]), &RUSTCRYPTO);
        let server = *DeviceKeys::generate(&mut Rng::new([3; 32]), &RUSTCRYPTO).static_public();
        let mut config = ClientConfig::new(&RUSTCRYPTO, server, keys);
        config.enrol = Some(Credential::Open);
        let mut bridge = make(config, State::default(), [2; 32], now);
        bridge.call(now, Command::Start).unwrap();
        assert!(matches!(bridge.poll(now, true), Next::Connect(0)));
        bridge.connected(now);
        loop {
            match bridge.poll(now, true) {
                Next::Transmit(channel, bytes) => return (channel, bytes[0]),
                Next::Wait(at, why) => panic!("it waits until {at:?}: {why:?}"),
                // Its number is kept before it is used.
                Next::Store(op, _) => bridge.stored(now, op, Ok(())),
                _ => {}
            }
        }
    }

    #[test]
    fn each_transport_has_its_handshake() {
        assert_eq!(first(Bridge::new), (Channel::Control, b'N'), "NTHD");
        assert_eq!(first(Bridge::over_web), (Channel::Control, 2), "a frame");
    }
}
