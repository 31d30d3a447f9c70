//! One device: its client, its part, and what it saw.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;
use ntproto_sdk::{
    Client, ClientMsgId, ConversationId, Event, Events, Message, Misuse, RequestError, SendAction, SendError,
    SendOptions, SendOutcome, Target, Uin,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::asks;
use super::parts;
use super::plan::{Place, Plan, Step, dice};
use super::state::{Act, Device, GroupSeen, Kept, Sent, Talk};
use crate::demo::plan::fingerprint;
use crate::demo::worker::PROFILE;
use crate::exit::Failure;
use crate::output::hex;
use crate::session::{self, LinkArgs, ProfileArgs, Session};

/// Entries of a device on their way at once.
const WINDOW: usize = 4;
/// From one step to the next, about.
const PACE: Duration = Duration::from_millis(700);
/// How long a device that goes offline by itself stays away, at least.
const OFFLINE: Duration = Duration::from_millis(800);
/// What a device tells of itself now and then: that its user writes, and whether the user is there.
const TYPING_EVERY: u64 = 5;
const STATUS_EVERY: u64 = 6;
/// One message in so many is read at once.
const READ_EVERY: u64 = 3;
/// Messages of a page of history.
const PAGE: usize = 500;
/// Answers to what it asked by the way that may wait.
const MAX_ANSWERS: usize = 64;

/// Which device, and where.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) plan: Plan,
    pub(crate) user: usize,
    pub(crate) index: usize,
    pub(crate) home: PathBuf,
    pub(crate) link: LinkArgs,
}

/// Entries acknowledged and told, of all devices of a worker.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) acked: AtomicU64,
    pub(crate) told: AtomicU64,
}

/// The numbers of everybody, and of the groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) uins: Arc<Vec<u64>>,
    pub(crate) groups: Arc<Vec<u64>>,
}

/// What a device is to do.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Meet,
    Settle,
    Talk,
    End,
    Intrude,
    Show,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Groups that were made: number in the plan, id.
    pub(crate) groups: Vec<(usize, u64)>,
    /// What was tried that is not allowed, and refused.
    pub(crate) tried: (u64, u64),
    /// What the device holds.
    pub(crate) shown: Option<Box<Device>>,
}

/// A job with the names known by then, and where its answer goes.
pub(crate) type Ordered = (Job, Names, oneshot::Sender<Result<Answer, Failure>>);

/// What it hears beside its client's events.
enum Heard {
    Presence(Vec<v2::Presence>),
    Record(v2::PresenceRecord),
    Failed(Failure),
}

/// A device at work.
pub(crate) struct Live {
    pub(super) part: Part,
    pub(super) names: Names,
    pub(super) seen: Device,
    session: Option<Session>,
    events: Option<Events>,
    counters: Arc<Counters>,
    heard: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
    script: VecDeque<(u64, Step)>,
    /// Steps on their way, by key.
    in_flight: BTreeMap<ClientMsgId, u64>,
    /// Where `seen.sent` has a step.
    steps: BTreeMap<u64, usize>,
    talking: Option<oneshot::Sender<Result<Answer, Failure>>>,
    next_step: Instant,
    /// Offline by itself until then.
    back_at: Option<Instant>,
    /// The place of the last message that was told, and of the last before it was opened.
    position: u64,
    opened_at: u64,
    presence: BTreeMap<u64, u64>,
    receipts: BTreeMap<(ConversationId, Uin), (u64, u64)>,
}

impl Live {
    /// A device that has its account.
    pub(crate) fn new(part: Part, session: Session, counters: Arc<Counters>) -> Result<Self, Failure> {
        let script = (0..).zip(part.plan.script(part.user, part.index)).collect();
        let seen = Device { user: part.user, index: part.index, ..Device::default() };
        let events = session.client.events().map_err(|e| Failure::failed(e.to_string()))?;
        Ok(Self {
            part,
            names: Names::default(),
            seen,
            session: Some(session),
            events: Some(events),
            counters,
            heard: mpsc::channel(MAX_ANSWERS),
            script,
            in_flight: BTreeMap::new(),
            steps: BTreeMap::new(),
            talking: None,
            next_step: Instant::now(),
            back_at: None,
            position: 0,
            opened_at: 0,
            presence: BTreeMap::new(),
            receipts: BTreeMap::new(),
        })
    }

    /// Works until there are no more orders.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Ordered>) -> Result<(), Failure> {
        loop {
            let due = self.back_at.unwrap_or(self.next_step);
            let busy = self.back_at.is_some() || (self.talking.is_some() && self.in_flight.len() < WINDOW);
            tokio::select! {
                event = next(&mut self.events) => match event {
                    Some(event) => self.event(event).await?,
                    None => return Err(Failure::failed("a client ended")),
                },
                Some(heard) = self.heard.1.recv() => self.hear(heard)?,
                order = orders.recv() => match order {
                    Some((Job::Talk, names, done)) => {
                        self.names = names;
                        self.talking = Some(done);
                        // Not all at the same moment.
                        let later = dice(self.part.user, self.part.index, 0, "begin") % 1_000;
                        self.next_step = Instant::now() + PACE.mul_f64(later as f64 / 1_000.0);
                    }
                    Some((job, names, done)) => {
                        self.names = names;
                        let answer = self.job(&job).await;
                        let _ = done.send(answer);
                    }
                    None => {
                        self.close().await;
                        return Ok(());
                    }
                },
                () = sleep_until(due), if busy => self.step().await?,
            }
        }
    }

    /// The client; a device that is offline by itself has none.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let session = self.session.as_ref().ok_or_else(|| Failure::failed("a device is offline"))?;
        Ok(session.client.clone())
    }

    pub(super) fn me(&self) -> Uin {
        Uin(self.names.uins[self.part.user])
    }

    async fn job(&mut self, job: &Job) -> Result<Answer, Failure> {
        match job {
            Job::Meet => parts::meet(self).await,
            Job::Settle => parts::settle(self).await,
            Job::End => parts::end(self).await,
            Job::Intrude => parts::intrude(self).await,
            Job::Show => self.show().await,
            Job::Talk => Ok(Answer::default()),
        }
    }

    async fn close(&mut self) {
        self.events = None;
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// The next step of the part, or coming back.
    async fn step(&mut self) -> Result<(), Failure> {
        if self.back_at.take().is_some() {
            let Part { home, link, .. } = &self.part;
            let session = Session::open(&ProfileArgs::new(PROFILE, home.clone(), *link)).await?;
            self.events = Some(session.client.events().map_err(|e| Failure::failed(e.to_string()))?);
            self.session = Some(session);
            self.opened_at = self.position;
            return self.settle_late().await;
        }
        let Some((number, step)) = self.script.pop_front() else { return self.finished() };
        let (plan, user, index) = (self.part.plan, self.part.user, self.part.index);
        self.next_step = Instant::now() + PACE;
        if index == 0 && number == plan.steps() / 2 {
            parts::come_and_go(self).await?;
        }
        self.entry(number, step).await?;
        if number % TYPING_EVERY == 1 {
            let (Step::Say(place) | Step::Edit(place, _) | Step::Recall(place, _)) = step;
            let request = v2::TypingRequest {
                conversation: Bytes::copy_from_slice(&self.conversation(place).0),
                active: true,
            };
            let client = self.client()?;
            tokio::spawn(async move {
                // Nobody misses it when it is lost.
                let _: Result<v2::TypingResponse, _> = client.request_typed(PacketId::TYPING, &request).await;
            });
        }
        if number % STATUS_EVERY == 2 {
            self.status_now_and_then(number)?;
        }
        if plan.spell(user, index) == Some(number) {
            self.seen.spells += 1;
            self.close().await;
            let longer = dice(user, index, number, "away") % 1_000;
            self.back_at = Some(Instant::now() + OFFLINE + Duration::from_millis(longer));
        }
        Ok(())
    }

    /// Hands one entry to the client.
    async fn entry(&mut self, number: u64, step: Step) -> Result<(), Failure> {
        let (user, index) = (self.part.user, self.part.index);
        let (Step::Say(place) | Step::Edit(place, _) | Step::Recall(place, _)) = step;
        let conversation = self.conversation(place);
        let body = Plan::body(user, index, number);
        let act = match step {
            Step::Say(_) => Act::Say(fingerprint(&body)),
            Step::Edit(_, of) => Act::Edit(of, fingerprint(&body)),
            Step::Recall(_, of) => Act::Recall(of),
        };
        let (id, started_us) = (Plan::id(user, index, number), session::now_us());
        self.steps.insert(number, self.seen.sent.len());
        let conversation_hex = hex(&conversation.0);
        self.seen.sent.push(Sent {
            step: number,
            conversation: conversation_hex,
            act,
            started_us,
            acked: None,
        });
        self.in_flight.insert(id, number);
        let options = SendOptions { client_msg_id: Some(id), ..SendOptions::default() };
        let client = self.client()?;
        let target = |of| Target::Id(Plan::id(user, index, of));
        let queued = match step {
            Step::Say(_) => client.enqueue_with(conversation, body, options).await,
            Step::Edit(_, of) => {
                let action = SendAction::Edit(target(of));
                client.enqueue_action_with(conversation, action, body, options).await
            }
            Step::Recall(_, of) => {
                let action = SendAction::Recall(target(of));
                client.enqueue_action_with(conversation, action, Bytes::new(), options).await
            }
        };
        match queued {
            Ok(_) | Err(SendError::Misuse(Misuse::DuplicateId)) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// All was said: done when all is acknowledged.
    fn finished(&mut self) -> Result<(), Failure> {
        self.next_step = Instant::now() + PACE;
        if self.in_flight.is_empty()
            && let Some(done) = self.talking.take()
        {
            let _ = done.send(Ok(Answer::default()));
        }
        Ok(())
    }

    /// What became of the steps that were on their way when it went offline.
    async fn settle_late(&mut self) -> Result<(), Failure> {
        let client = self.client()?;
        for (id, _) in self.in_flight.clone() {
            if let Ok(Some(SendOutcome::Stored { conv_seq, .. })) = client.outcome(id).await {
                self.acked(id, conv_seq);
            }
        }
        Ok(())
    }

    fn acked(&mut self, id: ClientMsgId, conv_seq: u64) {
        let Some(number) = self.in_flight.remove(&id) else { return };
        if let Some(sent) = self.steps.get(&number).and_then(|at| self.seen.sent.get_mut(*at)) {
            sent.acked = Some((conv_seq, session::now_us()));
            self.counters.acked.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn conversation(&self, place: Place) -> ConversationId {
        match place {
            Place::Direct(user) => ConversationId::direct(self.me(), Uin(self.names.uins[user])),
            Place::Group(group) => {
                ConversationId::of_group(ntproto_core::ids::GroupId(self.names.groups[group]))
            }
        }
    }

    /// Says online or away, by turns, without waiting: if another device was faster, this one lost, and leaves it.
    fn status_now_and_then(&mut self, number: u64) -> Result<(), Failure> {
        let away = dice(self.part.user, self.part.index, number, "status").is_multiple_of(3);
        let (client, heard) = (self.client()?, self.heard.0.clone());
        tokio::spawn(async move {
            let record = if away {
                parts::set_status(&client, v2::OnlineStatus::Away).await
            } else {
                parts::set_status(&client, v2::OnlineStatus::Online).await
            };
            for record in record.unwrap_or_default() {
                let _ = heard.send(Heard::Record(record)).await;
            }
        });
        Ok(())
    }

    async fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Online { .. } => {
                self.seen.sessions += 1;
                self.subscribe()?;
            }
            Event::Message(message) => self.message(message).await?,
            Event::Sent(sent) => self.acked(sent.client_msg_id, sent.conv_seq),
            Event::SendFailed { client_msg_id, why } => {
                if let Some(number) = self.in_flight.remove(&client_msg_id) {
                    self.seen.failed.push(format!("step {number}: {why}"));
                }
            }
            Event::Receipt { conversation, mark } => {
                let (delivered, read) = (mark.delivered_seq, mark.read_seq);
                let known = self.receipts.entry((conversation, mark.member)).or_default();
                self.seen.receipts += 1;
                // Of a member who has left nothing is known any more, which says nothing about what was.
                let gone = delivered == 0 && read == 0;
                if !gone && (delivered < known.0 || read < known.1) {
                    let (who, now) = (mark.member, (delivered, read));
                    self.seen.fallen.push(format!("{who} had {known:?} of {conversation}, then {now:?}"));
                }
                *known = (delivered.max(known.0), read.max(known.1));
            }
            Event::Typing { conversation, uin, .. } => {
                self.seen.typing.0 += 1;
                self.seen.typing.1 += u64::from(!self.is_in(conversation) || uin == self.me());
            }
            Event::OwnPresence(record) => self.record(&record),
            Event::Presence(states) => self.hear(Heard::Presence(states))?,
            Event::Lagged => self.settle_late().await?,
            Event::Ended(why) => return Err(why.into()),
            _ => {}
        }
        Ok(())
    }

    /// Whether the user is, or was, in a conversation.
    fn is_in(&self, conversation: ConversationId) -> bool {
        let me = self.me();
        if let Some((a, b)) = conversation.members() {
            return a == me || b == me;
        }
        let number = conversation.group().and_then(|id| self.names.groups.iter().position(|g| *g == id.0));
        number.and_then(|n| self.part.plan.groups().into_iter().nth(n)).is_some_and(|group| {
            group.members.iter().chain(&group.leaver).chain(&group.joiner).any(|user| *user == self.part.user)
        })
    }

    fn hear(&mut self, heard: Heard) -> Result<(), Failure> {
        match heard {
            Heard::Presence(states) => {
                for state in states {
                    let known = self.presence.entry(state.uin).or_default();
                    if state.version >= *known {
                        *known = state.version;
                        self.seen.presence.insert(state.uin, state.status);
                    }
                }
            }
            Heard::Record(record) => self.record(&record),
            Heard::Failed(failure) => return Err(failure),
        }
        Ok(())
    }

    /// A record of the user's own presence: at most one device may be online in it.
    pub(super) fn record(&mut self, record: &v2::PresenceRecord) {
        let online = record.devices.iter().filter(|device| device.status() == v2::OnlineStatus::Online);
        self.seen.records.0 += 1;
        self.seen.records.1 += u64::from(online.count() > 1);
    }

    /// Hears of the user's friends, on every connection anew.
    pub(super) fn subscribe(&self) -> Result<(), Failure> {
        if self.names.groups.is_empty() {
            return Ok(());
        }
        let friends = self.part.plan.friends_of(self.part.user);
        let add = friends.iter().map(|friend| self.names.uins[*friend]).collect();
        let request = v2::PresenceSubscribeRequest { add, remove: Vec::new() };
        let (client, heard) = (self.client()?, self.heard.0.clone());
        tokio::spawn(async move {
            let answer: Result<v2::PresenceSubscribeResponse, _> =
                asks::ask(&client, PacketId::PRESENCE_SUBSCRIBE, &request).await;
            let answer = match answer {
                Ok(answer) => Heard::Presence(answer.states),
                // It went offline by itself meanwhile, and asks when it is back.
                Err(RequestError::Ended(_)) => return,
                Err(e) => Heard::Failed(Failure::failed(format!("PRESENCE_SUBSCRIBE: {e}"))),
            };
            let _ = heard.send(answer).await;
        });
        Ok(())
    }

    async fn message(&mut self, message: Message) -> Result<(), Failure> {
        let client = self.client()?;
        // What was told before it went offline, and not confirmed in time, is passed over, as any application would.
        if message.position <= self.opened_at {
            client.confirm(message.position).await;
            return Ok(());
        }
        if message.position <= self.position {
            self.seen.doubled += 1;
            return Ok(());
        }
        self.position = message.position;
        self.counters.told.fetch_add(1, Ordering::Relaxed);
        let (conversation, stored) = (message.conversation, &message.stored);
        let talk = self.seen.talks.entry(hex(&conversation.0)).or_default();
        talk.told.push((stored.conv_seq, stored.sender.0));
        client.confirm(message.position).await;
        if dice(self.part.user, self.part.index, message.position, "read").is_multiple_of(READ_EVERY) {
            parts::read(&client, conversation, stored.conv_seq).await?;
        }
        Ok(())
    }

    /// What the device holds.
    async fn show(&mut self) -> Result<Answer, Failure> {
        let client = self.client()?;
        let query = |e: ntproto_sdk::QueryError| Failure::failed(format!("a device's disk: {e}"));
        for (conversation, _) in client.conversations().await.map_err(query)? {
            let mut messages: Vec<Kept> = Vec::new();
            loop {
                let before = messages.last().map(|kept| kept.seq);
                let page = client.history(conversation, before, PAGE).await.map_err(query)?;
                let more = page.len() == PAGE;
                messages.extend(page.into_iter().map(|stored| Kept {
                    seq: stored.conv_seq,
                    sender: stored.sender.0,
                    id: hex(&stored.client_msg_id.0),
                    fingerprint: if stored.body.is_empty() { 0 } else { fingerprint(&stored.body) },
                    edited: stored.edited.is_some(),
                    recalled: stored.recalled.is_some(),
                }));
                if !more {
                    break;
                }
            }
            messages.reverse();
            let marks = client.marks(conversation).await.map_err(query)?;
            let unread = client.unread(conversation).await.map_err(query)?.messages;
            let known = self.seen.talks.entry(hex(&conversation.0)).or_default();
            let marks = marks.into_iter().map(|m| (m.member.0, (m.delivered_seq, m.read_seq))).collect();
            *known = Talk { messages, unread, marks, told: std::mem::take(&mut known.told) };
        }
        let friends = asks::friends(&client).await?.into_iter();
        let friends = friends.filter(|friend| friend.state() == v2::FriendState::Friend);
        self.seen.friends = friends.map(|friend| friend.uin).collect();
        self.seen.groups.clear();
        for group in asks::groups(&client).await?.into_iter().filter_map(|state| state.group) {
            let members = asks::members(&client, group.group).await?.into_iter();
            let members = members.map(|m| (m.uin, (m.role, m.joined_seq))).collect();
            let conversation = ConversationId::of_group(ntproto_core::ids::GroupId(group.group));
            let marks = asks::marks(&client, &conversation.0).await?.into_iter();
            let marks = marks.map(|m| (m.member, (m.delivered_seq, m.read_seq))).collect();
            self.seen.groups.insert(group.group, GroupSeen { members, marks });
        }
        Ok(Answer { shown: Some(Box::new(self.seen.clone())), ..Answer::default() })
    }
}

/// The next event; none ever of a device that is offline.
async fn next(events: &mut Option<Events>) -> Option<Event> {
    match events {
        Some(events) => events.next().await,
        None => {
            std::future::pending::<()>().await;
            None
        }
    }
}
