//! What people reach over HTTP: the connections of HTTPS, the web loop, the store of files. Started with the node, and ended
//! after it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::session::ticket::TicketKey;
use ntproto_core::time::UnixMillis;
use ntproto_drive::Runtime;
use ntproto_drive::https::Https;
use ntproto_drive::runtime::Timer as _;
use ntproto_drive::task::{self, Task};
use ntproto_http::server::{H2, HTTP1, Limits, Server};
use ntproto_hub::store::OpId;
use ntproto_net::{ExchangeId, HttpEvent};
use ntproto_quic::tls::default_provider;
use ntproto_quic::{TlsError, WebCertificate};
use ntproto_tokio::Clock;
use ntproto_web::{Web, Who};
use rustls::ServerConfig as TlsConfig;

use crate::config::{FilesConfig, Place, ServerConfig};
use crate::files::local::LocalFiles;
use crate::files::{FileStore, FilesError};
use crate::http::{self, Means, Post, Posts, ServerTime};
use crate::keys::{Refreshed, WebKeys};
use crate::node::Command;
use crate::store::group::Entrance;

use super::bootstrap::Told;
use super::report::Counters;

/// The folder of files in the data directory.
const FILES: &str = "files";
/// What is under way is finished for at least so long, even when the node took the whole drain timeout.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks at the web certificate.
const RENEWAL: Duration = Duration::from_secs(3600);
/// How long the last offsets may take to be stored once everybody is gone.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Opens the store of files.
pub(super) fn open_files(config: &ServerConfig) -> Result<Arc<dyn FileStore>, FilesError> {
    let FilesConfig { place, sync, .. } = &config.files;
    match place {
        Place::DataDir => Ok(Arc::new(LocalFiles::open(&config.data_dir.join(FILES), *sync)?)),
        Place::Folder(folder) => Ok(Arc::new(LocalFiles::open(folder, *sync)?)),
        #[cfg(feature = "s3")]
        Place::S3 { bucket, prefix } => Ok(Arc::new(crate::files::s3::S3Files::open(bucket, prefix)?)),
        #[cfg(not(feature = "s3"))]
        Place::S3 { .. } => Err(FilesError::Settings(
            "files_dir names an S3 bucket, and this ntp was built without it: build it with --features s3"
                .into(),
        )),
    }
}

/// What the web side is started with.
pub(super) struct Start<R> {
    pub(super) runtime: R,
    pub(super) keys: WebKeys,
    pub(super) told: Told,
    pub(super) files: Arc<dyn FileStore>,
    pub(super) seed: [u8; 32],
    pub(super) clock: Clock,
    /// Server time at this moment.
    pub(super) now: UnixMillis,
    pub(super) store: Entrance,
    pub(super) commands: Sender<Command>,
    pub(super) posts: Posts,
    pub(super) posted: Receiver<Post>,
    pub(super) counters: Arc<Counters>,
}

/// The web side while it runs.
pub(super) struct WebSide<R: Runtime> {
    runtime: R,
    https: Server<R>,
    posts: Posts,
    told: Arc<Told>,
    task: Task<()>,
    drain: Drain<R>,
    /// Dropped, the certificate is renewed no more.
    _renewing: Sender<()>,
}

impl<R: Runtime> WebSide<R> {
    /// Starts it.
    pub(super) fn start(config: &ServerConfig, start: Start<R>) -> Result<Self, TlsError> {
        let Start { runtime, keys, told, files, seed, clock, now, store, commands, posts, posted, counters } =
            start;
        let tls = https_tls(&keys.shown)?;
        let (https, came) = Server::new(runtime.clone(), tls, Limits::default());
        let means = Means {
            runtime: runtime.clone(),
            time: ServerTime::new(clock, now),
            store,
            files,
            commands,
            posts: posts.clone(),
            // One-way: who sees the ids of spans learns nothing of what else grows from the seed.
            seed: RUSTCRYPTO.sha256(&[b"ids of HTTP spans", &seed]),
            tell: Box::new(move |event| counters.web(event)),
        };
        let web = Web::new(config.files.web(), seed).with_origins(config.readers());
        let task = task::spawn(&runtime, http::run(web, means, came, posted));
        let told = Arc::new(told);
        posts.send(Post::Bootstrap(Box::new(told.bootstrap())));
        posts.send(Post::Ready(true));
        let (renewing, end) = async_channel::bounded(1);
        runtime.spawn(renew(runtime.clone(), keys, clock, Arc::clone(&told), posts.clone(), end));
        let drain = Drain { https: https.clone(), posts: posts.clone(), since: Arc::default() };
        Ok(Self { runtime, https, posts, told, task, drain, _renewing: renewing })
    }

    /// Who takes TCP connections that begin as TLS does.
    pub(super) fn acceptor(&self) -> Https<R::Stream> {
        let https = self.https.clone();
        Box::new(move |visitor| https.accept(visitor))
    }

    /// How its end begins.
    pub(super) fn drain(&self) -> Drain<R> {
        self.drain.clone()
    }

    /// What the node brings of HTTP/3.
    pub(super) fn http(&self, exchange: ExchangeId, event: HttpEvent) {
        self.posts.send(Post::Node(exchange, event));
    }

    /// Whose a bearer token is.
    pub(super) fn bearer(&self, op: OpId, who: Option<Who>) {
        self.posts.send(Post::Bearer(op, who));
    }

    /// Tickets are sealed with other keys.
    pub(super) fn tickets(&self, current: &TicketKey, previous: Option<&TicketKey>) {
        self.told.tickets(current, previous);
        self.posts.send(Post::Bootstrap(Box::new(self.told.bootstrap())));
    }

    /// Lets what is under way end, for what is left of `patience` since the drain began.
    pub(super) async fn finish(self, patience: Duration) {
        self.drain.begin();
        let Self { runtime, https, posts, task, drain, .. } = self;
        let since = drain.since.get().map_or(Duration::ZERO, Instant::elapsed);
        drop(drain);
        https.finish(patience.saturating_sub(since).max(LEAST_PATIENCE)).await;
        posts.send(Post::Finish);
        if within(&runtime, LAST_WORK, task.join()).await.is_none() {
            tracing::warn!("some uploads could not be noted in time: their clients send a little more again");
            task.cancel();
        }
    }
}

/// Begins the end of the web side.
pub(super) struct Drain<R> {
    https: Server<R>,
    posts: Posts,
    since: Arc<OnceLock<Instant>>,
}

impl<R: Clone> Clone for Drain<R> {
    fn clone(&self) -> Self {
        Self { https: self.https.clone(), posts: self.posts.clone(), since: Arc::clone(&self.since) }
    }
}

impl<R: Runtime> Drain<R> {
    /// Takes no more requests; what is under way goes on.
    pub(super) fn begin(&self) {
        self.since.get_or_init(Instant::now);
        self.posts.send(Post::Ready(false));
        self.https.drain();
    }
}

/// TLS of HTTPS connections: the same certificate as over HTTP/3.
fn https_tls(shown: &WebCertificate) -> Result<Arc<TlsConfig>, TlsError> {
    let mut tls = TlsConfig::builder_with_provider(default_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown.clone()));
    tls.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    // Whoever comes again shakes hands again, as over QUIC.
    tls.send_tls13_tickets = 0;
    Ok(Arc::new(tls))
}

/// Renews the web certificate when it is time to, until the server ends.
async fn renew<R: Runtime>(
    runtime: R,
    mut keys: WebKeys,
    clock: Clock,
    told: Arc<Told>,
    posts: Posts,
    end: Receiver<()>,
) {
    loop {
        // Ready when it is the end, and nothing else.
        if within(&runtime, RENEWAL, end.recv()).await.is_some() {
            return;
        }
        let now = clock.now().unix;
        let refreshed = runtime.unblock(move || (keys.refresh(now), keys)).await;
        let Some((result, back)) = refreshed else { return };
        keys = back;
        match result {
            Ok(Refreshed { is_other, unkept }) => {
                if is_other {
                    tracing::info!("another web certificate is shown");
                    posts.send(Post::Bootstrap(Box::new(told.bootstrap())));
                }
                if let Some(error) = unkept {
                    tracing::error!(%error, "the web certificate is shown, and not kept for the next start");
                }
            }
            Err(error) => tracing::error!(%error, "the web certificate is not renewed"),
        }
    }
}

/// Where the server is reached over HTTP.
pub(super) fn url(host: &str, port: u16) -> String {
    match (host.contains(':'), port) {
        (true, 443) => format!("https://[{host}]/"),
        (true, _) => format!("https://[{host}]:{port}/"),
        (false, 443) => format!("https://{host}/"),
        (false, _) => format!("https://{host}:{port}/"),
    }
}

async fn within<R: Runtime, T>(
    runtime: &R,
    patience: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let (mut timer, mut future) = (runtime.timer(), pin!(future));
    timer.set(patience);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => timer.poll(cx).map(|()| None),
    })
    .await
}
