//! The Huffman code of HPACK and QPACK (RFC 7541, appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and the lengths say it
//! all. The tables below are made of them when this is compiled.

/// Bits of each symbol's code; the last is the end of a string, which never stands in one.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

/// The symbol that marks an end.
const END: usize = 256;

/// The longest code.
const LONGEST: usize = 30;

/// Codes of up to so many bits are looked up in one step. They are those of nearly all text.
const SHORT: usize = 8;

struct Codes {
    /// By symbol.
    code: [u32; 257],
    /// By length: the first code, how many there are, and where their symbols begin in `symbols`.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    offset: [u16; LONGEST + 1],
    /// All symbols in the order of their codes.
    symbols: [u16; 257],
    /// By the next eight bits: a symbol and its length, or 0 for a longer code.
    short: [(u8, u8); 1 << SHORT],
}

const fn codes() -> Codes {
    let mut made = Codes {
        code: [0; 257],
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
        symbols: [0; 257],
        short: [(0, 0); 1 << SHORT],
    };
    let (mut code, mut at, mut length) = (0, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        made.first[length] = code;
        made.offset[length] = at as u16;
        let mut symbol = 0;
        while symbol <= END {
            if LENGTHS[symbol] as usize == length {
                made.code[symbol] = code;
                made.symbols[at] = symbol as u16;
                if length <= SHORT {
                    let spare = SHORT - length;
                    let mut tail = 0;
                    while tail < 1 << spare {
                        made.short[(code as usize) << spare | tail] = (symbol as u8, length as u8);
                        tail += 1;
                    }
                }
                made.count[length] += 1;
                code += 1;
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    made
}

static CODES: Codes = codes();

/// Why a string can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HuffmanError {
    /// No such code, or an end that is not the beginning of the end's code.
    Invalid,
    /// It grows beyond what is allowed.
    TooLong,
}

/// How many bytes `text` takes when encoded.
#[must_use]
pub fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Appends `text`, encoded.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0);
    for byte in text {
        let length = u32::from(LENGTHS[usize::from(*byte)]);
        bits = bits << length | u64::from(CODES.code[usize::from(*byte)]);
        count += length;
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        // Filled up with the beginning of the end's code, which is ones.
        let spare = 8 - count;
        out.push((bits << spare) as u8 | ((1_u16 << spare) - 1) as u8);
    }
}

/// Appends what `bytes` stand for, as long as that is at most `max` bytes.
///
/// # Errors
/// Bytes that no encoder makes, and text that is too long. What was read until then stays in `out`.
pub fn decode(bytes: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), HuffmanError> {
    let end = out.len() + max;
    let mut rest = bytes.iter();
    // The bits not decoded yet are the lowest `count` of `bits`: below 38, so that nothing is shifted out.
    let (mut bits, mut count) = (0_u64, 0_usize);
    loop {
        while count < LONGEST {
            let Some(byte) = rest.next() else { break };
            bits = bits << 8 | u64::from(*byte);
            count += 8;
        }
        let Some((symbol, length)) = symbol(bits, count) else {
            // Less than a byte of ones may be left.
            let ones = (1 << count) - 1;
            let padding = count < 8 && bits & ones == ones;
            return if padding { Ok(()) } else { Err(HuffmanError::Invalid) };
        };
        if out.len() == end {
            return Err(HuffmanError::TooLong);
        }
        out.push(symbol);
        count -= length;
    }
}

/// The symbol at the front of the lowest `count` bits.
fn symbol(bits: u64, count: usize) -> Option<(u8, usize)> {
    if count >= SHORT {
        let (symbol, length) = CODES.short[(bits >> (count - SHORT)) as usize & 0xff];
        if length > 0 {
            return Some((symbol, usize::from(length)));
        }
    }
    (1..=count.min(LONGEST)).find_map(|length| {
        let code = (bits >> (count - length)) as u32 & ((1 << length) - 1);
        let nth = code.checked_sub(CODES.first[length]).filter(|nth| *nth < CODES.count[length])?;
        let symbol = CODES.symbols[usize::from(CODES.offset[length]) + nth as usize];
        Some((u8::try_from(symbol).ok()?, length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 7541, appendix C.4 and C.6.
    const EXAMPLES: [(&str, &str); 11] = [
        ("www.example.com", "f1e3 c2e5 f23a 6ba0 ab90 f4ff"),
        ("no-cache", "a8eb 1064 9cbf"),
        ("custom-key", "25a8 49e9 5ba9 7d7f"),
        ("custom-value", "25a8 49e9 5bb8 e8b4 bf"),
        ("302", "6402"),
        ("307", "640e ff"),
        ("private", "aec3 771a 4b"),
        ("gzip", "9bd9 ab"),
        ("Mon, 21 Oct 2013 20:13:21 GMT", "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff"),
        ("https://www.example.com", "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3"),
        (
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            "94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ),
    ];

    #[test]
    fn the_examples_of_rfc_7541() {
        for (text, hex) in EXAMPLES {
            let mut out = Vec::new();
            encode(text.as_bytes(), &mut out);
            assert_eq!(out, bytes(hex), "{text}");
            assert_eq!(encoded_len(text.as_bytes()), out.len());
            let mut read = Vec::new();
            assert_eq!(decode(&out, text.len(), &mut read), Ok(()));
            assert_eq!(read, text.as_bytes());
        }
    }

    #[test]
    fn codes_at_the_ends_of_the_table() {
        // From the table of RFC 7541, appendix B.
        for (symbol, code) in [
            (0, 0x1ff8),
            (1, 0x007f_ffd8),
            (b' ', 0x14),
            (b'0', 0x0),
            (b'z', 0x7b),
            (127, 0x0fff_fffc),
            (128, 0x000f_ffe6),
            (255, 0x03ff_ffee),
            (10, 0x3fff_fffc),
            (22, 0x3fff_fffe),
        ] {
            assert_eq!(CODES.code[usize::from(symbol)], code, "{symbol}");
        }
        assert_eq!(CODES.code[END], 0x3fff_ffff);
    }

    #[test]
    fn bad_ends() {
        let mut out = Vec::new();
        for hex in [
            "ff",           // eight ones: too much of an end
            "07ff",         // '0', and more than seven ones
            "ffff fffc",    // a code that begins and does not end
            "ffff ffff",    // the end itself
            "3fff ffff ff", // the end in the middle
            "18",           // 'a', and zeros
        ] {
            assert_eq!(decode(&bytes(hex), 100, &mut out), Err(HuffmanError::Invalid), "{hex}");
        }
        assert_eq!(decode(&[0; 5], 7, &mut Vec::new()), Err(HuffmanError::TooLong));
        assert_eq!(decode(&[0; 5], 8, &mut Vec::new()), Ok(()));
    }

    proptest! {
        #[test]
        fn text_comes_back(text: Vec<u8>) {
            let mut out = Vec::new();
            encode(&text, &mut out);
            prop_assert_eq!(out.len(), encoded_len(&text));
            let mut read = Vec::new();
            prop_assert_eq!(decode(&out, text.len(), &mut read), Ok(()));
            prop_assert_eq!(&read, &text);
        }

        #[test]
        fn what_is_read_is_written_the_same(bytes: Vec<u8>, max in 0..300_usize) {
            let mut text = Vec::new();
            let read = decode(&bytes, max, &mut text);
            prop_assert!(text.len() <= max);
            if read.is_ok() {
                let mut out = Vec::new();
                encode(&text, &mut out);
                prop_assert_eq!(out, bytes);
            }
        }
    }
}
