//! What goes with a request and comes with a response.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use async_channel::Receiver;
use bytes::Bytes;
use futures_core::Stream as _;
use http_body::{Body, Frame, SizeHint};

use super::HttpError;

/// The body of a request.
#[derive(Debug)]
pub enum Outgoing {
    /// None.
    Empty,
    /// All of it.
    Whole(Bytes),
    /// So many bytes, that come as they are made. When the other end goes before they are all there, the request breaks off.
    Parts {
        /// Bytes that are still to come.
        len: u64,
        /// The next ones.
        parts: Pin<Box<Receiver<Bytes>>>,
    },
}

impl Outgoing {
    /// So many bytes, as they come.
    #[must_use]
    pub fn parts(len: u64, parts: Receiver<Bytes>) -> Self {
        Self::Parts { len, parts: Box::pin(parts) }
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Parts { len, .. } => *len,
        }
    }

    /// Whether nothing is to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// Whoever made them is gone, or made too many.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, HttpError>>> {
        let broken = |words: &str| Poll::Ready(Some(Err(HttpError(words.into()))));
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
            }
            Self::Parts { len: 0, .. } => Poll::Ready(None),
            Self::Parts { len, parts } => match parts.as_mut().poll_next(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(part)) if part.len() as u64 <= *len => {
                    *len -= part.len() as u64;
                    Poll::Ready(Some(Ok(part)))
                }
                Poll::Ready(Some(_)) => broken("more than was announced"),
                Poll::Ready(None) => broken("the rest of the body does not come"),
            },
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Self::poll_next(&mut self, cx).map(|next| next.map(|next| next.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

/// The body of a response, which comes only as it is asked for.
#[derive(Debug)]
pub enum Incoming {
    /// Over HTTP/2.
    H2(hyper::body::Incoming),
    /// Over HTTP/3.
    H3(super::h3::Body),
    /// As another task brings it; the channel's bound holds that task back.
    Parts(Receiver<Result<Bytes, HttpError>>),
}

impl Incoming {
    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// It broke off.
    pub async fn next(&mut self) -> Option<Result<Bytes, HttpError>> {
        match self {
            Self::H3(body) => body.next().await,
            Self::Parts(parts) => parts.recv().await.ok(),
            Self::H2(body) => loop {
                let frame = poll_fn(|cx| pin!(&mut *body).poll_frame(cx)).await?;
                match frame.map(Frame::into_data) {
                    Ok(Ok(data)) => return Some(Ok(data)),
                    // Trailers say nothing here.
                    Ok(Err(_)) => {}
                    Err(error) => return Some(Err(HttpError::of(&error))),
                }
            },
        }
    }

    /// All of it, if that is no more than `limit` bytes.
    ///
    /// # Errors
    /// It broke off, or is longer.
    pub async fn whole(mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let mut all = Vec::new();
        while let Some(part) = self.next().await {
            all.extend_from_slice(&part?);
            if all.len() > limit {
                return Err(HttpError("the response is too long".into()));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn next(body: &mut Outgoing) -> Poll<Option<Result<Bytes, HttpError>>> {
        body.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_body_brings_what_it_announced_or_breaks_off() {
        let (send, parts) = async_channel::bounded(4);
        let mut body = Outgoing::parts(5, parts);
        assert_eq!(next(&mut body), Poll::Pending);
        send.try_send(Bytes::from_static(b"abc")).unwrap();
        assert_eq!(next(&mut body), Poll::Ready(Some(Ok(Bytes::from_static(b"abc")))));
        assert_eq!(body.len(), 2);
        send.try_send(Bytes::from_static(b"def")).unwrap();
        assert!(matches!(next(&mut body), Poll::Ready(Some(Err(_)))), "too much");
        send.try_send(Bytes::from_static(b"de")).unwrap();
        assert!(matches!(next(&mut body), Poll::Ready(Some(Ok(_)))));
        assert!(body.is_empty() && next(&mut body) == Poll::Ready(None));

        let (send, parts) = async_channel::bounded::<Bytes>(1);
        drop(send);
        assert!(matches!(next(&mut Outgoing::parts(1, parts)), Poll::Ready(Some(Err(_)))), "too little");
        let mut whole = Outgoing::Whole(Bytes::from_static(b"x"));
        assert!(matches!(next(&mut whole), Poll::Ready(Some(Ok(_)))));
        assert_eq!(next(&mut whole), Poll::Ready(None));
    }
}
