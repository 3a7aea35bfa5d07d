//! Tries again what the store calls transient, a little later each time, and gives up in bounded time.
//!
//! Exponential waits with "equal jitter" (half fixed, half random), so that many clients thrown out together do not come
//! back together. Every operation of [`Store`] may be repeated: `put_new` after a lost answer finds its own bytes and
//! reports [`Put::AlreadyThere`]. What is not transient comes back at once.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::base::clock::Time;
use crate::base::random;
use crate::store::{Key, Listed, Put, Store, StoreError, Version};

/// How often and how long to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Calls in all, the first included.
    pub tries_max: u32,
    /// The wait after the first failure; doubles with every other.
    pub wait_first: Duration,
    /// No single wait is longer.
    pub wait_max: Duration,
    /// No new try is begun after this much time.
    pub total_max: Duration,
}

impl Default for RetryPolicy {
    /// Ten tries within 15 minutes: outlasts a rebooting NAS and a provider's hiccup, not a lost network.
    fn default() -> Self {
        Self {
            tries_max: 10,
            wait_first: Duration::from_millis(500),
            wait_max: Duration::from_mins(1),
            total_max: Duration::from_mins(15),
        }
    }
}

/// The wrapper.
pub struct Retry {
    inner: Arc<dyn Store>,
    policy: RetryPolicy,
    /// State of a `SplitMix64` generator; adding a constant is all its step does, so an atomic is enough.
    random: AtomicU64,
    repeated: AtomicU64,
}

impl Retry {
    /// Wraps a store; `seed` drives the jitter.
    #[must_use]
    pub const fn new(inner: Arc<dyn Store>, policy: RetryPolicy, seed: u64) -> Self {
        Self { inner, policy, random: AtomicU64::new(seed), repeated: AtomicU64::new(0) }
    }

    /// How many calls were repeated so far.
    pub fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// The wait after `failures` failures (at least 1).
    fn wait(&self, failures: u32) -> Duration {
        let doubled = self.policy.wait_first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        let half = doubled.min(self.policy.wait_max) / 2;
        let half_ns = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(self.draw() % half_ns)
    }

    fn draw(&self) -> u64 {
        random::mix(self.random.fetch_add(random::STEP, Ordering::Relaxed).wrapping_add(random::STEP))
    }

    async fn run<T, F, A>(&self, attempt: A) -> Result<T, StoreError>
    where
        A: Fn() -> F + Send + Sync,
        F: Future<Output = Result<T, StoreError>> + Send,
        T: Send,
    {
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            match attempt().await {
                Err(error) if error.is_transient() => {
                    failures += 1;
                    let wait = self.wait(failures);
                    if failures >= self.policy.tries_max || begun.elapsed() + wait > self.policy.total_max {
                        return Err(error);
                    }
                    self.repeated.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(wait).await;
                }
                other => return other,
            }
        }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("inner", &self.inner).field("policy", &self.policy).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Retry {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError> {
        self.run(|| self.inner.put_new(key, bytes.clone(), retain_until)).await
    }

    async fn put_over(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<(), StoreError> {
        self.run(|| self.inner.put_over(key, bytes.clone(), retain_until)).await
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.run(|| self.inner.get(key)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run(|| self.inner.get_range(key, range.clone())).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.run(|| self.inner.list(prefix)).await
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        self.run(|| self.inner.stat(key)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.run(|| self.inner.delete(key)).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Version>, StoreError> {
        self.run(|| self.inner.versions(prefix)).await
    }

    async fn get_version(&self, key: &Key, version: &str) -> Result<Bytes, StoreError> {
        self.run(|| self.inner.get_version(key, version)).await
    }

    async fn retention(&self, key: &Key) -> Result<Option<Time>, StoreError> {
        self.run(|| self.inner.retention(key)).await
    }

    async fn extend_retention(&self, key: &Key, until: Time) -> Result<(), StoreError> {
        self.run(|| self.inner.extend_retention(key, until)).await
    }
}
