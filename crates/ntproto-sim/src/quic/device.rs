//! A device over QUIC: the SDK's driver, and a host for it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use ntproto_core::binding::TransportId;
use ntproto_core::client::{self, Client, ClientConfig, Down, Input, Misuse, RequestId, Saved};
use ntproto_core::endpoint::{Closed, PeerError};
use ntproto_core::time::Now;
use ntproto_net::{Machine as _, Step};
use ntproto_quic::EndpointConfig;
use ntproto_sdk::driver::{CallId, Command, Driver, Effect, Server};

use super::Link;
use super::link::FULL_FOR_MS;
use super::wire::{Host, Wires};
use crate::ledger::Check;
use crate::schedule::Time;
use crate::world::{Ev, MAX_OUTPUTS, World};

/// A driver and what its host keeps for it.
pub(crate) struct DriverHost {
    pub(crate) driver: Driver,
    /// Where it is now.
    pub(crate) address: SocketAddr,
    calls: u64,
    /// Effects that came before the answer to a call.
    held: VecDeque<Effect>,
}

impl DriverHost {
    pub(crate) fn new(
        link: &mut Link,
        wires: &Wires,
        d: usize,
        mut config: ClientConfig,
        saved: Saved,
        seed: [u8; 32],
        now: Now,
    ) -> Self {
        let (habit, operator_key) = (wires.habits[d], *wires.operator.signing_public());
        config.operator = Some(operator_key);
        config.server_speaks_first = habit.speaks_first;
        config.transports = habit.transports.offered();
        let server = Link::server();
        let server = Server {
            host: "sim.test".into(),
            port: server.port(),
            tcp: None,
            addresses: match d % 3 {
                0 => vec![server],
                1 => vec![Link::nobody(), server],
                // To be looked up.
                _ => Vec::new(),
            },
            tls: link.tls.of_device(),
            static_key: config.server_static,
            since: config.since,
            operator_key,
            transports: habit.transports,
            speaks_first: habit.speaks_first,
            pins: Vec::new(),
            quic: EndpointConfig::client(),
        };
        Self {
            driver: Driver::new(config, server, saved, link.base, seed, now),
            address: link.address(d),
            calls: 0,
            held: VecDeque::new(),
        }
    }

    pub(crate) const fn client(&self) -> &Client {
        self.driver.client()
    }

    /// What the application asks for.
    pub(crate) fn call(&mut self, now: Now, command: client::Command) -> Result<RequestId, Misuse> {
        if let client::Command::Confirm(position) = command {
            self.driver.command(now, Command::Confirm(position));
            return Ok(RequestId(0));
        }
        self.calls += 1;
        let id = CallId(self.calls);
        self.driver.command(now, Command::Call(id, command));
        loop {
            match self.driver.poll(now, None) {
                Step::Effect(Effect::Called(called, result)) if called == id => return result,
                Step::Effect(effect) => self.held.push_back(effect),
                // Every call is answered before the driver waits.
                Step::Wait(_) | Step::Done | Step::Transmit(_) | Step::Stream(..) => {
                    return Err(Misuse::State);
                }
            }
        }
    }

    /// What the disk, the clock and the system say.
    pub(crate) fn input(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::StoreDone(op, result) => {
                self.driver.command(now, Command::StoreDone(vec![op], result));
            }
            Input::NetworkChanged => self.driver.command(now, Command::NetworkChanged),
            Input::Timeout => self.driver.timeout(now),
            // The driver has its transport inside.
            Input::Connected(_)
            | Input::Bound(_)
            | Input::Moved(_)
            | Input::Bootstrapped(_)
            | Input::Bytes { .. }
            | Input::Writable(_)
            | Input::Disconnected => {}
        }
    }
}

impl World {
    /// Does what a driver wants until it waits.
    pub(crate) fn drain_driver(&mut self, d: usize) -> Check {
        let time = self.schedule.now();
        let full = self.socket_is_full();
        for _ in 0..MAX_OUTPUTS {
            let (Some(process), Some(link)) = (&mut self.devices[d].process, &mut self.quic) else {
                return Ok(());
            };
            let (boot, stopped, now) = (process.boot, process.stopped, process.clock.now(time));
            let Some(host) = process.machine.driver() else { return Ok(()) };
            let step = match host.held.pop_front() {
                Some(effect) => Step::Effect(effect),
                None => host.driver.poll(now, (!full).then_some(&mut link.tx)),
            };
            match step {
                Step::Transmit(transmit) => {
                    let from = host.address;
                    self.transmit(from, &transmit);
                }
                Step::Stream(id, step) => self.stream_step(Host::Device(d, boot), id, step)?,
                Step::Effect(Effect::Event(event)) => {
                    if stopped {
                        return Err(format!("device {d} stopped, and goes on with {event:.60?}"));
                    }
                    self.device_event(d, event)?;
                }
                Step::Effect(Effect::Store(op, txn)) => self.device_store(d, op, txn),
                Step::Effect(Effect::Reached | Effect::HttpToken(..) | Effect::Learned(_)) => {}
                Step::Effect(Effect::Lost(why)) => self.trace.event(d, &why),
                Step::Effect(Effect::Resolve { id, .. }) => {
                    let at = Time(time.0 + self.delay())
                        .max(self.devices[d].cut_until[0].min(time.plus_ms(5_000)));
                    self.schedule.at(at, Ev::Resolved { d, boot, id });
                }
                // No device of the simulator can.
                Step::Effect(Effect::Bootstrap(_)) => {
                    return Err(format!("device {d} bootstraps, and nobody said that it can"));
                }
                Step::Effect(Effect::Called(..)) => {
                    return Err(format!("device {d} was answered a call twice"));
                }
                Step::Wait(Some(at)) if at <= now.mono && !full => host.driver.timeout(now),
                Step::Wait(at) => {
                    // Datagrams wait for a socket that is full, or may do so.
                    let soon = full.then(|| time.plus_ms(FULL_FOR_MS));
                    let at = soon.or_else(|| at.map(|at| process.clock.when(at)));
                    if let Some(at) = at.filter(|at| Some(*at) != process.armed) {
                        self.schedule.at(at, Ev::DeviceTimer { d, boot });
                    }
                    process.armed = at;
                    return Ok(());
                }
                Step::Done => {
                    process.armed = None;
                    return Ok(());
                }
            }
        }
        Err(format!("device {d} never waits"))
    }

    /// A lookup is answered: with where the server is, or with nothing while the network is cut.
    pub(crate) fn resolved(&mut self, d: usize, boot: u32, id: u64) -> Check {
        let time = self.schedule.now();
        let cut = self.devices[d].cut_until.iter().any(|until| *until > time);
        let Some(process) = self.devices[d].running(boot) else { return Ok(()) };
        let now = process.clock.now(time);
        let addresses = if cut { Vec::new() } else { vec![Link::nobody(), Link::server()] };
        if let Some(host) = process.machine.driver() {
            host.driver.command(now, Command::Resolved(id, addresses));
        }
        self.drain_driver(d)
    }
}

impl World {
    /// Counts what a device came in over, and whether its session moved there.
    pub(crate) fn count_transport(&mut self, d: usize, before: Option<TransportId>, now: TransportId) {
        match (before, now) {
            (Some(TransportId::Quic), TransportId::Tcp) => self.stats.moves_to_tcp += 1,
            (Some(TransportId::Tcp), TransportId::Quic) => self.stats.moves_to_quic += 1,
            _ => {}
        }
        if now == TransportId::Tcp && self.wires.habits[d].speaks_first {
            self.stats.certified += 1;
        }
    }

    /// A connection of a device ended: that a peer broke the protocol must be somebody's doing.
    pub(crate) fn nobody_is_at_fault(&self, d: usize, why: Down) -> Check {
        match why {
            // Who gives up while the other's answer is on its way says so in the clear, to one who has keys by then.
            Down::Closed(Closed::PeerError(PeerError::Forged)) => Ok(()),
            Down::Closed(Closed::PeerError(error)) if self.quic.is_some() && !self.wires.tampered[d] => {
                Err(format!("device {d} was told nonsense on a good connection, or told it: {error:?}"))
            }
            _ => Ok(()),
        }
    }
}
