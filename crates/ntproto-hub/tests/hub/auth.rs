//! Who gets in, and who stays.

use std::time::Duration;

use bytes::Bytes;
use ntproto_core::bootstrap::{BootstrapKeys, Given};
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::identity::Link;
use ntproto_core::crypto::noise::ik::InitiatorStart;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::endpoint::Closed;
use ntproto_core::endpoint::client::{Command, Event};
use ntproto_core::rng::Rng;
use ntproto_core::session::handshake::PROLOGUE;
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::frame::{Flags, FrameType, append_checksum, encode};
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::config::MAX_UNCONFIRMED;
use ntproto_hub::store::{StoreError, Txn};
use ntproto_hub::{HubConfig, HubEvent, Input, Stage};
use ntproto_proto::v2;
use ntproto_proto::v2::auth_request::Credential;
use prost::Message as _;

use crate::bench::{BINDING, Bench, REMOTE, config, device_id, ticket, uin};

fn invited(bench: &mut Bench, may_invite: bool) -> Credential {
    let code = [7; 16];
    let (op, code_hash) = (ntproto_hub::store::OpId(u64::MAX), sha256(&code));
    let expires = UnixMillis(u64::MAX);
    bench.execute(
        op,
        Txn::CreateInvitation {
            by: None,
            code_hash,
            uses: 1,
            expires,
            may_invite,
            admin: false,
            account: None,
            audit: None,
        },
    );
    Credential::Invitation(Bytes::copy_from_slice(&code))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    ntproto_core::crypto::CryptoProvider::sha256(&RUSTCRYPTO, &[bytes])
}

#[test]
fn an_invitation_then_the_keys_then_a_ticket() {
    let mut bench = Bench::new(HubConfig::default());
    let device = bench.device();
    let unknown = bench.known(&device);
    assert_eq!(bench.refused(unknown), ErrorCode::BadCredential);

    let invitation = invited(&mut bench, false);
    let first = bench.connect(&device, invitation.clone());
    let grant = bench.granted(first);
    assert_eq!(grant.uin, 10_001);
    assert!(matches!(bench.events[..], [.., HubEvent::In { enrolled: true, .. }]));

    // The same device with the same, used up invitation: its first answer may have been lost.
    let again = bench.connect(&device, invitation.clone());
    assert_eq!(bench.granted(again).device_id, grant.device_id);
    let other = bench.device();
    let used_up = bench.connect(&other, invitation);
    assert_eq!(bench.refused(used_up), ErrorCode::BadCredential);

    let by_keys = bench.known(&device);
    let by_keys = bench.granted(by_keys);
    assert_eq!((by_keys.uin, &by_keys.device_id), (grant.uin, &grant.device_id));
    let by_ticket = bench.connect(&device, ticket(&by_keys));
    assert_eq!(bench.granted(by_ticket).device_id, grant.device_id);
    assert_ne!(bench.granted(by_ticket).session_id, grant.session_id);
}

#[test]
fn registration_is_closed_unless_opened() {
    let mut bench = Bench::new(HubConfig::default());
    let device = bench.device();
    let open = Credential::OpenRegistration(v2::OpenRegistration {});
    let conn = bench.connect(&device, open.clone());
    assert_eq!(bench.refused(conn), ErrorCode::RegistrationClosed);
    let mut bench = Bench::new(config());
    let device = bench.device();
    let conn = bench.connect(&device, open);
    bench.granted(conn);
}

#[test]
fn tickets_of_others_and_old_tickets_are_refused() {
    let mut bench = Bench::new(config());
    let (device, _, grant) = bench.account();
    let (thief, _, _) = bench.account();
    let stolen = bench.connect(&thief, ticket(&grant));
    assert_eq!(bench.refused(stolen), ErrorCode::BadCredential);
    let garbage = bench.connect(&device, Credential::Ticket(Bytes::from_static(&[0, 0, 0, 1, 5, 5])));
    assert_eq!(bench.refused(garbage), ErrorCode::BadCredential);
    bench.advance(Duration::from_secs(901));
    let old = bench.connect(&device, ticket(&grant));
    assert_eq!(bench.refused(old), ErrorCode::TicketExpired);
}

#[test]
fn a_session_lives_as_long_as_its_tickets_and_no_chain_beyond_its_cap() {
    let life = Duration::from_secs(20);
    let config = HubConfig { ticket_lifetime: life, ticket_cap: Duration::from_secs(50), ..config() };
    let mut bench = Bench::new(config);
    let (device, conn, _) = bench.account();
    let mut last = None;
    for _ in 0..3 {
        bench.advance(Duration::from_secs(15));
        let now = bench.now;
        bench.peers.get_mut(&conn).unwrap().endpoint.call(now, Command::RefreshTicket).unwrap();
        bench.run();
        assert_eq!(bench.closed(conn), None);
        last = bench.peers[&conn].events.iter().rev().find_map(|event| match event {
            Event::Ticket(ticket) => Some(ticket.clone()),
            _ => None,
        });
    }
    let last = last.unwrap();
    assert_eq!(last.expires_ms - last.issued_ms, 5_000);
    bench.advance(Duration::from_secs(6));
    assert_eq!(bench.closed(conn), Some(Closed::Peer(Some(ErrorCode::TicketExpired))));
    let conn = bench.connect(&device, Credential::Ticket(last.sealed));
    assert_eq!(bench.refused(conn), ErrorCode::TicketExpired);
}

//= proof: handshake-12
#[test]
fn a_wrong_clock_is_told_the_time() {
    let mut bench = Bench::new(config());
    let (device, _, _) = bench.account();
    for off in [-120_001_i64, 120_001] {
        let mut request = bench.request(Credential::KnownDevice(v2::KnownDevice {}));
        request.timestamp_ms = request.timestamp_ms.saturating_add_signed(off);
        let conn = bench.connect_with(&device, request);
        assert_eq!(bench.refused(conn), ErrorCode::ClockSkew);
        let server_time = bench.hub.server_time(bench.now).0;
        assert!(
            bench.peers[&conn].events.iter().any(
                |event| matches!(event, Event::Refused(refusal) if refusal.server_time_ms == server_time)
            )
        );
    }
}

//= proof: spec-4
#[test]
fn an_unknown_version_is_told_the_known_ones() {
    let mut bench = Bench::new(config());
    let (device, _, _) = bench.account();
    let mut request = bench.request(Credential::KnownDevice(v2::KnownDevice {}));
    request.versions = vec!["9.9".into()];
    let conn = bench.connect_with(&device, request);
    assert_eq!(bench.refused(conn), ErrorCode::Version);
    assert!(
        bench.peers[&conn]
            .events
            .iter()
            .any(|event| matches!(event, Event::Refused(refusal) if refusal.versions == ["2.4.1"]))
    );
}

//= proof: handshake-7, handshake-9
#[test]
fn a_link_adds_one_device() {
    let mut bench = Bench::new(config());
    let (first, _, grant) = bench.account();
    let expires = UnixMillis(bench.hub.server_time(bench.now).0 + 60_000);
    let link = Link { uin: uin(&grant), device_id: device_id(&grant), nonce: [1; 16], expires };
    let signed = link.sign(&RUSTCRYPTO, &first);
    let second = bench.device();
    let conn = bench.connect(&second, Credential::Link(signed.clone()));
    let added = bench.granted(conn);
    assert_eq!(added.uin, grant.uin);
    assert_ne!(added.device_id, grant.device_id);

    let third = bench.device();
    let used = bench.connect(&third, Credential::Link(signed.clone()));
    assert_eq!(bench.refused(used), ErrorCode::BadCredential);
    let forged = Link { nonce: [2; 16], ..link }.sign(&RUSTCRYPTO, &third);
    let forged = bench.connect(&third, Credential::Link(forged));
    assert_eq!(bench.refused(forged), ErrorCode::BadCredential);
    // Its own link again, long after: the device is known and only signs in.
    bench.advance(Duration::from_secs(3_600));
    let again = bench.connect(&second, Credential::Link(signed));
    assert_eq!(bench.granted(again).device_id, added.device_id);
}

//= proof: handshake-13
#[test]
fn a_replayed_request_is_refused_and_disturbs_nobody() {
    let mut bench = Bench::new(config());
    let (device, _, _) = bench.account();
    let conn = bench.known(&device);
    bench.sync(conn, 0);
    let (channel, auth_req) = bench.peers[&conn].sent[0].clone();

    let replay = |bench: &mut Bench| {
        let conn = bench.transport();
        bench.hub.handle(bench.now, Input::Bytes { conn, channel, data: &auth_req });
        bench.run();
        conn
    };
    let replayed = replay(&mut bench);
    let refused = |event: &HubEvent| matches!(event, HubEvent::Refused { conn, code: ErrorCode::Replay, .. } if *conn == replayed);
    assert!(bench.events.iter().any(refused));
    assert_eq!(bench.closed(conn), None);

    // A server that forgot answers it, but lets it take nobody's place.
    bench.restart(config());
    let conn = bench.known(&device);
    bench.sync(conn, 0);
    let replayed = replay(&mut bench);
    assert!(bench.events.iter().any(|event| matches!(event, HubEvent::In { conn, .. } if *conn == replayed)));
    bench.advance(Duration::from_secs(31));
    bench.advance(Duration::from_secs(11));
    assert_eq!(bench.closed(conn), None);
    assert!(bench.closes.iter().any(|(closed, _)| *closed == replayed), "it can't answer a heartbeat");
}

/// One device that signs in all the time shuts nobody out.
#[test]
fn a_full_memory_of_replays_lets_devices_in() {
    let mut bench = Bench::new(HubConfig { max_remembered: 3, ..config() });
    let (device, _, _) = bench.account();
    for _ in 0..6 {
        let conn = bench.known(&device);
        bench.sync(conn, 0);
    }
    let (_, other, _) = bench.account();
    bench.sync(other, 0);
}

/// A client that has nothing to say but answers heartbeats is there as well.
#[test]
fn a_heartbeat_confirms_a_session() {
    let mut bench = Bench::new(config());
    let (device, old, _) = bench.account();
    bench.sync(old, 0);
    let new = bench.known(&device);
    bench.granted(new);
    assert_eq!(bench.hub.stage(new), Some(Stage::Granted));
    bench.advance(Duration::from_secs(30));
    assert_eq!(bench.hub.stage(new), Some(Stage::Confirmed));
    assert_eq!(bench.closed(old), Some(Closed::Peer(Some(ErrorCode::Superseded))));
}

#[test]
fn a_device_holds_few_sessions_that_it_does_not_use() {
    let mut bench = Bench::new(config());
    let (device, used, _) = bench.account();
    bench.sync(used, 0);
    let (_, other, _) = bench.account();
    let unused: Vec<_> = (0..20).map(|_| bench.known(&device)).collect();
    let (gone, left) = unused.split_at(unused.len() - MAX_UNCONFIRMED);
    for conn in gone {
        assert_eq!(bench.closed(*conn), Some(Closed::Peer(Some(ErrorCode::RetryAfter))));
    }
    for conn in left.iter().chain([&used, &other]) {
        assert_eq!(bench.closed(*conn), None);
    }
    bench.sync(left[0], 0);
    assert_eq!(bench.closed(used), Some(Closed::Peer(Some(ErrorCode::Superseded))));
    // One that ended makes room for another.
    bench.hub.handle(bench.now, Input::Closed { conn: left[1] });
    bench.peers.remove(&left[1]);
    bench.known(&device);
    bench.known(&device);
    assert_eq!(bench.closed(left[2]), None);
    bench.known(&device);
    assert_eq!(bench.closed(left[2]), Some(Closed::Peer(Some(ErrorCode::RetryAfter))));
}

//= proof: handshake-14
#[test]
fn a_newer_session_supersedes_an_older_one_never_the_other_way_round() {
    let mut bench = Bench::new(config());
    let (device, old, _) = bench.account();
    let unconfirmed = bench.known(&device);
    let new = bench.known(&device);
    assert_eq!(bench.closed(old), None, "nothing was proven yet");
    bench.sync(new, 0);
    assert_eq!(bench.closed(old), Some(Closed::Peer(Some(ErrorCode::Superseded))));
    // A frame of the connection between them comes late.
    bench.ask(
        unconfirmed,
        ntproto_core::wire::channel::Channel::Message,
        PacketId::DEVICES,
        Bytes::new(),
        None,
    );
    bench.run();
    assert_eq!(bench.closed(unconfirmed), Some(Closed::Peer(Some(ErrorCode::Superseded))));
    assert_eq!(bench.closed(new), None);
}

#[test]
fn a_revoked_device_is_out_at_once_and_for_good() {
    let mut bench = Bench::new(config());
    let (first, conn, grant) = bench.account();
    let expires = UnixMillis(u64::MAX);
    let link = Link { uin: uin(&grant), device_id: device_id(&grant), nonce: [1; 16], expires };
    let second = bench.device();
    let other = bench.connect(&second, Credential::Link(link.sign(&RUSTCRYPTO, &first)));
    let added = bench.granted(other);

    let revoke = v2::RevokeDeviceRequest { device_id: added.device_id.clone() };
    let _: v2::RevokeDeviceResponse = bench.call(conn, PacketId::REVOKE_DEVICE, &revoke).unwrap();
    assert_eq!(bench.closed(other), Some(Closed::Peer(Some(ErrorCode::Revoked))));
    for credential in [ticket(&added), Credential::KnownDevice(v2::KnownDevice {})] {
        let conn = bench.connect(&second, credential);
        assert_eq!(bench.refused(conn), ErrorCode::Revoked);
    }
    let devices: v2::DevicesResponse = bench.call(conn, PacketId::DEVICES, &v2::DevicesRequest {}).unwrap();
    let listed: Vec<(bool, bool)> = devices.devices.iter().map(|d| (d.revoked, d.current)).collect();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&(false, true)) && listed.contains(&(true, false)));
    // A device may revoke itself.
    let revoke = v2::RevokeDeviceRequest { device_id: grant.device_id };
    let number = bench.ask(
        conn,
        ntproto_core::wire::channel::Channel::Message,
        PacketId::REVOKE_DEVICE,
        prost::Message::encode_to_vec(&revoke).into(),
        None,
    );
    bench.run();
    assert_eq!(bench.closed(conn), Some(Closed::Peer(Some(ErrorCode::Revoked))));
    let _answered_or_cut = bench.answer(conn, number);
}

#[test]
fn after_an_idle_time_the_clock_is_moved_before_it_is_used() {
    let mut bench = Bench::new(config());
    let (device, conn, _) = bench.account();
    bench.hub.handle(bench.now, Input::Closed { conn });
    bench.peers.clear();
    bench.now.mono = bench.now.mono + Duration::from_secs(36_000);
    let before = bench.store.used();
    bench.run();
    assert_eq!(bench.store.used(), before, "an idle server writes nothing");

    bench.hold = true;
    let mut request = bench.request(Credential::KnownDevice(v2::KnownDevice {}));
    request.timestamp_ms = bench.now.unix.0 + 36_000_000;
    let conn = bench.connect_with(&device, request.clone());
    assert!(matches!(bench.held[0].1, Txn::SetClockFloor { .. }));
    assert_eq!(bench.held.len(), 1, "the request waits for the clock");
    bench.release();
    bench.granted(conn);

    bench.hub.handle(bench.now, Input::Closed { conn });
    bench.peers.clear();
    bench.now.mono = bench.now.mono + Duration::from_secs(36_000);
    bench.hold = true;
    request.timestamp_ms += 36_000_000;
    let conn = bench.connect_with(&device, request);
    let (op, _, _) = bench.held.pop_front().unwrap();
    bench.done(op, Err(StoreError::Full));
    bench.run();
    assert_eq!(bench.refused(conn), ErrorCode::Unavailable);
    assert!(bench.events.contains(&HubEvent::StoreFailed(StoreError::Full)));
}

#[test]
fn a_failing_store_keeps_devices_waiting_not_out() {
    let mut bench = Bench::new(config());
    let (device, _, _) = bench.account();
    bench.hold = true;
    let conn = bench.known(&device);
    let (op, _, _) = bench.held.pop_back().unwrap();
    bench.done(op, Err(StoreError::Unavailable));
    bench.run();
    assert_eq!(bench.refused(conn), ErrorCode::Unavailable);
}

#[test]
fn an_answer_for_a_connection_that_is_gone_is_dropped() {
    let mut bench = Bench::new(config());
    let device = bench.device();
    bench.hold = true;
    let conn = bench.connect(&device, Credential::OpenRegistration(v2::OpenRegistration {}));
    bench.hub.handle(bench.now, Input::Closed { conn });
    bench.peers.clear();
    bench.release();
    assert_eq!(bench.hub.connections(), 0);
    // A number that was never opened, or twice.
    bench.hub.handle(bench.now, Input::Closed { conn });
    let remote = REMOTE.parse().unwrap();
    bench.hub.handle(bench.now, Input::Opened { conn, binding: BINDING, remote });
    bench.hub.handle(bench.now, Input::Opened { conn, binding: BINDING, remote });
    assert_eq!(bench.hub.connections(), 1);
}

//= proof: handshake-6
#[test]
fn an_unverified_request_asks_nothing_of_the_store() {
    let mut bench = Bench::new(config());
    let device = bench.device();
    let conn = bench.connect(&device, Credential::OpenRegistration(v2::OpenRegistration {}));
    let request = bench.peers[&conn].sent[0].1.clone();
    // A server that does not remember it: undamaged, it would get as far as the store.
    bench.restart(config());
    bench.hold = true;
    let asked = |bench: &mut Bench, at: Option<usize>| {
        let mut request = request[..request.len() - 4].to_vec();
        at.into_iter().for_each(|at| request[at] ^= 1);
        append_checksum(&mut request, 0);
        let conn = bench.transport();
        bench.hub.handle(bench.now, Input::Bytes { conn, channel: Channel::Control, data: &request });
        bench.run();
        bench.held.iter().any(|(_, txn, _)| !matches!(txn, Txn::SetClockFloor { .. }))
    };
    // All but the flags, whose unknown bits are ignored.
    for at in (0..request.len() - 4).filter(|at| *at != 2) {
        assert!(!asked(&mut bench, Some(at)), "byte {at}");
    }
    assert!(asked(&mut bench, None));
    // Readable, and signed by another key than the one it names.
    bench.held.clear();
    let other = bench.device();
    for (signer, stored) in [(&other, false), (&device, true)] {
        let start = InitiatorStart::new(
            &RUSTCRYPTO,
            PROLOGUE,
            device.static_key(),
            device.static_public(),
            bench.server.current().public(),
            &Secret::new([6; 32]),
        )
        .unwrap();
        let message = [&b"ntproto ticket-pop v1"[..], &sha256(b""), start.hash()].concat();
        let mut request = bench.request(Credential::OpenRegistration(v2::OpenRegistration {}));
        request.signing_key = Bytes::copy_from_slice(device.signing_public());
        request.signature = RUSTCRYPTO.ed25519_sign(signer.signing_secret(), &message).to_vec().into();
        let (payload, _) = start.finish(&request.encode_to_vec());
        let mut data = Vec::new();
        encode(FrameType::AuthReq as u8, Flags(0), Channel::Control, 1, &payload, &mut data);
        let conn = bench.transport();
        bench.hub.handle(bench.now, Input::Bytes { conn, channel: Channel::Control, data: &data });
        bench.run();
        assert_eq!(bench.held.iter().any(|(_, txn, _)| matches!(txn, Txn::LookupDevice { .. })), stored);
    }
}

/// A bootstrap ticket of this server, given to this application at this address.
fn bootstrap(bench: &mut Bench, app_id: u32, from: &str, lifetime: Duration) -> Bytes {
    let now = bench.hub.server_time(bench.now);
    let keys = BootstrapKeys::of(&RUSTCRYPTO, bench.hub.tickets());
    let given = Given { app_id, version: "2.4.1", from: from.parse().unwrap() };
    keys.issue(&mut Rng::new([9; 32]), given, now, lifetime).sealed
}

//= proof: tickets-4
#[test]
fn a_bootstrap_ticket_that_is_shown_is_good_or_nobody_comes_in() {
    let mut bench = Bench::new(config());
    let from = REMOTE.parse::<std::net::SocketAddr>().unwrap().ip().to_string();
    let minute = Duration::from_secs(60);
    let good = bootstrap(&mut bench, 10001, &from, minute);
    let cases = [
        (good.clone(), None),
        (bootstrap(&mut bench, 10002, &from, minute), Some(ErrorCode::Bootstrap)),
        (bootstrap(&mut bench, 10001, "192.0.2.77", minute), Some(ErrorCode::Bootstrap)),
        (bootstrap(&mut bench, 10001, &from, Duration::ZERO), Some(ErrorCode::Bootstrap)),
        (Bytes::from_static(b"forged"), Some(ErrorCode::Bootstrap)),
    ];
    for (bootstrap, refused) in cases {
        let device = bench.device();
        let open = Credential::OpenRegistration(v2::OpenRegistration {});
        let request = v2::AuthRequest { app_id: 10001, bootstrap, ..bench.request(open) };
        let conn = bench.connect_with(&device, request);
        match refused {
            None => drop(bench.granted(conn)),
            Some(code) => assert_eq!(bench.refused(conn), code),
        }
    }
}

//= proof: bootstrap-9
#[test]
fn where_one_is_asked_for_a_bootstrap_or_a_session_ticket_is_shown() {
    let mut bench = Bench::new(HubConfig { require_bootstrap: true, ..config() });
    let device = bench.device();
    let open = || Credential::OpenRegistration(v2::OpenRegistration {});
    let conn = bench.connect(&device, open());
    assert_eq!(bench.refused(conn), ErrorCode::Bootstrap);
    let good = bootstrap(&mut bench, 10001, "192.0.2.1", Duration::from_secs(60));
    let request = v2::AuthRequest { app_id: 10001, bootstrap: good, ..bench.request(open()) };
    let conn = bench.connect_with(&device, request);
    let grant = bench.granted(conn);
    let by_keys = bench.known(&device);
    assert_eq!(bench.refused(by_keys), ErrorCode::Bootstrap);
    let by_ticket = bench.connect(&device, ticket(&grant));
    assert_eq!(bench.granted(by_ticket).device_id, grant.device_id);
}
