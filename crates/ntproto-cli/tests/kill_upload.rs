//! An upload whose server and client are killed with SIGKILL, by turns, again and again: it ends, its bytes are the same, and each kill
//! costs a chunk at most. Small here; `NTPROTO_KILL_MIB` and `NTPROTO_KILLS` make it the gigabyte and the forty kills of the nightly
//! run.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ntproto_core::transfer::MAX_CHUNK;

use common::{Server, ended, ntp, ok};

/// What TLS, HTTP/2 and the session add, and heads: under two in a hundred.
const OVERHEAD: u64 = 50;
/// And what each new connection costs beside.
const HELLO: u64 = 64 * 1024;
/// Nothing takes longer, of one life.
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Stands between client and server, and counts what the client sends.
struct Proxy {
    port: u16,
    to: Arc<Mutex<Option<SocketAddr>>>,
    sent: Arc<AtomicU64>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (to, sent) = (Arc::<Mutex<Option<SocketAddr>>>::default(), Arc::<AtomicU64>::default());
        let (target, counted) = (Arc::clone(&to), Arc::clone(&sent));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, to) = (client.unwrap(), target.lock().unwrap().unwrap());
                // One that can't be brought on is dropped.
                let Ok(server) = TcpStream::connect(to) else { continue };
                let counted = Arc::clone(&counted);
                let (back, forth) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || pass(client, server, &counted));
                std::thread::spawn(move || pass(back, forth, &AtomicU64::new(0)));
            }
        });
        Self { port, to, sent }
    }

    fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        count.fetch_add(n as u64, SeqCst);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
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
    let (mib, kills) = (setting("NTPROTO_KILL_MIB", 24), 2 * setting("NTPROTO_KILLS", 3));
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let proxy = Proxy::start();
    let public = format!("127.0.0.1:{}", proxy.port);
    let mut server = Server::launch(home, "127.0.0.1:0", &["--public-host", &public, "--auth-rate", "0"]);
    *proxy.to.lock().unwrap() = Some(server.listening);
    server.register(home, "a", None);
    server.register(home, "b", Some("a"));
    let (from, got) = (home.join("from"), home.join("got"));
    make(&from, mib);
    let size = from.metadata().unwrap().len();

    let from_text = from.to_str().unwrap();
    let upload = || -> Child {
        let args = ["upload", from_text, "--to", "10002", "--profile", "a", "--json", "--timeout", "600"];
        ntp(home, &args).stdin(Stdio::null()).spawn().unwrap()
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
    let sent = proxy.sent() - before;
    println!("{mib} MiB, {kills} kills: {} bytes again", sent.saturating_sub(size));
    let most = size + size / OVERHEAD + kills * (MAX_CHUNK + HELLO) + HELLO;
    assert!(sent <= most, "{sent} of {size} bytes with {kills} kills");

    ok(home, &["download", "10001", "1", "--out", got.to_str().unwrap(), "--profile", "b"]);
    assert!(same(&from, &got));
}
