//! A bucket of a real S3 server.

use ntproto_server::files::FileStore;
use ntproto_server::files::s3::{self, S3Files, waiting};
use ntproto_web::{ContentId, FileError, FileId, FileOp, FileOutcome};

use super::conformance::{conforms, done, sha256, write};
use super::moto::Moto;

fn open(moto: &Moto, bucket: &str, prefix: &str) -> Result<S3Files, String> {
    S3Files::open_with(bucket, prefix, moto.variables()).map_err(|why| why.to_string())
}

#[test]
fn a_bucket_conforms_and_a_large_file_is_put_together() {
    let Some(moto) = Moto::start() else { return };
    let why = open(&moto, "nobodys", "").unwrap_err();
    assert!(why.contains("can't be used"), "{why}");
    for prefix in ["", "a/b"] {
        let mut n = 0;
        conforms(&mut || {
            n += 1;
            Box::new(open(&moto, "chat", prefix).unwrap())
        });
        assert!(n > 1, "it was opened anew");
    }

    // More than one part of a multipart upload; what lies behind a crash is of another length than what comes instead.
    let (file, bytes): (_, Vec<u8>) =
        (FileId([3; 16]), (0..20_000_000_u32).map(|n| (n % 253) as u8).collect());
    let (content, length) = (ContentId(sha256(&bytes)), bytes.len() as u64);
    let files = open(&moto, "chat", "large").unwrap();
    for (n, piece) in bytes[..5_000_000].chunks(1_000_000).enumerate() {
        write(&files, file, n as u64 * 1_000_000, piece);
        done(&files, FileOp::Sync { file });
    }
    drop(files);
    let files = open(&moto, "chat", "large").unwrap();
    // Confirmed were 3,500,000 only.
    let mut at = 3_500_000;
    for piece in bytes[3_500_000..].chunks(700_000) {
        write(&files, file, at, piece);
        done(&files, FileOp::Sync { file });
        at += piece.len() as u64;
    }
    let hash = files.perform(FileOp::Hash { file, length });
    assert_eq!(hash, Ok(FileOutcome::Hashed(content.0)));
    done(&files, FileOp::Keep { file, content, length });
    let read = files.perform(FileOp::Read { content, offset: 8_388_600, length: 100 }).unwrap();
    assert_eq!(read, FileOutcome::Data(bytes[8_388_600..8_388_700].to_vec().into()));

    // A peer that is gone fails what is asked of it, and nothing else.
    drop(moto);
    assert_eq!(files.perform(FileOp::Sync { file }), Ok(FileOutcome::Done), "nothing waits");
    assert_eq!(files.perform(FileOp::Delete { content }), Err(FileError::Io));
}

/// The table of `docs/operating.md` says what the code says.
#[test]
fn limits_of_a_bucket() {
    const PAGE: &str = include_str!("../../../../docs/operating.md");
    let bytes = |n: usize| format!("{n} bytes");
    let code = [
        ("bytes of a file that waits for a bucket", bytes(waiting::MAX_WAITING)),
        ("bytes of all files that wait for it", bytes(waiting::MAX_WAITING_IN_ALL)),
        ("time until there is room for more", format!("{} s", waiting::ROOM_TIME.as_secs())),
        ("files known of a bucket", waiting::MAX_KNOWN.to_string()),
        ("part of a file in a bucket", bytes(s3::PART)),
        ("files put together in a bucket at once", s3::MAX_ASSEMBLING.to_string()),
    ];
    let table = PAGE.lines().skip_while(|line| !line.starts_with("| limit of a bucket")).skip(2);
    let page: Vec<_> = table.take_while(|line| line.starts_with('|')).collect();
    assert_eq!(page.len(), code.len());
    for (row, (name, value)) in page.iter().zip(code) {
        assert!(row.starts_with(&format!("| {name} | {value} | ")), "{row}: {value}");
    }
}
