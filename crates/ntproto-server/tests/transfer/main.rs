//! The client's half of files over real TLS and HTTP/2, against a server of a few lines that loses connections, bytes and tokens.
#![allow(clippy::unwrap_used)]

mod model;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use model::{Model, Trouble};
use ntproto_core::crypto::file::FileKey;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::{ConversationId, FileId, UploadId};
use ntproto_core::rng::Rng;
use ntproto_core::transfer::download::{self, Download};
use ntproto_core::transfer::upload::{Plan, Upload};
use ntproto_core::transfer::{Event, Failure, MAX_CHUNK, Progress};
use ntproto_http::client::trust::Trust;
use ntproto_http::files::{Sink, Source, TransferError, Watch, download, upload};
use ntproto_tokio::Tokio;

/// Some chunks. Such files are not sealed here: without optimization that is slow.
const SIZE: usize = 7_000_000;
/// More than one chunk, sealed.
const SEALED: usize = 1_300_000;

fn plain(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 / 5 % 251) as u8).collect()
}

/// Keeps the last state, as a disk would.
struct Kept<S> {
    state: Arc<Mutex<Option<S>>>,
    progress: Progress,
    events: Vec<Event>,
}

impl<S> Default for Kept<S> {
    fn default() -> Self {
        Self { state: Arc::default(), progress: Progress::default(), events: Vec::new() }
    }
}

impl<S: Clone + Send> Watch<S> for Kept<S> {
    fn save(&mut self, state: &S) -> io::Result<()> {
        *self.state.lock().unwrap() = Some(state.clone());
        Ok(())
    }

    fn progress(&mut self, progress: Progress) {
        assert!(progress.confirmed + progress.moving <= progress.total);
        self.progress = progress;
    }

    fn event(&mut self, event: &Event) {
        self.events.push(event.clone());
    }
}

fn key() -> FileKey {
    FileKey::from_slice(&[5; 32]).unwrap()
}

fn plan(source: &Source) -> Plan {
    Plan {
        upload_id: UploadId([1; 16]),
        conversation: ConversationId([2; 16]),
        size: source.size(),
        sha256: source.hash(&RUSTCRYPTO).unwrap(),
    }
}

async fn fetch(
    model: &Model,
    path: &Path,
    file: FileId,
    plan: Plan,
    key: Option<FileKey>,
    watch: &mut (dyn Watch<ntproto_proto::store::DownloadState> + Send),
) -> Result<(), TransferError> {
    let sink = Arc::new(Sink::open(path, &RUSTCRYPTO, key, plan.size).unwrap());
    let plan = download::Plan { file, size: plan.size, sha256: plan.sha256, unit: sink.unit() };
    download(&Tokio, &model.host(), sink, Download::new(plan, Rng::new([3; 32])), watch).await
}

#[tokio::test]
async fn a_file_goes_there_and_back_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    for len in [0, 1, SEALED] {
        std::fs::write(&from, plain(len)).unwrap();
        let model = Model::start(&[]).await;
        let source = Arc::new(Source::open(&from, &RUSTCRYPTO, Some(&key())).unwrap());
        let plan = plan(&source);
        let mut kept = Kept::default();
        let machine = Upload::new(plan, Rng::new([1; 32]));
        let file = upload(&Tokio, &model.host(), source, machine, &mut kept).await.unwrap();
        assert_eq!(kept.progress, Progress { confirmed: plan.size, total: plan.size, ..Progress::default() });
        let stored = model.stored(file);
        assert_eq!(stored.len() as u64, plan.size);
        if len > 100 {
            assert!(stored[..100] != plain(100), "the server has ciphertext");
            assert!(model.most_under_way() > 1, "one connection carries several chunks at once");
        }
        fetch(&model, &to, file, plan, Some(key()), &mut Kept::default()).await.unwrap();
        assert!(std::fs::read(&to).unwrap() == plain(len));
        std::fs::remove_file(&to).unwrap();
    }
}

#[tokio::test]
async fn breaks_cost_a_chunk_and_a_new_session_needs_a_new_token() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::write(&from, plain(SIZE)).unwrap();
    let troubles = [
        (500_000, Trouble::Cut),
        (2_000_000, Trouble::Kill),
        (3_500_000, Trouble::NewSession),
        (4_000_000, Trouble::Kill),
        (6_000_000, Trouble::Cut),
    ];
    let model = Model::start(&troubles).await;
    let source = Arc::new(Source::open(&from, &RUSTCRYPTO, None).unwrap());
    let plan = plan(&source);
    let mut kept = Kept::default();
    let machine = Upload::new(plan, Rng::new([1; 32]));
    let file = upload(&Tokio, &model.host(), source, machine, &mut kept).await.unwrap();
    assert!(kept.events.iter().any(|event| matches!(event, Event::Resumed { offset } if *offset > 0)));
    let again = model.received() - plan.size;
    assert!(again <= troubles.len() as u64 * MAX_CHUNK, "{again}");
    // The session is told to look at itself, and then asked for its new token.
    assert_eq!(model.refusals(), 1);
    // Whoever refused it may be another one than the session's server: the new one goes elsewhere.
    assert_eq!(model.connections(), 1 + troubles.len());

    model.trouble(&[(1_000_000, Trouble::Cut), (5_000_000, Trouble::NewSession)]);
    fetch(&model, &to, file, plan, None, &mut Kept::default()).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == plain(SIZE));
}

/// Somebody at the server's place who has its former key, or a former instance: every token is refused there.
#[tokio::test]
async fn whoever_refused_a_token_is_not_shown_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::write(&from, plain(10)).unwrap();
    let model = Model::start(&[]).await;
    model.usurp();
    let source = Arc::new(Source::open(&from, &RUSTCRYPTO, None).unwrap());
    let plan = plan(&source);
    let machine = Upload::new(plan, Rng::new([1; 32]));
    let file = upload(&Tokio, &model.host(), source, machine, &mut Kept::default()).await.unwrap();
    assert_eq!((model.refusals(), model.connections()), (1, 2));

    model.usurp();
    fetch(&model, &to, file, plan, None, &mut Kept::default()).await.unwrap();
    assert_eq!((model.refusals(), model.connections()), (2, 4));
    assert!(std::fs::read(&to).unwrap() == plain(10));
}

/// Both ends of a kill: what was saved is gone on with, and what the server has is not sent again.
#[tokio::test]
async fn a_killed_client_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::write(&from, plain(SIZE)).unwrap();
    let model = Model::start(&[]).await;
    let open = || Arc::new(Source::open(&from, &RUSTCRYPTO, None).unwrap());
    let plan = plan(&open());
    let host = model.host();
    let mut kept = Kept::default();
    {
        let machine = Upload::new(plan, Rng::new([1; 32]));
        let mut first = std::pin::pin!(upload(&Tokio, &host, open(), machine, &mut kept));
        loop {
            tokio::select! {
                _ = &mut first => panic!("it is slower than that"),
                () = tokio::task::yield_now() => {}
            }
            if model.received() > 2_500_000 {
                break;
            }
        }
    }
    let state = kept.state.lock().unwrap().take().unwrap();
    let machine = Upload::resume(&state, Rng::new([2; 32])).unwrap();
    let file = upload(&Tokio, &host, open(), machine, &mut kept).await.unwrap();
    assert!(model.received() - plan.size <= MAX_CHUNK);

    let mut got = Kept::default();
    let saved = Arc::clone(&got.state);
    {
        let mut first = std::pin::pin!(fetch(&model, &to, file, plan, None, &mut got));
        loop {
            tokio::select! {
                _ = &mut first => panic!("it is slower than that"),
                () = tokio::task::yield_now() => {}
            }
            if saved.lock().unwrap().is_some() {
                break;
            }
        }
    }
    let state = saved.lock().unwrap().take().unwrap();
    assert!(state.written > 0);
    let served = model.served();
    let sink = Arc::new(Sink::open(&to, &RUSTCRYPTO, None, plan.size).unwrap());
    assert!(sink.holds(state.written).unwrap() && !sink.holds(plan.size + 1_000_000).unwrap());
    let machine = Download::resume(&state, Rng::new([2; 32])).unwrap();
    download(&Tokio, &host, sink, machine, &mut got).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == plain(SIZE));
    // What the first one had asked for may have been on its way still.
    assert!(model.served() - served <= plan.size - state.written + MAX_CHUNK);
}

#[tokio::test]
async fn what_is_not_the_file_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::write(&from, plain(200_000)).unwrap();
    let model = Model::start(&[]).await;
    let source = Arc::new(Source::open(&from, &RUSTCRYPTO, Some(&key())).unwrap());
    let plan = plan(&source);
    let machine = Upload::new(plan, Rng::new([1; 32]));
    let file = upload(&Tokio, &model.host(), source, machine, &mut Kept::default()).await.unwrap();
    // Another file of the same length has the number now; then the number is nobody's.
    model.spoil(file);
    let spoilt = fetch(&model, &to, file, plan, Some(key()), &mut Kept::default()).await;
    assert!(matches!(spoilt, Err(TransferError::Failed(Failure::Mismatch))), "{spoilt:?}");
    let gone = fetch(&model, &to, FileId([9; 16]), plan, Some(key()), &mut Kept::default()).await;
    assert!(matches!(gone, Err(TransferError::Failed(Failure::Gone))), "{gone:?}");

    // A file that is changed while it goes.
    let source = Arc::new(Source::open(&from, &RUSTCRYPTO, Some(&key())).unwrap());
    std::fs::write(&from, plain(100_000)).unwrap();
    let machine = Upload::new(Plan { upload_id: UploadId([8; 16]), ..plan }, Rng::new([1; 32]));
    let changed = upload(&Tokio, &model.host(), source, machine, &mut Kept::default()).await;
    assert!(matches!(changed, Err(TransferError::Changed)), "{changed:?}");
}

/// A server that pins are given of is known by its key; browsers and others are shown another one. A third is not talked to.
#[tokio::test]
async fn a_server_is_known_by_what_it_shows() {
    let model = Model::start(&[]).await;
    let mut host = model.host();
    for (trust, known) in [
        (host.trust.clone(), true),
        (Trust::Certificates(vec![model.web_hash]), true),
        (Trust::Keys(vec![model.web_hash]), false),
        (Trust::Certificates(vec![[0; 32]]), false),
    ] {
        host.trust = trust;
        let connected = ntproto_http::files::Host::connect(&host).await.map(|_| ());
        assert_eq!(connected.is_ok(), known, "{connected:?}");
        assert!(known || connected.unwrap_err().to_string().contains("certificate"));
    }
}
