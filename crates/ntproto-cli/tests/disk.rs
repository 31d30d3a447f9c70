//! A disk that is full, and stores that can't be opened: what a server says, and that it loses nothing.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Server, fails, json, lines, ok, one_line, run, serve, under};

/// What is left of the disk when the server starts: some messages, wherever its store puts them.
const ROOM: u64 = 1024 * 1024;
/// As large as messages get, to fill it soon.
const BODY: usize = 100_000;

/// Files may grow to this size and no further. Without the trap the signal would end the process first.
fn limited(bytes: u64) -> String {
    format!("trap '' XFSZ; ulimit -S -f {}", bytes.div_ceil(512))
}

fn body(n: usize) -> String {
    format!("{n:04}").repeat(BODY / 4)
}

#[test]
fn a_full_disk_acknowledges_nothing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut server = Server::start(home);
    server.register(home, "a", None);
    server.register(home, "b", Some("a"));
    assert_eq!(server.terminate(), Some(0));
    let store = home.join("server/store.redb");
    let size = store.metadata().unwrap().len() + ROOM;
    server.restart_under(&limited(size));

    let send = |n: usize, seconds| {
        let text = body(n);
        run(home, &["send", "10002", &text, "--deadline", seconds, "--profile", "a"])
    };
    let mut acknowledged = 0;
    let line = loop {
        let output = send(acknowledged, "3");
        if output.status.code() != Some(0) {
            break output;
        }
        acknowledged += 1;
        assert!(acknowledged < 1_000, "the disk is never full");
    };
    assert!(matches!(line.status.code(), Some(3 | 4 | 6)), "{line:?}");
    let line = one_line(&line, line.status.code().unwrap());
    // One line, whatever number of times it was tried.
    let log = server.log();
    assert_eq!(log.matches("is full: free some space").count(), 1, "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(acknowledged > 0, "some fitted; then: {line}");
    // What is there can be read.
    ok(home, &["devices", "--profile", "b"]);

    // There is room again: it goes on by itself.
    let id = server.id().to_string();
    let freed = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &id]).status();
    if !freed.is_ok_and(|status| status.success()) {
        server.kill();
        server.restart();
    }
    let output = send(9_999, "20");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    server.kill();
    server.restart();
    let got = lines(&ok(home, &["recv", "--profile", "b"]));
    let got: Vec<&str> = got.iter().map(|line| line["text"].as_str().unwrap()).collect();
    let mut expected: Vec<String> = (0..acknowledged).map(body).collect();
    // The one that was not acknowledged was given up, or stored in the end; it is not there twice.
    if got.len() == acknowledged + 2 {
        expected.push(body(acknowledged));
    }
    expected.push(body(9_999));
    assert!(got == expected, "{} of {} messages", got.len(), expected.len());
}

#[test]
fn a_disk_too_small_to_start_on_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let data = home.join("server");
    let output = under(home, &limited(64 * 1024), &serve(&data, "127.0.0.1:0", &[])).output().unwrap();
    let line = one_line(&output, 1);
    assert!(line.contains("store.redb") && line.ends_with("is full: free some space"), "{line}");
    // With room it starts, as if nothing had been.
    assert!(Server::start(home).invitation.is_some());
}

#[test]
fn a_store_that_can_not_be_opened_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut server = Server::start(home);
    let a = server.register(home, "a", None);
    server.register(home, "b", Some("a"));
    json(home, &["send", "--json", &a.to_string(), "kept", "--profile", "b"]);
    assert_eq!(server.terminate(), Some(0));
    let data = home.join("server");
    let store = data.join("store.redb");
    let whole = std::fs::read(&store).unwrap();
    let refused = |data: &Path| fails(home, &serve(data, "127.0.0.1:0", &[]), 1);

    for cut in [0, 100, 4_096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&store, &whole[..cut]).unwrap();
        let line = refused(&data);
        let says = ["is damaged: restore a backup", "is not a store: name another file"];
        assert!(says.iter().any(|text| line.contains(text)), "{cut}: {line}");
        assert_eq!(std::fs::read(&store).unwrap(), &whole[..cut], "{cut} bytes, untouched");
    }
    std::fs::write(&store, "something else entirely").unwrap();
    assert!(refused(&data).contains("store.redb is not a store: name another file"));
    assert_eq!(std::fs::read(&store).unwrap(), b"something else entirely");
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    assert!(refused(&data).contains("store.redb is not a store: name another file"));
    let file = home.join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(refused(&file).ends_with("is not a folder: name another as data_dir"));

    // A backup brings everything back.
    std::fs::remove_dir(&store).unwrap();
    std::fs::write(&store, &whole).unwrap();
    server.restart();
    let line = refused(&data);
    assert!(line.ends_with("store.redb is in use: is another server running on it?"), "{line}");
    assert_eq!(lines(&ok(home, &["recv", "--profile", "a"]))[0]["text"].as_str(), Some("kept"));
}
