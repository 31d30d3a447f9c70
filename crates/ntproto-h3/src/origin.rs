//! Which web pages may open a session.

use http::HeaderMap;
use http::header::ORIGIN;

/// Who may ask, by the `origin` of the request. Browsers always say it, and say the truth; others may leave it out.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use ntproto_h3::origin::Origins;
///
/// let origins = Origins::only(["https://chat.example"]);
/// let mut fields = HeaderMap::new();
/// assert!(origins.allow(&fields), "no browser");
/// fields.insert("origin", HeaderValue::from_static("https://CHAT.example:443"));
/// assert!(origins.allow(&fields));
/// fields.insert("origin", HeaderValue::from_static("https://evil.example"));
/// assert!(!origins.allow(&fields));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(Allow);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Allow {
    Any,
    Only(Vec<String>),
}

impl Origins {
    /// Every page may ask.
    #[must_use]
    pub const fn any() -> Self {
        Self(Allow::Any)
    }

    /// Pages of these origins may ask (`scheme://host`, and `:port` if it is not the scheme's own), and whoever is no
    /// browser.
    #[must_use]
    pub fn only<T: AsRef<str>>(origins: impl IntoIterator<Item = T>) -> Self {
        Self(Allow::Only(origins.into_iter().map(|origin| normal(origin.as_ref())).collect()))
    }

    /// Whether a request with these fields may open a session. One with two origins may not, nor one whose origin
    /// is `null` unless that is on the list.
    //= spec: http3-24
    #[must_use]
    pub fn allow(&self, fields: &HeaderMap) -> bool {
        let Allow::Only(allowed) = &self.0 else { return true };
        let mut values = fields.get_all(ORIGIN).iter();
        match (values.next(), values.next()) {
            (None, _) => true,
            (Some(value), None) => value.to_str().is_ok_and(|origin| allowed.contains(&normal(origin))),
            (Some(_), Some(_)) => false,
        }
    }
}

/// In small letters, without the port that the scheme means anyway.
fn normal(origin: &str) -> String {
    let mut origin = origin.trim().trim_end_matches('/').to_ascii_lowercase();
    for (scheme, port) in [("https://", ":443"), ("http://", ":80")] {
        if origin.starts_with(scheme) && origin.ends_with(port) {
            origin.truncate(origin.len() - port.len());
        }
    }
    origin
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn from(origins: &[&'static str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for origin in origins {
            fields.append(ORIGIN, HeaderValue::from_static(origin));
        }
        fields
    }

    //= proof: http3-24
    #[test]
    fn foreign_pages_are_refused() {
        let origins = Origins::only(["https://chat.example", "http://127.0.0.1:8080"]);
        for (origin, allowed) in [
            ("https://chat.example", true),
            ("https://chat.example/", true),
            ("https://chat.example:443", true),
            ("https://chat.example:8443", false),
            ("http://chat.example", false),
            ("https://chat.example.evil.example", false),
            ("https://evil.example", false),
            ("http://127.0.0.1:8080", true),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(origins.allow(&from(&[origin])), allowed, "{origin}");
        }
        assert!(!origins.allow(&from(&["https://chat.example", "https://chat.example"])));
        assert!(!origins.allow(&from(&["https://chat.example", "https://evil.example"])));
        assert!(Origins::any().allow(&from(&["https://evil.example"])));
        assert!(!Origins::only([""; 0]).allow(&from(&["https://chat.example"])));
    }
}
