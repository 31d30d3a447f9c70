//! TLS sessions that may be resumed, on both sides. In memory only: a restart begins anew, with a full handshake.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::server::StoresServerSessions;
use zeroize::Zeroizing;

/// Sessions a server offers a client with each handshake: one for the next connection, and one for another address
/// of the server that is tried beside it.
pub const TICKETS: usize = 2;
/// Sessions a server remembers unless it is told otherwise: two for each of 32,768 clients, at about 300 bytes
/// each 20 MB. The oldest go first; who comes with one of them makes a full handshake.
pub const MAX_SESSIONS: usize = 65_536;
/// Servers a client remembers sessions of: an application has one, seldom two.
pub const MAX_SERVERS: usize = 4;
/// Sessions of one server a client remembers: those of the last two handshakes.
pub const MAX_SESSIONS_OF_SERVER: usize = 2 * TICKETS;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Poisoned means a panic elsewhere; every change here is a single step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server's sessions. Each is given out once: what resumes it again makes a full handshake, so early data that is
/// replayed is not read.
///
/// ```
/// use ntproto_quic::{SessionMemory, sessions::MAX_SESSIONS};
/// use rustls::server::StoresServerSessions as _;
///
/// let sessions = SessionMemory::new(MAX_SESSIONS);
/// assert!(sessions.put(b"id".to_vec(), b"secret".to_vec()));
/// assert_eq!(sessions.take(b"id"), Some(b"secret".to_vec()));
/// assert_eq!(sessions.take(b"id"), None);
/// ```
pub struct SessionMemory {
    limit: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    count: u64,
    sessions: BTreeMap<Vec<u8>, (u64, Zeroizing<Vec<u8>>)>,
    order: BTreeMap<u64, Vec<u8>>,
}

impl Table {
    fn take(&mut self, id: &[u8]) -> Option<Vec<u8>> {
        let (number, mut session) = self.sessions.remove(id)?;
        self.order.remove(&number);
        Some(std::mem::take(&mut *session))
    }
}

impl SessionMemory {
    /// Room for `limit` sessions.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, table: Mutex::default() }
    }
}

impl Default for SessionMemory {
    fn default() -> Self {
        Self::new(MAX_SESSIONS)
    }
}

impl fmt::Debug for SessionMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionMemory").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl StoresServerSessions for SessionMemory {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        let session = Zeroizing::new(session);
        if self.limit == 0 {
            return false;
        }
        let mut table = lock(&self.table);
        table.take(&id).map(Zeroizing::new);
        if table.sessions.len() >= self.limit
            && let Some((_, oldest)) = table.order.pop_first()
        {
            table.sessions.remove(&oldest);
        }
        table.count += 1;
        let number = table.count;
        table.order.insert(number, id.clone());
        table.sessions.insert(id, (number, session));
        true
    }

    /// Only TLS 1.2 asks without taking; there is none here.
    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    //= spec: quic-6
    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        lock(&self.table).take(id)
    }

    fn can_cache(&self) -> bool {
        self.limit > 0
    }
}

/// A client's sessions, by server name, for the time it runs. Each is used once.
#[derive(Default)]
pub struct ClientSessions(Mutex<VecDeque<(ServerName<'static>, VecDeque<Tls13ClientSessionValue>)>>);

impl fmt::Debug for ClientSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSessions")
    }
}

impl ClientSessionStore for ClientSessions {
    // The group offered first is one that every server takes, and there is no TLS 1.2.
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, server: ServerName<'static>, session: Tls13ClientSessionValue) {
        let mut servers = lock(&self.0);
        let at = servers.iter().position(|(name, _)| *name == server).unwrap_or_else(|| {
            if servers.len() >= MAX_SERVERS {
                servers.pop_front();
            }
            servers.push_back((server, VecDeque::new()));
            servers.len() - 1
        });
        let sessions = &mut servers[at].1;
        if sessions.len() >= MAX_SESSIONS_OF_SERVER {
            sessions.pop_front();
        }
        sessions.push_back(session);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut servers = lock(&self.0);
        servers.iter_mut().find(|(name, _)| name == server)?.1.pop_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_given_out_once_and_the_oldest_go_first() {
        let memory = SessionMemory::new(2);
        for id in [b"a", b"b", b"c"] {
            assert!(memory.put(id.to_vec(), id.repeat(3)));
        }
        assert_eq!(memory.take(b"a"), None);
        assert_eq!(memory.take(b"b"), Some(b"bbb".to_vec()));
        assert_eq!(memory.take(b"b"), None);
        // The same id again takes the place of the first.
        assert!(memory.put(b"c".to_vec(), b"new".to_vec()));
        assert!(memory.put(b"d".to_vec(), b"ddd".to_vec()));
        assert_eq!(memory.take(b"c"), Some(b"new".to_vec()));
        assert_eq!(memory.take(b"d"), Some(b"ddd".to_vec()));
        assert!(lock(&memory.table).order.is_empty());
        let none = SessionMemory::new(0);
        assert!(!none.can_cache() && !none.put(b"a".to_vec(), Vec::new()));
    }
}
