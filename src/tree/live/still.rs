//! Copies a database whose files stand still, with the journals beside it: what a crash would leave, which SQLite is made to recover from.
//!
//! Only if nothing was written for two seconds before, and sizes and times are the same after the copy as before it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{FileType, OFlags};
use rustix::io::{Errno, pread};

use super::super::inode::Inode;
use super::super::source::open_reading;
use super::beside::Beside;
use super::header::{self, HEAD_BYTES, Header};
use super::scratch::Room;
use super::sqlite::{self, COPY, Failure};
use super::trouble::Trouble;
use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Time};
use crate::format::live::Trace;

/// How long nothing must have been written: file systems count in ticks, network ones in seconds.
const SETTLED_MS: i64 = 2_100;

/// Where a database lies.
pub(super) struct Place {
    pub directory: OwnedFd,
    pub name: Vec<u8>,
}

/// A database and what stands beside it at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct State {
    pub file: Inode,
    pub header: Option<Header>,
    pub beside: Beside,
}

impl Place {
    /// Looks at it. The file is opened and closed, so no connection of ours to it may be open: closing takes all locks of the process away.
    pub fn look(&self) -> rustix::io::Result<State> {
        let beside = Beside::look(&self.directory, &self.name, [true; 3]).unwrap_or_default();
        let fd = open_reading(self.directory.as_fd(), &self.name, OFlags::empty())?;
        let mut head = [0; HEAD_BYTES];
        let length = pread(&fd, &mut head, 0)?;
        let file = Inode::of(&fd)?;
        if file.file_type != FileType::RegularFile {
            return Err(Errno::LOOP);
        }
        Ok(State { file, header: header::judge(head.get(..length).unwrap_or_default()), beside })
    }

    /// The first bytes of what stands beside it under such a name; nothing if that cannot be read.
    pub fn head_of(&self, ending: &str) -> Vec<u8> {
        let mut head = vec![0; 8];
        let name = [&self.name, ending.as_bytes()].concat();
        let fd = open_reading(self.directory.as_fd(), &name, OFlags::empty());
        let length = fd.and_then(|fd| pread(&fd, &mut head, 0)).unwrap_or(0);
        head.truncate(length);
        head
    }
}

impl State {
    /// Room that a copy needs: nothing in a log makes a database longer than itself and the log.
    pub fn bytes(&self) -> u64 {
        let beside = [self.beside.wal, self.beside.journal].into_iter().flatten().map(|trace| trace.size);
        beside.fold(self.file.size, u64::saturating_add)
    }

    fn is_settled(&self, now: Time) -> bool {
        let times = [Some(self.file.trace()), self.beside.wal, self.beside.journal].into_iter().flatten();
        times.map(|trace| trace.mtime).all(|time| {
            time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000)) < now.0 - SETTLED_MS
        })
    }

    /// Whether nothing was written in between; the shared memory says nothing.
    fn is_as(&self, other: &Self) -> bool {
        let of = |state: &Self| {
            (state.file.key(), state.file.trace(), state.file.ctime, state.beside.wal, state.beside.journal)
        };
        of(self) == of(other)
    }
}

fn copy(directory: BorrowedFd<'_>, name: &[u8], room: &Room, to: &str) -> Result<u64, Failure> {
    let from = open_reading(directory, name, OFlags::empty())
        .map_err(|errno| Failure::Trouble(Trouble::Sqlite(format!("reading it: {errno}"))))?;
    let mut to = File::create_new(room.file(to)).map_err(|error| room.failed(error))?;
    // On file systems that can, the copy shares the blocks.
    Ok(std::io::copy(&mut File::from(from), &mut to).map_err(|error| room.failed(error))?)
}

/// Whether a journal belongs to a transaction over several databases: which of them it is part of is said in files that a copy does not have.
fn is_of_several(room: &Room, to: &str, length: u64) -> bool {
    let mut end = [0; header::JOURNAL_MAGIC.len()];
    let at = length.saturating_sub(end.len() as u64);
    let read = File::open(room.file(to)).map(|file| pread(&file, &mut end, at));
    matches!(read, Ok(Ok(_))) && end == header::JOURNAL_MAGIC
}

/// Copies the database as it was in `before` into `room`, and recovers the copy. `false` if it was written to. With `wait`, waits until it had time to settle.
pub(super) fn take(
    place: &Place,
    before: &State,
    room: &Room,
    wait: bool,
    clock: &dyn Clock,
    cancel: &Cancel,
) -> Result<bool, Failure> {
    let moved = || !place.look().is_ok_and(|now| now.is_as(before));
    if !before.is_settled(clock.now()) {
        for _ in 0..if wait { SETTLED_MS / 100 } else { 0 } {
            std::thread::sleep(Duration::from_millis(100));
            if cancel.is_cancelled() {
                return Err(Trouble::Stopped.into());
            }
        }
        if !wait || moved() {
            return Ok(false);
        }
    }
    copy(place.directory.as_fd(), &place.name, room, COPY)?;
    let there = |trace: Option<Trace>| trace.is_some_and(|trace| trace.size > 0);
    for (ending, beside) in [("-wal", before.beside.wal), ("-journal", before.beside.journal)] {
        if there(beside) {
            let (name, to) = ([&place.name, ending.as_bytes()].concat(), format!("{COPY}{ending}"));
            let length = copy(place.directory.as_fd(), &name, room, &to)?;
            if ending == "-journal" && is_of_several(room, &to, length) {
                return Err(Trouble::SeveralDatabases.into());
            }
        }
    }
    if moved() {
        return Ok(false);
    }
    sqlite::recover(room)?;
    Ok(true)
}
