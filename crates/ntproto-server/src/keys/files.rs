//! Files that hold secrets: written whole or not at all, read by their owner only.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// No key file is larger; a larger one is something else.
const MAX_FILE: u64 = 64 * 1024;

/// Why a file of the data directory can't be used. The text says what to do about it.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Create(io::Error),
    Read(io::Error),
    Write(io::Error),
    NotAFolder,
    Exposed(u32),
    NotText,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.what {
            What::Create(e) => write!(f, "can't make {path}: {}", Reason(e)),
            What::Read(e) => write!(f, "can't read {path}: {}", Reason(e)),
            What::Write(e) => write!(f, "can't write {path}: {}", Reason(e)),
            What::NotAFolder => write!(f, "{path} is not a folder: name another as data_dir"),
            What::Exposed(mode) => {
                write!(f, "{path} is open to others (mode {mode:03o}): run `chmod go= {path}`")
            }
            What::NotText => write!(f, "{path} is not a key file: restore it from a backup"),
        }
    }
}

impl std::error::Error for FileError {}

/// An I/O error with its remedy.
struct Reason<'a>(&'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use io::ErrorKind::{NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match self.0.kind() {
            PermissionDenied => f.write_str("no permission; run as its owner, or name another data_dir"),
            ReadOnlyFilesystem => f.write_str("the disk is read-only; name another data_dir"),
            StorageFull | QuotaExceeded => f.write_str("the disk is full; free some space"),
            NotFound => f.write_str("there is no such file or folder"),
            _ => self.0.fmt(f),
        }
    }
}

impl FileError {
    fn new(path: &Path, what: What) -> Self {
        Self { path: path.to_owned(), what }
    }
}

/// Makes the data directory, for its owner only; one that is there must not be writable by others.
pub(crate) fn make_folder(path: &Path) -> Result<(), FileError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => FileError::new(path, What::NotAFolder),
        _ => FileError::new(path, What::Create(e)),
    })?;
    let meta = std::fs::metadata(path).map_err(|e| FileError::new(path, What::Read(e)))?;
    refuse_mode(path, &meta, 0o022)
}

#[cfg(unix)]
fn refuse_mode(path: &Path, meta: &std::fs::Metadata, bits: u32) -> Result<(), FileError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777;
    if mode & bits == 0 { Ok(()) } else { Err(FileError::new(path, What::Exposed(mode))) }
}

#[cfg(not(unix))]
fn refuse_mode(_: &Path, _: &std::fs::Metadata, _: u32) -> Result<(), FileError> {
    Ok(())
}

/// Reads a text that is nobody else's business; `None` if there is no such file.
pub(super) fn read_secret(path: &Path) -> Result<Option<Zeroizing<String>>, FileError> {
    read(path, 0o077)
}

/// Reads a text that others may read, but not write.
pub(super) fn read_public(path: &Path) -> Result<Option<Zeroizing<String>>, FileError> {
    read(path, 0o022)
}

fn read(path: &Path, forbidden: u32) -> Result<Option<Zeroizing<String>>, FileError> {
    let failed = |e| FileError::new(path, What::Read(e));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let meta = file.metadata().map_err(failed)?;
    refuse_mode(path, &meta, forbidden)?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(FileError::new(path, What::NotText));
    }
    // Room for all of it at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|e| {
        drop(Zeroizing::new(e.into_bytes()));
        FileError::new(path, What::NotText)
    })?;
    Ok(Some(Zeroizing::new(text)))
}

/// Writes a file for its owner only: after a crash it holds the old text or the new one.
pub(super) fn write(path: &Path, text: &str) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    replace(path, &new, text).map_err(|e| {
        // What is left of it holds secrets, and a full disk needs the room.
        let _ = std::fs::remove_file(&new);
        FileError::new(path, What::Write(e))
    })
}

fn replace(path: &Path, new: &Path, text: &str) -> io::Result<()> {
    // Whatever a crash left behind, with whatever mode.
    match std::fs::remove_file(new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)?;
    // Only Unix lets a folder be synced; elsewhere the rename itself is journalled.
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Bytes as lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> Zeroizing<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// The bytes of a hexadecimal text.
pub(super) fn unhex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let text = text.as_bytes();
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.chunks_exact(2) {
        out.push(digit(pair[0])? << 4 | digit(pair[1])?);
    }
    Some(out)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_whole_private_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        make_folder(&folder).unwrap();
        make_folder(&folder).unwrap();
        let path = folder.join("x.key");
        std::fs::write(folder.join("x.key.new"), "left by a crash").unwrap();
        assert!(read_secret(&path).unwrap().is_none());
        write(&path, "one").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(read_secret(&path).unwrap().unwrap().as_str(), "two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(!folder.join("x.key.new").exists());
    }

    #[test]
    fn what_others_can_read_is_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.key");
        write(&path, "one").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_secret(&path).unwrap_err().to_string();
        assert!(error.contains("chmod go= "), "{error}");
        assert!(read_public(&path).unwrap().is_some());
        let file = dir.path().join("x.key/sub");
        let error = make_folder(&file).unwrap_err().to_string();
        assert!(error.contains("data_dir"), "{error}");
    }

    #[test]
    fn hex_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)).unwrap().as_slice(), bytes);
        assert_eq!(unhex("0G"), None);
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("Ff").unwrap().as_slice(), [255]);
    }
}
