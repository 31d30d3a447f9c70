//! A page: the client's core over WebTransport, as a browser would carry it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::client::{
    Client, ClientConfig, ClientEvent, Command, Credential, Input, Output, SendAction,
};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_h3::{Config, Dir, Event as H3, SessionEnd, SessionId, StreamId};
use ntproto_net::web::{Carrier, SESSION_PATH};
use ntproto_quic::{ClientTls, EndpointConfig, Event, TX_LIMIT};
use ntproto_sdk::store::{ClientStore as _, MemoryStore};

/// What carries the session while there is one.
struct Transport {
    conn: ntproto_quic::ConnId,
    carrier: Carrier,
    session: Option<SessionId>,
    streams: [StreamId; 3],
    /// What HTTP/3 has not taken, by channel.
    left: [Vec<u8>; 3],
}

pub struct Page {
    pub addr: SocketAddr,
    pub client: Client,
    pub events: Vec<ClientEvent>,
    pub uin: Option<Uin>,
    /// How its sessions ended.
    pub ends: Vec<SessionEnd>,
    pub wake: Option<Instant>,
    pub quic: ntproto_quic::Endpoint,
    transport: Option<Transport>,
    store: MemoryStore,
    tls: ClientTls,
    server: SocketAddr,
    tx: TxBuf,
}

impl Page {
    pub fn new(
        now: Now,
        base: std::time::Instant,
        rng: &mut Rng,
        (addr, server): (SocketAddr, SocketAddr),
        (tls, server_static): (ClientTls, [u8; 32]),
        enrol: Credential,
    ) -> Self {
        let keys = DeviceKeys::generate(rng, &RUSTCRYPTO);
        let mut config = ClientConfig::new(&RUSTCRYPTO, server_static, keys);
        config.enrol = Some(enrol);
        config.transports = vec![TransportId::Web];
        let mut store = MemoryStore::new();
        let mut client = Client::new(config, store.load_all().unwrap(), rng.array(), now);
        client.call(now, Command::Start).unwrap();
        Self {
            addr,
            client,
            events: Vec::new(),
            uin: None,
            ends: Vec::new(),
            wake: None,
            quic: ntproto_quic::Endpoint::new(EndpointConfig::client(), base, rng.array()),
            transport: None,
            store,
            tls,
            server,
            tx: TxBuf::new(TX_LIMIT),
        }
    }

    pub fn send(&mut self, now: Now, to: Uin, body: &'static [u8]) {
        let conversation = ConversationId::direct(self.uin.unwrap(), to);
        let body = Bytes::from_static(body);
        let action = SendAction::Message;
        let send =
            Command::Send { trace: None, conversation, client_msg_id: None, body, deadline: None, action };
        self.client.call(now, send).unwrap();
    }

    pub fn bodies(&self) -> Vec<Bytes> {
        let own = self.uin;
        let messages = self.events.iter().filter_map(|event| match event {
            ClientEvent::Message(inbound) if Some(Uin(inbound.message.sender)) != own => {
                Some(inbound.message.body.clone())
            }
            _ => None,
        });
        messages.collect()
    }

    pub fn timeout(&mut self, now: Now) {
        self.quic.handle(now, ntproto_quic::Input::Timeout);
        self.client.handle(now, Input::Timeout);
        if let Some(transport) = &mut self.transport {
            transport.carrier.timeout(now);
        }
    }

    /// Does all there is to do; gives the datagrams to send.
    pub fn drain(&mut self, now: Now) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            let mut moved = self.pump(now);
            let client_at = loop {
                self.tx.clear();
                let tx = self.transport.as_ref().and(Some(&mut self.tx));
                match self.client.poll_output(now, tx) {
                    Output::Transmit { channel } => {
                        if let Some(transport) = &mut self.transport {
                            transport.left[channel.index()].extend_from_slice(self.tx.as_slice());
                        }
                    }
                    Output::Connect { .. } => self.connect(now),
                    Output::Disconnect(code) => {
                        if let Some(transport) = &mut self.transport
                            && let Some(session) = transport.session
                        {
                            let _ = transport.carrier.machine().close_session(session, code as u32, "");
                        }
                        self.pump(now);
                        self.down(now);
                    }
                    Output::Store(op, txn) => {
                        let result = self.store.commit(&[txn]);
                        assert!(result.is_ok());
                        self.client.handle(now, Input::StoreDone(op, Ok(())));
                    }
                    Output::Event(event) => {
                        if let ClientEvent::Online { uin, transport, .. } = &event {
                            assert_eq!(*transport, TransportId::Web);
                            self.uin = Some(*uin);
                        }
                        self.events.push(event);
                    }
                    Output::Wait { at, .. } => break at,
                }
                moved = true;
            };
            moved |= self.pump(now);
            let quic_at = loop {
                match self.quic.poll_output(now, Some(&mut self.tx)) {
                    ntproto_quic::Output::Transmit(t) => {
                        let bytes = self.tx.as_slice();
                        out.extend(bytes.chunks(t.segment_size.unwrap_or(t.len)).map(<[u8]>::to_vec));
                    }
                    ntproto_quic::Output::Event(event) => {
                        let ours = self.transport.as_ref().map(|t| t.conn);
                        match event {
                            Event::Connected { conn, .. } if Some(conn) == ours => self.ask(),
                            Event::Closed { conn, .. } if Some(conn) == ours => self.down(now),
                            _ => {}
                        }
                        moved = true;
                    }
                    ntproto_quic::Output::Wait { at, .. } => break at,
                }
            };
            if !moved {
                let carrier = self.transport.as_ref().and_then(|t| t.carrier.deadline());
                self.wake = [client_at, quic_at, carrier].into_iter().flatten().min();
                return out;
            }
        }
    }

    fn connect(&mut self, now: Now) {
        let conn = self.quic.connect(now, &self.tls, self.server, "localhost").unwrap();
        let carrier = Carrier::client(Config::default());
        self.transport = Some(Transport {
            conn,
            carrier,
            session: None,
            streams: [StreamId(0); 3],
            left: Default::default(),
        });
    }

    fn ask(&mut self) {
        let request = Request::builder()
            .uri(format!("https://localhost:7424{SESSION_PATH}"))
            .header("origin", "http://localhost:8000")
            .body(())
            .unwrap();
        let transport = self.transport.as_mut().unwrap();
        transport.session = Some(transport.carrier.machine().connect_session(&request).unwrap());
    }

    fn down(&mut self, now: Now) {
        if let Some(transport) = self.transport.take() {
            self.quic.with(now, transport.conn, |c| c.close(0x100, b""));
            self.client.handle(now, Input::Disconnected);
        }
    }

    /// Carries bytes both ways. Whether anything came.
    fn pump(&mut self, now: Now) -> bool {
        let Some(transport) = &mut self.transport else { return false };
        if transport.session.is_none() {
            return false;
        }
        for (stream, left) in transport.streams.iter().zip(&mut transport.left) {
            if !left.is_empty() {
                let data = Bytes::copy_from_slice(left);
                let taken = transport.carrier.machine().send(*stream, data, false).unwrap_or(0);
                left.drain(..taken);
            }
        }
        let (quic, carrier) = (&mut self.quic, &mut transport.carrier);
        quic.with(now, transport.conn, |c| carrier.pump(now, c));
        let events: Vec<H3> = std::iter::from_fn(|| carrier.next_event()).collect();
        let moved = !events.is_empty();
        for event in events {
            let Some(transport) = &mut self.transport else { return true };
            match event {
                H3::SessionUp { session, .. } => {
                    transport.streams = Channel::STREAMS.map(|channel| {
                        let machine = transport.carrier.machine();
                        let stream = machine.open(session, Dir::Bi).unwrap();
                        let name = Bytes::copy_from_slice(&[channel.index() as u8]);
                        assert_eq!(machine.send(stream, name, false), Ok(1));
                        stream
                    });
                    let binding = Binding { transport: TransportId::Web, exporter: [0; 32] };
                    self.client.handle(now, Input::Connected(binding));
                }
                H3::Data { stream, data } => {
                    let channel = transport.streams.iter().position(|s| *s == stream).unwrap();
                    transport.carrier.machine().consume(stream, data.len());
                    let channel = Channel::STREAMS[channel];
                    self.client.handle(now, Input::Bytes { channel, data: &data });
                }
                H3::SessionClosed { reason, .. } => {
                    self.ends.push(reason);
                    self.down(now);
                }
                _ => {}
            }
        }
        moved
    }
}
