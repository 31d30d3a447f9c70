//! Who writes: newer writers, chunks in flight, crashes.

use ntproto_hub::store::{Store as _, Txn};
use ntproto_web::config::{MAX_WAITING, SWEEP_BATCH, SYNC_BYTES, WAIT_TIME};
use ntproto_web::{ExchangeId, FileOp};

use crate::bench::{Bench, bytes, range};

//= proof: files-7
#[test]
fn the_newest_writer_wins() {
    let mut bench = Bench::new();
    let data = bytes(3_000_000, 10);
    let at = bench.upload(data.len());
    let old = bench.head(0, 1, "PATCH", &at, &[("content-range", "bytes 0-2999999/*")], false);
    bench.data(old, &data[..1_200_000]);
    // The client lost its connection, and comes over another one before the server notices.
    let offset = usize::try_from(bench.offset(&at)).unwrap();
    assert_eq!(offset, 1_200_000);
    let rest = range(offset, data.len(), None);
    let new = bench.head(0, 2, "PATCH", &at, &[("content-range", &rest)], false);
    bench.data(new, &data[offset..2_000_000]);
    bench.data(old, &vec![0xff; 50_000]);
    bench.end(old);
    assert_eq!((bench.got[&old].status(), bench.got[&old].code()), (409, "superseded".into()));
    bench.data(new, &data[2_000_000..]);
    bench.end(new);
    assert_eq!(bench.got[&new].status(), 204);
    assert_eq!(bench.ask(1, "GET", &at, &[], b"").body, data);
    bench.check();
}

/// A write of the old writer that is under way is over before the new one begins.
#[test]
fn a_late_write_writes_over_nothing() {
    let mut bench = Bench::new();
    let data = bytes(600_000, 11);
    let at = bench.upload(data.len());
    bench.hold = true;
    let all = range(0, data.len(), None);
    let old = bench.head(0, 1, "PATCH", &at, &[("content-range", &all)], false);
    bench.data(old, &vec![0xff; 100_000]);
    assert!(matches!(bench.held.front(), Some((_, FileOp::Write { offset: 0, .. }))));
    let new = bench.head(0, 2, "PATCH", &at, &[("content-range", &all)], false);
    bench.data(new, &data[..100_000]);
    assert_eq!(bench.held.len(), 1, "one at a time");
    bench.release();
    // What the old one wrote counts, so the new one does not fit: it learns the true offset.
    bench.end(old);
    bench.end(new);
    assert_eq!(bench.got[&old].code(), "superseded");
    assert_eq!(bench.got[&new].code(), "offset_behind");
    assert_eq!(bench.got[&new].offset(), bench.offset(&at));
    bench.check();
}

//= proof: files-8
#[test]
fn chunks_of_one_connection_wait_for_each_other() {
    let mut bench = Bench::new();
    let data = bytes(4_000_000, 12);
    let at = bench.upload(data.len());
    let chunk = |bench: &mut Bench, carrier, from: usize, to: usize| {
        let range = range(from, to, Some(4_000_000));
        bench.head(0, carrier, "PATCH", &at, &[("content-range", &range)], false)
    };
    let one = chunk(&mut bench, 1, 0, 1_000_000);
    let two = chunk(&mut bench, 1, 1_000_000, 2_500_000);
    let three = chunk(&mut bench, 1, 2_500_000, 4_000_000);
    // They are not read before their turn: a window each, and no more.
    let early = bench.data(two, &data[1_000_000..2_500_000]);
    assert!(early < 500_000);
    assert_eq!(bench.got[&two].consumed, 0);
    bench.data(one, &data[..1_000_000]);
    bench.end(one);
    assert_eq!((bench.got[&one].status(), bench.got[&one].offset()), (204, 1_000_000));
    bench.data(two, &data[1_000_000 + early..2_500_000]);
    bench.end(two);
    bench.data(three, &data[2_500_000..]);
    bench.end(three);
    for (exchange, offset) in [(two, 2_500_000), (three, 4_000_000)] {
        assert_eq!((bench.got[&exchange].status(), bench.got[&exchange].offset()), (204, offset));
    }
    assert_eq!(bench.ask(1, "GET", &at, &[], b"").body, data);
    bench.check();
}

#[test]
fn whoever_waits_in_vain_learns_the_offset() {
    let mut bench = Bench::new();
    let at = bench.upload(1_000);
    let chunk = |bench: &mut Bench, carrier, from: usize, to: usize| {
        let range = range(from, to, None);
        bench.head(0, carrier, "PATCH", &at, &[("content-range", &range)], false)
    };
    // The one before it breaks off.
    let one = chunk(&mut bench, 1, 0, 100);
    let two = chunk(&mut bench, 1, 100, 200);
    bench.data(two, &[2; 100]);
    bench.end(two);
    bench.data(one, &[1; 40]);
    bench.gone(one);
    assert_eq!((bench.got[&two].code(), bench.got[&two].offset()), ("offset_ahead".into(), 40));
    // It never comes on.
    let one = chunk(&mut bench, 1, 40, 100);
    let two = chunk(&mut bench, 1, 100, 200);
    bench.data(two, &[2; 100]);
    bench.end(two);
    let mut waited = std::time::Duration::ZERO;
    while waited < WAIT_TIME {
        bench.data(one, &[]);
        let step = std::time::Duration::from_secs(10);
        waited += step;
        bench.pass(step);
    }
    assert_eq!(bench.got[&two].status(), 409);
    // A newer writer ends all of them.
    let one = chunk(&mut bench, 1, 40, 100);
    let two = chunk(&mut bench, 1, 100, 200);
    let new = chunk(&mut bench, 2, 40, 100);
    for exchange in [one, two] {
        bench.end(exchange);
        assert_eq!(bench.got[&exchange].code(), "superseded");
    }
    // So many wait, and only of this dialect.
    let mut from = 100;
    for _ in 0..MAX_WAITING {
        let waits = chunk(&mut bench, 2, from, from + 10);
        from += 10;
        assert!(bench.got[&waits].head.is_none());
    }
    let more = chunk(&mut bench, 2, from, from + 10);
    bench.end(more);
    assert_eq!(bench.got[&more].status(), 503);
    let tus = [
        ("tus-resumable", "1.0.0"),
        ("content-type", "application/offset+octet-stream"),
        ("upload-offset", "100"),
    ];
    let other = bench.head(0, 2, "PATCH", &at, &tus, false);
    bench.end(other);
    assert_eq!((bench.got[&other].status(), bench.got[&other].offset()), (409, 40));
    bench.end(new);
    assert_eq!(bench.got[&new].code(), "superseded");
    bench.check();
}

//= proof: files-6
#[test]
fn an_offset_is_told_when_it_is_durable_and_a_crash_costs_little() {
    let mut bench = Bench::new();
    let data = bytes(5_000_000, 13);
    let at = bench.upload(data.len());
    let exchange = bench.head(0, 1, "PATCH", &at, &[("content-range", "bytes 0-4999999/*")], false);
    bench.data(exchange, &data[..4_100_000]);
    bench.crash();
    let offset = bench.offset(&at);
    let least = 4_100_000 - SYNC_BYTES - 512 * 1024;
    assert!((least..=4_100_000).contains(&offset), "{offset}");
    let from = usize::try_from(offset).unwrap();
    let rest = range(from, data.len(), None);
    let got = bench.ask(0, "PATCH", &at, &[("content-range", &rest)], &data[from..]);
    assert_eq!((got.status(), got.header("upload-complete")), (204, Some("?1")));
    assert_eq!(bench.ask(1, "GET", &at, &[], b"").body, data);
}

//= proof: files-11
#[test]
fn a_crash_anywhere_on_the_way_from_the_last_byte_to_a_file_loses_nothing() {
    for steps in 0..12 {
        let mut bench = Bench::new();
        let data = bytes(300_000, 14);
        let at = bench.upload(data.len());
        let all = range(0, data.len(), None);
        let exchange = bench.head(0, 1, "PATCH", &at, &[("content-range", &all)], false);
        bench.hold = true;
        bench.data(exchange, &data);
        for _ in 0..steps {
            bench.data(exchange, &[]);
            if !bench.release_one() {
                break;
            }
        }
        bench.end(exchange);
        for _ in 0..steps {
            bench.release_one();
        }
        bench.hold = false;
        bench.crash();
        let head = bench.ask(0, "HEAD", &at, &[], b"");
        let from = usize::try_from(head.offset()).unwrap();
        let whole = head.header("upload-complete") == Some("?1");
        assert_eq!(whole, from == data.len(), "what is whole is a file, {steps}");
        if !whole {
            let rest = range(from, data.len(), None);
            let got = bench.ask(0, "PATCH", &at, &[("content-range", &rest)], &data[from..]);
            assert_eq!(got.header("upload-complete"), Some("?1"), "{steps}");
        }
        assert_eq!(bench.ask(1, "GET", &at, &[], b"").body, data);
        bench.sweep();
        assert_eq!((bench.disk.partials(), bench.disk.contents.len()), (0, 1), "{steps}");
        bench.check();
    }
}

/// The same bytes are there once; they go with the last file, and come again while they go.
#[test]
fn content_is_kept_as_long_as_a_file_holds_it() {
    let mut bench = Bench::new();
    let data = bytes(200_000, 15);
    let (one, two) = (bench.file(&data), bench.file(&data));
    assert_eq!(bench.disk.contents.len(), 1);
    assert_eq!(bench.ask(0, "DELETE", &one, &[], b"").status(), 204);
    bench.sweep();
    assert_eq!(bench.ask(1, "GET", &two, &[], b"").body, data);
    bench.hold = true;
    assert_eq!(bench.ask(0, "DELETE", &two, &[], b"").status(), 204);
    let removing = bench.held.iter().filter(|(_, op)| matches!(op, FileOp::Delete { .. })).count();
    assert_eq!(removing, 1);
    // It comes again before the disk has removed it.
    let (_, delete) = (0, bench.held.pop_front().unwrap());
    bench.hold = false;
    let at = bench.upload(data.len());
    let all = range(0, data.len(), None);
    let exchange: ExchangeId = bench.head(0, 1, "PATCH", &at, &[("content-range", &all)], false);
    bench.data(exchange, &data);
    bench.end(exchange);
    assert!(bench.got[&exchange].head.is_none(), "it waits");
    bench.held.push_front(delete);
    bench.release();
    assert_eq!(bench.got[&exchange].header("upload-complete"), Some("?1"));
    assert_eq!(bench.ask(1, "GET", &at, &[], b"").body, data);
    bench.sweep();
    assert_eq!((bench.disk.contents.len(), bench.disk.partials()), (1, 0));
    bench.check();
}

#[test]
fn ending_an_upload_ends_its_writers() {
    let mut bench = Bench::new();
    let at = bench.upload(1_000_000);
    let writer = bench.head(0, 1, "PATCH", &at, &[("content-range", "bytes 0-999999/*")], false);
    bench.data(writer, &[1; 100_000]);
    assert_eq!(bench.ask(0, "DELETE", &at, &[], b"").status(), 204);
    bench.end(writer);
    assert_eq!(bench.got[&writer].code(), "superseded");
    assert_eq!(bench.ask(0, "HEAD", &at, &[], b"").status(), 404);
    bench.sweep();
    assert_eq!((bench.disk.partials(), bench.web.uploads()), (0, 0));
    bench.check();
}

/// A write goes on beside a sync, and may end before the server hears of the sync's end.
//= proof: files-6
#[test]
fn a_sync_counts_what_was_written_before_it() {
    let mut bench = Bench::new();
    let data = bytes(3_000_000, 16);
    let at = bench.upload(data.len());
    let exchange = bench.head(0, 1, "PATCH", &at, &[("content-range", "bytes 0-2999999/*")], false);
    bench.hold = true;
    let mut sent = 0;
    while !matches!(bench.held.front(), Some((_, FileOp::Sync { .. }))) {
        sent += bench.data(exchange, &data[sent..]);
        bench.release_one();
    }
    sent += bench.data(exchange, &data[sent..]);
    if bench.held.len() == 1 {
        bench.release_one();
        panic!("nothing is written beside the sync");
    }
    bench.release_late();
    bench.release_one();
    bench.hold = false;
    bench.crash();
    let offset = usize::try_from(bench.offset(&at)).unwrap();
    assert!(offset >= SYNC_BYTES as usize && offset < sent);
    let rest = range(offset, data.len(), None);
    let got = bench.ask(0, "PATCH", &at, &[("content-range", &rest)], &data[offset..]);
    assert_eq!((got.status(), got.header("upload-complete")), (204, Some("?1")));
    assert!(bench.ask(1, "GET", &at, &[], b"").body == data);
}

/// A device that was stolen holds up nothing.
#[test]
fn another_device_of_the_account_goes_on_when_the_first_is_revoked() {
    let mut bench = Bench::new();
    let at = bench.upload(1_000);
    let old = bench.head(0, 1, "PATCH", &at, &[("content-range", "bytes 0-999/*")], false);
    bench.data(old, &[1; 400]);
    let (uin, device_id, now) = (bench.people[0].uin, bench.people[0].id, bench.now.unix);
    bench.store.commit(&[Txn::RevokeDevice { uin, device_id, now }]);
    let exchange = bench.head(3, 2, "PATCH", &at, &[("content-range", "bytes 400-999/*")], false);
    bench.data(exchange, &[2; 600]);
    bench.end(exchange);
    assert_eq!((bench.got[&exchange].status(), bench.got[&exchange].offset()), (204, 1_000));
    bench.end(old);
    assert_eq!(bench.got[&old].code(), "superseded");
    assert_eq!(bench.ask(0, "HEAD", &at, &[], b"").status(), 403);
}

/// A page of what can't be removed holds up nothing behind it.
#[test]
fn what_cannot_be_removed_is_passed_over() {
    let mut bench = Bench::new();
    let batch = SWEEP_BATCH as usize;
    let all: Vec<String> = (0..batch + 6)
        .map(|_| {
            let at = bench.upload(10);
            assert_eq!(
                bench.ask(0, "PATCH", &at, &[("content-range", "bytes 0-4/*")], &[1; 5]).status(),
                204
            );
            at
        })
        .collect();
    bench.disk.stuck = Some(bench.disk.ids()[batch - 1]);
    for at in &all {
        assert_eq!(bench.ask(0, "DELETE", at, &[], b"").status(), 204);
    }
    bench.sweep();
    assert_eq!(bench.disk.partials(), batch);
    // Their turn comes again.
    bench.disk.stuck = None;
    bench.sweep();
    assert_eq!(bench.disk.partials(), 0);
    bench.check();
}

/// A disk that loses what it promised to keep: nobody could go on, so the client begins anew.
#[test]
fn an_upload_that_the_disk_lost_ends() {
    for whole in [false, true] {
        let mut bench = Bench::new();
        let data = bytes(300, 30);
        let at = bench.upload(data.len());
        let first = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 0-99/*")], &data[..100]);
        assert_eq!(first.offset(), 100);
        if whole {
            // Between the last byte and its hash.
            bench.hold = true;
            let exchange = bench.head(0, 1, "PATCH", &at, &[("content-range", "bytes 100-299/*")], false);
            bench.data(exchange, &data[100..]);
            bench.end(exchange);
            while !matches!(bench.held.front(), Some((_, FileOp::Hash { .. }))) {
                assert!(bench.release_one());
            }
            bench.disk.lose();
            bench.release();
            assert_eq!((bench.got[&exchange].status(), bench.got[&exchange].code()), (410, "gone".into()));
        } else {
            bench.disk.lose();
            let got = bench.ask(0, "PATCH", &at, &[("content-range", "bytes 100-299/*")], &data[100..]);
            assert_eq!((got.status(), got.code()), (410, "gone".into()));
        }
        assert_eq!(bench.ask(0, "HEAD", &at, &[], b"").status(), 404);
        let at = bench.file(&data);
        assert_eq!(bench.ask(1, "GET", &at, &[], b"").body, data);
        bench.check();
    }
}
