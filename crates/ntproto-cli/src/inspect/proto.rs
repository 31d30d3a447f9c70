//! Protobuf bodies, field by field: a walk over the bytes with the names of our schema, so that every
//! value is shown with its place and a broken body is shown up to where it breaks.

use ntproto_core::code::ErrorCode;
use ntproto_core::ids::ConversationId;
use ntproto_core::wire::event::EventType;

use super::report::{Mark, Report};
use super::schema::{FRIEND, Field, GAP, GROUP_STATE, Kind, MESSAGE, RECEIPT, Schema, USER};
use crate::output;

/// Messages inside messages that are followed; ours nest four deep.
const MAX_DEPTH: usize = 8;
/// Characters of a text that are shown.
const SHOWN_TEXT: usize = 60;

/// Explains `body`, which starts at `offset`, as a message of `schema`.
pub(super) fn explain(report: &mut Report, offset: usize, body: &[u8], schema: &'static Schema) {
    report.enter(offset, schema.name, if body.is_empty() { "empty" } else { "" });
    walk(report, offset, body, schema, MAX_DEPTH);
    report.leave();
}

/// A place in a body.
struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.body.get(self.at).ok_or("the body ends inside a number")?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number of more than ten bytes".into())
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], String> {
        let left = self.body.len() - self.at;
        let len = usize::try_from(len).ok().filter(|n| *n <= left);
        let len = len.ok_or_else(|| format!("the field is longer than the {left} bytes that are left"))?;
        self.at += len;
        Ok(&self.body[self.at - len..self.at])
    }
}

enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn walk(report: &mut Report, offset: usize, body: &[u8], schema: &'static Schema, depth: usize) {
    let mut cursor = Cursor { body, at: 0 };
    // How a SyncPacket's payload is read depends on the number before it.
    let mut event_type = 0;
    while cursor.at < body.len() {
        let start = cursor.at;
        let (number, raw) = match read_field(&mut cursor) {
            Ok(field) => field,
            Err(what) => return report.bad(offset + start, format!("{}: {what}", schema.name)),
        };
        let bytes = &body[start..cursor.at];
        let Some(field) = schema.fields.iter().find(|f| f.number == number) else {
            let value = match raw {
                Raw::Number(n) => format!("{n} (a field this version does not know)"),
                Raw::Bytes(b) => format!("{} bytes (a field this version does not know)", b.len()),
            };
            report.push(offset + start, bytes, format!("field {number}"), value, Mark::Note);
            continue;
        };
        match raw {
            Raw::Number(n) => {
                if field.kind == Kind::EventType {
                    event_type = n;
                }
                report.field(offset + start, bytes, field.name, number_text(field, n));
            }
            Raw::Bytes(value) => {
                let inner = offset + cursor.at - value.len();
                bytes_field(report, (offset + start, inner), bytes, field, value, event_type, depth);
            }
        }
    }
}

fn bytes_field(
    report: &mut Report,
    (at, inner): (usize, usize),
    bytes: &[u8],
    field: &Field,
    value: &[u8],
    event_type: u64,
    depth: usize,
) {
    let nested = match field.kind {
        Kind::Message(schema) => Some(schema),
        Kind::EventPayload => match u32::try_from(event_type).ok().and_then(EventType::from_wire) {
            Some(EventType::Message | EventType::Edit | EventType::Recall) => Some(&MESSAGE),
            Some(EventType::Receipt) => Some(&RECEIPT),
            Some(EventType::Friend) => Some(&FRIEND),
            Some(EventType::Group) => Some(&GROUP_STATE),
            Some(EventType::Gap) => Some(&GAP),
            Some(EventType::Profile) => Some(&USER),
            _ => None,
        },
        _ => None,
    };
    match nested {
        Some(schema) if depth > 0 => {
            report.enter(at, field.name, schema.name);
            walk(report, inner, value, schema, depth - 1);
            report.leave();
        }
        _ => report.field(at, bytes, field.name, bytes_text(field.kind, value)),
    }
}

fn read_field<'a>(cursor: &mut Cursor<'a>) -> Result<(u64, Raw<'a>), String> {
    let key = cursor.varint()?;
    let raw = match key & 7 {
        0 => Raw::Number(cursor.varint()?),
        1 => Raw::Bytes(cursor.take(8)?),
        2 => {
            let len = cursor.varint()?;
            Raw::Bytes(cursor.take(len)?)
        }
        5 => Raw::Bytes(cursor.take(4)?),
        other => return Err(format!("wire type {other} does not exist in proto3")),
    };
    if key >> 3 == 0 {
        return Err("field number 0".into());
    }
    Ok((key >> 3, raw))
}

fn number_text(field: &Field, n: u64) -> String {
    match field.kind {
        Kind::Bool => (if n == 0 { "no" } else { "yes" }).into(),
        Kind::UnixMs => output::utc(n).map_or_else(|| n.to_string(), |utc| format!("{n} ({utc})")),
        Kind::Code => {
            let name = u32::try_from(n).ok().and_then(ErrorCode::from_wire).map(ErrorCode::name);
            format!("{n} {}", name.unwrap_or("(a code this version does not know)"))
        }
        Kind::EventType => match u32::try_from(n).ok().and_then(EventType::from_wire) {
            Some(known) => format!("{n} {known:?}"),
            None => format!("{n} (a type this version does not know)"),
        },
        _ => n.to_string(),
    }
}

fn bytes_text(kind: Kind, value: &[u8]) -> String {
    let text = std::str::from_utf8(value).ok();
    match kind {
        Kind::Text => quoted(text.unwrap_or("(not UTF-8)")),
        Kind::Body => match text {
            Some(text) => format!("{} bytes: {}", value.len(), quoted(text)),
            None => format!("{} bytes: {}", value.len(), short_hex(value)),
        },
        Kind::Conversation => match ConversationId::from_slice(value).and_then(ConversationId::members) {
            Some((a, b)) => format!("direct, {a} and {b}"),
            None => output::hex(value),
        },
        _ if value.is_empty() => "empty".into(),
        _ => short_hex(value),
    }
}

fn short_hex(value: &[u8]) -> String {
    const SHOWN: usize = 32;
    match value.get(..SHOWN) {
        Some(start) if value.len() > SHOWN => format!("{}… ({} bytes)", output::hex(start), value.len()),
        _ => output::hex(value),
    }
}

fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_TEXT).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("\"{}\"", shown.replace(['\n', '\r'], "⏎"))
}
