//! Vectors and attacks for `crypto` and `session`, run over every provider that is compiled in.
//!
//! A host that brings its own provider can copy this folder and put its own into `PROVIDERS`.
#![allow(clippy::unwrap_used, missing_docs)]

mod cavp;
mod handshake;
mod identity;
mod noise;
mod noise_ix;
mod rfc;
mod schedule;
mod secrecy;
mod ticket;
mod wycheproof;

use ntproto_core::crypto::CryptoProvider;

/// Every provider, with its name for messages.
const PROVIDERS: &[(&str, &'static dyn CryptoProvider)] = &[
    ("rustcrypto", &ntproto_core::crypto::rustcrypto::RUSTCRYPTO),
    #[cfg(feature = "aws-lc-rs")]
    ("aws-lc-rs", &ntproto_core::crypto::aws_lc::AWS_LC),
];

/// Decodes hexadecimal; white space is skipped.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| (b as char).to_digit(16).unwrap() as u8)
        .collect();
    assert_eq!(digits.len() % 2, 0);
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Decodes hexadecimal of a known length.
fn hex_array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}
