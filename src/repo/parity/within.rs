//! A store as its parity objects would have it: packs that are gone are there again, and rotten ones are mended as far as their groups reach.
//!
//! For reading only, and for whoever checks what it gives: what could not be mended comes as it lies there, with zeros for what is not. Everything but packs is
//! passed on as it is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, OnceCell};

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::repo::RepoError;
use crate::repo::blame::Blame;
use crate::repo::layout;
use crate::repo::parity::{Groups, load, rebuild};
use crate::store::readonly::ReadOnly;
use crate::store::{Key, Listed, Put, Store, StoreError, Version, part};

/// Mended packs that are kept for reads of parts of them.
const KEPT: usize = 2;

#[derive(Debug, Default)]
struct Cover {
    groups: Groups,
    by_pack: HashMap<ObjectId, Vec<usize>>,
}

/// See the module. The groups are read with the first pack that is asked for.
#[derive(Debug)]
pub struct WithParity {
    inner: ReadOnly,
    /// Of a group, in memory at once.
    window_bytes: u64,
    cover: OnceCell<Cover>,
    kept: Mutex<VecDeque<(Key, Bytes)>>,
    blame: Blame,
    /// Packs for which parity can do nothing: to find that out again would cost reading a group.
    misses: std::sync::Mutex<HashSet<ObjectId>>,
    /// Packs that may be had once what did not read reads again, and what that was.
    unsure: std::sync::Mutex<HashMap<ObjectId, String>>,
}

impl WithParity {
    /// Wraps a store; of a group at most `window_bytes` are in memory at once, or one stripe of each object if that is more.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, window_bytes: u64) -> Self {
        let inner = ReadOnly::new(inner);
        let (cover, kept, blame) = (OnceCell::new(), Mutex::default(), Blame::default());
        Self {
            inner,
            window_bytes,
            cover,
            kept,
            blame,
            misses: std::sync::Mutex::default(),
            unsure: std::sync::Mutex::default(),
        }
    }

    /// Why a pack may be had after all, though it was not: something of its group could not be read.
    #[must_use]
    pub fn unsure_of(&self, pack: &ObjectId) -> Option<String> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner).get(pack).cloned()
    }

    fn misses(&self) -> MutexGuard<'_, HashSet<ObjectId>> {
        self.misses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, key: &Key, error: RepoError) -> StoreError {
        match error {
            RepoError::Store(error) => error,
            other => StoreError::Failed {
                store: self.address(),
                operation: "mend",
                object: key.to_string(),
                transient: false,
                source: Box::new(other),
            },
        }
    }

    async fn cover(&self) -> Result<&Cover, StoreError> {
        let load = || async {
            let listed = self.inner.list(layout::PARITY).await?;
            let groups =
                load(&self.inner, listed, false).await.map_err(|error| self.failed(&layout::format(), error))?;
            let by_pack = groups.by_pack();
            Ok(Cover { groups, by_pack })
        };
        self.cover.get_or_try_init(load).await
    }

    /// The bytes of a pack, mended as far as that goes; `None` for one that no group has, and one of which nothing is left.
    async fn mended(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        let Some(pack) = layout::pack_id(key) else { return Ok(None) };
        let cover = self.cover().await?;
        let Some(groups) = cover.by_pack.get(&pack) else { return Ok(None) };
        // Held while it is computed: neighbours want parts of the same pack.
        let mut kept = self.kept.lock().await;
        if let Some((_, bytes)) = kept.iter().find(|(kept, _)| kept == key) {
            return Ok(Some(bytes.clone()));
        }
        if self.misses().contains(&pack) {
            return Ok(None);
        }
        let mut unread = None;
        let mut best: Option<(usize, Bytes)> = None;
        for found in groups.iter().filter_map(|at| cover.groups.found.get(*at)) {
            let rebuilt = rebuild::rebuild(&self.inner, &self.blame, found, &pack, self.window_bytes).await;
            let Some(mut rebuilt) = rebuilt.map_err(|error| self.failed(key, error))? else { continue };
            unread = unread.or(rebuilt.unread.take());
            // As it lies there it can be had without.
            if rebuilt.computed == 0 && rebuilt.lacking > 0 {
                continue;
            }
            let (lacking, named, bytes) = (rebuilt.lacking, rebuilt.named, Bytes::from(rebuilt.bytes));
            if named {
                unread = None;
            }
            if named || best.as_ref().is_none_or(|(least, _)| lacking < *least) {
                best = Some((lacking, bytes));
            }
            if named {
                break;
            }
        }
        if let Some(why) = unread {
            self.unsure.lock().unwrap_or_else(PoisonError::into_inner).insert(pack, why);
        }
        let Some((_, bytes)) = best else {
            self.misses().insert(pack);
            return Ok(None);
        };
        kept.truncate(KEPT - 1);
        kept.push_front((key.clone(), bytes.clone()));
        Ok(Some(bytes))
    }

    /// Packs that are not there and that a group has.
    async fn absent(&self, there: &[Listed]) -> Result<Vec<Listed>, StoreError> {
        let cover = self.cover().await?;
        let members = cover.groups.found.iter().flat_map(|found| &found.group.members);
        let mut absent: Vec<Listed> = members
            .map(|member| {
                let size = u64::from(member.length);
                Listed { key: layout::pack(&member.pack), size, modified: Time::default() }
            })
            .filter(|entry| there.binary_search_by(|other| other.key.cmp(&entry.key)).is_err())
            .collect();
        absent.sort_by(|a, b| a.key.cmp(&b.key));
        absent.dedup_by(|a, b| a.key == b.key);
        Ok(absent)
    }
}

#[async_trait]
impl Store for WithParity {
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
        match self.mended(key).await? {
            Some(bytes) => Ok(bytes),
            None => self.inner.get(key).await,
        }
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let Some(bytes) = self.mended(key).await? else { return self.inner.get_range(key, range).await };
        Ok(part(&bytes, &range))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let mut listed = self.inner.list(prefix).await?;
        if !prefix.starts_with(layout::PACKS) && !layout::PACKS.starts_with(prefix) {
            return Ok(listed);
        }
        let absent = self.absent(&listed).await?;
        listed.extend(absent.into_iter().filter(|entry| entry.key.as_str().starts_with(prefix)));
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(listed)
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        match self.mended(key).await? {
            Some(bytes) => Ok(Some(Listed { key: key.clone(), size: bytes.len() as u64, modified: Time::default() })),
            None => self.inner.stat(key).await,
        }
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
