//! Bringing up a connection: look the host up, then try its addresses a little apart, over QUIC and over TCP, until
//! one answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ntproto_core::binding::TransportId;
use ntproto_core::time::{Instant, Now};
use ntproto_net::{ConnId, Endpoint};

use super::Server;

/// An address gets this long before the next one is tried beside it (RFC 8305 recommends 250 ms).
pub(super) const STAGGER: Duration = Duration::from_millis(250);
/// QUIC gets this long before TCP is tried beside it: a handshake of one round trip on the slowest path that people
/// put up with, and hardly a wait for those whose network drops UDP.
pub(super) const HEAD_START: Duration = Duration::from_millis(500);
/// Addresses of one host that are tried: two of each family, and as many again.
const MAX_ADDRESSES: usize = 8;

/// What a dial wants of the driver.
pub(super) enum Next {
    /// Wait for events or the deadline.
    Wait,
    /// Look the host up.
    Resolve(u64),
    /// Every address failed.
    Failed,
}

/// Over which transports, in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// One.
    Only(TransportId),
    /// QUIC, with a head start, and TCP.
    Race,
    /// Both at once: TCP was what worked here.
    Even,
}

impl Plan {
    /// When each transport begins.
    fn starts(self) -> Vec<(Duration, TransportId)> {
        use TransportId::{Quic, Tcp};
        match self {
            Self::Only(transport) => vec![(Duration::ZERO, transport)],
            Self::Race => vec![(Duration::ZERO, Quic), (HEAD_START, Tcp)],
            Self::Even => vec![(Duration::ZERO, Quic), (Duration::ZERO, Tcp)],
        }
    }
}

/// One try.
struct Try {
    /// After the start of the dial.
    at: Duration,
    transport: TransportId,
    address: SocketAddr,
}

/// One attempt to bring up a connection.
pub(super) struct Dial {
    plan: Plan,
    /// The lookup under way, or the last one.
    lookup: u64,
    waiting: bool,
    started: Instant,
    /// The next one last.
    tries: Vec<Try>,
    trying: Vec<ConnId>,
}

impl Dial {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            plan: Plan::Race,
            lookup: 0,
            waiting: false,
            started: now,
            tries: Vec::new(),
            trying: Vec::new(),
        }
    }

    /// Begins.
    pub(super) fn start(&mut self, now: Now, net: &mut Endpoint, server: &Server, plan: Plan) -> Next {
        self.cancel(now, net, None);
        self.plan = plan;
        let literal = server.host.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, server.port));
        let known = match (&server.addresses[..], literal) {
            ([], Ok(address)) => vec![address],
            (known, _) => known.to_vec(),
        };
        if known.is_empty() {
            self.lookup += 1;
            self.waiting = true;
            return Next::Resolve(self.lookup);
        }
        self.addresses(now, net, server, known)
    }

    /// The answer of a lookup.
    pub(super) fn resolved(
        &mut self,
        now: Now,
        net: &mut Endpoint,
        server: &Server,
        id: u64,
        addresses: Vec<SocketAddr>,
    ) -> Next {
        if !self.waiting || id != self.lookup {
            return Next::Wait;
        }
        self.waiting = false;
        self.addresses(now, net, server, addresses)
    }

    fn addresses(
        &mut self,
        now: Now,
        net: &mut Endpoint,
        server: &Server,
        mut addresses: Vec<SocketAddr>,
    ) -> Next {
        addresses.truncate(MAX_ADDRESSES);
        self.started = now.mono;
        for (start, transport) in self.plan.starts() {
            let times = (0u32..).map(|n| start + STAGGER * n);
            self.tries.extend(addresses.iter().zip(times).map(|(&address, at)| Try {
                at,
                transport,
                address,
            }));
        }
        // A stable sort: of what begins together, QUIC is first.
        self.tries.sort_by_key(|t| t.at);
        self.tries.reverse();
        self.timeout(now, net, server);
        if self.is_over() { Next::Failed } else { Next::Wait }
    }

    fn is_over(&self) -> bool {
        self.trying.is_empty() && self.tries.is_empty() && !self.waiting
    }

    /// Tries the next address. `false`: there is none.
    fn try_next(&mut self, now: Now, net: &mut Endpoint, server: &Server) -> bool {
        while let Some(Try { transport, address, .. }) = self.tries.pop() {
            let conn = match transport {
                TransportId::Quic | TransportId::QuicEarly => {
                    net.connect_quic(now, &server.tls, address, &server.host).ok()
                }
                TransportId::Tcp => Some(net.connect_tcp(now, address)),
                TransportId::Web => None,
            };
            if let Some(conn) = conn {
                self.trying.push(conn);
                return true;
            }
        }
        false
    }

    /// When the next address is tried.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.tries.last().map(|next| self.started + next.at)
    }

    /// The deadline may have come.
    pub(super) fn timeout(&mut self, now: Now, net: &mut Endpoint, server: &Server) {
        while self.deadline().is_some_and(|at| at <= now.mono) && self.try_next(now, net, server) {}
    }

    /// Whether this connection is one of ours.
    pub(super) fn is_trying(&self, conn: ConnId) -> bool {
        self.trying.contains(&conn)
    }

    /// Whether this connection is one of ours; if so it won, and the others end.
    pub(super) fn won(&mut self, now: Now, net: &mut Endpoint, conn: ConnId) -> bool {
        let ours = self.is_trying(conn);
        if ours {
            self.cancel(now, net, Some(conn));
        }
        ours
    }

    /// One of ours failed: the next address gets its turn at once, and keeps those behind it waiting no longer.
    pub(super) fn lost(&mut self, now: Now, net: &mut Endpoint, server: &Server, conn: ConnId) -> Next {
        let before = self.trying.len();
        self.trying.retain(|c| *c != conn);
        if self.trying.len() == before {
            return Next::Wait;
        }
        self.try_next(now, net, server);
        if self.is_over() { Next::Failed } else { Next::Wait }
    }

    /// Gives up, but for one.
    pub(super) fn cancel(&mut self, now: Now, net: &mut Endpoint, but: Option<ConnId>) {
        self.waiting = false;
        self.tries.clear();
        for conn in self.trying.drain(..).filter(|c| Some(*c) != but) {
            net.with(now, conn, |c| c.close(0, b""));
        }
    }
}
