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
        let same = |found: &UploadJob| {
            let there = |job: &UploadJob| (job.len, job.changed_ns, job.device, job.inode);
            there(found) == there(wanted)
                && found.key.is_empty() == wanted.key.is_empty()
                && (&found.name, &found.mime, &found.text) == (&wanted.name, &wanted.mime, &wanted.text)
        };
        let kept = profile.kept(&name)?;
        let found = kept.and_then(|kept| UploadJob::decode(kept.as_slice()).ok()).filter(same);
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

/// What is kept of a file that is about to be uploaded: no state yet.
pub(super) fn record(path: &Path, source: &Source) -> UploadJob {
    let Stamp { len, changed, place } = source.stamp();
    let since = changed.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let (device, inode) = place.unwrap_or_default();
    UploadJob {
        path: path.to_string_lossy().into_owned(),
        len,
        changed_ns: since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
        device,
        inode,
        ..UploadJob::default()
    }
}
