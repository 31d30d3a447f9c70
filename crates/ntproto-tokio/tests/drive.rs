//! The loop with a toy machine, and with real QUIC over loopback.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::{Context, Waker};
use std::time::Duration;

use async_channel::{Sender, TryRecvError, bounded};
use ntproto_core::time::{Instant, Now};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_drive::https::{Https, Visitor};
use ntproto_drive::runtime::Stream;
use ntproto_net::{Machine, Step, StreamId, StreamInput, StreamStep};
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ClientTls, Closed, ConnId, Endpoint, EndpointConfig, Event, Input, Output, Pin, Received,
    ServerTls, Transmit, Trust,
};
use ntproto_tokio::{Clock, Socket, Sockets, drive};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::time::timeout;

fn socket() -> Socket {
    Socket::bind(([127, 0, 0, 1], 0).into()).unwrap()
}

/// Sends what it is told, tells what it gets, and ticks.
#[derive(Default)]
struct Toy {
    out: VecDeque<(SocketAddr, Vec<u8>)>,
    effects: VecDeque<Vec<u8>>,
    tick: Option<Duration>,
    next: Option<Instant>,
    ticks: usize,
    polls: usize,
    closed: bool,
}

impl Machine for Toy {
    type Command = (SocketAddr, Vec<u8>);
    type Effect = Vec<u8>;

    fn datagram(&mut self, _: Now, received: Received<'_>) {
        self.effects.extend(received.data.chunks(received.stride).map(<[u8]>::to_vec));
    }

    fn timeout(&mut self, now: Now) {
        if self.next.is_some_and(|at| at <= now.mono) {
            self.ticks += 1;
            self.next = None;
        }
    }

    fn command(&mut self, _: Now, command: Self::Command) {
        self.out.push_back(command);
    }

    fn commands_closed(&mut self, _: Now) {
        assert!(!self.closed, "said once");
        self.closed = true;
    }

    fn poll(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Step<Vec<u8>> {
        self.polls += 1;
        if let Some(effect) = self.effects.pop_front() {
            return Step::Effect(effect);
        }
        if let Some(tx) = tx
            && let Some((remote, bytes)) = self.out.pop_front()
        {
            tx.clear();
            tx.as_mut_vec().extend_from_slice(&bytes);
            return Step::Transmit(Transmit {
                remote,
                local_ip: None,
                ecn: None,
                segment_size: None,
                len: bytes.len(),
            });
        }
        if self.closed {
            return Step::Done;
        }
        self.next = self.next.or_else(|| self.tick.map(|tick| now.mono + tick));
        Step::Wait(self.next)
    }
}

#[tokio::test]
async fn datagrams_commands_and_effects_flow() {
    let (a, b, clock) = (socket(), socket(), Clock::start());
    let (send_a, commands_a) = bounded(1000);
    let (send_b, commands_b) = bounded(1000);
    let (mut toy_a, mut toy_b) = (Toy::default(), Toy::default());
    let mut got = Vec::new();
    for i in 0..500u16 {
        send_a.try_send((b.local_addr(), i.to_be_bytes().to_vec())).unwrap();
    }
    drop(send_a);
    // B ends when it has heard everything: by then all handles are gone.
    let mut keep = Some(send_b);
    let run = async {
        tokio::join!(
            drive(&mut toy_a, &a, &clock, commands_a, |_| {}),
            drive(&mut toy_b, &b, &clock, commands_b, |bytes| {
                got.push(bytes);
                if got.len() == 500 {
                    keep.take();
                }
            }),
        )
    };
    let (ended_a, ended_b) = timeout(Duration::from_secs(20), run).await.unwrap();
    ended_a.unwrap();
    ended_b.unwrap();
    assert_eq!(got, (0..500u16).map(|i| i.to_be_bytes().to_vec()).collect::<Vec<_>>());
}

#[tokio::test]
async fn it_sleeps_between_deadlines() {
    let (socket, clock) = (socket(), Clock::start());
    let (_keep, commands) = bounded(1);
    let mut toy = Toy { tick: Some(Duration::from_millis(20)), ..Toy::default() };
    let run = drive(&mut toy, &socket, &clock, commands, |_| {});
    assert!(timeout(Duration::from_millis(210), run).await.is_err(), "it does not end by itself");
    assert!((2..=10).contains(&toy.ticks), "{}", toy.ticks);
    assert!(toy.polls <= 4 * toy.ticks + 4, "{} polls for {} ticks", toy.polls, toy.ticks);
}

#[tokio::test]
async fn without_a_deadline_it_does_nothing() {
    let (socket, clock) = (socket(), Clock::start());
    let (_keep, commands) = bounded(1);
    let mut toy = Toy::default();
    let run = drive(&mut toy, &socket, &clock, commands, |_| {});
    assert!(timeout(Duration::from_millis(100), run).await.is_err());
    assert!(toy.polls <= 3, "{}", toy.polls);
}

/// A QUIC endpoint that answers every byte, or sends what it is told and tells what comes back.
struct Quic {
    endpoint: Endpoint,
    echo: bool,
    conn: Option<ConnId>,
    waiting: Vec<u8>,
    tell: VecDeque<Told>,
    done: bool,
}

#[derive(Debug, PartialEq)]
enum Told {
    Connected,
    Bytes(usize),
    Closed(Closed),
}

enum Tell {
    Connect(ClientTls, SocketAddr),
    Send(Vec<u8>),
    Close,
}

impl Quic {
    fn new(config: EndpointConfig, clock: &Clock, seed: u8) -> Self {
        let endpoint = Endpoint::new(config, clock.base(), [seed; 32]);
        Self { endpoint, echo: false, conn: None, waiting: Vec::new(), tell: VecDeque::new(), done: false }
    }

    fn pump(&mut self, now: Now) {
        let Some(conn) = self.conn else { return };
        let waiting = &mut self.waiting;
        self.endpoint.with(now, conn, |c| {
            let taken = c.write(Channel::Message, waiting);
            waiting.drain(..taken);
        });
    }

    fn on_event(&mut self, now: Now, event: Event) {
        match event {
            Event::Connected { conn, .. } => {
                self.conn = Some(conn);
                self.tell.push_back(Told::Connected);
            }
            Event::Readable { conn, channel } => {
                let mut got = Vec::new();
                self.endpoint.with(now, conn, |c| {
                    c.read_chunks(channel, usize::MAX, |bytes| {
                        got.extend_from_slice(&bytes);
                        true
                    })
                });
                if self.echo {
                    self.waiting.extend_from_slice(&got);
                } else if !got.is_empty() {
                    self.tell.push_back(Told::Bytes(got.len()));
                }
            }
            Event::Early { .. } | Event::Writable { .. } | Event::Datagram { .. } | Event::Streams { .. } => {
            }
            Event::Closed { reason, .. } => {
                self.conn = None;
                self.done = true;
                self.tell.push_back(Told::Closed(reason));
            }
        }
        self.pump(now);
    }
}

impl Machine for Quic {
    type Command = Tell;
    type Effect = Told;

    fn datagram(&mut self, now: Now, received: Received<'_>) {
        self.endpoint.handle(now, Input::Datagram(received));
    }

    fn timeout(&mut self, now: Now) {
        self.endpoint.handle(now, Input::Timeout);
    }

    fn command(&mut self, now: Now, command: Tell) {
        match command {
            Tell::Connect(tls, remote) => {
                self.endpoint.connect(now, &tls, remote, "localhost").unwrap();
            }
            Tell::Send(bytes) => self.waiting.extend(bytes),
            Tell::Close => {
                self.endpoint.with(now, self.conn.unwrap(), |c| c.close(0, b""));
            }
        }
        self.pump(now);
    }

    fn commands_closed(&mut self, now: Now) {
        self.endpoint.close_all(now, 0, b"");
    }

    fn poll(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> Step<Told> {
        loop {
            if let Some(told) = self.tell.pop_front() {
                return Step::Effect(told);
            }
            match self.endpoint.poll_output(now, tx.as_deref_mut()) {
                Output::Transmit(transmit) => return Step::Transmit(transmit),
                Output::Event(event) => self.on_event(now, event),
                Output::Wait { .. } if self.done && self.endpoint.is_flushed() => return Step::Done,
                Output::Wait { at, .. } => return Step::Wait(at),
            }
        }
    }
}

fn identity() -> (CertificateDer<'static>, ServerTls) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let tls = ServerTls::new(default_provider(), vec![cert.der().clone()], der, &[ALPN]).unwrap();
    (cert.der().clone(), tls)
}

async fn quic_echo(total: usize, send: impl AsyncFn(&Sender<Tell>, &async_channel::Receiver<Told>)) {
    let (cert, tls) = identity();
    let trust = Trust::Pinned(vec![Pin::of(&cert).unwrap()]);
    let client_tls = ClientTls::new(default_provider(), trust, &[ALPN]).unwrap();
    let (a, b, clock) = (socket(), socket(), Clock::start());
    let mut server = Quic { echo: true, ..Quic::new(EndpointConfig::server(tls), &clock, 1) };
    let mut client = Quic::new(EndpointConfig::client(), &clock, 2);
    let (_keep, commands) = bounded(1);
    let (tell, client_commands) = bounded(16);
    let (told, hear) = bounded(100_000);
    let mut at_server = Vec::new();
    let run = async {
        tokio::join!(
            drive(&mut server, &a, &clock, commands, |effect| at_server.push(effect)),
            drive(&mut client, &b, &clock, client_commands, |effect| told.try_send(effect).unwrap()),
            async {
                tell.send(Tell::Connect(client_tls, a.local_addr())).await.unwrap();
                assert_eq!(hear.recv().await.unwrap(), Told::Connected);
                send(&tell, &hear).await;
                tell.send(Tell::Close).await.unwrap();
                assert_eq!(hear.recv().await.unwrap(), Told::Closed(Closed::Local { code: 0 }));
            }
        )
    };
    let (ended_server, ended_client, ()) = timeout(Duration::from_secs(60), run).await.unwrap();
    ended_server.unwrap();
    ended_client.unwrap();
    let closed = Told::Closed(Closed::Peer { code: 0, reason: Vec::new() });
    assert_eq!(at_server, [Told::Connected, closed], "of {total} bytes");
    assert_eq!((a.lost(), b.lost()), (0, 0));
}

#[tokio::test]
async fn quic_carries_four_megabytes_there_and_back() {
    const TOTAL: usize = 4 << 20;
    quic_echo(TOTAL, async |tell, hear| {
        let mut back = 0;
        for _ in 0..TOTAL / 65_536 {
            tell.send(Tell::Send(vec![7; 65_536])).await.unwrap();
        }
        while back < TOTAL {
            match hear.recv().await.unwrap() {
                Told::Bytes(n) => back += n,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_answers_one_by_one_on_two_threads() {
    quic_echo(1000, async |tell, hear| {
        for _ in 0..1000 {
            tell.send(Tell::Send(vec![1])).await.unwrap();
            assert_eq!(hear.recv().await.unwrap(), Told::Bytes(1));
        }
    })
    .await;
}

#[tokio::test]
async fn the_loop_can_be_spawned() {
    let (send, commands) = bounded(1);
    let task = tokio::spawn(async move {
        let (socket, clock, mut toy) = (socket(), Clock::start(), Toy::default());
        drive(&mut toy, &socket, &clock, commands, |_| {}).await
    });
    drop(send);
    timeout(Duration::from_secs(5), task).await.unwrap().unwrap().unwrap();
}

/// A command that keeps its own queue alive, and whoever waits for its answer.
struct Letter {
    _queue: Sender<Letter>,
    _answer: Sender<()>,
}

/// Reads no letter.
struct Leaver {
    leaves: bool,
}

impl Machine for Leaver {
    type Command = Letter;
    type Effect = ();

    fn datagram(&mut self, _: Now, _: Received<'_>) {}

    fn timeout(&mut self, _: Now) {}

    fn command(&mut self, _: Now, _: Letter) {
        panic!("none was there to be taken");
    }

    fn commands_closed(&mut self, _: Now) {}

    fn poll(&mut self, _: Now, _: Option<&mut TxBuf>) -> Step<()> {
        if self.leaves { Step::Done } else { Step::Wait(None) }
    }
}

/// Whoever asks when the machine has just taken its last command hears that nothing comes of it.
#[tokio::test]
async fn what_waits_when_the_loop_ends_is_dropped() {
    for leaves in [true, false] {
        let (socket, clock, mut machine) = (socket(), Clock::start(), Leaver { leaves });
        let (send, commands) = async_channel::unbounded();
        let (answer, answered) = bounded::<()>(1);
        let letter = Letter { _queue: send.clone(), _answer: answer };
        if leaves {
            send.try_send(letter).ok().unwrap();
            drive(&mut machine, &socket, &clock, commands, |()| {}).await.unwrap();
        } else {
            // The task is dropped where it is.
            let mut run = Box::pin(drive(&mut machine, &socket, &clock, commands, |()| {}));
            assert!(run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            send.try_send(letter).ok().unwrap();
        }
        assert!(send.is_closed());
        assert_eq!(answered.try_recv(), Err(TryRecvError::Closed));
    }
}

/// TCP connections as the loop tells of them.
#[derive(Default)]
struct Doorman {
    last: u64,
    ask: VecDeque<StreamId>,
    told: VecDeque<(StreamId, StreamInput)>,
    handed: usize,
}

impl Machine for Doorman {
    type Command = ();
    type Effect = (StreamId, StreamInput);

    fn datagram(&mut self, _: Now, _: Received<'_>) {}

    fn timeout(&mut self, _: Now) {}

    fn command(&mut self, _: Now, (): ()) {}

    fn commands_closed(&mut self, _: Now) {}

    fn accept(&mut self, _: Now, _: SocketAddr) -> Option<StreamId> {
        self.last += 1;
        self.ask.push_back(StreamId(self.last));
        Some(StreamId(self.last))
    }

    fn stream(&mut self, _: Now, stream: StreamId, input: StreamInput) {
        self.told.push_back((stream, input));
    }

    fn hand_over(&mut self, _: Now, _: StreamId) -> bool {
        self.handed += 1;
        true
    }

    fn poll(&mut self, _: Now, _: Option<&mut TxBuf>) -> Step<Self::Effect> {
        match (self.ask.pop_front(), self.told.pop_front()) {
            (Some(stream), told) => {
                self.told.extend(told);
                Step::Stream(stream, StreamStep::Read)
            }
            (None, Some(told)) => Step::Effect(told),
            (None, None) => Step::Wait(None),
        }
    }
}

#[tokio::test]
async fn a_first_byte_decides_who_serves_a_tcp_connection() {
    use std::io::{Read as _, Write as _};

    let (udp, tcp) = ntproto_drive::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let (clock, address) = (Clock::start(), udp.local_addr());
    let (_keep, commands) = bounded(1);
    let (hand, handed) = async_channel::unbounded();
    let (tell, told) = async_channel::unbounded();
    let https: Https<_> = Box::new(move |visitor| hand.try_send(visitor).unwrap());
    let sockets = Sockets { tcp: Some(tcp), https: Some(https), ..Sockets::from(&udp) };
    let mut doorman = Doorman::default();
    let run = drive(&mut doorman, sockets, &clock, commands, |effect| tell.try_send(effect).unwrap());
    let talk = async {
        let connect = |first: &[u8]| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(first).unwrap();
            stream
        };
        let ours = connect(b"NTHD");
        assert_eq!(
            told.recv().await.unwrap(),
            (StreamId(1), StreamInput::Bytes(bytes::Bytes::from_static(b"NTHD")))
        );
        let mut theirs = connect(b"\x16\x03\x01");
        let visitor: Visitor<_> = handed.recv().await.unwrap();
        assert_eq!(visitor.remote, theirs.local_addr().unwrap());
        // Nothing of it was read.
        let mut all = [0; 3];
        let stream = visitor.stream;
        let socket = Stream::socket(&stream);
        let mut socket = &*socket;
        socket.read_exact(&mut all).unwrap();
        assert_eq!(&all, b"\x16\x03\x01");
        socket.write_all(b"hello").unwrap();
        visitor.place.settle();
        assert_eq!(told.recv().await.unwrap(), (StreamId(2), StreamInput::Settled));
        drop(visitor.place);
        assert_eq!(told.recv().await.unwrap(), (StreamId(2), StreamInput::Closed));
        drop(stream);
        let mut hello = Vec::new();
        theirs.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        theirs.read_to_end(&mut hello).unwrap();
        assert_eq!(hello, b"hello");
        drop(ours);
    };
    let both = async {
        tokio::select! {
            ended = run => panic!("{ended:?}"),
            () = talk => {}
        }
    };
    timeout(Duration::from_secs(20), both).await.unwrap();
    assert_eq!(doorman.handed, 1);
}
