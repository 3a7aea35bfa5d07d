//! The data directory of a PostgreSQL server. Its files are copied one after another, so what they hold together is right only if no server writes to them
//! meanwhile, or if they lie in a snapshot of a file system.

use std::os::fd::AsFd;

use rustix::fs::{Dir, FileType, OFlags};
use rustix::io::{Errno, pread};

use super::super::beneath;
use super::super::inode::Inode;
use crate::format::live::{How, Live};

/// What to do with a data directory whose server may be running.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Postgres {
    /// Leave out what is in it; a problem.
    #[default]
    Refuse,
    /// Store it: the owner says that it does not change, and is what a crash would leave.
    CrashConsistent,
    /// Store it: all of this volume is of one moment. What lies in others may not be, and that is a problem.
    OneMoment,
    /// Leave out what is in it: this source has a dump of it.
    Dumped(String),
    /// Leave out what is in it; a problem, because this source should have a dump of it and has none.
    NotDumped(String),
}

/// Why a data directory is not in the snapshot, or not whole.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PostgresTrouble {
    /// No dump, and no proof that nobody writes to it.
    #[error(
        "it is the data of a PostgreSQL server that was not shut down ({0}), and what is in it was left out: a copy would be torn. Stop the server \
         for it (a volume of a cluster: a hook that scales it to zero), dump it before (a command source, named by postgres-dump), or back \
         up a snapshot of the volume (of a path: postgres: crash-consistent)"
    )]
    InUse(&'static str),
    /// The dump failed or was not made.
    #[error(
        "it is the data of a PostgreSQL server that was not shut down ({state}), what is in it was left out, and {dump}, which should have a dump of it, \
         made no snapshot in this run"
    )]
    NotDumped {
        /// What tells that it may be in use.
        state: &'static str,
        /// The source.
        dump: String,
    },
    /// A copy of this volume is of one moment, and that of the other of another.
    #[error(
        "it is the data of a PostgreSQL server that was not shut down ({state}), and its {what} is a link, so a part of it lies elsewhere and may be of another moment: a server that is started \
         with both may refuse to, or lose data. Dump it (a command source, named by postgres-dump), or let a hook scale the server to zero"
    )]
    Elsewhere {
        /// What tells that it may be in use.
        state: &'static str,
        /// What is a link.
        what: &'static str,
    },
    /// It was stopped at first.
    #[error(
        "a PostgreSQL server was started in it while it was backed up, so its files may not fit together: back it up again"
    )]
    Started,
}

/// Whether a server may be using it: `None` if it was shut down, else what tells.
type InUse = Option<&'static str>;

/// A data directory.
#[derive(Clone, Copy)]
pub(crate) struct Data {
    /// Whether a server may be using it.
    pub in_use: InUse,
    /// What of it lies elsewhere, if anything does.
    elsewhere: Option<&'static str>,
}

/// What a directory is, if it is a data directory.
pub(crate) fn look(directory: impl AsFd, name: &[u8]) -> Option<Data> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let data = beneath::open(directory, name, flags).ok()?;
    let is = |name: &str, kind| Inode::at(&data, name).is_ok_and(|inode| inode.file_type == kind);
    if !is("PG_VERSION", FileType::RegularFile) || !is("base", FileType::Directory) {
        return None;
    }
    // Before version 10 the log is pg_xlog.
    let elsewhere = ["pg_wal", "pg_xlog"].into_iter().find(|log| is(log, FileType::Symlink));
    let elsewhere = elsewhere.or_else(|| has_tablespaces(&data).then_some("tablespace in pg_tblspc"));
    let data_of = |in_use| Some(Data { in_use, elsewhere });
    let mut control = [0; 20];
    let read = beneath::open(&data, b"global/pg_control", OFlags::RDONLY | OFlags::NONBLOCK)
        .and_then(|fd| pread(&fd, &mut control, 0));
    match read {
        Err(Errno::NOENT | Errno::NOTDIR) => return None,
        Ok(20) => {}
        _ => return data_of(Some("its pg_control cannot be read")),
    }
    if !matches!(Inode::at(&data, "postmaster.pid"), Err(Errno::NOENT)) {
        return data_of(Some("it has a postmaster.pid"));
    }
    data_of(state(&control))
}

/// Each is a link there. What cannot be listed may hold one.
fn has_tablespaces(data: impl AsFd) -> bool {
    let listed = beneath::open(data, b"pg_tblspc", OFlags::RDONLY | OFlags::DIRECTORY).and_then(Dir::new);
    match listed {
        Ok(entries) => entries.flatten().any(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")),
        Err(Errno::NOENT) => false,
        Err(_) => true,
    }
}

/// `ControlFileData` begins, in all versions since 8.0: system identifier u64, version of the file u32, version of the catalog u32, state u32; in the byte
/// order of the server's machine. A version out of range is another machine's or no control file.
fn state(control: &[u8; 20]) -> InUse {
    let word = |at: usize| control.get(at..at + 4).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)));
    match (word(8), word(16)) {
        (Some(800..=9999), Some(1 | 2)) => None, // shut down; shut down in recovery (a standby)
        (Some(800..=9999), Some(6)) => Some("its pg_control says: in production"),
        (Some(800..=9999), Some(_)) => Some("its pg_control says: starting, stopping or recovering"),
        _ => Some("its pg_control is of another machine or version"),
    }
}

impl Postgres {
    /// What becomes of a data directory: how it is recorded, and what is wrong.
    pub(crate) fn decide(&self, data: Data) -> (Live, Option<PostgresTrouble>) {
        let Some(state) = data.in_use else { return (Live::new(How::POSTGRES_STOPPED), None) };
        let left_out = Live::new(How::POSTGRES_LEFT_OUT);
        match self {
            Self::Refuse => (left_out, Some(PostgresTrouble::InUse(state))),
            Self::CrashConsistent => (Live::new(How::POSTGRES_CRASH_CONSISTENT), None),
            Self::OneMoment => {
                let trouble = data.elsewhere.map(|what| PostgresTrouble::Elsewhere { state, what });
                (Live::new(How::POSTGRES_CRASH_CONSISTENT), trouble)
            }
            Self::Dumped(dump) => (Live { dump: Some(dump.clone()), ..left_out }, None),
            Self::NotDumped(dump) => (left_out, Some(PostgresTrouble::NotDumped { state, dump: dump.clone() })),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_a_server_that_was_shut_down_is_stopped() {
        let control = |version: u32, state: u32| {
            let mut bytes = [7; 20];
            bytes[8..12].copy_from_slice(&version.to_ne_bytes());
            bytes[16..20].copy_from_slice(&state.to_ne_bytes());
            bytes
        };
        for (version, at, stopped) in [
            (1300, 1, true),
            (1800, 2, true),
            (937, 1, true),
            (1300, 0, false),
            (1300, 3, false),
            (1300, 6, false),
            (1300, 99, false),
            (1300_u32.swap_bytes(), 1_u32.swap_bytes(), false),
            (0, 1, false),
        ] {
            assert_eq!(super::state(&control(version, at)).is_none(), stopped, "{version} {at}");
        }
    }
}
