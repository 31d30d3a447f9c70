//! Field sections (RFC 9204, section 4.5) without a dynamic table.

use super::int::{Reader, SectionError, put, put_string};
use super::table::{Found, TABLE, find};

/// What RFC 9114 adds to the length of a name and a value (section 4.2.2).
pub const FIELD_OVERHEAD: usize = 32;

/// A field as it stands in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Whether it must not be put into any table: it holds a secret.
    pub never_indexed: bool,
}

/// Counts fields and bytes of a section.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Fields that may still come.
    pub fields: usize,
    /// Bytes that may still come, counted as RFC 9114 does.
    pub bytes: usize,
}

impl Budget {
    /// Room for the name and value of one more field.
    fn field(&mut self) -> Result<usize, SectionError> {
        self.fields = self.fields.checked_sub(1).ok_or(SectionError::TooLarge)?;
        self.bytes = self.bytes.checked_sub(FIELD_OVERHEAD).ok_or(SectionError::TooLarge)?;
        Ok(self.bytes)
    }

    fn spend(&mut self, bytes: usize) -> Result<usize, SectionError> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(SectionError::TooLarge)?;
        Ok(self.bytes)
    }
}

/// Reads a whole section, field by field, within a budget. Nothing is kept of fields beyond it.
///
/// # Errors
/// A section that breaks QPACK's rules, refers to a dynamic table, or exceeds the budget. Fields before that were
/// visited.
pub fn decode(
    section: &[u8],
    mut budget: Budget,
    mut visit: impl FnMut(Field<'_>),
) -> Result<(), SectionError> {
    let mut reader = Reader(section);
    //= spec: http3-9
    // Nothing was ever inserted, so a section can't need an insert, nor count from before the first.
    let first = reader.byte().ok_or(SectionError::Malformed)?;
    if reader.number(first, 8)? != 0 {
        return Err(SectionError::Malformed);
    }
    let base = reader.byte().ok_or(SectionError::Malformed)?;
    reader.number(base, 7)?;
    if base & 0x80 != 0 {
        return Err(SectionError::Malformed);
    }
    let (mut names, mut values) = (Vec::new(), Vec::new());
    while let Some(first) = reader.byte() {
        let room = budget.field()?;
        let (name, value, never_indexed): (&[u8], &[u8], bool) = match first {
            // Indexed, static.
            0xc0..=0xff => {
                let (name, value) = entry(reader.number(first, 6)?)?;
                (name, value, false)
            }
            // A literal with the name of a static entry.
            _ if first & 0xd0 == 0x50 => {
                let (name, _) = entry(reader.number(first, 4)?)?;
                let room = room.checked_sub(name.len()).ok_or(SectionError::TooLarge)?;
                let length = reader.byte().ok_or(SectionError::Malformed)?;
                (name, reader.string(length, 7, room, &mut values)?, first & 0x20 != 0)
            }
            // A literal with a literal name.
            _ if first & 0xe0 == 0x20 => {
                let name = reader.string(first, 3, room, &mut names)?;
                let length = reader.byte().ok_or(SectionError::Malformed)?;
                let value = reader.string(length, 7, room - name.len(), &mut values)?;
                (name, value, first & 0x10 != 0)
            }
            // Everything else refers to the dynamic table.
            _ => return Err(SectionError::Malformed),
        };
        budget.spend(name.len() + value.len())?;
        visit(Field { name, value, never_indexed });
    }
    Ok(())
}

fn entry(index: u64) -> Result<(&'static [u8], &'static [u8]), SectionError> {
    let entry = usize::try_from(index).ok().and_then(|index| TABLE.get(index));
    let (name, value) = entry.ok_or(SectionError::Malformed)?;
    Ok((name.as_bytes(), value.as_bytes()))
}

/// Begins a section.
pub fn begin(out: &mut Vec<u8>) {
    // No inserts required, and a base that nothing is counted from.
    out.extend([0, 0]);
}

/// Appends a field to a section. Fields that hold secrets are marked, and never taken from the table whole.
pub fn encode(field: Field<'_>, out: &mut Vec<u8>) {
    let never = u8::from(field.never_indexed);
    match find(field.name, field.value) {
        Found::Field(index) if !field.never_indexed => put(index as u64, 6, 0xc0, out),
        Found::Field(index) | Found::Name(index) => {
            put(index as u64, 4, 0x50 | never << 5, out);
            put_string(field.value, 7, 0, out);
        }
        Found::No => {
            put_string(field.name, 3, 0x20 | never << 4, out);
            put_string(field.value, 7, 0, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Vec<u8>, Vec<u8>, bool);

    fn read(section: &[u8], budget: Budget) -> Result<Vec<Owned>, SectionError> {
        let mut fields = Vec::new();
        decode(section, budget, |f| fields.push((f.name.to_vec(), f.value.to_vec(), f.never_indexed)))?;
        Ok(fields)
    }

    const ROOM: Budget = Budget { fields: 100, bytes: 10_000 };

    fn field(name: &str, value: &str) -> Owned {
        (name.into(), value.into(), false)
    }

    //= proof: http3-9
    #[test]
    fn the_examples_of_rfc_9204() {
        // B.1: a literal with the name of a static entry.
        let section = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(read(section, ROOM), Ok(vec![field(":path", "/index.html")]));
        // B.2 and B.4 refer to a dynamic table that was never allowed.
        for section in [&b"\x03\x81\x10\x11"[..], b"\x05\x00\x80\xc1\x81"] {
            assert_eq!(read(section, ROOM), Err(SectionError::Malformed));
        }
    }

    #[test]
    fn static_entries() {
        let section = [0, 0, 0xd1, 0xd7, 0xc0 | 1, 0xff, 98 - 63];
        let expected = vec![
            field(":method", "GET"),
            field(":scheme", "https"),
            field(":path", "/"),
            field("x-frame-options", "sameorigin"),
        ];
        assert_eq!(read(&section, ROOM), Ok(expected));
        assert_eq!(read(&[0, 0, 0xff, 99 - 63], ROOM), Err(SectionError::Malformed), "there is no 99th");
    }

    //= proof: http3-9
    #[test]
    fn what_breaks_a_rule() {
        for section in [
            &[][..],
            &[0],
            &[1, 0],                   // an insert is required
            &[0, 0x80],                // a base below zero
            &[0, 0, 0x80],             // dynamic, indexed
            &[0, 0, 0x40, 0],          // dynamic, name
            &[0, 0, 0x10],             // after the base
            &[0, 0, 0x00, 0],          // name after the base
            &[0, 0, 0x51],             // no value
            &[0, 0, 0x51, 5, b'a'],    // a value that is cut
            &[0, 0, 0x23, b'a'],       // a name that is cut
            &[0, 0, 0x51, 0x81, 0xff], // Huffman: an end of eight bits
        ] {
            assert_eq!(read(section, ROOM), Err(SectionError::Malformed), "{section:x?}");
        }
    }

    #[test]
    fn budgets() {
        let mut section = Vec::new();
        begin(&mut section);
        for _ in 0..3 {
            encode(Field { name: b"name", value: b"value", never_indexed: false }, &mut section);
        }
        let size = 3 * (9 + FIELD_OVERHEAD);
        assert_eq!(read(&section, Budget { fields: 3, bytes: size }).map(|f| f.len()), Ok(3));
        assert_eq!(read(&section, Budget { fields: 2, bytes: size }), Err(SectionError::TooLarge));
        assert_eq!(read(&section, Budget { fields: 3, bytes: size - 1 }), Err(SectionError::TooLarge));
        // A length that lies costs nothing: it is not there.
        assert_eq!(read(b"\x00\x00\x51\x7f\xff\xff\xff\x7f", ROOM), Err(SectionError::Malformed));
    }

    #[test]
    fn secrets_are_marked() {
        let mut section = Vec::new();
        begin(&mut section);
        for (name, value) in [("authorization", "Bearer x"), ("x-mine", "secret"), ("age", "0")] {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            encode(Field { name, value, never_indexed: true }, &mut section);
        }
        let fields = read(&section, ROOM).unwrap();
        assert!(fields.iter().all(|(.., never_indexed)| *never_indexed));
        assert_eq!(fields.len(), 3);
    }

    fn any_field() -> impl Strategy<Value = Owned> {
        let known = (0..TABLE.len()).prop_map(|i| field(TABLE[i].0, TABLE[i].1));
        let named = (0..TABLE.len(), any::<Vec<u8>>(), any::<bool>())
            .prop_map(|(i, value, never)| (TABLE[i].0.into(), value, never));
        prop_oneof![known, named, any::<Owned>()]
    }

    proptest! {
        #[test]
        fn sections_come_back(fields in proptest::collection::vec(any_field(), 0..20)) {
            let mut section = Vec::new();
            begin(&mut section);
            for (name, value, never_indexed) in &fields {
                encode(Field { name, value, never_indexed: *never_indexed }, &mut section);
            }
            prop_assert_eq!(read(&section, Budget { fields: 20, bytes: 100_000 }), Ok(fields));
        }

        #[test]
        fn never_more_than_the_budget(section: Vec<u8>, fields in 0..5_usize, bytes in 0..300_usize) {
            let mut section = section;
            section.splice(0..0, [0, 0]);
            let (mut count, mut size) = (0, 0);
            let _ = decode(&section, Budget { fields, bytes }, |f| {
                count += 1;
                size += f.name.len() + f.value.len() + FIELD_OVERHEAD;
            });
            prop_assert!(count <= fields && size <= bytes);
        }
    }
}
