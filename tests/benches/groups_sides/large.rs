//! A chat of two beside a group of a hundred thousand members: the time of a message before anybody writes to the
//! group, and while somebody does and a thousand connected members sync.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ntproto_core::crypto::aws_lc::AWS_LC;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::ids::{ConversationId, DeviceId, GroupId};
use ntproto_core::rng::Rng;
use ntproto_core::time::UnixMillis;
use ntproto_hub::store::execute::MAX_INVITES;
use ntproto_hub::store::txn::{DeviceInfo, EnrolVia, NewDevice};
use ntproto_hub::store::{Act, Actor, Outcome, Store, Txn};
use ntproto_proto::v2;
use ntproto_server::store::redb::{DEFAULT_CACHE, RedbStore};
use prost::Message as _;

use super::crowd::{Crowd, Part, Plan, Report, Seat};
use crate::load_sides::ServerProcess;

const MEMBERS: usize = 100_000;
const ONLINE: usize = 1_000;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURE: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(200);
/// The busiest p99 over the idle one.
const BAR: f64 = 2.0;

fn enrol(store: &mut RedbStore, devices: Vec<NewDevice>, now: UnixMillis) -> Vec<DeviceInfo> {
    let txns: Vec<Txn> =
        devices.into_iter().map(|device| Txn::Enrol { via: EnrolVia::Open, device, now }).collect();
    let answers = txns.chunks(1_024).flat_map(|txns| store.commit(txns));
    answers
        .map(|answer| match answer {
            Ok(Outcome::Enrolled(device)) => device,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn device(rng: &mut Rng, keys: Option<&DeviceKeys>) -> NewDevice {
    let (signing_key, static_key) = match keys {
        Some(keys) => (*keys.signing_public(), *keys.static_public()),
        None => (rng.array(), rng.array()),
    };
    NewDevice { id: DeviceId(rng.array()), signing_key, static_key, name: "bench".into() }
}

fn act(store: &mut RedbStore, by: &DeviceInfo, now: UnixMillis, act: Act) -> Bytes {
    let by = Actor { uin: by.uin, device: by.id, now };
    match store.commit(&[Txn::Act { by, act }]).pop() {
        Some(Ok(Outcome::Acted(acted))) => acted.answer,
        other => panic!("{other:?}"),
    }
}

/// A store with the group in it: who sits where, and the two conversations.
fn prepare(dir: &Path) -> (Vec<Seat>, ConversationId, ConversationId) {
    let mut rng = Rng::new([4; 32]);
    std::fs::create_dir_all(dir).unwrap();
    let mut store = RedbStore::open(&dir.join("store.redb"), DEFAULT_CACHE).unwrap();
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = UnixMillis(wall.as_millis() as u64);
    assert!(store.commit(&[Txn::Boot { wall: now, epoch: rng.array() }])[0].is_ok());
    let parts = [Part::Chats, Part::Listens, Part::Writes];
    let parts = parts.into_iter().chain(std::iter::repeat_n(Part::Member, ONLINE - 1));
    let seats: Vec<Seat> =
        parts.map(|part| Seat { keys: DeviceKeys::generate(&mut rng, &AWS_LC), part }).collect();
    let here = seats.iter().map(|seat| device(&mut rng, Some(&seat.keys))).collect();
    let here = enrol(&mut store, here, now);
    let absent = (0..MEMBERS - ONLINE).map(|_| device(&mut rng, None)).collect();
    let absent = enrol(&mut store, absent, now);
    let create = v2::GroupCreateRequest {
        name: "everybody".into(),
        request: Bytes::from_static(&[1; 16]),
        ..Default::default()
    };
    let owner = &here[2];
    let made = act(&mut store, owner, now, Act::GroupCreate(create));
    let group = v2::GroupResponse::decode(made).unwrap().state.unwrap().group.unwrap().group;
    let uins: Vec<u64> = here[3..].iter().chain(&absent).map(|device| device.uin.0).collect();
    for uins in uins.chunks(MAX_INVITES) {
        let invite = v2::GroupInviteRequest { group, uins: uins.to_vec() };
        act(&mut store, owner, now, Act::GroupInvite(invite));
    }
    let direct = ConversationId::direct(here[0].uin, here[1].uin);
    (seats, direct, ConversationId::of_group(GroupId(group)))
}

fn at(latencies: &[Duration], per_mille: usize) -> f64 {
    latencies[(latencies.len() - 1) * per_mille / 1_000].as_secs_f64() * 1e3
}

/// Runs it with its files below `parent`, and prints it.
pub fn run(parent: Option<&Path>) {
    let temp = match parent {
        Some(parent) => tempfile::tempdir_in(parent).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let dir = temp.path().join("server");
    let began = Instant::now();
    let (seats, direct, group) = prepare(&dir);
    println!(
        "{MEMBERS} members made in {:.0} s; {ONLINE} of them are connected",
        began.elapsed().as_secs_f64()
    );
    let server = ServerProcess::start(&dir);
    let fresh = server.resident();
    let connect = server.connect.clone();
    let mut resident = Vec::new();
    let plan = Plan { direct, group, warm_up: WARM_UP, measure: MEASURE, every: EVERY };
    let report = Crowd::run(&connect, &seats, plan, || resident.push(server.resident()));
    let Report { idle, beside, written, told, syncs, found } = &report;
    println!(
        "{:>22} {:>9} {:>9} {:>9} {:>9}",
        "a message of two", "messages", "p50 ms", "p99 ms", "p99.9 ms"
    );
    for (name, latencies) in [("idle", idle), ("beside the group", beside)] {
        println!(
            "{name:>22} {:>9} {:>9.2} {:>9.2} {:>9.2}",
            latencies.len(),
            at(latencies, 500),
            at(latencies, 990),
            at(latencies, 999)
        );
    }
    println!("{written} messages to the group: {told} pushes, {syncs} syncs found {found} changes");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "resident: {:.0} MiB started, {:.0} MiB with {} sessions, {:.0} MiB after",
        mib(fresh),
        mib(resident[0]),
        seats.len(),
        mib(resident[1])
    );
    let ratio = at(beside, 990) / at(idle, 990);
    println!("p99 {ratio:.2} times the idle one; the bar is {BAR}");
}
