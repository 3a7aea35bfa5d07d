//! A directory as a store: a local disk or an NFS mount.
//!
//! An object is a file under the root, named as the object is. It is written under a temporary name, synced, published
//! without replacing anything, and looked at once more; so it is there whole or not at all, also after a power cut. Temporary
//! files live in `.tmp` (no object's name begins with a dot) and are swept when they are a day old.
//!
//! All times are the file system's own (of the NFS server, not of this machine). Nothing needs ownership, modes, file locks
//! or hard links, so `root_squash` and simple NAS boxes will do. No operation waits for ever: a hard mount whose server is
//! away blocks a thread of the process, but the caller gets an error that says so. There are no versions and no object locks.

mod disk;
mod error;
mod publish;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::clock::Time;
use crate::store::{Key, Listed, Operation, Put, Store, StoreError, Version};

use disk::Disk;
pub use publish::Publish;

/// Longest wait for one file operation, unless [`FileStore::open_waiting`] is told otherwise. A 12 MiB pack on a NAS over Wi-Fi takes seconds; a spun-down or
/// rebooting one, minutes.
pub const FILE_TIME_MAX: Duration = Duration::from_mins(5);

/// A directory as a store. Cheap to clone.
#[derive(Clone)]
pub struct FileStore {
    disk: Arc<Disk>,
    wait_max: Duration,
}

/// Answers of the file system that an operation has had. One with many (a listing) may take long, but not long without any.
#[derive(Clone, Default)]
struct Answers(Arc<AtomicU64>);

impl Answers {
    fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl FileStore {
    /// Opens an existing directory; [`StoreError::Gone`] if it is not there (an unmounted share must not turn into an
    /// empty repository on the disk below).
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_waiting(path, FILE_TIME_MAX).await
    }

    /// [`FileStore::open`], with another limit of the wait for one file operation, this first one included.
    pub async fn open_waiting(path: impl Into<PathBuf>, wait_max: Duration) -> Result<Self, StoreError> {
        let store = Self::at(path.into(), Publish::NoReplace, wait_max);
        store.run("open", String::new(), wait_max, Disk::check_root).await?;
        Ok(store)
    }

    /// Makes the directory (and its parents) if it is not there, durably, and opens it. Only for making a repository.
    pub async fn create(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::create_waiting(path, FILE_TIME_MAX).await
    }

    /// [`FileStore::create`], with another limit of the wait for one file operation.
    pub async fn create_waiting(path: impl Into<PathBuf>, wait_max: Duration) -> Result<Self, StoreError> {
        let store = Self::at(path.into(), Publish::NoReplace, wait_max);
        store.run("create", String::new(), wait_max, Disk::create_root).await?;
        Ok(store)
    }

    /// The same store that publishes in another way; for tests of file systems that cannot do the better ones.
    #[doc(hidden)]
    #[must_use]
    pub fn publishing_by(self, publish: Publish) -> Self {
        Self::at(self.disk.root().to_owned(), publish, self.wait_max)
    }

    fn at(root: PathBuf, publish: Publish, wait_max: Duration) -> Self {
        Self { disk: Arc::new(Disk::new(root, publish)), wait_max }
    }

    /// The root directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.disk.root()
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        object: String,
        limit: Duration,
        act: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let disk = Arc::clone(&self.disk);
        let task = async move { tokio::task::spawn_blocking(move || act(&disk)).await };
        bounded(self.address(), operation, object, limit, &Answers::default(), task).await
    }
}

/// Ends the wait for blocking work after `limit` without an answer; the work itself cannot be ended and goes on holding its thread.
async fn bounded<T>(
    store: String,
    operation: &'static str,
    object: String,
    limit: Duration,
    answers: &Answers,
    work: impl Future<Output = Result<Result<T, StoreError>, tokio::task::JoinError>>,
) -> Result<T, StoreError> {
    let mut work = std::pin::pin!(work);
    let mut had = answers.count();
    let source = loop {
        match tokio::time::timeout(limit, work.as_mut()).await {
            Ok(Ok(result)) => return result,
            // A panic in the work, or a runtime that shuts down.
            Ok(Err(join)) => break join.into(),
            Err(_) if answers.count() > had => had = answers.count(),
            Err(_) => {
                let waited = limit.as_secs();
                break format!("the file system did not answer for {waited} s; is the server of this mount up?").into();
            }
        }
    };
    // Not transient: another try would only block another thread.
    Err(StoreError::Failed { store, operation, object, transient: false, source })
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileStore").field(&self.disk.root()).finish()
    }
}

#[async_trait]
impl Store for FileStore {
    fn address(&self) -> String {
        self.disk.address()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError> {
        if retain_until.is_some() {
            return Err(StoreError::Unsupported { store: self.address(), operation: "lock objects" });
        }
        let name = key.clone();
        self.run("write", key.to_string(), self.wait_max, move |disk| disk.put_new(&name, &bytes)).await
    }

    async fn put_over(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<(), StoreError> {
        if retain_until.is_some() {
            return Err(StoreError::Unsupported { store: self.address(), operation: "lock objects" });
        }
        let (name, verb) = (key.clone(), Operation::PutOver.verb());
        self.run(verb, key.to_string(), self.wait_max, move |disk| disk.put_over(&name, &bytes)).await
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        let name = key.clone();
        self.run("read", key.to_string(), self.wait_max, move |disk| disk.read(&name, None)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let name = key.clone();
        self.run("read", key.to_string(), self.wait_max, move |disk| disk.read(&name, Some(range))).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let (disk, below, answers) = (Arc::clone(&self.disk), prefix.to_owned(), Answers::default());
        let had = answers.clone();
        let task = async move { tokio::task::spawn_blocking(move || disk.list(&below, || had.add_one())).await };
        bounded(self.address(), "list", prefix.to_owned(), self.wait_max, &answers, task).await
    }

    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        let name = key.clone();
        self.run("look up", key.to_string(), self.wait_max, move |disk| disk.stat(&name)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let name = key.clone();
        self.run("delete", key.to_string(), self.wait_max, move |disk| disk.delete(&name)).await
    }

    async fn versions(&self, _: &str) -> Result<Vec<Version>, StoreError> {
        Err(StoreError::Unsupported { store: self.address(), operation: Operation::Versions.verb() })
    }

    async fn get_version(&self, _: &Key, _: &str) -> Result<Bytes, StoreError> {
        Err(StoreError::Unsupported { store: self.address(), operation: Operation::GetVersion.verb() })
    }

    async fn retention(&self, _: &Key) -> Result<Option<Time>, StoreError> {
        Err(StoreError::Unsupported { store: self.address(), operation: Operation::Retention.verb() })
    }

    async fn extend_retention(&self, _: &Key, _: Time) -> Result<(), StoreError> {
        Err(StoreError::Unsupported { store: self.address(), operation: Operation::ExtendRetention.verb() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_for_a_hung_mount_ends_and_says_what_it_waited_for() {
        let hung = std::future::pending::<Result<Result<(), StoreError>, tokio::task::JoinError>>();
        let limit = Duration::from_millis(5);
        let no_answer = Answers::default();
        let error = bounded("/mnt/nas".into(), "write", "packs/ab".into(), limit, &no_answer, hung).await;
        let error = error.expect_err("it hangs");
        assert!(!error.is_transient());
        assert_eq!(error.to_string(), "/mnt/nas failed to write packs/ab");
        let source = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(source.contains("did not answer"), "{source}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_may_take_long_as_long_as_the_mount_answers() {
        let answers = Answers::default();
        let heard = answers.clone();
        let slow = async move {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                heard.add_one();
            }
            Ok(Ok(20))
        };
        let limit = Duration::from_secs(5);
        let listed =
            bounded("/mnt/nas".into(), "list", "packs".into(), limit, &answers, slow).await.expect("it answers");
        assert_eq!(listed, 20);
    }
}
