//! Who may come in over TCP: a cap on connections and on those that have not proven themselves, and a bucket for
//! each network. TCP proves the address by itself; what is bounded is what one network, or all, may cost.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ntproto_core::time::Instant;

/// Connections in all: what QUIC may have.
pub const MAX_STREAMS: usize = ntproto_quic::config::MAX_CONNECTIONS;
/// Connections that have not proven who they are. Each costs a challenge and some buffers: 64 MB in all.
pub const MAX_HALF_OPEN: usize = 4096;
/// Connections one network may open at once: an office behind one address that comes back after a restart.
pub const BURST: u32 = 256;
/// Connections a second one network may open after that.
pub const RATE: u32 = 64;
/// Networks that are remembered, at 32 bytes each. One more is let in without a bucket of its own: the cap on
/// half-open ones holds, and nobody is shut out by those who fill the table.
pub const MAX_NETWORKS: usize = 16_384;

/// A full table is searched for full buckets this often at most: the search costs a millisecond.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What bounds the TCP connections of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpLimits {
    /// Connections in all.
    pub max_streams: usize,
    /// Those that have not proven who they are.
    pub max_half_open: usize,
    /// What one network (a /24 of IPv4, a /56 of IPv6) may open at once.
    pub burst: u32,
    /// What it may open a second after that.
    pub rate: u32,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self { max_streams: MAX_STREAMS, max_half_open: MAX_HALF_OPEN, burst: BURST, rate: RATE }
    }
}

/// A network: the part of an address that one owner is given as a whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Network(bool, u64);

impl Network {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(false, u64::from(u32::from(ip) >> 8)),
            IpAddr::V6(ip) => Self(true, (u128::from(ip) >> 72) as u64),
        }
    }
}

/// A bucket, as the moment at which it will be full again.
struct Bucket {
    full_at: Instant,
}

pub(crate) struct Gate {
    limits: TcpLimits,
    half_open: usize,
    buckets: BTreeMap<Network, Bucket>,
    /// Not before, full buckets are looked for.
    sweep_at: Instant,
}

impl Gate {
    pub(crate) const fn new(limits: TcpLimits) -> Self {
        Self { limits, half_open: 0, buckets: BTreeMap::new(), sweep_at: Instant::from_micros(1) }
    }

    /// Whether one more may come in, beside `streams`. It counts as half-open until [`settled`](Self::settled).
    pub(crate) fn admit(&mut self, now: Instant, ip: IpAddr, streams: usize) -> bool {
        let room = streams < self.limits.max_streams && self.half_open < self.limits.max_half_open;
        let admitted = room && self.draw(now, Network::of(ip));
        self.half_open += usize::from(admitted);
        admitted
    }

    /// One of the half-open has proven itself, or is gone.
    pub(crate) const fn settled(&mut self) {
        self.half_open = self.half_open.saturating_sub(1);
    }

    fn draw(&mut self, now: Instant, network: Network) -> bool {
        let each = Duration::from_secs(1) / self.limits.rate.max(1);
        if self.buckets.len() >= MAX_NETWORKS && !self.buckets.contains_key(&network) {
            if now >= self.sweep_at {
                self.sweep_at = now + SWEEP_EVERY;
                self.buckets.retain(|_, bucket| bucket.full_at > now);
            }
            if self.buckets.len() >= MAX_NETWORKS {
                return true;
            }
        }
        let bucket = self.buckets.entry(network).or_insert(Bucket { full_at: now });
        let full_at = bucket.full_at.max(now) + each;
        let fits = full_at <= now + each * self.limits.burst.max(1);
        if fits {
            bucket.full_at = full_at;
        }
        fits
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1 + ms * 1000)
    }

    const LIMITS: TcpLimits = TcpLimits { max_streams: 1000, max_half_open: 100, burst: 10, rate: 5 };

    //= proof: tcp-11
    #[test]
    fn a_network_has_a_burst_and_a_rate() {
        let mut gate = Gate::new(LIMITS);
        let mut admitted = |ms, ip: &str| {
            let admitted = gate.admit(at(ms), ip.parse().unwrap(), 0);
            gate.settled();
            admitted
        };
        assert_eq!((0..50).filter(|_| admitted(0, "192.0.2.1")).count(), 10);
        assert!(!admitted(0, "192.0.2.200"), "the same network");
        assert!(!admitted(0, "::ffff:192.0.2.200"), "and the same address in IPv6's clothes");
        assert!(admitted(0, "192.0.3.1"), "another network");
        assert_eq!((0..50).filter(|_| admitted(1000, "192.0.2.1")).count(), 5, "a second later");
        assert_eq!(
            (0..50).filter(|_| admitted(60_000, "192.0.2.1")).count(),
            10,
            "never more than the burst"
        );
        assert_eq!((0..50).filter(|n| admitted(0, &format!("2001:db8:0:{n:x}::1"))).count(), 10, "a /56");
    }

    #[test]
    fn the_half_open_are_capped_until_they_settle() {
        let mut gate = Gate::new(LIMITS);
        let ip = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(n << 8));
        assert_eq!((0..200).filter(|n| gate.admit(at(0), ip(*n), 0)).count(), 100);
        gate.settled();
        assert!(gate.admit(at(0), ip(999), 0));
        assert!(!gate.admit(at(0), ip(1000), 0));
        gate.settled();
        assert!(!gate.admit(at(0), ip(1001), LIMITS.max_streams), "and so are all");
    }

    #[test]
    fn the_table_of_networks_is_bounded_and_shuts_nobody_out() {
        let limits = TcpLimits { max_half_open: usize::MAX, ..LIMITS };
        let mut gate = Gate::new(limits);
        for n in 0..2 * MAX_NETWORKS as u32 {
            assert!(gate.admit(at(0), IpAddr::from(std::net::Ipv4Addr::from(n << 8)), 0));
        }
        assert_eq!(gate.buckets.len(), MAX_NETWORKS);
        // The full ones make room.
        assert!(gate.admit(at(10_000), "2001:db8::1".parse().unwrap(), 0));
        assert_eq!(gate.buckets.len(), 1);
    }
}
