//! Frames and what they carry. Explaining goes on where a receiver would stop, as far as it makes sense.

use bytes::Bytes;
use ntproto_core::channel::PAYLOAD_OVERHEAD;
use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::crypto::schedule::rekey;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::endpoint::rules::{Phase, Side, Verdict, verdict};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::frame::{
    Flags, FrameType, HEADER_LEN, MAX_PAYLOAD, MAX_PAYLOAD_CLEAR, TRAILER_LEN, VERSION, append_checksum,
};
use ntproto_core::wire::packet::{self, Kind, Packet};

use super::proto;
use super::report::{Mark, Report};
use super::schema;
use crate::output;

/// Bytes of an X25519 key.
const KEY_LEN: usize = 32;
/// Bytes of an AES-GCM tag.
const TAG_LEN: usize = 16;
/// Bytes of `msg_seq`.
const SEQ_LEN: usize = 8;
/// Bytes of a nonce.
const NONCE_LEN: usize = 12;

/// Packet ids from here on belong to applications.
const APPLICATIONS: u16 = 0x8000;

/// The key of one channel in one direction.
pub(crate) struct Keys {
    /// The AES-256 key.
    pub(crate) key: Secret<32>,
    /// The IV of the channel.
    pub(crate) iv: [u8; NONCE_LEN],
}

impl Keys {
    /// The keys after this many updates.
    pub(crate) fn updated(mut self, times: u32) -> Self {
        for _ in 0..times {
            self.key = rekey(&RUSTCRYPTO, &self.key);
        }
        self
    }
}

/// A frame whose header could be read.
struct Frame<'a> {
    /// Where it begins in the input.
    offset: usize,
    header: &'a [u8],
    payload: &'a [u8],
}

impl Frame<'_> {
    fn payload_at(&self) -> usize {
        self.offset + HEADER_LEN
    }
}

/// Explains every frame of `input`.
pub(crate) fn explain(input: &[u8], keys: Option<&Keys>) -> Report {
    let mut report = Report::default();
    if input.is_empty() {
        report.bad(0, "there is nothing to explain");
    }
    let mut at = 0;
    while at < input.len() {
        match frame(&mut report, input, at, keys) {
            Some(next) => at = next,
            None => break,
        }
    }
    report
}

/// Explains the frame at `at` and returns where the next one begins.
fn frame(report: &mut Report, input: &[u8], at: usize, keys: Option<&Keys>) -> Option<usize> {
    let rest = &input[at..];
    if rest[0] != VERSION {
        report.bad(at, format!("a frame begins with version {VERSION}, not with {}", rest[0]));
        return None;
    }
    let Some(header) = rest.first_chunk::<HEADER_LEN>() else {
        report.bad(at, format!("a header has {HEADER_LEN} bytes; {} are there", rest.len()));
        return None;
    };
    let [_, kind, _, channel, l0, l1, l2, l3, ..] = *header;
    let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let known = FrameType::from_wire(kind);
    let on =
        Channel::from_wire(channel).map_or_else(|| format!("channel {channel}"), |c| channel_name(c).into());
    report.enter(
        at,
        known.map_or("unknown frame", FrameType::name),
        format!("on {on}, {len} bytes of payload"),
    );
    header_fields(report, header, at);
    if len > MAX_PAYLOAD {
        report.bad(at + 4, format!("the payload may have at most {MAX_PAYLOAD} bytes"));
        report.leave();
        return None;
    }
    let end = HEADER_LEN + len;
    let Some(payload) = rest.get(HEADER_LEN..end) else {
        let there = rest.len() - HEADER_LEN;
        report.bad(at + rest.len(), format!("the input ends: {there} of {len} bytes of payload are there"));
        report.leave();
        return None;
    };
    let frame = Frame { offset: at, header, payload };
    body(report, &frame, known, keys);
    let next = checksum(report, rest, at, end);
    report.leave();
    next
}

/// Whether some side in some phase takes this type on this channel.
fn has_place(kind: FrameType, channel: Channel) -> bool {
    [Side::Client, Side::Server].into_iter().any(|side| {
        [Phase::Greeting, Phase::Deciding, Phase::Open].into_iter().any(|phase| {
            matches!(verdict(side, phase, kind as u8, Flags::default(), channel), Verdict::Take(_))
        })
    })
}

fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Control => "CONTROL",
        Channel::Message => "MESSAGE",
        Channel::Sync => "SYNC",
        Channel::Media => "MEDIA",
    }
}

fn header_fields(report: &mut Report, header: &[u8; HEADER_LEN], at: usize) {
    let [version, kind, flags, channel, ..] = *header;
    report.field(at, &header[..1], "version", version.to_string());
    match FrameType::from_wire(kind) {
        Some(t) => report.field(at + 1, &header[1..2], "type", format!("{kind} {}", t.name())),
        None if Flags(flags).contains(Flags::IGNORABLE) => {
            report.push(
                at + 1,
                &header[1..2],
                "type",
                format!("{kind}, unknown: a receiver skips it"),
                Mark::Note,
            );
        }
        None => report.bad(at + 1, format!("type {kind} is unknown and not ignorable: a receiver closes")),
    }
    let mut names = Vec::new();
    if Flags(flags).contains(Flags::IGNORABLE) {
        names.push("IGNORABLE".to_owned());
    }
    if Flags(flags).contains(Flags::KEY_EPOCH) {
        names.push("KEY_EPOCH (odd)".to_owned());
    }
    let other = flags & !(Flags::IGNORABLE.0 | Flags::KEY_EPOCH.0);
    if other != 0 {
        names.push(format!("unknown bits {other:#04x}"));
    }
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    report.field(at + 2, &header[2..3], "flags", names);
    match Channel::from_wire(channel) {
        Some(c) => report.field(at + 3, &header[3..4], "channel", format!("{channel} {}", channel_name(c))),
        None => report.bad(at + 3, format!("there is no channel {channel}")),
    }
    if let (Some(t), Some(c)) = (FrameType::from_wire(kind), Channel::from_wire(channel))
        && !has_place(t, c)
    {
        report.bad(at + 3, format!("{} has no place on {}", t.name(), channel_name(c)));
    }
    let len = u32::from_be_bytes(*header[4..].first_chunk().expect("a header has 16 bytes"));
    report.field(at + 4, &header[4..8], "payload length", len.to_string());
    let seq = u64::from_be_bytes(*header[8..].first_chunk().expect("a header has 16 bytes"));
    report.field(at + 8, &header[8..], "sequence", seq.to_string());
}

fn checksum(report: &mut Report, rest: &[u8], at: usize, end: usize) -> Option<usize> {
    let Some(stored) = rest[end..].first_chunk::<TRAILER_LEN>() else {
        let there = rest.len() - end;
        report.bad(
            at + rest.len(),
            format!("the input ends: {there} of {TRAILER_LEN} bytes of checksum are there"),
        );
        return None;
    };
    let mut whole = rest[..end].to_vec();
    append_checksum(&mut whole, 0);
    let computed = &whole[end..];
    if computed == stored {
        report.push(at + end, stored, "crc32c", "good", Mark::Good);
    } else {
        report
            .bad(at + end, format!("crc32c is {}, should be {}", output::hex(stored), output::hex(computed)));
    }
    Some(at + end + TRAILER_LEN)
}

fn body(report: &mut Report, frame: &Frame<'_>, known: Option<FrameType>, keys: Option<&Keys>) {
    match known {
        Some(FrameType::AuthReq) => {
            handshake(
                report,
                frame,
                &[("ephemeral key", KEY_LEN), ("sealed static", KEY_LEN + TAG_LEN)],
                "AuthRequest",
            );
        }
        Some(FrameType::AuthResp) => handshake(report, frame, &[("ephemeral key", KEY_LEN)], "AuthResponse"),
        // In the clear before authentication, sealed afterwards: a sealed payload begins with a
        // sequence number, whose first byte is 0 for the next 2⁵⁶ frames; protobuf never begins so.
        Some(FrameType::Error | FrameType::Close) if frame.payload.first().is_none_or(|b| *b != 0) => {
            report.push(frame.payload_at(), &[], "in the clear", "sent before authentication", Mark::Note);
            if frame.payload.len() > MAX_PAYLOAD_CLEAR {
                report.bad(
                    frame.offset + 4,
                    format!("in the clear at most {MAX_PAYLOAD_CLEAR} bytes are legal"),
                );
            }
            proto::explain(report, frame.payload_at(), frame.payload, &schema::ERROR);
        }
        _ => sealed(report, frame, known, keys),
    }
}

/// The parts of a Noise message.
fn handshake(report: &mut Report, frame: &Frame<'_>, parts: &[(&str, usize)], inner: &str) {
    let mut at = frame.payload_at();
    report.enter(at, "handshake", "Noise_IK_25519_AESGCM_SHA256, in the clear");
    if frame.payload.len() > MAX_PAYLOAD_CLEAR {
        report.bad(
            frame.offset + 4,
            format!("before authentication at most {MAX_PAYLOAD_CLEAR} bytes are legal"),
        );
    }
    let mut rest = frame.payload;
    for (name, len) in parts {
        let Some((part, after)) = rest.split_at_checked(*len) else {
            report.bad(at, format!("the {name} has {len} bytes; {} are left", rest.len()));
            return report.leave();
        };
        report.field(at, part, name, format!("{len} bytes"));
        at += len;
        rest = after;
    }
    match rest.len().checked_sub(TAG_LEN) {
        None => report
            .bad(at, format!("the sealed {inner} has at least {TAG_LEN} bytes; {} are left", rest.len())),
        Some(len) => {
            report.field(at, &rest[..len], "ciphertext", format!("{len} bytes of {inner}"));
            report.field(at + len, &rest[len..], "auth tag", format!("{TAG_LEN} bytes"));
        }
    }
    report.leave();
}

fn sealed(report: &mut Report, frame: &Frame<'_>, known: Option<FrameType>, keys: Option<&Keys>) {
    let at = frame.payload_at();
    report.enter(at, "sealed payload", "AES-256-GCM; header and msg_seq are authenticated too");
    if frame.payload.len() < PAYLOAD_OVERHEAD {
        let there = frame.payload.len();
        report.bad(at, format!("a sealed payload has at least {PAYLOAD_OVERHEAD} bytes; {there} are there"));
        return report.leave();
    }
    let (seq_bytes, rest) = frame.payload.split_at(SEQ_LEN);
    let (nonce, rest) = rest.split_at(NONCE_LEN);
    let (ciphertext, tag) = rest.split_at(rest.len() - TAG_LEN);
    let seq = u64::from_be_bytes(*seq_bytes.first_chunk().expect("split at 8"));
    let plain_at = at + SEQ_LEN + NONCE_LEN;
    report.field(at, seq_bytes, "msg_seq", seq.to_string());
    report.field(at + SEQ_LEN, nonce, "nonce", output::hex(nonce));
    report.field(plain_at, ciphertext, "ciphertext", format!("{} bytes", ciphertext.len()));
    report.field(plain_at + ciphertext.len(), tag, "auth tag", output::hex(tag));
    let plain = match keys {
        None => {
            report.push(plain_at, &[], "closed", "give --key and --iv to open it", Mark::Note);
            None
        }
        Some(keys) => open(report, frame, keys, seq, plain_at),
    };
    report.leave();
    if let Some(plain) = plain {
        opened(report, known, plain_at, plain);
    }
}

fn open(report: &mut Report, frame: &Frame<'_>, keys: &Keys, seq: u64, plain_at: usize) -> Option<Bytes> {
    let mut expect = keys.iv;
    for (n, s) in expect[NONCE_LEN - SEQ_LEN..].iter_mut().zip(seq.to_be_bytes()) {
        *n ^= s;
    }
    let nonce = &frame.payload[SEQ_LEN..SEQ_LEN + NONCE_LEN];
    if expect[..] != *nonce {
        let text =
            format!("the nonce must be iv XOR msg_seq, {}: another channel's IV?", output::hex(&expect));
        report.bad(frame.payload_at() + SEQ_LEN, text);
        return None;
    }
    let aad = [frame.header, &frame.payload[..SEQ_LEN]].concat();
    let rest = &frame.payload[SEQ_LEN + NONCE_LEN..];
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>()?;
    let mut plain = ciphertext.to_vec();
    if RUSTCRYPTO.aes256gcm(&keys.key).open_in_place(&expect, &aad, &mut plain, tag).is_err() {
        let what = "the tag does not verify: another key, or altered; after key updates give --updates";
        report.bad(plain_at + ciphertext.len(), what);
        return None;
    }
    report.push(plain_at + ciphertext.len(), &[], "opened", "the tag verifies", Mark::Good);
    Some(plain.into())
}

/// The plaintext of a sealed frame.
fn opened(report: &mut Report, known: Option<FrameType>, at: usize, plain: Bytes) {
    match known {
        Some(FrameType::MsgEncryptedV2 | FrameType::SyncDelta) => packets(report, at, plain),
        Some(FrameType::TicketIssue) => proto::explain(report, at, &plain, &schema::TICKET),
        Some(FrameType::Error | FrameType::Close) => proto::explain(report, at, &plain, &schema::ERROR),
        Some(FrameType::Heartbeat | FrameType::HeartbeatAck) => match plain.first_chunk::<8>() {
            Some(n) if plain.len() == 8 => {
                report.field(at, &plain, "number", u64::from_be_bytes(*n).to_string());
            }
            _ => report.bad(at, format!("a heartbeat is 8 bytes, not {}", plain.len())),
        },
        Some(FrameType::KeyUpdate) => match plain[..] {
            [0] => report.field(at, &plain, "request", "none: only this side moves on"),
            [1] => report.field(at, &plain, "request", "the peer moves on too"),
            _ => report.bad(at, "a key update is one byte, 0 or 1"),
        },
        Some(FrameType::TicketRefresh) if plain.is_empty() => {
            report.push(at, &[], "empty", "asks for a new ticket", Mark::Note);
        }
        _ => report.field(at, &plain, "plaintext", output::hex(&plain)),
    }
}

fn packets(report: &mut Report, start: usize, mut plain: Bytes) {
    let total = plain.len();
    if total == 0 {
        report.bad(start, packet::PacketError::Empty.to_string());
    }
    while !plain.is_empty() {
        let at = start + total - plain.len();
        let before = plain.clone();
        match Packet::decode(&mut plain) {
            Ok(packet) => one_packet(report, at, &before, &packet),
            Err(e) => return report.bad(at, format!("no packet: {e}")),
        }
    }
}

fn one_packet(report: &mut Report, at: usize, bytes: &[u8], packet: &Packet) {
    let name = packet.id.name().map_or_else(|| format!("{:#06x}", packet.id.0), str::to_owned);
    let (what, request_id) = match packet.kind {
        Kind::Request(id) => ("request", id),
        Kind::Response(id) => ("response", id),
        Kind::Error(id) => ("error", id),
        Kind::Push => ("push", 0),
    };
    report.enter(at, "packet", format!("{name} {what}"));
    let known = match packet.id.name() {
        Some(name) => name,
        None if packet.id.0 >= APPLICATIONS => "(an application's)",
        None => "(not known to this version)",
    };
    report.field(at, &bytes[..2], "id", format!("{:#06x} {known}", packet.id.0));
    report.field(
        at + 2,
        &bytes[2..4],
        "flags",
        format!("{:#06x}: {what}", u16::from_be_bytes([bytes[2], bytes[3]])),
    );
    report.field(at + 4, &bytes[4..8], "request id", request_id.to_string());
    report.field(at + 8, &bytes[8..12], "body length", packet.body.len().to_string());
    let mut inner = packet::HEADER_LEN;
    if let Some(ms) = packet.deadline_ms {
        report.field(
            at + inner,
            &bytes[inner..inner + packet::DEADLINE_LEN],
            "deadline",
            format!("{ms} ms left"),
        );
        inner += packet::DEADLINE_LEN;
    }
    if let Some(trace) = &packet.trace {
        let (id, parent) = (output::hex(&trace[..16]), output::hex(&trace[16..24]));
        report.field(at + inner, trace, "trace", format!("trace {id}, parent {parent}"));
        inner += packet::TRACE_LEN;
    }
    match schema::of_packet(packet.id, packet.kind) {
        Some(schema) => proto::explain(report, at + inner, &packet.body, schema),
        None => report.field(at + inner, &packet.body, "body", format!("{} bytes", packet.body.len())),
    }
    report.leave();
}
