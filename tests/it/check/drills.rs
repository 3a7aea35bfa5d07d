//! Key drills and statistics.

use std::sync::Arc;

use homelab_dr::base::clock::SystemClock;
use homelab_dr::check::Problem;
use homelab_dr::crypto::recipients::{NoPrompt, Prompt};
use homelab_dr::keys::{drill, list_key_drills};
use homelab_dr::repo::{RepoError, Repository};
use homelab_dr::stats::stats;
use homelab_dr::store::Operation;
use homelab_dr::store::fault::{Failure, Fault, When};

use super::{Fixture, names, run};
use crate::support::repository::TestRepository;

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_opens_content_and_the_writer_sees_that_it_was_held() {
    let fixture = Fixture::in_memory().await;
    let test = &fixture.repository;
    let newest = test.snapshots().await.pop().unwrap();
    let writer = test.writer().await;
    assert!(matches!(drill(&writer, "laptop", &SystemClock).await, Err(RepoError::IdentityNeeded)));
    assert_eq!(list_key_drills(&writer).await.unwrap(), (vec![], vec![]));

    let held = drill(&test.owner().await, "laptop", &SystemClock).await.unwrap();
    assert_eq!(held.drill.snapshot, Some(newest.id));
    assert!(held.verified && held.bytes > 0 && held.file.as_deref() == Some("three-0"), "{held:?}");
    assert_eq!(list_key_drills(&writer).await.unwrap(), (vec![held.drill.clone()], vec![]));
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
    let held = drill(&owner, "laptop", &SystemClock).await.unwrap();
    assert!(held.damaged[0].contains("does not open: blob "), "{held:?}");
    assert!(held.drill.id.is_some() == held.drill.snapshot.is_some(), "recorded only if content opened: {held:?}");
    // No content at all.
    for name in names(&*fixture.repository.store).await.into_iter().filter(|name| name.starts_with("packs/")) {
        let mut bytes = fixture.place.read(&name);
        bytes.iter_mut().skip(200).step_by(50).for_each(|byte| *byte ^= 1);
        fixture.place.write(&name, &bytes);
    }
    let before = list_key_drills(&owner).await.unwrap().0;
    let held = drill(&owner, "laptop", &SystemClock).await.unwrap();
    assert_eq!((held.damaged.len(), held.drill.snapshot, held.drill.id), (3, None, None), "{held:?}");
    assert_eq!(held.not_recorded.as_deref(), Some("no content could be opened"));
    assert_eq!(list_key_drills(&owner).await.unwrap().0, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_tells_of_a_damaged_record_and_goes_on() {
    let fixture = Fixture::in_memory().await;
    let snapshots = fixture.repository.snapshots().await;
    let key = format!("snapshots/{}", snapshots[2].id);
    let mut bytes = fixture.place.read(&key);
    bytes[100] ^= 1;
    fixture.place.write(&key, &bytes);
    let held = drill(&fixture.repository.owner().await, "laptop", &SystemClock).await.unwrap();
    assert_eq!(held.damaged.len(), 1);
    assert!(held.damaged[0].starts_with(&format!("{key} cannot be read: ")), "{held:?}");
    assert_eq!((held.drill.snapshot, held.not_recorded), (Some(snapshots[1].id), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_on_a_copy_that_can_only_be_read_is_a_proof() {
    let fixture = Fixture::in_memory().await;
    let test = &fixture.repository;
    for failure in [Failure::Denied, Failure::Full, Failure::Permanent] {
        let full = Fault::only(test.store.clone(), &[Operation::PutNew]);
        full.fail_from(0, When::Before, failure);
        let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
        let pin = Some(test.key.fingerprint());
        let opened = Repository::open_with_identity(test.store.clone(), &test.identity, &prompt, pin).await.unwrap();
        let held = drill(&Arc::new(opened.with_store(Arc::new(full))), "laptop", &SystemClock).await.unwrap();
        assert!(held.not_recorded.is_some_and(|why| why.contains("planned failure")) && held.drill.id.is_none());
        assert!(held.damaged.is_empty() && held.bytes > 0 && held.drill.snapshot.is_some());
    }
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
