//! Running other programs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command at the workspace root.
pub(crate) struct Run(Command, String);

/// `cargo ARGS` at the workspace root.
pub(crate) fn cargo<I, S>(root: &Path, args: I) -> Run
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    named(root, "cargo", &program, args)
}

/// `PROGRAM ARGS` at the workspace root.
pub(crate) fn program<I, S>(root: &Path, program: &str, args: I) -> Run
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    named(root, program, OsStr::new(program), args)
}

fn named<I, S>(root: &Path, name: &str, program: &OsStr, args: I) -> Run
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.current_dir(root).args(args).stdin(Stdio::null());
    let line = std::iter::once(name.to_owned())
        .chain(command.get_args().map(|a| a.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ");
    Run(command, line)
}

impl Run {
    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Waits for success; the program writes to this terminal.
    pub(crate) fn done(mut self) -> Result<(), String> {
        let status = self.0.status().map_err(|e| format!("`{}`: {e}", self.1))?;
        if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", self.1)) }
    }

    /// Waits for success; what it prints appears in one piece at its end, for programs that run side by side.
    pub(crate) fn quietly(mut self) -> Result<(), String> {
        let output = self.0.output().map_err(|e| format!("`{}`: {e}", self.1))?;
        print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(()) } else { Err(format!("`{}` failed ({})", self.1, output.status)) }
    }

    /// Waits for success and returns what it printed.
    pub(crate) fn stdout(mut self) -> Result<Vec<u8>, String> {
        let output = self.0.stderr(Stdio::inherit()).output().map_err(|e| format!("`{}`: {e}", self.1))?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(format!("`{}` failed ({})", self.1, output.status))
        }
    }

    /// Whether it can be started and succeeds, in silence.
    pub(crate) fn works(mut self) -> bool {
        self.0.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }
}
