//! The tables of the specification in `docs/spec` say what the code says.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use ntproto_core::code::ErrorCode;
use ntproto_core::model::text::Field;
use ntproto_core::model::{content, permission};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::frame::FrameType;
use ntproto_core::wire::packet::PacketId;
use ntproto_core::{channel, client, endpoint, liveness, presence, session, wire};
use ntproto_hub::store::execute;
use ntproto_hub::{Rate, config as hub};
use ntproto_quic::config;

/// The cells of every table row of a page.
fn rows(page: &str) -> Vec<Vec<String>> {
    let path = format!("{}/../docs/spec/{page}.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let inner = text.lines().filter_map(|l| l.strip_prefix('|')?.strip_suffix('|'));
    inner.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Number and name of every row that begins with a number.
fn numbered(page: &str) -> BTreeMap<u64, String> {
    let number = |cell: &str| match cell.strip_prefix("0x") {
        Some(hex) if hex.len() == 4 => u64::from_str_radix(hex, 16).ok(),
        _ => cell.parse().ok(),
    };
    rows(page).into_iter().filter_map(|row| Some((number(&row[0])?, row[1].clone()))).collect()
}

#[test]
fn errors() {
    let code = ErrorCode::ALL.iter().map(|&c| (c as u64, c.name().to_owned())).collect();
    assert_eq!(numbered("errors"), code);
}

#[test]
fn frame_types() {
    let code = FrameType::ALL.iter().map(|&t| (t as u64, t.name().to_owned())).collect();
    assert_eq!(numbered("frames"), code);
}

#[test]
fn channels() {
    let code =
        Channel::ALL.iter().map(|&c| (c as u64, format!("{c:?}").to_uppercase())).collect::<BTreeMap<_, _>>();
    assert_eq!(numbered("channels"), code);
}

#[test]
fn packet_ids() {
    let code = (0..=u16::MAX)
        .filter_map(|n| Some((u64::from(n), PacketId(n).name()?.to_owned())))
        .collect::<BTreeMap<_, _>>();
    let page: BTreeMap<_, _> = numbered("packets").into_iter().filter(|(n, _)| *n > 0xff).collect();
    assert_eq!(page, code);
}

#[test]
fn records() {
    use session::records::{AUTH_REQUEST, AUTH_RESPONSE, CHALLENGE, GRANT, LIMITS, REFUSAL, SIGNED, TICKET};
    let schemas = [
        ("Challenge", CHALLENGE),
        ("AuthRequest", AUTH_REQUEST),
        ("AuthResponse", AUTH_RESPONSE),
        ("Grant", GRANT),
        ("Ticket", TICKET),
        ("Limits", LIMITS),
        ("Refusal", REFUSAL),
        ("Signed", SIGNED),
    ];
    // Records that hold records are as long as those are.
    let nested = [
        ("certificate", "Signed"),
        ("link", "Signed"),
        ("grant", "Grant"),
        ("refusal", "Refusal"),
        ("limits", "Limits"),
        ("ticket", "Ticket"),
    ];
    let range = |range: &std::ops::RangeInclusive<usize>| match (range.start(), range.end()) {
        (start, end) if start == end => start.to_string(),
        (start, end) => format!("{start} to {end}"),
    };
    let mut code = Vec::new();
    for (message, schema) in schemas {
        for (n, field) in schema.choice.iter().chain(schema.fields).enumerate() {
            let nested = nested
                .iter()
                .find(|(name, _)| *name == field.name && (message, field.name) != ("AuthRequest", "ticket"));
            code.push(vec![
                message.to_owned(),
                field.kind.to_string(),
                field.name.to_owned(),
                nested.map_or_else(|| range(&field.len), |(_, of)| (*of).to_owned()),
                if n < schema.choice.len() { "one of".to_owned() } else { range(&field.times) },
            ]);
        }
    }
    let page: Vec<_> = rows("tlv3").into_iter().filter(|row| row.len() == 5).skip(2).collect();
    assert_eq!(page, code);
}

#[test]
fn limits() {
    let often = |rate: Rate| match rate.every() {
        every if every > Duration::from_secs(1) => {
            format!("{}, then one each {}", rate.burst(), seconds(every))
        }
        every => format!("{}, then {:.0} a second", rate.burst(), 1.0 / every.as_secs_f64()),
    };
    let code = BTreeMap::from([
        ("frame header", bytes(wire::frame::HEADER_LEN)),
        ("frame checksum", bytes(wire::frame::TRAILER_LEN)),
        ("payload before authentication", bytes(wire::frame::MAX_PAYLOAD_CLEAR)),
        ("payload", bytes(wire::frame::MAX_PAYLOAD)),
        ("sealed payload beside its ciphertext", bytes(channel::PAYLOAD_OVERHEAD)),
        ("NTHD header", bytes(wire::nthd::HEADER_LEN)),
        ("depth of records", wire::tlv3::MAX_DEPTH.to_string()),
        ("records in a document", wire::tlv3::MAX_RECORDS.to_string()),
        ("body of a certificate or a device link, in a record", bytes(session::records::MAX_SIGNED_BODY)),
        ("packet header", bytes(wire::packet::HEADER_LEN)),
        ("packets in a frame", endpoint::MAX_PACKETS_PER_FRAME.to_string()),
        ("message body", bytes(client::MAX_BODY)),
        ("detail of an error", bytes(endpoint::MAX_DETAIL)),
        ("AUTH_REQ, AUTH_RESP", bytes(session::handshake::MAX_AUTH_PAYLOAD)),
        (
            "offered versions, offered transports",
            format!("{} of {} bytes", session::handshake::MAX_OFFERS, session::handshake::MAX_OFFER_LEN),
        ),
        ("device name", bytes(session::handshake::MAX_DEVICE_NAME)),
        ("time to authenticate", seconds(endpoint::AUTH_TIMEOUT)),
        ("clock skew", seconds(Duration::from_millis(session::handshake::MAX_CLOCK_SKEW_MS))),
        ("ticket", bytes(session::ticket::MAX_SEALED)),
        ("tickets under one key", session::ticket::MAX_SEALS.to_string()),
        ("frames under one key", channel::MAX_FRAMES_PER_KEY.to_string()),
        ("AES blocks under one key", channel::MAX_BLOCKS_PER_KEY.to_string()),
        ("age of a key", seconds(channel::MAX_KEY_AGE)),
        ("datagram window", channel::ReplayWindow::SIZE.to_string()),
        ("heartbeat interval", seconds(liveness::INTERVAL)),
        ("heartbeat answer", seconds(liveness::ANSWER_WITHIN)),
        ("silence after a request", seconds(liveness::PATIENCE)),
        ("longest backoff", seconds(liveness::MAX_BACKOFF)),
        ("deltas in a page", execute::MAX_PAGE.to_string()),
        ("sessions of a device without a sealed frame", ntproto_hub::config::MAX_UNCONFIRMED.to_string()),
        ("accounts of an invitation", ntproto_hub::config::MAX_INVITATION_USES.to_string()),
        ("lifetime of an invitation", seconds(ntproto_hub::config::MAX_INVITATION_LIFETIME)),
        ("devices in use", execute::MAX_LIVE_DEVICES.to_string()),
        ("devices of an account, revoked ones included", execute::MAX_DEVICES.to_string()),
        ("connections of an address that ask to come in", often(hub::AUTH_RATE)),
        ("messages of a device", often(hub::DEVICE_MESSAGES)),
        ("other requests of a device", often(hub::DEVICE_REQUESTS)),
        ("messages to a conversation", often(hub::CONVERSATION_MESSAGES)),
        ("changes of a group by an account, groups it makes", often(hub::GROUP_RATE)),
        ("TYPING of a device in a conversation", often(hub::TYPING_RATE)),
        ("buckets of one kind", hub::MAX_BUCKETS.to_string()),
        ("name, remark", text(Field::Remark)),
        ("words of a request", text(Field::Greeting)),
        ("text about oneself", text(Field::Bio)),
        ("notice", text(Field::Notice)),
        ("mentions of a message", content::MAX_MENTIONS.to_string()),
        ("excerpt of a reply", format!("{} characters", content::MAX_EXCERPT)),
        ("text of a reaction", bytes(content::MAX_REACTION)),
        ("longest mute", seconds(permission::MAX_MUTE)),
        ("presence lease", seconds(presence::LEASE)),
        ("devices of a presence record", presence::MAX_DEVICES.to_string()),
        ("accounts whose profiles are read at once", execute::MAX_PROFILES.to_string()),
        ("extra of a profile, a friend record, a group", bytes(execute::MAX_EXTRA)),
        ("avatar", bytes(execute::MAX_AVATAR)),
        ("friends and requests of an account", execute::MAX_FRIENDS.to_string()),
        ("requests that wait for an answer", execute::MAX_WANTED.to_string()),
        (
            "friend records of an account, those with a remark or block alone included",
            execute::MAX_RECORDS.to_string(),
        ),
        ("rows of a list", execute::MAX_ITEMS.to_string()),
        ("page of a list or of history", bytes(execute::PAGE_BYTES)),
        ("entries in a page of history", execute::MAX_HISTORY.to_string()),
        ("edits of a message", execute::MAX_EDITS.to_string()),
        ("time for an edit", seconds(execute::EDIT_WINDOW)),
        ("time for a recall", seconds(execute::RECALL_WINDOW)),
        ("members of a group", execute::MAX_GROUP_MEMBERS.to_string()),
        ("groups of an account", execute::MAX_GROUPS_OF.to_string()),
        ("accounts brought into a group at once", execute::MAX_INVITES.to_string()),
        ("groups read at once", execute::MAX_GROUPS_GET.to_string()),
        ("members in a page", execute::MAX_MEMBERS_PAGE.to_string()),
        ("changes of a group that are kept", execute::KEPT_CHANGES.to_string()),
        ("members up to which each inbox gets a message at once", execute::FANOUT.to_string()),
        ("members up to which watermarks reach inboxes", execute::RECEIPT_FANOUT.to_string()),
        ("messages of a large group that one SYNC puts into an inbox", execute::PULL_GROUP.to_string()),
        ("accounts watched by a connection", execute::MAX_SUBSCRIBED.to_string()),
        (
            "rest between two pushes of an account's presence",
            format!("{} ms", hub::PRESENCE_DEBOUNCE.as_millis()),
        ),
        ("entries of the audit log", execute::MAX_AUDIT.to_string()),
    ]);
    compare("limits", code.into_iter().chain(over_http()).collect());
}

/// What a server takes of requests and files.
fn over_http() -> BTreeMap<&'static str, String> {
    use ntproto_server::files;
    use ntproto_web::{WebConfig, config as web, digest};
    let tcp = ntproto_http::server::Limits::default();
    let config = WebConfig::default();
    let strangers = web::STRANGERS;
    let strangers =
        format!("{}, then {:.0} a second", strangers.burst(), 1.0 / strangers.every().as_secs_f64());
    BTreeMap::from([
        ("path and query", bytes(web::MAX_TARGET)),
        ("head of a request, over TCP", bytes(tcp.head_bytes)),
        ("fields of a head, over TCP", tcp.fields.to_string()),
        ("time for a head, over TCP", seconds(tcp.head)),
        ("time for a TLS handshake on TCP", seconds(tcp.handshake)),
        ("connections over TCP", tcp.connections.to_string()),
        ("silence of a connection over TCP", seconds(tcp.idle)),
        ("requests at a time, over HTTP/2", tcp.streams.to_string()),
        ("requests reset before they are looked at, over HTTP/2", tcp.resets.to_string()),
        ("unread bytes of a stream, over HTTP/2", bytes(tcp.stream_window as usize)),
        ("unread bytes of a connection, over HTTP/2", bytes(tcp.window as usize)),
        ("bytes of a body that were read and not consumed, over TCP", bytes(tcp.credit)),
        ("parts of a body that were read and not consumed, over TCP", tcp.parts.to_string()),
        ("parts of an answer under way", ntproto_http::server::MAX_PARTS.to_string()),
        ("unsent bytes of an answer, over HTTP/2", bytes(tcp.send_buffer)),
        ("time in which a peer takes nothing of an answer", seconds(tcp.stall)),
        ("time for the last answers of a connection that ends", seconds(tcp.last)),
        ("time in which a peer takes nothing of an answer that was reset", seconds(tcp.cut)),
        ("silence before a ping, over HTTP/2", seconds(tcp.ping)),
        ("time for its answer", seconds(tcp.pong)),
        ("what waits to be looked at, over TCP", tcp.waiting.to_string()),
        ("unsent bytes of an answer, over HTTP/3", bytes(ntproto_net::http::MAX_ANSWER)),
        ("requests at a time, of all clients", config.max_exchanges.to_string()),
        ("things waited for, for each of these", web::TASKS_PER_EXCHANGE.to_string()),
        ("requests of strangers of an address", strangers),
        ("bytes of a body given to the server and not consumed", bytes(web::WINDOW)),
        ("bytes written to a file at once", bytes(web::WRITE_BYTES)),
        ("bytes read of a file at once", bytes(web::READ_BYTES)),
        ("bytes written between two syncs", bytes(web::SYNC_BYTES as usize)),
        ("bytes written and not durable", bytes(web::UNSYNCED_BYTES as usize)),
        ("bytes charged before a body with a digest is written", bytes(web::RESERVE_BYTES as usize)),
        ("bytes of a body that is refused, read before the answer", bytes(web::DRAIN_BYTES as usize)),
        ("time for reading them", seconds(web::DRAIN_TIME)),
        ("requests that wait for the one before them", web::MAX_WAITING.to_string()),
        ("time of such a wait", seconds(web::WAIT_TIME)),
        (
            "least of a body that comes",
            format!("{} in {}", bytes(web::BODY_LEAST as usize), seconds(web::BODY_TIME)),
        ),
        ("time in which a client takes nothing of a file", seconds(web::READ_TIME)),
        ("Upload-Metadata", bytes(web::MAX_METADATA)),
        ("upload_id", format!("{} letters", web::MAX_UPLOAD_ID)),
        ("digests of a head", bytes(digest::MAX_DIGESTS)),
        ("file", bytes(config.max_file as usize)),
        ("files and uploads of an account", bytes(config.quota as usize)),
        ("unfinished uploads of an account", config.max_uploads.to_string()),
        ("life of an upload that nothing comes for", seconds(config.upload_lifetime)),
        ("what one sweep removes", web::SWEEP_BATCH.to_string()),
        ("time between two sweeps", seconds(web::SWEEP_TIME)),
        ("files held open", files::local::MAX_OPEN.to_string()),
        ("works on files at once", files::MAX_WORKING.to_string()),
    ])
}

#[test]
fn quic_limits() {
    compare(
        "quic",
        BTreeMap::from([
            ("bidirectional streams of a client", config::MAX_BIDI_STREAMS.to_string()),
            ("unidirectional streams", config::MAX_UNI_STREAMS.to_string()),
            ("unread bytes of a channel", bytes(config::STREAM_WINDOW as usize)),
            ("unread bytes of a connection", bytes(config::CONNECTION_WINDOW as usize)),
            ("bytes sent and not acknowledged", bytes(config::SEND_WINDOW as usize)),
            ("the same for CONTROL, above that", bytes(config::CONTROL_RESERVE as usize)),
            ("streams of HTTP/3, both directions", config::H3_BIDI_STREAMS.to_string()),
            ("streams of HTTP/3, one direction", config::H3_UNI_STREAMS.to_string()),
            ("unread bytes of a connection of HTTP/3", bytes(config::H3_CONNECTION_WINDOW as usize)),
            ("bytes sent and not acknowledged over HTTP/3", bytes(config::H3_SEND_WINDOW as usize)),
            ("UDP payload", bytes(config::MAX_DATAGRAM)),
            ("UDP payload until the path is known", bytes(config::MTU_SAFE.into())),
            ("datagrams received and not read", bytes(config::DATAGRAM_RECEIVE_BUFFER)),
            ("datagrams not sent yet", bytes(config::DATAGRAM_SEND_BUFFER)),
            ("idle timeout", seconds(config::IDLE_TIMEOUT)),
            ("TLS handshake", seconds(config::HANDSHAKE_TIMEOUT)),
            ("handshake bytes out of order", bytes(config::CRYPTO_BUFFER)),
            (
                "datagrams with early data before the handshake is complete",
                bytes(config::MAX_EARLY_BYTES as usize),
            ),
            ("TLS sessions a server remembers", ntproto_quic::sessions::MAX_SESSIONS.to_string()),
            ("half-open handshakes before Retry", config::RETRY_ABOVE.to_string()),
            ("half-open handshakes in all", config::MAX_HALF_OPEN.to_string()),
            ("age of a Retry token", seconds(config::RETRY_TOKEN_LIFETIME)),
            ("connections of an endpoint", config::MAX_CONNECTIONS.to_string()),
            ("answers without a connection that wait", config::MAX_RESPONSES.to_string()),
            ("reason of a close", bytes(config::MAX_CLOSE_REASON)),
        ]),
    );
}

fn text(field: Field) -> String {
    let limits = field.limits();
    format!("{} characters, {} bytes", limits.chars, limits.bytes)
}

/// The masks of what members may do, and whose they are.
#[test]
fn permissions() {
    use permission::{Permissions, Policy, Role};
    let all = Policy { members: Permissions::ALL, ..Policy::default() };
    let code: Vec<_> = Permissions::NAMES
        .iter()
        .map(|&(bit, name)| {
            let has = |role: Role| if role.permissions().contains(bit) { "yes" } else { "no" };
            let member = if all.permissions(Role::Member).contains(bit) { "as the group says" } else { "no" };
            let bits = format!("0x{:03x}", bit.to_wire());
            [bits, name.into(), member.into(), has(Role::Admin).into(), has(Role::Owner).into()].to_vec()
        })
        .collect();
    let page: Vec<_> = rows("groups").into_iter().filter(|row| row[0].starts_with("0x")).collect();
    assert_eq!(page, code);
}

fn bytes(n: usize) -> String {
    format!("{n} bytes")
}

fn seconds(d: Duration) -> String {
    format!("{} s", d.as_secs())
}

/// A page's table of limits is what the code says.
fn compare(page: &str, code: BTreeMap<&str, String>) {
    let heads = |row: &Vec<String>| row[1] == "value" || row[1] == "---";
    let rows = rows(page).into_iter().filter(|row| !heads(row));
    let page: BTreeMap<_, _> = rows.map(|row| (row[0].clone(), row[1].clone())).collect();
    let code: BTreeMap<_, _> = code.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(page, code);
}
