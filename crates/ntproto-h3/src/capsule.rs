//! Capsules (RFC 9297, section 3.2) on the stream of a session.

use bytes::Bytes;

use crate::config::{MAX_CLOSE_REASON, MAX_DATAGRAM_CAPSULE};
use crate::frame::{FrameReader, Piece, whole};
use crate::table::capsule;

/// A capsule that means something here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capsule {
    /// A datagram.
    Datagram(Bytes),
    /// The session is over.
    Close {
        /// The application's code.
        code: u32,
        /// What it says; bytes that are no UTF-8 are replaced.
        reason: String,
    },
    /// The session should come to its end.
    Drain,
}

/// A capsule that can't be: the message is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Cuts a stream into capsules, as its bytes come. Unknown ones are skipped, however long.
#[derive(Clone, Debug, Default)]
pub struct CapsuleReader {
    frames: FrameReader,
    kind: u64,
    kept: Vec<u8>,
}

impl CapsuleReader {
    /// The next capsule; `None` when more bytes are needed.
    ///
    /// # Errors
    /// A length that its type can't have.
    pub fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Capsule>, Malformed> {
        while let Some(piece) = self.frames.next(bytes) {
            match piece {
                Piece::Start { kind, len } => {
                    let legal = match kind {
                        capsule::DATAGRAM => 0..=MAX_DATAGRAM_CAPSULE as u64,
                        capsule::CLOSE_WEBTRANSPORT_SESSION => 4..=4 + MAX_CLOSE_REASON as u64,
                        capsule::DRAIN_WEBTRANSPORT_SESSION => 0..=0,
                        _ => 0..=u64::MAX,
                    };
                    if !legal.contains(&len) {
                        return Err(Malformed);
                    }
                    self.kind = kind;
                }
                Piece::Data(data) => {
                    if matches!(self.kind, capsule::DATAGRAM | capsule::CLOSE_WEBTRANSPORT_SESSION) {
                        self.kept.extend_from_slice(&data);
                    }
                }
                Piece::End => {
                    let kept = std::mem::take(&mut self.kept);
                    match self.kind {
                        capsule::DATAGRAM => return Ok(Some(Capsule::Datagram(kept.into()))),
                        capsule::CLOSE_WEBTRANSPORT_SESSION => {
                            let (code, reason) = kept.split_first_chunk().ok_or(Malformed)?;
                            let reason = String::from_utf8_lossy(reason).into_owned();
                            return Ok(Some(Capsule::Close { code: u32::from_be_bytes(*code), reason }));
                        }
                        capsule::DRAIN_WEBTRANSPORT_SESSION => return Ok(Some(Capsule::Drain)),
                        _ => {}
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether the stream may end here.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.frames.is_between()
    }
}

/// The capsule that closes a session. Words beyond the limit are cut off.
#[must_use]
pub fn close(code: u32, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_CLOSE_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let payload = [&code.to_be_bytes(), &reason.as_bytes()[..end]].concat();
    whole(capsule::CLOSE_WEBTRANSPORT_SESSION, &payload)
}

/// The capsule that asks for the end of a session.
#[must_use]
pub fn drain() -> Vec<u8> {
    whole(capsule::DRAIN_WEBTRANSPORT_SESSION, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8], size: usize) -> Result<Vec<Capsule>, Malformed> {
        let mut reader = CapsuleReader::default();
        let mut found = Vec::new();
        for chunk in bytes.chunks(size.max(1)) {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(capsule) = reader.next(&mut chunk)? {
                found.push(capsule);
            }
            assert!(reader.kept.len() <= MAX_DATAGRAM_CAPSULE);
        }
        Ok(found)
    }

    #[test]
    fn capsules_come_back() {
        let bytes = [
            whole(0x1234, b"unknown"),
            close(7, "bye"),
            drain(),
            whole(capsule::DATAGRAM, b"hi"),
            whole(capsule::DATAGRAM, b""),
        ]
        .concat();
        for size in [1, 2, 7, 1000] {
            let found = read(&bytes, size).unwrap();
            assert_eq!(
                found,
                [
                    Capsule::Close { code: 7, reason: "bye".into() },
                    Capsule::Drain,
                    Capsule::Datagram(Bytes::from_static(b"hi")),
                    Capsule::Datagram(Bytes::new()),
                ]
            );
        }
    }

    //= proof: http3-21
    #[test]
    fn lengths_that_can_not_be() {
        for (kind, len) in [
            (capsule::CLOSE_WEBTRANSPORT_SESSION, 3),
            (capsule::CLOSE_WEBTRANSPORT_SESSION, 5 + MAX_CLOSE_REASON),
            (capsule::DRAIN_WEBTRANSPORT_SESSION, 1),
            (capsule::DATAGRAM, MAX_DATAGRAM_CAPSULE + 1),
        ] {
            let mut head = Vec::new();
            crate::frame::put_head(kind, len, &mut head);
            assert_eq!(read(&head, 1), Err(Malformed), "{kind:x} {len}");
        }
    }

    #[test]
    fn words_are_cut_between_characters() {
        let long = "ä".repeat(MAX_CLOSE_REASON);
        let [Capsule::Close { reason, .. }] = &read(&close(0, &long), 9).unwrap()[..] else { panic!() };
        assert_eq!(reason.len(), MAX_CLOSE_REASON);
        let long = format!("a{long}");
        let [Capsule::Close { reason, .. }] = &read(&close(0, &long), 9).unwrap()[..] else { panic!() };
        assert_eq!(reason.len(), MAX_CLOSE_REASON - 1);
    }

    proptest! {
        #[test]
        fn anything_is_read_the_same_however_it_is_cut(bytes: Vec<u8>, size in 1..9_usize) {
            prop_assert_eq!(read(&bytes, size), read(&bytes, usize::MAX));
        }
    }
}
