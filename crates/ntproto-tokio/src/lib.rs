//! ntproto on tokio: [`connect`] starts a client, [`drive`] runs any [`Machine`].
//!
//! The loop itself is `ntproto_drive`'s; here stands what is tokio's about it.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod runtime;

use std::io;

use async_channel::Receiver;
use ntproto_net::Machine;
use ntproto_sdk::{Client, Options};

pub use ntproto_drive::{ConnectError, Sockets};
pub use ntproto_udp::{Clock, Socket};
pub use runtime::{Alarm, Tcp, Tokio, Udp};

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
pub async fn connect(options: Options) -> Result<Client, ConnectError> {
    ntproto_drive::connect(Tokio, options).await
}

/// Runs `machine` over `sockets` until it is done: see [`ntproto_drive::drive`].
///
/// # Errors
/// A socket failed for good.
pub async fn drive<M: Machine>(
    machine: &mut M,
    sockets: impl Into<Sockets<'_, Tcp<tokio::net::TcpStream>>>,
    clock: &Clock,
    commands: Receiver<M::Command>,
    effects: impl FnMut(M::Effect),
) -> io::Result<()> {
    ntproto_drive::drive(Tokio, machine, sockets.into(), clock, commands, effects).await
}

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
