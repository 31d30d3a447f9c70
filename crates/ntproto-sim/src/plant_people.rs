//! Planted bugs of people, groups and presence: what the server's store lies about them.

use std::collections::BTreeMap;

use bytes::Bytes;
use ntproto_core::ids::{ConversationId, DeviceId, GroupId, Uin};
use ntproto_hub::store::txn::{Change, InboxPlace, Target};
use ntproto_hub::store::{Act, Outcome, Txn};
use ntproto_proto::v2;
use prost::Message as _;

use crate::plant::{Plant, PlantedStore};

/// What these lies need to remember.
#[derive(Default)]
pub(crate) struct Lies {
    /// What was stored under each number: who sent it, from where, and what it said.
    stored: BTreeMap<(ConversationId, u64), (Uin, DeviceId, Bytes)>,
    /// The version of each presence record.
    presence: BTreeMap<Uin, u64>,
    /// The newest position of each inbox.
    newest: BTreeMap<Uin, u64>,
    /// Who left which conversation last.
    left: BTreeMap<ConversationId, Uin>,
    /// Places that nobody ever sees.
    lost: Vec<(Uin, u64)>,
}

impl PlantedStore {
    pub(crate) fn change_of_people(&self, txn: &mut Txn) {
        match (txn, self.plant) {
            (Txn::Append(append), Some(Plant::StrangerEdits)) => {
                if let Change::Edit(Target::Seq(seq)) = append.action
                    && let Some((sender, device, _)) = self.people.stored.get(&(append.conversation, seq))
                {
                    (append.sender, append.device) = (*sender, *device);
                }
            }
            (Txn::Act { by, act: Act::PresenceSet(set) }, Some(Plant::PresenceUncompared)) => {
                set.version = self.people.presence.get(&by.uin).copied().unwrap_or(set.version);
            }
            _ => {}
        }
    }

    pub(crate) fn lie_of_people(&mut self, txn: &Txn, outcome: &mut Outcome) {
        let plant = self.plant;
        let people = &mut self.people;
        match (txn, outcome) {
            (Txn::Append(append), Outcome::Appended { conv_seq, duplicate: false, entries, .. }) => {
                let stored = (append.sender, append.device, append.body.clone());
                people.stored.insert((append.conversation, *conv_seq), stored);
                for place in entries.iter() {
                    people.newest.insert(place.uin, place.position);
                }
                let group = append.conversation.group().is_some();
                if plant == Some(Plant::PointerLost) && group && entries.len() > 1 {
                    people.lost.extend(entries.pop().map(|place| (place.uin, place.position)));
                }
                if plant == Some(Plant::LeftStillHears)
                    && let Some(uin) = people.left.get(&append.conversation).copied()
                {
                    let previous = people.newest.get(&uin).copied().unwrap_or(0);
                    entries.push(InboxPlace { uin, position: previous + 1, previous });
                }
            }
            (Txn::SyncPage { uin, .. }, Outcome::Page { deltas, .. }) => {
                deltas.retain(|delta| !people.lost.contains(&(*uin, delta.position)));
                if plant == Some(Plant::RecallKeepsBody) {
                    deltas.iter_mut().for_each(|delta| people.keep_body(delta));
                }
            }
            (Txn::Delivered { .. }, Outcome::Delivered { receipts }) if plant == Some(Plant::ReadFalls) => {
                for placed in receipts.iter_mut().filter(|placed| placed.receipt.read_seq > 1) {
                    placed.receipt.read_seq = 1;
                }
            }
            (Txn::Act { by, act }, Outcome::Acted(acted)) => {
                for placed in &acted.places {
                    people.newest.insert(placed.place.uin, placed.place.position);
                }
                let left = match act {
                    Act::GroupLeave(r) => Some((r.group, by.uin)),
                    Act::GroupRemove(r) => Some((r.group, Uin(r.uin))),
                    _ => None,
                };
                people.left.extend(left.map(|(group, uin)| (ConversationId::of_group(GroupId(group)), uin)));
                if let Act::PresenceSet(_) = act
                    && let Ok(told) = v2::PresenceSetResponse::decode(acted.answer.clone())
                {
                    people.presence.insert(by.uin, told.record.map_or(0, |record| record.version));
                }
            }
            _ => {}
        }
    }
}

impl Lies {
    /// Puts the body of a message back that was taken back.
    fn keep_body(&self, delta: &mut v2::Delta) {
        let Some(packet) = delta.packet.as_mut().filter(|packet| packet.event_type == 1) else { return };
        let Ok(mut message) = v2::StoredMessage::decode(packet.payload.clone()) else { return };
        let Some(id) = ConversationId::from_slice(&message.conversation) else { return };
        if message.recalled_seq != 0
            && let Some((_, _, body)) = self.stored.get(&(id, message.conv_seq))
        {
            message.body = body.clone();
            packet.payload = message.encode_to_vec().into();
        }
    }
}
