//! `Noise_IX_25519_AESGCM_SHA256`. In handshake B the server is the initiator: it speaks first.
//!
//! ```text
//! -> e, s                  + payload   Initiator::start ─▶ Initiator     ResponderStart::read ─▶ payload, in the clear
//! <- e, ee, se, s, es      + payload   Initiator::read ─▶ InitiatorEnd   ResponderStart::write ─▶ ResponderEnd
//!                                      InitiatorEnd::finish ─▶ payload   ResponderEnd::finish ─▶ message, both the split
//! ```

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{DH_LEN, ProtocolName, SEALED_STATIC_LEN, SymmetricState, Unkeyed};
use crate::crypto::schedule::NoiseSplit;
use crate::crypto::{AgreementKey, CryptoError, CryptoProvider, TAG_LEN};

const PROTOCOL_NAME: &ProtocolName = b"Noise_IX_25519_AESGCM_SHA256";

/// What the first message adds to its payload.
pub const CHALLENGE_OVERHEAD: usize = 2 * DH_LEN;
/// What the second message adds to its payload.
pub const ANSWER_OVERHEAD: usize = DH_LEN + SEALED_STATIC_LEN + TAG_LEN;

/// The initiator, waiting for the second message.
pub struct Initiator {
    state: Unkeyed,
    e: Box<dyn AgreementKey>,
}

impl Initiator {
    /// Writes the first message. `e` is a fresh key that is used for nothing else, `s_public` the initiator's
    /// static key; the payload is not secret.
    #[must_use]
    pub fn start(
        provider: &'static dyn CryptoProvider,
        prologue: &[u8],
        s_public: &[u8; DH_LEN],
        e: Box<dyn AgreementKey>,
        payload: &[u8],
    ) -> (Vec<u8>, Self) {
        let mut state = Unkeyed::new(provider, PROTOCOL_NAME, prologue);
        let message = [&e.public()[..], s_public, payload].concat();
        for part in [&message[..DH_LEN], s_public, payload] {
            state.mix_hash(part);
        }
        (message, Self { state, e })
    }

    /// Reads the second message up to its payload. `s` is the static key that the first message named.
    ///
    /// # Errors
    /// When the message is too short, carries a low-order point or does not answer the first one.
    pub fn read(self, s: &dyn AgreementKey, message: &[u8]) -> Result<InitiatorEnd, CryptoError> {
        let Self { mut state, e } = self;
        let (re, rest) = message.split_first_chunk::<DH_LEN>().ok_or(CryptoError)?;
        let (sealed_static, sealed) = rest.split_first_chunk::<SEALED_STATIC_LEN>().ok_or(CryptoError)?;
        state.mix_hash(re);
        let mut state = state.mix_key(&e.agree(re)?);
        state.mix_key(&s.agree(re)?);
        let responder: [u8; DH_LEN] =
            state.open(sealed_static)?.try_into().expect("a sealed static key opens to 32 bytes");
        state.mix_key(&e.agree(&responder)?);
        Ok(InitiatorEnd { state, responder, responder_ephemeral: *re, sealed: sealed.to_vec() })
    }
}

/// The initiator with `e, ee, se, s, es` read and the payload still sealed.
pub struct InitiatorEnd {
    state: SymmetricState,
    responder: [u8; DH_LEN],
    responder_ephemeral: [u8; DH_LEN],
    sealed: Vec<u8>,
}

impl InitiatorEnd {
    /// The handshake hash before the payload: what a signature inside the payload covers.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.state.h
    }

    /// The responder's static key, proven once the payload has opened.
    #[must_use]
    pub fn responder(&self) -> &[u8; DH_LEN] {
        &self.responder
    }

    /// The responder's ephemeral key; it names this very handshake.
    #[must_use]
    pub fn responder_ephemeral(&self) -> &[u8; DH_LEN] {
        &self.responder_ephemeral
    }

    /// Opens the payload.
    ///
    /// # Errors
    /// When it does not verify.
    pub fn finish(mut self) -> Result<(Vec<u8>, NoiseSplit), CryptoError> {
        let payload = self.state.open(&self.sealed)?;
        Ok((payload, self.state.split()))
    }
}

/// The responder with the first message read.
pub struct ResponderStart {
    state: Unkeyed,
    initiator: [u8; DH_LEN],
    initiator_ephemeral: [u8; DH_LEN],
}

impl ResponderStart {
    /// Reads the first message. Its payload, and whose static key it names, prove nothing yet.
    ///
    /// # Errors
    /// When it is too short.
    pub fn read<'a>(
        provider: &'static dyn CryptoProvider,
        prologue: &[u8],
        message: &'a [u8],
    ) -> Result<(&'a [u8], Self), CryptoError> {
        let mut state = Unkeyed::new(provider, PROTOCOL_NAME, prologue);
        let (re, rest) = message.split_first_chunk::<DH_LEN>().ok_or(CryptoError)?;
        let (rs, payload) = rest.split_first_chunk::<DH_LEN>().ok_or(CryptoError)?;
        for part in [re, rs, payload] {
            state.mix_hash(part);
        }
        Ok((payload, Self { state, initiator: *rs, initiator_ephemeral: *re }))
    }

    /// The static key the initiator names. It is proven by the initiator's first use of the split.
    #[must_use]
    pub fn initiator(&self) -> &[u8; DH_LEN] {
        &self.initiator
    }

    /// Writes `e, ee, se, s, es`. `e` is a fresh key that is used for nothing else.
    ///
    /// # Errors
    /// When a key of the initiator is a low-order point.
    pub fn write(
        self,
        s: &Arc<dyn AgreementKey>,
        s_public: &[u8; DH_LEN],
        e: Box<dyn AgreementKey>,
    ) -> Result<ResponderEnd, CryptoError> {
        let Self { mut state, initiator, initiator_ephemeral } = self;
        let mut message = e.public().to_vec();
        state.mix_hash(&message);
        let mut state = state.mix_key(&e.agree(&initiator_ephemeral)?);
        state.mix_key(&e.agree(&initiator)?);
        state.seal_into(s_public, &mut message);
        state.mix_key(&s.agree(&initiator_ephemeral)?);
        Ok(ResponderEnd { state, message })
    }
}

/// The responder with the payload to come.
pub struct ResponderEnd {
    state: SymmetricState,
    message: Vec<u8>,
}

impl ResponderEnd {
    /// The handshake hash before the payload: what a signature inside the payload covers.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.state.h
    }

    /// Seals the payload. Gives the whole second message.
    #[must_use]
    pub fn finish(mut self, payload: &[u8]) -> (Vec<u8>, NoiseSplit) {
        self.state.seal_into(payload, &mut self.message);
        (self.message, self.state.split())
    }
}
