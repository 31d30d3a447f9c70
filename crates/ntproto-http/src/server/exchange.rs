//! One exchange: a task that tells what comes of the request and hands hyper what is answered.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use async_channel::{Receiver, Sender};
use futures_core::Stream as _;
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use ntproto_drive::Runtime;
use ntproto_drive::runtime::Timer as _;

use super::body::{Answered, Cut, Part, Waiting};
use super::limits::MAX_ANSWERS;
use super::{Answer, Came, CarrierId, ExchangeId, Line, Shared};

/// What the exchanges of a connection share.
pub(super) struct Carrier<R> {
    pub(super) shared: Arc<Shared<R>>,
    pub(super) id: CarrierId,
    pub(super) remote: SocketAddr,
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
    let end = body.is_end_stream();
    let (line, answers) = async_channel::bounded(MAX_ANSWERS);
    let (heads, head_came) = async_channel::bounded(1);
    let (taken, takes) = async_channel::bounded(MAX_ANSWERS);
    let (waiting, gone) = Waiting::new();
    let came = Came::Head {
        exchange,
        carrier: carrier.id,
        remote: carrier.remote,
        request: head,
        end,
        line: Line(line),
    };
    carrier.active.fetch_add(1, Relaxed);
    carrier.begun.fetch_add(1, Relaxed);
    let task = Exchange {
        id: exchange,
        carrier: Active(Arc::clone(&carrier)),
        body: (!end).then_some(body),
        answers,
        takes,
        gone,
        heads: Some(heads),
        parts: None,
        unconsumed: 0,
        told: 0,
        under_way: 0,
        stall: None,
        answered: false,
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

struct Exchange<R: Runtime> {
    id: ExchangeId,
    carrier: Active<R>,
    /// The request's body, until it has ended.
    body: Option<Incoming>,
    answers: Receiver<Answer>,
    /// Parts of the answer that hyper took.
    takes: Receiver<()>,
    gone: Receiver<()>,
    /// Where the head goes, until it went.
    heads: Option<Sender<(Response<()>, Option<Receiver<Part>>)>>,
    /// Where parts of the answer go, from the head to the last one.
    parts: Option<Sender<Part>>,
    /// Bytes of the request that were told and not consumed, and in how many parts.
    unconsumed: usize,
    told: usize,
    /// Parts of the answer that hyper has not taken.
    under_way: usize,
    /// Rings when hyper takes nothing.
    stall: Option<R::Timer>,
    /// The whole answer is given.
    answered: bool,
}

/// What came of waiting.
enum Stirred {
    Tell(Came),
    /// It has ended as it should.
    Done,
    /// The peer, or whoever answers, is gone.
    Cut,
}

impl<R: Runtime> Exchange<R> {
    async fn run(mut self, head: Came) {
        let came = self.carrier.0.shared.came.clone();
        // Nobody answers any more: dropping everything resets it.
        if came.send(head).await.is_err() {
            return;
        }
        let (answers, takes, gone) = (self.answers.clone(), self.takes.clone(), self.gone.clone());
        let (mut answers, mut takes, mut gone) = (pin!(answers), pin!(takes), pin!(gone));
        loop {
            let stirred = poll_fn(|cx| self.stir(cx, answers.as_mut(), takes.as_mut(), gone.as_mut())).await;
            match stirred {
                Stirred::Tell(told) => {
                    if came.send(told).await.is_err() {
                        return;
                    }
                }
                Stirred::Done => return,
                Stirred::Cut => {
                    let _ = came.send(Came::Gone { exchange: self.id }).await;
                    return;
                }
            }
        }
    }

    fn stir(
        &mut self,
        cx: &mut Context<'_>,
        mut answers: Pin<&mut Receiver<Answer>>,
        mut takes: Pin<&mut Receiver<()>>,
        mut gone: Pin<&mut Receiver<()>>,
    ) -> Poll<Stirred> {
        let exchange = self.id;
        if let Poll::Ready(Some(())) = takes.as_mut().poll_next(cx) {
            self.under_way = self.under_way.saturating_sub(1);
            self.stall = None;
            return Poll::Ready(Stirred::Tell(Came::Room { exchange }));
        }
        if self.answered && self.under_way == 0 {
            return Poll::Ready(Stirred::Done);
        }
        if gone.as_mut().poll_next(cx).is_ready() {
            // Hyper drops a body it has taken to its end: what it took is still to be told.
            let all = self.answered && takes.len() >= self.under_way;
            return Poll::Ready(if all { Stirred::Done } else { Stirred::Cut });
        }
        while !self.answered {
            match answers.as_mut().poll_next(cx) {
                Poll::Ready(Some(answer)) => {
                    if !self.take(answer) {
                        return Poll::Ready(Stirred::Cut);
                    }
                }
                // The line was dropped.
                Poll::Ready(None) => return Poll::Ready(Stirred::Cut),
                Poll::Pending => break,
            }
        }
        if self.answered && self.under_way == 0 {
            return Poll::Ready(Stirred::Done);
        }
        if self.under_way > 0 {
            let after = self.carrier.0.shared.limits.stall;
            let runtime = &self.carrier.0.shared.runtime;
            let stall = self.stall.get_or_insert_with(|| {
                let mut timer = runtime.timer();
                timer.set(after);
                timer
            });
            if stall.poll(cx).is_ready() {
                self.carrier.0.stuck.close();
                return Poll::Ready(Stirred::Cut);
            }
        }
        let limits = &self.carrier.0.shared.limits;
        while self.unconsumed < limits.credit && self.told < limits.parts {
            let Some(body) = &mut self.body else { break };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers say nothing here.
                    let Ok(data) = frame.into_data() else { continue };
                    if data.is_empty() {
                        continue;
                    }
                    self.unconsumed += data.len();
                    self.told += 1;
                    return Poll::Ready(Stirred::Tell(Came::Data { exchange, data }));
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Stirred::Cut),
                Poll::Ready(None) => {
                    self.body = None;
                    return Poll::Ready(Stirred::Tell(Came::End { exchange }));
                }
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }

    /// `false`: it can't go on.
    fn take(&mut self, answer: Answer) -> bool {
        match answer {
            Answer::Head(head, end) => {
                let Some(heads) = self.heads.take() else { return false };
                let receiver = if end {
                    None
                } else {
                    let (parts, receiver) = async_channel::bounded(MAX_ANSWERS);
                    self.parts = Some(parts);
                    Some(receiver)
                };
                self.answered = end;
                heads.try_send((head, receiver)).is_ok()
            }
            Answer::Data(data, end) => {
                let Some(parts) = &self.parts else { return false };
                let sent = parts.try_send((data, end)).is_ok();
                self.under_way += 1;
                if end {
                    self.answered = true;
                    self.parts = None;
                }
                sent
            }
            Answer::Consumed(bytes) => {
                self.unconsumed = self.unconsumed.saturating_sub(bytes);
                // Bytes are what is counted; parts are given back when all are done with, or one each.
                self.told = if self.unconsumed == 0 { 0 } else { self.told.saturating_sub(1) };
                true
            }
            Answer::Reset => false,
        }
    }
}
