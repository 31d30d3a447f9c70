//! `Noise_IK_25519_AESGCM_SHA256`.
//!
//! ```text
//! <- s                         the initiator knows the responder's static key
//! -> e, es, s, ss  + payload   InitiatorStart ─▶ InitiatorWait        ResponderStart ─▶ ResponderReply
//! <- e, ee, se     + payload   InitiatorWait  ─▶ payload, split       ResponderReply ─▶ message, split
//! ```

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{DH_LEN, ProtocolName, SEALED_STATIC_LEN, SymmetricState, Unkeyed};
use crate::crypto::schedule::NoiseSplit;
use crate::crypto::secret::Secret;
use crate::crypto::{AgreementKey, CryptoError, CryptoProvider, TAG_LEN};

const PROTOCOL_NAME: &ProtocolName = b"Noise_IK_25519_AESGCM_SHA256";

/// What the first message adds to its payload.
pub const REQUEST_OVERHEAD: usize = DH_LEN + SEALED_STATIC_LEN + TAG_LEN;
/// What the second message adds to its payload.
pub const RESPONSE_OVERHEAD: usize = DH_LEN + TAG_LEN;

/// Noise's state once prologue and the responder's key are mixed in.
fn begin(provider: &'static dyn CryptoProvider, prologue: &[u8], responder: &[u8; DH_LEN]) -> Unkeyed {
    let mut state = Unkeyed::new(provider, PROTOCOL_NAME, prologue);
    state.mix_hash(responder);
    state
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
        let mut state = begin(provider, prologue, responder);
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
        let mut state = begin(provider, prologue, s_public);
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
