//! Typed handlers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::dispatch::{Occupied, Outcome, Refusal};
use ntproto_core::wire::packet::{Packet, PacketId};
use prost::Message;

use super::{Answering, Reader, Routes, Snapshot};
use crate::Identity;

/// What a handler knows of a request besides its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// What is asked for.
    pub packet: PacketId,
    /// The device that asks; `None`: the server tells.
    pub from: Option<Identity>,
    /// How long somebody waits for the answer, where it is awaited. After that the handler's future is dropped.
    pub time_left: Option<Duration>,
}

/// A handler as the table holds it: bytes in, an outcome out.
#[derive(Clone)]
pub struct Handler(Arc<dyn Fn(Context, Bytes) -> Answering + Send + Sync>);

impl Handler {
    fn new<Req, Resp, Fut>(handler: impl Fn(Context, Req) -> Fut + Send + Sync + 'static) -> Self
    where
        Req: Message + Default + 'static,
        Resp: Message + 'static,
        Fut: Future<Output = Result<Resp, Refusal>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        Self(Arc::new(move |cx, body| {
            let handler = Arc::clone(&handler);
            Answering::working(async move {
                let answer = match Req::decode(body) {
                    Ok(request) => handler(cx, request).await,
                    Err(_) => Err(Refusal::new(ErrorCode::BadRequest, "the body can't be decoded")),
                };
                match answer {
                    Ok(response) => Outcome::Answered(response.encode_to_vec().into()),
                    Err(refusal) => Outcome::Refused(refusal),
                }
            })
        }))
    }

    /// Begins to answer a request.
    pub fn answer(&self, cx: Context, body: Bytes) -> Answering {
        (self.0)(cx, body)
    }
}

impl Snapshot<Handler> {
    /// Begins to answer a request; without a handler, with `UNKNOWN_PACKET`.
    pub fn answer(&self, cx: Context, body: Bytes) -> Answering {
        match self.get(cx.packet) {
            Some(handler) => handler.answer(cx, body),
            None => Answering::refused(ErrorCode::UnknownPacket.into()),
        }
    }
}

/// Typed handlers by packet id. Cheap to clone: all clones are one router.
///
/// ```
/// use ntproto_sdk::dispatch::{Context, Outcome, PacketId, Refusal, Router};
/// # use std::{future::Future, pin::pin, task};
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Add {
///     #[prost(uint32, tag = "1")]
///     a: u32,
///     #[prost(uint32, tag = "2")]
///     b: u32,
/// }
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Sum {
///     #[prost(uint32, tag = "1")]
///     sum: u32,
/// }
/// const ADD: PacketId = PacketId(0x8001);
///
/// let router = Router::new();
/// router.register(ADD, |_, Add { a, b }: Add| async move {
///     let sum = a.checked_add(b).ok_or(Refusal::from(ntproto_sdk::ErrorCode::BadRequest))?;
///     Ok(Sum { sum })
/// })?;
/// # let cx = Context { packet: ADD, from: None, time_left: None };
/// # let body = prost::Message::encode_to_vec(&Add { a: 2, b: 3 });
/// # let answering = pin!(router.snapshot().answer(cx, body.into()));
/// # let answer = answering.poll(&mut task::Context::from_waker(task::Waker::noop()));
/// # let sum = prost::Message::encode_to_vec(&Sum { sum: 5 });
/// # assert_eq!(answer, task::Poll::Ready(Outcome::Answered(sum.into())));
/// # Ok::<(), ntproto_sdk::dispatch::Occupied>(())
/// ```
///
/// Handlers run beside each other, so the answers to one device come in any order. One that must not be
/// interrupted when its time is over spawns what it does on the host's runtime. One that blocks its thread blocks
/// whatever else the host runs there.
#[derive(Clone, Default)]
pub struct Router(Arc<Routes<Handler>>);

impl Router {
    /// A router without handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler. A body that is no `Req` never gets to it: it is refused with `BAD_REQUEST`.
    ///
    /// # Errors
    /// [`Occupied`] when the id has a handler; nothing has changed.
    pub fn register<Req, Resp, Fut>(
        &self,
        id: PacketId,
        handler: impl Fn(Context, Req) -> Fut + Send + Sync + 'static,
    ) -> Result<(), Occupied>
    where
        Req: Message + Default + 'static,
        Resp: Message + 'static,
        Fut: Future<Output = Result<Resp, Refusal>> + Send + 'static,
    {
        self.0.register(id, Handler::new(handler))
    }

    /// Sets the handler of an id; whether it had one. What that one has begun it finishes.
    pub fn replace<Req, Resp, Fut>(
        &self,
        id: PacketId,
        handler: impl Fn(Context, Req) -> Fut + Send + Sync + 'static,
    ) -> bool
    where
        Req: Message + Default + 'static,
        Resp: Message + 'static,
        Fut: Future<Output = Result<Resp, Refusal>> + Send + 'static,
    {
        self.0.replace(id, Handler::new(handler)).is_some()
    }

    /// Takes the handler of an id out; whether it had one. What that one has begun it finishes.
    pub fn remove(&self, id: PacketId) -> bool {
        self.0.remove(id).is_some()
    }

    /// The handlers as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<Handler> {
        self.0.snapshot()
    }

    /// A reader of one's own, for a loop that answers batch after batch.
    #[must_use]
    pub fn reader(&self) -> Reader<Handler> {
        Routes::reader(&self.0)
    }

    /// Lets the handler of a push see it; `None`: it has none, and is dropped. What the handler answers goes
    /// nowhere, so its response may be `()`.
    ///
    /// ```
    /// use ntproto_sdk::{Event, Events, dispatch::Router};
    ///
    /// async fn listen(mut events: Events, router: Router) {
    ///     while let Some(event) = events.next().await {
    ///         if let Event::Push(packet) = event {
    ///             router.push(packet).await;
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn push(&self, packet: Packet) -> Option<Outcome> {
        let cx = Context { packet: packet.id, from: None, time_left: None };
        let handler = self.snapshot().get(packet.id)?.clone();
        Some(handler.answer(cx, packet.body).await)
    }
}
