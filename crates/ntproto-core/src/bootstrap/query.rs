//! What a client asks with, and why it may be refused.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::version::{Version, choose};
use crate::session::handshake::VERSIONS;

/// Where a server answers.
pub const PATH: &str = "/v2/handshake";
/// The longest query read: ours has about 30 bytes, and parameters this version does not know are skipped.
pub const MAX_QUERY: usize = 1024;

/// What a client asks with: which application it is, and its best version.
///
/// ```
/// use ntproto_core::bootstrap::{Query, Refused};
///
/// let query = Query::parse(Some("app_id=10001&version=2.4.1"))?;
/// assert_eq!(query.target(), "/v2/handshake?app_id=10001&version=2.4.1");
/// assert_eq!(query.admit(&[10001]), Ok("2.4.1"));
/// assert_eq!(Query::parse(Some("app_id=10001")), Err(Refused::MissingVersion));
/// # Ok::<(), Refused>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// The application.
    pub app_id: u32,
    /// The latest version that the client speaks.
    pub version: Version,
}

impl Query {
    /// What this version of the client asks with.
    #[must_use]
    pub fn of(app_id: u32) -> Self {
        // The list is a constant of ours and its first one the best.
        let version = VERSIONS[0].parse().unwrap_or(Version { major: 2, minor: 4, patch: 1 });
        Self { app_id, version }
    }

    /// The path and query of the request.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{PATH}?app_id={}&version={}", self.app_id, self.version)
    }

    /// Reads the part behind the question mark. What is not known is skipped.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(query: Option<&str>) -> Result<Self, Refused> {
        let query = query.unwrap_or_default();
        //= spec: bootstrap-2
        if query.len() > MAX_QUERY {
            return Err(Refused::BadQuery);
        }
        let (mut app_id, mut version) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (unescape(name)?, unescape(value)?);
            let slot = match &*name {
                "app_id" => &mut app_id,
                "version" => &mut version,
                _ => continue,
            };
            //= spec: bootstrap-2
            if slot.replace(value).is_some() {
                return Err(Refused::BadQuery);
            }
        }
        let app_id = number(&app_id.ok_or(Refused::MissingAppId)?).ok_or(Refused::BadAppId)?;
        let version = version.ok_or(Refused::MissingVersion)?.parse().map_err(|_| Refused::BadVersion)?;
        Ok(Self { app_id, version })
    }

    /// Whether this application may come in, and the version that is spoken with it.
    ///
    /// # Errors
    /// [`Refused::UnknownApp`], [`Refused::UnsupportedVersion`].
    pub fn admit(&self, app_ids: &[u32]) -> Result<&'static str, Refused> {
        //= spec: bootstrap-3
        if !app_ids.contains(&self.app_id) {
            return Err(Refused::UnknownApp);
        }
        choose(self.version, VERSIONS).ok_or(Refused::UnsupportedVersion)
    }
}

/// A number without a sign or zeros before it.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if digits && canonical { text.parse().ok() } else { None }
}

/// Takes percent escapes out.
fn unescape(text: &str) -> Result<Cow<'_, str>, Refused> {
    if !text.contains('%') {
        return Ok(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
        let (pair, after) = rest.split_first_chunk::<2>().ok_or(Refused::BadQuery)?;
        let (high, low) = (digit(pair[0]), digit(pair[1]));
        bytes.push(high.zip(low).map(|(h, l)| h << 4 | l).ok_or(Refused::BadQuery)?);
        rest = after;
    }
    String::from_utf8(bytes).map(Cow::from).map_err(|_| Refused::BadQuery)
}

/// Why a bootstrap is refused. Each has a code of its own, which the answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too long, escapes that are none, a parameter twice.
    BadQuery,
    /// No `app_id`.
    MissingAppId,
    /// `app_id` is no number of 32 bits.
    BadAppId,
    /// Not an application of this server.
    UnknownApp,
    /// No `version`.
    MissingVersion,
    /// `version` is not three numbers with dots between.
    BadVersion,
    /// None of the versions spoken here fits; the answer names them.
    UnsupportedVersion,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::BadQuery,
        Self::MissingAppId,
        Self::BadAppId,
        Self::UnknownApp,
        Self::MissingVersion,
        Self::BadVersion,
        Self::UnsupportedVersion,
    ];

    /// Its code, as the answer names it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadQuery => "bad_query",
            Self::MissingAppId => "missing_app_id",
            Self::BadAppId => "bad_app_id",
            Self::UnknownApp => "unknown_app",
            Self::MissingVersion => "missing_version",
            Self::BadVersion => "bad_version",
            Self::UnsupportedVersion => "unsupported_version",
        }
    }

    /// The one with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.code() == code)
    }

    /// Its HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::UnknownApp => 404,
            _ => 400,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadQuery => {
                "the query can't be read: it is too long, badly escaped, or has a parameter twice"
            }
            Self::MissingAppId => "the query has no app_id",
            Self::BadAppId => "app_id is not a number of 32 bits",
            Self::UnknownApp => "this server has no such application",
            Self::MissingVersion => "the query has no version",
            Self::BadVersion => "version is not three numbers with dots between, such as 2.4.1",
            Self::UnsupportedVersion => "none of the versions spoken here fits",
        })
    }
}

impl core::error::Error for Refused {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(query: &str) -> Refused {
        Query::parse(Some(query)).unwrap_err()
    }

    //= proof: bootstrap-2
    #[test]
    fn what_is_hostile_is_refused() {
        use Refused::{BadAppId, BadQuery, BadVersion, MissingAppId, MissingVersion};
        assert_eq!(Query::parse(None), Err(MissingAppId));
        let megabyte = "x".repeat(1 << 20);
        for (query, why) in [
            ("", MissingAppId),
            ("version=2.4.1", MissingAppId),
            ("app_id=10001", MissingVersion),
            ("app_id=10001&app_id=10001&version=2.4.1", BadQuery),
            ("app_id=10001&version=2.4.1&version=2.4.1", BadQuery),
            ("app_id=10001&%61pp_id=10002&version=2.4.1", BadQuery),
            ("app_id=%&version=2.4.1", BadQuery),
            ("app_id=%1&version=2.4.1", BadQuery),
            ("app_id=%zz&version=2.4.1", BadQuery),
            ("app_id=%ff&version=2.4.1", BadQuery),
            ("other=%&app_id=10001&version=2.4.1", BadQuery),
            ("app_id=18446744073709551617&version=2.4.1", BadAppId),
            ("app_id=4294967296&version=2.4.1", BadAppId),
            ("app_id=-1&version=2.4.1", BadAppId),
            ("app_id=+1&version=2.4.1", BadAppId),
            ("app_id=010001&version=2.4.1", BadAppId),
            ("app_id=&version=2.4.1", BadAppId),
            ("app_id&version=2.4.1", BadAppId),
            ("app_id=10001&version=2.4", BadVersion),
            ("app_id=10001&version=2.4.1%00", BadVersion),
            ("app_id=10001&version=", BadVersion),
            (&megabyte, BadQuery),
            (&format!("app_id=10001&version=2.4.1&{megabyte}"), BadQuery),
        ] {
            assert_eq!(refused(query), why, "{}", &query[..query.len().min(80)]);
        }
    }

    #[test]
    fn what_is_not_known_is_skipped() {
        let query = Query::parse(Some("utm=x&&version=2%2E4.1&app_id=1%30001&x=%20")).unwrap();
        assert_eq!(query, Query::of(10001));
    }

    //= proof: bootstrap-3
    #[test]
    fn who_may_come_in() {
        assert_eq!(Query::of(10001).admit(&[10001]), Ok("2.4.1"));
        assert_eq!(Query::of(7).admit(&[10001]), Err(Refused::UnknownApp));
        let newer = Query { version: "2.5.0".parse().unwrap(), ..Query::of(10001) };
        assert_eq!(newer.admit(&[10001]), Err(Refused::UnsupportedVersion));
    }

    #[test]
    fn codes_are_names() {
        for why in Refused::ALL {
            assert_eq!(Refused::from_code(why.code()), Some(why));
        }
        assert_eq!(Refused::from_code("other"), None);
    }

    proptest! {
        #[test]
        fn round_trip(app_id: u32, major in 0..100u16, minor in 0..100u16, patch: u16) {
            let query = Query { app_id, version: Version { major, minor, patch } };
            let target = query.target();
            let (path, text) = target.split_once('?').unwrap();
            prop_assert_eq!(path, PATH);
            prop_assert_eq!(Query::parse(Some(text)), Ok(query));
        }

        #[test]
        fn noise_never_panics(query in "(app_id|version|%[0-9a-z]{0,2}|=|&|[0-9.]|\\PC){0,200}") {
            if let Ok(read) = Query::parse(Some(&query)) {
                let again = read.target();
                prop_assert_eq!(Query::parse(again.split_once('?').map(|(_, q)| q)), Ok(read));
            }
        }
    }
}
