//! Databases that are captured, in every state in which one may be found.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use homelab_dr::format::entry::TreePath;
use rusqlite::Connection;

use crate::support::files::{noise, picture};

use super::{Lab, age, assert_whole, create, how, told, transfer};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_stands_in_the_tree_with_its_own_metadata_and_without_its_journals() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let lab = Lab::new().await;
    fs::create_dir(lab.path("sub")).unwrap();
    let open: Vec<Connection> =
        [("sub/app.db", "wal"), ("rollback", "delete"), ("kept", "persist"), ("cut", "truncate")]
            .map(|(name, mode)| create(&lab.path(name), mode))
            .into_iter()
            .collect();
    transfer(&open[0], 3);
    fs::set_permissions(lab.path("sub/app.db"), fs::Permissions::from_mode(0o640)).unwrap();
    // Names that look as if they belonged to a database, and do not.
    for name in ["notes", "notes-journal", "alone-wal", "rollback-x"] {
        fs::write(lab.path(name), name).unwrap();
    }
    fs::create_dir(lab.path("app.db-wal")).unwrap();
    let report = lab.backup().await;
    assert_eq!(told(&report), Vec::<String>::new());
    let expected = ["cut", "kept", "rollback", "sub/app.db"].map(|path| (path.to_owned(), "sqlite-backup"));
    assert_eq!(how(&report), expected);
    let restored = lab.restored(&report).await;
    assert_eq!(assert_whole(&restored.path().join("sub/app.db")), 72);
    for name in ["rollback", "kept", "cut"] {
        assert_eq!(assert_whole(&restored.path().join(name)), 0);
    }
    let (was, is) =
        (fs::metadata(lab.path("sub/app.db")).unwrap(), fs::metadata(restored.path().join("sub/app.db")).unwrap());
    assert_eq!((is.mode(), is.uid(), is.gid()), (was.mode(), was.uid(), was.gid()));
    for name in ["notes", "notes-journal", "alone-wal", "rollback-x"] {
        assert_eq!(fs::read_to_string(restored.path().join(name)).unwrap(), name);
    }
    assert!(restored.path().join("app.db-wal").is_dir());
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_open_is_captured_and_nothing_is_made_beside_it() {
    let lab = Lab::new().await;
    let db = create(&lab.path("app.db"), "wal");
    transfer(&db, 3);
    db.close().unwrap();
    let before = picture(lab.source.path());
    assert_eq!(before.len(), 1, "SQLite takes log and memory away when the last one closes");
    let report = lab.backup().await;
    assert_eq!((how(&report), told(&report)), (vec![("app.db".to_owned(), "sqlite-still")], Vec::new()));
    assert!(picture(lab.source.path()) == before, "the source was written to");
    assert_eq!(assert_whole(&lab.restored(&report).await.path().join("app.db")), 72);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_shared_memory_is_applied_to_the_copy() {
    let (lab, other) = (Lab::new().await, Lab::new().await);
    let db = create(&other.path("app.db"), "wal");
    transfer(&db, 3);
    for name in ["app.db", "app.db-wal"] {
        fs::copy(other.path(name), lab.path(name)).unwrap();
    }
    let before = picture(lab.source.path());
    let report = lab.backup().await;
    assert_eq!((how(&report), told(&report)), (vec![("app.db".to_owned(), "sqlite-still")], Vec::new()));
    assert!(picture(lab.source.path()) == before, "the source was written to");
    assert_eq!(assert_whole(&lab.restored(&report).await.path().join("app.db")), 72);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_cut_off_is_rolled_back_in_the_copy() {
    let (lab, other) = (Lab::new().await, Lab::new().await);
    let db = create(&other.path("app.db"), "delete");
    // With hardly any cache the changed pages go to the file before the transaction ends.
    db.execute_batch("PRAGMA cache_size = 5; BEGIN; UPDATE a SET v = v - 1, pad = randomblob(300)").unwrap();
    for name in ["app.db", "app.db-journal"] {
        fs::copy(other.path(name), lab.path(name)).unwrap();
    }
    let before = picture(lab.source.path());
    let report = lab.backup().await;
    assert_eq!((how(&report), told(&report)), (vec![("app.db".to_owned(), "sqlite-still")], Vec::new()));
    assert!(picture(lab.source.path()) == before, "the source was written to");
    assert_eq!(assert_whole(&lab.restored(&report).await.path().join("app.db")), 0);
    // The file alone would have had half of it.
    let alone = Lab::new().await;
    fs::copy(lab.path("app.db"), alone.path("app.db")).unwrap();
    let torn = Connection::open(alone.path("app.db")).unwrap();
    let sum = torn.query_row("SELECT (SELECT sum(v) FROM a) + (SELECT sum(v) FROM b)", (), |row| row.get::<_, i64>(0));
    assert_ne!(sum, Ok(super::SUM), "the journal held nothing: this test shows nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_is_what_has_the_same_file_and_the_same_log() {
    let lab = Lab::new().await;
    let (app, journal) = (create(&lab.path("app.db"), "wal"), create(&lab.path("journal.db"), "persist"));
    let all = ["app.db", "app.db-wal", "journal.db", "journal.db-journal"];
    all.iter().for_each(|name| age(&lab.path(name)));
    let first = lab.backup().await;
    assert_eq!(first.record.statistics.files_read, 2);
    let second = lab.backup().await;
    assert_eq!((second.record.statistics.files_read, second.record.root), (0, first.record.root));
    assert_eq!(how(&second), how(&first));

    let file = fs::metadata(lab.path("app.db")).unwrap().modified().unwrap();
    transfer(&app, 3);
    age(&lab.path("app.db-wal"));
    assert_eq!(fs::metadata(lab.path("app.db")).unwrap().modified().unwrap(), file, "only the log was to change");
    let third = lab.backup().await;
    assert_eq!(third.record.statistics.files_read, 1, "a log of the same age and another inode's time was passed over");
    let restored = lab.restored(&third).await;
    assert_eq!(assert_whole(&restored.path().join("app.db")), 72);
    // Without the option the files are read as they are: a copy is not taken for the file.
    let mut plain = lab.options();
    plain.live = None;
    let fourth = lab.backup_with(&plain).await;
    assert_eq!(how(&fourth), []);
    assert!(lab.restored(&fourth).await.path().join("app.db-wal").is_file());
    // And back: what was read as it was is not taken for a capture.
    let fifth = lab.backup().await;
    assert_eq!(how(&fifth), how(&first));
    assert_whole(&lab.restored(&fifth).await.path().join("app.db"));
    drop((app, journal));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_capture_adds_little_more_than_what_changed() {
    let lab = Lab::new().await;
    let db = Connection::open(lab.path("app.db")).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = wal; CREATE TABLE t(id INTEGER PRIMARY KEY, x BLOB); BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 16000)
         INSERT INTO t SELECT i, randomblob(3900) FROM n; COMMIT;",
    )
    .unwrap();
    let first = lab.backup().await;
    let size = first.record.statistics.bytes;
    assert!(size > 62 << 20, "{size} bytes are no 64 MiB");
    // One page a row; as applications do, in a few places.
    db.execute_batch("UPDATE t SET x = randomblob(3900) WHERE id BETWEEN 2000 AND 2160 OR id BETWEEN 9000 AND 9160")
        .unwrap();
    let second = lab.backup().await;
    let new = second.record.statistics.bytes_new;
    println!("{size} bytes, 2 % of the pages changed: {new} new");
    assert!(new < size / 10 && new > size / 100, "{new} of {size} bytes are new");
    let same = lab.backup().await;
    assert!(same.record.statistics.bytes_new < 64 << 10, "the same database gives the same blocks");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_small_databases_are_captured_and_then_recognised() {
    const COUNT: u32 = 2000;
    let lab = Lab::new().await;
    let db = create(&lab.path("0000.db"), "delete");
    db.execute_batch(&format!(
        "DELETE FROM a WHERE id > 5; DELETE FROM b WHERE id > 5; UPDATE a SET v = {} WHERE id = 1; UPDATE a SET v = 0 WHERE id > 1; VACUUM",
        super::SUM
    ))
    .unwrap();
    db.close().unwrap();
    for n in 0..COUNT {
        let name = lab.path(&format!("{n:04}.db"));
        if n > 0 {
            fs::copy(lab.path("0000.db"), &name).unwrap();
            Connection::open(&name).unwrap().pragma_update(None, "user_version", n).unwrap();
        }
        age(&name);
    }
    let begun = std::time::Instant::now();
    let report = lab.backup().await;
    println!("{COUNT} databases in {:?}", begun.elapsed());
    assert_eq!((told(&report), report.databases.len()), (Vec::new(), COUNT as usize));
    assert!(report.databases.iter().all(|(_, how)| how.is_capture()));
    let restored = lab.restored(&report).await;
    for n in [0, 1, COUNT / 2, COUNT - 1] {
        let path = restored.path().join(format!("{n:04}.db"));
        assert_whole(&path);
        let version: u32 =
            Connection::open(path).unwrap().query_row("PRAGMA user_version", (), |row| row.get(0)).unwrap();
        assert_eq!(version, n);
    }
    assert_eq!(lab.backup().await.record.statistics.files_read, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_all_kinds_and_several_roots() {
    let lab = Lab::new().await;
    let odd = lab.source.path().join(std::ffi::OsStr::from_bytes(b"r\xe9 ?mode=memory#%20.db"));
    let inside = lab.source.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe dir"));
    fs::create_dir(&inside).unwrap();
    let deep = inside.join("file:x");
    let open = [create(&odd, "wal"), create(&deep, "wal")];
    open.iter().for_each(|db| transfer(db, 3));
    std::os::unix::fs::symlink(&odd, lab.path("link")).unwrap();
    std::os::unix::fs::symlink(lab.path("gone"), lab.path("link-wal")).unwrap();
    let report = lab.backup().await;
    assert_eq!((told(&report), report.databases.len()), (Vec::new(), 2));
    assert!(how(&report).iter().all(|(_, how)| *how == "sqlite-backup"));
    let restored = lab.restored(&report).await;
    for path in [&odd, &deep] {
        assert_eq!(assert_whole(&restored.path().join(path.strip_prefix(lab.source.path()).unwrap())), 72);
    }
    assert_eq!(fs::read_link(restored.path().join("link")).unwrap(), odd, "a link to a database is a link");
    assert!(fs::symlink_metadata(restored.path().join("link-wal")).unwrap().is_symlink());

    // As a root of its own, and beside its own log; twice, by overlapping roots.
    let mut options = lab.options();
    options.paths = vec![deep.clone()];
    let alone = lab.backup_with(&options).await;
    assert_eq!(how(&alone), [("file:x".to_owned(), "sqlite-backup")]);
    assert_eq!(assert_whole(&lab.restored(&alone).await.path().join("file:x")), 72);
    options.paths = vec![lab.source.path().to_owned(), inside.clone(), deep];
    let overlapping = lab.backup_with(&options).await;
    assert_eq!((told(&overlapping), overlapping.databases.len()), (Vec::new(), 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_begins_like_a_database_is_a_text() {
    let lab = Lab::new().await;
    let text = [&b"SQLite format 3\0"[..], &[b'x'; 5000]].concat();
    for name in ["text", "text-journal"] {
        fs::write(lab.path(name), &text).unwrap();
    }
    fs::write(lab.path("short"), b"SQLite format 3\0").unwrap();
    fs::write(lab.path("noise"), noise(1, 70_000)).unwrap();
    let report = lab.backup().await;
    assert_eq!((how(&report), told(&report)), (Vec::new(), Vec::new()));
    assert!(picture(lab.restored(&report).await.path()) == picture(lab.source.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_takes_the_journals_of_another_state_away() {
    let lab = Lab::new().await;
    let db = create(&lab.path("app.db"), "wal");
    let report = lab.backup().await;
    // The target is the folder in use itself, as in a restore in place, with a log that is newer than the snapshot.
    transfer(&db, 3);
    let target = super::scratch();
    for name in ["app.db", "app.db-wal", "app.db-shm"] {
        fs::copy(lab.path(name), target.path().join(name)).unwrap();
    }
    fs::write(target.path().join("other-wal"), "stays").unwrap();
    drop(db);
    let restored = lab.repository.restore(&report, target.path()).await;
    assert!(restored.problems.is_empty(), "{:?}", restored.problems);
    assert_eq!(assert_whole(&target.path().join("app.db")), 0);
    assert!(target.path().join("other-wal").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_touches_nothing() {
    let lab = Lab::new().await;
    let db = create(&lab.path("app.db"), "wal");
    let context = lab.repository.context(lab.repository.writer().await);
    let plan = homelab_dr::backup::plan::plan_backup(&context, &lab.options()).await.unwrap();
    assert_eq!((plan.record.statistics.files, plan.record.statistics.files_read), (1, 1));
    assert_eq!(super::left_in(lab.scratch.path()).len(), 0);
    let report = lab.backup().await;
    let root = TreePath::root();
    assert!(report.problems.iter().all(|problem| problem.path != root));
    drop(db);
}
