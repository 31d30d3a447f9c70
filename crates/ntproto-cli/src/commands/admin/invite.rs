//! `ntp admin invite`: makes invitations for more than `ntp invite` can.

use ntproto_core::wire::packet::PacketId;
use ntproto_hub::config::{MAX_INVITATION_LIFETIME, MAX_INVITATION_USES};
use ntproto_proto::v2;
use ntproto_sdk::{EnrolCode, Uin};
use serde_json::json;

use super::{Common, ask, with};
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::session::Session;

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// What the server allows.
const MAX_DAYS: u64 = MAX_INVITATION_LIFETIME.as_secs() / 86_400;

/// Make an invitation: for accounts, for an administrator, or for somebody who lost all of their devices.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many accounts can be made with it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_INVITATION_USES)))]
    uses: u32,
    /// How many days it is good for.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=MAX_DAYS))]
    days: u64,
    /// Those accounts may invite others.
    #[arg(long)]
    may_invite: bool,
    /// The device that comes with it is an administrator's.
    #[arg(long)]
    admin: bool,
    /// It adds a device to this account, whose keys are lost.
    #[arg(long, value_name = "UIN", value_parser = crate::commands::send::uin, conflicts_with_all = ["uses", "may_invite"])]
    recover: Option<Uin>,
    #[command(flatten)]
    common: Common,
}

/// Makes it.
pub(super) fn run(args: &Args) -> Outcome {
    let (code, expires, connect) = with(&args.common, async |session| invite(session, args).await)?;
    if args.common.json {
        output::json_line(&json!({
            "invitation": code.to_string(), "connect": connect, "uses": args.uses, "expires_ms": expires,
            "admin": args.admin, "uin": args.recover.map(|uin| uin.0),
        }))?;
    } else {
        output::line(&format!("ntp register --connect '{connect}' --invitation {code}"))?;
    }
    Ok(Code::Ok)
}

async fn invite(session: &Session, args: &Args) -> Result<(EnrolCode, u64, String), Failure> {
    let request = v2::AdminInviteRequest {
        uses: args.uses,
        lifetime_ms: args.days * DAY_MS,
        may_invite: args.may_invite,
        admin: args.admin,
        uin: args.recover.map_or(0, |uin| uin.0),
    };
    let answer: v2::InviteResponse = ask(session, PacketId::ADMIN_INVITE, &request).await?;
    let code =
        answer.code[..].try_into().map_err(|_| Failure::failed("the server's answer can't be read"))?;
    Ok((EnrolCode::Invitation(code), answer.expires_ms, session.profile.connect().to_string()))
}
