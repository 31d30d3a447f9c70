//! A hub, its store and its clients on one desk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::endpoint::client::{
    ClientEndpoint, Command as ClientCommand, Config, Event, ServerIdentity,
};
use ntproto_core::endpoint::{Closed, Input as EndpointInput, Output as EndpointOutput, WaitReason};
use ntproto_core::ids::{ConversationId, DeviceId, Uin};
use ntproto_core::liveness::INTERVAL;
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::{TicketKey, TicketSealer};
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::packet::{Kind, Packet, PacketId, TRACE_LEN};
use ntproto_hub::journal::Recorder;
use ntproto_hub::store::memory::MemoryStore;
use ntproto_hub::store::txn::Boot;
use ntproto_hub::store::{OpId, Outcome, Store, StoreError, Txn};
use ntproto_hub::{Ask, AskId, ConnId, HostAsk, Hub, HubConfig, HubEvent, HubKeys, Input, Output};
use ntproto_proto::v2;
use ntproto_proto::v2::auth_request::Credential;
use prost::Message;

pub(crate) const BINDING: Binding = Binding { transport: TransportId::Quic, exporter: [5; 32] };
pub(crate) const START: u64 = 1_700_000_000_000;
pub(crate) const SEED: [u8; 32] = [2; 32];
pub(crate) const REMOTE: &str = "192.0.2.1:4433";

/// A client's end of a connection.
pub(crate) struct Peer {
    pub(crate) endpoint: ClientEndpoint,
    pub(crate) events: Vec<Event>,
    /// Every byte it sent, in order.
    pub(crate) sent: Vec<(Channel, Vec<u8>)>,
    last_request: u32,
}

pub(crate) struct Bench {
    /// Every run of every test is written down.
    pub(crate) hub: Recorder,
    boot: Boot,
    config: HubConfig,
    pub(crate) store: MemoryStore,
    pub(crate) now: Now,
    pub(crate) peers: BTreeMap<ConnId, Peer>,
    pub(crate) events: Vec<HubEvent>,
    pub(crate) closes: Vec<(ConnId, ErrorCode)>,
    pub(crate) resumed: Vec<ConnId>,
    pub(crate) asked: Vec<Ask>,
    pub(crate) abandoned: Vec<AskId>,
    pub(crate) host: Vec<HostAsk>,
    /// While set, transactions wait in `held`.
    pub(crate) hold: bool,
    /// While set, the hub is told that the socket is full.
    pub(crate) full: bool,
    /// While set, transports hold back the end of whatever they are given on MESSAGE, and say so.
    pub(crate) sticky: bool,
    /// While set, channels that the hub does not accept are left unread, for good.
    pub(crate) polite: bool,
    pub(crate) held: VecDeque<(OpId, Txn, Option<Instant>)>,
    pub(crate) rng: Rng,
    pub(crate) server: Arc<ServerKeys>,
    last_conn: u64,
}

pub(crate) fn config() -> HubConfig {
    HubConfig { open_registration: true, ..HubConfig::default() }
}

impl Bench {
    pub(crate) fn new(config: HubConfig) -> Self {
        let mut rng = Rng::new([1; 32]);
        let server = Arc::new(ServerKeys::new(ServerKey::generate(&mut rng, &RUSTCRYPTO, 1), None));
        let now = Now { mono: Instant::from_micros(1_000), unix: UnixMillis(START) };
        let mut store = MemoryStore::new();
        let boot = boot(&mut store, now);
        Self {
            hub: Recorder::new(hub(config, &boot, &server, now, SEED), now),
            boot,
            config,
            store,
            now,
            peers: BTreeMap::new(),
            events: Vec::new(),
            closes: Vec::new(),
            resumed: Vec::new(),
            asked: Vec::new(),
            abandoned: Vec::new(),
            host: Vec::new(),
            hold: false,
            full: false,
            sticky: false,
            polite: false,
            held: VecDeque::new(),
            rng,
            server,
            last_conn: 0,
        }
    }

    /// The server process dies and starts again on its store.
    pub(crate) fn restart(&mut self, config: HubConfig) {
        self.peers.clear();
        self.held.clear();
        self.store.crash(false);
        self.boot = boot(&mut self.store, self.now);
        self.config = config;
        self.hub = Recorder::new(hub(config, &self.boot, &self.server, self.now, SEED), self.now);
    }

    /// A hub in the state this one started from.
    pub(crate) fn hub_again(&self, now: Now, seed: [u8; 32]) -> Hub {
        hub(self.config, &self.boot, &self.server, now, seed)
    }

    pub(crate) fn accepts(&mut self, conn: ConnId) -> bool {
        self.hub.accepts(self.now, conn, Channel::Message)
    }

    pub(crate) fn device(&mut self) -> DeviceKeys {
        DeviceKeys::generate(&mut self.rng, &RUSTCRYPTO)
    }

    pub(crate) fn request(&self, credential: Credential) -> v2::AuthRequest {
        v2::AuthRequest {
            credential: Some(credential),
            fingerprint_hash: Bytes::from_static(&[0; 32]),
            timestamp_ms: self.hub.server_time(self.now).0,
            versions: vec!["2.4.1".into()],
            transports: vec!["quic".into()],
            device_name: "a device".into(),
            ..Default::default()
        }
    }

    /// Opens a transport; nothing is sent on it yet.
    pub(crate) fn transport(&mut self) -> ConnId {
        self.transport_bound_by(BINDING)
    }

    pub(crate) fn transport_bound_by(&mut self, binding: Binding) -> ConnId {
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        let remote = REMOTE.parse().unwrap();
        self.hub.handle(self.now, Input::Opened { conn, binding, remote });
        conn
    }

    /// The transport of an early session is up, at both ends.
    pub(crate) fn bound(&mut self, conn: ConnId) {
        self.hub.handle(self.now, Input::Bound { conn, binding: BINDING });
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.endpoint.handle(self.now, EndpointInput::Bound(BINDING));
        }
        self.run();
    }

    /// Connects with a request, and lets everything settle.
    pub(crate) fn connect_with(&mut self, device: &DeviceKeys, request: v2::AuthRequest) -> ConnId {
        let conn = self.transport();
        self.greet(conn, device, request);
        conn
    }

    /// Sends AUTH_REQ on a transport, and lets everything settle.
    pub(crate) fn greet(&mut self, conn: ConnId, device: &DeviceKeys, request: v2::AuthRequest) {
        // One that asks for a first page is early, and its page is its first request.
        let first = request.early.as_ref().map(|early| early.request_id);
        let binding = first.map_or(BINDING, |_| Binding::EARLY);
        let config = Config {
            provider: &RUSTCRYPTO,
            server: ServerIdentity::Known(*self.server.current().public()),
            binding,
            heartbeat: INTERVAL,
        };
        let endpoint = ClientEndpoint::new(self.now, config, device, request, &mut self.rng).unwrap();
        let peer = Peer { endpoint, events: Vec::new(), sent: Vec::new(), last_request: first.unwrap_or(0) };
        self.peers.insert(conn, peer);
        self.run();
    }

    pub(crate) fn connect(&mut self, device: &DeviceKeys, credential: Credential) -> ConnId {
        let request = self.request(credential);
        self.connect_with(device, request)
    }

    pub(crate) fn known(&mut self, device: &DeviceKeys) -> ConnId {
        self.connect(device, Credential::KnownDevice(v2::KnownDevice {}))
    }

    /// A new account, connected and confirmed.
    pub(crate) fn account(&mut self) -> (DeviceKeys, ConnId, v2::Grant) {
        let device = self.device();
        let conn = self.connect(&device, Credential::OpenRegistration(v2::OpenRegistration {}));
        let grant = self.granted(conn);
        self.sync(conn, 0);
        (device, conn, grant)
    }

    #[track_caller]
    pub(crate) fn granted(&mut self, conn: ConnId) -> v2::Grant {
        let events = &self.peers[&conn].events;
        match events.iter().find(|event| matches!(event, Event::Granted(_))) {
            Some(Event::Granted(grant)) => grant.clone(),
            _ => panic!("not granted: {events:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn refused(&mut self, conn: ConnId) -> ErrorCode {
        let events = &self.peers[&conn].events;
        match events.iter().find(|event| matches!(event, Event::Refused(_))) {
            Some(Event::Refused(refusal)) => ErrorCode::from_wire(refusal.code).unwrap(),
            _ => panic!("not refused: {events:?}"),
        }
    }

    /// Why the client's end of a connection is over, if it is.
    pub(crate) fn closed(&self, conn: ConnId) -> Option<Closed> {
        self.peers[&conn].events.iter().find_map(|event| match event {
            Event::Closed(why) => Some(*why),
            _ => None,
        })
    }

    /// Queues a request at the client; answers its number.
    pub(crate) fn ask(
        &mut self,
        conn: ConnId,
        channel: Channel,
        id: PacketId,
        body: Bytes,
        ms: Option<u32>,
    ) -> u32 {
        self.ask_traced(conn, channel, id, body, ms, None)
    }

    /// [`ask`](Self::ask) within a trace.
    pub(crate) fn ask_traced(
        &mut self,
        conn: ConnId,
        channel: Channel,
        id: PacketId,
        body: Bytes,
        ms: Option<u32>,
        trace: Option<[u8; TRACE_LEN]>,
    ) -> u32 {
        let peer = self.peers.get_mut(&conn).unwrap();
        peer.last_request += 1;
        let kind = Kind::Request(peer.last_request);
        let packet = Packet { id, kind, deadline_ms: ms, trace, body };
        peer.endpoint.call(self.now, ClientCommand::Send(channel, packet)).unwrap();
        peer.last_request
    }

    /// The answer to a request, if it came.
    pub(crate) fn answer(&mut self, conn: ConnId, number: u32) -> Option<Result<Bytes, v2::Error>> {
        self.peers[&conn].events.iter().find_map(|event| match event {
            Event::Packet(_, Packet { kind: Kind::Response(n), body, .. }) if *n == number => {
                Some(Ok(body.clone()))
            }
            Event::Packet(_, Packet { kind: Kind::Error(n), body, .. }) if *n == number => {
                Some(Err(v2::Error::decode(body.clone()).unwrap()))
            }
            _ => None,
        })
    }

    /// Asks and waits for the answer.
    #[track_caller]
    pub(crate) fn raw(
        &mut self,
        conn: ConnId,
        channel: Channel,
        id: PacketId,
        body: Bytes,
    ) -> Result<Bytes, ErrorCode> {
        let number = self.ask(conn, channel, id, body, None);
        self.run();
        let answer = self.answer(conn, number).expect("every request is answered");
        answer.map_err(|error| ErrorCode::from_wire(error.code).unwrap())
    }

    #[track_caller]
    pub(crate) fn call<R: Message + Default>(
        &mut self,
        conn: ConnId,
        id: PacketId,
        body: &impl Message,
    ) -> Result<R, ErrorCode> {
        let on_sync = [PacketId::SYNC, PacketId::HISTORY, PacketId::SNAPSHOT].contains(&id);
        let channel = if on_sync { Channel::Sync } else { Channel::Message };
        self.raw(conn, channel, id, body.encode_to_vec().into()).map(|body| R::decode(body).unwrap())
    }

    #[track_caller]
    pub(crate) fn sync(&mut self, conn: ConnId, cursor: u64) -> v2::SyncResponse {
        let epoch = if cursor == 0 { Bytes::new() } else { Bytes::from_static(&[0xe1; 16]) };
        self.call(conn, PacketId::SYNC, &v2::SyncRequest { epoch, cursor, limit: 100 }).unwrap()
    }

    #[track_caller]
    pub(crate) fn send(&mut self, conn: ConnId, to: ConversationId, id: u8, body: &[u8]) -> v2::SendResponse {
        self.call(conn, PacketId::SEND, &message(to, id, body)).unwrap()
    }

    /// The changes pushed to a connection so far, taken out.
    pub(crate) fn notified(&mut self, conn: ConnId) -> Vec<v2::Notify> {
        let events = &mut self.peers.get_mut(&conn).unwrap().events;
        let mut pushes = Vec::new();
        events.retain(|event| match event {
            Event::Packet(channel, Packet { id: PacketId::NOTIFY, kind: Kind::Push, body, .. }) => {
                assert_eq!(*channel, Channel::Message);
                pushes.push(v2::Notify::decode(body.clone()).unwrap());
                false
            }
            _ => true,
        });
        pushes
    }

    /// The pushes of one kind to a connection so far, taken out.
    pub(crate) fn told(&mut self, conn: ConnId, id: PacketId) -> Vec<Bytes> {
        let events = &mut self.peers.get_mut(&conn).unwrap().events;
        let mut pushes = Vec::new();
        events.retain(|event| match event {
            Event::Packet(channel, Packet { id: of, kind: Kind::Push, body, .. }) if *of == id => {
                assert_eq!(*channel, Channel::Message);
                pushes.push(body.clone());
                false
            }
            _ => true,
        });
        pushes
    }

    /// Lets time pass as it does: everybody's heartbeats come on time.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now.mono + time;
        while self.now.mono < until {
            self.advance(until.saturating_since(self.now.mono).min(Duration::from_secs(5)));
        }
    }

    /// A transaction beside the hub, as an operator's.
    #[track_caller]
    pub(crate) fn beside(&mut self, txn: Txn) -> Outcome {
        self.store.commit(&[txn]).pop().unwrap().unwrap()
    }

    /// The transport of a connection takes these channels only.
    pub(crate) fn writable(&mut self, conn: ConnId, channels: ChannelSet) {
        self.hub.handle(self.now, Input::Writable { conn, channels });
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now.mono = self.now.mono + by;
        self.now.unix = self.now.unix + by;
        self.run();
    }

    /// Runs what the store was asked for, held or not.
    pub(crate) fn release(&mut self) {
        self.hold = false;
        while let Some((op, txn, _)) = self.held.pop_front() {
            self.execute(op, txn);
        }
        self.run();
    }

    pub(crate) fn execute(&mut self, op: OpId, txn: Txn) {
        let result = self.store.commit(&[txn]).pop().unwrap();
        self.done(op, result);
    }

    pub(crate) fn done(&mut self, op: OpId, result: Result<Outcome, StoreError>) {
        self.hub.handle(self.now, Input::StoreDone { op, result });
    }

    /// Passes bytes and transactions until everybody is quiet.
    pub(crate) fn run(&mut self) {
        loop {
            let mut quiet = true;
            let ids: Vec<ConnId> = self.peers.keys().copied().collect();
            for conn in ids {
                quiet &= !self.client_sends(conn);
            }
            quiet &= !self.hub_sends();
            if quiet {
                return;
            }
        }
    }

    fn client_sends(&mut self, conn: ConnId) -> bool {
        let mut busy = false;
        loop {
            let peer = self.peers.get_mut(&conn).unwrap();
            let mut tx = TxBuf::new(64 * 1024);
            match peer.endpoint.poll_output(self.now, Some(&mut tx)) {
                EndpointOutput::Event(event) => peer.events.push(event),
                EndpointOutput::Transmit { channel } => {
                    peer.sent.push((channel, tx.as_slice().to_vec()));
                    if !self.polite || self.hub.accepts(self.now, conn, channel) {
                        self.hub.handle(self.now, Input::Bytes { conn, channel, data: tx.as_slice() });
                    }
                }
                EndpointOutput::Wait { at, .. } => {
                    assert!(at.is_none_or(|at| at > self.now.mono), "a client's timer that never ends");
                    return busy;
                }
            }
            busy = true;
        }
    }

    fn hub_sends(&mut self) -> bool {
        let mut busy = false;
        loop {
            let mut tx = TxBuf::new(64 * 1024);
            let room = if self.full { None } else { Some(&mut tx) };
            match self.hub.poll_output(self.now, room) {
                Output::Transmit { conn, channel } => {
                    assert!(!self.full, "bytes without room");
                    if let Some(peer) = self.peers.get_mut(&conn) {
                        peer.endpoint.handle(self.now, EndpointInput::Bytes { channel, data: tx.as_slice() });
                    }
                    if self.sticky && channel == Channel::Message {
                        self.writable(conn, ChannelSet::ALL.without(channel));
                    }
                }
                Output::Store { op, txn, deadline } if self.hold => self.held.push_back((op, txn, deadline)),
                Output::Store { op, txn, .. } => self.execute(op, txn),
                Output::Close { conn, code } => {
                    self.closes.push((conn, code));
                    if let Some(peer) = self.peers.get_mut(&conn) {
                        peer.endpoint.handle(self.now, EndpointInput::TransportClosed);
                    }
                }
                Output::Resume { conn } => self.resumed.push(conn),
                Output::Ask(ask) => self.asked.push(ask),
                Output::Host(ask) => self.host.push(ask),
                Output::Abandoned { ask } => self.abandoned.push(ask),
                Output::Event(event) => self.events.push(event),
                Output::Wait { at, why } => {
                    assert_eq!(at.is_none(), why == WaitReason::Idle, "a timer has a reason");
                    assert!(at.is_none_or(|at| at > self.now.mono), "a timer that never ends");
                    return busy;
                }
            }
            busy = true;
        }
    }
}

fn boot(store: &mut MemoryStore, now: Now) -> Boot {
    let boot = Txn::Boot { wall: now.unix, epoch: [0xe1; 16] };
    let Some(Ok(Outcome::Booted(boot))) = store.commit(&[boot]).pop() else { panic!("no boot") };
    boot
}

fn hub(config: HubConfig, boot: &Boot, server: &Arc<ServerKeys>, now: Now, seed: [u8; 32]) -> Hub {
    let key = TicketKey::generate(&mut Rng::new([3; 32]), 1, UnixMillis(START));
    let keys = HubKeys {
        provider: &RUSTCRYPTO,
        server: Arc::clone(server),
        tickets: TicketSealer::new(&RUSTCRYPTO, key, None),
    };
    Hub::new(config, boot, keys, seed, now)
}

pub(crate) fn uin(grant: &v2::Grant) -> Uin {
    Uin(grant.uin)
}

pub(crate) fn device_id(grant: &v2::Grant) -> DeviceId {
    DeviceId::from_slice(&grant.device_id).unwrap()
}

pub(crate) fn ticket(grant: &v2::Grant) -> Credential {
    Credential::Ticket(grant.ticket.as_ref().unwrap().sealed.clone())
}

pub(crate) fn message(to: ConversationId, id: u8, body: &[u8]) -> v2::SendRequest {
    v2::SendRequest {
        conversation: Bytes::copy_from_slice(&to.0),
        client_msg_id: Bytes::copy_from_slice(&[id; 16]),
        body: Bytes::copy_from_slice(body),
        resolve_only: false,
        ..Default::default()
    }
}

/// The message inside a push.
pub(crate) fn pushed(notify: &v2::Notify) -> v2::StoredMessage {
    v2::StoredMessage::decode(notify.packet.as_ref().unwrap().payload.clone()).unwrap()
}
