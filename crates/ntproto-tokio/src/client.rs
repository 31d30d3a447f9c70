//! A client on tokio.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ntproto_sdk::{Client, Desk, Lookup, Options, Parts, StartError, assemble};
use ntproto_udp::{Clock, Socket};

use crate::drive;

/// Starts a client in a task of its own. It connects, and stays connected, by itself: see
/// [`Client::online`](ntproto_sdk::Client::online) and [`Client::events`](ntproto_sdk::Client::events).
///
/// ```no_run
/// use ntproto_sdk::{Profile, Uin};
/// use ntproto_tokio::{Clock, connect};
///
/// async fn hello(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
///     let profile = Profile::open(dir)?;
///     let client = connect(profile.options(Clock::start().now().unix)?).await?;
///     client.online().await?;
///     let sent = client.send(Uin(10001), "hello").await?;
///     println!("stored as number {} of its conversation", sent.conv_seq);
///     client.close().await;
///     Ok(())
/// }
/// ```
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(mut options: Options) -> Result<Client, ConnectError> {
    let socket = bind().map_err(ConnectError::Socket)?;
    options.server.quic.mtu_discovery &= !socket.may_fragment();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(ConnectError::Entropy)?;
    let clock = Clock::start();
    let start = move || assemble(options, clock.base(), seed, clock.now());
    let parts = tokio::task::spawn_blocking(start).await.map_err(|_| ConnectError::Shutdown)?;
    let Parts { client, mut driver, commands, mut desk } = parts.map_err(ConnectError::Start)?;
    tokio::spawn(async move {
        let driven = drive(&mut driver, &socket, &clock, commands, |effect| serve(&mut desk, effect)).await;
        if let Err(error) = driven {
            desk.failed(&error);
        }
    });
    Ok(client)
}

fn serve(desk: &mut Desk, effect: ntproto_sdk::driver::Effect) {
    if let Some(lookup) = desk.effect(effect) {
        tokio::spawn(look_up(lookup));
    }
}

async fn look_up(lookup: Lookup) {
    // Not found is an answer too: the client tries again later.
    let found = tokio::net::lookup_host((lookup.host.as_str(), lookup.port)).await;
    let addresses = found.map(Iterator::collect).unwrap_or_default();
    lookup.answer(addresses).await;
}

/// A socket for both families, or for IPv4 where there is no other.
fn bind() -> io::Result<Socket> {
    Socket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))
        .or_else(|_| Socket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))))
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
