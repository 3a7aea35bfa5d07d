//! A store that refuses every change, or every one but adding objects below one prefix; what restore, check and replicate's source are given.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::clock::Time;
use crate::store::{Key, Listed, Operation, Put, Store, StoreError, Version};

/// Passes reads on and refuses writes with [`StoreError::ReadOnly`] without asking the store below.
#[derive(Debug)]
pub struct ReadOnly {
    inner: Arc<dyn Store>,
    /// Objects may be added below it.
    open: Option<&'static str>,
}

impl ReadOnly {
    /// Wraps a store.
    #[must_use]
    pub const fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, open: None }
    }

    /// Wraps a store that may be added to below `prefix`, and nowhere else.
    #[must_use]
    pub const fn but_adding(inner: Arc<dyn Store>, prefix: &'static str) -> Self {
        Self { inner, open: Some(prefix) }
    }

    fn refuse(&self, operation: Operation, key: &Key) -> StoreError {
        StoreError::ReadOnly { store: self.address(), operation: operation.verb(), key: key.clone() }
    }
}

#[async_trait]
impl Store for ReadOnly {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError> {
        if self.open.is_some_and(|prefix| key.as_str().starts_with(prefix)) {
            return self.inner.put_new(key, bytes, retain_until).await;
        }
        Err(self.refuse(Operation::PutNew, key))
    }

    async fn put_over(&self, key: &Key, _: Bytes, _: Option<Time>) -> Result<(), StoreError> {
        Err(self.refuse(Operation::PutOver, key))
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        self.inner.stat(key).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        Err(self.refuse(Operation::Delete, key))
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Version>, StoreError> {
        self.inner.versions(prefix).await
    }

    async fn get_version(&self, key: &Key, version: &str) -> Result<Bytes, StoreError> {
        self.inner.get_version(key, version).await
    }

    async fn retention(&self, key: &Key) -> Result<Option<Time>, StoreError> {
        self.inner.retention(key).await
    }

    async fn extend_retention(&self, key: &Key, _: Time) -> Result<(), StoreError> {
        Err(self.refuse(Operation::ExtendRetention, key))
    }
}
