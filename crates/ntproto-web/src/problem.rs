//! Refusals as `application/problem+json` (RFC 9457).
//!
//! ```
//! use ntproto_web::problem::{Code, Problem};
//!
//! let problem = Problem::new(Code::OffsetAhead).offset(4_096);
//! assert_eq!(problem.status().as_u16(), 409);
//! assert!(problem.json().contains("\"code\":\"offset_ahead\",\"offset\":4096"));
//! ```

use core::fmt::Write as _;

use http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $code:literal, $title:literal;)*) => {
        /// Why a request is refused. The name is part of the protocol, and never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// The status it comes with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                }
            }

            /// For people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                }
            }
        }
    };
}

codes! {
    /// The request can't be read.
    BadRequest = 400, "bad_request", "The request can't be read";
    /// A bootstrap's query can't be read.
    BadQuery = 400, "bad_query", "The query is too long, badly escaped, or has a parameter twice";
    /// A bootstrap without an application.
    MissingAppId = 400, "missing_app_id", "The query has no app_id";
    /// A bootstrap's application is no number.
    BadAppId = 400, "bad_app_id", "app_id is not a number of 32 bits";
    /// Not an application of this server.
    UnknownApp = 404, "unknown_app", "This server has no such application";
    /// A bootstrap without a version.
    MissingVersion = 400, "missing_version", "The query has no version";
    /// A bootstrap's version is none.
    BadVersion = 400, "bad_version", "version is not three numbers with dots between, such as 2.4.1";
    /// No version that is spoken here.
    UnsupportedVersion = 400, "unsupported_version", "None of the versions spoken here fits";
    /// `Content-Range` is missing, is there twice, or can't be read.
    BadRange = 400, "bad_range", "Content-Range must be one range: bytes FIRST-LAST/TOTAL";
    /// A length contradicts another one, or what came.
    LengthMismatch = 400, "length_mismatch", "The lengths contradict each other";
    /// The body is not what its digest says.
    DigestMismatch = 400, "digest_mismatch", "The digest is not that of the content";
    /// The upload is whole already.
    Completed = 400, "completed_upload", "The upload is complete";
    /// No session's token.
    Unauthorized = 401, "unauthorized", "Show the token of a session: Authorization: Bearer";
    /// Not for this account.
    Forbidden = 403, "forbidden", "Not allowed";
    /// No such thing.
    NotFound = 404, "not_found", "There is no such thing";
    /// Not by this method.
    Method = 405, "method_not_allowed", "Not by this method";
    /// The body came too slowly.
    Slow = 408, "too_slow", "The body came too slowly";
    /// The chunk begins behind the offset: those bytes are there.
    OffsetBehind = 409, "offset_behind", "These bytes are there already: go on at the offset";
    /// The chunk begins ahead of the offset: bytes before it are missing.
    OffsetAhead = 409, "offset_ahead", "Bytes before these are missing: go on at the offset";
    /// A newer request writes this upload.
    Superseded = 409, "superseded", "A newer request continues this upload";
    /// The client's `upload_id` was used for something else.
    UploadIdUsed = 409, "upload_id_used", "This upload_id was used for another file";
    /// It was there, and is no more.
    Gone = 410, "gone", "It was there, and is no more";
    /// A precondition does not hold.
    Precondition = 412, "precondition_failed", "The file is another one than the request names";
    /// This version of tus is not spoken.
    TusVersion = 412, "tus_version", "This server speaks tus 1.0.0";
    /// More than a file may have.
    TooLarge = 413, "too_large", "More bytes than a file may have";
    /// The target is too long.
    TargetTooLong = 414, "target_too_long", "The target is too long";
    /// The body is not of the type this request takes.
    MediaType = 415, "unsupported_media_type", "The body is not of the type that this request takes";
    /// No part of the file lies in this range.
    Range = 416, "range_not_satisfiable", "The file has no such range";
    /// The bytes end beyond the file's length.
    BeyondLength = 416, "beyond_length", "These bytes end beyond the length of the upload";
    /// Too many requests without a token from one network.
    TooManyRequests = 429, "too_many_requests", "Too many requests from this network: come again later";
    /// The account has too many uploads.
    TooManyUploads = 429, "too_many_uploads", "The account has too many unfinished uploads";
    /// tus: the body is not what its checksum says.
    Checksum = 460, "checksum_mismatch", "The checksum is not that of the content";
    /// The server failed.
    Internal = 500, "internal", "The server failed";
    /// Too much at once, or the server can't store now.
    Unavailable = 503, "unavailable", "Not now: try again";
    /// The disk is full.
    DiskFull = 507, "disk_full", "The server's disk is full";
    /// The account's files fill its quota.
    Quota = 507, "quota_exceeded", "The files of the account fill its quota";
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why.
    pub code: Code,
    /// What it is to be called instead of `about:blank`.
    pub kind: &'static str,
    /// More of it, for people.
    pub detail: Option<&'static str>,
    /// The upload's true offset.
    pub offset: Option<u64>,
    /// The offset the request named.
    pub provided: Option<u64>,
    /// Whether the upload is complete; for headers.
    pub complete: Option<bool>,
    /// The versions spoken, where one that is not was asked for.
    pub versions: &'static [&'static str],
}

impl Problem {
    /// A refusal with nothing more to say.
    #[must_use]
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            kind: "about:blank",
            detail: None,
            offset: None,
            provided: None,
            complete: None,
            versions: &[],
        }
    }

    /// With something more for people.
    #[must_use]
    pub const fn detail(self, detail: &'static str) -> Self {
        Self { detail: Some(detail), ..self }
    }

    /// With the upload's true offset.
    #[must_use]
    pub const fn offset(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Its body. All texts in it are ours, and need no escapes.
    #[must_use]
    pub fn json(&self) -> String {
        let Self { code, kind, detail, offset, provided, versions, complete: _ } = self;
        let (title, status, name) = (code.title(), code.status(), code.name());
        let mut json =
            format!("{{\"type\":\"{kind}\",\"title\":\"{title}\",\"status\":{status},\"code\":\"{name}\"");
        // Writing to a string does not fail.
        if let Some(detail) = detail {
            let _ = write!(json, ",\"detail\":\"{detail}\"");
        }
        if let Some(offset) = offset {
            let _ = write!(json, ",\"offset\":{offset},\"expected-offset\":{offset}");
        }
        if let Some(provided) = provided {
            let _ = write!(json, ",\"provided-offset\":{provided}");
        }
        if !versions.is_empty() {
            let _ = write!(json, ",\"versions\":[\"{}\"]", versions.join("\",\""));
        }
        json.push('}');
        json
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_names_of_their_own_and_texts_that_need_no_escapes() {
        for (n, code) in Code::ALL.iter().enumerate() {
            assert!(Code::ALL[..n].iter().all(|other| other.name() != code.name()), "{code:?}");
            assert!(!code.title().contains(['"', '\\']), "{code:?}");
            assert_eq!(Problem::new(*code).status().as_u16(), code.status());
        }
    }

    #[test]
    fn a_problem_says_what_it_knows() {
        let all = Problem { provided: Some(7), ..Problem::new(Code::OffsetBehind).offset(9).detail("d") };
        let expected = "{\"type\":\"about:blank\",\"title\":\"These bytes are there already: go on at the offset\",\
             \"status\":409,\"code\":\"offset_behind\",\"detail\":\"d\",\"offset\":9,\"expected-offset\":9,\"provided-offset\":7}";
        assert_eq!(all.json(), expected);
    }
}
