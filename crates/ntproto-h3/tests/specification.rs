//! The tables of `docs/spec/http3.md` are what the code says.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ntproto_h3::settings::Settings;
use ntproto_h3::{Config, Role, config, varint};

const PAGE: &str = include_str!("../../../docs/spec/http3.md");

/// The rows of the table after a line that begins so.
fn table(after: &str) -> Vec<Vec<String>> {
    let lines = PAGE.lines().skip_while(|line| !line.starts_with(after)).skip(1);
    let table = lines.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    table.skip(2).map(cells).collect()
}

#[test]
fn limits() {
    let bytes = |n: usize| format!("{n} bytes");
    let seconds = |d: std::time::Duration| format!("{} s", d.as_secs());
    let code = BTreeMap::from([
        ("fields of a head", config::MAX_FIELDS.to_string()),
        ("field section", bytes(config::MAX_FIELD_SECTION)),
        ("SETTINGS", bytes(config::MAX_SETTINGS)),
        ("requests at a time", config::MAX_REQUESTS.to_string()),
        ("informational responses to a request", config::MAX_INFORMATIONAL.to_string()),
        ("time for a head", seconds(config::HEAD_TIME)),
        ("requests given up at once", config::RESET_BURST.to_string()),
        ("requests given up a second", config::RESETS_PER_SECOND.to_string()),
        ("sessions of a connection", config::MAX_SESSIONS.to_string()),
        ("streams of a session", config::MAX_SESSION_STREAMS.to_string()),
        ("early streams, early datagrams", config::MAX_EARLY.to_string()),
        ("first bytes of a stream, before it is known what it is", bytes(config::FIRST_BYTES)),
        ("early datagrams together", bytes(config::MAX_EARLY_BYTES)),
        ("time to hold what came early", seconds(config::EARLY_TIME)),
        ("datagrams that wait to be sent", config::MAX_DATAGRAMS.to_string()),
        ("DATAGRAM capsule", bytes(config::MAX_DATAGRAM_CAPSULE)),
        ("words of a close", bytes(config::MAX_CLOSE_REASON)),
        ("unread bytes of a stream", bytes(config::RECEIVE_WINDOW)),
        ("unsent bytes of a stream", bytes(config::SEND_QUEUE)),
    ]);
    let page: BTreeMap<_, _> =
        table("## Limits").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let code: BTreeMap<_, _> = code.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(page, code);
}

/// What each side sends, in the order it does.
#[test]
fn settings() {
    for (role, column) in [(Role::Client, 2), (Role::Server, 3)] {
        let mut payload = Settings::encode(role, &Config::default()).into();
        let mut sent = Vec::new();
        while let (Some(id), Some(value)) = (varint::take(&mut payload), varint::take(&mut payload)) {
            sent.push((format!("`{id:#04x}`"), value.to_string()));
        }
        let rows =
            table("## The control stream").into_iter().map(|row| (row[1].clone(), row[column].clone()));
        let page: Vec<_> = rows.filter(|(_, value)| value.parse::<u64>().is_ok()).collect();
        assert_eq!(page, sent, "{role:?}");
    }
}
