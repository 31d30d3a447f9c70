//! Which request is about what.

use http::{Method, Request};
use ntproto_core::bootstrap;
use ntproto_core::ids::FileId;

use crate::config::MAX_TARGET;
use crate::problem::Code;
use crate::text;

/// Where uploads are created.
pub const FILES: &str = "/v2/files";

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v2/files`.
    Files,
    /// `/v2/files/{id}`: an upload, and the file it becomes.
    File(FileId),
    /// `/v2/handshake`: what a client needs to sign in.
    Handshake,
    /// `/healthz`: whether the server runs.
    Health,
    /// `/readyz`: whether it can do its work.
    Ready,
    /// Nothing there is.
    None,
}

impl Route {
    /// The names of all routes, for counters.
    pub const ALL: [&'static str; 6] =
        ["/v2/files", "/v2/files/{id}", "/healthz", "/readyz", "/v2/handshake", "none"];

    /// What the target names. A file's number has one spelling; whatever else stands in its place is no file.
    ///
    /// # Errors
    /// It is too long.
    pub fn of(request: &Request<()>) -> Result<Self, Code> {
        let uri = request.uri();
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        if path.len() + query.len() > MAX_TARGET {
            return Err(Code::TargetTooLong);
        }
        Ok(match path {
            bootstrap::PATH => Self::Handshake,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            FILES => Self::Files,
            //= spec: files-2
            _ => path
                .strip_prefix(FILES)
                .and_then(|rest| rest.strip_prefix('/'))
                .and_then(text::id)
                .map_or(Self::None, |id| Self::File(FileId(id))),
        })
    }

    /// Its name, for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files => Self::ALL[0],
            Self::File(_) => Self::ALL[1],
            Self::Health => Self::ALL[2],
            Self::Ready => Self::ALL[3],
            Self::Handshake => Self::ALL[4],
            Self::None => Self::ALL[5],
        }
    }

    /// The methods it takes.
    #[must_use]
    pub const fn allow(self) -> &'static str {
        match self {
            Self::Files => "OPTIONS, POST",
            Self::File(_) => "DELETE, GET, HEAD, OPTIONS, PATCH, POST",
            Self::Health | Self::Ready | Self::Handshake => "GET, HEAD",
            Self::None => "",
        }
    }
}

/// A method's name for counters: those we know, or `other`.
#[must_use]
pub fn method_name(method: &Method) -> &'static str {
    const NAMES: [&str; 8] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "CONNECT"];
    NAMES.into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(target: &str) -> Result<Route, Code> {
        Route::of(&Request::builder().uri(target).body(()).unwrap())
    }

    //= proof: files-2
    #[test]
    fn a_path_in_an_id_names_nothing() {
        let id = text::base64url(&[7; 16]);
        assert_eq!(route(&format!("/v2/files/{id}")), Ok(Route::File(FileId([7; 16]))));
        assert_eq!(route(&format!("/v2/files/{id}?a=b")), Ok(Route::File(FileId([7; 16]))));
        assert_eq!(route("/v2/files?conversation=x"), Ok(Route::Files));
        let long = "a".repeat(22);
        for other in [
            "/v2/files/".into(),
            "/v2/files/..".into(),
            "/v2/files/../../etc/passwd".into(),
            "/v2/files/%2e%2e%2f%2e%2e%2fetc%2fpasswd".into(),
            format!("/v2/files/{id}/"),
            format!("/v2/files/{id}/../x"),
            format!("/v2/files//{id}"),
            format!("/v2/files/{id}="),
            format!("/v2/files/{id}%00"),
            // The last letter has bits that say nothing: one spelling only.
            format!("/v2/files/{long}"),
            "/v2/filesx".into(),
            "/".into(),
        ] {
            assert_eq!(route(&other), Ok(Route::None), "{other}");
        }
        assert_eq!(route(&format!("/v2/files?{}", "x".repeat(MAX_TARGET))), Err(Code::TargetTooLong));
    }

    #[test]
    fn only_known_methods_have_a_name() {
        assert_eq!(method_name(&Method::PATCH), "PATCH");
        assert_eq!(method_name(&Method::from_bytes(b"BREW").unwrap()), "other");
    }
}
