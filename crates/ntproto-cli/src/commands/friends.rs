//! `ntp friends`: one's friends, and who would like to be.

use ntproto_proto::v2;
use ntproto_sdk::Uin;
use serde_json::json;

use crate::exit::{Code, Outcome};
use crate::output::{self, Style, Table};
use crate::session::{self, ProfileArgs, Session, TimeoutArg};
use crate::text::harmless;

/// List friends, those who asked, and those who are blocked; or change one of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp friends
  ntp friends --request 10002 --message 'we met on Friday'
  ntp friends --accept 10003
  ntp friends --json | jq 'select(.state == \"wanted\") | .uin'")]
pub(crate) struct Args {
    /// Ask somebody to be a friend.
    #[arg(long, value_name = "UIN", value_parser = super::send::uin, group = "change")]
    request: Option<Uin>,
    /// With these words.
    #[arg(long, value_name = "TEXT", requires = "request", default_value = "", hide_default_value = true)]
    message: String,
    /// Accept somebody who asked.
    #[arg(long, value_name = "UIN", value_parser = super::send::uin, group = "change")]
    accept: Option<Uin>,
    /// Decline somebody who asked.
    #[arg(long, value_name = "UIN", value_parser = super::send::uin, group = "change")]
    decline: Option<Uin>,
    /// End a friendship, or take a request back.
    #[arg(long, value_name = "UIN", value_parser = super::send::uin, group = "change")]
    delete: Option<Uin>,
    /// Hear nothing of somebody any more.
    #[arg(long, value_name = "UIN", value_parser = super::send::uin, group = "change")]
    block: Option<Uin>,
    /// Hear of them again.
    #[arg(long, value_name = "UIN", value_parser = super::send::uin, group = "change")]
    unblock: Option<Uin>,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    /// Print JSON, a line each.
    #[arg(long)]
    json: bool,
}

/// Lists or changes them.
pub(crate) fn run(args: &Args) -> Outcome {
    let mut records = session::block_on(async {
        let session = Session::open(&args.profile).await?;
        session.online(args.timeout.get()).await?;
        let friends = session.client.friends();
        let changed = match args {
            Args { request: Some(uin), .. } => Some(friends.request(*uin, &args.message).await),
            Args { accept: Some(uin), .. } => Some(friends.accept(*uin).await),
            Args { decline: Some(uin), .. } => Some(friends.decline(*uin).await),
            Args { delete: Some(uin), .. } => Some(friends.delete(*uin).await),
            Args { block: Some(uin), .. } => Some(friends.block(*uin).await),
            Args { unblock: Some(uin), .. } => Some(friends.unblock(*uin).await),
            _ => None,
        };
        let records = match changed {
            Some(changed) => changed.map(|record| vec![record]),
            None => friends.refresh().await,
        };
        session.close().await;
        Ok(records?)
    })?;
    records.sort_by_key(|friend| friend.uin);
    if args.json {
        for f in &records {
            output::json_line(&json!({
                "uin": f.uin, "state": state(f), "remark": f.remark, "blocked": f.blocked,
                "since_ms": f.since_ms, "message": f.message,
            }))?;
        }
        return Ok(Code::Ok);
    }
    let mut table = Table::new(&["UIN", "STATE", "REMARK", ""]);
    for f in &records {
        let said = if f.blocked { "blocked".to_owned() } else { harmless(&f.message) };
        table.row(&[&f.uin.to_string(), state(f), &harmless(&f.remark), &said]);
    }
    output::line(table.show(Style::of_stdout()).trim_end())?;
    Ok(Code::Ok)
}

fn state(friend: &v2::Friend) -> &'static str {
    match friend.state() {
        v2::FriendState::None => "none",
        v2::FriendState::Asked => "asked",
        v2::FriendState::Wanted => "wanted",
        v2::FriendState::Friend => "friend",
    }
}
