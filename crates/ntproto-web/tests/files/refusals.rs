//! Bad input: each its status and code, and the offset stays true.

use std::time::Duration;

use ntproto_web::config::{BODY_LEAST, BODY_TIME, DRAIN_BYTES, DRAIN_TIME, SYNC_BYTES};
use ntproto_web::text::{base64, base64url};
use ntproto_web::{FileError, WebConfig, WebEvent};
use sha2::{Digest as _, Sha256};

use crate::bench::{Bench, bytes, range};

/// The chapter's table of what `Content-Range` can be.
#[test]
fn every_content_range_has_its_answer() {
    let mut bench = Bench::new();
    let at = bench.upload(100);
    let ten = ("content-length", "10");
    let first = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 0-19/*")], &[1; 20]);
    assert_eq!((first.status(), first.offset()), (204, 20));
    for (headers, status, code) in [
        // Not one range.
        (&[ten][..], 400, "bad_range"),
        (&[("content-range", "bytes */*")], 400, "bad_range"),
        (&[("content-range", "bytes */100")], 400, "bad_range"),
        (&[("content-range", "bytes 20-/*")], 400, "bad_range"),
        (&[("content-range", "bytes 29-20/*")], 400, "bad_range"),
        (&[("content-range", "lines 20-29/*")], 400, "bad_range"),
        (&[("content-range", "bytes 20-29/20")], 400, "bad_range"),
        (&[("content-range", "bytes 20-29/*, bytes 30-39/*")], 400, "bad_range"),
        (&[("content-range", "bytes 20-29/*"), ("content-range", "bytes 20-29/*")], 400, "bad_range"),
        (&[("content-range", "bytes 20-29/*"), ("content-range", "bytes 30-39/*")], 400, "bad_range"),
        // Overflow.
        (&[("content-range", "bytes 20-9223372036854775808/*")], 400, "bad_range"),
        (&[("content-range", "bytes 18446744073709551606-18446744073709551615/*")], 400, "bad_range"),
        // A length that lies.
        (&[("content-range", "bytes 20-30/*"), ten], 400, "length_mismatch"),
        (&[("content-range", "bytes 20-28/*"), ten], 400, "length_mismatch"),
        (&[("content-range", "bytes 20-29/99")], 400, "length_mismatch"),
        // Overlap: all of it, a part of it; a gap; beyond the end.
        (&[("content-range", "bytes 0-9/*")], 409, "offset_behind"),
        (&[("content-range", "bytes 15-24/100")], 409, "offset_behind"),
        (&[("content-range", "bytes 21-30/*")], 409, "offset_ahead"),
        (&[("content-range", "bytes 20-119/*")], 416, "beyond_length"),
        // A digest of something else, or none.
        (&[("content-range", "bytes 20-29/*"), ("content-digest", "sha-256=:AAAA:")], 400, "bad_request"),
        (
            &[
                ("content-range", "bytes 20-29/*"),
                ("content-digest", "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"),
            ],
            400,
            "digest_mismatch",
        ),
    ] {
        let got = bench.ask(0, "PATCH", &at, headers, &[2; 10]);
        assert_eq!((got.status(), &got.code()[..]), (status, code), "{headers:?}");
        if status == 409 {
            assert_eq!(got.offset(), 20);
        }
        assert_eq!(bench.offset(&at), 20, "{headers:?}");
    }
    // Shorter and longer than it says: what came in the range stays.
    let short = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 20-39/*")], &[3; 10]);
    assert_eq!((short.status(), short.code(), short.offset()), (400, "length_mismatch".into(), 30));
    let long = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 30-34/*")], &[4; 10]);
    assert_eq!((long.status(), long.code(), long.offset()), (400, "length_mismatch".into(), 35));
    let rest = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 35-99/100")], &[5; 65]);
    assert_eq!((rest.status(), rest.offset()), (204, 100));
    let after = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 100-109/*")], &[6; 10]);
    assert_eq!((after.status(), after.code()), (400, "completed_upload".into()));
    let expected = [&[1; 20][..], &[3; 10], &[4; 5], &[5; 65]].concat();
    assert_eq!(bench.ask(1, "GET", &at, &[], b"").body, expected);
    bench.check();
}

#[test]
fn creations_that_make_no_sense() {
    let mut bench = Bench::with(WebConfig { max_file: 1_000, ..WebConfig::default() });
    let conversation = base64url(&bench.conversation().0);
    let target = |query: &str| format!("/v2/files?{query}").replace('C', &conversation);
    for (query, headers, status, code) in [
        ("", &[][..], 400, "bad_request"),
        ("conversation=x", &[], 400, "bad_request"),
        ("conversation=C&conversation=AAAAAAAAAAAAAAAAAAAAAA", &[], 400, "bad_request"),
        ("conversation=C&upload_id=", &[], 400, "bad_request"),
        ("conversation=C&upload_id=a&upload_id=b", &[], 400, "bad_request"),
        ("conversation=C", &[("upload-length", "-1")], 400, "bad_request"),
        ("conversation=C", &[("upload-length", "1"), ("upload-length", "2")], 400, "bad_request"),
        ("conversation=C", &[("upload-length", "9223372036854775808")], 400, "bad_request"),
        ("conversation=C", &[("upload-length", "1001")], 413, "too_large"),
        ("conversation=C", &[("repr-digest", "sha-256=1")], 400, "bad_request"),
        ("conversation=AAAAAAAAAAAAAAAAAAAAAA", &[("upload-length", "1")], 403, "forbidden"),
    ] {
        let got = bench.ask(0, "POST", &target(query), headers, b"");
        assert_eq!((got.status(), &got.code()[..]), (status, code), "{query} {headers:?}");
    }
    let other = bench.ask(2, "POST", &target("conversation=C"), &[("upload-length", "1")], b"");
    assert_eq!(other.status(), 403);
    let got = bench.ask(0, "POST", &target("conversation=C"), &[("upload-length", "5")], b"longer");
    assert_eq!((got.status(), got.code(), got.offset()), (416, "beyond_length".into(), 5));
    let got = bench.ask(0, "PUT", &target("conversation=C"), &[], b"");
    assert_eq!(
        (got.status(), got.code(), got.header("allow")),
        (405, "method_not_allowed".into(), Some("OPTIONS, POST"))
    );
    let got = bench.ask(0, "PATCH", "/v2/files/../../etc/passwd", &[("content-range", "bytes 0-0/*")], b"x");
    assert_eq!((got.status(), got.code()), (404, "not_found".into()));
    bench.check();
}

//= proof: files-9
#[test]
fn a_chunk_with_a_digest_counts_whole_or_not_at_all() {
    let mut bench = Bench::new();
    let data = bytes(3 * SYNC_BYTES as usize, 6);
    let at = bench.upload(data.len());
    let digest = format!("sha-256=:{}:", base64(&Sha256::digest(&data)));
    let range = range(0, data.len(), None);
    let headers = [("content-range", &range[..]), ("content-digest", &digest)];
    // The client is gone in the middle; it says that more came than did; a byte is another.
    let exchange = bench.head(0, 1, "PATCH", &at, &headers, false);
    bench.data(exchange, &data[..data.len() - 1]);
    bench.gone(exchange);
    assert_eq!(bench.offset(&at), 0);
    let short = bench.ask(0, "PATCH", &at, &headers, &data[..data.len() - 1]);
    assert_eq!((short.status(), short.offset()), (400, 0));
    let mut other = data.clone();
    other[7] ^= 1;
    let wrong = bench.ask(0, "PATCH", &at, &headers, &other);
    assert_eq!((wrong.status(), wrong.code(), wrong.offset()), (400, "digest_mismatch".into(), 0));
    let right = bench.ask(0, "PATCH", &at, &headers, &data);
    assert_eq!((right.status(), right.offset()), (204, data.len() as u64));
    assert_eq!(bench.ask(1, "GET", &at, &[], b"").body, data);
    bench.check();
}

#[test]
fn a_whole_that_is_another_than_was_said_is_removed() {
    let mut bench = Bench::new();
    let digest = format!("sha-256=:{}:", base64(&Sha256::digest(b"hello")));
    let made = bench.create(&[("upload-length", "5"), ("repr-digest", &digest)]);
    let at = made.header("location").unwrap().to_owned();
    let got = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 0-4/5")], b"hullo");
    assert_eq!((got.status(), got.code()), (400, "digest_mismatch".into()));
    assert_eq!(bench.ask(0, "HEAD", &at, &[], b"").status(), 404);
    bench.sweep();
    assert_eq!(bench.disk.partials(), 0);
    bench.check();
}

#[test]
fn a_client_that_is_gone_in_mid_chunk_finds_its_bytes() {
    let mut bench = Bench::new();
    let data = bytes(3_000_000, 7);
    let at = bench.upload(data.len());
    let range = range(0, data.len(), None);
    let exchange = bench.head(0, 1, "PATCH", &at, &[("content-range", &range)], false);
    let came = bench.data(exchange, &data[..2_345_678]);
    assert_eq!(came, 2_345_678);
    bench.gone(exchange);
    assert_eq!((bench.web.exchanges(), bench.web.uploads()), (0, 0));
    assert_eq!(bench.offset(&at), 2_345_678);
    assert!(matches!(bench.events.iter().rev().nth(1), Some(WebEvent::Done { status: 499, .. })));
}

#[test]
fn a_slow_body_is_over_and_what_came_stays() {
    let mut bench = Bench::new();
    let at = bench.upload(1_000_000);
    let exchange = bench.head(0, 1, "PATCH", &at, &[("content-range", "bytes 0-999999/*")], false);
    bench.data(exchange, &vec![1; BODY_LEAST as usize]);
    bench.pass(BODY_TIME);
    assert!(bench.got[&exchange].head.is_none());
    bench.data(exchange, &vec![1; BODY_LEAST as usize - 1]);
    bench.pass(BODY_TIME);
    // The answer comes once the rest of the body is out of the way.
    assert!(bench.got[&exchange].head.is_none());
    bench.pass(DRAIN_TIME);
    let got = &bench.got[&exchange];
    assert_eq!(
        (got.status(), got.code(), got.offset(), got.reset),
        (408, "too_slow".into(), 2 * BODY_LEAST - 1, true)
    );
    assert_eq!(bench.offset(&at), 2 * BODY_LEAST - 1);
}

#[test]
fn a_server_that_ends_does_not_say_that_a_token_is_wrong() {
    let mut bench = Bench::new();
    let at = bench.upload(10);
    bench.ready(false);
    // Its session has been sent away already: the tenth is nobody.
    let got = bench.ask(9, "HEAD", &at, &[], b"");
    assert_eq!((got.status(), got.header("retry-after")), (503, Some("1")));
    // Whom it still knows it serves.
    let got = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 0-9/*")], &[1; 10]);
    assert_eq!(got.status(), 204);
}

#[test]
fn whoever_waits_to_hear_that_its_body_is_wanted_hears_it_when_it_is() {
    let mut bench = Bench::new();
    let at = bench.upload(2_000);
    let ask = |range| [("content-range", range), ("expect", "100-continue")];
    // Behind another on the same connection: not before its turn.
    let first = bench.head(0, 1, "PATCH", &at, &ask("bytes 0-999/*"), false);
    let second = bench.head(0, 1, "PATCH", &at, &ask("bytes 1000-1999/*"), false);
    assert_eq!((bench.got[&first].wanted, bench.got[&second].wanted), (true, false));
    bench.data(first, &[1; 1_000]);
    bench.end(first);
    assert_eq!((bench.got[&first].status(), bench.got[&second].wanted), (204, true));
    bench.data(second, &[2; 1_000]);
    bench.end(second);
    assert_eq!(bench.got[&second].status(), 204);
    // Refused for its length, for its place, for the whole there is: none of them sends anything.
    let at = bench.upload(2_000);
    for (range, status) in [("bytes 0-99999999999/*", 413), ("bytes 5-9/*", 409), ("bytes 0-5000/*", 416)] {
        let exchange = bench.head(0, 1, "PATCH", &at, &ask(range), false);
        let got = &bench.got[&exchange];
        assert_eq!((got.status(), got.wanted, got.given), (status, false, 0), "{range}");
    }
    // Wanted first and refused then: what comes is read before the answer, as of others.
    let exchange = bench.head(0, 1, "PATCH", &at, &ask("bytes 0-1999/*"), false);
    assert!(bench.got[&exchange].wanted);
    let newer = bench.head(0, 2, "PATCH", &at, &[("content-range", "bytes 0-1999/*")], false);
    assert!(bench.got[&exchange].head.is_none());
    bench.data(exchange, &[1; 2_000]);
    bench.end(exchange);
    assert_eq!((bench.got[&exchange].status(), bench.got[&exchange].code()), (409, "superseded".into()));
    bench.gone(newer);
}

//= proof: files-10
#[test]
fn a_refused_body_is_read_before_the_answer_but_not_forever() {
    let mut bench = Bench::new();
    let at = bench.upload(100_000_000);
    let headers = [("content-range", "bytes 50000000-99999999/*")];
    let exchange = bench.head(0, 1, "PATCH", &at, &headers, false);
    let body = vec![7; DRAIN_BYTES as usize];
    assert_eq!(bench.data(exchange, &body[1..]), body.len() - 1);
    assert!(bench.got[&exchange].head.is_none());
    bench.data(exchange, &body[..1]);
    let got = &bench.got[&exchange];
    assert_eq!((got.status(), got.code(), got.reset), (409, "offset_ahead".into(), true));
    assert_eq!(got.consumed, got.given);
    // A short one to its end, and no stream is broken.
    let got = bench.ask(0, "PATCH", &at, &headers, &body[..1_000_000]);
    assert_eq!((got.status(), got.reset), (409, false));
    // Whoever asks before it sends hears at once.
    let asks = [headers[0], ("expect", "100-continue")];
    let exchange = bench.head(99, 1, "PATCH", &at, &asks, false);
    assert_eq!((bench.got[&exchange].status(), bench.got[&exchange].given), (401, 0));
    assert!(!bench.got[&exchange].wanted);
    // And who sends nothing is not waited for.
    let exchange = bench.head(99, 1, "PATCH", &at, &headers, false);
    bench.pass(DRAIN_TIME - Duration::from_secs(1));
    assert!(bench.got[&exchange].head.is_none());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.got[&exchange].status(), 401);
    assert_eq!(bench.web.exchanges(), 0);
}

#[test]
fn a_full_disk_in_mid_chunk_keeps_a_true_offset() {
    let mut bench = Bench::new();
    let data = bytes(3_000_000, 8);
    let at = bench.upload(data.len());
    bench.disk.capacity = Some(1_700_000);
    let all = range(0, data.len(), None);
    let got = bench.ask(0, "PATCH", &at, &[("content-range", &all)], &data);
    assert_eq!((got.status(), got.code()), (507, "disk_full".into()));
    let offset = got.offset();
    assert!((1_500_000..=1_700_000).contains(&offset), "{offset}");
    assert!(bench.events.contains(&WebEvent::FilesFailed(FileError::Full)));
    bench.crash();
    assert_eq!(bench.offset(&at), offset);
    bench.disk.capacity = None;
    let offset = usize::try_from(offset).unwrap();
    let rest = range(offset, data.len(), None);
    let got = bench.ask(0, "PATCH", &at, &[("content-range", &rest)], &data[offset..]);
    assert_eq!((got.status(), got.header("upload-complete")), (204, Some("?1")));
    assert_eq!(bench.ask(1, "GET", &at, &[], b"").body, data);
    bench.check();
}

#[test]
fn what_a_failed_sync_may_have_lost_does_not_count() {
    let mut bench = Bench::new();
    let data = bytes(3_000_000, 9);
    let at = bench.upload(data.len());
    let exchange = bench.head(0, 1, "PATCH", &at, &[("content-range", "bytes 0-2999999/*")], false);
    bench.data(exchange, &data[..1_500_000]);
    bench.disk.fail_sync = true;
    bench.data(exchange, &data[1_500_000..]);
    bench.end(exchange);
    let got = &bench.got[&exchange];
    assert_eq!((got.status(), got.code()), (500, "internal".into()));
    let offset = got.offset();
    assert!((1_000_000..1_500_000).contains(&offset), "{offset}");
    bench.crash();
    assert_eq!(bench.offset(&at), offset);
}

#[test]
fn an_account_has_a_quota_and_so_many_uploads() {
    let config = WebConfig { quota: 1_000, max_uploads: 2, ..WebConfig::default() };
    let mut bench = Bench::with(config);
    bench.upload(600);
    let got = bench.create(&[("upload-length", "401")]);
    assert_eq!((got.status(), got.code()), (507, "quota_exceeded".into()));
    // Without a length, what comes counts.
    let open = bench.create(&[]);
    let at = open.header("location").unwrap().to_owned();
    let got = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 0-400/*")], &[1; 401]);
    assert_eq!((got.status(), got.code(), got.offset()), (507, "quota_exceeded".into(), 0));
    let got = bench.create(&[("upload-length", "1")]);
    assert_eq!((got.status(), got.code()), (429, "too_many_uploads".into()));
    assert_eq!(bench.ask(0, "DELETE", &at, &[], b"").status(), 204);
    bench.upload(400);
    bench.check();
}

//= proof: files-12
#[test]
fn an_upload_that_nothing_comes_for_ends() {
    let mut bench = Bench::new();
    let at = bench.upload(100);
    let day = WebConfig::default().upload_lifetime;
    bench.pass(day - Duration::from_secs(61));
    bench.ask(0, "PATCH", &at, &[("content-range", "bytes 0-9/*")], &[1; 10]);
    bench.pass(day - Duration::from_secs(61));
    assert_eq!((bench.offset(&at), bench.disk.partials()), (10, 1));
    bench.pass(day);
    bench.sweep();
    assert_eq!(bench.ask(0, "HEAD", &at, &[], b"").status(), 404);
    assert_eq!(bench.disk.partials(), 0);
    bench.check();
}

#[test]
fn there_are_so_many_exchanges() {
    let mut bench = Bench::with(WebConfig { max_exchanges: 3, ..WebConfig::default() });
    let at = bench.upload(100);
    for _ in 0..3 {
        bench.head(0, 1, "PATCH", &at, &[("content-range", "bytes 0-99/*")], false);
    }
    let got = bench.ask(0, "HEAD", &at, &[], b"");
    assert_eq!((got.status(), got.header("retry-after")), (503, Some("1")));
}
