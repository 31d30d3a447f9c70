//! Sessions of accounts that exist: two who chat, one who writes to a large group, and its members, who sync when
//! they are told to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::ids::ConversationId;
use ntproto_core::rng::Rng;
use ntproto_core::time::Now;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_proto::v2;
use ntproto_proto::v2::auth_request::Credential;
use ntproto_quic::ConnId;
use ntproto_sdk::ConnectString;
use prost::Message as _;

use crate::load_sides::wire::{self, Load, Wire};

const BODY: usize = 100;
/// Who chats takes so long to go on: a device may send so many messages a second for long.
const PAUSE: Duration = Duration::from_millis(5);

/// What somebody does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One message after the other to the other one, and the time of each is measured.
    Chats,
    /// Receives those.
    Listens,
    /// Writes to the large group.
    Writes,
    /// Is a member of it.
    Member,
}

/// A device that is known to the server.
pub struct Seat {
    pub keys: DeviceKeys,
    pub part: Part,
}

/// What is done, when all are in.
#[derive(Clone, Copy)]
pub struct Plan {
    pub direct: ConversationId,
    pub group: ConversationId,
    /// Before either measurement.
    pub warm_up: Duration,
    /// How long each measurement takes.
    pub measure: Duration,
    /// Between two messages to the group.
    pub every: Duration,
}

/// What came of it.
#[derive(Default)]
pub struct Report {
    /// From the call to the durable acknowledgement, sorted: before anybody writes to the group, and while.
    pub idle: Vec<Duration>,
    pub beside: Vec<Duration>,
    /// Messages to the group, pushes that said that there are some, syncs, and messages found by these.
    pub written: u64,
    pub told: u64,
    pub syncs: u64,
    pub found: u64,
}

struct Member {
    part: Part,
    sent: Option<(u32, Instant)>,
    cursor: u64,
    epoch: Bytes,
    syncing: Option<u32>,
    /// Was told to sync while it did.
    again: bool,
}

/// All sessions.
pub struct Crowd<'a> {
    seats: &'a [Seat],
    plan: Plan,
    members: BTreeMap<ConnId, Member>,
    began: Option<Instant>,
    next_chat: Option<Instant>,
    next_write: Option<Instant>,
    /// Called when all are in, and at the end.
    mark: Box<dyn FnMut() + 'a>,
    report: Report,
}

impl<'a> Crowd<'a> {
    /// Lets all in, runs the plan, and closes.
    pub fn run(connect: &ConnectString, seats: &'a [Seat], plan: Plan, mark: impl FnMut() + 'a) -> Report {
        let mut load = Crowd {
            seats,
            plan,
            members: BTreeMap::new(),
            began: None,
            next_chat: None,
            next_write: None,
            mark: Box::new(mark),
            report: Report::default(),
        };
        wire::run(connect, seats.len(), &mut load);
        load.report.idle.sort();
        load.report.beside.sort();
        load.report
    }

    fn sync(&mut self, wire: &mut Wire<'_>, now: Now, conn: ConnId) {
        let member = self.members.get_mut(&conn).unwrap();
        let request = v2::SyncRequest { epoch: member.epoch.clone(), cursor: member.cursor, limit: 256 };
        let body = request.encode_to_vec().into();
        member.syncing = Some(wire.request(now, conn, Channel::Sync, PacketId::SYNC, body));
        member.again = false;
    }

    /// The one who plays a part writes to a conversation.
    fn send(&mut self, wire: &mut Wire<'_>, now: Now, part: Part, to: ConversationId) {
        let (conn, member) = self.members.iter_mut().find(|(_, member)| member.part == part).unwrap();
        let sent = Instant::now();
        member.sent = Some((wire.send(now, *conn, to, BODY), sent));
    }

    fn page(&mut self, wire: &mut Wire<'_>, now: Now, conn: ConnId, page: v2::SyncResponse) {
        let member = self.members.get_mut(&conn).unwrap();
        let first = member.epoch.is_empty();
        (member.epoch, member.cursor, member.syncing) = (page.epoch, page.next, None);
        if self.began.is_some() {
            self.report.syncs += 1;
            self.report.found += page.deltas.len() as u64;
        }
        if page.has_more || member.again {
            self.sync(wire, now, conn);
        } else if first && wire.ready(now) {
            (self.mark)();
            self.began = Some(Instant::now());
            self.next_chat = Some(Instant::now());
        }
    }

    /// A message of the chat was acknowledged: it is counted where it belongs, and the next one is sent.
    fn took(&mut self, wire: &mut Wire<'_>, now: Now, took: Duration) {
        let Plan { warm_up, measure, .. } = self.plan;
        let since = self.began.unwrap().elapsed();
        let first = warm_up + measure;
        if since < warm_up {
        } else if since < first {
            self.report.idle.push(took);
        } else if self.next_write.is_none() {
            self.next_write = Some(Instant::now());
        } else if since >= first + warm_up {
            self.report.beside.push(took);
        }
        if since < 2 * first {
            self.next_chat = Some(Instant::now() + PAUSE);
        } else {
            (self.mark)();
            wire.end(now);
        }
    }
}

impl Load for Crowd<'_> {
    fn keys(&mut self, seat: usize, _: &mut Rng) -> &DeviceKeys {
        &self.seats[seat].keys
    }

    fn credential(&self) -> Credential {
        Credential::KnownDevice(v2::KnownDevice {})
    }

    fn granted(&mut self, wire: &mut Wire<'_>, now: Now, conn: ConnId, seat: usize, _: &v2::Grant) {
        let member = Member {
            part: self.seats[seat].part,
            sent: None,
            cursor: 0,
            epoch: Bytes::new(),
            syncing: None,
            again: false,
        };
        self.members.insert(conn, member);
        self.sync(wire, now, conn);
    }

    fn packet(&mut self, wire: &mut Wire<'_>, now: Now, conn: ConnId, packet: &Packet) {
        let member = self.members.get_mut(&conn).unwrap();
        if packet.id == PacketId::DIRTY {
            self.report.told += 1;
            member.again = true;
            if member.syncing.is_none() {
                self.sync(wire, now, conn);
            }
            return;
        }
        let Kind::Response(number) = packet.kind else { return };
        if member.syncing == Some(number) {
            self.page(wire, now, conn, v2::SyncResponse::decode(packet.body.clone()).unwrap());
        } else if let Some((_, at)) = member.sent.take_if(|(sent, _)| *sent == number)
            && member.part == Part::Chats
        {
            self.took(wire, now, at.elapsed());
        }
    }

    fn wakes(&self) -> Option<Instant> {
        [self.next_chat, self.next_write].into_iter().flatten().min()
    }

    fn woken(&mut self, wire: &mut Wire<'_>, now: Now) {
        if self.next_chat.take_if(|at| *at <= Instant::now()).is_some() {
            self.send(wire, now, Part::Chats, self.plan.direct);
        }
        let Some(at) = self.next_write.filter(|at| *at <= Instant::now()) else { return };
        self.next_write = Some(at + self.plan.every);
        let waits = |member: &Member| member.part == Part::Writes && member.sent.is_some();
        if !self.members.values().any(waits) {
            self.report.written += 1;
            self.send(wire, now, Part::Writes, self.plan.group);
        }
    }
}
