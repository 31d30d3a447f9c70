//! Stores of files: all of them do the same, and what a crash left behind is found.
#![allow(clippy::unwrap_used)]

mod conformance;
#[cfg(feature = "s3")]
mod moto;
#[cfg(feature = "s3")]
mod s3;

use conformance::{conforms, done, list, sha256, write};
use ntproto_server::files::local::LocalFiles;
use ntproto_server::files::sweep::{Records, sweep};
use ntproto_server::files::{FileStore, SyncPolicy};
use ntproto_web::{ContentId, FileId, FileOp, FileOutcome};

#[test]
fn a_folder_conforms() {
    for policy in [SyncPolicy::Always, SyncPolicy::Never] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("files");
        conforms(&mut || Box::new(LocalFiles::open(&path, policy).unwrap()));
    }
}

#[test]
fn a_folder_is_its_owners_and_leaves_alone_what_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("files");
    let files = LocalFiles::open(&path, SyncPolicy::Always).unwrap();
    let file = FileId([1; 16]);
    write(&files, file, 0, b"a secret");
    done(&files, FileOp::Keep { file, content: ContentId([2; 32]), length: 8 });
    std::fs::write(path.join("parts/notes.txt"), "mine").unwrap();
    std::fs::create_dir(path.join("content/lost+found")).unwrap();
    std::fs::write(path.join("content/lost+found/x"), "mine").unwrap();
    assert_eq!(list(&files).len(), 2);
    assert_eq!(sweep(&files, &Records::default()).unwrap().partials, 1);
    assert!(path.join("parts/notes.txt").exists() && path.join("content/lost+found/x").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        write(&files, file, 0, b"a secret");
        assert_eq!(mode(&path.join("parts").join(file.to_string())), 0o600);
        for folder in ["", "parts", "content", "content/02"] {
            assert_eq!(mode(&path.join(folder)), 0o700, "{folder}");
        }
    }
}

#[test]
fn more_files_than_are_held_open_are_all_written() {
    let folder = tempfile::tempdir().unwrap();
    let files = LocalFiles::open(folder.path(), SyncPolicy::Never).unwrap();
    let id = |n: u16| FileId(std::array::from_fn(|i| if i < 2 { n.to_be_bytes()[i] } else { 0 }));
    for round in 0..2_u64 {
        for n in 0..300 {
            write(&files, id(n), round * 3, &[n as u8, 1, 2]);
        }
    }
    for n in 0..300 {
        done(&files, FileOp::Sync { file: id(n) });
        let n8 = n as u8;
        let hash = files.perform(FileOp::Hash { file: id(n), length: 6 });
        assert_eq!(hash, Ok(FileOutcome::Hashed(sha256(&[n8, 1, 2, n8, 1, 2]))));
    }
}
