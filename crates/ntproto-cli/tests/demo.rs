//! A small demo and a small bench, as a user runs them.
#![allow(clippy::unwrap_used)]

mod common;

use common::{ended, fails, json, ntp, one_line, signal, text};

#[test]
fn nothing_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    let args = [
        "demo",
        "--json",
        "--clients",
        "3",
        "--messages",
        "300",
        "--server-kills",
        "1",
        "--client-kills",
        "2",
        "--window",
        "4",
        "--dir",
        kept.to_str().unwrap(),
    ];
    let report = json(dir.path(), &args);
    for (name, want) in [
        ("sent", 300),
        ("acknowledged", 300),
        ("delivered", 300),
        ("lost", 0),
        ("duplicated", 0),
        ("altered", 0),
        ("stray", 0),
        ("out_of_order", 0),
        ("server_kills", 1),
        ("client_kills", 2),
    ] {
        assert_eq!(report[name].as_u64(), Some(want), "{name}: {report}");
    }
    // How many exactly is the virtual clock's to say; here a slow machine may add one.
    let back = |name: &str| report["back"][name].as_u64().unwrap();
    assert!(back("early") >= 1 && back("early") < back("full"), "{report}");
    assert!(kept.join("client-2/inbox.log").exists());
    assert!(fails(dir.path(), &args, 2).contains("something in it"));
}

/// All six: any transport, either runtime.
#[test]
fn any_transport_on_any_runtime() {
    let dir = tempfile::tempdir().unwrap();
    for transport in ["quic", "tcp", "race"] {
        for runtime in ["tokio", "smol"] {
            let link = ["--transport", transport, "--runtime", runtime];
            let small = ["demo", "--json", "--clients", "3", "--messages", "90", "--window", "4"];
            let kills = ["--server-kills", "1", "--client-kills", "1"];
            let report = json(dir.path(), &[&small[..], &kills, &link].concat());
            for (name, want) in
                [("sent", 90), ("acknowledged", 90), ("delivered", 90), ("lost", 0), ("duplicated", 0)]
            {
                assert_eq!(report[name].as_u64(), Some(want), "{transport}, {runtime}, {name}: {report}");
            }
            assert_eq!((&report["transport"], &report["runtime"]), (&transport.into(), &runtime.into()));
            let carried: Vec<&String> = report["sessions"].as_object().unwrap().keys().collect();
            match transport {
                "race" => assert!(!carried.is_empty()),
                one => assert_eq!(carried, [one]),
            }
        }
    }
}

#[test]
fn udp_is_cut_in_the_middle_and_tcp_carries_on() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["demo", "--json", "--clients", "3", "--messages", "900", "--window", "4", "--udp-cuts", "1"];
    let kills = ["--server-kills", "0", "--client-kills", "0"];
    let report = json(dir.path(), &[&small[..], &kills].concat());
    for (name, want) in [
        ("sent", 900),
        ("acknowledged", 900),
        ("delivered", 900),
        ("lost", 0),
        ("duplicated", 0),
        ("udp_cuts", 1),
    ] {
        assert_eq!(report[name].as_u64(), Some(want), "{name}: {report}");
    }
    assert!(report["sessions"]["tcp"].as_u64() >= Some(3), "{report}");
}

/// People on several devices, with the server killed in the middle: everything that is promised was looked at and held.
#[test]
fn a_small_team_keeps_every_promise() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["demo", "--scenario", "team", "--json", "--users", "8", "--devices", "15", "--clients", "2"];
    let report = json(dir.path(), &[&small[..], &["--messages", "120", "--server-kills", "1"]].concat());
    assert_eq!(
        (report["held"].as_bool(), report["server_kills"].as_u64()),
        (Some(true), Some(1)),
        "{report}"
    );
    assert_eq!((report["users"].as_u64(), report["devices"].as_u64()), (Some(8), Some(15)));
    let promises = report["promises"].as_array().unwrap();
    assert_eq!(promises.len(), 16, "{report}");
    for promise in promises {
        assert!(promise["checked"].as_u64() > Some(0), "{promise}");
        assert_eq!(promise["broken"].as_u64(), Some(0), "{promise}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = ntp(dir.path(), &["demo", "--messages", "1000000"]);
    let child = command.env("TMPDIR", dir.path()).spawn().unwrap();
    let started = || {
        let folder = std::fs::read_dir(dir.path()).unwrap().filter_map(Result::ok).next()?.path();
        folder.join("client-0/sent.log").exists().then_some(())
    };
    while started().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    signal(child.id(), "INT");
    let output = ended(child);
    assert!(one_line(&output, 130).contains("cleaned up"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // No child outlives it: each names its folder on its command line.
    let processes = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
    assert!(!text(&processes.stdout).contains(dir.path().to_str().unwrap()));
}

#[test]
fn a_small_bench() {
    let dir = tempfile::tempdir().unwrap();
    let result = json(dir.path(), &["bench", "--json", "--clients", "3", "--messages", "200"]);
    assert_eq!(
        (result["acknowledged"].as_u64(), result["delivered"].as_u64()),
        (Some(200), Some(200)),
        "{result}"
    );
}
