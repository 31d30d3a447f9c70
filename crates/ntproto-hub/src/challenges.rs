//! What challenges are made of, made ahead: a flood of hellos finds keys ready, and costs the connections that
//! speak no new delay.

use alloc::vec::Vec;

use ntproto_core::crypto::CryptoProvider;
use ntproto_core::rng::Rng;
use ntproto_core::session::handshake::Ephemeral;

/// Ephemerals kept ready: a burst of reconnects after a restart, at about 150 bytes each.
const MADE_AHEAD: usize = 64;

/// Made in one go: a quarter of a millisecond.
const MADE_AT_ONCE: usize = 8;

/// The pool. Empty until the first hello, so that a server without TCP makes none.
#[derive(Default)]
pub(crate) struct Challenges {
    ready: Vec<Ephemeral>,
    wanted: bool,
}

impl Challenges {
    /// One for a client that said hello. Each is used once.
    pub(crate) fn take(&mut self, provider: &dyn CryptoProvider, rng: &mut Rng) -> Ephemeral {
        self.wanted = true;
        self.ready.pop().unwrap_or_else(|| Ephemeral::generate(provider, rng))
    }

    /// Makes some more, if there is room: called when a timer ran out, so when the hub has time.
    pub(crate) fn refill(&mut self, provider: &dyn CryptoProvider, rng: &mut Rng) {
        let room = if self.wanted { MADE_AHEAD - self.ready.len() } else { 0 };
        self.ready.extend((0..room.min(MADE_AT_ONCE)).map(|_| Ephemeral::generate(provider, rng)));
    }
}
