#![allow(clippy::unwrap_used)]
//! The client against a scripted server and a scripted disk, which stand here; the tests, by concept:

mod answers;
mod bootstrap;
mod cancelling;
mod changes;
mod connecting;
mod early;
mod ending;
mod hosts;
mod journal;
mod lanes;
mod moving;
mod presence;
mod receiving;
mod sending;
mod shape;
mod states;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use ntproto_proto::v2;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::binding::TransportId;
use crate::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use crate::crypto::rustcrypto::RUSTCRYPTO;
use crate::endpoint::server::{self, ServerEndpoint};
use crate::endpoint::{self, rules::Phase};
use crate::journal::{Journal, JournalError, Recorder, replay};
use crate::liveness::{INTERVAL, Jitter};
use crate::rng::Rng;
use crate::session::handshake::Ephemeral;
use crate::time::{Now, UnixMillis};
use crate::tx::TxBuf;
use crate::wire::event::EventType;
use crate::wire::packet::Kind;

const BINDING: Binding = Binding { transport: TransportId::Quic, exporter: [5; 32] };
const ME: Uin = Uin(10001);
const FRIEND: Uin = Uin(10002);
const DEVICE: DeviceId = DeviceId([2; 16]);
const EPOCH: [u8; 16] = [8; 16];
const SEED: [u8; 32] = [4; 32];
const T0: u64 = 1_700_000_000_000;

fn server_keys() -> Arc<ServerKeys> {
    Arc::new(ServerKeys::new(ServerKey::generate(&mut Rng::new([1; 32]), &RUSTCRYPTO, 1), None))
}

fn config() -> ClientConfig {
    let device = DeviceKeys::generate(&mut Rng::new([3; 32]), &RUSTCRYPTO);
    let mut config = ClientConfig::new(&RUSTCRYPTO, *server_keys().current().public(), device);
    config.enrol = Some(Credential::Invitation([7; 16]));
    config.jitter = Jitter::None;
    config
}

fn talk() -> ConversationId {
    ConversationId::direct(ME, FRIEND)
}

/// A message of the friend, as an inbox holds it.
fn from_friend(conv_seq: u64) -> v2::SyncPacket {
    stored(conv_seq, FRIEND, [9; 16], [conv_seq as u8; 16])
}

fn stored(conv_seq: u64, sender: Uin, device: [u8; 16], id: [u8; 16]) -> v2::SyncPacket {
    let message = v2::StoredMessage {
        conversation: Bytes::copy_from_slice(&talk().0),
        conv_seq,
        sender: sender.0,
        sender_device: Bytes::copy_from_slice(&device),
        client_msg_id: Bytes::copy_from_slice(&id),
        stored_ms: T0,
        body: Bytes::from(alloc::format!("message {conv_seq}")),
        ..Default::default()
    };
    v2::SyncPacket { event_type: EventType::Message as u32, payload: message.encode_to_vec().into() }
}

/// The client, its disk and the server's end of its connection.
struct World {
    client: Recorder<Client>,
    server: Option<ServerEndpoint>,
    rng: Rng,
    ms: u64,
    events: Vec<ClientEvent>,
    connects: usize,
    /// Store operations not completed yet; completed at once unless `slow_disk`.
    disk: VecDeque<(OpId, ClientTxn)>,
    written: Vec<ClientTxn>,
    slow_disk: bool,
    /// Requests the server got and did not answer yet.
    asked: VecDeque<(Channel, Packet)>,
    saved: Saved,
    credentials: Vec<&'static str>,
    auth: VecDeque<ErrorCode>,
    /// How far refusals say the server's clock is ahead.
    skew_ms: i64,
    /// While set, a transport that is asked for does not come up.
    unreachable: bool,
    /// While set, the server does not answer AUTH_REQ.
    undecided: bool,
    /// While set, transports take early data.
    early: bool,
    /// While set, the socket takes nothing.
    full: bool,
    /// What the next grants say.
    limits: Option<v2::Limits>,
    /// The transport that comes up, and the keys of the server behind it.
    binding: Binding,
    keys: Arc<ServerKeys>,
    /// What the last `Connect` asked for.
    only: Option<TransportId>,
    /// Whether each of them wanted a bootstrap, and what one would tell.
    bootstraps: Vec<bool>,
    fresh: Option<Bootstrap>,
    /// The bootstrap ticket of each AUTH_REQ that was understood.
    shown: Vec<Vec<u8>>,
}

impl World {
    fn with(saved: Saved) -> Self {
        Self::of(config(), saved)
    }

    fn of(config: ClientConfig, saved: Saved) -> Self {
        let now = Now { mono: Instant::from_micros(1), unix: UnixMillis(T0) };
        Self {
            client: Recorder::new(Client::new(config, saved.clone(), SEED, now), now),
            saved,
            server: None,
            rng: Rng::new([6; 32]),
            ms: 0,
            events: Vec::new(),
            connects: 0,
            disk: VecDeque::new(),
            written: Vec::new(),
            slow_disk: false,
            asked: VecDeque::new(),
            credentials: Vec::new(),
            auth: VecDeque::new(),
            skew_ms: 10_000_000,
            unreachable: false,
            undecided: false,
            early: false,
            full: false,
            limits: None,
            binding: BINDING,
            keys: server_keys(),
            only: None,
            bootstraps: Vec::new(),
            fresh: None,
            shown: Vec::new(),
        }
    }

    /// Started, authenticated, caught up at position 0.
    fn online() -> Self {
        let mut w = Self::with(Saved::default());
        w.client.call(w.now(), Command::Start).unwrap();
        w.run();
        w.answer_sync(&[], 0, false);
        assert!(w.took(|e| matches!(e, ClientEvent::CaughtUp)));
        w.events.clear();
        w
    }

    fn now(&self) -> Now {
        Now { mono: Instant::from_micros(1 + self.ms * 1000), unix: UnixMillis(T0 + self.ms) }
    }

    fn took(&self, f: impl Fn(&ClientEvent) -> bool) -> bool {
        self.events.iter().any(f)
    }

    fn call(&mut self, command: Command) -> Result<RequestId, Misuse> {
        let result = self.client.call(self.now(), command);
        self.run();
        result
    }

    fn send(&mut self, n: u8, deadline: Option<Duration>) -> RequestId {
        let client_msg_id = Some(ClientMsgId([n; 16]));
        self.call(Command::Send {
            trace: None,
            conversation: talk(),
            client_msg_id,
            body: Bytes::from_static(b"hi"),
            deadline,
            action: SendAction::Message,
        })
        .unwrap()
    }

    fn later(&mut self, ms: u64) {
        self.ms += ms;
        self.client.handle(self.now(), Input::Timeout);
        self.run();
    }

    fn cut(&mut self) {
        self.server = None;
        self.asked.clear();
        self.client.handle(self.now(), Input::Disconnected);
        self.run();
    }

    /// Runs client, disk and server until nothing moves.
    fn run(&mut self) {
        loop {
            let mut tx = TxBuf::new(64 * 1024);
            let room = if self.full { None } else { Some(&mut tx) };
            match self.client.poll_output(self.now(), room) {
                Output::Event(e) => self.events.push(e),
                Output::Store(op, txn) => {
                    self.disk.push_back((op, txn));
                    if !self.slow_disk {
                        self.complete();
                    }
                }
                Output::Connect { only, bootstrap, .. } => {
                    self.connects += 1;
                    self.only = only;
                    self.bootstraps.push(bootstrap);
                    if let Some(fresh) = self.fresh.take_if(|_| bootstrap) {
                        self.client.handle(self.now(), Input::Bootstrapped(fresh));
                    }
                    if !self.unreachable {
                        self.connected();
                    }
                }
                Output::Disconnect(_) => self.server = None,
                Output::Transmit { channel } => {
                    assert!(!self.full, "bytes without room");
                    let now = self.now();
                    if let Some(server) = &mut self.server {
                        server.handle(now, endpoint::Input::Bytes { channel, data: tx.as_slice() });
                    }
                    self.serve();
                }
                Output::Wait { at, why } => {
                    assert_eq!(at.is_none(), why == WaitReason::Idle, "a timer has a reason");
                    assert!(at.is_none_or(|at| at > self.now().mono), "{why:?} is over and was not seen to");
                    break;
                }
            }
        }
    }

    fn connected(&mut self) {
        self.reach();
        self.client.handle(self.now(), Input::Connected(self.binding()));
    }

    /// Another transport takes the place of the one there is.
    fn moved(&mut self) {
        self.early = false;
        self.reach();
        self.client.handle(self.now(), Input::Moved(self.binding));
        self.run();
    }

    /// The transport that took early data is up, at both ends.
    fn bound(&mut self) {
        let now = self.now();
        if let Some(server) = &mut self.server {
            server.handle(now, endpoint::Input::Bound(self.binding));
        }
        self.client.handle(now, Input::Bound(self.binding));
        self.run();
    }

    fn binding(&self) -> Binding {
        if self.early { Binding::EARLY } else { self.binding }
    }

    fn reach(&mut self) {
        let (keys, binding) = (Arc::clone(&self.keys), self.binding());
        self.server = Some(ServerEndpoint::new(self.now(), &RUSTCRYPTO, keys, binding, INTERVAL));
    }

    fn complete(&mut self) {
        while let Some((op, txn)) = self.disk.pop_front() {
            self.written.push(txn);
            self.client.handle(self.now(), Input::StoreDone(op, Ok(())));
        }
    }

    fn serve(&mut self) {
        let now = self.now();
        while let Some(server) = &mut self.server {
            let mut tx = TxBuf::new(64 * 1024);
            match server.poll_output(now, Some(&mut tx)) {
                endpoint::Output::Event(server::Event::AuthRequest(claims)) => {
                    use v2::auth_request::Credential as C;
                    self.shown.push(claims.request.bootstrap.to_vec());
                    self.credentials.push(match claims.request.credential {
                        Some(C::Ticket(_)) => "ticket",
                        Some(C::KnownDevice(_)) => "known device",
                        Some(C::Invitation(_)) => "invitation",
                        _ => "other",
                    });
                    if let Some(v2::EarlyStart { sync: Some(sync), request_id }) = claims.request.early {
                        let (kind, body) = (Kind::Request(request_id), sync.encode_to_vec().into());
                        let id = PacketId::SYNC;
                        let packet = Packet { id, kind, deadline_ms: None, trace: None, body };
                        self.asked.push_back((Channel::Sync, packet));
                    }
                    if !self.undecided {
                        self.decide();
                    }
                }
                endpoint::Output::Event(server::Event::Packet(channel, packet)) => {
                    self.asked.push_back((channel, packet));
                }
                endpoint::Output::Event(server::Event::TicketRefresh) => {
                    let ticket = ticket(now.unix.0);
                    let issue = server::Command::IssueTicket { ticket, server_time_ms: now.unix.0 };
                    let _ = server.call(now, &mut self.rng, issue);
                }
                endpoint::Output::Event(server::Event::Hello) => {
                    let ephemeral = Ephemeral::generate(&RUSTCRYPTO, &mut self.rng);
                    let _ = server.call(now, &mut self.rng, server::Command::Challenge(ephemeral));
                }
                endpoint::Output::Event(server::Event::Confirmed | server::Event::Closed(_)) => {}
                endpoint::Output::Transmit { channel } => {
                    self.client.handle(now, Input::Bytes { channel, data: tx.as_slice() });
                }
                endpoint::Output::Wait { .. } => return,
            }
        }
    }

    /// The server answers AUTH_REQ.
    fn decide(&mut self) {
        let now = self.now();
        let server_time_ms = now.unix.0;
        let answer = match self.auth.pop_front() {
            Some(code) => server::Command::Refuse(v2::Refusal {
                code: code as u32,
                server_time_ms: server_time_ms.saturating_add_signed(self.skew_ms),
                ..Default::default()
            }),
            None => server::Command::Grant(v2::Grant {
                session_id: Bytes::from_static(&[1; 16]),
                device_id: Bytes::copy_from_slice(&DEVICE.0),
                uin: ME.0,
                version: "2.4.1".into(),
                server_time_ms,
                ticket: Some(ticket(server_time_ms)),
                limits: self.limits,
            }),
        };
        // A client that gave up meanwhile is answered no more.
        let _ = self.server.as_mut().unwrap().call(now, &mut self.rng, answer);
    }

    fn tell(&mut self, channel: Channel, id: PacketId, kind: Kind, body: Vec<u8>) {
        let packet = Packet { id, kind, deadline_ms: None, trace: None, body: body.into() };
        let now = self.now();
        let server = self.server.as_mut().unwrap();
        server.call(now, &mut self.rng, server::Command::Send(channel, packet)).unwrap();
        self.serve();
        self.run();
    }

    /// Takes the oldest request with this id.
    fn take(&mut self, id: PacketId) -> (Channel, Packet) {
        let n = self
            .asked
            .iter()
            .position(|(_, p)| p.id == id)
            .unwrap_or_else(|| panic!("{id:?} was not asked, but {:?}", self.asked));
        self.asked.remove(n).unwrap()
    }

    fn answer(&mut self, id: PacketId, body: Vec<u8>) {
        let (channel, packet) = self.take(id);
        let Kind::Request(n) = packet.kind else { panic!() };
        self.tell(channel, id, Kind::Response(n), body);
    }

    fn refuse(&mut self, id: PacketId, code: ErrorCode, retry_after_ms: u32) {
        let (channel, packet) = self.take(id);
        let Kind::Request(n) = packet.kind else { panic!() };
        let body = v2::Error { code: code as u32, detail: String::new(), retry_after_ms }.encode_to_vec();
        self.tell(channel, id, Kind::Error(n), body);
    }

    fn answer_sync(&mut self, deltas: &[(u64, v2::SyncPacket)], next: u64, has_more: bool) {
        let deltas =
            deltas.iter().map(|(position, p)| v2::Delta { position: *position, packet: Some(p.clone()) });
        let response = v2::SyncResponse {
            epoch: Bytes::copy_from_slice(&EPOCH),
            deltas: deltas.collect(),
            next,
            has_more,
            too_long: false,
        };
        self.answer(PacketId::SYNC, response.encode_to_vec());
    }

    fn answer_send(&mut self, conv_seq: u64, position: u64, previous: u64, duplicate: bool) {
        let response = v2::SendResponse { conv_seq, stored_ms: T0, position, previous, duplicate };
        self.answer(PacketId::SEND, response.encode_to_vec());
    }

    fn push(&mut self, position: u64, previous: u64, packet: v2::SyncPacket) {
        let notify = v2::Notify { position, previous, packet: Some(packet) };
        self.tell(Channel::Message, PacketId::NOTIFY, Kind::Push, notify.encode_to_vec());
    }

    fn asked_send(&self) -> Option<v2::SendRequest> {
        let (_, packet) = self.asked.iter().find(|(_, p)| p.id == PacketId::SEND)?;
        Some(v2::SendRequest::decode(packet.body.clone()).unwrap())
    }

    fn asked_sync(&self) -> Option<v2::SyncRequest> {
        let (_, packet) = self.asked.iter().find(|(_, p)| p.id == PacketId::SYNC)?;
        Some(v2::SyncRequest::decode(packet.body.clone()).unwrap())
    }

    fn messages(&self) -> Vec<u64> {
        self.events
            .iter()
            .filter_map(|e| if let ClientEvent::Message(m) = e { Some(m.message.conv_seq) } else { None })
            .collect()
    }
}

fn ticket(issued_ms: u64) -> v2::Ticket {
    v2::Ticket { sealed: Bytes::from_static(b"sealed"), issued_ms, expires_ms: issued_ms + 900_000 }
}
