//! A store that pauses its caller at one chosen call, and lets the world go on meanwhile.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use homelab_dr::base::clock::Time;
use homelab_dr::store::{Key, Listed, Operation, Put, Store, StoreError, Version};

type Meanwhile = Pin<Box<dyn Future<Output = ()> + Send>>;
type Condition = Box<dyn Fn(u64, Operation, &str) -> bool + Send + Sync>;

/// See the module.
pub struct Gate {
    inner: Arc<dyn Store>,
    calls: AtomicU64,
    at: Condition,
    meanwhile: Mutex<Box<dyn FnMut() -> Option<Meanwhile> + Send>>,
    opened: AtomicBool,
}

impl Gate {
    /// Pauses before the first call for which `at` (number, operation, object) says so.
    pub fn new(
        inner: &Arc<dyn Store>,
        at: impl Fn(u64, Operation, &str) -> bool + Send + Sync + 'static,
        meanwhile: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<Self> {
        let mut once = Some(Box::pin(meanwhile) as Meanwhile);
        Self::with(inner, at, move || once.take())
    }

    /// Pauses before every such call.
    pub fn each<F: Future<Output = ()> + Send + 'static>(
        inner: &Arc<dyn Store>,
        at: impl Fn(u64, Operation, &str) -> bool + Send + Sync + 'static,
        mut meanwhile: impl FnMut() -> F + Send + 'static,
    ) -> Arc<Self> {
        Self::with(inner, at, move || Some(Box::pin(meanwhile()) as Meanwhile))
    }

    fn with(
        inner: &Arc<dyn Store>,
        at: impl Fn(u64, Operation, &str) -> bool + Send + Sync + 'static,
        meanwhile: impl FnMut() -> Option<Meanwhile> + Send + 'static,
    ) -> Arc<Self> {
        let (calls, opened) = (AtomicU64::new(0), AtomicBool::new(false));
        let meanwhile: Mutex<Box<dyn FnMut() -> Option<Meanwhile> + Send>> = Mutex::new(Box::new(meanwhile));
        Arc::new(Self { inner: inner.clone(), calls, at: Box::new(at), meanwhile, opened })
    }

    /// Whether the pause happened.
    pub fn opened(&self) -> bool {
        self.opened.load(Ordering::SeqCst)
    }

    async fn pass(&self, operation: Operation, object: &str) {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let meanwhile = if (self.at)(call, operation, object) { (self.meanwhile.lock().unwrap())() } else { None };
        if let Some(meanwhile) = meanwhile {
            self.opened.store(true, Ordering::SeqCst);
            meanwhile.await;
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

#[async_trait]
impl Store for Gate {
    fn address(&self) -> String {
        self.inner.address()
    }
    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError> {
        self.pass(Operation::PutNew, key.as_str()).await;
        self.inner.put_new(key, bytes, retain_until).await
    }
    async fn put_over(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<(), StoreError> {
        self.pass(Operation::PutOver, key.as_str()).await;
        self.inner.put_over(key, bytes, retain_until).await
    }
    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.pass(Operation::Get, key.as_str()).await;
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.pass(Operation::GetRange, key.as_str()).await;
        self.inner.get_range(key, range).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.pass(Operation::List, prefix).await;
        self.inner.list(prefix).await
    }
    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        self.pass(Operation::Stat, key.as_str()).await;
        self.inner.stat(key).await
    }
    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.pass(Operation::Delete, key.as_str()).await;
        self.inner.delete(key).await
    }
    async fn versions(&self, prefix: &str) -> Result<Vec<Version>, StoreError> {
        self.inner.versions(prefix).await
    }
    async fn get_version(&self, key: &Key, version: &str) -> Result<Bytes, StoreError> {
        self.inner.get_version(key, version).await
    }
    async fn retention(&self, key: &Key) -> Result<Option<Time>, StoreError> {
        self.pass(Operation::Retention, key.as_str()).await;
        self.inner.retention(key).await
    }
    async fn extend_retention(&self, key: &Key, until: Time) -> Result<(), StoreError> {
        self.pass(Operation::ExtendRetention, key.as_str()).await;
        self.inner.extend_retention(key, until).await
    }
}
