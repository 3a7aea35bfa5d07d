//! Databases that are in use while they are backed up.
//!
//! A SQLite database is known by its header and copied through SQLite's own backup interface into `scratch`; the copy takes the place of the file in the
//! snapshot, and the journals beside it are left out. Where SQLite cannot read along, its files are copied while they stand still (`still`). Where that
//! fails too, the file is stored as it was found, with what stands beside it, and that is a problem. docs/live-databases.md.
//!
//! Closing any descriptor of a file takes away all locks that the process has on it (POSIX). So a database is looked at and closed before SQLite opens it,
//! and nobody else here opens it meanwhile (`Live::alone`).

pub(crate) mod beside;
mod header;
pub mod postgres;
mod readable;
pub(crate) mod scratch;
mod sqlite;
mod still;
pub mod trouble;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

pub use self::beside::base;
use self::header::{DATABASE_BYTES_MIN, HEAD_BYTES};
use self::postgres::Postgres;
use self::readable::{is_other, may_be_torn, why_still};
use self::scratch::{Room, Scratch};
use self::sqlite::Failure;
use self::still::{Place, State};
use self::trouble::Trouble;
use super::found::{Found, FoundKind};
use super::inode::{Inode, InodeKey};
use super::problem::{Cause, Problem};
use super::read::FileReader;
use super::source::Source;
use super::xattrs::proc_path;
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::format::live::{How, Live as Way};

/// How long a locked database is waited for, if nothing is said.
pub const LOCKED_TIME_MAX: Duration = Duration::from_mins(1);
/// How often a database is copied that is written to each time.
const COPIES_MAX: usize = 5;
/// Longest path that SQLite opens.
const PATH_BYTES_MAX: usize = 509;

/// How to back up what is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveOptions {
    /// A directory on a disk for copies; `None` for `TMPDIR`, else `/var/tmp`.
    pub scratch: Option<PathBuf>,
    /// What to do with data of PostgreSQL.
    pub postgres: Postgres,
    /// How long a locked database is waited for.
    pub locked_time_max: Duration,
    /// Whoever writes may run in a machine or a kernel of its own, whose locks and shared memory are not seen here: no database is captured.
    pub apart: bool,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self { scratch: None, postgres: Postgres::default(), locked_time_max: LOCKED_TIME_MAX, apart: false }
    }
}

/// Opens files of a source that is in use; a database is captured. Shared by threads.
pub struct Live {
    source: Source,
    scratch: Arc<Scratch>,
    locked_time_max: Duration,
    apart: bool,
    clock: Arc<dyn Clock>,
    cancel: Arc<Cancel>,
    in_hand: Arc<InHand>,
}

/// Files that only one thread may have open.
#[derive(Debug, Default)]
struct InHand {
    keys: Mutex<HashSet<InodeKey>>,
    left: Condvar,
}

/// The right to open a file that may be a database.
#[derive(Debug)]
struct Alone {
    in_hand: Arc<InHand>,
    key: InodeKey,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.in_hand.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.in_hand.left.notify_all();
    }
}

/// A file to be read: itself, or the copy of a database that stands in for it.
#[derive(Debug)]
pub struct Taken {
    /// Reads it; times and inode are those of the file in the source.
    pub reader: FileReader,
    /// How it was taken, if it is a database.
    pub live: Option<Box<Way>>,
    /// Why it was not captured, if it is a database and was not.
    pub trouble: Option<Box<Problem>>,
    _hold: (Option<Room>, Option<Alone>),
}

impl From<FileReader> for Taken {
    fn from(reader: FileReader) -> Self {
        Self { reader, live: None, trouble: None, _hold: (None, None) }
    }
}

/// What a file with signs of a database beside it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peek {
    /// A database.
    Database,
    /// No database that is known, with the journal of one beside it.
    Foreign,
    /// A file like others.
    File,
}

/// Why there is no copy.
enum Miss {
    Gone(Cause),
    Trouble(Trouble),
}

impl From<Trouble> for Miss {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

fn gone(errno: Errno) -> Miss {
    match errno {
        Errno::NOENT => Miss::Gone(Cause::Vanished),
        Errno::LOOP | Errno::NOTDIR | Errno::NXIO => Miss::Gone(Cause::Replaced),
        errno => Miss::Gone(Cause::System(errno)),
    }
}

impl Live {
    /// For the files of a source. What killed runs left in the scratch directory is removed.
    pub fn new(source: Source, options: &LiveOptions, clock: Arc<dyn Clock>, cancel: Arc<Cancel>) -> Self {
        let scratch = Scratch::new(options.scratch.clone().unwrap_or_else(scratch::usual));
        let LiveOptions { locked_time_max, apart, .. } = *options;
        Self { source, scratch, locked_time_max, apart, clock, cancel, in_hand: Arc::default() }
    }

    /// Waits until nobody else has the file in hand.
    fn alone(&self, key: InodeKey) -> Alone {
        let mut keys = self.in_hand.keys.lock().unwrap_or_else(PoisonError::into_inner);
        while !keys.insert(key) {
            keys = self.in_hand.left.wait(keys).unwrap_or_else(PoisonError::into_inner);
        }
        Alone { in_hand: self.in_hand.clone(), key }
    }

    /// Looks at a file, or at another name of one, before it is decided whether it is read.
    pub fn peek(&self, found: &Found) -> Peek {
        let found = Found { kind: FoundKind::File, ..found.clone() };
        let _alone = self.alone(found.key);
        match self.source.open(&found) {
            Ok(reader) => self.judge(&reader, &found).0,
            Err(_) => Peek::File, // which reading it will tell
        }
    }

    fn judge(&self, reader: &FileReader, found: &Found) -> (Peek, &'static str) {
        let mut head = [0; HEAD_BYTES];
        if reader.size() < DATABASE_BYTES_MIN {
            return (Peek::File, "");
        }
        let length = reader.head(&mut head).unwrap_or(0);
        if header::judge(head.get(..length).unwrap_or_default()).is_some() {
            return (Peek::Database, "");
        }
        let place = || self.place(found).ok();
        match found.beside().map(|beside| (beside.wal.is_some(), beside.journal.is_some())) {
            Some((true, _)) if place().is_some_and(|place| header::is_wal(&place.head_of("-wal"))) => {
                (Peek::Foreign, "the write-ahead log")
            }
            Some((_, true)) if place().is_some_and(|place| header::is_journal(&place.head_of("-journal"))) => {
                (Peek::Foreign, "the rollback journal")
            }
            _ => (Peek::File, ""),
        }
    }

    fn place(&self, found: &Found) -> Result<Place, Miss> {
        let (directory, name) = self.source.directory_of(&found.path).map_err(gone)?;
        Ok(Place { directory, name: name.into_bytes() })
    }

    /// Opens a file that was found; a database is captured, which may wait for locks.
    pub fn open(&self, found: &Found) -> Result<Taken, Problem> {
        let alone = self.alone(found.key);
        let reader = self.source.open(found)?;
        let trouble = match self.judge(&reader, found) {
            (Peek::File, _) => return Ok(reader.into()),
            (Peek::Foreign, what) => Trouble::Encrypted(what),
            (Peek::Database, _) => {
                // Before SQLite takes its locks, which closing it later would take away.
                drop(reader);
                match self.capture(found) {
                    Ok((reader, way, room)) => {
                        let (live, hold) = (Some(Box::new(way)), (Some(room), Some(alone)));
                        return Ok(Taken { reader, live, trouble: None, _hold: hold });
                    }
                    Err(Miss::Gone(cause)) => return Err(Problem::new(found.path.clone(), "capturing", cause)),
                    Err(Miss::Trouble(trouble)) => trouble,
                }
            }
        };
        let reader = self.source.open(found)?;
        let trouble = Problem::new(found.path.clone(), "capturing the database", Cause::Database(trouble));
        let way = Some(Box::new(Way::new(How::AS_FOUND)));
        Ok(Taken { reader, live: way, trouble: Some(Box::new(trouble)), _hold: (None, Some(alone)) })
    }

    fn capture(&self, found: &Found) -> Result<(FileReader, Way, Room), Miss> {
        if self.apart {
            return Err(Trouble::Apart.into());
        }
        let place = self.place(found)?;
        let (began, mut copies, mut is_second) = (Instant::now(), 0, false);
        loop {
            if self.cancel.is_cancelled() {
                return Err(Trouble::Stopped.into());
            }
            let before = place.look().map_err(gone)?;
            let Some(header) = before.header.filter(|_| before.file.key() == found.key) else {
                return Err(Miss::Gone(Cause::Replaced));
            };
            let reason = why_still(&place, header.wal, &before)?;
            let mut room = self.scratch.room(before.bytes())?;
            let (tried, wait) = match reason {
                Some(reason) => (Err(Failure::NoShm), Some(reason)),
                None => (self.backup(&place, &before, &mut room), Some("and another cannot read along")),
            };
            let reason = match tried {
                Ok(()) if !is_second && may_be_torn(&place, &before) => {
                    is_second = true;
                    continue;
                }
                Ok(()) => return self.taken(found, before, room, How::BACKUP),
                // The last who had it open may have closed it just now, and taken the log away.
                Err(Failure::Trouble(Trouble::Sqlite(_))) if copies < COPIES_MAX && is_other(&place, &before) => {
                    copies += 1;
                    continue;
                }
                Err(Failure::Trouble(trouble)) => return Err(trouble.into()),
                Err(Failure::Replaced) => return Err(Miss::Gone(Cause::Replaced)),
                Err(Failure::Busy) => None,
                Err(Failure::Hot | Failure::NoShm) => wait,
            };
            // Without what the failed copy left in it.
            drop(room);
            let room = self.scratch.room(before.bytes())?;
            match still::take(&place, &before, &room, reason.is_some(), &*self.clock, &self.cancel) {
                Ok(true) => return self.taken(found, before, room, How::STILL),
                Ok(false) => {}
                Err(Failure::Trouble(trouble)) => return Err(trouble.into()),
                Err(_) => return Err(Trouble::Sqlite("the copy is locked".to_owned()).into()),
            }
            match reason {
                Some(reason) => {
                    copies += 1;
                    if copies >= COPIES_MAX {
                        return Err(Trouble::Restless(reason).into());
                    }
                }
                None if began.elapsed() >= self.locked_time_max => {
                    return Err(Trouble::Locked { seconds: self.locked_time_max.as_secs() }.into());
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn backup(&self, place: &Place, before: &State, room: &mut Room) -> Result<(), Failure> {
        let directory = proc_path(place.directory.as_fd());
        let real = std::fs::read_link(&directory).map_err(|error| Trouble::Sqlite(error.to_string()))?;
        if real.as_os_str().len() + 1 + place.name.len() > PATH_BYTES_MAX {
            return Err(Trouble::PathTooLong.into());
        }
        let path = PathBuf::from(directory).join(OsStr::from_bytes(&place.name));
        sqlite::backup(&path, before.file.key(), room, &self.cancel)
    }

    fn taken(&self, found: &Found, before: State, mut room: Room, how: How) -> Result<(FileReader, Way, Room), Miss> {
        let fd = room.take(sqlite::COPY)?;
        let copy = Inode::of(&fd).map_err(|errno| self.scratch.failed(errno))?;
        let State { file, beside, .. } = before;
        let way = Way { size: Some(file.size), wal: beside.wal, journal: beside.journal, ..Way::new(how) };
        Ok((FileReader::standing_in(fd, copy, found.path.clone(), file), way, room))
    }
}
