//! Uploads, files, contents, and what is doomed.

use ntproto_core::ids::FileId;

use super::super::file::Doomed;
use super::*;

/// What is counted of files on the way: of the records themselves, and as accounts and contents say.
#[derive(Default)]
pub(super) struct Files {
    pub(super) uploads: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) held: u64,
    pub(super) said: record::FileUsage,
}

impl Files {
    /// Whether they agree.
    pub(super) fn agree(&self) -> bool {
        let said = (u64::from(self.said.uploads), u64::from(self.said.files), self.said.bytes);
        said == (self.uploads, self.files, self.bytes) && self.held == self.files
    }
}

fn named(kv: &dyn Kv, uin: u64, upload_id: &[u8], id: &[u8]) -> Check {
    let key = keys::upload_id(Uin(uin), &field(upload_id, 0)?);
    let here = kv.get(Table::UploadIds, &key)?.is_some_and(|at| at == id);
    ensure(here, "is not found by its account's name for it")
}

pub(super) fn upload(kv: &dyn Kv, tally: &mut Tally, key: &[u8], value: &[u8]) -> Check {
    let (id, upload) = (FileId(field(key, 0)?), decode::<record::Upload>(value)?);
    tally.files.uploads += 1;
    tally.files.bytes += execute::charge(&upload);
    ensure(exists(kv, Uin(upload.uin))?, "is of an account that is not there")?;
    named(kv, upload.uin, &upload.upload_id, key)?;
    ensure(!has(kv, Table::Files, key)?, "is a file too")?;
    let ends = has(kv, Table::UploadEnds, &keys::upload_end(upload.expires_ms, id))?;
    ensure(ends, "is not among those that end")?;
    ensure(upload.length.is_none_or(|length| upload.offset <= length), "is longer than its length")?;
    let whole = upload.length == Some(upload.offset);
    ensure(upload.content.is_empty() || (whole && upload.content.len() == 32), "is sealed, and not whole")?;
    ensure(!has(kv, Table::Doomed, &keys::doomed(&Doomed::Partial(id)))?, "is there, and doomed")
}

pub(super) fn file(kv: &dyn Kv, tally: &mut Tally, key: &[u8], value: &[u8]) -> Check {
    let file: record::File = decode(value)?;
    tally.files.files += 1;
    tally.files.bytes += file.size;
    ensure(exists(kv, Uin(file.uin))?, "is of an account that is not there")?;
    named(kv, file.uin, &file.upload_id, key)?;
    let content: Option<record::StoredContent> = read(kv, Table::Contents, &file.content)?;
    ensure(content.is_some_and(|content| content.size == file.size), "holds what is not there")
}

pub(super) fn upload_id(kv: &dyn Kv, key: &[u8], value: &[u8]) -> Check {
    let upload: Option<record::Upload> = read(kv, Table::Uploads, value)?;
    let file: Option<record::File> = read(kv, Table::Files, value)?;
    let uin = upload.map(|upload| upload.uin).or(file.map(|file| file.uin));
    ensure(uin == Some(number(key, 0)?), "names a file that is not there, or another's")
}

pub(super) fn upload_end(kv: &dyn Kv, key: &[u8]) -> Check {
    let upload: Option<record::Upload> = read(kv, Table::Uploads, &field::<16>(key, 8)?)?;
    let ends = number(key, 0)?;
    ensure(upload.is_some_and(|upload| upload.expires_ms == ends), "is of no upload that ends then")
}

pub(super) fn content(kv: &dyn Kv, tally: &mut Tally, key: &[u8], value: &[u8]) -> Check {
    let content: record::StoredContent = decode(value)?;
    tally.files.held += content.count;
    ensure(content.count > 0, "is held by no file")?;
    ensure(!has(kv, Table::Doomed, &keys::doomed(&Doomed::Content(field(key, 0)?)))?, "is held, and doomed")
}

pub(super) fn usage(kv: &dyn Kv, tally: &mut Tally, key: &[u8], value: &[u8]) -> Check {
    let usage: record::FileUsage = decode(value)?;
    let said = &mut tally.files.said;
    said.uploads = said.uploads.saturating_add(usage.uploads);
    said.files = said.files.saturating_add(usage.files);
    said.bytes = said.bytes.saturating_add(usage.bytes);
    ensure(exists(kv, Uin(number(key, 0)?))?, "is of an account that is not there")
}
