//! Databases that are in use while they are backed up: what comes back is a whole database, and what cannot be captured is told.

mod postgres;
mod sqlite;
pub mod trouble;
pub mod writers;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use homelab_dr::backup::{BackupOptions, BackupReport, run_backup};
use homelab_dr::tree::live::LiveOptions;
use rusqlite::Connection;

use crate::support::files::scratch;
use crate::support::repository::{TestRepository, options};

/// What the two tables hold together, whatever moved between them.
const SUM: i64 = 100_000;
/// Rows in each table at first.
const ROWS: i64 = 500;

/// A folder in use, a folder for copies and a repository.
struct Lab {
    /// In memory where there is some: SQLite waits for the disk with every commit.
    source: tempfile::TempDir,
    scratch: tempfile::TempDir,
    repository: TestRepository,
}

impl Lab {
    async fn new() -> Self {
        let (source, scratch) = (scratch(), tempfile::tempdir().unwrap());
        Self { source, scratch, repository: TestRepository::in_memory().await }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.source.path().join(name)
    }

    fn options(&self) -> BackupOptions {
        let scratch = Some(self.scratch.path().to_owned());
        let live = LiveOptions { scratch, locked_time_max: Duration::from_secs(2), ..LiveOptions::default() };
        BackupOptions { live: Some(live), ..options(self.source.path(), "s") }
    }

    async fn backup(&self) -> BackupReport {
        self.backup_with(&self.options()).await
    }

    async fn backup_with(&self, options: &BackupOptions) -> BackupReport {
        let context = self.repository.context(self.repository.writer().await);
        let report = run_backup(&context, options).await.expect("a backup");
        assert_eq!(left_in(self.scratch.path()), Vec::<PathBuf>::new(), "the scratch directory is not empty");
        report
    }

    /// What a snapshot restores to.
    async fn restored(&self, report: &BackupReport) -> tempfile::TempDir {
        let target = scratch();
        let restored = self.repository.restore(report, target.path()).await;
        assert!(restored.problems.is_empty(), "{:?}", restored.problems);
        target
    }
}

fn left_in(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// How the databases of a report were taken, with their paths.
fn how(report: &BackupReport) -> Vec<(String, &'static str)> {
    report.databases.iter().map(|(path, how)| (path.display(), how.name())).collect()
}

/// The problems of a report, as a person reads them.
fn told(report: &BackupReport) -> Vec<String> {
    report.problems.iter().map(|problem| format!("{problem}: {}", problem.cause)).collect()
}

/// A database with two tables whose sum is [`SUM`].
pub fn create(path: &Path, mode: &str) -> Connection {
    create_with(path, mode, 0)
}

/// The same with so many pages of something else between the two tables.
fn create_with(path: &Path, mode: &str, pages_between: u32) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(20)).unwrap();
    db.pragma_update(None, "journal_mode", mode).unwrap();
    db.execute_batch(&format!(
        "CREATE TABLE a(id INTEGER PRIMARY KEY, v INTEGER, pad BLOB); CREATE TABLE b(id INTEGER PRIMARY KEY, v INTEGER, pad BLOB);
         CREATE TABLE filler(x BLOB); BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO a SELECT i, {each}, randomblob(300) FROM n;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= {pages_between})
         INSERT INTO filler SELECT randomblob(3900) FROM n LIMIT {pages_between};
         INSERT INTO b SELECT id, 0, randomblob(300) FROM a; COMMIT;",
        each = SUM / ROWS,
    ))
    .unwrap();
    db
}

/// One transaction that touches both tables in many places, and leaves the sum.
pub fn transfer(db: &Connection, round: i64) {
    db.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         UPDATE a SET v = v - 1, pad = randomblob(300) WHERE id % 7 = {0};
         UPDATE b SET v = v + 1, pad = randomblob(300) WHERE id % 7 = {0};
         COMMIT;",
        round % 7
    ))
    .unwrap();
}

/// Insists that a restored database is whole; returns the number of transfers in it, as far as it can be told.
#[track_caller]
pub fn assert_whole(path: &Path) -> i64 {
    for ending in ["-wal", "-shm", "-journal"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(ending);
        assert!(!Path::new(&beside).exists(), "{} came back", beside.display());
    }
    let db = Connection::open(path).unwrap();
    let checked: String = db.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(checked, "ok", "{}", path.display());
    let sum: i64 =
        db.query_row("SELECT (SELECT sum(v) FROM a) + (SELECT sum(v) FROM b)", (), |row| row.get(0)).unwrap();
    assert_eq!(sum, SUM, "{}: half a transaction", path.display());
    db.query_row("SELECT sum(v) FROM b", (), |row| row.get(0)).unwrap()
}

/// Makes a file old, as one that nobody wrote to for a while.
fn age(path: &Path) {
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
}
