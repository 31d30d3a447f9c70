//! A user's device: the real client, a disk, an application, and what happens to them.

use std::collections::BTreeMap;

use bytes::Bytes;
use ntproto_core::binding::TransportId;
use ntproto_core::client::{
    Client, ClientConfig, ClientEvent, ClientTxn, Command, Credential, Input, Misuse, OpId, Output,
    RequestId, Saved, Stopped,
};
use ntproto_core::code::ErrorCode;
use ntproto_core::crypto::identity::{DeviceKeys, Link};
use ntproto_core::ids::{ConversationId, DeviceId, Uin};
use ntproto_core::time::UnixMillis;
use ntproto_core::wire::packet::PacketId;
use ntproto_proto::v2;

use crate::answers::Question;
use crate::app::App;
use crate::disk::ClientDisk;
use crate::draw::Draw;
use crate::fault::Fault;
use crate::ledger::Check;
use crate::machine::Machine;
use crate::net::{Owner, Way};
use crate::quic::DriverHost;
use crate::schedule::{Clock, Time, WALL_START_MS};
use crate::watch::Watched;
use crate::world::{Ev, MAX_OUTPUTS, World};

/// How long an invitation or a link is good: longer than any run, with clocks a day off.
const LONG_MS: u64 = 400 * 24 * 3600 * 1000;

/// What outlives a device's process.
pub(crate) struct Device {
    pub(crate) user: usize,
    pub(crate) keys: DeviceKeys,
    pub(crate) enrol: Option<Credential>,
    pub(crate) disk: ClientDisk,
    pub(crate) app: App,
    pub(crate) process: Option<DeviceProcess>,
    pub(crate) boots: u32,
    pub(crate) wall_offset_ms: i64,
    /// As the server told it.
    pub(crate) identity: Option<(Uin, DeviceId)>,
    /// The version of its account's presence that it knows.
    pub(crate) presence_version: u64,
    /// Revoked, for good.
    pub(crate) dead: bool,
    /// A copy of it connected: it may be told so.
    pub(crate) copied: bool,
    pub(crate) frozen_until: Time,
    /// Until when each way is cut: to the server, to the client.
    pub(crate) cut_until: [Time; 2],
    pub(crate) slow_until: Time,
    pub(crate) crash_at_sync: bool,
    /// Tickets it held, and the server's uptime when each was first seen.
    pub(crate) tickets: Vec<(v2::Ticket, u64)>,
    /// What it said first on its last connection, for those who listen.
    pub(crate) overheard: (usize, Vec<u8>),
    seed_for_planted: [u8; 32],
}

/// A running client.
pub(crate) struct DeviceProcess {
    pub(crate) machine: Machine,
    pub(crate) clock: Clock,
    pub(crate) conn: Option<usize>,
    pub(crate) armed: Option<Time>,
    pub(crate) boot: u32,
    pub(crate) online: bool,
    /// What carries its connection.
    pub(crate) transport: Option<TransportId>,
    pub(crate) caught_up: bool,
    pub(crate) stopped: bool,
    commit_scheduled: bool,
    spoke: bool,
    /// Questions without an answer.
    pub(crate) asked: BTreeMap<RequestId, Question>,
    /// A group whose members it wants to know.
    pub(crate) watched: Option<Watched>,
    /// Whose presence it hears of on this connection, and how often the sight of them was lost when it asked.
    pub(crate) watching: BTreeMap<Uin, u64>,
    /// How others appear to it, and in which version.
    pub(crate) appear: BTreeMap<Uin, (i32, u64)>,
}

impl Device {
    pub(crate) fn new(user: usize, keys: DeviceKeys, seed: [u8; 32]) -> Self {
        Self {
            user,
            keys,
            enrol: None,
            disk: ClientDisk::default(),
            app: App::default(),
            process: None,
            boots: 0,
            wall_offset_ms: 0,
            identity: None,
            presence_version: 0,
            dead: false,
            copied: false,
            frozen_until: Time(0),
            cut_until: [Time(0); 2],
            slow_until: Time(0),
            crash_at_sync: false,
            tickets: Vec::new(),
            overheard: (0, Vec::new()),
            seed_for_planted: seed,
        }
    }

    /// Its process, if this very one still runs.
    pub(crate) fn running(&mut self, boot: u32) -> Option<&mut DeviceProcess> {
        self.process.as_mut().filter(|p| p.boot == boot)
    }
}

impl World {
    /// Starts a device's process from what its disk holds.
    pub(crate) fn start_device(&mut self, d: usize) -> Check {
        if self.devices[d].process.is_some() || self.devices[d].dead {
            return Ok(());
        }
        let time = self.schedule.now();
        if self.devices[d].identity.is_none() && !self.prepare_enrolment(d) {
            self.schedule.at(time.plus_ms(300), Ev::DeviceStart { d });
            return Ok(());
        }
        let seed = self.device_seed(d);
        let origin = 1 + self.rng.below(1 << 40);
        let device = &mut self.devices[d];
        device.boots += 1;
        let clock = Clock::new(time, origin, device.wall_offset_ms);
        let saved = device.disk.saved();
        let mut config =
            ClientConfig::new(self.provider, *self.server.keys.current().public(), device.keys.duplicate());
        config.enrol.clone_from(&device.enrol);
        config.device_name = format!("device {d}");
        self.trace.add(
            "start",
            &[d as u64, u64::from(device.boots), saved.cursor, saved.outbox.len() as u64],
            &[],
        );
        let now = clock.now(time);
        let machine = match &mut self.quic {
            None => Machine::Streams(Box::new(Client::new(config, saved, seed, now))),
            Some(link) => {
                let host = DriverHost::new(link, &self.wires, d, config, saved, seed, now);
                Machine::Quic(Box::new(host))
            }
        };
        device.process = Some(DeviceProcess {
            machine,
            clock,
            conn: None,
            armed: None,
            boot: device.boots,
            online: false,
            transport: None,
            caught_up: false,
            stopped: false,
            commit_scheduled: false,
            spoke: false,
            asked: BTreeMap::new(),
            watched: None,
            watching: BTreeMap::new(),
            appear: BTreeMap::new(),
        });
        self.call_device(d, Command::Start).map_err(|e| format!("device {d} does not start: {e}"))?;
        self.drain_device(d)
    }

    fn device_seed(&mut self, d: usize) -> [u8; 32] {
        #[cfg(feature = "planted")]
        if self.planted(crate::plant::Plant::NonceReuse) {
            return self.devices[d].seed_for_planted;
        }
        let _ = self.devices[d].seed_for_planted;
        self.rng.array()
    }

    /// Sees to it that a device has something to come in with. Returns whether it does.
    fn prepare_enrolment(&mut self, d: usize) -> bool {
        if self.devices[d].enrol.is_some() {
            return true;
        }
        // A further device: signed for by one of its user's that is in.
        let user = self.devices[d].user;
        let nonce = self.rng.array();
        let signer =
            self.devices.iter().find(|other| other.user == user && !other.dead && other.identity.is_some());
        let Some((signer, (uin, device_id))) = signer.and_then(|s| Some((s, s.identity?))) else {
            return false;
        };
        let link = Link { uin, device_id, nonce, expires: UnixMillis(WALL_START_MS + LONG_MS) };
        self.devices[d].enrol = Some(Credential::Link(link.sign(self.provider, &signer.keys)));
        true
    }

    pub(crate) fn call_device(&mut self, d: usize, command: Command) -> Result<RequestId, Misuse> {
        let time = self.schedule.now();
        let process = self.devices[d].process.as_mut().ok_or(Misuse::State)?;
        let now = process.clock.now(time);
        match &mut process.machine {
            Machine::Streams(client) => client.call(now, command),
            Machine::Quic(host) => host.call(now, command),
        }
    }

    /// Hands a device an input and sees to what comes of it.
    pub(crate) fn device_input(&mut self, d: usize, input: Input<'_>) -> Check {
        let time = self.schedule.now();
        let Some(process) = &mut self.devices[d].process else { return Ok(()) };
        let now = process.clock.now(time);
        match &mut process.machine {
            Machine::Streams(client) => client.handle(now, input),
            Machine::Quic(host) => host.input(now, input),
        }
        if self.is_slow(d) {
            return Ok(());
        }
        self.drain_device(d)
    }

    /// Whether a device's host does something else first, and looks at its machine later.
    pub(crate) fn is_slow(&mut self, d: usize) -> bool {
        let slow = !self.healed && self.scenario.on(Fault::SlowHost) && self.net_rng.chance(10);
        if let (true, Some(process)) = (slow, &self.devices[d].process) {
            let boot = process.boot;
            self.fired(Fault::SlowHost);
            let at = self.schedule.now().plus_ms(self.net_rng.skewed(1, 3_000));
            self.schedule.at(at, Ev::DevicePoll { d, boot });
        }
        slow
    }

    /// Does what a device wants until it waits.
    pub(crate) fn drain_device(&mut self, d: usize) -> Check {
        if self.quic.is_some() {
            return self.drain_driver(d);
        }
        let time = self.schedule.now();
        for _ in 0..MAX_OUTPUTS {
            let deaf = self.scenario.on(Fault::Backpressure) && !self.healed && self.net_rng.chance(10);
            let Some(process) = &mut self.devices[d].process else { return Ok(()) };
            let (conn, boot) = (process.conn, process.boot);
            let now = process.clock.now(time);
            self.tx.clear();
            let tx = (!deaf && conn.is_some()).then_some(&mut self.tx);
            let Some(client) = process.machine.bare() else { return Ok(()) };
            let output = client.poll_output(now, tx);
            if process.stopped && !matches!(output, Output::Wait { .. } | Output::Store(..)) {
                let what = format!("{output:?}");
                return Err(format!("device {d} stopped, and goes on with {:.60}", what));
            }
            match output {
                Output::Transmit { channel } => {
                    let data = self.tx.as_slice().to_vec();
                    let conn = conn.ok_or("bytes without a connection")?;
                    if !std::mem::replace(&mut process.spoke, true) {
                        self.devices[d].overheard = (conn, data.clone());
                    }
                    self.send(conn, Way::ToServer, channel, data)?;
                }
                Output::Connect { attempt, .. } => {
                    if conn.is_some() {
                        return Err(format!("device {d} wants a second connection"));
                    }
                    self.trace.add("connect", &[d as u64, u64::from(attempt)], &[]);
                    let conn = self.connect(Owner::Device(d, boot));
                    if let Some(process) = &mut self.devices[d].process {
                        process.conn = Some(conn);
                        process.spoke = false;
                    }
                }
                Output::Disconnect(code) => {
                    self.trace.add("disconnect", &[d as u64, code as u64], &[]);
                    let conn = process.conn.take();
                    if let Some(conn) = conn {
                        self.let_go(conn, Way::ToServer, false);
                    }
                }
                Output::Store(op, txn) => self.device_store(d, op, txn),
                Output::Event(event) => self.device_event(d, event)?,
                Output::Wait { at, .. } => {
                    let at = at.map(|at| process.clock.when(at));
                    if at.is_some_and(|at| at <= time) {
                        return Err(format!("device {d} waits for what has passed"));
                    }
                    if at.is_some() && at != process.armed {
                        self.schedule.at(at.unwrap_or(time), Ev::DeviceTimer { d, boot });
                    }
                    process.armed = at;
                    if deaf && conn.is_some() {
                        self.schedule.at(time.plus_ms(5), Ev::DevicePoll { d, boot });
                    }
                    return Ok(());
                }
            }
        }
        Err(format!("device {d} never waits"))
    }

    /// A transaction for a device's disk.
    pub(crate) fn device_store(&mut self, d: usize, op: OpId, txn: ClientTxn) {
        self.trace.add("device store", &[d as u64, op.0], &[]);
        if self.devices[d].disk.submit(op, txn) {
            let at = self.disk_delay(d);
            let boot = self.devices[d].boots;
            self.schedule.at(at, Ev::DeviceDisk { d, boot });
        }
    }

    fn disk_delay(&mut self, d: usize) -> Time {
        let now = self.schedule.now();
        let slow = now < self.devices[d].slow_until;
        let micros = if slow { self.rng.skewed(10_000, 3_000_000) } else { self.rng.skewed(20, 10_000) };
        Time(now.0 + micros)
    }

    /// The next stage of a device's disk.
    pub(crate) fn device_disk(&mut self, d: usize, boot: u32) -> Check {
        if self.devices[d].running(boot).is_none() {
            return Ok(());
        }
        if !self.devices[d].disk.is_dirty() {
            self.devices[d].disk.write();
            let at = self.disk_delay(d);
            self.schedule.at(at, Ev::DeviceDisk { d, boot });
            if std::mem::take(&mut self.devices[d].crash_at_sync) {
                let now = self.schedule.now();
                let between = Time(now.0 + self.rng.below(at.0 - now.0 + 1));
                self.schedule.at(between, Ev::DeviceCrash { d });
            }
            #[cfg(feature = "planted")]
            for (op, result) in self.devices[d].disk.early_answers() {
                self.device_input(d, Input::StoreDone(op, result))?;
            }
            return Ok(());
        }
        let mut wrong = Ok(());
        let ledger = &mut self.ledger;
        let done = self.devices[d].disk.sync(|txn| {
            if wrong.is_ok() {
                wrong = ledger.device_disk(txn);
            }
        });
        wrong?;
        if let Some(wrong) = self.devices[d].disk.view.wrong.take() {
            return Err(format!("device {d}: {wrong}"));
        }
        self.note_ticket(d);
        if self.devices[d].disk.len() > 0 {
            let at = self.disk_delay(d);
            self.schedule.at(at, Ev::DeviceDisk { d, boot });
        }
        for (op, result) in done {
            self.device_input(d, Input::StoreDone(op, result))?;
        }
        Ok(())
    }

    /// Remembers a device's ticket, for those who would steal it.
    fn note_ticket(&mut self, d: usize) {
        let uptime = self.server.uptime(self.schedule.now());
        let device = &mut self.devices[d];
        if let Some(ticket) = device.disk.ticket()
            && device.tickets.last().is_none_or(|(last, _)| last != ticket)
        {
            device.tickets.push((ticket.clone(), uptime));
        }
    }

    /// The power of a device fails.
    pub(crate) fn crash_device(&mut self, d: usize) -> Check {
        let Some(process) = self.devices[d].process.take() else { return Ok(()) };
        self.fired(Fault::ClientCrash);
        self.stats.client_crashes += 1;
        let unsynced = self.devices[d].disk.unsynced();
        self.stats.client_crashes_between += u64::from(unsynced > 0);
        let kept = self.rng.below(unsynced as u64 + 1) as usize;
        self.trace.add("device crash", &[d as u64, unsynced as u64, kept as u64], &[]);
        if let Some(conn) = process.conn {
            let silent = self.rng.chance(30);
            self.let_go(conn, Way::ToServer, silent);
        }
        if self.quic.is_some() {
            let silent = self.rng.chance(50);
            self.drop_wires(d, silent);
        }
        self.end_process(d, kept)?;
        let restart = self.schedule.now().plus_ms(self.rng.skewed(50, 15_000));
        self.schedule.at(restart, Ev::DeviceStart { d });
        Ok(())
    }

    /// What is left of a device whose process ended: its disks.
    fn end_process(&mut self, d: usize, kept: usize) -> Check {
        self.devices[d].process = None;
        self.devices[d].app.crash();
        let mut wrong = Ok(());
        let ledger = &mut self.ledger;
        self.devices[d].disk.crash(kept, |txn| {
            if wrong.is_ok() {
                wrong = ledger.device_disk(txn);
            }
        });
        wrong
    }

    /// The application's commit.
    pub(crate) fn app_commit(&mut self, d: usize, boot: u32) -> Check {
        let Some(process) = self.devices[d].running(boot) else { return Ok(()) };
        process.commit_scheduled = false;
        if let Some(position) = self.devices[d].app.commit() {
            match self.call_device(d, Command::Confirm(position)) {
                Ok(_) => {}
                Err(Misuse::State) => return Ok(()),
                Err(e) => return Err(format!("device {d} does not confirm: {e}")),
            }
        }
        self.drain_device(d)
    }

    /// The application asks the server something.
    pub(crate) fn app_ask(&mut self, d: usize, packet: PacketId, body: Bytes) -> Check {
        self.ask_bytes(d, packet, body, Question::Any)
    }

    /// The client tells its application something.
    pub(crate) fn device_event(&mut self, d: usize, event: ClientEvent) -> Check {
        let time = self.schedule.now();
        self.trace.event(d, &event);
        let Some(process) = &mut self.devices[d].process else { return Ok(()) };
        let boot = process.boot;
        match event {
            ClientEvent::Online { uin, device, transport, .. } => {
                let before = process.transport.replace(transport).filter(|_| process.online);
                process.online = true;
                process.caught_up = false;
                process.watching.clear();
                process.appear.clear();
                if self.devices[d].identity.replace((uin, device)).is_some_and(|was| was != (uin, device)) {
                    return Err(format!("device {d} is somebody else now"));
                }
                self.count_transport(d, before, transport);
            }
            ClientEvent::CaughtUp => {
                process.caught_up = true;
                if process.watched.is_some() {
                    self.schedule.at(time.plus_ms(1), Ev::WatchAgain { d, boot });
                }
            }
            ClientEvent::Offline { why, .. } => {
                process.online = false;
                process.caught_up = false;
                return self.nobody_is_at_fault(d, why);
            }
            ClientEvent::Stopped(why) => return self.device_stopped(d, why),
            ClientEvent::Queued { client_msg_id, .. } => self.ledger.queued(&client_msg_id)?,
            ClientEvent::Sent { client_msg_id, conversation, conv_seq, .. } => {
                self.ledger.sent(&client_msg_id, conversation, conv_seq)?;
            }
            ClientEvent::SendExpired { .. } => {}
            ClientEvent::SendFailed { client_msg_id, .. } => self.ledger.failed(&client_msg_id)?,
            ClientEvent::Message(inbound) => {
                let me = self.devices[d].identity.map_or(Uin(0), |(uin, _)| uin);
                let index = self.ledger.shown(me, &inbound)?;
                if self.ledger.messages[index].device == d {
                    return Err(format!("device {d} was shown its own message {index}"));
                }
                if self.devices[d].app.message(&inbound).map_err(|e| format!("device {d}: {e}"))? {
                    self.stats.shown += 1;
                }
                if let Some(process) = self.devices[d].running(boot)
                    && !std::mem::replace(&mut process.commit_scheduled, true)
                {
                    let at = time.plus_ms(self.rng.skewed(1, 4_000));
                    self.schedule.at(at, Ev::AppCommit { d, boot });
                }
            }
            ClientEvent::Receipt(receipt) => {
                let conversation =
                    ConversationId::from_slice(&receipt.conversation).ok_or("a receipt for nothing")?;
                let log = self.ledger.logs.get(&conversation).map_or(0, Vec::len);
                if receipt.delivered_seq > log as u64 {
                    return Err(format!("a receipt for {} of {log} messages", receipt.delivered_seq));
                }
            }
            ClientEvent::Response { request, result } => match process.asked.remove(&request) {
                Some(question) => return self.answered(d, question, result),
                None => return Err(format!("device {d} was answered what it did not ask, or twice")),
            },
            ClientEvent::Deferred { .. } => {}
            // Its disk has them, and is looked at.
            ClientEvent::Friend(_) | ClientEvent::Group(_) | ClientEvent::Profile(_) => {}
            ClientEvent::OwnPresence(_) => {}
            ClientEvent::Gap(gap) => {
                self.stats.gaps += (gap.to_seq + 1).saturating_sub(gap.from_seq);
            }
            ClientEvent::Skipped => return self.list_again(d),
            ClientEvent::Typing(push) => return self.typing_is_true(d, &push),
            ClientEvent::Presence(states) => return self.presence_told(d, states),
            ClientEvent::GroupDelta(delta) => {
                let watched = process.watched.as_mut().filter(|w| w.group == delta.group);
                let asks = watched.map(|w| w.delta(&delta)).transpose()?.unwrap_or_default();
                return self.ask_all(d, delta.group, asks);
            }
            ClientEvent::Other(packet) => {
                return Err(format!("device {d} got a change of type {}", packet.event_type));
            }
            ClientEvent::Push(packet) => return Err(format!("device {d} was pushed {:?}", packet.id)),
        }
        Ok(())
    }

    /// Who is told that somebody types is a member, and that one was.
    fn typing_is_true(&self, d: usize, push: &v2::TypingPush) -> Check {
        let conversation = ConversationId::from_slice(&push.conversation).ok_or("typing nowhere")?;
        let Some((me, _)) = self.devices[d].identity else { return Ok(()) };
        let groups = &self.ledger.truth.groups;
        let known = |uin| match conversation.group() {
            Some(group) => groups.ever_member(group, uin),
            None => conversation.members().is_some_and(|(a, b)| a == uin || b == uin),
        };
        if known(me) && known(Uin(push.uin)) {
            return Ok(());
        }
        Err(format!("device {d} was told that {} types in {conversation}", push.uin))
    }

    /// A client will not go on by itself. Its user starts it again, where that makes sense.
    fn device_stopped(&mut self, d: usize, why: Stopped) -> Check {
        let revoked = self.ledger.is_revoked(d);
        let device = &mut self.devices[d];
        if let Some(process) = &mut device.process {
            process.stopped = true;
            process.online = false;
        }
        let enrolled = device.identity.is_some();
        match why {
            Stopped::Refused(ErrorCode::Revoked) if revoked => {
                device.dead = true;
                return Ok(());
            }
            Stopped::Superseded if device.copied => self.fired(Fault::Supersede),
            Stopped::Store(_) | Stopped::Closed => {}
            Stopped::Refused(ErrorCode::BadCredential) if !enrolled => {
                // Its invitation or link is of no use, for instance because its signer was revoked.
                if matches!(device.enrol, Some(Credential::Link(_))) {
                    device.enrol = None;
                }
            }
            other => return Err(format!("device {d} stopped: {other}")),
        }
        let at = self.schedule.now().plus_ms(self.rng.between(200, 4_000));
        self.schedule.at(at, Ev::DeviceRestart { d });
        Ok(())
    }

    /// The user starts a stopped client again.
    pub(crate) fn restart_device(&mut self, d: usize) -> Check {
        if self.devices[d].process.as_ref().is_some_and(|p| p.stopped) {
            if let Some(conn) = self.devices[d].process.as_ref().and_then(|p| p.conn) {
                self.let_go(conn, Way::ToServer, false);
            }
            self.drop_wires(d, false);
            // A process that ends by itself has heard of all it wrote. What a failed sync left may be there
            // when the store is opened again, or not.
            let unsynced = self.devices[d].disk.unsynced() as u64;
            let kept = self.rng.below(unsynced + 1) as usize;
            self.end_process(d, kept)?;
        }
        self.start_device(d)
    }

    /// What a device's disk owes: for the end of a run.
    pub(crate) fn saved(&self, d: usize) -> Saved {
        self.devices[d].disk.saved()
    }
}
