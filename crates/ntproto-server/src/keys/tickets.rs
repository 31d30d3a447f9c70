//! The keys tickets are sealed with. Losing them costs clients a sign-in with their device keys, no more.

use std::path::{Path, PathBuf};

use ntproto_core::crypto::secret::Secret;
use ntproto_core::rng::Rng;
use ntproto_core::session::ticket::TicketKey;
use ntproto_core::time::UnixMillis;
use zeroize::Zeroizing;

use super::files::{self, FileError};
use super::{KeyError, hex_line};

const HEADER: &str = "ntproto ticket keys 1";
fn path(dir: &Path) -> PathBuf {
    dir.join("ticket.keys")
}

/// Keeps the keys of a sealer, so that tickets survive a restart: the one that seals, and the one before it.
///
/// # Errors
/// The file can't be written.
pub fn save_ticket_keys(
    dir: &Path,
    current: &TicketKey,
    previous: Option<&TicketKey>,
) -> Result<(), FileError> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    text.push_str(HEADER);
    text.push('\n');
    for key in [Some(current), previous].into_iter().flatten() {
        let head = format!("key {} {}", key.id(), key.created().0);
        hex_line(&mut text, &head, &[key.secret().expose()]);
    }
    files::write(&path(dir), &text)
}

/// Loads them, or makes the first.
pub(super) fn load(
    dir: &Path,
    rng: &mut Rng,
    now: UnixMillis,
) -> Result<(TicketKey, Option<TicketKey>), KeyError> {
    let path = path(dir);
    let Some(text) = files::read_secret(&path)? else {
        return make(dir, rng, now);
    };
    parse(&text).ok_or(KeyError::Damaged(path))
}

/// Makes a new one in the place of whatever is there. Its number is drawn: a ticket of a key that is gone is to be known
/// for that, and not for a forgery with this one.
pub(super) fn make(
    dir: &Path,
    rng: &mut Rng,
    now: UnixMillis,
) -> Result<(TicketKey, Option<TicketKey>), KeyError> {
    let id = u32::from_be_bytes(rng.array());
    let key = TicketKey::generate(rng, id, now);
    save_ticket_keys(dir, &key, None)?;
    Ok((key, None))
}

fn parse(text: &str) -> Option<(TicketKey, Option<TicketKey>)> {
    let mut lines = text.lines();
    if lines.next()? != HEADER {
        return None;
    }
    let mut keys = lines.map(|line| {
        let mut words = line.strip_prefix("key ")?.split(' ');
        let (id, created) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let secret = Secret::from_slice(&files::unhex(words.next()?)?)?;
        words.next().is_none().then(|| TicketKey::from_parts(id, UnixMillis(created), secret))
    });
    let current = keys.next()??;
    let previous = match keys.next() {
        Some(key) => Some(key?),
        None => None,
    };
    keys.next().is_none().then_some((current, previous))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn new_ones_open_nothing_that_was_sealed_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Rng::new([2; 32]);
        let now = UnixMillis(1_000_000);
        let (old, _) = load(dir.path(), &mut rng, now).unwrap();
        let (new, previous) = make(dir.path(), &mut rng, now).unwrap();
        assert!(previous.is_none() && new.id() != old.id() && !new.secret().ct_eq(old.secret()));
        let (kept, previous) = load(dir.path(), &mut rng, now).unwrap();
        assert!(previous.is_none() && kept.secret().ct_eq(new.secret()));
    }

    #[test]
    fn they_are_kept_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Rng::new([1; 32]);
        let now = UnixMillis(1_000_000);
        let (first, none) = load(dir.path(), &mut rng, now).unwrap();
        assert!(none.is_none());
        let next = TicketKey::generate(&mut rng, first.id() + 1, UnixMillis(now.0 + 1));
        save_ticket_keys(dir.path(), &next, Some(&first)).unwrap();
        let (current, previous) = load(dir.path(), &mut rng, now).unwrap();
        let previous = previous.unwrap();
        assert_eq!((current.id(), current.created().0), (first.id() + 1, 1_000_001));
        assert!(current.secret().ct_eq(next.secret()) && previous.secret().ct_eq(first.secret()));
        let good = std::fs::read_to_string(path(dir.path())).unwrap();
        for bad in ["", "ntproto ticket keys 2\n", &good[..good.len() - 2], &format!("{good}{good}")] {
            files::write(&path(dir.path()), bad).unwrap();
            assert!(matches!(load(dir.path(), &mut rng, now), Err(KeyError::Damaged(_))), "{bad}");
        }
    }
}
