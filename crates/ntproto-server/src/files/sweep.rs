//! Files and the store's records of them, compared: what nobody knows is removed at the start, before anybody can make new
//! files; what is missing is told to whoever verifies.

use std::collections::BTreeMap;

use ntproto_web::{ContentId, FileError, FileId, FileOp};

use super::{FileStore, Kept};

/// What the store knows of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Uploads, and how many bytes of each are confirmed.
    pub uploads: BTreeMap<FileId, u64>,
    /// Contents, and their bytes.
    pub contents: BTreeMap<ContentId, u64>,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Partial files.
    pub partials: u64,
    /// Contents.
    pub contents: u64,
    /// Bytes of these contents.
    pub bytes: u64,
}

/// Removes what the records do not know of. Nobody may make files meanwhile.
///
/// # Errors
/// The store of files can't be listed, or something in it can't be removed. What was not come to is as it was.
pub fn sweep(files: &dyn FileStore, records: &Records) -> Result<Swept, FileError> {
    let mut orphans = Vec::new();
    files.list(&mut |kept| {
        let known = match kept {
            Kept::Partial(file) => records.uploads.contains_key(&file),
            Kept::Content(content, _) => records.contents.contains_key(&content),
        };
        if !known {
            orphans.push(kept);
        }
        true
    })?;
    let mut swept = Swept::default();
    for orphan in orphans {
        match orphan {
            Kept::Partial(file) => {
                files.perform(FileOp::Discard { file })?;
                swept.partials += 1;
            }
            Kept::Content(content, bytes) => {
                files.perform(FileOp::Delete { content })?;
                swept.contents += 1;
                swept.bytes += bytes;
            }
        }
    }
    Ok(swept)
}

/// What the records have and the store of files has not, or not as long, in words. Of what holds bytes it looks at the length only.
///
/// # Errors
/// The store of files can't be listed.
pub fn compare(files: &dyn FileStore, records: &Records) -> Result<Vec<String>, FileError> {
    let (mut partials, mut contents) = (records.uploads.clone(), records.contents.clone());
    let mut faults = Vec::new();
    files.list(&mut |kept| {
        match kept {
            Kept::Partial(file) => drop(partials.remove(&file)),
            Kept::Content(content, bytes) => {
                if let Some(size) = contents.remove(&content)
                    && size != bytes
                {
                    faults.push(format!("the content {content} has {bytes} bytes instead of {size}"));
                }
            }
        }
        true
    })?;
    // One that nothing was written of has no file yet.
    let missing = partials.into_iter().filter(|(_, offset)| *offset > 0);
    faults.extend(missing.map(|(file, offset)| format!("{offset} bytes of the upload {file} are missing")));
    faults.extend(contents.into_keys().map(|content| format!("the content {content} is missing")));
    Ok(faults)
}
