//! A blocking client: one thread, one `std::net::TcpStream`, no runtime, no callbacks.
//!
//! ```text
//! blocking_client <connect string> <code> listen [count]      prints what comes
//! blocking_client <connect string> <code> send <uin> <text>   sends one message
//! ```
//!
//! Every call turns the machine until it has what it was called for. Between calls nothing runs: a program that is
//! busy elsewhere for longer than a heartbeat is reconnected by its next call, and has missed nothing.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ntproto_core::client::{self, ClientConfig, ClientEvent, Stopped};
use ntproto_core::crypto::{identity::DeviceKeys, rustcrypto::RUSTCRYPTO};
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_net::{Machine as _, Step, StreamId, StreamInput, StreamStep};
use ntproto_sdk::driver::{CallId, Command, Driver, Effect, Server, Transports};
use ntproto_sdk::store::{ClientStore as _, MemoryStore};
use ntproto_sdk::{ConnectString, ConversationId, Credential, EnrolCode, Uin};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A server that does not answer gets this long to take a connection.
const DIAL: Duration = Duration::from_secs(5);

/// The client. Its keys and its store are in memory: each is a new device with a new account.
pub struct Client {
    driver: Driver,
    store: MemoryStore,
    started: std::time::Instant,
    stream: Option<(StreamId, TcpStream)>,
    /// The machine asked for bytes.
    reading: bool,
    uin: Uin,
}

impl Client {
    /// Connects, and waits until it is in.
    pub fn connect(connect: &ConnectString, enrol: Credential) -> Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let (mut rng, started) = (Rng::new(seed), std::time::Instant::now());
        let now = now(started);
        let mut server = Server::new(connect, now.unix)?;
        server.transports = Transports::RequireTcp;
        let config = ClientConfig {
            enrol: Some(enrol),
            transports: server.transports.offered(),
            ..ClientConfig::new(&RUSTCRYPTO, server.static_key, DeviceKeys::generate(&mut rng, &RUSTCRYPTO))
        };
        let mut store = MemoryStore::new();
        let saved = store.load_all()?;
        let mut driver = Driver::new(config, server, saved, started, rng.array(), now);
        driver.command(now, Command::Call(CallId(0), client::Command::Start));
        let mut client = Self { driver, store, started, stream: None, reading: false, uin: Uin(0) };
        client.until(|event| matches!(event, ClientEvent::Online { .. }))?;
        client.uin = client.driver.identity().ok_or("online, and nobody")?.0;
        Ok(client)
    }

    /// Who this is.
    pub fn uin(&self) -> Uin {
        self.uin
    }

    /// Sends a message, and waits until the server has stored it: its number in the conversation.
    pub fn send(&mut self, to: Uin, text: &str) -> Result<u64> {
        let conversation = ConversationId::direct(self.uin, to);
        let body = text.as_bytes().to_vec().into();
        self.call(client::Command::Send {
            trace: None,
            conversation,
            client_msg_id: None,
            body,
            deadline: None,
            action: ntproto_core::client::SendAction::Message,
        });
        match self
            .until(|event| matches!(event, ClientEvent::Sent { .. } | ClientEvent::SendFailed { .. }))?
        {
            ClientEvent::Sent { conv_seq, .. } => Ok(conv_seq),
            ClientEvent::SendFailed { why, .. } => Err(why.into()),
            _ => Err("not what was waited for".into()),
        }
    }

    /// Waits for the next message: who sent it, and what it says.
    pub fn receive(&mut self) -> Result<(Uin, String)> {
        let event = self.until(|event| matches!(event, ClientEvent::Message(_)))?;
        let ClientEvent::Message(inbound) = event else { return Err("not what was waited for".into()) };
        self.driver.command(now(self.started), Command::Confirm(inbound.position));
        Ok((Uin(inbound.message.sender), String::from_utf8_lossy(&inbound.message.body).into_owned()))
    }

    /// Says goodbye.
    pub fn close(mut self) -> Result<()> {
        self.call(client::Command::Close);
        while self.turn()?.is_some() {}
        Ok(())
    }

    fn call(&mut self, command: client::Command) {
        self.driver.command(now(self.started), Command::Call(CallId(1), command));
    }

    /// Turns the machine until this happens. What happens meanwhile is the application's to ask for again.
    fn until(&mut self, wanted: impl Fn(&ClientEvent) -> bool) -> Result<ClientEvent> {
        loop {
            match self.turn()? {
                Some(event) if wanted(&event) => return Ok(event),
                Some(_) => {}
                None => return Err("it has stopped".into()),
            }
        }
    }

    /// Turns the machine until it has something to tell; `None`: it has stopped.
    fn turn(&mut self) -> Result<Option<ClientEvent>> {
        loop {
            let now = now(self.started);
            match self.driver.poll(now, None) {
                Step::Effect(effect) => {
                    if let Some(event) = self.perform(now, effect)? {
                        return Ok(Some(event));
                    }
                }
                Step::Stream(id, step) => self.step(now, id, step),
                Step::Wait(at) => self.wait(at)?,
                Step::Done => return Ok(None),
                Step::Transmit(_) => unreachable!("QUIC was ruled out"),
            }
        }
    }

    fn perform(&mut self, now: Now, effect: Effect) -> Result<Option<ClientEvent>> {
        match effect {
            Effect::Store(op, txn) => {
                let result = self.store.commit(&[txn]);
                self.driver.command(now, Command::StoreDone(vec![op], result));
            }
            Effect::Resolve { id, host, port } => {
                let addresses = (host, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
                self.driver.command(now, Command::Resolved(id, addresses));
            }
            // It knows its server by the connect string alone.
            Effect::Bootstrap(id) => self.driver.command(now, Command::Bootstrapped(id, None)),
            Effect::Called(_, result) => drop(result?),
            Effect::Event(ClientEvent::Stopped(why)) if why != Stopped::Closed => {
                return Err(why.to_string().into());
            }
            Effect::Event(event) => return Ok(Some(event)),
            Effect::Reached | Effect::HttpToken(..) | Effect::Learned(_) | Effect::Lost(_) => {}
        }
        Ok(None)
    }

    /// Does what the machine wants of its connection, and waits for it.
    fn step(&mut self, now: Now, id: StreamId, step: StreamStep) {
        let input = match step {
            StreamStep::Dial(remote) => match TcpStream::connect_timeout(&remote, DIAL) {
                Ok(stream) => {
                    // Small frames wait for nobody.
                    let _ = stream.set_nodelay(true);
                    self.stream = Some((id, stream));
                    StreamInput::Connected
                }
                Err(_) => StreamInput::Closed,
            },
            StreamStep::Write(bytes) => {
                match self.stream.as_mut().map(|(_, stream)| stream.write_all(&bytes)) {
                    Some(Ok(())) => StreamInput::Written,
                    _ => StreamInput::Closed,
                }
            }
            StreamStep::Read => {
                self.reading = true;
                return;
            }
            StreamStep::Close => {
                self.reading = false;
                self.stream = None;
                return;
            }
        };
        self.driver.stream(now, id, input);
    }

    /// Waits for bytes, if the machine wants any, until its deadline.
    fn wait(&mut self, at: Option<Instant>) -> Result<()> {
        let left = at.map(|at| at.saturating_since(now(self.started).mono));
        match &mut self.stream {
            Some((id, stream)) if self.reading && left != Some(Duration::ZERO) => {
                stream.set_read_timeout(left)?;
                let mut buffer = [0; 16 * 1024];
                let input = match stream.read(&mut buffer) {
                    Ok(len) if len > 0 => StreamInput::Bytes(buffer[..len].to_vec().into()),
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        self.driver.timeout(now(self.started));
                        return Ok(());
                    }
                    Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(()),
                    _ => StreamInput::Closed,
                };
                self.reading = false;
                self.driver.stream(now(self.started), *id, input);
            }
            _ => {
                std::thread::sleep(left.ok_or("it waits for nothing")?);
                self.driver.timeout(now(self.started));
            }
        }
        Ok(())
    }
}

/// The two clocks a machine is given.
fn now(started: std::time::Instant) -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        mono: Instant::from_micros(started.elapsed().as_micros() as u64),
        unix: UnixMillis(unix.as_millis() as u64),
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let usage = "usage: blocking_client <connect string> <code> listen [count] | send <uin> <text>";
    let [connect, code, job @ ..] = &args[..] else { return Err(usage.into()) };
    let enrol = if *code == "open" { Credential::Open } else { code.parse::<EnrolCode>()?.into() };
    let mut client = Client::connect(&connect.parse()?, enrol)?;
    println!("online as {}", client.uin());
    match job {
        ["listen", count @ ..] => {
            for _ in 0..count.first().map_or(Ok(u64::MAX), |count| count.parse())? {
                let (sender, text) = client.receive()?;
                println!("{sender}: {text}");
            }
        }
        ["send", to, text] => println!("stored as number {}", client.send(Uin(to.parse()?), text)?),
        _ => return Err(usage.into()),
    }
    client.close()
}
