//! Hexadecimal as people paste it.

use crate::exit::{Code, Failure};

/// Characters of an input that was not understood, shown in its error.
const CONTEXT: usize = 12;

/// Reads hexadecimal. Blanks, colons, commas, dashes and a leading `0x` of a group are passed over.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut high: Option<(usize, u8)> = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c.is_whitespace() || matches!(c, ':' | ',' | '-') {
            continue;
        }
        if c == '0' && high.is_none() && chars.next_if(|(_, x)| matches!(x, 'x' | 'X')).is_some() {
            continue;
        }
        let Some(digit) = c.to_digit(16) else {
            let near: String = text.chars().skip(text[..at].chars().count()).take(CONTEXT).collect();
            let near = crate::text::harmless(&near);
            return Err(Failure::new(
                Code::Usage,
                format!("this is not hexadecimal: \"{near}\" at character {} of the input", at + 1),
            ));
        };
        let digit = digit as u8;
        match high.take() {
            None => high = Some((at, digit)),
            Some((_, h)) => out.push(h << 4 | digit),
        }
    }
    match high {
        None => Ok(out),
        Some((at, _)) => Err(Failure::new(
            Code::Usage,
            format!("an odd number of hexadecimal digits: the one at character {} has no partner", at + 1),
        )),
    }
}

/// Reads exactly `N` bytes of hexadecimal, for a key or an IV.
pub(crate) fn exactly<const N: usize>(what: &str, text: &str) -> Result<[u8; N], Failure> {
    let bytes = parse(text)?;
    let len = bytes.len();
    bytes.try_into().map_err(|_| {
        Failure::new(Code::Usage, format!("{what} has {N} bytes ({} digits); this one has {len}", N * 2))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn as_people_paste_it() {
        let want = [0x02, 0x10, 0xab, 0x00];
        for text in [
            "0210ab00",
            "02 10 AB 00",
            "0x0210ab00",
            "0x02, 0x10, 0xab, 0x00",
            "02:10:ab:00",
            "02-10\nab\t00\n",
        ] {
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn errors_say_where() {
        assert!(parse("02 1g").unwrap_err().to_string().contains("\"g\" at character 5"));
        assert!(parse("02 1").unwrap_err().to_string().contains("character 4"));
        assert!(
            exactly::<32>("a key", "00")
                .unwrap_err()
                .to_string()
                .contains("32 bytes (64 digits); this one has 1")
        );
    }
}
