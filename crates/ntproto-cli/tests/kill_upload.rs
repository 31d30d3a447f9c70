//! An upload whose server and client are killed with SIGKILL, by turns, again and again: it ends, its bytes are the same, and each kill
//! costs a chunk at most; over HTTP/2 and over HTTP/3. Small here; `NTPROTO_KILL_MIB` and `NTPROTO_KILLS` make it the gigabyte and the forty kills of the nightly
//! run.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ntproto_core::transfer::MAX_CHUNK;

use common::proxy::Proxy;
use common::{Server, ended, ntp, ok};

/// What TLS, HTTP/2 and the session add, and heads: under two in a hundred.
const OVER_TCP: u64 = 50;
/// What QUIC adds, its acknowledgements too, and what the proxy's small buffers lose of it and is sent again by QUIC itself.
const OVER_UDP: u64 = 10;
/// And what each new connection costs beside.
const HELLO: u64 = 64 * 1024;
/// Nothing takes longer, of one life.
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn make(path: &Path, mib: u64) {
    let mut file = File::create(path).unwrap();
    let mut block = vec![0_u8; 1 << 20];
    for n in 0..mib {
        for (i, byte) in block.iter_mut().enumerate() {
            *byte = (i as u64).wrapping_mul(31).wrapping_add(n * 7).to_le_bytes()[0] ^ (i >> 8) as u8;
        }
        block[..8].copy_from_slice(&n.to_le_bytes());
        file.write_all(&block).unwrap();
    }
}

fn same(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    if one.metadata().unwrap().len() != other.metadata().unwrap().len() {
        return false;
    }
    loop {
        let n = one.read(&mut a).unwrap();
        if n == 0 {
            return true;
        }
        other.read_exact(&mut b[..n]).unwrap();
        if a[..n] != b[..n] {
            return false;
        }
    }
}

#[test]
fn an_upload_survives_kills_of_both_sides() {
    survives(&Proxy::tcp(), "2", OVER_TCP);
}

#[test]
fn so_does_one_over_http_3() {
    survives(&Proxy::udp(), "3", OVER_UDP);
}

fn survives(proxy: &Proxy, http: &str, overhead: u64) {
    let (mib, kills) = (setting("NTPROTO_KILL_MIB", 24), 2 * setting("NTPROTO_KILLS", 3));
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let public = format!("127.0.0.1:{}", proxy.port);
    let mut server = Server::launch(home, "127.0.0.1:0", &["--public-host", &public, "--auth-rate", "0"]);
    proxy.leads_to(server.listening);
    server.register(home, "a", None);
    server.register(home, "b", Some("a"));
    let (from, got) = (home.join("from"), home.join("got"));
    make(&from, mib);
    let size = from.metadata().unwrap().len();

    let from_text = from.to_str().unwrap();
    let upload = || -> Child {
        let args = ["upload", from_text, "--to", "10002", "--profile", "a", "--json", "--timeout", "600"];
        ntp(home, &[&args[..], &["--http", http]].concat()).stdin(Stdio::null()).spawn().unwrap()
    };
    let before = proxy.sent();
    let mut client = upload();
    let (mut done, mut until) = (0, Instant::now() + PATIENCE);
    let output = loop {
        if client.try_wait().unwrap().is_some() {
            break ended(client);
        }
        assert!(Instant::now() < until, "it does not go on: {}", server.log());
        if done < kills && (proxy.sent() - before) >= size * (done + 1) / (kills + 2) {
            if done.is_multiple_of(2) {
                server.kill();
                server.restart();
            } else {
                client.kill().unwrap();
                client.wait().unwrap();
                client = upload();
            }
            done += 1;
            until = Instant::now() + PATIENCE;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(output.status.success(), "{output:?}");
    assert_eq!(done, kills);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["http"], format!("h{http}"));
    let sent = proxy.sent() - before;
    println!("HTTP/{http}, {mib} MiB, {kills} kills: {} bytes again", sent.saturating_sub(size));
    let most = size + size / overhead + kills * (MAX_CHUNK + HELLO) + HELLO;
    assert!(sent <= most, "{sent} of {size} bytes with {kills} kills");

    ok(home, &["download", "10001", "1", "--out", got.to_str().unwrap(), "--profile", "b", "--http", http]);
    assert!(same(&from, &got));
}
