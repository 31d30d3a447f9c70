//! An application sends messages.

use bytes::Bytes;
use ntproto_core::client::{Command, Misuse, SendAction};
use ntproto_core::ids::{ClientMsgId, ConversationId, GroupId, Uin};

use crate::deed::Deed;
use crate::draw::Draw;
use crate::fault::Fault;
use crate::ledger::Check;
use crate::world::{Ev, World};

impl World {
    /// The application sends a message, or tries again later.
    pub(crate) fn app_send(&mut self, mut d: usize) -> Check {
        let now = self.schedule.now();
        if self.devices[d].dead {
            let living: Vec<usize> = (0..self.devices.len()).filter(|d| !self.devices[*d].dead).collect();
            d = *self.rng.pick(&living);
        }
        let me = self.devices[d].identity.map(|(uin, _)| uin).filter(|_| self.devices[d].process.is_some());
        let Some(conversation) = me.and_then(|me| self.where_to(d, me)) else {
            // Whoever may write to nobody lets another one write.
            let d = self.rng.below(self.devices.len() as u64) as usize;
            self.schedule.at(now.plus_ms(400), Ev::AppSend { d });
            return if self.healed { self.unblock() } else { Ok(()) };
        };
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(self.ledger.messages.len() as u64).to_be_bytes());
        id[8..].copy_from_slice(&self.rng.array::<8>());
        let id = ClientMsgId(id);
        let large = self.rng.below(200) == 0;
        let size =
            if large { self.rng.between(10_000, 100_000) } else { self.rng.below(self.scenario.max_body) };
        let mut body = vec![0; size as usize];
        let fill = self.rng.u64().to_le_bytes();
        body.iter_mut().zip(fill.iter().cycle()).for_each(|(b, f)| *b = *f);
        let body = Bytes::from(body);
        let deadline =
            (self.scenario.on(Fault::Deadlines) && !self.healed && self.rng.chance(25)).then(|| {
                self.fired(Fault::Deadlines);
                std::time::Duration::from_millis(self.rng.skewed(20, 20_000))
            });
        let command = Command::Send {
            trace: None,
            conversation,
            client_msg_id: Some(id),
            body: body.clone(),
            deadline,
            action: SendAction::Message,
        };
        match self.call_device(d, command) {
            Ok(_) => {
                self.trace.add("send", &[d as u64, self.ledger.messages.len() as u64, size], &[]);
                self.ledger.send(d, conversation, id, body);
                let deed = if conversation.group().is_some() { Deed::ToGroup } else { Deed::Direct };
                self.stats.deeds.count(deed);
                self.unsent -= 1;
                self.drain_device(d)
            }
            Err(Misuse::State) => {
                self.schedule.at(now.plus_ms(400), Ev::AppSend { d });
                Ok(())
            }
            Err(e) => Err(format!("device {d} can't send: {e}")),
        }
    }

    /// Other accounts.
    pub(crate) fn peers(&self, d: usize) -> Vec<Uin> {
        let user = self.devices[d].user;
        let mut peers: Vec<Uin> = self
            .devices
            .iter()
            .filter(|o| o.user != user)
            .filter_map(|o| o.identity.map(|(uin, _)| uin))
            .collect();
        peers.dedup();
        peers
    }

    /// Where an application writes to: mostly where it may, and where it must be allowed at the end.
    fn where_to(&mut self, d: usize, me: Uin) -> Option<ConversationId> {
        if !self.healed && self.acts.chance(8) {
            return self.some_conversation(d, me);
        }
        let open = self.open_conversations(d, me);
        (!open.is_empty()).then(|| *self.rng.pick(&open))
    }

    /// Conversations an account may send to now.
    fn open_conversations(&self, d: usize, me: Uin) -> Vec<ConversationId> {
        let truth = &self.ledger.truth;
        let groups = truth.groups.with(me).filter(|(_, group)| group.may_send(me));
        let groups = groups.map(|(id, _)| ConversationId::of_group(GroupId(*id)));
        let peers = self.peers(d).into_iter().filter(|peer| !truth.people.blocks(*peer, me));
        groups.chain(peers.map(|peer| ConversationId::direct(me, peer))).collect()
    }
}
