//! A client of HTTP/3 on a socket.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use ntproto_core::tx::TxBuf;
use ntproto_h3::{Config, Event, StreamId};
use ntproto_net::web::Carrier;
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ClientTls, Closed, ConnId, Endpoint, EndpointConfig, H3, Input, Output, Pin, Received, TX_LIMIT, Trust,
};
use ntproto_tokio::Clock;
use rustls::pki_types::CertificateDer;
use tokio::net::UdpSocket;

use crate::common::within;

pub(crate) struct Client {
    socket: UdpSocket,
    at: SocketAddr,
    clock: Clock,
    quic: Endpoint,
    conn: ConnId,
    carrier: Carrier,
    tx: TxBuf,
    up: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) lost: Option<Closed>,
}

impl Client {
    pub(crate) async fn connect(at: SocketAddr, certificate: &CertificateDer<'static>) -> Self {
        let clock = Clock::start();
        let trust = Trust::Pinned(vec![Pin::of(certificate).unwrap()]);
        let tls = ClientTls::new(default_provider(), trust, &[H3]).unwrap();
        let mut quic = Endpoint::new(EndpointConfig::client(), clock.base(), [9; 32]);
        let conn = quic.connect(clock.now(), &tls, at, "localhost").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut this = Self {
            socket,
            at,
            clock,
            quic,
            conn,
            carrier: Carrier::client(Config::default()),
            tx: TxBuf::new(TX_LIMIT),
            up: false,
            events: Vec::new(),
            lost: None,
        };
        within(async {
            while !this.events.iter().any(|event| matches!(event, Event::Settings { .. })) {
                this.turn().await;
            }
        })
        .await;
        this
    }

    /// Sends what there is to send, and takes what comes within a few milliseconds.
    pub(crate) async fn turn(&mut self) {
        self.flush().await;
        let mut datagram = [0; 2048];
        let wait = tokio::time::timeout(Duration::from_millis(10), self.socket.recv(&mut datagram));
        if let Ok(Ok(len)) = wait.await {
            let now = self.clock.now();
            self.quic.handle(now, Input::Datagram(Received::one(self.at, &datagram[..len])));
        }
        let now = self.clock.now();
        self.quic.handle(now, Input::Timeout);
        self.carrier.timeout(now);
        self.flush().await;
    }

    async fn flush(&mut self) {
        loop {
            let now = self.clock.now();
            if self.up {
                let carrier = &mut self.carrier;
                self.quic.with(now, self.conn, |c| carrier.pump(now, c));
                self.events.extend(std::iter::from_fn(|| self.carrier.next_event()));
            }
            match self.quic.poll_output(now, Some(&mut self.tx)) {
                Output::Transmit(t) => {
                    for one in self.tx.as_slice().chunks(t.segment_size.unwrap_or(t.len)) {
                        let _ = self.socket.send_to(one, self.at).await;
                    }
                }
                Output::Event(ntproto_quic::Event::Connected { .. }) => self.up = true,
                Output::Event(ntproto_quic::Event::Closed { reason, .. }) => self.lost = Some(reason),
                Output::Event(_) => {}
                Output::Wait { .. } => return,
            }
        }
    }

    /// Begins a request; a body may follow.
    pub(crate) fn begin(
        &mut self,
        method: Method,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        end: bool,
    ) -> StreamId {
        let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        request = request.header("authorization", token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.carrier.machine().request(&request.body(()).unwrap(), end).unwrap()
    }

    /// Sends all of it; whatever the answer is comes later.
    pub(crate) async fn send(&mut self, stream: StreamId, mut data: Bytes, end: bool) {
        loop {
            let Ok(taken) = self.carrier.machine().send(stream, data.clone(), end) else { return };
            drop(data.split_to(taken));
            if data.is_empty() || self.lost.is_some() {
                return self.flush().await;
            }
            self.turn().await;
        }
    }

    /// The head of a request's answer, if it came.
    pub(crate) fn answered(&self, stream: StreamId) -> Option<&Response<()>> {
        self.events.iter().find_map(|event| match event {
            Event::Response { stream: of, head, .. } if *of == stream => Some(head),
            _ => None,
        })
    }

    /// What came of its body.
    pub(crate) fn body(&self, stream: StreamId) -> Vec<u8> {
        let data = self.events.iter().filter_map(|event| match event {
            Event::Data { stream: of, data } if *of == stream => Some(&data[..]),
            _ => None,
        });
        data.collect::<Vec<_>>().concat()
    }

    /// Goes on until it is so.
    pub(crate) async fn until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        within(async {
            while !done(self) {
                self.turn().await;
            }
        })
        .await;
    }
}
