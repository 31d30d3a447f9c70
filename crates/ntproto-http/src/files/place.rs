//! A whole file gets its name.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

/// Why a file did not get its name. It is where it was.
#[derive(Debug)]
pub enum PlaceError {
    /// There is a file of this name, which was not there when it began, or is not to be replaced.
    Taken,
    /// The system can't.
    Io(io::Error),
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("there is a file of this name"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PlaceError {}

/// Gives the file at `from` the name `to`, in the same folder or on the same disk. Only with `replace` may that be the name of
/// another, which is gone then.
///
/// # Errors
/// See [`PlaceError`].
pub fn place(from: &Path, to: &Path, replace: bool) -> Result<(), PlaceError> {
    if !replace {
        return place_new(from, to);
    }
    std::fs::rename(from, to).map_err(PlaceError::Io)?;
    // Two names of one file are left alone by a rename: an earlier run got as far as giving it both.
    match std::fs::remove_file(from) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(PlaceError::Io(error)),
        _ => Ok(()),
    }
}

/// In one step where the system has one.
fn place_new(from: &Path, to: &Path) -> Result<(), PlaceError> {
    match rename_new(from, to) {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(of(error)),
        None => {
            by_steps(from, to, |from, to| std::fs::hard_link(from, to), |from, to| std::fs::rename(from, to))
        }
    }
}

/// By a second name, which is refused if it is taken, before the first is removed. On a disk where a file has but one name (exFAT, SMB,
/// much of FUSE) an empty file takes the name first: what is replaced is one's own.
fn by_steps(
    from: &Path,
    to: &Path,
    link: impl FnOnce(&Path, &Path) -> io::Result<()>,
    rename: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> Result<(), PlaceError> {
    use io::ErrorKind::{AlreadyExists, NotFound, QuotaExceeded, StorageFull};
    match link(from, to) {
        Ok(()) => return std::fs::remove_file(from).map_err(PlaceError::Io),
        // Another way fails of this as well.
        Err(error) if matches!(error.kind(), AlreadyExists | NotFound | QuotaExceeded | StorageFull) => {
            return Err(of(error));
        }
        Err(_) => {}
    }
    drop(File::create_new(to).map_err(of)?);
    rename(from, to).map_err(|error| {
        // What can't be removed stays, empty; the file is where it was.
        let _ = std::fs::remove_file(to);
        PlaceError::Io(error)
    })
}

fn of(error: io::Error) -> PlaceError {
    if error.kind() == io::ErrorKind::AlreadyExists { PlaceError::Taken } else { PlaceError::Io(error) }
}

/// `None`: this system, or this disk, does not know how.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_new(from: &Path, to: &Path) -> Option<io::Result<()>> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => None,
        result => Some(result.map_err(io::Error::from)),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_new(_: &Path, _: &Path) -> Option<io::Result<()>> {
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_that_is_taken_stays_as_it_is_unless_it_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, b"new").unwrap();
        fs::write(&to, b"somebody's").unwrap();
        assert!(matches!(place(&from, &to, false), Err(PlaceError::Taken)));
        assert_eq!((fs::read(&from).unwrap(), fs::read(&to).unwrap()), (b"new".into(), b"somebody's".into()));
        place(&from, &to, true).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert!(!from.exists());

        fs::rename(&to, &from).unwrap();
        place(&from, &to, false).unwrap();
        assert!(!from.exists() && to.exists());
        assert!(matches!(place(&from, &to, false), Err(PlaceError::Io(_))), "there is none");
        // A kill between the two steps left both names.
        fs::hard_link(&to, &from).unwrap();
        assert!(matches!(place(&from, &to, false), Err(PlaceError::Taken)));
        place(&from, &to, true).unwrap();
        assert!(!from.exists() && to.exists());
    }

    #[test]
    fn where_a_file_has_one_name_an_empty_one_keeps_it_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, b"new").unwrap();
        let one_name = |_: &Path, _: &Path| Err(io::ErrorKind::PermissionDenied.into());
        let renamed = |from: &Path, to: &Path| fs::rename(from, to);

        // The rename fails: all is as it was.
        let stuck = |_: &Path, to: &Path| {
            assert_eq!(fs::read(to).unwrap(), b"", "the name is ours");
            Err(io::ErrorKind::ResourceBusy.into())
        };
        let failed = by_steps(&from, &to, one_name, stuck).unwrap_err();
        assert!(matches!(&failed, PlaceError::Io(error) if error.kind() == io::ErrorKind::ResourceBusy));
        assert!(!to.exists() && fs::read(&from).unwrap() == b"new");

        by_steps(&from, &to, one_name, renamed).unwrap();
        assert!(!from.exists() && fs::read(&to).unwrap() == b"new");

        // What somebody made meanwhile stays.
        fs::write(&from, b"newer").unwrap();
        assert!(matches!(by_steps(&from, &to, one_name, renamed), Err(PlaceError::Taken)));
        assert_eq!((fs::read(&from).unwrap(), fs::read(&to).unwrap()), (b"newer".into(), b"new".into()));

        // Nor is anything tried where the disk is full.
        fs::remove_file(&to).unwrap();
        let full = |_: &Path, _: &Path| Err(io::ErrorKind::StorageFull.into());
        let failed = by_steps(&from, &to, full, |_, _| panic!("a second way")).unwrap_err();
        assert!(matches!(&failed, PlaceError::Io(error) if error.kind() == io::ErrorKind::StorageFull));
        assert!(!to.exists());
        // A disk that gives second names.
        by_steps(&from, &to, |from, to| fs::hard_link(from, to), |_, _| panic!("a second way")).unwrap();
        assert!(!from.exists() && fs::read(&to).unwrap() == b"newer");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nowhere_is_a_file_of_this_name_too() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, b"new").unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &to).unwrap();
        assert!(matches!(place(&from, &to, false), Err(PlaceError::Taken)));
        // By the second way as well, whatever this system knows.
        assert_eq!(fs::hard_link(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(from.exists());
    }
}
