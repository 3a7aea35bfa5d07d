//! A writer at full speed in one process, the program in another: every snapshot holds a whole database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::cli::Home;
use crate::support::files::scratch;

use super::{SUM, assert_whole, create, create_with, left_in, transfer};

/// Pages between the two tables, so that a copy file by file meets them at different times.
const PAGES_BETWEEN: u32 = 3000;

/// Writes until it is stopped; panics in the thread are failures of the test.
pub struct Writer {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicI64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    pub fn start(path: &Path, mode: &'static str) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let db = create_with(path, mode, PAGES_BETWEEN);
        let (stopped, counted) = (stop.clone(), rounds.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                transfer(&db, counted.fetch_add(1, Ordering::Relaxed));
            }
        });
        Self { stop, rounds, thread: Some(thread) }
    }

    pub fn rounds(&self) -> i64 {
        self.rounds.load(Ordering::Relaxed)
    }

    pub fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("running").join().expect("the writer had no error");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn every_snapshot_is_whole(mode: &'static str, how: &str) {
    const BACKUPS: usize = 6;
    let (home, source, copies) = (Home::new(), scratch(), tempfile::tempdir().unwrap());
    let database = source.path().join("app.db");
    std::fs::write(source.path().join("other.txt"), "not a database").unwrap();
    let writer = Writer::start(&database, mode);
    let (path, copies) = (source.path().to_str().unwrap(), copies.path());
    let scratch_dir = copies.to_str().unwrap();
    let (mut last, mut first, mut beside) = (0, None, 0);
    for n in 0..BACKUPS {
        let args = ["backup", path, "--source", "s", "--live", "--scratch", scratch_dir, "--json"];
        let report = home.write(&args).exits(0).json();
        let database = &report["databases"][0];
        assert_eq!(database["path"], "app.db", "{report}");
        // On a machine that is busy with other things a writer can stand still for as long as is looked for.
        assert!([how, "sqlite-still"].contains(&database["how"].as_str().unwrap()), "{report}");
        beside += usize::from(database["how"] == how);
        assert_eq!(report["statistics"]["files"], 2, "{report}");
        assert_eq!(left_in(copies), Vec::<std::path::PathBuf>::new());
        let target = format!("out-{n}");
        home.read(&["restore", "latest", "--target", &target]).exits(0);
        let transfers = assert_whole(&home.path(&target).join("app.db"));
        assert!(transfers >= last, "snapshot {n} is older than the one before");
        first.get_or_insert(transfers);
        last = transfers;
    }
    assert!(beside >= BACKUPS / 2, "only {beside} of {BACKUPS} were taken beside a writer");
    assert!(first < Some(last), "the writer stood still while it was backed up");

    // What happens without it. Nothing is asserted: a copy may be lucky.
    let mut torn = 0;
    for n in 0..BACKUPS {
        let ran = home.write(&["backup", path, "--source", "plain"]);
        assert!([0, 3].contains(&ran.code), "{}", ran.err);
        let target = format!("plain-{n}");
        // What the backup knows of it, the restore tells.
        home.read(&["restore", "latest:plain", "--target", &target]).exits(ran.code);
        let db = rusqlite::Connection::open(home.path(&target).join("app.db")).unwrap();
        let checked = db.query_row("PRAGMA integrity_check", (), |row| row.get::<_, String>(0));
        let sum =
            db.query_row("SELECT (SELECT sum(v) FROM a) + (SELECT sum(v) FROM b)", (), |row| row.get::<_, i64>(0));
        torn += usize::from(checked.as_deref() != Ok("ok") || sum != Ok(SUM));
    }
    println!("{mode}: {} transactions; without --live {torn} of {BACKUPS} copies were torn", writer.rounds());
    writer.end();
}

#[test]
fn a_database_with_a_write_ahead_log_is_whole_in_every_snapshot() {
    every_snapshot_is_whole("wal", "sqlite-backup");
}

#[test]
fn a_database_with_a_rollback_journal_is_whole_in_every_snapshot() {
    every_snapshot_is_whole("delete", "sqlite-backup");
}

#[test]
fn a_killed_run_leaves_nothing_after_the_next() {
    let (home, source, copies) = (Home::new(), scratch(), tempfile::tempdir().unwrap());
    let db = create(&source.path().join("app.db"), "wal");
    db.execute_batch(
        "CREATE TABLE big(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
         INSERT INTO big SELECT randomblob(4000) FROM n;",
    )
    .unwrap();
    let args = [
        "backup",
        source.path().to_str().unwrap(),
        "--source",
        "s",
        "--live",
        "--scratch",
        copies.path().to_str().unwrap(),
    ];
    let mut command = home.command(&args);
    let command = command.env("HOMELAB_DR_WRITER_KEY_FILE", "writer").stderr(std::process::Stdio::null());
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let copy =
        || left_in(copies.path()).first().is_some_and(|run| run.join("0/db").metadata().is_ok_and(|db| db.len() > 0));
    while !copy() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before a copy was seen");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(copy(), "the kill left no copy: nothing is shown by this test");
    home.write(&args).exits(0);
    assert_eq!(left_in(copies.path()), Vec::<std::path::PathBuf>::new());
    drop(db);
}
