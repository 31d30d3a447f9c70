//! `Noise_IK_25519_AESGCM_SHA256`, revision 34 of the Noise specification, over the provider.
//!
//! ```text
//! <- s                         the initiator knows the responder's static key
//! -> e, es, s, ss  + payload   InitiatorStart ─▶ InitiatorWait        ResponderStart ─▶ ResponderReply
//! <- e, ee, se     + payload   InitiatorWait  ─▶ payload, split       ResponderReply ─▶ message, split
//! ```
//! Each step consumes the one before. A message that does not verify leaves nothing to go on with.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::schedule::NoiseSplit;
use super::secret::Secret;
use super::{AeadKey, AgreementKey, CryptoError, CryptoProvider, NONCE_LEN, TAG_LEN};

/// The protocol name; 28 bytes, so Noise pads it to the first hash instead of hashing it.
const PROTOCOL_NAME: &[u8; 28] = b"Noise_IK_25519_AESGCM_SHA256";
/// Length of a public key.
const DH_LEN: usize = 32;
/// The encrypted static key of the first message.
const SEALED_STATIC_LEN: usize = DH_LEN + TAG_LEN;

/// What the first message adds to its payload.
pub const REQUEST_OVERHEAD: usize = DH_LEN + SEALED_STATIC_LEN + TAG_LEN;
/// What the second message adds to its payload.
pub const RESPONSE_OVERHEAD: usize = DH_LEN + TAG_LEN;

/// The nonce of every seal. Noise counts per key, from zero; here a key seals once, because a MixKey
/// stands between any two seals of IK. [`SymmetricState`] gives its key up at each use.
const NONCE: [u8; NONCE_LEN] = [0; NONCE_LEN];

/// Noise's SymmetricState.
struct SymmetricState {
    provider: &'static dyn CryptoProvider,
    key: Option<Box<dyn AeadKey>>,
    ck: Secret<32>,
    h: [u8; 32],
}

/// A SymmetricState before its first MixKey: it can only hash.
struct Unkeyed {
    provider: &'static dyn CryptoProvider,
    h: [u8; 32],
}

impl Unkeyed {
    fn new(provider: &'static dyn CryptoProvider, prologue: &[u8], responder: &[u8; DH_LEN]) -> Self {
        let mut h = [0; 32];
        h[..PROTOCOL_NAME.len()].copy_from_slice(PROTOCOL_NAME);
        let mut state = Self { provider, h };
        state.mix_hash(prologue);
        state.mix_hash(responder);
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.h = self.provider.sha256(&[&self.h, data]);
    }

    /// The first MixKey. The chaining key starts as the padded protocol name.
    fn mix_key(self, dh: &Secret<32>) -> SymmetricState {
        let mut ck = Secret::zero();
        ck.expose_mut()[..PROTOCOL_NAME.len()].copy_from_slice(PROTOCOL_NAME);
        let mut state = SymmetricState { provider: self.provider, key: None, ck, h: self.h };
        state.mix_key(dh);
        state
    }
}

/// Noise's HKDF with two outputs.
fn hkdf2(provider: &dyn CryptoProvider, ck: &Secret<32>, ikm: &[u8]) -> (Secret<32>, Secret<32>) {
    let prk = provider.hkdf_extract(ck.expose(), ikm);
    let mut both = Secret::<64>::zero();
    provider.hkdf_expand(&prk, &[], both.expose_mut());
    let (a, b) = both.expose().split_at(32);
    let half = |bytes| Secret::from_slice(bytes).expect("half of 64 bytes is 32");
    (half(a), half(b))
}

impl SymmetricState {
    fn mix_hash(&mut self, data: &[u8]) {
        self.h = self.provider.sha256(&[&self.h, data]);
    }

    fn mix_key(&mut self, dh: &Secret<32>) {
        let (ck, key) = hkdf2(self.provider, &self.ck, dh.expose());
        self.ck = ck;
        self.key = Some(self.provider.aes256gcm(&key));
    }

    fn take_key(&mut self) -> Box<dyn AeadKey> {
        self.key.take().expect("IK mixes a new key in before each seal")
    }

    /// EncryptAndHash, appended to `out`.
    fn seal_into(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(plaintext);
        let tag = self.take_key().seal_in_place(&NONCE, &self.h, &mut out[start..]);
        out.extend_from_slice(&tag);
        self.mix_hash(&out[start..]);
    }

    /// DecryptAndHash.
    fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(CryptoError)?;
        let mut data = ciphertext.to_vec();
        self.take_key().open_in_place(&NONCE, &self.h, &mut data, tag)?;
        self.mix_hash(sealed);
        Ok(data)
    }

    fn split(self) -> NoiseSplit {
        let (k1, k2) = hkdf2(self.provider, &self.ck, &[]);
        NoiseSplit { k1, k2, h: self.h }
    }
}

/// The initiator with `e, es, s, ss` written and the payload to come.
pub struct InitiatorStart {
    state: SymmetricState,
    e: Box<dyn AgreementKey>,
    s: Arc<dyn AgreementKey>,
    message: Vec<u8>,
}

impl InitiatorStart {
    /// Begins a handshake with the responder whose static key is `responder`. `s` and `s_public` are
    /// the initiator's static keys, `e` a fresh random secret.
    ///
    /// # Errors
    /// When `responder` is a low-order point.
    pub fn new(
        provider: &'static dyn CryptoProvider,
        prologue: &[u8],
        s: Arc<dyn AgreementKey>,
        s_public: &[u8; DH_LEN],
        responder: &[u8; DH_LEN],
        e: &Secret<32>,
    ) -> Result<Self, CryptoError> {
        let mut state = Unkeyed::new(provider, prologue, responder);
        let e = provider.x25519(e);
        let mut message = e.public().to_vec();
        state.mix_hash(&message);
        let mut state = state.mix_key(&e.agree(responder)?);
        state.seal_into(s_public, &mut message);
        state.mix_key(&s.agree(responder)?);
        Ok(Self { state, e, s, message })
    }

    /// The handshake hash before the payload: what a signature inside the payload covers.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.state.h
    }

    /// Seals the payload. Gives the whole first message.
    #[must_use]
    pub fn finish(mut self, payload: &[u8]) -> (Vec<u8>, InitiatorWait) {
        self.state.seal_into(payload, &mut self.message);
        (self.message, InitiatorWait { state: self.state, e: self.e, s: self.s })
    }
}

/// The initiator, waiting for the second message.
pub struct InitiatorWait {
    state: SymmetricState,
    e: Box<dyn AgreementKey>,
    s: Arc<dyn AgreementKey>,
}

impl InitiatorWait {
    /// Reads the second message: its payload and the split.
    ///
    /// # Errors
    /// When the message is too short or does not verify.
    pub fn read(mut self, message: &[u8]) -> Result<(Vec<u8>, NoiseSplit), CryptoError> {
        let (re, sealed) = message.split_first_chunk::<DH_LEN>().ok_or(CryptoError)?;
        self.state.mix_hash(re);
        self.state.mix_key(&self.e.agree(re)?);
        self.state.mix_key(&self.s.agree(re)?);
        let payload = self.state.open(sealed)?;
        Ok((payload, self.state.split()))
    }
}

/// The responder with `e, es, s, ss` read and the payload still sealed.
pub struct ResponderStart<'a> {
    state: SymmetricState,
    initiator: [u8; DH_LEN],
    initiator_ephemeral: [u8; DH_LEN],
    sealed: &'a [u8],
}

impl<'a> ResponderStart<'a> {
    /// Reads the first message up to its payload. `s` and `s_public` are the responder's static keys.
    ///
    /// # Errors
    /// When the message is too short, carries a low-order point or was not made for this key.
    pub fn read(
        provider: &'static dyn CryptoProvider,
        prologue: &[u8],
        s: &dyn AgreementKey,
        s_public: &[u8; DH_LEN],
        message: &'a [u8],
    ) -> Result<Self, CryptoError> {
        let mut state = Unkeyed::new(provider, prologue, s_public);
        let (re, rest) = message.split_first_chunk::<DH_LEN>().ok_or(CryptoError)?;
        let (sealed_static, sealed) = rest.split_first_chunk::<SEALED_STATIC_LEN>().ok_or(CryptoError)?;
        state.mix_hash(re);
        let mut state = state.mix_key(&s.agree(re)?);
        let initiator: [u8; DH_LEN] =
            state.open(sealed_static)?.try_into().expect("a sealed static key opens to 32 bytes");
        state.mix_key(&s.agree(&initiator)?);
        Ok(Self { state, initiator, initiator_ephemeral: *re, sealed })
    }

    /// The handshake hash before the payload: what a signature inside the payload covers.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.state.h
    }

    /// Opens the payload.
    ///
    /// # Errors
    /// When it does not verify.
    pub fn finish(mut self) -> Result<(Vec<u8>, ResponderReply), CryptoError> {
        let payload = self.state.open(self.sealed)?;
        let reply = ResponderReply {
            state: self.state,
            initiator: self.initiator,
            initiator_ephemeral: self.initiator_ephemeral,
        };
        Ok((payload, reply))
    }
}

/// The responder, about to write the second message.
pub struct ResponderReply {
    state: SymmetricState,
    initiator: [u8; DH_LEN],
    initiator_ephemeral: [u8; DH_LEN],
}

impl ResponderReply {
    /// The initiator's static key, which it has proven to hold.
    #[must_use]
    pub fn initiator(&self) -> &[u8; DH_LEN] {
        &self.initiator
    }

    /// The initiator's ephemeral key; it names this very handshake.
    #[must_use]
    pub fn initiator_ephemeral(&self) -> &[u8; DH_LEN] {
        &self.initiator_ephemeral
    }

    /// Writes the second message; `e` is a fresh random secret.
    ///
    /// # Errors
    /// When a key of the initiator is a low-order point, which reading refused already.
    pub fn write(mut self, e: &Secret<32>, payload: &[u8]) -> Result<(Vec<u8>, NoiseSplit), CryptoError> {
        let e = self.state.provider.x25519(e);
        let mut message = e.public().to_vec();
        self.state.mix_hash(&message);
        self.state.mix_key(&e.agree(&self.initiator_ephemeral)?);
        self.state.mix_key(&e.agree(&self.initiator)?);
        self.state.seal_into(payload, &mut message);
        Ok((message, self.state.split()))
    }
}
