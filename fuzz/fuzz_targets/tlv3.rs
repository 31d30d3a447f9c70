//! TLV3: documents of either mode, and the messages of the handshake made of them. What is read is written the same.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use ntproto_core::session::records::{
    read_auth_request, read_auth_response, read_challenge, write_auth_request, write_auth_response,
    write_challenge,
};
use ntproto_core::wire::tlv3::schema::IGNORABLE;
use ntproto_core::wire::tlv3::{
    Budget, HEADER_LEN, MAX_DEPTH, MAX_KIND, MAX_RECORDS, Mode, Reader, SLOT_LEN, Slot, Tlv3Error, Writer,
};

#[derive(Arbitrary)]
enum Input<'a> {
    /// Anything, as it is.
    Raw { slots: bool, bytes: &'a [u8] },
    /// Records that may lie about their length.
    Document { slots: bool, records: Vec<Item<'a>> },
    /// The same where a message is expected.
    Message(Vec<Item<'a>>),
}

#[derive(Arbitrary)]
enum Item<'a> {
    Bytes {
        kind: u16,
        value: &'a [u8],
    },
    /// A length as the handshake's tables want it.
    Zeros {
        kind: u8,
        len: u8,
    },
    Records {
        kind: u16,
        records: Vec<Item<'a>>,
    },
    Lie {
        kind: u16,
        len: u32,
    },
}

/// The tests' schema: odd types hold records.
const fn holds_records(kind: u16) -> bool {
    kind % 2 == 1
}

fn header(kind: u16, len: u32, out: &mut Vec<u8>) {
    out.extend((0x3000 | kind & MAX_KIND).to_le_bytes());
    out.extend(len.to_le_bytes());
}

fn build(mode: Mode, items: &[Item<'_>], out: &mut Vec<u8>) {
    for item in items {
        let value = match item {
            Item::Bytes { value, .. } => value.to_vec(),
            Item::Zeros { len, .. } => vec![0; usize::from(*len)],
            Item::Records { records, .. } => {
                let mut value = Vec::new();
                build(mode, records, &mut value);
                value
            }
            Item::Lie { .. } => Vec::new(),
        };
        match item {
            Item::Bytes { kind, .. } => header(kind & !1, value.len() as u32, out),
            Item::Records { kind, .. } => header(kind | 1, value.len() as u32, out),
            Item::Zeros { kind, .. } => header(u16::from(kind % 16), value.len() as u32, out),
            Item::Lie { kind, len } => header(*kind, *len, out),
        }
        out.extend(value);
        if mode == Mode::Slot {
            out.extend([0; SLOT_LEN]);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mode = |slots| if slots { Mode::Slot } else { Mode::Bare };
    let mut bytes = Vec::new();
    match input {
        Input::Raw { slots, bytes } => {
            document(mode(slots), bytes);
            messages(bytes);
        }
        Input::Document { slots, records } => {
            build(mode(slots), &records, &mut bytes);
            document(mode(slots), &bytes);
        }
        Input::Message(records) => {
            build(Mode::Bare, &records, &mut bytes);
            messages(&bytes);
        }
    }
});

/// Reads all levels and writes them again.
fn document(mode: Mode, bytes: &[u8]) {
    let budget = Budget::new();
    let mut writer = Writer::new(mode);
    let mut count = 0;
    if copy(Reader::new(mode, bytes, &budget), &mut writer, 1, &mut count).is_ok() {
        assert_eq!(writer.finish().expect("what was read can be written"), bytes);
    }
    assert!(count <= MAX_RECORDS && count <= bytes.len() / HEADER_LEN);
}

fn copy(
    mut reader: Reader<'_, '_>,
    writer: &mut Writer,
    depth: usize,
    count: &mut usize,
) -> Result<(), Tlv3Error> {
    assert!(depth <= MAX_DEPTH);
    while let Some(record) = reader.next() {
        let record = record?;
        *count += 1;
        writer.slots(record.slot.unwrap_or(Slot::Zero));
        if holds_records(record.kind) {
            let inner = reader.nested(&record)?;
            let mut result = Ok(());
            writer.nest(record.kind, |writer| result = copy(inner, writer, depth + 1, count));
            result?;
        } else {
            writer.put(record.kind, record.value);
        }
    }
    Ok(())
}

/// Reads the bytes as each message and writes it again: the same, but for records of later versions that were skipped.
fn messages(bytes: &[u8]) {
    let check = |again: Vec<u8>| assert!(again == bytes || has_later_records(bytes));
    if let Ok(request) = read_auth_request(bytes) {
        check(write_auth_request(&request).expect("what was read can be written"));
    }
    if let Ok(response) = read_auth_response(bytes) {
        check(write_auth_response(&response).expect("what was read can be written"));
    }
    if let Ok(challenge) = read_challenge(bytes) {
        check(write_challenge(&challenge).expect("what was read can be written"));
    }
}

/// Whether a tag of a type that may be skipped stands anywhere.
fn has_later_records(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|tag| u16::from_le_bytes([tag[0], tag[1]]) >= 0x3000 | IGNORABLE)
}
