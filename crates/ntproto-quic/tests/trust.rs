//! Whom a client trusts: every way a server can be wrong is refused, by the default verifier and by a pin.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Identity, Link, NAME, World, pki, self_signed};
use ntproto_quic::tls::default_provider;
use ntproto_quic::{ALPN, ClientTls, Closed, EndpointConfig, Event, Misuse, Pin, Trust};

/// What both sides hear: Ok when connected, or why not.
fn attempt(
    server: &Identity,
    alpn: &[&[u8]],
    trust: Trust,
    offered: &[&[u8]],
    name: &str,
) -> Result<Vec<u8>, Closed> {
    let mut world = World::new(1, Link::default());
    world.add(EndpointConfig::server(server.tls(alpn)));
    world.add(EndpointConfig::client());
    let tls = ClientTls::new(default_provider(), trust, offered).unwrap();
    let id = world.connect(1, 0, &tls, name);
    world.run_for(Duration::from_secs(100));
    match world.peers[1].events.pop_front() {
        Some(Event::Connected { alpn, .. }) => Ok(alpn),
        Some(Event::Closed { conn, reason }) => {
            assert_eq!(conn, id);
            assert!(world.peers[1].events.is_empty());
            assert!(world.peers[0].events.is_empty(), "{:?}", world.peers[0].events);
            assert_eq!(world.peers[0].endpoint.stats().connections, 0);
            Err(reason)
        }
        other => panic!("{other:?}"),
    }
}

fn alert(result: Result<Vec<u8>, Closed>) -> (u8, bool) {
    match result {
        Err(Closed::Tls { alert, by_peer, text }) => {
            assert!(!text.is_empty());
            (alert, by_peer)
        }
        other => panic!("{other:?}"),
    }
}

const BAD_CERTIFICATE: u8 = 42;
const CERTIFICATE_EXPIRED: u8 = 45;
const UNKNOWN_CA: u8 = 48;
const ACCESS_DENIED: u8 = 49;
const NO_APPLICATION_PROTOCOL: u8 = 120;

#[test]
fn a_certificate_from_a_trusted_root_is_accepted() {
    let server = pki().issue(NAME, 2020, 2040);
    assert_eq!(attempt(&server, &[ALPN], pki().trust(), &[ALPN], NAME), Ok(ALPN.to_vec()));
}

//= proof: quic-3
#[test]
fn wrong_certificates_are_refused_by_default() {
    let good = pki().issue(NAME, 2020, 2040);
    assert_eq!(
        alert(attempt(&good, &[ALPN], pki().trust(), &[ALPN], "other.test")),
        (BAD_CERTIFICATE, false)
    );
    let expired = pki().issue(NAME, 2020, 2025);
    assert_eq!(alert(attempt(&expired, &[ALPN], pki().trust(), &[ALPN], NAME)), (CERTIFICATE_EXPIRED, false));
    let future = pki().issue(NAME, 2035, 2040);
    assert!(!alert(attempt(&future, &[ALPN], pki().trust(), &[ALPN], NAME)).1);
    assert_eq!(
        alert(attempt(&self_signed(NAME), &[ALPN], pki().trust(), &[ALPN], NAME)),
        (UNKNOWN_CA, false)
    );
}

#[test]
fn a_pin_stands_in_for_the_chain() {
    let server = self_signed(NAME);
    let pin = Pin::of(&server.cert).unwrap();
    let other = Pin::of(&self_signed(NAME).cert).unwrap();
    // Whatever the name, and among several pins for a rotation.
    for name in [NAME, "other.test", "10.0.0.0"] {
        let trust = Trust::Pinned(vec![other, pin]);
        assert_eq!(attempt(&server, &[ALPN], trust, &[ALPN], name), Ok(ALPN.to_vec()));
    }
    assert_eq!(
        alert(attempt(&server, &[ALPN], Trust::Pinned(vec![other]), &[ALPN], NAME)),
        (ACCESS_DENIED, false)
    );
    let good = pki().issue(NAME, 2020, 2040);
    assert_eq!(
        alert(attempt(&good, &[ALPN], Trust::Pinned(vec![pin]), &[ALPN], NAME)),
        (ACCESS_DENIED, false)
    );
    assert_eq!(alert(attempt(&good, &[ALPN], Trust::Pinned(vec![]), &[ALPN], NAME)), (ACCESS_DENIED, false));
}

#[test]
fn protocols_must_agree() {
    let server = pki().issue(NAME, 2020, 2040);
    let wrong = attempt(&server, &[ALPN], pki().trust(), &[b"h3"], NAME);
    assert_eq!(alert(wrong), (NO_APPLICATION_PROTOCOL, true));
    let none = attempt(&server, &[ALPN], pki().trust(), &[], NAME);
    assert!(
        matches!(none, Err(Closed::Tls { .. } | Closed::Transport { .. } | Closed::Peer { .. })),
        "{none:?}"
    );
    // A second protocol stands beside ours and says which it is.
    let both: &[&[u8]] = &[ALPN, b"h3"];
    assert_eq!(attempt(&server, both, pki().trust(), &[b"h3"], NAME), Ok(b"h3".to_vec()));
    assert_eq!(attempt(&server, both, pki().trust(), &[ALPN], NAME), Ok(ALPN.to_vec()));
}

#[test]
fn nonsense_is_refused_before_a_packet_is_sent() {
    let mut world = World::pair(1, Link::default());
    let (now, tls) = (world.now(), common::client_tls());
    let remote = world.peers[0].addr;
    let endpoint = &mut world.peers[1].endpoint;
    assert!(matches!(endpoint.connect(now, &tls, remote, "not a name"), Err(Misuse::ServerName(_))));
    let nowhere = "10.0.0.1:0".parse().unwrap();
    assert!(matches!(endpoint.connect(now, &tls, nowhere, NAME), Err(Misuse::RemoteAddress(_))));
    assert_eq!(endpoint.stats().connections, 0);
    assert!(Pin::of(&b"no certificate".as_slice().into()).is_err());
}
