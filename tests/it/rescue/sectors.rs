//! What does not read costs what needs it, and nothing else.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use homelab_dr::base::progress::Progress;
use homelab_dr::format::entry::{Content, Kind, TreePath};
use homelab_dr::recover::{RestoreError, RestoreProblem, run_restore};
use homelab_dr::replicate::{Fault, Options, replicate};
use homelab_dr::repo::doomed::Marks;
use homelab_dr::repo::snapshots::Chain;
use homelab_dr::repo::tree_read::{TreeReader, leaves, lookup};
use homelab_dr::repo::{RepoError, layout, sealed};
use homelab_dr::store::memory::MemoryStore;
use homelab_dr::store::{Key, Store};

use super::{Scene, Sectors};
use crate::support::files::{noise, scratch};

const DIRECTORIES: usize = 10;
const FILES: usize = 400;

fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000)
}

/// Many small files in a few directories, whose times say whether they were finished.
fn write(source: &Path) {
    for d in 0..DIRECTORIES {
        let directory = source.join(format!("d{d}"));
        fs::create_dir_all(&directory).unwrap();
        for n in 0..FILES {
            fs::write(directory.join(format!("f{n:03}")), format!("{d} {n}")).unwrap();
        }
        fs::File::open(&directory).unwrap().set_modified(long_ago()).unwrap();
    }
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, |entries| entries.count())
}

async fn a_leaf_is_lost(spoil: bool) {
    let dir = scratch();
    let source = dir.path().join("source");
    write(&source);
    let scene = Scene::of(&source).await;
    let leaves = leaves(&scene.reader, scene.report.record.root).await.unwrap();
    assert!(leaves.len() >= 4, "{}", leaves.len());
    let lost = &leaves[leaves.len() / 2];
    let at = scene.reader.locate(&lost.blob).unwrap();
    if spoil {
        scene.sectors.spoil_at(&scene.reader.index, &at);
    } else {
        scene.flip(&at).await;
    }
    // A name too many in every directory.
    let target = dir.path().join("target");
    for d in 0..DIRECTORIES {
        fs::create_dir_all(target.join(format!("d{d}"))).unwrap();
        fs::write(target.join(format!("d{d}/too-much")), "x").unwrap();
    }
    let context = scene.repository.context(scene.reader.repository.clone());
    let mut plan = scene.plan(&target);
    plan.delete = true;
    let report = run_restore(&context, &scene.reader, &plan).await.expect("the rest is restored");
    assert!(report.found_damage() && !report.verified);
    let [RestoreProblem::Lost { path, entries, .. }] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!((path, *entries), (&lost.first, lost.entries));
    let restored: usize = (0..DIRECTORIES).map(|d| count(&target.join(format!("d{d}")))).sum();
    let hidden = (0..DIRECTORIES).filter(|d| target.join(format!("d{d}/too-much")).exists()).count();
    // What is lost is files, or a directory's entry among them.
    let expected = DIRECTORIES * FILES + hidden - usize::try_from(lost.entries).unwrap();
    assert!((expected..=expected + DIRECTORIES).contains(&restored), "{restored} {expected}");
    // Nothing was deleted where the lost part may have had names, and everything elsewhere.
    let first = lost.first.names().next().map(|name| String::from_utf8(name.to_vec()).unwrap()).unwrap();
    assert!(target.join(&first).join("too-much").exists(), "{first} may have had it");
    assert!(hidden < DIRECTORIES, "the others are cleared");
    // Directories that were read are finished. How many a leaf spans is drawn with the keys.
    let done = |d: usize| fs::metadata(target.join(format!("d{d}"))).unwrap().modified().unwrap() == long_ago();
    assert!((0..DIRECTORIES).filter(|d| done(*d)).count() >= DIRECTORIES - hidden.max(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_leaf_costs_its_entries_and_nothing_else() {
    a_leaf_is_lost(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_sector_below_a_leaf_costs_its_entries_and_nothing_else() {
    a_leaf_is_lost(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_sector_costs_the_file_on_it_be_it_its_bytes_or_its_list() {
    let dir = scratch();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    for n in 0..3 {
        fs::write(source.join(format!("large-{n}")), noise(n, 40 << 20)).unwrap();
    }
    fs::write(source.join("small"), noise(9, 300_000)).unwrap();
    let scene = Scene::of(&source).await;
    let content = async |name: &str| {
        let path = TreePath::new(name).unwrap();
        let entry = lookup(&scene.reader, scene.report.record.root, &path).await.unwrap().unwrap();
        let Kind::File { content, .. } = entry.kind else { panic!("{name}") };
        content
    };
    let Content::Lists(lists) = content("large-0").await else { panic!("too few pieces for a list") };
    scene.sectors.spoil_at(&scene.reader.index, &scene.reader.locate(&lists[0]).unwrap());
    let Content::Inline(pieces) = content("small").await else { panic!("a small file") };
    let homelab_dr::format::entry::Piece::Data { blob, .. } = pieces[0] else { panic!("not a hole") };
    scene.sectors.spoil_at(&scene.reader.index, &scene.reader.locate(&blob).unwrap());

    let target = dir.path().join("target");
    let context = scene.repository.context(scene.reader.repository.clone());
    let report = run_restore(&context, &scene.reader, &scene.plan(&target)).await.expect("the rest is restored");
    let mut lost: Vec<String> = report
        .problems
        .iter()
        .map(|problem| match problem {
            RestoreProblem::Damaged { path, .. } => path.display(),
            other => panic!("{other:?}"),
        })
        .collect();
    lost.sort();
    // What lies in the same 64 KiB as the list, which a read is widened to, is read by itself.
    assert_eq!(lost, ["large-0", "small"]);
    for n in 1..3 {
        assert!(fs::read(target.join(format!("large-{n}"))).unwrap() == noise(n, 40 << 20));
    }
    assert!(!target.join("small").exists() && !target.join("large-0").exists());

    // A store that is away is no damage.
    scene.sectors.die();
    let error = run_restore(&context, &scene.reader, &scene.plan(&dir.path().join("again"))).await.unwrap_err();
    assert!(matches!(error, RestoreError::Repository(RepoError::Store(_))), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_sector_under_a_record_hides_no_other_and_is_not_copied() {
    let dir = scratch();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    let scene = Scene::of(&source).await;
    fs::write(source.join("file"), "more content").unwrap();
    let second = scene.repository.backup(&source, "s").await.snapshot.unwrap();
    let first = scene.report.snapshot.unwrap();
    scene.sectors.spoil(layout::named(layout::SNAPSHOTS, &first), 0..1);

    let owner = scene.repository.owner().await;
    let chain = Chain::load_to_read(&owner).await.unwrap();
    assert_eq!(chain.snapshots.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), [second]);
    assert_eq!(chain.unreadable[0].0, first);

    let target = MemoryStore::new(scene.repository.clock.clone()).named("copy");
    let options = Options { parallel: 1, retain_until: None, enough_until: None };
    let copied = replicate(&*scene.sectors, &target, &options, &Progress::default()).await.unwrap();
    assert_eq!(copied.damaged.len(), 1);
    assert_eq!(copied.damaged[0].fault, Fault::SourceUnreadable);
    assert_eq!(target.list("").await.unwrap().len() + 1, scene.sectors.list("").await.unwrap().len());

    scene.sectors.die();
    assert!(Chain::load_to_read(&owner).await.is_err(), "a dead store is no empty one");
    assert!(replicate(&*scene.sectors, &target, &options, &Progress::default()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_no_index_segment_is_read_by_the_tables_inside_packs() {
    let dir = scratch();
    let source = dir.path().join("source");
    write(&source);
    let scene = Scene::of(&source).await;
    let segment = scene.sectors.list(layout::INDEX).await.unwrap().remove(0).key;
    scene.sectors.inner.delete(&segment).await.unwrap();
    let owner = scene.repository.owner().await;
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let heard = told.clone();
    let reader = homelab_dr::repo::salvage::reader(&owner, move |salvaged| {
        assert!(salvaged.from_tables > 0);
        heard.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    });
    let reader = reader.await.unwrap();
    let target = dir.path().join("target");
    let report = run_restore(&scene.repository.context(owner), &reader, &scene.plan(&target)).await.unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(count(&target.join("d3")), FILES);
    assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_object_that_cannot_be_fetched_or_is_too_large_is_passed_over() {
    let sectors = Sectors::new();
    let repository = crate::support::repository::TestRepository::on(sectors.clone(), homelab_dr_clock()).await;
    let plant = async |bytes: Vec<u8>| {
        let id = homelab_dr::crypto::hash::object_id(&bytes);
        sectors.inner.put_over(&layout::access(&id), bytes.into(), None).await.unwrap();
        layout::access(&id)
    };
    // Whatever their names are, some come before the right one and some after it.
    for seed in 0..8 {
        sectors.spoil(plant(noise(seed, 100)).await, 0..1);
    }
    let huge = plant(vec![0; (2 << 20) + 1]).await;
    sectors.spoil(huge, 0..u64::MAX);
    repository.owner().await;

    // With none that opens the gravest is told: what could not be fetched may be the right one.
    for entry in sectors.list(layout::ACCESS).await.unwrap() {
        sectors.spoil(entry.key, 0..1);
    }
    let prompt: Arc<dyn homelab_dr::crypto::recipients::Prompt> = Arc::new(homelab_dr::crypto::recipients::NoPrompt);
    let store: Arc<dyn Store> = sectors.clone();
    let opened = homelab_dr::repo::Repository::open_with_identity(store, &repository.identity, &prompt, None).await;
    assert!(matches!(opened.err(), Some(RepoError::Store(_))));
}

fn homelab_dr_clock() -> Arc<dyn homelab_dr::base::clock::Clock> {
    Arc::new(homelab_dr::base::clock::SystemClock)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_object_is_not_read_whole_and_stops_nobody() {
    let sectors = Sectors::new();
    let repository = crate::support::repository::TestRepository::on(sectors.clone(), homelab_dr_clock()).await;
    let id = homelab_dr::base::id::ObjectId::new([7; 32]);
    let key = layout::named(layout::DOOMED, &id);
    sectors.inner.put_over(&key, vec![0; (16 << 20) + 1].into(), None).await.unwrap();
    // Its name is not that of its bytes, which would be a mark that rotted: it was never one.
    let marks = Marks::load(&*repository.writer().await).await.unwrap();
    assert!(marks.marks.is_empty());

    let key = Key::new("here").unwrap();
    sectors.inner.put_over(&key, vec![0; 100].into(), None).await.unwrap();
    assert_eq!(sealed::get_within(&*sectors, &key, 100).await.unwrap().len(), 100);
    let error = sealed::get_within(&*sectors, &key, 99).await.unwrap_err();
    assert!(matches!(error, RepoError::TooLarge { limit: 99, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_not_tolerant_fails_where_a_leaf_is_lost() {
    let dir = scratch();
    let source = dir.path().join("source");
    write(&source);
    let scene = Scene::of(&source).await;
    let root = scene.report.record.root;
    let lost = leaves(&scene.reader, root).await.unwrap().remove(2);
    scene.flip(&scene.reader.locate(&lost.blob).unwrap()).await;
    let mut strict = TreeReader::open(scene.reader.clone(), root, TreePath::root()).unwrap();
    let mut tolerant = TreeReader::open(scene.reader.clone(), root, TreePath::root()).unwrap().tolerant();
    let failed = loop {
        match strict.next().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(failed);
    let mut told = 0;
    while let Some(entries) = tolerant.next().await.unwrap() {
        told += entries.len() as u64;
    }
    let part = tolerant.take_lost().remove(0);
    assert_eq!(told + part.entries, 1 + (DIRECTORIES * (FILES + 1)) as u64);
    assert!(part.may_hide_names_of(&lost.first.parent().unwrap()));
    assert!(!part.may_hide_names_of(&TreePath::new("e").unwrap()), "behind everything");
}
