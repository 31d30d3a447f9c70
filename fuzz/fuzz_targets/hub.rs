//! The whole server behind the transport: devices that sign in and then do anything, a store that is slow, fails and
//! forgets, and a host that stops reading or drains.
#![no_main]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::identity::{ServerKey, ServerKeys};
use ntproto_core::crypto::secret::Secret;
use ntproto_core::dispatch::Outcome as Answer;
use ntproto_core::endpoint::FRAME_TARGET;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::{TicketKey, TicketSealer};
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::frame::{Decoded, MAX_PAYLOAD, decode};
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_fuzz::STUB;
use ntproto_fuzz::peer::{AnyPacket, Peer, Sent, noise_request_of};
use ntproto_hub::store::memory::MemoryStore;
use ntproto_hub::store::txn::Boot;
use ntproto_hub::store::{OpId, Outcome, Store, StoreError, Txn};
use ntproto_hub::{AskId, Command, ConnId, Hub, HubConfig, HubEvent, HubKeys, Input, Output, Push};
use ntproto_proto::v2::{self, auth_request};
use prost::Message as _;

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    /// A transport, that is up or takes early data.
    Open {
        early: bool,
    },
    /// One that took early data is up.
    Bound(u8),
    /// An honest AUTH_REQ of one of a few devices.
    SignIn {
        conn: u8,
        device: u8,
        ephemeral: u8,
        known: bool,
        /// With a first page, after this cursor.
        early: Option<u8>,
        late: i8,
    },
    Peer(u8, Sent<'a>),
    /// A request where it belongs.
    Request(u8, AnyPacket<'a>),
    Writable(u8, u8),
    Gone(u8),
    /// The store answers so many transactions.
    Store(u8),
    /// It answers one with a failure.
    StoreFails(u8),
    Later(u16),
    Close(u8),
    UpdateKeys(u8),
    Drain,
    /// The application answers one of the requests it knows of, perhaps one that is over: with so much, or not.
    Answer(u8, Option<u16>),
    /// The application tells an account something.
    Tell(u8, u16),
    /// The host is done with what an administrator asked for.
    HostDone(bool),
}

#[derive(Arbitrary, Debug)]
struct Script<'a> {
    /// Devices that are let in before it begins.
    signed_in: u8,
    ops: Vec<Op<'a>>,
}

const WALL: u64 = 1_780_272_000_000;
const MAX_CONNS: usize = 6;
/// Each byte of an invitation that makes administrators.
const ADMINS: u8 = 0xad;
/// What transports are bound by, once they are up.
const BOUND: Binding = Binding { transport: TransportId::Quic, exporter: [3; 32] };

/// What the host knows of a connection.
struct Conn {
    peer: Peer,
    uin: Option<Uin>,
    writable: ChannelSet,
    /// The hub took it down, or was told that it is gone.
    over: bool,
    /// The hub said how it ended.
    told: bool,
}

struct World {
    hub: Hub,
    store: MemoryStore,
    ops: VecDeque<(OpId, Txn)>,
    seen_ops: BTreeSet<OpId>,
    /// What the application was asked and did not answer.
    asked: Vec<AskId>,
    /// What it need not answer any more.
    abandoned: BTreeSet<AskId>,
    /// What the host is at.
    host: Option<AskId>,
    conns: Vec<Conn>,
    micros: u64,
    tx: TxBuf,
    drained: bool,
    draining: bool,
    /// Messages the store holds, by conversation.
    stored: BTreeMap<ConversationId, u64>,
    most_stored: u64,
}

impl World {
    fn new() -> Self {
        let mut store = MemoryStore::new();
        let boot = Txn::Boot { wall: UnixMillis(WALL), epoch: [0xee; 16] };
        let boot: Boot = match store.commit(&[boot]).remove(0) {
            Ok(Outcome::Booted(boot)) => boot,
            other => panic!("an empty store boots: {other:?}"),
        };
        let invitation = Txn::CreateInvitation {
            by: None,
            code_hash: STUB.sha256(&[&[ADMINS; 16]]),
            uses: 100,
            expires: UnixMillis(u64::MAX),
            may_invite: true,
            admin: true,
            account: None,
            audit: None,
        };
        assert!(store.commit(&[invitation])[0].is_ok());
        let mut rng = Rng::new([1; 32]);
        let keys = HubKeys {
            provider: &STUB,
            server: Arc::new(ServerKeys::new(
                ServerKey::from_secret(&STUB, Secret::new([0x51; 32]), 1),
                None,
            )),
            tickets: TicketSealer::new(&STUB, TicketKey::generate(&mut rng, 1, UnixMillis(WALL)), None),
        };
        // Small bounds, so that a short script reaches them.
        let config = HubConfig {
            open_registration: true,
            ticket_lifetime: Duration::from_secs(60),
            max_connections: MAX_CONNS - 1,
            max_requests: 8,
            max_request_bytes: 4096,
            max_ops: 16,
            max_op_bytes: 8192,
            max_remembered: 6,
            max_body: 512,
            max_conn_asks: 3,
            max_asks: 6,
            ..HubConfig::default()
        };
        let micros = 1_000_000;
        let now = Now { mono: Instant::from_micros(micros), unix: UnixMillis(WALL) };
        Self {
            hub: Hub::new(config, &boot, keys, [2; 32], now),
            store,
            ops: VecDeque::new(),
            seen_ops: BTreeSet::new(),
            asked: Vec::new(),
            abandoned: BTreeSet::new(),
            host: None,
            conns: Vec::new(),
            micros,
            tx: TxBuf::new(2 * FRAME_TARGET),
            drained: false,
            draining: false,
            stored: BTreeMap::new(),
            most_stored: 0,
        }
    }

    fn now(&self) -> Now {
        Now { mono: Instant::from_micros(self.micros), unix: UnixMillis(WALL + self.micros / 1000) }
    }

    /// One of the connections there are.
    fn pick(&self, n: u8) -> Option<usize> {
        let no = usize::from(n) % self.conns.len().max(1);
        self.conns.get(no).filter(|conn| !conn.over).map(|_| no)
    }

    fn op(&mut self, op: &Op<'_>) {
        let now = self.now();
        match op {
            Op::Open { early } if self.conns.len() < MAX_CONNS * 3 => {
                let conn = ConnId(self.conns.len() as u64);
                let binding = if *early { Binding::EARLY } else { BOUND };
                let remote = SocketAddr::from(([10, 0, 0, 1], 7));
                let writable = ChannelSet::ALL;
                let peer = Peer::default();
                self.conns.push(Conn { peer, uin: None, writable, over: false, told: false });
                self.hub.handle(now, Input::Opened { conn, binding, remote });
            }
            Op::Bound(n) => {
                let Some(no) = self.pick(*n) else { return };
                self.hub.handle(now, Input::Bound { conn: ConnId(no as u64), binding: BOUND });
            }
            Op::SignIn { conn, device, ephemeral, known, early, late } => {
                let Some(no) = self.pick(*conn) else { return };
                let credential = if device % 4 == 3 && !*known {
                    auth_request::Credential::Invitation(vec![ADMINS; 16].into())
                } else if *known {
                    auth_request::Credential::KnownDevice(v2::KnownDevice {})
                } else {
                    auth_request::Credential::OpenRegistration(v2::OpenRegistration {})
                };
                let device = 0xc0 + device % 4;
                let time = self.hub.server_time(now).0.saturating_add_signed(i64::from(*late) * 1000);
                let request = v2::AuthRequest {
                    credential: Some(credential),
                    signing_key: vec![device; 32].into(),
                    fingerprint_hash: vec![1; 32].into(),
                    timestamp_ms: time,
                    versions: vec!["2.4.1".into()],
                    signature: vec![0; 64].into(),
                    early: early.map(|cursor| v2::EarlyStart {
                        sync: Some(v2::SyncRequest { cursor: cursor.into(), ..Default::default() }),
                        request_id: 1,
                    }),
                    ..Default::default()
                };
                let message = noise_request_of(device, *ephemeral, &request.encode_to_vec());
                let data = self.conns[no].peer.auth_req(&message);
                self.bytes(no, Channel::Control, &data);
            }
            Op::Peer(n, sent) => {
                let Some(no) = self.pick(*n) else { return };
                let open = self.conns[no].uin.is_some();
                let (channel, data) = self.conns[no].peer.bytes(sent, open);
                self.bytes(no, channel, &data);
            }
            Op::Request(n, packet) => {
                let Some(no) = self.pick(*n) else { return };
                let (channel, data) = self.conns[no].peer.request(packet);
                self.bytes(no, channel, &data);
            }
            Op::Writable(n, bits) => {
                let Some(no) = self.pick(*n) else { return };
                let channels = Channel::STREAMS
                    .into_iter()
                    .filter(|c| bits & (1 << c.index()) != 0)
                    .fold(ChannelSet::NONE, ChannelSet::with);
                self.conns[no].writable = channels;
                self.hub.handle(now, Input::Writable { conn: ConnId(no as u64), channels });
            }
            Op::Gone(n) => {
                let Some(no) = self.pick(*n) else { return };
                self.conns[no].over = true;
                self.hub.handle(now, Input::Closed { conn: ConnId(no as u64) });
            }
            Op::Store(count) => (0..=*count).for_each(|_| self.store_answers(None)),
            Op::StoreFails(n) => {
                const FAILURES: [StoreError; 4] =
                    [StoreError::Unavailable, StoreError::Full, StoreError::Corrupt, StoreError::Expired];
                self.store_answers(Some(FAILURES[usize::from(n % 4)]));
            }
            Op::Later(ms) => {
                self.micros += u64::from(*ms) * 1000;
                let now = self.now();
                self.hub.handle(now, Input::Timeout);
            }
            Op::Close(n) => {
                let Some(no) = self.pick(*n) else { return };
                let _ = self.hub.call(now, Command::Close(ConnId(no as u64), ErrorCode::Normal));
            }
            Op::UpdateKeys(n) => {
                let Some(no) = self.pick(*n) else { return };
                let _ = self.hub.call(now, Command::UpdateKeys(ConnId(no as u64)));
            }
            Op::Drain => {
                self.draining |= self.hub.call(now, Command::Drain).is_ok();
            }
            Op::Answer(n, body) if !self.asked.is_empty() => {
                let ask = self.asked.swap_remove(usize::from(*n) % self.asked.len());
                let answer = match body {
                    Some(len) => Answer::Answered(vec![7; usize::from(*len)].into()),
                    None => Answer::Panicked,
                };
                self.hub.handle(now, Input::Answered { ask, answer });
            }
            Op::Tell(n, len) => {
                let Some(to) = self.pick(*n).and_then(|no| self.conns[no].uin) else { return };
                let body = vec![7; usize::from(*len)].into();
                self.hub.handle(now, Input::Push(Push { to, packet: PacketId::APPLICATION, body }));
            }
            Op::HostDone(done) => {
                let Some(ask) = self.host.take() else { return };
                let answer = if *done { Answer::Answered(vec![7; 9].into()) } else { Answer::Panicked };
                self.hub.handle(now, Input::HostAnswered { ask, answer });
            }
            Op::Open { .. } | Op::Answer(..) => {}
        }
        self.drain();
    }

    /// A careful host asks before it reads; a little may be on its way nevertheless.
    fn bytes(&mut self, no: usize, channel: Channel, data: &[u8]) {
        let now = self.now();
        let conn = ConnId(no as u64);
        let _ = self.hub.accepts(conn, channel);
        self.hub.handle(now, Input::Bytes { conn, channel, data });
    }

    fn store_answers(&mut self, failure: Option<StoreError>) {
        let Some((op, txn)) = self.ops.pop_front() else { return };
        let result = match failure {
            Some(error) => Err(error),
            None => self.store.commit(std::slice::from_ref(&txn)).remove(0),
        };
        if let (Txn::Append(append), Ok(Outcome::Appended { conv_seq, duplicate, .. })) = (&txn, &result) {
            let head = self.stored.entry(append.conversation).or_default();
            if !duplicate {
                assert_eq!(*conv_seq, *head + 1, "no gap in a conversation");
                *head = *conv_seq;
            }
            self.most_stored = self.most_stored.max(*conv_seq);
        }
        let now = self.now();
        self.hub.handle(now, Input::StoreDone { op, result });
        self.drain();
    }

    fn drain(&mut self) {
        let now = self.now();
        for _ in 0..100_000 {
            self.tx.clear();
            match self.hub.poll_output(now, Some(&mut self.tx)) {
                Output::Transmit { conn, channel } => {
                    let conn = &self.conns[conn.0 as usize];
                    assert!(!conn.over && conn.writable.contains(channel));
                    self.sent(self.tx.as_slice(), conn, channel);
                }
                Output::Store { op, txn, .. } => {
                    assert!(self.seen_ops.insert(op), "an op is named once");
                    self.ops.push_back((op, txn));
                }
                Output::Close { conn, .. } => {
                    let conn = &mut self.conns[conn.0 as usize];
                    assert!(!std::mem::replace(&mut conn.over, true), "Close comes once");
                }
                Output::Ask(ask) => {
                    let conn = &self.conns[ask.conn.0 as usize];
                    assert_eq!(conn.uin, Some(ask.uin), "it names who asks");
                    assert!(ask.packet.is_application() && ask.deadline > now.mono);
                    self.asked.push(ask.id);
                }
                Output::Host(ask) => assert!(self.host.replace(ask.id).is_none(), "one at a time"),
                Output::Abandoned { ask } => assert!(self.abandoned.insert(ask), "abandoned once"),
                Output::Resume { conn } => assert!(!self.conns[conn.0 as usize].over),
                Output::Event(HubEvent::In { conn, uin, .. }) => {
                    let conn = &mut self.conns[conn.0 as usize];
                    assert!(conn.uin.replace(uin).is_none() && !self.draining);
                }
                Output::Event(HubEvent::Closed { conn, .. }) => {
                    let conn = &mut self.conns[conn.0 as usize];
                    assert!(!std::mem::replace(&mut conn.told, true), "Closed comes once");
                }
                Output::Event(HubEvent::Drained) => {
                    assert!(self.draining && !std::mem::replace(&mut self.drained, true));
                }
                Output::Event(_) => {}
                Output::Wait { at, .. } => {
                    assert!(at.is_none_or(|at| at > now.mono), "nothing is due and nothing was done");
                    assert_eq!(self.hub.in_store(), self.ops.len());
                    return;
                }
            }
        }
        panic!("it never waits");
    }

    /// Reads what a connection is sent: nothing unstored is acknowledged, nobody sees what is not theirs.
    fn sent(&self, mut bytes: &[u8], conn: &Conn, channel: Channel) {
        while !bytes.is_empty() {
            let Ok(Decoded::Frame { header, payload, consumed }) = decode(bytes, MAX_PAYLOAD) else {
                panic!("half a frame")
            };
            assert_eq!(header.channel, channel);
            bytes = &bytes[consumed..];
            if channel == Channel::Control {
                continue;
            }
            let uin = conn.uin.expect("packets go to devices that were let in");
            // The stub seals nothing: number, nonce, plaintext, tag.
            let mut plain = bytes::Bytes::copy_from_slice(&payload[20..payload.len() - 16]);
            while !plain.is_empty() {
                let packet = Packet::decode(&mut plain).expect("a packet");
                self.packet(uin, &packet);
            }
        }
    }

    fn packet(&self, uin: Uin, packet: &Packet) {
        let changes = match (packet.id, packet.kind) {
            (PacketId::SEND, Kind::Response(_)) => {
                let response = v2::SendResponse::decode(packet.body.clone()).expect("a SendResponse");
                assert!(response.conv_seq > 0 && response.conv_seq <= self.most_stored);
                return;
            }
            (PacketId::NOTIFY, Kind::Push) => {
                let notify = v2::Notify::decode(packet.body.clone()).expect("a Notify");
                assert!(notify.previous < notify.position);
                vec![notify.packet.expect("a change")]
            }
            (PacketId::SYNC, Kind::Response(_)) => {
                let page = v2::SyncResponse::decode(packet.body.clone()).expect("a SyncResponse");
                assert!(page.deltas.windows(2).all(|w| w[0].position < w[1].position));
                page.deltas.into_iter().map(|delta| delta.packet.expect("a change")).collect()
            }
            _ => return,
        };
        for change in changes {
            let conversation = match change.event_type {
                1 | 7 | 8 => v2::StoredMessage::decode(change.payload).expect("a message").conversation,
                2 => v2::Receipt::decode(change.payload).expect("a receipt").conversation,
                5 => v2::Gap::decode(change.payload).expect("a gap").conversation,
                3 => {
                    let friend = v2::Friend::decode(change.payload).expect("a friend");
                    assert_ne!(friend.uin, uin.0, "nobody has a record of themselves");
                    continue;
                }
                4 => {
                    let state = v2::GroupState::decode(change.payload).expect("a group");
                    assert!(state.me.is_none_or(|me| me.uin == uin.0), "one's own standing");
                    continue;
                }
                6 => {
                    assert_eq!(v2::User::decode(change.payload).expect("a profile").uin, uin.0, "one's own");
                    continue;
                }
                other => panic!("event type {other}"),
            };
            let id = ConversationId::from_slice(&conversation).expect("16 bytes");
            match id.members() {
                Some((low, high)) => assert!(uin == low || uin == high, "only a member sees it"),
                None => assert!(id.group().is_some(), "a group's"),
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(script) = Script::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut world = World::new();
    for n in 0..script.signed_in % 4 {
        world.op(&Op::Open { early: false });
        world.op(&Op::SignIn { conn: n, device: n, ephemeral: 0x80 + n, known: false, early: None, late: 0 });
        world.op(&Op::Store(1));
    }
    for op in script.ops.iter().take(400) {
        world.op(op);
    }
    // However it went, a drain ends everything in bounded time.
    world.op(&Op::Drain);
    for _ in 0..4 {
        while !world.ops.is_empty() {
            world.store_answers(None);
        }
        world.op(&Op::Later(30_000));
    }
    assert!(world.asked.iter().all(|ask| world.abandoned.contains(ask)), "nobody is waited for for ever");
    assert!(world.drained && world.hub.connections() == 0 && world.hub.in_store() == 0);
    assert!(world.conns.iter().all(|conn| conn.told && conn.over));
});
