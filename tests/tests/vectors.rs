//! The test vectors of the specification (`docs/spec/vectors.json`) are what the code computes.
//!
//! `cargo xtask vectors` writes the file. Every secret in it is a test secret.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::bootstrap::{BootstrapKeys, Given, LIFETIME};
use ntproto_core::channel::{Opener, Sealer};
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::file::{FileCipher, FileKey, SEALED_SEGMENT, SEGMENT};
use ntproto_core::crypto::identity::{Certificate, DeviceKeys, Link, ServerKey, ServerKeys};
use ntproto_core::crypto::noise::ik::{InitiatorStart, ResponderStart};
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::schedule::{Direction, KeySchedule, NoiseSplit, bind, rekey};
use ntproto_core::crypto::secret::Secret;
use ntproto_core::ids::{ConversationId, DeviceId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::session::handshake::{Carriage, PROLOGUE, Responder};
use ntproto_core::session::records::{self, Challenge};
use ntproto_core::session::ticket::TicketKey;
use ntproto_core::time::{Instant, UnixMillis};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::frame::{self, Decoded, Flags, FrameType, MAX_PAYLOAD};
use ntproto_core::wire::nthd;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_core::wire::tlv3::{Mode, Slot, Writer};
use ntproto_proto::v2;
use prost::Message as _;
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/spec/vectors.json");
const P: &dyn CryptoProvider = &RUSTCRYPTO;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

/// A secret whose bytes are `first`, `first + 1`, …
fn secret(first: u8) -> Secret<32> {
    Secret::new(std::array::from_fn(|i| first.wrapping_add(i as u8)))
}

#[test]
fn the_file_is_what_the_code_computes() {
    let vectors = json!({
        "about": "Test vectors of ntproto 2.4.1, in hexadecimal. Made by `cargo xtask vectors`.",
        "files": files(),
        "frames": frames(),
        "nthd": nthd(),
        "tlv3": tlv3(),
        "records": records(),
        "packets": packets(),
        "conversations": conversations(),
        "identities": identities(),
        "handshake": handshake().value,
        "key_schedule": key_schedule(),
        "sealed": sealed(),
        "bootstrap": bootstrap(),
    });
    let fresh = serde_json::to_string_pretty(&vectors).unwrap() + "\n";
    if std::env::var_os("NTPROTO_WRITE_VECTORS").is_some() {
        std::fs::write(Path::new(FILE), fresh).unwrap();
    } else {
        let committed = std::fs::read_to_string(Path::new(FILE)).unwrap();
        assert!(committed == fresh, "docs/spec/vectors.json is stale: run `cargo xtask vectors`");
    }
}

/// Tickets given to an address of either family, and what a device signs with one.
fn bootstrap() -> Value {
    let now = UnixMillis(1_750_000_000_000);
    let key = TicketKey::from_parts(7, now, secret(0x70));
    let keys = BootstrapKeys::derive(P_STATIC, &key, None);
    let ticket = |from: &str| {
        let given = Given { app_id: 10001, version: "2.4.1", from: from.parse().unwrap() };
        let ticket = keys.issue(&mut Rng::new([1; 32]), given, now, LIFETIME).sealed;
        keys.check(&ticket, given, now).unwrap();
        let body = v2::BootstrapTicketBody::decode(&ticket[4..ticket.len() - 32]).unwrap();
        json!({
            "app_id": body.app_id, "version": body.version, "issued_ms": body.issued_ms, "expires_ms": body.expires_ms,
            "from": from, "id": hex(&body.id), "cookie": hex(&body.cookie), "ticket": hex(&ticket),
        })
    };
    json!({ "key_id": 7, "key": hex(secret(0x70).expose()), "tickets": [ticket("192.0.2.7"), ticket("2001:db8:1:2::1")] })
}

fn frames() -> Value {
    let frame = |kind: FrameType, flags: u8, channel: Channel, seq: u64, payload: &[u8]| {
        let mut out = Vec::new();
        frame::encode(kind as u8, Flags(flags), channel, seq, payload, &mut out);
        json!({
            "type": kind.name(), "flags": flags, "channel": channel as u8, "sequence": seq,
            "payload": hex(payload), "frame": hex(out),
        })
    };
    json!([
        frame(FrameType::AuthReq, 0, Channel::Control, 1, b"not a real handshake message"),
        frame(FrameType::Close, 0, Channel::Control, 2, &[]),
        frame(FrameType::Heartbeat, 1, Channel::Control, u64::MAX, &1u64.to_be_bytes()),
        frame(FrameType::MsgEncryptedV2, 2, Channel::Message, 0x0102_0304_0506_0708, &[0xff; 32]),
    ])
}

/// The first is what the draft's own client sends.
fn nthd() -> Value {
    let message = |payload: &[u8]| {
        let mut out = Vec::new();
        nthd::encode(payload, &mut out);
        json!({ "payload": hex(payload), "message": hex(out) })
    };
    json!([message(b""), message(b"not a real handshake message")])
}

/// The first is the draft's sample.
fn tlv3() -> Value {
    let document = |mode, about: &str, write: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::new(mode);
        write(&mut writer);
        json!({ "mode": format!("{mode:?}").to_lowercase(), "about": about, "document": hex(writer.finish().unwrap()) })
    };
    json!([
        document(Mode::Bare, "type 1: the bytes 1 to 8", &|w| w.put(1, &[1, 2, 3, 4, 5, 6, 7, 8])),
        document(
            Mode::Bare,
            "type 1: type 2: \"inside\", type 3 without a value; type 0xfff: \"after\"",
            &|w| {
                w.nest(1, |w| {
                    w.put(2, b"inside");
                    w.put(3, b"");
                });
                w.put(0xfff, b"after");
            }
        ),
        document(Mode::Slot, "the same; the slots of type 1 and 2 are filled, the others zero", &|w| {
            w.slots(Slot::Filled);
            w.nest(1, |w| {
                w.put(2, b"inside");
                w.slots(Slot::Zero);
                w.put(3, b"");
            });
            w.put(0xfff, b"after");
        }),
        document(Mode::Slot, "type 2: four bytes that make the checksum zero", &|w| {
            w.slots(Slot::Filled);
            w.put(2, &[0xe4, 0x25, 0x90, 0xbf]);
        }),
    ])
}

/// The messages of the handshake as TLV3 records.
fn records() -> Value {
    let Handshake { request, response, .. } = handshake();
    let challenge = Challenge {
        token: std::array::from_fn(|i| i as u8),
        certificate: certificate(),
        versions: vec!["2.4.1".into()],
        transports: vec!["quic".into(), "tcp".into()],
    };
    json!({
        "about": "the certificate is that of the identities below, the messages are those of the handshake",
        "challenge": hex(records::write_challenge(&challenge).unwrap()),
        "auth_request": hex(records::write_auth_request(&request).unwrap()),
        "auth_response": hex(records::write_auth_response(&response).unwrap()),
    })
}

fn packets() -> Value {
    let packet = |id, kind, deadline_ms, trace, body: &'static [u8]| {
        let packet = Packet { id, kind, deadline_ms, trace, body: Bytes::from_static(body) };
        let mut out = Vec::new();
        packet.encode(&mut out);
        let (kind, request_id) = match kind {
            Kind::Request(n) => ("request", n),
            Kind::Response(n) => ("response", n),
            Kind::Error(n) => ("error", n),
            Kind::Push => ("push", 0),
        };
        json!({
            "id": id.0, "kind": kind, "request_id": request_id, "deadline_ms": deadline_ms,
            "trace": trace.map(hex), "body": hex(body), "packet": hex(out),
        })
    };
    let trace: [u8; 25] = std::array::from_fn(|i| i as u8);
    json!([
        packet(PacketId::SYNC, Kind::Request(1), None, None, b"body"),
        packet(PacketId::SEND, Kind::Request(0x0102_0304), Some(5000), Some(trace), b"body"),
        packet(PacketId::SEND, Kind::Response(0x0102_0304), None, None, b""),
        packet(PacketId(0x8001), Kind::Error(7), None, None, b"\x08\x40"),
        packet(PacketId::NOTIFY, Kind::Push, None, Some(trace), b"body"),
    ])
}

fn conversations() -> Value {
    let id = |a, b| json!({"members": [a, b], "id": hex(ConversationId::direct(Uin(a), Uin(b)).0)});
    json!([id(10001, 10002), id(70000, 10001)])
}

fn device() -> DeviceKeys {
    DeviceKeys::from_secrets(P, secret(0x00), secret(0x20))
}

fn server() -> ServerKey {
    ServerKey::from_secret(P, secret(0x40), 7)
}

const UNTIL: u64 = 1_800_000_000_000;

fn operator() -> Secret<32> {
    secret(0x60)
}

fn certified() -> Certificate {
    Certificate {
        static_key: *server().public(),
        key_id: 7,
        not_before: UnixMillis(1_700_000_000_000),
        not_after: UnixMillis(UNTIL),
        tls_pins: vec![],
    }
}

fn certificate() -> v2::ServerCertificate {
    certified().sign(P, &operator())
}

fn identities() -> Value {
    let (operator, certificate, signed) = (operator(), certified(), certificate());
    let public = P.ed25519_public(&operator);
    assert_eq!(Certificate::verify(P, &public, &signed, UnixMillis(UNTIL - 1)), Ok(certificate.clone()));
    let pinned = Certificate { tls_pins: vec![[0x11; 32], [0x22; 32]], ..certificate };
    let signed_pinned = pinned.sign(P, &operator);
    let read = Certificate::verify(P, &public, &signed_pinned, UnixMillis(UNTIL - 1));
    assert_eq!(read.as_ref(), Ok(&pinned));

    let link = Link {
        uin: Uin(10001),
        device_id: DeviceId([0xdd; 16]),
        nonce: [0xaa; 16],
        expires: UnixMillis(UNTIL),
    };
    let signed_link = link.sign(P, &device());
    assert_eq!(Link::verify(P, device().signing_public(), &signed_link, UnixMillis(UNTIL - 1)), Ok(link));

    json!({
        "device": {
            "signing_seed": hex(device().signing_secret().expose()),
            "signing_public": hex(device().signing_public()),
            "static_secret": hex(device().static_secret().expose()),
            "static_public": hex(device().static_public()),
            "key_hash": hex(device().key_hash(P)),
        },
        "server_certificate": {
            "operator_seed": hex(operator.expose()),
            "operator_public": hex(public),
            "static_secret": hex(server().secret().expose()),
            "static_public": hex(server().public()),
            "body": hex(&signed.body),
            "signature": hex(&signed.signature),
        },
        "server_certificate_with_pins": {
            "tls_pins": pinned.tls_pins.iter().map(hex).collect::<Vec<_>>(),
            "body": hex(&signed_pinned.body),
            "signature": hex(&signed_pinned.signature),
        },
        "device_link": { "body": hex(&signed_link.body), "signature": hex(&signed_link.signature) },
    })
}

struct Handshake {
    value: Value,
    split: NoiseSplit,
    request: v2::AuthRequest,
    response: v2::AuthResponse,
}

/// Both messages, with fixed ephemerals, through the same steps an endpoint takes.
fn handshake() -> Handshake {
    let (client_e, server_e) = (secret(0x80), secret(0xa0));
    let (device, server) = (device(), server());
    let start = InitiatorStart::new(
        P_STATIC,
        PROLOGUE,
        device.static_key(),
        device.static_public(),
        server.public(),
        &client_e,
    )
    .unwrap();

    let code = [0xcc; 16];
    let hash_before_payload = *start.hash();
    let signed = [b"ntproto ticket-pop v1", &P.sha256(&[&code])[..], &hash_before_payload].concat();
    let request = v2::AuthRequest {
        credential: Some(v2::auth_request::Credential::Invitation(Bytes::copy_from_slice(&code))),
        signing_key: Bytes::copy_from_slice(device.signing_public()),
        fingerprint_hash: Bytes::from_static(&[0xfe; 32]),
        timestamp_ms: 1_750_000_000_000,
        versions: vec!["2.4.1".into()],
        transports: vec!["quic".into()],
        signature: Bytes::copy_from_slice(&P.ed25519_sign(device.signing_secret(), &signed)),
        app_id: 10001,
        device_name: "vector".into(),
        early: None,
        bootstrap: Vec::new().into(),
    };
    let (auth_req, waiting) = start.finish(&request.encode_to_vec());

    // The server's own reader accepts it, signature included.
    let keys = ServerKeys::new(ServerKey::from_secret(P, server.secret().duplicate(), 7), None);
    assert!(Responder::receive(P_STATIC, &keys, &auth_req, Carriage::Frames).is_ok());

    let response = v2::AuthResponse {
        answer: Some(v2::auth_response::Answer::Grant(v2::Grant {
            session_id: Bytes::from_static(&[0x5e; 16]),
            ticket: Some(v2::Ticket {
                sealed: Bytes::from_static(b"opaque"),
                issued_ms: 1_750_000_000_000,
                expires_ms: 1_750_000_900_000,
            }),
            version: "2.4.1".into(),
            uin: 10001,
            device_id: Bytes::from_static(&[0xdd; 16]),
            server_time_ms: 1_750_000_000_000,
            ..Default::default()
        })),
    };
    let read =
        ResponderStart::read(P_STATIC, PROLOGUE, server.agreement(), server.public(), &auth_req).unwrap();
    let (payload, reply) = read.finish().unwrap();
    assert_eq!(payload, request.encode_to_vec());
    let (auth_resp, split) = reply.write(&server_e, &response.encode_to_vec()).unwrap();
    let (payload, theirs) = waiting.read(&auth_resp).unwrap();
    assert_eq!(payload, response.encode_to_vec());
    assert!(theirs.k1.ct_eq(&split.k1) && theirs.k2.ct_eq(&split.k2) && theirs.h == split.h);

    let value = json!({
        "prologue": hex(PROLOGUE),
        "client_static_secret": hex(device.static_secret().expose()),
        "client_ephemeral_secret": hex(client_e.expose()),
        "server_static_secret": hex(server.secret().expose()),
        "server_ephemeral_secret": hex(server_e.expose()),
        "hash_before_payload": hex(hash_before_payload),
        "signed_message": hex(signed),
        "auth_request": hex(request.encode_to_vec()),
        "auth_req": hex(auth_req),
        "auth_response": hex(response.encode_to_vec()),
        "auth_resp": hex(auth_resp),
        "k1": hex(split.k1.expose()),
        "k2": hex(split.k2.expose()),
        "h": hex(split.h),
    });
    Handshake { value, split, request, response }
}

/// The provider as machines hold it.
const P_STATIC: &dyn CryptoProvider = &RUSTCRYPTO;

fn key_schedule() -> Value {
    let split = handshake().split;
    let binding = Binding { transport: TransportId::Quic, exporter: [0xe7; 32] };
    let schedule = KeySchedule::new(P_STATIC, &split, &binding);

    // The same again from the formulas of the specification, with nothing but the primitives.
    let bound = P.sha256(&[&split.h, &binding.exporter, &[1]]);
    let ms = P.hkdf_extract(b"QQNT-KEY-2024", &[&split.k1.expose()[..], split.k2.expose()].concat());
    let kdf = |label: &[u8], out: &mut [u8]| {
        P.hkdf_expand(&ms, &[&[b"ntproto/2.4.1 ", label, b"\0", &bound].concat()], out);
    };

    let mut channels = Vec::new();
    for channel in Channel::ALL {
        let mut entry = json!({ "channel": channel as u8 });
        for (direction, name) in [(Direction::ClientToServer, "c2s"), (Direction::ServerToClient, "s2c")] {
            let (key, iv) = schedule.channel_key(direction, channel);
            let (mut expected_key, mut expected_iv) = ([0; 32], [0; 12]);
            kdf(&[name.as_bytes(), b" key", &[channel as u8]].concat(), &mut expected_key);
            kdf(&[name.as_bytes(), b" iv", &[channel as u8]].concat(), &mut expected_iv);
            assert_eq!((key.expose(), iv), (&expected_key, expected_iv));
            entry[format!("{name}_key")] = hex(key.expose()).into();
            entry[format!("{name}_iv")] = hex(iv).into();
            entry[format!("{name}_next_key")] = hex(rekey(P, &key).expose()).into();
        }
        channels.push(entry);
    }
    let (mut session_key, mut exporter) = ([0; 32], [0; 32]);
    kdf(b"session key", &mut session_key);
    kdf(b"exporter", &mut exporter);
    assert_eq!(schedule.session_key().expose(), &session_key);
    assert_eq!(schedule.exporter().expose(), &exporter);
    json!({
        "about": "k1, k2 and h are those of the handshake above",
        "early": early_keys(&split, &binding),
        "tls_exporter": hex(binding.exporter),
        "transport": binding.transport as u8,
        "bound_hash": hex(bound),
        "ms": hex(ms.expose()),
        "channels": channels,
        "session_key": hex(session_key),
        "exporter": hex(exporter),
    })
}

/// The first keys of a session that began in early data, and those after, with the exporter of `binding`.
fn early_keys(split: &NoiseSplit, binding: &Binding) -> Value {
    let schedule = KeySchedule::new(P_STATIC, split, &Binding::EARLY);
    let bound = P.sha256(&[&split.h, &[0; 32], &[4]]);
    let ms = P.hkdf_extract(b"QQNT-KEY-2024", &[&split.k1.expose()[..], split.k2.expose()].concat());
    let mut channels = Vec::new();
    for channel in Channel::STREAMS {
        let mut entry = json!({ "channel": channel as u8 });
        for (direction, name) in [(Direction::ClientToServer, "c2s"), (Direction::ServerToClient, "s2c")] {
            let (first, iv) = schedule.channel_key(direction, channel);
            // The same again from the formulas.
            let (mut expected, mut next) = ([0; 32], [0; 32]);
            let label =
                [b"ntproto/2.4.1 ", name.as_bytes(), b" key", &[channel as u8], b"\0", &bound].concat();
            P.hkdf_expand(&ms, &[&label], &mut expected);
            let prk = P.hkdf_extract(&binding.exporter, &expected);
            P.hkdf_expand(&prk, &[b"ntproto/2.4.1 bind"], &mut next);
            assert_eq!((first.expose(), bind(P, &first, &binding.exporter).expose()), (&expected, &next));
            entry[format!("{name}_first_key")] = hex(expected).into();
            entry[format!("{name}_iv")] = hex(iv).into();
            entry[format!("{name}_bound_key")] = hex(next).into();
        }
        channels.push(entry);
    }
    json!({ "transport": 4, "bound_hash": hex(bound), "channels": channels })
}

/// Sealed files. Of the one that is more than a segment: how it ends, and the hash of all of it.
fn files() -> Value {
    let key = FileKey::from_slice(secret(0xA0).expose()).unwrap();
    let sealed = |plain: &[u8]| {
        let cipher = FileCipher::new(&RUSTCRYPTO, &key, plain.len() as u64).unwrap();
        let mut sealed = Vec::new();
        for (index, segment) in (0..).zip(plain.chunks(SEGMENT).chain(plain.is_empty().then_some(plain))) {
            let mut segment = segment.to_vec();
            cipher.seal(index, &mut segment);
            sealed.extend(segment);
        }
        sealed
    };
    let long: Vec<u8> = (0..=SEGMENT).map(|n| (n % 251) as u8).collect();
    let long = sealed(&long);
    let whole = [b"".as_slice(), b"hello"];
    let whole = whole.map(|plain| json!({ "plain": hex(plain), "sealed": hex(sealed(plain)) }));
    json!({
        "key": hex(key.expose()),
        "whole": whole,
        "long": {
            "plain": "65537 bytes, byte n is n mod 251",
            "sealed_sha256": hex(RUSTCRYPTO.sha256(&[&long])),
            "second_segment": hex(&long[SEALED_SEGMENT..]),
        },
    })
}

fn sealed() -> Value {
    let key = || (secret(0x11), std::array::from_fn(|i| 0xf0 + i as u8));
    let mut sealer = Sealer::new(P_STATIC, Channel::Message, key(), 0, Instant::ORIGIN);
    let mut opener = Opener::new(P_STATIC, Channel::Message, key(), 0);
    let mut frames = Vec::new();
    for (n, plain) in [&b"first"[..], b"second", b"", b"after a key update"].into_iter().enumerate() {
        if n == 3 {
            sealer.update(Instant::ORIGIN);
        }
        let mut out = Vec::new();
        let start = Sealer::begin(&mut out);
        out.extend_from_slice(plain);
        sealer.finish(Instant::ORIGIN, FrameType::MsgEncryptedV2, Flags::default(), &mut out, start).unwrap();
        frames.push(json!({ "plaintext": hex(plain), "frame": hex(&out) }));
        let Ok(Decoded::Frame { header, payload, .. }) = frame::decode(&out, MAX_PAYLOAD) else { panic!() };
        assert_eq!(opener.open(&header, &mut payload.to_vec()).unwrap(), plain);
    }
    let (key, iv) = key();
    json!({ "channel": 1, "type": "MSG_ENCRYPTED_V2", "key": hex(key.expose()), "iv": hex(iv), "frames": frames })
}
