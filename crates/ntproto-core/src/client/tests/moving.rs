//! From one transport to another, and a server whose key has changed.

use super::*;
use crate::bootstrap::BootstrapTicket;
use crate::crypto::identity::Certificate;

//= proof: liveness-3, liveness-4
#[test]
fn a_session_moves_and_sends_again_what_was_not_acknowledged() {
    let mut w = World::online();
    let sent = w.send(1, None);
    w.run();
    assert_eq!(w.asked.len(), 1, "the server has it, and has not answered");
    w.asked.clear();
    w.binding = Binding::TCP;
    w.moved();
    let transports: Vec<TransportId> = w
        .events
        .iter()
        .filter_map(|e| if let ClientEvent::Online { transport, .. } = e { Some(*transport) } else { None })
        .collect();
    assert_eq!(transports, [TransportId::Tcp], "told");
    assert!(!w.took(|e| matches!(e, ClientEvent::Offline { .. })), "it was never away");
    assert_eq!(w.connects, 1, "and the host was asked for nothing");
    w.answer_sync(&[], 0, false);
    let again = w.asked.iter().filter(|(_, packet)| packet.id == PacketId::SEND).count();
    assert_eq!(again, 1);
    w.answer_send(1, 1, 0, true);
    assert!(w.took(|e| matches!(e, ClientEvent::Sent { request, .. } if *request == sent)));
}

/// What HTTP requests show is of the session there is, and of none when there is none.
#[test]
fn a_token_lives_as_long_as_its_session() {
    let mut w = World::with(Saved::default());
    assert!(w.client.machine().http_token().is_none());
    w.call(Command::Start).unwrap();
    w.run();
    let first = w.client.machine().http_token().unwrap();
    w.binding = Binding::TCP;
    w.moved();
    let second = w.client.machine().http_token().unwrap();
    assert!(!first.token.ct_eq(&second.token));
    let now = w.now();
    w.client.call(now, Command::Close).unwrap();
    assert!(w.client.machine().http_token().is_none());
}

#[test]
fn without_a_connection_there_is_nothing_to_move() {
    let mut w = World::with(Saved::default());
    w.client.handle(w.now(), Input::Moved(Binding::TCP));
    w.unreachable = true;
    w.call(Command::Start).unwrap();
    w.client.handle(w.now(), Input::Moved(Binding::TCP));
    assert_eq!(w.client.machine().stage(), "Connecting");
}

#[test]
fn who_is_leaving_moves_no_more() {
    let mut w = World::online();
    assert!(w.client.machine().can_move());
    let now = w.now();
    w.client.call(now, Command::Close).unwrap();
    assert_eq!(w.client.machine().stage(), "Farewell (last)");
    assert!(!w.client.machine().can_move(), "its last words are for the old transport");
    let mut w = World::with(Saved::default());
    w.unreachable = true;
    w.call(Command::Start).unwrap();
    assert!(!w.client.machine().can_move(), "nothing to move");
}

fn operator() -> DeviceKeys {
    DeviceKeys::generate(&mut Rng::new([50; 32]), &RUSTCRYPTO)
}

/// A key that the operator vouches for from this instant on.
fn certified(seed: u8, not_before: UnixMillis) -> Arc<ServerKeys> {
    let key = ServerKey::generate(&mut Rng::new([seed; 32]), &RUSTCRYPTO, 2);
    let certificate = Certificate {
        static_key: *key.public(),
        key_id: 2,
        not_before,
        not_after: UnixMillis(u64::MAX),
        tls_pins: alloc::vec::Vec::new(),
    };
    let certificate = certificate.sign(&RUSTCRYPTO, operator().signing_secret());
    Arc::new(ServerKeys::new(key, None).with_certificate(certificate))
}

/// A client that can ask for the key over TCP, and knows a certificate from this instant on.
fn asking(since: UnixMillis) -> ClientConfig {
    ClientConfig {
        since,
        operator: Some(*operator().signing_public()),
        transports: Vec::from([TransportId::Quic, TransportId::Tcp]),
        ..config()
    }
}

/// Somebody on the path has a key that was replaced, with its certificate: he says that he did not understand, and is asked.
//= proof: tcp-14
#[test]
fn a_key_of_former_days_is_not_learnt() {
    let tries = |w: &mut World| {
        let mut asked = false;
        for _ in 0..20 {
            w.later(5_000);
            asked |= w.only == Some(TransportId::Tcp);
        }
        assert!(asked);
        assert!(!w.client.machine().is_online());
    };
    // By what the client was started with.
    let mut w = World::of(asking(UnixMillis(1_000)), Saved::default());
    (w.keys, w.binding) = (certified(51, UnixMillis(999)), Binding::TCP);
    w.call(Command::Start).unwrap();
    tries(&mut w);
    w.keys = certified(51, UnixMillis(1_000));
    w.later(60_000);
    w.later(60_000);
    assert!(w.client.machine().is_online());
    // By what a challenge told since.
    w.keys = certified(52, UnixMillis(999));
    w.cut();
    tries(&mut w);
    // Or a bootstrap, which is not believed itself when it is older.
    let bootstrap = |seed, since| Bootstrap {
        server_static: *certified(seed, since).current().public(),
        since,
        ticket: BootstrapTicket { sealed: Bytes::new(), expires: UnixMillis(0) },
        clock_offset_ms: None,
    };
    let now = w.now();
    w.client.handle(now, Input::Bootstrapped(bootstrap(53, UnixMillis(2_000))));
    w.client.handle(now, Input::Bootstrapped(bootstrap(52, UnixMillis(999))));
    w.keys = certified(54, UnixMillis(1_999));
    tries(&mut w);
    w.keys = certified(53, UnixMillis(2_000));
    w.later(60_000);
    w.later(60_000);
    assert!(w.client.machine().is_online());
}

/// The operator changed the server's key, and this client holds the old certificate.
#[test]
fn over_tcp_a_client_learns_a_key_that_was_changed() {
    let mut w = World::of(asking(UnixMillis(0)), Saved::default());
    w.keys = certified(51, UnixMillis(0));

    w.call(Command::Start).unwrap();
    assert_eq!(w.only, None);
    assert!(w.took(|e| matches!(e, ClientEvent::Offline { .. })), "the server did not understand");
    w.binding = Binding::TCP;
    w.later(2_000);
    assert_eq!(w.only, Some(TransportId::Tcp), "there it can be asked");
    assert!(w.took(|e| matches!(e, ClientEvent::Online { .. })));
    // From now on the key is known, over any transport.
    w.cut();
    w.binding = BINDING;
    w.later(2_000);
    assert_eq!(w.only, None);
    assert!(w.client.machine().is_online());
}

#[test]
fn without_tcp_a_changed_key_stays_unknown() {
    let mut config = config();
    config.operator = Some([1; 32]);
    let mut w = World::of(config, Saved::default());
    w.keys = Arc::new(ServerKeys::new(ServerKey::generate(&mut Rng::new([51; 32]), &RUSTCRYPTO, 2), None));
    w.call(Command::Start).unwrap();
    w.later(2_000);
    assert!(w.connects >= 2);
    assert_eq!(w.only, None, "the application wants QUIC and nothing else");
}

/// That the key is another is said by nobody in particular: when asking for it comes to nothing, the one we know is
/// used again, over any transport.
#[test]
fn a_doubt_that_leads_nowhere_is_given_up() {
    let mut config = config();
    config.operator = Some([1; 32]);
    config.transports = Vec::from([TransportId::Quic, TransportId::Tcp]);
    let mut w = World::of(config, Saved::default());
    w.keys = Arc::new(ServerKeys::new(ServerKey::generate(&mut Rng::new([51; 32]), &RUSTCRYPTO, 2), None));
    w.binding = Binding::TCP;
    let mut asked = Vec::new();
    w.call(Command::Start).unwrap();
    for _ in 0..6 {
        asked.push(w.only);
        let before = w.connects;
        while w.connects == before {
            w.later(1_000);
        }
    }
    assert!(asked.windows(2).all(|pair| pair[0] != pair[1]), "by turns: {asked:?}");

    // Nor does a transport that can't be had keep the doubt alive.
    let mut w = World::of(
        ClientConfig {
            operator: Some([1; 32]),
            transports: Vec::from([TransportId::Quic, TransportId::Tcp]),
            ..self::config()
        },
        Saved::default(),
    );
    w.keys = Arc::new(ServerKeys::new(ServerKey::generate(&mut Rng::new([51; 32]), &RUSTCRYPTO, 2), None));
    w.call(Command::Start).unwrap();
    w.unreachable = true;
    w.later(2_000);
    assert_eq!(w.only, Some(TransportId::Tcp));
    w.client.handle(w.now(), Input::Disconnected);
    w.run();
    w.later(4_000);
    assert_eq!(w.only, None);
}
