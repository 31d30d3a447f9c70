//! The composition.

use std::collections::VecDeque;

use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::bootstrap::Learned;
use ntproto_core::client::{self, Client, ClientConfig, ClientEvent, ClientTxn, OpId, Saved};
use ntproto_core::code::ErrorCode;
use ntproto_core::ids::{DeviceId, Uin};
use ntproto_core::rng::Rng;
use ntproto_core::time::{Instant, Now, earliest};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_net::tcp::gate::TcpLimits;
use ntproto_net::{ConnId, Endpoint, Event, Machine, Output, Step, StreamId, StreamInput};
use ntproto_quic::{EarlyData, Received};

use super::dial::{Dial, Next, Plan};
use super::pipe::Pipe;
use super::probe::Probe;
use super::scout::Scout;
use super::{Command, Effect, Server, Transports};
use crate::client::Whereabouts;

/// The buffer for one transmit of the core: some frames of its usual size (a larger one comes alone).
const TRANSMIT_LIMIT: usize = 64 * 1024;

/// A client without I/O. See the [module](super).
pub struct Driver {
    client: Client,
    net: Endpoint,
    server: Server,
    dial: Dial,
    scout: Scout,
    /// What carried a session on this network.
    worked: Option<TransportId>,
    /// Whether the connection in use has carried one.
    carried: bool,
    /// A TCP connection came up and no session with it: there are networks that accept any. QUIC has a turn of its own.
    tcp_failed: bool,
    /// The connection that won, from Connected to Closed or Disconnect.
    conn: Option<ConnId>,
    pipe: Pipe,
    probe: Probe,
    frame: TxBuf,
    effects: VecDeque<Effect>,
    /// Whether the core may have something to say.
    stirred: bool,
    wake: Option<Instant>,
    confirm: Confirm,
    renewal: Renewal,
    stopped: bool,
    /// The last handle is gone, and with it whoever answers for the store.
    deserted: bool,
}

/// Bootstraps: the one that a connection waits for, and the transport it is for if nothing comes of it.
#[derive(Default)]
struct Renewal {
    last: u64,
    waits: bool,
    only: Option<TransportId>,
}

/// Confirmations: one under way, the latest waits.
#[derive(Default)]
struct Confirm {
    under_way: Option<OpId>,
    wanted: Option<u64>,
}

impl Driver {
    /// A client of `server`. `base` is the instant that core instant 0 stands for, `seed` comes from the
    /// operating system. It connects once [`client::Command::Start`] is called.
    #[must_use]
    pub fn new(
        config: ClientConfig,
        server: Server,
        saved: Saved,
        base: std::time::Instant,
        seed: [u8; 32],
        now: Now,
    ) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            client: Client::new(config, saved, rng.array(), now),
            net: Endpoint::new(server.quic.clone(), TcpLimits::default(), base, rng.array()),
            server,
            dial: Dial::new(now.mono),
            scout: Scout::default(),
            worked: None,
            carried: false,
            tcp_failed: false,
            conn: None,
            pipe: Pipe::default(),
            probe: Probe::new(now.mono),
            frame: TxBuf::new(TRANSMIT_LIMIT),
            effects: VecDeque::new(),
            stirred: true,
            wake: None,
            confirm: Confirm::default(),
            renewal: Renewal::default(),
            stopped: false,
            deserted: false,
        }
    }

    /// Who this device is, once enrolled.
    #[must_use]
    pub const fn identity(&self) -> Option<(Uin, DeviceId)> {
        self.client.identity()
    }

    /// The client, to ask about.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// What carries the connection, if there is one.
    #[must_use]
    pub fn transport(&self) -> Option<TransportId> {
        self.conn.map(ConnId::transport)
    }

    /// The round-trip time of the connection, where it is known: over QUIC.
    pub fn rtt(&mut self, now: Now) -> Option<core::time::Duration> {
        self.net.with(now, self.conn?, |c| c.rtt())?
    }

    // ── the core's side ─────────────────────────────────────────────────────────────────────────

    fn tell(&mut self, now: Now, input: client::Input<'_>) {
        self.client.handle(now, input);
        self.listen(now);
    }

    /// Takes everything from the core but bytes, which are pulled when datagrams are built: what waits together
    /// is sealed together.
    fn listen(&mut self, now: Now) {
        self.stirred = true;
        while let Some(output) = next(&mut self.client, now, None) {
            self.obey(now, output);
        }
        self.move_on(now, self.client.awaits_answer());
    }

    /// Moves to what the scout has found, if this is the moment.
    fn move_on(&mut self, now: Now, owed: bool) {
        if self.client.can_move()
            && let Some((conn, binding)) = self.scout.take(now.mono, owed)
        {
            self.change_over(now, conn, binding);
        }
    }

    fn obey(&mut self, now: Now, output: client::Output) {
        match output {
            client::Output::Store(op, txn) => {
                if matches!(txn, ClientTxn::Confirm(_)) {
                    self.confirm.under_way = Some(op);
                }
                self.effects.push_back(Effect::Store(op, txn));
            }
            client::Output::Event(event) => {
                match event {
                    ClientEvent::Stopped(_) => {
                        self.stopped = true;
                        self.hang_up(now, ErrorCode::Normal);
                    }
                    ClientEvent::Online { .. } => {
                        self.worked = self.conn.map(ConnId::transport);
                        (self.carried, self.tcp_failed) = (true, false);
                    }
                    _ => {}
                }
                self.effects.push_back(Effect::Event(event));
            }
            client::Output::Connect { only, bootstrap, .. } => {
                self.hang_up(now, ErrorCode::Normal);
                if bootstrap {
                    self.renewal = Renewal { last: self.renewal.last + 1, waits: true, only };
                    self.effects.push_back(Effect::Bootstrap(self.renewal.last));
                } else {
                    self.dial(now, only);
                }
            }
            client::Output::Disconnect(code) => self.hang_up(now, code),
            client::Output::Transmit { .. } | client::Output::Wait { .. } => {}
        }
    }

    /// Pulls the core's bytes into the transport, as far as it takes them.
    fn pull(&mut self, now: Now) {
        while self.stirred {
            self.frame.clear();
            match self.client.poll_output(now, Some(&mut self.frame)) {
                client::Output::Transmit { channel } => {
                    let Some(conn) = self.conn else { continue };
                    let data = self.frame.as_slice();
                    if !self.pipe.write(now, &mut self.net, conn, channel, data) {
                        self.client.handle(now, client::Input::Writable(self.pipe.writable()));
                    }
                }
                client::Output::Wait { at, .. } => {
                    self.wake = at;
                    self.stirred = false;
                }
                output => self.obey(now, output),
            }
        }
    }

    fn next_confirm(&mut self, now: Now) {
        if self.confirm.under_way.is_none()
            && let Some(position) = self.confirm.wanted.take()
        {
            // A client that has stopped confirms nothing; the messages are told again.
            let _ = self.client.call(now, client::Command::Confirm(position));
            self.listen(now);
        }
    }

    /// Whether the client has stopped, or would have if anybody were left to answer for its disk.
    fn is_over(&self) -> bool {
        self.stopped || (self.deserted && self.conn.is_none())
    }

    /// Whether the server owes an answer: to a request, or to the sign-in.
    fn is_owed(&self) -> bool {
        self.conn.is_some() && (self.client.awaits_answer() || !self.client.is_online())
    }

    // ── the connection ──────────────────────────────────────────────────────────────────────────

    /// How to reach the server. `only`: the client wants this one.
    fn plan(&mut self, only: Option<TransportId>) -> Plan {
        let tcp_failed = std::mem::take(&mut self.tcp_failed);
        match (self.server.transports, only, self.worked) {
            //= spec: liveness-5
            (Transports::RequireQuic, ..) => Plan::Only(TransportId::Quic),
            (Transports::RequireTcp, ..) => Plan::Only(TransportId::Tcp),
            (Transports::Any, Some(transport), _) => Plan::Only(transport),
            (Transports::Any, None, _) if tcp_failed => Plan::Only(TransportId::Quic),
            (Transports::Any, None, Some(TransportId::Tcp)) => Plan::Even,
            (Transports::Any, None, _) => Plan::Race,
        }
    }

    /// This connection is used from now on.
    fn use_conn(&mut self, now: Now, conn: ConnId) {
        self.conn = Some(conn);
        self.pipe = Pipe::default();
        self.probe.heard(now.mono);
        self.carried = false;
        if self.server.transports == Transports::Any {
            self.scout.begin(now.mono, conn.transport());
        }
        self.effects.push_back(Effect::Reached);
    }

    /// A connection is over.
    fn judge(&mut self, conn: ConnId) {
        self.tcp_failed |= conn.transport() == TransportId::Tcp && !self.carried;
    }

    /// The session moves to the connection that the scout has found.
    fn change_over(&mut self, now: Now, conn: ConnId, binding: Binding) {
        if let Some(old) = self.conn.take() {
            self.net.with(now, old, |c| c.close(ErrorCode::Normal as u32, b""));
        }
        self.use_conn(now, conn);
        self.tell(now, client::Input::Moved(binding));
    }

    /// The connection that won; not one that is asked by early data and may lose.
    fn settled(&self) -> Option<ConnId> {
        self.conn.filter(|conn| !self.dial.is_trying(*conn))
    }

    /// The connection whose session may move to another.
    fn movable(&self) -> Option<ConnId> {
        self.settled().filter(|_| self.client.can_move())
    }

    /// When silence on QUIC becomes suspicious enough to look for TCP.
    fn doubt(&self) -> Option<Instant> {
        let race = self.server.transports == Transports::Any;
        let quic = self.settled().is_some_and(|conn| conn.transport() == TransportId::Quic);
        if race && quic { self.probe.doubt(self.is_owed()) } else { None }
    }

    fn dial(&mut self, now: Now, only: Option<TransportId>) {
        let plan = self.plan(only);
        let next = self.dial.start(now, &mut self.net, &self.server, plan);
        self.dialled(now, next);
    }

    /// A bootstrap has ended. One that is not waited for any more is not believed either: a later one may be.
    fn bootstrapped(&mut self, now: Now, id: u64, learned: Option<Box<Learned>>) {
        if !self.renewal.waits || id != self.renewal.last {
            return;
        }
        self.renewal.waits = false;
        match learned {
            Some(learned) if learned.connect.operator_key == self.server.operator_key => {
                self.server.renew(&learned);
                let Learned { connect, bootstrap, endpoints, .. } = *learned;
                self.effects.push_back(Effect::Learned(Box::new(Whereabouts { connect, endpoints })));
                self.client.handle(now, client::Input::Bootstrapped(bootstrap));
                self.dial(now, None);
            }
            // Another operator's is another server.
            _ => self.dial(now, self.renewal.only),
        }
    }

    fn hang_up(&mut self, now: Now, code: ErrorCode) {
        self.renewal.waits = false;
        self.dial.cancel(now, &mut self.net, None);
        self.scout.recall(now, &mut self.net);
        if let Some(conn) = self.conn.take() {
            self.judge(conn);
            self.net.with(now, conn, |c| c.close(code as u32, b""));
        }
    }

    fn dialled(&mut self, now: Now, next: Next) {
        match next {
            Next::Wait => {}
            Next::Resolve(questions) => {
                let ask = |(id, host, port)| Effect::Resolve { id, host, port };
                self.effects.extend(questions.into_iter().map(ask));
            }
            Next::Failed => self.tell(now, client::Input::Disconnected),
        }
    }

    /// Takes the transports' events in.
    fn hear(&mut self, now: Now) {
        while let Some(event) = self.net.next_event(now) {
            self.net_event(now, event);
        }
    }

    fn net_event(&mut self, now: Now, event: Event) {
        match event {
            Event::Connected { conn, binding, .. } if self.scout.is(conn) => {
                self.found(now, conn.transport(), binding);
            }
            // The first address that takes early data is asked at once. The race goes on.
            Event::Early { conn, .. } if self.conn.is_none() && self.dial.is_trying(conn) => {
                self.conn = Some(conn);
                self.pipe = Pipe::default();
                self.tell(now, client::Input::Connected(Binding::EARLY));
            }
            Event::Connected { conn, binding, early, .. } => {
                if !self.dial.won(now, &mut self.net, conn) {
                    return;
                }
                let asked = self.conn == Some(conn) && early == EarlyData::Accepted;
                let pipe = std::mem::take(&mut self.pipe);
                self.use_conn(now, conn);
                if asked {
                    self.pipe = pipe;
                    return self.tell(now, client::Input::Bound(binding));
                }
                // Nothing was early, or another address won, or the server took nothing of it.
                self.tell(now, client::Input::Connected(binding));
            }
            Event::Readable { conn, channel } if self.conn == Some(conn) => self.read(now, conn, channel),
            Event::Writable { conn, channel } if self.conn == Some(conn) => {
                if self.pipe.resume(now, &mut self.net, conn, channel) {
                    let writable = self.pipe.writable();
                    self.tell(now, client::Input::Writable(writable));
                }
            }
            Event::Closed { conn, .. } if self.scout.is(conn) => self.scout.failed(now.mono),
            Event::Closed { conn, reason } if self.settled() == Some(conn) => {
                self.conn = None;
                self.judge(conn);
                self.scout.recall(now, &mut self.net);
                self.effects.push_back(Effect::Lost(reason));
                self.tell(now, client::Input::Disconnected);
            }
            Event::Closed { conn, reason } => {
                if self.dial.is_trying(conn) {
                    self.conn = self.conn.filter(|early| *early != conn);
                    self.effects.push_back(Effect::Lost(reason));
                }
                let next = self.dial.lost(now, &mut self.net, &self.server, conn);
                self.dialled(now, next);
            }
            // Of a connection given up, or media, which this version does not speak.
            Event::Early { .. }
            | Event::Readable { .. }
            | Event::Writable { .. }
            | Event::Datagram { .. }
            | Event::Http(..) => {}
        }
    }

    /// The scout's connection is up. One over TCP is needed only as long as QUIC is silent.
    fn found(&mut self, now: Now, transport: TransportId, binding: Binding) {
        let silent = self.doubt().is_some_and(|at| at <= now.mono);
        if transport == TransportId::Tcp && !silent {
            return self.scout.recall(now, &mut self.net);
        }
        self.scout.up(now.mono, binding);
        // What is owed on a silent connection is not waited for.
        let owed = !silent && self.client.awaits_answer();
        self.move_on(now, owed);
    }

    /// Hands a channel's bytes to the core: the flow-control window bounds them.
    fn read(&mut self, now: Now, conn: ConnId, channel: Channel) {
        let client = &mut self.client;
        self.net.with(now, conn, |c| {
            c.read_chunks(channel, usize::MAX, |data| {
                client.handle(now, client::Input::Bytes { channel, data: &data });
                true
            })
        });
        self.listen(now);
    }
}

/// The core's next output that is no `Wait`.
fn next(client: &mut Client, now: Now, tx: Option<&mut TxBuf>) -> Option<client::Output> {
    match client.poll_output(now, tx) {
        client::Output::Wait { .. } => None,
        output => Some(output),
    }
}

impl Machine for Driver {
    type Command = Command;
    type Effect = Effect;

    fn datagram(&mut self, now: Now, received: Received<'_>) {
        self.probe.heard(now.mono);
        self.net.datagram(now, received);
        self.hear(now);
    }

    fn stream(&mut self, now: Now, stream: StreamId, input: StreamInput) {
        if self.conn == Some(stream.into()) && matches!(input, StreamInput::Bytes(_)) {
            self.probe.heard(now.mono);
        }
        self.net.stream(stream, input);
        self.hear(now);
    }

    fn timeout(&mut self, now: Now) {
        self.net.timeout(now);
        self.dial.timeout(now, &mut self.net, &self.server);
        if self.wake.is_some_and(|at| at <= now.mono) {
            self.tell(now, client::Input::Timeout);
        }
        if let Some(conn) = self.conn
            && self.probe.due(now.mono, self.is_owed())
        {
            self.net.with(now, conn, |c| c.ping());
        }
        if let Some(conn) = self.movable() {
            let doubt = self.doubt();
            self.scout.look(now, &mut self.net, &self.server, conn, doubt);
        }
        self.hear(now);
        self.listen(now);
    }

    fn command(&mut self, now: Now, command: Command) {
        match command {
            Command::Call(id, call) => {
                if matches!(call, client::Command::Close)
                    && let Some(position) = self.confirm.wanted.take()
                {
                    // Promised to be on the disk when the client is over; one that has stopped confirms nothing.
                    let _ = self.client.call(now, client::Command::Confirm(position));
                }
                let result = self.client.call(now, call);
                self.effects.push_back(Effect::Called(id, result));
            }
            Command::Confirm(position) => {
                self.confirm.wanted = self.confirm.wanted.max(Some(position));
                self.next_confirm(now);
            }
            Command::StoreDone(ops, result) => {
                for op in ops {
                    self.client.handle(now, client::Input::StoreDone(op, result));
                    if self.confirm.under_way == Some(op) {
                        self.confirm.under_way = None;
                    }
                }
                self.next_confirm(now);
            }
            Command::Resolved(id, addresses) => {
                let next = self.dial.resolved(now, &mut self.net, &self.server, id, addresses);
                self.dialled(now, next);
            }
            Command::Bootstrapped(id, learned) => self.bootstrapped(now, id, learned),
            Command::HttpToken(id) => {
                self.effects.push_back(Effect::HttpToken(id, self.client.http_token()));
            }
            Command::NetworkChanged => {
                self.worked = None;
                if let Some(conn) = self.conn
                    && self.net.with(now, conn, |c| c.path_changed()) == Some(false)
                {
                    self.hang_up(now, ErrorCode::Normal);
                    // What became of it says nothing of the network there is now.
                    self.tcp_failed = false;
                    self.tell(now, client::Input::Disconnected);
                }
                self.client.handle(now, client::Input::NetworkChanged);
            }
        }
        self.listen(now);
    }

    fn commands_closed(&mut self, now: Now) {
        // One that has stopped by itself refuses. Nobody is left to bring the disk's answers either, so its
        // word that it has stopped may never come.
        let _ = self.client.call(now, client::Command::Close);
        self.deserted = true;
        self.listen(now);
    }

    fn poll(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> Step<Effect> {
        loop {
            self.pull(now);
            if let Some(effect) = self.effects.pop_front() {
                return Step::Effect(effect);
            }
            match self.net.poll_output(now, tx.as_deref_mut()) {
                Output::Transmit(transmit) => return Step::Transmit(transmit),
                Output::Stream(stream, step) => return Step::Stream(stream, step),
                Output::Event(event) => self.net_event(now, event),
                Output::Wait(_) if self.stirred => {}
                Output::Wait(_) if self.is_over() && self.net.is_flushed() => return Step::Done,
                Output::Wait(at) => {
                    let probe = self.probe.deadline(self.is_owed());
                    let scout = self.movable().and_then(|_| self.scout.deadline(self.doubt()));
                    let own = earliest(earliest(self.wake, self.dial.deadline()), earliest(probe, scout));
                    return Step::Wait(earliest(at, own));
                }
            }
        }
    }
}
