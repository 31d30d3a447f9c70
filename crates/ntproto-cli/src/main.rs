//! `ntp`: the server, the client and the tools of ntproto on one command line.
//!
//! One file a command under `commands/`; what a command is made of has a folder of its own.
#![forbid(unsafe_code)]

mod bootstrap;
mod chat;
mod cli;
mod commands;
mod demo;
mod exit;
mod inspect;
mod output;
mod session;
mod signals;
mod telemetry;
mod text;
mod top;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no errors.
            let code = if e.use_stderr() { exit::Code::Usage } else { exit::Code::Ok };
            let _ = e.print();
            return code.into();
        }
    };
    let outcome = cli.run();
    telemetry::finish();
    match outcome {
        Ok(code) => code.into(),
        Err(failure) => {
            let message = failure.to_string();
            if !message.is_empty() {
                eprintln!("ntp: {}", text::harmless(&message));
            }
            failure.code.into()
        }
    }
}
