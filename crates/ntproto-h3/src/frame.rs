//! Frames of HTTP/3 (RFC 9114, section 7.1), and capsules (RFC 9297), which have the same shape: a type, a length,
//! and so many bytes.

use bytes::Bytes;

use crate::varint::{self, Partial};

/// A piece of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A frame begins. Nothing is set aside for its length: whoever keeps its bytes looks at it first.
    Start {
        /// Its type.
        kind: u64,
        /// How many bytes it has, as it says.
        len: u64,
    },
    /// Some of its bytes; never none.
    Data(Bytes),
    /// It is whole.
    End,
}

/// Cuts a stream into frames, as its bytes come.
#[derive(Clone, Debug, Default)]
pub struct FrameReader {
    at: At,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Kind(Partial),
    Length(u64, Partial),
    Payload(u64),
}

impl Default for At {
    fn default() -> Self {
        Self::Kind(Partial::default())
    }
}

impl FrameReader {
    /// Goes on after a type that was read already.
    #[must_use]
    pub fn after_kind(kind: u64) -> Self {
        Self { at: At::Length(kind, Partial::default()) }
    }

    /// The next piece; `None` when more bytes are needed.
    //= spec: http3-1
    pub fn next(&mut self, bytes: &mut Bytes) -> Option<Piece> {
        if let At::Kind(partial) = &mut self.at {
            let kind = partial.read(bytes)?;
            self.at = At::Length(kind, Partial::default());
        }
        match &mut self.at {
            At::Kind(_) => None,
            At::Length(kind, partial) => {
                let (kind, len) = (*kind, partial.read(bytes)?);
                self.at = At::Payload(len);
                Some(Piece::Start { kind, len })
            }
            At::Payload(0) => {
                self.at = At::default();
                Some(Piece::End)
            }
            At::Payload(_) if bytes.is_empty() => None,
            At::Payload(left) => {
                let len = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= len as u64;
                Some(Piece::Data(bytes.split_to(len)))
            }
        }
    }

    /// Whether a stream may end here: after a frame, not in one.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        matches!(self.at, At::Kind(partial) if !partial.is_cut())
    }
}

/// Appends the type and the length of a frame.
pub fn put_head(kind: u64, len: usize, out: &mut Vec<u8>) {
    varint::put(kind, out);
    varint::put(len as u64, out);
}

/// A whole frame.
#[must_use]
pub fn whole(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * varint::MAX_LEN + payload.len());
    put_head(kind, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out
}

/// A frame that holds one number.
#[must_use]
pub fn of_number(kind: u64, value: u64) -> Vec<u8> {
    let mut payload = Vec::with_capacity(varint::MAX_LEN);
    varint::put(value, &mut payload);
    whole(kind, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(bytes: &[u8], sizes: &[usize]) -> (Vec<(u64, Vec<u8>)>, bool) {
        let mut reader = FrameReader::default();
        let mut frames: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut whole = 0;
        let mut rest = Bytes::copy_from_slice(bytes);
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let mut chunk = rest.split_to(rest.len().min(*sizes.next().unwrap_or(&1)));
            while let Some(piece) = reader.next(&mut chunk) {
                match piece {
                    Piece::Start { kind, .. } => frames.push((kind, Vec::new())),
                    Piece::Data(data) => {
                        assert!(!data.is_empty());
                        frames.last_mut().unwrap().1.extend(data);
                    }
                    Piece::End => whole += 1,
                }
            }
            assert!(chunk.is_empty(), "all bytes are taken");
        }
        frames.truncate(whole);
        (frames, reader.is_between())
    }

    //= proof: http3-1
    #[test]
    fn a_length_is_not_believed() {
        let mut reader = FrameReader::default();
        let mut bytes = Vec::new();
        put_head(1, 1 << 30, &mut bytes);
        bytes.extend(b"abc");
        let mut bytes = Bytes::from(bytes);
        assert_eq!(reader.next(&mut bytes), Some(Piece::Start { kind: 1, len: 1 << 30 }));
        assert_eq!(reader.next(&mut bytes), Some(Piece::Data(Bytes::from_static(b"abc"))));
        assert_eq!(reader.next(&mut bytes), None);
        assert!(!reader.is_between());
    }

    proptest! {
        #[test]
        fn frames_come_back(
            frames: Vec<(u32, Vec<u8>)>,
            sizes in proptest::collection::vec(1..20_usize, 1..10),
        ) {
            let frames: Vec<(u64, Vec<u8>)> = frames.into_iter().map(|(kind, p)| (kind.into(), p)).collect();
            let bytes = frames.iter().flat_map(|(kind, payload)| whole(*kind, payload)).collect::<Vec<u8>>();
            prop_assert_eq!(cut(&bytes, &sizes), (frames, true));
        }

        #[test]
        fn anything_is_read_the_same_however_it_is_cut(
            bytes: Vec<u8>,
            sizes in proptest::collection::vec(1..20_usize, 1..10),
        ) {
            prop_assert_eq!(cut(&bytes, &sizes), cut(&bytes, &[usize::MAX]));
        }
    }
}
