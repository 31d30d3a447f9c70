//! A store whose commits are measured.

use std::sync::Arc;
use std::time::Instant;

use ntproto_hub::store::{Outcome, Store, StoreError, Txn};

use super::Metrics;

/// A store, and where the time of its commits goes. What only reads waits for no disk and is not counted.
pub(crate) struct Timed {
    pub(crate) store: Box<dyn Store>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Store for Timed {
    fn commit(&mut self, batch: &[Txn]) -> Vec<Result<Outcome, StoreError>> {
        let begun = Instant::now();
        let answers = self.store.commit(batch);
        if batch.iter().any(|txn| !txn.is_read()) {
            self.metrics.committed(batch.len() as u64, begun.elapsed());
        }
        answers
    }
}
