//! Backup and restore of real trees through a real repository.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use homelab_dr::backup::run_backup;
use homelab_dr::format::entry::{Content, Entry};
use homelab_dr::tree::source::Source;
use homelab_dr::tree::walk::WalkOptions;

use crate::support::every_kind::{self, Kinds};
use crate::support::files::scratch;
use crate::support::repository::{TestRepository, options};

/// Everything the walk sees of a tree but what a copy cannot keep, with the files' bytes.
fn capture(path: &Path) -> BTreeMap<String, (Entry, Vec<u8>)> {
    let source = Source::new(&[path.to_owned()]).expect("a directory");
    source
        .walk(WalkOptions::default())
        .filter_map(Result::ok)
        .map(|found| {
            let name = found.path.display();
            let size = found.size;
            let mut bytes = Vec::new();
            if let Ok(mut reader) = source.open(&found) {
                let mut buffer = vec![0; 1 << 20];
                while let Some(part) = reader.next(&mut buffer).expect("readable") {
                    match part {
                        homelab_dr::tree::read::Part::Data(length) => bytes.extend_from_slice(&buffer[..length]),
                        homelab_dr::tree::read::Part::Hole(length) => {
                            bytes.resize(bytes.len() + usize::try_from(length).unwrap(), 0);
                        }
                    }
                }
            }
            let mut entry = found.into_entry(size, Content::Inline(Vec::new()));
            entry.identity = None;
            (name, (entry, bytes))
        })
        .collect()
}

fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (capture(a), capture(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, (entry, bytes)) in &a {
        assert_eq!(entry, &b[name].0, "{name}");
        assert!(*bytes == b[name].1, "the bytes of {name} differ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_with_every_kind_of_entry_comes_back_as_it_was() {
    come_back(Kinds::Everybodys).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to make devices and to give files away: lane root"]
async fn lane_root_a_tree_with_every_kind_of_entry_comes_back_as_it_was() {
    come_back(Kinds::Roots).await;
}

async fn come_back(kinds: Kinds) {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    every_kind::build(&source, kinds);
    let repository = TestRepository::in_memory().await;
    let report = repository.backup(&source, "tree").await;
    assert_eq!(report.record.statistics.problems, 0, "{:?}", report.problems);
    let restored = repository.restore(&report, &target).await;
    assert!(restored.problems.is_empty(), "{:?}", restored.problems);
    assert_same(&source, &target);
    every_kind::open_up(&source);
    every_kind::open_up(&target);
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_backup_reads_only_what_changed_and_shares_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    for n in 0..500_u64 {
        let file = source.join(format!("small-{n}"));
        std::fs::write(&file, noise(n, 3000)).unwrap();
    }
    std::fs::write(source.join("database"), noise(1000, 32 << 20)).unwrap();
    std::fs::write(source.join("large"), noise(1001, (20 << 20) + 7)).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    for entry in std::fs::read_dir(&source).unwrap() {
        let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let repository = TestRepository::in_memory().await;
    let first = repository.backup(&source, "s").await;
    assert_eq!(first.record.statistics.files_read, 502);
    let second = repository.backup(&source, "s").await;
    assert_eq!(second.record.statistics.files_read, 0, "nothing changed");
    assert!(second.record.statistics.bytes_new == 0, "{:?}", second.record.statistics);
    assert_eq!(second.record.root, first.record.root);

    std::fs::File::options()
        .write(true)
        .open(source.join("database"))
        .unwrap()
        .write_all_at(&[7; 8192], 9 << 20)
        .unwrap();
    std::fs::write(source.join("small-7"), b"changed").unwrap();
    let third = repository.backup(&source, "s").await;
    assert_eq!(third.record.statistics.files_read, 2);
    assert!(third.record.statistics.bytes_new < 400_000, "{:?}", third.record.statistics);

    for (report, change) in [(&first, false), (&third, true)] {
        let target = tempfile::tempdir().unwrap();
        let restored = repository.restore(report, target.path()).await;
        assert!(restored.problems.is_empty(), "{:?}", restored.problems);
        let small = std::fs::read(target.path().join("small-7")).unwrap();
        assert_eq!(small == b"changed", change);
        if change {
            assert_same(&source, target.path());
        }
    }
}

/// Writes a file of a given age, as tools do that keep the times of what they copy: always a new inode.
fn put_aged(path: &Path, bytes: &[u8]) {
    let aside = path.with_extension("new");
    std::fs::write(&aside, bytes).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    std::fs::File::options().write(true).open(&aside).unwrap().set_modified(old).unwrap();
    std::fs::rename(&aside, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_replaced_under_its_old_time_and_size_is_read() {
    // A few files, all replaced; and one of many, among others that are the very same.
    for (files, replaced) in [(3, 3), (40, 1)] {
        let (dir, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for n in 0..files {
            put_aged(&dir.path().join(format!("f{n:02}")), format!("old {n:02}").as_bytes());
        }
        let repository = TestRepository::in_memory().await;
        repository.backup(dir.path(), "s").await;
        for n in 0..replaced {
            put_aged(&dir.path().join(format!("f{n:02}")), format!("NEW {n:02}").as_bytes());
        }
        let report = repository.backup(dir.path(), "s").await;
        assert_eq!(report.record.statistics.files_read, replaced);
        repository.restore(&report, target.path()).await;
        assert_same(dir.path(), target.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_was_copied_whole_is_not_read_again_but_for_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let name = |n: u64| dir.path().join(format!("f{n:02}"));
    (0..40).for_each(|n| put_aged(&name(n), &noise(n, 2000)));
    let repository = TestRepository::in_memory().await;
    repository.backup(dir.path(), "s").await;
    (0..40).for_each(|n| put_aged(&name(n), &noise(n, 2000)));
    put_aged(&name(7), b"another size");
    let report = repository.backup(dir.path(), "s").await;
    assert_eq!(report.record.statistics.files_read, 1);
}

/// What a restore in place keeps aside says nothing of what its source should hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_safety_copy_is_no_backup_that_held_something() {
    let (repository, full, empty) = (TestRepository::in_memory().await, scratch(), scratch());
    std::fs::write(full.path().join("file"), "something").unwrap();
    let aside = |path: &Path| {
        let mut options = options(path, "s");
        options.tags.insert("before-restore".to_owned(), "0123".to_owned());
        options
    };
    let context = repository.context(repository.writer().await);
    run_backup(&context, &aside(full.path())).await.unwrap();
    assert!(repository.backup(empty.path(), "s").await.emptied().is_none(), "only a safety copy held something");
    assert!(repository.backup(full.path(), "s").await.emptied().is_none());
    let copy = run_backup(&context, &aside(empty.path())).await.unwrap();
    assert!(copy.emptied().is_none(), "an empty copy is one of something empty");
    assert!(repository.backup(empty.path(), "s").await.emptied().is_some(), "a backup before it held something");
}
