//! The states of a client, drawn by bringing real ones into each of them and doing everything to each:
//! the transition table and its graph are snapshots, so a change of behaviour is a reviewed diff.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write as _;

use super::*;

/// A state, and how to get there.
type Start = (&'static str, fn() -> World);

const SCENES: [Start; 13] = [
    ("new", new),
    ("started", connecting),
    ("transport up, AUTH_REQ sent", greeting),
    ("the same, with a ticket", greeting_with_ticket),
    ("the same, as early data", greeting_early),
    ("granted, inbox not read yet", syncing),
    ("the same, to early data", syncing_early),
    ("inbox read", World::online),
    ("the same, socket full", full),
    ("connection lost", backoff),
    ("ended by noise, socket full", farewell),
    ("closed here, socket full", last_words),
    ("closed here, disk slow", stopping),
];

fn new() -> World {
    let mut w = World::with(Saved::default());
    w.unreachable = true;
    w.undecided = true;
    w
}

fn connecting() -> World {
    let mut w = new();
    w.call(Command::Start).unwrap();
    w
}

fn greeting() -> World {
    let mut w = connecting();
    w.connected();
    w.run();
    w
}

fn greeting_with_ticket() -> World {
    let mut w = World::online();
    w.undecided = true;
    w.cut();
    w.later(1_000);
    assert_eq!(w.credentials.last(), Some(&"ticket"));
    w.unreachable = true;
    w.events.clear();
    w
}

fn syncing() -> World {
    let mut w = greeting();
    w.decide();
    w.serve();
    w.run();
    w.events.clear();
    w
}

fn greeting_early() -> World {
    let mut w = connecting();
    w.early = true;
    w.connected();
    w.run();
    w
}

fn syncing_early() -> World {
    let mut w = greeting_early();
    w.decide();
    w.serve();
    w.run();
    w.events.clear();
    w
}

fn full() -> World {
    let mut w = World::online();
    w.full = true;
    w
}

fn backoff() -> World {
    let mut w = World::online();
    w.unreachable = true;
    w.cut();
    w.events.clear();
    w
}

fn farewell() -> World {
    let mut w = full();
    noise(&mut w);
    w.events.clear();
    w
}

fn last_words() -> World {
    let mut w = full();
    w.call(Command::Close).unwrap();
    w
}

fn stopping() -> World {
    let mut w = World::online();
    w.slow_disk = true;
    w.call(Command::Confirm(0)).unwrap();
    w.call(Command::Close).unwrap();
    w
}

fn noise(w: &mut World) {
    w.client.handle(w.now(), Input::Bytes { channel: Channel::Message, data: &[7; 40] });
    w.run();
}

/// Whether the server has granted a session.
fn is_open(w: &World) -> bool {
    w.server.as_ref().is_some_and(|server| server.phase() == Phase::Open)
}

/// The server answers AUTH_REQ.
fn answer(w: &mut World, code: Option<ErrorCode>) -> bool {
    if w.server.as_ref().is_none_or(|server| server.phase() != Phase::Deciding) {
        return false;
    }
    w.auth.extend(code);
    w.decide();
    w.serve();
    w.run();
    true
}

/// The server ends the connection.
fn end(w: &mut World, code: ErrorCode) -> bool {
    let now = w.now();
    let Some(server) = &mut w.server else { return false };
    if server.call(now, &mut w.rng, server::Command::Close(code)).is_err() {
        return false;
    }
    w.serve();
    w.run();
    true
}

/// What may happen; `false` where it can't.
type Stimulus = (&'static str, fn(&mut World) -> bool);

const STIMULI: [Stimulus; 29] = [
    ("Start", |w| w.call(Command::Start).is_ok()),
    ("transport up", |w| {
        if w.client.machine().stage() == "Connecting" {
            w.connected();
        } else {
            w.client.handle(w.now(), Input::Connected(BINDING));
        }
        w.run();
        true
    }),
    ("the transport of early data up", |w| {
        let early = w.early;
        if early {
            w.bound();
        }
        early
    }),
    ("early data refused", |w| {
        let early = core::mem::take(&mut w.early);
        if early {
            w.connected();
            w.run();
        }
        early
    }),
    ("transport gone", |w| {
        w.cut();
        true
    }),
    ("another network", |w| {
        w.client.handle(w.now(), Input::NetworkChanged);
        w.run();
        true
    }),
    ("granted", |w| answer(w, None)),
    ("refused: CLOCK_SKEW", |w| answer(w, Some(ErrorCode::ClockSkew))),
    ("refused: REPLAY", |w| answer(w, Some(ErrorCode::Replay))),
    ("refused: TICKET_EXPIRED", |w| answer(w, Some(ErrorCode::TicketExpired))),
    ("refused: BAD_CREDENTIAL", |w| answer(w, Some(ErrorCode::BadCredential))),
    ("refused: REVOKED", |w| answer(w, Some(ErrorCode::Revoked))),
    ("refused: RETRY_AFTER", |w| answer(w, Some(ErrorCode::RetryAfter))),
    ("the last page", |w| {
        let asked = w.asked_sync().is_some() && is_open(w);
        if asked {
            w.answer_sync(&[], 0, false);
        }
        asked
    }),
    ("a page, more follows", |w| {
        let asked = w.asked_sync().is_some() && is_open(w);
        if asked {
            w.answer_sync(&[(1, from_friend(1))], 1, true);
        }
        asked
    }),
    ("a push", |w| {
        let open = is_open(w);
        if open {
            w.push(1, 0, from_friend(1));
        }
        open
    }),
    ("a push with a gap", |w| {
        let open = is_open(w);
        if open {
            w.push(9, 8, from_friend(9));
        }
        open
    }),
    ("noise", |w| {
        noise(w);
        true
    }),
    ("CLOSE: GOING_AWAY", |w| end(w, ErrorCode::GoingAway)),
    ("CLOSE: SUPERSEDED", |w| end(w, ErrorCode::Superseded)),
    ("CLOSE: REVOKED", |w| end(w, ErrorCode::Revoked)),
    ("the disk answers", |w| {
        let waiting = !w.disk.is_empty();
        w.complete();
        w.run();
        waiting
    }),
    ("the disk fails", |w| {
        w.slow_disk = true;
        if w.disk.is_empty() && w.call(Command::Confirm(0)).is_err() {
            return false;
        }
        let (op, _) = w.disk.pop_front().unwrap();
        w.client.handle(w.now(), Input::StoreDone(op, Err(StoreError::Failed)));
        w.run();
        true
    }),
    ("moved to TCP", |w| {
        w.binding = Binding::TCP;
        w.moved();
        true
    }),
    ("socket takes bytes", |w| {
        w.full = false;
        w.run();
        true
    }),
    ("1 s", |w| {
        w.later(1_000);
        true
    }),
    ("10 s", |w| {
        w.later(10_000);
        true
    }),
    ("60 s of silence", |w| {
        // Nothing that is sent arrives.
        w.server = None;
        w.later(30_000);
        w.later(30_000);
        true
    }),
    ("Close", |w| w.call(Command::Close).is_ok()),
];

/// What the application and the host heard.
fn told(w: &World, connects: usize) -> String {
    let mut told: Vec<String> = w
        .events
        .iter()
        .map(|event| match event {
            ClientEvent::Offline { why, retry_in } => format!("Offline({why:?}, again in {retry_in:?})"),
            ClientEvent::Stopped(why) => format!("Stopped({why:?})"),
            ClientEvent::Online { .. } => "Online".to_string(),
            ClientEvent::CaughtUp => "CaughtUp".to_string(),
            ClientEvent::Message(_) => "Message".to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    if w.connects > connects {
        told.push("connect".to_string());
    }
    told.join(", ")
}

#[test]
fn the_table_and_the_graph() {
    let mut table = String::new();
    let mut edges: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (name, scene) in SCENES {
        writeln!(table, "{} — {name}", scene().client.machine().stage()).unwrap();
        for (stimulus, apply) in STIMULI {
            let mut w = scene();
            let (from, connects) = (w.client.machine().stage(), w.connects);
            w.events.clear();
            w.unreachable = true;
            if !apply(&mut w) {
                continue;
            }
            let to = w.client.machine().stage();
            writeln!(table, "{}", format!("  {stimulus:<24} → {to:<16} {}", told(&w, connects)).trim_end())
                .unwrap();
            if from != to {
                let how = edges.entry((from, to)).or_default();
                if !how.contains(&stimulus) {
                    how.push(stimulus);
                }
            }
        }
    }
    insta::assert_snapshot!("table", table);
    let mut graph = String::from("digraph client {\n  node [shape=box]\n");
    for ((from, to), how) in edges {
        writeln!(graph, "  \"{from}\" -> \"{to}\" [label=\"{}\"]", how.join("\\n")).unwrap();
    }
    insta::assert_snapshot!("graph", graph + "}");
}
