//! How long to wait after a fault, and when to give up.

use core::time::Duration;

use super::{Failure, Fault, MAX_RESTARTS};
use crate::liveness::{Backoff, Jitter};
use crate::rng::Rng;

/// Tries without a byte of progress, after which a transfer is given up: with the backoff's waits about a quarter of an hour.
pub const MAX_TRIES: u32 = 30;
/// Tokens that may be refused one after the other: a session may end just as its token is shown.
const MAX_TOKENS: u32 = 3;
/// The longest wait that a server may ask for.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// What to do about a fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Ask for the offset again at once.
    Look,
    /// Wait, then go on.
    Wait(Duration),
    /// Get a token.
    Token,
    /// Begin anew.
    Anew,
    /// It is over.
    Fail(Failure),
}

pub(super) struct Patience {
    backoff: Backoff,
    rng: Rng,
    /// Faults since the last progress: all, and those that were seen to at once.
    tries: u32,
    tokens: u32,
    restarts: u32,
}

impl Patience {
    pub(super) const fn new(rng: Rng) -> Self {
        Self { backoff: Backoff::new(Jitter::Full), rng, tries: 0, tokens: 0, restarts: 0 }
    }

    /// Something came through: what was wrong is mended.
    pub(super) fn progress(&mut self) {
        self.backoff.reset();
        (self.tries, self.tokens) = (0, 0);
    }

    /// The server took the token, whatever else it says.
    pub(super) const fn taken(&mut self) {
        self.tokens = 0;
    }

    pub(super) fn advise(&mut self, fault: &Fault) -> Advice {
        self.tries += 1;
        if *fault != Fault::Unauthorized {
            // The server took the token, or what follows takes so long that the session may end meanwhile.
            self.tokens = 0;
        }
        if self.tries > MAX_TRIES {
            return Advice::Fail(Failure::Unreachable);
        }
        match fault {
            // The first disagreement is mended by looking; what goes on is waited out.
            Fault::Conflict if self.tries == 1 => Advice::Look,
            Fault::Lost | Fault::Conflict => Advice::Wait(self.backoff.next(&mut self.rng)),
            Fault::Busy(wait) => Advice::Wait((*wait).max(self.backoff.next(&mut self.rng)).min(MAX_WAIT)),
            Fault::Unauthorized => {
                self.tokens += 1;
                match self.tokens {
                    ..=MAX_TOKENS => Advice::Token,
                    _ => Advice::Fail(Failure::Unauthorized),
                }
            }
            Fault::Gone => self.anew(Failure::Gone),
            Fault::Mismatch => self.anew(Failure::Mismatch),
            Fault::Quota => Advice::Fail(Failure::Quota),
            Fault::Refused(code) => Advice::Fail(Failure::Refused(code.clone())),
        }
    }

    fn anew(&mut self, failure: Failure) -> Advice {
        self.restarts += 1;
        if self.restarts > MAX_RESTARTS { Advice::Fail(failure) } else { Advice::Anew }
    }
}
