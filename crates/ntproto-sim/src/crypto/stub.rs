//! Primitives with the algebra of the real ones and none of their strength: agreement commutes, a
//! changed byte changes a tag, equal inputs give equal outputs. A hundred times faster.

use ntproto_core::crypto::secret::Secret;
use ntproto_core::crypto::{AeadKey, AgreementKey, CryptoError, CryptoProvider, NONCE_LEN, TAG_LEN};

/// The Mersenne prime 2⁶¹ − 1, in whose multiplicative group keys are agreed on.
const PRIME: u64 = (1 << 61) - 1;
/// An element of large order.
const GENERATOR: u64 = 37;
/// Odd multipliers with well spread bits.
const MIX: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93];

/// A provider for simulations. Never use it for anything that matters: it keeps no secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stub;

/// The product's halves, folded.
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A hash of a stream of bytes, however it is cut.
pub(crate) struct Absorber {
    lanes: [u64; 4],
    word: [u8; 8],
    len: u64,
}

impl Absorber {
    pub(crate) const fn new(domain: u64) -> Self {
        Self { lanes: [MIX[0] ^ domain, MIX[1], MIX[2], MIX[3]], word: [0; 8], len: 0 }
    }

    fn take(&mut self, word: u64) {
        let [a, b, c, d] = self.lanes;
        self.lanes =
            [b ^ fold(a ^ word, MIX[0]), c.rotate_left(23) ^ word, d.wrapping_add(fold(c, MIX[1])), a];
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        let used = (self.len % 8) as usize;
        self.len += bytes.len() as u64;
        if used > 0 {
            let room = (8 - used).min(bytes.len());
            let (head, rest) = bytes.split_at(room);
            self.word[used..used + room].copy_from_slice(head);
            bytes = rest;
            if used + room < 8 {
                return;
            }
            self.take(u64::from_le_bytes(self.word));
        }
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.take(u64::from_le_bytes(word.try_into().expect("chunks of eight")));
        }
        let rest = words.remainder();
        self.word[..rest.len()].copy_from_slice(rest);
    }

    fn finish(mut self) -> [u64; 4] {
        let used = (self.len % 8) as usize;
        self.word[used..].fill(0);
        self.take(u64::from_le_bytes(self.word));
        self.take(self.len);
        for mix in MIX {
            self.take(mix);
        }
        let mut out = self.lanes;
        for (lane, mix) in out.iter_mut().zip(MIX) {
            *lane = fold(*lane ^ (*lane >> 29), mix) ^ lane.rotate_left(17);
        }
        out
    }

    pub(crate) fn short(self) -> u64 {
        self.finish()[0]
    }

    fn wide(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (bytes, lane) in out.chunks_exact_mut(8).zip(self.finish()) {
            bytes.copy_from_slice(&lane.to_le_bytes());
        }
        out
    }
}

fn hash(domain: u64, parts: &[&[u8]]) -> [u8; 32] {
    let mut absorber = Absorber::new(domain);
    for part in parts {
        absorber.push(part);
    }
    absorber.wide()
}

/// `base` to the power of `exponent` modulo the prime.
fn power(mut base: u64, mut exponent: u64) -> u64 {
    let times = |a: u64, b: u64| ((u128::from(a) * u128::from(b)) % u128::from(PRIME)) as u64;
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = times(result, base);
        }
        base = times(base, base);
        exponent >>= 1;
    }
    result
}

/// A secret as an exponent that is never zero.
fn exponent(secret: &Secret<32>) -> u64 {
    u64::from_le_bytes(*secret.expose().first_chunk().expect("32 bytes hold eight")) % (PRIME - 2) + 1
}

/// A secret as an exponent.
struct Exponent(u64);

impl AgreementKey for Exponent {
    fn public(&self) -> [u8; 32] {
        let mut public = [0; 32];
        public[..8].copy_from_slice(&power(GENERATOR, self.0).to_le_bytes());
        public
    }

    fn agree(&self, peer: &[u8; 32]) -> Result<Secret<32>, CryptoError> {
        let (point, rest) = peer.split_first_chunk().ok_or(CryptoError)?;
        let point = u64::from_le_bytes(*point);
        if !(2..PRIME).contains(&point) || rest.iter().any(|b| *b != 0) {
            return Err(CryptoError);
        }
        Ok(Secret::new(hash(1, &[&power(point, self.0).to_le_bytes()])))
    }
}

impl CryptoProvider for Stub {
    fn x25519(&self, secret: &Secret<32>) -> Box<dyn AgreementKey> {
        Box::new(Exponent(exponent(secret)))
    }

    fn ed25519_public(&self, seed: &Secret<32>) -> [u8; 32] {
        hash(2, &[seed.expose()])
    }

    fn ed25519_sign(&self, seed: &Secret<32>, message: &[u8]) -> [u8; 64] {
        let public = self.ed25519_public(seed);
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&hash(3, &[&public, message]));
        signature[32..].copy_from_slice(&hash(4, &[&public, message]));
        signature
    }

    fn ed25519_verify(
        &self,
        public: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), CryptoError> {
        let good =
            signature[..32] == hash(3, &[public, message]) && signature[32..] == hash(4, &[public, message]);
        if good { Ok(()) } else { Err(CryptoError) }
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        hash(5, parts)
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> Secret<32> {
        Secret::new(hash(6, &[&hash(5, &[key]), &hash(5, parts)]))
    }

    fn hkdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Secret<32> {
        self.hmac_sha256(salt, &[ikm])
    }

    fn hkdf_expand(&self, prk: &Secret<32>, info: &[&[u8]], out: &mut [u8]) {
        let info = hash(7, info);
        for (n, block) in out.chunks_mut(32).enumerate() {
            let bytes = hash(8, &[prk.expose(), &info, &(n as u64).to_le_bytes()]);
            block.copy_from_slice(&bytes[..block.len()]);
        }
    }

    fn aes256gcm(&self, key: &Secret<32>) -> Box<dyn AeadKey> {
        Box::new(StubKey { key: hash(9, &[key.expose()]) })
    }
}

struct StubKey {
    key: [u8; 32],
}

impl StubKey {
    /// Adds the key stream of a nonce; doing it twice takes it away again.
    fn apply(&self, nonce: &[u8; NONCE_LEN], data: &mut [u8]) {
        let mut absorber = Absorber::new(10);
        absorber.push(&self.key);
        absorber.push(nonce);
        let mut state = absorber.short();
        for chunk in data.chunks_mut(8) {
            state = state.wrapping_add(MIX[0]);
            let word = fold(state, MIX[2]).to_le_bytes();
            for (byte, key) in chunk.iter_mut().zip(word) {
                *byte ^= key;
            }
        }
    }

    fn tag(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &[u8]) -> [u8; TAG_LEN] {
        let mut absorber = Absorber::new(11);
        absorber.push(&self.key);
        absorber.push(nonce);
        absorber.push(&(aad.len() as u64).to_le_bytes());
        absorber.push(aad);
        absorber.push(data);
        *absorber.wide().first_chunk().expect("32 bytes hold sixteen")
    }
}

impl AeadKey for StubKey {
    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.apply(nonce, data);
        self.tag(nonce, aad, data)
    }

    fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        if self.tag(nonce, aad, data) != *tag {
            return Err(CryptoError);
        }
        self.apply(nonce, data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_commutes_and_low_orders_are_refused() {
        let (a, b) = (Secret::new([7; 32]), Secret::new([9; 32]));
        let (a, b) = (Stub.x25519(&a), Stub.x25519(&b));
        let ab = a.agree(&b.public()).map(|s| *s.expose());
        let ba = b.agree(&a.public()).map(|s| *s.expose());
        assert_eq!(ab, ba);
        assert!(a.agree(&[0; 32]).is_err());
    }

    #[test]
    fn a_hash_does_not_see_how_its_input_is_cut() {
        let all = [3u8; 61];
        for at in 0..all.len() {
            let (x, y) = all.split_at(at);
            assert_eq!(Stub.sha256(&[x, y]), Stub.sha256(&[&all]));
        }
        assert_ne!(Stub.sha256(&[&[0; 8]]), Stub.sha256(&[&[0; 9]]));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let key = Stub.aes256gcm(&Secret::new([1; 32]));
        let mut sealed = *b"attack at dawn, or later";
        let tag = key.seal_in_place(&[5; 12], b"aad", &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open_in_place(&[5; 12], b"aad", &mut bad, &tag).is_err());
        }
        assert!(key.open_in_place(&[5; 12], b"aad", &mut sealed, &tag).is_ok());
        assert_eq!(&sealed, b"attack at dawn, or later");
    }
}
