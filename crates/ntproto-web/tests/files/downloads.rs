//! Files, whole and in part.

use std::time::Duration;

use ntproto_core::ids::{ConversationId, GroupId};
use ntproto_web::Input;
use ntproto_web::config::{READ_BYTES, READ_TIME};
use ntproto_web::text::base64url;

use crate::bench::{Bench, bytes};

//= proof: files-15
#[test]
fn a_file_is_read_whole_and_in_part_and_never_shown_as_a_page() {
    let mut bench = Bench::new();
    let data = bytes(700_000, 3);
    let at = bench.file(&data);
    let got = bench.ask(1, "GET", &at, &[], b"");
    assert_eq!((got.status(), got.ended, got.body == data), (200, true, true));
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("content-disposition", "attachment"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("accept-ranges", "bytes"),
        ("content-length", "700000"),
    ] {
        assert_eq!(got.header(name), Some(value), "{name}");
    }
    let etag = got.header("etag").unwrap().to_owned();
    let part = bench.ask(1, "GET", &at, &[("range", "bytes=100-299999"), ("if-range", &etag)], b"");
    assert_eq!((part.status(), part.header("content-range")), (206, Some("bytes 100-299999/700000")));
    assert_eq!((part.header("content-length"), &part.body[..]), (Some("299900"), &data[100..300_000]));
    let stale = bench.ask(1, "GET", &at, &[("range", "bytes=100-"), ("if-range", "\"x\"")], b"");
    assert_eq!((stale.status(), stale.body.len()), (200, 700_000));
    let several = bench.ask(1, "GET", &at, &[("range", "bytes=0-1,5-6")], b"");
    assert_eq!((several.status(), several.body.len()), (200, 700_000));
    let beyond = bench.ask(1, "GET", &at, &[("range", "bytes=700000-")], b"");
    assert_eq!((beyond.status(), beyond.code()), (416, "range_not_satisfiable".into()));
    assert_eq!(beyond.header("content-range"), Some("bytes */700000"));
    let known = bench.ask(1, "GET", &at, &[("if-none-match", &etag)], b"");
    assert_eq!((known.status(), known.body.len(), known.header("etag")), (304, 0, Some(&etag[..])));
    let head = bench.ask(1, "HEAD", &at, &[], b"");
    assert_eq!((head.status(), head.header("content-length"), head.body.len()), (200, Some("700000"), 0));
    assert_eq!(head.header("etag"), Some(&etag[..]));
}

/// What GET says of a file that the client has, or has another one of, HEAD says too.
#[test]
fn preconditions_hold_for_head_as_for_get() {
    let mut bench = Bench::new();
    let at = bench.file(b"hello");
    let etag = bench.ask(1, "HEAD", &at, &[], b"").header("etag").unwrap().to_owned();
    let mut refusals: Vec<String> = Vec::new();
    for method in ["GET", "HEAD"] {
        for (name, value, status) in [
            ("if-none-match", &etag[..], 304),
            ("if-none-match", "*", 304),
            ("if-none-match", "\"other\"", 200),
            ("if-match", &etag, 200),
            ("if-match", "\"other\"", 412),
        ] {
            let got = bench.ask(1, method, &at, &[(name, value)], b"");
            assert_eq!(got.status(), status, "{method} {name}: {value}");
            // A refusal is a text of its own, as long as it says, and HEAD is told how long.
            refusals.extend((status == 412).then(|| got.header("content-length").unwrap().to_owned()));
            let length = if status == 412 { refusals.first().map(String::as_str) } else { Some("5") };
            assert_eq!(got.header("content-length"), length, "{method} {name}: {value}");
            let body = if method == "HEAD" || status == 304 { 0 } else { length.unwrap().parse().unwrap() };
            assert_eq!(got.body.len(), body, "{method} {name}: {value}");
            let tag = (status != 412).then_some(&etag[..]);
            assert_eq!(got.header("etag"), tag, "{method} {name}: {value}");
        }
    }
    // A part is never told of HEAD, and what is not whole is no file to compare.
    let head = bench.ask(1, "HEAD", &at, &[("range", "bytes=0-1")], b"");
    assert_eq!((head.status(), head.header("content-range")), (200, None));
    let open = bench.upload(10);
    assert_eq!(bench.ask(0, "HEAD", &open, &[("if-match", "\"other\"")], b"").status(), 200);
}

//= proof: files-4
#[test]
fn who_is_not_in_the_conversation_finds_nothing() {
    let mut bench = Bench::new();
    let at = bench.file(b"secret");
    for method in ["GET", "HEAD", "DELETE"] {
        assert_eq!(bench.ask(2, method, &at, &[], b"").status(), 404, "{method}");
    }
    assert_eq!(bench.ask(1, "DELETE", &at, &[], b"").status(), 404);
    let open = bench.upload(10);
    for method in ["GET", "HEAD", "DELETE"] {
        assert_eq!(bench.ask(1, method, &open, &[], b"").status(), 404, "{method}");
    }
    assert_eq!(bench.ask(1, "PATCH", &open, &[("content-range", "bytes 0-0/*")], b"x").status(), 404);
    // Not even the owner reads what is not whole.
    assert_eq!(bench.ask(0, "GET", &open, &[], b"").status(), 404);
    for person in [9, 99] {
        let got = bench.ask(person, "GET", &at, &[], b"");
        assert_eq!((got.status(), got.code()), (401, "unauthorized".into()));
        assert_eq!(got.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(bench.ask(0, "DELETE", &at, &[], b"").status(), 204);
    assert_eq!(bench.ask(1, "GET", &at, &[], b"").status(), 404);
    // A conversation that there is and one that there is not are the same to whoever is in neither.
    for to in [bench.conversation(), ConversationId::of_group(GroupId(77))] {
        let target = format!("/v2/files?conversation={}", base64url(&to.0));
        let got = bench.ask(2, "POST", &target, &[("upload-length", "1")], b"");
        assert_eq!((got.status(), got.code()), (403, "forbidden".into()));
    }
}

/// Whoever does not read costs two pieces, and in the end nothing.
#[test]
fn a_reader_that_stops_is_not_waited_for() {
    let mut bench = Bench::new();
    let at = bench.file(&bytes(10 * READ_BYTES, 4));
    bench.deaf = true;
    let before = bench.disk.ops;
    let exchange = bench.head(1, 7, "GET", &at, &[], true);
    assert_eq!((bench.got[&exchange].body.len(), bench.disk.ops - before), (READ_BYTES, 2));
    bench.pass(READ_TIME - Duration::from_secs(1));
    bench.web.handle(bench.now, Input::Room { exchange });
    bench.run();
    assert_eq!((bench.got[&exchange].body.len(), bench.disk.ops - before), (2 * READ_BYTES, 3));
    bench.pass(READ_TIME - Duration::from_secs(1));
    assert!(!bench.got[&exchange].reset);
    bench.pass(Duration::from_secs(1));
    assert!(bench.got[&exchange].reset && bench.web.exchanges() == 0);
}

#[test]
fn content_that_is_gone_from_the_disk_breaks_off() {
    let mut bench = Bench::new();
    let at = bench.file(&bytes(300_000, 5));
    bench.disk.contents.clear();
    let got = bench.ask(1, "GET", &at, &[], b"");
    assert!(got.status() == 200 && got.reset && !got.ended);
    assert_eq!(bench.web.exchanges(), 0);
}
