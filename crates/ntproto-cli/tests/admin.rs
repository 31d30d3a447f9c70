//! `ntp admin` with a real server: every subcommand, and who is refused.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{Server, fails, json, lines, ok, run, text};

/// A server with an administrator of profile `root`, who is 10001.
fn server(home: &Path) -> Server {
    let data = home.join("server");
    let made =
        json(home, &["invite", "--admin", "--may-invite", "--data-dir", data.to_str().unwrap(), "--json"]);
    let server = Server::start(home);
    let code = made["invitation"].as_str().unwrap();
    let args =
        ["register", "--json", "--connect", &server.connect, "--invitation", code, "--profile", "root"];
    assert_eq!(json(home, &args)["uin"].as_u64(), Some(10001));
    server
}

const ROOT: [&str; 3] = ["--profile", "root", "--json"];

fn admin(home: &Path, args: &[&str]) -> Vec<serde_json::Value> {
    lines(&ok(home, &[&["admin"][..], args, &ROOT].concat()))
}

#[test]
fn an_administrator_looks_after_accounts() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let server = server(home);
    let b = server.register(home, "b", Some("root")).to_string();
    ok(home, &["groups", "--new", "Tea", "--with", &b, "--profile", "root"]);

    let users = admin(home, &["users"]);
    let uins: Vec<_> = users.iter().map(|user| user["uin"].as_u64().unwrap()).collect();
    assert_eq!(uins, [10001, 10002]);
    let table = ok(home, &["admin", "users", "--profile", "root"]);
    assert!(table.starts_with("  UIN") && table.lines().count() == 3, "{table}");

    let devices = admin(home, &["devices", &b]);
    assert_eq!((devices.len(), devices[0]["admin"].as_bool()), (1, Some(false)));
    assert_eq!(admin(home, &["devices", "10001"])[0]["admin"].as_bool(), Some(true));
    assert!(fails(home, &["admin", "devices", "99999", "--profile", "root"], 3).contains("no such account"));

    let groups = admin(home, &["groups"]);
    assert_eq!((groups[0]["name"].as_str(), groups[0]["members"].as_u64()), (Some("Tea"), Some(2)));
    let stats = admin(home, &["stats"]);
    assert_eq!((stats[0]["accounts"].as_u64(), stats[0]["groups"].as_u64()), (Some(2), Some(1)));
    assert!(ok(home, &["admin", "stats", "--profile", "root"]).contains("server's clock"));

    // Somebody lost all of their devices: they get another, and the lost one is ended.
    let lost = devices[0]["device"].as_str().unwrap();
    let made = admin(home, &["invite", "--recover", &b]);
    let code = made[0]["invitation"].as_str().unwrap();
    let args = ["register", "--json", "--connect", &server.connect, "--invitation", code, "--profile", "b2"];
    assert_eq!(json(home, &args)["uin"].as_u64().map(|n| n.to_string()), Some(b.clone()));
    let revoked = admin(home, &["revoke", &b, &lost[..10]]);
    assert_eq!(revoked[0]["device"].as_str(), Some(lost));
    assert!(fails(home, &["devices", "--profile", "b"], 3).contains("REVOKED"));
    ok(home, &["devices", "--profile", "b2"]);
    let line = fails(home, &["admin", "revoke", &b, "ffffffffffff", "--profile", "root"], 2);
    assert!(line.contains("no device"), "{line}");
    let own = admin(home, &["devices", "10001"])[0]["device"].as_str().unwrap().to_owned();
    assert!(fails(home, &["admin", "revoke", "10001", &own, "--profile", "root"], 2).contains("very device"));

    // Another administrator, and what both did.
    let made = admin(home, &["invite", "--admin"]);
    let code = made[0]["invitation"].as_str().unwrap();
    let args = ["register", "--connect", &server.connect, "--invitation", code, "--profile", "second"];
    ok(home, &args);
    ok(home, &["admin", "users", "--profile", "second"]);
    let log = admin(home, &["audit"]);
    let acts: Vec<_> = log.iter().map(|entry| entry["act"].as_str().unwrap()).collect();
    assert!(acts.contains(&"ADMIN_REVOKE") && acts.contains(&"ADMIN_INVITE"), "{acts:?}");
    assert!(log.windows(2).all(|two| two[0]["number"].as_u64() > two[1]["number"].as_u64()));
    assert_eq!(admin(home, &["audit", "-n", "2"]).len(), 2);
    assert!(ok(home, &["admin", "audit", "--profile", "root"]).starts_with("WHEN"));
}

#[test]
fn others_are_refused_with_a_clear_word() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let server = server(home);
    server.register(home, "b", Some("root"));
    let all: [&[&str]; 9] = [
        &["users"],
        &["devices", "10001"],
        &["invite", "--admin"],
        &["revoke", "10001", "00"],
        &["groups"],
        &["stats"],
        &["backup", "mine"],
        &["verify"],
        &["audit"],
    ];
    for args in all {
        let line = fails(home, &[&["admin"][..], args, &["--profile", "b"]].concat(), 3);
        assert!(line.contains("no administrator"), "{args:?}: {line}");
    }
    // What nobody was allowed is in nobody's log.
    assert!(admin(home, &["audit"]).iter().all(|entry| entry["uin"].as_u64() == Some(10001)));
    // With the server running its store is nobody else's.
    let data = home.join("server");
    let line = fails(home, &["invite", "--admin", "--data-dir", data.to_str().unwrap()], 1);
    assert!(line.contains("in use"), "{line}");
    let wrong = run(home, &["admin", "backup", "a/b", "--profile", "root"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("letters, digits"));
}

#[cfg(unix)]
#[test]
fn a_backup_of_a_live_store_is_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut server = server(home);
    let b = server.register(home, "b", Some("root")).to_string();
    ok(home, &["send", &b, "before", "--profile", "root"]);
    assert_eq!(lines(&ok(home, &["recv", "--profile", "b"])).len(), 1);

    let made = admin(home, &["backup", "first"]);
    assert_eq!(made[0]["sha256"].as_str().map(str::len), Some(64));
    let file = home.join("server").join(made[0]["file"].as_str().unwrap());
    assert_eq!(std::fs::metadata(&file).unwrap().len(), made[0]["bytes"].as_u64().unwrap());
    // Its name is taken.
    fails(home, &["admin", "backup", "first", "--profile", "root"], 3);
    let verified = admin(home, &["verify"]);
    assert!(
        verified[0]["records"].as_u64() > Some(5) && verified[0]["faults"].as_array().unwrap().is_empty()
    );
    assert!(ok(home, &["admin", "verify", "--profile", "root"]).contains("they agree"));

    ok(home, &["send", &b, "after", "--profile", "root"]);
    assert_eq!(lines(&ok(home, &["recv", "--profile", "b"])).len(), 1);
    let (data, file) = (home.join("server"), file.to_str().unwrap());
    let restore =
        |file: &str| ["admin", "restore", file, "--data", data.to_str().unwrap()].map(str::to_owned);
    let line = fails(home, &restore(file).each_ref().map(String::as_str), 1);
    assert!(line.contains("in use"), "{line}");

    assert_eq!(server.terminate(), Some(0));
    // What is no backup changes nothing.
    let junk = home.join("junk.redb");
    std::fs::write(&junk, b"no store at all").unwrap();
    fails(home, &restore(junk.to_str().unwrap()).each_ref().map(String::as_str), 1);
    fails(home, &restore("/no/such/file").each_ref().map(String::as_str), 1);
    assert!(!data.join("store.redb.restoring").exists());
    let out = ok(home, &restore(file).each_ref().map(String::as_str));
    assert!(out.contains("they agree") && out.contains("store.redb.before-"), "{out}");

    // The server goes on, with numbers above what was given out since.
    server.restart();
    let args = ["send", &b, "later", "--json", "--profile", "root"];
    assert!(json(home, &args)["conv_seq"].as_u64() > Some(2));
    let got = lines(&ok(home, &["recv", "--profile", "b"]));
    let texts: Vec<_> = got.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["later"]);
    // It is the copy's log: what was done after it is not there.
    assert!(admin(home, &["audit"]).iter().all(|entry| entry["act"] != "ADMIN_VERIFY"));
}
