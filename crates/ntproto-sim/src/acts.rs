//! What users do beside sending messages: people, groups, presence, marks, edits. Mostly what they may, now and then
//! what they may not.

use bytes::Bytes;
use ntproto_core::client::{Command, Misuse, SendAction, Target};
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{ClientMsgId, ConversationId, GroupId, Uin};
use ntproto_core::model::permission::Permissions;
use ntproto_core::presence::State as PresenceState;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use prost::Message;

use crate::answers::Question;
use crate::deed::Deed;
use crate::draw::Draw;
use crate::ledger::{Check, Told};
use crate::truth::State;
use crate::watch::Asks;
use crate::world::{Ev, World};

/// What anybody may be called.
const NAMES: [&str; 6] = ["Ada", " Zoë ", "ノア", "d'Arc", "O-1", "a b"];

impl World {
    /// A user does something, or tries again later.
    pub(crate) fn app_act(&mut self, d: usize, left: u32) -> Check {
        let now = self.schedule.now();
        if self.devices[d].dead {
            return Ok(());
        }
        let ready = self.devices[d].process.as_ref().is_some_and(|p| p.online && p.caught_up && !p.stopped);
        let (true, Some((me, _))) = (ready, self.devices[d].identity) else {
            if left > 0 && !self.healed {
                self.schedule.at(now.plus_ms(1_500), Ev::AppAct { d, left: left - 1 });
            }
            return Ok(());
        };
        match self.acts.below(100) {
            0..=22 => self.act_of_people(d, me),
            23..=49 => self.act_of_groups(d, me),
            50..=65 => self.act_of_messages(d, me),
            66..=80 => self.act_of_presence(d, me),
            81..=88 => self.act_of_reading(d, me),
            _ => self.act_of_malice(d, me),
        }
    }

    /// Asks the server something.
    pub(crate) fn ask(
        &mut self,
        d: usize,
        deed: Deed,
        packet: PacketId,
        body: &impl Message,
        q: Question,
    ) -> Check {
        self.stats.deeds.count(deed);
        self.ask_bytes(d, packet, body.encode_to_vec().into(), q)
    }

    pub(crate) fn ask_bytes(&mut self, d: usize, packet: PacketId, body: Bytes, question: Question) -> Check {
        self.trace.add("ask", &[d as u64, u64::from(packet.0)], &body);
        match self.call_device(d, Command::Request { trace: None, packet, body, deadline: None }) {
            Ok(request) => {
                if let Some(process) = &mut self.devices[d].process {
                    process.asked.insert(request, question);
                }
                self.drain_device(d)
            }
            Err(Misuse::State | Misuse::TooManyRequests) => Ok(()),
            Err(e) => Err(format!("device {d} can't ask: {e}")),
        }
    }

    /// Some other account.
    pub(crate) fn somebody(&mut self, d: usize) -> Option<Uin> {
        let peers = self.peers(d);
        (!peers.is_empty()).then(|| *self.acts.pick(&peers))
    }

    fn name(&mut self) -> String {
        (*self.acts.pick(&NAMES)).into()
    }

    fn act_of_people(&mut self, d: usize, me: Uin) -> Check {
        let Some(other) = self.somebody(d) else { return Ok(()) };
        let uin = other.0;
        let truth = &self.ledger.truth.people;
        // Mostly what moves the two on.
        let state = truth.state(me, other);
        let blocked = truth.blocks(me, other);
        let both = truth.blocks(other, me);
        match (self.acts.below(100), state) {
            (0..=49, State::Nothing) | (50..=55, _) => {
                let r = v2::FriendRequestRequest { uin, message: self.name() };
                self.ask(d, Deed::Friend, PacketId::FRIEND_REQUEST, &r, Question::Any)
            }
            (0..=49, State::Wanted) | (56..=58, _) => {
                let r = v2::FriendAnswerRequest { uin, accept: self.acts.chance(80) };
                self.ask(d, Deed::Friend, PacketId::FRIEND_ANSWER, &r, Question::Any)
            }
            (0..=9, State::Friend) | (59..=61, _) => {
                let r = v2::FriendDeleteRequest { uin };
                self.ask(d, Deed::Friend, PacketId::FRIEND_DELETE, &r, Question::Any)
            }
            (62..=72, _) | (10..=20, State::Friend) => {
                // Never both: somebody must be left to write.
                let block = !blocked && !both && self.acts.chance(60);
                let r = v2::FriendUpdateRequest { uin, blocked: Some(block), ..Default::default() };
                self.ask(d, Deed::Block, PacketId::FRIEND_UPDATE, &r, Question::Any)
            }
            (73..=80, _) => {
                let remark = Some(self.name());
                let extra = self.acts.chance(50).then(|| r#"{"n":18446744073709551615}"#.to_owned());
                let r = v2::FriendUpdateRequest { uin, remark, extra, blocked: None };
                self.ask(d, Deed::Friend, PacketId::FRIEND_UPDATE, &r, Question::Any)
            }
            (81..=84, _) => {
                let r = v2::ProfilesRequest { uins: vec![me.0, uin, 77] };
                self.ask(d, Deed::Read, PacketId::PROFILES, &r, Question::Any)
            }
            _ => {
                let r = v2::ProfileSetRequest {
                    nick: self.name(),
                    bio: if self.acts.chance(30) { "two\nlines".into() } else { String::new() },
                    extra: if self.acts.chance(30) { r#"{ "k" : 1.0 }"#.into() } else { String::new() },
                    ..Default::default()
                };
                self.ask(d, Deed::Profile, PacketId::PROFILE_SET, &r, Question::Any)
            }
        }
    }

    /// Somebody ends a block: messages must go somewhere at the end.
    pub(crate) fn unblock(&mut self) -> Check {
        for d in 0..self.devices.len() {
            let ready = self.devices[d].process.as_ref().is_some_and(|p| p.online && !p.stopped);
            let Some((me, _)) = self.devices[d].identity.filter(|_| ready) else { continue };
            let blocked =
                self.ledger.truth.people.records(me).find(|(_, r)| r.blocked).map(|(other, _)| other);
            if let Some(other) = blocked {
                let r = v2::FriendUpdateRequest { uin: other.0, blocked: Some(false), ..Default::default() };
                return self.ask(d, Deed::Block, PacketId::FRIEND_UPDATE, &r, Question::Any);
            }
        }
        Ok(())
    }

    /// A group of the account, if it has any.
    pub(crate) fn some_group(&mut self, me: Uin) -> Option<u64> {
        let own: Vec<u64> = self.ledger.truth.groups.with(me).map(|(id, _)| *id).collect();
        (!own.is_empty()).then(|| *self.acts.pick(&own))
    }

    fn create_group(&mut self, d: usize) -> Check {
        let mut members: Vec<u64> = self.peers(d).iter().map(|uin| uin.0).collect();
        let all = self.acts.chance(60);
        members.retain(|_| all || self.acts.chance(60));
        let r = v2::GroupCreateRequest {
            name: self.name(),
            members,
            join: i32::from(self.acts.chance(40)),
            extra: String::new(),
            request: Bytes::copy_from_slice(&self.acts.array::<16>()),
        };
        // Whoever does not hear the answer asks again.
        if self.acts.chance(20) {
            self.ask(d, Deed::Group, PacketId::GROUP_CREATE, &r, Question::Any)?;
        }
        self.ask(d, Deed::Group, PacketId::GROUP_CREATE, &r, Question::Any)
    }

    fn act_of_groups(&mut self, d: usize, me: Uin) -> Check {
        let any = Question::Any;
        let Some(group) = self.some_group(me).filter(|_| !self.acts.chance(12)) else {
            let open: Vec<u64> = self.ledger.truth.groups.all.keys().copied().collect();
            if !open.is_empty() && self.acts.chance(60) {
                let r = v2::GroupRequest { group: *self.acts.pick(&open) };
                return self.ask(d, Deed::Join, PacketId::GROUP_JOIN, &r, any);
            }
            return if open.len() < 4 { self.create_group(d) } else { Ok(()) };
        };
        let Some(other) = self.somebody(d) else { return Ok(()) };
        let uin = other.0;
        match self.acts.below(100) {
            0..=14 => {
                let r = v2::GroupInviteRequest { group, uins: vec![uin, me.0] };
                self.ask(d, Deed::Join, PacketId::GROUP_INVITE, &r, any)
            }
            15..=24 => self.ask(d, Deed::Leave, PacketId::GROUP_LEAVE, &v2::GroupRequest { group }, any),
            25..=31 => {
                let r = v2::GroupRemoveRequest { group, uin };
                self.ask(d, Deed::Leave, PacketId::GROUP_REMOVE, &r, any)
            }
            32..=43 => {
                let r = v2::GroupRoleRequest { group, uin, role: self.acts.below(3) as i32 };
                self.ask(d, Deed::Role, PacketId::GROUP_ROLE, &r, any)
            }
            44..=53 => {
                let until = self.server_ms() + self.acts.skewed(1_000, 60_000);
                let r = v2::GroupMuteRequest {
                    group,
                    uin,
                    until_ms: if self.acts.chance(30) { 0 } else { until },
                };
                self.ask(d, Deed::Mute, PacketId::GROUP_MUTE, &r, any)
            }
            54..=71 => self.update_group(d, group),
            72..=73 => {
                self.ask(d, Deed::Dissolve, PacketId::GROUP_DISSOLVE, &v2::GroupRequest { group }, any)
            }
            74..=85 => self.watch_group(d, group),
            86..=90 => {
                let r = v2::GroupGetRequest { groups: vec![group, 1, 999] };
                self.ask(d, Deed::Read, PacketId::GROUP_GET, &r, any)
            }
            91..=94 => {
                let r =
                    v2::GroupsRequest { after: self.acts.below(2), limit: self.acts.between(1, 3) as u32 };
                self.ask(d, Deed::Read, PacketId::GROUPS, &r, any)
            }
            _ => {
                let r = v2::GroupChangesRequest {
                    group,
                    since: self.acts.below(6),
                    limit: self.acts.between(1, 9) as u32,
                };
                self.ask(d, Deed::Read, PacketId::GROUP_CHANGES, &r, any)
            }
        }
    }

    fn update_group(&mut self, d: usize, group: u64) -> Check {
        let mut r = v2::GroupUpdateRequest { group, ..Default::default() };
        match self.acts.below(6) {
            0 => r.name = Some(self.name()),
            1 => r.notice = Some("a notice\nof two lines".into()),
            2 => r.join = Some(self.acts.below(2) as i32),
            // Not for long: somebody must be left to write.
            3 => r.muted = Some(self.acts.chance(25)),
            4 => {
                let mut mask = Permissions::SEND | Permissions::INVITE;
                if self.acts.chance(50) {
                    mask = mask | Permissions::EDIT_PROFILE | Permissions::MENTION_ALL;
                }
                r.permissions = Some(mask.to_wire());
            }
            _ => r.nick = Some(self.name()),
        }
        self.ask(d, Deed::Update, PacketId::GROUP_UPDATE, &r, Question::Any)
    }

    /// Server time, roughly: what a client knows of it.
    pub(crate) fn server_ms(&self) -> u64 {
        let time = self.schedule.now();
        self.server.process.as_ref().map_or(0, |p| p.core.hub().server_time(p.clock.now(time)).0)
    }

    fn act_of_messages(&mut self, d: usize, me: Uin) -> Check {
        match self.acts.below(100) {
            0..=37 => self.change_message(d),
            38..=69 => self.mark_read(d),
            70..=84 => {
                let Some(conversation) = self.some_conversation(d, me) else { return Ok(()) };
                let active = self.acts.chance(70);
                let r = v2::TypingRequest { conversation: id(conversation), active };
                self.ask(d, Deed::Typing, PacketId::TYPING, &r, Question::Any)
            }
            _ => {
                // The same id, another body.
                let told = |m: &&crate::ledger::Message| m.device == d && m.told == Told::Sent;
                let Some(message) = self.ledger.messages.iter().rev().find(told) else { return Ok(()) };
                let r = v2::SendRequest {
                    conversation: id(message.conversation),
                    client_msg_id: Bytes::copy_from_slice(&message.id.0),
                    body: Bytes::from_static(b"something else entirely"),
                    ..Default::default()
                };
                const CODES: &[ErrorCode] = &[ErrorCode::Conflict];
                self.ask(d, Deed::Hostile, PacketId::SEND, &r, Question::Refused(CODES))
            }
        }
    }

    /// A conversation of the account.
    pub(crate) fn some_conversation(&mut self, d: usize, me: Uin) -> Option<ConversationId> {
        if self.acts.chance(50)
            && let Some(group) = self.some_group(me)
        {
            return Some(ConversationId::of_group(GroupId(group)));
        }
        Some(ConversationId::direct(me, self.somebody(d)?))
    }

    /// Edits a message or takes it back: one's own mostly, acknowledged or not.
    fn change_message(&mut self, d: usize) -> Check {
        let strange = self.acts.chance(15);
        let fits = |m: &&crate::ledger::Message| (m.device == d) != strange && m.told != Told::Failed;
        let mut some: Vec<_> = self.ledger.messages.iter().rev().filter(fits).take(6).collect();
        let me = self.devices[d].identity.map(|(uin, _)| uin);
        let may = |c: ConversationId| {
            c.group().is_some() || c.members().is_some_and(|(a, b)| Some(a) == me || Some(b) == me)
        };
        some.retain(|m| may(m.conversation));
        if some.is_empty() {
            return Ok(());
        }
        let message = self.acts.pick(&some);
        let (conversation, msg_id, stored) = (message.conversation, message.id, message.stored());
        let target = match stored {
            Some(seq) if strange || self.acts.chance(50) => Target::Number(seq),
            _ if strange => Target::Number(self.acts.between(1, 400)),
            _ => Target::Id(msg_id),
        };
        if self.acts.chance(40) {
            self.stats.deeds.count(Deed::Recall);
            return self.put(d, conversation, Bytes::new(), SendAction::Recall(target));
        }
        self.stats.deeds.count(Deed::Edit);
        let fill = self.acts.array::<16>();
        self.put(d, conversation, Bytes::copy_from_slice(&fill), SendAction::Edit(target))
    }

    /// Hands a message over that is not one of those which must be sent.
    fn put(&mut self, d: usize, conversation: ConversationId, body: Bytes, action: SendAction) -> Check {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(self.ledger.messages.len() as u64).to_be_bytes());
        id[8..].copy_from_slice(&self.acts.array::<8>());
        let id = ClientMsgId(id);
        let command = Command::Send {
            trace: None,
            conversation,
            client_msg_id: Some(id),
            body: body.clone(),
            deadline: None,
            action,
        };
        match self.call_device(d, command) {
            Ok(_) => {
                self.trace.add("change", &[d as u64, self.ledger.messages.len() as u64], &[]);
                self.ledger.send(d, conversation, id, body);
                self.drain_device(d)
            }
            Err(Misuse::State | Misuse::OutboxFull | Misuse::NotMember) => Ok(()),
            Err(e) => Err(format!("device {d} can't change a message: {e}")),
        }
    }

    fn mark_read(&mut self, d: usize) -> Check {
        let conversations: Vec<ConversationId> = self.devices[d].app.conversations().collect();
        if conversations.is_empty() {
            return Ok(());
        }
        let conversation = *self.acts.pick(&conversations);
        let shown = self.devices[d].app.shown(conversation);
        let back = self.acts.below(3) as usize;
        let Some(seq) = shown.iter().rev().nth(back).or(shown.last()).copied() else { return Ok(()) };
        self.stats.deeds.count(Deed::ReadMark);
        match self.call_device(d, Command::Read { conversation, seq }) {
            Ok(_) | Err(Misuse::State) => self.drain_device(d),
            Err(e) => Err(format!("device {d} can't read: {e}")),
        }
    }

    fn act_of_presence(&mut self, d: usize, me: Uin) -> Check {
        if self.acts.chance(35) {
            return self.subscribe(d, me);
        }
        let status = *self.acts.pick(&[1, 1, 1, 2, 2, 0]);
        self.set_presence(d, status)
    }

    /// A compare-and-swap with the version that this device knows.
    pub(crate) fn set_presence(&mut self, d: usize, status: i32) -> Check {
        if self.acts.chance(40)
            && let Some(state) = u32::try_from(status).ok().and_then(PresenceState::from_wire)
        {
            // The client tries again by itself.
            self.stats.deeds.count(Deed::Presence);
            return match self.call_device(d, Command::SetPresence(state)) {
                Ok(request) => {
                    if let Some(process) = &mut self.devices[d].process {
                        process.asked.insert(request, Question::Presence);
                    }
                    self.drain_device(d)
                }
                Err(Misuse::State | Misuse::TooManyRequests) => Ok(()),
                Err(e) => Err(format!("device {d} can't be there: {e}")),
            };
        }
        let version = self.devices[d].presence_version;
        let r = v2::PresenceSetRequest { status, version };
        self.ask(d, Deed::Presence, PacketId::PRESENCE_SET, &r, Question::Presence)
    }

    /// Wants to hear of all friends.
    pub(crate) fn subscribe(&mut self, d: usize, me: Uin) -> Check {
        let people = &self.ledger.truth.people;
        let friends: Vec<Uin> =
            people.records(me).filter(|(other, _)| people.sees(me, *other)).map(|(other, _)| other).collect();
        if friends.is_empty() {
            return Ok(());
        }
        let lost = friends.iter().map(|other| (*other, people.sights_lost(me, *other))).collect();
        let r =
            v2::PresenceSubscribeRequest { add: friends.iter().map(|uin| uin.0).collect(), remove: vec![] };
        self.ask(d, Deed::Subscribe, PacketId::PRESENCE_SUBSCRIBE, &r, Question::Watch(lost))
    }

    /// Wants to know a group's members from now on.
    pub(crate) fn watch_group(&mut self, d: usize, group: u64) -> Check {
        let Some(process) = &mut self.devices[d].process else { return Ok(()) };
        let (watched, asks) = crate::watch::Watched::new(group);
        process.watched = Some(watched);
        self.stats.deeds.count(Deed::Watch);
        self.ask_all(d, group, asks)
    }

    pub(crate) fn ask_all(&mut self, d: usize, group: u64, asks: Asks) -> Check {
        for (packet, body) in asks {
            let question = match packet {
                PacketId::GROUP_CHANGES => Question::Changes(group),
                _ => {
                    let page = v2::GroupMembersRequest::decode(body.clone()).map_or(0, |r| r.page);
                    Question::Page(group, page)
                }
            };
            self.ask_bytes(d, packet, body, question)?;
        }
        Ok(())
    }

    fn act_of_reading(&mut self, d: usize, me: Uin) -> Check {
        let Some(conversation) = self.some_conversation(d, me) else { return Ok(()) };
        let any = Question::Any;
        match self.acts.below(10) {
            0..=4 => {
                let head = self.ledger.truth.logs.head(conversation);
                let r = v2::HistoryRequest {
                    conversation: id(conversation),
                    before_seq: if self.acts.chance(50) { self.acts.below(head + 2) } else { 0 },
                    after_seq: if self.acts.chance(30) { self.acts.below(head + 1) } else { 0 },
                    since_ms: if self.acts.chance(20) { self.server_ms().saturating_sub(20_000) } else { 0 },
                    until_ms: if self.acts.chance(20) { self.server_ms().saturating_sub(5_000) } else { 0 },
                    limit: self.acts.between(1, 40) as u32,
                };
                self.ask(d, Deed::History, PacketId::HISTORY, &r, any)
            }
            5..=6 => {
                let r = v2::SnapshotRequest { after: Bytes::new(), limit: self.acts.between(1, 5) as u32 };
                self.ask(d, Deed::History, PacketId::SNAPSHOT, &r, any)
            }
            7..=8 => {
                let r = v2::MarksRequest { conversation: id(conversation), after: 0, limit: 10 };
                self.ask(d, Deed::Read, PacketId::MARKS, &r, any)
            }
            _ => {
                let r = v2::FriendsRequest { after: 0, limit: self.acts.between(1, 4) as u32 };
                self.ask(d, Deed::Read, PacketId::FRIENDS, &r, any)
            }
        }
    }

    /// The end of the faults: everybody does once more what can be looked at then.
    pub(crate) fn last_acts(&mut self, d: usize) -> Check {
        if self.devices[d].dead {
            self.last_due -= 1;
            return Ok(());
        }
        let ready = self.devices[d].process.as_ref().is_some_and(|p| p.online && p.caught_up && !p.stopped);
        let (true, Some((me, _))) = (ready, self.devices[d].identity) else {
            let soon = self.schedule.now().plus_ms(2_000);
            self.schedule.at(soon, Ev::LastActs { d });
            return Ok(());
        };
        self.last_due -= 1;
        if self.acts.chance(50) {
            self.set_presence(d, 1)?;
        }
        if self.acts.chance(70) {
            self.subscribe(d, me)?;
        }
        if let Some(group) = self.some_group(me)
            && self.acts.chance(70)
        {
            self.watch_group(d, group)?;
        }
        self.mark_read(d)
    }
}

/// A conversation as a field holds it.
pub(crate) fn id(conversation: ConversationId) -> Bytes {
    Bytes::copy_from_slice(&conversation.0)
}
