//! Files in a store that speaks S3.
//!
//! ```text
//! PREFIX/parts/0123456789abcdef0123456789abcdef/00000000000fa000      bytes of a partial file, from that offset on
//! PREFIX/content/ab/cdef…                                             a content, by its SHA-256
//! ```
//!
//! Objects are written whole or not at all, and can't be written on. So what is written of a partial file waits in memory
//! until it is to be made durable; then it is an object of its own, named by its offset. Nothing else is known of it, so a restart
//! needs no memory of it: what was not made durable is not there. When the file is whole, its parts are put together by a multipart upload, which
//! appears at once when it is complete.
//!
//! | module | is |
//! | --- | --- |
//! | this one | the bucket |
//! | [`waiting`] | what waits in memory, and how much may |

pub mod waiting;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use bytes::{Bytes, BytesMut};
use ntproto_web::{ContentId, FileError, FileId, FileOp, FileOutcome};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt as _};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::{FileStore, FilesError, Kept, unhex};
use waiting::{ROOM_TIME, Took, Waiting};

/// Bytes of a part of a multipart upload: S3 takes no less than 5 MiB but for the last, and no more than 10,000 parts, which is 80 GiB.
pub const PART: usize = 8 << 20;
/// Bytes read at a time when parts are put together or hashed.
pub const BLOCK: u64 = 8 << 20;
/// Files that are put together or hashed at one time: each holds a block and up to two parts.
pub const MAX_ASSEMBLING: usize = 4;
/// Threads of the store's own runtime: they wait for the network.
pub const THREADS: usize = 2;
/// Names of a listing that are on their way to whoever listens.
const LISTED: usize = 256;

/// A bucket, or a part of one.
///
/// Its network runs on threads of its own, and its calls wait for them as for a disk: they may be made on any thread of any runtime,
/// and it may be dropped there.
pub struct S3Files {
    bucket: Arc<Bucket>,
    /// There until the drop.
    runtime: Option<Runtime>,
}

struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    waiting: Waiting,
    assembling: Semaphore,
}

impl fmt::Debug for S3Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Files").field("prefix", &self.bucket.prefix).finish_non_exhaustive()
    }
}

impl Drop for S3Files {
    fn drop(&mut self) {
        // Nothing is under way: calls wait for what they began. Waiting for the threads here would panic on a thread of a runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Result<T, E = Failed> = std::result::Result<T, E>;

/// Why something was not done.
enum Failed {
    Store(Error),
    /// What is there is shorter than what was asked for.
    Short,
    /// Something that was taken could not be made durable.
    Lost,
    /// There is no room in memory.
    NoRoom,
    /// The work panicked.
    Panicked,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Failed {
    fn told(self, what: &str) -> FileError {
        match self {
            Self::Short | Self::Store(Error::NotFound { .. }) => FileError::NotFound,
            Self::Store(error) => {
                tracing::error!(%error, op = what, "the store of files failed");
                FileError::Io
            }
            // What failed was told then.
            Self::Lost => FileError::Io,
            Self::NoRoom => {
                tracing::warn!(op = what, "the store of files is slower than what comes");
                FileError::Busy
            }
            Self::Panicked => {
                tracing::error!(op = what, "the store of files panicked");
                FileError::Io
            }
        }
    }
}

impl S3Files {
    /// Opens a bucket. Who we are and where it is comes from the environment, as other programs have it: `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`.
    ///
    /// # Errors
    /// Something of that is missing or wrong, or the bucket can't be listed.
    pub fn open(bucket: &str, prefix: &str) -> Result<Self, FilesError> {
        // One that is no text is none of ours.
        let ours = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::open_with(bucket, prefix, ours)
    }

    /// [`open`](Self::open) with these variables in place of the environment.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        bucket: &str,
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, FilesError> {
        let mut builder = AmazonS3Builder::new();
        for (name, value) in variables {
            let name = name.to_ascii_lowercase();
            if name.starts_with("aws_")
                && let Ok(key) = name.parse()
            {
                builder = builder.with_config(key, value);
            }
        }
        let store = builder
            .with_bucket_name(bucket)
            .build()
            .map_err(|error| FilesError::Settings(format!("files_dir = s3://{bucket}: {error}")))?;
        Self::over(Arc::new(store), prefix)
    }

    fn over(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self, FilesError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("ntproto-s3")
            .enable_all()
            .build()
            .map_err(|error| FilesError::Refused(format!("no threads: {error}")))?;
        let bucket = Bucket {
            store,
            prefix: Path::from(prefix),
            waiting: Waiting::default(),
            assembling: Semaphore::new(MAX_ASSEMBLING),
        };
        let files = Self { bucket: Arc::new(bucket), runtime: Some(runtime) };
        // Whoever may not list it learns so now.
        let probe = files.run(|bucket| async move {
            bucket.store.list_with_delimiter(Some(&bucket.prefix)).await.map(drop).map_err(Failed::from)
        });
        match probe {
            Ok(()) => Ok(files),
            Err(Failed::Store(error)) => Err(FilesError::Refused(error.to_string())),
            Err(_) => Err(FilesError::Refused("it can't be listed".to_owned())),
        }
    }

    /// Does work on the store's threads and waits for it, wherever this is called: a runtime lets nobody wait for another on its threads.
    fn run<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Bucket>) -> F,
    ) -> Result<T> {
        self.begin(work).recv().unwrap_or(Err(Failed::Panicked))
    }

    /// Begins it; what comes of it is told there.
    fn begin<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Bucket>) -> F,
    ) -> mpsc::Receiver<Result<T>> {
        let (tell, told) = mpsc::sync_channel(1);
        if let Some(runtime) = &self.runtime {
            let work = work(Arc::clone(&self.bucket));
            runtime.spawn(async move {
                // Nobody stops waiting.
                let _ = tell.send(work.await);
            });
        }
        told
    }
}

impl Bucket {
    fn parts(&self, file: FileId) -> Path {
        self.prefix.clone().join("parts").join(file.to_string())
    }

    fn content(&self, content: ContentId) -> Path {
        let name = content.to_string();
        self.prefix.clone().join("content").join(&name[..2]).join(&name[2..])
    }

    async fn write(&self, file: FileId, offset: u64, data: Vec<Bytes>) -> Result<()> {
        let until = Instant::now() + ROOM_TIME;
        loop {
            let room = self.waiting.room.notified();
            match self.waiting.take(file, offset, &data) {
                Took::Yes => return Ok(()),
                Took::Lost => return Err(Failed::Lost),
                Took::Flush => self.flush(file).await?,
                Took::Cut => self.go_back(file, offset).await?,
                _ if Instant::now() >= until => return Err(Failed::NoRoom),
                Took::NoRoom(Some(other)) => drop(self.flush(other).await),
                Took::NoRoom(None) => drop(timeout_at(until, room).await),
            }
        }
    }

    /// Drops what lies at the offset or behind it, in memory and in the bucket.
    async fn go_back(&self, file: FileId, offset: u64) -> Result<()> {
        // Nothing becomes a part meanwhile: it might begin behind the cut.
        let turn = self.waiting.turn(file);
        let _turn = match &turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        self.cut(file, offset).await?;
        while !self.waiting.begin(file, offset) {
            let other = self.waiting.largest().ok_or(Failed::NoRoom)?;
            // Its own sync tells of its errors.
            let _ = self.flush(other).await;
        }
        Ok(())
    }

    /// Makes durable what waits.
    async fn flush(&self, file: FileId) -> Result<()> {
        let Some(turn) = self.waiting.turn(file) else { return Ok(()) };
        // Whoever comes second has to wait for the first: what it flushes is on its way.
        let _turn = turn.lock().await;
        let Some(part) = self.waiting.part(file) else { return Ok(()) };
        let name = self.parts(file).join(format!("{:016x}", part.offset));
        if let Err(error) = self.store.put(&name, part.data.clone().into()).await {
            self.waiting.lose(file, part.offset);
            return Err(error.into());
        }
        Ok(())
    }

    /// Makes durable what was written. What could not be, whoever tried, is an error until it is written again.
    async fn sync(&self, file: FileId) -> Result<()> {
        let flushed = self.flush(file).await;
        let lost = self.waiting.tell_lost(file);
        flushed?;
        if lost { Err(Failed::Lost) } else { Ok(()) }
    }

    async fn assembling(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.assembling.acquire().await.ok()
    }

    /// Removes parts that begin at an offset or behind it.
    async fn cut(&self, file: FileId, from: u64) -> Result<()> {
        for (offset, _) in self.segments(file).await? {
            if offset >= from {
                self.remove(&self.parts(file).join(format!("{offset:016x}"))).await?;
            }
        }
        Ok(())
    }

    /// What is durable of a file: offsets and lengths, in order. Where one ends behind the beginning of the next, the next is newer.
    async fn segments(&self, file: FileId) -> Result<Vec<(u64, u64)>> {
        let listed = self.store.list_with_delimiter(Some(&self.parts(file))).await?;
        let mut segments: Vec<(u64, u64)> = listed
            .objects
            .iter()
            .filter_map(|object| {
                let offset: [u8; 8] = unhex(object.location.filename()?)?;
                Some((u64::from_be_bytes(offset), object.size))
            })
            .collect();
        segments.sort_unstable();
        Ok(segments)
    }

    /// Gives `take` the first `length` bytes of a partial file, a block at a time.
    async fn each<F: Future<Output = Result<()>>>(
        &self,
        file: FileId,
        length: u64,
        mut take: impl FnMut(Bytes) -> F,
    ) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        let segments = self.segments(file).await?;
        let mut at = 0;
        for (n, (offset, size)) in segments.iter().enumerate() {
            let next = segments.get(n + 1).map_or(u64::MAX, |(next, _)| *next);
            let end = (offset + size).min(next).min(length);
            if *offset > at {
                break;
            }
            let name = self.parts(file).join(format!("{offset:016x}"));
            while at < end {
                let to = end.min(at + BLOCK);
                let block = self.store.get_range(&name, at - offset..to - offset).await?;
                if block.len() as u64 != to - at {
                    return Err(Failed::Short);
                }
                take(block).await?;
                at = to;
            }
        }
        if at == length { Ok(()) } else { Err(Failed::Short) }
    }

    async fn hash(&self, file: FileId, length: u64) -> Result<[u8; 32]> {
        self.flush(file).await?;
        let _one = self.assembling().await;
        let mut hash = Sha256::new();
        self.each(file, length, |block| {
            hash.update(&block);
            std::future::ready(Ok(()))
        })
        .await?;
        Ok(hash.finalize().into())
    }

    async fn keep(&self, file: FileId, content: ContentId, length: u64) -> Result<()> {
        self.flush(file).await?;
        let _one = self.assembling().await;
        let name = self.content(content);
        match self.store.head(&name).await {
            Ok(there) if there.size == length => return Ok(()),
            // One of another length is replaced.
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if length <= PART as u64 {
            let whole = Mutex::new(BytesMut::new());
            self.each(file, length, |block| {
                whole.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&block);
                std::future::ready(Ok(()))
            })
            .await?;
            let whole = whole.into_inner().unwrap_or_else(PoisonError::into_inner).freeze();
            self.store.put(&name, whole.into()).await?;
            return Ok(());
        }
        let mut upload = self.store.put_multipart(&name).await?;
        match self.assemble(&mut *upload, file, length).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // The bucket's own rule ends what can't be ended now.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    async fn assemble(&self, upload: &mut dyn MultipartUpload, file: FileId, length: u64) -> Result<()> {
        // One at a time: memory is bounded, and so is what the peer is asked for.
        let upload = tokio::sync::Mutex::new((upload, BytesMut::with_capacity(PART)));
        self.each(file, length, |block| {
            let upload = &upload;
            async move {
                let mut guard = upload.lock().await;
                let (upload, part) = &mut *guard;
                part.extend_from_slice(&block);
                while part.len() >= PART {
                    let whole = part.split_to(PART).freeze();
                    upload.put_part(whole.into()).await?;
                }
                Ok(())
            }
        })
        .await?;
        let (upload, part) = upload.into_inner();
        if !part.is_empty() {
            upload.put_part(part.freeze().into()).await?;
        }
        upload.complete().await?;
        Ok(())
    }

    async fn read(&self, content: ContentId, offset: u64, length: usize) -> Result<Bytes> {
        let name = self.content(content);
        let end = offset.checked_add(length as u64).ok_or(Failed::Short)?;
        if length == 0 {
            let there = self.store.head(&name).await?;
            return if offset <= there.size { Ok(Bytes::new()) } else { Err(Failed::Short) };
        }
        match self.store.get_range(&name, offset..end).await {
            Ok(data) if data.len() == length => Ok(data),
            Ok(_) => Err(Failed::Short),
            Err(error @ Error::NotFound { .. }) => Err(error.into()),
            // A range behind the end is an error like any other.
            Err(error) => match self.store.head(&name).await {
                Ok(there) if there.size < end => Err(Failed::Short),
                _ => Err(error.into()),
            },
        }
    }

    async fn discard(&self, file: FileId) -> Result<()> {
        self.waiting.forget(file);
        self.cut(file, 0).await
    }

    /// Removes an object that may not be there.
    async fn remove(&self, name: &Path) -> Result<()> {
        match self.store.delete(name).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Names what is there, until nobody listens.
    async fn list(&self, names: async_channel::Sender<Kept>) -> Result<()> {
        let parts = self.store.list_with_delimiter(Some(&self.prefix.clone().join("parts"))).await?;
        for folder in parts.common_prefixes {
            if let Some(id) = folder.filename().and_then(unhex)
                && names.send(Kept::Partial(FileId(id))).await.is_err()
            {
                return Ok(());
            }
        }
        let folders = self.store.list_with_delimiter(Some(&self.prefix.clone().join("content"))).await?;
        for folder in folders.common_prefixes {
            for object in self.store.list_with_delimiter(Some(&folder)).await?.objects {
                let name = folder.filename().zip(object.location.filename());
                let name = name.map(|(head, tail)| format!("{head}{tail}"));
                if let Some(id) = name.as_deref().and_then(unhex)
                    && names.send(Kept::Content(ContentId(id), object.size)).await.is_err()
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn perform(&self, op: FileOp) -> Result<FileOutcome> {
        let done = |()| FileOutcome::Done;
        match op {
            FileOp::Write { file, offset, data } => self.write(file, offset, data).await.map(done),
            FileOp::Sync { file } => self.sync(file).await.map(done),
            FileOp::Hash { file, length } => self.hash(file, length).await.map(FileOutcome::Hashed),
            FileOp::Keep { file, content, length } => self.keep(file, content, length).await.map(done),
            FileOp::Read { content, offset, length } => {
                self.read(content, offset, length).await.map(FileOutcome::Data)
            }
            FileOp::Cut { file, length } => {
                // What lies behind is given up, whether or not that can be done now.
                self.waiting.tell_lost(file);
                self.go_back(file, length).await.map(done)
            }
            FileOp::Discard { file } => self.discard(file).await.map(done),
            FileOp::Delete { content } => self.remove(&self.content(content)).await.map(done),
        }
    }
}

impl FileStore for S3Files {
    fn perform(&self, op: FileOp) -> std::result::Result<FileOutcome, FileError> {
        let words = format!("{op:?}");
        self.run(|bucket| async move { bucket.perform(op).await }).map_err(|failed| failed.told(&words))
    }

    fn list(&self, each: &mut dyn FnMut(Kept) -> bool) -> std::result::Result<(), FileError> {
        let (names, heard) = async_channel::bounded(LISTED);
        let told = self.begin(|bucket| async move { bucket.list(names).await });
        while let Ok(kept) = heard.recv_blocking() {
            if !each(kept) {
                break;
            }
        }
        // Whoever still lists hears that nobody listens.
        drop(heard);
        told.recv().unwrap_or(Err(Failed::Panicked)).map_err(|failed| {
            failed.told("list");
            FileError::Io
        })
    }
}
