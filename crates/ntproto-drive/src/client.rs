//! A client on a runtime.

use std::fmt;
use std::io;

use ntproto_sdk::{Client, Desk, Errand, Options, Parts, StartError, assemble};
use ntproto_udp::Clock;

use crate::{Runtime, Sockets, client_socket, drive};

/// Starts a client in a task of its own. It connects, and stays connected, by itself: see
/// [`Client::online`](ntproto_sdk::Client::online) and [`Client::events`](ntproto_sdk::Client::events).
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect<R: Runtime>(runtime: R, mut options: Options) -> Result<Client, ConnectError> {
    let socket = client_socket().map_err(ConnectError::Socket)?;
    options.server.quic.mtu_discovery &= !socket.may_fragment();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(ConnectError::Entropy)?;
    let clock = Clock::start();
    let start = move || assemble(options, clock.base(), seed, clock.now());
    let parts = runtime.unblock(start).await.ok_or(ConnectError::Shutdown)?;
    let Parts { client, mut driver, commands, mut desk } = parts.map_err(ConnectError::Start)?;
    let host = runtime.clone();
    runtime.spawn(async move {
        let serve = |effect| serve(&host, &mut desk, effect);
        let sockets = Sockets::from(&socket);
        let driven = drive(host.clone(), &mut driver, sockets, &clock, commands, serve).await;
        if let Err(error) = driven {
            desk.failed(&error);
        }
    });
    Ok(client)
}

fn serve<R: Runtime>(runtime: &R, desk: &mut Desk, effect: ntproto_sdk::driver::Effect) {
    match desk.effect(effect) {
        None => {}
        Some(Errand::Lookup(lookup)) => {
            // Not found is an answer too: the client tries again later.
            let found = R::look_up(lookup.host.clone(), lookup.port);
            runtime.spawn(async move { lookup.answer(found.await).await });
        }
        Some(Errand::Bootstrap(renewal)) => runtime.spawn(renewal.run()),
    }
}

/// Why a client can't start. That the server can't be reached is no such reason: it is tried again.
#[derive(Debug)]
pub enum ConnectError {
    /// There is no UDP socket.
    Socket(io::Error),
    /// The system gives no randomness.
    Entropy(getrandom::Error),
    /// The store can't be used.
    Start(StartError),
    /// The runtime shuts down.
    Shutdown,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => write!(f, "no UDP socket: {error}"),
            Self::Entropy(error) => write!(f, "no randomness from the system: {error}"),
            Self::Start(error) => error.fmt(f),
            Self::Shutdown => f.write_str("the runtime shuts down"),
        }
    }
}

impl std::error::Error for ConnectError {}
