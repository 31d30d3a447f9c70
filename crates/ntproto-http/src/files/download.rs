//! A download over connections and into a file.

use std::sync::Arc;

use ntproto_core::time::Instant;
use ntproto_core::transfer::download::Download;
use ntproto_core::transfer::{Answer, Ask, AskId, Event, Fault, Input, Output};
use ntproto_drive::Runtime;
use ntproto_proto::store::DownloadState;

use super::run::{Note, Notes, With, Work, run};
use super::sink::{GATHER, NotWritten};
use super::{Host, Sink, TransferError, Watch, dialect};
use crate::client::Incoming;

/// Downloads into `sink` as `download` plans it, whatever breaks. When it returns, the file is whole, verified, and on disk.
///
/// ```no_run
/// use std::sync::Arc;
/// use ntproto_core::crypto::{file::FileKey, rustcrypto::RUSTCRYPTO};
/// use ntproto_core::ids::FileId;
/// use ntproto_core::rng::Rng;
/// use ntproto_core::transfer::download::{Download, Plan};
/// use ntproto_drive::Runtime;
/// use ntproto_http::files::{Host, Sink, TransferError, Watch, download};
/// use ntproto_proto::store::DownloadState;
/// use ntproto_proto::v2::Attachment;
///
/// async fn fetch(
///     runtime: &impl Runtime, host: &impl Host, attachment: &Attachment, seed: [u8; 32], watch: &mut (dyn Watch<DownloadState> + Send),
/// ) -> Result<(), TransferError> {
///     let Ok(sha256) = (*attachment.sha256).try_into() else { return Ok(()) };
///     let Some(file) = FileId::from_slice(&attachment.file) else { return Ok(()) };
///     let key = FileKey::from_slice(&attachment.key); // None: it is not sealed
///     let sink = Arc::new(Sink::open("photo.jpg.part".as_ref(), &RUSTCRYPTO, key, attachment.size)?);
///     let plan = Plan { file, size: attachment.size, sha256, unit: sink.unit() };
///     download(runtime, host, sink, Download::new(plan, Rng::new(seed)), watch).await?;
///     Ok(std::fs::rename("photo.jpg.part", "photo.jpg")?)
/// }
/// ```
///
/// # Errors
/// See [`TransferError`].
pub async fn download<R: Runtime, H: Host>(
    runtime: &R,
    host: &H,
    sink: Arc<Sink>,
    download: Download,
    watch: &mut (dyn Watch<DownloadState> + Send),
) -> Result<(), TransferError> {
    run(runtime, host, |_| Downloading { runtime: runtime.clone(), sink, download, watch }).await
}

struct Downloading<'a, R> {
    runtime: R,
    sink: Arc<Sink>,
    download: Download,
    watch: &'a mut (dyn Watch<DownloadState> + Send),
}

impl<R: Runtime> Work for Downloading<'_, R> {
    fn poll(&mut self, now: Instant) -> Output {
        self.download.poll_output(now)
    }

    fn handle(&mut self, now: Instant, input: Input) {
        self.download.handle(now, input);
    }

    fn begin(&mut self, with: &With<'_>, id: AskId, ask: Ask) -> impl Future<Output = ()> + Send + 'static {
        let exchange = match ask {
            Ask::Range { file, offset, len, etag } => {
                let request = dialect::range(with.base, with.token, file, (offset, len), etag.as_deref());
                request.ok().map(|request| (with.connection.exchange(request), offset, len, etag.is_some()))
            }
            _ => None,
        };
        let (notes, runtime, sink) = (with.notes.clone(), self.runtime.clone(), Arc::clone(&self.sink));
        async move {
            let refused = Fault::Refused("the server's name for the file is no header".into());
            let Some((response, offset, len, conditional)) = exchange else {
                return notes.answer(id, Answer::Fault(refused)).await;
            };
            let begun = match response.await {
                Ok(response) => dialect::begun(response, offset, conditional).await,
                Err(_) => Err(Fault::Lost),
            };
            let fault = match begun {
                Err(fault) => Some(fault),
                Ok((answer, body)) => {
                    notes.answer(id, answer).await;
                    write(&runtime, &sink, &notes, id, (offset, len), body).await
                }
            };
            if let Some(fault) = fault {
                notes.answer(id, Answer::Fault(fault)).await;
            }
        }
    }

    fn verify(&mut self, notes: Notes, id: AskId) -> impl Future<Output = ()> + Send + 'static {
        let (runtime, sink) = (self.runtime.clone(), Arc::clone(&self.sink));
        async move {
            match runtime.unblock(move || sink.hash()).await {
                Some(Ok(hash)) => notes.answer(id, Answer::Hash(hash)).await,
                Some(Err(error)) => notes.tell(Note::Broken(error)).await,
                None => notes.tell(Note::Broken(TransferError::Runtime)).await,
            }
        }
    }

    async fn save(&mut self) -> Result<(), TransferError> {
        let sink = Arc::clone(&self.sink);
        self.runtime.unblock(move || sink.sync()).await.ok_or(TransferError::Runtime)??;
        Ok(self.watch.save(&self.download.state())?)
    }

    fn event(&mut self, event: &Event) {
        self.watch.event(event);
    }

    fn progress(&mut self) {
        self.watch.progress(self.download.progress());
    }
}

/// Writes a range as it comes. A fault: why it is not all there.
async fn write<R: Runtime>(
    runtime: &R,
    sink: &Arc<Sink>,
    notes: &Notes,
    id: AskId,
    (offset, len): (u64, u64),
    mut body: Incoming,
) -> Option<Fault> {
    let (mut writing, mut left) = (sink.writing(offset), len);
    let mut gathered = Vec::with_capacity(GATHER);
    while left > 0 {
        match body.next().await {
            Some(Ok(part)) => {
                // What comes beyond the range was not asked for.
                let part = &part[..part.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                gathered.extend_from_slice(part);
                left -= part.len() as u64;
            }
            Some(Err(_)) | None => return Some(Fault::Lost),
        }
        if gathered.len() < GATHER && left > 0 {
            continue;
        }
        let work = move || {
            let written = writing.write(&gathered);
            gathered.clear();
            (writing, gathered, written)
        };
        let written;
        (writing, gathered, written) = match runtime.unblock(work).await {
            Some(done) => done,
            None => {
                notes.tell(Note::Broken(TransferError::Runtime)).await;
                return None;
            }
        };
        match written {
            Ok(bytes) => notes.tell(Note::Input(Input::Moved(id, bytes))).await,
            Err(NotWritten::Damaged) => return Some(Fault::Mismatch),
            Err(NotWritten::Io(error)) => {
                notes.tell(Note::Broken(error.into())).await;
                return None;
            }
        }
    }
    None
}
