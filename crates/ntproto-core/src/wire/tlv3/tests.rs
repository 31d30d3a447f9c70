#![allow(clippy::unwrap_used)]
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::schema::{Field, IGNORABLE, RecordError, Schema};
use super::*;
use crate::wire::crc::crc32;

/// A record as a test makes it.
#[derive(Clone, Debug, PartialEq)]
struct Tree {
    kind: u16,
    filled: bool,
    value: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Bytes(Vec<u8>),
    Records(Vec<Tree>),
}

/// The tests' schema: odd types hold records.
const fn holds_records(kind: u16) -> bool {
    kind % 2 == 1
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = (any::<u16>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(kind, filled, bytes)| Tree { kind: kind & MAX_KIND & !1, filled, value: Value::Bytes(bytes) },
    );
    leaf.prop_recursive(6, 40, 5, |inner| {
        (any::<u16>(), any::<bool>(), prop::collection::vec(inner, 0..5)).prop_map(
            |(kind, filled, records)| Tree {
                kind: kind & MAX_KIND | 1,
                filled,
                value: Value::Records(records),
            },
        )
    })
}

fn write(writer: &mut Writer, trees: &[Tree]) {
    for tree in trees {
        writer.slots(if tree.filled { Slot::Filled } else { Slot::Zero });
        match &tree.value {
            Value::Bytes(bytes) => writer.put(tree.kind, bytes),
            Value::Records(records) => writer.nest(tree.kind, |writer| write(writer, records)),
        }
    }
}

fn encode(mode: Mode, trees: &[Tree]) -> Result<Vec<u8>, Tlv3Error> {
    let mut writer = Writer::new(mode);
    write(&mut writer, trees);
    writer.finish()
}

fn read(reader: &mut Reader<'_, '_>) -> Result<Vec<Tree>, Tlv3Error> {
    let mut trees = Vec::new();
    while let Some(record) = reader.next() {
        let Record { kind, value, slot } = record?;
        let value = match holds_records(kind) {
            true => Value::Records(read(&mut reader.nested(&Record { kind, value, slot })?)?),
            false => Value::Bytes(value.to_vec()),
        };
        trees.push(Tree { kind, filled: slot == Some(Slot::Filled), value });
    }
    Ok(trees)
}

fn decode(mode: Mode, bytes: &[u8]) -> Result<Vec<Tree>, Tlv3Error> {
    read(&mut Reader::new(mode, bytes, &Budget::new()))
}

/// In bare mode nobody keeps what a slot would hold.
fn without_slots(trees: &mut [Tree]) {
    for tree in trees {
        tree.filled = false;
        if let Value::Records(records) = &mut tree.value {
            without_slots(records);
        }
    }
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Bare), Just(Mode::Slot)]
}

/// `[tag, length, value]` with a length that may lie.
fn raw(kind: u16, len: u32, value: &[u8]) -> Vec<u8> {
    [&(0x3000 | kind).to_le_bytes()[..], &len.to_le_bytes(), value].concat()
}

/// Records of type 1 in each other, `depth` of them, in linear time.
fn deep(depth: usize) -> Vec<u8> {
    (0..depth).flat_map(|n| raw(1, ((depth - 1 - n) * HEADER_LEN) as u32, &[])).collect()
}

proptest! {
    //= proof: tlv3-4
    #[test]
    fn round_trip(mode in any_mode(), mut trees in prop::collection::vec(any_tree(), 0..6)) {
        if mode == Mode::Bare {
            without_slots(&mut trees);
        }
        let bytes = encode(mode, &trees).unwrap();
        let again = decode(mode, &bytes).unwrap();
        prop_assert_eq!(encode(mode, &again).unwrap(), bytes);
        prop_assert_eq!(again, trees);
    }

    /// Canonical from the other side: whatever is read is written the same. Types are few and lengths short, so that much is read.
    //= proof: tlv3-4
    #[test]
    fn what_decodes_encodes_the_same(
        mode in any_mode(),
        records in prop::collection::vec((0..4u16, 0..8u32, prop::collection::vec(0..4u8, 0..8)), 0..6),
    ) {
        let bytes: Vec<u8> = records.iter().flat_map(|(kind, len, value)| raw(*kind, *len, value)).collect();
        if let Ok(trees) = decode(mode, &bytes) {
            prop_assert_eq!(encode(mode, &trees).unwrap(), bytes);
        }
    }

    #[test]
    fn noise_never_panics_and_always_ends(mode in any_mode(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let budget = Budget::new();
        let mut reader = Reader::new(mode, &bytes, &budget);
        let count = reader.by_ref().count();
        prop_assert!(count <= bytes.len() / HEADER_LEN + 1);
        prop_assert!(reader.next().is_none());
        let _ = decode(mode, &bytes);
    }

    /// A prefix is the same records, then at most one that is cut off.
    //= proof: tlv3-2
    #[test]
    fn any_cut_is_seen(mode in any_mode(), trees in prop::collection::vec(any_tree(), 1..4), cut in any::<prop::sample::Index>()) {
        let bytes = encode(mode, &trees).unwrap();
        let cut = cut.index(bytes.len());
        let records = |bytes| Reader::new(mode, bytes, &Budget::new()).map(|r| r.map(|r| r.value.to_vec())).collect::<Vec<_>>();
        let (whole, short) = (records(&bytes), records(&bytes[..cut]));
        let good = short.iter().take_while(|r| r.is_ok()).count();
        prop_assert_eq!(&short[..good], &whole[..good]);
        prop_assert!(good < whole.len());
        prop_assert!(short[good..].iter().all(|r| *r == Err(Tlv3Error::Truncated)));
    }

    //= proof: tlv3-3
    #[test]
    fn a_filled_slot_guards_every_bit(value in prop::collection::vec(any::<u8>(), 0..40), bit in any::<prop::sample::Index>()) {
        let mut writer = Writer::new(Mode::Slot);
        writer.slots(Slot::Filled);
        writer.put(2, &value);
        let mut bytes = writer.finish().unwrap();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(Mode::Slot, &bytes).is_err());
    }
}

/// The draft's own bytes.
#[test]
fn the_sample_of_the_draft() {
    let sample = [0x01, 0x30, 0x08, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut writer = Writer::new(Mode::Bare);
    writer.put(1, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(writer.finish().unwrap(), sample);
    let budget = Budget::new();
    let records: Vec<_> = Reader::new(Mode::Bare, &sample, &budget).collect();
    assert_eq!(records, [Ok(Record { kind: 1, value: &sample[6..], slot: None })]);
    // Its four last bytes are no slot: there is no guessing.
    assert_eq!(decode(Mode::Slot, &sample), Err(Tlv3Error::Truncated));
}

#[test]
fn slot_bytes_do_not_pass_in_bare_mode() {
    for slot in [Slot::Zero, Slot::Filled] {
        let mut writer = Writer::new(Mode::Slot);
        writer.slots(slot);
        writer.put(2, b"value");
        let bytes = writer.finish().unwrap();
        let error = decode(Mode::Bare, &bytes).unwrap_err();
        assert!(matches!(error, Tlv3Error::Truncated | Tlv3Error::Version(_)), "{error:?}");
    }
}

//= proof: tlv3-1
#[test]
fn another_version_is_refused_by_its_tag_alone() {
    for version in (0..16u8).filter(|v| *v != VERSION) {
        let bytes = [1, version << 4, 0, 0, 0, 0];
        for have in 2..=6 {
            assert_eq!(decode(Mode::Bare, &bytes[..have]), Err(Tlv3Error::Version(version)));
        }
    }
}

//= proof: tlv3-3
#[test]
fn a_wrong_checksum_is_refused_and_a_zero_is_not() {
    let record = raw(2, 3, b"abc");
    let with = |slot: u32| [&record[..], &slot.to_le_bytes()].concat();
    let filled = |slot| decode(Mode::Slot, &with(slot)).map(|trees| trees[0].filled);
    assert_eq!(filled(0), Ok(false));
    assert_eq!(filled(crc32(&record)), Ok(true));
    assert_eq!(filled(crc32(&record) ^ 1), Err(Tlv3Error::Checksum(2)));
    assert_eq!(filled(crc32(b"abc")), Err(Tlv3Error::Checksum(2)), "tag and length count too");
}

/// One value in four thousand millions has a checksum of zero. Its slot says so, and is taken for an empty one.
//= proof: tlv3-4
#[test]
fn a_checksum_of_zero_is_an_empty_slot() {
    let value = ZERO_CHECKSUM;
    assert_eq!(crc32(&raw(2, 4, &value)), 0);
    let mut writer = Writer::new(Mode::Slot);
    writer.slots(Slot::Filled);
    writer.put(2, &value);
    let bytes = writer.finish().unwrap();
    let trees = decode(Mode::Slot, &bytes).unwrap();
    assert!(!trees[0].filled);
    assert_eq!(encode(Mode::Slot, &trees).unwrap(), bytes);
}

/// Found by running the checksum backwards.
const ZERO_CHECKSUM: [u8; 4] = [0xe4, 0x25, 0x90, 0xbf];

//= proof: tlv3-5
#[test]
fn a_child_stays_inside_its_parent() {
    let child = raw(2, 5, b"abcd");
    // What follows the parent would be enough for it.
    let bytes = [raw(1, child.len() as u32, &child), raw(2, 0, b"")].concat();
    assert_eq!(decode(Mode::Bare, &bytes), Err(Tlv3Error::ChildTooLong(2)));
    assert_eq!(decode(Mode::Bare, &raw(1, 3, &[2, 0x30, 0])), Err(Tlv3Error::ChildTooLong(2)));
    assert_eq!(decode(Mode::Bare, &raw(2, u32::MAX, b"abcd")), Err(Tlv3Error::Truncated));
}

//= proof: tlv3-6
#[test]
fn depth_is_bounded() {
    assert!(decode(Mode::Bare, &deep(MAX_DEPTH)[..]).is_err(), "the innermost is opened once more");
    let mut leaf = deep(MAX_DEPTH);
    let innermost = leaf.len() - HEADER_LEN;
    leaf[innermost] = 2;
    assert!(decode(Mode::Bare, &leaf).is_ok());
    assert_eq!(decode(Mode::Bare, &deep(10_000)), Err(Tlv3Error::TooDeep));

    fn nest(writer: &mut Writer, left: usize) {
        if left > 0 {
            writer.nest(1, |writer| nest(writer, left - 1));
        }
    }
    for (depth, ok) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false)] {
        let mut writer = Writer::new(Mode::Bare);
        nest(&mut writer, depth);
        assert_eq!(writer.finish().is_ok(), ok);
    }
}

//= proof: tlv3-7
#[test]
fn records_are_counted_across_levels() {
    let siblings = raw(2, 0, b"").repeat(1_000_000);
    let budget = Budget::new();
    let mut count = 0;
    let last = Reader::new(Mode::Bare, &siblings, &budget).inspect(|_| count += 1).last();
    assert_eq!((last, count), (Some(Err(Tlv3Error::TooMany)), MAX_RECORDS + 1));

    // A parent and its children, twice: the second parent does not start to count anew.
    let children = raw(2, 0, b"").repeat(MAX_RECORDS / 2);
    let parent = raw(1, children.len() as u32, &children);
    assert!(decode(Mode::Bare, &parent).is_ok());
    assert_eq!(decode(Mode::Bare, &parent.repeat(2)), Err(Tlv3Error::TooMany));

    let mut writer = Writer::new(Mode::Bare);
    (0..=MAX_RECORDS).for_each(|_| writer.put(2, b""));
    assert_eq!(writer.finish(), Err(Tlv3Error::TooMany));
}

const WORD: Field = Field::new(1, "word", 1..=4).once();
const NOTE: Field = Field::new(2, "note", 0..=4);
const TAGS: Field = Field::new(3, "tag", 1..=2).up_to(3);
const PLAIN: Schema = Schema { choice: &[], fields: &[WORD, NOTE, TAGS] };
const LEFT: Field = Field::new(9, "left", 0..=1);
const RIGHT: Field = Field::new(8, "right", 0..=1);
const CHOICE: Schema = Schema { choice: &[LEFT, RIGHT], fields: &[NOTE] };

fn refusal(schema: &Schema, records: &[(u16, &[u8])]) -> Option<RecordError> {
    let bytes: Vec<u8> =
        records.iter().flat_map(|(kind, value)| raw(*kind, value.len() as u32, value)).collect();
    schema.read(Reader::new(Mode::Bare, &bytes, &Budget::new())).err()
}

//= proof: tlv3-9
#[test]
fn a_table_is_kept() {
    use RecordError::{Length, Missing, Order, Repeated, Unknown};
    for (records, expected) in [
        (vec![(1, &b"a"[..])], None),
        (vec![(1, b"a"), (2, b""), (3, b"x"), (3, b"y"), (3, b"z")], None),
        (vec![(2, b"")], Some(Missing("word"))),
        (vec![], Some(Missing("word"))),
        (vec![(1, b"a"), (1, b"a")], Some(Repeated("word"))),
        (vec![(2, b""), (1, b"a")], Some(Order("word"))),
        (vec![(1, b"a"), (3, b"x"), (2, b"")], Some(Order("note"))),
        (vec![(1, b"a"), (3, b"x"), (3, b"x"), (3, b"x"), (3, b"x")], Some(Repeated("tag"))),
        (vec![(1, b"")], Some(Length("word"))),
        (vec![(1, b"abcde")], Some(Length("word"))),
        (vec![(1, b"a"), (4, b"")], Some(Unknown(4))),
        (vec![(0x7ff, b""), (1, b"a")], Some(Unknown(0x7ff))),
    ] {
        assert_eq!(refusal(&PLAIN, &records), expected, "{records:?}");
    }
}

//= proof: tlv3-9
#[test]
fn a_choice_is_made_once_and_first() {
    use RecordError::{Missing, Order, Repeated};
    assert_eq!(refusal(&CHOICE, &[(9, b"")]), None);
    assert_eq!(refusal(&CHOICE, &[(8, b""), (2, b"")]), None);
    assert_eq!(refusal(&CHOICE, &[]), Some(Missing("left")));
    assert_eq!(refusal(&CHOICE, &[(2, b"")]), Some(Missing("left")));
    assert_eq!(refusal(&CHOICE, &[(9, b""), (8, b"")]), Some(Repeated("right")));
    assert_eq!(refusal(&CHOICE, &[(9, b""), (9, b"")]), Some(Repeated("left")));
    assert_eq!(refusal(&CHOICE, &[(8, b""), (9, b"")]), Some(Order("left")));
    assert_eq!(refusal(&CHOICE, &[(2, b""), (9, b"")]), Some(Order("left")));
}

//= proof: tlv3-8
#[test]
fn types_that_may_be_skipped_are_skipped_everywhere() {
    let later = (IGNORABLE, &b"from a later version"[..]);
    assert_eq!(refusal(&PLAIN, &[later, (1, b"a"), later, later, (3, b"x"), (0xfff, b"")]), None);
    assert_eq!(refusal(&CHOICE, &[later, (9, b"")]), None);
}
