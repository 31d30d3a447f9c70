//! Peers that speak QUIC but break our rules, played by bare quinn-proto: each gets a typed end, nobody else
//! notices.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use common::{NAME, World, identity, pki, server_config};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_quic::tls::default_provider;
use ntproto_quic::{
    ALPN, ClientTls, Closed, ConnId, Endpoint, EndpointConfig, Event, Input, Output, Pin, Received, TX_LIMIT,
    Trust, WebCertificate,
};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Event as QuicEvent,
    VarInt,
};
use rustls::sign::CertifiedKey;

/// Bare quinn-proto with one connection, on a wire without delay to one of our endpoints.
struct Raw {
    endpoint: quinn_proto::Endpoint,
    conn: Option<(ConnectionHandle, Connection)>,
    connected: bool,
    lost: Option<ConnectionError>,
    ours: Endpoint,
    events: VecDeque<Event>,
    tx: TxBuf,
    clock: World,
}

fn raw_addr() -> SocketAddr {
    ([10, 0, 0, 66], 66).into()
}

fn our_addr() -> SocketAddr {
    ([10, 0, 0, 1], 1).into()
}

impl Raw {
    fn new(ours: EndpointConfig, server: Option<quinn_proto::ServerConfig>) -> Self {
        let clock = World::new(1, common::Link::default());
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[1; 32]);
        let config = Arc::new(quinn_proto::EndpointConfig::new(Arc::new(key)));
        Self {
            endpoint: quinn_proto::Endpoint::new(config, server.map(Arc::new), true, Some([3; 32])),
            conn: None,
            connected: false,
            lost: None,
            ours: Endpoint::new(ours, clock.base, [4; 32]),
            events: VecDeque::new(),
            tx: TxBuf::new(TX_LIMIT),
            clock,
        }
    }

    /// A bare client, connected to our server.
    fn client() -> (Self, ConnId) {
        Self::client_of(server_config())
    }

    fn client_of(server: EndpointConfig) -> (Self, ConnId) {
        let mut raw = Self::new(server, None);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pki().root.clone()).unwrap();
        let mut tls = rustls::ClientConfig::builder_with_provider(default_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let conn = raw.endpoint.connect(std::time::Instant::now(), config, our_addr(), NAME).unwrap();
        raw.conn = Some(conn);
        raw.run();
        assert!(raw.connected);
        let Some(Event::Connected { conn, .. }) = raw.events.pop_front() else { panic!("{:?}", raw.events) };
        (raw, conn)
    }

    fn quic(&mut self) -> &mut Connection {
        &mut self.conn.as_mut().unwrap().1
    }

    /// Carries datagrams until both fall silent.
    fn run(&mut self) {
        let start = std::time::Instant::now();
        loop {
            self.clock.at = 1_000_000 + start.elapsed().as_micros() as u64;
            let now = self.clock.now();
            let mut quiet = true;
            let mut to_raw = Vec::new();
            loop {
                match self.ours.poll_output(now, Some(&mut self.tx)) {
                    Output::Transmit(t) => {
                        let bytes = self.tx.as_slice();
                        to_raw.extend(bytes.chunks(t.segment_size.unwrap_or(t.len)).map(BytesMut::from));
                    }
                    Output::Event(event) => self.events.push_back(event),
                    Output::Wait { .. } => break,
                }
            }
            let at = std::time::Instant::now();
            for data in to_raw {
                quiet = false;
                self.receive(at, data);
            }
            let mut buffer = Vec::new();
            while let Some((handle, conn)) = &mut self.conn {
                while let Some(event) = conn.poll_endpoint_events() {
                    if let Some(event) = self.endpoint.handle_event(*handle, event) {
                        conn.handle_event(event);
                    }
                }
                while let Some(event) = conn.poll() {
                    match event {
                        QuicEvent::Connected => self.connected = true,
                        QuicEvent::ConnectionLost { reason } => self.lost = Some(reason),
                        _ => {}
                    }
                }
                buffer.clear();
                let Some(t) = conn.poll_transmit(at, 1, &mut buffer) else { break };
                quiet = false;
                self.ours.handle(now, Input::Datagram(Received::one(raw_addr(), &buffer[..t.size])));
            }
            if quiet {
                return;
            }
        }
    }

    fn receive(&mut self, at: std::time::Instant, data: BytesMut) {
        let mut buffer = Vec::new();
        match self.endpoint.handle(at, our_addr(), None, None, data, &mut buffer) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => self.quic().handle_event(event),
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.conn = self.endpoint.accept(incoming, at, &mut buffer, None).ok();
            }
            _ => {}
        }
    }

    /// Our side ended for a broken rule, said so once, and the peer was told.
    fn assert_fault(mut self, conn: ConnId, told: bool) {
        let reads = self.events.iter().filter_map(|event| match event {
            Event::Readable { channel, .. } => Some(*channel),
            _ => None,
        });
        let now = self.clock.now();
        for channel in reads.collect::<Vec<Channel>>() {
            self.ours.with(now, conn, |c| while c.read(channel, 100).is_some() {});
        }
        self.run();
        let closed: Vec<_> = self.events.iter().filter(|e| matches!(e, Event::Closed { .. })).collect();
        assert!(
            matches!(closed.as_slice(),
                [Event::Closed { conn: c, reason: Closed::Transport { by_peer: false, .. } }] if *c == conn),
            "{closed:?}"
        );
        match self.lost {
            Some(ConnectionError::ApplicationClosed(close)) => {
                assert!(told);
                assert_eq!(close.error_code, VarInt::from_u32(1));
            }
            Some(ConnectionError::ConnectionClosed(_)) => assert!(!told),
            other => panic!("{other:?}"),
        }
        assert_eq!(self.ours.stats().half_open, 0);
    }
}

//= proof: quic-5
#[test]
fn a_bare_client_can_talk_to_us() {
    let (mut raw, conn) = Raw::client();
    let stream = raw.quic().streams().open(Dir::Bi).unwrap();
    raw.quic().send_stream(stream).write(b"frame").unwrap();
    raw.run();
    let now = raw.clock.now();
    let got = raw.ours.with(now, conn, |c| c.read(Channel::Control, 100)).unwrap();
    assert_eq!(got.as_deref(), Some(b"frame".as_slice()));
}

//= proof: quic-1
#[test]
fn a_server_opens_no_stream() {
    let (mut raw, conn) = Raw::client();
    // Room for a hundred is quinn's default.
    for channel in Channel::STREAMS {
        let stream = raw.quic().streams().open(Dir::Bi).unwrap();
        raw.quic().send_stream(stream).write(b"frame").unwrap();
        raw.run();
        let now = raw.clock.now();
        assert_eq!(raw.ours.with(now, conn, |c| c.write(channel, b"answer")), Some(6));
        raw.run();
    }
    assert_eq!(raw.quic().streams().accept(Dir::Bi), None);
    assert_eq!(raw.quic().streams().accept(Dir::Uni), None);
}

//= proof: quic-2
#[test]
fn a_channel_may_not_end() {
    let (mut raw, conn) = Raw::client();
    let stream = raw.quic().streams().open(Dir::Bi).unwrap();
    raw.quic().send_stream(stream).write(b"last words").unwrap();
    raw.quic().send_stream(stream).finish().unwrap();
    raw.run();
    raw.assert_fault(conn, true);
}

//= proof: quic-2
#[test]
fn a_channel_may_not_be_reset() {
    let (mut raw, conn) = Raw::client();
    let stream = raw.quic().streams().open(Dir::Bi).unwrap();
    raw.quic().send_stream(stream).write(b"oops").unwrap();
    raw.quic().send_stream(stream).reset(VarInt::from_u32(7)).unwrap();
    raw.run();
    raw.assert_fault(conn, true);
}

//= proof: quic-2
#[test]
fn a_channel_may_not_be_stopped() {
    let (mut raw, conn) = Raw::client();
    let stream = raw.quic().streams().open(Dir::Bi).unwrap();
    raw.quic().send_stream(stream).write(b"hush").unwrap();
    raw.quic().recv_stream(stream).stop(VarInt::from_u32(7)).unwrap();
    raw.run();
    raw.assert_fault(conn, true);
}

#[test]
fn more_streams_than_channels_are_not_to_be_had() {
    let (mut raw, _) = Raw::client();
    let opened = std::iter::from_fn(|| raw.quic().streams().open(Dir::Bi)).count();
    assert_eq!(opened, 3);
    assert_eq!(raw.quic().streams().open(Dir::Uni), None);
}

//= proof: quic-10
#[test]
fn a_stream_that_is_no_channel_ends_the_connection() {
    // A server that also serves HTTP/3 can't forbid it by QUIC's own limits.
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec![NAME.into()]).unwrap().self_signed(&key).unwrap();
    let der = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let web = WebCertificate::new(&default_provider(), vec![cert.der().clone()], der).unwrap();
    let tls = identity().tls(&[ALPN]).with_web(web).unwrap();
    let (mut raw, conn) = Raw::client_of(EndpointConfig::server(tls));
    let opened = std::iter::from_fn(|| raw.quic().streams().open(Dir::Bi)).count();
    assert_eq!(opened, 3);
    let stream = raw.quic().streams().open(Dir::Uni).unwrap();
    raw.quic().send_stream(stream).write(b"what is this?").unwrap();
    raw.run();
    raw.assert_fault(conn, true);
}

/// Shows somebody else's certificate and signs with a key of its own.
#[derive(Debug)]
struct Thief(Arc<CertifiedKey>);

impl rustls::server::ResolvesServerCert for Thief {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

//= proof: quic-4
#[test]
fn a_stolen_certificate_without_its_key_proves_nothing() {
    let victim = &identity().cert;
    let own = rcgen::KeyPair::generate().unwrap().serialize_der();
    let own = rustls::pki_types::PrivateKeyDer::Pkcs8(own.into());
    let key = rustls::crypto::ring::sign::any_supported_type(&own).unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(default_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Thief(Arc::new(CertifiedKey::new(vec![victim.clone()], key)))));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls: Arc<QuicServerConfig> = Arc::new(QuicServerConfig::try_from(tls).unwrap());
    let pinned = Trust::Pinned(vec![Pin::of(victim).unwrap()]);
    for trust in [pinned, pki().trust()] {
        let prk = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, &[]).extract(&[5; 32]);
        let server = quinn_proto::ServerConfig::new(Arc::clone(&tls) as _, Arc::new(prk));
        let mut raw = Raw::new(EndpointConfig::client(), Some(server));
        let client = ClientTls::new(default_provider(), trust, &[ALPN]).unwrap();
        let now = raw.clock.now();
        raw.ours.connect(now, &client, raw_addr(), NAME).unwrap();
        raw.run();
        assert!(
            matches!(
                raw.events.pop_front(),
                Some(Event::Closed { reason: Closed::Tls { by_peer: false, .. }, .. })
            ),
            "the signature was not checked"
        );
        assert!(!raw.connected);
    }
}
