//! CRC32C (RFC 3720, appendix B.4), the checksum of a frame, and CRC-32/ISO-HDLC, that of a TLV3 record.

/// The checksum of `bytes`, by the processor's own instruction where it has one.
#[cfg(feature = "std")]
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// The checksum of `bytes`. The crate that knows the processors' instructions needs std; this does not.
#[cfg(not(feature = "std"))]
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    by_table(&CASTAGNOLI, bytes)
}

/// CRC-32/ISO-HDLC of `bytes`.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    by_table(&ISO_HDLC, bytes)
}

/// Byte by byte.
fn by_table(table: &[u32; 256], bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| table[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

#[cfg(any(test, not(feature = "std")))]
static CASTAGNOLI: [u32; 256] = table(0x82f6_3b78);
static ISO_HDLC: [u32; 256] = table(0xedb8_8320);

/// What each byte does to the remainder, for a polynomial in its reflected form.
const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ polynomial } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// RFC 3720, appendix B.4, and the check value of the CRC catalogue.
    #[test]
    fn known_answers() {
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        for (bytes, crc) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&up, 0x46dd_794e),
            (&down, 0x113f_db5c),
            (b"123456789", 0xe306_9283),
            (b"", 0),
        ] {
            assert_eq!((crc32c(bytes), by_table(&CASTAGNOLI, bytes)), (crc, crc));
        }
    }

    /// The check value of the CRC catalogue, and what other tools say.
    #[test]
    fn known_answers_of_the_other() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(&[0; 32]), 0x190a_55ad);
    }

    proptest! {
        #[test]
        fn both_ways_agree(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(crc32c(&bytes), by_table(&CASTAGNOLI, &bytes));
        }
    }
}
