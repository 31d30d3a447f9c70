//! The server over QUIC: the node, and a host for it.

use ntproto_hub::{Hub, HubEvent};
use ntproto_net::tcp::gate::TcpLimits;
use ntproto_net::{Endpoint, Machine as _, Step};
use ntproto_quic::{EndpointConfig, ResetKey};
use ntproto_server::node::{Effect, Node, NodeEvent};

use super::Link;
use super::link::FULL_FOR_MS;
use super::wire::{Dialler, Host};
use crate::ledger::Check;
use crate::world::{Ev, MAX_OUTPUTS, World};

/// Makes a node.
pub(crate) struct NodeHost<'a> {
    pub(crate) link: &'a Link,
    /// Kept across restarts, so that former clients are told at once.
    pub(crate) reset_key: &'a [u8; 32],
    pub(crate) seed: [u8; 32],
}

impl NodeHost<'_> {
    pub(crate) fn node(self, hub: Hub) -> Node {
        let config = EndpointConfig {
            reset_key: Some(ResetKey::new(self.reset_key)),
            ..EndpointConfig::server(self.link.tls.of_server(&self.link.sessions))
        };
        Node::new(Endpoint::new(config, TcpLimits::default(), self.link.base, self.seed), hub)
    }
}

impl World {
    /// Does what the node wants until it waits.
    pub(crate) fn drain_node(&mut self) -> Check {
        let time = self.schedule.now();
        let boot = self.server.boots;
        let full = self.socket_is_full();
        for _ in 0..MAX_OUTPUTS {
            let (Some(process), Some(link)) = (&mut self.server.process, &mut self.quic) else {
                return Ok(());
            };
            let now = process.clock.now(time);
            let Some(node) = process.core.node() else { return Ok(()) };
            match node.poll(now, (!full).then_some(&mut link.tx)) {
                Step::Transmit(transmit) => self.transmit(Link::server(), &transmit),
                Step::Stream(id, step) => self.stream_step(Host::Server, id, step)?,
                Step::Effect(Effect::Store { op, txn, deadline }) => self.server_store(op, txn, deadline)?,
                // The host keeps what the hub holds when the process ends.
                Step::Effect(Effect::TicketKeys { .. }) => {}
                // Nothing here asks for packets of an application.
                Step::Effect(Effect::Asks(asks)) => return Err(format!("requests out of nowhere: {asks:?}")),
                Step::Effect(Effect::Host(ask)) => {
                    return Err(format!("an administrator out of nowhere: {ask:?}"));
                }
                Step::Effect(Effect::Http(exchange, _)) => {
                    return Err(format!("an HTTP exchange out of nowhere: {exchange}"));
                }
                Step::Effect(Effect::Abandoned(ask)) => return Err(format!("{ask:?} was never asked")),
                Step::Effect(Effect::Bearer { op, .. }) => return Err(format!("{op} was never asked")),
                Step::Effect(Effect::Counted(_)) => return Err("counts that nobody asked for".into()),
                Step::Effect(Effect::Event(event)) => self.node_event(event)?,
                Step::Wait(Some(at)) if at <= now.mono && !full => node.timeout(now),
                Step::Wait(at) => {
                    // Datagrams wait for a socket that is full, or may do so.
                    let soon = full.then(|| time.plus_ms(FULL_FOR_MS));
                    let at = soon.or_else(|| at.map(|at| process.clock.when(at)));
                    if let Some(at) = at.filter(|at| Some(*at) != process.armed) {
                        self.schedule.at(at, Ev::ServerTimer { boot });
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
        Err("the server never waits".into())
    }

    /// A device was let in on a transport that is not up: by early data, its own or replayed.
    pub(crate) fn early(&mut self, event: HubEvent) -> Option<usize> {
        let (HubEvent::In { conn, device, .. }, Some(link)) = (event, &mut self.quic) else { return None };
        self.stats.early += 1;
        let known = self.ledger.devices.get(&device).map(|(d, _)| *d);
        if known.is_none() {
            // The store knows it already, by a server that died before it said so. Who it is shows when it is up.
            link.early.insert(conn.0, event);
        }
        known
    }

    fn node_event(&mut self, event: NodeEvent) -> Check {
        match event {
            NodeEvent::Opened { conn, remote } => {
                self.trace.add("opened", &[conn.0, u64::from(remote.port())], &[]);
                self.stats.connections += 1;
                self.counted.opened(conn.0 as usize);
                let stranger =
                    self.wire_of(conn.0).is_some_and(|w| matches!(w.dialler, Dialler::Stranger { .. }));
                let Some(link) = self.quic.as_mut().filter(|_| !stranger) else { return Ok(()) };
                let d = link.owner(remote).ok_or_else(|| format!("{remote} completed a handshake"))?;
                link.peers.insert(conn.0, d);
                let before = link.early.remove(&conn.0);
                before.map_or(Ok(()), |event| self.hub_event(event))
            }
            NodeEvent::Down { conn, reason } => {
                self.trace.event(usize::MAX, &reason);
                self.counted.closed(conn.0 as usize)
            }
            NodeEvent::Rtt(_) => Ok(()),
            NodeEvent::Hub(event) => self.hub_event(event),
        }
    }
}
