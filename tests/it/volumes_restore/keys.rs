//! What a mover is handed: the keys of its snapshot. With them it reads that one, and no other.

use std::sync::Arc;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::format::entry::TreePath;
use homelab_dr::recover::fill::fill;
use homelab_dr::recover::{RestoreError, RestorePlan, RestoreProblem, sessions};
use homelab_dr::repo::salvage;
use homelab_dr::repo::snapshots::read_one;

use crate::support::files::{noise, picture, scratch};
use crate::support::repository::TestRepository;

#[tokio::test(flavor = "multi_thread")]
async fn another_snapshot_cannot_be_read_with_the_keys_of_one() {
    let repository = TestRepository::in_memory().await;
    let (one, other) = (scratch(), scratch());
    // Large enough not to share a chunk with others.
    std::fs::write(one.path().join("mine"), noise(1, 3_000_000)).unwrap();
    std::fs::write(one.path().join("old"), noise(2, 100_000)).unwrap();
    std::fs::write(other.path().join("theirs"), noise(3, 100_000)).unwrap();
    let before = repository.backup(one.path(), "pvc/a/one").await;
    let theirs = repository.backup(other.path(), "pvc/a/other").await;
    std::fs::remove_file(one.path().join("old")).unwrap();
    std::fs::write(one.path().join("new"), noise(4, 100_000)).unwrap();
    let now = repository.backup(one.path(), "pvc/a/one").await;

    let owner = repository.owner().await;
    let reader = salvage::reader(&owner, |_| ()).await.unwrap();
    let keys_of = async |root| sessions::keys(&reader, root, &TreePath::root(), &Cancel::default()).await.unwrap();
    assert_eq!(keys_of(before.record.root).await.len(), 1);
    assert_eq!(keys_of(now.record.root).await.len(), 2, "of the run that stored what is old, and of this one");

    // As a mover has it: the writer key, and these keys.
    let writer = repository.writer().await;
    let context = repository.context(writer.clone());
    let restored = async |keys, id, target: &std::path::Path| {
        let reader = salvage::reader_with_keys(&writer, keys, |_| ()).await.unwrap();
        let record = read_one(&writer, id).await.unwrap();
        fill(&context, &reader, &id, RestorePlan::whole(record.root, TreePath::root(), target.to_owned())).await
    };
    let target = scratch();
    let report = restored(keys_of(now.record.root).await, now.snapshot.unwrap(), target.path()).await.unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert!(picture(target.path()) == picture(one.path()));

    let target = scratch();
    let report = restored(keys_of(now.record.root).await, theirs.snapshot.unwrap(), target.path()).await.unwrap();
    let [RestoreProblem::Damaged { source, .. }] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert!(source.to_string().contains("was not handed over"), "{source}");
    assert!(!target.path().join("theirs").exists());
    // Nothing of what else is there either, with none at all.
    let target = scratch();
    let report = restored(Vec::new(), now.snapshot.unwrap(), target.path()).await.unwrap();
    assert_eq!((report.files, report.problems.len()), (0, 2));
    assert!(Arc::strong_count(&writer) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_with_somebody_elses_data_is_left_as_it_is() {
    let repository = TestRepository::in_memory().await;
    let (source, target) = (scratch(), scratch());
    std::fs::write(source.path().join("file"), noise(1, 10_000)).unwrap();
    let report = repository.backup(source.path(), "pvc/a/one").await;
    let owner = repository.owner().await;
    let (context, reader) = (repository.context(owner.clone()), salvage::reader(&owner, |_| ()).await.unwrap());
    let (id, root) = (report.snapshot.unwrap(), report.record.root);
    let plan = || RestorePlan::whole(root, TreePath::root(), target.path().to_owned());
    std::fs::create_dir(target.path().join("lost+found")).unwrap();
    std::fs::write(target.path().join("theirs"), "do not touch").unwrap();
    let before = picture(target.path());
    let refused = fill(&context, &reader, &id, plan()).await;
    assert!(matches!(refused, Err(RestoreError::NotEmpty { .. })), "{refused:?}");
    assert!(picture(target.path()) == before);
    // Without it, it is filled; and once more changes nothing, although the note of the first run is gone.
    std::fs::remove_file(target.path().join("theirs")).unwrap();
    assert_eq!(fill(&context, &reader, &id, plan()).await.unwrap().files, 1);
    std::fs::remove_dir(target.path().join("lost+found")).unwrap();
    let again = fill(&context, &reader, &id, plan()).await.unwrap();
    assert_eq!((again.files, again.problems.len()), (0, 0));
    // All of it is there, and a week of other files with it: that is somebody's.
    std::fs::create_dir(target.path().join("since")).unwrap();
    std::fs::write(target.path().join("since/then"), "theirs").unwrap();
    let refused = fill(&context, &reader, &id, plan()).await;
    assert!(matches!(refused, Err(RestoreError::NotEmpty { .. })), "{refused:?}");
    assert_eq!(std::fs::read_to_string(target.path().join("since/then")).unwrap(), "theirs");
    std::fs::remove_dir_all(target.path().join("since")).unwrap();
    std::fs::write(target.path().join("file"), "changed by its application").unwrap();
    assert!(matches!(fill(&context, &reader, &id, plan()).await, Err(RestoreError::NotEmpty { .. })));
    // A try that was cut off is gone on with, but not beside what somebody has put there meanwhile.
    let mark = target.path().join(format!(".homelab-dr-filling-{}", id.hex()));
    std::fs::write(&mark, "").unwrap();
    std::fs::write(target.path().join("file-wal"), "of another database").unwrap();
    let refused = fill(&context, &reader, &id, plan()).await;
    let Err(RestoreError::NotEmpty { first, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!(first, std::path::Path::new("file-wal"));
    std::fs::remove_file(target.path().join("file-wal")).unwrap();
    assert_eq!(fill(&context, &reader, &id, plan()).await.unwrap().files, 1);
    assert!(picture(target.path()) == picture(source.path()) && !mark.exists());
}
