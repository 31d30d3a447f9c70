//! A token bucket, as operators set it.

use ntproto_hub::Rate;

/// How much may come at once, and how many more a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// At once.
    pub burst: u32,
    /// A second after that; 0: there is no limit.
    pub rate: u32,
}

impl Bucket {
    /// The most of either.
    pub const MOST: u32 = 1_000_000;

    /// What the hub is told.
    #[must_use]
    pub fn limit(self) -> Option<Rate> {
        (self.rate > 0).then(|| Rate::per_second(self.burst, self.rate))
    }
}

impl From<Option<Rate>> for Bucket {
    fn from(rate: Option<Rate>) -> Self {
        match rate {
            None => Self { burst: 1, rate: 0 },
            Some(rate) => {
                let every = rate.every().as_micros().max(1);
                let per_second = (1_000_000 + every / 2) / every;
                Self { burst: rate.burst(), rate: u32::try_from(per_second).unwrap_or(Self::MOST).max(1) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ntproto_hub::HubConfig;

    use super::*;

    #[test]
    fn the_hub_is_told_what_was_set() {
        let hub = HubConfig::default();
        let rates = [hub.auth_rate, hub.device_messages, hub.device_requests, hub.conversation_messages];
        for rate in rates.into_iter().chain([
            None,
            Some(Rate::per_second(1, 1)),
            Some(Rate::per_second(9, 1_000_000)),
        ]) {
            assert_eq!(Bucket::from(rate).limit(), rate);
        }
    }
}
