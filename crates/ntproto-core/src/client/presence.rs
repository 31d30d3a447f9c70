//! One's own presence: a compare-and-swap that is tried again while it loses (specification, "Presence").

use bytes::Bytes;
use ntproto_proto::v2;
use prost::Message as _;

use super::RequestId;
use crate::presence::State;

/// How often a change that lost is tried again. Two devices of one user that lose more often than that want different
/// things: then it stays as the record says.
pub const MAX_RETRIES: u32 = 3;

/// A change under way.
struct Change {
    state: State,
    /// The attempt that awaits its answer.
    attempt: RequestId,
    /// Who wants to know; nobody when the client goes online by itself.
    asker: Option<RequestId>,
    retries: u32,
}

/// What comes of an answer.
pub(super) enum Outcome {
    /// Ask again, with this body.
    Again(Bytes),
    /// It is decided. The answer is for the asker.
    Done(Option<RequestId>, v2::PresenceSetResponse),
}

/// One's own presence.
pub(super) struct Presence {
    /// Whether to be online on every connection.
    pub(super) online: bool,
    version: u64,
    change: Option<Change>,
}

impl Presence {
    pub(super) const fn new(online: bool) -> Self {
        Self { online, version: 0, change: None }
    }

    /// Whether a change is under way: the next one waits for it.
    pub(super) const fn is_busy(&self) -> bool {
        self.change.is_some()
    }

    /// Begins a change: what to ask.
    pub(super) fn begin(&mut self, state: State, attempt: RequestId, asker: Option<RequestId>) -> Bytes {
        self.change = Some(Change { state, attempt, asker, retries: 0 });
        self.body(state)
    }

    fn body(&self, state: State) -> Bytes {
        let request = v2::PresenceSetRequest { status: state as i32, version: self.version };
        request.encode_to_vec().into()
    }

    /// Whether this answer is to an attempt of it.
    pub(super) fn is_attempt(&self, request: RequestId) -> bool {
        self.change.as_ref().is_some_and(|change| change.attempt == request)
    }

    /// An answer; `attempt` is the number of the next attempt, if there is one. `None` when it makes no sense.
    //= spec: presence-1
    pub(super) fn answered(&mut self, body: Bytes, attempt: RequestId) -> Option<Outcome> {
        let response = v2::PresenceSetResponse::decode(body).ok()?;
        self.version = response.record.as_ref()?.version;
        let change = self.change.as_mut()?;
        if response.stale && change.retries < MAX_RETRIES {
            change.retries += 1;
            change.attempt = attempt;
            let state = change.state;
            return Some(Outcome::Again(self.body(state)));
        }
        let asker = self.change.take()?.asker;
        Some(Outcome::Done(asker, response))
    }

    /// It could not be asked: who wants to know.
    pub(super) fn failed(&mut self) -> Option<RequestId> {
        self.change.take()?.asker
    }
}
