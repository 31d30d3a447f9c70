//! `ntp link`: lets a further device in.

use std::time::Duration;

use serde_json::json;

use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, ProfileArgs, Session};

/// Print a code that lets one further device into this account.
///
/// The code is signed by this device and works once, until it ends. Whoever has it can join the account: pass it
/// on in private. Needs no connection.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp link                      then, on the other device, the command it prints
  ntp link --minutes 60 --json | jq -r .link")]
pub(crate) struct Args {
    /// How long the code works.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    #[command(flatten)]
    profile: ProfileArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub(crate) fn run(args: &Args) -> Outcome {
    session::block_on(async {
        let session = Session::open(&args.profile).await?;
        let expires = session::now() + Duration::from_secs(args.minutes * 60);
        let code = session.client.link_device(expires, session::entropy()?).map_err(Failure::from);
        let connect = session.profile.connect().to_string();
        session.close().await;
        let link = code?.to_string();
        if args.json {
            output::json_line(&json!({ "link": link, "connect": connect, "expires_ms": expires.0 }))?;
        } else {
            output::line(&format!(
                "On the other device, within {} minutes:\n\n  ntp register --connect '{connect}' --link {link}",
                args.minutes
            ))?;
        }
        Ok(Code::Ok)
    })
}
