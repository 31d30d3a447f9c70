//! A whole endpoint, either side, against a peer that gets behind authentication and then does anything.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::crypto::secret::Secret;
use ntproto_core::endpoint::client::{self, ClientEndpoint, ServerIdentity};
use ntproto_core::endpoint::rules::Phase;
use ntproto_core::endpoint::server::{self, ServerEndpoint};
use ntproto_core::endpoint::{FRAME_TARGET, Input, Output, QUEUE_LIMIT};
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::{Channel, ChannelSet};
use ntproto_core::wire::frame::{Decoded, MAX_PAYLOAD, decode};
use ntproto_fuzz::STUB;
use ntproto_fuzz::peer::{AnyPacket, Peer, Sent, channel};
use ntproto_proto::v2::{self, auth_request};

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    Peer(Sent<'a>),
    /// The same in pieces.
    Pieces(Sent<'a>, u8),
    Writable(u8),
    /// The transport under an early session is up.
    Bound,
    Later(u16),
    TransportClosed,
    Send(u8, AnyPacket<'a>),
    UpdateKeys,
    Grant {
        expires: u16,
    },
    Refuse(u8),
    Ticket {
        expires: u16,
    },
    Close,
}

#[derive(Arbitrary, Debug)]
struct Script<'a> {
    server: bool,
    /// It begins in early data.
    early: bool,
    ops: Vec<Op<'a>>,
}

/// Time given at the start.
const BEGIN: u64 = 1_000_000;

/// One side, with the two spoken to alike.
enum Side {
    Server(Box<ServerEndpoint>, Box<Rng>),
    Client(Box<ClientEndpoint>),
}

/// What of an output the checks need.
enum Step {
    Transmit(Channel),
    Event,
    Closed,
    Wait(Option<Instant>),
}

fn binding() -> Binding {
    Binding { transport: TransportId::Quic, exporter: [3; 32] }
}

impl Side {
    fn new(server: bool, early: bool, now: Now) -> Self {
        let binding = if early { Binding::EARLY } else { binding() };
        let key = ServerKey::from_secret(&STUB, Secret::new([0x51; 32]), 1);
        let mut rng = Rng::new([4; 32]);
        if server {
            let keys = Arc::new(ServerKeys::new(key, None));
            let heartbeat = Duration::from_secs(30);
            return Self::Server(
                Box::new(ServerEndpoint::new(now, &STUB, keys, binding, heartbeat)),
                Box::new(rng),
            );
        }
        let device = DeviceKeys::generate(&mut rng, &STUB);
        let request = v2::AuthRequest {
            credential: Some(auth_request::Credential::KnownDevice(v2::KnownDevice {})),
            fingerprint_hash: vec![1; 32].into(),
            versions: vec!["2.4.1".into()],
            ..Default::default()
        };
        let config = client::Config {
            provider: &STUB,
            server: ServerIdentity::Known(*key.public()),
            binding,
            heartbeat: Duration::from_secs(30),
        };
        let endpoint = ClientEndpoint::new(now, config, &device, request, &mut rng).expect("a legal request");
        Self::Client(Box::new(endpoint))
    }

    fn phase(&self) -> Phase {
        match self {
            Self::Server(e, _) => e.phase(),
            Self::Client(e) => e.phase(),
        }
    }

    fn waiting(&self, channel: Channel) -> usize {
        match self {
            Self::Server(e, _) => e.waiting(channel),
            Self::Client(e) => e.waiting(channel),
        }
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match self {
            Self::Server(e, _) => e.handle(now, input),
            Self::Client(e) => e.handle(now, input),
        }
    }

    fn poll(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Step {
        match self {
            Self::Server(e, _) => step(e.poll_output(now, tx), |e| matches!(e, server::Event::Closed(_))),
            Self::Client(e) => step(e.poll_output(now, tx), |e| matches!(e, client::Event::Closed(_))),
        }
    }

    /// Commands that are not possible are refused; either is fine.
    fn call(&mut self, now: Now, op: &Op<'_>) {
        let ticket = |expires: u16| v2::Ticket {
            sealed: vec![9; 40].into(),
            issued_ms: 0,
            expires_ms: u64::from(expires),
        };
        match self {
            Self::Server(e, rng) => {
                let command = match op {
                    Op::Send(c, p) => server::Command::Send(channel(*c), p.packet()),
                    Op::UpdateKeys => server::Command::UpdateKeys,
                    Op::Grant { expires } => server::Command::Grant(v2::Grant {
                        session_id: vec![1; 16].into(),
                        device_id: vec![2; 16].into(),
                        version: "2.4.1".into(),
                        ticket: Some(ticket(*expires)),
                        ..Default::default()
                    }),
                    Op::Refuse(code) => {
                        server::Command::Refuse(v2::Refusal { code: u32::from(*code), ..Default::default() })
                    }
                    Op::Ticket { expires } => {
                        server::Command::IssueTicket { ticket: ticket(*expires), server_time_ms: 0 }
                    }
                    _ => server::Command::Close(ErrorCode::Normal),
                };
                let _ = e.call(now, rng, command);
            }
            Self::Client(e) => {
                let command = match op {
                    Op::Send(c, p) => client::Command::Send(channel(*c), p.packet()),
                    Op::UpdateKeys => client::Command::UpdateKeys,
                    Op::Ticket { .. } | Op::Grant { .. } => client::Command::RefreshTicket,
                    _ => client::Command::Close(ErrorCode::Normal),
                };
                let _ = e.call(now, command);
            }
        }
    }
}

fn step<E>(output: Output<E>, is_closed: impl Fn(&E) -> bool) -> Step {
    match output {
        Output::Transmit { channel } => Step::Transmit(channel),
        Output::Event(e) if is_closed(&e) => Step::Closed,
        Output::Event(_) => Step::Event,
        Output::Wait { at, .. } => Step::Wait(at),
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(script) = Script::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut now = Now { mono: Instant::from_micros(BEGIN), unix: UnixMillis(1_000) };
    let mut side = Side::new(script.server, script.early, now);
    let mut peer = Peer::default();
    let mut closed = false;
    let mut tx = TxBuf::new(2 * FRAME_TARGET);
    let mut writable = ChannelSet::ALL;
    for op in &script.ops {
        match op {
            Op::Peer(sent) => {
                let (channel, bytes) = peer.bytes(sent, side.phase() == Phase::Open);
                side.handle(now, Input::Bytes { channel, data: &bytes });
            }
            Op::Pieces(sent, size) => {
                let (channel, bytes) = peer.bytes(sent, side.phase() == Phase::Open);
                for piece in bytes.chunks(usize::from(*size).max(1)) {
                    side.handle(now, Input::Bytes { channel, data: piece });
                }
            }
            Op::Writable(bits) => {
                writable = Channel::STREAMS
                    .into_iter()
                    .filter(|c| bits & (1 << c.index()) != 0)
                    .fold(ChannelSet::NONE, ChannelSet::with);
                side.handle(now, Input::Writable(writable));
            }
            Op::Bound => side.handle(now, Input::Bound(binding())),
            Op::Later(ms) => {
                now.mono = now.mono + Duration::from_millis(u64::from(*ms));
                side.handle(now, Input::Timeout);
            }
            Op::TransportClosed => side.handle(now, Input::TransportClosed),
            command => side.call(now, command),
        }
        drain(&mut side, now, writable, &mut tx, &mut closed);
    }
});

/// Takes everything out, and checks what is promised of it.
fn drain(side: &mut Side, now: Now, writable: ChannelSet, tx: &mut TxBuf, closed: &mut bool) {
    for _ in 0..100_000 {
        tx.clear();
        match side.poll(now, Some(tx)) {
            Step::Transmit(channel) => {
                assert!(writable.contains(channel) && !tx.as_slice().is_empty());
                whole_frames(tx.as_slice(), channel);
            }
            Step::Event => assert!(!*closed, "nothing after Closed"),
            Step::Closed => assert!(!std::mem::replace(closed, true), "Closed comes once"),
            Step::Wait(at) => {
                assert!(at.is_none_or(|at| at > now.mono), "nothing is due and nothing was done");
                assert!(at.is_none() || !*closed, "no timer after the end");
                assert_eq!(*closed, side.phase() == Phase::Ended);
                for channel in Channel::STREAMS {
                    // One packet of any legal size may stand above the limit.
                    assert!(side.waiting(channel) <= QUEUE_LIMIT + MAX_PAYLOAD);
                }
                return;
            }
        }
    }
    panic!("it never waits");
}

/// What goes out is frames of its channel, whole, with right checksums.
fn whole_frames(mut bytes: &[u8], channel: Channel) {
    while !bytes.is_empty() {
        let Ok(Decoded::Frame { header, consumed, .. }) = decode(bytes, MAX_PAYLOAD) else {
            panic!("half a frame")
        };
        assert_eq!(header.channel, channel);
        bytes = &bytes[consumed..];
    }
}
