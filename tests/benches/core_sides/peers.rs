//! rustls, snow and tokio-util's codec.

use std::hint::black_box;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ntproto_proto::v2;
use prost::Message as _;
use tokio_util::codec::{Decoder as _, Encoder as _, LengthDelimitedCodec};

pub type TlsConfigs = (Arc<rustls::ClientConfig>, Arc<rustls::ServerConfig>);

/// A rustls connection pair, buffered, after its handshake.
pub struct Tls {
    client: rustls::ClientConnection,
    server: rustls::ServerConnection,
    wire: Vec<u8>,
}

pub fn tls_configs(provider: rustls::crypto::CryptoProvider) -> TlsConfigs {
    let provider = Arc::new(provider);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let cert = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = rustls::client::Resumption::disabled();
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    server.send_tls13_tickets = 0;
    (Arc::new(client), Arc::new(server))
}

impl Tls {
    /// A full handshake of TLS 1.3 with an Ed25519 certificate that the client verifies.
    pub fn handshake((client, server): &TlsConfigs) -> Self {
        let name = "localhost".try_into().unwrap();
        let mut tls = Self {
            client: rustls::ClientConnection::new(client.clone(), name).unwrap(),
            server: rustls::ServerConnection::new(server.clone()).unwrap(),
            wire: Vec::new(),
        };
        while tls.client.is_handshaking() || tls.server.is_handshaking() {
            tls.wire.clear();
            tls.client.write_tls(&mut tls.wire).unwrap();
            tls.server.read_tls(&mut &tls.wire[..]).unwrap();
            tls.server.process_new_packets().unwrap();
            tls.wire.clear();
            tls.server.write_tls(&mut tls.wire).unwrap();
            tls.client.read_tls(&mut &tls.wire[..]).unwrap();
            tls.client.process_new_packets().unwrap();
        }
        tls
    }

    /// Bytes through the connection.
    pub fn bytes(&mut self, body: &[u8]) -> Bytes {
        use std::io::{Read as _, Write as _};
        self.client.writer().write_all(body).unwrap();
        self.wire.clear();
        self.client.write_tls(&mut self.wire).unwrap();
        self.server.read_tls(&mut &self.wire[..]).unwrap();
        self.server.process_new_packets().unwrap();
        let mut plain = vec![0; body.len()];
        self.server.reader().read_exact(&mut plain).unwrap();
        plain.into()
    }

    /// A protobuf message through the connection.
    pub fn protobuf(&mut self, message: &v2::SendRequest, scratch: &mut Vec<u8>) -> usize {
        scratch.clear();
        message.encode(scratch).unwrap();
        v2::SendRequest::decode(self.bytes(scratch)).unwrap().body.len()
    }
}

/// Two sides of Noise IK before their handshake.
pub fn snow_pair() -> (snow::HandshakeState, snow::HandshakeState) {
    let params: snow::params::NoiseParams = "Noise_IK_25519_AESGCM_SHA256".parse().unwrap();
    let keys = || snow::Builder::new(params.clone()).generate_keypair().unwrap();
    let (a, b) = (keys(), keys());
    let initiator = snow::Builder::new(params.clone())
        .local_private_key(&a.private)
        .unwrap()
        .remote_public_key(&b.public)
        .unwrap()
        .build_initiator()
        .unwrap();
    let responder =
        snow::Builder::new(params).local_private_key(&b.private).unwrap().build_responder().unwrap();
    (initiator, responder)
}

/// Their handshake, which signs nothing.
pub fn snow_handshake(
    (mut i, mut r): (snow::HandshakeState, snow::HandshakeState),
) -> (snow::TransportState, snow::TransportState) {
    let (mut wire, mut plain) = ([0; 1024], [0; 1024]);
    let n = i.write_message(&[], &mut wire).unwrap();
    r.read_message(&wire[..n], &mut plain).unwrap();
    let n = r.write_message(&[], &mut wire).unwrap();
    i.read_message(&wire[..n], &mut plain).unwrap();
    (i.into_transport_mode().unwrap(), r.into_transport_mode().unwrap())
}

/// snow's transport after its handshake.
pub struct Snow {
    sender: snow::TransportState,
    receiver: snow::TransportState,
    wire: Vec<u8>,
}

impl Snow {
    pub fn new() -> Self {
        let (sender, receiver) = snow_handshake(snow_pair());
        Self { sender, receiver, wire: vec![0; 4096] }
    }

    /// Bytes through it.
    pub fn bytes(&mut self, body: &[u8]) -> Bytes {
        let n = self.sender.write_message(body, &mut self.wire).unwrap();
        let mut plain = vec![0; n];
        let n = self.receiver.read_message(&self.wire[..n], &mut plain).unwrap();
        plain.truncate(n);
        plain.into()
    }

    /// A protobuf message through it.
    pub fn protobuf(&mut self, message: &v2::SendRequest, scratch: &mut Vec<u8>) -> usize {
        scratch.clear();
        message.encode(scratch).unwrap();
        v2::SendRequest::decode(self.bytes(scratch)).unwrap().body.len()
    }
}

/// tokio-util's length-delimited codec, one frame in and out.
pub struct TokioUtil {
    codec: LengthDelimitedCodec,
    payload: Bytes,
    buf: BytesMut,
}

impl TokioUtil {
    pub fn new(payload: &[u8]) -> Self {
        Self {
            codec: LengthDelimitedCodec::new(),
            payload: Bytes::copy_from_slice(payload),
            buf: BytesMut::new(),
        }
    }

    pub fn frame(&mut self) -> usize {
        self.codec.encode(black_box(&self.payload).clone(), &mut self.buf).unwrap();
        self.codec.decode(&mut self.buf).unwrap().unwrap().len()
    }
}
