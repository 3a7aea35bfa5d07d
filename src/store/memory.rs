//! Objects in memory, for tests and simulations: its own clock, and on demand versions and object lock.
//!
//! It keeps every promise of [`Store`], atomically. `plant` and `hide` are not part of the trait: they are what a rotten
//! disk, a foreign client or a thief with write access does to a store.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::clock::{Clock, Time};
use crate::store::{Key, Listed, Operation, Put, Store, StoreError, Version, part};

/// One version; `bytes` is `None` for a delete marker.
#[derive(Clone)]
struct Stored {
    version: String,
    bytes: Option<Bytes>,
    modified: Time,
    until: Option<Time>,
}

#[derive(Default)]
struct State {
    /// Versions of a name, oldest first; never empty.
    objects: BTreeMap<Key, Vec<Stored>>,
    versions_made: u64,
}

/// The store.
pub struct MemoryStore {
    name: String,
    clock: Arc<dyn Clock>,
    versioned: bool,
    locking: bool,
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store whose times come from `clock`; keeps no versions and no locks.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { name: "memory".into(), clock, versioned: false, locking: false, state: Mutex::default() }
    }

    /// Keeps versions, as a versioned bucket does.
    #[must_use]
    pub const fn versioned(mut self) -> Self {
        self.versioned = true;
        self
    }

    /// Keeps versions and enforces object locks by its clock.
    #[must_use]
    pub const fn locking(mut self) -> Self {
        self.versioned = true;
        self.locking = true;
        self
    }

    /// Another name in messages, to tell two stores apart.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Puts bytes under a name whatever is there: as a new version where versions are kept, else in place of the old bytes.
    pub fn plant(&self, key: &Key, bytes: Bytes) {
        self.push(key, Some(bytes), None);
    }

    /// Hides an object as a plain DELETE by a foreign client does: by a delete marker where versions are kept, else for good.
    pub fn hide(&self, key: &Key) {
        if self.versioned {
            self.push(key, None, None);
        } else {
            self.lock(|state| state.objects.remove(key));
        }
    }

    fn lock<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, key: &Key, bytes: Option<Bytes>, until: Option<Time>) {
        let modified = self.clock.now();
        self.lock(|state| {
            state.versions_made += 1;
            let stored = Stored { version: format!("v{}", state.versions_made), bytes, modified, until };
            let versions = state.objects.entry(key.clone()).or_default();
            if !self.versioned {
                versions.clear();
            }
            versions.push(stored);
        });
    }

    fn visible(&self, key: &Key) -> Option<(Stored, Bytes)> {
        self.lock(|state| {
            let newest = state.objects.get(key)?.last()?;
            Some((newest.clone(), newest.bytes.clone()?))
        })
    }

    fn not_found(&self, key: &Key) -> StoreError {
        StoreError::NotFound { store: self.address(), key: key.clone() }
    }

    fn unsupported(&self, operation: &'static str) -> StoreError {
        StoreError::Unsupported { store: self.address(), operation }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn address(&self) -> String {
        self.name.clone()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError> {
        if retain_until.is_some() && !self.locking {
            return Err(self.unsupported("lock objects"));
        }
        let modified = self.clock.now();
        // Copied: the caller's slice may be part of a much larger buffer that would stay alive with it.
        let bytes = Bytes::copy_from_slice(&bytes);
        self.lock(|state| {
            let newest = state.objects.get_mut(key).and_then(|versions| versions.last_mut());
            if let Some(Stored { bytes: Some(there), until, .. }) = newest {
                if *there != bytes {
                    return Err(StoreError::Conflict { store: self.address(), key: key.clone() });
                }
                *until = (*until).max(retain_until);
                return Ok(Put::AlreadyThere);
            }
            state.versions_made += 1;
            let version = format!("v{}", state.versions_made);
            let stored = Stored { version, bytes: Some(bytes), modified, until: retain_until };
            state.objects.entry(key.clone()).or_default().push(stored);
            Ok(Put::Created)
        })
    }

    async fn put_over(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<(), StoreError> {
        if retain_until.is_some() && !self.locking {
            return Err(self.unsupported("lock objects"));
        }
        self.push(key, Some(Bytes::copy_from_slice(&bytes)), retain_until);
        Ok(())
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.visible(key).map(|(_, bytes)| bytes).ok_or_else(|| self.not_found(key))
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        Ok(part(&self.get(key).await?, &range))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        Ok(self.lock(|state| {
            let below = state.objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
            below
                .filter_map(|(key, versions)| {
                    let newest = versions.last()?;
                    let size = newest.bytes.as_ref()?.len() as u64;
                    Some(Listed { key: key.clone(), size, modified: newest.modified })
                })
                .collect()
        }))
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        let size = |bytes: &Bytes| bytes.len() as u64;
        Ok(self.visible(key).map(|(stored, bytes)| Listed {
            key: key.clone(),
            size: size(&bytes),
            modified: stored.modified,
        }))
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.lock(|state| {
            let Some(versions) = state.objects.get_mut(key) else { return Ok(()) };
            // Newest first, as on a real bucket: what hides a locked version goes, the locked version stays.
            while let Some(newest) = versions.last() {
                if let Some(until) = newest.until.filter(|until| *until > now) {
                    return Err(StoreError::Locked { store: self.address(), key: key.clone(), until: Some(until) });
                }
                versions.pop();
            }
            state.objects.remove(key);
            Ok(())
        })
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Version>, StoreError> {
        if !self.versioned {
            return Err(self.unsupported(Operation::Versions.verb()));
        }
        Ok(self.lock(|state| {
            let below = state.objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
            below
                .flat_map(|(key, versions)| {
                    versions.iter().rev().enumerate().map(move |(age, stored)| Version {
                        key: key.clone(),
                        version: stored.version.clone(),
                        size: stored.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
                        modified: stored.modified,
                        is_latest: age == 0,
                        is_delete_marker: stored.bytes.is_none(),
                    })
                })
                .collect()
        }))
    }

    async fn get_version(&self, key: &Key, version: &str) -> Result<Bytes, StoreError> {
        if !self.versioned {
            return Err(self.unsupported(Operation::GetVersion.verb()));
        }
        let found = self.lock(|state| {
            let stored = state.objects.get(key)?.iter().find(|stored| stored.version == version)?;
            stored.bytes.clone()
        });
        found.ok_or_else(|| self.not_found(key))
    }

    async fn retention(&self, key: &Key) -> Result<Option<Time>, StoreError> {
        if !self.locking {
            return Err(self.unsupported(Operation::Retention.verb()));
        }
        self.visible(key).map(|(stored, _)| stored.until).ok_or_else(|| self.not_found(key))
    }

    async fn extend_retention(&self, key: &Key, until: Time) -> Result<(), StoreError> {
        if !self.locking {
            return Err(self.unsupported(Operation::ExtendRetention.verb()));
        }
        self.lock(|state| match state.objects.get_mut(key).and_then(|versions| versions.last_mut()) {
            Some(Stored { bytes: Some(_), until: there, .. }) => {
                *there = (*there).max(Some(until));
                Ok(())
            }
            _ => Err(self.not_found(key)),
        })
    }
}
