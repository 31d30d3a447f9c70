//! Administrators.

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::DeviceId;
use ntproto_proto::v2;

use super::super::txn::{DeviceInfo, DeviceKey};
use super::super::{Act, Actor, Outcome, StoreError, Txn};
use super::{Bench, LATER, NOW, enrol, enrolled, invited, message};

fn invitation(n: u8, admin: bool, account: Option<&DeviceInfo>, by: Option<&DeviceInfo>) -> Txn {
    Txn::CreateInvitation {
        by: None,
        code_hash: [n; 32],
        uses: 1,
        expires: LATER,
        may_invite: false,
        admin,
        account: account.map(|device| device.uin),
        audit: by.map(|by| Actor { uin: by.uin, device: by.id, now: NOW }),
    }
}

fn administrator(bench: &mut Bench) -> DeviceInfo {
    bench.ok(invitation(200, true, None, None));
    enrolled(bench.ok(enrol(invited(200), 200)))
}

fn audit(bench: &mut Bench, by: &DeviceInfo, before: u64, limit: u32) -> (Vec<(u64, Vec<u8>)>, bool) {
    let act = Act::AdminAudit(v2::AdminAuditRequest { before, limit });
    let (answer, _) = bench.ask::<v2::AdminAuditResponse>(by, act);
    (answer.entries.into_iter().map(|entry| (entry.number, entry.act.into())).collect(), answer.has_more)
}

//= proof: admin-1, admin-2
pub(super) fn admin(bench: &mut Bench) {
    let (a, b, conversation) = bench.two();
    let root = administrator(bench);
    assert!(root.admin && !a.admin);
    let group = bench.group(&[&a, &b]);
    let revoke = |device: &DeviceInfo, uin: u64| {
        let device_id = Bytes::copy_from_slice(&device.id.0);
        Act::AdminRevoke(v2::AdminRevokeRequest { uin, device_id })
    };
    let acts = [
        Act::AdminAccounts(v2::AdminAccountsRequest { after: 0, limit: 2 }),
        Act::AdminDevices(v2::AdminDevicesRequest { uin: a.uin.0 }),
        Act::AdminGroups(v2::AdminGroupsRequest { after: 0, limit: 10 }),
        Act::AdminStats(v2::AdminStatsRequest {}),
        Act::AdminBackup(v2::AdminBackupRequest { name: "monday-1".into() }),
        Act::AdminVerify(v2::AdminVerifyRequest {}),
        revoke(&b, b.uin.0),
        Act::AdminAudit(v2::AdminAuditRequest { before: 0, limit: 10 }),
    ];
    for act in &acts {
        bench.no(&a, act.clone(), StoreError::Forbidden);
    }
    assert_eq!(audit(bench, &root, 0, 10), (vec![], false));
    let (accounts, _) = bench.ask::<v2::AdminAccountsResponse>(&root, acts[0].clone());
    assert_eq!((accounts.accounts.len(), accounts.has_more), (2, true));
    assert_eq!((accounts.accounts[0].uin, accounts.accounts[0].devices), (a.uin.0, 1));
    let (devices, _) = bench.ask::<v2::DevicesResponse>(&root, acts[1].clone());
    assert_eq!(devices.devices.len(), 1);
    let (groups, _) = bench.ask::<v2::AdminGroupsResponse>(&root, acts[2].clone());
    assert_eq!(groups.groups[0].group, group);
    let (stats, _) = bench.ask::<v2::AdminStatsResponse>(&root, acts[3].clone());
    assert_eq!((stats.accounts, stats.groups), (3, 1));
    bench.act(&root, acts[4].clone());
    bench.act(&root, acts[5].clone());
    let acted = bench.act(&root, acts[6].clone());
    assert_eq!(acted.revoked, Some((b.uin, b.id)));
    bench.refused(Txn::Append(message(&b, conversation, 1, b"x")), StoreError::Revoked);
    bench.no(&b, Act::Friends(v2::FriendsRequest::default()), StoreError::Revoked);
    bench.reopen();

    // What was refused is not in the log, and what was done is.
    let backup = |name: &str| Act::AdminBackup(v2::AdminBackupRequest { name: name.into() });
    for name in ["", "../store", "a b", &"x".repeat(65)] {
        bench.no(&root, backup(name), StoreError::BadRequest);
    }
    bench.no(&root, revoke(&a, b.uin.0), StoreError::NotFound);
    let unknown = Act::AdminDevices(v2::AdminDevicesRequest { uin: 1 });
    bench.no(&root, unknown, StoreError::NotFound);
    let names: [&[u8]; 7] = [
        b"ADMIN_REVOKE",
        b"ADMIN_VERIFY",
        b"ADMIN_BACKUP",
        b"ADMIN_STATS",
        b"ADMIN_GROUPS",
        b"ADMIN_DEVICES",
        b"ADMIN_ACCOUNTS",
    ];
    let all: Vec<_> = (1..=7).rev().zip(names.map(<[u8]>::to_vec)).collect();
    assert_eq!(audit(bench, &root, 0, 10), (all.clone(), false));
    assert_eq!(audit(bench, &root, 6, 2), (all[2..4].to_vec(), true));

    // Another account's device, an unknown one, an administrator who was revoked.
    let forged = Actor { uin: a.uin, device: root.id, now: NOW };
    bench.refused(Txn::Act { by: forged, act: acts[3].clone() }, StoreError::Forbidden);
    let unknown = Actor { uin: a.uin, device: DeviceId([0; 16]), now: NOW };
    bench.refused(Txn::Act { by: unknown, act: acts[3].clone() }, StoreError::NotFound);
    bench.act(&root, revoke(&root, root.uin.0));
    bench.no(&root, acts[3].clone(), StoreError::Revoked);
}

pub(super) fn invitations(bench: &mut Bench) {
    let (a, b, _) = bench.two();
    let root = administrator(bench);
    bench.refused(invitation(1, false, None, Some(&a)), StoreError::Forbidden);
    let nobody = DeviceInfo { uin: ntproto_core::ids::Uin(1), ..a.clone() };
    bench.refused(invitation(1, false, Some(&nobody), Some(&root)), StoreError::NotFound);
    bench.ok(invitation(1, true, None, Some(&root)));
    assert!(enrolled(bench.ok(enrol(invited(1), 11))).admin);
    assert_eq!(audit(bench, &root, 0, 10), (vec![(1, b"ADMIN_INVITE".to_vec())], false));
    // An account whose keys are lost gets a device, and no other account is made.
    bench.ok(invitation(2, false, Some(&a), None));
    let recovered = enrolled(bench.ok(enrol(invited(2), 12)));
    assert_eq!((recovered.uin, recovered.admin), (a.uin, false));
    assert_eq!(enrolled(bench.ok(enrol(invited(2), 12))), recovered);
    bench.refused(enrol(invited(2), 13), StoreError::InvitationUsedUp);
    match bench.ok(Txn::LookupDevice { key: DeviceKey::Id(recovered.id) }) {
        Outcome::Device(device) => assert_eq!(device.uin, a.uin),
        other => panic!("no device: {other:?}"),
    }
    // An account that may invite makes no administrators, and adds to no account.
    let inviting = |admin, account: Option<&DeviceInfo>| Txn::CreateInvitation {
        by: Some(b.uin),
        code_hash: [3; 32],
        uses: 1,
        expires: LATER,
        may_invite: false,
        admin,
        account: account.map(|device| device.uin),
        audit: None,
    };
    bench.refused(inviting(true, None), StoreError::Forbidden);
    bench.refused(inviting(false, Some(&a)), StoreError::Forbidden);
}
