//! Two people and a server that is killed: the whole path, with the real program.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Server, fails, json, lines, ok, run, with_input};

#[test]
fn a_message_survives_a_server_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut server = Server::start(home);
    let a = server.register(home, "a", None);
    let b = server.register(home, "b", Some("a"));
    let (to_a, to_b) = (a.to_string(), b.to_string());

    let sent = json(home, &["send", "--json", &to_b, "one", "--profile", "a"]);
    assert_eq!((sent["sent"].as_bool(), sent["conv_seq"].as_u64()), (Some(true), Some(1)));
    let got = lines(&ok(home, &["recv", "--profile", "b", "--peek"]));
    assert_eq!((got[0]["text"].as_str(), got[0]["sender"].as_u64()), (Some("one"), Some(a)));
    assert_eq!(got[0]["client_msg_id"], sent["client_msg_id"]);
    // Peeked at, not confirmed.
    assert_eq!(lines(&ok(home, &["recv", "--profile", "b"])), got);
    assert_eq!(ok(home, &["recv", "--profile", "b"]), "");

    // From here on nothing is told before it is on a disk.
    server.kill();
    let line = fails(home, &["send", &to_b, "lost", "--deadline", "0.7", "--profile", "a"], 4);
    assert!(line.contains("can't be reached") && line.contains(&server.listening.to_string()), "{line}");
    for text in ["two", "three"] {
        let args = ["send", "--json", &to_b, text, "--queue", "--deadline", "0.5", "--profile", "a"];
        assert_eq!(json(home, &args)["sent"].as_bool(), Some(false));
    }
    let line = fails(home, &["recv", "--profile", "b", "--timeout", "0.5"], 4);
    assert!(line.contains("can't be reached"), "{line}");

    server.restart();
    assert_eq!(server.invitation, None);
    // What waited goes out with the next connection, in order; what was given up does not.
    assert_eq!(ok(home, &["recv", "--profile", "a"]), "");
    let got = lines(&ok(home, &["recv", "--profile", "b", "--count", "2"]));
    let texts: Vec<_> = got.iter().map(|l| l["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["two", "three"]);
    assert!(got[0]["position"].as_u64() < got[1]["position"].as_u64());

    // Bytes that are no text, and text that would steer a terminal.
    let bytes = with_input(home, &["send", &to_a, "-", "--profile", "b"], &[0xff, 0x00]);
    assert_eq!(bytes.status.code(), Some(0));
    ok(home, &["send", &to_a, "\u{9b}31m\u{202e}x", "--profile", "b"]);
    let out = ok(home, &["recv", "--profile", "a", "--count", "2"]);
    assert!(out.contains(r#""hex":"ff00""#) && out.contains(r#""text":"\u009b31m\u202ex""#), "{out}");

    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn devices_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let server = Server::start(home);
    let a = server.register(home, "a", None);
    let b = server.register(home, "b", Some("a"));

    let link = json(home, &["link", "--json", "--profile", "a"]);
    let (connect, code) = (link["connect"].as_str().unwrap(), link["link"].as_str().unwrap());
    let args = ["register", "--json", "--connect", connect, "--link", code, "--profile", "a2"];
    assert_eq!(json(home, &args)["uin"].as_u64(), Some(a));
    // A link works once.
    let again = ["register", "--connect", connect, "--link", code, "--profile", "a3"];
    let line = fails(home, &again, 3);
    assert!(line.contains("BAD_CREDENTIAL"), "{line}");
    assert!(!home.join("profiles/a3").exists());

    // Both devices get what is sent to the account, and each other's messages.
    ok(home, &["send", &a.to_string(), "to both", "--profile", "b"]);
    ok(home, &["send", &b.to_string(), "from the first", "--profile", "a"]);
    for (profile, count) in [("a", 1), ("a2", 2)] {
        assert_eq!(lines(&ok(home, &["recv", "--profile", profile])).len(), count, "{profile}");
    }

    let devices = json(home, &["devices", "--json", "--profile", "a"]);
    let devices = devices.as_array().unwrap();
    assert_eq!(devices.len(), 2);
    let other = devices.iter().find(|d| d["current"] == false).unwrap()["device"].as_str().unwrap();
    let this = devices.iter().find(|d| d["current"] == true).unwrap()["device"].as_str().unwrap();
    assert!(fails(home, &["revoke", this, "--profile", "a"], 2).contains("--myself"));
    assert!(fails(home, &["revoke", "00000000", "--profile", "a"], 2).contains("no device"));
    ok(home, &["revoke", &other[..12], "--profile", "a"]);
    let line = fails(home, &["recv", "--profile", "a2"], 3);
    assert!(line.contains("REVOKED"), "{line}");
    ok(home, &["recv", "--profile", "a"]);

    // Who was invited without that right can't invite.
    assert!(fails(home, &["invite", "--profile", "b"], 3).contains("FORBIDDEN"));
    let room = json(home, &["invite", "--json", "--uses", "2", "--profile", "a"]);
    let invitation = room["invitation"].as_str().unwrap();
    for (profile, code) in [("c", 0), ("d", 0), ("e", 3)] {
        let args = ["register", "--connect", connect, "--invitation", invitation, "--profile", profile];
        assert_eq!(run(home, &args).status.code(), Some(code), "{profile}");
    }
}

#[test]
fn keys_are_readable_by_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let server = Server::start(home);
    server.register(home, "a", None);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let profile = home.join("profiles/a");
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&profile), 0o700);
        assert_eq!(mode(&profile.join("keys")), 0o600);
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(profile.join("keys"), open).unwrap();
        assert!(fails(home, &["devices", "--profile", "a"], 1).contains("chmod 600"));
    }
}
