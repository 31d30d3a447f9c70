//! How it stands with the connection.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::Event as Changed;
use ntproto_core::binding::TransportId;
use ntproto_core::client::Down;
use ntproto_core::ids::{DeviceId, SessionId, Uin};
use ntproto_net::Closed;

use super::error::Ended;
use super::{Identity, Whereabouts};

/// How it stands with the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The first attempt is under way.
    Starting,
    /// Connected and authenticated.
    Online {
        /// The session.
        session: SessionId,
        /// What carries it.
        transport: TransportId,
        /// Whether everything that was in the inbox has come.
        caught_up: bool,
    },
    /// Not connected; it tries again by itself.
    Offline {
        /// Why.
        why: Down,
        /// How long it waited, from when this was said.
        retry_in: Duration,
    },
    /// Over for good.
    Ended(Ended),
}

struct Inner {
    state: State,
    identity: Option<Identity>,
    lost: Option<Closed>,
    found: Option<Whereabouts>,
    reached: bool,
    closed: bool,
}

/// The state, for whoever asks and whoever waits.
pub(super) struct Status {
    inner: Mutex<Inner>,
    changed: Changed,
}

impl Status {
    pub(super) fn new(identity: Option<(Uin, DeviceId)>) -> Self {
        let identity = identity.map(|(uin, device)| Identity { uin, device });
        let inner = Inner {
            state: State::Starting,
            identity,
            lost: None,
            found: None,
            reached: false,
            closed: false,
        };
        Self { inner: Mutex::new(inner), changed: Changed::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here is ever half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify(usize::MAX);
        result
    }

    pub(super) fn set(&self, state: State, identity: Option<(Uin, DeviceId)>) {
        self.change(|inner| {
            if let State::Online { .. } = state {
                inner.lost = None;
            }
            inner.state = state;
            if let Some((uin, device)) = identity {
                inner.identity = Some(Identity { uin, device });
            }
        });
    }

    pub(super) fn caught_up(&self) {
        self.change(|inner| {
            if let State::Online { caught_up, .. } = &mut inner.state {
                *caught_up = true;
            }
        });
    }

    /// The transport came up.
    pub(super) fn reached(&self) {
        self.lock().reached = true;
    }

    pub(super) fn was_reached(&self) -> bool {
        self.lock().reached
    }

    /// The transport failed.
    pub(super) fn lost(&self, reason: Closed) {
        self.lock().lost = Some(reason);
    }

    pub(super) fn why_lost(&self) -> Option<Closed> {
        self.lock().lost.clone()
    }

    /// A bootstrap was believed.
    pub(super) fn learned(&self, found: Whereabouts) {
        self.lock().found = Some(found);
    }

    pub(super) fn whereabouts(&self) -> Option<Whereabouts> {
        self.lock().found.clone()
    }

    /// The end; `false` if it had come before.
    pub(super) fn end(&self, why: Ended) -> bool {
        self.change(|inner| {
            let first = !matches!(inner.state, State::Ended(_));
            if first {
                inner.state = State::Ended(why);
            }
            first
        })
    }

    /// The store is closed.
    pub(super) fn set_closed(&self) {
        self.change(|inner| inner.closed = true);
    }

    pub(super) fn get(&self) -> State {
        self.lock().state.clone()
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.lock().identity
    }

    /// Why it is over, for someone who found that it is.
    pub(super) fn ended(&self) -> Ended {
        match &self.lock().state {
            State::Ended(why) => why.clone(),
            _ => Ended::Host("what drove it is gone".into()),
        }
    }

    async fn wait<R>(&self, mut ready: impl FnMut(&Inner) -> Option<R>) -> R {
        loop {
            let listener = self.changed.listen();
            if let Some(result) = ready(&self.lock()) {
                return result;
            }
            listener.await;
        }
    }

    pub(super) async fn online(&self) -> Result<Identity, Ended> {
        self.wait(|inner| match (&inner.state, inner.identity) {
            (State::Online { .. }, Some(identity)) => Some(Ok(identity)),
            (State::Ended(why), _) => Some(Err(why.clone())),
            _ => None,
        })
        .await
    }

    pub(super) async fn closed(&self) {
        self.wait(|inner| inner.closed.then_some(())).await;
    }
}
