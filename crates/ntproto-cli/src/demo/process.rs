//! Child processes of this very program: started, read from, killed.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ntproto_sdk::ConnectString;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::exit::Failure;
use crate::session::Runtime;

/// How long a server may take until it is ready; a store that was not closed is checked first.
const READY: Duration = Duration::from_secs(30);
/// How long a command of ours may take.
const COMMAND: Duration = Duration::from_secs(60);
/// Lines of a child's log that are shown when it failed.
const TAIL: usize = 5;

/// This program with these arguments, as a child that does not outlive us, with nothing of our settings.
pub(crate) fn ourselves(args: &[&str]) -> Result<Command, Failure> {
    let exe =
        std::env::current_exe().map_err(|e| Failure::failed(format!("can't find this program: {e}")))?;
    let mut command = Command::new(exe);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NTP_") {
            command.env_remove(name);
        }
    }
    // Ctrl-C is for the parent, which ends its children in order.
    #[cfg(unix)]
    command.process_group(0);
    Ok(command)
}

/// A child, its output line by line, and where its log is.
pub(crate) struct Process {
    child: Child,
    /// Closing it asks the child to end.
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts a child whose log goes to `log`, behind what is there.
    pub(crate) fn start(args: &[&str], log: &Path) -> Result<(Self, Lines<BufReader<ChildStdout>>), Failure> {
        let failed = |e| Failure::failed(format!("can't start `ntp {}`: {e}", args.first().unwrap_or(&"")));
        let file = File::options().create(true).append(true).open(log);
        let mut command = ourselves(args)?;
        command.stderr(file.map_err(failed)?);
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("it was asked for as a pipe");
        Ok((Self { child, stdin, log: log.to_owned() }, BufReader::new(stdout).lines()))
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        // One that has ended can't be killed, which is as well.
        let _ = self.child.kill().await;
    }

    /// Whether it ended by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Says a line to it.
    pub(crate) async fn say(&mut self, line: &str) -> Result<(), Failure> {
        let gone = |e| Failure::failed(format!("a process hears nothing: {e}"));
        match &mut self.stdin {
            Some(stdin) => stdin.write_all(format!("{line}\n").as_bytes()).await.map_err(gone),
            None => Ok(()),
        }
    }

    /// Asks it to end, and kills it when it does not.
    pub(crate) async fn finish(&mut self, patience: Duration) {
        self.stdin = None;
        if tokio::time::timeout(patience, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// What it said last.
    pub(crate) fn last_words(&self) -> String {
        tail(&self.log)
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join(" | ")
}

/// A server of our own.
pub(crate) struct OwnServer {
    process: Process,
    /// Where it listens; the same after a restart.
    address: SocketAddr,
    data: PathBuf,
    runtime: Runtime,
    /// Settings of its own.
    more: Vec<String>,
    /// What clients find it by.
    pub(crate) connect: String,
    /// The first invitation.
    pub(crate) invitation: Option<String>,
}

impl OwnServer {
    /// Starts one on loopback, with its data in `dir`.
    pub(crate) async fn start(dir: &Path, runtime: Runtime) -> Result<Self, Failure> {
        Self::start_with(dir, runtime, &[]).await
    }

    /// The same with settings of its own.
    pub(crate) async fn start_with(dir: &Path, runtime: Runtime, more: &[&str]) -> Result<Self, Failure> {
        let more = more.iter().map(|&arg| arg.to_owned()).collect();
        Self::launch(SocketAddr::from(([127, 0, 0, 1], 0)), dir.join("server"), runtime, more).await
    }

    async fn launch(
        listen: SocketAddr,
        data: PathBuf,
        runtime: Runtime,
        more: Vec<String>,
    ) -> Result<Self, Failure> {
        let (listen, folder) = (listen.to_string(), data.display().to_string());
        let mut args = vec!["serve", "--json", "--end-with-stdin", "--runtime", runtime.name()];
        args.extend(["--listen", &listen, "--data-dir", &folder]);
        // All of the clients of a restart come from one network at once.
        args.extend(["--tcp-burst", "100000", "--auth-rate", "0"]);
        args.extend(more.iter().map(String::as_str));
        let (process, mut lines) = Process::start(&args, &data.with_extension("log"))?;
        let line = tokio::time::timeout(READY, lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            return Err(Failure::failed(format!("the server did not start: {}", process.last_words())));
        };
        let ready: Value = serde_json::from_str(&line).unwrap_or_default();
        let text = |name: &str| ready[name].as_str().map(str::to_owned);
        match (text("listening").and_then(|a| a.parse().ok()), text("connect")) {
            (Some(address), Some(connect)) => {
                Ok(Self { process, address, data, runtime, more, connect, invitation: text("invitation") })
            }
            _ => Err(Failure::failed(format!("the server said {line:?} instead of where it is"))),
        }
    }

    /// What clients find it by, through the network at this address, if there is one.
    pub(crate) fn connect_through(&self, network: Option<SocketAddr>) -> Result<String, Failure> {
        let Some(network) = network else { return Ok(self.connect.clone()) };
        let connect: ConnectString = self.connect.parse().map_err(|e| Failure::failed(format!("{e}")))?;
        Ok(ConnectString { host: network.ip().to_string(), port: network.port(), ..connect }.to_string())
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again on the same port with the same data.
    pub(crate) async fn restart(&mut self) -> Result<(), Failure> {
        *self = Self::launch(self.address, self.data.clone(), self.runtime, self.more.clone()).await?;
        Ok(())
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it said, if it ended by itself.
    pub(crate) fn failure(&mut self) -> Option<Failure> {
        let status = self.process.ended()?;
        Some(Failure::failed(format!("the server ended ({status}): {}", self.process.last_words())))
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Runs one of our commands and returns the line of JSON it prints.
pub(crate) async fn ask(args: &[&str]) -> Result<Value, Failure> {
    let name = args.first().unwrap_or(&"");
    let mut command = ourselves(args)?;
    command.stderr(Stdio::piped()).stdin(Stdio::null());
    let output = tokio::time::timeout(COMMAND, command.output()).await;
    let output = output
        .map_err(|_| Failure::failed(format!("`ntp {name}` does not end")))?
        .map_err(|e| Failure::failed(format!("can't start `ntp {name}`: {e}")))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::failed(format!("`ntp {name}` failed: {}", words.trim())));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|e| Failure::failed(format!("`ntp {name}` printed no JSON: {e}")))
}
