//! `ntp revoke`: ends a device.

use ntproto_sdk::DeviceId;
use serde_json::json;

use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::{self, ProfileArgs, Session, TimeoutArg};

/// The fewest digits that name a device: fewer are hit by mistake.
const MIN_PREFIX: usize = 4;

/// End a device of this account, at once and for good.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp revoke 3fa9c1            the beginning of an id, as `ntp devices` lists them
  ntp revoke 3fa9c1 --myself   also when it is this very device")]
pub(crate) struct Args {
    /// The device: its id, or as much of it as names only one.
    #[arg(value_name = "DEVICE")]
    device: String,
    /// Revoke this very device, too.
    #[arg(long)]
    myself: bool,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Ends it.
pub(crate) fn run(args: &Args) -> Outcome {
    let prefix = args.device.to_ascii_lowercase();
    if prefix.len() < MIN_PREFIX || !prefix.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(Failure::usage(format!(
            "a device is at least {MIN_PREFIX} hexadecimal digits; see ntp devices"
        )));
    }
    session::block_on(async {
        let session = Session::open(&args.profile).await?;
        session.online(args.timeout.get()).await?;
        let result = revoke(args, &session, &prefix).await;
        session.close().await;
        let device = result?;
        if args.json {
            output::json_line(&json!({ "revoked": device.to_string() }))?;
        } else {
            output::line(&format!("Device {device} is revoked."))?;
        }
        Ok(Code::Ok)
    })
}

async fn revoke(args: &Args, session: &Session, prefix: &str) -> Result<DeviceId, Failure> {
    let devices = session.client.devices().await?;
    let named: Vec<_> = devices.iter().filter(|d| output::hex(&d.device_id).starts_with(prefix)).collect();
    let device = match named[..] {
        [] => return Err(Failure::usage("no device of this account begins so; see ntp devices")),
        [device] => device,
        _ => return Err(Failure::usage("several devices begin so: give more digits")),
    };
    if device.current && !args.myself {
        return Err(Failure::usage("that is this very device: add --myself if you mean it"));
    }
    let id = DeviceId::from_slice(&device.device_id)
        .ok_or_else(|| Failure::failed("the server lists a device without a proper id"))?;
    if device.revoked {
        return Ok(id);
    }
    match session.client.revoke_device(id).await {
        Ok(()) => Ok(id),
        // The answer to one's own end does not always arrive before it.
        Err(e) if device.current => match Failure::from(e) {
            failure if matches!(failure.code, Code::Refused | Code::Unreachable) => Ok(id),
            failure => Err(failure),
        },
        Err(e) => Err(e.into()),
    }
}
