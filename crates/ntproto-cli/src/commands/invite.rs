//! `ntp invite`: makes an invitation.

use std::path::PathBuf;
use std::time::Duration;

use ntproto_hub::config::{MAX_INVITATION_LIFETIME, MAX_INVITATION_USES};
use ntproto_server::config::{Overrides, ServerConfig};
use ntproto_server::offline::{self, Invitation};
use serde_json::json;

use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, ProfileArgs, Session, TimeoutArg};

/// Seconds of a day.
const DAY: u64 = 86_400;
/// What the server allows.
const MAX_DAYS: u64 = MAX_INVITATION_LIFETIME.as_secs() / DAY;

/// Make an invitation for new accounts, if this account may.
///
/// With --admin, on the server itself and while it is stopped: for the first administrator.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp invite                      for one account, for seven days
  ntp invite --uses 20 --days 1   for a room full of people
  ntp invite --may-invite         who comes with it may invite others
  ntp invite --admin --data-dir /srv/ntp     the first administrator, with the server stopped

It prints what to register with. On a machine that has a profile already, add --profile NAME to that.
Administrators make others with ntp admin invite.")]
pub(crate) struct Args {
    /// How many accounts can be made with it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_INVITATION_USES)))]
    uses: u32,
    /// How many days it is good for.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=MAX_DAYS))]
    days: u64,
    /// Those accounts may invite others.
    #[arg(long)]
    may_invite: bool,
    /// The device that comes with it is an administrator's: written straight into the store of a server that is stopped.
    #[arg(long)]
    admin: bool,
    /// That server's keys and store, as ntp serve has it.
    #[arg(long, value_name = "DIR", requires = "admin")]
    data_dir: Option<PathBuf>,
    /// That server's file of settings.
    #[arg(long, value_name = "FILE", requires = "admin")]
    config: Option<PathBuf>,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Makes it.
pub(crate) fn run(args: &Args) -> Outcome {
    if args.admin {
        return for_an_administrator(args);
    }
    session::block_on(async {
        let session = Session::open(&args.profile).await?;
        session.online(args.timeout.get()).await?;
        let lifetime = Duration::from_secs(args.days * DAY);
        let answer = session.client.invite(args.uses, lifetime, args.may_invite).await;
        let connect = session.profile.connect().to_string();
        session.close().await;
        let (code, expires) = answer?;
        if args.json {
            let (invitation, expires) = (code.to_string(), expires.0);
            let line = json!({ "invitation": invitation, "connect": connect, "uses": args.uses, "expires_ms": expires });
            output::json_line(&line)?;
        } else {
            output::line(&format!("ntp register --connect '{connect}' --invitation {code}"))?;
        }
        Ok(Code::Ok)
    })
}

/// On the store of a server that is stopped.
fn for_an_administrator(args: &Args) -> Outcome {
    let dir = data_dir(args.data_dir.as_deref(), args.config.clone())?;
    let invitation = Invitation {
        uses: args.uses,
        lifetime: Duration::from_secs(args.days * DAY),
        may_invite: args.may_invite,
        admin: true,
    };
    let code = offline::invite(&dir, invitation).map_err(|e| Failure::failed(e.to_string()))?;
    if args.json {
        output::json_line(&json!({ "invitation": code.to_string(), "uses": args.uses, "admin": true }))?;
    } else {
        output::line(&format!(
            "Start the server, and register the administrator's device with what it prints:\n\n  \
             ntp register --connect 'ntp://…' --invitation {code}"
        ))?;
    }
    Ok(Code::Ok)
}

/// Where a server's data is, as its own settings say.
pub(super) fn data_dir(given: Option<&std::path::Path>, config: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let mut overrides = Overrides { config, ..Overrides::default() };
    overrides.set("data_dir", given.map(|dir| dir.display().to_string()));
    let config = ServerConfig::from_process(&overrides).map_err(|e| Failure::usage(e.to_string()))?;
    Ok(config.data_dir)
}
