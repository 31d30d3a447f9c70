#![allow(clippy::unwrap_used)]
//! Both sides against each other, in memory. What they share stands here; the tests, by concept:

mod early;
mod ending;
mod frames;
mod handshake;
mod session;
mod shape;
mod streams;
mod tcp;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use ntproto_proto::v2;
use proptest::prelude::*;

use super::client::{self, ClientEndpoint, ServerIdentity};
use super::rules::{Phase, Side};
use super::server::{self, ServerEndpoint};
use super::*;
use crate::binding::{Binding, TransportId};
use crate::channel::PAYLOAD_OVERHEAD;
use crate::crypto::CryptoProvider as _;
use crate::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use crate::crypto::rustcrypto::RUSTCRYPTO;
use crate::crypto::schedule::{Direction, KeySchedule, NoiseSplit};
use crate::crypto::secret::Secret;
use crate::liveness::{ANSWER_WITHIN, Heartbeat, INTERVAL, LONGEST_INTERVAL, SHORTEST_INTERVAL};
use crate::rng::Rng;
use crate::session::handshake::{Carriage, Ephemeral};
use crate::time::{Now, UnixMillis};
use crate::tx::TxBuf;
use crate::wire::frame::{
    Decoded, Flags, FrameType, Header, MAX_PAYLOAD, TRAILER_LEN, append_checksum, decode, encode,
};
use crate::wire::packet::{Kind, Packet, PacketId};

const BINDING: Binding = Binding { transport: TransportId::Quic, exporter: [5; 32] };
const TICKET_LIFE: Duration = Duration::from_secs(900);

fn at(ms: u64) -> Now {
    Now { mono: Instant::from_micros(1 + ms * 1000), unix: UnixMillis(1_700_000_000_000 + ms) }
}

fn server_keys() -> Arc<ServerKeys> {
    Arc::new(ServerKeys::new(ServerKey::generate(&mut Rng::new([1; 32]), &RUSTCRYPTO, 1), None))
}

fn request() -> v2::AuthRequest {
    v2::AuthRequest {
        credential: Some(v2::auth_request::Credential::KnownDevice(v2::KnownDevice {})),
        fingerprint_hash: Bytes::from_static(&[0; 32]),
        timestamp_ms: at(0).unix.0,
        versions: Vec::from(["2.4.1".into()]),
        transports: Vec::from(["quic".into()]),
        ..Default::default()
    }
}

fn grant() -> v2::Grant {
    v2::Grant {
        session_id: Bytes::from_static(&[1; 16]),
        device_id: Bytes::from_static(&[2; 16]),
        uin: 10001,
        version: "2.4.1".into(),
        server_time_ms: at(0).unix.0,
        ticket: Some(ticket(0)),
        ..Default::default()
    }
}

fn ticket(ms: u64) -> v2::Ticket {
    let issued_ms = at(ms).unix.0;
    let expires_ms = issued_ms + TICKET_LIFE.as_millis() as u64;
    v2::Ticket { sealed: Bytes::from_static(b"sealed"), issued_ms, expires_ms }
}

fn packet(kind: Kind, body: &[u8]) -> Packet {
    Packet { id: PacketId(0x8001), kind, deadline_ms: None, trace: None, body: Bytes::copy_from_slice(body) }
}

/// A client and a server with a wire between them.
struct Pair {
    client: ClientEndpoint,
    server: ServerEndpoint,
    rng: Rng,
    client_events: Vec<client::Event>,
    server_events: Vec<server::Event>,
    /// How often the server said that a sealed frame came.
    confirmed: usize,
    /// Everything ever put on the wire, by direction (true: to the server) and channel.
    wire: BTreeMap<(bool, Channel), Vec<u8>>,
    now: Now,
}

impl Pair {
    fn new() -> Self {
        Self::with_server(server_keys().current().public())
    }

    fn with_server(server_static: &[u8; 32]) -> Self {
        Self::over(BINDING, ServerIdentity::Known(*server_static), server_keys())
    }

    fn over(binding: Binding, server: ServerIdentity, keys: Arc<ServerKeys>) -> Self {
        let mut rng = Rng::new([9; 32]);
        let device = DeviceKeys::generate(&mut rng, &RUSTCRYPTO);
        let config = client::Config { provider: &RUSTCRYPTO, server, binding, heartbeat: INTERVAL };
        Self {
            client: ClientEndpoint::new(at(0), config, &device, request(), &mut rng).unwrap(),
            server: ServerEndpoint::new(at(0), &RUSTCRYPTO, keys, binding, INTERVAL),
            rng,
            client_events: Vec::new(),
            server_events: Vec::new(),
            confirmed: 0,
            wire: BTreeMap::new(),
            now: at(0),
        }
    }

    fn open() -> Self {
        let mut pair = Self::new();
        pair.run();
        pair.let_in();
        pair
    }

    /// Grants what was asked for, and forgets what was told until then.
    fn let_in(&mut self) {
        assert!(matches!(self.server_events[..], [server::Event::AuthRequest(_)]));
        self.server.call(self.now, &mut self.rng, server::Command::Grant(grant())).unwrap();
        self.run();
        assert!(matches!(self.client_events[..], [.., client::Event::Granted(_)]));
        self.client_events.clear();
        self.server_events.clear();
    }

    /// What one side has to send, by channel.
    fn client_sends(&mut self) -> Vec<(Channel, Vec<u8>)> {
        let mut out = Vec::new();
        loop {
            let mut tx = TxBuf::new(64 * 1024);
            match self.client.poll_output(self.now, Some(&mut tx)) {
                Output::Event(e) => self.client_events.push(e),
                Output::Transmit { channel } => {
                    self.wire.entry((true, channel)).or_default().extend_from_slice(tx.as_slice());
                    out.push((channel, tx.as_slice().to_vec()));
                }
                Output::Wait { .. } => return out,
            }
        }
    }

    fn server_sends(&mut self) -> Vec<(Channel, Vec<u8>)> {
        let mut out = Vec::new();
        loop {
            let mut tx = TxBuf::new(64 * 1024);
            match self.server.poll_output(self.now, Some(&mut tx)) {
                Output::Event(server::Event::Confirmed) => self.confirmed += 1,
                Output::Event(server::Event::Hello) => {
                    let ephemeral = Ephemeral::generate(&RUSTCRYPTO, &mut self.rng);
                    // Refused once it has ended.
                    let challenge = server::Command::Challenge(ephemeral);
                    let _ = self.server.call(self.now, &mut self.rng, challenge);
                }
                Output::Event(e) => self.server_events.push(e),
                Output::Transmit { channel } => {
                    self.wire.entry((false, channel)).or_default().extend_from_slice(tx.as_slice());
                    out.push((channel, tx.as_slice().to_vec()));
                }
                Output::Wait { .. } => return out,
            }
        }
    }

    /// Passes bytes until both are quiet.
    fn run(&mut self) {
        loop {
            let (a, b) = (self.client_sends(), self.server_sends());
            if a.is_empty() && b.is_empty() {
                return;
            }
            for (channel, data) in a {
                self.server.handle(self.now, Input::Bytes { channel, data: &data });
            }
            for (channel, data) in b {
                self.client.handle(self.now, Input::Bytes { channel, data: &data });
            }
        }
    }

    fn server_closed(&self) -> Vec<Closed> {
        self.server_events
            .iter()
            .filter_map(|e| if let server::Event::Closed(why) = e { Some(*why) } else { None })
            .collect()
    }

    fn client_closed(&self) -> Vec<Closed> {
        self.client_events
            .iter()
            .filter_map(|e| if let client::Event::Closed(why) = e { Some(*why) } else { None })
            .collect()
    }
}

fn server_link(server: &mut ServerEndpoint) -> Option<&mut link::Link> {
    server.base_mut().link()
}
