//! Who is charged for what lies on the disk, and what the machine holds whatever clients do.

use std::time::Duration;

use http::StatusCode;
use ntproto_hub::store::StoreError;
use ntproto_web::config::{
    RESERVE_BYTES, SYNC_BYTES, TASKS_PER_EXCHANGE, UNSYNCED_BYTES, WINDOW, WRITE_BYTES,
};
use ntproto_web::text::{base64, base64url};
use ntproto_web::{ExchangeId, FileOp, WebConfig};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::bench::{Bench, bytes, range};

const QUOTA: usize = 1_000_000;

fn small() -> Bench {
    Bench::with(WebConfig { quota: QUOTA as u64, ..WebConfig::default() })
}

/// An upload whose length nobody says.
fn open(bench: &mut Bench) -> String {
    let made = bench.create(&[]);
    assert_eq!(made.status(), 201);
    made.header("location").unwrap().to_owned()
}

fn digest(data: &[u8]) -> String {
    format!("sha-256=:{}:", base64(&Sha256::digest(data)))
}

/// A chunk with a digest, of which so much comes.
fn begin(bench: &mut Bench, at: &str, len: usize, data: &[u8], digest: &str) -> ExchangeId {
    let range = range(0, len, None);
    let headers = [("content-range", range.as_str()), ("content-digest", digest)];
    let exchange = bench.head(0, 1, "PATCH", at, &headers, false);
    bench.data(exchange, data);
    exchange
}

//= proof: files-13
#[test]
fn a_body_that_may_turn_out_wrong_is_charged_before_it_is_written() {
    let mut bench = small();
    let data = bytes(600_000, 20);
    let (one, two, three) = (open(&mut bench), open(&mut bench), open(&mut bench));
    // More than the account has: nothing of it reaches the disk.
    let wrong = digest(b"something else");
    let exchange = begin(&mut bench, &one, QUOTA + 1, &data, &wrong);
    bench.end(exchange);
    assert_eq!((bench.got[&exchange].status(), bench.got[&exchange].code()), (507, "quota_exceeded".into()));
    assert_eq!(bench.disk.used(), 0);
    // What one body may take, no other may.
    let first = begin(&mut bench, &one, data.len(), &data[..300_000], &wrong);
    let second = begin(&mut bench, &two, data.len(), &data[..300_000], &wrong);
    bench.end(second);
    assert_eq!(bench.got[&second].code(), "quota_exceeded");
    assert_eq!(bench.create(&[("upload-length", "500000")]).status(), 507);
    assert!(bench.disk.used() <= 300_000);
    // It is wrong: nothing of it stays, and nobody is charged for it.
    bench.data(first, &data[300_000..]);
    bench.end(first);
    assert_eq!((bench.got[&first].code(), bench.got[&first].offset()), ("digest_mismatch".into(), 0));
    assert_eq!(bench.disk.used(), 0);
    bench.check();
    // It is right: charged for what it is.
    let right = digest(&data);
    let exchange = begin(&mut bench, &three, data.len(), &data, &right);
    bench.end(exchange);
    assert_eq!((bench.got[&exchange].status(), bench.got[&exchange].offset()), (204, 600_000));
    assert_eq!(bench.create(&[("upload-length", "400001")]).status(), 507);
    assert_eq!(bench.create(&[("upload-length", "400000")]).status(), 201);
    bench.check();
}

/// One whose end nobody knows is charged bit by bit.
#[test]
fn a_body_without_an_end_is_charged_as_it_comes() {
    let quota = 2 * RESERVE_BYTES + 1_000_000;
    let mut bench = Bench::with(WebConfig { quota, ..WebConfig::default() });
    let tus = [("tus-resumable", "1.0.0"), ("content-type", "application/offset+octet-stream")];
    let sum = base64(&[7; 32]);
    let checksum = format!("sha256 {sum}");
    let at = open(&mut bench);
    let headers = [tus[0], tus[1], ("upload-offset", "0"), ("upload-checksum", &checksum)];
    let exchange = bench.head(0, 1, "PATCH", &at, &headers, false);
    let data = bytes(4 << 20, 21);
    let mut most = 0;
    for _ in 0..20 {
        bench.data(exchange, &data);
        most = most.max(bench.disk.used());
    }
    bench.end(exchange);
    assert_eq!(bench.got[&exchange].code(), "quota_exceeded");
    let most = most as u64;
    assert!(most > RESERVE_BYTES && most <= quota, "{most}");
    assert_eq!(bench.disk.used(), 0);
    // Nothing of it stayed, so nobody is charged for it.
    assert_eq!(bench.create(&[("upload-length", &quota.to_string())]).status(), 201);
    bench.check();
}

/// Whatever a store said no for, and whether or not the client stayed to hear it: what it had charged before is given back.
#[test]
fn what_was_reserved_is_given_back_when_more_is_refused() {
    for error in [StoreError::Full, StoreError::Unavailable, StoreError::Quota] {
        for (gone, again) in [(false, false), (true, false), (false, true)] {
            let quota = 2 * RESERVE_BYTES;
            let mut bench = Bench::with(WebConfig { quota, ..WebConfig::default() });
            let tus = [("tus-resumable", "1.0.0"), ("content-type", "application/offset+octet-stream")];
            let checksum = format!("sha256 {}", base64(&[7; 32]));
            let at = open(&mut bench);
            let headers = [tus[0], tus[1], ("upload-offset", "0"), ("upload-checksum", &checksum)];
            let exchange = bench.head(0, 1, "PATCH", &at, &headers, false);
            let data = bytes(1 << 20, 24);
            bench.data(exchange, &data);
            bench.hold_store = true;
            while bench.held_store.is_empty() {
                bench.data(exchange, &data);
            }
            if gone {
                bench.gone(exchange);
            }
            bench.refuse(error);
            if again {
                // Nor can it be given back: that is tried once.
                bench.refuse(error);
                assert!(bench.held_store.is_empty());
            }
            bench.release_store();
            assert_eq!((bench.disk.used(), bench.web.uploads()), (0, 0), "{error:?}");
            let made = bench.create(&[("upload-length", &quota.to_string())]).status();
            assert_eq!(made, if again { 507 } else { 201 }, "{error:?} {gone}");
            if again {
                // The next writer gives it back.
                let got = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 0-0/*")], b"x");
                assert_eq!((got.status(), bench.disk.used()), (204, 1));
                let rest = (quota - 1).to_string();
                assert_eq!(bench.create(&[("upload-length", &rest)]).status(), 201);
            }
            bench.check();
        }
    }
}

/// Bytes without a digest lie ahead of their sync by so much, however slow that is.
#[test]
fn a_slow_sync_holds_the_client_back() {
    let mut bench = Bench::new();
    let at = open(&mut bench);
    let headers = [("content-range", "bytes 0-99999999/*")];
    let exchange = bench.head(0, 1, "PATCH", &at, &headers, false);
    let data = bytes(16 << 20, 22);
    bench.hold = true;
    let mut sent = 0;
    loop {
        sent += bench.data(exchange, &data[sent..]);
        // Every work but the sync is done.
        let Some(at) = bench.held.iter().position(|(_, op)| !matches!(op, FileOp::Sync { .. })) else {
            break;
        };
        let work = bench.held.remove(at).unwrap();
        bench.held.push_front(work);
        bench.release_one();
    }
    assert!((UNSYNCED_BYTES..UNSYNCED_BYTES + 2 * WINDOW as u64).contains(&(sent as u64)), "{sent}");
    assert!(sent as u64 > SYNC_BYTES && bench.disk.used() as u64 <= UNSYNCED_BYTES + WRITE_BYTES as u64);
    bench.release();
    assert!(bench.data(exchange, &data[sent..]) > 0, "and goes on");
}

/// After a crash the account is still charged for what may be there, until the next writer has cut it.
#[test]
fn what_a_crash_left_is_charged_until_it_is_cut() {
    let mut bench = small();
    let data = bytes(800_000, 23);
    let at = open(&mut bench);
    let wrong = digest(b"something else");
    begin(&mut bench, &at, data.len(), &data[..500_000], &wrong);
    bench.crash();
    bench.check();
    assert_eq!(bench.create(&[("upload-length", "500000")]).status(), 507);
    let got = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 0-9/*")], &data[..10]);
    assert_eq!((got.status(), got.offset(), bench.disk.used()), (204, 10, 10));
    assert_eq!(bench.create(&[("upload-length", "999990")]).status(), 201);
    bench.check();
}

/// What clients ask and leave does not stay.
#[test]
fn whoever_gives_up_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let at = bench.upload(2_000_000);
    let writer = bench.head(0, 1, "PATCH", &at, &[("content-range", "bytes 0-1999999/*")], false);
    bench.hold = true;
    bench.data(writer, &[1; 100_000]);
    let before = bench.web.pending();
    for method in ["HEAD", "DELETE"] {
        for _ in 0..100 {
            let exchange = bench.head(0, 2, method, &at, &[], true);
            bench.gone(exchange);
        }
    }
    assert!(bench.web.pending() <= before + 1, "{} after {before}", bench.web.pending());
    bench.release();
    assert_eq!(bench.ask(0, "HEAD", &at, &[], b"").status(), 200, "nobody waited for its end");
    // Nor while the store is asked whose it is.
    bench.hold_store = true;
    let before = bench.web.pending();
    let first = bench.head(0, 3, "PATCH", &at, &[("content-range", "bytes 100000-1999999/*")], false);
    for _ in 0..100 {
        let exchange = bench.head(0, 2, "HEAD", &at, &[], true);
        bench.gone(exchange);
    }
    assert!(bench.web.pending() <= before + 3);
    bench.gone(writer);
    bench.gone(first);
    bench.release_store();
    assert_eq!((bench.web.exchanges(), bench.web.uploads()), (0, 0));
}

/// A stranger who asks first stands in nobody's way.
#[test]
fn a_foreign_request_does_not_hide_an_upload_from_its_owner() {
    let mut bench = Bench::new();
    let at = bench.upload(300);
    let chunk = |bench: &mut Bench, person, from: usize, to| {
        let range = range(from, to, None);
        bench.head(person, person as u64, "PATCH", &at, &[("content-range", &range)], false)
    };
    bench.hold_store = true;
    let stranger = chunk(&mut bench, 2, 0, 100);
    let owner = chunk(&mut bench, 0, 0, 100);
    let next = chunk(&mut bench, 0, 100, 200);
    let last = chunk(&mut bench, 0, 200, 300);
    bench.release_store();
    for (exchange, byte) in [(owner, 1), (next, 2), (last, 3)] {
        bench.data(exchange, &[byte; 100]);
        bench.end(exchange);
        assert_eq!(bench.got[&exchange].status(), 204, "{byte}");
    }
    bench.end(stranger);
    assert_eq!((bench.got[&stranger].status(), bench.got[&stranger].code()), (404, "not_found".into()));
    // HEAD neither.
    let at = bench.upload(300);
    bench.hold_store = true;
    let stranger = bench.head(2, 7, "PATCH", &at, &[("content-range", "bytes 0-9/*")], false);
    let head = bench.head(0, 8, "HEAD", &at, &[], true);
    let theirs = bench.head(2, 7, "HEAD", &at, &[], true);
    bench.release_store();
    bench.end(stranger);
    assert_eq!((bench.got[&head].status(), bench.got[&head].offset()), (200, 0));
    assert_eq!((bench.got[&stranger].status(), bench.got[&theirs].status()), (404, 404));
    bench.check();
}

#[derive(Clone, Debug)]
enum Step {
    Patch { upload: usize, digest: bool, len: usize },
    Status(usize),
    Get,
    Delete(usize),
    Create { length: Option<usize>, gone: bool },
    Data(usize),
    End(usize),
    Gone(usize),
    Work(usize),
    Store,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_usize, any::<bool>(), 1..400_000_usize)
            .prop_map(|(upload, digest, len)| Step::Patch { upload, digest, len }),
        3 => (0..6_usize).prop_map(Step::Status),
        3 => Just(Step::Get),
        1 => (0..6_usize).prop_map(Step::Delete),
        2 => (prop::option::of(1..500_000_usize), any::<bool>())
            .prop_map(|(length, gone)| Step::Create { length, gone }),
        6 => (0..16_usize).prop_map(Step::Data),
        3 => (0..16_usize).prop_map(Step::End),
        8 => (0..16_usize).prop_map(Step::Gone),
        2 => (0..4_usize).prop_map(Step::Work),
        1 => Just(Step::Store),
        1 => (1..100_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Clients that ask, send and leave, over a disk and a store that may be slow: what is held is bounded, and so is what lies on the
    /// disk of an account; in the end nothing is left.
    #[test]
    fn memory_and_disk_are_bounded(steps in prop::collection::vec(step(), 1..400)) {
        const EXCHANGES: usize = 6;
        let config =
            WebConfig { quota: QUOTA as u64, max_exchanges: EXCHANGES, max_uploads: 6, ..WebConfig::default() };
        let mut bench = Bench::with(config);
        let file = bench.file(&bytes(1_000, 1));
        let data = bytes(400_000, 2);
        let mut uploads: Vec<String> = vec![open(&mut bench)];
        let mut asked: Vec<ExchangeId> = Vec::new();
        for step in steps {
            let at = |n: usize| uploads[n % uploads.len()].clone();
            match step {
                Step::Patch { upload, digest: checked, len } => {
                    let (at, range, digest) = (at(upload), range(0, len, None), digest(&data[..len / 2]));
                    let headers = [("content-range", range.as_str()), ("content-digest", digest.as_str())];
                    asked.push(bench.head(0, 1, "PATCH", &at, &headers[..1 + usize::from(checked)], false));
                }
                Step::Status(upload) => asked.push(bench.head(0, 2, "HEAD", &at(upload), &[], true)),
                Step::Get => asked.push(bench.head(1, 3, "GET", &file, &[], true)),
                Step::Delete(upload) => asked.push(bench.head(0, 4, "DELETE", &at(upload), &[], true)),
                Step::Create { length, gone } => {
                    let target = format!("/v2/files?conversation={}", base64url(&bench.conversation().0));
                    let text = length.unwrap_or(0).to_string();
                    let headers = [("upload-length", text.as_str())];
                    let headers = if length.is_some() { &headers[..] } else { &[] };
                    let exchange = bench.head(0, 5, "POST", &target, headers, true);
                    if let Some(at) = bench.got[&exchange].header("location") {
                        uploads.push(at.to_owned());
                    } else if gone {
                        bench.gone(exchange);
                    } else {
                        asked.push(exchange);
                    }
                }
                Step::Data(n) if !asked.is_empty() => {
                    let exchange = asked[n % asked.len()];
                    bench.data(exchange, &data[..100_000]);
                }
                Step::End(n) if !asked.is_empty() => {
                    let exchange = asked.swap_remove(n % asked.len());
                    bench.end(exchange);
                }
                Step::Gone(n) if !asked.is_empty() => {
                    let exchange = asked.swap_remove(n % asked.len());
                    bench.gone(exchange);
                }
                Step::Work(times) => {
                    bench.hold = true;
                    for _ in 0..times {
                        bench.release_one();
                    }
                }
                Step::Store if bench.hold_store => bench.release_store(),
                Step::Store => bench.hold_store = true,
                Step::Pass(seconds) => bench.pass(Duration::from_secs(seconds)),
                Step::Data(_) | Step::End(_) | Step::Gone(_) => {}
            }
            // Each task may lead to one more; sweeps have a batch of their own.
            let most = 3 * EXCHANGES * TASKS_PER_EXCHANGE + 64;
            prop_assert!(bench.web.pending() <= most, "{}", bench.web.pending());
            prop_assert!(bench.web.writing_bytes() <= 2 * EXCHANGES * WINDOW);
            prop_assert!(bench.web.exchanges() <= EXCHANGES);
            let slack = 6 * (UNSYNCED_BYTES as usize + WINDOW);
            prop_assert!(bench.disk.used() <= QUOTA + slack, "{}", bench.disk.used());
        }
        bench.release_store();
        bench.release();
        for exchange in asked {
            bench.gone(exchange);
        }
        bench.release();
        bench.pass(Duration::from_secs(300));
        prop_assert_eq!((bench.web.exchanges(), bench.web.uploads(), bench.web.writing_bytes()), (0, 0, 0));
        prop_assert_eq!(bench.web.pending(), 0);
        // What lies on the disk is charged to somebody.
        prop_assert!(bench.disk.used() <= QUOTA, "{}", bench.disk.used());
        bench.check();
        let got = bench.ask(1, "GET", &file, &[], b"");
        prop_assert_eq!(got.status(), StatusCode::OK.as_u16());
    }
}
