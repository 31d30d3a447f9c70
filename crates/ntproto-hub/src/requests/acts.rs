//! Acts: read and checked here, given their meaning by the store, and what they led to told to everybody it concerns.
//!
//! The hub knows of an act what its table says. The few that mean something to connections too are named here.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use ntproto_core::code::ErrorCode;
use ntproto_core::ids::Uin;
use ntproto_core::time::{Instant, Now};
use ntproto_proto::v2::{self, OnlineStatus};
use prost::Message;

use super::{Asked, Asker, Read, Refused, What, checks};
use crate::api::HostTask;
use crate::hub::Hub;
use crate::presence::fits;
use crate::store::execute::MAX_SUBSCRIBED;
use crate::store::{Act, Acted, Actor, Placed, Txn};

/// What an act is to the hub.
pub(crate) enum Meaning {
    /// Nothing but its answer and what it led to.
    Plain,
    /// The numbers that only the hub knows are missing.
    Stats,
    /// The asking device's presence.
    Presence(Actor, OnlineStatus),
    /// Subscriptions: so many new ones, and those that end.
    Watch(usize, Vec<Uin>),
    /// The host does it.
    Host(HostTask, Option<Instant>),
}

pub(super) fn read_act(hub: &mut Hub, asked: Asked) -> Read {
    let Asked { to, session, time, body, deadline } = asked;
    let mut act = Act::decode(to.id, body)
        .ok_or((ErrorCode::UnknownPacket, ""))?
        .map_err(|_| (ErrorCode::BadRequest, "the body can't be decoded"))?;
    checks::check(&session, &mut act)?;
    let by = Actor { uin: session.uin, device: session.device, now: time };
    let meaning = match &mut act {
        Act::AdminStats(_) => Meaning::Stats,
        Act::PresenceSet(request) => Meaning::Presence(by, request.status()),
        Act::PresenceSubscribe(request) => watch(hub, to, request)?,
        Act::AdminBackup(request) => {
            Meaning::Host(hub.task(HostTask::Backup { name: request.name.clone() })?, deadline)
        }
        Act::AdminVerify(_) => Meaning::Host(hub.task(HostTask::Verify)?, deadline),
        _ => Meaning::Plain,
    };
    Ok((What::Act(meaning), Txn::Act { by, act }))
}

/// Subscriptions, each named once, as many as there may be.
fn watch(hub: &Hub, to: Asker, request: &mut v2::PresenceSubscribeRequest) -> Result<Meaning, Refused> {
    let uins = |list: &[u64]| list.iter().copied().map(Uin).collect::<BTreeSet<_>>();
    let (add, remove) = (uins(&request.add), uins(&request.remove));
    if !hub.conns.get(to.conn).is_some_and(|conn| fits(conn, &add, &remove, MAX_SUBSCRIBED)) {
        return Err((ErrorCode::TooMany, "a connection hears of no more"));
    }
    request.add = add.iter().map(|uin| uin.0).collect();
    Ok(Meaning::Watch(add.len(), remove.into_iter().collect()))
}

impl Hub {
    fn task(&self, task: HostTask) -> Result<HostTask, Refused> {
        if self.hosting.is_free() { Ok(task) } else { Err((ErrorCode::RetryAfter, "one at a time")) }
    }

    /// An act goes to the store.
    pub(super) fn act_begins(&mut self, to: Asker, meaning: &Meaning) {
        match meaning {
            Meaning::Watch(adding, _) => {
                if let Some(conn) = self.conns.get_mut(to.conn) {
                    conn.watching += adding;
                }
            }
            Meaning::Host(..) => self.hosting.claim(),
            Meaning::Presence(by, _) => self.presence_asked((by.uin, by.device)),
            Meaning::Plain | Meaning::Stats => {}
        }
    }

    /// It comes back, done or refused.
    pub(super) fn act_ends(&mut self, to: Asker, meaning: &Meaning) {
        match meaning {
            Meaning::Watch(adding, _) => {
                if let Some(conn) = self.conns.get_mut(to.conn) {
                    conn.watching -= adding;
                }
            }
            Meaning::Host(..) => self.hosting.release(),
            Meaning::Plain | Meaning::Stats | Meaning::Presence(..) => {}
        }
    }

    /// An act is done: the asker has its answer, then inboxes and connections have the news.
    pub(super) fn acted(&mut self, now: Now, to: Asker, meaning: Meaning, acted: Acted) {
        let body = acted.answer.clone();
        match meaning {
            Meaning::Plain => self.answer_bytes(now, to, body),
            Meaning::Stats => {
                let counted = v2::AdminStatsResponse::decode(body).unwrap_or_default();
                let stats = v2::AdminStatsResponse {
                    connections: self.connections() as u64,
                    sessions: self.online.len() as u64,
                    in_store: self.in_store() as u64,
                    server_ms: self.server_time(now).0,
                    ..counted
                };
                self.answer(now, to, &stats);
            }
            Meaning::Presence(by, status) => {
                let stale = v2::PresenceSetResponse::decode(body.clone()).map_or(true, |set| set.stale);
                // Whatever a device is that lost: as long as it is connected it stays so, and then it is gone.
                let status = if stale { OnlineStatus::Away } else { status };
                self.presence_set(now, (by.uin, by.device), status);
                self.answer_bytes(now, to, body);
            }
            Meaning::Watch(_, remove) => {
                let states = v2::PresenceSubscribeResponse::decode(body.clone()).unwrap_or_default().states;
                self.watch(now, to.conn, states, &remove);
                self.answer_bytes(now, to, body);
            }
            Meaning::Host(task, until) => self.ask_host(now, to, task, until),
        }
        self.tell(now, acted);
    }

    /// Tells what an act led to.
    pub(crate) fn tell(&mut self, now: Now, acted: Acted) {
        // One's own change is learnt like anybody's: every device of an account goes the same way.
        for Placed { place, packet } in &acted.places {
            self.follow_group(place, packet);
            self.notify(now, place, packet, None);
        }
        if let Some(delta) = &acted.delta {
            self.push_delta(now, delta);
        }
        if let Some(group) = acted.dirty {
            self.group_is_dirty(now, group, Uin(0));
        }
        for (subject, from) in acted.hidden {
            self.hide(now, subject, from);
        }
        for state in acted.presence {
            self.appears(now, state);
        }
        if let Some((uin, device)) = acted.revoked {
            self.end_sessions(now, uin, device);
        }
    }
}
