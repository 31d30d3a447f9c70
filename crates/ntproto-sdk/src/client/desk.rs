//! Takes what the driver says to those who wait for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_channel::WeakSender;
use ntproto_core::client::{ClientEvent, ClientTxn, Failure};
use ntproto_core::ids::ConversationId;
use ntproto_core::ids::Uin;

use super::bootstrap::{BootstrapSource, Renewal};
use super::error::Ended;
use super::events::Event;
use super::{Sent, Shared, State};
use crate::driver::{Command, Effect};
use crate::store::{Gap, Mark, Place, StoreThread};

/// A host to look up, and where to send the answer.
#[derive(Debug)]
pub struct Lookup {
    /// A DNS name.
    pub host: String,
    /// The port to go with it.
    pub port: u16,
    id: u64,
    commands: WeakSender<Command>,
}

impl Lookup {
    /// Answers; an empty list says that there is no such host, or that it can't be found out now.
    pub async fn answer(self, addresses: Vec<std::net::SocketAddr>) {
        if let Some(commands) = self.commands.upgrade() {
            // A driver that is gone needs no answer.
            let _ = commands.send(Command::Resolved(self.id, addresses)).await;
        }
    }
}

/// What is left to the adapter, which has a runtime to do it on.
#[derive(Debug)]
pub enum Errand {
    /// Look a host up.
    Lookup(Lookup),
    /// Bootstrap anew.
    Bootstrap(Renewal),
}

/// Beside the loop: every effect of the driver goes through [`effect`](Self::effect), which never blocks.
/// Dropped, it ends the client.
pub struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: WeakSender<Command>,
    pub(super) store: StoreThread,
    pub(super) generation: u32,
    pub(super) bootstrap: Option<Arc<dyn BootstrapSource>>,
}

impl Desk {
    /// Does what the driver wants, but for what is left to the adapter.
    #[must_use]
    pub fn effect(&mut self, effect: Effect) -> Option<Errand> {
        match effect {
            Effect::Called(id, result) => self.shared.calls.called(id, result),
            Effect::HttpToken(id, token) => self.shared.calls.token(id, token),
            Effect::Store(op, txn) => {
                if let ClientTxn::Apply(apply) = &txn
                    && apply.epoch.is_some()
                {
                    // As the store counts.
                    self.generation += 1;
                }
                self.store.submit(op, txn);
            }
            Effect::Resolve { id, host, port } => {
                return Some(Errand::Lookup(Lookup { host, port, id, commands: self.commands.clone() }));
            }
            Effect::Bootstrap(id) => {
                let (source, commands) = (self.bootstrap.clone(), self.commands.clone());
                return Some(Errand::Bootstrap(Renewal { source, id, commands }));
            }
            Effect::Learned(found) => self.shared.status.learned(*found),
            Effect::Event(event) => self.event(event),
            Effect::Reached => self.shared.status.reached(),
            Effect::Lost(reason) => self.shared.status.lost(reason),
        }
        None
    }

    /// What drives the client failed.
    pub fn failed(self, why: &dyn std::fmt::Display) {
        self.shared.end(Ended::Host(why.to_string().into()));
    }

    fn event(&mut self, event: ClientEvent) {
        self.shared.calls.event(&event);
        let shared = &self.shared;
        match event {
            ClientEvent::Message(inbound) => {
                let place = Place { generation: self.generation, position: inbound.position };
                shared.publish(|| Event::Message(inbound.clone().into()));
                shared.events.message(place, inbound);
            }
            ClientEvent::Online { session, uin, device, transport } => {
                self.shared
                    .status
                    .set(State::Online { session, transport, caught_up: false }, Some((uin, device)));
                shared.tell(Event::Online { session, uin, device, transport });
            }
            ClientEvent::CaughtUp => {
                self.shared.status.caught_up();
                shared.tell(Event::CaughtUp);
            }
            ClientEvent::Offline { why, retry_in } => {
                self.shared.status.set(State::Offline { why, retry_in }, None);
                shared.tell(Event::Offline { why, retry_in });
            }
            ClientEvent::Stopped(why) => self.shared.end(Ended::Stopped(why)),
            ClientEvent::Sent { client_msg_id, conversation, conv_seq, stored_ms, .. } => {
                shared.tell(Event::Sent(Sent { client_msg_id, conversation, conv_seq, stored_ms }));
            }
            // Nobody else was told that the disk took it.
            ClientEvent::SendFailed { why: Failure::Store(_), .. } => {}
            ClientEvent::SendFailed { client_msg_id, why, .. } => {
                shared.tell(Event::SendFailed { client_msg_id, why });
            }
            ClientEvent::Receipt(receipt) => {
                if let Some(conversation) = ConversationId::from_slice(&receipt.conversation) {
                    let mark = Mark {
                        member: Uin(receipt.member),
                        delivered_seq: receipt.delivered_seq,
                        read_seq: receipt.read_seq,
                    };
                    shared.tell(Event::Receipt { conversation, mark });
                }
            }
            ClientEvent::Friend(friend) => shared.tell(Event::Friend(friend)),
            ClientEvent::Group(group) => shared.tell(Event::Group(group)),
            ClientEvent::Profile(profile) => shared.tell(Event::Profile(profile)),
            ClientEvent::Gap(gap) => {
                if let Some(conversation) = ConversationId::from_slice(&gap.conversation) {
                    let gap = Gap { from: gap.from_seq, to: gap.to_seq };
                    shared.tell(Event::Gap { conversation, gap });
                }
            }
            ClientEvent::Skipped => shared.tell(Event::Skipped),
            ClientEvent::Typing(typing) => {
                if let Some(conversation) = ConversationId::from_slice(&typing.conversation) {
                    let (uin, active) = (Uin(typing.uin), typing.active);
                    shared.tell(Event::Typing { conversation, uin, active });
                }
            }
            ClientEvent::Presence(states) => shared.tell(Event::Presence(states)),
            ClientEvent::OwnPresence(record) => shared.tell(Event::OwnPresence(record)),
            ClientEvent::GroupDelta(delta) => shared.tell(Event::GroupDelta(delta)),
            ClientEvent::Other(packet) => shared.tell(Event::Other(packet)),
            ClientEvent::Push(packet) => shared.tell(Event::Push(packet)),
            ClientEvent::Deferred { .. } => {
                shared.deferred.fetch_add(1, Ordering::Relaxed);
            }
            ClientEvent::Queued { .. } | ClientEvent::SendExpired { .. } | ClientEvent::Response { .. } => {}
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // After Stopped this changes nothing.
        self.shared.end(Ended::Host("what drove it is gone".into()));
    }
}
