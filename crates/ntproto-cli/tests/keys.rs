//! The server's keys: the operator's kept offline, and rotation that cuts nobody off.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{Server, fails, json, ok, run, serve, text};
use serde_json::Value;

const ANYWHERE: &str = "127.0.0.1:0";
/// Of no key in particular.
const PIN: &str = "0404040404040404040404040404040404040404040404040404040404040404";

fn keys(home: &Path, command: &str, more: &[&str]) -> Value {
    let data = home.join("server");
    json(home, &[&["keys", command, "--json", "--data-dir", data.to_str().unwrap()], more].concat())
}

fn key<'a>(shown: &'a Value, which: &str) -> (&'a str, String) {
    (shown[which]["server_key"].as_str().unwrap(), shown[which]["id"].to_string())
}

/// A message from one profile to an account, over a fresh connection.
fn talks(home: &Path, from: &str, to: u64) {
    let sent = json(home, &["send", "--json", &to.to_string(), "hello", "--profile", from]);
    assert_eq!(sent["sent"].as_bool(), Some(true), "{sent}");
}

#[test]
fn a_rotated_key_takes_over_and_the_one_before_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut server = Server::start(home);
    let a = server.register(home, "a", None);
    let b = server.register(home, "b", Some("a"));
    let old = server.connect.clone();
    let before = keys(home, "show", &[]);

    // Beside a running server: it takes over at the next start.
    let rotated = keys(home, "rotate", &[]);
    assert_eq!((&rotated["previous"], key(&rotated, "current").1), (&before["current"], "2".to_owned()));
    assert_eq!(rotated["operator_public"], before["operator_public"]);
    talks(home, "a", b);
    assert_eq!(server.terminate(), Some(0));
    server.restart();
    assert_ne!(server.connect, old, "another certificate");

    // Who has the old connect string goes on, and may even come with it; so may who has the new one.
    talks(home, "a", b);
    let new = server.connect.clone();
    for (profile, connect) in [("c", &old), ("d", &new)] {
        let code = json(home, &["invite", "--json", "--profile", "a"])["invitation"].clone();
        let code = code.as_str().unwrap();
        let args = ["register", "--json", "--connect", connect, "--invitation", code, "--profile", profile];
        json(home, &args);
        talks(home, profile, a);
    }
    // The pinned operator's key vouches for the new one.
    let moved = json(home, &["connect", "--json", &new, "--profile", "a"]);
    assert_eq!(moved["server"].as_str(), Some(server.listening.to_string().as_str()));
    talks(home, "a", b);

    // A third key would cut off b, who holds the first: not without being told so.
    let data = home.join("server");
    let rotate = ["keys", "rotate", "--data-dir", data.to_str().unwrap()];
    let line = fails(home, &rotate, 1);
    assert!(line.contains("key 1 are let in for another 730 days") && line.contains("--now"), "{line}");
    keys(home, "rotate", &["--now"]);
    assert_eq!(server.terminate(), Some(0));
    server.restart();
    talks(home, "a", b);
    // Over QUIC b is not understood any more. Over TCP it can ask for the new key, which the operator vouches for.
    let quic = ["recv", "--profile", "b", "--timeout", "5", "--transport", "quic"];
    let line = fails(home, &quic, 4);
    assert!(line.contains("can't be reached"), "{line}");
    ok(home, &["recv", "--profile", "b", "--timeout", "20"]);
    ok(home, &["connect", &server.connect, "--profile", "b"]);
    ok(home, &quic);
    talks(home, "b", a);
}

#[test]
fn the_operators_key_never_comes_near_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let path = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let (operator, certificate) = (path("operator.key"), path("server.cert"));
    let public = ok(home, &["keys", "new", &operator]).trim().to_owned();
    let flags = ["--operator-public", &public, "--certificate", &certificate];
    let certify = |server_key: &str, id: &str| {
        let shown = keys(home, "show", &[]);
        let pin = shown["tls_pin"].as_str().unwrap();
        let key = ["keys", "certify", "--operator-key", &operator, "--server-key", server_key];
        let args = [&key[..], &["--id", id, "--tls-pin", pin]].concat();
        std::fs::write(&certificate, ok(home, &args)).unwrap();
    };

    // The first start says which key is to be certified, as does `ntp keys show`.
    let line = fails(home, &serve(&home.join("server"), ANYWHERE, &flags), 1);
    let shown = keys(home, "show", &[]);
    let (first, id) = key(&shown, "current");
    let pin = shown["tls_pin"].as_str().unwrap();
    assert!(line.contains(&format!("--server-key {first} --id {id} --tls-pin {pin} ")), "{line}");
    assert!(shown["operator_public"].is_null() && shown["current"]["expires_ms"].is_null());
    certify(first, &id);
    let mut server = Server::launch(home, ANYWHERE, &flags);
    let a = server.register(home, "a", None);
    let old = server.connect.clone();

    // The next key waits for its certificate; a restart before that changes nothing.
    let rotated = keys(home, "rotate", &[]);
    assert_eq!(key(&rotated, "current").0, first);
    let (next, id) = key(&rotated, "next");
    assert_eq!(server.terminate(), Some(0));
    server.restart();
    assert_eq!(server.connect, old);
    certify(next, &id);
    assert_eq!(server.terminate(), Some(0));
    server.restart();
    assert_ne!(server.connect, old);
    let shown = keys(home, "show", &[]);
    assert_eq!((key(&shown, "current").0, key(&shown, "previous").0), (next, first));
    assert!(shown["next"].is_null());
    let b = server.register(home, "b", Some("a"));
    talks(home, "a", b);
    talks(home, "b", a);
    assert!(!home.join("server/operator.key").exists());
}

#[test]
fn what_can_not_be_done_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let operator = home.join("operator.key");
    let operator = operator.to_str().unwrap();
    ok(home, &["keys", "new", operator]);
    let before = std::fs::read(operator).unwrap();
    assert!(fails(home, &["keys", "new", operator], 1).contains("not overwritten"));
    assert_eq!(std::fs::read(operator).unwrap(), before);
    for command in ["show", "rotate"] {
        let line = fails(home, &["keys", command, "--data-dir", "/no/such/folder"], 1);
        assert!(line.contains("start the server there once"), "{line}");
    }
    let server_key = "07".repeat(32);
    let certify = |file: &str, server_key: &str, more: &[&str]| {
        let flags = ["keys", "certify", "--operator-key", file, "--server-key", server_key, "--id", "1"];
        let flags = [&flags[..], &["--tls-pin", PIN]].concat();
        run(home, &[&flags, more].concat())
    };
    assert!(common::one_line(&certify("/no/such/file", &server_key, &[]), 1).contains("correct the path"));
    std::fs::write(home.join("x"), "nonsense").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let x = home.join("x");
        std::fs::set_permissions(&x, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(common::one_line(&certify(x.to_str().unwrap(), &server_key, &[]), 1).contains("chmod"));
    }
    for (key, more) in [("07", &[][..]), (&server_key, &["--days", "0"])] {
        let output = certify(operator, key, more);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    }
    for command in ["new", "show", "certify", "rotate"] {
        assert!(ok(home, &["keys", command, "--help"]).contains("Examples:"), "{command}");
    }
    assert!(ok(home, &["keys", "--help"]).contains("kept offline"));

    // Another operator's server is not taken for one's own.
    let server = Server::start(home);
    server.register(home, "a", None);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Server::start(elsewhere.path());
    let line = fails(home, &["connect", &other.connect, "--profile", "a"], 2);
    assert!(line.contains("--new-operator"), "{line}");
    assert!(fails(home, &["connect", "ntp://x", "--profile", "a"], 2).contains("connect string"));
    ok(home, &["connect", &other.connect, "--new-operator", "--profile", "a"]);
}
