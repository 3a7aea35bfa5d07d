//! Files that are there are brought to a snapshot by what differs, by `restore --overwrite in-place` and in a volume.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use homelab_dr::format::entry::TreePath;
use homelab_dr::recover::fill::in_place;
use homelab_dr::recover::{Overwrite, RestoreError, RestorePlan, RestoreReport, run_restore};
use homelab_dr::repo::salvage;

use crate::full_disk::SmallDisk;
use crate::support::files::{noise, picture, scratch};
use crate::support::repository::TestRepository;

const LARGE_BYTES: usize = 6_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn only_pieces_that_differ_are_written_whatever_their_times_say() {
    let repository = TestRepository::in_memory().await;
    let source = scratch();
    let at = |name: &str| source.path().join(name);
    std::fs::write(at("large"), noise(1, LARGE_BYTES)).unwrap();
    std::fs::write(at("one"), noise(2, 50_000)).unwrap();
    std::fs::hard_link(at("one"), at("other")).unwrap();
    std::fs::write(at("two"), noise(3, 50_000)).unwrap();
    std::fs::write(at("short"), "short").unwrap();
    let sparse = std::fs::File::create(at("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    sparse.write_at(&noise(4, 10_000), 4 << 20).unwrap();
    let before = picture(source.path());
    let times = |name: &str| std::fs::metadata(at(name)).unwrap().modified().unwrap();
    let report = repository.backup(source.path(), "s").await;
    let owner = repository.owner().await;
    let (context, reader) = (repository.context(owner.clone()), salvage::reader(&owner, |_| ()).await.unwrap());
    let plan = |dry_run| RestorePlan {
        overwrite: Overwrite::InPlace,
        delete: true,
        dry_run,
        ..RestorePlan::whole(report.record.root, TreePath::root(), source.path().to_owned())
    };
    let run = async |dry_run| -> RestoreReport {
        let report = run_restore(&context, &reader, &plan(dry_run)).await.unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        report
    };
    let nothing = run(false).await;
    assert_eq!((nothing.files, nothing.written, nothing.others), (0, 0, 0));

    // One byte, under the time that the file had; longer, shorter, data where a hole was, and names that are one file now.
    let was = times("large");
    let large = std::fs::File::options().write(true).open(at("large")).unwrap();
    large.write_at(b"!", 3_000_000).unwrap();
    large.set_modified(was).unwrap();
    std::fs::write(at("short"), "much longer than it was").unwrap();
    std::fs::write(at("two"), &noise(3, 50_000)[..20_000]).unwrap();
    sparse.write_at(&noise(5, 1 << 20), 1 << 20).unwrap();
    std::fs::write(at("one"), "written through one of its names").unwrap();
    let inodes = ["large", "short", "two", "sparse"].map(|name| std::fs::metadata(at(name)).unwrap().ino());
    let blocks = std::fs::metadata(at("sparse")).unwrap().blocks();
    let spoilt = picture(source.path());
    let would = run(true).await;
    assert!(picture(source.path()) == spoilt, "a dry run writes nothing");
    assert_eq!(would.files, 5, "{would:?}");
    let done = run(false).await;
    assert!(picture(source.path()) == before);
    assert_eq!(done.files, 5, "{done:?}");
    assert!((80_000..400_000).contains(&done.written), "{done:?}");
    assert!(done.written <= would.written, "{done:?} {would:?}");
    assert_eq!(["large", "short", "two", "sparse"].map(|name| std::fs::metadata(at(name)).unwrap().ino()), inodes);
    assert!(std::fs::metadata(at("sparse")).unwrap().blocks() < blocks, "the hole is one again");
    let [one, other] = ["one", "other"].map(|name| std::fs::metadata(at(name)).unwrap().ino());
    assert_eq!(one, other);
    let nothing = run(false).await;
    assert_eq!((nothing.files, nothing.written, nothing.others), (0, 0, 0));
}

/// A name that leads to another file than in the snapshot does not take that along.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_other_names_is_made_anew() {
    let repository = TestRepository::in_memory().await;
    let (source, outside) = (scratch(), scratch());
    std::fs::write(source.path().join("file"), noise(1, 100_000)).unwrap();
    let before = picture(source.path());
    let report = repository.backup(source.path(), "s").await;
    std::fs::write(outside.path().join("theirs"), "not of this volume").unwrap();
    std::fs::remove_file(source.path().join("file")).unwrap();
    std::fs::hard_link(outside.path().join("theirs"), source.path().join("file")).unwrap();
    std::os::unix::fs::symlink(outside.path(), source.path().join("way-out")).unwrap();
    std::fs::create_dir(source.path().join("lost+found")).unwrap();
    let owner = repository.owner().await;
    let (context, reader) = (repository.context(owner.clone()), salvage::reader(&owner, |_| ()).await.unwrap());
    let plan = RestorePlan::whole(report.record.root, TreePath::root(), source.path().to_owned());
    let report = in_place(&context, &reader, plan).await.unwrap();
    assert_eq!((report.files, report.problems.len(), report.deleted.len()), (1, 0, 1), "{report:?}");
    assert_eq!(std::fs::read_to_string(outside.path().join("theirs")).unwrap(), "not of this volume");
    std::fs::remove_dir(source.path().join("lost+found")).unwrap();
    assert!(picture(source.path()) == before);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to mount: lane root"]
async fn lane_root_a_full_volume_says_so_and_is_gone_on_with_when_there_is_space() {
    let repository = TestRepository::in_memory().await;
    let source = scratch();
    for number in 0..8 {
        std::fs::write(source.path().join(format!("file-{number}")), noise(number, 1_000_000)).unwrap();
    }
    let report = repository.backup(source.path(), "s").await;
    let owner = repository.owner().await;
    let (context, reader) = (repository.context(owner.clone()), salvage::reader(&owner, |_| ()).await.unwrap());
    let disk = SmallDisk::mount(6);
    let plan = || RestorePlan::whole(report.record.root, TreePath::root(), disk.path("volume"));
    std::fs::create_dir(disk.path("volume")).unwrap();
    std::fs::write(disk.path("volume/extra"), noise(9, 5_000_000)).unwrap();
    let full = in_place(&context, &reader, plan()).await;
    assert!(matches!(full, Err(RestoreError::Full { .. })), "{full:?}");
    assert!(!disk.path("volume/extra").exists(), "what is not in the snapshot made room first");
    disk.grow(20);
    let done = in_place(&context, &reader, plan()).await.unwrap();
    assert!(done.problems.is_empty() && done.unchanged > 0, "{done:?}");
    assert!(picture(&disk.path("volume")) == picture(source.path()));
}
