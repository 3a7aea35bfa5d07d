//! Getting out what is left: damaged trees, bad sectors, broken indexes, planted objects; and `--delete`, which must not take what the snapshot has.

mod delete;
mod sectors;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use homelab_dr::backup::BackupReport;
use homelab_dr::base::clock::{SystemClock, Time};
use homelab_dr::format::entry::TreePath;
use homelab_dr::recover::RestorePlan;
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::index::{Index, Location};
use homelab_dr::repo::layout;
use homelab_dr::store::memory::MemoryStore;
use homelab_dr::store::{Key, Listed, Put, Store, StoreError, Version};
use homelab_dr::tree::exclude::Excludes;

use crate::support::repository::TestRepository;

/// A store with bad sectors: what touches one of them fails as the file store says it when the kernel answers EIO.
#[derive(Debug)]
pub struct Sectors {
    inner: Arc<dyn Store>,
    bad: Mutex<Vec<(Key, Range<u64>)>>,
    /// Nothing answers any more.
    dead: Mutex<bool>,
}

impl Sectors {
    pub fn new() -> Arc<Self> {
        Self::over(Arc::new(MemoryStore::new(Arc::new(SystemClock))))
    }

    pub fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, bad: Mutex::default(), dead: Mutex::new(false) })
    }

    pub fn spoil(&self, key: Key, range: Range<u64>) {
        self.bad.lock().unwrap().push((key, range));
    }

    /// Spoils the bytes of a blob.
    pub fn spoil_at(&self, index: &Index, at: &Location) {
        let start = u64::from(at.offset);
        self.spoil(pack_of(index, at), start..start + u64::from(at.length));
    }

    pub fn die(&self) {
        *self.dead.lock().unwrap() = true;
    }

    fn read(&self, operation: &'static str, key: &Key, range: &Range<u64>) -> Result<(), StoreError> {
        let meets = |(bad, at): &(Key, Range<u64>)| bad == key && at.start < range.end && range.start < at.end;
        if *self.dead.lock().unwrap() || self.bad.lock().unwrap().iter().any(meets) {
            let source = Box::new(std::io::Error::from_raw_os_error(5));
            let (store, object) = (self.address(), key.to_string());
            return Err(StoreError::Failed { store, operation, object, transient: true, source });
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Sectors {
    fn address(&self) -> String {
        self.inner.address()
    }
    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError> {
        self.inner.put_new(key, bytes, retain_until).await
    }
    async fn put_over(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<(), StoreError> {
        self.bad.lock().unwrap().retain(|(bad, _)| bad != key);
        self.inner.put_over(key, bytes, retain_until).await
    }
    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.read("read", key, &(0..u64::MAX))?;
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.read("read", key, &range)?;
        self.inner.get_range(key, range).await
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
        self.inner.get_version(key, version).await
    }
    async fn retention(&self, key: &Key) -> Result<Option<Time>, StoreError> {
        self.inner.retention(key).await
    }
    async fn extend_retention(&self, key: &Key, until: Time) -> Result<(), StoreError> {
        self.inner.extend_retention(key, until).await
    }
}

pub fn pack_of(index: &Index, at: &Location) -> Key {
    layout::pack(&index.pack(at.pack).unwrap().id)
}

/// A repository on bad sectors with one snapshot, and a reader of it.
pub struct Scene {
    pub sectors: Arc<Sectors>,
    pub repository: TestRepository,
    pub report: BackupReport,
    pub reader: Arc<Reader>,
}

impl Scene {
    pub async fn of(source: &Path) -> Self {
        let sectors = Sectors::new();
        let repository = TestRepository::on(sectors.clone(), Arc::new(SystemClock)).await;
        let report = repository.backup(source, "s").await;
        let owner = repository.owner().await;
        let index = Arc::new(Index::load(&owner).await.unwrap());
        Self { sectors, repository, report, reader: Arc::new(Reader::new(owner, index)) }
    }

    /// Flips a bit in the sealed bytes at a place.
    pub async fn flip(&self, at: &Location) {
        let key = pack_of(&self.reader.index, at);
        let mut bytes = self.sectors.inner.get(&key).await.unwrap().to_vec();
        bytes[at.offset as usize + at.length as usize / 2] ^= 1;
        self.sectors.inner.put_over(&key, bytes.into(), None).await.unwrap();
    }

    pub fn plan(&self, target: &Path) -> RestorePlan {
        RestorePlan::whole(self.report.record.root, TreePath::root(), target.to_owned())
    }
}

pub fn globs(list: &[&str]) -> Excludes {
    Excludes::new(&list.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>()).unwrap()
}
