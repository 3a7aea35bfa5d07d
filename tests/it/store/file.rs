//! The directory store: the suite by each way of publishing, and what only a directory can meet.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use homelab_dr::store::file::{FileStore, Publish};
use homelab_dr::store::{Put, Store, StoreError};

use crate::store::conformance::{Can, conforms};
use crate::store::{key, noise};

async fn conforms_by(publish: Publish) {
    let root = tempfile::tempdir().expect("a directory");
    let made = std::sync::atomic::AtomicU32::new(0);
    let fresh = || {
        let dir = root.path().join(made.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
        async move {
            let store = FileStore::create(dir).await.expect("made").publishing_by(publish);
            Arc::new(store) as Arc<dyn Store>
        }
    };
    // Listings of directories have no pages, and every object costs two fsyncs.
    conforms(Can { race: true, versions: false, locks: false, many: 50 }, fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_by_renaming_without_replacing() {
    conforms_by(Publish::NoReplace).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_by_linking() {
    conforms_by(Publish::Link).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_by_claiming() {
    conforms_by(Publish::Claim).await;
}

#[tokio::test]
async fn a_missing_directory_is_gone_and_stays_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("mount");
    assert!(matches!(FileStore::open(&root).await, Err(StoreError::Gone { .. })));
    assert!(!root.exists(), "opening makes nothing");
    let store = FileStore::create(&root).await.expect("made");
    store.put_new(&key("packs/aa/a"), noise(5, 1), None).await.expect("put");
    fs::rename(&root, dir.path().join("elsewhere")).expect("unmounted");
    for error in [
        store.put_new(&key("packs/aa/b"), noise(5, 1), None).await.expect_err("gone"),
        store.get(&key("packs/aa/a")).await.expect_err("gone"),
        store.stat(&key("packs/aa/a")).await.expect_err("gone"),
        store.list("packs/").await.expect_err("gone"),
        store.delete(&key("packs/aa/a")).await.expect_err("gone"),
    ] {
        assert!(matches!(error, StoreError::Gone { .. }), "{error:?}");
    }
    assert!(!root.exists(), "no operation makes the root");
    fs::write(&root, b"a file").expect("write");
    assert!(matches!(FileStore::open(&root).await, Err(StoreError::Gone { .. })));
}

#[tokio::test]
async fn foreign_names_are_not_listed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FileStore::open(dir.path()).await.expect("opened");
    store.put_new(&key("packs/aa/a"), noise(5, 1), None).await.expect("put");
    fs::write(dir.path().join("README"), b"x").expect("write");
    fs::write(dir.path().join(".DS_Store"), b"x").expect("write");
    fs::write(dir.path().join("packs/ä"), b"x").expect("write");
    fs::create_dir(dir.path().join("lost+found")).expect("mkdir");
    fs::write(dir.path().join("lost+found/a"), b"x").expect("write");
    symlink("/etc/passwd", dir.path().join("packs/link")).expect("symlink");
    symlink("/etc", dir.path().join("etc")).expect("symlink");
    let list = store.list("").await.expect("list");
    assert_eq!(list.iter().map(|l| l.key.as_str()).collect::<Vec<_>>(), ["packs/aa/a"]);
    assert_eq!(store.list("etc/").await.expect("list").len(), 0, "links are not followed out");
}

#[tokio::test]
async fn what_a_killed_writer_leaves_is_not_listed_and_swept_after_a_day() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FileStore::open(dir.path()).await.expect("opened");
    fs::create_dir(dir.path().join(".tmp")).expect("mkdir");
    // Killed between writing and publishing: one today, one two days ago.
    for (name, age) in [("fresh-0", 0), ("stale-0", 48)] {
        let file = fs::File::create(dir.path().join(".tmp").join(name)).expect("created");
        file.set_modified(SystemTime::now() - Duration::from_hours(age)).expect("aged");
    }
    assert_eq!(store.list("").await.expect("list"), []);
    assert_eq!(store.put_new(&key("a"), noise(5, 1), None).await.expect("put"), Put::Created);
    assert_eq!(store.list("").await.expect("list").len(), 1);
    let left: Vec<_> =
        fs::read_dir(dir.path().join(".tmp")).expect("read").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(left, ["fresh-0"], "the stale one is swept, a running writer's stays");
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FileStore::open(dir.path()).await.expect("opened");
    fs::write(dir.path().join("packs"), b"a file where a directory should be").expect("write");
    store.put_new(&key("packs/aa/a"), noise(5, 1), None).await.expect_err("in the way");
    fs::create_dir(dir.path().join("taken")).expect("mkdir");
    let error = store.put_new(&key("taken"), noise(5, 1), None).await.expect_err("in the way");
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    let temp = dir.path().join(".tmp");
    assert!(!temp.exists() || fs::read_dir(temp).expect("read").next().is_none());
}
