//! The shapes that are read. Numbers and names are taken as they stand, so that what is wrong with them can be said.

use alloc::borrow::Cow;

use super::*;
use serde::Deserialize;

/// A value as it stands; `null` is nothing.
type Raw<'a> = Option<&'a RawValue>;
type Text<'a> = Option<Cow<'a, str>>;

fn text(text: Text<'_>) -> String {
    text.map(Cow::into_owned).unwrap_or_default()
}

/// What stands between quotes, or as a number.
fn digits<'a>(raw: &'a RawValue, field: &'static str) -> Result<(Cow<'a, str>, bool), JsonError> {
    let bad = |why| JsonError::Number { field, why };
    let quoted = raw.get().starts_with('"');
    let text = if quoted { serde_json::from_str::<Quoted<'a>>(raw.get())?.0 } else { raw.get().into() };
    match text.strip_prefix('-').unwrap_or(&text) {
        "" => Err(bad(BadNumber::NoNumber)),
        rest if !rest.starts_with(|c: char| c.is_ascii_digit()) => Err(bad(BadNumber::NoNumber)),
        rest if rest.bytes().any(|b| !b.is_ascii_digit()) => {
            let float = rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
            Err(bad(if float { BadNumber::Fraction } else { BadNumber::NoNumber }))
        }
        rest if rest.len() < text.len() => Err(bad(BadNumber::Negative)),
        _ => Ok((text, quoted)),
    }
}

#[derive(Deserialize)]
struct Quoted<'a>(#[serde(borrow)] Cow<'a, str>);

fn number64(raw: Raw<'_>, field: &'static str) -> Result<u64, JsonError> {
    let Some(raw) = raw else { return Ok(0) };
    let (digits, quoted) = digits(raw, field)?;
    let bad = |why| JsonError::Number { field, why };
    match digits.parse() {
        Ok(n) if quoted || n <= MAX_EXACT => Ok(n),
        Err(_) if quoted => Err(bad(BadNumber::TooLarge)),
        _ => Err(bad(BadNumber::Inexact)),
    }
}

fn number32(raw: Raw<'_>, field: &'static str) -> Result<u32, JsonError> {
    let Some(raw) = raw else { return Ok(0) };
    let (digits, _) = digits(raw, field)?;
    digits.parse().map_err(|_| JsonError::Number { field, why: BadNumber::TooLarge })
}

/// A name of an enumeration, or its number: one that is not known yet has no name.
fn name<E: Named>(raw: Raw<'_>, field: &'static str) -> Result<i32, JsonError> {
    let Some(raw) = raw else { return Ok(0) };
    if raw.get().starts_with('"') {
        let Quoted(name) = serde_json::from_str(raw.get())?;
        return E::from_name(&name).ok_or(JsonError::Name { field });
    }
    let digits = raw.get().strip_prefix('-').unwrap_or(raw.get());
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| raw.get().parse().ok()).flatten();
    number.ok_or(JsonError::Name { field })
}

fn json(raw: Raw<'_>) -> Result<String, JsonError> {
    let Some(raw) = raw else { return Ok(String::new()) };
    bounded(raw.get())?;
    Ok(raw.get().to_owned())
}

/// The shape of each entity, and what it makes of it.
macro_rules! shapes {
    ($($name:ident<$l:lifetime> { $($field:ident: $kind:ty = $make:expr,)* })*) => {$(
        #[derive(Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name<$l> {
            $(#[serde(borrow)] $field: $kind,)*
        }

        impl<$l> $name<$l> {
            pub(super) fn parse(text: &$l str) -> Result<Self, JsonError> {
                Ok(serde_json::from_str(text)?)
            }
        }
    )*};
}
