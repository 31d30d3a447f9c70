//! Boot, the clock floor, invitations, enrolment, devices.

use alloc::vec;

use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::time::UnixMillis;

use super::super::execute::{BOOT_LEAD, FIRST_UIN, MAX_LIVE_DEVICES};
use super::super::txn::{Boot, DeviceKey, EnrolVia};
use super::super::{Outcome, StoreError, Txn};
use super::{Bench, EPOCH, LATER, NOW, enrol, enrolled, invitation, invited, link, message, new_device};

//= proof: tickets-2
pub(super) fn boot(bench: &mut Bench) {
    bench.reopen();
    let first_floor = NOW + BOOT_LEAD;
    let again = Boot { epoch: EPOCH, clock: first_floor, floor: first_floor + BOOT_LEAD };
    let set_back = Txn::Boot { wall: UnixMillis(5), epoch: [9; 16] };
    assert_eq!(bench.ok(set_back), Outcome::Booted(again));
    bench.reopen();
    let ahead = Boot { epoch: EPOCH, clock: LATER, floor: LATER + BOOT_LEAD };
    assert_eq!(bench.ok(Txn::Boot { wall: LATER, epoch: [9; 16] }), Outcome::Booted(ahead));
}

//= proof: tickets-2
pub(super) fn clock_floor(bench: &mut Bench) {
    let at = |at| Txn::SetClockFloor { at };
    assert_eq!(bench.ok(at(LATER)), Outcome::ClockFloor { floor: LATER });
    assert_eq!(bench.ok(at(NOW)), Outcome::ClockFloor { floor: LATER });
    bench.reopen();
    assert_eq!(bench.ok(at(UnixMillis(0))), Outcome::ClockFloor { floor: LATER });
    // An orderly end gives back what was not used, and nothing else moves the floor back.
    let rested = UnixMillis(LATER.0 - 1);
    for rest in [rested, LATER] {
        assert_eq!(bench.ok(Txn::Rest { at: rest }), Outcome::ClockFloor { floor: rested });
    }
    bench.reopen();
    let again = Boot { epoch: EPOCH, clock: rested, floor: rested + BOOT_LEAD };
    assert_eq!(bench.ok(Txn::Boot { wall: NOW, epoch: EPOCH }), Outcome::Booted(again));
}

pub(super) fn invitations(bench: &mut Bench) {
    bench.refused(enrol(invited(1), 1), StoreError::InvitationUnknown);
    bench.ok(invitation(None, 1, 2, LATER, true));
    bench.refused(invitation(None, 1, 2, LATER, true), StoreError::Conflict);
    let first = enrolled(bench.ok(enrol(invited(1), 1)));
    let second = enrolled(bench.ok(enrol(invited(1), 2)));
    assert!(first.may_invite && second.may_invite);
    assert_eq!((first.uin, second.uin), (FIRST_UIN, Uin(FIRST_UIN.0 + 1)));
    bench.refused(enrol(invited(1), 3), StoreError::InvitationUsedUp);

    bench.ok(invitation(Some(first.uin), 2, 1, NOW, false));
    bench.refused(enrol(invited(2), 3), StoreError::InvitationExpired);
    bench.ok(invitation(Some(first.uin), 3, 1, LATER, false));
    let third = enrolled(bench.ok(enrol(invited(3), 3)));
    assert!(!third.may_invite);
    bench.refused(invitation(Some(third.uin), 4, 1, LATER, false), StoreError::Forbidden);
    bench.refused(invitation(Some(Uin(1)), 4, 1, LATER, false), StoreError::Forbidden);
}

//= proof: handshake-9, handshake-10
pub(super) fn enrol_again(bench: &mut Bench) {
    bench.ok(invitation(None, 1, 1, LATER, false));
    let device = enrolled(bench.ok(enrol(invited(1), 1)));
    bench.reopen();
    // The answer was lost; the hub drew another id for what it took for a new device.
    let mut again = new_device(1);
    again.id = DeviceId([77; 16]);
    let retry = |device| Txn::Enrol { via: invited(1), device, now: LATER };
    assert_eq!(enrolled(bench.ok(retry(again))), device);
    let mut stolen = new_device(1);
    stolen.signing_key = [66; 32];
    bench.refused(retry(stolen), StoreError::KeysInUse);
    let mut half = new_device(1);
    half.static_key = [66; 32];
    half.id = DeviceId([66; 16]);
    bench.refused(Txn::Enrol { via: EnrolVia::Open, device: half, now: NOW }, StoreError::KeysInUse);
    let mut same_id = new_device(5);
    same_id.id = device.id;
    bench.refused(Txn::Enrol { via: EnrolVia::Open, device: same_id, now: NOW }, StoreError::KeysInUse);
}

pub(super) fn open_registration(bench: &mut Bench) {
    for n in 0..5 {
        let device = bench.account(n + 1);
        assert_eq!(device.uin.0, FIRST_UIN.0 + u64::from(n));
        assert!(!device.may_invite);
    }
}

//= proof: handshake-8
pub(super) fn links(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let second = enrolled(bench.ok(enrol(link(&a, 1, LATER), 3)));
    assert_eq!(second.uin, a.uin);
    assert_eq!(enrolled(bench.ok(enrol(link(&a, 1, LATER), 3))), second);
    bench.refused(enrol(link(&a, 1, LATER), 4), StoreError::LinkUsed);
    bench.refused(enrol(link(&a, 2, NOW), 4), StoreError::LinkExpired);
    bench.refused(enrol(link(&b, 3, LATER), 3), StoreError::KeysInUse);
    let foreign = EnrolVia::Link { uin: a.uin, device_id: b.id, nonce: [4; 16], expires: LATER };
    bench.refused(enrol(foreign, 4), StoreError::Forbidden);
    bench.reopen();
    bench.refused(enrol(link(&a, 1, LATER), 4), StoreError::LinkUsed);
    bench.ok(Txn::RevokeDevice { uin: a.uin, device_id: a.id, now: NOW });
    bench.refused(enrol(link(&a, 5, LATER), 4), StoreError::Forbidden);
    // A link by another device of the account clears out the expired one; a new one works.
    let third = Txn::Enrol {
        via: link(&second, 6, UnixMillis(LATER.0 + 2)),
        device: new_device(6),
        now: UnixMillis(LATER.0 + 1),
    };
    bench.ok(third);
    bench.refused(
        Txn::Enrol { via: link(&second, 1, LATER), device: new_device(7), now: LATER },
        StoreError::LinkExpired,
    );
}

pub(super) fn device_limit(bench: &mut Bench) {
    let first = bench.account(200);
    for n in 1..MAX_LIVE_DEVICES as u8 {
        bench.ok(enrol(link(&first, n, LATER), n));
    }
    bench.refused(enrol(link(&first, 99, LATER), 99), StoreError::TooManyDevices);
    bench.ok(Txn::RevokeDevice { uin: first.uin, device_id: DeviceId([1; 16]), now: NOW });
    bench.ok(enrol(link(&first, 99, LATER), 99));
    match bench.ok(Txn::Devices { uin: first.uin }) {
        Outcome::Devices(devices) => {
            assert_eq!(devices.len(), MAX_LIVE_DEVICES + 1);
            assert!(devices.is_sorted_by_key(|device| (device.created, device.id)));
        }
        other => panic!("no device list: {other:?}"),
    }
}

pub(super) fn lookup(bench: &mut Bench) {
    let (a, _, _) = bench.two();
    let by = |key| Txn::LookupDevice { key };
    assert_eq!(a.generation, 0);
    assert_eq!(a.created, NOW);
    assert_eq!(bench.ok(by(DeviceKey::Static(a.static_key))), Outcome::Device(a.clone()));
    assert_eq!(bench.ok(by(DeviceKey::Id(a.id))), Outcome::Device(a));
    bench.refused(by(DeviceKey::Static([0; 32])), StoreError::NotFound);
    bench.refused(by(DeviceKey::Id(DeviceId([0; 16]))), StoreError::NotFound);
    assert_eq!(bench.ok(Txn::Devices { uin: Uin(1) }), Outcome::Devices(vec![]));
}

pub(super) fn revoke(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let revoke = |uin, now| Txn::RevokeDevice { uin, device_id: a.id, now };
    bench.refused(revoke(b.uin, NOW), StoreError::NotFound);
    assert_eq!(bench.ok(revoke(a.uin, NOW)), Outcome::Revoked { generation: 1 });
    assert_eq!(bench.ok(revoke(a.uin, LATER)), Outcome::Revoked { generation: 1 });
    bench.reopen();
    match bench.ok(Txn::LookupDevice { key: DeviceKey::Id(a.id) }) {
        Outcome::Device(device) => assert_eq!((device.revoked, device.generation), (Some(NOW), 1)),
        other => panic!("no device: {other:?}"),
    }
    bench.refused(enrol(EnrolVia::Open, 1), StoreError::Revoked);
    bench.refused(Txn::Append(message(&a, conversation, 1, b"x")), StoreError::Revoked);
}
