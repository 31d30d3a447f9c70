//! Where a client learns anew of its server.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_channel::WeakSender;
use ntproto_core::bootstrap::{Endpoints, Learned};

use crate::ConnectString;
use crate::driver::Command;

/// Asks the server over HTTPS where it is and how to know it, when what the client knows is of no more use: its key
/// changed, it moved, or it wants a fresh bootstrap ticket.
pub trait BootstrapSource: Send + Sync + 'static {
    /// Asks. `None`: it can't be had now, and the client tries with what it knows. Whoever wants to know why asks the source.
    /// Answers of another operator than the one the client knows are not believed.
    fn bootstrap(&self) -> Pin<Box<dyn Future<Output = Option<Learned>> + Send + '_>>;
}

/// Where a server is and how to know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Whereabouts {
    /// What a connect string says.
    pub connect: ConnectString,
    /// Everywhere it listens.
    pub endpoints: Endpoints,
}

/// A bootstrap to do, and where to send the answer.
pub struct Renewal {
    pub(super) source: Option<Arc<dyn BootstrapSource>>,
    pub(super) id: u64,
    pub(super) commands: WeakSender<Command>,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Renewal {
    /// Does it.
    pub async fn run(self) {
        let learned = match &self.source {
            Some(source) => source.bootstrap().await.map(Box::new),
            None => None,
        };
        if let Some(commands) = self.commands.upgrade() {
            // A driver that is gone needs no answer.
            let _ = commands.send(Command::Bootstrapped(self.id, learned)).await;
        }
    }
}
