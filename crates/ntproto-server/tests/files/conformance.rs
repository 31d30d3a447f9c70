//! What every store of files does.

use std::collections::BTreeSet;

use ntproto_server::files::sweep::{Records, Swept, compare, sweep};
use ntproto_server::files::{FileStore, Kept};
use ntproto_web::{ContentId, FileError, FileId, FileOp, FileOutcome};
use sha2::{Digest, Sha256};

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) fn write(files: &dyn FileStore, file: FileId, offset: u64, bytes: &[u8]) {
    // In two pieces.
    let (head, tail) = bytes.split_at(bytes.len() / 3);
    let data = vec![head.to_vec().into(), tail.to_vec().into()];
    assert_eq!(files.perform(FileOp::Write { file, offset, data }), Ok(FileOutcome::Done));
}

pub(crate) fn done(files: &dyn FileStore, op: FileOp) {
    assert_eq!(files.perform(op), Ok(FileOutcome::Done));
}

pub(crate) fn list(files: &dyn FileStore) -> BTreeSet<Kept> {
    let mut all = BTreeSet::new();
    files.list(&mut |kept| all.insert(kept)).unwrap();
    all
}

/// What every store of files does. `open` opens it anew, as after a restart.
pub(crate) fn conforms(open: &mut dyn FnMut() -> Box<dyn FileStore>) {
    let (file, other) = (FileId([7; 16]), FileId([8; 16]));
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let content = ContentId(sha256(&bytes));
    let length = bytes.len() as u64;
    {
        let files = open();
        // Nothing there: nothing to read, nothing to remove.
        let nothing = [
            FileOp::Hash { file, length: 1 },
            FileOp::Read { content, offset: 0, length: 1 },
            FileOp::Keep { file, content, length },
        ];
        for op in nothing {
            assert_eq!(files.perform(op), Err(FileError::NotFound));
        }
        done(&*files, FileOp::Discard { file });
        done(&*files, FileOp::Delete { content });
        let empty = files.perform(FileOp::Hash { file, length: 0 });
        assert_eq!(empty, Ok(FileOutcome::Hashed(sha256(b""))));

        write(&*files, file, 0, &bytes[..1_000_000]);
        done(&*files, FileOp::Sync { file });
        // Beyond what is confirmed, and never made durable.
        write(&*files, file, 1_000_000, &bytes[..700_000]);
        write(&*files, other, 0, b"other");
        done(&*files, FileOp::Sync { file: other });
    }
    // As after a crash: it goes on from what was confirmed, in other pieces.
    let files = open();
    write(&*files, file, 1_000_000, &bytes[1_000_000..1_200_000]);
    done(&*files, FileOp::Sync { file });
    write(&*files, file, 1_200_000, &bytes[1_200_000..2_000_000]);
    write(&*files, file, 2_000_000, &bytes[2_000_000..]);
    done(&*files, FileOp::Sync { file });
    let hash = |length| files.perform(FileOp::Hash { file, length });
    assert_eq!(hash(length), Ok(FileOutcome::Hashed(content.0)));
    assert_eq!(hash(1_100_000), Ok(FileOutcome::Hashed(sha256(&bytes[..1_100_000]))));
    assert_eq!(hash(length + 1), Err(FileError::NotFound));

    let keep = || FileOp::Keep { file, content, length };
    done(&*files, keep());
    // A crash before the record: once more.
    done(&*files, keep());
    let files = open();
    done(&*files, keep());
    assert_eq!(
        list(&*files),
        [Kept::Partial(file), Kept::Partial(other), Kept::Content(content, length)].into()
    );
    done(&*files, FileOp::Discard { file });
    done(&*files, FileOp::Discard { file });
    for (offset, n) in [(0, 1), (999_999, 2), (2_999_999, 1), (0, bytes.len()), (5, 0)] {
        let read = files.perform(FileOp::Read { content, offset: offset as u64, length: n }).unwrap();
        let FileOutcome::Data(data) = read else { panic!("no data") };
        assert!(data == bytes[offset..offset + n]);
    }
    for (offset, length) in [(length, 1), (length - 1, 2), (u64::MAX, 1)] {
        let read = files.perform(FileOp::Read { content, offset, length });
        assert_eq!(read, Err(FileError::NotFound));
    }

    // Nothing is a content too.
    let (empty, nothing) = (FileId([9; 16]), ContentId(sha256(b"")));
    done(&*files, FileOp::Keep { file: empty, content: nothing, length: 0 });
    done(&*files, FileOp::Discard { file: empty });
    let read = files.perform(FileOp::Read { content: nothing, offset: 0, length: 0 });
    assert_eq!(read, Ok(FileOutcome::Data(Default::default())));
    // The same bytes again are the same content; what is written behind its end is no part of it.
    let again = FileId([10; 16]);
    write(&*files, again, 0, &bytes);
    write(&*files, again, length, b"behind");
    done(&*files, FileOp::Sync { file: again });
    done(&*files, FileOp::Delete { content });
    done(&*files, FileOp::Keep { file: again, content, length });
    assert!(list(&*files).contains(&Kept::Content(content, length)));

    // Back behind what was made durable, in other pieces and shorter: no byte of before is mixed in.
    let back = FileId([12; 16]);
    for (at, len) in [(0, 100_000), (100_000, 20_000), (120_000, 30_000), (150_000, 50_000)] {
        write(&*files, back, at, &vec![0xee; len]);
        done(&*files, FileOp::Sync { file: back });
    }
    write(&*files, back, 200_000, &[0xdd; 5_000]);
    write(&*files, back, 100_000, &bytes[..60_000]);
    write(&*files, back, 160_000, &bytes[60_000..70_000]);
    done(&*files, FileOp::Sync { file: back });
    let expected = [&[0xee; 100_000][..], &bytes[..70_000]].concat();
    let hash = files.perform(FileOp::Hash { file: back, length: 170_000 });
    assert_eq!(hash, Ok(FileOutcome::Hashed(sha256(&expected))));
    // And back into what waits.
    write(&*files, back, 170_000, &[0xcc; 9_000]);
    write(&*files, back, 173_000, &bytes[..1_000]);
    done(&*files, FileOp::Sync { file: back });
    let expected = [&expected[..], &[0xcc; 3_000], &bytes[..1_000]].concat();
    let hash = files.perform(FileOp::Hash { file: back, length: 174_000 });
    assert_eq!(hash, Ok(FileOutcome::Hashed(sha256(&expected))));
    done(&*files, FileOp::Discard { file: back });

    // What nobody knows is swept away, and nothing else; what is missing is told.
    let mut records = Records::default();
    records.uploads.extend([(again, 5), (FileId([11; 16]), 0)]);
    records.contents.insert(nothing, 0);
    assert_eq!(compare(&*files, &records), Ok(Vec::new()));
    let swept = sweep(&*files, &records).unwrap();
    assert_eq!(swept, Swept { partials: 1, contents: 1, bytes: length });
    assert_eq!(list(&*files), [Kept::Partial(again), Kept::Content(nothing, 0)].into());
    assert_eq!(sweep(&*files, &records).unwrap(), Swept::default());
    records.uploads.insert(other, 5);
    records.contents.extend([(content, length), (nothing, 1)]);
    let faults = compare(&*files, &records).unwrap();
    assert_eq!(faults.len(), 3, "{faults:?}");
    for (fault, words) in
        faults.iter().zip(["has 0 bytes instead of 1", "5 bytes of the upload", "is missing"])
    {
        assert!(fault.contains(words), "{fault}");
    }
}
