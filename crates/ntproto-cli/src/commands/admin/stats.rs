//! `ntp admin stats`: what the server counts.

use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use serde_json::json;

use super::{Common, ask, with};
use crate::demo::report::grouped;
use crate::exit::{Code, Outcome};
use crate::output::{self, Style, Table};

/// Count accounts, groups, connections.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
}

/// Counts.
pub(super) fn run(args: &Args) -> Outcome {
    let stats: v2::AdminStatsResponse = with(&args.common, async |session| {
        ask(session, PacketId::ADMIN_STATS, &v2::AdminStatsRequest {}).await
    })?;
    let v2::AdminStatsResponse { accounts, groups, connections, sessions, in_store, server_ms } = stats;
    if args.common.json {
        output::json_line(&json!({
            "accounts": accounts, "groups": groups, "connections": connections, "sessions": sessions,
            "in_store": in_store, "server_ms": server_ms,
        }))?;
        return Ok(Code::Ok);
    }
    let mut table = Table::new(&["", "", ""]);
    for (name, count, what) in [
        ("accounts", accounts, ""),
        ("groups", groups, ""),
        ("connections", connections, "open now"),
        ("sessions", sessions, "authenticated now"),
        ("in the store", in_store, "transactions on their way to the disk"),
    ] {
        table.row(&[name, &grouped(count), what]);
    }
    table.row(&["server's clock", &output::utc(server_ms).unwrap_or_default(), ""]);
    output::line(table.show(Style::of_stdout()).trim_end())?;
    Ok(Code::Ok)
}
