//! A store that is gone with the process: for tests, and for clients that keep nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ntproto_core::client::{ClientTxn, Inbound, OutboxEntry, Saved, SendOutcome, StoreError};
use ntproto_core::ids::{ClientMsgId, ConversationId, GroupId, Uin};
use ntproto_proto::v2;

use super::kv::{Kv, MIGRATIONS, Table, Visit, migrate};
use super::{
    ClientStore, Fetched, Gap, Mark, Place, SearchPage, SearchQuery, Stored, Unread, execute, gaps, people,
    query, search,
};

/// Tables in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tables(BTreeMap<(Table, Vec<u8>), Bytes>);

impl Kv for Tables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(&(table, key.to_vec())).cloned())
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0.insert((table, key.to_vec()), Bytes::copy_from_slice(value));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.0.remove(&(table, key.to_vec()));
        Ok(())
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        backwards: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let range = (Bound::Included((table, from.to_vec())), Bound::Excluded((table, to.to_vec())));
        let mut range = self.0.range(range);
        while let Some(((_, key), value)) = if backwards { range.next_back() } else { range.next() } {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

struct Inner {
    tables: Tables,
    fail: Option<StoreError>,
}

/// A store in memory. Clones share it, so that a test can drop a client and start it again.
#[derive(Clone)]
pub struct MemoryStore(Arc<Mutex<Inner>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let mut tables = Tables::default();
        migrate(&mut tables, 0, MIGRATIONS).expect("an empty store can be brought to any format");
        Self(Arc::new(Mutex::new(Inner { tables, fail: None })))
    }

    /// From now on every commit fails so, until `None` is set.
    pub fn set_failure(&self, failure: Option<StoreError>) {
        self.lock().fail = failure;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere left the tables as they were: they are replaced whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientStore for MemoryStore {
    fn load(&mut self) -> Result<Saved, StoreError> {
        query::load(&self.lock().tables)
    }

    fn commit(&mut self, batch: &[ClientTxn]) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if let Some(failure) = inner.fail {
            return Err(failure);
        }
        // Ours fail only on damage, which is not half a batch away: no copy of the tables is kept.
        batch.iter().try_for_each(|txn| execute::execute(&mut inner.tables, txn))
    }

    fn unconfirmed(&mut self, after: Place, limit: usize) -> Result<Vec<(Place, Inbound)>, StoreError> {
        query::unconfirmed(&self.lock().tables, after, limit)
    }

    fn generation(&mut self) -> Result<u32, StoreError> {
        execute::generation(&self.lock().tables)
    }

    fn history(
        &mut self,
        conversation: ConversationId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        query::history(&self.lock().tables, conversation, before, limit)
    }

    fn outbox(&mut self) -> Result<Vec<OutboxEntry>, StoreError> {
        query::outbox(&self.lock().tables)
    }

    fn conversations(&mut self) -> Result<Vec<(ConversationId, u64)>, StoreError> {
        query::conversations(&self.lock().tables)
    }

    fn marks(&mut self, conversation: ConversationId) -> Result<Vec<Mark>, StoreError> {
        query::marks(&self.lock().tables, conversation)
    }

    fn search(&mut self, query: &SearchQuery) -> Result<SearchPage, StoreError> {
        search::search(&self.lock().tables, query)
    }

    fn unread(&mut self, conversation: ConversationId) -> Result<Unread, StoreError> {
        search::unread(&self.lock().tables, conversation)
    }

    fn outcome(&mut self, id: ClientMsgId) -> Result<Option<SendOutcome>, StoreError> {
        query::outcome(&self.lock().tables, id)
    }

    fn message(&mut self, conversation: ConversationId, number: u64) -> Result<Option<Stored>, StoreError> {
        query::message(&self.lock().tables, conversation, number)
    }

    fn others(&mut self, after: Place, limit: usize) -> Result<Vec<(Place, v2::SyncPacket)>, StoreError> {
        query::others(&self.lock().tables, after, limit)
    }

    fn gaps(&mut self, conversation: ConversationId) -> Result<Vec<Gap>, StoreError> {
        gaps::list(&self.lock().tables, conversation)
    }

    fn friends(&mut self) -> Result<Vec<v2::Friend>, StoreError> {
        people::friends(&self.lock().tables)
    }

    fn groups(&mut self) -> Result<Vec<v2::GroupState>, StoreError> {
        people::groups(&self.lock().tables)
    }

    fn group(&mut self, group: GroupId) -> Result<Option<v2::GroupState>, StoreError> {
        people::group(&self.lock().tables, group)
    }

    fn profile(&mut self, uin: Uin) -> Result<Option<v2::User>, StoreError> {
        people::profile(&self.lock().tables, uin)
    }

    fn keep(&mut self, fetched: &Fetched) -> Result<(), StoreError> {
        let mut inner = self.lock();
        match inner.fail {
            Some(failure) => Err(failure),
            None => execute::keep(&mut inner.tables, fetched),
        }
    }
}
