//! The real program in processes of its own, and clients in this one.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

pub mod collector;
pub mod proxy;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::wire::packet::PacketId;
use ntproto_sdk::driver::Server as ServerAt;
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, Credential, Options};
use ntproto_tokio::{Clock, connect};
use serde_json::Value;

/// No command of a test takes so long: one that does hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `ntp` with nothing of the environment's settings.
pub fn ntp(home: &Path, args: &[&str]) -> Command {
    under(home, "", args)
}

/// The same in the process of a shell that did something first, such as lowering a limit.
pub fn under(home: &Path, first: &str, args: &[&str]) -> Command {
    let program = env!("CARGO_BIN_EXE_ntp");
    let mut command = Command::new(if first.is_empty() { program } else { "sh" });
    if !first.is_empty() {
        command.args(["-c", &format!("{first}; exec \"$0\" \"$@\""), program]);
    }
    for (name, _) in std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("NTP_") || name.starts_with("OTEL_") || name == "TRACEPARENT"
    }) {
        command.env_remove(name);
    }
    command.env("NTP_HOME", home).args(args).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Sends a signal by name.
pub fn signal(id: u32, name: &str) {
    let done = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status();
    assert!(done.unwrap().success());
}

/// Waits for a command's end and what it printed. One that does not end is killed, and fails the test.
pub fn ended(child: Child) -> Output {
    let id = child.id();
    let (done, output) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    output
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| {
            signal(id, "KILL");
            panic!("process {id} did not end")
        })
        .unwrap()
}

/// Runs a command to its end.
pub fn run(home: &Path, args: &[&str]) -> Output {
    ended(ntp(home, args).spawn().unwrap())
}

/// Runs a command that must succeed and returns what it printed.
pub fn ok(home: &Path, args: &[&str]) -> String {
    let output = run(home, args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{args:?}\n{out}\n{err}");
    out
}

/// Runs a command with --json that must succeed.
pub fn json(home: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&ok(home, args)).unwrap()
}

/// Runs a command that must fail with this code and one line. Returns the line.
pub fn fails(home: &Path, args: &[&str], code: i32) -> String {
    one_line(&run(home, args), code)
}

pub fn one_line(output: &Output, code: i32) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    assert_eq!(err.lines().count(), 1, "not one line: {err}");
    assert!(err.starts_with("ntp: "), "{err}");
    err.trim_end().to_owned()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks an operations listener: the status and the body.
pub fn get(ops: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(ops).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: ops\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Every series of /metrics.
pub fn scrape(ops: SocketAddr) -> BTreeMap<String, f64> {
    let (status, text) = get(ops, "GET", "/metrics");
    assert_eq!(status, 200);
    let series = text.lines().filter(|line| !line.starts_with('#'));
    series
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, n)| (name.into(), n.parse().unwrap()))
        .collect()
}

/// The lines of `ntp recv`.
pub fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a command with something on its standard input.
pub fn with_input(home: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = ntp(home, args).stdin(Stdio::piped()).spawn().unwrap();
    // A command that does not read closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    ended(child)
}

/// `ntp serve` as a child, with its data in `server/` and its log in `server.log`. Dropped, it is killed.
pub struct Server {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    home: PathBuf,
    more: Vec<String>,
    pub listening: SocketAddr,
    pub connect: String,
    pub invitation: Option<String>,
    pub ops: Option<SocketAddr>,
}

/// The arguments of a server in this folder.
pub fn serve<'a>(data: &'a Path, listen: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let level: &[&str] = if more.contains(&"--log-level") { &[] } else { &["--log-level", "error"] };
    let data = data.to_str().unwrap();
    [&["serve", "--json", "--listen", listen, "--data-dir", data], level, more].concat()
}

impl Server {
    /// Starts it and waits until it says that it is ready.
    pub fn start(home: &Path) -> Self {
        Self::launch(home, "127.0.0.1:0", &[])
    }

    /// Starts one that lets everybody in.
    pub fn open(home: &Path) -> Self {
        Self::launch(home, "127.0.0.1:0", &["--open-registration", "true"])
    }

    pub fn launch(home: &Path, listen: &str, more: &[&str]) -> Self {
        Self::launch_under(home, "", listen, more)
    }

    fn launch_under(home: &Path, first: &str, listen: &str, more: &[&str]) -> Self {
        let data = home.join("server");
        let log = File::options().create(true).append(true).open(home.join("server.log")).unwrap();
        let mut child = under(home, first, &serve(&data, listen, more)).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            let _ = child.kill();
            let _ = child.wait();
            let log = std::fs::read_to_string(home.join("server.log")).unwrap();
            panic!("the server did not start: {log}");
        };
        let text = |name: &str| ready[name].as_str().map(str::to_owned);
        Self {
            child,
            _stdout: stdout,
            home: home.to_owned(),
            more: more.iter().map(|&arg| arg.to_owned()).collect(),
            listening: text("listening").unwrap().parse().unwrap(),
            connect: text("connect").unwrap(),
            invitation: text("invitation"),
            ops: text("ops").map(|address| address.parse().unwrap()),
        }
    }

    /// SIGKILL: at once, with nothing said.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Another signal, by name.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// SIGTERM. Returns how it ended.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait(PATIENCE).code()
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the server did not end within {patience:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it and those before it in this folder said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("server.log")).unwrap()
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        self.restart_under("");
    }

    /// The same in the process of a shell that did something first.
    pub fn restart_under(&mut self, first: &str) {
        let more: Vec<&str> = self.more.iter().map(String::as_str).collect();
        *self = Self::launch_under(&self.home.clone(), first, &self.listening.to_string(), &more);
    }

    /// Registers a profile with the server's invitation, or with one of `by`.
    pub fn register(&self, home: &Path, profile: &str, by: Option<&str>) -> u64 {
        let invitation = match by {
            Some(by) => {
                json(home, &["invite", "--json", "--profile", by])["invitation"].as_str().unwrap().to_owned()
            }
            None => self.invitation.clone().unwrap(),
        };
        let flags = ["--connect", &self.connect, "--invitation", &invitation, "--profile", profile];
        json(home, &[&["register", "--json"], &flags[..]].concat())["uin"].as_u64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of this process with an account of its own.
pub async fn client(server: &Server, seed: [u8; 32]) -> Client {
    let keys = DeviceKeys::generate(&mut Rng::new(seed), &RUSTCRYPTO);
    let server = ServerAt::new(&server.connect.parse().unwrap(), Clock::start().now().unix).unwrap();
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
