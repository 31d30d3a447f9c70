//! Each connection is told closed once.

use std::collections::BTreeMap;

use crate::ledger::Check;

/// How often each connection was told to be closed.
#[derive(Default)]
pub(crate) struct Counted(BTreeMap<usize, bool>);

impl Counted {
    pub(crate) fn opened(&mut self, conn: usize) {
        self.0.insert(conn, false);
    }

    pub(crate) fn closed(&mut self, conn: usize) -> Check {
        match self.0.insert(conn, true) {
            Some(false) => Ok(()),
            Some(true) => Err(format!("connection {conn} was told closed twice")),
            None => Err(format!("connection {conn} was told closed and never opened")),
        }
    }

    /// The server's process is gone, and all it knew.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Connections that were opened and not told closed.
    pub(crate) fn open(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter(|(_, closed)| !**closed).map(|(conn, _)| *conn)
    }
}
