//! The mark of a directory that is being filled: a file with the snapshot's name in it, which goes when all is there.

use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::id::ObjectId;

/// How the name of the mark begins. No leftover of a file is named so: those end in `.part`.
pub const MARK: &str = ".homelab-dr-filling-";

/// The mark of a snapshot in a directory.
#[must_use]
pub fn mark_of(target: &Path, snapshot: &ObjectId) -> PathBuf {
    target.join(format!("{MARK}{}", snapshot.hex()))
}

/// The marks in a directory, of whichever snapshots.
pub fn marks(target: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(target)?.collect::<io::Result<Vec<_>>>()?;
    let is_mark = |entry: &DirEntry| entry.file_name().as_encoded_bytes().starts_with(MARK.as_bytes());
    Ok(entries.iter().filter(|entry| is_mark(entry)).map(DirEntry::path).collect())
}

/// Whether a restore has begun to fill a directory, and did not come to its end: what is in it is a part of something.
#[must_use]
pub fn is_begun(target: &Path) -> bool {
    marks(target).is_ok_and(|marks| !marks.is_empty())
}
