//! What an administrator asks of the host, done beside the store's thread.

use std::path::Path;

use ntproto_core::code::ErrorCode;
use ntproto_core::dispatch::Refusal;
use ntproto_hub::HostTask;
use ntproto_proto::v2;
use ntproto_web::FileError;
use prost::Message;

use crate::files::FileStore;
use crate::files::sweep::{Records, compare};
use crate::store::beside::{Beside, BesideError};

/// Does it, for as long as it takes.
pub(super) fn perform(
    beside: &Beside,
    files: &dyn FileStore,
    dir: &Path,
    task: HostTask,
) -> Result<Vec<u8>, Refusal> {
    match task {
        HostTask::Backup { name } => {
            let file = format!("backup-{name}.redb");
            let backup = beside.backup(&dir.join(&file), &mut |_| true).map_err(|why| refusal(&why))?;
            tracing::info!(file, records = backup.records, bytes = backup.bytes, "a backup was made");
            let sha256 = backup.sha256.to_vec().into();
            Ok(v2::AdminBackupResponse { file, bytes: backup.bytes, sha256 }.encode_to_vec())
        }
        HostTask::Verify => {
            let verified = beside.verify(&mut |_| true).map_err(|why| refusal(&why))?;
            let mut faults: Vec<String> = verified.faults.iter().map(ToString::to_string).collect();
            let records = beside.files().map_err(|why| refusal(&why))?;
            faults.extend(lasting(beside, files, &records)?);
            for fault in &faults {
                tracing::error!(fault, "the store is at fault");
            }
            Ok(v2::AdminVerifyResponse { records: verified.records, faults }.encode_to_vec())
        }
    }
}

/// What is missing of files, and still is when one looks again: a file may have been removed in between.
fn lasting(beside: &Beside, files: &dyn FileStore, records: &Records) -> Result<Vec<String>, Refusal> {
    let failed = |error: FileError| {
        tracing::error!(%error, "files can't be verified");
        Refusal::new(ErrorCode::Internal, "it failed: the server's log says why")
    };
    let faults = compare(files, records).map_err(failed)?;
    if faults.is_empty() {
        return Ok(faults);
    }
    let again = beside.files().map_err(|why| refusal(&why))?;
    let again = compare(files, &again).map_err(failed)?;
    Ok(faults.into_iter().filter(|fault| again.contains(fault)).collect())
}

/// What the administrator is told. Where the server's files are stands in its log only.
fn refusal(why: &BesideError) -> Refusal {
    tracing::error!(error = %why, "what an administrator asked for was not done");
    match why {
        BesideError::Exists(_) => Refusal::new(ErrorCode::Conflict, "there is a backup of this name"),
        BesideError::Closed | BesideError::Ended => {
            Refusal::new(ErrorCode::Unavailable, "the store is closed")
        }
        BesideError::Copy(_) | BesideError::Failed(_) => {
            Refusal::new(ErrorCode::Internal, "it failed: the server's log says why")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::files::SyncPolicy;
    use crate::files::local::LocalFiles;
    use crate::store::redb::RedbStore;

    #[test]
    fn an_administrator_is_told_what_came_of_it_and_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&folder.path().join("store.redb"), 1 << 20).unwrap();
        let (beside, dir) = (store.beside(), folder.path());
        let files = LocalFiles::open(&dir.join("files"), SyncPolicy::Never).unwrap();
        let task = || HostTask::Backup { name: "monday".into() };
        let made =
            v2::AdminBackupResponse::decode(&perform(&beside, &files, dir, task()).unwrap()[..]).unwrap();
        assert_eq!(made.file, "backup-monday.redb");
        assert_eq!(std::fs::metadata(dir.join(&made.file)).unwrap().len(), made.bytes);
        assert_eq!(made.sha256.len(), 32);
        assert_eq!(perform(&beside, &files, dir, task()).unwrap_err().code, ErrorCode::Conflict);
        let verified = perform(&beside, &files, dir, HostTask::Verify).unwrap();
        assert!(v2::AdminVerifyResponse::decode(&verified[..]).unwrap().faults.is_empty());
        let other = HostTask::Backup { name: "tuesday".into() };
        let refusal = perform(&beside, &files, &dir.join("missing"), other).unwrap_err();
        assert!(refusal.code == ErrorCode::Internal && !refusal.detail.contains("missing"));
        drop(store);
        assert_eq!(perform(&beside, &files, dir, HostTask::Verify).unwrap_err().code, ErrorCode::Unavailable);
    }
}
