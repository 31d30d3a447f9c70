//! ntproto-quic driven by ntproto-tokio, raw bytes on MESSAGE: no second seal, as quinn has none.

use std::thread;
use std::time::Instant;

use async_channel::bounded;
use ntproto_core::time::Now;
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_net::Step;
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ClientTls, ConnId, Endpoint, EndpointConfig, Event, Input, Output, Pin, Received, ServerTls, Trust,
};
use ntproto_tokio::{Clock, Socket, drive};

use super::{Load, Outcome, identity, runtime};
use crate::MESSAGE;

struct Machine {
    endpoint: Endpoint,
    load: Load,
    client: bool,
    conn: Option<ConnId>,
    /// Bytes sent and received.
    sent: usize,
    got: usize,
    chunk: Vec<u8>,
    /// Where `chunk` is cut: bytes of the current write that the channel did not take yet.
    rest: usize,
    /// What an echoing server has yet to send back.
    back: std::collections::VecDeque<bytes::Bytes>,
    start: Option<Instant>,
    ping: Option<Instant>,
    outcome: Option<Outcome>,
    round_trips: Vec<std::time::Duration>,
    done: bool,
}

impl Machine {
    fn new(endpoint: Endpoint, load: Load, client: bool) -> Self {
        let chunk = match load {
            Load::OneWay { a_write, .. } => a_write * MESSAGE,
            Load::Echo { window, .. } => window * MESSAGE,
        };
        Self {
            endpoint,
            load,
            client,
            conn: None,
            sent: 0,
            got: 0,
            chunk: vec![7; chunk],
            rest: 0,
            back: std::collections::VecDeque::new(),
            start: None,
            ping: None,
            outcome: None,
            round_trips: Vec::new(),
            done: false,
        }
    }

    fn total(&self) -> usize {
        self.load.messages() * MESSAGE
    }

    /// Writes what the load allows now.
    fn pump(&mut self, now: Now) {
        let (Some(conn), total) = (self.conn, self.total()) else { return };
        let Self { endpoint, load, client, sent, got, chunk, rest, back, ping, .. } = self;
        endpoint.with(now, conn, |c| {
            if !*client {
                while let Some(bytes) = back.front_mut() {
                    c.write_bytes(Channel::Message, bytes);
                    if !bytes.is_empty() {
                        break;
                    }
                    back.pop_front();
                }
                return;
            }
            let goal = match *load {
                Load::OneWay { .. } => total,
                Load::Echo { window, .. } => total.min(*got / MESSAGE * MESSAGE + window * MESSAGE),
            };
            while *sent < goal {
                if *rest == 0 {
                    *rest = chunk.len().min(goal - *sent);
                    if chunk.len() == MESSAGE {
                        *ping = Some(Instant::now());
                    }
                }
                let taken = c.write(Channel::Message, &chunk[..*rest]);
                *sent += taken;
                *rest -= taken;
                if *rest > 0 {
                    break;
                }
            }
        });
    }

    fn read(&mut self, now: Now, conn: ConnId) {
        let echo = !self.client && matches!(self.load, Load::Echo { .. });
        let (got, back) = (&mut self.got, &mut self.back);
        self.endpoint.with(now, conn, |c| {
            c.read_chunks(Channel::Message, usize::MAX, |bytes| {
                *got += bytes.len();
                if echo {
                    back.push_back(bytes);
                }
                true
            })
        });
        match self.load {
            Load::OneWay { .. } if !self.client && self.got == self.total() => {
                self.back.push_back(bytes::Bytes::from_static(&[1]));
            }
            Load::OneWay { .. } if self.client && self.got == 1 => self.finish(now, conn),
            Load::Echo { window, .. } if self.client => {
                if window == 1 && self.got.is_multiple_of(MESSAGE) {
                    self.round_trips.extend(self.ping.take().map(|sent| sent.elapsed()));
                }
                if self.got == self.total() {
                    self.finish(now, conn);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, now: Now, conn: ConnId) {
        let elapsed = self.start.unwrap().elapsed();
        let mut round_trips = std::mem::take(&mut self.round_trips);
        round_trips.sort();
        self.outcome = Some(Outcome { messages: self.load.messages(), elapsed, round_trips });
        self.endpoint.with(now, conn, |c| c.close(0, b""));
    }
}

impl ntproto_net::Machine for Machine {
    type Command = ();
    type Effect = ();

    fn datagram(&mut self, now: Now, received: Received<'_>) {
        self.endpoint.handle(now, Input::Datagram(received));
    }

    fn timeout(&mut self, now: Now) {
        self.endpoint.handle(now, Input::Timeout);
    }

    fn command(&mut self, _: Now, (): ()) {}

    fn commands_closed(&mut self, _: Now) {}

    fn poll(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> Step<()> {
        loop {
            match self.endpoint.poll_output(now, tx.as_deref_mut()) {
                Output::Transmit(transmit) => return Step::Transmit(transmit),
                Output::Event(Event::Connected { conn, .. }) => {
                    self.conn = Some(conn);
                    self.start = Some(Instant::now());
                    self.pump(now);
                }
                Output::Event(Event::Readable { conn, .. }) => {
                    self.read(now, conn);
                    self.pump(now);
                }
                Output::Event(Event::Writable { .. }) => self.pump(now),
                Output::Event(Event::Closed { .. }) => self.done = true,
                Output::Event(Event::Early { .. } | Event::Datagram { .. } | Event::Streams { .. }) => {}
                Output::Wait { .. } if self.done && self.endpoint.is_flushed() => return Step::Done,
                Output::Wait { at, .. } => return Step::Wait(at),
            }
        }
    }
}

fn host(machine: &mut Machine, socket: &Socket, clock: &Clock) {
    let (_keep, commands) = bounded(1);
    runtime().block_on(drive(machine, socket, clock, commands, |()| {})).unwrap();
}

pub fn run(load: Load) -> Outcome {
    let (cert, key) = identity();
    let pin = Pin::of(&cert).unwrap();
    let tls = ServerTls::new(default_provider(), vec![cert], key, &[ALPN]).unwrap();
    let socket = || Socket::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let (server_socket, client_socket) = (socket(), socket());
    let remote = server_socket.local_addr();
    let server = thread::spawn(move || {
        let clock = Clock::start();
        let endpoint = Endpoint::new(EndpointConfig::server(tls), clock.base(), [1; 32]);
        host(&mut Machine::new(endpoint, load, false), &server_socket, &clock);
    });
    let clock = Clock::start();
    let mut endpoint = Endpoint::new(EndpointConfig::client(), clock.base(), [2; 32]);
    let tls = ClientTls::new(default_provider(), Trust::Pinned(vec![pin]), &[ALPN]).unwrap();
    endpoint.connect(clock.now(), &tls, remote, "localhost").unwrap();
    let mut client = Machine::new(endpoint, load, true);
    host(&mut client, &client_socket, &clock);
    server.join().unwrap();
    client.outcome.unwrap()
}
