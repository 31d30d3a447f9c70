//! The states of a connection, drawn by bringing real hubs into each of them and doing everything to
//! each: the transition table and its graph are snapshots, so a change of behaviour is a reviewed diff.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use ntproto_core::binding::Binding;
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::identity::{DeviceKeys, Link};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::endpoint::client::{Command as ClientCommand, Event};
use ntproto_core::endpoint::rules::Phase;
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::frame::{Flags, FrameType, encode};
use ntproto_core::wire::packet::PacketId;
use ntproto_hub::config::FAREWELL;
use ntproto_hub::store::{StoreError, Txn};
use ntproto_hub::{Command, ConnId, HubConfig, HubEvent, Input};
use ntproto_proto::v2;
use ntproto_proto::v2::auth_request::Credential;
use prost::Message as _;

use crate::bench::{Bench, config, device_id, uin};

/// A bench with one connection brought so far.
struct Scene {
    bench: Bench,
    conn: ConnId,
    device: DeviceKeys,
}

/// A state, and how to get there.
type Start = (&'static str, fn() -> Scene);

const SCENES: [Start; 11] = [
    ("opened", opened),
    ("AUTH_REQ after an idle hour", parked),
    ("AUTH_REQ of a known device", known),
    ("AUTH_REQ of a stranger who may register", stranger),
    ("a stranger about to be enrolled", enrolling),
    ("early data, and no room to remember it", waiting_early),
    ("let in", granted),
    ("let in by early data", granted_early),
    ("let in and heard", confirmed),
    ("let in and heard, socket full", full),
    ("closed here, socket full", leaving),
];

fn start() -> Scene {
    start_with(config())
}

fn start_with(config: HubConfig) -> Scene {
    // Sessions outlive an hour, so that a ticket's end is one more thing that can be waited for.
    let mut bench = Bench::new(HubConfig { heartbeat: Duration::from_secs(100_000), ..config });
    let (device, conn, _) = bench.account();
    bench.hub.handle(bench.now, Input::Closed { conn });
    bench.peers.remove(&conn);
    bench.run();
    bench.events.clear();
    Scene { conn, device, bench }
}

fn opened() -> Scene {
    let mut scene = start();
    scene.conn = scene.bench.transport();
    scene.bench.run();
    scene
}

fn parked() -> Scene {
    let mut scene = start();
    scene.bench.advance(Duration::from_secs(3_600));
    scene.bench.hold = true;
    let mut request = scene.bench.request(Credential::KnownDevice(v2::KnownDevice {}));
    request.timestamp_ms = scene.bench.now.unix.0;
    scene.conn = scene.bench.connect_with(&scene.device, request);
    scene
}

fn known() -> Scene {
    let mut scene = start();
    scene.bench.hold = true;
    scene.conn = scene.bench.known(&scene.device);
    scene
}

fn stranger() -> Scene {
    let mut scene = start();
    scene.bench.hold = true;
    scene.device = scene.bench.device();
    let open = Credential::OpenRegistration(v2::OpenRegistration {});
    scene.conn = scene.bench.connect(&scene.device, open);
    scene
}

fn enrolling() -> Scene {
    let mut scene = stranger();
    answer(&mut scene, None);
    scene
}

fn granted() -> Scene {
    let mut scene = start();
    scene.conn = scene.bench.known(&scene.device);
    scene
}

fn early(mut scene: Scene) -> Scene {
    let early = Some(v2::EarlyStart { sync: Some(v2::SyncRequest::default()), request_id: 1 });
    let request =
        v2::AuthRequest { early, ..scene.bench.request(Credential::KnownDevice(v2::KnownDevice {})) };
    scene.conn = scene.bench.transport_bound_by(Binding::EARLY);
    scene.bench.greet(scene.conn, &scene.device, request);
    scene
}

fn waiting_early() -> Scene {
    early(start_with(HubConfig { max_remembered: 0, ..config() }))
}

fn granted_early() -> Scene {
    early(start())
}

fn confirmed() -> Scene {
    let mut scene = granted();
    scene.bench.sync(scene.conn, 0);
    scene
}

fn full() -> Scene {
    let mut scene = confirmed();
    scene.bench.full = true;
    scene
}

fn leaving() -> Scene {
    let mut scene = full();
    scene.bench.hub.call(scene.bench.now, Command::Close(scene.conn, ErrorCode::Normal)).unwrap();
    scene.bench.run();
    scene
}

/// Answers what the store was asked first: by doing it, or with an error.
fn answer(scene: &mut Scene, error: Option<StoreError>) -> bool {
    let Some((op, txn, _)) = scene.bench.held.pop_front() else { return false };
    match error {
        None => scene.bench.execute(op, txn),
        Some(error) => scene.bench.done(op, Err(error)),
    }
    scene.bench.run();
    true
}

fn raw(scene: &mut Scene, channel: Channel, bytes: &[u8]) {
    scene.bench.hub.handle(scene.bench.now, Input::Bytes { conn: scene.conn, channel, data: bytes });
    scene.bench.run();
}

fn clear(scene: &mut Scene, kind: FrameType, channel: Channel, seq: u64) {
    let mut bytes = Vec::new();
    encode(kind as u8, Flags(0), channel, seq, &[], &mut bytes);
    raw(scene, channel, &bytes);
}

/// Whether the client of this connection was told that it is in.
fn client_open(scene: &Scene) -> bool {
    scene.bench.peers.get(&scene.conn).is_some_and(|peer| peer.endpoint.phase() == Phase::Open)
}

/// Whether it was told so at any time.
fn was_granted(scene: &Scene) -> bool {
    let granted = |event: &Event| matches!(event, Event::Granted(_));
    scene.bench.peers.get(&scene.conn).is_some_and(|peer| peer.events.iter().any(granted))
}

fn wait(scene: &mut Scene, time: Duration) {
    scene.bench.advance(time);
}

/// What may happen; `false` where it can't.
type Stimulus = (&'static str, fn(&mut Scene) -> bool);

const STIMULI: [Stimulus; 20] = [
    ("AUTH_REQ", |scene| {
        if let Some(peer) = scene.bench.peers.get(&scene.conn) {
            // The same once more.
            let bytes = peer.sent[0].1.clone();
            raw(scene, Channel::Control, &bytes);
        } else {
            scene.bench.hold = true;
            let request = scene.bench.request(Credential::KnownDevice(v2::KnownDevice {}));
            let device = core::mem::replace(&mut scene.device, scene.bench.device());
            scene.bench.greet(scene.conn, &device, request);
        }
        true
    }),
    ("AUTH_REQ with a wrong clock", |scene| {
        if scene.bench.peers.contains_key(&scene.conn) {
            return false;
        }
        let mut request = scene.bench.request(Credential::KnownDevice(v2::KnownDevice {}));
        request.timestamp_ms -= 121_000;
        let device = core::mem::replace(&mut scene.device, scene.bench.device());
        scene.bench.greet(scene.conn, &device, request);
        true
    }),
    ("the store does it", |scene| answer(scene, None)),
    ("the store knows nothing of it", |scene| answer(scene, Some(StoreError::NotFound))),
    ("the store fails", |scene| answer(scene, Some(StoreError::Unavailable))),
    ("a request", |scene| {
        if client_open(scene) {
            let body = v2::SyncRequest { limit: 1, ..Default::default() }.encode_to_vec().into();
            scene.bench.ask(scene.conn, Channel::Sync, PacketId::SYNC, body, None);
            scene.bench.run();
        } else {
            clear(scene, FrameType::SyncDelta, Channel::Sync, 1);
        }
        true
    }),
    ("one that is for administrators", |scene| {
        if !client_open(scene) {
            return false;
        }
        let body = v2::AdminStatsRequest {}.encode_to_vec().into();
        scene.bench.ask(scene.conn, Channel::Message, PacketId::ADMIN_STATS, body, None);
        scene.bench.run();
        true
    }),
    ("noise", |scene| {
        raw(scene, Channel::Message, &[7; 40]);
        true
    }),
    ("CLOSE", |scene| {
        let now = scene.bench.now;
        if let Some(peer) = scene.bench.peers.get_mut(&scene.conn)
            && peer.endpoint.phase() == Phase::Open
        {
            peer.endpoint.call(now, ClientCommand::Close(ErrorCode::Normal)).unwrap();
            scene.bench.run();
        } else {
            let before = u64::from(scene.bench.peers.contains_key(&scene.conn));
            clear(scene, FrameType::Close, Channel::Control, 1 + before);
        }
        true
    }),
    ("the transport of early data up", |scene| {
        let early = scene.bench.peers.get(&scene.conn).is_some_and(|peer| peer.endpoint.is_early());
        if early {
            scene.bench.bound(scene.conn);
        }
        early
    }),
    ("transport gone", |scene| {
        scene.bench.hub.handle(scene.bench.now, Input::Closed { conn: scene.conn });
        scene.bench.run();
        true
    }),
    ("transport takes bytes", |scene| {
        scene.bench.full = false;
        scene.bench.writable(scene.conn, ChannelSet::ALL);
        scene.bench.run();
        true
    }),
    ("2 s", |scene| {
        wait(scene, FAREWELL);
        true
    }),
    ("10 s", |scene| {
        wait(scene, Duration::from_secs(10));
        true
    }),
    ("the ticket's end", |scene| {
        wait(scene, Duration::from_secs(900));
        true
    }),
    ("closed here", |scene| {
        let done = scene.bench.hub.call(scene.bench.now, Command::Close(scene.conn, ErrorCode::Normal));
        scene.bench.run();
        done.is_ok()
    }),
    ("a newer session of the device", |scene| {
        if scene.bench.hold || scene.bench.full {
            return false;
        }
        let newer = scene.bench.known(&scene.device);
        scene.bench.sync(newer, 0);
        true
    }),
    ("the device is revoked", |scene| {
        if scene.bench.hold || scene.bench.full || !was_granted(scene) {
            return false;
        }
        let grant = scene.bench.granted(scene.conn);
        let other = second_device(&mut scene.bench, &scene.device, &grant);
        let revoke = v2::RevokeDeviceRequest { device_id: grant.device_id };
        let _: v2::RevokeDeviceResponse = scene.bench.call(other, PacketId::REVOKE_DEVICE, &revoke).unwrap();
        true
    }),
    ("an administrator revokes it", |scene| {
        if scene.bench.hold || scene.bench.full || !was_granted(scene) {
            return false;
        }
        let grant = scene.bench.granted(scene.conn);
        let (_, boss, _) = crate::admin::admin(&mut scene.bench);
        let revoke = v2::AdminRevokeRequest { uin: grant.uin, device_id: grant.device_id };
        let _: v2::RevokeDeviceResponse = scene.bench.call(boss, PacketId::ADMIN_REVOKE, &revoke).unwrap();
        true
    }),
    ("drain", |scene| {
        scene.bench.hub.call(scene.bench.now, Command::Drain).unwrap();
        scene.bench.run();
        true
    }),
];

/// A second device of the account, let in by a link of the first.
fn second_device(bench: &mut Bench, first: &DeviceKeys, grant: &v2::Grant) -> ConnId {
    let expires = UnixMillis(bench.hub.server_time(bench.now).0 + 60_000);
    let link = Link { uin: uin(grant), device_id: device_id(grant), nonce: [1; 16], expires };
    let device = bench.device();
    let conn = bench.connect(&device, Credential::Link(link.sign(&RUSTCRYPTO, first)));
    bench.sync(conn, 0);
    conn
}

/// How far the connection is, and what its store is asked.
fn state(scene: &Scene) -> String {
    let asked = scene.bench.held.iter().map(|(_, txn, _)| match txn {
        Txn::SetClockFloor { .. } => "clock",
        Txn::LookupDevice { .. } => "lookup",
        Txn::Enrol { .. } => "enrol",
        _ => "request",
    });
    match scene.bench.hub.stage(scene.conn) {
        None => "Gone".into(),
        Some(stage @ ntproto_hub::Stage::Authenticating) => {
            format!("{stage:?} ({})", asked.filter(|a| *a != "clock").collect::<Vec<_>>().join(", "))
        }
        Some(stage) => format!("{stage:?}"),
    }
}

/// What the hub told of the connection.
fn told(scene: &Scene, events: usize, closes: usize) -> String {
    let mut told = Vec::new();
    for event in &scene.bench.events[events..] {
        match event {
            HubEvent::In { conn, enrolled, .. } if *conn == scene.conn => {
                told.push(if *enrolled { "In (new)".into() } else { "In".to_owned() });
            }
            HubEvent::Refused { conn, code, .. } if *conn == scene.conn => {
                told.push(format!("Refused({code})"));
            }
            HubEvent::Closed { conn, why, .. } if *conn == scene.conn => {
                told.push(format!("Closed({why:?})"));
            }
            HubEvent::StoreFailed(_) => told.push("StoreFailed".into()),
            _ => {}
        }
    }
    for (conn, code) in &scene.bench.closes[closes..] {
        if *conn == scene.conn {
            told.push(format!("take down: {code}"));
        }
    }
    told.join(", ")
}

#[test]
fn the_table_and_the_graph() {
    let mut table = String::new();
    let mut edges: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for (name, scene) in SCENES {
        writeln!(table, "{} — {name}", state(&scene())).unwrap();
        for (stimulus, apply) in STIMULI {
            let mut scene = scene();
            let from = state(&scene);
            let (events, closes) = (scene.bench.events.len(), scene.bench.closes.len());
            if !apply(&mut scene) {
                continue;
            }
            let to = state(&scene);
            let told = told(&scene, events, closes);
            writeln!(table, "  {stimulus:<30} → {to:<24} {told}",).unwrap();
            if from != to {
                let how = edges.entry((from, to)).or_default();
                if !how.contains(&stimulus) {
                    how.push(stimulus);
                }
            }
        }
    }
    insta::assert_snapshot!("table", table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
    let mut graph = String::from("digraph hub_connection {\n  node [shape=box]\n");
    for ((from, to), how) in edges {
        writeln!(graph, "  \"{from}\" -> \"{to}\" [label=\"{}\"]", how.join("\\n")).unwrap();
    }
    insta::assert_snapshot!("graph", graph + "}");
}
