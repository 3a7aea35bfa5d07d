//! What a snapshot says of a database that was, or might have been, in use while it was backed up: key 8 of an entry, docs/format.md §7.5.

use minicbor::{Decode, Encode};

use crate::format::entry::FileTime;

/// How a database came into the snapshot. A number and not a choice: later versions add ways, which older readers must be able to pass over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct How(#[n(0)] pub u32);

impl How {
    /// A SQLite database, copied through SQLite's backup interface.
    pub const BACKUP: Self = Self(1);
    /// A SQLite database whose files stood still while they were copied; what its journal held was applied to the copy.
    pub const STILL: Self = Self(2);
    /// A SQLite database that could not be captured: the file as it was found, with its journals beside it. It may be torn.
    pub const AS_FOUND: Self = Self(3);
    /// The data directory of a PostgreSQL server that was shut down.
    pub const POSTGRES_STOPPED: Self = Self(16);
    /// The data directory of a PostgreSQL server, which its owner says is crash-consistent (a snapshot of a file system).
    pub const POSTGRES_CRASH_CONSISTENT: Self = Self(17);
    /// The data directory of a PostgreSQL server that may have been running: what is in it was left out.
    pub const POSTGRES_LEFT_OUT: Self = Self(18);

    /// Whether the file's content is that of a whole database, and the journals beside it are not in the snapshot.
    #[must_use]
    pub fn is_capture(self) -> bool {
        matches!(self, Self::BACKUP | Self::STILL)
    }

    /// A word for it, for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BACKUP => "sqlite-backup",
            Self::STILL => "sqlite-still",
            Self::AS_FOUND => "sqlite-as-found",
            Self::POSTGRES_STOPPED => "postgres-stopped",
            Self::POSTGRES_CRASH_CONSISTENT => "postgres-crash-consistent",
            Self::POSTGRES_LEFT_OUT => "postgres-left-out",
            _ => "unknown",
        }
    }
}

/// What told of a journal when a database was captured. Not its time of last status change: SQLite, run by root, gives it its owner anew when it opens it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Trace {
    /// Bytes.
    #[n(0)]
    pub size: u64,
    /// Time of last modification.
    #[n(1)]
    pub mtime: FileTime,
    /// Inode number.
    #[n(2)]
    pub inode: u64,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Live {
    /// How it was taken.
    #[n(0)]
    pub how: How,
    /// Bytes of the database's own file; those of the entry are the copy's.
    #[n(1)]
    pub size: Option<u64>,
    /// Its write-ahead log, if there was one.
    #[n(2)]
    pub wal: Option<Trace>,
    /// Its rollback journal, if there was one.
    #[n(3)]
    pub journal: Option<Trace>,
    /// One of the times was so near the scan that a later write may not show: capture it next time whatever they say.
    #[n(4)]
    #[cbor(default)]
    pub racy: bool,
    /// The source that holds a dump of what was left out.
    #[n(5)]
    pub dump: Option<String>,
}

impl Live {
    /// Nothing but how.
    #[must_use]
    pub const fn new(how: How) -> Self {
        Self { how, size: None, wal: None, journal: None, racy: false, dump: None }
    }
}

#[cfg(test)]
mod tests {
    use super::How;

    #[test]
    fn only_what_was_captured_is_a_whole_database() {
        let named = |number| (How(number).name(), How(number).is_capture());
        assert_eq!(
            [1, 2, 3, 16, 17, 18, 19].map(named),
            [
                ("sqlite-backup", true),
                ("sqlite-still", true),
                ("sqlite-as-found", false),
                ("postgres-stopped", false),
                ("postgres-crash-consistent", false),
                ("postgres-left-out", false),
                ("unknown", false),
            ]
        );
    }
}
