//! The node on a runtime: UDP and TCP on one port, one loop, one thread for the store.
//!
//! ```text
//!   sockets ◀─▶ loop(node) ── Store(txn) ──▶ group commit ──▶ redb
//!                  ▲                              │ fsync
//!                  └──────── StoreDone ───────────┘
//! ```
//!
//! Nothing is told to the node as done before its fsync.

mod applications;
mod bootstrap;
mod error;
mod opening;
mod ops;
mod parts;
#[cfg(feature = "qlog")]
mod qlog;
mod report;
mod signals;
mod tasks;
#[cfg(test)]
mod tests;
mod web;

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::dispatch::Outcome as Answer;
use ntproto_core::rng::Rng;
use ntproto_core::time::UnixMillis;
use ntproto_drive::runtime::Timer as _;
use ntproto_drive::task::{self, Task};
use ntproto_drive::{Runtime, Sockets, drive};
use ntproto_hub::store::{OpId, Store, Txn};
use ntproto_sdk::dispatch::Router;
use ntproto_sdk::{ConnectString, EnrolCode};
use ntproto_tokio::{Clock, Socket, Tokio};

use crate::config::ServerConfig;
use crate::files::FileStore;
use crate::http::Posts;
use crate::keys::{self, Identity, KeyError, KeyOptions, WebKeys};
use crate::metrics::Metrics;
use crate::metrics::timed::Timed;
use crate::node::{Command, Effect, Node};
use crate::store::beside::Beside;
use crate::store::group::GroupCommit;
use crate::store::redb::RedbStore;

use applications::Applications;
pub use applications::{PushError, Pusher};
use bootstrap::Told;
pub use error::{RunError, StartError};
use opening::{boot, invitation, is_empty, one, raise_numbers, sweep_files};
use parts::{group_commit, hub_config, node};
use report::Counters;
pub use report::Stats;
pub use signals::Signals;
use web::WebSide;

/// The store's file in the data directory.
pub(crate) const STORE_FILE: &str = "store.redb";
/// A certificate that ends within this is worth a word at the start: nobody here can renew it.
const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the store's thread may take to end once everybody was sent away.
const STORE_END: Duration = Duration::from_secs(10);

/// The server.
pub struct Server;

/// How a server is started, besides its settings.
#[derive(Clone, Default)]
pub struct StartOptions {
    /// The data directory was put back from a backup: see [`Server::start_restored`].
    pub restored: bool,
    /// Who answers packets of the application's. Its handlers run as tasks of the runtime; they may be exchanged
    /// while the server runs.
    pub router: Router,
}

/// A server that runs. Dropping it lets the server run on; see [`shutdown`](Self::shutdown).
pub struct Running {
    /// Where it listens.
    pub local_addr: SocketAddr,
    /// Where its operators find `/metrics`, if anywhere.
    pub ops_addr: Option<SocketAddr>,
    /// What clients find and know it by.
    pub connect_string: ConnectString,
    /// An invitation for one account that may invite others: as long as there is no account, or when
    /// [`ServerConfig::new_invitation`] asks for one.
    pub invitation: Option<EnrolCode>,
    /// Where browsers and other programs reach it: HTTPS on the same port, over TCP and UDP.
    pub https_url: String,
    commands: Sender<Command>,
    counters: Arc<Counters>,
    /// Begins the drain of what is reached over HTTP.
    drain_web: Arc<dyn Fn() + Send + Sync>,
    task: Task<Result<(), RunError>>,
}

impl Server {
    /// Starts a server on the tokio runtime of the caller.
    ///
    /// # Errors
    /// Whatever is wrong with the port, the store or the keys, in one line.
    pub async fn start(config: ServerConfig) -> Result<Running, StartError> {
        Self::start_with(config, StartOptions::default()).await
    }

    /// [`start`](Self::start) for an application with packets of its own.
    ///
    /// ```no_run
    /// use ntproto_sdk::dispatch::{PacketId, Router};
    /// use ntproto_server::config::ServerConfig;
    /// use ntproto_server::run::{Server, StartOptions};
    ///
    /// #[derive(Clone, PartialEq, prost::Message)]
    /// struct Echo {
    ///     #[prost(string, tag = "1")]
    ///     text: String,
    /// }
    ///
    /// async fn serve(config: ServerConfig) -> Result<(), Box<dyn std::error::Error>> {
    ///     let router = Router::new();
    ///     router.register(PacketId(0x8001), |_, echo: Echo| async move { Ok(echo) })?;
    ///     let options = StartOptions { router: router.clone(), ..StartOptions::default() };
    ///     let server = Server::start_with(config, options).await?;
    ///     router.remove(PacketId(0x8001)); // From here on it is answered UNKNOWN_PACKET.
    ///     Ok(server.wait().await?)
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(config: ServerConfig, options: StartOptions) -> Result<Running, StartError> {
        Self::start_on(Tokio, config, options).await
    }

    /// [`start_with`](Self::start_with) on another runtime.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_on<R: Runtime>(
        runtime: R,
        config: ServerConfig,
        options: StartOptions,
    ) -> Result<Running, StartError> {
        start_over(runtime, config, options, |store| Box::new(store), STORE_END)
    }

    /// [`start`](Self::start) on a data directory that was put back from a backup: what was stored since then is
    /// gone, but clients know the numbers it had. New messages get numbers above them, and every ticket is void.
    /// Needed once after a restore; another time does no harm.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_restored(config: ServerConfig) -> Result<Running, StartError> {
        Self::start_with(config, StartOptions { restored: true, ..StartOptions::default() }).await
    }
}

/// [`Server::start_on`], with something around the store.
fn start_over<R: Runtime>(
    runtime: R,
    config: ServerConfig,
    options: StartOptions,
    around: impl FnOnce(RedbStore) -> Box<dyn Store>,
    store_end: Duration,
) -> Result<Running, StartError> {
    let StartOptions { restored, router } = options;
    let (socket, listener) = bind(config.listen).map_err(|e| StartError::Bind(config.listen, e))?;
    let local_addr = socket.local_addr();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| StartError::Entropy(e.to_string()))?;
    let mut rng = Rng::new(seed);
    let clock = Clock::start();
    let now = clock.now();

    // The store first: its lock keeps a second server away from the keys as well.
    keys::make_folder(&config.data_dir).map_err(|e| StartError::Keys(e.into()))?;
    let mut store =
        RedbStore::open(&config.data_dir.join(STORE_FILE), config.store_cache).map_err(StartError::Store)?;
    let names = config.certificate_names();
    let options = KeyOptions {
        dir: &config.data_dir,
        names: &names,
        operator_public: config.operator_public,
        certificate: config.certificate.as_deref(),
        restored,
    };
    let mut identity = keys::load_or_create(options, &RUSTCRYPTO, &mut rng, now.unix)?;
    let mut web_keys = WebKeys::load(&config.data_dir, &names, config.web_files().as_ref(), now.unix)?;
    // Files of native clients come by HTTPS, to the key that they pin.
    web_keys.shown = web_keys.shown.beside(&identity.tls);
    identity.tls = identity.tls.with_web(web_keys.shown.clone()).map_err(KeyError::from)?;
    let files = web::open_files(&config).map_err(StartError::Files)?;
    let boot = boot(&mut store, &mut rng, now.unix)?;
    one(&mut store, Txn::SetRules(config.rules)).map_err(StartError::Boot)?;
    if restored {
        raise_numbers(&mut store, boot.clock)?;
    }
    sweep_files(&store, &*files)?;
    let invitation = if config.new_invitation || is_empty(&mut store)? {
        Some(invitation(&mut store, &mut rng, boot.clock)?)
    } else {
        None
    };

    let (host, port) = config.public_address(local_addr);
    let connect_string = ConnectString {
        host,
        port,
        operator_key: identity.operator,
        tls_pin: identity.pin.0,
        certificate: identity.certificate.clone(),
    };
    say_hello(&config, &identity, local_addr, now.unix);

    let https_url = web::url(&connect_string.host, connect_string.port);
    let told = Told::new(&config, &identity, (&connect_string.host, connect_string.port), &web_keys);
    let node = node(&config, identity, &boot, &socket, &clock, &mut rng)?;
    let (commands, receiver) = async_channel::unbounded();
    let counters = Arc::new(Counters::default());
    let beside = store.beside();
    let timed = Timed { store: around(store), metrics: Arc::clone(&counters.metrics) };
    let ops = ops::start(&runtime, &config, &counters.metrics, &commands)?;
    let (ops_addr, ops) = ops.unzip();
    let (posts, posted) = Posts::new();
    let told_of = (commands.clone(), posts.clone());
    let group = group_commit(&config, Box::new(timed), told_of, Arc::clone(&counters))?;
    let web = WebSide::start(
        &config,
        web::Start {
            runtime: runtime.clone(),
            keys: web_keys,
            told,
            files: Arc::clone(&files),
            seed: rng.array(),
            clock,
            now: boot.clock,
            store: group.entrance(),
            commands: commands.clone(),
            posts,
            posted,
            counters: Arc::clone(&counters),
        },
    )
    .map_err(KeyError::from)?;
    let drain = web.drain();
    let drain_web = Arc::new(move || drain.begin());
    let applications = Applications::new(runtime.clone(), &router, commands.clone(), clock);
    let host = Host {
        runtime: runtime.clone(),
        config,
        socket,
        clock,
        group,
        web,
        files,
        beside,
        counters: Arc::clone(&counters),
        store_end,
        ops,
    };
    let task = task::spawn(&runtime, host.run(node, listener, applications, commands.clone(), receiver));
    Ok(Running {
        local_addr,
        ops_addr,
        connect_string,
        invitation,
        https_url,
        commands,
        counters,
        drain_web,
        task,
    })
}

impl Running {
    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counters.read()
    }

    /// What it counts, for whoever serves or watches on its behalf.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.counters.metrics)
    }

    /// Who tells devices what the application has to say.
    #[must_use]
    pub fn pusher(&self) -> Pusher {
        Pusher(self.commands.clone())
    }

    /// Lets nobody in any more, finishes what is in the store, sends everybody away. Then [`wait`](Self::wait)
    /// returns, at the latest after the drain timeout and a few seconds.
    pub fn drain(&self) {
        // A server that has ended needs none.
        let _ = self.commands.try_send(Command::Drain);
        (self.drain_web)();
    }

    /// Drains and waits for the end.
    ///
    /// # Errors
    /// See [`wait`](Self::wait).
    pub async fn shutdown(self) -> Result<(), RunError> {
        self.drain();
        self.wait().await
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// It did not end as it was asked to: the store or the socket failed.
    pub async fn wait(self) -> Result<(), RunError> {
        ended(&self.task).await
    }

    /// Runs until SIGTERM or SIGINT (elsewhere: Ctrl-C), then drains. A second signal ends it at once.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), or the system takes no signal handlers.
    pub async fn until_signal(self) -> Result<(), RunError> {
        let signals = Signals::listen().map_err(RunError::Signals)?;
        self.until(signals).await
    }

    /// [`until_signal`](Self::until_signal) for signals that are listened for already: whoever tells others that the
    /// server is there listens before, so that none ends it without a drain.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn until(self, mut signals: Signals) -> Result<(), RunError> {
        tokio::select! {
            result = ended(&self.task) => return result,
            name = signals.next() => tracing::info!(signal = name, "draining"),
        }
        self.drain();
        tokio::select! {
            result = ended(&self.task) => result,
            _ = signals.next() => {
                self.task.cancel();
                Err(RunError::Interrupted)
            }
        }
    }
}

async fn ended(task: &Task<Result<(), RunError>>) -> Result<(), RunError> {
    task.join().await.unwrap_or_else(|e| Err(RunError::Panicked(e.to_string())))
}

fn bind(listen: SocketAddr) -> io::Result<(Socket, TcpListener)> {
    ntproto_drive::bind(listen).or_else(|error| match instead(listen, error.kind()) {
        Some(other) => ntproto_drive::bind(other).map_err(|_| error),
        None => Err(error),
    })
}

/// `[::]` means everywhere; on a system without IPv6 that is `0.0.0.0`.
fn instead(listen: SocketAddr, error: io::ErrorKind) -> Option<SocketAddr> {
    let everywhere = matches!(listen.ip(), IpAddr::V6(ip) if ip.is_unspecified());
    // These have nothing to do with IPv6.
    let other = matches!(error, io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied);
    (everywhere && !other).then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, listen.port())))
}

fn say_hello(config: &ServerConfig, identity: &Identity, local: SocketAddr, now: UnixMillis) {
    let data_dir = config.data_dir.display();
    tracing::info!(%local, %data_dir, version = env!("CARGO_PKG_VERSION"), "listening");
    if config.public_host.is_none() && local.ip().is_unspecified() {
        tracing::warn!("the connect string names localhost: set public_host for clients elsewhere");
    }
    if identity.certificate_expires < now + WARN_BEFORE {
        let days = identity.certificate_expires.0.saturating_sub(now.0) / (24 * 3600 * 1000);
        tracing::warn!(days, "the server certificate ends soon: have the operator's key sign another");
    }
    if identity.lacks_pins {
        tracing::warn!("the server certificate names no TLS pin: sign another (ntp keys certify --tls-pin)");
    }
    if config.open_registration {
        tracing::warn!("open registration is on: anybody may make an account");
    }
}

/// What the loop runs with.
struct Host<R: Runtime> {
    runtime: R,
    config: ServerConfig,
    socket: Socket,
    clock: Clock,
    group: GroupCommit,
    web: WebSide<R>,
    files: Arc<dyn FileStore>,
    beside: Beside,
    counters: Arc<Counters>,
    /// How long the store's thread may take to end.
    store_end: Duration,
    /// The operations listener.
    ops: Option<ops::OpsTask>,
}

impl<R: Runtime> Host<R> {
    async fn run(
        self,
        mut node: Node,
        listener: TcpListener,
        mut applications: Applications<R>,
        commands: Sender<Command>,
        receiver: Receiver<Command>,
    ) -> Result<(), RunError> {
        let effects = |effect| self.perform(effect, &commands, &mut applications);
        let https = Some(self.web.acceptor());
        let sockets = Sockets { tcp: Some(listener), https, ..Sockets::from(&self.socket) };
        let runtime = self.runtime.clone();
        let result = drive(runtime, &mut node, sockets, &self.clock, receiver, effects).await;
        let failed = node.store_failed();
        drop(node);
        self.web.finish(self.config.drain_timeout).await;
        let closed = close(&self.runtime, self.group, self.store_end).await;
        self.counters.finish(&self.socket);
        if let Some(ops) = &self.ops {
            ops.cancel();
        }
        result.map_err(RunError::Socket)?;
        if failed {
            return Err(RunError::Store);
        }
        closed?;
        tracing::info!("stopped");
        Ok(())
    }

    fn perform(&self, effect: Effect, commands: &Sender<Command>, applications: &mut Applications<R>) {
        match effect {
            Effect::Store { op, txn, deadline } => {
                let deadline =
                    deadline.map(|at| std::time::Instant::now() + at.saturating_since(self.clock.mono()));
                if let Err(rejected) = self.group.submit(op, txn, deadline) {
                    let _ = commands.try_send(Command::StoreDone(vec![(rejected.op, Err(rejected.why))]));
                }
            }
            Effect::Asks(asks) => applications.ask(asks),
            Effect::Host(ask) => {
                let (beside, dir) = (self.beside.clone(), self.config.data_dir.clone());
                let files = Arc::clone(&self.files);
                let (runtime, commands) = (self.runtime.clone(), commands.clone());
                self.runtime.spawn(async move {
                    let done =
                        runtime.unblock(move || tasks::perform(&beside, &*files, &dir, ask.task)).await;
                    let answer = match done {
                        Some(Ok(answer)) => Answer::Answered(answer.into()),
                        Some(Err(refusal)) => Answer::Refused(refusal),
                        None => Answer::Panicked,
                    };
                    let _ = commands.try_send(Command::HostAnswered(ask.id, answer));
                });
            }
            Effect::Abandoned(ask) => applications.abandon(ask),
            Effect::TicketKeys { current, previous } => {
                self.web.tickets(&current, previous.as_ref());
                let dir = self.config.data_dir.clone();
                // Once a day, and never in the loop's way.
                let save = move || {
                    if let Err(error) = keys::save_ticket_keys(&dir, &current, previous.as_ref()) {
                        tracing::error!(%error, "new ticket keys are not kept: a restart will void tickets");
                    }
                };
                let runtime = self.runtime.clone();
                // It says itself when it fails.
                self.runtime.spawn(async move {
                    let _ = runtime.unblock(save).await;
                });
            }
            Effect::Bearer { op, who } => self.web.bearer(OpId(op), who),
            Effect::Http(exchange, event) => self.web.http(exchange, event),
            Effect::Counted(counts) => self.counters.metrics.node(counts),
            Effect::Event(event) => self.counters.tell(&event),
        }
    }
}

/// Ends the store's thread, which commits what waits. A disk that hangs is not waited for longer.
async fn close(runtime: &impl Runtime, group: GroupCommit, patience: Duration) -> Result<(), RunError> {
    let (done, ended) = async_channel::bounded::<()>(1);
    let thread = std::thread::Builder::new().name("ntproto-close".into()).spawn(move || {
        group.close();
        drop(done);
    });
    match thread {
        Ok(_) => {
            let (mut timer, mut ended) = (runtime.timer(), pin!(ended.recv()));
            timer.set(patience);
            poll_fn(|cx| match ended.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(Ok(())),
                Poll::Pending => timer.poll(cx).map(|()| Err(RunError::Stuck)),
            })
            .await
        }
        // Without a thread the group was dropped, which closed it as well.
        Err(_) => Ok(()),
    }
}
