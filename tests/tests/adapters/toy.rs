//! Two machines that take turns: datagrams, a TCP connection, timers and commands, as a seed decides. Each writes down
//! what it is told.

use std::net::SocketAddr;
use std::time::Duration;

use async_channel::{Sender, bounded};
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now};
use ntproto_core::tx::TxBuf;
use ntproto_drive::{Sockets, drive};
use ntproto_net::{Machine, Step, StreamId, StreamInput, StreamStep};
use ntproto_quic::{Received, Transmit};
use ntproto_udp::Clock;

use crate::{Host, in_time};

/// Turns in a run.
const TURNS: u32 = 40;
/// The longest message.
const LONGEST: u64 = 200_000;

/// What a side does when it is its turn.
enum Turn {
    Datagram,
    Stream,
    /// Waits first.
    Timer(Duration),
    /// Asks the host to tell it to go on.
    Command,
}

/// A side. Both draw the same turns from the same seed, so both know what comes.
struct Side {
    name: &'static str,
    seed: u64,
    /// Whether it has the word.
    mine: bool,
    turn: u32,
    peer: SocketAddr,
    stream: Option<StreamId>,
    steps: Vec<(StreamId, StreamStep)>,
    datagram: Option<Vec<u8>>,
    ring_at: Option<Instant>,
    /// What the peer says this turn, as far as it has come.
    heard: Vec<u8>,
    effects: Vec<Told>,
    /// The first to speak dials before it does, and waits for a greeting: by then both are connected.
    dials: bool,
    greeted: bool,
}

/// What a side tells its host.
enum Told {
    Line(String),
    GoOn,
}

impl Side {
    fn new(name: &'static str, seed: u64, peer: SocketAddr, dials: bool) -> Self {
        Self {
            name,
            seed,
            mine: dials,
            turn: 0,
            peer,
            stream: None,
            steps: if dials { vec![(StreamId(1), StreamStep::Dial(peer))] } else { Vec::new() },
            datagram: None,
            ring_at: None,
            heard: Vec::new(),
            effects: Vec::new(),
            dials,
            greeted: !dials,
        }
    }

    fn line(&mut self, what: &str) {
        self.effects.push(Told::Line(format!("{} {} {what}", self.name, self.turn)));
    }

    /// This turn, and what is said in it: drawn alike on both sides.
    fn draw(&self) -> (Turn, Vec<u8>) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.seed.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.turn.to_be_bytes());
        let mut rng = Rng::new(bytes);
        let kind = rng.below(4);
        let length = 1 + if kind == 1 { rng.below(LONGEST) } else { rng.below(1000) };
        let mut said = vec![0; length as usize];
        rng.fill(&mut said);
        let turn = match kind {
            0 => Turn::Datagram,
            1 => Turn::Stream,
            2 => Turn::Timer(Duration::from_millis(rng.below(5))),
            _ => Turn::Command,
        };
        (turn, said)
    }

    fn speak(&mut self, now: Now) {
        if self.turn == TURNS {
            return;
        }
        match self.draw().0 {
            Turn::Timer(wait) => {
                self.line("waits");
                self.ring_at = Some(now.mono + wait);
            }
            Turn::Command => {
                self.line("asks to go on");
                self.effects.push(Told::GoOn);
            }
            Turn::Datagram | Turn::Stream => self.say(),
        }
    }

    fn say(&mut self) {
        let (turn, said) = self.draw();
        self.line(&format!("says {} bytes", said.len()));
        match (turn, self.stream) {
            (Turn::Stream, Some(stream)) => self.steps.push((stream, StreamStep::Write(said.into()))),
            _ => self.datagram = Some(said),
        }
        self.mine = false;
        self.turn += 1;
    }

    /// Some of what the peer says in this turn has come.
    fn hear(&mut self, now: Now, how: &str, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
        let (_, wanted) = self.draw();
        if self.heard.len() < wanted.len() {
            return;
        }
        assert!(self.heard == wanted, "what was said");
        self.heard.clear();
        self.line(&format!("hears {} bytes by {how}", wanted.len()));
        self.turn += 1;
        self.mine = true;
        self.speak(now);
    }
}

impl Machine for Side {
    type Command = ();
    type Effect = Told;

    fn datagram(&mut self, now: Now, received: Received<'_>) {
        self.hear(now, "datagram", received.data);
    }

    fn accept(&mut self, _: Now, _: SocketAddr) -> Option<StreamId> {
        self.line("accepts");
        self.stream = Some(StreamId(7));
        self.steps.push((StreamId(7), StreamStep::Write(b"!"[..].into())));
        self.steps.push((StreamId(7), StreamStep::Read));
        self.stream
    }

    fn stream(&mut self, now: Now, stream: StreamId, input: StreamInput) {
        match input {
            StreamInput::Connected => {
                self.line("is connected");
                self.stream = Some(stream);
                self.steps.push((stream, StreamStep::Read));
            }
            StreamInput::Bytes(bytes) if !self.greeted => {
                assert_eq!(bytes, "!");
                self.greeted = true;
                self.steps.push((stream, StreamStep::Read));
                self.speak(now);
            }
            StreamInput::Bytes(bytes) => {
                self.hear(now, "stream", &bytes);
                self.steps.push((stream, StreamStep::Read));
            }
            // When it comes, beside what the peer answers, is the system's affair.
            StreamInput::Written | StreamInput::Settled => {}
            StreamInput::Closed => {
                self.stream = None;
                self.turn = TURNS + 1;
            }
        }
    }

    fn timeout(&mut self, now: Now) {
        if self.ring_at.is_some_and(|at| at <= now.mono) {
            self.ring_at = None;
            self.line("has waited");
            self.say();
        }
    }

    fn command(&mut self, _: Now, (): ()) {
        self.line("goes on");
        self.say();
    }

    fn commands_closed(&mut self, _: Now) {
        panic!("the test keeps the sender");
    }

    fn poll(&mut self, _: Now, tx: Option<&mut TxBuf>) -> Step<Told> {
        if !self.effects.is_empty() {
            return Step::Effect(self.effects.remove(0));
        }
        if !self.steps.is_empty() {
            let (stream, step) = self.steps.remove(0);
            return Step::Stream(stream, step);
        }
        if let Some(tx) = tx
            && let Some(said) = self.datagram.take()
        {
            tx.clear();
            tx.as_mut_vec().extend_from_slice(&said);
            let (remote, len) = (self.peer, said.len());
            return Step::Transmit(Transmit { remote, local_ip: None, ecn: None, segment_size: None, len });
        }
        // Who said the last word waits for the other to hang up.
        if self.turn >= TURNS
            && let Some(stream) = self.stream.filter(|_| self.mine || !self.dials)
        {
            self.stream = None;
            return Step::Stream(stream, StreamStep::Close);
        }
        if self.turn > TURNS || (self.turn == TURNS && self.stream.is_none()) {
            return Step::Done;
        }
        Step::Wait(self.ring_at)
    }
}

/// Takes the lines, and tells the machine to go on when it asks for it.
fn listen(told: Told, lines: &mut Vec<String>, go_on: &Sender<()>) {
    match told {
        Told::Line(line) => lines.push(line),
        Told::GoOn => go_on.try_send(()).unwrap(),
    }
}

/// A run: what either side was told and did, each in its order.
pub(crate) async fn run(host: impl Host, seed: u64) -> Vec<String> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let (udp_a, _) = ntproto_drive::bind(anywhere).unwrap();
    let (udp_b, tcp_b) = ntproto_drive::bind(anywhere).unwrap();
    let clock = Clock::start();
    let mut a = Side::new("a", seed, udp_b.local_addr(), true);
    let mut b = Side::new("b", seed, udp_a.local_addr(), false);
    let ((go_a, commands_a), (go_b, commands_b)) = (bounded(1), bounded(1));
    let (mut lines_a, mut lines_b) = (Vec::new(), Vec::new());
    let both = async {
        let sockets = Sockets { udp: &udp_b, tcp: Some(tcp_b), https: None };
        let mut run_a =
            std::pin::pin!(drive(host.clone(), &mut a, (&udp_a).into(), &clock, commands_a, |told| {
                listen(told, &mut lines_a, &go_a)
            }));
        let mut run_b = std::pin::pin!(drive(host.clone(), &mut b, sockets, &clock, commands_b, |told| {
            listen(told, &mut lines_b, &go_b)
        }));
        let (mut done_a, mut done_b) = (false, false);
        std::future::poll_fn(|cx| {
            if !done_a && let std::task::Poll::Ready(result) = run_a.as_mut().poll(cx) {
                result.unwrap();
                done_a = true;
            }
            if !done_b && let std::task::Poll::Ready(result) = run_b.as_mut().poll(cx) {
                result.unwrap();
                done_b = true;
            }
            if done_a && done_b { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    };
    in_time(&host, both).await;
    [lines_a, lines_b].concat()
}

/// A machine that writes more than anybody takes to whoever connects, and hangs up.
struct Stuck {
    steps: Vec<StreamStep>,
}

impl Machine for Stuck {
    type Command = ();
    type Effect = ();

    fn datagram(&mut self, _: Now, _: Received<'_>) {}

    fn accept(&mut self, _: Now, _: SocketAddr) -> Option<StreamId> {
        self.steps = vec![StreamStep::Close, StreamStep::Write(vec![7; 64 << 20].into())];
        Some(StreamId(1))
    }

    fn timeout(&mut self, _: Now) {}

    fn command(&mut self, _: Now, (): ()) {}

    fn commands_closed(&mut self, _: Now) {}

    fn poll(&mut self, _: Now, _: Option<&mut TxBuf>) -> Step<()> {
        self.steps.pop().map_or(Step::Wait(None), |step| Step::Stream(StreamId(1), step))
    }
}

/// A peer that connects, reads nothing, and looks after a while whether it was given up.
pub(crate) async fn stuck(host: impl Host) -> Vec<&'static str> {
    let (udp, tcp) = ntproto_drive::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = tcp.local_addr().unwrap();
    let clock = Clock::start();
    let mut machine = Stuck { steps: Vec::new() };
    let (_keep, commands) = bounded(1);
    let peer = host.unblock(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // Longer than a close may take.
        std::thread::sleep(Duration::from_millis(2_500));
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let all = std::io::copy(&mut stream, &mut std::io::sink());
        // What was under way, and then the end: in order, or with an error. Not all of it.
        assert!(all.is_err() || all.is_ok_and(|n| n < 64 << 20));
        "it ended"
    });
    let sockets = Sockets { udp: &udp, tcp: Some(tcp), https: None };
    let mut run = std::pin::pin!(drive(host.clone(), &mut machine, sockets, &clock, commands, |()| {}));
    let mut peer = std::pin::pin!(peer);
    let ended = std::future::poll_fn(|cx| {
        assert!(run.as_mut().poll(cx).is_pending(), "the loop goes on");
        peer.as_mut().poll(cx)
    });
    vec![in_time(&host, ended).await.unwrap()]
}
