//! What a client is made of.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_channel::Receiver;
use ntproto_core::bootstrap::Bootstrap;
use ntproto_core::client::{self as core, ClientConfig, Credential, StoreError};
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::liveness::{INTERVAL, Jitter};
use ntproto_core::rng::Rng;
use ntproto_core::time::Now;

use super::bootstrap::BootstrapSource;
use super::calls::Calls;
use super::desk::Desk;
use super::events::Queue;
use super::status::Status;
use super::{Client, Inner, Shared};
use crate::bus::Topic;
use crate::driver::{CallId, Command, Driver, Server};
use crate::store::{ClientStore, StoreThread};

/// Commands that wait for the loop. A sender that finds it full waits.
const MAX_COMMANDS: usize = 1024;
/// What goes into the fingerprint beside the device's key.
const FINGERPRINT_CONTEXT: &[u8] = b"ntproto-sdk fingerprint v1";

/// What goes into the handle's random numbers beside the seed, which the core has for itself.
const RANDOM_CONTEXT: &[u8] = b"ntproto-sdk handle v1";

/// What a client is made of.
pub struct Options {
    /// Which server.
    pub server: Server,
    /// The device's keys.
    pub keys: DeviceKeys,
    /// How to come in the first time.
    pub enrol: Option<Credential>,
    /// The local disk.
    pub store: Box<dyn ClientStore>,
    /// What the device list shows; at most 64 bytes.
    pub device_name: String,
    /// The application, as in the bootstrap.
    pub app_id: u32,
    /// Between two heartbeats, unless the server's grant says otherwise.
    pub heartbeat: Duration,
    /// The jitter of reconnects.
    pub jitter: Jitter,
    /// Whether the account is to appear online whenever this device is connected: see
    /// [`Presence::set`](super::Presence::set).
    pub appear_online: bool,
    /// Whether what this client sends begins a trace of its own, where none is given: see [`trace`](crate::trace).
    pub traces: bool,
    /// What a bootstrap has just told, to sign in with; it goes before what `server` says of the server's key.
    pub bootstrap: Option<Bootstrap>,
    /// Where to bootstrap anew. Without, a server whose keys changed is found again over TCP or not at all.
    pub bootstrap_source: Option<Arc<dyn BootstrapSource>>,
    /// The primitives.
    pub provider: &'static dyn CryptoProvider,
}

impl Options {
    /// The usual settings.
    #[must_use]
    pub fn new(server: Server, keys: DeviceKeys, store: Box<dyn ClientStore>) -> Self {
        Self {
            server,
            keys,
            enrol: None,
            store,
            device_name: String::new(),
            app_id: 10001,
            heartbeat: INTERVAL,
            jitter: Jitter::Full,
            appear_online: false,
            traces: false,
            bootstrap: None,
            bootstrap_source: None,
            provider: &RUSTCRYPTO,
        }
    }
}

/// A client, taken apart for an adapter: it runs `driver` with `commands` and hands every effect to `desk`.
pub struct Parts {
    /// The application's handle.
    pub client: Client,
    /// The machine.
    pub driver: Driver,
    /// What is asked of it.
    pub commands: Receiver<Command>,
    /// Who takes its effects.
    pub desk: Desk,
}

/// Why a client can't start.
#[derive(Debug)]
pub enum StartError {
    /// The store can't be read.
    Store(StoreError),
    /// There is no thread for it.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "no thread for the store: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Makes a client. It connects as soon as its driver is run. `base` is the instant that core instant 0 stands
/// for; `seed` must come from the operating system. Reads the store: blocks for as long as that takes.
///
/// # Errors
/// See [`StartError`].
pub fn assemble(
    options: Options,
    base: std::time::Instant,
    seed: [u8; 32],
    now: Now,
) -> Result<Parts, StartError> {
    let Options {
        server,
        keys,
        enrol,
        mut store,
        device_name,
        app_id,
        heartbeat,
        jitter,
        appear_online,
        traces,
        bootstrap,
        bootstrap_source,
        provider,
    } = options;
    // Messages not yet confirmed are read by the event stream, a page at a time.
    let saved = store.load().map_err(StartError::Store)?;
    let generation = store.generation().map_err(StartError::Store)?;
    let config = ClientConfig {
        enrol,
        app_id,
        device_name,
        fingerprint_hash: provider.sha256(&[FINGERPRINT_CONTEXT, keys.signing_public()]),
        heartbeat,
        jitter,
        appear_online,
        bootstrap,
        can_bootstrap: bootstrap_source.is_some(),
        since: server.since,
        operator: Some(server.operator_key),
        server_speaks_first: server.speaks_first,
        transports: server.transports.offered(),
        ..ClientConfig::new(provider, server.static_key, keys.duplicate())
    };
    let (sender, commands) = async_channel::bounded(MAX_COMMANDS);
    let status = Arc::new(Status::new(saved.identity));
    let (weak, closing) = (sender.downgrade(), Arc::clone(&status));
    let done = move |ops, result| {
        // With every handle gone the driver closes, and needs no more answers.
        if let Some(sender) = weak.upgrade() {
            let _ = sender.send_blocking(Command::StoreDone(ops, result));
        }
    };
    let store = StoreThread::spawn(store, done, move || closing.set_closed()).map_err(StartError::Thread)?;
    let shared = Arc::new(Shared {
        calls: Calls::default(),
        events: Arc::new(Queue::default()),
        topic: Topic::new(),
        status,
        store: store.reader(),
        keys,
        deferred: AtomicU64::new(0),
        rng: Mutex::new(Rng::new(provider.sha256(&[RANDOM_CONTEXT, &seed]))),
        provider,
        traces,
    });
    let mut driver = Driver::new(config, server, saved, base, seed, now);
    ntproto_net::Machine::command(&mut driver, now, Command::Call(CallId(0), core::Command::Start));
    let desk = Desk {
        shared: Arc::clone(&shared),
        commands: sender.downgrade(),
        store,
        generation,
        bootstrap: bootstrap_source,
    };
    let client = Client(Arc::new(Inner { commands: sender, shared }));
    Ok(Parts { client, driver, commands, desk })
}
