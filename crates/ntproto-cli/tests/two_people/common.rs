//! The real program in real processes.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

/// `ntp` with nothing of the environment's settings.
pub(crate) fn ntp(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ntp"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NTP_") {
            command.env_remove(name);
        }
    }
    command.env("NTP_HOME", home).args(args).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub(crate) fn run(home: &Path, args: &[&str]) -> Output {
    ntp(home, args).output().unwrap()
}

/// Runs a command that must succeed and returns what it printed.
pub(crate) fn ok(home: &Path, args: &[&str]) -> String {
    let output = run(home, args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{args:?}\n{out}\n{err}");
    out
}

/// Runs a command with --json that must succeed.
pub(crate) fn json(home: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&ok(home, args)).unwrap()
}

/// Runs a command that must fail with this code and one line. Returns the line.
pub(crate) fn fails(home: &Path, args: &[&str], code: i32) -> String {
    one_line(&run(home, args), code)
}

pub(crate) fn one_line(output: &Output, code: i32) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    assert_eq!(err.lines().count(), 1, "not one line: {err}");
    assert!(err.starts_with("ntp: "), "{err}");
    err.trim_end().to_owned()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command with something on its standard input.
pub(crate) fn with_input(home: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = ntp(home, args).stdin(Stdio::piped()).spawn().unwrap();
    // A command that does not read closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// A server process. Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    dir: PathBuf,
    pub(crate) listening: String,
    pub(crate) connect: String,
    pub(crate) invitation: Option<String>,
}

impl Server {
    pub(crate) fn start(dir: &Path) -> Self {
        Self::launch(dir, "127.0.0.1:0", &[])
    }

    pub(crate) fn launch(dir: &Path, listen: &str, more: &[&str]) -> Self {
        let data = dir.join("server");
        let data = data.to_str().unwrap();
        let args = [&["serve", "--json", "--listen", listen, "--data-dir", data][..], more].concat();
        let mut child = ntp(dir, &args).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        Self {
            child,
            _stdout: stdout,
            dir: dir.to_owned(),
            listening: ready["listening"].as_str().unwrap().to_owned(),
            connect: ready["connect"].as_str().unwrap().to_owned(),
            invitation: ready["invitation"].as_str().map(str::to_owned),
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM. Returns how it ended.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        let (dir, listening) = (self.dir.clone(), self.listening.clone());
        *self = Self::launch(&dir, &listening, &[]);
    }

    /// Registers a profile with the server's invitation, or with one of `by`.
    pub(crate) fn register(&self, home: &Path, profile: &str, by: Option<&str>) -> u64 {
        let invitation = match by {
            Some(by) => {
                json(home, &["invite", "--json", "--profile", by])["invitation"].as_str().unwrap().to_owned()
            }
            None => self.invitation.clone().unwrap(),
        };
        let args = [
            "register",
            "--json",
            "--connect",
            &self.connect,
            "--invitation",
            &invitation,
            "--profile",
            profile,
        ];
        json(home, &args)["uin"].as_u64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of `ntp recv`.
pub(crate) fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
