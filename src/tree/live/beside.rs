//! The files that SQLite keeps beside a database: write-ahead log, rollback journal, shared memory.

use std::os::fd::AsFd;

use rustix::fs::FileType;

use super::super::inode::Inode;
use crate::format::live::Trace;

/// What their names end in: write-ahead log, rollback journal, shared memory.
pub(crate) const ENDINGS: [&[u8]; 3] = [b"-wal", b"-journal", b"-shm"];

/// What stands beside a file, as it was when it was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Beside {
    /// The write-ahead log.
    pub wal: Option<Trace>,
    /// The rollback journal.
    pub journal: Option<Trace>,
    /// The shared memory by which processes find their way in the log; its bytes and times say nothing.
    pub shm: bool,
}

impl Beside {
    /// Looks beside `name` for those that `there` says may be there, in the order of [`ENDINGS`]. `None` if there is nothing.
    pub(crate) fn look(directory: impl AsFd, name: &[u8], there: [bool; 3]) -> Option<Self> {
        let [wal, journal, shm] = [0, 1, 2].map(|at| {
            let (may, ending) = there.get(at).copied().zip(ENDINGS.get(at))?;
            let inode = may.then(|| Inode::at(&directory, [name, ending].concat().as_slice()).ok())??;
            (inode.file_type == FileType::RegularFile).then(|| inode.trace())
        });
        let beside = Self { wal, journal, shm: shm.is_some() };
        (beside != Self::default()).then_some(beside)
    }
}

/// The name of the database that a name of [`ENDINGS`] would belong to.
#[must_use]
pub fn base(path: &[u8]) -> Option<&[u8]> {
    ENDINGS.iter().find_map(|ending| path.strip_suffix(*ending))
}
