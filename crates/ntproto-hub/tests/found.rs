//! What the simulator found in the store, as small as it gets.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, GroupId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_hub::store::act::{Act, Acted, Actor};
use ntproto_hub::store::memory::MemoryStore;
use ntproto_hub::store::txn::{Append, Change, EnrolVia, NewDevice, Watermark};
use ntproto_hub::store::{Outcome, Store as _, Txn};
use ntproto_proto::v2::{self, OnlineStatus};
use prost::Message as _;

struct World {
    store: MemoryStore,
    now: u64,
}

impl World {
    fn new() -> Self {
        Self { store: MemoryStore::new(), now: 1_000 }
    }

    fn run(&mut self, txn: Txn) -> Outcome {
        self.store.commit(&[txn]).pop().unwrap().unwrap()
    }

    fn enrol(&mut self, n: u8) -> Actor {
        let keys = NewDevice {
            id: DeviceId([n; 16]),
            signing_key: [n; 32],
            static_key: [n; 32],
            name: String::new(),
        };
        let now = UnixMillis(self.now);
        let enrolled = self.run(Txn::Enrol { via: EnrolVia::Open, device: keys, now });
        let Outcome::Enrolled(device) = enrolled else { panic!("{enrolled:?}") };
        Actor { uin: device.uin, device: device.id, now }
    }

    fn act(&mut self, by: Actor, act: Act) -> Acted {
        let by = Actor { now: UnixMillis(self.now), ..by };
        match self.run(Txn::Act { by, act }) {
            Outcome::Acted(acted) => acted,
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, by: Actor, conversation: ConversationId, n: u8) {
        let stored = self.run(Txn::Append(Append {
            trace: None,
            sender: by.uin,
            device: by.device,
            conversation,
            client_msg_id: ClientMsgId([n; 16]),
            after: None,
            action: Change::Message,
            body_hash: [n; 32],
            body: Bytes::from_static(b"hello"),
            now: UnixMillis(self.now),
            resolve_only: false,
        }));
        assert!(matches!(stored, Outcome::Appended { .. }));
    }
}

/// The watermarks of a member that left are told as they were: they only rise.
#[test]
fn who_leaves_a_group_has_read_what_was_read() {
    let mut world = World::new();
    let (ada, bob) = (world.enrol(1), world.enrol(2));
    let request = Bytes::from_static(&[7; 16]);
    let create =
        v2::GroupCreateRequest { name: "g".into(), members: vec![bob.uin.0], request, ..Default::default() };
    world.act(ada, Act::GroupCreate(create));
    let conversation = ConversationId::of_group(GroupId(1));
    world.send(ada, conversation, 1);
    let mark = Watermark { conversation, delivered: 1, read: 1 };
    world.run(Txn::Delivered { uin: bob.uin, watermarks: vec![mark] });
    world.act(bob, Act::GroupLeave(v2::GroupRequest { group: 1 }));

    let page = world.run(Txn::SyncPage {
        uin: ada.uin,
        epoch: None,
        cursor: 0,
        limit: 100,
        max_bytes: 100_000,
        max_lag: 10_000,
        place: false,
    });
    let Outcome::Page { deltas, .. } = page else { panic!("{page:?}") };
    let receipt = deltas.into_iter().filter_map(|delta| delta.packet).find(|packet| packet.event_type == 2);
    let receipt = v2::Receipt::decode(receipt.unwrap().payload).unwrap();
    assert_eq!((Uin(receipt.member), receipt.delivered_seq, receipt.read_seq), (bob.uin, 1, 1));
}

/// Who comes back after its lease ran out, with nobody to say so, is announced: whoever subscribed meanwhile was told that
/// it was away.
#[test]
fn who_comes_back_unnoticed_is_announced() {
    let mut world = World::new();
    let ada = world.enrol(1);
    let set = |version| {
        let status = OnlineStatus::Online.into();
        Act::PresenceSet(v2::PresenceSetRequest { status, version })
    };
    assert_eq!(world.act(ada, set(0)).presence.len(), 1);
    // A server that died did not expire it.
    world.now += 400_000;
    let back = world.act(ada, set(1)).presence;
    assert_eq!(back.iter().map(|seen| seen.status()).collect::<Vec<_>>(), [OnlineStatus::Online]);
}
