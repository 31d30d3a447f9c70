//! Coming back in early data, and what a replay of it does to a whole server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ntproto_core::client::ClientEvent;
use ntproto_core::code::ErrorCode;
use ntproto_quic::config::HANDSHAKE_TIMEOUT;
use rustls::server::StoresServerSessions;

use super::couple;
use super::world::{COMMIT, DELAY, World};

/// The worst memory of sessions there can be: it outlives the server, and gives each out as often as it is asked.
#[derive(Debug, Default)]
struct NeverForgets(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl StoresServerSessions for NeverForgets {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.0.lock().unwrap().insert(id, session);
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(id).cloned()
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.get(id)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// The second device goes away, and three messages come for it.
fn three_wait(world: &mut World, a: usize, b: usize) {
    world.run_for(Duration::from_secs(1));
    world.peers[b].driver = None;
    let sent = world.sent(a);
    (0..3).for_each(|n| world.send(a, b, &[n]));
    world.run_until("all sent", |w| w.sent(a) == sent + 3);
    world.run_for(Duration::from_secs(1));
    world.peers[b].events.clear();
}

/// From the start of a client to its first message, in microseconds.
fn time_to_message(world: &mut World, b: usize) -> u64 {
    let start = world.at;
    world.start_peer(b);
    world.run_until("a message", |w| !w.bodies(b).is_empty());
    world.at - start
}

#[test]
fn who_comes_back_has_his_messages_after_one_round_trip() {
    // The device is looked up and the page is read: two turns of the store.
    let (rtt, store) = (2 * DELAY, 2 * COMMIT);
    let (mut world, a, b) = couple(31);
    three_wait(&mut world, a, b);
    assert_eq!(time_to_message(&mut world, b), rtt + store);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.bodies(b).len(), 3);

    // Without a session: TLS, the handshake, the sync.
    let (mut world, a, b) = couple(32);
    three_wait(&mut world, a, b);
    world.forget_sessions(b);
    assert_eq!(time_to_message(&mut world, b), 3 * rtt + store);

    // A server that was started anew has forgotten it: the same, and nothing goes wrong.
    let (mut world, a, b) = couple(33);
    three_wait(&mut world, a, b);
    world.kill_server();
    world.start_server();
    assert_eq!(time_to_message(&mut world, b), 3 * rtt + store);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.bodies(b).len(), 3);
}

fn receipts(world: &World, no: usize) -> usize {
    world.peers[no].events.iter().filter(|e| matches!(e, ClientEvent::Receipt(_))).count()
}

fn online(world: &World, no: usize) -> usize {
    world.peers[no].events.iter().filter(|e| matches!(e, ClientEvent::Online { .. })).count()
}

/// Every datagram a device sent while it came back is sent again by a stranger: to the server that had them, and to
/// one that was started anew. `sessions` is what TLS remembers.
fn replayed(sessions: Option<Arc<dyn StoresServerSessions>>, expected: [(usize, usize); 2]) {
    let (mut world, a, b) = couple(34);
    world.sessions = sessions;
    restart(&mut world, a, b);
    three_wait(&mut world, a, b);
    world.tap = Some(Vec::new());
    time_to_message(&mut world, b);
    world.run_for(Duration::from_secs(2));
    let tapped = world.tap.take().unwrap();
    // As long as the connection lives the packets are its own. So it comes back once more, on another.
    world.peers[b].driver = None;
    world.start_peer(b);
    world.run_for(Duration::from_secs(5));
    let device = world.peers[b].addr;
    let tapped: Vec<_> = tapped.into_iter().filter(|(from, _)| *from == device).collect();
    let stranger = SocketAddr::from(([192, 0, 2, 7], 7));
    for expected in expected {
        // Messages of the device, receipts of its friend, sessions of both.
        let sight = |w: &World| (w.bodies(b).len(), receipts(w, a), online(w, a), online(w, b));
        let replays = |w: &World| w.refusals().iter().filter(|code| **code == ErrorCode::Replay).count();
        let (before, opened) = (sight(&world), world.server.opened);
        let (let_in, refused) = (world.let_in(), replays(&world));
        for (_, data) in &tapped {
            world.inject(stranger, data.clone());
        }
        world.run_for(HANDSHAKE_TIMEOUT + Duration::from_secs(1));
        // Nobody is shown a message twice, no watermark rose, both sessions go on, no transport came up.
        assert_eq!((sight(&world), world.server.opened), (before, opened));
        assert_eq!((world.let_in() - let_in, replays(&world) - refused), expected);
        // The inbox is where it was: what comes now comes once.
        world.send(a, b, &[9]);
        world.run_for(Duration::from_secs(2));
        assert_eq!(world.bodies(b).len(), before.0 + 1);
        restart(&mut world, a, b);
    }
}

/// The server is killed and started again; both are back.
fn restart(world: &mut World, a: usize, b: usize) {
    world.kill_server();
    world.start_server();
    // Who is silent learns of it late.
    world.send(b, a, b"are you there?");
    world.send(a, b, b"and you?");
    world.run_for(Duration::from_secs(8));
}

#[test]
fn datagrams_replayed_are_not_read() {
    replayed(None, [(0, 0), (0, 0)]);
}

/// With TLS sessions that outlive the server and can be used for ever: what the hub makes of a replay that is read.
/// One that it knows is refused; after a restart it knows none, and grants a session that nobody can use.
#[test]
fn datagrams_replayed_that_are_read_do_nothing() {
    replayed(Some(Arc::new(NeverForgets::default())), [(0, 1), (1, 0)]);
}
