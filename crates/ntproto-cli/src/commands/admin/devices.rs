//! `ntp admin devices`: the devices of an account.

use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use ntproto_sdk::Uin;
use serde_json::json;

use super::{Common, ask, with};
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Style, Table};
use crate::session::Session;
use crate::text::harmless;

/// List the devices of an account.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whose.
    #[arg(value_name = "UIN", value_parser = crate::commands::send::uin)]
    uin: Uin,
    #[command(flatten)]
    common: Common,
}

/// Lists them: a line of JSON each, or a table.
pub(super) fn run(args: &Args) -> Outcome {
    let devices = with(&args.common, async |session| of(session, args.uin).await)?;
    if args.common.json {
        for d in &devices {
            output::json_line(&json!({
                "device": output::hex(&d.device_id), "name": d.name, "created_ms": d.created_ms,
                "revoked": d.revoked, "admin": d.admin,
            }))?;
        }
        return Ok(Code::Ok);
    }
    let mut table = Table::new(&["DEVICE", "NAME", "SINCE", ""]);
    for d in &devices {
        let note = match (d.revoked, d.admin) {
            (true, _) => "revoked",
            (_, true) => "administrator",
            _ => "",
        };
        table.row(&[&output::hex(&d.device_id), &harmless(&d.name), &output::day(d.created_ms), note]);
    }
    output::line(table.show(Style::of_stdout()).trim_end())?;
    Ok(Code::Ok)
}

/// The devices of an account.
pub(super) async fn of(session: &Session, uin: Uin) -> Result<Vec<v2::Device>, Failure> {
    let request = v2::AdminDevicesRequest { uin: uin.0 };
    let answer: v2::DevicesResponse = ask(session, PacketId::ADMIN_DEVICES, &request).await?;
    Ok(answer.devices)
}
