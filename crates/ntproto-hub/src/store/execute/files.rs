//! Uploads, files, and what they hold.

use alloc::vec::Vec;

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, FileId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_proto::store as record;

use super::super::act::Actor;
use super::super::file::{Doomed, FileAnswer, FileAsk, FileState, FileWork, NewUpload, UploadState};
use super::super::keys;
use super::super::kv::{Kv, Table};
use super::super::txn::StoreError;
use super::packets::bytes_of;
use super::{accounts, fixed, history, read, write};

pub(super) fn ask(kv: &mut dyn Kv, by: &Actor, ask: &FileAsk) -> Result<FileAnswer, StoreError> {
    accounts::live_device(kv, by.uin, by.device)?;
    match ask {
        FileAsk::Create(new) => create(kv, by, new),
        FileAsk::Claim { file } => claim(kv, by.uin, *file),
        FileAsk::Find { file } => find(kv, by.uin, *file),
        FileAsk::Delete { file } => delete(kv, by.uin, *file),
    }
}

pub(super) fn work(kv: &mut dyn Kv, work: &FileWork) -> Result<FileAnswer, StoreError> {
    match work {
        FileWork::Progress { file, epoch, offset, length, reserve, expires, quota } => {
            let upload = writer(kv, *file, *epoch)?;
            let length = upload.length.or(*length);
            let now = record::Upload { length, reserved: *reserve, ..upload.clone() };
            progress(kv, *file, (&upload, now), *offset, *expires, *quota)
        }
        FileWork::Seal { file, epoch, content } => seal(kv, *file, *epoch, content),
        FileWork::Complete { file, epoch, now } => complete(kv, *file, *epoch, *now),
        FileWork::Sweep { now, limit, after } => sweep(kv, *now, *limit as usize, after.as_ref()),
        FileWork::Swept(doomed) => {
            for one in doomed {
                kv.delete(Table::Doomed, &keys::doomed(one))?;
            }
            Ok(FileAnswer::Done)
        }
    }
}

// ── uploads ─────────────────────────────────────────────────────────────────────────────────────

fn create(kv: &mut dyn Kv, by: &Actor, new: &NewUpload) -> Result<FileAnswer, StoreError> {
    //= spec: files-5
    let of = keys::upload_id(by.uin, &new.upload_id);
    if let Some(made) = kv.get(Table::UploadIds, &of)? {
        let file = FileId(fixed(&made)?);
        let differs = |asked: Option<u64>, is: Option<u64>| asked.is_some() && asked != is;
        return match stands(kv, file)? {
            Stands::Upload(upload) => {
                let digest = new.digest.is_some_and(|digest| upload.digest != digest[..]);
                let other = digest || differs(new.length, upload.length);
                same(upload.conversation == new.conversation.0[..] && !other)?;
                Ok(FileAnswer::Upload(upload_state(file, &upload)?))
            }
            Stands::File(whole) => {
                let digest = new.digest.is_some_and(|digest| whole.content != digest[..]);
                let other = digest || differs(new.length, Some(whole.size));
                same(whole.conversation == new.conversation.0[..] && !other)?;
                Ok(FileAnswer::File(file_state(file, &whole)?))
            }
        };
    }
    if has(kv, Table::Uploads, &new.file.0)? || has(kv, Table::Files, &new.file.0)? {
        return Err(StoreError::Conflict);
    }
    //= spec: files-4
    match history::readable_from(kv, new.conversation, by.uin) {
        Ok(_) => {}
        // Whether there is such a conversation is nobody's business who is not in it.
        Err(StoreError::NotFound) => return Err(StoreError::Forbidden),
        Err(error) => return Err(error),
    }
    let mut usage = usage_of(kv, by.uin)?;
    if usage.uploads >= new.max_uploads {
        return Err(StoreError::TooMany);
    }
    usage.uploads += 1;
    usage.bytes = usage.bytes.saturating_add(new.length.unwrap_or(0));
    //= spec: files-13
    if usage.bytes > new.quota {
        return Err(StoreError::Quota);
    }
    write(kv, Table::FileUsage, &keys::account(by.uin), &usage)?;
    let upload = record::Upload {
        uin: by.uin.0,
        conversation: bytes_of(new.conversation),
        upload_id: Bytes::copy_from_slice(&new.upload_id),
        length: new.length,
        created_ms: by.now.0,
        expires_ms: new.expires.0,
        digest: new.digest.map_or_else(Bytes::new, |digest| Bytes::copy_from_slice(&digest)),
        ..Default::default()
    };
    kv.put(Table::UploadIds, &of, &new.file.0)?;
    kv.put(Table::UploadEnds, &keys::upload_end(new.expires.0, new.file), &[])?;
    write(kv, Table::Uploads, &new.file.0, &upload)?;
    Ok(FileAnswer::Made(upload_state(new.file, &upload)?))
}

fn same(same: bool) -> Result<(), StoreError> {
    if same { Ok(()) } else { Err(StoreError::Conflict) }
}

fn claim(kv: &mut dyn Kv, uin: Uin, file: FileId) -> Result<FileAnswer, StoreError> {
    let mut upload = match owned(kv, uin, file)? {
        Stands::File(whole) => return Ok(FileAnswer::File(file_state(file, &whole)?)),
        Stands::Upload(upload) => upload,
    };
    upload.epoch += 1;
    write(kv, Table::Uploads, &file.0, &upload)?;
    Ok(FileAnswer::Upload(upload_state(file, &upload)?))
}

/// The upload, if this is its newest writer.
fn writer(kv: &dyn Kv, file: FileId, epoch: u64) -> Result<record::Upload, StoreError> {
    let upload: record::Upload = read(kv, Table::Uploads, &file.0)?.ok_or(StoreError::NotFound)?;
    //= spec: files-7
    if upload.epoch == epoch { Ok(upload) } else { Err(StoreError::Stale) }
}

/// What an upload takes of its account's quota.
pub(in super::super) fn charge(upload: &record::Upload) -> u64 {
    upload.length.unwrap_or(upload.offset.max(upload.reserved))
}

fn progress(
    kv: &mut dyn Kv,
    file: FileId,
    (before, mut upload): (&record::Upload, record::Upload),
    offset: u64,
    expires: UnixMillis,
    quota: u64,
) -> Result<FileAnswer, StoreError> {
    //= spec: files-6
    upload.offset = upload.offset.max(offset);
    if upload.length.is_some_and(|length| length < upload.offset) {
        return Err(StoreError::BadRequest);
    }
    let (taken, takes) = (charge(before), charge(&upload));
    if takes != taken {
        let uin = Uin(upload.uin);
        let mut usage = usage_of(kv, uin)?;
        usage.bytes = usage.bytes.saturating_sub(taken).saturating_add(takes);
        if usage.bytes > quota && takes > taken {
            return Err(StoreError::Quota);
        }
        write(kv, Table::FileUsage, &keys::account(uin), &usage)?;
    }
    kv.delete(Table::UploadEnds, &keys::upload_end(upload.expires_ms, file))?;
    upload.expires_ms = upload.expires_ms.max(expires.0);
    kv.put(Table::UploadEnds, &keys::upload_end(upload.expires_ms, file), &[])?;
    write(kv, Table::Uploads, &file.0, &upload)?;
    Ok(FileAnswer::Upload(upload_state(file, &upload)?))
}

fn seal(kv: &mut dyn Kv, file: FileId, epoch: u64, content: &[u8; 32]) -> Result<FileAnswer, StoreError> {
    let mut upload = writer(kv, file, epoch)?;
    let declared = upload.digest.is_empty() || upload.digest == content[..];
    if upload.length != Some(upload.offset) || !declared {
        return Err(StoreError::BadRequest);
    }
    upload.content = Bytes::copy_from_slice(content);
    write(kv, Table::Uploads, &file.0, &upload)?;
    Ok(FileAnswer::Upload(upload_state(file, &upload)?))
}

fn complete(kv: &mut dyn Kv, file: FileId, epoch: u64, now: UnixMillis) -> Result<FileAnswer, StoreError> {
    let upload = writer(kv, file, epoch)?;
    if upload.content.is_empty() {
        return Err(StoreError::BadRequest);
    }
    let content: [u8; 32] = fixed(&upload.content)?;
    let held: Option<record::StoredContent> = read(kv, Table::Contents, &content)?;
    let mut held = held.unwrap_or(record::StoredContent { count: 0, size: upload.offset });
    held.count += 1;
    write(kv, Table::Contents, &content, &held)?;
    kv.delete(Table::Doomed, &keys::doomed(&Doomed::Content(content)))?;
    doom(kv, Doomed::Partial(file))?;
    let whole = record::File {
        uin: upload.uin,
        conversation: upload.conversation,
        upload_id: upload.upload_id,
        content: upload.content,
        size: upload.offset,
        created_ms: upload.created_ms,
        stored_ms: now.0,
    };
    let mut usage = usage_of(kv, Uin(upload.uin))?;
    usage.uploads = usage.uploads.saturating_sub(1);
    usage.files += 1;
    write(kv, Table::FileUsage, &keys::account(Uin(upload.uin)), &usage)?;
    kv.delete(Table::UploadEnds, &keys::upload_end(upload.expires_ms, file))?;
    kv.delete(Table::Uploads, &file.0)?;
    write(kv, Table::Files, &file.0, &whole)?;
    Ok(FileAnswer::File(file_state(file, &whole)?))
}

// ── files ───────────────────────────────────────────────────────────────────────────────────────

fn find(kv: &dyn Kv, uin: Uin, file: FileId) -> Result<FileAnswer, StoreError> {
    match stands(kv, file)? {
        Stands::Upload(upload) if upload.uin == uin.0 => Ok(FileAnswer::Upload(upload_state(file, &upload)?)),
        Stands::File(whole) => {
            let whole = file_state(file, &whole)?;
            //= spec: files-4
            match history::readable_from(kv, whole.conversation, uin) {
                Ok(_) => Ok(FileAnswer::File(whole)),
                // Whoever is not in it learns nothing, not even that it is there.
                Err(error) if error.is_refusal() && error != StoreError::Corrupt => Err(StoreError::NotFound),
                Err(error) => Err(error),
            }
        }
        Stands::Upload(_) => Err(StoreError::NotFound),
    }
}

fn delete(kv: &mut dyn Kv, uin: Uin, file: FileId) -> Result<FileAnswer, StoreError> {
    let whole = match owned(kv, uin, file)? {
        Stands::Upload(upload) => {
            end(kv, file, &upload)?;
            return Ok(FileAnswer::Done);
        }
        Stands::File(whole) => whole,
    };
    kv.delete(Table::Files, &file.0)?;
    kv.delete(Table::UploadIds, &keys::upload_id(uin, &fixed(&whole.upload_id)?))?;
    let mut usage = usage_of(kv, uin)?;
    usage.files = usage.files.saturating_sub(1);
    usage.bytes = usage.bytes.saturating_sub(whole.size);
    write(kv, Table::FileUsage, &keys::account(uin), &usage)?;
    let content: [u8; 32] = fixed(&whole.content)?;
    let mut held: record::StoredContent = read(kv, Table::Contents, &content)?.ok_or(StoreError::Corrupt)?;
    held.count = held.count.saturating_sub(1);
    if held.count == 0 {
        kv.delete(Table::Contents, &content)?;
        doom(kv, Doomed::Content(content))?;
    } else {
        write(kv, Table::Contents, &content, &held)?;
    }
    Ok(FileAnswer::Done)
}

/// Ends an upload that is not whole, or whose content was not kept.
fn end(kv: &mut dyn Kv, file: FileId, upload: &record::Upload) -> Result<(), StoreError> {
    let uin = Uin(upload.uin);
    let mut usage = usage_of(kv, uin)?;
    usage.uploads = usage.uploads.saturating_sub(1);
    usage.bytes = usage.bytes.saturating_sub(charge(upload));
    write(kv, Table::FileUsage, &keys::account(uin), &usage)?;
    kv.delete(Table::Uploads, &file.0)?;
    kv.delete(Table::UploadIds, &keys::upload_id(uin, &fixed(&upload.upload_id)?))?;
    kv.delete(Table::UploadEnds, &keys::upload_end(upload.expires_ms, file))?;
    doom(kv, Doomed::Partial(file))?;
    if !upload.content.is_empty() && !has(kv, Table::Contents, &upload.content)? {
        doom(kv, Doomed::Content(fixed(&upload.content)?))?;
    }
    Ok(())
}

// ── what is removed ─────────────────────────────────────────────────────────────────────────────

fn doom(kv: &mut dyn Kv, what: Doomed) -> Result<(), StoreError> {
    kv.put(Table::Doomed, &keys::doomed(&what), &[])
}

fn sweep(
    kv: &mut dyn Kv,
    now: UnixMillis,
    limit: usize,
    after: Option<&Doomed>,
) -> Result<FileAnswer, StoreError> {
    //= spec: files-12
    let mut over = Vec::new();
    let to = keys::upload_end(now.0, FileId([0xff; 16]));
    kv.scan(Table::UploadEnds, &[], &to, &mut |key, _| {
        over.push(key.last_chunk().map(|id| FileId(*id)));
        over.len() <= limit
    })?;
    let mut more = over.len() > limit;
    for file in over.into_iter().take(limit) {
        let file = file.ok_or(StoreError::Corrupt)?;
        let upload = read(kv, Table::Uploads, &file.0)?.ok_or(StoreError::Corrupt)?;
        end(kv, file, &upload)?;
    }
    let mut listed = Vec::new();
    // The first key behind that one: a key has no other as its beginning.
    let from = after.map_or_else(Vec::new, |one| {
        let mut key = keys::doomed(one);
        key.push(0);
        key
    });
    kv.scan(Table::Doomed, &from, &[0xff; keys::DOOMED_LEN], &mut |key, _| {
        listed.push(keys::read_doomed(key));
        listed.len() <= limit
    })?;
    more |= listed.len() > limit;
    let mut doomed = Vec::new();
    for one in listed.into_iter().take(limit) {
        doomed.push(one.ok_or(StoreError::Corrupt)?);
    }
    Ok(FileAnswer::Doomed { doomed, more })
}

// ── records ─────────────────────────────────────────────────────────────────────────────────────

enum Stands {
    Upload(record::Upload),
    File(record::File),
}

fn stands(kv: &dyn Kv, file: FileId) -> Result<Stands, StoreError> {
    if let Some(upload) = read(kv, Table::Uploads, &file.0)? {
        return Ok(Stands::Upload(upload));
    }
    read(kv, Table::Files, &file.0)?.map(Stands::File).ok_or(StoreError::NotFound)
}

/// What is the account's. Others' are not there.
fn owned(kv: &dyn Kv, uin: Uin, file: FileId) -> Result<Stands, StoreError> {
    let stands = stands(kv, file)?;
    let owner = match &stands {
        Stands::Upload(upload) => upload.uin,
        Stands::File(whole) => whole.uin,
    };
    //= spec: files-3
    if owner == uin.0 { Ok(stands) } else { Err(StoreError::NotFound) }
}

fn has(kv: &dyn Kv, table: Table, key: &[u8]) -> Result<bool, StoreError> {
    Ok(kv.get(table, key)?.is_some())
}

fn usage_of(kv: &dyn Kv, uin: Uin) -> Result<record::FileUsage, StoreError> {
    Ok(read(kv, Table::FileUsage, &keys::account(uin))?.unwrap_or_default())
}

fn hash(field: &[u8]) -> Result<Option<[u8; 32]>, StoreError> {
    if field.is_empty() { Ok(None) } else { fixed(field).map(Some) }
}

fn upload_state(file: FileId, upload: &record::Upload) -> Result<UploadState, StoreError> {
    Ok(UploadState {
        file,
        uin: Uin(upload.uin),
        conversation: ConversationId(fixed(&upload.conversation)?),
        length: upload.length,
        offset: upload.offset,
        reserved: upload.reserved,
        epoch: upload.epoch,
        expires: UnixMillis(upload.expires_ms),
        digest: hash(&upload.digest)?,
        content: hash(&upload.content)?,
    })
}

fn file_state(file: FileId, whole: &record::File) -> Result<FileState, StoreError> {
    Ok(FileState {
        file,
        uin: Uin(whole.uin),
        conversation: ConversationId(fixed(&whole.conversation)?),
        content: fixed(&whole.content)?,
        size: whole.size,
        stored: UnixMillis(whole.stored_ms),
    })
}
