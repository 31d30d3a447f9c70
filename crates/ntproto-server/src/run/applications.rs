//! The application's packets: requests to the router's handlers, each a task, and pushes from whoever has
//! something to tell.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::Sender;
use ntproto_drive::Runtime;
use ntproto_drive::task::{self, Task};
use ntproto_hub::{Ask, AskId, Push};
use ntproto_sdk::dispatch::{Context, Handler, Outcome, PacketId, Reader, Router};
use ntproto_sdk::{Identity, Uin};
use ntproto_tokio::Clock;
use prost::Message;

use crate::node::Command;

/// Commands that may wait for the loop when a push joins them: more is told faster than anybody could read it.
const MAX_QUEUED: usize = 1024;

/// The tasks under way.
type Tasks = Arc<Mutex<BTreeMap<AskId, Task<()>>>>;

/// Who runs the handlers. Dropped, it drops what they are at.
pub(super) struct Applications<R> {
    runtime: R,
    handlers: Reader<Handler>,
    /// As many as the hub has asked and not given up.
    tasks: Tasks,
    commands: Sender<Command>,
    clock: Clock,
}

fn lock(tasks: &Tasks) -> MutexGuard<'_, BTreeMap<AskId, Task<()>>> {
    // Nothing in there is ever half done.
    tasks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R: Runtime> Applications<R> {
    pub(super) fn new(runtime: R, router: &Router, commands: Sender<Command>, clock: Clock) -> Self {
        Self { runtime, handlers: router.reader(), tasks: Tasks::default(), commands, clock }
    }

    /// A batch of requests: the same handlers for all of them.
    pub(super) fn ask(&mut self, asks: Vec<Ask>) {
        let handlers = self.handlers.snapshot();
        let now = self.clock.mono();
        let mut unknown = Vec::new();
        for Ask { id, uin, device, packet, body, deadline, .. } in asks {
            let Some(handler) = handlers.get(packet) else {
                let refusal = ntproto_sdk::ErrorCode::UnknownPacket.into();
                unknown.push((id, Outcome::Refused(refusal)));
                continue;
            };
            let time_left = Some(deadline.saturating_since(now));
            let from = Some(Identity { uin, device });
            let answering = handler.answer(Context { packet, from, time_left }, body);
            let (commands, tasks) = (self.commands.clone(), Arc::clone(&self.tasks));
            // Its handle is there before it can be taken out.
            let mut running = lock(&self.tasks);
            let task = task::spawn(&self.runtime, async move {
                let outcome = answering.await;
                if outcome == Outcome::Panicked {
                    let packet = format_args!("{:#06x}", packet.0);
                    tracing::error!(%packet, "a handler panicked: its request is answered INTERNAL");
                }
                lock(&tasks).remove(&id);
                // The loop has ended: nobody waits for this.
                let _ = commands.try_send(Command::Answered(vec![(id, outcome)]));
            });
            running.insert(id, task);
        }
        if !unknown.is_empty() {
            let _ = self.commands.try_send(Command::Answered(unknown));
        }
    }

    /// Nobody waits for this answer any more.
    pub(super) fn abandon(&self, ask: AskId) {
        let task = lock(&self.tasks).remove(&ask);
        if let Some(task) = task {
            task.cancel();
        }
    }
}

impl<R> Drop for Applications<R> {
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.into_values().for_each(|task| task.cancel());
    }
}

/// Tells devices what an application has to say. Cheap to clone; see [`Running::pusher`](super::Running::pusher).
#[derive(Clone)]
pub struct Pusher(pub(super) Sender<Command>);

impl Pusher {
    /// Tells those devices of an account that are connected and read; the others never hear of it. They get it as
    /// [`Event::Push`](ntproto_sdk::Event::Push).
    ///
    /// # Errors
    /// See [`PushError`].
    ///
    /// ```
    /// use ntproto_sdk::{Uin, dispatch::PacketId};
    /// use ntproto_server::run::{PushError, Pusher};
    ///
    /// #[derive(Clone, PartialEq, prost::Message)]
    /// struct Typing {}
    ///
    /// fn typing(pusher: &Pusher, to: Uin) -> Result<(), PushError> {
    ///     pusher.push(to, PacketId(0x8002), &Typing {})
    /// }
    /// ```
    pub fn push(&self, to: Uin, packet: PacketId, message: &impl Message) -> Result<(), PushError> {
        if !packet.is_application() {
            return Err(PushError::Reserved);
        }
        if self.0.len() >= MAX_QUEUED {
            return Err(PushError::Busy);
        }
        let push = Push { to, packet, body: message.encode_to_vec().into() };
        self.0.try_send(Command::Push(push)).map_err(|_| PushError::Ended)
    }
}

/// Why a push was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The id is not an application's: see [`PacketId::APPLICATION`].
    Reserved,
    /// Too much waits for the server's loop already.
    Busy,
    /// The server has ended.
    Ended,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "this packet id is not an application's",
            Self::Busy => "the server has too much to do",
            Self::Ended => "the server has ended",
        })
    }
}

impl std::error::Error for PushError {}
