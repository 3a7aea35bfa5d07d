//! What the writer key shows of objects: nothing that a guess could be tested against. And what that costs: nothing, where nothing changed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use homelab_dr::backup::BackupReport;
use homelab_dr::backup::cluster::run_cluster;
use homelab_dr::base::clock::{Clock, ManualClock, Time};
use homelab_dr::cluster::choice::Choice;
use homelab_dr::cluster::folder::Folder;
use homelab_dr::crypto::hash::BlobHasher;
use homelab_dr::format::kind::Kind;
use homelab_dr::repo::index::Index;
use homelab_dr::store::memory::MemoryStore;

use crate::support::repository::{TestRepository, options};

const DAY_MS: i64 = 86_400_000;

/// A secret as a capture writes it, with a version of its own.
fn text(name: &str, password: &str, version: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: media\n  resourceVersion: \"{version}\"\n  uid: uid-of-{name}\nstringData:\n  \
         password: {password}\n"
    )
}

fn put(folder: &Path, name: &str, password: &str, version: u32) {
    let place = folder.join("manifests");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join(format!("{name}.yaml")), text(name, password, version)).unwrap();
}

struct World {
    test: TestRepository,
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Time(1_700_000_000_000)));
        let shared: Arc<dyn Clock> = clock.clone();
        let test = TestRepository::on(Arc::new(MemoryStore::new(shared.clone())), shared).await;
        let folder = tempfile::tempdir().unwrap();
        for number in 0..60 {
            put(folder.path(), &format!("s{number}"), "hunter2", 1);
        }
        Self { test, clock, folder }
    }

    async fn backup(&self) -> BackupReport {
        let cluster = Folder::open(self.folder.path()).unwrap();
        let context = self.test.context(self.test.writer().await);
        let (report, captured) =
            run_cluster(&context, &options(Path::new(""), "cluster"), &cluster, &Choice::default()).await.unwrap();
        assert!(captured.missing.is_empty(), "{:?}", captured.missing);
        report
    }

    async fn blobs(&self) -> BTreeSet<Vec<u8>> {
        let index = Index::load(&*self.test.writer().await).await.unwrap();
        index.iter().map(|indexed| indexed.id.as_bytes().to_vec()).collect()
    }

    /// What a restore of the snapshot's files gives for a secret.
    async fn restored(&self, report: &BackupReport, name: &str) -> String {
        let all = self.test.restored(report.record.root).await;
        let path = format!("resources/core/Secret/media/{name}.yaml");
        let bytes =
            all.iter().find(|(place, _)| place.to_str() == Some(&path)).unwrap_or_else(|| panic!("no {path}")).1;
        String::from_utf8(bytes.clone()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guess_of_a_secret_is_confirmed_by_no_blob() {
    let world = World::new().await;
    let report = world.backup().await;
    // The guess is right, to the last byte.
    let guess = world.restored(&report, "s7").await;
    assert!(guess.contains("hunter2") && guess.contains("uid-of-s7"), "{guess}");
    let hasher = BlobHasher::new(&world.test.key.chunk_id_key);
    let blobs = world.blobs().await;
    assert!(blobs.len() > 60, "{}", blobs.len());
    assert!(!blobs.contains(hasher.blob_id(Kind::Data, guess.as_bytes()).as_bytes().as_slice()));
    // The test itself: what has no salt is found by a guess.
    let all = world.test.restored(report.record.root).await;
    let about = all.iter().find(|(place, _)| place.to_str() == Some("cluster.yaml")).expect("it is there").1;
    assert!(blobs.contains(hasher.blob_id(Kind::Data, about).as_bytes().as_slice()), "cluster.yaml is no object");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_change_is_not_sealed_again_and_what_did_is() {
    let world = World::new().await;
    world.backup().await;
    let before = world.blobs().await;
    let second = world.backup().await;
    assert_eq!(world.blobs().await, before, "nothing new");
    let statistics = second.record.statistics;
    assert_eq!((statistics.bytes_new, statistics.files), (0, 61));
    assert_eq!(statistics.files_read, 1, "cluster.yaml alone");
    // One object has another version, one has another text under its old version, which no server does.
    put(world.folder.path(), "s3", "changed", 2);
    put(world.folder.path(), "s4", "longer than it was", 1);
    let third = world.backup().await;
    assert_eq!(third.record.statistics.files_read, 3);
    assert!(world.restored(&third, "s3").await.contains("changed"));
    assert!(world.restored(&third, "s4").await.contains("longer than it was"));
    assert!(world.restored(&third, "s5").await.contains("hunter2"));
    // An object of the same name that was made anew.
    put(world.folder.path(), "s5", "hunter2", 7);
    assert_eq!(world.backup().await.record.statistics.files_read, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_month_all_of_it_is_sealed_anew() {
    let world = World::new().await;
    world.backup().await;
    let mut read = 0;
    for _ in 0..30 {
        world.clock.advance(std::time::Duration::from_millis(DAY_MS.unsigned_abs()));
        let statistics = world.backup().await.record.statistics;
        assert!(statistics.files_read < 30, "{statistics:?}");
        read += statistics.files_read - 1;
    }
    assert_eq!(read, 60, "each once");
}

/// What a prune or a mark took away is stored anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_there_is_sealed_anew() {
    let world = World::new().await;
    world.backup().await;
    for entry in world.test.store.list("packs/").await.unwrap() {
        if world.test.store.get(&entry.key).await.unwrap()[1] == 1 {
            world.test.store.delete(&entry.key).await.unwrap();
        }
    }
    let second = world.backup().await;
    assert_eq!(second.record.statistics.files_read, 61);
    assert!(world.restored(&second, "s7").await.contains("hunter2"));
}

/// Notes of ours are no attributes of a file: a disk that knows none is no reason for a problem.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_object_is_known_by_is_not_restored_to_files() {
    let world = World::new().await;
    let report = world.backup().await;
    let target = tempfile::tempdir().unwrap();
    let restored = world.test.restore(&report, target.path()).await;
    assert!(restored.problems.is_empty(), "{:?}", restored.problems);
    let again = world.test.restore(&report, target.path()).await;
    assert_eq!((again.files, again.problems.len()), (0, 0), "all of it is as it should be");
}
