//! An upload over connections and out of a file.

use std::sync::Arc;

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use ntproto_core::ids::FileId;
use ntproto_core::time::Instant;
use ntproto_core::transfer::upload::Upload;
use ntproto_core::transfer::{Answer, Ask, AskId, Event, Failure, Fault, Input, Output};
use ntproto_drive::Runtime;
use ntproto_proto::store::UploadState;

use super::run::{Note, Notes, With, Work, run};
use super::{Host, Source, TransferError, Watch, dialect};
use crate::client::Outgoing;

/// Parts that are read ahead of what a connection takes.
const AHEAD: usize = 2;
/// Chunks that wait to be read: those under way, and such as were dropped and are skipped.
const FEEDS: usize = 64;

/// A chunk to be read, sealed, and handed to its request.
struct Feed {
    id: AskId,
    offset: u64,
    len: u64,
    parts: Sender<Bytes>,
}

/// Uploads `source` as `upload` plans it, whatever breaks, and says what the server calls it. To be gone on with in a later
/// run, the plan, the key and the source's [stamp](Source::stamp) must be on disk before this is called.
///
/// ```no_run
/// use std::sync::Arc;
/// use ntproto_core::crypto::{file::FileKey, rustcrypto::RUSTCRYPTO};
/// use ntproto_core::ids::{ConversationId, FileId, UploadId};
/// use ntproto_core::rng::Rng;
/// use ntproto_core::transfer::upload::{Plan, Upload};
/// use ntproto_drive::Runtime;
/// use ntproto_http::files::{Host, Source, TransferError, Watch, upload};
///
/// struct Forgetful;
///
/// impl<S> Watch<S> for Forgetful {
///     fn save(&mut self, _: &S) -> std::io::Result<()> {
///         Ok(()) // A restart begins anew.
///     }
/// }
///
/// async fn send(
///     runtime: &impl Runtime, host: &impl Host, conversation: ConversationId, seed: [u8; 32],
/// ) -> Result<(FileId, FileKey), TransferError> {
///     let mut rng = Rng::new(seed);
///     let key = FileKey::random(&mut rng);
///     let source = Source::open("photo.jpg".as_ref(), &RUSTCRYPTO, Some(&key))?;
///     let (size, sha256) = (source.size(), source.hash(&RUSTCRYPTO)?);
///     let plan = Plan { upload_id: UploadId(rng.array()), conversation, size, sha256 };
///     let file = upload(runtime, host, Arc::new(source), Upload::new(plan, rng), &mut Forgetful).await?;
///     Ok((file, key)) // Both go into an attachment.
/// }
/// ```
///
/// # Errors
/// See [`TransferError`].
pub async fn upload<R: Runtime, H: Host>(
    runtime: &R,
    host: &H,
    source: Arc<Source>,
    upload: Upload,
    watch: &mut (dyn Watch<UploadState> + Send),
) -> Result<FileId, TransferError> {
    let mut file = None;
    let make = |notes: Notes| {
        let (feed, feeds) = async_channel::bounded(FEEDS);
        runtime.spawn(bring(runtime.clone(), source, feeds, notes));
        Uploading { upload, feed, watch, file: &mut file }
    };
    run(runtime, host, make).await?;
    file.ok_or(TransferError::Failed(Failure::Gone))
}

/// Reads one chunk after the other, until nobody wants any more.
async fn bring<R: Runtime>(runtime: R, source: Arc<Source>, feeds: Receiver<Feed>, notes: Notes) {
    while let Ok(Feed { id, offset, len, parts }) = feeds.recv().await {
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let from = Arc::clone(&source);
            let part = match runtime.unblock(move || from.part(at, end)).await {
                Some(Ok(part)) => part,
                Some(Err(error)) => return notes.tell(Note::Broken(error)).await,
                None => return notes.tell(Note::Broken(TransferError::Runtime)).await,
            };
            let bytes = part.len() as u64;
            // A request that was answered, or dropped, wants no more.
            if parts.send(part).await.is_err() {
                break;
            }
            at += bytes;
            notes.tell(Note::Input(Input::Moved(id, bytes))).await;
        }
    }
}

struct Uploading<'a> {
    upload: Upload,
    feed: Sender<Feed>,
    watch: &'a mut (dyn Watch<UploadState> + Send),
    file: &'a mut Option<FileId>,
}

impl Work for Uploading<'_> {
    fn poll(&mut self, now: Instant) -> Output {
        self.upload.poll_output(now)
    }

    fn handle(&mut self, now: Instant, input: Input) {
        self.upload.handle(now, input);
    }

    fn begin(&mut self, with: &With<'_>, id: AskId, ask: Ask) -> impl Future<Output = ()> + Send + 'static {
        let (base, token) = (with.base, with.token);
        let total = self.upload.plan().size;
        let deletes = matches!(ask, Ask::Delete(_));
        let request = match ask {
            Ask::Create => dialect::create(base, token, self.upload.plan()).ok(),
            Ask::Delete(file) => dialect::delete(base, token, file).ok(),
            // A chunk of nothing: of an empty file the creation was all.
            Ask::Offset(file) | Ask::Chunk { file, len: 0, .. } => dialect::offset(base, token, file).ok(),
            Ask::Chunk { file, offset, len } => {
                let (parts, body) = async_channel::bounded(AHEAD);
                // A queue that is full can only be one of dropped chunks; this one is then lost too.
                let _ = self.feed.try_send(Feed { id, offset, len, parts });
                dialect::chunk(base, token, file, (offset, total), Outgoing::parts(len, body)).ok()
            }
            // An upload asks nothing else.
            Ask::Range { .. } | Ask::Verify => None,
        };
        let response = request.map(|request| with.connection.exchange(request));
        let notes = with.notes.clone();
        async move {
            let answer = match response {
                Some(response) => match response.await {
                    Ok(_) if deletes => Answer::Deleted,
                    Ok(response) => dialect::uploaded(response).await,
                    Err(_) => Answer::Fault(Fault::Lost),
                },
                None => Answer::Fault(Fault::Refused("the server's name or the token is no text".into())),
            };
            notes.answer(id, answer).await;
        }
    }

    fn verify(&mut self, notes: Notes, id: AskId) -> impl Future<Output = ()> + Send + 'static {
        never(notes, id)
    }

    async fn save(&mut self) -> Result<(), TransferError> {
        Ok(self.watch.save(&self.upload.state())?)
    }

    fn confirmed(&self) -> u64 {
        self.upload.progress().confirmed
    }

    fn event(&mut self, event: &Event) {
        *self.file = self.upload.file();
        self.watch.event(event);
    }

    fn progress(&mut self) {
        self.watch.progress(self.upload.progress());
    }
}

/// Uploads are verified by the server: nobody asks for this.
async fn never(notes: Notes, id: AskId) {
    notes.answer(id, Answer::Fault(Fault::Lost)).await;
}
