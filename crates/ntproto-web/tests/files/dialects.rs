//! The three ways to say the same.

use ntproto_web::FileId;
use ntproto_web::text::{base64, base64url, id};
use sha2::{Digest as _, Sha256};

use crate::bench::{Bench, bytes, range};

#[test]
fn chunks_of_this_protocol_become_a_file() {
    let mut bench = Bench::new();
    let data = bytes(3_000_000, 1);
    let digest = format!("sha-256=:{}:", base64(&Sha256::digest(&data)));
    let made = bench.create(&[("upload-length", "3000000"), ("repr-digest", &digest)]);
    assert_eq!((made.status(), made.offset(), made.header("upload-complete")), (201, 0, Some("?0")));
    assert_eq!(made.header("upload-length"), Some("3000000"));
    assert_eq!(made.header("upload-expires"), Some("Wed, 15 Nov 2023 22:13:20 GMT"));
    let at = made.header("location").unwrap().to_owned();
    for (start, end) in [(0, 1_000_000), (1_000_000, 2_500_000), (2_500_000, 3_000_000)] {
        let range = range(start, end, Some(3_000_000));
        let got = bench.ask(0, "PATCH", &at, &[("content-range", &range)], &data[start..end]);
        assert_eq!((got.status(), got.offset()), (204, end as u64));
        assert_eq!(got.header("upload-complete"), Some(if end == 3_000_000 { "?1" } else { "?0" }));
    }
    let head = bench.ask(0, "HEAD", &at, &[], b"");
    assert_eq!((head.status(), head.offset(), head.header("upload-complete")), (200, 3_000_000, Some("?1")));
    assert_eq!(
        (head.header("content-length"), head.header("repr-digest")),
        (Some("3000000"), Some(&digest[..]))
    );
    assert_eq!(bench.disk.contents.values().next().unwrap(), &data);
    bench.sweep();
    assert_eq!(bench.disk.partials(), 0);
    bench.check();
}

#[test]
fn all_of_a_file_in_one_request() {
    let mut bench = Bench::new();
    let target = format!("/v2/files?upload_id=once&conversation={}", base64url(&bench.conversation().0));
    let data = bytes(600_000, 2);
    let got = bench.ask(0, "POST", &target, &[("content-length", "600000")], &data);
    assert_eq!((got.status(), got.offset(), got.header("upload-complete")), (201, 600_000, Some("?1")));
    // Without saying how long it is, and with nothing in it.
    let target = target.replace("once", "twice");
    let got = bench.ask(0, "POST", &target, &[], b"hello");
    assert_eq!((got.status(), got.offset(), got.header("upload-complete")), (201, 5, Some("?1")));
    let empty = bench.create(&[("upload-length", "0")]);
    assert_eq!((empty.status(), empty.header("upload-complete")), (201, Some("?1")));
    let at = empty.header("location").unwrap().to_owned();
    let got = bench.ask(1, "GET", &at, &[], b"");
    assert_eq!((got.status(), got.header("content-length"), got.body.len()), (200, Some("0"), 0));
    bench.check();
}

//= proof: files-5
#[test]
fn a_name_is_used_once() {
    let mut bench = Bench::new();
    let conversation = base64url(&bench.conversation().0);
    let target = format!("/v2/files?conversation={conversation}&upload_id=a%2Fb");
    let one = bench.ask(0, "POST", &target, &[("upload-length", "9")], b"");
    let two = bench.ask(0, "POST", &target, &[("upload-length", "9")], b"");
    assert_eq!((one.status(), two.status()), (201, 200));
    assert_eq!(one.header("location"), two.header("location"));
    let other = bench.ask(0, "POST", &target, &[("upload-length", "8")], b"");
    assert_eq!((other.status(), other.code()), (409, "upload_id_used".into()));
    // It is the account's: somebody else's name is another one.
    let theirs = bench.ask(1, "POST", &target, &[("upload-length", "9")], b"");
    assert_eq!(theirs.status(), 201);
    assert_ne!(theirs.header("location"), one.header("location"));
    let at = one.header("location").unwrap().to_owned();
    assert!(at.strip_prefix("/v2/files/").and_then(id).map(FileId).is_some());
    bench.ask(0, "PATCH", &at, &[("content-range", "bytes 0-8/9")], b"123456789");
    let again = bench.ask(0, "POST", &target, &[("upload-length", "9")], b"");
    assert_eq!((again.status(), again.offset(), again.header("upload-complete")), (200, 9, Some("?1")));
    bench.check();
}

const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
const TYPE: (&str, &str) = ("content-type", "application/offset+octet-stream");

#[test]
fn tus_from_options_to_termination() {
    let mut bench = Bench::new();
    let options = bench.ask(99, "OPTIONS", "/v2/files", &[], b"");
    assert_eq!((options.status(), options.header("tus-version")), (204, Some("1.0.0")));
    assert_eq!(options.header("tus-checksum-algorithm"), Some("sha1,sha256"));
    assert!(options.header("tus-extension").unwrap().contains("termination"));
    let old = bench.ask(0, "POST", "/v2/files", &[("tus-resumable", "0.2.2"), ("upload-length", "9")], b"");
    assert_eq!((old.status(), old.code()), (412, "tus_version".into()));
    assert_eq!((old.header("tus-version"), old.header("tus-resumable")), (Some("1.0.0"), Some("1.0.0")));

    // What it is for stands in its metadata.
    let conversation = base64(base64url(&bench.conversation().0).as_bytes());
    let metadata = format!("filename d29ybGQ=,conversation {conversation},upload_id bmFtZQ==,empty");
    let headers = [TUS, ("upload-length", "11"), ("upload-metadata", &metadata)];
    let made = bench.ask(0, "POST", "/v2/files", &headers, b"");
    assert_eq!((made.status(), made.header("tus-resumable"), made.offset()), (201, Some("1.0.0"), 0));
    let at = made.header("location").unwrap().to_owned();
    let patch = |bench: &mut Bench, offset: &str, more: &[(&str, &str)], data: &[u8]| {
        let headers = [&[TUS, TYPE, ("upload-offset", offset)], more].concat();
        bench.ask(0, "PATCH", &at, &headers, data)
    };
    let got = patch(&mut bench, "0", &[], b"hello");
    assert_eq!((got.status(), got.offset(), got.header("tus-resumable")), (204, 5, Some("1.0.0")));
    assert!(got.header("upload-expires").is_some());
    let wrong = patch(&mut bench, "0", &[], b"hello");
    assert_eq!((wrong.status(), wrong.code(), wrong.offset()), (409, "offset_behind".into(), 5));
    let sum = ("upload-checksum", "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
    let wrong = patch(&mut bench, "5", &[sum], b" world");
    assert_eq!((wrong.status(), wrong.code(), wrong.offset()), (460, "checksum_mismatch".into(), 5));
    let wrong = patch(&mut bench, "5", &[("upload-checksum", "crc32 AAAA")], b" world");
    assert_eq!(wrong.status(), 400);
    let head = bench.ask(0, "HEAD", &at, &[TUS], b"");
    assert_eq!((head.status(), head.offset(), head.header("upload-length")), (200, 5, Some("11")));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    let untyped = bench.ask(0, "PATCH", &at, &[TUS, ("upload-offset", "5")], b" world");
    assert_eq!((untyped.status(), untyped.code()), (415, "unsupported_media_type".into()));
    // A method in disguise.
    let headers = [TUS, TYPE, ("upload-offset", "5"), ("x-http-method-override", "PATCH")];
    let got = bench.ask(0, "POST", &at, &headers, b" world");
    assert_eq!((got.status(), got.offset()), (204, 11));
    assert_eq!(bench.ask(0, "HEAD", &at, &[TUS], b"").offset(), 11);
    let gone = bench.ask(0, "DELETE", &at, &[TUS], b"");
    assert_eq!(gone.status(), 204);
    assert_eq!(bench.ask(0, "HEAD", &at, &[TUS], b"").status(), 404);
    bench.sweep();
    assert!(bench.disk.contents.is_empty() && bench.disk.partials() == 0);
    bench.check();
}

#[test]
fn tus_with_its_length_left_open_and_its_first_bytes_along() {
    let mut bench = Bench::new();
    let target = format!("/v2/files?conversation={}", base64url(&bench.conversation().0));
    let headers = [TUS, TYPE, ("upload-defer-length", "1")];
    let made = bench.ask(0, "POST", &target, &headers, b"hello");
    assert_eq!((made.status(), made.offset()), (201, 5));
    let at = made.header("location").unwrap().to_owned();
    let head = bench.ask(0, "HEAD", &at, &[TUS], b"");
    assert_eq!((head.header("upload-length"), head.header("upload-defer-length")), (None, Some("1")));
    let headers = [TUS, TYPE, ("upload-offset", "5"), ("upload-length", "6")];
    let got = bench.ask(0, "PATCH", &at, &headers, b"!");
    assert_eq!((got.status(), got.offset(), got.header("etag").is_some()), (204, 6, true));
    for wrong in [
        &[TUS][..],
        &[TUS, ("upload-length", "1"), ("upload-defer-length", "1")],
        &[TUS, ("upload-defer-length", "2")],
        &[TUS, ("upload-length", "1"), ("upload-concat", "partial")],
    ] {
        assert_eq!(bench.ask(0, "POST", &target, wrong, b"").status(), 400, "{wrong:?}");
    }
    assert_eq!(bench.ask(0, "POST", &target, &[TUS, ("upload-length", "1")], b"x").status(), 415);
    bench.check();
}
