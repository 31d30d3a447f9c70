//! Whatever is wrong gets one line that says what to do, and a code.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::UdpSocket;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use common::{Server, fails, ntp, ok, one_line, run, serve, text, with_input};

#[test]
fn a_server_that_can_not_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let data = home.join("data");
    let serve = |more: &[&str]| fails(home, &serve(&data, "127.0.0.1:0", more), 2);

    let config = home.join("ntp.toml");
    for (content, says) in [
        ("listen = 5", "listen"),
        ("lisen = \"[::]:7424\"", "did you mean listen?"),
        ("listen = \"0.0.0.0:7424", "is not TOML: line 1"),
        ("heartbeat = 0", "a number of seconds"),
    ] {
        std::fs::write(&config, content).unwrap();
        let line = serve(&["--config", config.to_str().unwrap()]);
        assert!(line.contains(says) && line.contains("ntp.toml"), "{line}");
    }
    assert!(serve(&["--config", "/no/such/file"]).contains("/no/such/file"));
    assert!(fails(home, &common::serve(&data, "here", &[]), 2).contains("--listen"));
    assert_eq!(
        serve(&["--max-message", "0"]),
        "ntp: --max-message = \"0\": write a number of bytes from 1 to 262144"
    );
    let output = ntp(home, &["serve"]).env("NTP_HEARTBEAT", "never").output().unwrap();
    assert_eq!(
        one_line(&output, 2),
        "ntp: NTP_HEARTBEAT = \"never\": write a number of seconds from 1 to 45"
    );

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap(), taken);
    let line = fails(home, &common::serve(&data, &taken.0.to_string(), &[]), 1);
    let port = taken.0.port();
    assert_eq!(line, format!("ntp: port {port} is taken: stop what uses it, or set listen to another port"));
    assert!(!data.exists(), "nothing was made");
}

/// What the server would refuse is refused before it is asked.
#[test]
fn an_invitation_has_the_limits_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    for (flag, most) in [("--uses", 1_000), ("--days", 30)] {
        for wrong in [0, most + 1] {
            let output = run(dir.path(), &["invite", flag, &wrong.to_string()]);
            let said = common::text(&output.stderr);
            assert!(said.contains(&format!("{wrong} is not in 1..={most}")), "{said}");
            assert_eq!(output.status.code(), Some(2));
        }
    }
}

#[test]
fn a_client_that_can_not_go_on_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut server = Server::start(home);
    let connect = server.connect.clone();
    let register = |code: &str, profile: &str| {
        run(
            home,
            &[
                "register",
                "--connect",
                &connect,
                "--invitation",
                code,
                "--profile",
                profile,
                "--timeout",
                "1",
            ],
        )
    };

    assert!(fails(home, &["devices"], 1).contains("register first"));
    assert!(fails(home, &["devices", "--profile", "../x"], 2).contains("profile name"));
    assert!(one_line(&register("invite.AAAAAAAAAAAAAAAAAAAAAA", "a"), 3).contains("BAD_CREDENTIAL"));
    assert!(one_line(&register("hello", "a"), 2).contains("begins with"));
    let args = ["register", "--connect", &connect, "--open", "--profile", "a"];
    assert!(fails(home, &args, 3).contains("REGISTRATION_CLOSED"));
    assert!(fails(home, &["register", "--connect", "http://x", "--open"], 2).contains("--connect"));
    // None of this leaves a profile behind.
    assert!(!home.join("profiles/a").exists());

    let invitation = server.invitation.clone().unwrap();
    assert_eq!(register(&invitation, "a").status.code(), Some(0));
    assert!(one_line(&register(&invitation, "a"), 1).contains("already"));
    assert!(fails(home, &["send", "10001", "to myself", "--profile", "a"], 2).contains("this very account"));
    assert!(fails(home, &["send", "10999", "to nobody", "--profile", "a"], 3).contains("no account 10999"));
    let args = ["send", "10999", "to nobody", "--queue", "--profile", "a"];
    assert!(fails(home, &args, 3).contains("no account 10999"));
    assert!(fails(home, &["chat", "10002", "--profile", "a"], 2).contains("terminal"));
    let big = with_input(home, &["send", "10002", "-", "--profile", "a"], &vec![b'x'; 256 * 1024 + 1]);
    assert!(one_line(&big, 2).contains("262144"));

    // One process a profile.
    let mut follow = ntp(home, &["recv", "--follow", "--profile", "a"]).spawn().unwrap();
    let in_use = loop {
        let output = run(home, &["devices", "--profile", "a"]);
        if output.status.code() != Some(0) {
            break one_line(&output, 1);
        }
        // It may have found the profile in use by us.
        if follow.try_wait().unwrap().is_some() {
            follow = ntp(home, &["recv", "--follow", "--profile", "a"]).spawn().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert!(in_use.contains("in use"), "{in_use}");
    follow.kill().unwrap();
    follow.wait().unwrap();

    server.kill();
    let line = fails(home, &["devices", "--profile", "a", "--timeout", "0.5"], 4);
    assert!(line.contains("can't be reached"), "{line}");
    assert!(one_line(&register(&invitation, "b"), 4).contains("can't be reached"));
    assert!(!home.join("profiles/b").exists());
}

/// Carries datagrams between a client and a server. While `mute`, what the server says under the keys of the session
/// (packets with a short header) is dropped: it hears, and its answers are lost.
fn carry(server: std::net::SocketAddr, mute: Arc<AtomicBool>) -> u16 {
    let front = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = front.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut backs: Vec<(std::net::SocketAddr, UdpSocket)> = Vec::new();
        let mut datagram = [0; 65_536];
        front.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        loop {
            if let Ok((len, from)) = front.recv_from(&mut datagram) {
                let known = backs.iter().position(|(client, _)| *client == from);
                let at = known.unwrap_or_else(|| {
                    let back = UdpSocket::bind("127.0.0.1:0").unwrap();
                    back.connect(server).unwrap();
                    back.set_nonblocking(true).unwrap();
                    backs.push((from, back));
                    backs.len() - 1
                });
                let _ = backs[at].1.send(&datagram[..len]);
            }
            for (client, back) in &backs {
                while let Ok(len) = back.recv(&mut datagram) {
                    if !mute.load(Relaxed) || datagram[0] & 0x80 != 0 {
                        let _ = front.send_to(&datagram[..len], *client);
                    }
                }
            }
        }
    });
    port
}

#[test]
fn keys_that_the_server_may_have_taken_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let server = Server::start(home);
    let mute = Arc::new(AtomicBool::new(true));
    let mut connect: ntproto_sdk::ConnectString = server.connect.parse().unwrap();
    connect.port = carry(server.listening, Arc::clone(&mute));
    let (connect, invitation) = (connect.to_string(), server.invitation.clone().unwrap());
    let flags = ["--connect", &connect, "--invitation", &invitation, "--profile", "a", "--timeout", "2"];
    let args = [&["register"], &flags[..]].concat();
    let line = fails(home, &args, 4);
    assert!(line.contains("can't be reached") && line.contains("ntp devices --profile a"), "{line}");
    let line = fails(home, &args, 1);
    assert!(line.contains("already") && line.contains("--profile NAME"), "{line}");
    mute.store(false, Relaxed);
    assert!(ok(home, &["devices", "--profile", "a"]).contains("10001"));
}

#[test]
fn usage_is_two_and_help_is_zero() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    for args in
        [&[][..], &["nonsense"], &["send"], &["send", "x", "y"], &["demo", "--clients", "1"], &["register"]]
    {
        assert_eq!(run(home, args).status.code(), Some(2), "{args:?}");
    }
    let commands = [
        "serve",
        "register",
        "connect",
        "chat",
        "send",
        "recv",
        "devices",
        "link",
        "revoke",
        "invite",
        "demo",
        "bench",
        "inspect",
        "completions",
    ];
    for command in commands {
        let output = run(home, &[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("Examples:"), "{command}");
    }
    let help = text(&run(home, &["--help"]).stdout);
    assert!(
        help.contains("Exit codes:") && commands.iter().all(|c| help.contains(c)) && !help.contains("worker")
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&run(home, &["completions", shell]).stdout).contains("inspect"), "{shell}");
    }
}

#[test]
fn inspect_on_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    // Heartbeat 5, sealed under the key 07… and IV 09….
    let frame = include_str!("heartbeat.hex").trim();
    let (key, iv) = ("07".repeat(32), "09".repeat(12));
    let output = run(home, &["inspect", frame, "--key", &key, "--iv", &iv]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("HEARTBEAT") && shown.contains("number           5") && !shown.contains('\x1b'));
    let piped = with_input(home, &["inspect", "--json", "-"], frame.as_bytes());
    let json: serde_json::Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!((piped.status.code(), json["sound"].as_bool()), (Some(0), Some(true)));
    assert_eq!(run(home, &["inspect", &frame[..frame.len() - 2]]).status.code(), Some(1));
    assert!(fails(home, &["inspect", "02xx"], 2).contains("character 3"));
    assert!(fails(home, &["inspect", frame, "--key", "07", "--iv", &iv], 2).contains("32 bytes"));
    assert!(one_line(&with_input(home, &["inspect"], &[0xff]), 2).contains("read as text"));
    // A reader that goes away is no error.
    let mut child = ntp(home, &["inspect", frame]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
