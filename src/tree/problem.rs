//! What went wrong with one file while everything else went on.

use rustix::io::Errno;

use super::live::postgres::PostgresTrouble;
use super::live::trouble::Trouble;
use crate::format::entry::TreePath;

/// How much a problem weighs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a line, not a failure: a socket was left out, a file vanished before it was read.
    Note,
    /// Something is missing that was asked for: counted, reported, exit code 3.
    Problem,
}

/// What is wrong with one entry. Displays without its cause, which is the error's source.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{operation} {}", if path.as_bytes().is_empty() { ".".to_owned() } else { path.display() })]
pub struct Problem {
    /// Which entry.
    pub path: TreePath,
    /// What was being done, as in `reading the directory`.
    pub operation: &'static str,
    /// Why it did not work.
    #[source]
    pub cause: Cause,
    /// How much it weighs.
    pub severity: Severity,
}

/// Why something could not be done with an entry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Cause {
    /// The kernel said no.
    #[error(transparent)]
    System(#[from] Errno),
    /// It was there a moment ago.
    #[error("it vanished meanwhile")]
    Vanished,
    /// Something else has its name now, so it was left alone.
    #[error("something else took its place meanwhile")]
    Replaced,
    /// It was written to while it was read: what was read may mix old and new.
    #[error("it changed while it was read")]
    Changed,
    /// It became longer while it was read, as a log does: what it held at first was read.
    #[error("it grew while it was read: the snapshot has what it held at first")]
    Grew,
    /// Renamed, linked or its mode changed while it was read; its bytes stood still.
    #[error("its name or metadata changed while it was read")]
    Touched,
    /// A file of the kernel's or of a program's, which makes its content up when it is read.
    #[error("it says that it is empty, and gives bytes when it is read: such files are not backed up")]
    Sizeless,
    /// Sockets exist only while a program listens; it makes them again.
    #[error("sockets are not backed up")]
    Socket,
    /// A mount point, and only one file system was asked for.
    #[error("it lies on another file system")]
    OtherFileSystem,
    /// The repository that the backup goes to: its packs would be stored in it again, night after night.
    #[error("it is the repository that this backup goes to")]
    Repository,
    /// The repository, or the file of a key, lies where something is restored to.
    #[error("it is, or holds, the repository or a key file that this restore uses: it was left as it is")]
    InUse,
    /// A file that opens backups lies among what is backed up.
    #[error(
        "it holds an identity: whoever reads it reads the backups, and in the backup it helps nobody who has lost it"
    )]
    Identity,
    /// A writer key lies among what is backed up.
    #[error("it holds a writer key: whoever can read this backup can write to the repository")]
    WriterKey,
    /// In the words of who was asked, such as a cluster's API server.
    #[error("{0}")]
    Told(String),
    /// A database that could not be captured.
    #[error("{0}. Its file is in the snapshot as it was found, perhaps torn")]
    Database(Trouble),
    /// A PostgreSQL server's data directory that is not in the snapshot, or not whole.
    #[error(transparent)]
    Postgres(#[from] PostgresTrouble),
    /// A kind of file that this version does not know.
    #[error("this kind of file is not known")]
    UnknownKind,
    /// Longer than a tree can hold.
    #[error("its path is longer than a tree can hold")]
    PathTooLong,
    /// A directory with something in it stands where another kind of entry belongs.
    #[error("a directory that is not empty is in the way")]
    DirectoryInTheWay,
    /// What is on the disk is not what the entry describes.
    #[error("what is there is of another kind")]
    OtherKind,
    /// One extended attribute could not be set or removed.
    #[error("the attribute {name}")]
    Attribute {
        /// Its name, for people.
        name: String,
        /// What the kernel said.
        #[source]
        cause: Errno,
    },
    /// Owner and group could not be given, so the bits that lend their rights were left off.
    #[error("set-uid and set-gid were left off, because it belongs to somebody else")]
    SetIdDropped,
    /// The kernel took the mode but kept other bits than were asked for.
    #[error("the file system keeps other permission bits")]
    ModeNotKept,
}

impl Problem {
    pub(crate) const fn new(path: TreePath, operation: &'static str, cause: Cause) -> Self {
        let severity = match cause {
            Cause::Vanished
            | Cause::Grew
            | Cause::Touched
            | Cause::Socket
            | Cause::OtherFileSystem
            | Cause::Repository
            | Cause::Identity
            | Cause::WriterKey => Severity::Note,
            _ => Severity::Problem,
        };
        Self { path, operation, cause, severity }
    }

    /// For calls that look at something which was listed a moment ago: not there any more is a note.
    pub(crate) const fn looking(path: TreePath, operation: &'static str, errno: Errno) -> Self {
        let cause = match errno {
            Errno::NOENT => Cause::Vanished,
            other => Cause::System(other),
        };
        Self::new(path, operation, cause)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_problem_names_the_entry_and_leaves_the_cause_to_its_source() {
        let path = TreePath::new("a/b").expect("plain");
        let problem = Problem::looking(path.clone(), "opening", Errno::ACCESS);
        assert_eq!(problem.to_string(), "opening a/b");
        assert!(problem.source().is_some_and(|cause| cause.to_string().contains("ermission denied")));
        assert_eq!(problem.severity, Severity::Problem);
        assert_eq!(Problem::looking(path, "opening", Errno::NOENT).severity, Severity::Note);
        assert_eq!(Problem::looking(TreePath::root(), "opening", Errno::IO).to_string(), "opening .");
    }
}
