//! The only place that names SQLite: copies a database by its own backup interface, applies journals to a copy, looks whether a copy is whole.
//!
//! The source is opened for reading only, and never as `immutable`, which would pass over the log. SQLite may write to its `-shm`, as every reader does.
//! All pages are copied within one read transaction: a copy in several would begin again with every commit, and never end beside a busy writer.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use rustix::fs::OFlags;

use super::super::inode::{Inode, InodeKey};
use super::scratch::Room;
use super::trouble::Trouble;
use crate::base::cancel::Cancel;

/// The name of a copy in its room.
pub(super) const COPY: &str = "db";
/// How long one call waits for a lock. Short, so that a wish to stop is heard, and because SQLite then asks often.
const BUSY_TIME: Duration = Duration::from_secs(1);
/// Time between two looks at a locked database.
const BUSY_LOOK: Duration = Duration::from_millis(1);
/// Pages between two looks whether to stop; within one transaction, so the number changes nothing about the copy.
const STEP_PAGES: i32 = 4096;
/// Copies above this many bytes are not looked through: a minute or more, which cannot be broken off.
const LOOKED_THROUGH_BYTES_MAX: u64 = 8 << 30;

/// Why there is no copy.
#[derive(Debug)]
pub(super) enum Failure {
    /// Somebody holds a lock: try again.
    Busy,
    /// A cut-off transaction is to be rolled back first, which needs writing.
    Hot,
    /// It cannot be read along with those who write.
    NoShm,
    /// What was opened is another file.
    Replaced,
    /// Nothing that trying again would change.
    Trouble(Trouble),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// What an error with the source means.
fn of_source(error: &rusqlite::Error) -> Failure {
    let said = error.to_string();
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return Trouble::Sqlite(said).into() };
    match (failure.extended_code, failure.code) {
        (ffi::SQLITE_READONLY_ROLLBACK, _) => Failure::Hot,
        (ffi::SQLITE_READONLY_CANTINIT | ffi::SQLITE_READONLY_RECOVERY, _) => Failure::NoShm,
        (_, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            Failure::Busy
        }
        (_, ErrorCode::NotADatabase) => Trouble::UnknownPages.into(),
        (_, ErrorCode::DatabaseCorrupt) => Trouble::Corrupt(said).into(),
        _ => Trouble::Sqlite(said).into(),
    }
}

/// The same with a copy in its room: what is wrong there is the scratch directory's fault, or the damage of what was copied.
fn of_copy(error: &rusqlite::Error, room: &Room) -> Failure {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return room.failed(error).into() };
    match failure.code {
        ErrorCode::NotADatabase => Trouble::UnknownPages.into(),
        ErrorCode::DatabaseCorrupt => Trouble::Corrupt(error.to_string()).into(),
        _ => room.failed(error).into(),
    }
}

/// Whether one of our own descriptors is that file: SQLite goes by paths, which somebody may exchange.
fn is_open(key: InodeKey) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return false };
    entries.flatten().any(|entry| {
        let fd = rustix::fs::openat(
            rustix::fs::CWD,
            entry.path(),
            OFlags::PATH | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        fd.and_then(|fd| Inode::of(fd.as_fd())).is_ok_and(|inode| inode.key() == key)
    })
}

/// Whether a locked database is tried again after so many tries. SQLite's own handler comes to sleep 100 ms at a time, and a writer that commits without pause leaves
/// gaps of less than one: it would be met in one by luck only.
fn look_again(tries: i32) -> bool {
    std::thread::sleep(BUSY_LOOK);
    BUSY_LOOK * u32::try_from(tries).unwrap_or(u32::MAX) < BUSY_TIME
}

/// Copies the database at `path`, which is the file `key`, into `room`.
pub(super) fn backup(path: &Path, key: InodeKey, room: &mut Room, cancel: &Cancel) -> Result<(), Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut source = Connection::open_with_flags(path, flags).map_err(|error| of_source(&error))?;
    source.busy_handler(Some(look_again)).map_err(|error| of_source(&error))?;
    let begin = || {
        source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // From the first reading on, every other sees the same state.
        source.execute_batch("BEGIN")?;
        source.query_row("PRAGMA schema_version", (), |_| Ok(()))?;
        let number = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let pages = source.query_row("PRAGMA page_count", (), number)?;
        Ok((pages, source.query_row("PRAGMA page_size", (), number)?))
    };
    let (pages, page_bytes) = begin().map_err(|error| of_source(&error))?;
    if !is_open(key) {
        return Err(Failure::Replaced);
    }
    room.grow(u64::try_from(pages.saturating_mul(page_bytes)).unwrap_or(0))?;
    let mut copy = Connection::open(room.file(COPY)).map_err(|error| of_copy(&error, room))?;
    // The copy is thrown away if anything fails: it needs no journal and no waiting for the disk.
    copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE")
        .map_err(|error| of_copy(&error, room))?;
    let run = Backup::new(&source, &mut copy).map_err(|error| of_copy(&error, room))?;
    loop {
        if cancel.is_cancelled() {
            return Err(Trouble::Stopped.into());
        }
        match run.step(STEP_PAGES) {
            Ok(StepResult::More) => {}
            Ok(StepResult::Done) => break,
            Ok(_) => return Err(Failure::Busy),
            Err(error) => {
                let full = matches!(&error, rusqlite::Error::SqliteFailure(failure, _)
                    if matches!(failure.code, ErrorCode::DiskFull | ErrorCode::CannotOpen));
                return Err(if full { room.failed(error).into() } else { of_source(&error) });
            }
        }
    }
    drop(run);
    drop(source);
    look_through(&copy, room)
}

/// Applies what the journals beside the copy hold, as SQLite does after a crash, and looks through it.
pub(super) fn recover(room: &Room) -> Result<(), Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copy = Connection::open_with_flags(room.file(COPY), flags).map_err(|error| of_copy(&error, room))?;
    let apply = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; PRAGMA schema_version; PRAGMA wal_checkpoint(TRUNCATE)";
    copy.execute_batch(apply).map_err(|error| of_copy(&error, room))?;
    look_through(&copy, room)?;
    copy.close().map_err(|(_, error)| of_copy(&error, room))
}

/// Whether the pages of the copy fit together. Only the structure: what rows should hold by their schema is the application's business.
fn look_through(copy: &Connection, room: &Room) -> Result<(), Failure> {
    let size = std::fs::metadata(room.file(COPY)).map_err(|error| room.failed(error))?.len();
    if size > LOOKED_THROUGH_BYTES_MAX {
        return Ok(());
    }
    let look = || {
        // Functions that a schema names are not to be run on behalf of whoever wrote the schema.
        copy.execute_batch("PRAGMA trusted_schema = OFF")?;
        let mut rows = copy.prepare("PRAGMA quick_check(20)")?;
        let said = rows.query_map((), |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(said.into_iter().find(|line| line.starts_with("*** in database")))
    };
    match look() {
        Ok(None) => Ok(()),
        Ok(Some(said)) => {
            let line = said.lines().find(|line| !line.starts_with("***")).unwrap_or("its pages do not fit together");
            Err(Trouble::Corrupt(line.chars().take(200).collect()).into())
        }
        Err(error) => match of_copy(&error, room) {
            // A function or module of the application that is not here says nothing about the pages.
            Failure::Trouble(Trouble::Scratch { .. }) if is_of_the_schema(&error) => Ok(()),
            failure => Err(failure),
        },
    }
}

const fn is_of_the_schema(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(failure, _) if matches!(failure.code, ErrorCode::Unknown))
        || matches!(error, rusqlite::Error::SqlInputError { .. })
}
