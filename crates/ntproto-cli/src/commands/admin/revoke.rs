//! `ntp admin revoke`: ends any device.

use bytes::Bytes;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use ntproto_sdk::Uin;
use serde_json::json;

use super::{Common, ask, devices, with};
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::Session;

/// End a device of any account, at once and for good.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whose.
    #[arg(value_name = "UIN", value_parser = crate::commands::send::uin)]
    uin: Uin,
    /// Which: the beginning of its id, as ntp admin devices shows it.
    device: String,
    #[command(flatten)]
    common: Common,
}

/// Ends it.
pub(super) fn run(args: &Args) -> Outcome {
    let device = with(&args.common, async |session| revoke(session, args).await)?;
    if args.common.json {
        output::json_line(&json!({ "uin": args.uin.0, "device": device, "revoked": true }))?;
    } else {
        output::line(&format!("Device {device} of {} is revoked.", args.uin))?;
    }
    Ok(Code::Ok)
}

async fn revoke(session: &Session, args: &Args) -> Result<String, Failure> {
    let devices = devices::of(session, args.uin).await?;
    let prefix = args.device.to_lowercase();
    let named: Vec<_> = devices.iter().filter(|d| output::hex(&d.device_id).starts_with(&prefix)).collect();
    let device = match named[..] {
        [device] if !prefix.is_empty() => device,
        [] => return Err(Failure::usage("no device of that account begins so; see ntp admin devices")),
        _ => return Err(Failure::usage("several devices begin so: give more digits")),
    };
    let me = session.client.identity().is_some_and(|me| me.device.0[..] == device.device_id[..]);
    if me {
        return Err(Failure::usage("that is this very device: another administrator can end it"));
    }
    let device_id = Bytes::clone(&device.device_id);
    let request = v2::AdminRevokeRequest { uin: args.uin.0, device_id };
    let _: v2::RevokeDeviceResponse = ask(session, PacketId::ADMIN_REVOKE, &request).await?;
    Ok(output::hex(&device.device_id))
}
