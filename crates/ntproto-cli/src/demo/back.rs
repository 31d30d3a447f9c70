//! How many round trips a client needs, from its first packet to a message that waited for it.
//!
//! They are counted, not timed. Between client and server stands a relay that holds every datagram for a while, far
//! longer than either of them takes to answer. It gives each datagram of the client a number, one above the highest
//! it has brought to the client before, and each of the server the highest it has brought to the server. What the client
//! has when its message is there is the number of times that somebody had to wait for the other.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ntproto_sdk::driver::Server;
use ntproto_sdk::{Event, Profile};
use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::worker::PROFILE;
use crate::exit::Failure;
use crate::session::{self, LinkArgs, ProfileArgs, Runtime, Session, Transport};

/// How long the relay holds a datagram: a machine answers in a hundredth of it.
const HOLD: Duration = Duration::from_millis(50);
/// How long a client may take to have its message.
const PATIENCE: Duration = Duration::from_secs(10);
/// Datagrams the relay holds; more are lost.
const MAX_HELD: usize = 1024;
/// The largest datagram there is on loopback for us.
const MAX_DATAGRAM: usize = 2048;

/// What came out, in round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Back {
    /// With a TLS session of an earlier connection: AUTH_REQ is early data.
    pub(crate) early: u32,
    /// Without one.
    pub(crate) full: u32,
}

impl Back {
    /// Lets the client in `sleeper` come back to messages of the one in `sender`.
    pub(crate) async fn measure(
        address: SocketAddr,
        sleeper: &Path,
        sender: &Path,
        runtime: Runtime,
    ) -> Result<Self, Failure> {
        let link = LinkArgs { transport: Transport::Quic, runtime };
        let sleeper = ProfileArgs::new(PROFILE, sleeper.to_owned(), link);
        let sender = Session::open(&ProfileArgs::new(PROFILE, sender.to_owned(), link)).await?;
        sender.online(PATIENCE).await?;

        // Once to be known. When the second request is answered, the session to come back with has arrived.
        let server = server(&sleeper)?;
        let relay = Relay::start(address).await?;
        let known = open(&sleeper, &server, &relay).await?;
        let uin = known.online(PATIENCE).await?.uin;
        for _ in 0..2 {
            known.client.devices().await.map_err(|e| Failure::failed(e.to_string()))?;
        }
        known.close().await;
        drop(relay);

        let mut counts = [0; 2];
        for (count, server) in counts.iter_mut().zip([server, self::server(&sleeper)?]) {
            let body = session::now_us().to_string().into_bytes();
            sender.client.send(uin, body.clone()).await?;
            let relay = Relay::start(address).await?;
            let back = open(&sleeper, &server, &relay).await?;
            let mut events = back.client.events().map_err(|e| Failure::failed(e.to_string()))?;
            let arrived = async {
                while let Some(event) = events.next().await {
                    if let Event::Message(message) = event {
                        let rounds = relay.rounds();
                        back.client.confirm(message.position).await;
                        if message.stored.body == body {
                            return Some(rounds);
                        }
                    }
                }
                None
            };
            let rounds = timeout(PATIENCE, arrived).await.ok().flatten();
            *count = rounds.ok_or_else(|| Failure::failed("a client that came back got no message"))?;
            back.close().await;
        }
        sender.close().await;
        let [early, full] = counts;
        Ok(Self { early, full })
    }
}

/// The server of a profile, with an empty memory of TLS sessions.
fn server(args: &ProfileArgs) -> Result<Server, Failure> {
    let options = Profile::open(&args.dir()?)?.options(session::now())?;
    Ok(options.server)
}

async fn open(args: &ProfileArgs, server: &Server, relay: &Relay) -> Result<Session, Failure> {
    let profile = Profile::open(&args.dir()?)?;
    let mut options = profile.options(session::now())?;
    options.server = Server { addresses: vec![relay.address], ..server.clone() };
    Session::start(profile, options, args.link()).await
}

/// A relay for one client. Dropping it ends it.
struct Relay {
    address: SocketAddr,
    brought: Arc<AtomicU32>,
    task: JoinHandle<io::Result<()>>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A datagram that is held.
struct Held {
    until: Instant,
    to_server: bool,
    round: u32,
    data: Vec<u8>,
}

impl Relay {
    async fn start(server: SocketAddr) -> Result<Self, Failure> {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let failed = |e: io::Error| Failure::failed(format!("no relay: {e}"));
        let (near, far) = (bind().await.map_err(failed)?, bind().await.map_err(failed)?);
        far.connect(server).await.map_err(failed)?;
        let address = near.local_addr().map_err(failed)?;
        let brought = Arc::new(AtomicU32::new(0));
        let task = tokio::spawn(relay(near, far, Arc::clone(&brought)));
        Ok(Self { address, brought, task })
    }

    /// The highest number that was brought to the client.
    fn rounds(&self) -> u32 {
        self.brought.load(Ordering::Relaxed)
    }
}

async fn relay(near: UdpSocket, far: UdpSocket, brought: Arc<AtomicU32>) -> io::Result<()> {
    let mut held = VecDeque::<Held>::new();
    let (mut up, mut down) = (vec![0; MAX_DATAGRAM], vec![0; MAX_DATAGRAM]);
    let (mut client, mut at_server) = (None, 0);
    loop {
        let next = held.front().map_or_else(Instant::now, |first| first.until);
        let until = Instant::now() + HOLD;
        tokio::select! {
            got = near.recv_from(&mut up) => {
                let (len, from) = got?;
                client = Some(from);
                let round = brought.load(Ordering::Relaxed) + 1;
                held.push_back(Held { until, to_server: true, round, data: up[..len].to_vec() });
            }
            got = far.recv(&mut down) => {
                let len = got?;
                held.push_back(Held { until, to_server: false, round: at_server, data: down[..len].to_vec() });
            }
            () = sleep_until(next), if !held.is_empty() => {
                let Some(Held { to_server, round, data, .. }) = held.pop_front() else { continue };
                if to_server {
                    at_server = at_server.max(round);
                    far.send(&data).await?;
                } else if let Some(client) = client {
                    brought.fetch_max(round, Ordering::Relaxed);
                    near.send_to(&data, client).await?;
                }
            }
        }
        held.truncate(MAX_HELD);
    }
}
