//! ntproto's sealed frames, frame codec and handshake.

use std::hint::black_box;

use bytes::Bytes;
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::channel::{Opener, Sealer};
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::crypto::schedule::KeySchedule;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::rng::Rng;
use ntproto_core::session::handshake::{Answer, Carriage, Initiator, Responder};
use ntproto_core::time::Instant;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::frame::{self, Decoded, Flags, FrameType, MAX_PAYLOAD};
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_proto::v2;
use prost::Message as _;

type Provider = &'static dyn CryptoProvider;

const NOW: Instant = Instant::ORIGIN;

/// Both ends of one channel.
pub struct Sealed {
    sealer: Sealer,
    opener: Opener,
    out: Vec<u8>,
    scratch: Vec<u8>,
}

impl Sealed {
    pub fn new(provider: Provider) -> Self {
        let keys = || (Secret::new([7; 32]), [9; 12]);
        Self {
            sealer: Sealer::new(provider, Channel::Message, keys(), 0, NOW),
            opener: Opener::new(provider, Channel::Message, keys(), 0),
            out: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Seals `count` packets of `body` into one frame, opens it and takes it apart.
    pub fn bytes(&mut self, body: &[u8], count: u32) -> usize {
        self.out.clear();
        let start = Sealer::begin(&mut self.out);
        for n in 1..=count {
            self.packet(n, body);
        }
        self.seal(start);
        let mut plain = self.open();
        let mut total = 0;
        while !plain.is_empty() {
            total += Packet::decode(&mut plain).unwrap().body.len();
        }
        total
    }

    /// The same with a protobuf message in each packet, encoded and decoded.
    pub fn protobuf(&mut self, message: &v2::SendRequest, count: u32) -> usize {
        self.out.clear();
        let start = Sealer::begin(&mut self.out);
        for n in 1..=count {
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.clear();
            message.encode(&mut scratch).unwrap();
            self.packet(n, &scratch);
            self.scratch = scratch;
        }
        self.seal(start);
        let mut plain = self.open();
        let mut total = 0;
        while !plain.is_empty() {
            let packet = Packet::decode(&mut plain).unwrap();
            total += v2::SendRequest::decode(packet.body).unwrap().body.len();
        }
        total
    }

    fn packet(&mut self, n: u32, body: &[u8]) {
        Packet::encode_parts(PacketId::SEND, Kind::Request(n), Some(5000), None, body, &mut self.out);
    }

    fn seal(&mut self, start: usize) {
        let flags = Flags::default();
        self.sealer.finish(NOW, FrameType::MsgEncryptedV2, flags, &mut self.out, start).unwrap();
    }

    fn open(&mut self) -> Bytes {
        let Ok(Decoded::Frame { header, payload, .. }) = frame::decode(&self.out, MAX_PAYLOAD) else {
            panic!()
        };
        Bytes::from(self.opener.open_copy(&header, payload).unwrap())
    }
}

/// Writes and reads one frame in the clear.
pub fn frame_codec(payload: &[u8], out: &mut Vec<u8>) -> usize {
    out.clear();
    frame::encode(16, Flags::default(), Channel::Message, 1, black_box(payload), out);
    match frame::decode(out, MAX_PAYLOAD) {
        Ok(Decoded::Frame { payload, .. }) => payload.len(),
        _ => panic!(),
    }
}

/// Both sides of a handshake, up to the session key.
pub struct Handshake {
    provider: Provider,
    rng: Rng,
    device: DeviceKeys,
    keys: ServerKeys,
    request: v2::AuthRequest,
    grant: v2::Grant,
}

impl Handshake {
    pub fn new(provider: Provider) -> Self {
        let mut rng = Rng::new([1; 32]);
        Self {
            provider,
            device: DeviceKeys::generate(&mut rng, provider),
            keys: ServerKeys::new(ServerKey::generate(&mut rng, provider, 1), None),
            rng,
            request: v2::AuthRequest {
                credential: Some(v2::auth_request::Credential::KnownDevice(v2::KnownDevice {})),
                fingerprint_hash: Bytes::from_static(&[0; 32]),
                versions: vec!["2.4.1".into()],
                transports: vec!["quic".into()],
                ..Default::default()
            },
            grant: v2::Grant {
                session_id: Bytes::from_static(&[1; 16]),
                device_id: Bytes::from_static(&[2; 16]),
                version: "2.4.1".into(),
                ..Default::default()
            },
        }
    }

    pub fn run(&mut self) -> usize {
        let Self { provider, rng, device, keys, request, grant } = self;
        let (initiator, message) = Initiator::start(
            *provider,
            rng,
            device,
            keys.current().public(),
            request.clone(),
            Carriage::Frames,
        )
        .unwrap();
        let pending = Responder::receive(*provider, keys, &message, Carriage::Frames).unwrap();
        let answer = v2::auth_response::Answer::Grant(grant.clone());
        let (message, split) =
            pending.into_parts().1.answer(rng, v2::AuthResponse { answer: Some(answer) }).unwrap();
        let Ok((Answer::Granted(_), theirs)) = initiator.finish(&message) else { panic!() };
        let binding = Binding { transport: TransportId::Quic, exporter: [5; 32] };
        let a = KeySchedule::new(*provider, &split.unwrap(), &binding);
        let b = KeySchedule::new(*provider, &theirs, &binding);
        black_box((a.session_key(), b.session_key()));
        1
    }
}
