//! Bringing up a connection: look the host up, then try its addresses a little apart until one answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ntproto_core::time::{Instant, Now};
use ntproto_quic::{ClientTls, ConnId, Endpoint};

/// An address gets this long before the next one is tried beside it (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
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

/// One attempt to bring up a connection.
#[derive(Default)]
pub(super) struct Dial {
    /// The lookup under way, or the last one.
    lookup: u64,
    waiting: bool,
    addresses: Vec<SocketAddr>,
    trying: Vec<ConnId>,
    next_at: Option<Instant>,
}

impl Dial {
    /// Begins. `known` are addresses that need no lookup.
    pub(super) fn start(
        &mut self,
        now: Now,
        quic: &mut Endpoint,
        tls: &ClientTls,
        host: &str,
        port: u16,
        known: &[SocketAddr],
    ) -> Next {
        self.cancel(now, quic, None);
        let literal = host.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
        let known = match (known, literal) {
            ([], Ok(address)) => vec![address],
            _ => known.to_vec(),
        };
        if known.is_empty() {
            self.lookup += 1;
            self.waiting = true;
            return Next::Resolve(self.lookup);
        }
        self.addresses(now, quic, tls, host, known)
    }

    /// The answer of a lookup.
    pub(super) fn resolved(
        &mut self,
        now: Now,
        quic: &mut Endpoint,
        tls: &ClientTls,
        host: &str,
        id: u64,
        addresses: Vec<SocketAddr>,
    ) -> Next {
        if !self.waiting || id != self.lookup {
            return Next::Wait;
        }
        self.waiting = false;
        self.addresses(now, quic, tls, host, addresses)
    }

    fn addresses(
        &mut self,
        now: Now,
        quic: &mut Endpoint,
        tls: &ClientTls,
        host: &str,
        mut addresses: Vec<SocketAddr>,
    ) -> Next {
        addresses.truncate(MAX_ADDRESSES);
        addresses.reverse();
        self.addresses = addresses;
        self.try_next(now, quic, tls, host)
    }

    fn try_next(&mut self, now: Now, quic: &mut Endpoint, tls: &ClientTls, host: &str) -> Next {
        self.next_at = None;
        while let Some(address) = self.addresses.pop() {
            if let Ok(conn) = quic.connect(now, tls, address, host) {
                self.trying.push(conn);
                self.next_at = (!self.addresses.is_empty()).then_some(now.mono + STAGGER);
                break;
            }
        }
        if self.trying.is_empty() { Next::Failed } else { Next::Wait }
    }

    /// When the next address is tried.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.next_at
    }

    /// The deadline may have come.
    pub(super) fn timeout(&mut self, now: Now, quic: &mut Endpoint, tls: &ClientTls, host: &str) -> Next {
        if self.next_at.is_some_and(|at| at <= now.mono) {
            return self.try_next(now, quic, tls, host);
        }
        Next::Wait
    }

    /// Whether this connection is one of ours.
    pub(super) fn is_trying(&self, conn: ConnId) -> bool {
        self.trying.contains(&conn)
    }

    /// Whether this connection is one of ours; if so it won, and the others end.
    pub(super) fn won(&mut self, now: Now, quic: &mut Endpoint, conn: ConnId) -> bool {
        let ours = self.is_trying(conn);
        if ours {
            self.cancel(now, quic, Some(conn));
        }
        ours
    }

    /// One of ours failed: the next address gets its turn at once.
    pub(super) fn lost(
        &mut self,
        now: Now,
        quic: &mut Endpoint,
        tls: &ClientTls,
        host: &str,
        conn: ConnId,
    ) -> Next {
        let before = self.trying.len();
        self.trying.retain(|c| *c != conn);
        if self.trying.len() == before {
            return Next::Wait;
        }
        self.try_next(now, quic, tls, host)
    }

    /// Gives up, but for one.
    pub(super) fn cancel(&mut self, now: Now, quic: &mut Endpoint, but: Option<ConnId>) {
        self.waiting = false;
        self.next_at = None;
        self.addresses.clear();
        for conn in self.trying.drain(..).filter(|c| Some(*c) != but) {
            quic.with(now, conn, |c| c.close(0, b""));
        }
    }
}
