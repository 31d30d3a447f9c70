//! `ntp admin restore`: puts a backup in the place of a stopped server's store.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ntproto_server::offline::{self, OfflineError};
use serde_json::json;

use super::store;
use crate::demo::report::grouped;
use crate::exit::{Code, Failure, Outcome};
use crate::output;

/// Put a backup in the place of the store, with the server stopped.
///
/// Every record of the backup is read and compared before anything is changed. The store that was there is kept beside
/// it. New messages are numbered above all that were given out since the backup, and tickets are void; the server
/// is then started as always, without --restored.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backup.
    file: PathBuf,
    /// The server's keys and store, as ntp serve has it.
    #[arg(long, visible_alias = "data-dir", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The server's file of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Puts it there.
pub(super) fn run(args: &Args) -> Outcome {
    let dir = crate::commands::invite::data_dir(args.data.as_deref(), args.config.clone())?;
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {human_pos} records read {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let restored = offline::restore(&args.file, &dir, &mut |records| {
        bar.set_position(records);
        true
    });
    bar.finish_and_clear();
    let restored = match restored {
        Ok(restored) => restored,
        Err(OfflineError::Faults(records, faults)) => return store::tell(records, &faults, args.json),
        Err(e) => return Err(Failure::failed(e.to_string())),
    };
    let before = restored.before.map(|path| path.display().to_string());
    if args.json {
        output::json_line(&json!({
            "records": restored.records, "numbers_above": restored.above, "before": before,
        }))?;
        return Ok(Code::Ok);
    }
    let records = grouped(restored.records);
    output::line(&format!(
        "{records} records read; they agree, and are the store of {} now.",
        dir.display()
    ))?;
    if let Some(before) = before {
        output::line(&format!("What was there is {before}"))?;
    }
    Ok(Code::Ok)
}
