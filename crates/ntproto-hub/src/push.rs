//! What goes to devices unasked.
//!
//! A device that does not read gets no second queue: of the pushes that do not fit, the newest is kept
//! and sent when there is room. Its `previous` tells the device that it missed something, and it
//! syncs. When there is no room for long, the connection closes with RESYNC.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use ntproto_core::code::ErrorCode;
use ntproto_core::endpoint::rules::Phase;
use ntproto_core::endpoint::{Misuse, QUEUE_LIMIT, server};
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::time::Now;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::{Kind, Packet, PacketId};
use ntproto_proto::v2;
use prost::Message;

use crate::api::{ConnId, Push};
use crate::config::{CROWDED_ROOM, MAX_UNCONFIRMED, PUSH_ROOM};
use crate::conn::{Behind, Conns, State};
use crate::hub::Hub;
use crate::store::txn::InboxPlace;

/// The devices that are connected, one connection each.
#[derive(Default)]
pub(crate) struct Online(BTreeMap<Uin, Vec<(DeviceId, ConnId)>>);

impl Online {
    pub(crate) fn of(&self, uin: Uin) -> &[(DeviceId, ConnId)] {
        self.0.get(&uin).map_or(&[], Vec::as_slice)
    }

    /// Devices there are.
    pub(crate) fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    pub(crate) fn find(&self, uin: Uin, device: DeviceId) -> Option<ConnId> {
        self.of(uin).iter().find(|(other, _)| *other == device).map(|(_, conn)| *conn)
    }

    fn insert(&mut self, uin: Uin, device: DeviceId, conn: ConnId) {
        self.0.entry(uin).or_default().push((device, conn));
    }

    pub(crate) fn remove(&mut self, uin: Uin, device: DeviceId, conn: ConnId) {
        if let Some(devices) = self.0.get_mut(&uin) {
            devices.retain(|entry| *entry != (device, conn));
            if devices.is_empty() {
                self.0.remove(&uin);
            }
        }
    }
}

/// The sessions of each device that have not sent a sealed frame, the oldest first.
#[derive(Default)]
pub(crate) struct Unconfirmed(BTreeMap<DeviceId, VecDeque<ConnId>>);

impl Unconfirmed {
    /// Adds one; answers the oldest when there are too many now, of those whose transport is not up if there are
    /// any: they may be replays.
    pub(crate) fn add(&mut self, device: DeviceId, conn: ConnId, conns: &Conns) -> Option<ConnId> {
        let sessions = self.0.entry(device).or_default();
        sessions.push_back(conn);
        if sessions.len() <= MAX_UNCONFIRMED {
            return None;
        }
        let early = |id: &ConnId| conns.get(*id).is_some_and(|conn| !conn.bound);
        sessions.remove(sessions.iter().position(early).unwrap_or_default())
    }

    pub(crate) fn remove(&mut self, device: DeviceId, conn: ConnId) {
        if let Some(sessions) = self.0.get_mut(&device) {
            sessions.retain(|other| *other != conn);
            if sessions.is_empty() {
                self.0.remove(&device);
            }
        }
    }
}

impl Hub {
    /// A sealed frame came: whoever sent AUTH_REQ holds the keys. Only now the session takes the place
    /// of an earlier one of its device, so a replayed AUTH_REQ disturbs nobody.
    pub(crate) fn confirm(&mut self, now: Now, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let State::In(session) = &mut conn.state else { return };
        if core::mem::replace(&mut session.confirmed, true) {
            return;
        }
        let session = *session;
        self.unconfirmed.remove(session.device, id);
        if let Some(other) = self.online.find(session.uin, session.device) {
            let newer = self
                .conns
                .get(other)
                .and_then(|conn| conn.session())
                .is_some_and(|other| other.serial > session.serial);
            //= spec: handshake-14
            if newer {
                // A late frame of an old connection must not end the one that replaced it.
                return self.close(now, id, ErrorCode::Superseded);
            }
            self.online.remove(session.uin, session.device, other);
            self.close(now, other, ErrorCode::Superseded);
        }
        self.online.insert(session.uin, session.device, id);
        if let Some(conn) = self.conns.get_mut(id) {
            // What the first page did not do, a push asks for.
            conn.place &= !conn.early_page;
        }
        if self.is_in_groups(session.uin) {
            self.page_was_early(now, id);
        }
        self.hear_groups(now, session.uin);
    }

    /// Tells the devices of an account what stands in its inbox now, except the connection that
    /// learns it by an answer.
    pub(crate) fn notify(
        &mut self,
        now: Now,
        place: &InboxPlace,
        change: &v2::SyncPacket,
        except: Option<ConnId>,
    ) {
        let to: Vec<ConnId> = self
            .online
            .of(place.uin)
            .iter()
            .map(|(_, conn)| *conn)
            .filter(|conn| Some(*conn) != except)
            .collect();
        if to.is_empty() {
            return;
        }
        let body =
            v2::Notify { position: place.position, previous: place.previous, packet: Some(change.clone()) };
        let body = body.encode_to_vec().into();
        let packet = Packet { id: PacketId::NOTIFY, kind: Kind::Push, deadline_ms: None, trace: None, body };
        self.counts.pushed += to.len() as u64;
        for conn in to {
            self.push(now, conn, packet.clone());
        }
    }

    /// Tells an account what its application has to say: those of its devices that read. Who does not has no
    /// claim to it, and no place is held for it.
    pub(crate) fn push_application(&mut self, now: Now, push: Push) {
        let Push { to, packet: id, body } = push;
        if !id.is_application() {
            return;
        }
        let packet = Packet { id, kind: Kind::Push, deadline_ms: None, trace: None, body };
        //= spec: packets-8
        self.push_to_readers(now, to, &packet);
    }

    /// Tells the devices of an account that read; the others never hear of it.
    pub(crate) fn push_to_readers(&mut self, now: Now, uin: Uin, packet: &Packet) {
        let to: Vec<ConnId> = self.online.of(uin).iter().map(|(_, conn)| *conn).collect();
        for conn in to {
            if self.reads(conn) {
                self.push(now, conn, packet.clone());
            }
        }
    }

    /// Whether a device reads what it is pushed.
    pub(crate) fn reads(&self, id: ConnId) -> bool {
        self.conns.get(id).is_some_and(|conn| conn.reads(self.push_room()))
    }

    /// Bytes that may wait for a device before pushes are held back: little, when much waits for all together.
    fn push_room(&self) -> usize {
        if self.is_crowded() { CROWDED_ROOM } else { PUSH_ROOM }
    }

    /// Whether more waits to be read than there is memory for.
    pub(crate) fn is_crowded(&self) -> bool {
        self.conns.waiting() >= self.config.max_waiting
    }

    pub(crate) fn push(&mut self, now: Now, id: ConnId, packet: Packet) {
        let (room, crowded) = (self.push_room(), self.is_crowded());
        let Some(conn) = self.conns.get_mut(id) else { return };
        let late = !conn.answers.is_empty() || conn.endpoint.waiting(Channel::Message) >= room;
        match &mut conn.behind {
            // There is no memory to wait in: the slow make room, and sync when they are back.
            //= spec: messages-26
            Some(_) if crowded => self.close(now, id, ErrorCode::Resync),
            None if late && crowded => self.close(now, id, ErrorCode::Resync),
            Some(behind) => {
                behind.newest = packet;
                self.conns.touch(id);
            }
            // An answer that waits comes first: it may hold the place before this one.
            None if late => {
                conn.behind = Some(Behind { since: now.mono, newest: packet });
                self.conns.touch(id);
            }
            None => match self.endpoint_call(now, id, server::Command::Send(Channel::Message, packet)) {
                // It ended: whoever comes next syncs.
                Ok(()) | Err(Misuse::State) => {}
                Err(_) => self.close(now, id, ErrorCode::Resync),
            },
        }
    }

    /// Sends an answer, or keeps it until there is room: what was done must be told.
    pub(crate) fn send_answer(&mut self, now: Now, id: ConnId, channel: Channel, packet: Packet) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.endpoint.phase() != Phase::Open {
            return;
        }
        if conn.answers.is_empty() && conn.endpoint.waiting(channel) < QUEUE_LIMIT {
            if self.endpoint_call(now, id, server::Command::Send(channel, packet)).is_err() {
                self.close(now, id, ErrorCode::Internal);
            }
            return;
        }
        conn.answer_bytes += packet.encoded_len();
        conn.answers.push_back((channel, packet));
        let too_many = conn.answer_bytes > QUEUE_LIMIT;
        self.conns.touch(id);
        if too_many {
            // It asks and does not read. What it asked for is done; it learns of it when it syncs.
            self.close(now, id, ErrorCode::Resync);
        }
    }

    /// Some of a queue was sent: what was held back may go.
    pub(crate) fn catch_up(&mut self, now: Now, id: ConnId) {
        while let Some(conn) = self.conns.get_mut(id)
            && let Some((channel, _)) = conn.answers.front()
            && conn.endpoint.waiting(*channel) < QUEUE_LIMIT
            && let Some((channel, packet)) = conn.answers.pop_front()
        {
            conn.answer_bytes -= packet.encoded_len();
            if self.endpoint_call(now, id, server::Command::Send(channel, packet)).is_err() {
                return self.close(now, id, ErrorCode::Internal);
            }
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.answers.is_empty()
            && conn.endpoint.waiting(Channel::Message) < PUSH_ROOM / 2
            //= spec: messages-11
            && let Some(behind) = conn.behind.take()
        {
            self.push(now, id, behind.newest);
        }
        if self.reads(id) {
            self.tell_owed_dirty(now, id);
            self.tell_owed_presence(now, id);
        }
    }
}
