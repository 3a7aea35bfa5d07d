//! A repository to test with: a store, a writer key, an identity.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use homelab_dr::backup::{BackupOptions, BackupReport, Context, run_backup};
use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::{Clock, SystemClock};
use homelab_dr::base::id::ObjectId;
use homelab_dr::base::progress::Progress;
use homelab_dr::crypto::recipients::{IdentitySource, NoPrompt, Prompt, generate_identity};
use homelab_dr::crypto::writer_key::WriterKey;
use homelab_dr::format::entry::TreePath;
use homelab_dr::format::record::TreeRoot;
use homelab_dr::recover::{RestoreError, RestorePlan, RestoreReport, run_restore};
use homelab_dr::repo::Repository;
use homelab_dr::repo::create::create;
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::index::Index;
use homelab_dr::repo::snapshots::{Chain, Snapshot};
use homelab_dr::store::Store;
use homelab_dr::store::memory::MemoryStore;

use crate::support::files::{Picture, picture, scratch};

/// A repository with its keys.
pub struct TestRepository {
    pub store: Arc<dyn Store>,
    pub key: WriterKey,
    pub identity: Vec<IdentitySource>,
    pub clock: Arc<dyn Clock>,
}

impl TestRepository {
    /// A fresh one in memory.
    pub async fn in_memory() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Self::on(Arc::new(MemoryStore::new(clock.clone())), clock).await
    }

    /// A fresh one on a store.
    pub async fn on(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let generated = generate_identity();
        let key = create(&store, &[generated.recipient], Duration::ZERO, &*clock).await.expect("an empty store");
        let identity = IdentitySource::parse("test", generated.secret.expose().as_bytes()).expect("its own text");
        Self { store, key, identity: vec![identity], clock }
    }

    /// Opened as a writer.
    pub async fn writer(&self) -> Arc<Repository> {
        Arc::new(Repository::open_with_writer(self.store.clone(), &self.key).await.expect("its own key"))
    }

    /// Opened with the identity.
    pub async fn owner(&self) -> Arc<Repository> {
        let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
        let pin = Some(self.key.fingerprint());
        let opened = Repository::open_with_identity(self.store.clone(), &self.identity, &prompt, pin).await;
        Arc::new(opened.expect("its own identity"))
    }

    /// What an operation on an opened repository is given.
    pub fn context(&self, repository: Arc<Repository>) -> Context {
        Context {
            repository,
            clock: self.clock.clone(),
            progress: Arc::new(Progress::default()),
            cancel: Arc::new(Cancel::default()),
        }
    }

    /// Backs a directory up with the writer key.
    pub async fn backup(&self, path: &Path, source: &str) -> BackupReport {
        let context = self.context(self.writer().await);
        run_backup(&context, &options(path, source)).await.expect("a backup")
    }

    /// Restores a whole snapshot with the identity.
    pub async fn restore(&self, report: &BackupReport, target: &Path) -> RestoreReport {
        self.try_restore(report.record.root, target).await.expect("a restore")
    }

    /// Restores a tree, and says why that failed.
    pub async fn try_restore(&self, root: TreeRoot, target: &Path) -> Result<RestoreReport, RestoreError> {
        let context = self.context(self.owner().await);
        let index = Arc::new(Index::load(&context.repository).await.expect("an index"));
        let reader = Arc::new(Reader::new(context.repository.clone(), index));
        let plan = RestorePlan::whole(root, TreePath::root(), target.to_owned());
        run_restore(&context, &reader, &plan).await
    }

    /// What a tree gives when it is restored; every problem with it is a failure.
    pub async fn restored(&self, root: TreeRoot) -> Picture {
        let target = scratch();
        let report = self.try_restore(root, target.path()).await.expect("a restore");
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        picture(target.path())
    }

    /// Checks that these snapshots are there and restore bit for bit, and that the chain has neither gaps nor unreadable records.
    pub async fn has(&self, expected: &[(ObjectId, Picture)]) {
        let repository = self.writer().await;
        let chain = Chain::load(&repository).await.expect("a chain");
        assert!(chain.unreadable.is_empty() && chain.gaps().is_empty(), "{:?} {:?}", chain.unreadable, chain.gaps());
        for (id, picture) in expected {
            let snapshot = chain.snapshots.iter().find(|snapshot| snapshot.id == *id).expect("a reported snapshot");
            assert!(self.restored(snapshot.record.root).await == *picture, "snapshot {id} restores to something else");
        }
    }

    /// The snapshots that are there.
    pub async fn snapshots(&self) -> Vec<Snapshot> {
        let repository = self.writer().await;
        Chain::load(&repository).await.expect("a chain").snapshots
    }
}

/// Options for one directory.
pub fn options(path: &Path, source: &str) -> BackupOptions {
    BackupOptions {
        paths: vec![path.to_owned()],
        host: "test".to_owned(),
        threads: Some(2),
        ..BackupOptions::of(source)
    }
}
