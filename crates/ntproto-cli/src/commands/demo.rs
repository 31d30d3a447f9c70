//! `ntp demo`: the proof anybody can run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use crate::demo::plan::Plan;
use crate::demo::run::{Demo, Setup};
use crate::demo::team;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Style};
use crate::session::{self, LinkArgs, seconds};

/// Show that promises are kept while processes are killed.
///
/// Starts a server on a temporary store and clients in processes of their own, over real sockets on this machine. In
/// the middle it kills the server and clients with SIGKILL and starts them again from their disks. Every client
/// keeps ledgers of its own of what it sent and got; they are compared at the end.
///
/// --scenario team: users with several devices make friends and groups, talk, edit, take back, read, go offline and come
/// again, while the server is killed. At the end all that every device holds is compared.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp demo
  ntp demo --clients 20 --messages 50000 --server-kills 5 --client-kills 20
  ntp demo --udp-cuts 1        the clients change over to TCP, and nothing is lost
  ntp demo --transport tcp --runtime smol
  ntp demo --json | jq .lost
  ntp demo --scenario team
  ntp demo --scenario team --users 8 --devices 15 --messages 200 --server-kills 1
  ntp demo --dir /tmp/demo     keeps the stores and ledgers to look at

What the table counts as acknowledged is on the server's disk; as delivered, in the ledger of the recipient.
With --scenario team the table has a row for each thing that was promised, with how often it was looked at.
Exit code 5 when anything was lost, doubled, altered, astray or out of order.")]
pub(crate) struct Args {
    /// What is played.
    #[arg(long, value_enum, default_value_t)]
    scenario: Scenario,
    /// Client processes; of a team, the processes its devices live in [default: 8; of a team 4].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=200))]
    clients: Option<u16>,
    /// Users of a team.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(4..=500))]
    users: u16,
    /// Devices of a team, in all.
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u16).range(4..=2000))]
    devices: u16,
    /// Messages in all, of a team with their edits and recalls [default: 4000; of a team 2400].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    messages: Option<u64>,
    /// Bytes of a message.
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=65536))]
    size: u32,
    /// Messages each client has on their way at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    window: u16,
    /// How often the server is killed.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=1000))]
    server_kills: u16,
    /// How often a client is killed.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(0..=1000))]
    client_kills: u16,
    /// How often UDP is cut, for 8 seconds, in the middle of it.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=100))]
    udp_cuts: u16,
    #[command(flatten)]
    link: LinkArgs,
    /// Give up after this [default: 120; of a team 600].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<f64>,
    /// Work in this folder, which must be empty or new, and leave everything there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// Messages between clients.
    #[default]
    Messages,
    /// People with several devices, groups, presence.
    Team,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Outcome {
    // Removed when it is dropped, on every way out.
    let (folder, _temporary) = match &args.dir {
        Some(dir) => (empty_folder(dir)?, None),
        None => {
            let temporary = tempfile::Builder::new().prefix("ntp-demo-").tempdir();
            let temporary = temporary.map_err(|e| Failure::failed(format!("no temporary folder: {e}")))?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    match args.scenario {
        Scenario::Messages => messages(args, &folder, &bar),
        Scenario::Team => team(args, &folder, &bar),
    }
}

fn messages(args: &Args, folder: &Path, bar: &ProgressBar) -> Outcome {
    let clients = usize::from(args.clients.unwrap_or(8));
    if clients < 2 {
        return Err(Failure::usage("--clients: one client has nobody to write to"));
    }
    let each = args.messages.unwrap_or(4_000).div_ceil(clients as u64);
    let setup = Setup {
        plan: Plan { clients, each, size: args.size as usize },
        window: args.window.into(),
        server_kills: args.server_kills.into(),
        client_kills: args.client_kills.into(),
        udp_cuts: args.udp_cuts.into(),
        link: args.link,
        timeout: Duration::from_secs_f64(args.timeout.unwrap_or(120.0)),
    };
    let report = unless_interrupted(bar, Demo::run(setup, folder, bar.clone()))?;
    tell(args, &report, &report.table(Style::of_stdout()))?;
    if report.broken() {
        return Err(Failure::new(Code::Broken, "a promise was broken: see the table"));
    }
    if !report.complete(&setup.plan) {
        return Err(Failure::failed("not everything was sent in time; nothing acknowledged was lost"));
    }
    Ok(Code::Ok)
}

fn team(args: &Args, folder: &Path, bar: &ProgressBar) -> Outcome {
    let (users, devices) = (usize::from(args.users), usize::from(args.devices));
    if devices < users {
        return Err(Failure::usage("--devices: each user has one at least"));
    }
    let setup = team::run::Setup {
        plan: team::plan::Plan { users, devices, entries: args.messages.unwrap_or(2_400) },
        workers: usize::from(args.clients.unwrap_or(4)).min(users),
        server_kills: args.server_kills.into(),
        link: args.link,
        timeout: Duration::from_secs_f64(args.timeout.unwrap_or(600.0)),
    };
    let report = unless_interrupted(bar, team::run::Team::run(setup, folder, bar.clone()))?;
    tell(args, &report, &report.table(Style::of_stdout()))?;
    match report.held {
        true => Ok(Code::Ok),
        false => Err(Failure::new(Code::Broken, "a promise was broken: see the table")),
    }
}

/// Plays, until it is interrupted. The children go with the future that holds them.
fn unless_interrupted<T>(
    bar: &ProgressBar,
    play: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    session::block_on(async {
        tokio::select! {
            report = play => report,
            () = crate::signals::interrupted() => {
                bar.finish_and_clear();
                Err(Failure::new(Code::Interrupted, "interrupted; everything is cleaned up"))
            }
        }
    })
}

fn tell(args: &Args, report: &impl Serialize, table: &str) -> Result<(), Failure> {
    if args.json {
        output::json_line(report)?;
    } else {
        output::line(table.trim_end())?;
    }
    Ok(())
}

/// The folder, made if need be. One with anything in it is not touched.
fn empty_folder(dir: &Path) -> Result<PathBuf, Failure> {
    let failed = |e: std::io::Error| Failure::usage(format!("--dir {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let dir = std::path::absolute(dir).map_err(failed)?;
    if std::fs::read_dir(&dir).map_err(failed)?.next().is_some() {
        return Err(Failure::usage(format!("--dir {}: there is something in it", dir.display())));
    }
    Ok(dir)
}
