//! `ntp demo`: the proof anybody can run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::demo::plan::Plan;
use crate::demo::run::{Demo, Setup};
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Style};
use crate::session::{self, LinkArgs, seconds};

/// Show that nothing is lost or doubled while processes are killed.
///
/// Starts a server on a temporary store and clients in processes of their own, over real sockets on this machine. In
/// the middle it kills the server and clients with SIGKILL and starts them again from their disks. Every client
/// keeps ledgers of its own of what it sent and got; they are compared at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp demo
  ntp demo --clients 20 --messages 50000 --server-kills 5 --client-kills 20
  ntp demo --udp-cuts 1        the clients change over to TCP, and nothing is lost
  ntp demo --transport tcp --runtime smol
  ntp demo --json | jq .lost
  ntp demo --dir /tmp/demo     keeps the stores and ledgers to look at

What the table counts as acknowledged is on the server's disk; as delivered, in the ledger of the recipient.
Exit code 5 when anything was lost, doubled, altered, astray or out of order.")]
pub(crate) struct Args {
    /// Client processes.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=200))]
    clients: u16,
    /// Messages in all.
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    messages: u64,
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
    /// Give up after this.
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0, value_parser = seconds)]
    timeout: f64,
    /// Work in this folder, which must be empty or new, and leave everything there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Outcome {
    let clients = usize::from(args.clients);
    let each = args.messages.div_ceil(u64::from(args.clients));
    let setup = Setup {
        plan: Plan { clients, each, size: args.size as usize },
        window: args.window.into(),
        server_kills: args.server_kills.into(),
        client_kills: args.client_kills.into(),
        udp_cuts: args.udp_cuts.into(),
        link: args.link,
        timeout: Duration::from_secs_f64(args.timeout),
    };
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
    session::block_on(async {
        let report = tokio::select! {
            report = Demo::run(setup, &folder, bar.clone()) => report?,
            () = crate::signals::interrupted() => {
                // The children go with the future that holds them.
                bar.finish_and_clear();
                return Err(Failure::new(Code::Interrupted, "interrupted; everything is cleaned up"));
            }
        };
        if args.json {
            output::json_line(&report)?;
        } else {
            output::line(report.table(Style::of_stdout()).trim_end())?;
        }
        if report.broken() {
            return Err(Failure::new(Code::Broken, "a promise was broken: see the table"));
        }
        if !report.complete(&setup.plan) {
            return Err(Failure::failed("not everything was sent in time; nothing acknowledged was lost"));
        }
        Ok(Code::Ok)
    })
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
