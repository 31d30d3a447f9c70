//! `ntp connect`: gives a profile another connect string.

use ntproto_sdk::driver::Server;
use ntproto_sdk::{ConnectString, Profile};
use serde_json::json;

use crate::bootstrap::{ANOTHER_OPERATOR, TrustArgs};
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, ProfileArgs};

/// Give a profile its server's new connect string, or the HTTPS address to ask for it.
///
/// A connect string is good for as long as the certificate in it. The server prints its newest at every start:
/// after it moved, or its key was rotated. The operator's key must be the one the profile knows. A connect string
/// needs no connection; an address is asked at once, and from then on whenever the connect string is of no more use.
/// What the profile knows is enough to know the server by; what is older than that is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp connect 'ntp://…'
  ntp connect https://chat.example.org
  ntp connect 'ntp://…' --new-operator    another operator's key, told by somebody you trust")]
pub(crate) struct Args {
    /// The connect string, as `ntp serve` prints it, or `https://host:port`.
    #[arg(value_name = "STRING")]
    connect: String,
    #[command(flatten)]
    trust: TrustArgs,
    /// Take it although another operator signed it: from now on that one is believed.
    #[arg(long)]
    new_operator: bool,
    #[command(flatten)]
    profile: ProfileArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Replaces it.
pub(crate) fn run(args: &Args) -> Outcome {
    let mut profile = Profile::open(&args.profile.dir()?)?;
    let (connect, url) = if args.connect.trim().starts_with("https://") {
        let (ask, learned) =
            session::block_on(args.trust.ask_anew(&args.connect, profile.connect(), args.new_operator))?;
        (learned.connect, Some(ask.url()))
    } else {
        let connect = args.connect.parse::<ConnectString>();
        (connect.map_err(|e| Failure::usage(format!("the connect string: {e}")))?, None)
    };
    Server::new(&connect, session::now()).map_err(|e| Failure::usage(format!("the connect string: {e}")))?;
    if profile.connect().operator_key != connect.operator_key && !args.new_operator {
        return Err(Failure::usage(ANOTHER_OPERATOR));
    }
    let server = format!("{}:{}", connect.host, connect.port);
    profile.set_connect(connect)?;
    if let Some(url) = url {
        profile.set_bootstrap(&url)?;
    }
    if args.json {
        output::json_line(&json!({ "server": server, "profile": args.profile.name() }))?;
    } else {
        output::line(&format!("The profile {} now finds its server at {server}.", args.profile.name()))?;
    }
    Ok(Code::Ok)
}
