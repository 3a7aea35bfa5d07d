//! Keeps the average of bytes per second, up and down, under what the household's line can spare.
//!
//! A token bucket kept as a debt: an operation waits until what earlier ones moved is paid off, then runs at full speed
//! and leaves its own bytes as debt. So averages are kept over some operations (packs are ~12 MiB), single ones burst,
//! and the time limits inside a store are not eaten by the wait. Lists and lookups are not counted.

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::base::clock::Time;
use crate::store::{Key, Listed, Put, Store, StoreError, Version};

/// What one direction may move.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: Option<NonZeroU64>,
    /// When the debt is paid off.
    free_at: Mutex<Option<Instant>>,
}

impl Bucket {
    const fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Self { bytes_per_second, free_at: Mutex::new(None) }
    }

    /// Adds `bytes` to the debt; returns when the earlier debt is paid off.
    fn owe(&self, bytes: usize) -> Option<Instant> {
        let rate = self.bytes_per_second?;
        let nanos = (bytes as u128).saturating_mul(1_000_000_000) / u128::from(rate.get());
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = free_at.unwrap_or_else(Instant::now).max(Instant::now());
        // An overflow (a rate of one byte a second and an absurd object) leaves the debt as it was.
        *free_at = Some(begin.checked_add(time).unwrap_or(begin));
        Some(begin)
    }

    async fn owe_and_wait(&self, bytes: usize) {
        if let Some(begin) = self.owe(bytes) {
            tokio::time::sleep_until(begin).await;
        }
    }
}

/// The wrapper.
#[derive(Debug)]
pub struct Throttle {
    inner: Arc<dyn Store>,
    up: Bucket,
    down: Bucket,
}

impl Throttle {
    /// Wraps a store; limits are in bytes per second, `None` for no limit.
    #[must_use]
    pub const fn new(inner: Arc<dyn Store>, up: Option<NonZeroU64>, down: Option<NonZeroU64>) -> Self {
        Self { inner, up: Bucket::new(up), down: Bucket::new(down) }
    }
}

#[async_trait]
impl Store for Throttle {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError> {
        self.up.owe_and_wait(bytes.len()).await;
        self.inner.put_new(key, bytes, retain_until).await
    }

    async fn put_over(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<(), StoreError> {
        self.up.owe_and_wait(bytes.len()).await;
        self.inner.put_over(key, bytes, retain_until).await
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.down.owe_and_wait(0).await;
        let bytes = self.inner.get(key).await?;
        self.down.owe(bytes.len());
        Ok(bytes)
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.down.owe_and_wait(0).await;
        let bytes = self.inner.get_range(key, range).await?;
        self.down.owe(bytes.len());
        Ok(bytes)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        self.inner.stat(key).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Version>, StoreError> {
        self.inner.versions(prefix).await
    }

    async fn get_version(&self, key: &Key, version: &str) -> Result<Bytes, StoreError> {
        self.down.owe_and_wait(0).await;
        let bytes = self.inner.get_version(key, version).await?;
        self.down.owe(bytes.len());
        Ok(bytes)
    }

    async fn retention(&self, key: &Key) -> Result<Option<Time>, StoreError> {
        self.inner.retention(key).await
    }

    async fn extend_retention(&self, key: &Key, until: Time) -> Result<(), StoreError> {
        self.inner.extend_retention(key, until).await
    }
}
