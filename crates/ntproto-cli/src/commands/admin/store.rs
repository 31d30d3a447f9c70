//! `ntp admin backup`, `ntp admin verify`: the server's store, while the server goes on.

use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use serde_json::json;

use super::{Common, ask_long, with};
use crate::demo::report::grouped;
use crate::exit::{Code, Failure, Outcome};
use crate::output;
use crate::text::harmless;

/// The longest name of a backup.
const MAX_NAME: usize = 64;

/// Copy the whole store as it is at one moment, on the server's disk.
#[derive(Debug, clap::Args)]
pub(super) struct BackupArgs {
    /// Its name: letters, digits, - and _.
    #[arg(value_parser = name)]
    name: String,
    #[command(flatten)]
    common: Common,
}

/// Read every record of the store, and compare what they say of each other.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    common: Common,
}

fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(allowed) {
        return Err(format!("up to {MAX_NAME} letters, digits, - and _"));
    }
    Ok(text.to_owned())
}

/// Copies it.
pub(super) fn backup(args: &BackupArgs) -> Outcome {
    let answer: v2::AdminBackupResponse = with(&args.common, async |session| {
        let request = v2::AdminBackupRequest { name: args.name.clone() };
        ask_long(session, PacketId::ADMIN_BACKUP, &request, "the server copies its store").await
    })?;
    let sha256 = output::hex(&answer.sha256);
    if args.common.json {
        output::json_line(&json!({ "file": answer.file, "bytes": answer.bytes, "sha256": sha256 }))?;
    } else {
        let bytes = grouped(answer.bytes);
        output::line(&format!("{}, {bytes} bytes, on the server.\nsha256 {sha256}", harmless(&answer.file)))?;
    }
    Ok(Code::Ok)
}

/// Verifies it.
pub(super) fn verify(args: &VerifyArgs) -> Outcome {
    let answer: v2::AdminVerifyResponse = with(&args.common, async |session| {
        ask_long(session, PacketId::ADMIN_VERIFY, &v2::AdminVerifyRequest {}, "the server reads its store")
            .await
    })?;
    tell(answer.records, &answer.faults, args.common.json)
}

/// What was found in a store.
pub(super) fn tell(records: u64, faults: &[String], json: bool) -> Outcome {
    if json {
        output::json_line(&json!({ "records": records, "faults": faults }))?;
    } else if faults.is_empty() {
        output::line(&format!("{} records read; they agree.", grouped(records)))?;
    } else {
        for fault in faults {
            output::line(&harmless(fault))?;
        }
    }
    match faults.len() {
        0 => Ok(Code::Ok),
        n => Err(Failure::new(Code::Broken, format!("the store has {n} faults: restore a backup"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_backups_are_names_of_files() {
        assert_eq!(name("before-update_2"), Ok("before-update_2".into()));
        for bad in ["", ".", "a/b", "..", "a.b", "ä", &"x".repeat(65)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_store_with_faults_has_its_exit_code() {
        assert_eq!(tell(3, &["a fault".into()], true).unwrap_err().code, Code::Broken);
    }
}
