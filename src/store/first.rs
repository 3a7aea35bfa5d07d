//! The first version of every object: what was stored, whatever hides it or lies over it since.
//!
//! Objects are put once. Where a store keeps versions, the oldest one of a name is therefore ours, and a delete marker or a later version is somebody's
//! mischief (or a lock that outlived a deletion: what was pruned may show again). For reading only.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, OnceCell};

use crate::base::clock::Time;
use crate::store::readonly::ReadOnly;
use crate::store::{Key, Listed, Put, Store, StoreError, Version, part};

/// Hidden objects kept after a read of a part of them, since a version can only be had whole.
const WHOLE_KEPT: usize = 3;

/// See the module. All versions are listed once, with the first call.
#[derive(Debug)]
pub struct FirstVersions {
    inner: ReadOnly,
    first: OnceCell<HashMap<Key, Version>>,
    whole: Mutex<VecDeque<(Key, Bytes)>>,
}

impl FirstVersions {
    /// Wraps a store that keeps versions; the first call fails with [`StoreError::Unsupported`] if it does not.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner: ReadOnly::new(inner), first: OnceCell::new(), whole: Mutex::default() }
    }

    async fn all(&self) -> Result<&HashMap<Key, Version>, StoreError> {
        let load = || async {
            let mut first = HashMap::new();
            // The newest of a name come first: the last that is inserted stays.
            for version in self.inner.versions("").await?.into_iter().filter(|version| !version.is_delete_marker) {
                first.insert(version.key.clone(), version);
            }
            Ok(first)
        };
        self.first.get_or_try_init(load).await
    }

    async fn first(&self, key: &Key) -> Result<&Version, StoreError> {
        let not_found = || StoreError::NotFound { store: self.address(), key: key.clone() };
        self.all().await?.get(key).ok_or_else(not_found)
    }
}

fn listed(version: &Version) -> Listed {
    Listed { key: version.key.clone(), size: version.size, modified: version.modified }
}

#[async_trait]
impl Store for FirstVersions {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError> {
        self.inner.put_new(key, bytes, retain_until).await
    }

    async fn put_over(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<(), StoreError> {
        self.inner.put_over(key, bytes, retain_until).await
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let first = self.first(key).await?;
        if first.is_latest { self.inner.get(key).await } else { self.inner.get_version(key, &first.version).await }
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let first = self.first(key).await?;
        if first.is_latest {
            return self.inner.get_range(key, range).await;
        }
        // Held while it is fetched: neighbours want parts of the same object.
        let mut whole = self.whole.lock().await;
        let kept = whole.iter().find(|(kept, _)| kept == key).map(|(_, bytes)| bytes.clone());
        let bytes = if let Some(bytes) = kept {
            bytes
        } else {
            let bytes = self.inner.get_version(key, &first.version).await?;
            whole.truncate(WHOLE_KEPT - 1);
            whole.push_front((key.clone(), bytes.clone()));
            bytes
        };
        Ok(part(&bytes, &range))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let below = self.all().await?.values().filter(|version| version.key.as_str().starts_with(prefix));
        let mut found: Vec<Listed> = below.map(listed).collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        Ok(self.all().await?.get(key).map(listed))
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.delete(key).await
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

    async fn extend_retention(&self, key: &Key, until: Time) -> Result<(), StoreError> {
        self.inner.extend_retention(key, until).await
    }
}
