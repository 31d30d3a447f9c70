//! What a server is made of, by its settings: the node, and the store's thread.

use std::sync::Arc;

use async_channel::Sender;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::TicketSealer;
use ntproto_hub::store::Store;
use ntproto_hub::store::txn::Boot;
use ntproto_hub::{Hub, HubConfig, HubKeys};
use ntproto_net::Endpoint;
use ntproto_net::tcp::gate::TcpLimits;
use ntproto_quic::{EndpointConfig, Limits};
use ntproto_tokio::{Clock, Socket};

use super::StartError;
use super::report::Counters;
use crate::config::ServerConfig;
use crate::http::{self, Post, Posts};
use crate::keys::Identity;
use crate::node::{Command, Node};
use crate::store::group::{self, GroupCommit};

/// The machine: transports and hub.
pub(super) fn node(
    config: &ServerConfig,
    identity: Identity,
    boot: &Boot,
    socket: &Socket,
    clock: &Clock,
    rng: &mut Rng,
) -> Result<Node, StartError> {
    #[cfg(feature = "qlog")]
    let qlog = super::qlog::of(config, clock)?;
    #[cfg(not(feature = "qlog"))]
    if config.qlog_dir.is_some() {
        return Err(StartError::Qlog(std::io::ErrorKind::Unsupported.into()));
    }
    let endpoint = EndpointConfig {
        #[cfg(feature = "qlog")]
        qlog,
        limits: Limits {
            max_connections: config.max_connections,
            retry_above: config.retry_above,
            max_half_open: config.max_half_open,
            ..Limits::default()
        },
        mtu_discovery: !socket.may_fragment(),
        reset_key: Some(identity.reset),
        ..EndpointConfig::server(identity.tls)
    };
    let (current, previous) = identity.tickets;
    let keys = HubKeys {
        provider: &RUSTCRYPTO,
        server: Arc::new(identity.server_keys),
        tickets: TicketSealer::new(&RUSTCRYPTO, current, previous),
    };
    let hub = Hub::new(hub_config(config), boot, keys, rng.array(), clock.now());
    let tcp = TcpLimits {
        max_streams: config.max_connections,
        max_half_open: config.max_half_open,
        burst: config.tcp_burst,
        rate: config.tcp_rate,
    };
    let mut net = Endpoint::new(endpoint, tcp, clock.base(), rng.array());
    net.serve_web(config.http3());
    Ok(Node::new(net, hub))
}

/// The hub's part of the settings.
pub(super) fn hub_config(config: &ServerConfig) -> HubConfig {
    HubConfig {
        open_registration: config.open_registration,
        require_bootstrap: config.require_bootstrap,
        ticket_lifetime: config.ticket_lifetime,
        ticket_cap: config.session_lifetime,
        heartbeat: config.heartbeat,
        max_body: config.max_message,
        max_connections: config.max_connections,
        drain_timeout: config.drain_timeout,
        max_waiting: config.max_waiting,
        auth_rate: config.auth.limit(),
        device_messages: config.message.limit(),
        device_requests: config.request.limit(),
        conversation_messages: config.conversation.limit(),
        ..HubConfig::default()
    }
}

/// Starts the store's thread. What it tells needs no bound of its own: the hub bounds what it asks.
pub(super) fn group_commit(
    config: &ServerConfig,
    store: Box<dyn Store>,
    (commands, posts): (Sender<Command>, Posts),
    counters: Arc<Counters>,
) -> Result<GroupCommit, StartError> {
    let hub = hub_config(config);
    // One for each exchange, and some that the web machine has of its own.
    let web = 2 * config.files.web().max_exchanges;
    // Twice what the hub asks for at once: what is refused then is refused because the thread is gone.
    let limits = group::Limits {
        queue: 2 * hub.max_ops + web,
        queue_bytes: 2 * hub.max_op_bytes,
        ..group::Limits::default()
    };
    let done = move |completions: Vec<group::Completion>| {
        counters.committed(&completions);
        let (web, node): (Vec<_>, Vec<_>) = completions.into_iter().partition(|(op, _)| http::is_web(*op));
        if !web.is_empty() {
            posts.send(Post::Stored(web));
        }
        if !node.is_empty() {
            // The loop has ended: nobody waits for this.
            let _ = commands.try_send(Command::StoreDone(node));
        }
    };
    GroupCommit::start(store, limits, Box::new(done)).map_err(StartError::Thread)
}
