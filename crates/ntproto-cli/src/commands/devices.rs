//! `ntp devices`: the devices of one's account.

use serde_json::json;

use crate::exit::{Code, Outcome};
use crate::output::{self, Style};
use crate::session::{self, ProfileArgs, Session, TimeoutArg};
use crate::text::harmless;

/// List the devices of this account.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp devices
  ntp devices --json | jq -r '.[] | select(.revoked | not) | .device'")]
pub(crate) struct Args {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    timeout: TimeoutArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Lists them.
pub(crate) fn run(args: &Args) -> Outcome {
    session::block_on(async {
        let session = Session::open(&args.profile).await?;
        let identity = session.online(args.timeout.get()).await?;
        let devices = session.client.devices().await;
        session.close().await;
        let devices = devices?;
        if args.json {
            let rows: Vec<_> = devices
                .iter()
                .map(|d| {
                    json!({
                        "device": output::hex(&d.device_id), "name": d.name, "created_ms": d.created_ms,
                        "revoked": d.revoked, "current": d.current,
                    })
                })
                .collect();
            output::json_line(&rows)?;
            return Ok(Code::Ok);
        }
        let style = Style::of_stdout();
        output::line(&style.bold(&format!("Account {}", identity.uin)))?;
        for device in &devices {
            let note = match (device.revoked, device.current) {
                (true, _) => style.red("revoked"),
                (_, true) => style.green("this one"),
                _ => String::new(),
            };
            let id = output::hex(&device.device_id);
            let created = output::utc(device.created_ms).unwrap_or_default();
            output::line(&format!("{id}  {created}  {}  {note}", harmless(&device.name)))?;
        }
        Ok(Code::Ok)
    })
}
