//! The client behind one stream of bytes: what a host in another language drives.
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
use ntproto_core::wire::demux::Demux;

use crate::state::State;

/// How much is given out at once: what a socket takes without waiting.
pub const TX_LIMIT: usize = 64 * 1024;

/// What the host is to do next.
#[derive(Debug)]
#[must_use]
pub enum Next {
    /// Write these bytes to the stream.
    Transmit(Vec<u8>),
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

/// A client and one stream.
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
    demux: Demux,
    tx: TxBuf,
    state: State,
    /// What the host was asked to keep and has not kept yet, in order.
    storing: VecDeque<(OpId, ClientTxn)>,
}

impl Bridge {
    /// A client that goes on where `state` was left.
    #[must_use]
    pub fn new(mut config: ClientConfig, state: State, seed: [u8; 32], now: Now) -> Self {
        config.transports = vec![TransportId::Tcp];
        let client = Client::new(config, state.saved(), seed, now);
        Self { client, demux: Demux::new(), tx: TxBuf::new(TX_LIMIT), state, storing: VecDeque::new() }
    }

    /// The stream asked for is open.
    pub fn connected(&mut self, now: Now) {
        self.demux = Demux::new();
        self.client.handle(now, Input::Connected(Binding { transport: TransportId::Tcp, exporter: [0; 32] }));
    }

    /// Bytes of the stream, in order.
    pub fn receive(&mut self, now: Now, mut bytes: &[u8]) {
        while let Some((channel, data)) = self.demux.next(&mut bytes) {
            self.client.handle(now, Input::Bytes { channel, data: &data });
        }
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
            Output::Transmit { .. } => {
                let bytes = self.tx.as_slice().to_vec();
                self.tx.clear();
                Next::Transmit(bytes)
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
