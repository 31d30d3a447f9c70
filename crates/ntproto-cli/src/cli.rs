//! The command line.

use clap::{Parser, Subcommand};

use crate::commands;
use crate::exit::Outcome;
use crate::telemetry;

/// Secure messages from your own server: a server, a client and tools in one program.
#[derive(Debug, Parser)]
#[command(
    name = "ntp",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = AFTER
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Export spans to this collector, as OTLP over HTTP (http://host:4318, https://host). What is sent then begins a
    /// trace, or goes on with that of the variable TRACEPARENT.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true
    )]
    otlp_endpoint: Option<String>,
}

const AFTER: &str = "\
See it work, with the server killed in the middle of it:
  ntp demo

Talk to each other:
  ntp serve                                    prints a connect string and an invitation
  ntp register --connect STRING --invitation CODE
  ntp chat 10002
  ntp upload photo.jpg --to 10002

`ntp help COMMAND` has examples of each command.

Exit codes:
    0  done
    1  failed: the line on stderr says what, and what to do
    2  wrong usage or configuration
    3  refused by the server
    4  the server could not be reached in time
    5  a promise was broken, or a store has faults (demo, bench, admin verify)
    6  the deadline passed before the message was stored (send)
  130  interrupted";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<commands::serve::Args>),
    Register(commands::register::Args),
    Connect(commands::connect::Args),
    Chat(commands::chat::Args),
    Send(commands::send::Args),
    Recv(commands::recv::Args),
    Upload(commands::files::upload::Args),
    Download(commands::files::download::Args),
    Friends(commands::friends::Args),
    Groups(commands::groups::Args),
    Presence(commands::presence::Args),
    History(commands::history::Args),
    Search(commands::search::Args),
    Devices(commands::devices::Args),
    Link(commands::link::Args),
    Revoke(commands::revoke::Args),
    Invite(commands::invite::Args),
    Admin(Box<commands::admin::Args>),
    Top(commands::top::Args),
    Keys(commands::keys::Args),
    Demo(commands::demo::Args),
    Bench(commands::bench::Args),
    Inspect(commands::inspect::Args),
    Completions(commands::completions::Args),
    #[command(hide = true)]
    DemoWorker(crate::demo::worker::Args),
    #[command(hide = true)]
    DemoTeam(crate::demo::team::worker::Args),
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(self) -> Outcome {
        let endpoint = self.otlp_endpoint.as_deref().filter(|url| !url.is_empty());
        // A server has more sources of settings, and logs.
        if !matches!(self.command, Command::Serve(_)) {
            telemetry::start(endpoint, "ntp", None)?;
        }
        match self.command {
            Command::Serve(args) => commands::serve::run(&args, endpoint),
            Command::Register(args) => commands::register::run(&args),
            Command::Connect(args) => commands::connect::run(&args),
            Command::Chat(args) => commands::chat::run(&args),
            Command::Send(args) => commands::send::run(&args),
            Command::Recv(args) => commands::recv::run(&args),
            Command::Upload(args) => commands::files::upload::run(&args),
            Command::Download(args) => commands::files::download::run(&args),
            Command::Friends(args) => commands::friends::run(&args),
            Command::Groups(args) => commands::groups::run(&args),
            Command::Presence(args) => commands::presence::run(&args),
            Command::History(args) => commands::history::run(&args),
            Command::Search(args) => commands::search::run(&args),
            Command::Devices(args) => commands::devices::run(&args),
            Command::Link(args) => commands::link::run(&args),
            Command::Revoke(args) => commands::revoke::run(&args),
            Command::Invite(args) => commands::invite::run(&args),
            Command::Keys(args) => commands::keys::run(&args),
            Command::Admin(args) => commands::admin::run(&args),
            Command::Top(args) => commands::top::run(&args),
            Command::Demo(args) => commands::demo::run(&args),
            Command::Bench(args) => commands::bench::run(&args),
            Command::DemoWorker(args) => crate::demo::worker::run(&args),
            Command::DemoTeam(args) => crate::demo::team::worker::run(&args),
            Command::Inspect(args) => commands::inspect::run(&args),
            Command::Completions(args) => commands::completions::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definitions_hold() {
        Cli::command().debug_assert();
    }
}
