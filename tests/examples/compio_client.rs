//! A client on compio, a runtime that does not ask whether a socket is ready but hands the kernel a buffer (io_uring on
//! Linux): as far from tokio as runtimes go. Each wait is a small task; what they bring goes through one channel to the
//! loop, which is the same as everywhere.
//!
//! ```text
//! compio_client <connect string> <code> <uin> <text>     sends one message, then prints what comes
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use compio::buf::BufResult;
use compio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _};
use compio::net::{TcpStream, ToSocketAddrsAsync as _, UdpSocket};
use compio::runtime::{Runtime, spawn};
use compio::time::{sleep, timeout};
use ntproto_core::crypto::{identity::DeviceKeys, rustcrypto::RUSTCRYPTO};
use ntproto_core::rng::Rng;
use ntproto_core::tx::TxBuf;
use ntproto_net::{Machine as _, Step, StreamId, StreamInput, StreamStep};
use ntproto_quic::{Received, TX_LIMIT};
use ntproto_sdk::driver::{Command, Driver, Server};
use ntproto_sdk::store::MemoryStore;
use ntproto_sdk::{Client, Credential, Desk, EnrolCode, Errand, Event, Options, Parts, Uin, assemble};
use ntproto_udp::Clock;

/// What may wait for the loop. A task that finds it full waits, and with it the peer.
const MAX_WAITING: usize = 256;
/// Read at once of a stream, and the largest datagram.
const READ: usize = 16 * 1024;
const DATAGRAM: usize = 2_048;
/// After an error of the socket.
const PAUSE: Duration = Duration::from_millis(5);

/// What tasks bring.
enum Came {
    Datagram(SocketAddr, Vec<u8>),
    Dialled(StreamId, Option<TcpStream>),
    Stream(StreamId, StreamInput),
    /// `None`: there will be none any more.
    Command(Option<Command>),
}

/// Starts a client on the runtime of this thread.
pub async fn connect(mut options: Options) -> Result<Client, Box<dyn Error>> {
    // compio's socket lets the system fragment, so the size of the path can't be probed.
    options.server.quic.mtu_discovery = false;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let clock = Clock::start();
    let Parts { client, driver, commands, desk } = assemble(options, clock.base(), seed, clock.now())?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    spawn(run(driver, desk, commands, socket, clock)).detach();
    Ok(client)
}

async fn run(
    mut driver: Driver,
    mut desk: Desk,
    commands: Receiver<Command>,
    socket: UdpSocket,
    clock: Clock,
) {
    let (bring, came) = async_channel::bounded(MAX_WAITING);
    // They end with the loop: a task whose handle is dropped is.
    let _receiving = spawn(receive(socket.clone(), bring.clone()));
    let _passing_on = spawn(pass_on(commands, bring.clone()));
    let mut streams: BTreeMap<StreamId, TcpStream> = BTreeMap::new();
    let mut tx = TxBuf::new(TX_LIMIT);
    loop {
        let now = clock.now();
        let wait = match driver.poll(now, Some(&mut tx)) {
            Step::Transmit(transmit) => {
                let size = transmit.segment_size.unwrap_or(transmit.len);
                for datagram in tx.as_slice()[..transmit.len].chunks(size) {
                    // What the network refuses counts as lost; QUIC sends it again.
                    let BufResult(..) = socket.send_to(datagram.to_vec(), transmit.remote).await;
                }
                continue;
            }
            Step::Stream(id, step) => {
                work(id, step, &mut streams, &bring);
                continue;
            }
            Step::Effect(effect) => {
                match desk.effect(effect) {
                    None => {}
                    Some(Errand::Lookup(lookup)) => spawn(async move {
                        let found = (lookup.host.as_str(), lookup.port).to_socket_addrs_async().await;
                        let found = found.map(Iterator::collect).unwrap_or_default();
                        lookup.answer(found).await;
                    })
                    .detach(),
                    Some(Errand::Bootstrap(renewal)) => spawn(renewal.run()).detach(),
                }
                continue;
            }
            Step::Wait(at) => at.map(|at| at.saturating_since(clock.mono())),
            Step::Done => return,
        };
        let first = match wait {
            Some(Duration::ZERO) => None,
            Some(wait) => timeout(wait, came.recv()).await.ok().and_then(Result::ok),
            None => came.recv().await.ok(),
        };
        let now = clock.now();
        driver.timeout(now);
        let mut next = first;
        while let Some(what) = next {
            match what {
                Came::Datagram(from, data) => driver.datagram(now, Received::one(from, &data)),
                Came::Dialled(id, Some(stream)) => {
                    streams.insert(id, stream);
                    driver.stream(now, id, StreamInput::Connected);
                }
                Came::Dialled(id, None) => driver.stream(now, id, StreamInput::Closed),
                Came::Stream(id, input) => {
                    // One that was closed here has nothing more to tell.
                    if streams.contains_key(&id) {
                        if input == StreamInput::Closed {
                            streams.remove(&id);
                        }
                        driver.stream(now, id, input);
                    }
                }
                Came::Command(Some(command)) => driver.command(now, command),
                Came::Command(None) => driver.commands_closed(now),
            }
            next = came.try_recv().ok();
        }
    }
}

/// Does what the machine wants of a stream, in a task.
fn work(id: StreamId, step: StreamStep, streams: &mut BTreeMap<StreamId, TcpStream>, bring: &Sender<Came>) {
    let bring = bring.clone();
    let stream = streams.get(&id).cloned();
    match (step, stream) {
        (StreamStep::Dial(remote), _) => spawn(async move {
            let stream = TcpStream::connect(remote).await.ok();
            if let Some(stream) = &stream {
                // Small frames wait for nobody.
                let _ = stream.set_nodelay(true);
            }
            let _ = bring.send(Came::Dialled(id, stream)).await;
        })
        .detach(),
        (StreamStep::Read, Some(mut stream)) => spawn(async move {
            let BufResult(read, buffer) = stream.read(Vec::with_capacity(READ)).await;
            let input = match read {
                Ok(len) if len > 0 => StreamInput::Bytes(buffer.into()),
                _ => StreamInput::Closed,
            };
            let _ = bring.send(Came::Stream(id, input)).await;
        })
        .detach(),
        (StreamStep::Write(bytes), Some(mut stream)) => spawn(async move {
            let BufResult(written, _) = stream.write_all(bytes).await;
            let input = if written.is_ok() { StreamInput::Written } else { StreamInput::Closed };
            let _ = bring.send(Came::Stream(id, input)).await;
        })
        .detach(),
        (StreamStep::Close, Some(mut stream)) => {
            streams.remove(&id);
            spawn(async move {
                let _ = stream.shutdown().await;
            })
            .detach();
        }
        // It is over already.
        (_, None) => {}
    }
}

async fn receive(socket: UdpSocket, bring: Sender<Came>) {
    loop {
        let BufResult(received, data) = socket.recv_from(Vec::with_capacity(DATAGRAM)).await;
        let Ok((_, from)) = received else {
            // Mostly a report on a datagram sent before: no end of the socket.
            sleep(PAUSE).await;
            continue;
        };
        if bring.send(Came::Datagram(from, data)).await.is_err() {
            return;
        }
    }
}

async fn pass_on(commands: Receiver<Command>, bring: Sender<Came>) {
    loop {
        let command = commands.recv().await.ok();
        let over = command.is_none();
        if bring.send(Came::Command(command)).await.is_err() || over {
            return;
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [connect_string, code, to, text] = &args[..] else {
        return Err("usage: compio_client <connect string> <code> <uin> <text>".into());
    };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let server = Server::new(&connect_string.parse()?, Clock::start().now().unix)?;
    let keys = DeviceKeys::generate(&mut Rng::new(seed), &RUSTCRYPTO);
    let mut options = Options::new(server, keys, Box::new(MemoryStore::new()));
    options.enrol = Some(if code == "open" { Credential::Open } else { code.parse::<EnrolCode>()?.into() });
    Runtime::new()?.block_on(async {
        let client = connect(options).await?;
        println!("online as {}", client.online().await?.uin);
        let sent = client.send(Uin(to.parse()?), text.clone()).await?;
        println!("stored as number {}", sent.conv_seq);
        let mut events = client.events()?;
        while let Some(event) = events.next().await {
            if let Event::Message(message) = event {
                println!("{}: {}", message.stored.sender, String::from_utf8_lossy(&message.stored.body));
                client.confirm(message.position).await;
            }
        }
        Ok(())
    })
}
