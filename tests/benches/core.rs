//! What a message and a handshake cost in memory, beside the peers, in one run.
//!
//! `cargo bench -p ntproto-tests --bench core`; `cargo xtask bench` prints the ratios against the bars.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::channel::{Opener, Sealer};
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::aws_lc::AWS_LC;
use ntproto_core::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::schedule::KeySchedule;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::rng::Rng;
use ntproto_core::session::handshake::{Answer, Initiator, Responder};
use ntproto_core::time::Instant;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::frame::{self, Decoded, Flags, FrameType, MAX_PAYLOAD};
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_proto::v2;
use prost::Message as _;
use tokio_util::codec::{Decoder as _, Encoder as _, LengthDelimitedCodec};

const SIZES: [usize; 3] = [64, 256, 1024];
const NOW: Instant = Instant::ORIGIN;

/// The bench's message: what a sender sends, protobuf included.
fn message(size: usize) -> v2::SendRequest {
    v2::SendRequest {
        conversation: Bytes::from_static(&[1; 16]),
        client_msg_id: Bytes::from_static(&[2; 16]),
        body: vec![7; size].into(),
        resolve_only: false,
    }
}

struct Ours {
    sealer: Sealer,
    opener: Opener,
    out: Vec<u8>,
    scratch: Vec<u8>,
}

impl Ours {
    fn new(provider: &'static dyn CryptoProvider) -> Self {
        let keys = || (Secret::new([7; 32]), [9; 12]);
        Self {
            sealer: Sealer::new(provider, Channel::Message, keys(), 0, NOW),
            opener: Opener::new(provider, Channel::Message, keys(), 0),
            out: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Encodes and seals `count` packets into one frame, opens it and decodes them.
    fn round(&mut self, message: &v2::SendRequest, count: u32) -> usize {
        self.out.clear();
        let start = Sealer::begin(&mut self.out);
        for n in 1..=count {
            self.scratch.clear();
            message.encode(&mut self.scratch).unwrap();
            Packet::encode_parts(
                PacketId::SEND,
                Kind::Request(n),
                Some(5000),
                None,
                &self.scratch,
                &mut self.out,
            );
        }
        self.sealer.finish(NOW, FrameType::MsgEncryptedV2, Flags::default(), &mut self.out, start).unwrap();

        let Ok(Decoded::Frame { header, payload, .. }) = frame::decode(&self.out, MAX_PAYLOAD) else {
            panic!()
        };
        let mut plain = Bytes::from(self.opener.open_copy(&header, payload).unwrap());
        let mut total = 0;
        while !plain.is_empty() {
            let packet = Packet::decode(&mut plain).unwrap();
            total += v2::SendRequest::decode(packet.body).unwrap().body.len();
        }
        total
    }
}

/// A rustls connection pair, buffered, after its handshake.
struct Tls {
    client: rustls::ClientConnection,
    server: rustls::ServerConnection,
    wire: Vec<u8>,
}

fn tls_configs(
    provider: rustls::crypto::CryptoProvider,
) -> (Arc<rustls::ClientConfig>, Arc<rustls::ServerConfig>) {
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
    fn handshake((client, server): &(Arc<rustls::ClientConfig>, Arc<rustls::ServerConfig>)) -> Self {
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

    fn round(&mut self, message: &v2::SendRequest, scratch: &mut Vec<u8>) -> usize {
        use std::io::{Read as _, Write as _};
        scratch.clear();
        message.encode(scratch).unwrap();
        self.client.writer().write_all(scratch).unwrap();
        self.wire.clear();
        self.client.write_tls(&mut self.wire).unwrap();
        self.server.read_tls(&mut &self.wire[..]).unwrap();
        self.server.process_new_packets().unwrap();
        let mut plain = vec![0; scratch.len()];
        self.server.reader().read_exact(&mut plain).unwrap();
        v2::SendRequest::decode(Bytes::from(plain)).unwrap().body.len()
    }
}

fn snow_pair() -> (snow::HandshakeState, snow::HandshakeState) {
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

fn snow_handshake(
    (mut i, mut r): (snow::HandshakeState, snow::HandshakeState),
) -> (snow::TransportState, snow::TransportState) {
    let (mut wire, mut plain) = ([0; 1024], [0; 1024]);
    let n = i.write_message(&[], &mut wire).unwrap();
    r.read_message(&wire[..n], &mut plain).unwrap();
    let n = r.write_message(&[], &mut wire).unwrap();
    i.read_message(&wire[..n], &mut plain).unwrap();
    (i.into_transport_mode().unwrap(), r.into_transport_mode().unwrap())
}

fn messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("message");
    for size in SIZES {
        let message = message(size);
        group.throughput(Throughput::Elements(1));
        for (name, provider) in
            [("ntproto-rustcrypto", &RUSTCRYPTO as &'static dyn CryptoProvider), ("ntproto-awslc", &AWS_LC)]
        {
            let mut ours = Ours::new(provider);
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| ours.round(black_box(&message), 1))
            });
        }
        for (name, provider) in [
            ("rustls-ring", rustls::crypto::ring::default_provider()),
            ("rustls-awslc", rustls::crypto::aws_lc_rs::default_provider()),
        ] {
            let mut tls = Tls::handshake(&tls_configs(provider));
            let mut scratch = Vec::new();
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| tls.round(black_box(&message), &mut scratch))
            });
        }
        let (mut sender, mut receiver) = snow_handshake(snow_pair());
        let (mut scratch, mut wire) = (Vec::new(), vec![0; 4096]);
        group.bench_function(BenchmarkId::new("snow-prost", size), |b| {
            b.iter(|| {
                scratch.clear();
                black_box(&message).encode(&mut scratch).unwrap();
                let n = sender.write_message(&scratch, &mut wire).unwrap();
                let mut plain = vec![0; n];
                let n = receiver.read_message(&wire[..n], &mut plain).unwrap();
                plain.truncate(n);
                v2::SendRequest::decode(Bytes::from(plain)).unwrap().body.len()
            })
        });
        group.throughput(Throughput::Elements(16));
        let mut ours = Ours::new(&AWS_LC);
        group.bench_function(BenchmarkId::new("ntproto-awslc-16-together", size), |b| {
            b.iter(|| ours.round(black_box(&message), 16))
        });
    }
    group.finish();
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    for size in [64, 1024] {
        let payload = vec![7; size];
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("ntproto-frame", size), |b| {
            b.iter(|| {
                out.clear();
                frame::encode(16, Flags::default(), Channel::Message, 1, black_box(&payload), &mut out);
                match frame::decode(&out, MAX_PAYLOAD) {
                    Ok(Decoded::Frame { payload, .. }) => payload.len(),
                    _ => panic!(),
                }
            })
        });
        let mut codec = LengthDelimitedCodec::new();
        let payload = Bytes::from(payload);
        let mut buf = BytesMut::new();
        group.bench_function(BenchmarkId::new("tokio-util", size), |b| {
            b.iter(|| {
                codec.encode(black_box(&payload).clone(), &mut buf).unwrap();
                codec.decode(&mut buf).unwrap().unwrap().len()
            })
        });
    }
    group.finish();
}

fn handshakes(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    group.measurement_time(Duration::from_secs(4));
    for (name, provider) in
        [("ntproto-rustcrypto", &RUSTCRYPTO as &'static dyn CryptoProvider), ("ntproto-awslc", &AWS_LC)]
    {
        let mut rng = Rng::new([1; 32]);
        let device = DeviceKeys::generate(&mut rng, provider);
        let keys = ServerKeys::new(ServerKey::generate(&mut rng, provider, 1), None);
        let binding = Binding { transport: TransportId::Quic, exporter: [5; 32] };
        let request = v2::AuthRequest {
            credential: Some(v2::auth_request::Credential::KnownDevice(v2::KnownDevice {})),
            fingerprint_hash: Bytes::from_static(&[0; 32]),
            versions: vec!["2.4.1".into()],
            transports: vec!["quic".into()],
            ..Default::default()
        };
        let grant = v2::Grant {
            session_id: Bytes::from_static(&[1; 16]),
            device_id: Bytes::from_static(&[2; 16]),
            version: "2.4.1".into(),
            ..Default::default()
        };
        group.bench_function(name, |b| {
            b.iter(|| {
                let (initiator, message) =
                    Initiator::start(provider, &mut rng, &device, keys.current().public(), request.clone())
                        .unwrap();
                let pending = Responder::receive(provider, &keys, &message).unwrap();
                let answer = v2::auth_response::Answer::Grant(grant.clone());
                let (message, split) =
                    pending.answer(&mut rng, v2::AuthResponse { answer: Some(answer) }).unwrap();
                let Ok(Answer::Granted(_, theirs)) = initiator.finish(&message) else { panic!() };
                let a = KeySchedule::new(provider, &split.unwrap(), &binding);
                let b = KeySchedule::new(provider, &theirs, &binding);
                black_box((a.session_key(), b.session_key()));
            })
        });
    }
    for (name, provider) in [
        ("rustls-ring", rustls::crypto::ring::default_provider()),
        ("rustls-awslc", rustls::crypto::aws_lc_rs::default_provider()),
    ] {
        let configs = tls_configs(provider);
        group.bench_function(name, |b| b.iter(|| Tls::handshake(black_box(&configs))));
    }
    group.bench_function("snow", |b| {
        b.iter_batched(snow_pair, snow_handshake, criterion::BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = messages, codec, handshakes
}
criterion_main!(benches);
