//! Frames, and on TCP handshake messages, out of a byte stream that comes in pieces of any size.

use alloc::vec::Vec;

use super::KEPT_BUFFER;
use crate::wire::channel::Channel;
use crate::wire::frame::{Decoded, FrameError, Header, decode};
use crate::wire::nthd::{self, NthdError};

/// What looking at the start of some bytes gave.
enum Looked<R> {
    /// A whole unit, and how many bytes it took.
    Whole(R, usize),
    /// So many bytes in all are needed.
    Need(usize),
}

/// The unfinished frame or message of one channel. Holds what has arrived of it, never more than its length,
/// and takes no memory a peer only announced.
#[derive(Default)]
pub(super) struct Reassembler {
    partial: Vec<u8>,
}

impl Reassembler {
    /// Shows `visit` the next whole frame of what is held and `data`, and leaves the rest in `data`.
    /// `None`: all of `data` was taken and more is needed.
    pub(super) fn next<R>(
        &mut self,
        channel: Channel,
        data: &mut &[u8],
        max_payload: usize,
        visit: impl FnOnce(&Header, &[u8]) -> R,
    ) -> Result<Option<R>, FrameError> {
        let mut visit = Some(visit);
        self.take(data, |source| {
            Ok(match decode(source, max_payload)? {
                Decoded::Frame { header, payload, consumed } => {
                    //= spec: channels-1
                    if header.channel != channel {
                        return Err(FrameError::Channel(header.channel as u8));
                    }
                    let visit = visit.take().expect("a whole frame ends the search");
                    Looked::Whole(visit(&header, payload), consumed)
                }
                Decoded::NeedMore(need) => Looked::Need(need),
            })
        })
    }

    /// The first byte of what comes next.
    pub(super) fn first(&self, data: &[u8]) -> Option<u8> {
        self.partial.first().or_else(|| data.first()).copied()
    }

    /// [`next`](Self::next) for an NTHD message: its payload.
    pub(super) fn next_message(
        &mut self,
        data: &mut &[u8],
        max_payload: usize,
    ) -> Result<Option<Vec<u8>>, NthdError> {
        self.take(data, |source| {
            Ok(match nthd::decode(source, max_payload)? {
                nthd::Decoded::Message { payload, consumed } => Looked::Whole(payload.to_vec(), consumed),
                nthd::Decoded::NeedMore(need) => Looked::Need(need),
            })
        })
    }

    fn take<R, E>(
        &mut self,
        data: &mut &[u8],
        mut look: impl FnMut(&[u8]) -> Result<Looked<R>, E>,
    ) -> Result<Option<R>, E> {
        loop {
            // The common case: whole frames in one piece, decoded where they lie.
            let source = if self.partial.is_empty() { *data } else { &self.partial[..] };
            let need = match look(source)? {
                Looked::Whole(seen, consumed) => {
                    if self.partial.is_empty() {
                        *data = &data[consumed..];
                    } else {
                        self.partial.clear();
                        self.partial.shrink_to(KEPT_BUFFER);
                    }
                    return Ok(Some(seen));
                }
                Looked::Need(need) => need,
            };
            if data.is_empty() {
                return Ok(None);
            }
            //= spec: frames-2
            let take = (need - self.partial.len()).min(data.len());
            self.partial.extend_from_slice(&data[..take]);
            *data = &data[take..];
        }
    }

    /// Gives back memory that is not used now.
    pub(super) fn rest(&mut self) {
        self.partial.shrink_to_fit();
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.partial.capacity()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::frame::{Flags, MAX_PAYLOAD, encode};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..8),
            cuts in prop::collection::vec(1..50usize, 1..200),
        ) {
            let mut stream = Vec::new();
            for (n, p) in payloads.iter().enumerate() {
                encode(16, Flags(0), Channel::Message, n as u64 + 1, p, &mut stream);
            }
            let mut r = Reassembler::default();
            let mut got = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (mut piece, tail) = rest.split_at((*cut).min(rest.len()));
                rest = tail;
                while r
                    .next(Channel::Message, &mut piece, MAX_PAYLOAD, |_, payload| got.push(payload.to_vec()))
                    .unwrap()
                    .is_some()
                {}
                prop_assert!(piece.is_empty());
            }
            prop_assert_eq!(got, payloads);
        }

        //= proof: frames-2
        #[test]
        fn noise_is_refused_or_awaited_with_bounded_memory(noise in prop::collection::vec(any::<u8>(), 0..500)) {
            let mut r = Reassembler::default();
            let mut data = &noise[..];
            while let Ok(Some(())) = r.next(Channel::Message, &mut data, 100, |_, _| ()) {}
            prop_assert!(r.held() <= 2 * noise.len() + 256);
        }
    }
}
