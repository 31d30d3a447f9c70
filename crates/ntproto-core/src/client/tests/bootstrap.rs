//! Bootstrap tickets, and what a bootstrap mends.

use alloc::vec;

use super::*;
use crate::bootstrap::BootstrapTicket;

const LATER: u64 = T0 + 600_000;

fn fresh(server_static: [u8; 32], n: u8) -> Bootstrap {
    let ticket = BootstrapTicket { sealed: Bytes::copy_from_slice(&[n; 100]), expires: UnixMillis(LATER) };
    Bootstrap { server_static, since: UnixMillis(0), ticket, clock_offset_ms: Some(0) }
}

/// A client that has bootstrapped, and can do so again.
fn world(can_bootstrap: bool) -> World {
    let key = *server_keys().current().public();
    // Known from the bootstrap only.
    let config =
        ClientConfig { server_static: [9; 32], bootstrap: Some(fresh(key, 1)), can_bootstrap, ..config() };
    World::of(config, Saved::default())
}

//= proof: bootstrap-10
#[test]
fn the_ticket_is_shown_until_there_is_a_session_ticket() {
    let mut w = world(true);
    w.call(Command::Start).unwrap();
    assert_eq!(w.shown, [vec![1; 100]]);
    w.cut();
    w.later(2_000);
    assert_eq!(w.credentials, ["invitation", "ticket"]);
    assert_eq!(w.shown.last(), Some(&Vec::<u8>::new()));
    assert_eq!(w.bootstraps, [false, false]);
}

#[test]
fn one_that_has_ended_is_not_shown() {
    let mut w = world(false);
    w.ms = 600_000;
    w.call(Command::Start).unwrap();
    assert_eq!(w.shown, [Vec::<u8>::new()]);
}

/// Who told of it could not be made sure of, so it brought no clock: the server's own refusal does.
#[test]
fn a_wrong_clock_is_mended_without_the_bootstraps() {
    let mut unsure = fresh(*server_keys().current().public(), 1);
    unsure.clock_offset_ms = None;
    // By the client's own clock it has ended.
    unsure.ticket.expires = UnixMillis(T0 - 1);
    let config = ClientConfig { server_static: [9; 32], bootstrap: Some(unsure), ..config() };
    let mut w = World::of(config, Saved::default());
    w.skew_ms = -10_000_000;
    w.auth.extend([ErrorCode::ClockSkew]);
    w.call(Command::Start).unwrap();
    assert_eq!(w.shown, [vec![], vec![1; 100]]);
    assert!(w.took(|e| matches!(e, ClientEvent::Online { .. })));
}

#[test]
fn one_that_is_refused_is_replaced_and_then_left_out() {
    let mut w = world(true);
    w.fresh = Some(fresh(*server_keys().current().public(), 2));
    w.auth.extend([ErrorCode::Bootstrap, ErrorCode::Bootstrap]);
    w.call(Command::Start).unwrap();
    // At once, with a new one; that is refused, too.
    assert_eq!(w.shown, [vec![1; 100], vec![2; 100]]);
    assert_eq!(w.bootstraps, [false, true]);
    w.later(1_000);
    assert_eq!(w.shown.last(), Some(&Vec::<u8>::new()));
    assert_eq!(w.bootstraps, [false, true, false]);
    assert!(w.took(|e| matches!(e, ClientEvent::Online { .. })));
}

#[test]
fn a_client_that_can_not_bootstrap_comes_without_and_then_stops() {
    let mut w = world(false);
    w.auth.extend([ErrorCode::Bootstrap, ErrorCode::Bootstrap]);
    w.call(Command::Start).unwrap();
    assert_eq!(w.shown, [vec![1; 100], vec![]]);
    assert!(w.took(|e| matches!(e, ClientEvent::Stopped(Stopped::Refused(ErrorCode::Bootstrap)))));
}

/// The server's key was changed: nothing the client makes is understood any more.
#[test]
fn a_changed_key_is_learnt_by_a_bootstrap() {
    let mut w = world(true);
    let changed = ServerKeys::new(ServerKey::generate(&mut Rng::new([77; 32]), &RUSTCRYPTO, 2), None);
    w.fresh = Some(fresh(*changed.current().public(), 3));
    w.keys = Arc::new(changed);
    w.call(Command::Start).unwrap();
    assert!(!w.took(|e| matches!(e, ClientEvent::Online { .. })));
    w.later(1_000);
    assert_eq!(w.bootstraps, [false, true]);
    assert!(w.took(|e| matches!(e, ClientEvent::Online { .. })));
    assert_eq!(w.shown, [vec![3; 100]]);
}

#[test]
fn after_three_attempts_in_vain_the_server_may_have_moved() {
    let mut w = world(true);
    w.unreachable = true;
    w.call(Command::Start).unwrap();
    for _ in 0..4 {
        w.cut();
        w.later(10_000);
    }
    assert_eq!(w.bootstraps[..5], [false, false, false, true, true]);
}
