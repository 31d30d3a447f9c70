//! Transfers against a server of a few lines that breaks, forgets, lies and comes back.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ids::{ConversationId, Uin, UploadId};
use crate::rng::Rng;

mod downloads;
mod uploads;

const HASH: [u8; 32] = [9; 32];
/// What the server syncs at a time; the rest is gone when it is killed.
const SYNC: usize = 1 << 20;

/// Bytes no two stretches of which are equal.
fn source(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for (n, eight) in bytes.chunks_mut(8).enumerate() {
        eight.copy_from_slice(&(n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()[..eight.len()]);
    }
    bytes
}

fn now() -> Instant {
    Instant::from_micros(1)
}

/// Either machine, as hosts see it.
trait Machine {
    fn poll(&mut self, now: Instant) -> Output;
}

impl Machine for upload::Upload {
    fn poll(&mut self, now: Instant) -> Output {
        self.poll_output(now)
    }
}

impl Machine for download::Download {
    fn poll(&mut self, now: Instant) -> Output {
        self.poll_output(now)
    }
}

/// All that it wants now; the last is its wait.
fn drain(machine: &mut impl Machine, now: Instant) -> Vec<Output> {
    let mut all = Vec::new();
    loop {
        let output = machine.poll(now);
        let last = matches!(output, Output::Wait(..));
        all.push(output);
        if last {
            return all;
        }
        assert!(all.len() < 64, "it does not come to rest: {all:?}");
    }
}

fn ended(outputs: &[Output]) -> Option<Result<(), Failure>> {
    outputs.iter().find_map(|o| match o {
        Output::Event(Event::Ended(result)) => Some(result.clone()),
        _ => None,
    })
}

fn asks(outputs: &[Output]) -> Vec<(AskId, Ask)> {
    let asked = |o: &Output| if let Output::Ask(id, ask) = o { Some((*id, ask.clone())) } else { None };
    outputs.iter().filter_map(asked).collect()
}

/// Each failure says something else.
#[test]
fn failures_have_their_words() {
    let all = [
        Failure::Gone,
        Failure::Mismatch,
        Failure::Quota,
        Failure::Unauthorized,
        Failure::Unreachable,
        Failure::Refused("NOT_A_MEMBER".into()),
        Failure::Cancelled,
    ];
    let words: alloc::collections::BTreeSet<_> = all.iter().map(alloc::string::ToString::to_string).collect();
    assert_eq!(words.len(), all.len());
}
