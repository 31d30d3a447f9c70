//! Time as a value: it comes in with every call and is never read here.

use core::num::NonZeroU64;
use core::ops::Add;
use core::time::Duration;

/// A point on a monotonic clock, in microseconds since an origin the host chose.
///
/// Backed by a `NonZeroU64`, so `Option<Instant>` takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// The earliest instant.
    pub const ORIGIN: Self = Self(NonZeroU64::MIN);

    /// An instant `micros` after the origin. Zero counts as one.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        match NonZeroU64::new(micros) {
            Some(n) => Self(n),
            None => Self::ORIGIN,
        }
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0.get()
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the far end of the clock, 584,000 years away.
    fn add(self, rhs: Duration) -> Self {
        let micros = u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// Wall-clock time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl Add<Duration> for UnixMillis {
    type Output = Self;

    /// Saturates.
    fn add(self, rhs: Duration) -> Self {
        let millis = u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

/// Both clocks, read once by the host for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: every timer counts on it.
    pub mono: Instant,
    /// The wall clock: only what a peer sees is stamped with it.
    pub unix: UnixMillis,
}

/// Whole milliseconds that are no less, as a peer is told to wait.
///
/// ```
/// use core::time::Duration;
/// assert_eq!(ntproto_core::time::whole_millis(Duration::from_micros(1_001)), 2);
/// ```
#[must_use]
pub fn whole_millis(wait: Duration) -> u32 {
    u32::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u32::MAX)
}

/// The earlier of two optional deadlines.
#[must_use]
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_optional_instant_is_free() {
        assert_eq!(size_of::<Option<Instant>>(), size_of::<Instant>());
    }

    #[test]
    fn the_earlier_of_two_deadlines() {
        let (a, b) = (Some(Instant::from_micros(1)), Some(Instant::from_micros(2)));
        assert_eq!((earliest(a, b), earliest(b, a)), (a, a));
        assert_eq!((earliest(a, None), earliest(None, b), earliest(None, None)), (a, b, None));
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Instant::from_micros(u64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(Instant::ORIGIN.saturating_since(end), Duration::ZERO);
        assert_eq!(Instant::from_micros(0), Instant::ORIGIN);
    }
}
