//! Why a database could not be captured, in pairs: what is so, what to do.

use std::path::PathBuf;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// Its log is read by means of memory that is shared on one machine only.
    #[error(
        "it is in use in WAL mode on {0}, where its shared memory cannot be trusted: stop the application first, or back up a snapshot of the volume"
    )]
    FileSystem(&'static str),
    /// Nobody here sees its locks.
    #[error(
        "its application may run in a sandbox (a RuntimeClass such as those of Kata and gVisor), whose locks are not seen from outside: it looks idle and may not be. \
         Have the application held still for it (homelab-dr.io/hook), or use storage with snapshots; if the sandbox shares the node's kernel, homelab-dr.io/mode: live on the claim says so"
    )]
    Apart,
    /// Somebody else has it for himself.
    #[error(
        "it was locked for {seconds} s: stop what holds it, or have the application use `PRAGMA locking_mode = NORMAL`"
    )]
    Locked {
        /// The limit.
        seconds: u64,
    },
    /// There is no way to read along, and it never stood still.
    #[error(
        "it is in use, {0}, and it was written to whenever it was copied: stop the application first, or back up a snapshot of the volume"
    )]
    Restless(&'static str),
    /// No header, and the log or journal of a database beside it.
    #[error(
        "it does not begin as a database does, and {0} beside it belongs to one: it is encrypted or of another kind, which only its application can copy"
    )]
    Encrypted(&'static str),
    /// A header, and pages that SQLite does not take.
    #[error("SQLite does not know its pages: it is encrypted, or of a later version; have its application make a copy")]
    UnknownPages,
    /// What was copied has errors.
    #[error(
        "it is damaged ({0}): repair it now, while it still answers (`sqlite3 FILE .recover`), and keep earlier snapshots"
    )]
    Corrupt(String),
    /// The path that SQLite would have to open.
    #[error("SQLite opens no path of more than 511 bytes: mount what it lies in somewhere higher up")]
    PathTooLong,
    /// It has several names, and its log stands beside another than the first.
    #[error("it has several names, and the log or journal beside this one is not that of the first: give it one name")]
    SeveralNames,
    /// Its hot journal is that of a transaction over several databases.
    #[error("a transaction over several databases was cut off in it: open it once with its application, which ends it")]
    SeveralDatabases,
    /// No room for the copy.
    #[error(
        "its copy needs {needed} bytes and {} has {free}: name a folder on a larger disk with --scratch, `scratch` or TMPDIR", dir.display()
    )]
    Full {
        /// Where the copy would go.
        dir: PathBuf,
        /// Bytes that it takes, and those that are to stay free.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The copy could not be written or read.
    #[error(
        "its copy cannot be made in {} ({why}): name a folder on a disk with --scratch, `scratch` or TMPDIR", dir.display()
    )]
    Scratch {
        /// Where the copy would go.
        dir: PathBuf,
        /// What the kernel said.
        why: String,
    },
    /// In SQLite's words.
    #[error("SQLite says: {0}; the account of this program needs the rights to read it and what stands beside it")]
    Sqlite(String),
    /// The run was asked to stop.
    #[error("the backup was asked to stop")]
    Stopped,
}
