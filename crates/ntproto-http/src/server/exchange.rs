//! One exchange: a task that tells what comes of the request and hands hyper what is answered.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use futures_core::Stream as _;
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use ntproto_drive::Runtime;
use ntproto_drive::https::Place;
use ntproto_drive::runtime::Timer as _;

use super::body::{Answered, Cut, Part, Waiting};
use super::limits::{MAX_PARTS, SMALL_PART};
use super::line::{Answers, line};
use super::{Answer, Came, CarrierId, ExchangeId, Shared};

/// What the exchanges of a connection share.
pub(super) struct Carrier<R> {
    pub(super) shared: Arc<Shared<R>>,
    pub(super) id: CarrierId,
    pub(super) remote: SocketAddr,
    /// Where it stands among the machine's connections.
    pub(super) place: Place,
    /// Exchanges under way.
    pub(super) active: AtomicUsize,
    /// Exchanges that began.
    pub(super) begun: AtomicUsize,
    /// Closed by an exchange whose peer takes nothing: the connection ends.
    pub(super) stuck: Sender<()>,
}

/// Answers a request.
pub(super) async fn answer<R: Runtime>(
    carrier: Arc<Carrier<R>>,
    request: Request<Incoming>,
) -> Result<Response<Answered>, Cut> {
    let shared = &carrier.shared;
    let exchange = ExchangeId(shared.exchanges.fetch_add(1, Relaxed));
    let (parts, body) = request.into_parts();
    let mut head = Request::new(());
    // Not the extensions: what hyper keeps there is its own.
    *head.method_mut() = parts.method;
    *head.uri_mut() = parts.uri;
    *head.version_mut() = parts.version;
    *head.headers_mut() = parts.headers;
    // Whatever prints a head prints no token.
    if let Some(secret) = head.headers_mut().get_mut(http::header::AUTHORIZATION) {
        secret.set_sensitive(true);
    }
    let end = body.is_end_stream();
    let awaited = ntproto_web::asks_first(head.headers());
    let (line, answers) = line();
    let (heads, head_came) = async_channel::bounded(1);
    let (taken, takes) = async_channel::bounded(MAX_PARTS);
    let (waiting, gone) = Waiting::new();
    let (id, remote) = (carrier.id, carrier.remote);
    let came = Came::Head { exchange, carrier: id, remote, request: head, end, line };
    carrier.active.fetch_add(1, Relaxed);
    if carrier.begun.fetch_add(1, Relaxed) == 0 {
        carrier.place.settle();
    }
    let task = Exchange {
        id: exchange,
        carrier: Active(Arc::clone(&carrier)),
        body: (!end).then_some(body),
        awaited,
        answers,
        takes,
        gone,
        heads: Some(heads),
        parts: None,
        told: VecDeque::new(),
        unconsumed: 0,
        under_way: 0,
        stall: None,
        phase: Phase::Answering,
    };
    shared.runtime.spawn(task.run(came));
    let (head, parts) = head_came.recv().await.map_err(|_| Cut)?;
    let (head, ()) = head.into_parts();
    Ok(Response::from_parts(head, Answered::new(parts, taken, waiting)))
}

/// Counts an exchange for as long as it is under way.
struct Active<R>(Arc<Carrier<R>>);

impl<R> Drop for Active<R> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// More of the answer may come.
    Answering,
    /// All of it is given to hyper.
    Answered,
    /// It was reset; hyper may still hold parts of it.
    Cutting,
}

/// The answer's head, and where its parts come from.
type Begun = (Response<()>, Option<Receiver<Part>>);

struct Exchange<R: Runtime> {
    id: ExchangeId,
    carrier: Active<R>,
    /// The request's body, until it has ended.
    body: Option<Incoming>,
    /// Its client waits to hear that the body is wanted: hyper says so as soon as it is read.
    awaited: bool,
    answers: Answers,
    /// Parts of the answer that hyper took.
    takes: Receiver<()>,
    gone: Receiver<()>,
    /// Where the head goes, until it went.
    heads: Option<Sender<Begun>>,
    /// Where parts of the answer go, from the head to the last one.
    parts: Option<Sender<Part>>,
    /// Parts of the request that were told and not consumed, and their bytes in all.
    told: VecDeque<usize>,
    unconsumed: usize,
    /// Parts of the answer that hyper has not taken.
    under_way: usize,
    /// Rings when hyper takes nothing.
    stall: Option<R::Timer>,
    phase: Phase,
}

/// What came of waiting.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made: a box would cost more")]
enum Stirred {
    Tell(Came),
    /// It has ended as it should, or as whoever answers wants.
    Done,
    /// The peer is gone.
    Gone,
}

impl<R: Runtime> Exchange<R> {
    async fn run(mut self, head: Came) {
        let came = self.carrier.0.shared.came.clone();
        // Nobody answers any more: dropping everything resets it.
        if came.send(head).await.is_err() {
            return;
        }
        let (takes, gone) = (self.takes.clone(), self.gone.clone());
        let (mut takes, mut gone) = (pin!(takes), pin!(gone));
        loop {
            match poll_fn(|cx| self.stir(cx, takes.as_mut(), gone.as_mut())).await {
                Stirred::Tell(told) => {
                    if came.send(told).await.is_err() {
                        return;
                    }
                }
                Stirred::Done => return,
                Stirred::Gone => {
                    let _ = came.send(Came::Gone { exchange: self.id }).await;
                    return;
                }
            }
        }
    }

    fn stir(
        &mut self,
        cx: &mut Context<'_>,
        mut takes: Pin<&mut Receiver<()>>,
        mut gone: Pin<&mut Receiver<()>>,
    ) -> Poll<Stirred> {
        let exchange = self.id;
        while let Poll::Ready(Some(())) = takes.as_mut().poll_next(cx) {
            self.under_way = self.under_way.saturating_sub(1);
            self.stall = None;
            if self.phase == Phase::Answering {
                return Poll::Ready(Stirred::Tell(Came::Room { exchange }));
            }
        }
        while self.phase == Phase::Answering {
            match self.answers.poll(cx) {
                Poll::Ready(answer) => self.take(answer),
                Poll::Pending => break,
            }
        }
        if self.phase != Phase::Answering && self.under_way == 0 {
            return Poll::Ready(Stirred::Done);
        }
        if gone.as_mut().poll_next(cx).is_ready() {
            let wanted = self.phase == Phase::Answering;
            return Poll::Ready(if wanted { Stirred::Gone } else { Stirred::Done });
        }
        if self.under_way > 0 {
            let shared = &self.carrier.0.shared;
            let after = match self.phase {
                Phase::Cutting => shared.limits.cut,
                Phase::Answering | Phase::Answered => shared.limits.stall,
            };
            let stall = self.stall.get_or_insert_with(|| {
                let mut timer = shared.runtime.timer();
                timer.set(after);
                timer
            });
            if stall.poll(cx).is_ready() {
                self.carrier.0.stuck.close();
                let wanted = self.phase == Phase::Answering;
                return Poll::Ready(if wanted { Stirred::Gone } else { Stirred::Done });
            }
        }
        self.read(cx)
    }

    /// Reads the request's body, as far as there is credit.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Stirred> {
        let (exchange, limits) = (self.id, &self.carrier.0.shared.limits);
        if self.phase != Phase::Answering || self.awaited {
            return Poll::Pending;
        }
        while self.unconsumed < limits.credit && self.told.len() < limits.parts {
            let Some(body) = &mut self.body else { break };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers say nothing here.
                    let Ok(data) = frame.into_data() else { continue };
                    if data.is_empty() {
                        continue;
                    }
                    let data = if data.len() < SMALL_PART { Bytes::copy_from_slice(&data) } else { data };
                    self.unconsumed += data.len();
                    self.told.push_back(data.len());
                    return Poll::Ready(Stirred::Tell(Came::Data { exchange, data }));
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Stirred::Gone),
                Poll::Ready(None) => {
                    self.body = None;
                    return Poll::Ready(Stirred::Tell(Came::End { exchange }));
                }
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Head(head, end) => {
                let receiver = if end {
                    self.phase = Phase::Answered;
                    None
                } else {
                    let (parts, receiver) = async_channel::bounded(MAX_PARTS);
                    self.parts = Some(parts);
                    Some(receiver)
                };
                // A second head is no answer; nor is one that nobody waits for, whose end is told by `gone`.
                let sent = self.heads.take().is_some_and(|heads| heads.try_send((head, receiver)).is_ok());
                if !sent {
                    self.cut();
                }
            }
            Answer::Data(data, end) => {
                let sent = self.parts.as_ref().is_some_and(|parts| parts.try_send((data, end)).is_ok());
                if !sent {
                    return self.cut();
                }
                self.under_way += 1;
                if end {
                    self.phase = Phase::Answered;
                    self.parts = None;
                }
            }
            Answer::Consumed(mut bytes) => {
                self.unconsumed = self.unconsumed.saturating_sub(bytes);
                while let Some(part) = self.told.front_mut() {
                    if bytes < *part {
                        *part -= bytes;
                        break;
                    }
                    bytes -= *part;
                    self.told.pop_front();
                }
            }
            Answer::Continue => self.awaited = false,
            Answer::Reset => self.cut(),
        }
    }

    /// Ends the answer where it is: what hyper holds of it is followed by an error, when the peer takes it.
    fn cut(&mut self) {
        self.phase = Phase::Cutting;
        (self.heads, self.parts, self.body, self.stall) = (None, None, None, None);
    }
}
