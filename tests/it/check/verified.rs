//! What counts as read back whole, the record of it, and what becomes of the record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use homelab_dr::base::clock::{SystemClock, Time};
use homelab_dr::base::id::ObjectId;
use homelab_dr::base::progress::Progress;
use homelab_dr::check::{Options, Problem, Severity, check};
use homelab_dr::forget::run_forget;
use homelab_dr::format::entry::TreePath;
use homelab_dr::prune::{Settings, plan_prune, run_prune};
use homelab_dr::recover::{Overwrite, RestorePlan, run_restore};
use homelab_dr::repo::doomed::mark;
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::index::Index;
use homelab_dr::repo::{RepoError, Repository};
use homelab_dr::retention::{Decision, Verdict};
use homelab_dr::store::Key;
use homelab_dr::tree::exclude::Excludes;
use homelab_dr::verified;

use super::{Fixture, full, names, run};
use crate::support::files::scratch;

async fn ids(fixture: &Fixture) -> Vec<ObjectId> {
    fixture.repository.snapshots().await.iter().map(|snapshot| snapshot.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_all_data_read_with_an_identity_and_trees_followed_verifies() {
    let fixture = Fixture::in_memory().await;
    let (owner, writer) = (fixture.repository.owner().await, fixture.repository.writer().await);
    let all = ids(&fixture).await;
    assert_eq!(run(&owner).await.verified, all);
    let less = [
        (&writer, full()),
        (&owner, Options { structure: false, ..full() }),
        (&owner, Options { read_percent: 99, ..full() }),
        (&owner, Options { read_percent: 0, ..full() }),
    ];
    for (repository, options) in less {
        let report = check(repository, &options, &Progress::default()).await.unwrap();
        assert_eq!(report.verified, [], "{options:?}");
    }
    assert!(verified::load(&writer).await.unwrap().at.is_empty(), "a check by itself stores nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_nobody_needs_spoils_nothing_and_one_that_two_need_spoils_both() {
    let fixture = Fixture::in_memory().await;
    let two = fixture.repository.snapshots().await.into_iter().find(|s| s.record.source == "two").unwrap();
    let all = ids(&fixture).await;
    // The same tree again, under another record.
    let mut again = two.record.clone();
    again.link =
        homelab_dr::repo::snapshots::Chain::load(&*fixture.repository.writer().await).await.unwrap().next_link();
    let again = homelab_dr::format::record::ChainRecord::Snapshot(Box::new(again));
    let writer = fixture.repository.writer().await;
    let (copy, _) = homelab_dr::repo::snapshots::put(&writer, &again, None).await.unwrap();
    let pack = fixture.object(1, "content pack");
    let bytes = fixture.place.read(&pack);
    fixture.place.write(&pack, &[&bytes[..300], &[bytes[300] ^ 1], &bytes[301..]].concat());
    let owner = fixture.repository.owner().await;
    let expected: Vec<ObjectId> = all.iter().copied().filter(|id| *id != two.id).collect();
    assert_eq!(run(&owner).await.verified, expected, "neither {} nor {copy}", two.id);
    // Without those who need it the pack is still damaged, and costs nobody anything.
    for id in [two.id, copy] {
        fixture.place.remove(&format!("snapshots/{id}"));
    }
    assert_eq!(run(&owner).await.verified, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prune_took_away_is_no_damage_but_with_a_snapshot_that_does_not_read_nobody_knows() {
    let fixture = Fixture::in_memory().await;
    let owner = fixture.repository.owner().await;
    let clock = &fixture.repository.clock;
    let one = fixture.repository.snapshots().await.into_iter().find(|s| s.record.source == "one").unwrap();
    let (tags, time, verdict) = (BTreeSet::new(), Time(0), Verdict::Remove);
    let decision = Decision { id: one.id, source: one.record.source, tags, time, verdict };
    run_forget(&owner, vec![decision], "test", clock).await.unwrap();
    let settings = Settings { grace: Duration::ZERO, ..Settings::default() };
    let planned = plan_prune(&owner, settings, clock).await.unwrap();
    assert!(run_prune(&owner, planned, clock).await.unwrap().deleted.iter().any(|name| name.starts_with("packs/")));
    let report = run(&owner).await;
    assert!(!report.is_damaged() && !report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Note), "{:?}", report.findings);
    assert_eq!(report.verified, ids(&fixture).await);

    fixture.place.write(&fixture.object(1, "snapshots"), b"rubbish");
    let report = run(&owner).await;
    let missing = report.findings.iter().filter(|finding| finding.problem == Problem::Missing);
    assert!(missing.into_iter().all(|finding| finding.severity == Severity::Damage), "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_read_with_the_writer_key_and_outlives_prune_and_marks() {
    let fixture = Fixture::in_memory().await;
    let (owner, writer) = (fixture.repository.owner().await, fixture.repository.writer().await);
    let all = ids(&fixture).await;
    let host = "laptop";
    assert!(matches!(verified::record(&writer, &all, &[], host, &SystemClock).await, Err(RepoError::IdentityNeeded)));
    assert_eq!(verified::record(&owner, &[], &[], host, &SystemClock).await.unwrap(), None);
    let id = verified::record(&owner, &all[..2], &[], host, &SystemClock).await.unwrap().expect("a record");
    let name = format!("verified/{id}");
    let known = |found: verified::Verified| found.at.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(known(verified::load(&writer).await.unwrap()), all[..2].iter().copied().collect());
    assert_eq!(run(&owner).await.findings, [], "it is no stranger");

    mark(&writer, vec![Key::new(&*name).unwrap()], Time(0)).await.unwrap();
    let settings = Settings { grace: Duration::ZERO, ..Settings::default() };
    let planned = plan_prune(&writer, settings, &fixture.repository.clock).await.unwrap();
    assert!(planned.plan.delete.iter().all(|due| due.object != name));
    run_prune(&writer, planned, &fixture.repository.clock).await.unwrap();
    assert!(names(&*fixture.repository.store).await.contains(&name));
    assert_eq!(homelab_dr::stats::stats(&writer).await.unwrap().by_prefix["verified/"].objects, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_named_counts_for_nothing_and_is_no_damage() {
    let fixture = Fixture::in_memory().await;
    let (owner, writer) = (fixture.repository.owner().await, fixture.repository.writer().await);
    let all = ids(&fixture).await;
    let id = verified::record(&owner, &all[..1], &[], "laptop", &SystemClock).await.unwrap().expect("a record");
    let name = format!("verified/{id}");
    let good = fixture.place.read(&name);
    let flipped = [&good[..60], &[good[60] ^ 1], &good[61..]].concat();
    let other_kind = fixture.place.read(&fixture.object(0, "snapshots"));
    for bad in [&good[..100], &flipped[..], b"", &other_kind[..]] {
        fixture.place.write(&name, bad);
        let found = verified::load(&writer).await.unwrap();
        assert!(found.at.is_empty() && found.unreadable.len() == 1, "{found:?}");
        for repository in [&owner, &writer] {
            let report = run(repository).await;
            let finding = report.findings.iter().find(|finding| finding.object == name).expect("named");
            assert_eq!(finding.severity, Severity::Warning);
            assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
        }
    }
    // A snapshot's record under its own hash, in the wrong place: the kind in the seal tells.
    fixture.place.write(&name, &good);
    let moved = homelab_dr::crypto::hash::object_id(&other_kind);
    fixture.place.write(&format!("verified/{moved}"), &other_kind);
    let found = verified::load(&writer).await.unwrap();
    assert_eq!((found.at.len(), found.unreadable.len()), (1, 1));
}

struct Restores {
    fixture: Fixture,
    owner: Arc<Repository>,
}

impl Restores {
    /// Whether a restore of the snapshot `one` into a new directory verified it; `first` is done before in the same place.
    async fn verified(&self, plan: impl Fn(&mut RestorePlan), first: bool) -> bool {
        let one = self.fixture.repository.snapshots().await.into_iter().find(|s| s.record.source == "one").unwrap();
        let target = scratch();
        if first {
            assert!(self.fixture.repository.try_restore(one.record.root, target.path()).await.unwrap().verified);
        }
        let mut options = RestorePlan::whole(one.record.root, TreePath::root(), target.path().to_owned());
        plan(&mut options);
        let context = self.fixture.repository.context(self.owner.clone());
        let index = Arc::new(Index::load(&self.owner).await.unwrap());
        let reader = Arc::new(Reader::new(self.owner.clone(), index));
        run_restore(&context, &reader, &options).await.unwrap().verified
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_verifies_only_if_it_read_everything() {
    let fixture = Fixture::in_memory().await;
    let owner = fixture.repository.owner().await;
    let restores = Restores { fixture, owner };
    assert!(restores.verified(|_| {}, false).await);
    assert!(!restores.verified(|plan| plan.dry_run = true, false).await);
    assert!(!restores.verified(|_| {}, true).await, "every file was there already");
    assert!(restores.verified(|plan| plan.overwrite = Overwrite::Always, true).await);
    assert!(!restores.verified(|plan| plan.within = TreePath::new("one-0").unwrap(), false).await);
    let only = |pattern: &str| Excludes::new(&[pattern.to_owned()]).unwrap();
    assert!(!restores.verified(|plan| plan.selection.include = Some(only("one-0")), false).await);
    assert!(!restores.verified(|plan| plan.selection.exclude = only("one-0"), false).await);
    assert!(restores.verified(|plan| plan.selection.exclude = only("two"), false).await, "nothing was left out");

    let pack = restores.fixture.object(0, "content pack");
    let mut bytes = restores.fixture.place.read(&pack);
    bytes[300] ^= 1;
    restores.fixture.place.write(&pack, &bytes);
    assert!(!restores.verified(|_| {}, false).await, "one blob of it is damaged");
}
