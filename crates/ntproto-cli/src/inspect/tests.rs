#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use ntproto_core::channel::Sealer;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::schedule::rekey;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::time::Instant;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::frame::{self, Flags, FrameType};
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_proto::v2;
use prost::Message as _;

use super::{Keys, explain};
use crate::output::Style;

fn keys() -> Keys {
    Keys { key: Secret::new([7; 32]), iv: [9; 12] }
}

fn sealer(channel: Channel) -> Sealer {
    let keys = keys();
    Sealer::new(&RUSTCRYPTO, channel, (keys.key, keys.iv), 0, Instant::from_micros(1))
}

fn append(sealer: &mut Sealer, kind: FrameType, plain: &[u8], out: &mut Vec<u8>) {
    let start = Sealer::begin(out);
    out.extend_from_slice(plain);
    sealer.finish(Instant::from_micros(1), kind, Flags::default(), out, start).unwrap();
}

fn seal(channel: Channel, kind: FrameType, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append(&mut sealer(channel), kind, plain, &mut out);
    out
}

fn send() -> Vec<u8> {
    let request = v2::SendRequest {
        conversation: Bytes::copy_from_slice(&ConversationId::direct(Uin(10002), Uin(10001)).0),
        client_msg_id: Bytes::from_static(&[0xab; 16]),
        body: Bytes::from_static("héllo\nthere".as_bytes()),
        resolve_only: false,
        ..Default::default()
    };
    let push = v2::Notify {
        position: 12,
        previous: 11,
        packet: Some(v2::SyncPacket {
            event_type: 2,
            payload: v2::Receipt {
                conversation: Bytes::copy_from_slice(&ConversationId::direct(Uin(10002), Uin(10001)).0),
                member: 10002,
                delivered_seq: 5,
                read_seq: 0,
            }
            .encode_to_vec()
            .into(),
        }),
    };
    let error = v2::Error { code: 67, detail: "slow \u{1b}[31mdown".into(), retry_after_ms: 250 };
    let mut plain = Vec::new();
    let packets = [
        Packet {
            id: PacketId::SEND,
            kind: Kind::Request(7),
            deadline_ms: Some(4000),
            trace: Some([0x11; 25]),
            body: request.encode_to_vec().into(),
        },
        Packet {
            id: PacketId::NOTIFY,
            kind: Kind::Push,
            deadline_ms: None,
            trace: None,
            body: push.encode_to_vec().into(),
        },
        Packet {
            id: PacketId::SEND,
            kind: Kind::Error(6),
            deadline_ms: None,
            trace: None,
            body: error.encode_to_vec().into(),
        },
        Packet {
            id: PacketId(0x8001),
            kind: Kind::Push,
            deadline_ms: None,
            trace: None,
            body: Bytes::from_static(b"app"),
        },
    ];
    packets.iter().for_each(|p| p.encode(&mut plain));
    seal(Channel::Message, FrameType::MsgEncryptedV2, &plain)
}

fn text(input: &[u8], keys: Option<&Keys>) -> String {
    explain(input, keys).text(Style::PLAIN)
}

#[test]
fn a_sealed_frame_without_keys() {
    insta::assert_snapshot!(text(&send(), None));
}

#[test]
fn a_sealed_frame_opened() {
    let report = explain(&send(), Some(&keys()));
    assert_eq!(report.problems(), 0);
    insta::assert_snapshot!(report.text(Style::PLAIN));
}

#[test]
fn colours() {
    insta::assert_snapshot!(
        explain(&seal(Channel::Control, FrameType::Heartbeat, &[0, 0, 0, 0, 0, 0, 0, 5]), Some(&keys()))
            .text(Style::COLOURS)
            .replace('\u{1b}', "␛")
    );
}

#[test]
fn json() {
    let report = explain(&seal(Channel::Control, FrameType::KeyUpdate, &[1]), Some(&keys()));
    insta::assert_snapshot!(serde_json::to_string_pretty(&report.json()).unwrap());
}

#[test]
fn handshake_frames_in_the_clear() {
    let mut input = Vec::new();
    frame::encode(FrameType::AuthReq as u8, Flags(0), Channel::Control, 1, &[5; 200], &mut input);
    frame::encode(FrameType::AuthResp as u8, Flags(0), Channel::Control, 1, &[6; 120], &mut input);
    let refusal = v2::Error { code: 1, detail: "no frame".into(), retry_after_ms: 0 }.encode_to_vec();
    frame::encode(FrameType::Error as u8, Flags(0), Channel::Control, 2, &refusal, &mut input);
    insta::assert_snapshot!(text(&input, None));
}

#[test]
fn control_frames_opened() {
    let ticket = v2::Ticket {
        sealed: Bytes::from_static(&[3; 40]),
        issued_ms: 1_763_852_400_000,
        expires_ms: 1_763_853_300_000,
    };
    let close = v2::Error { code: 8, detail: String::new(), retry_after_ms: 0 };
    let mut sealer = sealer(Channel::Control);
    let mut input = Vec::new();
    let frames: [(FrameType, Vec<u8>); 4] = [
        (FrameType::TicketRefresh, vec![]),
        (FrameType::TicketIssue, ticket.encode_to_vec()),
        (FrameType::HeartbeatAck, vec![1, 2]),
        (FrameType::Close, close.encode_to_vec()),
    ];
    for (kind, plain) in frames {
        append(&mut sealer, kind, &plain, &mut input);
    }
    insta::assert_snapshot!(text(&input, Some(&keys())));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let good = send();
    let mut cases: Vec<(&str, Vec<u8>, Option<Keys>)> = vec![
        ("nothing", vec![], None),
        ("another version", vec![3, 1, 0], None),
        ("half a header", good[..9].to_vec(), None),
        ("half a payload", good[..40].to_vec(), None),
        ("half a checksum", good[..good.len() - 2].to_vec(), None),
        ("another key", good.clone(), Some(Keys { key: Secret::new([8; 32]), iv: [9; 12] })),
        ("another iv", good.clone(), Some(Keys { key: Secret::new([7; 32]), iv: [1; 12] })),
    ];
    let mut checksum = good.clone();
    *checksum.last_mut().unwrap() ^= 1;
    cases.push(("a wrong checksum", checksum, None));
    let mut kind = good.clone();
    (kind[1], kind[3]) = (99, 7);
    cases.push(("unknown type and channel", kind, None));
    let mut place = Vec::new();
    frame::encode(3, Flags(0), Channel::Sync, 3, &[0; 40], &mut place);
    cases.push(("another channel", place, None));
    let mut huge = good.clone();
    huge[4] = 0xff;
    cases.push(("a huge length", huge, None));
    let mut short = Vec::new();
    frame::encode(16, Flags(0), Channel::Message, 3, &[0; 20], &mut short);
    cases.push(("too short to be sealed", short, None));
    let broken =
        [PacketId::SEND.0.to_be_bytes().as_slice(), &[0, 0, 0, 0, 0, 7, 0, 0, 0, 3, 0x1a, 9, 1]].concat();
    cases.push(("a broken body", seal(Channel::Message, FrameType::MsgEncryptedV2, &broken), Some(keys())));
    cases.push(("no packet", seal(Channel::Message, FrameType::MsgEncryptedV2, &broken[..14]), Some(keys())));
    let mut all = String::new();
    for (name, input, keys) in cases {
        let report = explain(&input, keys.as_ref());
        assert_ne!(report.problems(), 0, "{name}");
        all += &format!("── {name}\n");
        for line in report.text(Style::PLAIN).lines().filter(|l| l.contains(" error ")) {
            all += &format!("{line}\n");
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn updated_keys_open_what_came_after_an_update() {
    let mut sealer = sealer(Channel::Sync);
    let one = |sealer: &mut Sealer| {
        let mut out = Vec::new();
        let plain = [PacketId(0x9000).0.to_be_bytes().as_slice(), &[0; 10]].concat();
        append(sealer, FrameType::SyncDelta, &plain, &mut out);
        out
    };
    let first = one(&mut sealer);
    sealer.update(Instant::from_micros(2));
    let second = one(&mut sealer);
    assert_eq!(explain(&first, Some(&keys())).problems(), 0);
    assert_eq!(explain(&second, Some(&keys())).problems(), 1);
    let updated = Keys { key: rekey(&RUSTCRYPTO, &keys().key), iv: keys().iv };
    assert_eq!(explain(&second, Some(&updated)).problems(), 0);
    assert_eq!(explain(&second, Some(&keys().updated(1))).problems(), 0);
}

mod noise {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = explain(&bytes, Some(&keys())).text(Style::COLOURS);
        }

        #[test]
        fn plaintexts_never_panic(
            plain in prop::collection::vec(any::<u8>(), 0..200),
            kind in prop::sample::select(&FrameType::ALL[..]),
        ) {
            let out = seal(Channel::Message, kind, &plain);
            let _ = explain(&out, Some(&keys())).text(Style::PLAIN);
        }

        #[test]
        fn cut_and_damaged_frames_never_panic(cut in 0..300usize, at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut input = send();
            let at = at.index(input.len());
            input[at] ^= with;
            input.truncate(cut);
            let _ = explain(&input, Some(&keys())).text(Style::PLAIN);
        }

        #[test]
        fn hexadecimal_never_panics(text in ".{0,60}") {
            let _ = super::super::input::parse(&text);
        }
    }
}

/// The frame that the tests of the command line and the help use.
#[test]
fn the_frame_in_the_help() {
    let frame = seal(Channel::Control, FrameType::Heartbeat, &[0, 0, 0, 0, 0, 0, 0, 5]);
    let hex = crate::output::hex(&frame);
    assert_eq!(hex, include_str!("../../tests/heartbeat.hex").trim());
    assert!(include_str!("../commands/inspect.rs").contains(&hex));
}
