//! `ntp admin groups`: the groups of the server.

use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use serde_json::json;

use super::{Common, PAGE, ask, with};
use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Style, Table};
use crate::session::Session;
use crate::text::harmless;

/// List the groups.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
}

/// Lists them: a line of JSON each, or a table.
pub(super) fn run(args: &Args) -> Outcome {
    let groups = with(&args.common, groups)?;
    if args.common.json {
        for g in &groups {
            output::json_line(&json!({
                "group": g.group, "name": g.name, "owner": g.owner, "members": g.members,
                "created_ms": g.created_ms, "version": g.version, "dissolved": g.dissolved,
            }))?;
        }
        return Ok(Code::Ok);
    }
    let mut table = Table::new(&["GROUP", "NAME", "OWNER", "MEMBERS", "SINCE", ""]);
    for g in &groups {
        let [group, owner, members] = [g.group.to_string(), g.owner.to_string(), g.members.to_string()];
        let note = if g.dissolved { "dissolved" } else { "" };
        table.row(&[&group, &harmless(&g.name), &owner, &members, &output::day(g.created_ms), note]);
    }
    output::line(table.show(Style::of_stdout()).trim_end())?;
    Ok(Code::Ok)
}

async fn groups(session: &Session) -> Result<Vec<v2::Group>, Failure> {
    let mut all: Vec<v2::Group> = Vec::new();
    loop {
        let request = v2::AdminGroupsRequest { after: all.last().map_or(0, |g| g.group), limit: PAGE };
        let page: v2::AdminGroupsResponse = ask(session, PacketId::ADMIN_GROUPS, &request).await?;
        let more = page.has_more && !page.groups.is_empty();
        all.extend(page.groups);
        if !more {
            return Ok(all);
        }
    }
}
