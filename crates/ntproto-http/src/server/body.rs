//! The body of an answer, as hyper takes it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use futures_core::Stream as _;
use http_body::{Body, Frame, SizeHint};

/// The answer was cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer was cut")
    }
}

impl std::error::Error for Cut {}

/// Held by hyper: while it is there, the peer waits for the answer or takes it.
pub(super) struct Waiting {
    _here: Sender<()>,
}

impl Waiting {
    /// And what tells that it is gone: an end.
    pub(super) fn new() -> (Self, Receiver<()>) {
        let (here, gone) = async_channel::bounded(1);
        (Self { _here: here }, gone)
    }
}

/// A part of an answer, and whether it is the last.
pub(super) type Part = (Bytes, bool);

/// The body.
pub(super) struct Answered {
    /// `None` once it has ended, or when there is none.
    parts: Option<Pin<Box<Receiver<Part>>>>,
    /// Where it says that a part was taken.
    taken: Sender<()>,
    _waiting: Waiting,
}

impl Answered {
    pub(super) fn new(parts: Option<Receiver<Part>>, taken: Sender<()>, waiting: Waiting) -> Self {
        Self { parts: parts.map(Box::pin), taken, _waiting: waiting }
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            let Some(parts) = &mut self.parts else { return Poll::Ready(None) };
            let Some((data, end)) = ready!(parts.as_mut().poll_next(cx)) else {
                self.parts = None;
                return Poll::Ready(Some(Err(Cut)));
            };
            // It has room for as many as may be under way.
            let _ = self.taken.try_send(());
            if end {
                self.parts = None;
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.parts.is_none() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}
