//! IETF resumable uploads: what all the drafts say, and what each says otherwise.

use std::time::Duration;

use ntproto_web::WebConfig;
use ntproto_web::text::base64url;

use crate::bench::{Bench, Got};

const VERSIONS: [&str; 4] = ["5", "6", "7", "8"];
const TYPE: (&str, &str) = ("content-type", "application/partial-upload");

/// A client of one of the drafts.
struct Client<'b> {
    bench: &'b mut Bench,
    version: &'static str,
}

impl Client<'_> {
    fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        let headers = [&[("upload-draft-interop-version", self.version)], headers].concat();
        let got = self.bench.ask(0, method, target, &headers, body);
        assert_eq!(got.header("upload-draft-interop-version"), Some(self.version));
        got
    }

    fn create(&mut self, headers: &[(&str, &str)], body: &[u8]) -> Got {
        let target = format!("/v2/files?conversation={}", base64url(&self.bench.conversation().0));
        self.ask("POST", &target, headers, body)
    }

    /// An upload whose length is told, or not; where it is.
    fn begin(&mut self, length: Option<&str>) -> String {
        let length = length.map(|length| ("upload-length", length));
        let headers: Vec<_> = [("upload-complete", "?0")].into_iter().chain(length).collect();
        let made = self.create(&headers, b"");
        assert_eq!((made.status(), made.offset(), made.header("upload-complete")), (201, 0, Some("?0")));
        made.header("location").unwrap().to_owned()
    }

    fn append(&mut self, at: &str, offset: u64, last: bool, body: &[u8]) -> Got {
        let (offset, complete) = (offset.to_string(), if last { "?1" } else { "?0" });
        self.ask("PATCH", at, &[TYPE, ("upload-offset", &offset), ("upload-complete", complete)], body)
    }

    fn head(&mut self, at: &str) -> Got {
        let head = self.ask("HEAD", at, &[], b"");
        assert_eq!((head.status(), head.header("cache-control")), (204, Some("no-store")));
        // RFC 9110, section 8.6: there is no content, and no length of it.
        assert_eq!((head.header("content-length"), head.body.len()), (None, 0));
        head
    }

    fn since(&self, version: &str) -> bool {
        self.version >= version
    }
}

fn each(tell: impl Fn(&mut Client<'_>)) {
    let mut bench = Bench::new();
    for version in VERSIONS {
        tell(&mut Client { bench: &mut bench, version });
    }
    bench.check();
}

fn body(got: &Got) -> String {
    String::from_utf8(got.body.clone()).unwrap()
}

#[test]
fn an_upload_in_parts() {
    each(|client| {
        let at = client.begin(Some("11"));
        let part = if client.since("7") { 204 } else { 201 };
        let got = client.append(&at, 0, false, b"hello");
        assert_eq!((got.status(), got.offset(), got.header("upload-complete")), (part, 5, Some("?0")));
        let untyped = [("upload-offset", "5"), ("upload-complete", "?0")];
        let got = client.ask("PATCH", &at, &untyped, b" ");
        assert_eq!(got.status(), if client.since("6") { 415 } else { part });
        let here = client.head(&at).offset();
        assert_eq!(client.head(&at).header("upload-length"), Some("11"));
        let rest = &b" world"[usize::try_from(here - 5).unwrap()..];
        let got = client.append(&at, here, true, rest);
        let whole = if client.since("7") { 200 } else { 201 };
        assert_eq!((got.status(), got.offset(), got.header("upload-complete")), (whole, 11, Some("?1")));
        let head = client.head(&at);
        assert_eq!((head.offset(), head.header("upload-complete")), (11, Some("?1")));
        let file = client.bench.ask(1, "GET", &at, &[], b"");
        assert_eq!((file.status(), &file.body[..]), (200, &b"hello world"[..]));
    });
}

//= proof: files-16
#[test]
fn an_upload_is_complete_when_its_client_says_so() {
    each(|client| {
        let at = client.begin(Some("5"));
        let got = client.append(&at, 0, false, b"hello");
        assert_eq!((got.offset(), got.header("upload-complete")), (5, Some("?0")));
        let head = client.head(&at);
        assert_eq!((head.offset(), head.header("upload-complete")), (5, Some("?0")));
        assert_eq!(client.bench.ask(1, "GET", &at, &[], b"").status(), 404);
        // Not even when nobody remembers who wrote it.
        client.bench.crash();
        assert_eq!(client.head(&at).header("upload-complete"), Some("?0"));
        let wrong = client.append(&at, 3, true, b"lo");
        assert_eq!((wrong.status(), wrong.offset()), (409, 5));
        assert_eq!(client.head(&at).header("upload-complete"), Some("?0"));
        let got = client.append(&at, 5, true, b"");
        assert_eq!((got.offset(), got.header("upload-complete")), (5, Some("?1")));
        assert_eq!(client.bench.ask(1, "GET", &at, &[], b"").body, b"hello");
        // A client of another dialect has nothing more to say: to it an upload with all its bytes is whole.
        let at = client.begin(Some("5"));
        client.append(&at, 0, false, b"hello");
        assert_eq!(client.bench.ask(0, "HEAD", &at, &[], b"").header("upload-complete"), Some("?1"));
    });
}

#[test]
fn a_length_that_comes_late_or_never() {
    each(|client| {
        let at = client.begin(None);
        client.append(&at, 0, false, b"hello");
        assert_eq!(client.head(&at).header("upload-length"), None);
        let got = client.append(&at, 5, true, b"");
        assert_eq!((got.offset(), got.header("upload-length")), (5, Some("5")));
        let at = client.begin(None);
        let told = [TYPE, ("upload-offset", "0"), ("upload-complete", "?0"), ("upload-length", "9")];
        client.ask("PATCH", &at, &told, b"hello");
        assert_eq!(client.head(&at).header("upload-length"), Some("9"));
        let other = client.append(&at, 5, true, b"!");
        assert_eq!((other.status(), other.code()), (400, "length_mismatch".into()));
        // A field that is no number is as if it was not there, since fields have types.
        let got = client.create(&[("upload-complete", "?0"), ("upload-length", "nine")], b"");
        assert_eq!(got.status(), if client.since("7") { 201 } else { 400 });
    });
}

#[test]
fn all_of_it_in_the_creation() {
    each(|client| {
        for body in [&b"hello"[..], b""] {
            let got = client.create(&[("upload-complete", "?1")], body);
            let length = body.len() as u64;
            assert_eq!(
                (got.status(), got.offset(), got.header("upload-complete")),
                (201, length, Some("?1"))
            );
            let at = got.header("location").unwrap().to_owned();
            assert_eq!(client.bench.ask(1, "GET", &at, &[], b"").body, body);
        }
        let none = client.create(&[("upload-complete", "?0"), ("upload-length", "0")], b"");
        assert_eq!((none.status(), none.header("upload-complete")), (201, Some("?0")));
        let at = none.header("location").unwrap().to_owned();
        assert_eq!(client.append(&at, 0, true, b"").header("upload-complete"), Some("?1"));
        let short = client.create(&[("upload-complete", "?1"), ("upload-length", "9")], b"");
        assert_eq!((short.status(), short.code()), (400, "length_mismatch".into()));
        for complete in [&[][..], &[("upload-complete", "1")], &[("upload-complete", "?2")]] {
            assert_eq!(client.create(complete, b"hello").status(), 400);
        }
    });
}

#[test]
fn limits_are_told_as_each_draft_names_them() {
    each(|client| {
        let age = if client.since("7") { "max-age" } else { "expires" };
        let limits = |left: u64| client_limits(age, left);
        let known = client.since("6");
        let made = client.create(&[("upload-complete", "?0")], b"");
        assert_eq!(made.header("upload-limit"), known.then(|| limits(86_400)).as_deref());
        let at = made.header("location").unwrap().to_owned();
        // It is the time that is left.
        client.bench.pass(Duration::from_secs(400));
        assert_eq!(client.head(&at).header("upload-limit"), known.then(|| limits(86_000)).as_deref());
        let options = client.ask("OPTIONS", "/v2/files", &[], b"");
        assert_eq!(options.header("upload-limit"), known.then(|| limits(86_400)).as_deref());
        assert!(options.header("accept-patch").unwrap().contains("application/partial-upload"));
        let got = client.append(&at, 0, true, b"");
        assert_eq!(got.header("upload-limit"), known.then_some("max-size=4294967296"));
    });
    let mut bench = Bench::with(WebConfig { max_file: 4, ..WebConfig::default() });
    let mut client = Client { bench: &mut bench, version: "8" };
    let large = client.create(&[("upload-complete", "?1")], b"hello");
    assert_eq!((large.status(), large.header("upload-limit")), (413, Some("max-size=4, max-age=86400")));
}

fn client_limits(age: &str, left: u64) -> String {
    format!("max-size=4294967296, {age}={left}")
}

#[test]
fn problems_have_the_types_of_the_drafts() {
    each(|client| {
        let at = client.begin(Some("9"));
        client.append(&at, 0, false, b"hello");
        let named = |got: &Got, kind: &str, since: bool| {
            let named = body(got).contains(&format!("http-problem-types#{kind}\""));
            assert_eq!(named, since, "{}", body(got));
        };
        let wrong = client.append(&at, 7, false, b"x");
        assert_eq!((wrong.status(), wrong.offset()), (409, 5));
        assert!(body(&wrong).contains("\"expected-offset\":5,\"provided-offset\":7"), "{}", body(&wrong));
        named(&wrong, "mismatching-upload-offset", client.since("6"));
        let complete = client.since("7").then_some("?0");
        assert_eq!(wrong.header("upload-complete"), complete);
        let other = client.append(&at, 5, true, b"x");
        assert_eq!((other.status(), other.header("upload-complete")), (400, complete));
        named(&other, "inconsistent-upload-length", client.since("7"));
        let here = client.head(&at).offset();
        client.append(&at, here, true, &b"12345"[..usize::try_from(9 - here).unwrap()]);
        let again = client.append(&at, 9, true, b"");
        assert_eq!((again.status(), again.code()), (400, "completed_upload".into()));
        named(&again, "completed-upload", client.since("6"));
        assert_eq!(again.header("upload-complete"), client.since("7").then_some("?1"));
        let more = client.append(&at, 9, false, b"more");
        assert_eq!(more.status(), 400);
        let kind = if client.since("8") { "inconsistent-upload-length" } else { "completed-upload" };
        named(&more, kind, client.since("6"));
    });
}

/// How much is sent after the end is known once its first byte came or none will: HTTP/2 and HTTP/3 need not tell it before.
#[test]
fn nothing_after_the_end_is_told_apart_from_bytes_that_were_not_announced() {
    each(|client| {
        let at = client.create(&[("upload-complete", "?1")], b"hello").header("location").unwrap().to_owned();
        let version = client.version;
        let fields = |more: &[(&'static str, &'static str)]| {
            let all = [("upload-draft-interop-version", version), TYPE, ("upload-offset", "5")];
            [&all[..], &[("upload-complete", "?1")], more].concat()
        };
        let kind = |got: &Got| {
            assert_eq!(got.status(), 400);
            let (_, kind) =
                body(got).split_once("http-problem-types#").map(|(a, b)| (a.to_owned(), b.to_owned()))?;
            Some(kind.split('"').next().unwrap().to_owned())
        };
        let bytes = if client.since("8") { "inconsistent-upload-length" } else { "completed-upload" };
        let since_6 = |kind: &str| client.version.ge("6").then(|| kind.to_owned());
        let (nothing, bytes) = (since_6("completed-upload"), since_6(bytes));
        let bench = &mut *client.bench;
        // Nothing comes after all.
        let exchange = bench.head(0, 900, "PATCH", &at, &fields(&[]), false);
        bench.end(exchange);
        assert_eq!(kind(&bench.got[&exchange]), nothing, "{version}");
        // Something does.
        let exchange = bench.head(0, 900, "PATCH", &at, &fields(&[]), false);
        bench.data(exchange, b"more");
        bench.end(exchange);
        assert_eq!(kind(&bench.got[&exchange]), bytes, "{version}");
        // So when it is here before the store has looked the upload up.
        for more in [&b""[..], b"more"] {
            bench.hold_store = true;
            let exchange = bench.head(0, 900, "PATCH", &at, &fields(&[]), false);
            bench.data(exchange, more);
            bench.end(exchange);
            bench.release_store();
            let expected = if more.is_empty() { &nothing } else { &bytes };
            assert_eq!(kind(&bench.got[&exchange]), *expected, "{version}");
        }
        // Whoever asks first has something to send, and is answered before it does.
        let exchange = bench.head(0, 900, "PATCH", &at, &fields(&[("expect", "100-continue")]), false);
        assert_eq!(kind(&bench.got[&exchange]), bytes, "{version}");
        // Whoever says neither for long has sent nothing that could be told.
        let exchange = bench.head(0, 900, "PATCH", &at, &fields(&[]), false);
        bench.pass(Duration::from_secs(60));
        assert_eq!(bench.got[&exchange].status(), 400);
    });
}

#[test]
fn bytes_beyond_the_length() {
    each(|client| {
        let at = client.begin(Some("5"));
        let got = client.append(&at, 0, false, b"hello, world");
        assert_eq!((got.status(), got.code()), (400, "length_mismatch".into()));
        // The latest drafts want nothing more to do with such an upload.
        let status = client.ask("HEAD", &at, &[], b"").status();
        assert_eq!(status, if client.since("8") { 404 } else { 204 });
        // Nor when that is told before the first byte.
        let at = client.begin(Some("5"));
        let told = [TYPE, ("upload-offset", "0"), ("upload-complete", "?0"), ("content-length", "12")];
        let got = client.ask("PATCH", &at, &told, b"hello, world");
        assert_eq!((got.status(), got.code()), (400, "length_mismatch".into()));
        let status = client.ask("HEAD", &at, &[], b"").status();
        assert_eq!(status, if client.since("8") { 404 } else { 204 });
    });
}

#[test]
fn what_the_older_drafts_forbid_and_allow() {
    each(|client| {
        let at = client.begin(Some("5"));
        let old = !client.since("7");
        for (method, header) in [
            ("HEAD", ("upload-offset", "0")),
            ("HEAD", ("upload-complete", "?0")),
            ("DELETE", ("upload-offset", "0")),
        ] {
            let got = client.ask(method, &at, &[header], b"");
            assert_eq!(got.status(), if old { 400 } else { 204 }, "{method} {header:?}");
        }
        if !old {
            return;
        }
        // A part that does not say whether it is the last is not.
        let got = client.ask("PATCH", &at, &[TYPE, ("upload-offset", "0")], b"hello");
        assert_eq!((got.status(), got.header("upload-complete")), (201, Some("?0")));
    });
}

#[test]
fn a_type_may_have_parameters() {
    each(|client| {
        let at = client.begin(Some("5"));
        let typed = ("content-type", "Application/Partial-Upload; a=b");
        let got =
            client.ask("PATCH", &at, &[typed, ("upload-offset", "0"), ("upload-complete", "?1")], b"hello");
        assert_eq!(got.header("upload-complete"), Some("?1"));
    });
}

#[test]
fn preconditions_of_a_file_hold_here_too() {
    each(|client| {
        let made = client.create(&[("upload-complete", "?1")], b"hello");
        let (at, etag) =
            (made.header("location").unwrap().to_owned(), made.header("etag").unwrap().to_owned());
        let known = client.ask("HEAD", &at, &[("if-none-match", &etag)], b"");
        assert_eq!((known.status(), known.header("content-length")), (304, None));
        assert_eq!(client.ask("HEAD", &at, &[("if-match", "\"other\"")], b"").status(), 412);
    });
}

#[test]
fn versions_that_are_not_spoken() {
    let mut bench = Bench::new();
    let target = format!("/v2/files?conversation={}", base64url(&bench.conversation().0));
    for version in ["4", "9", "x", ""] {
        let headers = [("upload-draft-interop-version", version), ("upload-complete", "?1")];
        assert_eq!(bench.ask(0, "POST", &target, &headers, b"hello").status(), 400, "{version}");
    }
}
