//! `ntp register`: makes a profile and enrols its device.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_sdk::profile::ProfileError;
use ntproto_sdk::{ConnectString, Credential, Ended, EnrolCode, Learned, Profile, State, Stopped};
use serde_json::json;

use crate::bootstrap::{self, TrustArgs};
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, ProfileArgs, Session, TimeoutArg};

/// Longest code read from standard input.
const MAX_CODE: u64 = 4096;

/// Make an account, or add this device to one.
///
/// Makes a profile with fresh keys (readable by you alone) and enrols it. There are no passwords: the keys are
/// the account. A further device joins with a code that `ntp link` prints on a device that is in already.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp register --connect 'ntp://…' --invitation invite.…
  ntp register --bootstrap https://chat.example.org --invitation invite.…
  curl 'https://chat.example.org/v2/handshake?app_id=10001&version=2.4.1' |
      ntp register --bootstrap-answer - --open           asked by another program
  ntp register --connect 'ntp://…' --link link.…          a further device of an account
  ntp register --connect 'ntp://…' --invitation - < code  keeps the code out of the process list
  ntp register --connect 'ntp://…' --open --profile test  where the operator lets everybody in")]
#[command(group = clap::ArgGroup::new("how").required(true))]
pub(crate) struct Args {
    /// The server's connect string, as `ntp serve` prints it.
    #[arg(long, value_name = "STRING", env = "NTP_CONNECT", required_unless_present_any = ["bootstrap", "bootstrap_answer"])]
    connect: Option<String>,
    /// The server's HTTPS address instead: it is asked for all that a connect string says, now and whenever that is
    /// of no more use.
    #[arg(long, value_name = "URL")]
    bootstrap: Option<String>,
    /// What another program fetched from the server's /v2/handshake: a file, or `-` for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "bootstrap")]
    bootstrap_answer: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// An invitation: makes a new account. `-` reads it from standard input.
    #[arg(long, value_name = "CODE", group = "how")]
    invitation: Option<String>,
    /// A device link: adds this device to an account. `-` reads it from standard input.
    #[arg(long, value_name = "CODE", group = "how")]
    link: Option<String>,
    /// Neither: make a new account on a server with open registration.
    #[arg(long, group = "how")]
    open: bool,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Registers.
pub(crate) fn run(args: &Args) -> Outcome {
    let code = code(args)?;
    let dir = args.profile.dir()?;
    let (connect, url, told) = match (&args.bootstrap, &args.bootstrap_answer, &args.connect) {
        (Some(url), ..) => {
            let (ask, learned) = session::block_on(args.trust.ask(url))?;
            (learned.connect.clone(), Some(ask.url()), Some(learned))
        }
        (None, Some(file), _) => {
            let learned = bootstrap::told(file, &args.trust)?;
            (learned.connect.clone(), None, Some(learned))
        }
        (None, None, connect) => {
            let connect: ConnectString = connect
                .as_deref()
                .unwrap_or_default()
                .parse()
                .map_err(|e| Failure::usage(format!("--connect: {e}")))?;
            (connect, None, None)
        }
    };
    let mut rng = Rng::new(session::entropy()?);
    let keys = DeviceKeys::generate(&mut rng, &RUSTCRYPTO);
    let mut profile = Profile::create(&dir, connect, keys, code).map_err(|e| match e {
        ProfileError::Exists(_) => Failure::failed(format!(
            "there is a profile {} already: make another with --profile NAME",
            args.profile.name()
        )),
        e => e.into(),
    })?;
    if let Some(url) = url {
        profile.set_bootstrap(&url)?;
    }
    session::block_on(enrol(args, &dir, profile, told))
}

fn code(args: &Args) -> Result<Option<EnrolCode>, Failure> {
    let (flag, text) = match (&args.invitation, &args.link) {
        (Some(text), _) => ("--invitation", text),
        (_, Some(text)) => ("--link", text),
        (None, None) => return Ok(None),
    };
    let text = if text == "-" {
        let mut read = String::new();
        std::io::stdin().lock().take(MAX_CODE).read_to_string(&mut read)?;
        read
    } else {
        text.clone()
    };
    let code: EnrolCode = text.parse().map_err(|e| Failure::usage(format!("{flag}: {e}")))?;
    match (&code, flag) {
        (EnrolCode::Link(_), "--invitation") => {
            Err(Failure::usage("this is a device link: give it as --link"))
        }
        (EnrolCode::Invitation(_), "--link") => {
            Err(Failure::usage("this is an invitation: give it as --invitation"))
        }
        _ => Ok(Some(code)),
    }
}

async fn enrol(args: &Args, dir: &Path, profile: Profile, told: Option<Learned>) -> Outcome {
    let result = match profile.options(session::now()) {
        Ok(mut options) => {
            if let Some(told) = told {
                options.server.renew(&told);
                options.bootstrap = Some(told.bootstrap);
            }
            if args.open {
                options.enrol = Some(Credential::Open);
            }
            Session::start(profile, options, args.profile.link()).await
        }
        Err(e) => Err(e.into()),
    };
    let mut session = match result {
        Ok(session) => session,
        Err(failure) => return Err(discard(dir, failure)),
    };
    let identity = match session.online(args.timeout.get()).await {
        Ok(identity) => identity,
        Err(failure) => {
            // An answer that was lost may have been a yes: then only this profile has the keys.
            let refused = matches!(session.client.state(), State::Ended(Ended::Stopped(Stopped::Refused(_))));
            let reached = session.client.was_reached();
            session.close().await;
            if refused || !reached {
                return Err(discard(dir, failure));
            }
            let name = args.profile.name();
            let hint = "the profile is kept, as the server may have taken it: find out with";
            return Err(Failure::new(
                failure.code,
                format!("{failure}; {hint} ntp devices --profile {name}"),
            ));
        }
    };
    session.profile.forget_enrol()?;
    session.close().await;
    if args.json {
        let (uin, device) = (identity.uin.0, identity.device.to_string());
        output::json_line(&json!({ "uin": uin, "device": device, "profile": args.profile.name() }))?;
    } else {
        output::line(&format!("You are {}. Others reach you with: ntp chat {}", identity.uin, identity.uin))?;
    }
    Ok(Code::Ok)
}

/// Removes a profile that nobody knows of.
fn discard(dir: &Path, failure: Failure) -> Failure {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => failure,
        Err(e) => {
            Failure::new(failure.code, format!("{failure}; and {} can't be removed: {e}", dir.display()))
        }
    }
}
