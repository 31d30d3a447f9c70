//! Sessions of new accounts, which rest, or keep one message each in flight.

use std::time::{Duration, Instant};

use ntproto_core::crypto::aws_lc::AWS_LC;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::ids::{ConversationId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::time::Now;
use ntproto_core::wire::packet::{Kind, Packet};
use ntproto_proto::v2;
use ntproto_proto::v2::auth_request::Credential;
use ntproto_quic::ConnId;
use ntproto_sdk::ConnectString;

use super::wire::{self, Load, Wire};

/// What the sessions shall do once all of them are open.
#[derive(Clone, Copy)]
pub enum Plan {
    /// Nothing, for so long.
    Rest(Duration),
    /// One message in flight each, for so long.
    Send { body: usize, warm_up: Duration, measure: Duration },
}

/// What came of it.
#[derive(Default)]
pub struct Result {
    pub messages: u64,
    pub elapsed: Duration,
    /// From the call to the durable acknowledgement; sorted.
    pub latencies: Vec<Duration>,
}

struct Member {
    conn: ConnId,
    uin: Uin,
    sent: Option<(u32, Instant)>,
}

/// All sessions.
pub struct Sessions<'a> {
    keys: Option<DeviceKeys>,
    members: Vec<Member>,
    plan: Plan,
    began: Option<Instant>,
    /// Called when all are open, when the measurement begins, and at the end.
    mark: Box<dyn FnMut() + 'a>,
    result: Result,
}

impl<'a> Sessions<'a> {
    /// Opens `want` sessions of new accounts, runs the plan, and closes.
    pub fn run(connect: &ConnectString, want: usize, plan: Plan, mark: impl FnMut() + 'a) -> Result {
        let mut load = Sessions {
            keys: None,
            members: Vec::new(),
            plan,
            began: None,
            mark: Box::new(mark),
            result: Result::default(),
        };
        wire::run(connect, want, &mut load);
        load.result.latencies.sort();
        load.result
    }

    /// The next message of member `n`, to the one after it.
    fn send(&mut self, wire: &mut Wire<'_>, now: Now, n: usize) {
        let Plan::Send { body, .. } = self.plan else { return };
        let to = self.members[(n + 1) % self.members.len()].uin;
        let member = &mut self.members[n];
        let sent = Instant::now();
        let number = wire.send(now, member.conn, ConversationId::direct(member.uin, to), body);
        member.sent = Some((number, sent));
    }

    fn end(&mut self, wire: &mut Wire<'_>, now: Now) {
        if !wire.is_done() {
            (self.mark)();
            wire.end(now);
        }
    }
}

impl Load for Sessions<'_> {
    fn keys(&mut self, _: usize, rng: &mut Rng) -> &DeviceKeys {
        self.keys.insert(DeviceKeys::generate(rng, &AWS_LC))
    }

    fn credential(&self) -> Credential {
        Credential::OpenRegistration(v2::OpenRegistration {})
    }

    fn granted(&mut self, wire: &mut Wire<'_>, now: Now, conn: ConnId, _: usize, grant: &v2::Grant) {
        self.members.push(Member { conn, uin: Uin(grant.uin), sent: None });
        if !wire.ready(now) {
            return;
        }
        (self.mark)();
        self.began = Some(Instant::now());
        for n in 0..self.members.len() {
            self.send(wire, now, n);
        }
    }

    fn packet(&mut self, wire: &mut Wire<'_>, now: Now, conn: ConnId, packet: &Packet) {
        let Kind::Response(number) = packet.kind else { return };
        let n = self.members.iter().position(|member| member.conn == conn).unwrap();
        let Some((_, sent)) = self.members[n].sent.take_if(|(sent, _)| *sent == number) else { return };
        let took = sent.elapsed();
        let Plan::Send { warm_up, measure, .. } = self.plan else { return };
        let since = self.began.unwrap().elapsed();
        if since >= warm_up {
            if self.result.messages == 0 {
                (self.mark)();
            }
            self.result.messages += 1;
            self.result.latencies.push(took);
            self.result.elapsed = since - warm_up;
        }
        if since < warm_up + measure {
            self.send(wire, now, n);
        } else {
            self.end(wire, now);
        }
    }

    fn wakes(&self) -> Option<Instant> {
        match self.plan {
            Plan::Rest(rest) => self.began.map(|began| began + rest),
            Plan::Send { .. } => None,
        }
    }

    fn woken(&mut self, wire: &mut Wire<'_>, now: Now) {
        if self.wakes().is_some_and(|at| at <= Instant::now()) {
            self.end(wire, now);
        }
    }
}
