//! Key drills and statistics.

use std::sync::Arc;

use homelab_dr::base::clock::SystemClock;
use homelab_dr::check::Problem;
use homelab_dr::keys::{drill, list_drills};
use homelab_dr::repo::RepoError;
use homelab_dr::stats::stats;

use super::{Fixture, run};
use crate::support::repository::TestRepository;

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_opens_content_and_the_writer_sees_that_it_was_held() {
    let fixture = Fixture::in_memory().await;
    let test = &fixture.repository;
    let newest = test.snapshots().await.pop().unwrap();
    let writer = test.writer().await;
    assert!(matches!(drill(&writer, "laptop", &SystemClock).await, Err(RepoError::IdentityNeeded)));
    assert_eq!(list_drills(&writer).await.unwrap(), (vec![], vec![]));

    let held = drill(&test.owner().await, "laptop", &SystemClock).await.unwrap();
    assert_eq!(held.drill.snapshot, Some(newest.id));
    assert!(held.verified && held.bytes > 0 && held.file.as_deref() == Some("three-0"), "{held:?}");
    assert_eq!(list_drills(&writer).await.unwrap(), (vec![held.drill.clone()], vec![]));
    assert_eq!(held.drill.recipient, test.identity[0].recipients()[0].to_string());

    // No record names the newest as its parent; the drill remembers it.
    assert_eq!(run(&writer).await.findings, []);
    fixture.place.remove(&format!("snapshots/{}", newest.id));
    let report = run(&writer).await;
    assert_eq!(report.findings[0].object, format!("snapshots/{}", newest.id));
    assert_eq!(report.findings[0].problem, Problem::Gap);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_notices_content_that_does_not_open() {
    let fixture = Fixture::in_memory().await;
    let pack = fixture.object(2, "content pack");
    let mut bytes = fixture.place.read(&pack);
    bytes.iter_mut().skip(500).step_by(1000).for_each(|byte| *byte ^= 1);
    fixture.place.write(&pack, &bytes);
    let owner = fixture.repository.owner().await;
    assert!(matches!(drill(&owner, "laptop", &SystemClock).await, Err(RepoError::Blob { .. })));
    assert_eq!(list_drills(&owner).await.unwrap().0, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_of_an_empty_repository_proves_the_keys_only() {
    let test = TestRepository::in_memory().await;
    let held = drill(&test.owner().await, "laptop", &SystemClock).await.unwrap();
    assert_eq!((held.drill.snapshot, held.file, held.bytes), (None, None, 0));
    assert_eq!(stats(&*test.writer().await).await.unwrap().dedup_ratio, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_tell_what_deduplication_and_compression_save() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("text"), "all work and no play\n".repeat(50_000)).unwrap();
    std::fs::write(dir.path().join("noise"), super::noise(1, 1_000_000)).unwrap();
    let test = TestRepository::in_memory().await;
    for source in ["a", "b", "a"] {
        test.backup(dir.path(), source).await;
    }
    let found = stats(&*test.writer().await).await.unwrap();
    let once = 50_000 * 21 + 1_000_000;
    assert_eq!((found.snapshots, found.logical_bytes), (3, 3 * once));
    let dedup = found.dedup_ratio.unwrap();
    assert!((2.9..200.0).contains(&dedup), "{dedup}");
    assert!(found.compression_ratio.unwrap() > 1.0 && found.total_ratio.unwrap() > 2.0, "{found:?}");
    let sources: Vec<(&str, u64, u64)> =
        found.sources.iter().map(|s| (s.source.as_str(), s.snapshots, s.newest_bytes)).collect();
    assert_eq!(sources, [("a", 2, once), ("b", 1, once)]);
    let stored: u64 = found.by_prefix.values().map(|stored| stored.bytes).sum();
    assert_eq!(stored, found.stored_bytes);
    assert_eq!(found.by_prefix["snapshots/"].objects, 3);
    let _: Arc<str> = serde_json::to_string(&found).unwrap().into();
}
