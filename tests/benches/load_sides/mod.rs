//! A server in a process of its own, and many authenticated sessions to it from one thread.

pub mod durable;
pub mod quinn_idle;
pub mod resident;
pub mod sessions;
pub mod wire;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ntproto_sdk::ConnectString;
use ntproto_server::config::ServerConfig;
use ntproto_server::run::Server;

/// The first argument of a process that is the server.
const SERVE: &str = "serve-for-a-benchmark";

/// What the server counted: transactions and the batches they were committed in.
#[derive(Clone, Copy)]
pub struct Counts {
    pub transactions: u64,
    pub batches: u64,
}

/// A server process. Killed when dropped.
pub struct ServerProcess {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub connect: ConnectString,
}

impl ServerProcess {
    /// Starts this very program again, as a server on `dir`.
    pub fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([SERVE, dir.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Self { child, stdin, stdout, connect: line.trim().parse().unwrap() }
    }

    /// What it counted so far.
    pub fn counts(&mut self) -> Counts {
        self.stdin.write_all(b"?").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let (transactions, batches) = line.trim().split_once(' ').unwrap();
        Counts { transactions: transactions.parse().unwrap(), batches: batches.parse().unwrap() }
    }

    /// Bytes of memory it holds.
    pub fn resident(&self) -> u64 {
        resident_bytes(self.child.id())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes of memory that a process holds (Linux).
pub fn resident_bytes(pid: u32) -> u64 {
    const KIB: u64 = 1024;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * KIB
}

/// Is this process the server? Then it serves until its input ends, and `true` comes back.
pub fn served() -> bool {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some(SERVE) {
        return false;
    }
    let dir = args.next().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: dir.into(),
        open_registration: true,
        ..ServerConfig::default()
    };
    runtime.block_on(async {
        let running = Server::start(config).await.unwrap();
        println!("{}", running.connect_string);
        std::thread::spawn(move || {
            let mut asked = [0];
            while std::io::stdin().read(&mut asked).is_ok_and(|n| n > 0) {
                let stats = running.stats();
                println!("{} {}", stats.transactions, stats.batches);
            }
            std::process::exit(0);
        });
        std::future::pending::<()>().await;
    });
    true
}
