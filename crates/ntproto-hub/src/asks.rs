//! Packets of the application's: asked of the host, answered by it or at their deadline.

use alloc::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use core::time::Duration;
use ntproto_core::client::DEFAULT_DEADLINE;
use ntproto_core::code::ErrorCode;
use ntproto_core::dispatch::{Outcome, Refusal};
use ntproto_core::endpoint::MAX_DETAIL;
use ntproto_core::time::{Instant, Now};
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::Packet;

use crate::api::{Ask, AskId, ConnId, Output};
use crate::config::MAX_ANSWER;
use crate::conn::Session;
use crate::hub::Hub;
use crate::requests::Asker;

/// A request the application has not answered yet.
struct Pending {
    to: Asker,
    deadline: Instant,
    weight: usize,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Asks {
    table: BTreeMap<AskId, Pending>,
    deadlines: BTreeSet<(Instant, AskId)>,
    by_conn: BTreeSet<(ConnId, AskId)>,
    bytes: usize,
    last: u64,
}

impl Asks {
    fn add(&mut self, pending: Pending) -> AskId {
        self.last += 1;
        let id = AskId(self.last);
        self.deadlines.insert((pending.deadline, id));
        self.by_conn.insert((pending.to.conn, id));
        self.bytes += pending.weight;
        self.table.insert(id, pending);
        id
    }

    fn take(&mut self, id: AskId) -> Option<Pending> {
        let pending = self.table.remove(&id)?;
        self.deadlines.remove(&(pending.deadline, id));
        self.by_conn.remove(&(pending.to.conn, id));
        self.bytes -= pending.weight;
        Some(pending)
    }

    /// The next deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn expired(&self, now: Instant) -> Option<AskId> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    fn of(&self, conn: ConnId) -> Option<AskId> {
        self.by_conn.range((conn, AskId(0))..=(conn, AskId(u64::MAX))).next().map(|(_, id)| *id)
    }
}

impl Hub {
    /// A session asks for something of the application's.
    pub(crate) fn ask_application(&mut self, now: Now, to: Asker, session: Session, packet: Packet) {
        // Packets come in sealed frames, the first of which confirms: this holds a later change to that.
        if !session.confirmed {
            return;
        }
        //= spec: packets-6
        if to.channel != Channel::Message {
            return self.fail(now, to, (ErrorCode::BadRequest, "not on this channel"));
        }
        if packet.deadline_ms == Some(0) {
            return self.fail(now, to, (ErrorCode::DeadlineExceeded, ""));
        }
        if self.draining() {
            return self.fail(now, to, (ErrorCode::Unavailable, "the server is going away"));
        }
        let weight = packet.encoded_len();
        let config = &self.config;
        let room = self.asks.table.len() < config.max_asks
            && self.asks.bytes + weight <= config.max_ask_bytes
            && self.conns.get(to.conn).is_some_and(|conn| {
                conn.asks < config.max_conn_asks && conn.ask_bytes + weight <= config.max_conn_ask_bytes
            });
        if !room {
            return self.fail(now, to, (ErrorCode::RetryAfter, "too much at once"));
        }
        let asked = packet.deadline_ms.map_or(DEFAULT_DEADLINE, |ms| Duration::from_millis(ms.into()));
        let deadline = now.mono + asked.min(config.max_ask_time);
        let id = self.asks.add(Pending { to, deadline, weight });
        if let Some(conn) = self.conns.get_mut(to.conn) {
            conn.asks += 1;
            conn.ask_bytes += weight;
        }
        let Session { uin, device, .. } = session;
        let Packet { id: packet, body, .. } = packet;
        self.out.push_back(Output::Ask(Ask { id, conn: to.conn, uin, device, packet, body, deadline }));
    }

    /// The application has answered.
    pub(crate) fn answered(&mut self, now: Now, id: AskId, outcome: Outcome) {
        let Some(to) = self.asked(id) else { return };
        match outcome.into_answer() {
            Ok(body) => self.answer_application(now, to, body),
            Err(Refusal { code, detail }) => {
                let end = detail.floor_char_boundary(MAX_DETAIL);
                self.fail(now, to, (code, &detail[..end]));
            }
        }
        self.look_again(to.conn);
    }

    pub(crate) fn answer_application(&mut self, now: Now, to: Asker, body: Bytes) {
        if body.len() > MAX_ANSWER {
            return self.fail(now, to, (ErrorCode::Internal, "the answer is too large"));
        }
        self.reply(now, to, None, body);
    }

    /// Answers those whose time is over. Nobody need wait for a handler that never does.
    pub(crate) fn expire_asks(&mut self, now: Now) {
        while let Some(id) = self.asks.expired(now.mono) {
            self.out.push_back(Output::Abandoned { ask: id });
            let Some(to) = self.asked(id) else { continue };
            //= spec: packets-7
            self.fail(now, to, (ErrorCode::DeadlineExceeded, ""));
            self.look_again(to.conn);
        }
    }

    /// A connection has ended: nobody waits for its answers.
    pub(crate) fn abandon_all(&mut self, conn: ConnId) {
        while let Some(id) = self.asks.of(conn) {
            self.asked(id);
            self.out.push_back(Output::Abandoned { ask: id });
        }
    }

    /// Takes a request out: whom to answer, if it is awaited still.
    fn asked(&mut self, id: AskId) -> Option<Asker> {
        let Pending { to, weight, .. } = self.asks.take(id)?;
        if let Some(conn) = self.conns.get_mut(to.conn) {
            conn.asks -= 1;
            conn.ask_bytes -= weight;
        }
        Some(to)
    }
}
