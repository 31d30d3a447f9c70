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
    /// Look these hosts up: number, host, port.
    Resolve(Vec<(u64, String, u16)>),
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
    /// The last lookup.
    lookup: u64,
    /// Those under way, and which place each is for.
    asked: Vec<(u64, usize)>,
    /// Where the server is: over QUIC, and over TCP if that is elsewhere.
    found: [Vec<SocketAddr>; 2],
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
            asked: Vec::new(),
            found: [Vec::new(), Vec::new()],
            started: now,
            tries: Vec::new(),
            trying: Vec::new(),
        }
    }

    /// Begins.
    pub(super) fn start(&mut self, now: Now, net: &mut Endpoint, server: &Server, plan: Plan) -> Next {
        self.cancel(now, net, None);
        self.plan = plan;
        self.found = [server.addresses.clone(), Vec::new()];
        // TCP on another port of the same host has the host's addresses.
        let other = server.tcp.as_ref().filter(|tcp| tcp.host != server.host);
        let other = other.map(|tcp| (tcp.host.as_str(), tcp.port));
        let places = [Some((server.host.as_str(), server.port)), other];
        let mut questions = Vec::new();
        for (n, (host, port)) in places.into_iter().enumerate().filter_map(|(n, place)| Some((n, place?))) {
            match host.parse::<IpAddr>() {
                _ if !self.found[n].is_empty() => {}
                Ok(ip) => self.found[n].push(SocketAddr::new(ip, port)),
                Err(_) => {
                    self.lookup += 1;
                    self.asked.push((self.lookup, n));
                    questions.push((self.lookup, host.to_owned(), port));
                }
            }
        }
        if questions.is_empty() { self.begin(now, net, server) } else { Next::Resolve(questions) }
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
        let Some(at) = self.asked.iter().position(|(asked, _)| *asked == id) else { return Next::Wait };
        let (_, place) = self.asked.swap_remove(at);
        self.found[place] = addresses;
        if self.asked.is_empty() { self.begin(now, net, server) } else { Next::Wait }
    }

    /// Where the server takes this transport.
    fn places(&self, server: &Server, transport: TransportId) -> Vec<SocketAddr> {
        let mut places = match (&server.tcp, transport) {
            (Some(tcp), TransportId::Tcp) if tcp.host == server.host => {
                self.found[0].iter().map(|at| SocketAddr::new(at.ip(), tcp.port)).collect()
            }
            (Some(_), TransportId::Tcp) => self.found[1].clone(),
            _ => self.found[0].clone(),
        };
        places.truncate(MAX_ADDRESSES);
        places
    }

    fn begin(&mut self, now: Now, net: &mut Endpoint, server: &Server) -> Next {
        self.started = now.mono;
        for (start, transport) in self.plan.starts() {
            let times = (0u32..).map(|n| start + STAGGER * n);
            let places = self.places(server, transport);
            self.tries.extend(places.into_iter().zip(times).map(|(address, at)| Try {
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
        self.trying.is_empty() && self.tries.is_empty() && self.asked.is_empty()
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
        self.asked.clear();
        self.tries.clear();
        for conn in self.trying.drain(..).filter(|c| Some(*c) != but) {
            net.with(now, conn, |c| c.close(0, b""));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use ntproto_core::bootstrap::Address;
    use ntproto_core::time::UnixMillis;
    use ntproto_net::tcp::gate::TcpLimits;
    use ntproto_net::{Output, StreamStep};
    use ntproto_quic::{ClientTls, EndpointConfig, Pin, Trust};

    use super::super::Transports;
    use super::*;

    fn server(host: &str, tcp: Option<(&str, u16)>) -> Server {
        let trust = Trust::Pinned(vec![Pin([1; 32])]);
        let tls =
            ClientTls::new(ntproto_quic::tls::default_provider(), trust, &[ntproto_quic::ALPN]).unwrap();
        Server {
            host: host.into(),
            port: 7424,
            tcp: tcp.map(|(host, port)| Address { host: host.into(), port }),
            addresses: Vec::new(),
            tls,
            pins: Vec::new(),
            static_key: [0; 32],
            since: UnixMillis(0),
            operator_key: [0; 32],
            transports: Transports::Any,
            speaks_first: false,
            quic: EndpointConfig::client(),
        }
    }

    /// Which hosts are looked up, and where TCP is tried when each of them is at the next address of 10.0.0.0.
    fn dialled(server: &Server) -> (Vec<(String, u16)>, Vec<SocketAddr>) {
        let base = std::time::Instant::now();
        let mut net = Endpoint::new(EndpointConfig::client(), TcpLimits::default(), base, [1; 32]);
        let now = Now { mono: Instant::from_micros(1), unix: UnixMillis(1_780_272_000_000) };
        let mut dial = Dial::new(now.mono);
        let next = dial.start(now, &mut net, server, Plan::Only(TransportId::Tcp));
        let mut asked = Vec::new();
        if let Next::Resolve(questions) = next {
            for (n, (id, host, port)) in questions.into_iter().enumerate() {
                let found = SocketAddr::from(([10, 0, 0, n as u8], port));
                asked.push((host, port));
                drop(dial.resolved(now, &mut net, server, id, vec![found]));
            }
        }
        let mut tried = Vec::new();
        while let Output::Stream(_, step) = net.poll_output(now, None) {
            if let StreamStep::Dial(at) = step {
                tried.push(at);
            }
        }
        (asked, tried)
    }

    #[test]
    fn tcp_is_where_the_server_says() {
        let at = |last, port| SocketAddr::from(([10, 0, 0, last], port));
        let name = |host: &str, port| (host.to_owned(), port);
        for (host, tcp, asked, tried) in [
            ("10.0.0.7", None, vec![], at(7, 7424)),
            ("10.0.0.7", Some(("10.0.0.7", 443)), vec![], at(7, 443)),
            ("10.0.0.7", Some(("10.0.0.8", 443)), vec![], at(8, 443)),
            ("ntp.example", None, vec![name("ntp.example", 7424)], at(0, 7424)),
            ("ntp.example", Some(("ntp.example", 443)), vec![name("ntp.example", 7424)], at(0, 443)),
            ("ntp.example", Some(("10.0.0.9", 443)), vec![name("ntp.example", 7424)], at(9, 443)),
            (
                "ntp.example",
                Some(("tcp.example", 443)),
                vec![name("ntp.example", 7424), name("tcp.example", 443)],
                at(1, 443),
            ),
        ] {
            assert_eq!(dialled(&server(host, tcp)), (asked, vec![tried]), "{host} {tcp:?}");
        }
        // A session that looks for the other transport.
        let here = server("ntp.example", Some(("ntp.example", 443)));
        assert_eq!(here.beside(at(5, 7424), TransportId::Tcp), Some(at(5, 443)));
        assert_eq!(here.beside(at(5, 443), TransportId::Quic), Some(at(5, 7424)));
        let there = server("ntp.example", Some(("10.0.0.9", 443)));
        assert_eq!(there.beside(at(5, 7424), TransportId::Tcp), Some(at(9, 443)));
        assert_eq!(there.beside(at(9, 443), TransportId::Quic), None);
    }
}
