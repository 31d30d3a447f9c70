//! `ntp invite`: makes an invitation.

use std::time::Duration;

use ntproto_hub::config::{MAX_INVITATION_LIFETIME, MAX_INVITATION_USES};
use serde_json::json;

use crate::exit::{Code, Outcome};
use crate::output;
use crate::session::{self, ProfileArgs, Session, TimeoutArg};

/// Seconds of a day.
const DAY: u64 = 86_400;
/// What the server allows.
const MAX_DAYS: u64 = MAX_INVITATION_LIFETIME.as_secs() / DAY;

/// Make an invitation for new accounts, if this account may.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp invite                      for one account, for seven days
  ntp invite --uses 20 --days 1   for a room full of people
  ntp invite --may-invite         who comes with it may invite others

It prints what to register with. On a machine that has a profile already, add --profile NAME to that.")]
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
