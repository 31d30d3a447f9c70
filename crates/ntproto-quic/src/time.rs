//! The two clocks quinn-proto asks for, fed by the host's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ntproto_core::time::{Instant, UnixMillis};
use quinn_proto::TimeSource;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// Maps core's instants onto the opaque ones of `std` that quinn-proto speaks, from a base the host gives.
#[derive(Clone, Copy)]
pub(crate) struct TimeMap {
    base: std::time::Instant,
}

/// As far as any `std` clock reaches from now: 100 years.
const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);

impl TimeMap {
    pub(crate) fn new(base: std::time::Instant) -> Self {
        Self { base }
    }

    pub(crate) fn to_std(self, at: Instant) -> std::time::Instant {
        self.base + Duration::from_micros(at.as_micros()).min(FAR)
    }

    /// Rounds up: a deadline must have passed when the host wakes at it.
    pub(crate) fn to_core(self, at: std::time::Instant) -> Instant {
        let nanos = at.saturating_duration_since(self.base).as_nanos();
        Instant::from_micros(u64::try_from(nanos.div_ceil(1000)).unwrap_or(u64::MAX))
    }
}

/// The time of the current call, for parts of quinn-proto and rustls that ask for it instead of taking it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallClock(Arc<AtomicU64>);

impl CallClock {
    /// Sets it, in milliseconds of whatever clock its readers mean.
    pub(crate) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn set_unix(&self, unix: UnixMillis) {
        self.set(unix.0);
    }

    fn read(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Certificates are judged by the wall clock of the call that connected.
impl TimeProvider for CallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.read()))
    }
}

/// Retry tokens age by the monotonic clock: they never outlive the process.
impl TimeSource for CallClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.read().min(FAR)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    #[test]
    fn deadlines_round_up_and_back() {
        let map = TimeMap::new(std::time::Instant::now());
        let at = Instant::from_micros(1_234_567);
        assert_eq!(map.to_core(map.to_std(at)), at);
        let late = map.to_std(at) + Duration::from_nanos(1);
        assert_eq!(map.to_core(late), Instant::from_micros(1_234_568));
        // Beyond any clock: clamped, not a panic.
        let _ = map.to_std(Instant::from_micros(u64::MAX));
    }
}
