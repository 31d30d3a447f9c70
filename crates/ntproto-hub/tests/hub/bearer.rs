//! HTTP requests that act for a session.

use ntproto_core::crypto::secret::Secret;
use ntproto_core::session::bearer::Bearer;
use ntproto_hub::{ConnId, Input, Who};
use ntproto_proto::v2;

use crate::bench::{Bench, config, uin};

/// What a client would show.
fn shown(bench: &Bench, conn: ConnId, grant: &v2::Grant) -> Bearer {
    let token = bench.peers[&conn].endpoint.http_token().expect("a session").duplicate();
    Bearer { session_id: grant.session_id[..].try_into().unwrap(), token }
}

//= proof: files-1
#[test]
fn a_token_is_worth_its_session_and_dies_with_it() {
    let mut bench = Bench::new(config());
    let (_, a, of_a) = bench.account();
    let (_, b, of_b) = bench.account();
    let (from_a, from_b) = (shown(&bench, a, &of_a), shown(&bench, b, &of_b));
    let who = bench.hub.bearer(&from_a).unwrap();
    assert_eq!((who.uin, who.conn), (uin(&of_a), a));
    assert_eq!(who.device.0[..], of_a.device_id[..]);
    assert!(matches!(bench.hub.bearer(&from_b), Some(Who { conn, .. }) if conn == b));
    // Another's token, a session that never was.
    let mixed = Bearer { session_id: from_a.session_id, token: from_b.token.duplicate() };
    assert_eq!(bench.hub.bearer(&mixed), None);
    let none = Bearer { session_id: [9; 16], token: Secret::zero() };
    assert_eq!(bench.hub.bearer(&none), None);
    bench.hub.handle(bench.now, Input::Closed { conn: a });
    assert_eq!(bench.hub.bearer(&from_a), None);
    assert!(bench.hub.bearer(&from_b).is_some());
}

/// Whoever sent AUTH_REQ may have copied it: no right comes of it before the first sealed frame.
#[test]
fn a_session_that_is_not_confirmed_has_no_token() {
    let mut bench = Bench::new(config());
    let device = bench.device();
    let open = v2::auth_request::Credential::OpenRegistration(v2::OpenRegistration {});
    let conn = bench.connect(&device, open);
    let grant = bench.granted(conn);
    let bearer = shown(&bench, conn, &grant);
    assert_eq!(bench.hub.bearer(&bearer), None);
    bench.sync(conn, 0);
    assert!(bench.hub.bearer(&bearer).is_some());
}
