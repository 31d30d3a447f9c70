//! `ntp admin`: what administrators' devices may do.

mod audit;
mod devices;
mod groups;
mod invite;
mod restore;

mod revoke;
mod stats;
mod store;
mod users;

use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ntproto_core::wire::packet::PacketId;
use ntproto_sdk::{ErrorCode, RequestError};
use prost::Message;

use crate::exit::{Code, Failure, Outcome};
use crate::session::{self, ProfileArgs, Session, TimeoutArg};

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a backup or a verification of the whole store is waited for.
const LONG: Duration = Duration::from_secs(600);
/// How often the progress of one turns.
const SPIN: Duration = Duration::from_millis(120);
/// Entries of a list that are asked for at once.
const PAGE: u32 = 200;

/// Look after a server, from a device that is an administrator's.
///
/// The first administrator comes in with an invitation that the operator makes on the server itself: ntp invite --admin.
/// Everything an administrator does is written to the server's audit log.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp admin users
  ntp admin devices 10002
  ntp admin invite --uses 5                 for five new accounts
  ntp admin invite --recover 10002          a device for somebody who lost all of theirs
  ntp admin revoke 10002 3f2a               a device, by the beginning of its id
  ntp admin backup before-update            a copy of the store while the server goes on
  ntp admin verify
  ntp admin restore backup-before-update.redb --data /srv/ntp     with the server stopped
  ntp admin audit --json | jq -r .act

Exit code 3: this device is no administrator's. 5: the store has faults (verify, restore).")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Users(users::Args),
    Devices(devices::Args),
    Invite(invite::Args),
    Revoke(revoke::Args),
    Groups(groups::Args),
    Stats(stats::Args),
    Backup(store::BackupArgs),
    Verify(store::VerifyArgs),
    Restore(restore::Args),

    Audit(audit::Args),
}

/// What all that ask the server have in common.
#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs one.
pub(crate) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Users(args) => users::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Invite(args) => invite::run(args),
        Command::Revoke(args) => revoke::run(args),
        Command::Groups(args) => groups::run(args),
        Command::Stats(args) => stats::run(args),
        Command::Backup(args) => store::backup(args),
        Command::Verify(args) => store::verify(args),
        Command::Restore(args) => restore::run(args),

        Command::Audit(args) => audit::run(args),
    }
}

/// Does something with the profile's client, online, and ends it in order.
fn with<T>(common: &Common, work: impl AsyncFnOnce(&Session) -> Result<T, Failure>) -> Result<T, Failure> {
    session::block_on(async {
        let session = Session::open(&common.profile).await?;
        session.online(common.timeout.get()).await?;
        let result = work(&session).await;
        session.close().await;
        result
    })
}

/// Asks what only administrators may.
async fn ask<Q: Message, A: Message + Default>(
    session: &Session,
    packet: PacketId,
    request: &Q,
) -> Result<A, Failure> {
    session.client.request_typed_within(packet, request, ANSWER).await.map_err(refused)
}

/// The same for what takes its time, with something that turns meanwhile where there is a terminal.
async fn ask_long<Q: Message, A: Message + Default>(
    session: &Session,
    packet: PacketId,
    request: &Q,
    what: &'static str,
) -> Result<A, Failure> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.set_message(what);
    bar.enable_steady_tick(SPIN);
    let answer = session.client.request_typed_within(packet, request, LONG).await;
    bar.finish_and_clear();
    answer.map_err(refused)
}

/// What a refusal means here.
fn refused(e: RequestError) -> Failure {
    match e {
        RequestError::Refused(Some(ErrorCode::Forbidden), _) => Failure::new(
            Code::Refused,
            "this device is no administrator's: the operator makes one with ntp invite --admin on the server",
        ),
        RequestError::Refused(Some(ErrorCode::NotFound), _) => {
            Failure::new(Code::Refused, "there is no such account, device or group")
        }
        e => e.into(),
    }
}
