//! Token buckets: how often an address may knock, a device may ask, a conversation may be written to.
//!
//! A bucket holds `burst` tokens and gets one more every so often. It is kept as one number, the instant at which it
//! is full again: a full bucket needs no entry at all. So the tables hold only buckets that somebody draws from, and
//! forget each as soon as it is full. When a table is full of others, the one nearest to full makes room. That gives
//! its owner back what it had drawn; but all others are drained further than it is, so whoever has buckets enough to
//! push others out was let through as much by each of them, and gains nothing that a new key does not give.

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::IpAddr;
use core::time::Duration;

use ntproto_core::ids::{ConversationId, DeviceId, GroupId, Uin};
use ntproto_core::time::Instant;

use crate::config::{GROUP_RATE, HubConfig, MAX_BUCKETS, TYPING_RATE};

/// How much may come at once, and how often one more after that.
///
/// ```
/// use ntproto_hub::Rate;
/// let rate = Rate::per_second(100, 20);
/// assert_eq!((rate.burst(), rate.every().as_millis()), (100, 50));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    burst: u32,
    every_us: u64,
}

impl Rate {
    /// `burst` at once, then so many a second, at most one each microsecond. Zero of either counts as one.
    #[must_use]
    pub const fn per_second(burst: u32, per_second: u32) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second as u64 };
        Self::new(burst, 1_000_000_u64.div_ceil(per_second))
    }

    /// `burst` at once, then one each `every`, within a microsecond and [`LONGEST_WAIT`].
    #[must_use]
    pub const fn one_each(burst: u32, every: Duration) -> Self {
        let every_us = every.as_micros();
        Self::new(burst, if every_us > u64::MAX as u128 { u64::MAX } else { every_us as u64 })
    }

    const fn new(burst: u32, every_us: u64) -> Self {
        let longest = LONGEST_WAIT.as_micros() as u64;
        let every_us = if every_us > longest { longest } else { every_us };
        Self { burst: if burst == 0 { 1 } else { burst }, every_us: if every_us == 0 { 1 } else { every_us } }
    }

    /// What may come at once.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// How long it takes until one more may.
    #[must_use]
    pub const fn every(self) -> Duration {
        Duration::from_micros(self.every_us)
    }

    const fn span(self) -> u64 {
        self.every_us.saturating_mul(self.burst as u64)
    }
}

/// The longest time between two tokens: what a client waits at most when it is told to.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// An address as far as its owner can't choose it: all of IPv4, since providers put whole towns behind one and
/// neighbours in a network are strangers to each other; and the 64 bits of IPv6 that a provider gives to one
/// household at the least, which has all addresses below them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Prefix {
    V4(u32),
    V6(u64),
}

impl Prefix {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

/// The buckets of one kind.
struct Buckets<K> {
    /// `None`: there is no limit.
    rate: Option<Rate>,
    room: usize,
    full_at: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
}

impl<K: Copy + Ord> Buckets<K> {
    const fn new(rate: Option<Rate>, room: usize) -> Self {
        Self { rate, room, full_at: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// After how long there is a token.
    fn wait(&self, now: Instant, key: K) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let drawn = self.full_at.get(&key).map_or(Duration::ZERO, |full_at| full_at.saturating_since(now));
        (drawn + rate.every()).saturating_sub(Duration::from_micros(rate.span()))
    }

    /// Takes a token that is there.
    fn draw(&mut self, now: Instant, key: K) {
        let Some(rate) = self.rate else { return };
        let old = self.full_at.get(&key).copied();
        let full_at = old.map_or(now, |at| at.max(now)) + rate.every();
        if let Some(old) = old {
            self.order.remove(&(old, key));
        }
        while let Some(&(at, other)) = self.order.first()
            && (at <= now || old.is_none() && self.order.len() >= self.room)
        {
            self.order.pop_first();
            self.full_at.remove(&other);
        }
        self.full_at.insert(key, full_at);
        self.order.insert((full_at, key));
    }

    fn take(&mut self, now: Instant, key: K) -> Result<(), Duration> {
        match self.wait(now, key) {
            Duration::ZERO => {
                self.draw(now, key);
                Ok(())
            }
            wait => Err(wait),
        }
    }
}

/// Buckets of networks, for whoever else takes strangers in beside the hub: one for each address of IPv4, and each /64
/// of IPv6.
///
/// ```
/// use ntproto_core::time::Instant;
/// use ntproto_hub::{Networks, Rate};
///
/// let mut networks = Networks::new(Some(Rate::per_second(1, 1)));
/// let (now, from) = (Instant::from_micros(1), [192, 0, 2, 7].into());
/// assert_eq!(networks.take(now, from), Ok(()));
/// assert_eq!(networks.take(now, from).map_err(|wait| wait.as_secs()), Err(1));
/// ```
pub struct Networks(Buckets<Prefix>);

impl Networks {
    /// As many as a hub has of each kind. `None`: there is no limit.
    #[must_use]
    pub const fn new(rate: Option<Rate>) -> Self {
        Self(Buckets::new(rate, MAX_BUCKETS))
    }

    /// Takes a token.
    ///
    /// # Errors
    /// There is none: after how long there is one.
    pub fn take(&mut self, now: Instant, from: IpAddr) -> Result<(), Duration> {
        self.0.take(now, Prefix::of(from))
    }

    /// After how long there is a token: at once, if it is zero. None is taken.
    #[must_use]
    pub fn wait(&self, now: Instant, from: IpAddr) -> Duration {
        self.0.wait(now, Prefix::of(from))
    }
}

/// All buckets of a hub. An `Err` says after how long there is a token, exactly: who waits so long finds it, unless
/// somebody else who draws from the same bucket was there before.
pub(crate) struct Limits {
    addresses: Buckets<Prefix>,
    device_messages: Buckets<DeviceId>,
    device_requests: Buckets<DeviceId>,
    conversations: Buckets<ConversationId>,
    groups: Buckets<(Uin, GroupId)>,
    typing: Buckets<(ConversationId, DeviceId)>,
}

impl Limits {
    pub(crate) const fn new(config: &HubConfig) -> Self {
        Self {
            addresses: Buckets::new(config.auth_rate, MAX_BUCKETS),
            device_messages: Buckets::new(config.device_messages, MAX_BUCKETS),
            device_requests: Buckets::new(config.device_requests, MAX_BUCKETS),
            conversations: Buckets::new(config.conversation_messages, MAX_BUCKETS),
            groups: Buckets::new(Some(GROUP_RATE), MAX_BUCKETS),
            typing: Buckets::new(Some(TYPING_RATE), MAX_BUCKETS),
        }
    }

    /// An account changes a group, or makes one (then it is group 0): each of its members may have to be told.
    pub(crate) fn group(&mut self, now: Instant, uin: Uin, group: GroupId) -> Result<(), Duration> {
        self.groups.take(now, (uin, group))
    }

    /// Somebody at this address wants to come in.
    pub(crate) fn knock(&mut self, now: Instant, from: IpAddr) -> Result<(), Duration> {
        self.addresses.take(now, Prefix::of(from))
    }

    /// A device asks for something.
    pub(crate) fn request(&mut self, now: Instant, device: DeviceId) -> Result<(), Duration> {
        self.device_requests.take(now, device)
    }

    /// A device writes to a conversation; `None`: to one that is not its own, which the store will say. Both have a
    /// token, or neither gives one.
    pub(crate) fn message(
        &mut self,
        now: Instant,
        device: DeviceId,
        to: Option<ConversationId>,
    ) -> Result<(), Duration> {
        let of_talk = to.map_or(Duration::ZERO, |to| self.conversations.wait(now, to));
        match self.device_messages.wait(now, device).max(of_talk) {
            Duration::ZERO => {
                self.device_messages.draw(now, device);
                if let Some(to) = to {
                    self.conversations.draw(now, to);
                }
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// A device says that somebody types there.
    pub(crate) fn typing(
        &mut self,
        now: Instant,
        device: DeviceId,
        to: ConversationId,
    ) -> Result<(), Duration> {
        self.typing.take(now, (to, device))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn us(us: u64) -> Instant {
        Instant::from_micros(1 + us)
    }

    #[test]
    fn an_address_is_what_its_owner_was_given() {
        let of = |ip: &str| Prefix::of(ip.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"), "in IPv6's clothes");
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"), "a neighbour");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::2"), "a household's own");
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }

    #[test]
    fn a_message_draws_from_both_buckets_or_from_none() {
        let config = HubConfig {
            device_messages: Some(Rate::per_second(2, 1)),
            conversation_messages: Some(Rate::per_second(3, 1)),
            ..HubConfig::default()
        };
        let mut limits = Limits::new(&config);
        let (a, b) = (DeviceId([1; 16]), DeviceId([2; 16]));
        let (here, there) = (ConversationId([1; 16]), ConversationId([2; 16]));
        let second = Err(Duration::from_secs(1));
        assert_eq!(
            [a, a, a].map(|device| limits.message(us(0), device, Some(here))),
            [Ok(()), Ok(()), second]
        );
        assert_eq!(limits.message(us(0), a, Some(there)), second, "the device, wherever it writes");
        assert_eq!([b, b].map(|device| limits.message(us(0), device, Some(here))), [Ok(()), second]);
        assert_eq!(limits.message(us(0), b, Some(there)), Ok(()), "what was refused has drawn nothing");
        assert_eq!(limits.typing(us(0), a, here), Ok(()), "typing is another matter");
    }

    #[test]
    fn without_a_rate_there_is_no_limit_and_no_memory() {
        let mut buckets = Buckets::new(None, 4);
        assert!((0..100_000).all(|n| buckets.take(us(0), n).is_ok()));
        assert!(buckets.full_at.is_empty() && buckets.order.is_empty());
    }

    /// The only bucket that is forgotten before it is full is the fullest one, for one that was not there.
    #[test]
    fn the_table_is_bounded_and_the_drained_ones_stay() {
        let mut buckets = Buckets::new(Some(Rate::per_second(10, 1)), 8);
        for n in 0..8 {
            for _ in 0..=n {
                buckets.take(us(0), n).unwrap();
            }
        }
        buckets.take(us(0), 100).unwrap();
        assert_eq!((buckets.full_at.len(), buckets.order.len()), (8, 8));
        assert!(!buckets.full_at.contains_key(&0), "it had drawn one");
        assert!((1..8).all(|n| buckets.full_at.contains_key(&n)));
        // As they fill up they are forgotten, without anybody asking for them.
        buckets.take(us(8_000_000), 200).unwrap();
        assert_eq!(buckets.full_at.len(), 1);
    }

    #[test]
    fn a_rate_stays_in_its_range() {
        assert_eq!(Rate::per_second(0, 0), Rate::one_each(1, Duration::from_secs(1)));
        assert_eq!(Rate::per_second(1, u32::MAX).every(), Duration::from_micros(1));
        assert_eq!(Rate::per_second(1, 256).every(), Duration::from_micros(3_907), "rather less than more");
        assert_eq!(Rate::one_each(1, Duration::MAX).every(), LONGEST_WAIT);
        assert_eq!(Rate::one_each(1, Duration::ZERO).every(), Duration::from_micros(1));
    }

    fn rate() -> impl Strategy<Value = Rate> {
        (1..20u32, 1..50_000u64).prop_map(|(burst, us)| Rate::one_each(burst, Duration::from_micros(us)))
    }

    proptest! {
        /// Whatever the schedule: between any two instants no more comes through than the burst and what the rate
        /// gives in between; and a refusal tells the very microsecond at which there is a token.
        #[test]
        fn never_more_than_burst_and_rate_and_never_a_wait_in_vain(
            rate in rate(),
            gaps in prop::collection::vec((0..60_000u64, prop::bool::ANY, 0..3u8), 1..200),
        ) {
            let mut buckets = Buckets::new(Some(rate), 16);
            let mut through: [Vec<u64>; 3] = Default::default();
            let mut at = 0;
            for (gap, together, key) in gaps {
                at += if together { 0 } else { gap };
                match buckets.take(us(at), key) {
                    Ok(()) => through[usize::from(key)].push(at),
                    Err(wait) => {
                        let wait = wait.as_micros() as u64;
                        prop_assert!(wait > 0 && wait <= rate.every_us);
                        prop_assert_eq!(buckets.take(us(at + wait - 1), key), Err(Duration::from_micros(1)));
                        prop_assert_eq!(buckets.take(us(at + wait), key), Ok(()), "the patient one finds it");
                        at += wait;
                        through[usize::from(key)].push(at);
                    }
                }
            }
            for through in through {
                for (n, from) in through.iter().enumerate() {
                    for (more, to) in through[n..].iter().enumerate() {
                        prop_assert!((more as u64) < u64::from(rate.burst) + (to - from) / rate.every_us);
                    }
                }
            }
        }

        /// A table with too little room never refuses whom one with room enough would let through, and never holds
        /// more than it may.
        #[test]
        fn a_crowded_table_is_bounded_and_refuses_no_more(
            rate in rate(),
            steps in prop::collection::vec((0..5_000u64, 0..12u32), 1..300),
        ) {
            let (mut crowded, mut roomy) = (Buckets::new(Some(rate), 4), Buckets::new(Some(rate), 1_000));
            let mut at = 0;
            for (gap, key) in steps {
                at += gap;
                let key = u32::from(Ipv4Addr::from(key << 8));
                let (crowded_wait, roomy_wait) = (crowded.wait(us(at), key), roomy.wait(us(at), key));
                prop_assert!(crowded_wait <= roomy_wait);
                // What the crowded one lets through, both count.
                if crowded_wait.is_zero() {
                    crowded.draw(us(at), key);
                    roomy.draw(us(at), key);
                }
                prop_assert!(crowded.full_at.len() <= 4 && crowded.order.len() == crowded.full_at.len());
                let held = crowded.order.iter().all(|(at, key)| crowded.full_at.get(key) == Some(at));
                prop_assert!(held && roomy.full_at.len() <= 12);
            }
        }
    }
}
