//! Groups in the store on this machine's disk: what a message costs by the number of members, what members who pull pay, and what is done
//! beside the store's thread.
//!
//! `cargo bench -p ntproto-tests --bench members [-- DIR]`; DIR is where the files go.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ntproto_core::ids::{ClientMsgId, ConversationId, DeviceId, GroupId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_hub::store::execute::{FANOUT, MAX_GROUP_MEMBERS};
use ntproto_hub::store::txn::{Append, Change, DeviceInfo, EnrolVia, NewDevice};
use ntproto_hub::store::{Act, Actor, Outcome, Store, Txn};
use ntproto_proto::v2;
use ntproto_server::store::redb::{DEFAULT_CACHE, RedbStore};
use prost::Message;

const ROUND: Duration = Duration::from_secs(2);
const BODY: usize = 256;
const NOW: UnixMillis = UnixMillis(1_000);

fn main() {
    let folder = match std::env::args().skip(1).find(|arg| !arg.starts_with('-')) {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    println!("a message of {BODY} bytes, {} s a figure", ROUND.as_secs());
    println!("{:>10} {:>16} {:>20}", "members", "one a commit", "64 a commit");
    let mut direct = Bench::new(folder.path(), "direct", 2);
    let talk = ConversationId::direct(direct.people[0].uin, direct.people[1].uin);
    println!("{:>10} {:>16} {:>20}", "direct", direct.sends(talk, 1), direct.sends(talk, 64));
    for members in [10, 100, FANOUT] {
        let mut bench = Bench::new(folder.path(), &format!("group-{members}"), members);
        let talk = bench.group(members);
        println!("{members:>10} {:>16} {:>20}", bench.sends(talk, 1), bench.sends(talk, 64));
    }
    let mut bench = Bench::new(folder.path(), "large", MAX_GROUP_MEMBERS);
    let begin = Instant::now();
    let talk = bench.group(MAX_GROUP_MEMBERS);
    println!("{MAX_GROUP_MEMBERS:>10} {:>16} {:>20}", bench.sends(talk, 1), bench.sends(talk, 64));
    println!("100,000 members came in by requests of 500 in {:.1} s", begin.elapsed().as_secs_f64());
    bench.large(talk, folder.path());
}

struct Bench {
    store: RedbStore,
    people: Vec<DeviceInfo>,
    sent: u64,
}

impl Bench {
    fn new(folder: &Path, name: &str, people: u32) -> Self {
        let mut store = RedbStore::open(&folder.join(name), DEFAULT_CACHE).unwrap();
        store.commit(&[Txn::Boot { wall: NOW, epoch: [0; 16] }]);
        let device = |n: u32| {
            let (mut id, mut key) = ([1; 16], [1; 32]);
            id[..4].copy_from_slice(&n.to_be_bytes());
            key[..4].copy_from_slice(&n.to_be_bytes());
            NewDevice { id: DeviceId(id), signing_key: key, static_key: key, name: String::new() }
        };
        let enrol = |n| Txn::Enrol { via: EnrolVia::Open, device: device(n), now: NOW };
        let all: Vec<u32> = (0..people).collect();
        let people = all
            .chunks(10_000)
            .flat_map(|part| store.commit(&part.iter().copied().map(enrol).collect::<Vec<_>>()))
            .map(|answer| match answer {
                Ok(Outcome::Enrolled(device)) => device,
                other => panic!("{other:?}"),
            })
            .collect();
        Self { store, people, sent: 0 }
    }

    fn act(&mut self, by: usize, act: Act) -> Bytes {
        let by = &self.people[by];
        let by = Actor { uin: by.uin, device: by.id, now: NOW };
        match self.store.commit(&[Txn::Act { by, act }]).pop() {
            Some(Ok(Outcome::Acted(acted))) => acted.answer,
            other => panic!("{other:?}"),
        }
    }

    fn group(&mut self, members: u32) -> ConversationId {
        let uins: Vec<u64> = self.people[1..members as usize].iter().map(|device| device.uin.0).collect();
        let (first, rest) = uins.split_at(uins.len().min(FANOUT as usize));
        let create = v2::GroupCreateRequest {
            name: "many".into(),
            members: first.to_vec(),
            request: Bytes::from_static(&[1; 16]),
            ..Default::default()
        };
        let made = v2::GroupResponse::decode(self.act(0, Act::GroupCreate(create))).unwrap();
        let group = made.state.unwrap().group.unwrap().group;
        for part in rest.chunks(FANOUT as usize) {
            self.act(0, Act::GroupInvite(v2::GroupInviteRequest { group, uins: part.to_vec() }));
        }
        ConversationId::of_group(GroupId(group))
    }

    fn append(&mut self, conversation: ConversationId, by: usize) -> Txn {
        self.sent += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.sent.to_be_bytes());
        Txn::Append(Append {
            trace: None,
            sender: self.people[by].uin,
            device: self.people[by].id,
            conversation,
            client_msg_id: ClientMsgId(id),
            after: None,
            action: Change::Message,
            body_hash: [0; 32],
            body: Bytes::from_static(&[7; BODY]),
            now: NOW,
            resolve_only: false,
        })
    }

    /// How long a message takes, so many in one commit.
    fn sends(&mut self, conversation: ConversationId, batch: usize) -> String {
        let (begin, mut steps) = (Instant::now(), 0);
        while begin.elapsed() < ROUND {
            let txns: Vec<Txn> = (0..batch).map(|n| self.append(conversation, n % 2)).collect();
            assert!(self.store.commit(&txns).iter().all(Result::is_ok));
            steps += 1;
        }
        format!("{:.0} us", begin.elapsed().as_secs_f64() * 1e6 / f64::from(steps * batch as u32))
    }

    fn large(&mut self, talk: ConversationId, folder: &Path) {
        let group = talk.group().unwrap().0;
        let timed = |what: &str, begin: Instant| {
            println!("{what}: {:.2} ms", begin.elapsed().as_secs_f64() * 1e3);
        };
        let sync = |uin: Uin| Txn::SyncPage {
            uin,
            epoch: Some([0; 16]),
            cursor: 0,
            limit: 50,
            max_bytes: 1 << 17,
            max_lag: 10_000,
            place: true,
        };
        let uins: Vec<Uin> = self.people.iter().map(|device| device.uin).collect();
        let begin = Instant::now();
        assert!(self.store.commit(&[sync(uins[50])])[0].is_ok());
        timed("a member who was away pulls 1,000 messages and a gap", begin);
        let begin = Instant::now();
        assert!(self.store.commit(&[sync(uins[50])])[0].is_ok());
        timed("and nothing, again", begin);
        let message = self.append(talk, 0);
        self.store.commit(&[message]);
        let begin = Instant::now();
        assert!(self.store.commit(&[sync(uins[50])])[0].is_ok());
        timed("and one message", begin);
        let begin = Instant::now();
        self.act(9, Act::GroupMembers(v2::GroupMembersRequest { group, page: 7, size: 1_000 }));
        timed("a page of 1,000 members", begin);
        let begin = Instant::now();
        self.act(0, Act::GroupRemove(v2::GroupRemoveRequest { group, uin: uins[77].0 }));
        timed("a member is removed", begin);
        let beside = self.store.beside();
        let begin = Instant::now();
        let verified = beside.verify(&mut |_| true).unwrap();
        assert!(verified.faults.is_empty(), "{:?}", verified.faults);
        timed(&format!("{} records verified", verified.records), begin);
        let begin = Instant::now();
        let backup = beside.backup(&folder.join("copy"), &mut |_| true).unwrap();
        timed(&format!("{} records copied, {} MB", backup.records, backup.bytes >> 20), begin);
        let begin = Instant::now();
        self.act(0, Act::GroupDissolve(v2::GroupRequest { group }));
        timed("the group is dissolved", begin);
    }
}
