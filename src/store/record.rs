//! Counts calls and bytes, and remembers the last calls in order: for statistics (requests cost money) and for tests of
//! order ("packs before index before snapshot").

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::clock::Time;
use crate::store::{Key, Listed, Operation, Put, Store, StoreError, Version};

/// Calls that are remembered; older ones are only counted. 100,000 calls are some 10 MiB.
const LOG_CALLS_MAX: usize = 100_000;

/// One call as it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub operation: Operation,
    /// The object's name or the prefix.
    pub object: String,
    /// Bytes moved in either direction.
    pub bytes: u64,
    /// Whether it succeeded.
    pub ok: bool,
}

/// Totals since the wrapper was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls by method, failed ones included.
    pub calls: BTreeMap<Operation, u64>,
    /// Calls that failed.
    pub failed: u64,
    /// Bytes of objects that were created.
    pub bytes_up: u64,
    /// Bytes that reads answered.
    pub bytes_down: u64,
}

impl Counts {
    /// Calls of one method.
    #[must_use]
    pub fn of(&self, operation: Operation) -> u64 {
        self.calls.get(&operation).copied().unwrap_or(0)
    }

    /// Calls of every method.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.calls.values().sum()
    }
}

#[derive(Debug, Default)]
struct Recorded {
    counts: Counts,
    log: VecDeque<Call>,
}

/// The wrapper.
#[derive(Debug)]
pub struct Record {
    inner: Arc<dyn Store>,
    recorded: Mutex<Recorded>,
}

impl Record {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, recorded: Mutex::default() }
    }

    /// The totals so far.
    pub fn counts(&self) -> Counts {
        self.lock(|recorded| recorded.counts.clone())
    }

    /// The last calls in the order in which they ended.
    pub fn log(&self) -> Vec<Call> {
        self.lock(|recorded| recorded.log.iter().cloned().collect())
    }

    fn lock<T>(&self, act: impl FnOnce(&mut Recorded) -> T) -> T {
        act(&mut self.recorded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note<T>(
        &self,
        operation: Operation,
        object: &str,
        result: Result<T, StoreError>,
        bytes_of: impl FnOnce(&T) -> usize,
    ) -> Result<T, StoreError> {
        let bytes = result.as_ref().map_or(0, |value| bytes_of(value) as u64);
        self.lock(|recorded| {
            *recorded.counts.calls.entry(operation).or_default() += 1;
            recorded.counts.failed += u64::from(result.is_err());
            if matches!(operation, Operation::PutNew | Operation::PutOver) {
                recorded.counts.bytes_up += bytes;
            } else {
                recorded.counts.bytes_down += bytes;
            }
            if recorded.log.len() == LOG_CALLS_MAX {
                recorded.log.pop_front();
            }
            recorded.log.push_back(Call { operation, object: object.to_owned(), bytes, ok: result.is_ok() });
        });
        result
    }
}

#[async_trait]
impl Store for Record {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError> {
        let len = bytes.len();
        let result = self.inner.put_new(key, bytes, retain_until).await;
        self.note(Operation::PutNew, key.as_str(), result, |put| if *put == Put::Created { len } else { 0 })
    }

    async fn put_over(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<(), StoreError> {
        let len = bytes.len();
        let result = self.inner.put_over(key, bytes, retain_until).await;
        self.note(Operation::PutOver, key.as_str(), result, |()| len)
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let result = self.inner.get(key).await;
        self.note(Operation::Get, key.as_str(), result, Bytes::len)
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let result = self.inner.get_range(key, range).await;
        self.note(Operation::GetRange, key.as_str(), result, Bytes::len)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let result = self.inner.list(prefix).await;
        self.note(Operation::List, prefix, result, |_| 0)
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        let result = self.inner.stat(key).await;
        self.note(Operation::Stat, key.as_str(), result, |_| 0)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let result = self.inner.delete(key).await;
        self.note(Operation::Delete, key.as_str(), result, |()| 0)
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Version>, StoreError> {
        let result = self.inner.versions(prefix).await;
        self.note(Operation::Versions, prefix, result, |_| 0)
    }

    async fn get_version(&self, key: &Key, version: &str) -> Result<Bytes, StoreError> {
        let result = self.inner.get_version(key, version).await;
        self.note(Operation::GetVersion, key.as_str(), result, Bytes::len)
    }

    async fn retention(&self, key: &Key) -> Result<Option<Time>, StoreError> {
        let result = self.inner.retention(key).await;
        self.note(Operation::Retention, key.as_str(), result, |_| 0)
    }

    async fn extend_retention(&self, key: &Key, until: Time) -> Result<(), StoreError> {
        let result = self.inner.extend_retention(key, until).await;
        self.note(Operation::ExtendRetention, key.as_str(), result, |()| 0)
    }
}
