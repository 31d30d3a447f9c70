//! A client that is killed with SIGKILL again and again, with messages queued, while its server is down, up or killed
//! too: when both are back, every message it was promised is there exactly once and in order, and of those it gave up
//! the client knows which were stored.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ntproto_core::rng::Rng;
use ntproto_core::time::UnixMillis;
use ntproto_sdk::{
    Client, ClientMsgId, Event, Failure, Misuse, Profile, SendError, SendOptions, SendOutcome, Uin,
};
use ntproto_tokio::connect;

use common::{Server, client, hurry};

/// Lives of the client. In one of three the server is down, in one it is killed half-way.
const LIVES: u64 = 12;
/// A life takes so long once the first message is queued, in milliseconds.
const LIFE: std::ops::Range<u64> = 20..500;
const PATIENCE: Duration = Duration::from_secs(60);
/// One message of so many is given up as soon as it is queued.
const GIVEN_UP: u64 = 7;
/// Tells the child what it is.
const ROLE: &str = "NTPROTO_KILL_CLIENT";

/// A message's key, from its number.
fn key(n: u64) -> ClientMsgId {
    ClientMsgId(u128::from(n).to_be_bytes())
}

/// The client, in a process of its own: this program again, told by its environment. It queues messages as fast as the
/// disk takes them and prints the number of each that is on it; in its last life it queues none, and ends when
/// everything was sent.
#[tokio::test]
#[ignore = "a part of the other test"]
async fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut role = role.split(' ');
    let mut next = || role.next().unwrap().to_owned();
    let (dir, to, first): (String, u64, u64) = (next(), next().parse().unwrap(), next().parse().unwrap());
    let profile = Profile::open(Path::new(&dir)).unwrap();
    let now = UnixMillis(UNIX_EPOCH.elapsed().unwrap().as_millis() as u64);
    let client = connect(profile.options(now).unwrap()).await.unwrap();
    if first > 0 {
        for n in first.. {
            let options = SendOptions { client_msg_id: Some(key(n)), ..SendOptions::default() };
            let body = n.to_be_bytes().to_vec();
            if client.enqueue_with(Uin(to), body, options).await.is_ok() {
                println!("\nqueued {n}");
            }
            if n % GIVEN_UP == 0 {
                match client.cancel(key(n)).await {
                    Ok(()) | Err(SendError::Misuse(Misuse::UnknownId)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
    while !client.outbox().await.unwrap().is_empty() {
        client.network_changed().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.close().await;
    println!("\nempty");
}

/// Starts the child; what it says comes from the channel.
fn start(dir: &Path, to: Uin, first: u64) -> (Child, mpsc::Receiver<String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(ROLE, format!("{} {} {first}", dir.display(), to.0))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    (child, told)
}

fn queued(line: &str) -> Option<u64> {
    line.strip_prefix("queued ")?.parse().ok()
}

/// The next number, and with it that the child is at work.
fn first_queued(told: &mpsc::Receiver<String>) -> u64 {
    let until = Instant::now() + PATIENCE;
    loop {
        let line = told.recv_timeout(until.saturating_duration_since(Instant::now())).unwrap();
        if let Some(n) = queued(&line) {
            return n;
        }
    }
}

/// Every number the receiver got, in order.
async fn receive(client: Client, got: mpsc::Sender<u64>) {
    let mut events = client.events().unwrap();
    while let Some(event) = events.next().await {
        if let Event::Message(message) = event {
            let number = u64::from_be_bytes(message.stored.body[..].try_into().unwrap());
            got.send(number).unwrap();
            client.confirm(message.position).await;
        }
    }
}

#[tokio::test]
async fn a_killed_client_sends_each_queued_message_exactly_once() {
    let seed = std::env::var("KILL_CLIENT_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()) ^ UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    println!("seed {seed} (KILL_CLIENT_SEED={seed} repeats its choices)");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut rng = Rng::new(bytes);
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::open(home.path());
    server.register(home.path(), "a", None);
    let dir = home.path().join("profiles/a");
    let receiver = client(&server, rng.array()).await;
    hurry(std::slice::from_ref(&receiver)).await;
    let to = receiver.identity().unwrap().uin;
    let (got, gets) = mpsc::channel();
    tokio::spawn(receive(receiver.clone(), got));

    let mut queued_all = BTreeSet::new();
    let mut waiting = 0;
    for life in 1..=LIVES {
        let down = life % 3 == 0;
        if down {
            server.kill();
        }
        let (mut child, told) = start(&dir, to, life * 1_000_000);
        queued_all.insert(first_queued(&told));
        tokio::time::sleep(Duration::from_millis(LIFE.start + rng.below(LIFE.end - LIFE.start))).await;
        if life % 3 == 1 {
            server.kill();
            server.restart();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        queued_all.extend(told.iter().filter_map(|line| queued(&line)));
        if down {
            server.restart();
        }
        // What it left behind.
        let profile = Profile::open(&dir).unwrap();
        let now = UnixMillis(UNIX_EPOCH.elapsed().unwrap().as_millis() as u64);
        let left = profile.options(now).unwrap().store.outbox().unwrap().len();
        assert!(left > 0 || !down, "nothing is sent while there is no server");
        waiting += usize::from(left > 0);
    }
    let (mut child, told) = start(&dir, to, 0);
    let until = Instant::now() + PATIENCE;
    while told.recv_timeout(until.saturating_duration_since(Instant::now())).unwrap() != "empty" {}
    assert!(child.wait().unwrap().success());
    hurry(std::slice::from_ref(&receiver)).await;
    let mut all = Vec::new();
    let promised: BTreeSet<u64> = queued_all.iter().copied().filter(|n| n % GIVEN_UP != 0).collect();
    let mut missing = promised.clone();
    let until = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        assert!(Instant::now() < until, "{} of {} never came", missing.len(), promised.len());
        match gets.try_recv() {
            Ok(number) => {
                missing.remove(&number);
                all.push(number);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    // What should not come has time to come.
    tokio::time::sleep(Duration::from_millis(500)).await;
    all.extend(gets.try_iter());
    // One that was on the disk when the kill came before the promise is sent as well: once.
    assert!(all.is_sorted_by(|a, b| a < b), "each once, in order");
    let profile = Profile::open(&dir).unwrap();
    let now = UnixMillis(UNIX_EPOCH.elapsed().unwrap().as_millis() as u64);
    let mut store = profile.options(now).unwrap().store;
    let mut given_up = 0;
    for n in &queued_all {
        match store.outcome(key(*n)).unwrap() {
            Some(SendOutcome::Stored { .. }) => assert!(all.contains(n), "{n} is said to be stored"),
            Some(SendOutcome::Failed(Failure::Cancelled)) => {
                assert!(n % GIVEN_UP == 0 && !all.contains(n), "{n} is said not to be stored");
                given_up += 1;
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    println!(
        "{LIVES} kills, {waiting} of them with messages queued: {} promised, {} sent, {given_up} given up in time",
        promised.len(),
        all.len()
    );
    assert!(given_up > 0);
    assert!(waiting as u64 >= LIVES / 3);
}
