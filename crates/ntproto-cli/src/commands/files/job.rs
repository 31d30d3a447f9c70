//! An upload between two runs: a record beside the profile that says how to bring the same bytes again.

use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::file::FileKey;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::{ClientMsgId, ConversationId, FileId};
use ntproto_core::rng::Rng;
use ntproto_core::transfer::upload::Upload;
use ntproto_core::transfer::{Event, Progress};
use ntproto_http::files::{Source, Watch, source::Stamp};
use ntproto_proto::store::{UploadJob, UploadState};
use ntproto_proto::v2::Attachment;
use ntproto_sdk::Profile;
use prost::Message as _;
use zeroize::Zeroizing;

use super::Bar;
use crate::exit::Failure;
use crate::output::hex;

/// The record's name: the same file to the same conversation is the same upload.
fn name(kind: &str, parts: &[&[u8]]) -> String {
    format!("{kind}{}", hex(&RUSTCRYPTO.sha256(parts)[..16]))
}

/// The name of a download's record.
pub(super) fn download_name(out: &Path, file: FileId) -> String {
    name("down", &[&file.0, out.as_os_str().as_encoded_bytes()])
}

/// An upload, and where it is kept.
pub(super) struct Job<'a> {
    profile: &'a Profile,
    name: String,
    record: UploadJob,
    bar: Bar,
}

impl<'a> Job<'a> {
    /// The upload of this file to this conversation that an earlier run began; the wanted one, if there is none, or the file, or what is
    /// wanted, is another.
    pub(super) fn find(
        profile: &'a Profile,
        wanted: &UploadJob,
        conversation: ConversationId,
        bar: Bar,
    ) -> Result<Self, Failure> {
        let name = name("up", &[wanted.path.as_bytes(), &[0], &conversation.0]);
        let kept = profile.kept(&name)?;
        let found =
            kept.and_then(|kept| UploadJob::decode(kept.as_slice()).ok()).filter(|found| same(found, wanted));
        let record = found.unwrap_or_else(|| wanted.clone());
        Ok(Self { profile, name, record, bar })
    }

    /// The key; `None`: the file is not sealed.
    pub(super) fn key(&self) -> Option<FileKey> {
        FileKey::from_slice(&self.record.key)
    }

    /// The upload, if an earlier run planned it.
    pub(super) fn upload(&self, seed: [u8; 32]) -> Option<Upload> {
        Upload::resume(self.record.upload.as_ref()?, Rng::new(seed))
    }

    /// The message that names the file.
    pub(super) fn message(&self) -> Option<ClientMsgId> {
        ClientMsgId::from_slice(&self.record.client_msg_id)
    }

    /// How the message names it.
    pub(super) fn attachment(&self, file: FileId, upload: &UploadState) -> Attachment {
        Attachment {
            file: Bytes::copy_from_slice(&file.0),
            key: self.record.key.clone(),
            size: upload.size,
            sha256: upload.sha256.clone(),
            name: self.record.name.clone(),
            mime: self.record.mime.clone(),
        }
    }

    /// The last state.
    pub(super) fn state(&self) -> Option<&UploadState> {
        self.record.upload.as_ref()
    }

    /// It is done, or not to be gone on with.
    pub(super) fn forget(&self) -> Result<(), Failure> {
        Ok(self.profile.forget(&self.name)?)
    }
}

impl Watch<UploadState> for Job<'_> {
    fn save(&mut self, state: &UploadState) -> io::Result<()> {
        self.record.upload = Some(state.clone());
        let bytes = Zeroizing::new(self.record.encode_to_vec());
        self.profile.keep(&self.name, &bytes).map_err(io::Error::other)
    }

    fn progress(&mut self, progress: Progress) {
        self.bar.show(progress);
    }

    fn event(&mut self, event: &Event) {
        self.bar.tell(event);
    }
}

/// Whether an earlier run was about the same file, and the same message. Under one key two contents would give away what they have
/// in common: any doubt is a no.
//= spec: file-encryption-1
fn same(found: &UploadJob, wanted: &UploadJob) -> bool {
    let there = |job: &UploadJob| (job.len, job.changed_ns, job.touched_ns, job.device, job.inode);
    // Where the system tells no time, no file is known again.
    wanted.changed_ns != 0
        && there(found) == there(wanted)
        && found.key.is_empty() == wanted.key.is_empty()
        && (&found.name, &found.mime, &found.text) == (&wanted.name, &wanted.mime, &wanted.text)
}

/// What is kept of a file that is about to be uploaded: no state yet.
pub(super) fn record(path: &Path, source: &Source) -> UploadJob {
    let Stamp { len, changed, place, touched_ns } = source.stamp();
    let since = changed.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let (device, inode) = place.unwrap_or_default();
    UploadJob {
        path: path.to_string_lossy().into_owned(),
        len,
        changed_ns: since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
        device,
        inode,
        touched_ns: touched_ns.unwrap_or_default(),
        ..UploadJob::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    //= proof: file-encryption-1
    #[test]
    fn a_file_that_was_touched_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report");
        let look = || {
            record(&path, &Source::open(&path, &ntproto_core::crypto::rustcrypto::RUSTCRYPTO, None).unwrap())
        };
        std::fs::write(&path, b"one").unwrap();
        let before = look();
        assert!(same(&before, &look()));
        // Other bytes, as many, and the time set back: what was sealed under a key is never sealed anew.
        let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&path, b"two").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(changed).unwrap();
        let after = look();
        assert_eq!(before.changed_ns, after.changed_ns);
        assert!(cfg!(not(unix)) || !same(&before, &after));
        for other in [
            UploadJob { len: 4, ..before.clone() },
            UploadJob { changed_ns: 5, ..before.clone() },
            UploadJob { inode: before.inode + 1, ..before.clone() },
            UploadJob { key: bytes::Bytes::from_static(&[1; 32]), ..before.clone() },
            UploadJob { text: "more".into(), ..before.clone() },
        ] {
            assert!(!same(&before, &other));
        }
        let timeless = UploadJob { changed_ns: 0, ..before };
        assert!(!same(&timeless, &timeless));
    }
}
