//! Files in a folder.
//!
//! ```text
//! parts/0123456789abcdef0123456789abcdef      a partial file, by the number of its upload
//! content/ab/cdef…                            a content, by its SHA-256
//! copies/0123456789abcdef0123456789abcdef     a content that is being copied, where the disk has no second names
//! ```
//!
//! A partial file is written in place, at the offset. When it is whole it gets a second name, its content's: no byte is copied,
//! and both names are there until the store's record says which one stands. Every step is durable before it is said to be done,
//! unless the [policy](SyncPolicy) says otherwise: the bytes (fdatasync), and the folder that has the name.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ntproto_sdk::store::watched::is_full;
use ntproto_web::{ContentId, FileError, FileId, FileOp, FileOutcome};
use sha2::{Digest, Sha256};

use super::{FileStore, FilesError, Kept, SyncPolicy, unhex};

/// Partial files that are held open: an error that the disk tells late is told to whoever has the file open. Uploads that are
/// written at one time are fewer; a process may open a thousand files, and most are connections.
pub const MAX_OPEN: usize = 128;
/// Bytes read at a time for a hash.
const BLOCK: usize = 128 * 1024;

/// A folder of files. See the [module](self).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ntproto_server::files::{FileStore as _, SyncPolicy, local::LocalFiles};
/// use ntproto_web::{FileId, FileOp, FileOutcome};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("files");
///
/// let files = LocalFiles::open(&path, SyncPolicy::Always)?;
/// let file = FileId([7; 16]);
/// files.perform(FileOp::Write { file, offset: 0, data: vec!["hello".into()] })?;
/// files.perform(FileOp::Sync { file })?;
/// let hash = files.perform(FileOp::Hash { file, length: 5 })?;
/// assert!(matches!(hash, FileOutcome::Hashed(_)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LocalFiles {
    parts: PathBuf,
    contents: PathBuf,
    copies: PathBuf,
    policy: SyncPolicy,
    open: Mutex<Open>,
    /// Gives a file a second name, where the disk can.
    link: fn(&Path, &Path) -> io::Result<()>,
}

#[derive(Debug, Default)]
struct Open {
    files: BTreeMap<FileId, Partial>,
    /// Counts uses, to find what was not used for longest.
    uses: u64,
}

/// A partial file that is open.
#[derive(Clone, Debug)]
struct Partial {
    file: Arc<File>,
    used: u64,
    /// Its name is not known to be durable.
    is_new: bool,
    /// It could not be made durable when it was closed to make room: the next sync says so.
    failed: bool,
}

impl LocalFiles {
    /// Opens a folder, which is made if need be.
    ///
    /// # Errors
    /// It can't be made or used.
    pub fn open(folder: &Path, policy: SyncPolicy) -> Result<Self, FilesError> {
        let [parts, contents, copies] = ["parts", "content", "copies"].map(|name| folder.join(name));
        let (names, there) = (named(folder), is_there(folder));
        for path in [folder, &parts, &contents, &copies] {
            make_folder(path).map_err(|error| FilesError::Folder(path.to_owned(), error))?;
        }
        let link = |from: &Path, to: &Path| fs::hard_link(from, to);
        let files = Self { parts, contents, copies, policy, open: Mutex::default(), link };
        for path in &names {
            match files.sync_folder(path) {
                // One above it that we may not read was not made by us.
                Err(error) if error.kind() == ErrorKind::PermissionDenied && there && *path != folder => {}
                synced => synced.map_err(|error| FilesError::Folder((*path).to_owned(), error))?,
            }
        }
        files.clear_copies().map_err(|error| FilesError::Folder(files.copies.clone(), error))?;
        Ok(files)
    }

    /// Removes copies that a crash left unfinished.
    fn clear_copies(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.copies)? {
            let entry = entry?;
            // What is not ours is left alone.
            if entry.file_name().to_str().and_then(unhex::<16>).is_some() {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // The map is whole between statements.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self, file: FileId) -> PathBuf {
        self.parts.join(file.to_string())
    }

    /// The folder of a content, and its path.
    fn content(&self, content: ContentId) -> (PathBuf, PathBuf) {
        let name = content.to_string();
        let folder = self.contents.join(&name[..2]);
        let path = folder.join(&name[2..]);
        (folder, path)
    }

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        // Only Unix lets a folder be synced; elsewhere the rename itself is journalled.
        #[cfg(unix)]
        if self.policy == SyncPolicy::Always {
            File::open(folder)?.sync_all()?;
        }
        #[cfg(not(unix))]
        let _ = folder;
        Ok(())
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        if self.policy == SyncPolicy::Always { file.sync_data() } else { Ok(()) }
    }

    /// An open partial file, made if `create`.
    fn partial(&self, id: FileId, create: bool) -> io::Result<Partial> {
        let mut open = self.lock();
        open.uses += 1;
        let used = open.uses;
        if let Some(partial) = open.files.get_mut(&id) {
            partial.used = used;
            return Ok(partial.clone());
        }
        let path = self.part(id);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && create => {
                options.create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                options.open(&path)?
            }
            Err(error) => return Err(error),
        };
        // One that is there may be of a process that ended before its first sync: whether its name is durable nobody knows.
        let partial = Partial { file: Arc::new(file), used, is_new: true, failed: false };
        if open.files.len() >= MAX_OPEN {
            self.close_oldest(&mut open);
        }
        open.files.insert(id, partial.clone());
        Ok(partial)
    }

    /// Makes room for another file. One that is closed is durable: afterwards nobody would hear of its errors. One that can't be
    /// made so stays, and so does one that somebody is at.
    fn close_oldest(&self, open: &mut Open) {
        let idle = |partial: &Partial| !partial.failed && Arc::strong_count(&partial.file) == 1;
        let oldest = open.files.iter().filter(|(_, partial)| idle(partial)).min_by_key(|(_, p)| p.used);
        let Some((&id, partial)) = oldest else { return };
        let synced = self.sync_file(&partial.file);
        let synced =
            synced.and_then(|()| if partial.is_new { self.sync_folder(&self.parts) } else { Ok(()) });
        match (synced, open.files.get_mut(&id)) {
            (Err(error), Some(partial)) => {
                tracing::error!(%error, "a file could not be made durable");
                partial.failed = true;
            }
            _ => drop(open.files.remove(&id)),
        }
    }

    fn write(&self, id: FileId, mut offset: u64, data: &[Bytes]) -> io::Result<()> {
        // Only its first byte makes a file, and none is written behind its end: what is missing would be read as zeros.
        let partial = self.partial(id, offset == 0)?;
        if offset > 0 && partial.file.metadata()?.len() < offset {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        for piece in data {
            write_all_at(&partial.file, piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    fn sync(&self, id: FileId) -> io::Result<()> {
        let partial = self.partial(id, false)?;
        if partial.failed {
            self.lock().files.remove(&id);
            return Err(ErrorKind::Other.into());
        }
        if let Err(error) = self.sync_file(&partial.file) {
            // What the disk holds is not known any more; the next write opens it anew.
            self.lock().files.remove(&id);
            return Err(error);
        }
        if partial.is_new {
            self.sync_folder(&self.parts)?;
            if let Some(partial) = self.lock().files.get_mut(&id) {
                partial.is_new = false;
            }
        }
        Ok(())
    }

    fn cut(&self, id: FileId, length: u64) -> io::Result<()> {
        let partial = match self.partial(id, false) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            partial => partial?,
        };
        if partial.file.metadata()?.len() > length {
            partial.file.set_len(length)?;
            // Nobody is charged for it any more: it must not come back.
            self.sync_file(&partial.file)?;
        }
        Ok(())
    }

    fn hash(&self, id: FileId, length: u64) -> io::Result<[u8; 32]> {
        let mut hash = Sha256::new();
        if length > 0 {
            // A reader of its own: its place is nobody else's.
            let mut file = File::open(self.part(id))?;
            let (mut left, mut block) = (length, vec![0; BLOCK]);
            while left > 0 {
                let n = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
                file.read_exact(&mut block[..n])?;
                hash.update(&block[..n]);
                left -= n as u64;
            }
        }
        Ok(hash.finalize().into())
    }

    fn keep(&self, id: FileId, content: ContentId, length: u64) -> io::Result<()> {
        let (folder, path) = self.content(content);
        match fs::metadata(&path) {
            Ok(there) if there.len() == length => {
                // Whoever made it may not have got so far as to make its name durable.
                self.sync_folder(&self.contents)?;
                return self.sync_folder(&folder);
            }
            Ok(there) => {
                // Contents get their name when they are whole: somebody else cut this one.
                tracing::error!(%content, bytes = there.len(), "a content was damaged; it is replaced");
                fs::remove_file(&path)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let partial = self.partial(id, length == 0)?;
        let there = partial.file.metadata()?.len();
        if there < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if there > length {
            // Written, and never confirmed.
            partial.file.set_len(length)?;
        }
        if self.policy == SyncPolicy::Always {
            partial.file.sync_all()?;
        }
        if !folder.try_exists()? {
            make_folder(&folder)?;
        }
        self.sync_folder(&self.contents)?;
        self.name(id, &path)?;
        self.sync_folder(&folder)
    }

    /// Gives a file its second name; a copy does where the disk has no second names.
    fn name(&self, id: FileId, path: &Path) -> io::Result<()> {
        let part = self.part(id);
        match (self.link)(&part, path) {
            // Two uploads of the same bytes: the other was first.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) if is_full(&error) || error.kind() == ErrorKind::NotFound => Err(error),
            Err(_) => {
                // By the number of the upload: another with the same bytes may be copied beside it.
                let copy = self.copies.join(id.to_string());
                let copied = fs::copy(&part, &copy).and_then(|_| {
                    if self.policy == SyncPolicy::Always {
                        File::open(&copy)?.sync_all()?;
                    }
                    fs::rename(&copy, path)
                });
                if copied.is_err() {
                    // The disk may be full: not longer than need be.
                    let _ = remove(&copy);
                }
                copied
            }
            Ok(()) => Ok(()),
        }
    }

    fn read(&self, content: ContentId, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut file = File::open(self.content(content).1)?;
        // Before there is memory for it.
        if file.metadata()?.len().checked_sub(offset).is_none_or(|rest| rest < length as u64) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        file.seek(SeekFrom::Start(offset))?;
        let mut data = vec![0; length];
        file.read_exact(&mut data)?;
        Ok(data.into())
    }
}

impl FileStore for LocalFiles {
    fn perform(&self, op: FileOp) -> Result<FileOutcome, FileError> {
        let done = |()| FileOutcome::Done;
        let result = match &op {
            FileOp::Write { file, offset, data } => self.write(*file, *offset, data).map(done),
            FileOp::Sync { file } => self.sync(*file).map(done),
            FileOp::Hash { file, length } => self.hash(*file, *length).map(FileOutcome::Hashed),
            FileOp::Keep { file, content, length } => self.keep(*file, *content, *length).map(done),
            FileOp::Read { content, offset, length } => {
                self.read(*content, *offset, *length).map(FileOutcome::Data)
            }
            FileOp::Cut { file, length } => self.cut(*file, *length).map(done),
            FileOp::Discard { file } => {
                self.lock().files.remove(file);
                remove(&self.part(*file)).map(done)
            }
            FileOp::Delete { content } => remove(&self.content(*content).1).map(done),
        };
        result.map_err(|error| match error.kind() {
            // `EFBIG`: a limit of the process or of the disk's format.
            _ if is_full(&error) => FileError::Full,
            ErrorKind::FileTooLarge => FileError::Full,
            ErrorKind::NotFound | ErrorKind::UnexpectedEof => FileError::NotFound,
            _ => {
                tracing::error!(%error, ?op, "the folder of files failed");
                FileError::Io
            }
        })
    }

    fn list(&self, each: &mut dyn FnMut(Kept) -> bool) -> Result<(), FileError> {
        let listed = (|| -> io::Result<()> {
            for entry in fs::read_dir(&self.parts)? {
                let name = entry?.file_name();
                // What is not ours is left alone.
                if let Some(id) = name.to_str().and_then(unhex)
                    && !each(Kept::Partial(FileId(id)))
                {
                    return Ok(());
                }
            }
            for folder in fs::read_dir(&self.contents)? {
                let folder = folder?;
                if !folder.file_type()?.is_dir() {
                    continue;
                }
                for entry in fs::read_dir(folder.path())? {
                    let entry = entry?;
                    let (head, tail) = (folder.file_name(), entry.file_name());
                    let name = head.to_str().zip(tail.to_str()).map(|(head, tail)| format!("{head}{tail}"));
                    if let Some(id) = name.as_deref().and_then(unhex)
                        && !each(Kept::Content(ContentId(id), entry.metadata()?.len()))
                    {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })();
        listed.map_err(|error| {
            tracing::error!(%error, "the folder of files can't be listed");
            FileError::Io
        })
    }
}

/// Where names are to be made durable when a folder is opened: in it, and above it as far as folders are not there yet. One that is
/// there has its own name made durable too: whoever made it may have been cut off before that.
fn named(folder: &Path) -> Vec<&Path> {
    let missing = folder.ancestors().take_while(|path| !is_there(path)).count();
    let names = folder.ancestors().take(missing.max(1) + 1);
    names.map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path }).collect()
}

/// The empty path is where we are: above a relative one there is nothing else.
fn is_there(folder: &Path) -> bool {
    folder.as_os_str().is_empty() || folder.is_dir()
}

/// For its owner only: what people send is nobody else's business.
fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn write_all_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::io::Write as _;
    // For one file there are never two works at once.
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn write(files: &LocalFiles, file: FileId, offset: u64, bytes: &[u8]) -> Result<FileOutcome, FileError> {
        files.perform(FileOp::Write { file, offset, data: vec![bytes.to_vec().into()] })
    }

    /// A disk that has no second names.
    fn unlinked(path: &Path) -> LocalFiles {
        let link = |_: &Path, _: &Path| Err(ErrorKind::Unsupported.into());
        LocalFiles { link, ..LocalFiles::open(path, SyncPolicy::Always).unwrap() }
    }

    #[test]
    fn two_copies_of_one_content_write_over_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = unlinked(folder.path());
        let bytes = vec![7; 3_000_000];
        let (content, length) = (ContentId(Sha256::digest(&bytes).into()), bytes.len() as u64);
        let ids: Vec<FileId> = (0..8).map(|n| FileId([n; 16])).collect();
        for id in &ids {
            assert_eq!(write(&files, *id, 0, &bytes), Ok(FileOutcome::Done));
        }
        // Whoever says that it is kept, the content is whole from then on.
        let kept = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for id in &ids {
                scope.spawn(|| {
                    let keep = files.keep(*id, content, length);
                    keep.unwrap();
                    kept.fetch_add(1, Ordering::SeqCst);
                    for _ in 0..20 {
                        let read = files.read(content, 0, bytes.len()).unwrap();
                        assert!(read == bytes);
                    }
                });
            }
        });
        assert_eq!(kept.into_inner(), ids.len());
        assert_eq!(fs::read_dir(&files.copies).unwrap().count(), 0);
    }

    /// A listing in the middle of a copy takes nothing away; the next start does.
    #[test]
    fn copies_are_removed_at_the_start_only() {
        let folder = tempfile::tempdir().unwrap();
        let files = unlinked(folder.path());
        let half = files.copies.join(FileId([3; 16]).to_string());
        fs::write(&half, "half").unwrap();
        fs::write(files.copies.join("notes.txt"), "mine").unwrap();
        files.list(&mut |_| true).unwrap();
        assert!(half.exists());
        let files = unlinked(folder.path());
        assert!(!half.exists() && files.copies.join("notes.txt").exists());
    }

    /// What is missing is missing, and no zeros.
    #[test]
    fn nothing_is_written_behind_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let files = LocalFiles::open(folder.path(), SyncPolicy::Always).unwrap();
        let file = FileId([1; 16]);
        assert_eq!(write(&files, file, 5, b"behind"), Err(FileError::NotFound));
        assert!(!files.part(file).exists());
        assert_eq!(write(&files, file, 0, b"hello"), Ok(FileOutcome::Done));
        assert_eq!(write(&files, file, 6, b"behind"), Err(FileError::NotFound));
        assert_eq!(write(&files, file, 5, b", you"), Ok(FileOutcome::Done));
        let cut = |length| files.perform(FileOp::Cut { file, length });
        assert_eq!(
            (cut(7), fs::read(files.part(file)).unwrap()),
            (Ok(FileOutcome::Done), b"hello, ".to_vec())
        );
        assert_eq!((cut(70), fs::read(files.part(file)).unwrap().len()), (Ok(FileOutcome::Done), 7));
        assert_eq!(files.perform(FileOp::Cut { file: FileId([2; 16]), length: 0 }), Ok(FileOutcome::Done));
    }

    /// One that an earlier process made, and did not live to sync.
    #[test]
    fn a_name_that_was_found_is_made_durable_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileId([1; 16]);
        let is_new = |files: &LocalFiles| files.lock().files[&file].is_new;
        let files = LocalFiles::open(folder.path(), SyncPolicy::Always).unwrap();
        write(&files, file, 0, b"hello").unwrap();
        drop(files);
        let files = LocalFiles::open(folder.path(), SyncPolicy::Always).unwrap();
        write(&files, file, 5, b"hello").unwrap();
        assert!(is_new(&files));
        files.perform(FileOp::Sync { file }).unwrap();
        assert!(!is_new(&files));
    }

    /// A name is durable when the folder that has it is.
    #[test]
    fn names_of_new_folders_are_made_durable_up_to_one_that_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let below = |name: &str| folder.path().join(name);
        let names = |path: &Path| named(path).into_iter().map(Path::to_owned).collect::<Vec<_>>();
        assert_eq!(
            names(&below("a/b/files")),
            [below("a/b/files"), below("a/b"), below("a"), folder.path().to_owned()]
        );
        assert_eq!(names(&below("files")), [below("files"), folder.path().to_owned()]);
        make_folder(&below("a/b")).unwrap();
        assert_eq!(names(&below("a/b")), [below("a/b"), below("a")], "one that is there");
        // From where we are, where nothing is called so.
        let relative = |path: &'static str| named(Path::new(path));
        let expected = ["not-there/a/files", "not-there/a", "not-there", "."];
        assert_eq!(relative("not-there/a/files"), expected.map(Path::new));
        assert_eq!(relative("not-there"), ["not-there", "."].map(Path::new));
        assert_eq!(relative("src"), ["src", "."].map(Path::new));
        assert_eq!(relative(""), ["."].map(Path::new));
    }

    /// Folders above the one that is opened are made with it, and one that is opened is opened again.
    #[test]
    fn a_folder_is_made_with_those_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/files");
        for _ in 0..2 {
            LocalFiles::open(&path, SyncPolicy::Always).unwrap();
            assert!(path.join("copies").is_dir());
        }
    }
}
