//! A server's endpoint and one client, on a wire of 5 ms.
#![allow(clippy::disallowed_methods, reason = "QUIC asks for an instant to count from")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_h3::{Config, Event as H3, StreamId};
use ntproto_net::tcp::gate::TcpLimits;
use ntproto_net::web::Carrier;
use ntproto_net::{Endpoint, Event, ExchangeId, HttpAnswer, HttpEvent, Output, WebConfig};
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ClientTls, Closed, EndpointConfig, H3 as ALPN_H3, Input, Pin, Received, ServerTls, TX_LIMIT, Trust,
    WebCertificate,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const DELAY: u64 = 5_000;
pub(crate) const NAME: &str = "ntp.example";

fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec![NAME.into()]).unwrap().self_signed(&key).unwrap();
    (cert.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

fn tls() -> &'static (ServerTls, ClientTls, ClientTls) {
    static TLS: OnceLock<(ServerTls, ClientTls, ClientTls)> = OnceLock::new();
    TLS.get_or_init(|| {
        let (native, native_key) = certificate();
        let (cert, key) = certificate();
        let client = |cert, alpn| {
            let trust = Trust::Pinned(vec![Pin::of(cert).unwrap()]);
            ClientTls::new(default_provider(), trust, &[alpn]).unwrap()
        };
        let clients = (client(&cert, ALPN_H3), client(&native, ALPN));
        let web = WebCertificate::new(&default_provider(), vec![cert], key).unwrap();
        let server = ServerTls::new(default_provider(), vec![native], native_key, &[ALPN]).unwrap();
        (server.with_web(web).unwrap(), clients.0, clients.1)
    })
}

pub(crate) struct World {
    at: u64,
    pub(crate) server: Endpoint,
    pub(crate) quic: ntproto_quic::Endpoint,
    pub(crate) conn: ntproto_quic::ConnId,
    pub(crate) client: Carrier,
    tx: TxBuf,
    /// When, to the server or to the client, what.
    wire: VecDeque<(u64, bool, Vec<u8>)>,
    /// What came at either side and was not taken yet.
    pub(crate) at_server: VecDeque<Event>,
    pub(crate) at_client: VecDeque<H3>,
    pub(crate) lost: Option<Closed>,
    wakes: [Option<Instant>; 2],
    /// The client reads nothing: its windows fill.
    pub(crate) deaf: bool,
    /// Nothing arrives any more.
    pub(crate) cut: bool,
    /// How long the wire to the client takes for a packet, in microseconds, and until when it is busy.
    pub(crate) pace: u64,
    busy: u64,
}

fn server_addr() -> SocketAddr {
    ([10, 0, 0, 1], 7424).into()
}

pub(crate) fn client_addr() -> SocketAddr {
    ([10, 0, 0, 2], 4000).into()
}

impl World {
    pub(crate) fn new(config: WebConfig) -> Self {
        let base = std::time::Instant::now();
        let mut server =
            Endpoint::new(EndpointConfig::server(tls().0.clone()), TcpLimits::default(), base, [1; 32]);
        server.serve_web(config);
        let mut quic = ntproto_quic::Endpoint::new(EndpointConfig::client(), base, [2; 32]);
        let at = 1_000_000;
        let conn = quic.connect(time(at), &tls().1, server_addr(), NAME).unwrap();
        Self {
            at,
            server,
            quic,
            conn,
            client: Carrier::client(Config::default()),
            tx: TxBuf::new(TX_LIMIT),
            wire: VecDeque::new(),
            at_server: VecDeque::new(),
            at_client: VecDeque::new(),
            lost: None,
            wakes: [None, None],
            deaf: false,
            cut: false,
            pace: 0,
            busy: 0,
        }
    }

    /// One whose HTTP/3 client knows the server's settings.
    pub(crate) fn connected(config: WebConfig) -> Self {
        let mut world = Self::new(config);
        world.run(100);
        assert!(
            matches!(world.at_client.pop_front(), Some(H3::Settings { webtransport: true, datagrams: true })),
            "{:?}",
            world.at_client
        );
        world
    }

    /// One whose client is played by hand.
    pub(crate) fn hostile() -> Self {
        let mut world = Self::new(WebConfig::default());
        world.deaf = true;
        world.run(100);
        world
    }

    /// Another connection to the same server takes the place of the client's, which goes on by itself or is gone.
    pub(crate) fn reconnect(&mut self) {
        self.conn = self.quic.connect(self.now(), &tls().1, server_addr(), NAME).unwrap();
        (self.client, self.lost) = (Carrier::client(Config::default()), None);
        self.at_client.clear();
        self.run(100);
    }

    /// Lets so many seconds pass, in which the client shows every few of them that it is there.
    pub(crate) fn stay(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let (now, conn) = (self.now(), self.conn);
            self.quic.with(now, conn, |c| c.ping());
            self.run(1000);
        }
    }

    /// When the server wants to be woken.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.wakes[0]
    }

    pub(crate) fn now(&self) -> Now {
        time(self.at)
    }

    fn drain(&mut self) {
        let now = self.now();
        let mut sent = Vec::new();
        loop {
            let tx = &mut self.tx;
            match self.server.poll_output(now, Some(tx)) {
                Output::Transmit(t) => {
                    let bytes = tx.as_slice();
                    for one in bytes.chunks(t.segment_size.unwrap_or(t.len)) {
                        self.busy = self.busy.max(self.at) + self.pace;
                        sent.push((self.busy + DELAY, one.to_vec()));
                    }
                }
                Output::Event(event) => self.at_server.push_back(event),
                Output::Stream(..) => panic!("there is no TCP here"),
                Output::Wait(at) => {
                    self.wakes[0] = at;
                    break;
                }
            }
        }
        sent.drain(..).for_each(|(at, data)| self.put(at, false, data));
        loop {
            self.pump();
            let tx = &mut self.tx;
            match self.quic.poll_output(now, Some(tx)) {
                ntproto_quic::Output::Transmit(t) => {
                    let bytes = tx.as_slice();
                    for one in bytes.chunks(t.segment_size.unwrap_or(t.len)) {
                        sent.push((self.at + DELAY, one.to_vec()));
                    }
                }
                ntproto_quic::Output::Event(ntproto_quic::Event::Closed { reason, .. }) => {
                    self.lost = Some(reason);
                }
                ntproto_quic::Output::Event(_) => {}
                ntproto_quic::Output::Wait { at, .. } => {
                    let client = self.client.deadline().filter(|_| self.lost.is_none() && !self.deaf);
                    self.wakes[1] = at.into_iter().chain(client).min();
                    break;
                }
            }
        }
        sent.drain(..).for_each(|(at, data)| self.put(at, true, data));
    }

    /// A packet goes onto the wire, and is there at that time.
    fn put(&mut self, at: u64, to_server: bool, data: Vec<u8>) {
        let place = self.wire.partition_point(|(before, ..)| *before <= at);
        self.wire.insert(place, (at, to_server, data));
    }

    fn pump(&mut self) {
        if self.deaf {
            return;
        }
        let (now, client) = (self.now(), &mut self.client);
        self.quic.with(now, self.conn, |c| {
            if c.stats().mtu > 0 {
                client.pump(now, c);
            }
        });
        self.at_client.extend(std::iter::from_fn(|| client.next_event()));
    }

    /// Lets so many milliseconds pass.
    pub(crate) fn run(&mut self, ms: u64) {
        let until = self.at + 1000 * ms;
        self.drain();
        loop {
            let wake = self.wakes.iter().flatten().map(|at| at.as_micros().max(self.at + 1)).min();
            let next = self.wire.front().map(|(at, ..)| *at).into_iter().chain(wake).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.at = self.at.max(next);
            let now = self.now();
            while let Some((_, to_server, data)) = self.wire.pop_front_if(|(at, ..)| *at <= self.at) {
                if self.cut {
                    continue;
                }
                if to_server {
                    self.server.datagram(now, Received::one(client_addr(), &data));
                } else {
                    self.quic.handle(now, Input::Datagram(Received::one(server_addr(), &data)));
                }
            }
            self.server.timeout(now);
            self.quic.handle(now, Input::Timeout);
            self.client.timeout(now);
            self.drain();
        }
        self.at = until;
        self.drain();
    }

    pub(crate) fn answer(&mut self, exchange: ExchangeId, answer: HttpAnswer) {
        let now = self.now();
        self.server.http(now, exchange, answer);
    }

    pub(crate) fn respond(&mut self, exchange: ExchangeId, status: StatusCode, end: bool) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        self.answer(exchange, HttpAnswer::Head { response, end });
    }

    /// Asks, and gives what came at the server.
    pub(crate) fn ask(&mut self, method: &str, path: &str, end: bool) -> (StreamId, ExchangeId, Request<()>) {
        let request =
            Request::builder().method(method).uri(format!("https://{NAME}{path}")).body(()).unwrap();
        let stream = self.client.machine().request(&request, end).unwrap();
        self.run(50);
        let (exchange, request) = self.head(end);
        assert_eq!(exchange.stream, stream.0);
        (stream, exchange, request)
    }

    pub(crate) fn head(&mut self, expected: bool) -> (ExchangeId, Request<()>) {
        match self.at_server.pop_front() {
            Some(Event::Http(exchange, HttpEvent::Head { request, end, remote })) => {
                assert_eq!((end, remote), (expected, client_addr()));
                (exchange, request)
            }
            other => panic!("{other:?}"),
        }
    }

    /// What came of bodies at the client, by stream, and which have ended. Everything is consumed.
    pub(crate) fn bodies(&mut self) -> BTreeMap<StreamId, (Vec<u8>, bool)> {
        let mut all: BTreeMap<StreamId, (Vec<u8>, bool)> = BTreeMap::new();
        self.at_client.retain(|event| match event {
            H3::Data { stream, data } => {
                all.entry(*stream).or_default().0.extend_from_slice(data);
                false
            }
            H3::End { stream } => {
                all.entry(*stream).or_default().1 = true;
                false
            }
            _ => true,
        });
        for (stream, (data, _)) in &all {
            self.client.machine().consume(*stream, data.len());
        }
        all
    }

    /// Sends all of it, as it is taken; `false` if some was not within a second.
    pub(crate) fn send(&mut self, stream: StreamId, mut data: Bytes, end: bool) -> bool {
        for _ in 0..100 {
            let taken = self.client.machine().send(stream, data.clone(), end).unwrap();
            drop(data.split_to(taken));
            self.run(10);
            if data.is_empty() {
                return true;
            }
        }
        false
    }
}

pub(crate) fn origins(list: &[&str]) -> WebConfig {
    WebConfig {
        origins: ntproto_h3::origin::Origins::only(list),
        hosts: vec!["ntp.example".into()],
        ..WebConfig::default()
    }
}

fn time(at: u64) -> Now {
    Now { mono: Instant::from_micros(at), unix: UnixMillis(1_780_272_000_000 + at / 1000) }
}

/// Bytes that are not all alike.
pub(crate) fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i % 251) as u8).collect::<Vec<u8>>().into()
}

/// The TLS of a client of ours, for the same server.
pub(crate) fn native_tls() -> ClientTls {
    tls().2.clone()
}
