//! ntproto on smol: [`connect`] starts a client, [`drive`] runs any [`Machine`].
//!
//! The loop itself is `ntproto_drive`'s; here stands what is smol's about it.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod runtime;

use std::io;

use async_channel::Receiver;
use ntproto_net::Machine;
use ntproto_sdk::{Client, Options};

pub use ntproto_drive::{ConnectError, Sockets};
pub use ntproto_udp::{Clock, Socket};
pub use runtime::{Alarm, Smol, Watch};

/// Starts a client in a task of the global executor. It connects, and stays connected, by itself: see
/// [`Client::online`](ntproto_sdk::Client::online) and [`Client::events`](ntproto_sdk::Client::events).
/// [`connect_on`] is for an executor of one's own.
///
/// ```no_run
/// use ntproto_sdk::{Profile, Uin};
/// use ntproto_smol::{Clock, connect};
///
/// fn hello(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
///     smol::block_on(async {
///         let profile = Profile::open(dir)?;
///         let client = connect(profile.options(Clock::start().now().unix)?).await?;
///         client.online().await?;
///         let sent = client.send(Uin(10001), "hello").await?;
///         println!("stored as number {} of its conversation", sent.conv_seq);
///         client.close().await;
///         Ok(())
///     })
/// }
/// ```
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(options: Options) -> Result<Client, ConnectError> {
    connect_on(Smol::global(), options).await
}

/// [`connect`] on an executor of one's own.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect_on(runtime: Smol, options: Options) -> Result<Client, ConnectError> {
    ntproto_drive::connect(runtime, options).await
}

/// Runs `machine` over `sockets` until it is done: see [`ntproto_drive::drive`].
///
/// # Errors
/// A socket failed for good.
pub async fn drive<M: Machine>(
    machine: &mut M,
    sockets: impl Into<Sockets<'_, Watch<std::net::TcpStream>>>,
    clock: &Clock,
    commands: Receiver<M::Command>,
    effects: impl FnMut(M::Effect),
) -> io::Result<()> {
    ntproto_drive::drive(Smol::global(), machine, sockets.into(), clock, commands, effects).await
}
