//! `ntp admin audit`: what administrators did.

use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use serde_json::json;

use super::{Common, PAGE, ask, with};
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Style, Table};
use crate::session::Session;
use crate::text::harmless;

/// Digits of a device's id that are shown.
const DEVICE: usize = 12;

/// Show what administrators did, newest first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many entries.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    common: Common,
}

/// Shows it: a line of JSON each, or a table.
pub(super) fn run(args: &Args) -> Outcome {
    let entries = with(&args.common, async |session| entries(session, args.count as usize).await)?;
    if args.common.json {
        for e in &entries {
            output::json_line(&json!({
                "number": e.number, "at_ms": e.at_ms, "uin": e.uin, "device": output::hex(&e.device_id),
                "act": e.act, "subject": e.subject,
            }))?;
        }
        return Ok(Code::Ok);
    }
    let mut table = Table::new(&["WHEN", "UIN", "DEVICE", "ACT", "ABOUT"]);
    for e in &entries {
        let (when, mut device) = (output::utc(e.at_ms).unwrap_or_default(), output::hex(&e.device_id));
        device.truncate(DEVICE);
        table.row(&[&when, &e.uin.to_string(), &device, &harmless(&e.act), &harmless(&e.subject)]);
    }
    output::line(table.show(Style::of_stdout()).trim_end())?;
    Ok(Code::Ok)
}

async fn entries(session: &Session, count: usize) -> Result<Vec<v2::AuditEntry>, Failure> {
    let mut all: Vec<v2::AuditEntry> = Vec::new();
    while all.len() < count {
        let limit = (count - all.len()).min(PAGE as usize) as u32;
        let request = v2::AdminAuditRequest { before: all.last().map_or(0, |e| e.number), limit };
        let page: v2::AdminAuditResponse = ask(session, PacketId::ADMIN_AUDIT, &request).await?;
        let more = page.has_more && !page.entries.is_empty();
        all.extend(page.entries);
        if !more {
            break;
        }
    }
    Ok(all)
}
