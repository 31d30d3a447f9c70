//! One HTTP exchange: what of the answer has yet to leave.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use ntproto_h3::{Code, StreamId};

use super::carrier::Carrier;
use crate::HttpAnswer;
use crate::http::MAX_ANSWER;

/// What a step of an exchange leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It goes on.
    On,
    /// The host is told that there is room.
    Room,
    /// It is complete: nothing more is told.
    Done,
    /// It was given up on this side: the host is told so, if it did not do it itself.
    Broken,
}

/// An exchange.
#[derive(Default)]
pub(crate) struct Exchange {
    answer: VecDeque<Bytes>,
    waiting: usize,
    /// The host has given all of its answer.
    ended: bool,
    /// All of it was taken by HTTP/3.
    sent: bool,
    /// The host waits to hear of room.
    owed: bool,
    /// The request is complete, or the rest of it is not wanted.
    heard: bool,
}

impl Exchange {
    /// `end`: its request has no body.
    pub(crate) fn new(end: bool) -> Self {
        Self { heard: end, ..Self::default() }
    }

    pub(crate) fn answer(&mut self, carrier: &mut Carrier, stream: StreamId, answer: HttpAnswer) -> Next {
        match answer {
            HttpAnswer::Head { response, end } => {
                self.sent |= end;
                self.ended |= end;
                if carrier.machine().respond(stream, &response, end).is_err() {
                    return give_up(carrier, stream, Code::INTERNAL_ERROR);
                }
                self.next()
            }
            HttpAnswer::Data { data, end } => {
                if self.ended {
                    return Next::On;
                }
                self.ended = end;
                self.owed |= !end;
                self.waiting += data.len();
                if self.waiting > MAX_ANSWER {
                    return give_up(carrier, stream, Code::INTERNAL_ERROR);
                }
                if !data.is_empty() || end {
                    self.answer.push_back(data);
                }
                self.flush(carrier, stream)
            }
            HttpAnswer::Consumed(bytes) => {
                carrier.machine().consume(stream, bytes);
                Next::On
            }
            HttpAnswer::Enough => {
                if !std::mem::replace(&mut self.heard, true) {
                    let _ = carrier.machine().stop(stream, Code::NO_ERROR);
                }
                self.next()
            }
            HttpAnswer::Reset => {
                give_up(carrier, stream, Code::INTERNAL_ERROR);
                Next::Done
            }
        }
    }

    /// Hands on what the transport takes.
    pub(crate) fn flush(&mut self, carrier: &mut Carrier, stream: StreamId) -> Next {
        while let Some(front) = self.answer.front_mut() {
            let (len, last) = (front.len(), self.ended && self.waiting == front.len());
            match carrier.machine().send(stream, front.clone(), last) {
                Ok(taken) => {
                    self.waiting -= taken;
                    front.advance(taken);
                    if taken < len {
                        return Next::On;
                    }
                    self.sent |= last;
                    self.answer.pop_front();
                }
                // The peer stopped it: that is an event of its own.
                Err(_) => return Next::On,
            }
        }
        self.next()
    }

    /// The request is complete.
    pub(crate) fn heard(&mut self) -> Next {
        self.heard = true;
        if self.sent { Next::Done } else { Next::On }
    }

    fn next(&mut self) -> Next {
        match (self.sent && self.heard, self.answer.is_empty() && std::mem::take(&mut self.owed)) {
            (true, _) => Next::Done,
            (false, true) => Next::Room,
            (false, false) => Next::On,
        }
    }
}

/// Ends both halves.
pub(crate) fn give_up(carrier: &mut Carrier, stream: StreamId, code: Code) -> Next {
    // Halves that are over need no end.
    let _ = carrier.machine().cancel(stream, code);
    Next::Broken
}
