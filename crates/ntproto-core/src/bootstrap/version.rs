//! Versions as numbers.

use core::fmt;
use core::str::FromStr;

use crate::session::handshake::MAX_OFFER_LEN;

/// A version: `2.4.1`.
///
/// ```
/// use ntproto_core::bootstrap::Version;
///
/// let version: Version = "2.4.1".parse().unwrap();
/// assert_eq!(version, Version { major: 2, minor: 4, patch: 1 });
/// assert!("2.4".parse::<Version>().is_err() && "2.04.1".parse::<Version>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Another one is another protocol.
    pub major: u16,
    /// Another one does not understand this one's handshake.
    pub minor: u16,
    /// Within one minor version, whoever speaks a later one may speak earlier ones too.
    pub patch: u16,
}

impl FromStr for Version {
    type Err = BadVersion;

    /// Three decimal numbers with dots between, none with a zero before it: one text for one version.
    fn from_str(text: &str) -> Result<Self, BadVersion> {
        if text.len() > MAX_OFFER_LEN {
            return Err(BadVersion);
        }
        let mut parts = text.split('.').map(|part| {
            let digits = part.bytes().all(|b| b.is_ascii_digit());
            let canonical = part == "0" || !part.starts_with('0');
            if digits && canonical { part.parse().ok() } else { None }
        });
        let mut next = || parts.next().flatten().ok_or(BadVersion);
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        if parts.next().is_some() { Err(BadVersion) } else { Ok(version) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A text is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadVersion;

impl fmt::Display for BadVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version is three numbers with dots between, such as 2.4.1")
    }
}

impl core::error::Error for BadVersion {}

/// Which of the versions `spoken` is used with a client whose best is `asked`: the latest one of the same major and
/// minor version that is not later than `asked`.
///
/// ```
/// use ntproto_core::bootstrap::choose;
///
/// let spoken = &["2.4.3", "2.4.1"];
/// assert_eq!(choose("2.4.2".parse().unwrap(), spoken), Some("2.4.1"));
/// assert_eq!(choose("2.4.9".parse().unwrap(), spoken), Some("2.4.3"));
/// assert_eq!(choose("2.5.0".parse().unwrap(), spoken), None);
/// ```
#[must_use]
pub fn choose<'a>(asked: Version, spoken: &[&'a str]) -> Option<&'a str> {
    //= spec: bootstrap-4
    let fits = |v: &Version| (v.major, v.minor) == (asked.major, asked.minor) && *v <= asked;
    let numbered = spoken.iter().filter_map(|text| Some((text.parse::<Version>().ok()?, *text)));
    numbered.filter(|(v, _)| fits(v)).max_by_key(|(v, _)| *v).map(|(_, text)| text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn one_text_for_one_version() {
        for bad in
            ["", "2", "2.4", "2.4.", ".4.1", "2.4.1.0", "02.4.1", "2.4.01", "+2.4.1", "2.4.-1", "2.4.65536"]
        {
            assert_eq!(bad.parse::<Version>(), Err(BadVersion), "{bad}");
        }
        assert_eq!("0.0.0".parse(), Ok(Version { major: 0, minor: 0, patch: 0 }));
    }

    //= proof: bootstrap-4
    #[test]
    fn the_latest_that_both_can() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let spoken = ["2.4.1", "2.4.3", "2.3.9", "3.0.0"];
        for (asked, chosen) in [
            ("2.4.0", None),
            ("2.4.1", Some("2.4.1")),
            ("2.4.2", Some("2.4.1")),
            ("2.4.65535", Some("2.4.3")),
            ("2.3.9", Some("2.3.9")),
            ("2.5.0", None),
            ("3.0.7", Some("3.0.0")),
            ("4.0.0", None),
        ] {
            assert_eq!(choose(version(asked), &spoken), chosen, "{asked}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(major: u16, minor: u16, patch: u16) {
            let version = Version { major, minor, patch };
            let text = version.to_string();
            // One that no AUTH_REQ could offer is none.
            prop_assert_eq!(text.parse().ok(), (text.len() <= MAX_OFFER_LEN).then_some(version));
        }

        #[test]
        fn what_is_read_is_written_the_same(text in "[0-9.+-]{0,18}") {
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.to_string(), text);
            }
        }

        #[test]
        fn what_is_chosen_is_spoken_and_not_too_new(asked: [u8; 3], spoken: Vec<[u8; 3]>) {
            let version = |[a, b, c]: [u8; 3]| Version { major: a.into(), minor: b.into(), patch: c.into() };
            let asked = version(asked);
            let texts: Vec<_> = spoken.iter().map(|v| version(*v).to_string()).collect();
            let spoken: Vec<&str> = texts.iter().map(|t| t.as_str()).collect();
            match choose(asked, &spoken) {
                Some(text) => {
                    let chosen: Version = text.parse().unwrap();
                    prop_assert!(spoken.contains(&text) && chosen <= asked);
                    prop_assert_eq!((chosen.major, chosen.minor), (asked.major, asked.minor));
                }
                None => prop_assert!(!texts.contains(&asked.to_string())),
            }
        }
    }
}
