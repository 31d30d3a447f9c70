//! What happened, as a number that is equal for equal runs, and as text for who wants to read it.

use std::fmt::Debug;

use crate::crypto::Absorber;
use crate::schedule::Time;

/// The trace of a run.
pub(crate) struct Trace {
    hash: Absorber,
    now: Time,
    print: bool,
}

impl Trace {
    pub(crate) const fn new(print: bool) -> Self {
        Self { hash: Absorber::new(30), now: Time(0), print }
    }

    pub(crate) const fn at(&mut self, now: Time) {
        self.now = now;
    }

    /// Something happened.
    pub(crate) fn add(&mut self, what: &str, numbers: &[u64], bytes: &[u8]) {
        self.hash.push(&self.now.0.to_le_bytes());
        self.hash.push(what.as_bytes());
        for number in numbers {
            self.hash.push(&number.to_le_bytes());
        }
        self.hash.push(bytes);
        if self.print {
            println!("{:>12} {what} {numbers:?}", self.now.to_string());
        }
    }

    /// A machine told its host something.
    pub(crate) fn event(&mut self, whom: usize, event: &impl Debug) {
        self.hash.push(&self.now.0.to_le_bytes());
        self.hash.push(&(whom as u64).to_le_bytes());
        if self.print {
            let mut text = format!("{event:?}");
            text.truncate(text.char_indices().nth(300).map_or(text.len(), |(n, _)| n));
            println!("{:>12} device {whom}: {text}", self.now.to_string());
        }
    }

    /// The number of the run.
    pub(crate) fn finish(self) -> u64 {
        self.hash.short()
    }
}
