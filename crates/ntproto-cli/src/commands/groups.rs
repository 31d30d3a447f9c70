//! `ntp groups`: the groups one is in.

use ntproto_core::ids::GroupId;
use ntproto_proto::v2;
use ntproto_sdk::{NewGroup, Uin};
use serde_json::json;

use crate::exit::{Code, Failure, Outcome};
use crate::output::{self, Style, Table};
use crate::session::{self, ProfileArgs, Session, TimeoutArg};
use crate::text::harmless;

/// List groups, or the members of one; or make one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp groups
  ntp groups --new Tea --with 10002,10003
  ntp groups --members 7
  ntp groups --json | jq .group")]
pub(crate) struct Args {
    /// Make a group of this name.
    #[arg(long, value_name = "NAME", group = "what")]
    new: Option<String>,
    /// Who is in it from the start.
    #[arg(long, value_name = "UIN", value_delimiter = ',', requires = "new", value_parser = super::send::uin)]
    with: Vec<Uin>,
    /// List the members of this group.
    #[arg(long, value_name = "GROUP", group = "what")]
    members: Option<u64>,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    /// Print JSON, a line each.
    #[arg(long)]
    json: bool,
}

/// Lists or makes them.
pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(group) = args.members {
        return members(args, GroupId(group));
    }
    let groups = session::block_on(async {
        let session = Session::open(&args.profile).await?;
        session.online(args.timeout.get()).await?;
        let groups = session.client.groups();
        let listed = match &args.new {
            Some(name) => {
                let group =
                    NewGroup { name: name.clone(), members: args.with.clone(), ..NewGroup::default() };
                match groups.create(group).await {
                    Ok(id) => groups.get(&[id]).await,
                    Err(e) => Err(e),
                }
            }
            None => groups.refresh().await,
        };
        session.close().await;
        Ok(listed?)
    })?;
    let shown = groups.iter().filter_map(|state| Some((state.group.as_ref()?, state.me.as_ref()?)));
    if args.json {
        for (group, me) in shown {
            output::json_line(&json!({
                "group": group.group, "name": group.name, "owner": group.owner, "members": group.members,
                "notice": group.notice, "role": role(me), "version": group.version,
            }))?;
        }
        return Ok(Code::Ok);
    }
    let mut table = Table::new(&["GROUP", "NAME", "MEMBERS", "ROLE"]);
    for (group, me) in shown {
        let [id, count] = [group.group.to_string(), group.members.to_string()];
        table.row(&[&id, &harmless(&group.name), &count, role(me)]);
    }
    output::line(table.show(Style::of_stdout()).trim_end())?;
    Ok(Code::Ok)
}

fn members(args: &Args, group: GroupId) -> Outcome {
    let members = session::block_on(async {
        let session = Session::open(&args.profile).await?;
        session.online(args.timeout.get()).await?;
        let members = session.client.group(group).members().await;
        session.close().await;
        members.map_err(|e| match e {
            ntproto_sdk::MembersError::Request(e) => e.into(),
            e => Failure::failed(e.to_string()),
        })
    })?;
    if args.json {
        for m in &members.members {
            output::json_line(&json!({
                "uin": m.uin, "role": role(m), "nick": m.nick, "joined_ms": m.joined_ms,
                "muted_until_ms": m.muted_until_ms,
            }))?;
        }
        return Ok(Code::Ok);
    }
    let mut table = Table::new(&["UIN", "ROLE", "NICK"]);
    for m in &members.members {
        table.row(&[&m.uin.to_string(), role(m), &harmless(&m.nick)]);
    }
    output::line(table.show(Style::of_stdout()).trim_end())?;
    Ok(Code::Ok)
}

fn role(member: &v2::Member) -> &'static str {
    match member.role() {
        v2::Role::Member => "member",
        v2::Role::Admin => "admin",
        v2::Role::Owner => "owner",
    }
}
