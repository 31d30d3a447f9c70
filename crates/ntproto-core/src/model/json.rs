//! People and groups as JSON (feature `json`).
//!
//! The names are the schema's. Numbers of 64 bits are written as strings, because JavaScript has none; they are read as strings or as
//! numbers. What is empty is left out, what is unknown is ignored. `extra`, a string in protobuf, stands in JSON as the JSON that it is, byte
//! for byte.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ntproto_proto::v2::{Friend, FriendState, Group, JoinPolicy, Member, Role, User};
use serde::Serialize;
use serde_json::value::RawValue;

mod read;
mod write;

/// The largest entity: a user with all friends there may be, each with all that it may have.
pub const MAX_JSON: usize = 32 << 20;
/// Friends of one user: as many records as an account may have.
pub const MAX_FRIENDS: usize = 5_000;
/// Bytes of `extra`: it comes along wherever its entity does.
pub const MAX_EXTRA: usize = 4_096;
/// How deep `extra` may nest. Nothing here follows it, but whoever does may do so by recursion.
pub const MAX_DEPTH: usize = 32;
/// The largest number of 64 bits that may be written as a number: JavaScript's, behind which they have gaps.
const MAX_EXACT: u64 = 1 << 53;

/// An entity with a JSON form.
///
/// ```
/// use ntproto_core::model::json::Entity;
/// use ntproto_proto::v2::User;
///
/// let text = r#"{"uin":"10001","nick":"Ada","extra":{"n": 1.50, "big":18446744073709551616}}"#;
/// let user = User::from_json(text).unwrap();
/// assert_eq!((user.uin, &*user.extra), (10001, r#"{"n": 1.50, "big":18446744073709551616}"#));
/// assert_eq!(user.to_json().unwrap(), text);
/// ```
pub trait Entity: Sized + sealed::Sealed {
    /// From JSON.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    fn from_json(text: &str) -> Result<Self, JsonError>;

    /// To JSON.
    ///
    /// # Errors
    /// `extra` is none, or something is more than there may be.
    fn to_json(&self) -> Result<String, JsonError>;
}

mod sealed {
    use ntproto_proto::v2::{Friend, Group, Member, User};

    pub trait Sealed {}
    impl Sealed for User {}
    impl Sealed for Friend {}
    impl Sealed for Group {}
    impl Sealed for Member {}
}

macro_rules! entities {
    ($($name:ident)*) => {$(
        impl Entity for $name {
            fn from_json(text: &str) -> Result<Self, JsonError> {
                if text.len() > MAX_JSON {
                    return Err(JsonError::TooLarge);
                }
                read::$name::parse(text)?.entity()
            }

            fn to_json(&self) -> Result<String, JsonError> {
                write::$name::of(self)?.text()
            }
        }
    )*};
}

entities! { User Friend Group Member }

/// `extra` as JSON, if it is that. White space around it is not part of it.
fn extra(text: &str) -> Result<Option<&RawValue>, JsonError> {
    if text.is_empty() {
        return Ok(None);
    }
    bounded(text)?;
    serde_json::from_str(text).map(Some).map_err(|_| JsonError::Extra(BadExtra::NotJson))
}

/// Whether `extra` keeps its limits.
fn bounded(text: &str) -> Result<(), JsonError> {
    if text.len() > MAX_EXTRA {
        return Err(JsonError::Extra(BadExtra::TooLarge));
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(JsonError::Extra(BadExtra::TooDeep));
        }
    }
    Ok(())
}

/// An enumeration of the schema: its names in JSON, as protobuf writes them.
trait Named: TryFrom<i32> + Copy {
    fn name(self) -> &'static str;
    fn from_name(name: &str) -> Option<i32>;
}

macro_rules! named {
    ($($name:ident)*) => {$(
        impl Named for $name {
            fn name(self) -> &'static str {
                self.as_str_name()
            }
            fn from_name(name: &str) -> Option<i32> {
                Self::from_str_name(name).map(Into::into)
            }
        }
    )*};
}

named! { FriendState JoinPolicy Role }

/// Why something has no JSON, or JSON is no entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// More than [`MAX_JSON`].
    TooLarge,
    /// It is no JSON, or a field holds another kind of thing than it should.
    Syntax {
        /// Line, from 1; of a friend's, in the friend.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A field holds no number that it may.
    Number {
        /// Which field.
        field: &'static str,
        /// Why not.
        why: BadNumber,
    },
    /// A field holds no name of its enumeration.
    Name {
        /// Which field.
        field: &'static str,
    },
    /// `extra` is none.
    Extra(BadExtra),
    /// More than [`MAX_FRIENDS`].
    TooManyFriends,
}

/// Why a number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadNumber {
    /// Neither a number nor a string of digits.
    NoNumber,
    /// Below zero.
    Negative,
    /// With a fraction or an exponent.
    Fraction,
    /// Written as a number, and beyond 2⁵³: it may have been another one once.
    Inexact,
    /// Beyond what the field holds.
    TooLarge,
}

/// Why `extra` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadExtra {
    /// It is no JSON.
    NotJson,
    /// More than [`MAX_EXTRA`].
    TooLarge,
    /// Nested more than [`MAX_DEPTH`].
    TooDeep,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "more than {} MiB of JSON", MAX_JSON >> 20),
            Self::Syntax { line, column } => write!(f, "can't be read at line {line}, column {column}"),
            Self::Number { field, why } => write!(f, "{field}: {why}"),
            Self::Name { field } => write!(f, "{field}: no such name"),
            Self::Extra(why) => write!(f, "extra: {why}"),
            Self::TooManyFriends => write!(f, "more than {MAX_FRIENDS} friends"),
        }
    }
}

impl fmt::Display for BadNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNumber => "not a number",
            Self::Negative => "below zero",
            Self::Fraction => "not a whole number",
            Self::Inexact => "beyond 2^53 only as a string",
            Self::TooLarge => "too large",
        })
    }
}

impl fmt::Display for BadExtra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => f.write_str("not JSON"),
            Self::TooLarge => write!(f, "more than {MAX_EXTRA} bytes"),
            Self::TooDeep => write!(f, "nested deeper than {MAX_DEPTH}"),
        }
    }
}

impl core::error::Error for JsonError {}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self::Syntax { line: error.line(), column: error.column() }
    }
}

#[cfg(test)]
mod tests;
