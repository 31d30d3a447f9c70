//! Changes of every type, known and not, whole and broken, through a client and its store: what this version can't read is kept and comes out
//! again byte for byte, in its order, and is told once. For an older version every type is one it does not know.
#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::client::{Client, ClientConfig, ClientEvent, Command, Credential, Input, Output};
use ntproto_core::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::endpoint;
use ntproto_core::endpoint::server::{self, ServerEndpoint};
use ntproto_core::liveness::INTERVAL;
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::event::EventType;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_fuzz::STUB;
use ntproto_proto::v2::{self, SyncPacket};
use ntproto_sdk::store::{ClientStore as _, MemoryStore, Place};
use prost::Message;

/// Changes of one run.
const MAX: usize = 40;
const NOW: Now = Now { mono: Instant::ORIGIN, unix: UnixMillis(1_700_000_000_000) };
const BINDING: Binding = Binding { transport: TransportId::Quic, exporter: [5; 32] };

#[derive(Arbitrary, Debug)]
struct Run<'a> {
    /// How many come with the page, before the pushes.
    paged: u8,
    changes: Vec<Change<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Change<'a> {
    Raw {
        event_type: u32,
        payload: &'a [u8],
    },
    /// Of a type that is known, by bytes that may be one.
    Known {
        event_type: u8,
        payload: &'a [u8],
    },
    Message {
        event_type: u8,
        conversation: u8,
        conv_seq: u8,
        body: &'a [u8],
    },
    Receipt {
        member: u8,
        delivered: u8,
        read: u8,
    },
    Group {
        group: u8,
        name: &'a str,
        version: u8,
    },
    Friend {
        uin: u8,
        remark: &'a str,
    },
}

fn direct(n: u8) -> Bytes {
    let mut id = [0; 16];
    id[6..8].copy_from_slice(&10_001_u16.to_be_bytes());
    id[14..].copy_from_slice(&(10_002 + u16::from(n % 3)).to_be_bytes());
    Bytes::copy_from_slice(&id)
}

impl Change<'_> {
    fn packet(&self) -> SyncPacket {
        let of = |kind: EventType, payload: Vec<u8>| SyncPacket {
            event_type: kind as u32,
            payload: payload.into(),
        };
        match *self {
            Self::Raw { event_type, payload } => SyncPacket { event_type, payload: payload.to_vec().into() },
            Self::Known { event_type, payload } => {
                SyncPacket { event_type: u32::from(event_type % 9), payload: payload.to_vec().into() }
            }
            Self::Message { event_type, conversation, conv_seq, body } => {
                let message = v2::StoredMessage {
                    conversation: direct(conversation),
                    conv_seq: conv_seq.into(),
                    sender: 10_002,
                    sender_device: Bytes::from_static(&[9; 16]),
                    client_msg_id: Bytes::copy_from_slice(&[conv_seq; 16]),
                    stored_ms: 1,
                    body: body.to_vec().into(),
                    target_seq: u64::from(conv_seq / 2),
                    ..Default::default()
                };
                let kind =
                    [EventType::Message, EventType::Edit, EventType::Recall][usize::from(event_type % 3)];
                of(kind, message.encode_to_vec())
            }
            Self::Receipt { member, delivered, read } => {
                let receipt = v2::Receipt {
                    conversation: direct(0),
                    member: 10_001 + u64::from(member % 2),
                    delivered_seq: delivered.into(),
                    read_seq: read.into(),
                };
                of(EventType::Receipt, receipt.encode_to_vec())
            }
            Self::Group { group, name, version } => {
                let group = v2::Group {
                    group: group.into(),
                    name: name.into(),
                    version: version.into(),
                    ..Default::default()
                };
                of(EventType::Group, v2::GroupState { group: Some(group), me: None }.encode_to_vec())
            }
            Self::Friend { uin, remark } => {
                let friend = v2::Friend { uin: uin.into(), remark: remark.into(), ..Default::default() };
                of(EventType::Friend, friend.encode_to_vec())
            }
        }
    }
}

/// Whether this version can read it.
fn reads(packet: &SyncPacket) -> bool {
    fn is<M: Message + Default>(payload: &Bytes) -> bool {
        M::decode(payload.clone()).is_ok()
    }
    EventType::from_wire(packet.event_type).is_some_and(|kind| match kind {
        EventType::Message | EventType::Edit | EventType::Recall => is::<v2::StoredMessage>(&packet.payload),
        EventType::Receipt => is::<v2::Receipt>(&packet.payload),
        EventType::Friend => is::<v2::Friend>(&packet.payload),
        EventType::Group => is::<v2::GroupState>(&packet.payload),
        EventType::Gap => is::<v2::Gap>(&packet.payload),
        EventType::Profile => is::<v2::User>(&packet.payload),
        _ => panic!("{kind:?} is new: what does it hold?"),
    })
}

struct World {
    client: Client,
    server: ServerEndpoint,
    rng: Rng,
    store: MemoryStore,
    /// The request of the first page.
    sync: Option<(Channel, u32)>,
    told: Vec<SyncPacket>,
}

impl World {
    fn new() -> Self {
        let mut rng = Rng::new([6; 32]);
        let keys = Arc::new(ServerKeys::new(ServerKey::generate(&mut rng, &STUB, 1), None));
        let device = DeviceKeys::generate(&mut rng, &STUB);
        let mut config = ClientConfig::new(&STUB, *keys.current().public(), device);
        config.enrol = Some(Credential::Invitation([7; 16]));
        let mut store = MemoryStore::new();
        let saved = store.load_all().expect("memory");
        let client = Client::new(config, saved, [4; 32], NOW);
        let server = ServerEndpoint::new(NOW, &STUB, keys, BINDING, INTERVAL);
        Self { client, server, rng, store, sync: None, told: Vec::new() }
    }

    fn run(&mut self) {
        loop {
            let mut tx = TxBuf::new(1 << 20);
            match self.client.poll_output(NOW, Some(&mut tx)) {
                Output::Event(ClientEvent::Other(packet)) => self.told.push(packet),
                Output::Event(_) => {}
                Output::Store(op, txn) => {
                    self.store.commit(&[txn]).expect("memory");
                    self.client.handle(NOW, Input::StoreDone(op, Ok(())));
                }
                Output::Connect { .. } => self.client.handle(NOW, Input::Connected(BINDING)),
                Output::Disconnect(_) => panic!("a well-behaved server is left"),
                Output::Transmit { channel } => {
                    let data = tx.as_slice();
                    self.server.handle(NOW, endpoint::Input::Bytes { channel, data });
                    self.serve();
                }
                Output::Wait { .. } => return,
            }
        }
    }

    fn serve(&mut self) {
        loop {
            let mut tx = TxBuf::new(1 << 20);
            match self.server.poll_output(NOW, Some(&mut tx)) {
                endpoint::Output::Event(server::Event::AuthRequest(_)) => {
                    let ticket = v2::Ticket {
                        sealed: Bytes::from_static(&[1; 64]),
                        issued_ms: NOW.unix.0,
                        expires_ms: NOW.unix.0 + 900_000,
                    };
                    let grant = v2::Grant {
                        session_id: Bytes::from_static(&[1; 16]),
                        device_id: Bytes::from_static(&[2; 16]),
                        uin: 10_001,
                        version: "2.4.1".into(),
                        server_time_ms: NOW.unix.0,
                        ticket: Some(ticket),
                        limits: None,
                    };
                    self.server.call(NOW, &mut self.rng, server::Command::Grant(grant)).expect("asked");
                }
                endpoint::Output::Event(server::Event::Packet(channel, packet)) => {
                    if let (PacketId::SYNC, Kind::Request(id)) = (packet.id, packet.kind) {
                        self.sync = Some((channel, id));
                    }
                }
                endpoint::Output::Event(_) => {}
                endpoint::Output::Transmit { channel } => {
                    self.client.handle(NOW, Input::Bytes { channel, data: tx.as_slice() });
                }
                endpoint::Output::Wait { .. } => return,
            }
        }
    }

    fn tell(&mut self, channel: Channel, id: PacketId, kind: Kind, body: Vec<u8>) {
        let packet = Packet { id, kind, deadline_ms: None, trace: None, body: body.into() };
        self.server.call(NOW, &mut self.rng, server::Command::Send(channel, packet)).expect("open");
        self.serve();
        self.run();
    }
}

fuzz_target!(|run: Run| {
    let packets: Vec<_> = run.changes.iter().take(MAX).map(Change::packet).collect();
    let mut world = World::new();
    world.client.call(NOW, Command::Start).expect("new");
    world.run();
    let (channel, id) = world.sync.expect("a client reads its inbox first");
    let paged = usize::from(run.paged).min(packets.len());
    let (page, pushes) = packets.split_at(paged);
    let deltas =
        page.iter().zip(1..).map(|(packet, position)| v2::Delta { position, packet: Some(packet.clone()) });
    let response = v2::SyncResponse {
        epoch: Bytes::from_static(&[8; 16]),
        deltas: deltas.collect(),
        next: paged as u64,
        has_more: false,
        too_long: false,
    };
    world.tell(channel, PacketId::SYNC, Kind::Response(id), response.encode_to_vec());
    for (packet, position) in pushes.iter().zip(paged as u64 + 1..) {
        let notify = v2::Notify { position, previous: position - 1, packet: Some(packet.clone()) };
        world.tell(Channel::Message, PacketId::NOTIFY, Kind::Push, notify.encode_to_vec());
    }

    let expected: Vec<_> = packets.iter().zip(1_u64..).filter(|(packet, _)| !reads(packet)).collect();
    let kept = world.store.others(Place::START, usize::MAX).expect("memory");
    assert_eq!(kept.len(), expected.len());
    for ((place, packet), (was, position)) in kept.iter().zip(&expected) {
        assert!(packet == *was && place.position == *position, "changed on the way: {was:?}");
        assert_eq!(packet.encode_to_vec(), was.encode_to_vec());
    }
    assert!(world.told.iter().eq(expected.iter().map(|(packet, _)| *packet)), "told as they came");
    let saved = world.store.load_all().expect("memory");
    assert_eq!(saved.cursor, packets.len() as u64);
});
