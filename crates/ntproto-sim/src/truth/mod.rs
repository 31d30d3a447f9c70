//! What the specification says must come of every transaction: its rules once more, simple, slow, and written without a
//! look at the code that is tested.
//!
//! It hears of a transaction with its result when both are durable, in the order in which they were executed. What was
//! done must have been allowed, what was refused must have had a reason, and the answer must say what is so.

mod groups;
mod logs;
mod people;
mod presence;
mod reads;
mod texts;

use std::collections::{BTreeMap, BTreeSet};

use ntproto_core::ids::{ConversationId, Uin};
use ntproto_hub::store::act::{Acted, Actor, Placed};
use ntproto_hub::store::txn::InboxPlace;
use ntproto_hub::store::{Act, Outcome, StoreError, Txn};
use ntproto_proto::v2;
use prost::Message as _;

use groups::Groups;
pub(crate) use groups::apply;
use logs::Logs;
use people::People;
pub(crate) use people::State;
use presence::Presences;

use crate::ledger::Check;

/// What a store answered.
pub(crate) type Answer = Result<Outcome, StoreError>;

/// What speaks against a request.
#[derive(Default)]
pub(crate) struct Against {
    must: Vec<StoreError>,
    may: Vec<StoreError>,
}

impl Against {
    /// It must be refused, for this reason or for another that holds too.
    fn when(&mut self, wrong: bool, why: StoreError) -> &mut Self {
        if wrong {
            self.must.push(why);
        }
        self
    }

    /// It may be refused: the specification does not say.
    fn perhaps(&mut self, wrong: bool, why: StoreError) -> &mut Self {
        if wrong {
            self.may.push(why);
        }
        self
    }

    /// What was done, if anything was and rightly so.
    fn judge<'a>(&self, what: &str, answer: &'a Answer) -> Check<Option<&'a Outcome>> {
        match answer {
            // The disk, the time, or a device that is no more.
            Err(StoreError::Full | StoreError::Unavailable | StoreError::Expired | StoreError::Revoked) => {
                Ok(None)
            }
            Err(why) if self.must.contains(why) || self.may.contains(why) => Ok(None),
            Err(why) => {
                Err(format!("{what} was refused with {why:?}; what speaks against it is {:?}", self.must))
            }
            Ok(_) if !self.must.is_empty() => Err(format!("{what} was done in spite of {:?}", self.must)),
            Ok(outcome) => Ok(Some(outcome)),
        }
    }
}

/// All that a server must know.
pub(crate) struct Truth {
    pub(crate) people: People,
    pub(crate) groups: Groups,
    pub(crate) logs: Logs,
    pub(crate) presence: Presences,
    inboxes: Inboxes,
    /// Refusals that were right.
    pub(crate) refused: u64,
}

impl Truth {
    /// `fanout`: the largest group whose members all get a pointer.
    pub(crate) fn new(fanout: usize) -> Self {
        Self {
            people: People::default(),
            groups: Groups::new(fanout),
            logs: Logs::default(),
            presence: Presences::default(),
            inboxes: Inboxes::default(),
            refused: 0,
        }
    }

    /// A transaction was executed, and is durable.
    pub(crate) fn judge(&mut self, txn: &Txn, answer: &Answer) -> Check {
        if answer.as_ref().is_err_and(|why| why.is_refusal()) {
            self.refused += 1;
        }
        match txn {
            Txn::Enrol { .. } => {
                if let Ok(Outcome::Enrolled(device)) = answer {
                    self.people.enrolled(device.uin);
                }
                Ok(())
            }
            Txn::Append(append) => {
                self.logs.append(&self.people, &mut self.groups, &mut self.inboxes, append, answer)
            }
            Txn::Delivered { uin, watermarks } => {
                self.logs.delivered(&self.groups, &mut self.inboxes, *uin, watermarks, answer)
            }
            Txn::SyncPage { uin, place, .. } => {
                if *place {
                    self.inboxes.open(*uin);
                }
                match answer {
                    Ok(Outcome::Page { deltas, .. }) => self.page(*uin, deltas),
                    _ => Ok(()),
                }
            }
            Txn::Act { by, act } => {
                self.act(by, act, answer).map_err(|e| format!("{:?} of {}: {e}", act.packet(), by.uin))
            }
            Txn::Presence { renew, left, expire, now } => {
                self.presence.connections(renew, left, expire, *now, answer)
            }
            _ => Ok(()),
        }
    }

    fn act(&mut self, by: &Actor, act: &Act, answer: &Answer) -> Check {
        let Self { people, groups, logs, presence, inboxes, .. } = self;
        let acted = match act {
            Act::ProfileSet(r) => people.profile_set(by, r, answer)?,
            Act::FriendRequest(r) => people.request(by, r, answer)?,
            Act::FriendAnswer(r) => people.answer(by, r, answer)?,
            Act::FriendUpdate(r) => people.update(by, r, answer)?,
            Act::FriendDelete(r) => people.delete(by, r, answer)?,
            Act::GroupCreate(r) => groups.create(people, logs, by, r, answer)?,
            Act::GroupUpdate(r) => groups.update(by, r, answer)?,
            Act::GroupInvite(r) => groups.invite(people, logs, by, r, answer)?,
            Act::GroupJoin(r) => groups.join(logs, by, r.group, answer)?,
            Act::GroupLeave(r) => groups.leave(logs, by, r.group, answer)?,
            Act::GroupRemove(r) => groups.remove(logs, by, r, answer)?,
            Act::GroupDissolve(r) => groups.dissolve(logs, by, r.group, answer)?,
            Act::GroupRole(r) => groups.role(by, r, answer)?,
            Act::GroupMute(r) => groups.mute(by, r, answer)?,
            Act::PresenceSet(r) => presence.set(by, r, answer)?,
            _ => return reads::judge(self, by, act, answer),
        };
        acted.map_or(Ok(()), |acted| inboxes.all(&acted.places))
    }

    /// Who is in a conversation.
    pub(crate) fn members(&self, conversation: ConversationId) -> BTreeSet<Uin> {
        Logs::members(&self.groups, conversation)
    }

    /// A page of an inbox says what is so.
    fn page(&self, owner: Uin, deltas: &[v2::Delta]) -> Check {
        let mut last = 0;
        for delta in deltas {
            if delta.position <= last {
                return Err(format!("position {} after {last} in an inbox", delta.position));
            }
            last = delta.position;
            let packet = delta.packet.as_ref().ok_or("an empty place in an inbox")?;
            self.tells_the_truth(owner, packet).map_err(|e| {
                format!("at {last} in the inbox of {owner}, of type {}: {e}", packet.event_type)
            })?;
        }
        Ok(())
    }

    /// What a place in an inbox must say now.
    fn tells_the_truth(&self, owner: Uin, packet: &v2::SyncPacket) -> Check {
        let bytes = packet.payload.clone();
        match packet.event_type {
            1 | 7 | 8 => {
                let told = v2::StoredMessage::decode(bytes).map_err(|e| e.to_string())?;
                let id = ConversationId::from_slice(&told.conversation).ok_or("no conversation")?;
                let entry = self.logs.entry(id, told.conv_seq).ok_or("no such entry")?;
                if let Some(group) = id.group()
                    && !self.groups.was_member(group, owner, told.conv_seq)
                {
                    return Err(format!("{} of group {group} is not theirs", told.conv_seq));
                }
                let kind = entry.about.map_or(1, |(_, recall)| 7 + u32::from(recall));
                same("the kind of an entry", &packet.event_type, &kind)?;
                reads::is_entry(&told, entry)
            }
            2 => {
                let told = v2::Receipt::decode(bytes).map_err(|e| e.to_string())?;
                let id = ConversationId::from_slice(&told.conversation).ok_or("no conversation")?;
                let marks = self.logs.marks(id, Uin(told.member));
                same("a watermark", &(told.delivered_seq, told.read_seq), &marks)
            }
            3 => {
                let told = v2::Friend::decode(bytes).map_err(|e| e.to_string())?;
                self.people.is(owner, &told)
            }
            4 => {
                let told = v2::GroupState::decode(bytes).map_err(|e| e.to_string())?;
                self.groups.is(owner, &told)
            }
            6 => {
                let told = v2::User::decode(bytes).map_err(|e| e.to_string())?;
                self.people.is_user(&told)
            }
            _ => Ok(()),
        }
    }
}

/// The newest position of each inbox.
#[derive(Default)]
pub(crate) struct Inboxes {
    last: BTreeMap<Uin, u64>,
    /// Something was placed there that no answer tells of.
    open: BTreeMap<Uin, bool>,
}

impl Inboxes {
    /// What is placed while a page is read is not told.
    fn open(&mut self, uin: Uin) {
        self.open.insert(uin, true);
    }

    /// Each place is behind the last one, and says so.
    fn place(&mut self, place: &InboxPlace) -> Check {
        let last = self.last.insert(place.uin, place.position).unwrap_or(0);
        let open = self.open.remove(&place.uin).unwrap_or(false);
        let follows = place.previous == last || (open && place.previous >= last);
        if follows && place.position > place.previous {
            return Ok(());
        }
        Err(format!("{place:?} after {last}"))
    }

    fn all(&mut self, places: &[Placed]) -> Check {
        places.iter().try_for_each(|placed| self.place(&placed.place))
    }
}

/// The answer of an act that was done.
fn acted(outcome: &Outcome) -> Check<&Acted> {
    match outcome {
        Outcome::Acted(acted) => Ok(acted),
        other => Err(format!("it was answered {other:?}")),
    }
}

/// Decodes the answer itself.
fn decode<M: prost::Message + Default>(acted: &Acted) -> Check<M> {
    M::decode(acted.answer.clone()).map_err(|e| format!("its answer can't be read: {e}"))
}

/// Whose inboxes have something new.
fn placed(acted: &Acted) -> Vec<Uin> {
    let mut uins: Vec<Uin> = acted.places.iter().map(|placed| placed.place.uin).collect();
    uins.sort_unstable();
    uins
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, told: &T, truth: &T) -> Check {
    if told == truth { Ok(()) } else { Err(format!("{what} is {truth:?} and was told as {told:?}")) }
}
