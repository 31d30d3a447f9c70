//! CRC32C (RFC 3720, appendix B.4), the checksum of a frame.

/// The checksum of `bytes`, by the processor's own instruction where it has one.
#[cfg(feature = "std")]
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// The checksum of `bytes`. The crate that knows the processors' instructions needs std; this does not.
#[cfg(not(feature = "std"))]
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    by_table(bytes)
}

/// Byte by byte.
#[cfg(any(test, not(feature = "std")))]
fn by_table(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

/// What each byte does to the remainder.
#[cfg(any(test, not(feature = "std")))]
static TABLE: [u32; 256] = {
    /// Castagnoli's polynomial, reflected.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

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
            assert_eq!((crc32c(bytes), by_table(bytes)), (crc, crc));
        }
    }

    proptest! {
        #[test]
        fn both_ways_agree(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(crc32c(&bytes), by_table(&bytes));
        }
    }
}
