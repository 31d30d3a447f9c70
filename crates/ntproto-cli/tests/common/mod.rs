//! A real `ntp serve` as a child process, and clients in this one.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::wire::packet::PacketId;
use ntproto_sdk::driver::Server as ServerAt;
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, ConnectString, Credential, Options};
use ntproto_tokio::{Clock, connect};

/// The child; killed when dropped.
pub struct Server {
    child: Child,
    pub listening: SocketAddr,
    pub connect: ConnectString,
    pub invitation: Option<String>,
}

pub fn command(dir: &Path, listen: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ntp"));
    command.args(["serve", "--json", "--open-registration", "true", "--log-level", "error"]);
    command.arg("--listen").arg(listen.to_string()).arg("--data-dir").arg(dir);
    // The settings of whoever runs the tests are not the tests'.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NTP_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Server {
    /// Starts it and waits until it says that it is ready.
    pub fn start(dir: &Path, listen: SocketAddr) -> Self {
        let mut child = command(dir, listen).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<serde_json::Value>(&line) else {
            let _ = child.kill();
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("the server did not start: {error}");
        };
        let text = |name: &str| ready[name].as_str().map(str::to_owned);
        Self {
            child,
            listening: text("listening").unwrap().parse().unwrap(),
            connect: text("connect").unwrap().parse().unwrap(),
            invitation: text("invitation"),
        }
    }

    /// SIGKILL: at once, with nothing said.
    pub fn kill_nine(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Another signal, by name.
    pub fn signal(&self, name: &str) {
        let done = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(done.unwrap().success());
    }

    /// Waits for its end; what it said on stderr comes along.
    pub fn wait(&mut self, patience: Duration) -> (ExitStatus, String) {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut error = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
                return (status, error);
            }
            assert!(Instant::now() < until, "the server did not end within {patience:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that is gone afterwards.
pub fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server");
    (dir, path)
}

pub fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A client with an account of its own.
pub async fn client(server: &ConnectString, seed: [u8; 32]) -> Client {
    let keys = DeviceKeys::generate(&mut Rng::new(seed), &RUSTCRYPTO);
    let server = ServerAt::new(server, Clock::start().now().unix).unwrap();
    let mut options = Options::new(server, keys, Box::new(MemoryStore::new()));
    options.enrol = Some(Credential::Open);
    connect(options).await.unwrap()
}

/// Brings clients back at once, instead of after a backoff that grows from kill to kill. Each is back when the
/// server answers it.
pub async fn hurry(clients: &[Client]) {
    let until = Instant::now() + Duration::from_secs(30);
    for client in clients {
        let answer = || client.request_within(PacketId::DEVICES, Vec::new(), Duration::from_millis(300));
        while answer().await.is_err() {
            assert!(Instant::now() < until, "a client does not come back: {:?}", client.state());
            client.network_changed().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
