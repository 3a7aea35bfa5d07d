//! Damage heals: what is rotten is not built upon once it is known, and what the files still hold is stored anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homelab_dr::backup::run_backup;
use homelab_dr::backup::stdin::run_stdin;
use homelab_dr::base::clock::{Clock, SystemClock};
use homelab_dr::base::id::ObjectId;
use homelab_dr::check::{Finding, Problem, Report, Severity, mark_damaged};
use homelab_dr::format::entry::TreePath;
use homelab_dr::prune::{Settings, plan_prune, run_prune};
use homelab_dr::repo::layout;
use homelab_dr::store::memory::MemoryStore;
use homelab_dr::store::{Key, Store};
use tempfile::TempDir;

use super::run;
use crate::support::files::{noise, picture, scratch};
use crate::support::repository::{TestRepository, options};

struct Lab {
    store: Arc<MemoryStore>,
    repository: TestRepository,
    source: TempDir,
}

impl Lab {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let repository = TestRepository::on(store.clone(), Arc::new(SystemClock)).await;
        let source = scratch();
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        for n in 0..4 {
            let path = source.path().join(format!("file-{n}"));
            std::fs::write(&path, noise(n, 200_000)).unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        }
        Self { store, repository, source }
    }

    /// The only pack of a class: 1 is content, 2 metadata.
    async fn pack(&self, class: u8) -> Key {
        for entry in self.store.list("packs/").await.unwrap() {
            if self.store.get(&entry.key).await.unwrap()[1] == class {
                return entry.key;
            }
        }
        panic!("no pack of class {class}");
    }

    async fn flip(&self, key: &Key) {
        let mut bytes = self.store.get(key).await.unwrap().to_vec();
        bytes[200] ^= 1;
        self.store.plant(key, Bytes::from(bytes));
    }

    async fn check(&self) -> Report {
        run(&self.repository.owner().await).await
    }

    async fn prune(&self) {
        let settings = Settings { grace: Duration::ZERO, ..Settings::default() };
        let writer = self.repository.writer().await;
        let planned = plan_prune(&writer, settings, &self.repository.clock).await.expect("a plan");
        run_prune(&writer, planned, &self.repository.clock).await.expect("a prune");
    }

    /// Every snapshot restores to what the files are.
    async fn all_restore(&self) {
        let before = picture(self.source.path());
        let snapshots = self.repository.snapshots().await;
        assert_eq!(snapshots.len(), 2);
        for snapshot in snapshots {
            assert!(self.repository.restored(snapshot.record.root).await == before, "{}", snapshot.id);
        }
    }
}

fn id(key: &Key) -> ObjectId {
    layout::pack_id(key).expect("a pack")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_content_pack_is_marked_and_stored_anew_by_the_next_backup() {
    let lab = Lab::new().await;
    lab.repository.backup(lab.source.path(), "s").await;
    let pack = lab.pack(1).await;
    lab.flip(&pack).await;
    let report = lab.check().await;
    assert!(report.is_damaged());
    assert_eq!(report.unsound, [id(&pack)]);

    mark_damaged(&*lab.repository.writer().await, &report, SystemClock.now()).await.expect("a mark");
    let marked = lab.check().await;
    assert!(marked.is_damaged() && marked.unsound.is_empty(), "marked once: {:?}", marked.findings);
    let second = lab.repository.backup(lab.source.path(), "s").await;
    assert_eq!(second.record.statistics.files_read, 4, "nothing of it is built upon");
    lab.all_restore().await;
    let healed = lab.check().await;
    assert!(!healed.is_damaged(), "{:?}", healed.findings);

    lab.prune().await;
    assert!(lab.store.stat(&pack).await.unwrap().is_none(), "it is gone");
    let clean = lab.check().await;
    assert!(clean.findings.iter().all(|finding| finding.severity == Severity::Note), "{:?}", clean.findings);
    lab.all_restore().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_metadata_pack_is_not_built_upon_and_the_run_says_so() {
    for reread in [false, true] {
        let lab = Lab::new().await;
        lab.repository.backup(lab.source.path(), "s").await;
        let pack = lab.pack(2).await;
        lab.flip(&pack).await;
        let context = lab.repository.context(lab.repository.writer().await);
        let again = homelab_dr::backup::BackupOptions { reread, ..options(lab.source.path(), "s") };
        let second = run_backup(&context, &again).await.expect("a backup");
        assert_eq!(second.broken_packs, [id(&pack)], "reread: {reread}");
        lab.all_restore().await;
        // The prune must keep the copies that open, and not those that came first.
        lab.prune().await;
        lab.all_restore().await;
        // What was deduplicated to before the rot was met keeps the pack; its rotten blob is needed by nobody.
        let needed = |finding: &Finding| finding.affected.snapshots_total > 0;
        let report = lab.check().await;
        assert!(!report.findings.iter().any(needed), "reread: {reread}: {:?}", report.findings);
    }
}

/// A dump that is the same every night: its list of pieces is a blob that no run of a writer opens.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_nobody_opened_is_not_built_upon() {
    let lab = Lab::new().await;
    let dump = noise(7, 40 << 20);
    let name = TreePath::new("dump").unwrap();
    let back_up = async || {
        let context = lab.repository.context(lab.repository.writer().await);
        let options = options(lab.source.path(), "dump");
        run_stdin(&context, &options, &name, || Ok(std::io::Cursor::new(dump.clone()))).await.expect("a backup")
    };
    let first = back_up().await;
    let pack = lab.pack(2).await;
    lab.flip(&pack).await;
    let restored = lab.repository.try_restore(first.record.root, scratch().path()).await;
    assert!(restored.is_err() || !restored.unwrap().problems.is_empty(), "the list is what was hit");
    let second = back_up().await;
    assert!(second.record.statistics.bytes_new < 1 << 20, "the content is shared");
    // The first is whole again too: the list is there a second time.
    for backup in [&first, &second] {
        let target = scratch();
        let report = lab.repository.restore(backup, target.path()).await;
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        assert!(std::fs::read(target.path().join("dump")).unwrap() == dump);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_in_the_wrong_place_is_absent_and_named() {
    let lab = Lab::new().await;
    lab.repository.backup(lab.source.path(), "s").await;
    for class in [1, 2] {
        let pack = lab.pack(class).await;
        let wrong = Key::new(format!("packs/{pack}")).unwrap();
        lab.store.plant(&wrong, lab.store.get(&pack).await.unwrap());
        lab.store.hide(&pack);
        let report = lab.check().await;
        let found = report.findings.iter().find(|finding| finding.object == wrong.as_str()).expect("named");
        assert_eq!((found.problem, found.severity), (Problem::Misplaced, Severity::Warning));
        assert!(found.what.contains(pack.as_str()), "{}", found.what);
        assert!(report.is_damaged(), "what it holds is missing");
        if class == 1 {
            lab.repository.backup(lab.source.path(), "s").await;
            lab.all_restore().await;
            lab.store.hide(&wrong);
            return;
        }
    }
}
