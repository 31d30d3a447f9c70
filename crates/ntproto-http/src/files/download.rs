//! A download over connections and into a file.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::time::Instant;
use ntproto_core::transfer::download::Download;
use ntproto_core::transfer::{Answer, Ask, AskId, Event, Fault, Input, Output};
use ntproto_drive::Runtime;
use ntproto_drive::runtime::Timer;
use ntproto_proto::store::DownloadState;

use super::run::{Note, Notes, With, Work, run};
use super::sink::{GATHER, NotWritten};
use super::{Host, Sink, TransferError, Watch, dialect};
use crate::client::{HttpError, Incoming};

/// What was gathered is written after this, however little it is: over a slow path too something is kept of every minute, and the machine
/// hears of it before it counts the range as lost.
const GATHER_TIME: Duration = Duration::from_secs(5);

/// Downloads into `sink` as `download` plans it, whatever breaks. When it returns, the file is whole, verified, and on disk.
///
/// ```no_run
/// use std::sync::Arc;
/// use ntproto_core::crypto::{file::FileKey, rustcrypto::RUSTCRYPTO};
/// use ntproto_core::ids::FileId;
/// use ntproto_core::rng::Rng;
/// use ntproto_core::transfer::download::{Download, Plan};
/// use ntproto_drive::Runtime;
/// use ntproto_http::files::{Host, Sink, TransferError, Watch, download, place};
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
///     place("photo.jpg.part".as_ref(), "photo.jpg".as_ref(), false).map_err(std::io::Error::other)?;
///     Ok(())
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

    fn confirmed(&self) -> u64 {
        self.download.progress().confirmed
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
    let (mut writing, mut left, mut broke) = (sink.writing(offset), len, false);
    let mut gathered = Vec::with_capacity(GATHER);
    let mut timer = runtime.timer();
    while left > 0 {
        if gathered.is_empty() {
            timer.set(GATHER_TIME);
        }
        let next = next(&mut body, &mut timer, !gathered.is_empty()).await;
        let due = next.is_none();
        match next {
            None => {}
            Some(Some(Ok(part))) => {
                // What comes beyond the range was not asked for.
                let part = &part[..part.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                gathered.extend_from_slice(part);
                left -= part.len() as u64;
            }
            // What came before it is worth keeping.
            Some(_) if !gathered.is_empty() => broke = true,
            Some(_) => return Some(Fault::Lost),
        }
        if gathered.len() < GATHER && left > 0 && !due && !broke {
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
        if broke {
            return Some(Fault::Lost);
        }
    }
    None
}

/// The next part of a body; `None`: it is time, and `hurry` was wanted.
async fn next(
    body: &mut Incoming,
    timer: &mut impl Timer,
    hurry: bool,
) -> Option<Option<Result<Bytes, HttpError>>> {
    let mut next = pin!(body.next());
    poll_fn(|cx| match next.as_mut().poll(cx) {
        Poll::Ready(part) => Poll::Ready(Some(part)),
        Poll::Pending if hurry => timer.poll(cx).map(|()| None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;
    use std::task::{Context, Waker};

    use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;

    use super::super::run::Note;
    use super::super::still::Still;
    use super::*;

    /// Over a path that brings a few kilobytes a second a range is kept bit by bit, and what came before a break as well.
    #[test]
    fn what_was_gathered_is_written_in_time_and_before_a_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part");
        let sink = Arc::new(Sink::open(&path, &RUSTCRYPTO, None, 1_000_000).unwrap());
        let (runtime, (notes, noted)) = (Still::default(), Notes::pair());
        let (parts, body) = async_channel::unbounded();
        let range = (0, 1_000_000);
        let id = AskId(1);
        let mut writing = Box::pin(write(&runtime, &sink, &notes, id, range, Incoming::Parts(body)));
        let mut cx = Context::from_waker(Waker::noop());
        let moved = || match noted.try_recv() {
            Ok(Note::Input(Input::Moved(AskId(1), bytes))) => Some(bytes),
            Ok(_) => panic!("another note"),
            Err(_) => None,
        };
        parts.try_send(Ok(Bytes::from(vec![7; 5_000]))).unwrap();
        assert!(writing.as_mut().poll(&mut cx).is_pending() && moved().is_none());
        assert_eq!(*runtime.set.lock().unwrap(), [GATHER_TIME]);
        runtime.ring.store(true, SeqCst);
        assert!(writing.as_mut().poll(&mut cx).is_pending());
        assert_eq!(moved(), Some(5_000));
        assert_eq!(std::fs::read(&path).unwrap(), [7; 5_000]);
        // A timer that rings over nothing is nothing.
        runtime.ring.store(true, SeqCst);
        assert!(writing.as_mut().poll(&mut cx).is_pending() && moved().is_none());
        parts.try_send(Ok(Bytes::from(vec![8; 1_000]))).unwrap();
        assert!(writing.as_mut().poll(&mut cx).is_pending());
        parts.try_send(Err(HttpError("broken".into()))).unwrap();
        assert!(matches!(writing.as_mut().poll(&mut cx), Poll::Ready(Some(Fault::Lost))));
        assert_eq!(moved(), Some(1_000));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 6_000);
    }
}
