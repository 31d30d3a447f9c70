//! `ntp friends`, `groups`, `presence`, `history`, `search` with a real server.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Server, fails, json, lines, ok};

#[test]
fn friends_are_made_and_seen() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let server = Server::start(home);
    let a = server.register(home, "a", None).to_string();
    let b = server.register(home, "b", Some("a")).to_string();

    let asked =
        lines(&ok(home, &["friends", "--request", &b, "--message", "hi", "--json", "--profile", "a"]));
    assert_eq!(asked[0]["state"], "asked");
    let wanted = lines(&ok(home, &["friends", "--json", "--profile", "b"]));
    assert_eq!((&wanted[0]["state"], &wanted[0]["message"]), (&"wanted".into(), &"hi".into()));
    assert!(fails(home, &["friends", "--accept", "99999", "--profile", "b"], 3).contains("NOT_FOUND"));
    ok(home, &["friends", "--accept", &a, "--profile", "b"]);
    assert!(ok(home, &["friends", "--profile", "a"]).contains("friend"));
    let seen = lines(&ok(home, &["presence", "--json", "--profile", "a"]));
    assert_eq!(
        (seen[0]["uin"].as_u64().map(|n| n.to_string()), &seen[0]["state"]),
        (Some(b.clone()), &"offline".into())
    );
    // Who is blocked is not told so.
    ok(home, &["friends", "--block", &a, "--profile", "b"]);
    assert!(fails(home, &["send", &b, "hello?", "--profile", "a"], 3).contains("FORBIDDEN"));
    ok(home, &["friends", "--unblock", &a, "--profile", "b"]);
    ok(home, &["send", &b, "hello!", "--profile", "a"]);
}

#[test]
fn groups_history_and_search() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let server = Server::start(home);
    let a = server.register(home, "a", None).to_string();
    let b = server.register(home, "b", Some("a")).to_string();

    let made = json(home, &["groups", "--new", "Tea", "--with", &b, "--json", "--profile", "a"]);
    assert_eq!((made["members"].as_u64(), &made["role"]), (Some(2), &"owner".into()));
    let group = made["group"].to_string();
    let members = lines(&ok(home, &["groups", "--members", &group, "--json", "--profile", "b"]));
    assert_eq!(members.len(), 2);
    fails(home, &["groups", "--new", "bad\u{202e}name", "--profile", "a"], 1);
    assert!(ok(home, &["groups", "--profile", "b"]).contains("Tea"));

    for text in ["the kettle boils", "tea is ready"] {
        ok(home, &["send", &b, text, "--profile", "a"]);
    }
    ok(home, &["send", &a, "coming", "--profile", "b"]);
    // What this device never got, the server has.
    let said = lines(&ok(home, &["history", &a, "--json", "--profile", "b"]));
    let texts: Vec<_> = said.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["the kettle boils", "tea is ready", "coming"]);
    assert_eq!(lines(&ok(home, &["history", &a, "-n", "1", "--json", "--profile", "b"])).len(), 1);
    assert!(ok(home, &["history", &a, "--profile", "b"]).contains("  the kettle boils"));
    let found = lines(&ok(home, &["search", "KETTLE", "--json", "--profile", "b"]));
    assert_eq!((found.len(), &found[0]["text"]), (1, &"the kettle boils".into()));
    assert!(fails(home, &["search", "coffee", "--profile", "b"], 1).contains("nothing"));
    assert_eq!(ok(home, &["history", &format!("#{group}"), "--profile", "b"]), "");
    fails(home, &["history", "#9", "--profile", "b"], 3);
}
