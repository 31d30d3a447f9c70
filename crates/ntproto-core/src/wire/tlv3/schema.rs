//! What belongs into a message: a table of records, and a walk that checks against it.
//!
//! Records come in the order of their table, so a message has one encoding.
//!
//! ```
//! use ntproto_core::wire::tlv3::schema::{Field, RecordError, Schema};
//! use ntproto_core::wire::tlv3::{Budget, Mode, Reader, Writer};
//! const NAME: Field = Field::new(1, "name", 1..=8).once();
//! const ALIAS: Field = Field::new(2, "alias", 1..=8).up_to(2);
//! const PERSON: Schema = Schema { choice: &[], fields: &[NAME, ALIAS] };
//!
//! let mut writer = Writer::new(Mode::Bare);
//! writer.put(NAME.kind, b"Ada");
//! writer.put(ALIAS.kind, b"Countess");
//! writer.put(0x8f0, b"from a later version: skipped");
//! let bytes = writer.finish()?;
//! let budget = Budget::new();
//! let person = PERSON.read(Reader::new(Mode::Bare, &bytes, &budget))?;
//! assert_eq!(person.text(&NAME)?, "Ada");
//! assert_eq!(person.all(&ALIAS).count(), 1);
//!
//! let empty = PERSON.read(Reader::new(Mode::Bare, b"", &budget));
//! assert_eq!(empty.err(), Some(RecordError::Missing("name")));
//! # Ok::<(), RecordError>(())
//! ```

use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use super::{Reader, Record, Tlv3Error};

/// Types from here on may be skipped by whoever does not know them; a later version adds what others need not understand here.
pub const IGNORABLE: u16 = 0x800;

/// One row of a table: which record, how long, how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The record's type.
    pub kind: u16,
    /// Its name in the specification.
    pub name: &'static str,
    /// Bytes of its value.
    pub len: RangeInclusive<usize>,
    /// How often it may stand there.
    pub times: RangeInclusive<usize>,
}

impl Field {
    /// A record that may be there or not.
    #[must_use]
    pub const fn new(kind: u16, name: &'static str, len: RangeInclusive<usize>) -> Self {
        Self { kind, name, len, times: 0..=1 }
    }

    /// The same, and it must be there.
    #[must_use]
    pub const fn once(self) -> Self {
        Self { kind: self.kind, name: self.name, len: self.len, times: 1..=1 }
    }

    /// The same, and it may be there up to `times` times.
    #[must_use]
    pub const fn up_to(self, times: usize) -> Self {
        Self { kind: self.kind, name: self.name, len: self.len, times: 0..=times }
    }
}

/// The records of a message.
pub struct Schema {
    /// Exactly one of these comes first; none when there are no rows.
    pub choice: &'static [Field],
    /// Then these, in this order.
    pub fields: &'static [Field],
}

/// What is wrong with the records of a message. The names are those of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// They are no records at all.
    Tlv3(Tlv3Error),
    /// A type that is not in the table and may not be skipped.
    Unknown(u16),
    /// Out of its place.
    Order(&'static str),
    /// More often than allowed.
    Repeated(&'static str),
    /// Not there.
    Missing(&'static str),
    /// A value too short or too long.
    Length(&'static str),
    /// A text that is not UTF-8.
    Text(&'static str),
}

impl From<Tlv3Error> for RecordError {
    fn from(e: Tlv3Error) -> Self {
        Self::Tlv3(e)
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tlv3(e) => e.fmt(f),
            Self::Unknown(kind) => write!(f, "no record of type {kind:#05x} belongs here"),
            Self::Order(name) => write!(f, "record `{name}` is out of its place"),
            Self::Repeated(name) => write!(f, "record `{name}` comes too often"),
            Self::Missing(name) => write!(f, "record `{name}` is missing"),
            Self::Length(name) => write!(f, "record `{name}` has a wrong length"),
            Self::Text(name) => write!(f, "record `{name}` is not UTF-8"),
        }
    }
}

impl core::error::Error for RecordError {}

impl Schema {
    /// Reads all records of a level and checks them against the table. What records hold inside is not looked at.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read<'a, 'b>(&self, mut reader: Reader<'a, 'b>) -> Result<Fields<'a, 'b>, RecordError> {
        let mut records = Vec::new();
        // The row that the last record belongs to, and how many did.
        let (mut row, mut times) = (0, 0);
        for record in reader.by_ref() {
            let record: Record<'a> = record?;
            let Some(found) = self.row(record.kind) else {
                //= spec: tlv3-8
                if record.kind >= IGNORABLE {
                    continue;
                }
                return Err(RecordError::Unknown(record.kind));
            };
            let field = self.field(found);
            let chosen = self.choice.len();
            //= spec: tlv3-9
            if found < row {
                return Err(RecordError::Order(field.name));
            }
            if found < chosen && !records.is_empty() {
                return Err(RecordError::Repeated(field.name));
            }
            times = if found == row { times + 1 } else { 1 };
            if times > *field.times.end() {
                return Err(RecordError::Repeated(field.name));
            }
            if !field.len.contains(&record.value.len()) {
                return Err(RecordError::Length(field.name));
            }
            row = found;
            records.push(record);
        }
        if let Some(first) = self.choice.first() {
            let chosen = |record: &Record<'_>| self.choice.iter().any(|field| field.kind == record.kind);
            if !records.first().is_some_and(chosen) {
                return Err(RecordError::Missing(first.name));
            }
        }
        let fields = Fields { records, reader };
        for field in self.fields.iter().filter(|field| *field.times.start() > 0) {
            if fields.all(field).count() < *field.times.start() {
                return Err(RecordError::Missing(field.name));
            }
        }
        Ok(fields)
    }

    /// Where a type stands: the choice first, then the fields.
    fn row(&self, kind: u16) -> Option<usize> {
        self.choice.iter().chain(self.fields).position(|field| field.kind == kind)
    }

    fn field(&self, row: usize) -> &Field {
        self.fields.get(row.wrapping_sub(self.choice.len())).unwrap_or_else(|| &self.choice[row])
    }
}

/// The records of a message, in order and checked.
pub struct Fields<'a, 'b> {
    records: Vec<Record<'a>>,
    /// At its end: it knows mode, depth and budget.
    reader: Reader<'a, 'b>,
}

impl<'a, 'b> Fields<'a, 'b> {
    /// The first record: of a message with a choice, the one that was chosen.
    #[must_use]
    pub fn first(&self) -> Option<Record<'a>> {
        self.records.first().copied()
    }

    /// The values of every record of this type.
    pub fn all<'s>(&'s self, field: &Field) -> impl Iterator<Item = &'a [u8]> + use<'s, 'a, 'b> {
        let kind = field.kind;
        self.records.iter().filter(move |record| record.kind == kind).map(|record| record.value)
    }

    /// The value of the first record of this type.
    ///
    /// # Errors
    /// [`RecordError::Missing`].
    pub fn bytes(&self, field: &Field) -> Result<&'a [u8], RecordError> {
        self.all(field).next().ok_or(RecordError::Missing(field.name))
    }

    /// The value as an array.
    ///
    /// # Errors
    /// [`RecordError::Missing`], [`RecordError::Length`].
    pub fn array<const N: usize>(&self, field: &Field) -> Result<[u8; N], RecordError> {
        self.bytes(field)?.try_into().map_err(|_| RecordError::Length(field.name))
    }

    /// The value as a number of four bytes.
    ///
    /// # Errors
    /// [`RecordError::Missing`], [`RecordError::Length`].
    pub fn u32(&self, field: &Field) -> Result<u32, RecordError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// The value as a number of eight bytes.
    ///
    /// # Errors
    /// [`RecordError::Missing`], [`RecordError::Length`].
    pub fn u64(&self, field: &Field) -> Result<u64, RecordError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// The value as a text.
    ///
    /// # Errors
    /// [`RecordError::Missing`], [`RecordError::Text`].
    pub fn text(&self, field: &Field) -> Result<&'a str, RecordError> {
        text(field, self.bytes(field)?)
    }

    /// The values of every record of this type as texts.
    pub fn texts<'s>(&'s self, field: &'s Field) -> impl Iterator<Item = Result<&'a str, RecordError>> + 's {
        self.all(field).map(|value| text(field, value))
    }

    /// The records inside the first record of this type, checked against the table of theirs; `None` when there is none.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn nested(&self, field: &Field, schema: &Schema) -> Result<Option<Self>, RecordError> {
        let Some(record) = self.records.iter().find(|record| record.kind == field.kind) else {
            return Ok(None);
        };
        schema.read(self.reader.nested(record)?).map(Some)
    }
}

fn text<'a>(field: &Field, value: &'a [u8]) -> Result<&'a str, RecordError> {
    core::str::from_utf8(value).map_err(|_| RecordError::Text(field.name))
}
