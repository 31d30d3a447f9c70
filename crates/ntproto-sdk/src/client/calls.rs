//! Who waits for what.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use ntproto_core::client::{ClientEvent, Failure, Misuse, RequestId};
use ntproto_core::ids::ClientMsgId;
use ntproto_core::session::bearer::Bearer;

use super::Sent;
use super::error::Ended;
use crate::driver::CallId;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// That the call was taken.
    Taken,
    /// That the message is on the local disk.
    Queued,
    /// That the message is settled.
    Settled,
    /// An answer, or a token.
    Answer,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Reply {
    Refused(Misuse),
    Taken,
    Queued(ClientMsgId),
    Sent(Sent),
    Unresolved(ClientMsgId),
    Failed(Failure),
    Answer(Bytes),
    Token(Option<Bearer>),
    Ended(Ended),
}

struct Slot {
    want: Want,
    request: Option<RequestId>,
    reply: Option<Reply>,
    waker: Option<Waker>,
}

impl Slot {
    /// Keeps the reply. The waker is for after the lock: whatever it runs or drops may want the lock too.
    #[must_use]
    fn settle(&mut self, reply: Reply) -> Option<Waker> {
        self.reply = Some(reply);
        self.waker.take()
    }
}

#[derive(Default)]
struct Table {
    /// 0 is the call nobody waits for.
    last: u64,
    slots: BTreeMap<CallId, Slot>,
    by_request: BTreeMap<RequestId, CallId>,
}

/// Every call somebody waits for. Its size is bounded by the queue of commands, the core's outbox and its table
/// of requests.
#[derive(Default)]
pub(super) struct Calls(Mutex<Table>);

/// The end of a call on which somebody waits. Dropped, it waits no more; the call goes on.
pub(super) struct Waiting<'a> {
    calls: &'a Calls,
    pub(super) id: CallId,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // Whoever panics with the lock held leaves the table whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new call.
    pub(super) fn open(&self, want: Want) -> Waiting<'_> {
        let mut table = self.lock();
        table.last += 1;
        let id = CallId(table.last);
        table.slots.insert(id, Slot { want, request: None, reply: None, waker: None });
        Waiting { calls: self, id }
    }

    /// The driver took a call, or refused it.
    pub(super) fn called(&self, id: CallId, result: Result<RequestId, Misuse>) {
        wake(self.called_locked(id, result));
    }

    fn called_locked(&self, id: CallId, result: Result<RequestId, Misuse>) -> Option<Waker> {
        let mut table = self.lock();
        let slot = table.slots.get_mut(&id)?;
        match result {
            Err(misuse) => slot.settle(Reply::Refused(misuse)),
            Ok(_) if slot.want == Want::Taken => slot.settle(Reply::Taken),
            Ok(request) => {
                slot.request = Some(request);
                table.by_request.insert(request, id);
                None
            }
        }
    }

    /// The driver told the token, or that there is none.
    pub(super) fn token(&self, id: CallId, token: Option<Bearer>) {
        let waker = self.lock().slots.get_mut(&id).and_then(|slot| slot.settle(Reply::Token(token)));
        wake(waker);
    }

    /// An event that somebody may wait for.
    pub(super) fn event(&self, event: &ClientEvent) {
        let (request, reply, last) = match event {
            ClientEvent::Queued { request, client_msg_id } => (request, Reply::Queued(*client_msg_id), false),
            ClientEvent::Sent { request, client_msg_id, conversation, conv_seq, stored_ms } => {
                let sent = Sent {
                    client_msg_id: *client_msg_id,
                    conversation: *conversation,
                    conv_seq: *conv_seq,
                    stored_ms: *stored_ms,
                };
                (request, Reply::Sent(sent), true)
            }
            ClientEvent::SendExpired { request, client_msg_id } => {
                (request, Reply::Unresolved(*client_msg_id), true)
            }
            ClientEvent::SendFailed { request, why, .. } => (request, Reply::Failed(why.clone()), true),
            ClientEvent::Response { request, result } => match result {
                Ok(body) => (request, Reply::Answer(body.clone()), true),
                Err(why) => (request, Reply::Failed(why.clone()), true),
            },
            _ => return,
        };
        wake(self.settle(*request, reply, last));
    }

    fn settle(&self, request: RequestId, reply: Reply, last: bool) -> Option<Waker> {
        let mut table = self.lock();
        let id = *table.by_request.get(&request)?;
        let slot = table.slots.get_mut(&id)?;
        if !last && slot.want != Want::Queued {
            return None;
        }
        let waker = slot.settle(reply);
        table.by_request.remove(&request);
        waker
    }

    /// Nothing comes any more.
    pub(super) fn end(&self, why: &Ended) {
        let mut table = self.lock();
        table.by_request.clear();
        let waiting = table.slots.values_mut().filter(|slot| slot.reply.is_none());
        let wakers: Vec<_> = waiting.map(|slot| slot.settle(Reply::Ended(why.clone()))).collect();
        drop(table);
        wakers.into_iter().for_each(wake);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Waiting<'_> {
    /// What came of it.
    pub(super) async fn reply(self) -> Reply {
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut table = self.calls.lock();
            let slot = table.slots.get_mut(&self.id).expect("the slot goes when its Waiting is dropped");
            if let Some(reply) = slot.reply.take() {
                return Poll::Ready(reply);
            }
            let old = slot.waker.replace(waker);
            drop(table);
            drop(old);
            Poll::Pending
        })
        .await
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut table = self.calls.lock();
        let slot = table.slots.remove(&self.id);
        if let Some(request) = slot.as_ref().and_then(|slot| slot.request) {
            table.by_request.remove(&request);
        }
        drop(table);
        drop(slot);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    const ID: ClientMsgId = ClientMsgId([1; 16]);

    /// What may be told of a message, in order; the last settles it.
    fn told() -> [ClientEvent; 3] {
        let request = RequestId(7);
        [
            ClientEvent::Queued { request, client_msg_id: ID },
            ClientEvent::SendExpired { request, client_msg_id: ID },
            ClientEvent::SendFailed { request, client_msg_id: ID, why: Failure::Cancelled },
        ]
    }

    #[test]
    fn one_that_is_dropped_at_any_step_leaves_nothing() {
        for want in [Want::Taken, Want::Queued, Want::Settled] {
            for steps in 0..=4 {
                let calls = Calls::default();
                {
                    let waiting = calls.open(want);
                    let id = waiting.id;
                    let mut reply = pin!(waiting.reply());
                    for step in 0..steps {
                        if poll(reply.as_mut()).is_ready() {
                            break;
                        }
                        match step {
                            0 => calls.called(id, Ok(RequestId(7))),
                            step => calls.event(&told()[step - 1]),
                        }
                    }
                }
                // What is told after it was dropped leaves nothing either.
                calls.called(CallId(1), Ok(RequestId(7)));
                told().iter().for_each(|event| calls.event(event));
                let table = calls.lock();
                assert!(table.slots.is_empty() && table.by_request.is_empty(), "{want:?}, {steps}");
            }
        }
    }
}
