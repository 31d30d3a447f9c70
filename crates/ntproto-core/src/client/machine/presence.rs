//! Answers to what was asked, and one's own presence, which the client asks for by itself.

use bytes::Bytes;
use prost::Message as _;

use super::Client;
use crate::client::presence::Outcome;
use crate::client::{ClientEvent, Failure, Misuse, RequestId};
use crate::presence::State;
use crate::time::Now;
use crate::wire::packet::PacketId;

impl Client {
    /// Changes one's own presence, for the application or because this client goes online by itself.
    pub(super) fn set_presence(&mut self, now: Now, state: State, asked: bool) -> Result<RequestId, Misuse> {
        if self.presence.is_busy() {
            return Err(Misuse::TooManyRequests);
        }
        let asker = self.next_request();
        let attempt = self.next_request();
        let body = self.presence.begin(state, attempt, asked.then_some(asker));
        if let Err(misuse) = self.ask_as(now, attempt, PacketId::PRESENCE_SET, body, None, None) {
            self.presence.failed();
            return Err(misuse);
        }
        Ok(asker)
    }

    /// What came of a request, for whoever asked.
    pub(super) fn respond(&mut self, now: Now, request: RequestId, result: Result<Bytes, Failure>) {
        if !self.presence.is_attempt(request) {
            return self.event(ClientEvent::Response { request, result });
        }
        let body = match result {
            Ok(body) => body,
            Err(failure) => return self.presence_failed(failure),
        };
        let attempt = self.next_request();
        match self.presence.answered(body, attempt) {
            Some(Outcome::Again(body)) => {
                if self.ask_as(now, attempt, PacketId::PRESENCE_SET, body, None, None).is_err() {
                    self.presence_failed(Failure::Disconnected);
                }
            }
            Some(Outcome::Done(asker, response)) => {
                if let Some(request) = asker {
                    let result = Ok(response.encode_to_vec().into());
                    self.event(ClientEvent::Response { request, result });
                }
                self.event(ClientEvent::OwnPresence(response.record.unwrap_or_default()));
            }
            None => {
                self.presence_failed(Failure::Disconnected);
                self.break_off(now);
            }
        }
    }

    fn presence_failed(&mut self, failure: Failure) {
        if let Some(request) = self.presence.failed() {
            self.event(ClientEvent::Response { request, result: Err(failure) });
        }
    }
}
