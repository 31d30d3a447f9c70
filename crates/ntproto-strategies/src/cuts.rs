//! Streams in pieces.

use proptest::prelude::*;

/// How a stream is cut: sizes of pieces, over and over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuts(Vec<usize>);

impl Cuts {
    /// These sizes, over and over; a zero counts as one.
    ///
    /// ```
    /// use ntproto_strategies::cuts::Cuts;
    /// let cuts = Cuts::new(vec![1, 3]);
    /// let pieces: Vec<_> = cuts.pieces(b"abcdef").collect();
    /// assert_eq!(pieces, [&b"a"[..], b"bcd", b"e", b"f"]);
    /// ```
    #[must_use]
    pub fn new(sizes: Vec<usize>) -> Self {
        Self(sizes)
    }

    /// The pieces of a stream, in order; none is empty.
    pub fn pieces<'a>(&'a self, mut stream: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut sizes = self.0.iter().copied().cycle();
        std::iter::from_fn(move || {
            let size = sizes.next().unwrap_or(usize::MAX).max(1).min(stream.len());
            let (piece, rest) = stream.split_at(size);
            stream = rest;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// Any way to cut a stream: in one piece, byte by byte, and everything between.
///
/// ```
/// use ntproto_strategies::cuts::cuts;
/// use proptest::prelude::*;
/// proptest!(|(stream in prop::collection::vec(any::<u8>(), 0..99), cuts in cuts())| {
///     let pieces: Vec<_> = cuts.pieces(&stream).collect();
///     prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
///     prop_assert_eq!(pieces.concat(), stream);
/// });
/// ```
pub fn cuts() -> impl Strategy<Value = Cuts> {
    prop_oneof![
        Just(Cuts(vec![usize::MAX])),
        Just(Cuts(vec![1])),
        prop::collection::vec(1..40usize, 1..9).prop_map(Cuts),
        prop::collection::vec(1..5_000usize, 1..4).prop_map(Cuts),
    ]
}
