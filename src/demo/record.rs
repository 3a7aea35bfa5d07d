//! What a tree of files was at a moment, to compare it with what it is later.
//!
//! Kept are kind, mode, owner, mtime in nanoseconds and the BLAKE3 of the content. Left out is what no recovery brings back: ctime and inode; and of a SQLite
//! database the counters in its head, which SQLite's own backup sets for the copy (change counter, schema cookie, and who wrote last).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How a SQLite database begins.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Where its counters are (<https://www.sqlite.org/fileformat2.html>, 1.3).
const COUNTERS: [std::ops::Range<usize>; 3] = [24..28, 40..44, 92..100];
const HEAD_BYTES: u64 = 100;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    size: u64,
    /// Of a regular file its content's, of a link its target's.
    hash: Option<blake3::Hash>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    entries: BTreeMap<PathBuf, Entry>,
}

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct RecordError {
    /// What.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// How an entry differs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Below the root.
    pub path: PathBuf,
    /// In what.
    pub what: &'static str,
}

impl Record {
    /// Reads everything below `root`, the root itself included. `read` is told the bytes of each file.
    pub fn take(root: &Path, read: &dyn Fn(u64)) -> Result<Self, RecordError> {
        let mut record = Self::default();
        let mut waiting = vec![PathBuf::new()];
        while let Some(relative) = waiting.pop() {
            let path = root.join(&relative);
            let fail = |source| RecordError { path: path.clone(), source };
            let found = fs::symlink_metadata(&path).map_err(fail)?;
            if found.is_dir() {
                for entry in fs::read_dir(&path).map_err(fail)? {
                    waiting.push(relative.join(entry.map_err(fail)?.file_name()));
                }
            }
            let entry = Entry::of(&path, &found).map_err(fail)?;
            if found.is_file() {
                read(entry.size);
            }
            record.entries.insert(relative, entry);
        }
        Ok(record)
    }

    /// How many regular files, and their bytes.
    #[must_use]
    pub fn files(&self) -> (u64, u64) {
        let files = self.entries.values().filter(|entry| entry.mode & 0o170_000 == 0o100_000);
        files.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.size))
    }

    /// What is different in `now`.
    #[must_use]
    pub fn compare(&self, now: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut note = |path: &Path, what| differences.push(Difference { path: path.to_owned(), what });
        for (path, before) in &self.entries {
            match now.entries.get(path) {
                None => note(path, "missing"),
                Some(after) if after.hash != before.hash || after.size != before.size => note(path, "content"),
                Some(after) if after.mode != before.mode => note(path, "mode"),
                Some(after) if after.owner != before.owner => note(path, "owner"),
                Some(after) if after.mtime != before.mtime => note(path, "mtime"),
                Some(_) => {}
            }
        }
        for path in now.entries.keys().filter(|path| !self.entries.contains_key(*path)) {
            note(path, "not there before");
        }
        differences
    }
}

fn hash_of(mut file: File) -> io::Result<blake3::Hash> {
    let mut head = Vec::new();
    (&mut file).take(HEAD_BYTES).read_to_end(&mut head)?;
    if head.starts_with(SQLITE) {
        COUNTERS.into_iter().filter_map(|range| head.get_mut(range).map(|bytes| bytes.fill(0))).for_each(drop);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head).update_reader(file)?;
    Ok(hasher.finalize())
}

impl Entry {
    fn of(path: &Path, found: &fs::Metadata) -> io::Result<Self> {
        let hash = if found.is_file() {
            Some(hash_of(File::open(path)?)?)
        } else if found.is_symlink() {
            Some(blake3::hash(fs::read_link(path)?.as_os_str().as_encoded_bytes()))
        } else {
            None
        };
        Ok(Self {
            mode: found.mode(),
            owner: (found.uid(), found.gid()),
            mtime: (found.mtime(), found.mtime_nsec()),
            // The size of a directory is the file system's affair.
            size: if found.is_dir() { 0 } else { found.len() },
            hash,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_found() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        for name in ["content", "mode", "gone", "time"] {
            fs::write(at(name), b"as it was").expect("writable");
        }
        std::os::unix::fs::symlink("content", at("link")).expect("writable");
        let before = Record::take(dir.path(), &|_| ()).expect("readable");
        assert_eq!(before.files(), (4, 36));
        assert_eq!(before.compare(&before.clone()), []);
        fs::write(at("content"), b"as it is!").expect("writable");
        fs::set_permissions(at("mode"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
        fs::remove_file(at("gone")).expect("ours");
        fs::write(at("new"), b"").expect("writable");
        let file = File::options().write(true).open(at("time")).expect("ours");
        file.set_modified(std::time::UNIX_EPOCH).expect("ours");
        fs::remove_file(at("link")).expect("ours");
        std::os::unix::fs::symlink("mode", at("link")).expect("writable");
        let after = Record::take(dir.path(), &|_| ()).expect("readable");
        let found: Vec<_> =
            before.compare(&after).into_iter().map(|d| (d.path.display().to_string(), d.what)).collect();
        let expected = [
            ("", "mtime"),
            ("content", "content"),
            ("gone", "missing"),
            ("link", "content"),
            ("mode", "mode"),
            ("time", "mtime"),
            ("new", "not there before"),
        ];
        assert_eq!(found, expected.map(|(path, what)| (path.to_owned(), what)));
    }
}
