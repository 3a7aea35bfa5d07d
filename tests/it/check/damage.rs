//! The damage matrix: whatever happens to whatever object, the check names it and says what it costs, and everything else can be read.

use std::sync::Arc;

use homelab_dr::base::clock::{Clock, SystemClock};
use homelab_dr::base::progress::Progress;
use homelab_dr::check::{Finding, Options, Problem, Report, Severity, check, check_stored};
use homelab_dr::crypto::recipients::{NoPrompt, Prompt};
use homelab_dr::repo::{RepoError, Repository};

use super::{Fixture, expected, full, names, read_all, run};

const KINDS: [&str; 8] =
    ["format", "access", "epoch", "sessions", "content pack", "metadata pack", "index", "snapshots"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    Delete,
    Truncate,
    Flip,
    Swap,
}

/// Does it to the object of the first backup; a swap is with the second's of the same kind. Returns the names of what was damaged.
fn damage(fixture: &Fixture, kind: &str, how: Damage) -> Vec<String> {
    let object = fixture.object(0, kind);
    let mut bytes = fixture.place.read(&object);
    match how {
        Damage::Delete => fixture.place.remove(&object),
        // Before the first blob of a pack ends.
        Damage::Truncate => fixture.place.write(&object, &bytes[..100.min(bytes.len() / 2)]),
        Damage::Flip => {
            // For packs this is inside of a blob: their blobs begin behind the header.
            let at = if kind.ends_with("pack") { 200 } else { bytes.len() / 2 };
            bytes[at] ^= 1;
            fixture.place.write(&object, &bytes);
        }
        Damage::Swap => {
            let other = match kind {
                "format" => fixture.object(0, "epoch"),
                "access" | "epoch" => fixture.object(0, "format"),
                kind => fixture.object(1, kind),
            };
            fixture.place.write(&object, &fixture.place.read(&other));
            fixture.place.write(&other, &bytes);
            return vec![object, other];
        }
    }
    vec![object]
}

fn finding<'a>(report: &'a Report, object: &str) -> Option<&'a Finding> {
    report.findings.iter().find(|finding| finding.object == object && finding.severity == Severity::Damage)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

async fn open(fixture: &Fixture) -> Result<Arc<Repository>, RepoError> {
    let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
    let pin = Some(fixture.repository.key.fingerprint());
    let store = fixture.repository.store.clone();
    Repository::open_with_identity(store, &fixture.repository.identity, &prompt, pin).await.map(Arc::new)
}

/// Format, access and epoch: nothing opens without them, so either opening or the check without a key names them.
async fn names_what_opening_needs(fixture: &Fixture, kind: &str, how: Damage, damaged: &[String]) {
    let error = open(fixture).await.err().unwrap_or_else(|| panic!("{kind} {how:?}: it opened"));
    let stored = check_stored(&*fixture.repository.store, 100, SystemClock.now(), &Progress::default()).await;
    let stored = stored.expect("a report");
    let text = with_causes(&error);
    // Of two that were exchanged, opening stops at the first.
    let named = damaged.iter().any(|object| {
        let prefix = object.split_inclusive('/').next().expect("a name");
        let mut found = stored.findings.iter().filter(|finding| finding.severity == Severity::Damage);
        text.contains(object) || found.any(|finding| finding.object == *object || finding.object == prefix)
    });
    assert!(named, "{kind} {how:?}: {text}; {:?}", stored.findings);
    if kind == "access" && how != Damage::Swap {
        // A writer goes on, and its check says it.
        let report = run(&fixture.repository.writer().await).await;
        assert!(finding(&report, "access/").is_some(), "{how:?}: {:?}", report.findings);
    }
}

async fn matrix(kind: &str) {
    for how in [Damage::Delete, Damage::Truncate, Damage::Flip, Damage::Swap] {
        let fixture = Fixture::in_memory().await;
        let snapshots = fixture.repository.snapshots().await;
        let damaged = damage(&fixture, kind, how);
        if ["format", "access", "epoch"].contains(&kind) {
            names_what_opening_needs(&fixture, kind, how, &damaged).await;
            continue;
        }
        let owner = fixture.repository.owner().await;
        let report = run(&owner).await;
        assert!(report.is_damaged(), "{kind} {how:?}");
        for object in &damaged {
            // Nothing names an index segment: what it held is missed.
            let gone = kind == "index" && how == Damage::Delete;
            let found = finding(&report, if gone { "index/" } else { object });
            let found = found.unwrap_or_else(|| panic!("{kind} {how:?} {object}: {:?}", report.findings));
            let affected = found.affected.snapshots.iter().map(|snapshot| snapshot.source.as_str());
            let affected: Vec<&str> = affected.collect();
            match (kind, how) {
                ("sessions" | "snapshots", _) => assert!(affected.is_empty(), "{kind} {how:?}: {affected:?}"),
                ("index", Damage::Swap) => {} // one of the two is told to be at fault for both
                (_, Damage::Swap) => assert!(affected.contains(&"one") || affected.contains(&"two"), "{kind} {how:?}"),
                _ => assert_eq!(affected, ["one"], "{kind} {how:?}: {:?}", report.findings),
            }
        }
        // With the writer key alone the same objects are named.
        let writers = run(&fixture.repository.writer().await).await;
        for object in &damaged {
            assert!(
                finding(&writers, object).is_some() || finding(&writers, "index/").is_some(),
                "{kind} {how:?} {object} with the writer key: {:?}",
                writers.findings
            );
        }
        assert_eq!(writers.verified, [], "without an identity nothing is verified");
        // What does not need it can be read, and what the check calls whole too.
        for snapshot in &snapshots {
            let name = snapshot.record.source.as_str();
            let hit = match (kind, how) {
                ("content pack" | "metadata pack", Damage::Swap) => name != "three",
                ("content pack" | "metadata pack", _) => name == "one",
                // Packs carry the wrapped keys of their sessions, and their own tables.
                _ => false,
            };
            let read = read_all(&owner, snapshot).await;
            // Verified is what reads, but for what only the tables inside packs find, or whose record is the damaged object.
            let unproved = ["index", "snapshots"].contains(&kind)
                && if how == Damage::Swap { name != "three" } else { name == "one" };
            if kind != "index" || how != Damage::Swap {
                let verified = report.verified.contains(&snapshot.id);
                assert_eq!(verified, !hit && !unproved, "{kind} {how:?}: {name} verified");
            }
            if hit {
                assert!(read.is_err(), "{kind} {how:?}: {name}");
            } else {
                assert!(read.expect(name) == expected(name), "{kind} {how:?}: {name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opening_needs_is_named() {
    for kind in &KINDS[..3] {
        matrix(kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_session_is_named_and_costs_nothing() {
    matrix("sessions").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_content_pack_is_named_with_what_it_costs() {
    matrix("content pack").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_metadata_pack_is_named_with_what_it_costs() {
    matrix("metadata pack").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_is_named_and_the_packs_tables_stand_in() {
    matrix("index").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_named() {
    matrix("snapshots").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_repository_is_called_whole_and_everything_was_looked_at() {
    let fixture = Fixture::in_folder().await;
    for (repository, opened) in [(fixture.repository.writer().await, false), (fixture.repository.owner().await, true)] {
        let report = run(&repository).await;
        assert_eq!(report.findings, [], "opened: {opened}");
        let counts = report.counts;
        assert_eq!((counts.snapshots, counts.index_segments, counts.packs), (3, 3, 6));
        assert_eq!(counts.blobs_read, counts.blobs);
        assert_eq!(counts.files, 18);
        assert_eq!(counts.objects as usize, names(&*fixture.repository.store).await.len());
        assert_eq!(counts.blobs_opened == counts.blobs, opened);
        assert!(report.depth.verified && report.depth.decrypted == opened);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_disk_is_found_by_size_at_once_and_by_bytes_when_read() {
    let fixture = Fixture::in_folder().await;
    let pack = fixture.object(2, "content pack");
    let bytes = fixture.place.read(&pack);
    let owner = fixture.repository.owner().await;
    let quick = Options { read_percent: 0, ..full() };

    fixture.place.write(&pack, &bytes[..1000]);
    let report = check(&owner, &quick, &Progress::default()).await.unwrap();
    let found = finding(&report, &pack).expect("named");
    assert_eq!(found.problem, Problem::Size);
    let affected = &found.affected.snapshots[0];
    assert_eq!((affected.source.as_str(), affected.files), ("three", 6));
    assert!(affected.examples.contains(&"three-large".to_owned()), "{affected:?}");

    // One blob of several: only its file is lost.
    let mut flipped = bytes.clone();
    flipped[400_000] ^= 0x80;
    fixture.place.write(&pack, &flipped);
    let report = check(&owner, &quick, &Progress::default()).await.unwrap();
    assert!(!report.is_damaged(), "the size is right and nothing was read");
    let report = run(&owner).await;
    let found = finding(&report, &pack).expect("named");
    assert!(found.affected.snapshots[0].files < 6, "{:?}", found.affected);

    fixture.place.write(&pack, &bytes);
    assert_eq!(run(&owner).await.findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_and_strangers_are_notes() {
    let fixture = Fixture::in_memory().await;
    let pack = fixture.object(0, "content pack");
    let mut stray = fixture.place.read(&pack);
    stray.extend_from_slice(&[0; 4096]);
    let name = homelab_dr::crypto::hash::object_id(&stray).hex();
    let stray_name = format!("packs/{}/{name}", &name[..2]);
    fixture.place.write(&stray_name, &stray);
    fixture.place.write("lost-found.txt", b"what is this");
    let report = run(&fixture.repository.owner().await).await;
    assert!(!report.is_damaged(), "{:?}", report.findings);
    let problem = |object: &str| report.findings.iter().find(|f| f.object == object).map(|f| f.problem);
    assert_eq!(problem(&stray_name), Some(Problem::Unindexed));
    assert_eq!(problem("lost-found.txt"), Some(Problem::Foreign));
}
