#![allow(clippy::unwrap_used)]
//! The client against a scripted server and a scripted disk.

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
use crate::time::{Now, UnixMillis};
use crate::tx::TxBuf;
use crate::wire::event::EventType;
use crate::wire::packet::Kind;

mod answers;
mod hosts;

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
    /// While set, a transport that is asked for does not come up.
    unreachable: bool,
    /// While set, the server does not answer AUTH_REQ.
    undecided: bool,
    /// While set, the socket takes nothing.
    full: bool,
    /// What the next grants say.
    limits: Option<v2::Limits>,
}

impl World {
    fn with(saved: Saved) -> Self {
        let now = Now { mono: Instant::from_micros(1), unix: UnixMillis(T0) };
        Self {
            client: Recorder::new(Client::new(config(), saved.clone(), SEED, now), now),
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
            unreachable: false,
            undecided: false,
            full: false,
            limits: None,
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
            conversation: talk(),
            client_msg_id,
            body: Bytes::from_static(b"hi"),
            deadline,
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
                Output::Connect { .. } => {
                    self.connects += 1;
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
        self.server = Some(ServerEndpoint::new(self.now(), &RUSTCRYPTO, server_keys(), BINDING, INTERVAL));
        self.client.handle(self.now(), Input::Connected(BINDING));
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
                    self.credentials.push(match claims.request.credential {
                        Some(C::Ticket(_)) => "ticket",
                        Some(C::KnownDevice(_)) => "known device",
                        Some(C::Invitation(_)) => "invitation",
                        _ => "other",
                    });
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
                server_time_ms: server_time_ms + 10_000_000,
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

#[test]
fn enrols_once_then_comes_back_with_its_ticket_then_with_its_key() {
    let mut w = World::online();
    assert_eq!(w.client.machine().identity(), Some((ME, DEVICE)));
    assert!(w.written.contains(&ClientTxn::SaveIdentity(ME, DEVICE)));
    w.cut();
    w.later(1_000);
    w.cut();
    w.later(2_000_000);
    assert_eq!(w.credentials, ["invitation", "ticket", "known device"]);
}

#[test]
fn a_message_is_stored_sent_and_settled() {
    let mut w = World::online();
    w.slow_disk = true;
    let request = w.send(1, None);
    assert!(w.asked_send().is_none(), "nothing leaves before it is on the disk");
    w.complete();
    w.run();
    let sent = w.asked_send().unwrap();
    assert_eq!((&sent.body[..], sent.resolve_only), (&b"hi"[..], false));
    w.answer_send(1, 1, 0, false);
    assert!(!w.took(|e| matches!(e, ClientEvent::Sent { .. })), "told only when the outbox is settled");
    w.complete();
    w.run();
    assert!(w.took(|e| matches!(e, ClientEvent::Sent { request: r, conv_seq: 1, .. } if *r == request)));
    assert_eq!(w.client.machine().outbox_len(), 0);
    let moved = w
        .written
        .iter()
        .any(|t| matches!(t, ClientTxn::Apply(a) if a.cursor == Some(1) && a.settled.len() == 1));
    assert!(moved, "cursor and outbox move together");
}

//= proof: messages-5
#[test]
fn what_was_in_flight_goes_out_again_in_order_with_the_same_ids() {
    let mut w = World::online();
    for n in 1..=3 {
        w.send(n, None);
    }
    w.answer_send(1, 1, 0, false);
    w.cut();
    w.later(1_000);
    let again: Vec<_> = w
        .asked
        .iter()
        .filter(|(_, p)| p.id == PacketId::SEND)
        .map(|(_, p)| v2::SendRequest::decode(p.body.clone()).unwrap().client_msg_id[0])
        .collect();
    assert_eq!(again, [2, 3]);
    // The answer of 2 was lost, not the message: the inbox tells.
    w.answer_sync(&[(2, stored(2, ME, DEVICE.0, [2; 16]))], 2, false);
    assert!(w.took(
        |e| matches!(e, ClientEvent::Sent { client_msg_id, conv_seq: 2, .. } if client_msg_id.0 == [2; 16])
    ));
    w.answer_send(2, 2, 1, true);
    w.answer_send(3, 3, 2, false);
    let sent = w.events.iter().filter(|e| matches!(e, ClientEvent::Sent { .. })).count();
    assert_eq!((sent, w.client.machine().outbox_len(), w.messages()), (3, 0, Vec::new()));
}

//= proof: messages-16
#[test]
fn messages_are_shown_once_they_are_on_the_disk() {
    let mut w = World::online();
    w.slow_disk = true;
    w.push(1, 0, from_friend(1));
    assert!(w.messages().is_empty());
    w.push(2, 1, from_friend(2));
    w.complete();
    w.run();
    w.complete();
    w.run();
    assert_eq!(w.messages(), [1, 2]);
    w.push(2, 1, from_friend(2));
    assert_eq!(w.messages(), [1, 2], "a push that comes twice is one");
    let told = v2::DeliveredRequest::decode(w.take(PacketId::DELIVERED).1.body).unwrap();
    assert_eq!(told.watermarks[0].delivered_seq, 1);
}

//= proof: messages-9, messages-10
#[test]
fn pushes_before_the_sync_are_held_and_a_gap_is_repaired() {
    let mut w = World::with(Saved::default());
    w.call(Command::Start).unwrap();
    w.push(3, 2, from_friend(3));
    assert!(w.messages().is_empty());
    w.answer_sync(&[(1, from_friend(1))], 1, true);
    assert_eq!(w.asked_sync().unwrap().cursor, 1);
    w.answer_sync(&[(2, from_friend(2))], 2, false);
    assert_eq!(w.messages(), [1, 2, 3]);
    w.push(6, 5, from_friend(6));
    assert_eq!(w.messages(), [1, 2, 3], "something is missing before it");
    assert_eq!(w.asked_sync().unwrap().cursor, 3);
    let rest: Vec<_> = (4..=6).map(|n| (n, from_friend(n))).collect();
    w.answer_sync(&rest, 6, false);
    assert_eq!(w.messages(), [1, 2, 3, 4, 5, 6]);
}

//= proof: messages-15
#[test]
fn another_epoch_is_read_from_its_start_without_repeating() {
    let mut saved =
        Saved { identity: Some((ME, DEVICE)), epoch: Some([1; 16]), cursor: 40, ..Default::default() };
    saved.heads.insert(talk(), 2);
    let mut w = World::with(saved);
    w.call(Command::Start).unwrap();
    let too_long =
        v2::SyncResponse { epoch: Bytes::from_static(&EPOCH), too_long: true, ..Default::default() };
    w.answer(PacketId::SYNC, too_long.encode_to_vec());
    let asked = w.asked_sync().unwrap();
    assert_eq!((asked.cursor, &asked.epoch[..]), (0, &EPOCH[..]));
    let all: Vec<_> = (1..=3).map(|n| (n, from_friend(n))).collect();
    w.answer_sync(&all, 3, false);
    assert_eq!(w.messages(), [3]);
}

#[test]
fn a_restart_tells_what_was_not_confirmed_and_sends_what_was_not_answered() {
    let inbound = Inbound {
        position: 4,
        conversation: talk(),
        message: v2::StoredMessage { conv_seq: 4, ..Default::default() },
    };
    let entry = OutboxEntry {
        order: 7,
        client_msg_id: ClientMsgId([7; 16]),
        conversation: talk(),
        body: Bytes::from_static(b"old"),
        expires: None,
    };
    let mut w = World::with(Saved {
        identity: Some((ME, DEVICE)),
        outbox: Vec::from([entry]),
        last_order: 7,
        unconfirmed: Vec::from([inbound]),
        ..Default::default()
    });
    w.call(Command::Start).unwrap();
    assert_eq!(w.messages(), [4]);
    assert_eq!(&w.asked_send().unwrap().body[..], b"old");
    assert!(w.send(8, None).0 > 7, "numbers never come twice");
}

#[test]
fn a_deadline_before_sending_fails_at_once() {
    let mut w = World::online();
    w.cut();
    w.send(1, Some(Duration::from_millis(500)));
    w.later(500);
    assert!(w.took(|e| matches!(e, ClientEvent::SendFailed { why: Failure::DeadlineExceeded, .. })));
    assert_eq!(w.client.machine().outbox_len(), 0);
    w.later(1_000);
    assert!(w.asked_send().is_none());
}

//= proof: packets-5
#[test]
fn a_deadline_in_flight_is_found_out() {
    for stored in [false, true] {
        let mut w = World::online();
        w.send(1, Some(Duration::from_millis(500)));
        assert_eq!(w.asked.back().unwrap().1.deadline_ms, Some(500));
        w.later(500);
        assert!(w.took(|e| matches!(e, ClientEvent::SendExpired { .. })));
        w.cut();
        w.later(1_000);
        let asked = w.asked_send().unwrap();
        assert!(asked.resolve_only && asked.body.is_empty());
        if stored {
            w.answer_send(1, 1, 0, true);
            assert!(w.took(|e| matches!(e, ClientEvent::Sent { .. })));
        } else {
            w.refuse(PacketId::SEND, ErrorCode::Cancelled, 0);
            assert!(w.took(|e| matches!(e, ClientEvent::SendFailed { why: Failure::DeadlineExceeded, .. })));
        }
        assert_eq!(w.client.machine().outbox_len(), 0);
    }
}

#[test]
fn retry_after_is_honoured_and_final_refusals_are_final() {
    let mut w = World::online();
    w.send(1, None);
    w.refuse(PacketId::SEND, ErrorCode::RetryAfter, 5_000);
    w.later(4_999);
    assert!(w.asked_send().is_none());
    w.later(1);
    assert!(w.asked_send().is_some());
    w.refuse(PacketId::SEND, ErrorCode::Forbidden, 0);
    assert!(w.took(|e| matches!(
        e,
        ClientEvent::SendFailed { why: Failure::Refused(Some(ErrorCode::Forbidden), _), .. }
    )));
}

//= proof: messages-13
#[test]
fn what_is_to_be_repeated_goes_first_and_in_order() {
    let mut w = World::online();
    w.send(1, None);
    w.send(2, None);
    w.refuse(PacketId::SEND, ErrorCode::RetryAfter, 1_000);
    w.refuse(PacketId::SEND, ErrorCode::RetryAfter, 1_000);
    w.send(3, None);
    assert!(w.asked_send().is_none(), "nothing newer overtakes");
    w.later(1_000);
    let order: Vec<_> = w
        .asked
        .iter()
        .filter(|(_, p)| p.id == PacketId::SEND)
        .map(|(_, p)| v2::SendRequest::decode(p.body.clone()).unwrap().client_msg_id[0])
        .collect();
    assert_eq!(order, [1, 2, 3]);
}

//= proof: messages-14
#[test]
fn every_handshake_is_followed_by_a_sync() {
    let mut w = World::online();
    for _ in 0..3 {
        w.cut();
        w.later(60_000);
        assert!(w.client.machine().is_online());
        assert!(w.asked_sync().is_some());
        assert!(!w.took(|e| matches!(e, ClientEvent::CaughtUp)));
        w.answer_sync(&[], 0, false);
        assert!(w.took(|e| matches!(e, ClientEvent::CaughtUp)));
        w.events.clear();
    }
}

//= proof: messages-7, messages-8
#[test]
fn a_change_of_an_unknown_type_is_kept_as_it_is_and_passed() {
    let change = v2::SyncPacket { event_type: 999, payload: Bytes::from_static(b"\xff later") };
    let broken = v2::SyncPacket { event_type: 1, payload: Bytes::from_static(b"\xff no message") };
    let mut w = World::online();
    w.written.clear();
    w.push(1, 0, change.clone());
    w.push(2, 1, broken.clone());
    let applied: Vec<_> = w
        .written
        .iter()
        .filter_map(|txn| if let ClientTxn::Apply(apply) = txn { Some(apply) } else { None })
        .collect();
    let kept: Vec<_> = applied.iter().flat_map(|apply| apply.others.clone()).collect();
    assert_eq!(kept, [(1, change.clone()), (2, broken)]);
    assert_eq!(applied.last().unwrap().cursor, Some(2));
    assert!(w.took(|e| matches!(e, ClientEvent::Other(packet) if *packet == change)));
    w.push(3, 2, from_friend(1));
    assert_eq!(w.messages(), [1], "what comes after it comes");
}

//= proof: errors-1
#[test]
fn an_unknown_code_fails_what_it_answers_and_nothing_else() {
    let mut w = World::online();
    w.send(1, None);
    let (channel, packet) = w.take(PacketId::SEND);
    let Kind::Request(n) = packet.kind else { panic!() };
    let body = v2::Error { code: 9_999, ..Default::default() }.encode_to_vec();
    w.tell(channel, PacketId::SEND, Kind::Error(n), body);
    assert!(w.took(|e| matches!(e, ClientEvent::SendFailed { why: Failure::Refused(None, _), .. })));
    assert!(w.client.machine().is_online());
}

#[test]
fn requests_are_answered_expire_or_end_with_the_connection() {
    let mut w = World::online();
    let ask = || Command::Request { packet: PacketId::DEVICES, body: Bytes::new(), deadline: None };
    let a = w.call(ask()).unwrap();
    w.answer(PacketId::DEVICES, b"list".to_vec());
    assert!(w.took(|e| matches!(e, ClientEvent::Response { request, result: Ok(b) } if *request == a && &b[..] == b"list")));
    let b = w.call(ask()).unwrap();
    w.later(DEFAULT_DEADLINE.as_millis() as u64);
    assert!(w.took(|e| matches!(e, ClientEvent::Response { request, result: Err(Failure::DeadlineExceeded) } if *request == b)));
    w.answer(PacketId::DEVICES, b"late".to_vec());
    let c = w.call(ask()).unwrap();
    w.cut();
    assert!(w.took(|e| matches!(e, ClientEvent::Response { request, result: Err(Failure::Disconnected) } if *request == c)));
    assert_eq!(w.call(ask()), Err(Misuse::State));
}

#[test]
fn reconnects_on_the_drafts_schedule_and_starts_over_when_a_session_held() {
    let mut w = World::online();
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        w.cut();
        let before = w.connects;
        w.later(wait * 1000 - 1);
        assert_eq!(w.connects, before);
        w.later(1);
        assert_eq!(w.connects, before + 1, "{wait}");
    }
    w.later(10_000);
    w.cut();
    w.later(1_000);
    assert!(w.client.machine().is_online());
    w.cut();
    w.client.handle(w.now(), Input::NetworkChanged);
    w.run();
    assert!(w.client.machine().is_online(), "another network is tried at once");
}

#[test]
fn refusals_are_mended_or_final() {
    let mut w =
        World::with(Saved { identity: Some((ME, DEVICE)), ticket: Some(ticket(T0)), ..Default::default() });
    w.auth = [ErrorCode::TicketExpired].into();
    w.call(Command::Start).unwrap();
    assert!(w.client.machine().is_online());
    assert_eq!(w.credentials, ["ticket", "known device"]);

    let mut w = World::with(Saved::default());
    w.auth = [ErrorCode::ClockSkew].into();
    w.call(Command::Start).unwrap();
    assert_eq!(w.credentials.len(), 2, "the server's clock is adopted and it is tried at once");

    let mut w = World::with(Saved {
        identity: Some((ME, DEVICE)),
        ticket: Some(ticket(T0 + 10_000_000)),
        ..Default::default()
    });
    w.auth = [ErrorCode::ClockSkew, ErrorCode::TicketExpired].into();
    w.call(Command::Start).unwrap();
    assert_eq!(w.credentials, ["ticket", "ticket", "known device"], "one mend does not stand in for another");

    let mut w = World::with(Saved::default());
    w.auth = [ErrorCode::ClockSkew, ErrorCode::ClockSkew].into();
    w.call(Command::Start).unwrap();
    assert_eq!(w.credentials.len(), 2, "what did not help is not tried again at once");

    for code in
        [ErrorCode::Revoked, ErrorCode::BadCredential, ErrorCode::RegistrationClosed, ErrorCode::Version]
    {
        let mut w = World::with(Saved::default());
        w.auth = [code].into();
        w.call(Command::Start).unwrap();
        assert!(
            matches!(w.events[..], [ClientEvent::Stopped(Stopped::Refused(c))] if c == code),
            "{:?}",
            w.events
        );
        assert_eq!(w.call(Command::Confirm(1)), Err(Misuse::State));
    }

    let mut w = World::with(Saved::default());
    w.auth = [ErrorCode::Internal].into();
    w.call(Command::Start).unwrap();
    assert!(w.took(|e| matches!(e, ClientEvent::Offline { .. })));
    w.later(1_000);
    assert!(w.client.machine().is_online());
}

#[test]
fn superseded_stops_and_going_away_comes_back() {
    for (code, stops) in
        [(ErrorCode::Superseded, true), (ErrorCode::Revoked, true), (ErrorCode::GoingAway, false)]
    {
        let mut w = World::online();
        let now = w.now();
        w.server.as_mut().unwrap().call(now, &mut w.rng, server::Command::Close(code)).unwrap();
        w.serve();
        w.run();
        assert_eq!(w.took(|e| matches!(e, ClientEvent::Stopped(_))), stops);
        w.later(60_000);
        assert_eq!(w.client.machine().is_online(), !stops);
    }
}

//= proof: frames-11
#[test]
fn a_close_in_the_clear_says_nothing_of_the_credential() {
    for code in [ErrorCode::Revoked, ErrorCode::Superseded, ErrorCode::BadCredential] {
        let mut w = World::with(Saved::default());
        w.undecided = true;
        w.call(Command::Start).unwrap();
        let now = w.now();
        w.server.as_mut().unwrap().call(now, &mut w.rng, server::Command::Close(code)).unwrap();
        w.serve();
        w.run();
        assert!(!w.took(|e| matches!(e, ClientEvent::Stopped(_))), "{code}");
        w.undecided = false;
        w.later(1_000);
        assert!(w.client.machine().is_online());
    }
}

#[test]
fn the_ticket_is_renewed_at_two_thirds() {
    let mut w = World::online();
    let before = w.written.iter().filter(|t| matches!(t, ClientTxn::SaveTicket(Some(_)))).count();
    for _ in 0..601 {
        w.later(1_000);
        w.serve();
        w.run();
    }
    let after = w.written.iter().filter(|t| matches!(t, ClientTxn::SaveTicket(Some(_)))).count();
    assert_eq!(after, before + 1);
    assert_eq!(w.server.as_ref().unwrap().phase(), Phase::Open);
}

#[test]
fn closing_says_goodbye_and_stops_once() {
    let mut w = World::online();
    w.call(Command::Close).unwrap();
    assert!(matches!(w.events[..], [ClientEvent::Stopped(Stopped::Closed)]), "{:?}", w.events);
    assert!(w.server.is_none());
    assert_eq!(w.call(Command::Start), Err(Misuse::State));
    w.later(1_000_000);
    assert_eq!(w.connects, 1);
}

#[test]
fn stopped_comes_last_after_the_disk_has_answered() {
    let mut w = World::online();
    let request = w.send(1, Some(Duration::from_secs(2)));
    w.slow_disk = true;
    w.push(1, 0, from_friend(1));
    w.events.clear();
    w.call(Command::Close).unwrap();
    assert!(w.events.is_empty(), "the disk is at work: {:?}", w.events);
    w.later(5_000);
    assert!(!w.took(|e| matches!(e, ClientEvent::SendExpired { request: r, .. } if *r == request)));
    w.complete();
    w.run();
    assert!(
        matches!(w.events[..], [ClientEvent::Message(_), ClientEvent::Stopped(Stopped::Closed)]),
        "{:?}",
        w.events
    );
    w.later(60_000);
    assert_eq!(w.events.len(), 2);
}

#[test]
fn an_end_by_the_server_takes_the_transport_down() {
    for code in [ErrorCode::Superseded, ErrorCode::Revoked] {
        let mut w = World::online();
        let now = w.now();
        w.server.as_mut().unwrap().call(now, &mut w.rng, server::Command::Close(code)).unwrap();
        w.serve();
        w.run();
        assert!(w.server.is_none(), "{code}");
    }
}

#[test]
fn a_failing_disk_stops_it_and_loses_nothing() {
    let mut w = World::online();
    w.slow_disk = true;
    w.push(1, 0, from_friend(1));
    let (op, _) = w.disk.pop_front().unwrap();
    w.client.handle(w.now(), Input::StoreDone(op, Err(StoreError::Full)));
    w.run();
    assert!(w.messages().is_empty());
    assert!(w.took(|e| matches!(e, ClientEvent::Stopped(Stopped::Store(StoreError::Full)))));

    let mut w = World::online();
    w.slow_disk = true;
    let request = w.send(1, None);
    let (op, _) = w.disk.pop_front().unwrap();
    w.client.handle(w.now(), Input::StoreDone(op, Err(StoreError::Full)));
    w.run();
    assert!(w.took(|e| matches!(e, ClientEvent::SendFailed { request: r, why: Failure::Store(StoreError::Full), .. } if *r == request)));

    // A disk that failed may hold the message all the same: nothing is said of it before a restart.
    let mut w = World::online();
    w.slow_disk = true;
    w.send(1, None);
    let (op, _) = w.disk.pop_front().unwrap();
    w.client.handle(w.now(), Input::StoreDone(op, Err(StoreError::Failed)));
    w.run();
    assert!(
        matches!(w.events[..], [ClientEvent::Stopped(Stopped::Store(StoreError::Failed))]),
        "{:?}",
        w.events
    );
}

#[test]
fn a_journal_replays_the_run_and_shows_a_change() {
    let mut w = World::online();
    w.send(1, Some(Duration::from_millis(500)));
    w.push(1, 0, from_friend(1));
    w.answer_send(2, 2, 1, false);
    w.cut();
    w.later(1_000);
    w.call(Command::Close).unwrap();
    let saved = w.saved.clone();
    let Journal(bytes) = w.client.journal();
    let again = |bytes: &[u8], seed| {
        replay(&Journal(bytes.to_vec()), |now| Client::new(config(), saved.clone(), seed, now))
    };
    assert_eq!(again(&bytes, SEED), Ok(()));
    // Another seed shows where it matters first: in AUTH_REQ, after Start and Connected.
    let Err(JournalError::Diverged { entry, at }) = again(&bytes, [0; 32]) else { panic!("no difference") };
    assert!((3..10).contains(&entry), "{entry}");
    // Up to there it is the same run.
    assert_eq!(again(&bytes[..at], [0; 32]), Ok(()));
    let last = bytes.len() - 1;
    let mut changed = bytes.clone();
    changed[last] ^= 1;
    let Err(JournalError::Diverged { at, .. }) = again(&changed, SEED) else { panic!("not seen") };
    assert!(matches!(again(&bytes[..last], SEED), Err(JournalError::Malformed { at: cut, .. }) if cut == at));
}

#[test]
fn a_journal_sees_a_changed_body_that_debug_does_not_show() {
    let saved = |body: &'static [u8]| {
        let message = v2::StoredMessage { conv_seq: 4, body: Bytes::from_static(body), ..Default::default() };
        let inbound = Inbound { position: 4, conversation: talk(), message };
        Saved { unconfirmed: Vec::from([inbound]), ..Default::default() }
    };
    let mut w = World::with(saved(b"one body"));
    w.run();
    let journal = w.client.journal();
    let again = |body| replay(&journal, |now| Client::new(config(), saved(body), SEED, now));
    assert_eq!(again(b"one body"), Ok(()));
    assert!(matches!(again(b"two body"), Err(JournalError::Diverged { entry: 0, .. })));
}

#[test]
fn misuse_changes_nothing() {
    let mut w = World::online();
    let send = |id: u8, size: usize, conversation| Command::Send {
        conversation,
        client_msg_id: Some(ClientMsgId([id; 16])),
        body: Bytes::from(alloc::vec![0; size]),
        deadline: None,
    };
    assert_eq!(w.call(send(1, MAX_BODY + 1, talk())), Err(Misuse::TooLarge));
    assert_eq!(w.call(send(1, 1, ConversationId::direct(FRIEND, Uin(3)))), Err(Misuse::NotMember));
    assert!(w.call(send(1, 1, talk())).is_ok());
    assert_eq!(w.call(send(1, 1, talk())), Err(Misuse::DuplicateId));
    assert_eq!(w.call(Command::Start), Err(Misuse::State));
    w.cut();
    let mut n: u32 = 0;
    let full = loop {
        n += 1;
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let command = Command::Send {
            conversation: talk(),
            client_msg_id: Some(ClientMsgId(id)),
            body: Bytes::from(alloc::vec![0; MAX_BODY]),
            deadline: None,
        };
        if let Err(e) = w.call(command) {
            break e;
        }
    };
    assert_eq!((full, n as usize), (Misuse::OutboxFull, MAX_OUTBOX_BYTES / MAX_BODY));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any pushes in any order with any gaps and cuts: what is shown is 1, 2, 3 … without a hole.
    #[test]
    fn never_a_hole_never_twice(steps in prop::collection::vec((0..4u8, 1..12u64), 1..40)) {
        let mut w = World::with(Saved::default());
        w.call(Command::Start).unwrap();
        let mut head = 0;
        for (step, n) in steps {
            match step {
                0 => { head += n; }
                1 if w.server.is_some() && w.client.machine().is_online() && n <= head => w.push(n, n - 1, from_friend(n)),
                2 => { w.cut(); w.later(120_000); }
                _ => {}
            }
            if let Some(asked) = w.asked_sync() {
                let page: Vec<_> = (asked.cursor + 1..=head).take(5).map(|n| (n, from_friend(n))).collect();
                let next = page.last().map_or(asked.cursor, |(n, _)| *n);
                w.answer_sync(&page, next, next < head);
            }
            w.asked.retain(|(_, p)| p.id != PacketId::DELIVERED);
        }
        let shown = w.messages();
        let whole: Vec<_> = (1..=shown.len() as u64).collect();
        prop_assert_eq!(shown, whole);
    }
}
