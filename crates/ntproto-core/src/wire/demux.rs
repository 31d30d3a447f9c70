//! From the bytes of one TCP stream to the channels they belong to (specification, "TCP").
//!
//! ```text
//! 4E … NTHD message ──▶ CONTROL         02 … frame ──▶ the channel in its header
//! anything else ──▶ CONTROL, and so is all that follows: whoever reads there finds the fault
//! ```
//!
//! Bytes are passed on as they come, never copied, but for a frame's header that arrives in pieces: its channel and
//! length are not known before it is whole.

use core::fmt;
use core::ops::Deref;

use crate::wire::channel::Channel;
use crate::wire::{frame, nthd};

/// Bytes of a frame's header up to the end of its length.
const FRAME_START: usize = 8;

/// Splits one direction of a TCP stream. It holds at most a header's start, and never fails.
///
/// ```
/// use ntproto_core::wire::{channel::Channel, demux::Demux, frame::{self, Flags, FrameType}, nthd};
/// let mut bytes = nthd::header(0).to_vec();
/// frame::encode(FrameType::MsgEncryptedV2 as u8, Flags(0), Channel::Message, 1, b"sealed", &mut bytes);
///
/// let (mut demux, mut data) = (Demux::new(), &bytes[..]);
/// let (channel, piece) = demux.next(&mut data).expect("the first unit");
/// assert_eq!((channel, &piece[..]), (Channel::Control, &bytes[..12]));
/// let (channel, piece) = demux.next(&mut data).expect("the second");
/// assert_eq!((channel, &piece[..]), (Channel::Message, &bytes[12..]));
/// assert!(demux.next(&mut data).is_none());
/// ```
#[derive(Debug, Default)]
pub struct Demux(State);

/// Where in a unit the next byte stands.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// At its first byte.
    #[default]
    Between,
    /// Inside a frame's header: what came so far is held.
    Frame { start: [u8; FRAME_START], len: usize },
    /// Inside an NTHD header: what came so far was passed on already.
    Nthd { head: [u8; nthd::HEADER_LEN], len: usize },
    /// This many bytes before its end.
    Body { channel: Channel, left: u64 },
    /// Beyond what can be read.
    Lost,
}

/// A part of a unit, in order.
#[derive(Clone, Copy)]
pub enum Piece<'a> {
    /// Bytes that were handed in this time.
    Borrowed(&'a [u8]),
    /// The start of a frame's header that came in pieces.
    Held([u8; FRAME_START]),
}

impl Deref for Piece<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Held(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Piece<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl Demux {
    /// At the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self(State::Between)
    }

    /// Whether all that came so far were whole units: a stream that ends elsewhere was cut off.
    #[must_use]
    pub const fn is_between_units(&self) -> bool {
        matches!(self.0, State::Between)
    }

    /// Takes the next piece from the front of `data`; `None` when `data` is used up.
    pub fn next<'a>(&mut self, data: &mut &'a [u8]) -> Option<(Channel, Piece<'a>)> {
        let &first = data.first()?;
        if let State::Between = self.0 {
            //= spec: tcp-1
            self.0 = match first {
                frame::VERSION => State::Frame { start: [0; FRAME_START], len: 0 },
                b'N' => State::Nthd { head: [0; nthd::HEADER_LEN], len: 0 },
                _ => State::Lost,
            };
        }
        match self.0 {
            // `Between` was left above.
            State::Lost | State::Between => Some((Channel::Control, Piece::Borrowed(take(data, usize::MAX)))),
            State::Body { channel, left } => Some((channel, Piece::Borrowed(self.body(channel, left, data)))),
            State::Frame { start, len } => self.frame(start, len, data),
            State::Nthd { head, len } => {
                Some((Channel::Control, Piece::Borrowed(self.nthd(head, len, data))))
            }
        }
    }

    fn body<'a>(&mut self, channel: Channel, left: u64, data: &mut &'a [u8]) -> &'a [u8] {
        let piece = take(data, usize::try_from(left).unwrap_or(usize::MAX));
        self.0 = match left - piece.len() as u64 {
            0 => State::Between,
            left => State::Body { channel, left },
        };
        piece
    }

    /// Inside a frame's header, of which `len` bytes are held.
    fn frame<'a>(
        &mut self,
        mut start: [u8; FRAME_START],
        len: usize,
        data: &mut &'a [u8],
    ) -> Option<(Channel, Piece<'a>)> {
        // Nothing is taken yet: what comes whole is passed on in one piece with its payload.
        let n = data.len().min(FRAME_START - len);
        start[len..len + n].copy_from_slice(&data[..n]);
        if len + n < FRAME_START {
            take(data, n);
            self.0 = State::Frame { start, len: len + n };
            return None;
        }
        let [_, _, _, channel, l0, l1, l2, l3] = start;
        let Some(channel) = Channel::from_wire(channel) else {
            self.0 = State::Lost;
            if len == 0 {
                return Some((Channel::Control, Piece::Borrowed(take(data, usize::MAX))));
            }
            take(data, n);
            return Some((Channel::Control, Piece::Held(start)));
        };
        let payload = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
        let left = payload + (frame::HEADER_LEN - FRAME_START + frame::TRAILER_LEN) as u64;
        if len == 0 {
            return Some((channel, Piece::Borrowed(self.body(channel, left + FRAME_START as u64, data))));
        }
        take(data, n);
        self.0 = State::Body { channel, left };
        Some((channel, Piece::Held(start)))
    }

    /// Inside an NTHD header, of which `len` bytes are known.
    fn nthd<'a>(&mut self, mut head: [u8; nthd::HEADER_LEN], len: usize, data: &mut &'a [u8]) -> &'a [u8] {
        let n = data.len().min(nthd::HEADER_LEN - len);
        head[len..len + n].copy_from_slice(&data[..n]);
        let known = len + n;
        if nthd::check(&head[..known]).is_err() {
            self.0 = State::Lost;
            return take(data, usize::MAX);
        }
        if known < nthd::HEADER_LEN {
            self.0 = State::Nthd { head, len: known };
            return take(data, n);
        }
        self.body(Channel::Control, n as u64 + u64::from(nthd::declared_len(&head)), data)
    }
}

/// Takes at most `n` bytes from the front.
fn take<'a>(data: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (taken, rest) = data.split_at(n.min(data.len()));
    *data = rest;
    taken
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alloc::vec::Vec;

    use super::*;
    use proptest::prelude::*;

    const CONTROL: Channel = Channel::Control;

    /// Every byte with its channel, when the stream comes cut at these places.
    fn split(bytes: &[u8], cuts: &[usize]) -> Vec<(Channel, u8)> {
        let mut demux = Demux::new();
        let mut out = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([bytes.len()]) {
            let mut data = &bytes[from..to];
            let mut left = data.len() + 1;
            while let Some((channel, piece)) = demux.next(&mut data) {
                assert!(!piece.is_empty() && data.len() < left, "every call moves on");
                left = data.len();
                out.extend(piece.iter().map(|&byte| (channel, byte)));
            }
            assert!(data.is_empty(), "everything is taken");
            from = to;
        }
        out
    }

    fn any_unit() -> impl Strategy<Value = (Channel, Vec<u8>)> {
        let payload = prop::collection::vec(any::<u8>(), 0..60);
        (0..5u8, any::<u8>(), any::<u64>(), payload).prop_map(|(channel, kind, seq, payload)| {
            let mut bytes = Vec::new();
            let Some(channel) = Channel::from_wire(channel) else {
                nthd::encode(&payload, &mut bytes);
                return (CONTROL, bytes);
            };
            frame::encode(kind, frame::Flags(0), channel, seq, &payload, &mut bytes);
            (channel, bytes)
        })
    }

    /// Places to cut `len` bytes at, in order.
    fn places(cuts: &[prop::sample::Index], len: usize) -> Vec<usize> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
        cuts.sort_unstable();
        cuts
    }

    proptest! {
        //= proof: tcp-1
        #[test]
        fn units_reach_their_channels_however_they_are_cut(
            units in prop::collection::vec(any_unit(), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let bytes: Vec<u8> = units.iter().flat_map(|(_, unit)| unit.clone()).collect();
            let expected: Vec<_> =
                units.iter().flat_map(|(channel, unit)| unit.iter().map(|&byte| (*channel, byte))).collect();
            prop_assert_eq!(&split(&bytes, &places(&cuts, bytes.len())), &expected);
            prop_assert_eq!(&split(&bytes, &(0..bytes.len()).collect::<Vec<_>>()), &expected);
        }

        /// Noise, and units with noise in them: nothing is lost but a header that is not whole, and the cuts make no difference.
        #[test]
        fn anything_comes_out_as_it_went_in(
            units in prop::collection::vec(any_unit(), 0..4),
            noise in prop::collection::vec(any::<u8>(), 0..60),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut bytes: Vec<u8> = units.into_iter().flat_map(|(_, unit)| unit).chain(noise).collect();
            if !bytes.is_empty() {
                flips.iter().for_each(|(at, flip)| { let at = at.index(bytes.len()); bytes[at] ^= flip; });
            }
            let whole = split(&bytes, &[]);
            prop_assert!(bytes.len() - whole.len() < FRAME_START);
            prop_assert!(whole.iter().map(|(_, byte)| byte).eq(&bytes[..whole.len()]));
            prop_assert_eq!(split(&bytes, &places(&cuts, bytes.len())), whole);
        }
    }

    #[test]
    fn what_comes_whole_is_one_piece() {
        let mut bytes = Vec::new();
        frame::encode(16, frame::Flags(0), Channel::Message, 1, &[7; 1000], &mut bytes);
        nthd::encode(&[8; 100], &mut bytes);
        let (mut demux, mut data) = (Demux::new(), &bytes[..]);
        let (_, piece) = demux.next(&mut data).unwrap();
        assert!(matches!(piece, Piece::Borrowed(all) if all.len() == 1020 && all.as_ptr() == bytes.as_ptr()));
        assert!(demux.is_between_units());
        assert_eq!(demux.next(&mut data).unwrap().1.len(), 112);
        assert!(demux.is_between_units());
    }

    #[test]
    fn what_can_not_be_read_goes_to_control_and_stays_there() {
        let mut frame = Vec::new();
        frame::encode(16, frame::Flags(0), Channel::Message, 1, b"x", &mut frame);
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01",
            b"NTHD\x02",
            b"NTHD\x01\0\x01\0\0\0\0\0",
            b"NTHX",
            &[2, 16, 0, 4, 0, 0, 0, 0],
            &[3],
        ] {
            let bytes = [&frame[..], bad, &frame].concat();
            let out = split(&bytes, &[]);
            let (before, after) = out.split_at(frame.len());
            assert!(before.iter().all(|(channel, _)| *channel == Channel::Message));
            assert!(after.iter().all(|(channel, _)| *channel == CONTROL), "{bad:?}");
            assert_eq!(out, split(&bytes, &(0..bytes.len()).collect::<Vec<_>>()));
        }
    }

    /// The fault of half a header must reach whoever looks for it.
    #[test]
    fn a_preamble_is_passed_on_byte_by_byte() {
        let mut demux = Demux::new();
        for byte in nthd::header(9).chunks(1) {
            let (channel, piece) = demux.next(&mut &*byte).unwrap();
            assert_eq!((channel, &piece[..]), (CONTROL, byte));
            assert!(!demux.is_between_units());
        }
    }

    /// A length is only counted down: it costs nothing here, and its channel refuses it.
    #[test]
    fn a_length_of_four_gibibytes_costs_nothing() {
        let mut bytes = [2, 16, 0, 1, 0xff, 0xff, 0xff, 0xff].to_vec();
        bytes.extend([0; 1000]);
        assert!(split(&bytes, &[3, 500]).iter().all(|(channel, _)| *channel == Channel::Message));
        let bytes = [&nthd::header(u32::MAX)[..], &frame::VERSION.to_be_bytes()].concat();
        assert!(split(&bytes, &[]).iter().all(|(channel, _)| *channel == CONTROL));
        assert!(size_of::<Demux>() <= 40);
    }
}
