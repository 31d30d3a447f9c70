//! The connection's machine and a server's endpoint, on a wire of 5 ms that may be cut.
#![allow(clippy::disallowed_methods, reason = "QUIC asks for an instant to count from")]

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use async_channel::Receiver;
use bytes::Bytes;
use http::{Method, StatusCode};
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_net::tcp::gate::TcpLimits;
use ntproto_net::{Event, ExchangeId, HttpAnswer, HttpEvent, Machine as _, Output, Step, WebConfig};
use ntproto_quic::tls::default_provider;
use ntproto_quic::{ALPN as NATIVE, Pin as KeyPin, Received, ServerTls, TX_LIMIT, WebCertificate};
use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::client::trust::Trust;

const DELAY: u64 = 5_000;
const NAME: &str = "ntp.example";
/// A patience that no handshake here needs.
const PATIENCE: Duration = Duration::from_secs(3);

struct Tls {
    server: ServerTls,
    /// Of the certificate that native clients pin, and the hash of the other one.
    pin: [u8; 32],
    web_hash: [u8; 32],
}

fn tls() -> &'static Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(|| {
        let made = |kind| -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
            let key = rcgen::KeyPair::generate_for(kind).unwrap();
            let cert = rcgen::CertificateParams::new(vec![NAME.into()]).unwrap().self_signed(&key).unwrap();
            (cert.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        };
        let (native, native_key) = made(&rcgen::PKCS_ED25519);
        let (web, web_key) = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        let KeyPin(pin) = KeyPin::of(&native).unwrap();
        let web = WebCertificate::new(&default_provider(), vec![web], web_key).unwrap();
        let web_hash = web.hash().unwrap();
        let server = ServerTls::new(default_provider(), vec![native], native_key, &[NATIVE]).unwrap();
        Tls { server: server.with_web(web).unwrap(), pin, web_hash }
    })
}

type Asked = Pending<'static, Result<Response<Incoming>, HttpError>>;

struct World {
    at: u64,
    server: ntproto_net::Endpoint,
    /// The client's task: gone once it is done.
    line: Option<Line>,
    commands: Receiver<Command>,
    ready: Receiver<Result<(), ConnectError>>,
    handle: Option<H3>,
    tx: TxBuf,
    /// When, to the server or to the client, what.
    wire: VecDeque<(u64, bool, Vec<u8>)>,
    cut: bool,
    wakes: [Option<Instant>; 2],
    came: VecDeque<(ExchangeId, HttpEvent)>,
    /// Connections that the server saw end.
    ended: usize,
}

fn server_addr() -> SocketAddr {
    ([10, 0, 0, 1], 7424).into()
}

fn time(at: u64) -> Now {
    Now { mono: Instant::from_micros(at), unix: UnixMillis(1_780_272_000_000 + at / 1000) }
}

fn poll<T>(future: &mut Pin<Box<dyn Future<Output = T> + Send + 'static>>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn get(path: &str) -> Request<Outgoing> {
    Request::get(format!("https://{NAME}{path}")).body(Outgoing::Empty).unwrap()
}

fn patch(len: usize, body: Outgoing) -> Request<Outgoing> {
    assert_eq!(body.len(), len as u64);
    Request::patch(format!("https://{NAME}/f")).header("content-length", len).body(body).unwrap()
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i % 251) as u8).collect::<Vec<u8>>().into()
}

impl World {
    fn new(trust: Trust, web: bool) -> Self {
        let base = std::time::Instant::now();
        let config = EndpointConfig::server(tls().server.clone());
        let mut server = ntproto_net::Endpoint::new(config, TcpLimits::default(), base, [1; 32]);
        if web {
            server.serve_web(WebConfig::default());
        }
        let mut config = EndpointConfig::client();
        (config.limits.handshake_timeout, config.limits.idle_timeout) = (PATIENCE, IDLE);
        let mut quic = Endpoint::new(config, base, [2; 32]);
        let at = 1_000_000;
        let tls = trust.quic(default_provider(), &[ALPN]).unwrap();
        let conn = quic.connect(time(at), &tls, server_addr(), NAME).unwrap();
        let (ready, readied) = async_channel::bounded(1);
        let (commands, commanded) = async_channel::unbounded();
        Self {
            at,
            server,
            line: Some(Line::new(time(at), quic, conn, ready)),
            commands: commanded,
            ready: readied,
            handle: Some(H3 { commands }),
            tx: TxBuf::new(TX_LIMIT),
            wire: VecDeque::new(),
            cut: false,
            wakes: [None, None],
            came: VecDeque::new(),
            ended: 0,
        }
    }

    fn up() -> Self {
        let mut world = Self::new(Trust::Keys(vec![tls().pin]), true);
        world.run(100);
        assert!(world.ready.try_recv().unwrap().is_ok());
        world
    }

    fn send(&mut self, to_server: bool, segment: Option<usize>, len: usize) {
        let bytes = self.tx.as_slice();
        for one in bytes.chunks(segment.unwrap_or(len)).filter(|_| !self.cut) {
            self.wire.push_back((self.at + DELAY, to_server, one.to_vec()));
        }
    }

    fn drain(&mut self) {
        let now = time(self.at);
        loop {
            match self.server.poll_output(now, Some(&mut self.tx)) {
                Output::Transmit(t) => self.send(false, t.segment_size, t.len),
                Output::Event(Event::Http(exchange, event)) => self.came.push_back((exchange, event)),
                Output::Event(Event::Closed { .. }) => self.ended += 1,
                Output::Event(_) => {}
                Output::Stream(..) => panic!("there is no TCP here"),
                Output::Wait(at) => {
                    self.wakes[0] = at;
                    break;
                }
            }
        }
        while let Some(line) = &mut self.line {
            while let Ok(command) = self.commands.try_recv() {
                line.command(now, command);
            }
            if self.commands.is_closed() {
                line.commands_closed(now);
            }
            match line.poll(now, Some(&mut self.tx)) {
                Step::Transmit(t) => self.send(true, t.segment_size, t.len),
                Step::Stream(..) => panic!("there is no TCP here"),
                Step::Effect(effect) => match effect {},
                Step::Wait(at) => {
                    self.wakes[1] = at;
                    break;
                }
                Step::Done => {
                    // As the loop does: its queue goes with it.
                    (self.line, self.wakes[1]) = (None, None);
                    self.commands.close();
                    while self.commands.try_recv().is_ok() {}
                }
            }
        }
    }

    /// Lets so many milliseconds pass.
    fn run(&mut self, ms: u64) {
        let until = self.at + 1000 * ms;
        self.drain();
        loop {
            let wake = self.wakes.iter().flatten().map(|at| at.as_micros().max(self.at + 1)).min();
            let next = self.wire.front().map(|(at, ..)| *at).into_iter().chain(wake).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.at = self.at.max(next);
            let now = time(self.at);
            while let Some((_, to_server, data)) = self.wire.pop_front_if(|(at, ..)| *at <= self.at) {
                if to_server {
                    self.server.datagram(now, Received::one(([10, 0, 0, 2], 4000).into(), &data));
                } else if let Some(line) = &mut self.line {
                    line.datagram(now, Received::one(server_addr(), &data));
                }
            }
            self.server.timeout(now);
            if let Some(line) = &mut self.line {
                line.timeout(now);
            }
            self.drain();
        }
        self.at = until;
        self.drain();
    }

    fn ask(&mut self, request: Request<Outgoing>) -> Asked {
        self.handle.as_ref().unwrap().exchange(request)
    }

    fn answer(&mut self, exchange: ExchangeId, answer: HttpAnswer) {
        self.server.http(time(self.at), exchange, answer);
    }

    fn respond(&mut self, exchange: ExchangeId, status: StatusCode, body: Option<Bytes>) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        self.answer(exchange, HttpAnswer::Head { response, end: body.is_none() });
        if let Some(data) = body {
            self.answer(exchange, HttpAnswer::Data { data, end: true });
        }
    }

    fn head(&mut self) -> (ExchangeId, Method, String) {
        match self.came.pop_front() {
            Some((exchange, HttpEvent::Head { request, .. })) => {
                (exchange, request.method().clone(), request.uri().path().to_owned())
            }
            other => panic!("{other:?}"),
        }
    }

    /// What of bodies came at the server, and which have ended; all is consumed.
    fn bodies(&mut self, all: &mut BTreeMap<u64, (Vec<u8>, bool)>) {
        for (exchange, event) in std::mem::take(&mut self.came) {
            match event {
                HttpEvent::Data(data) => {
                    all.entry(exchange.stream).or_default().0.extend_from_slice(&data);
                    self.answer(exchange, HttpAnswer::Consumed(data.len()));
                }
                HttpEvent::End => all.entry(exchange.stream).or_default().1 = true,
                other => self.came.push_back((exchange, other)),
            }
        }
    }

    /// Reads what has come of an answer; `true` at its end.
    fn read(body: &mut Incoming, into: &mut Vec<u8>) -> Result<bool, HttpError> {
        loop {
            let next = {
                let mut next = std::pin::pin!(body.next());
                next.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            };
            match next {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => return Ok(true),
                Poll::Ready(Some(part)) => into.extend_from_slice(&part?),
            }
        }
    }
}

#[test]
fn requests_share_a_connection_and_leave_in_their_order() {
    let mut w = World::up();
    // Polled or not.
    let mut asked: Vec<_> = (0..5).map(|n| w.ask(get(&format!("/{n}")))).collect();
    w.run(50);
    let heads: Vec<_> = (0..5).map(|_| w.head()).collect();
    assert!(heads.iter().enumerate().all(|(n, (.., path))| *path == format!("/{n}")));
    // Answered in another.
    for (n, (exchange, ..)) in heads.into_iter().enumerate().rev() {
        assert!(poll(&mut asked[n]).is_none());
        w.respond(exchange, StatusCode::OK, Some(format!("answer {n}").into()));
        w.run(50);
        let mut response = poll(&mut asked[n]).unwrap().unwrap();
        let mut body = Vec::new();
        assert!(World::read(response.body_mut(), &mut body).unwrap());
        assert_eq!((response.status(), body), (StatusCode::OK, format!("answer {n}").into()));
    }
    // Of HEAD the length is told, and nothing comes.
    let head = Request::head(format!("https://{NAME}/h")).body(Outgoing::Empty).unwrap();
    let mut asked = w.ask(head);
    w.run(50);
    let (exchange, method, _) = w.head();
    assert_eq!(method, Method::HEAD);
    let response = Response::builder().header("content-length", 77).body(()).unwrap();
    w.answer(exchange, HttpAnswer::Head { response, end: true });
    w.run(50);
    let mut response = poll(&mut asked).unwrap().unwrap();
    assert_eq!(response.headers()["content-length"], "77");
    assert!(World::read(response.body_mut(), &mut Vec::new()).unwrap());
}

#[test]
fn a_body_is_asked_for_as_the_server_takes_it() {
    let mut w = World::up();
    let all = pattern(3_000_000);
    let (parts, body) = async_channel::bounded(1);
    let mut asked = w.ask(patch(all.len(), Outgoing::parts(all.len() as u64, body)));
    let mut left = all.clone();
    let mut offer = |w: &mut World| {
        for _ in 0..200 {
            while !left.is_empty() && parts.try_send(left.slice(..left.len().min(50_000))).is_ok() {
                drop(left.split_to(left.len().min(50_000)));
            }
            w.run(5);
        }
        left.len()
    };
    // The server reads nothing: its windows fill, and no more is asked for than they and the queues hold.
    let held = all.len() - offer(&mut w);
    assert!((200_000..1_200_000).contains(&held), "{held}");
    let (exchange, ..) = w.head();
    let mut came = BTreeMap::new();
    for _ in 0..100 {
        w.bodies(&mut came);
        if offer(&mut w) == 0 && came.get(&exchange.stream).is_some_and(|(_, end)| *end) {
            break;
        }
    }
    assert!(came[&exchange.stream].0 == all && came[&exchange.stream].1);
    w.respond(exchange, StatusCode::NO_CONTENT, None);
    w.run(50);
    assert_eq!(poll(&mut asked).unwrap().unwrap().status(), StatusCode::NO_CONTENT);
}

#[test]
fn an_answer_comes_only_as_it_is_read() {
    let mut w = World::up();
    let mut asked = w.ask(get("/large"));
    w.run(50);
    let (exchange, ..) = w.head();
    w.answer(exchange, HttpAnswer::Head { response: Response::new(()), end: false });
    let all = pattern(2_000_000);
    let mut left = all.clone();
    // A piece at first, and the next one whenever there is room for it.
    let mut room = true;
    let mut give = |w: &mut World| {
        for _ in 0..100 {
            room |= w.came.drain(..).any(|(_, event)| matches!(event, HttpEvent::Room));
            if !left.is_empty() && std::mem::take(&mut room) {
                let data = left.split_to(left.len().min(100_000));
                w.answer(exchange, HttpAnswer::Data { data, end: left.is_empty() });
            }
            w.run(5);
        }
        left.len()
    };
    // Nobody reads: no more is given than windows and queues hold.
    let held = all.len() - give(&mut w);
    assert!((200_000..1_200_000).contains(&held), "{held}");
    let mut response = poll(&mut asked).unwrap().unwrap();
    let mut got = Vec::new();
    for _ in 0..50 {
        if World::read(response.body_mut(), &mut got).unwrap() {
            break;
        }
        give(&mut w);
    }
    assert!(got == all, "{} bytes", got.len());
}

#[test]
fn who_is_not_waited_for_is_taken_back() {
    let mut w = World::up();
    let (first, mut second) = (w.ask(get("/1")), w.ask(get("/2")));
    drop(first);
    w.run(50);
    let gone = |w: &mut World| {
        let before = w.came.len();
        w.came.retain(|(_, event)| !matches!(event, HttpEvent::Gone));
        before - w.came.len()
    };
    assert_eq!(gone(&mut w), 1);
    w.came.retain(
        |(_, event)| !matches!(event, HttpEvent::Head { request, .. } if request.uri().path() == "/1"),
    );
    let (exchange, ..) = w.head();
    w.answer(exchange, HttpAnswer::Head { response: Response::new(()), end: false });
    w.answer(exchange, HttpAnswer::Data { data: pattern(1000), end: false });
    w.run(50);
    let mut response = poll(&mut second).unwrap().unwrap();
    assert!(!World::read(response.body_mut(), &mut Vec::new()).unwrap());
    drop(response);
    w.run(50);
    assert_eq!(gone(&mut w), 1);

    // Nor is one that does not bring what it announced.
    let (parts, body) = async_channel::bounded(1);
    let mut asked = w.ask(patch(10, Outgoing::parts(10, body)));
    w.run(50);
    drop(parts);
    w.run(50);
    assert!(poll(&mut asked).unwrap().is_err());
    assert_eq!(gone(&mut w), 1);
}

#[test]
fn an_early_answer_ends_the_request_and_a_reset_both() {
    let mut w = World::up();
    let (_parts, body) = async_channel::bounded(1);
    let mut asked = w.ask(patch(100, Outgoing::parts(100, body.clone())));
    w.run(50);
    let (exchange, ..) = w.head();
    w.respond(exchange, StatusCode::CONFLICT, Some("no".into()));
    w.answer(exchange, HttpAnswer::Enough);
    w.run(50);
    let mut response = poll(&mut asked).unwrap().unwrap();
    let mut text = Vec::new();
    assert!(World::read(response.body_mut(), &mut text).unwrap() && text == b"no");
    drop(response);

    let mut asked = w.ask(patch(100, Outgoing::parts(100, body)));
    let mut other = w.ask(get("/other"));
    w.run(50);
    let (exchange, ..) = w.head();
    w.answer(exchange, HttpAnswer::Reset);
    w.run(50);
    let error = poll(&mut asked).unwrap().unwrap_err();
    assert!(error.0.contains("reset by the server"), "{error}");
    // The connection is none the worse.
    w.came.retain(|(_, event)| matches!(event, HttpEvent::Head { .. }));
    let (exchange, ..) = w.head();
    w.respond(exchange, StatusCode::OK, None);
    w.run(50);
    assert!(poll(&mut other).unwrap().is_ok());
}

#[test]
fn a_server_that_leaves_answers_what_it_took_and_takes_no_more() {
    let mut w = World::up();
    let mut asked = w.ask(get("/1"));
    w.run(50);
    let (exchange, ..) = w.head();
    w.server.goaway(time(w.at));
    w.run(50);
    let mut late = w.ask(get("/2"));
    w.run(50);
    assert!(poll(&mut late).unwrap().is_err());
    assert_eq!(w.ended, 0);
    w.respond(exchange, StatusCode::OK, Some("yes".into()));
    w.run(50);
    let mut response = poll(&mut asked).unwrap().unwrap();
    let mut text = Vec::new();
    assert!(World::read(response.body_mut(), &mut text).unwrap() && text == b"yes");
    // What it was there for is through.
    assert!(w.line.is_none());
    let mut later = w.ask(get("/3"));
    assert_eq!(poll(&mut later).unwrap().unwrap_err(), gone());
}

#[test]
fn dropped_it_closes_when_what_was_asked_is_through() {
    let mut w = World::up();
    let mut asked = w.ask(get("/1"));
    w.handle = None;
    w.run(50);
    let (exchange, ..) = w.head();
    w.respond(exchange, StatusCode::OK, Some("yes".into()));
    w.run(50);
    let mut response = poll(&mut asked).unwrap().unwrap();
    assert!(w.line.is_some(), "the answer is not read");
    let mut text = Vec::new();
    assert!(World::read(response.body_mut(), &mut text).unwrap() && text == b"yes");
    drop((response, asked));
    w.run(50);
    assert!(w.line.is_none());
}

#[test]
fn a_path_that_breaks_is_noticed_and_one_that_is_silent_is_not_one() {
    let mut w = World::up();
    let mut asked = w.ask(get("/slow"));
    // A minute without a word: it is asked whether it is there, and says so.
    w.run(60_000);
    let (exchange, ..) = w.head();
    w.answer(exchange, HttpAnswer::Head { response: Response::new(()), end: false });
    w.run(50);
    let mut response = poll(&mut asked).unwrap().unwrap();
    w.cut = true;
    let mut waits = w.ask(get("/never"));
    w.run(IDLE.as_millis() as u64 + 15_000);
    let broke = World::read(response.body_mut(), &mut Vec::new()).unwrap_err();
    assert!(broke.0.contains("silent"), "{broke}");
    assert!(poll(&mut waits).unwrap().is_err());
    assert!(w.line.is_none());
}

#[test]
fn one_that_nothing_is_asked_of_ends_and_says_so() {
    let mut w = World::up();
    assert!(w.handle.as_ref().unwrap().is_open());
    w.run(IDLE.as_millis() as u64 + 15_000);
    assert!(w.line.is_none() && !w.handle.as_ref().unwrap().is_open());
}

#[test]
fn whom_it_connects_to() {
    let connected = |trust, web, cut| {
        let mut w = World::new(trust, web);
        w.cut = cut;
        w.run(PATIENCE.as_millis() as u64 + 1000);
        let ready = w.ready.try_recv().unwrap();
        assert!(ready.is_ok() || w.line.is_none());
        ready
    };
    let Tls { pin, web_hash, .. } = *tls();
    assert!(connected(Trust::Keys(vec![pin]), true, false).is_ok());
    // Who does not pin our key is shown the other certificate.
    assert!(connected(Trust::Certificates(vec![web_hash]), true, false).is_ok());
    assert!(connected(Trust::Anybody, true, false).is_ok());
    for trust in [Trust::Keys(vec![web_hash]), Trust::Certificates(vec![pin]), Trust::Keys(vec![])] {
        let error = connected(trust, true, false).unwrap_err();
        assert!(matches!(error, ConnectError::Distrusted(_)) && !error.may_fall_back(), "{error}");
    }
    let silent = connected(Trust::Keys(vec![pin]), true, true).unwrap_err();
    assert!(matches!(silent, ConnectError::NoAnswer) && silent.may_fall_back(), "{silent}");
}

#[test]
fn who_waits_no_more_for_a_connection_has_none() {
    let mut w = World::new(Trust::Keys(vec![tls().pin]), true);
    w.handle = None;
    w.run(100);
    assert!(w.line.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    /// However bodies come in, and however many at once, each arrives as it is and its answer is its own.
    #[test]
    fn bodies_arrive_whole(sizes in prop::collection::vec((0_usize..200_000, 1_usize..70_000), 1..6)) {
        let mut w = World::up();
        let mut asked = Vec::new();
        for (n, (len, piece)) in sizes.iter().enumerate() {
            let all = pattern(*len);
            let (parts, body) = async_channel::unbounded();
            all.chunks(*piece).for_each(|part| parts.try_send(Bytes::copy_from_slice(part)).unwrap());
            let request = Request::put(format!("https://{NAME}/{n}"));
            asked.push((w.ask(request.body(Outgoing::parts(*len as u64, body)).unwrap()), parts));
        }
        let (mut came, mut heads) = (BTreeMap::new(), Vec::new());
        for _ in 0..200 {
            w.run(5);
            w.bodies(&mut came);
            while let Some((exchange, HttpEvent::Head { end, .. })) = w.came.pop_front() {
                if end {
                    came.entry(exchange.stream).or_default().1 = true;
                }
                heads.push(exchange);
            }
        }
        prop_assert_eq!(heads.len(), sizes.len());
        for (n, exchange) in heads.into_iter().enumerate() {
            let (bytes, end) = &came[&exchange.stream];
            prop_assert!(*end && *bytes == pattern(sizes[n].0));
            w.respond(exchange, StatusCode::OK, Some(n.to_string().into()));
        }
        w.run(50);
        for (n, (asked, _parts)) in asked.iter_mut().enumerate() {
            let mut response = poll(asked).unwrap().unwrap();
            let mut text = Vec::new();
            prop_assert!(World::read(response.body_mut(), &mut text).unwrap());
            prop_assert_eq!(text, n.to_string().into_bytes());
        }
    }
}
