//! `ntp admin users`: the accounts of the server.

use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use serde_json::json;

use super::{Common, PAGE, ask, with};
use crate::exit::{Code, Outcome};
use crate::output::{self, Style, Table};
use crate::session::Session;
use crate::text::harmless;

/// List the accounts.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
}

/// Lists them: a line of JSON each, or a table.
pub(super) fn run(args: &Args) -> Outcome {
    let accounts = with(&args.common, accounts)?;
    if args.common.json {
        for a in &accounts {
            output::json_line(&json!({
                "uin": a.uin, "nick": a.nick, "created_ms": a.created_ms, "may_invite": a.may_invite,
                "devices": a.devices, "revoked": a.revoked,
            }))?;
        }
        return Ok(Code::Ok);
    }
    let mut table = Table::new(&["UIN", "NICK", "SINCE", "DEVICES", "REVOKED", "INVITES"]);
    for a in &accounts {
        let since = output::day(a.created_ms);
        let numbers = [a.devices.to_string(), a.revoked.to_string()];
        let [devices, revoked] = numbers;
        let invites = if a.may_invite { "yes" } else { "" };
        table.row(&[&a.uin.to_string(), &harmless(&a.nick), &since, &devices, &revoked, invites]);
    }
    output::line(table.show(Style::of_stdout()).trim_end())?;
    Ok(Code::Ok)
}

async fn accounts(session: &Session) -> Result<Vec<v2::AdminAccount>, crate::exit::Failure> {
    let mut all: Vec<v2::AdminAccount> = Vec::new();
    loop {
        let request = v2::AdminAccountsRequest { after: all.last().map_or(0, |a| a.uin), limit: PAGE };
        let page: v2::AdminAccountsResponse = ask(session, PacketId::ADMIN_ACCOUNTS, &request).await?;
        let more = page.has_more && !page.accounts.is_empty();
        all.extend(page.accounts);
        if !more {
            return Ok(all);
        }
    }
}
