//! A whole client in one thread: a `std::net::UdpSocket` and a loop. No async runtime, no threads.
//!
//! ```text
//! std_loop <connect string> <code> listen [count]      prints what comes
//! std_loop <connect string> <code> send <uin> <text>   sends one message
//! ```
//!
//! The connect string is what the server prints when it starts, the code comes from `ntp invite`. Each run is a new
//! device with a new account, which it forgets: its keys and its store are in memory. So do not use the invitation
//! of the server's first start here: the account made with that is the one that may invite others. Where
//! registration is open, the code is `open`.

use std::env;
use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::net::{ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ntproto_core::client::{self, ClientConfig, ClientEvent};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_net::{Machine as _, Step};
use ntproto_quic::{Received, TX_LIMIT};
use ntproto_sdk::driver::{CallId, Command, Driver, Effect, Server, Transports};
use ntproto_sdk::store::{ClientStore, MemoryStore};
use ntproto_sdk::{ConnectString, ConversationId, Credential, EnrolCode, Uin};

/// What this program is for.
enum Job {
    Listen { left: u64 },
    Send { to: Uin, text: String },
}

/// The two clocks a machine is given. It reads none itself.
struct Clock(std::time::Instant);

impl Clock {
    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono: Instant::from_micros(self.0.elapsed().as_micros() as u64),
            unix: UnixMillis(unix.as_millis() as u64),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    client(&args, &mut io::stdout())
}

/// The client of these arguments; what it has to say goes to `out`.
pub(crate) fn client(args: &[String], out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let (connect, code, job) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [connect, code, "listen"] => (connect, code, Job::Listen { left: u64::MAX }),
        [connect, code, "listen", count] => (connect, code, Job::Listen { left: count.parse()? }),
        [connect, code, "send", to, text] => {
            (connect, code, Job::Send { to: Uin(to.parse()?), text: text.into() })
        }
        _ => return Err("usage: std_loop <connect string> <code> listen [count] | send <uin> <text>".into()),
    };
    let connect: ConnectString = connect.parse()?;
    let enrol = match code {
        "open" => Credential::Open,
        code => code.parse::<EnrolCode>()?.into(),
    };

    // All randomness grows from one seed of the operating system's.
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let mut rng = Rng::new(seed);
    let clock = Clock(std::time::Instant::now());

    let mut server = Server::new(&connect, clock.now().unix)?;
    // A plain socket lets the system fragment, so the size of the path can't be probed.
    server.quic.mtu_discovery = false;
    // This host has one UDP socket and nothing else.
    server.transports = Transports::RequireQuic;
    let keys = DeviceKeys::generate(&mut rng, &RUSTCRYPTO);
    let config = ClientConfig {
        enrol: Some(enrol),
        device_name: "std_loop".into(),
        ..ClientConfig::new(&RUSTCRYPTO, server.static_key, keys)
    };
    let mut store = MemoryStore::new();
    let saved = store.load_all()?;
    let mut driver = Driver::new(config, server, saved, clock.0, rng.array(), clock.now());
    driver.command(clock.now(), Command::Call(CallId(0), client::Command::Start));
    run(driver, &mut store, &clock, job, out)
}

/// The loop: drain the machine, wait for the socket or the deadline, tell the machine.
fn run(
    mut driver: Driver,
    store: &mut dyn ClientStore,
    clock: &Clock,
    mut job: Job,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let socket = UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"))?;
    let mut tx = TxBuf::new(TX_LIMIT);
    let mut datagram = vec![0; 65_536];
    loop {
        let deadline = loop {
            let now = clock.now();
            match driver.poll(now, Some(&mut tx)) {
                Step::Transmit(transmit) => {
                    let size = transmit.segment_size.unwrap_or(transmit.len);
                    for datagram in tx.as_slice().chunks(size) {
                        // What the network refuses counts as lost; QUIC sends it again.
                        let _ = socket.send_to(datagram, reachable(&socket, transmit.remote)?);
                    }
                }
                Step::Stream(..) => unreachable!("TCP was ruled out"),
                Step::Effect(effect) => perform(&mut driver, now, effect, store, &mut job, out)?,
                Step::Wait(at) => break at,
                Step::Done => return Ok(()),
            }
        };
        let wait = deadline.map(|at| at.saturating_since(clock.now().mono));
        if wait == Some(Duration::ZERO) {
            driver.timeout(clock.now());
            continue;
        }
        socket.set_read_timeout(wait)?;
        match socket.recv_from(&mut datagram) {
            Ok((len, from)) => driver.datagram(clock.now(), Received::one(canonical(from), &datagram[..len])),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                driver.timeout(clock.now());
            }
            // A report on a datagram sent before: the port is closed, there is no route.
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Does what the machine wants done.
fn perform(
    driver: &mut Driver,
    now: Now,
    effect: Effect,
    store: &mut dyn ClientStore,
    job: &mut Job,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    match effect {
        Effect::Store(op, txn) => {
            let result = store.commit(&[txn]);
            driver.command(now, Command::StoreDone(vec![op], result));
        }
        Effect::Resolve { id, host, port } => {
            // Blocks the loop, which one client can afford. Not found is an answer too.
            let addresses = (host, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
            driver.command(now, Command::Resolved(id, addresses));
        }
        // It knows its server by the connect string alone.
        Effect::Bootstrap(id) => driver.command(now, Command::Bootstrapped(id, None)),
        Effect::Called(_, result) => {
            result?;
        }
        Effect::Event(event) => tell(driver, now, event, job, out)?,
        Effect::Reached | Effect::HttpToken(..) | Effect::Learned(_) => {}
        Effect::Lost(why) => writeln!(out, "no connection: {why}")?,
    }
    Ok(())
}

/// The application.
fn tell(
    driver: &mut Driver,
    now: Now,
    event: ClientEvent,
    job: &mut Job,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let close = Command::Call(CallId(2), client::Command::Close);
    match event {
        ClientEvent::Online { uin, .. } => {
            writeln!(out, "online as {uin}")?;
            // Once: if the connection breaks, the message waits in the outbox.
            if let Job::Send { to, text } = job
                && !text.is_empty()
            {
                let send = client::Command::Send {
                    trace: None,
                    conversation: ConversationId::direct(uin, *to),
                    client_msg_id: None,
                    body: std::mem::take(text).into(),
                    deadline: Some(Duration::from_secs(10)),
                    action: ntproto_core::client::SendAction::Message,
                };
                driver.command(now, Command::Call(CallId(1), send));
            }
        }
        ClientEvent::Sent { conv_seq, .. } => {
            writeln!(out, "stored as number {conv_seq}")?;
            driver.command(now, close);
        }
        ClientEvent::SendFailed { why, .. } => return Err(why.into()),
        ClientEvent::Message(inbound) => {
            let message = inbound.message;
            writeln!(out, "{}: {}", message.sender, String::from_utf8_lossy(&message.body))?;
            driver.command(now, Command::Confirm(inbound.position));
            if let Job::Listen { left } = job {
                *left -= 1;
                if *left == 0 {
                    driver.command(now, close);
                }
            }
        }
        ClientEvent::Offline { why, retry_in } => writeln!(out, "offline: {why}; again in {retry_in:?}")?,
        ClientEvent::Stopped(client::Stopped::Closed) => {}
        ClientEvent::Stopped(why) => return Err(why.to_string().into()),
        _ => {}
    }
    Ok(())
}

/// An IPv6 socket reaches IPv4 by mapped addresses.
fn reachable(socket: &UdpSocket, remote: std::net::SocketAddr) -> io::Result<std::net::SocketAddr> {
    Ok(match remote {
        std::net::SocketAddr::V4(v4) if socket.local_addr()?.is_ipv6() => {
            (v4.ip().to_ipv6_mapped(), v4.port()).into()
        }
        _ => remote,
    })
}

/// And hears from it by them: the machine knows its peer by the address it was given.
fn canonical(from: std::net::SocketAddr) -> std::net::SocketAddr {
    std::net::SocketAddr::new(from.ip().to_canonical(), from.port())
}
