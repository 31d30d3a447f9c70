//! Uploads, files, contents.

use alloc::vec;
use alloc::vec::Vec;

use ntproto_core::ids::{ConversationId, FileId, GroupId};
use ntproto_core::time::UnixMillis;

use super::super::act::Actor;
use super::super::file::{Doomed, FileAnswer, FileAsk, FileState, FileWork, NewUpload, UploadState};
use super::super::txn::DeviceInfo;
use super::super::{Outcome, StoreError, Txn};
use super::{Bench, LATER, NOW};

const QUOTA: u64 = 1_000;
const ENDS: UnixMillis = UnixMillis(NOW.0 + 10);

fn asks(by: &DeviceInfo, ask: FileAsk) -> Txn {
    Txn::File { by: Actor { uin: by.uin, device: by.id, now: NOW }, ask }
}

fn new(n: u8, conversation: ConversationId, length: Option<u64>) -> NewUpload {
    NewUpload {
        file: FileId([n; 16]),
        upload_id: [n; 16],
        conversation,
        length,
        digest: None,
        expires: ENDS,
        quota: QUOTA,
        max_uploads: 3,
    }
}

#[track_caller]
fn answer(bench: &mut Bench, txn: Txn) -> FileAnswer {
    match bench.ok(txn) {
        Outcome::File(answer) => answer,
        other => panic!("no answer about a file: {other:?}"),
    }
}

#[track_caller]
fn upload(bench: &mut Bench, txn: Txn) -> UploadState {
    match answer(bench, txn) {
        FileAnswer::Made(state) | FileAnswer::Upload(state) => state,
        other => panic!("no upload: {other:?}"),
    }
}

#[track_caller]
fn file(bench: &mut Bench, txn: Txn) -> FileState {
    match answer(bench, txn) {
        FileAnswer::File(state) => state,
        other => panic!("no file: {other:?}"),
    }
}

fn reached(file: FileId, epoch: u64, offset: u64) -> Txn {
    reserved(file, epoch, offset, 0)
}

fn reserved(file: FileId, epoch: u64, offset: u64, reserve: u64) -> Txn {
    let work = FileWork::Progress { file, epoch, offset, length: None, reserve, expires: ENDS, quota: QUOTA };
    Txn::FileWork(work)
}

fn swept(bench: &mut Bench, now: UnixMillis, limit: u32) -> (Vec<Doomed>, bool) {
    swept_after(bench, now, limit, None)
}

fn swept_after(bench: &mut Bench, now: UnixMillis, limit: u32, after: Option<Doomed>) -> (Vec<Doomed>, bool) {
    match answer(bench, Txn::FileWork(FileWork::Sweep { now, limit, after })) {
        FileAnswer::Doomed { doomed, more } => (doomed, more),
        other => panic!("not swept: {other:?}"),
    }
}

/// An upload of three bytes becomes a file.
fn whole(bench: &mut Bench, by: &DeviceInfo, n: u8, to: ConversationId, content: u8) -> FileState {
    let id = FileId([n; 16]);
    upload(bench, asks(by, FileAsk::Create(new(n, to, Some(3)))));
    let epoch = upload(bench, asks(by, FileAsk::Claim { file: id })).epoch;
    upload(bench, reached(id, epoch, 3));
    upload(bench, Txn::FileWork(FileWork::Seal { file: id, epoch, content: [content; 32] }));
    file(bench, Txn::FileWork(FileWork::Complete { file: id, epoch, now: LATER }))
}

//= proof: files-3, files-4, files-5
pub(super) fn create(bench: &mut Bench) {
    let (a, b, direct) = bench.two();
    let c = bench.account(3);
    let made = answer(bench, asks(&a, FileAsk::Create(new(1, direct, Some(9)))));
    let FileAnswer::Made(made) = made else { panic!("not made: {made:?}") };
    assert_eq!((made.uin, made.length, made.offset, made.epoch), (a.uin, Some(9), 0, 0));
    // The same again is the same, also after opening again; another number is not used.
    bench.reopen();
    let again = NewUpload { file: FileId([9; 16]), ..new(1, direct, Some(9)) };
    assert_eq!(answer(bench, asks(&a, FileAsk::Create(again.clone()))), FileAnswer::Upload(made));
    let other = NewUpload { length: Some(8), ..again.clone() };
    bench.refused(asks(&a, FileAsk::Create(other)), StoreError::Conflict);
    let other = NewUpload { digest: Some([1; 32]), ..again.clone() };
    bench.refused(asks(&a, FileAsk::Create(other)), StoreError::Conflict);
    let other = NewUpload { conversation: ConversationId::direct(a.uin, c.uin), ..again };
    bench.refused(asks(&a, FileAsk::Create(other)), StoreError::Conflict);
    // Names are each account's own; numbers are not.
    let theirs = NewUpload { file: FileId([2; 16]), ..new(1, direct, Some(9)) };
    assert!(matches!(answer(bench, asks(&b, FileAsk::Create(theirs))), FileAnswer::Made(_)));
    let taken = NewUpload { upload_id: [7; 16], ..new(1, direct, None) };
    bench.refused(asks(&a, FileAsk::Create(taken)), StoreError::Conflict);
    // Not into a conversation one is not in, nor into a group one has left.
    bench.refused(asks(&c, FileAsk::Create(new(3, direct, None))), StoreError::Forbidden);
    let nowhere = ConversationId::of_group(GroupId(77));
    // Nor does anybody learn which there are.
    bench.refused(asks(&c, FileAsk::Create(new(3, nowhere, None))), StoreError::Forbidden);
    // Others' uploads are not there.
    for ask in [
        FileAsk::Claim { file: made.file },
        FileAsk::Find { file: made.file },
        FileAsk::Delete { file: made.file },
    ] {
        bench.refused(asks(&b, ask), StoreError::NotFound);
    }
    assert_eq!(answer(bench, asks(&a, FileAsk::Find { file: made.file })), FileAnswer::Upload(made));
}

//= proof: files-6, files-7
pub(super) fn progress(bench: &mut Bench) {
    let (a, _, direct) = bench.two();
    let id = FileId([1; 16]);
    upload(bench, asks(&a, FileAsk::Create(new(1, direct, Some(9)))));
    let one = upload(bench, asks(&a, FileAsk::Claim { file: id })).epoch;
    assert_eq!(upload(bench, reached(id, one, 5)).offset, 5);
    assert_eq!(upload(bench, reached(id, one, 2)).offset, 5);
    bench.refused(reached(id, one, 10), StoreError::BadRequest);
    let two = upload(bench, asks(&a, FileAsk::Claim { file: id }));
    assert_eq!((two.epoch, two.offset), (one + 1, 5));
    for late in [
        reached(id, one, 9),
        Txn::FileWork(FileWork::Seal { file: id, epoch: one, content: [1; 32] }),
        Txn::FileWork(FileWork::Complete { file: id, epoch: one, now: NOW }),
    ] {
        bench.refused(late, StoreError::Stale);
    }
    bench.reopen();
    assert_eq!(upload(bench, asks(&a, FileAsk::Find { file: id })).offset, 5);
    // Neither sealed before it is whole, nor complete before it is sealed.
    let (file, epoch) = (id, two.epoch);
    bench.refused(Txn::FileWork(FileWork::Seal { file, epoch, content: [1; 32] }), StoreError::BadRequest);
    upload(bench, reached(id, epoch, 9));
    bench.refused(Txn::FileWork(FileWork::Complete { file, epoch, now: NOW }), StoreError::BadRequest);
    bench.refused(reached(FileId([8; 16]), 1, 1), StoreError::NotFound);
}

//= proof: files-4
pub(super) fn complete(bench: &mut Bench) {
    let (a, b, direct) = bench.two();
    let c = bench.account(3);
    let one = whole(bench, &a, 1, direct, 0xc1);
    assert_eq!((one.size, one.content, one.stored, one.conversation), (3, [0xc1; 32], LATER, direct));
    let two = whole(bench, &b, 2, direct, 0xc1);
    bench.reopen();
    for who in [&a, &b] {
        assert_eq!(file(bench, asks(who, FileAsk::Find { file: one.file })), one);
        bench.refused(asks(&c, FileAsk::Find { file: one.file }), StoreError::NotFound);
    }
    // The name finds the file, and fits what it is.
    assert_eq!(file(bench, asks(&a, FileAsk::Create(new(1, direct, Some(3))))), one);
    bench.refused(asks(&a, FileAsk::Create(new(1, direct, Some(4)))), StoreError::Conflict);
    assert_eq!(file(bench, asks(&a, FileAsk::Claim { file: one.file })), one);
    // What was written is doomed; the content is not, until nobody holds it.
    let partials = vec![Doomed::Partial(one.file), Doomed::Partial(two.file)];
    assert_eq!(swept(bench, NOW, 9), (partials.clone(), false));
    bench.ok(Txn::FileWork(FileWork::Swept(partials)));
    bench.refused(asks(&b, FileAsk::Delete { file: one.file }), StoreError::NotFound);
    bench.ok(asks(&a, FileAsk::Delete { file: one.file }));
    assert_eq!(swept(bench, NOW, 9), (vec![], false));
    bench.ok(asks(&b, FileAsk::Delete { file: two.file }));
    assert_eq!(swept(bench, NOW, 9), (vec![Doomed::Content([0xc1; 32])], false));
    // It comes again before it was removed.
    whole(bench, &a, 4, direct, 0xc1);
    assert_eq!(swept(bench, NOW, 9), (vec![Doomed::Partial(FileId([4; 16]))], false));
}

//= proof: files-12
pub(super) fn sweep(bench: &mut Bench) {
    let (a, _, direct) = bench.two();
    for n in 1..=3 {
        upload(bench, asks(&a, FileAsk::Create(new(n, direct, Some(3)))));
    }
    assert_eq!(swept(bench, UnixMillis(ENDS.0 - 1), 9), (vec![], false));
    // One goes on, and lives longer.
    let id = FileId([2; 16]);
    let epoch = upload(bench, asks(&a, FileAsk::Claim { file: id })).epoch;
    let expires = UnixMillis(ENDS.0 + 5);
    let work =
        FileWork::Progress { file: id, epoch, offset: 3, length: None, reserve: 0, expires, quota: QUOTA };
    assert_eq!(upload(bench, Txn::FileWork(work)).expires, expires);
    upload(bench, Txn::FileWork(FileWork::Seal { file: id, epoch, content: [0xc1; 32] }));
    let (doomed, more) = swept(bench, ENDS, 1);
    assert!(more && doomed == [Doomed::Partial(FileId([1; 16]))]);
    let (doomed, more) = swept(bench, ENDS, 2);
    assert!(!more && doomed == [Doomed::Partial(FileId([1; 16])), Doomed::Partial(FileId([3; 16]))]);
    bench.refused(asks(&a, FileAsk::Find { file: FileId([3; 16]) }), StoreError::NotFound);
    // One that was sealed takes its content along.
    let (doomed, _) = swept(bench, expires, 9);
    assert_eq!(doomed[3..], [Doomed::Content([0xc1; 32])]);
    // A round goes on behind the last one, so that what can't be removed holds up nothing.
    assert_eq!(swept_after(bench, expires, 2, Some(doomed[0])), (doomed[1..3].to_vec(), true));
    assert_eq!(swept_after(bench, expires, 2, Some(doomed[2])), (doomed[3..].to_vec(), false));
    assert_eq!(swept_after(bench, expires, 2, Some(doomed[3])), (vec![], false));
    bench.ok(Txn::FileWork(FileWork::Swept(doomed)));
    assert_eq!(swept(bench, expires, 9), (vec![], false));
}

//= proof: files-13
pub(super) fn quota(bench: &mut Bench) {
    let (a, _, direct) = bench.two();
    upload(bench, asks(&a, FileAsk::Create(new(1, direct, Some(QUOTA - 10)))));
    bench.refused(asks(&a, FileAsk::Create(new(2, direct, Some(11)))), StoreError::Quota);
    // Without a length, what comes counts.
    let id = FileId([2; 16]);
    upload(bench, asks(&a, FileAsk::Create(new(2, direct, None))));
    let epoch = upload(bench, asks(&a, FileAsk::Claim { file: id })).epoch;
    upload(bench, reached(id, epoch, 10));
    bench.refused(reached(id, epoch, 11), StoreError::Quota);
    upload(bench, asks(&a, FileAsk::Create(new(3, direct, Some(0)))));
    bench.refused(asks(&a, FileAsk::Create(new(4, direct, Some(0)))), StoreError::TooMany);
    bench.ok(asks(&a, FileAsk::Delete { file: FileId([1; 16]) }));
    upload(bench, reached(id, epoch, 11));
    upload(bench, asks(&a, FileAsk::Create(new(5, direct, Some(QUOTA - 11)))));
    // What does not count yet is charged too, until it is cut; a newer writer changes nothing of it.
    bench.ok(asks(&a, FileAsk::Delete { file: FileId([5; 16]) }));
    bench.refused(reserved(id, epoch, 11, QUOTA + 1), StoreError::Quota);
    assert_eq!(upload(bench, reserved(id, epoch, 11, QUOTA)).reserved, QUOTA);
    bench.refused(asks(&a, FileAsk::Create(new(6, direct, Some(1)))), StoreError::Quota);
    bench.reopen();
    let claimed = upload(bench, asks(&a, FileAsk::Claim { file: id }));
    assert_eq!((claimed.offset, claimed.reserved), (11, QUOTA));
    bench.refused(asks(&a, FileAsk::Create(new(6, direct, Some(1)))), StoreError::Quota);
    upload(bench, reserved(id, claimed.epoch, 20, 0));
    upload(bench, asks(&a, FileAsk::Create(new(6, direct, Some(QUOTA - 20)))));
    // One that ends gives back what it reserved.
    bench.ok(asks(&a, FileAsk::Delete { file: FileId([6; 16]) }));
    upload(bench, reserved(id, claimed.epoch, 20, QUOTA));
    bench.ok(asks(&a, FileAsk::Delete { file: id }));
    upload(bench, asks(&a, FileAsk::Create(new(7, direct, Some(QUOTA)))));
}
