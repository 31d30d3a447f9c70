//! Administration: for administrators only, and what the hub and its host add to the store's answers.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::dispatch::{Outcome as Answer, Refusal};
use ntproto_core::endpoint::Closed;
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::config::HOST_TIME;
use ntproto_hub::store::{StoreError, Txn};
use ntproto_hub::{Command, ConnId, HostTask, HubConfig, Input};
use ntproto_proto::v2;
use ntproto_proto::v2::auth_request::Credential;
use prost::Message;

use crate::bench::{Bench, config, device_id, uin};
use crate::people::refused;

/// An administrator, made as an operator makes the first, connects.
pub(crate) fn admin_comes(bench: &mut Bench) -> (DeviceKeys, ConnId) {
    let code: [u8; 16] = bench.rng.array();
    let invitation = Txn::CreateInvitation {
        by: None,
        code_hash: RUSTCRYPTO.sha256(&[&code]),
        uses: 1,
        expires: UnixMillis(u64::MAX),
        may_invite: false,
        admin: true,
        account: None,
        audit: None,
    };
    bench.beside(invitation);
    let keys = bench.device();
    let conn = bench.connect(&keys, Credential::Invitation(Bytes::copy_from_slice(&code)));
    (keys, conn)
}

/// One who is in.
pub(crate) fn admin(bench: &mut Bench) -> (DeviceKeys, ConnId, v2::Grant) {
    let (keys, conn) = admin_comes(bench);
    let grant = bench.granted(conn);
    bench.sync(conn, 0);
    (keys, conn, grant)
}

fn audited(bench: &mut Bench, conn: ConnId) -> Vec<String> {
    let log: v2::AdminAuditResponse =
        bench.call(conn, PacketId::ADMIN_AUDIT, &v2::AdminAuditRequest { before: 0, limit: 100 }).unwrap();
    log.entries.into_iter().map(|entry| entry.act).collect()
}

//= proof: admin-1
#[test]
fn others_are_refused_before_the_store_whatever_they_ask() {
    let mut bench = Bench::new(config());
    let (_, a, _) = bench.account();
    for id in PacketId::ALL.iter().copied().filter(|id| id.is_admin()).chain([PacketId(0x04ff)]) {
        assert_eq!(
            refused(&mut bench, a, id, &v2::AdminInviteRequest { uses: 1, ..Default::default() }),
            ErrorCode::Forbidden
        );
    }
    let (_, boss, _) = admin(&mut bench);
    assert!(audited(&mut bench, boss).is_empty(), "what was refused is in no log");
    let unknown = bench.raw(boss, Channel::Message, PacketId(0x04ff), Bytes::new());
    assert_eq!(unknown, Err(ErrorCode::UnknownPacket));
}

//= proof: admin-2
#[test]
fn an_administrator_counts_and_lists_and_it_is_noted() {
    let mut bench = Bench::new(config());
    let (_, _, _) = bench.account();
    let (_, boss, _) = admin(&mut bench);
    bench.transport();
    let stats: v2::AdminStatsResponse =
        bench.call(boss, PacketId::ADMIN_STATS, &v2::AdminStatsRequest {}).unwrap();
    assert_eq!((stats.accounts, stats.connections, stats.sessions), (2, 3, 2));
    assert_eq!(stats.server_ms, bench.hub.server_time(bench.now).0);
    let list: v2::AdminAccountsResponse =
        bench.call(boss, PacketId::ADMIN_ACCOUNTS, &v2::AdminAccountsRequest { after: 0, limit: 9 }).unwrap();
    assert_eq!(list.accounts.len(), 2);
    assert_eq!(audited(&mut bench, boss), ["ADMIN_ACCOUNTS", "ADMIN_STATS"]);
}

#[test]
fn an_invitation_of_an_administrators_makes_administrators_and_recovers_accounts() {
    let mut bench = Bench::new(config());
    let (_, _, lost) = bench.account();
    let (_, boss, _) = admin(&mut bench);
    let invite = |uses, admin, uin| v2::AdminInviteRequest { uses, admin, uin, ..Default::default() };
    assert_eq!(refused(&mut bench, boss, PacketId::ADMIN_INVITE, &invite(0, true, 0)), ErrorCode::BadRequest);
    assert_eq!(
        refused(&mut bench, boss, PacketId::ADMIN_INVITE, &invite(2, false, 10_001)),
        ErrorCode::BadRequest
    );
    assert_eq!(
        bench.call::<v2::InviteResponse>(boss, PacketId::ADMIN_INVITE, &invite(1, false, 77)),
        Err(ErrorCode::NotFound)
    );
    let second: v2::InviteResponse = bench.call(boss, PacketId::ADMIN_INVITE, &invite(1, true, 0)).unwrap();
    let keys = bench.device();
    let other = bench.connect(&keys, Credential::Invitation(second.code));
    let _: v2::AdminStatsResponse =
        bench.call(other, PacketId::ADMIN_STATS, &v2::AdminStatsRequest {}).unwrap();
    let back: v2::InviteResponse =
        bench.call(boss, PacketId::ADMIN_INVITE, &invite(1, false, uin(&lost).0)).unwrap();
    let keys = bench.device();
    let found = bench.connect(&keys, Credential::Invitation(back.code));
    assert_eq!(bench.granted(found).uin, uin(&lost).0);
    assert_eq!(audited(&mut bench, boss).iter().filter(|act| *act == "ADMIN_INVITE").count(), 2);
}

#[test]
fn a_device_that_an_administrator_revokes_is_out_at_once() {
    let mut bench = Bench::new(config());
    let (_, a, grant) = bench.account();
    let (_, boss, _) = admin(&mut bench);
    let revoke = v2::AdminRevokeRequest {
        uin: uin(&grant).0,
        device_id: Bytes::copy_from_slice(&device_id(&grant).0),
    };
    let _: v2::RevokeDeviceResponse = bench.call(boss, PacketId::ADMIN_REVOKE, &revoke).unwrap();
    assert_eq!(bench.closed(a), Some(Closed::Peer(Some(ErrorCode::Revoked))));
    let short = v2::AdminRevokeRequest { uin: 1, device_id: Bytes::from_static(b"x") };
    assert_eq!(refused(&mut bench, boss, PacketId::ADMIN_REVOKE, &short), ErrorCode::BadRequest);
}

fn backup(name: &str) -> v2::AdminBackupRequest {
    v2::AdminBackupRequest { name: name.into() }
}

#[test]
fn a_backup_is_the_hosts_after_the_store_has_noted_it() {
    let mut bench = Bench::new(config());
    let (_, boss, _) = admin(&mut bench);
    let number = bench.ask(
        boss,
        Channel::Message,
        PacketId::ADMIN_BACKUP,
        backup("monday-1").encode_to_vec().into(),
        None,
    );
    bench.run();
    let ask = bench.host.pop().unwrap();
    assert_eq!(ask.task, HostTask::Backup { name: "monday-1".into() });
    assert_eq!(audited(&mut bench, boss), ["ADMIN_BACKUP"]);
    // One at a time.
    let busy =
        bench.call::<v2::AdminVerifyResponse>(boss, PacketId::ADMIN_VERIFY, &v2::AdminVerifyRequest {});
    assert_eq!(busy, Err(ErrorCode::RetryAfter));
    assert!(bench.host.is_empty());
    let made = v2::AdminBackupResponse { file: "monday-1.redb".into(), bytes: 9, ..Default::default() };
    let answer = Answer::Answered(made.encode_to_vec().into());
    let wrong = Input::HostAnswered { ask: ntproto_hub::AskId(ask.id.0 + 1), answer: answer.clone() };
    bench.hub.handle(bench.now, wrong);
    bench.run();
    assert!(bench.answer(boss, number).is_none());
    bench.hub.handle(bench.now, Input::HostAnswered { ask: ask.id, answer });
    bench.run();
    let body = bench.answer(boss, number).unwrap().unwrap();
    assert_eq!(v2::AdminBackupResponse::decode(body).unwrap(), made);

    // The next may fail.
    let number = bench.ask(boss, Channel::Message, PacketId::ADMIN_VERIFY, Bytes::new(), None);
    bench.run();
    let ask = bench.host.pop().unwrap();
    assert_eq!(ask.task, HostTask::Verify);
    let answer = Answer::Refused(Refusal::new(ErrorCode::Unavailable, "the disk is full"));
    bench.hub.handle(bench.now, Input::HostAnswered { ask: ask.id, answer });
    bench.run();
    let error = bench.answer(boss, number).unwrap().unwrap_err();
    assert_eq!((error.code, error.detail.as_str()), (ErrorCode::Unavailable as u32, "the disk is full"));
}

#[test]
fn a_name_that_leads_elsewhere_is_no_name() {
    let mut bench = Bench::new(config());
    let (_, boss, _) = admin(&mut bench);
    for name in ["", "..", "a/b", "/etc/passwd", "a\\b", "a.redb", "C:", "a b", "ä", "a\0", &"x".repeat(65)]
    {
        assert_eq!(
            refused(&mut bench, boss, PacketId::ADMIN_BACKUP, &backup(name)),
            ErrorCode::BadRequest,
            "{name}"
        );
    }
    assert!(bench.host.is_empty() && audited(&mut bench, boss).is_empty());
}

#[test]
fn nobody_has_to_wait_for_a_host_and_its_place_is_kept() {
    // Whoever waits outlives no ticket here.
    let mut bench = Bench::new(HubConfig { ticket_lifetime: 3 * HOST_TIME, ..config() });
    let (keys, boss, _) = admin(&mut bench);
    // The store refuses: the place is free again.
    bench.hold = true;
    bench.ask(boss, Channel::Message, PacketId::ADMIN_VERIFY, Bytes::new(), None);
    bench.run();
    let (op, _, _) = bench.held.pop_front().unwrap();
    bench.done(op, Err(StoreError::Full));
    bench.release();
    // Whoever waits has a deadline.
    let number = bench.ask(boss, Channel::Message, PacketId::ADMIN_VERIFY, Bytes::new(), Some(3_000));
    bench.run();
    let first = bench.host.pop().unwrap();
    bench.advance(Duration::from_secs(3));
    let error = bench.answer(boss, number).unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::DeadlineExceeded as u32);
    let verify =
        |bench: &mut Bench, conn| bench.raw(conn, Channel::Message, PacketId::ADMIN_VERIFY, Bytes::new());
    assert_eq!(verify(&mut bench, boss), Err(ErrorCode::RetryAfter), "it goes on");
    bench.hub.handle(bench.now, Input::HostAnswered { ask: first.id, answer: Answer::Panicked });
    // Whoever asked is gone.
    bench.ask(boss, Channel::Message, PacketId::ADMIN_VERIFY, Bytes::new(), None);
    bench.run();
    let second = bench.host.pop().unwrap();
    bench.hub.handle(bench.now, Input::Closed { conn: boss });
    bench.peers.remove(&boss);
    let boss = bench.known(&keys);
    assert_eq!(verify(&mut bench, boss), Err(ErrorCode::RetryAfter));
    bench.hub.handle(bench.now, Input::HostAnswered { ask: second.id, answer: Answer::Panicked });
    // A host that never answers holds up nobody for ever, and no drain.
    let number = bench.ask(boss, Channel::Message, PacketId::ADMIN_VERIFY, Bytes::new(), None);
    bench.pass(HOST_TIME + Duration::from_secs(5));
    assert_eq!(bench.answer(boss, number).unwrap().unwrap_err().code, ErrorCode::DeadlineExceeded as u32);
    bench.hub.call(bench.now, Command::Drain).unwrap();
    bench.run();
    assert_eq!(bench.hub.connections(), 0);
}
