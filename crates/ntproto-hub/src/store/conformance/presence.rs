//! Presence.

use alloc::vec;
use alloc::vec::Vec;

use ntproto_core::presence::LEASE;
use ntproto_core::time::UnixMillis;
use ntproto_proto::v2;
use ntproto_proto::v2::OnlineStatus;

use super::super::execute::MAX_SUBSCRIBED;
use super::super::txn::DeviceInfo;
use super::super::{Act, Acted, Outcome, StoreError, Txn};
use super::people::{befriend, block};
use super::{Bench, LATER, NOW, enrol, enrolled, link};

fn set(status: OnlineStatus, version: u64) -> Act {
    Act::PresenceSet(v2::PresenceSetRequest { status: status as i32, version })
}

/// How an account appears now, if that changed.
fn seen(acted: &Acted) -> Vec<(u64, OnlineStatus)> {
    acted.presence.iter().map(|presence| (presence.uin, presence.status())).collect()
}

//= proof: presence-1, presence-2
pub(super) fn swap(bench: &mut Bench) {
    let (a, _, _) = bench.two();
    let desk = enrolled(bench.ok(enrol(link(&a, 1, LATER), 3)));
    let acted = bench.act(&a, set(OnlineStatus::Online, 0));
    assert_eq!(seen(&acted), [(a.uin.0, OnlineStatus::Online)]);
    bench.reopen();
    // The desk lost: it is told the record, and nothing changed.
    let (told, _) = bench.ask::<v2::PresenceSetResponse>(&desk, set(OnlineStatus::Online, 0));
    let record = told.record.expect("the record");
    assert!(told.stale && record.version == 1 && record.devices.len() == 1);
    let acted = bench.act(&desk, set(OnlineStatus::Online, 1));
    assert_eq!(seen(&acted), []);
    let (told, _) = bench.ask::<v2::PresenceSetResponse>(&a, set(OnlineStatus::Away, 1));
    let record = told.record.expect("the record");
    let mut states: Vec<_> = record.devices.iter().map(|device| device.status()).collect();
    states.sort();
    assert_eq!((told.stale, record.version), (true, 3));
    assert_eq!(states, [OnlineStatus::Online, OnlineStatus::Away]);
    bench.act(&a, set(OnlineStatus::Offline, 3));
    bench.no(&a, set(OnlineStatus::Away, 4), StoreError::BadRequest);
    let nonsense = Act::PresenceSet(v2::PresenceSetRequest { status: 9, version: 4 });
    bench.no(&a, nonsense, StoreError::BadRequest);
    // What was seen before a restore is older than what comes after it.
    bench.ok(Txn::Restored { wall: NOW });
    let (told, _) = bench.ask::<v2::PresenceSetResponse>(&desk, set(OnlineStatus::Away, 4));
    let version = told.record.expect("the record").version;
    assert!(told.stale && version > 1_000);
    bench.act(&desk, set(OnlineStatus::Away, version));
}

pub(super) fn connections(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    for device in [&a, &b] {
        bench.act(device, set(OnlineStatus::Online, 0));
    }
    let after = |leases: u64| UnixMillis(NOW.0 + LEASE.as_millis() as u64 * leases);
    let of = |device: &DeviceInfo| (device.uin, device.id);
    let mut tell = |renew: &[&DeviceInfo], left: &[&DeviceInfo], now| {
        let renew = renew.iter().map(|device| of(device)).collect();
        let left = left.iter().map(|device| of(device)).collect();
        let txn = Txn::Presence { renew, left, expire: vec![a.uin, b.uin], now };
        match bench.ok(txn) {
            Outcome::Acted(acted) => seen(&acted),
            other => panic!("not acted: {other:?}"),
        }
    };
    assert_eq!(tell(&[&a], &[], NOW), []);
    assert_eq!(tell(&[&a], &[&b], UnixMillis(NOW.0 + 1_000)), [(b.uin.0, OnlineStatus::Away)]);
    // A lease that ran out while nobody looked: Away, and after one more Offline.
    assert_eq!(tell(&[&b], &[], after(2)), [(a.uin.0, OnlineStatus::Away), (b.uin.0, OnlineStatus::Offline)]);
    assert_eq!(tell(&[&a], &[], after(4)), [(a.uin.0, OnlineStatus::Offline)]);
    assert_eq!(tell(&[&a], &[&b], after(4)), []);
}

pub(super) fn subscribe(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let c = bench.account(3);
    befriend(bench, &a, &b);
    bench.act(&b, set(OnlineStatus::Online, 0));
    let add =
        |whom: Vec<u64>| Act::PresenceSubscribe(v2::PresenceSubscribeRequest { add: whom, remove: vec![77] });
    let (answer, _) = bench.ask::<v2::PresenceSubscribeResponse>(&a, add(vec![b.uin.0]));
    assert_eq!((answer.states.len(), answer.states[0].status()), (1, OnlineStatus::Online));
    bench.no(&a, add(vec![b.uin.0, c.uin.0]), StoreError::Forbidden);
    bench.no(&a, add(vec![1]), StoreError::Forbidden);
    bench.no(&a, add(vec![b.uin.0; MAX_SUBSCRIBED + 1]), StoreError::TooMany);
    bench.act(&b, block(&a, true));
    bench.no(&a, add(vec![b.uin.0]), StoreError::Forbidden);
    bench.act(&b, add(vec![a.uin.0]));
    // A state that nobody renewed is not what others see.
    bench.act(&b, block(&a, false));
    bench.now = LATER;
    let (answer, _) = bench.ask::<v2::PresenceSubscribeResponse>(&a, add(vec![b.uin.0]));
    assert_eq!(answer.states[0].status(), OnlineStatus::Offline);
}
