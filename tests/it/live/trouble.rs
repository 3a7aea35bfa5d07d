//! Databases that cannot be captured: each is told by its path, stored as it was found, and tried again the next time.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use homelab_dr::backup::BackupReport;
use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::SystemClock;
use homelab_dr::format::live::How;
use homelab_dr::tree::live::trouble::Trouble;
use homelab_dr::tree::live::{Live, LiveOptions};
use homelab_dr::tree::problem::{Cause, Severity};
use homelab_dr::tree::source::Source;
use homelab_dr::tree::walk::WalkOptions;
use rusqlite::Connection;

use crate::full_disk::SmallDisk;
use crate::support::files::{noise, picture};

use super::{Lab, age, assert_whole, create, how, told, transfer};

/// Insists on one problem, that of `app.db`, whose file is stored as it was; returns why.
#[track_caller]
fn not_captured(report: &BackupReport) -> Trouble {
    assert_eq!(how(report), [("app.db".to_owned(), "sqlite-as-found")], "{:?}", told(report));
    assert_eq!(report.record.statistics.problems, 1, "{:?}", told(report));
    assert!(told(report)[0].starts_with("capturing the database app.db: "), "{:?}", told(report));
    match &report.problems[0].cause {
        Cause::Database(trouble) => trouble.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_told_and_kept_as_it_is() {
    let lab = Lab::new().await;
    create(&lab.path("app.db"), "delete").close().unwrap();
    let mut bytes = fs::read(lab.path("app.db")).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].copy_from_slice(&noise(1, 4096));
    fs::write(lab.path("app.db"), bytes).unwrap();
    age(&lab.path("app.db"));
    for _ in 0..2 {
        let report = lab.backup().await;
        assert!(matches!(not_captured(&report), Trouble::Corrupt(_)), "{:?}", told(&report));
        assert!(picture(lab.restored(&report).await.path()) == picture(lab.source.path()));
        assert_eq!(report.record.statistics.files_read, 1, "it is tried again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_ones_and_those_of_later_versions_are_told() {
    let lab = Lab::new().await;
    fs::write(lab.path("app.db"), noise(1, 40_960)).unwrap();
    fs::write(lab.path("app.db-wal"), [&[0x37, 0x7f, 0x06, 0x82][..], &noise(2, 8000)].concat()).unwrap();
    let report = lab.backup().await;
    assert!(matches!(not_captured(&report), Trouble::Encrypted(_)), "{:?}", told(&report));
    assert!(picture(lab.restored(&report).await.path()) == picture(lab.source.path()), "with its log");

    let lab = Lab::new().await;
    create(&lab.path("app.db"), "delete").close().unwrap();
    let mut bytes = fs::read(lab.path("app.db")).unwrap();
    bytes[18..20].copy_from_slice(&[9, 9]);
    fs::write(lab.path("app.db"), bytes).unwrap();
    let report = lab.backup().await;
    assert_eq!(not_captured(&report), Trouble::UnknownPages);
    assert!(picture(lab.restored(&report).await.path()) == picture(lab.source.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_not_given_up_is_told_unless_the_files_stand_still() {
    let lab = Lab::new().await;
    let db = create(&lab.path("app.db"), "delete");
    db.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; UPDATE a SET v = v + 1").unwrap();
    age(&lab.path("app.db"));
    // Somebody who writes all the time, as far as the file's times tell.
    let (path, stop) = (lab.path("app.db"), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let busy = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let now = std::time::SystemTime::now();
                fs::File::open(&path).unwrap().set_modified(now).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    };
    let report = lab.backup().await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    busy.join().unwrap();
    assert_eq!(not_captured(&report), Trouble::Locked { seconds: 2 });

    age(&lab.path("app.db"));
    age(&lab.path("app.db-journal"));
    let report = lab.backup().await;
    assert_eq!((how(&report), told(&report)), (vec![("app.db".to_owned(), "sqlite-still")], Vec::new()));
    assert_eq!(assert_whole(&lab.restored(&report).await.path().join("app.db")), 0);
    drop(db);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_names_are_told_when_the_log_is_at_another_than_the_first() {
    let lab = Lab::new().await;
    create(&lab.path("b.db"), "wal").close().unwrap();
    fs::hard_link(lab.path("b.db"), lab.path("a.db")).unwrap();
    let db = Connection::open(lab.path("b.db")).unwrap();
    transfer(&db, 3);
    let report = lab.backup().await;
    assert!(told(&report).iter().any(|text| text.starts_with("capturing the database b.db: it has several names")));
    let restored = lab.restored(&report).await;
    assert!(restored.path().join("b.db-wal").is_file(), "its log is not lost");
    drop(db);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scratch_directory_that_cannot_be_used_is_told() {
    let lab = Lab::new().await;
    let db = create(&lab.path("app.db"), "wal");
    transfer(&db, 3);
    let mut options = lab.options();
    options.live = Some(LiveOptions { scratch: Some("/no/such/folder".into()), ..LiveOptions::default() });
    let report = lab.backup_with(&options).await;
    assert!(matches!(not_captured(&report), Trouble::Scratch { .. }), "{:?}", told(&report));
    // As it was found: with its log, from which SQLite makes it whole if nobody wrote meanwhile.
    let restored = lab.restored(&report).await;
    assert!(restored.path().join("app.db-wal").is_file());
    let again = Connection::open(restored.path().join("app.db")).unwrap();
    let moved: i64 = again.query_row("SELECT sum(v) FROM b", (), |row| row.get(0)).unwrap();
    assert_eq!(moved, 72);
    drop(db);
}

#[test]
fn what_vanishes_or_is_replaced_before_it_is_opened_is_told() {
    let (dir, scratch) = (super::scratch(), tempfile::tempdir().unwrap());
    create(&dir.path().join("gone.db"), "delete").close().unwrap();
    create(&dir.path().join("other.db"), "delete").close().unwrap();
    let source = Source::new(&[dir.path().to_owned()]).unwrap();
    let options = LiveOptions { scratch: Some(scratch.path().to_owned()), ..LiveOptions::default() };
    let live = Live::new(source.clone(), &options, Arc::new(SystemClock), Arc::new(Cancel::default()));
    let walk = WalkOptions { live: Some(options.postgres), ..WalkOptions::default() };
    let found: Vec<_> = source.walk(walk).map(Result::unwrap).filter(|found| found.size > 0).collect();
    assert_eq!(found.len(), 2);
    fs::remove_file(dir.path().join("gone.db")).unwrap();
    fs::rename(dir.path().join("other.db"), dir.path().join("moved.db")).unwrap();
    fs::write(dir.path().join("other.db"), "another file").unwrap();
    let [gone, other] = [0, 1].map(|at| live.open(&found[at]).unwrap_err());
    assert_eq!((gone.cause, gone.severity), (Cause::Vanished, Severity::Note));
    assert_eq!((other.cause, other.severity), (Cause::Replaced, Severity::Problem));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to mount: lane root"]
async fn lane_root_a_full_scratch_disk_is_told_and_the_next_run_goes_on() {
    let disk = SmallDisk::mount(4);
    let lab = Lab::new().await;
    let db = create(&lab.path("app.db"), "wal");
    db.execute_batch("CREATE TABLE big AS SELECT zeroblob(8000000) AS x").unwrap();
    let mut options = lab.options();
    options.live = Some(LiveOptions { scratch: Some(disk.path("")), ..LiveOptions::default() });
    let report = lab.backup_with(&options).await;
    let Trouble::Full { needed, free, .. } = not_captured(&report) else { panic!("{:?}", told(&report)) };
    assert!(needed > 8_000_000 && free <= 4 << 20, "{needed} {free}");
    assert_eq!(super::left_in(&disk.path("")).len(), 0);
    db.execute_batch("DROP TABLE big; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let report = lab.backup_with(&options).await;
    assert_eq!((how(&report), told(&report)), (vec![("app.db".to_owned(), "sqlite-backup")], Vec::new()));
    assert_eq!(super::left_in(&disk.path("")).len(), 0);
    drop(db);
}

/// A mount that is taken away with the value.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn read_only(dir: &std::path::Path) -> Self {
        let at = Self(tempfile::tempdir().unwrap());
        for arguments in [&["--bind"][..], &["-o", "remount,bind,ro"]] {
            let mut mount = Command::new("mount");
            mount.args(arguments).args((arguments.len() == 1).then_some(dir)).arg(at.0.path());
            assert!(mount.status().unwrap().success(), "cannot mount: run this as root");
        }
        at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
#[ignore = "needs root, to mount: lane root"]
fn lane_root_a_read_only_mount_of_a_database_in_use_is_captured() {
    let (home, source, copies) = (crate::cli::Home::new(), super::scratch(), tempfile::tempdir().unwrap());
    for (name, mode) in [("app.db", "wal"), ("old.db", "delete")] {
        transfer(&create(&source.path().join(name), mode), 3);
    }
    let mount = Mounted::read_only(source.path());
    let (path, copies) = (mount.0.path().to_str().unwrap(), copies.path().to_str().unwrap());
    let args = ["backup", path, "--source", "s", "--live", "--scratch", copies, "--json"];
    // Closed, open, and open with a writer.
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut writer = None;
    for round in 0..3 {
        let db = Connection::open(source.path().join("app.db")).unwrap();
        db.busy_timeout(Duration::from_secs(20)).unwrap();
        if round > 0 {
            transfer(&db, 4);
        }
        if round == 2 {
            let stop = stop.clone();
            writer = Some(std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    transfer(&db, 5);
                }
            }));
        }
        let report = home.write(&args).exits(0).json();
        assert_eq!(report["databases"].as_array().unwrap().len(), 2, "{report}");
        let target = format!("out-{round}");
        home.read(&["restore", "latest", "--target", &target]).exits(0);
        assert!(assert_whole(&home.path(&target).join("app.db")) >= 72);
        assert_eq!(assert_whole(&home.path(&target).join("old.db")), 72);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.unwrap().join().unwrap();
}

/// A log that is in use, on a file system whose processes do not all share memory: not even SQLite could read along. `on` is what it is called.
#[track_caller]
pub fn is_refused_on(folder: &std::path::Path, on: &str) {
    let (home, copies) = (crate::cli::Home::new(), tempfile::tempdir().unwrap());
    let (db, old) = (create(&folder.join("app.db"), "wal"), create(&folder.join("old.db"), "delete"));
    transfer(&db, 3);
    transfer(&old, 3);
    let args = ["backup", folder.to_str().unwrap(), "--source", "s", "--live", "--scratch"];
    let report =
        home.write(&[&args[..], &[copies.path().to_str().unwrap(), "--json"]].concat()).exits(3).json().to_string();
    assert!(report.contains("\"sqlite-as-found\"") && report.contains("\"sqlite-backup\""), "{report}");
    assert!(report.contains("capturing the database app.db") && report.contains(on), "{report}");
    assert!(!report.contains("capturing the database old.db"), "locks are enough for that: {report}");
}

#[test]
#[ignore = "needs root, to mount: lane root"]
fn lane_root_a_log_in_use_is_refused_on_an_overlay() {
    let (disk, at) = (SmallDisk::mount(16), Mounted(tempfile::tempdir().unwrap()));
    for part in ["lower", "upper", "work"] {
        fs::create_dir(disk.path(part)).unwrap();
    }
    let [lower, upper, work] = ["lower", "upper", "work"].map(|part| disk.path(part).display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let mut mount = Command::new("mount");
    mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(at.0.path());
    assert!(mount.status().unwrap().success(), "cannot mount: run this as root");
    is_refused_on(at.0.path(), "overlayfs");
}

#[test]
fn every_way_has_a_name() {
    let all = [How::BACKUP, How::STILL, How::AS_FOUND, How::POSTGRES_STOPPED, How::POSTGRES_CRASH_CONSISTENT];
    let mut names: Vec<&str> = all.iter().chain(&[How::POSTGRES_LEFT_OUT]).map(|how| how.name()).collect();
    names.dedup();
    assert_eq!((names.len(), How(99).name()), (6, "unknown"));
}
