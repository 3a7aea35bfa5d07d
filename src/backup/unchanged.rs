//! Which files are as they were in the previous snapshot, and need not be opened.
//!
//! Alike are path, size, mtime, inode and ctime. Where the whole tree was copied file by file, as some clones of volumes are, every inode and ctime is
//! another: that is recognised by a sample, and then path, size and mtime decide. A file whose mtime was near the previous scan is read again, and every
//! day a thirtieth of all files, so that a wrong or poisoned previous tree does not live for ever.

use std::sync::Arc;

use crate::base::clock::Time;
use crate::format::entry::{Content, Entry, FileTime, Kind, Piece, TreePath};
use crate::format::live::{Live, Trace};
use crate::format::record::TreeRoot;
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::tree_read::{self, TreeReader};
use crate::store::StoreError;
use crate::tree::found::{Found, FoundKind};
use crate::tree::source::Source;

/// Every file is read at least once in so many days.
const REREAD_DAYS: i64 = 30;
/// An mtime this near the scan, in seconds, may hide a later write: file systems count in ticks, network ones in seconds.
const RACY_SECONDS: i64 = 2;
const DAY_MS: i64 = 86_400_000;
/// Files of the previous tree that are looked at to recognise a clone.
const SAMPLE_FILES: usize = 200;
/// So many of them must differ in nothing but inode and ctime, and none may be the very same file. Fewer are read: one that was replaced by a rename under
/// its old time would be missed otherwise, and reading a few files costs little.
const CLONE_FILES_MIN: usize = 16;

/// The content of a file that need not be read.
#[derive(Debug)]
pub struct Known {
    /// Where its bytes are.
    pub content: Content,
    /// How many they are; of a database the copy's.
    pub size: u64,
    /// How a database was taken.
    pub live: Option<Box<Live>>,
}

impl Known {
    /// What has no bytes.
    #[must_use]
    pub const fn nothing(size: u64) -> Self {
        Self { content: Content::Inline(Vec::new()), size, live: None }
    }
}

/// What a source in use says of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suspect {
    /// Nothing: the source is not in use.
    Nothing,
    /// No sign that it is a database in use.
    Unsuspected,
    /// It is a database and has a journal: only what was captured then can be right now.
    Database,
}

/// Whether a journal is as it was.
fn is_as(then: Option<&Trace>, now: Option<&Trace>, is_copy: bool) -> bool {
    match (then, now) {
        (None, None) => true,
        (Some(then), Some(now)) => {
            (then.size, then.mtime) == (now.size, now.mtime) && (then.inode == now.inode || is_copy)
        }
        _ => false,
    }
}

/// The entries of the previous snapshot, asked for in tree order.
pub struct Previous {
    tree: Option<TreeReader>,
    reader: Arc<Reader>,
    batch: std::iter::Peekable<std::vec::IntoIter<Entry>>,
    slots: Slots,
    /// The source is a copy, file by file, of what it was: inodes and ctimes say nothing.
    is_clone: bool,
}

/// The days of the rotation that fell between two scans.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    first: i64,
    last: i64,
}

impl Slots {
    /// Days after that of `previous` up to that of `now`. Every file is due when `previous` lies in the future by more than a clock that is merely set
    /// right explains: nobody knows how long ago it was (docs/decisions/0014).
    #[must_use]
    pub const fn between(previous: Time, now: Time) -> Self {
        if previous.is_future(now) {
            return Self::ALL;
        }
        Self { first: previous.0.div_euclid(DAY_MS) + 1, last: now.0.div_euclid(DAY_MS) }
    }

    /// Every file is due.
    pub const ALL: Self = Self { first: 1, last: REREAD_DAYS };

    /// Whether a file is due, by a hash of its path.
    #[must_use]
    pub const fn is_due(self, hash: u64) -> bool {
        if self.last - self.first + 1 >= REREAD_DAYS {
            return true;
        }
        #[expect(clippy::cast_possible_wrap, reason = "a remainder of 30")]
        let slot = (hash >> 32).wrapping_rem(REREAD_DAYS as u64) as i64;
        let mut day = self.first;
        while day <= self.last {
            if day.rem_euclid(REREAD_DAYS) == slot {
                return true;
            }
            day += 1;
        }
        false
    }
}

/// Whether an mtime is so near the beginning of the scan that a later write may not show.
#[must_use]
pub const fn is_racy(mtime: FileTime, scan_began: Time) -> bool {
    mtime.seconds >= scan_began.0.div_euclid(1000) - RACY_SECONDS
}

/// Whether one object is to blame, and not the store.
const fn is_of_the_object(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. } | StoreError::Failed { transient: false, .. })
}

impl Previous {
    /// Nothing came before.
    #[must_use]
    pub fn none(reader: Arc<Reader>) -> Self {
        let slots = Slots { first: 1, last: 0 };
        Self { tree: None, reader, batch: Vec::new().into_iter().peekable(), slots, is_clone: false }
    }

    /// The entries of a tree.
    pub fn open(reader: Arc<Reader>, root: TreeRoot, slots: Slots) -> Result<Self, RepoError> {
        let tree = TreeReader::open(reader.clone(), root, TreePath::root())?;
        Ok(Self { tree: Some(tree), reader, batch: Vec::new().into_iter().peekable(), slots, is_clone: false })
    }

    /// Reads on to a path that needs no content: its leaf is built upon again, and must have been seen to open.
    pub async fn pass(&mut self, path: &TreePath) -> Result<(), RepoError> {
        self.entry(path).await.map(drop)
    }

    /// The entry of this path, if there was one. Paths must be asked for in order.
    async fn entry(&mut self, path: &TreePath) -> Result<Option<Entry>, RepoError> {
        loop {
            while let Some(next) = self.batch.peek() {
                match next.path.cmp(path) {
                    std::cmp::Ordering::Less => drop(self.batch.next()),
                    std::cmp::Ordering::Equal => return Ok(self.batch.next()),
                    std::cmp::Ordering::Greater => return Ok(None),
                }
            }
            let Some(batch) = self.next_batch().await? else { return Ok(None) };
            self.batch = batch.into_iter().peekable();
        }
    }

    async fn next_batch(&mut self) -> Result<Option<Vec<Entry>>, RepoError> {
        let Some(tree) = self.tree.as_mut() else { return Ok(None) };
        match tree.next().await {
            Ok(Some(batch)) => return Ok(Some(batch)),
            Err(RepoError::Store(error)) if !is_of_the_object(&error) => return Err(error.into()),
            // A part that does not read is a reason to read the files, not to fail.
            Ok(None) | Err(_) => self.tree = None,
        }
        Ok(None)
    }

    /// Looks at some files of the source as it is now, and decides whether it is a clone. To be called before anything is asked for.
    pub async fn recognise_clone(&mut self, source: &Source) -> Result<(), RepoError> {
        let Some(batch) = self.next_batch().await? else { return Ok(()) };
        let files = batch.iter().filter_map(|entry| match (&entry.kind, entry.identity) {
            (Kind::File { size, .. }, Some(identity)) => Some((entry, *size, identity)),
            _ => None,
        });
        let (mut same, mut copied) = (0, 0);
        for (entry, size, identity) in files.step_by(batch.len().div_ceil(SAMPLE_FILES).max(1)) {
            let Some((size_now, mtime_now, now)) = source.look(&entry.path) else { continue };
            if now.inode == identity.inode && now.ctime == identity.ctime {
                same += 1;
            } else if now.inode != identity.inode && (size_now, mtime_now) == (size, entry.mtime) {
                copied += 1;
            }
        }
        self.is_clone = same == 0 && copied >= CLONE_FILES_MIN;
        self.batch = batch.into_iter().peekable();
        Ok(())
    }

    /// The content of a file that is as it was, if everything it needs is still there; `relies_on` is asked for every blob.
    pub async fn content_of(
        &mut self,
        found: &Found,
        suspect: Suspect,
        hash: u64,
        relies_on: &(dyn Fn(&crate::base::id::BlobId) -> bool + Sync),
    ) -> Result<Option<Known>, RepoError> {
        let Some(before) = self.entry(&found.path).await? else { return Ok(None) };
        let Kind::File { size, content } = before.kind else { return Ok(None) };
        let (FoundKind::File, Some(identity)) = (&found.kind, before.identity) else { return Ok(None) };
        let now = found.identity;
        let is_same = identity.inode == now.inode && identity.ctime == now.ctime;
        self.is_clone &= !is_same; // the sample was wrong
        let is_copy = self.is_clone && identity.inode != now.inode;
        let touched = !is_same && !is_copy;
        let (size_then, racy) = match (before.live.as_deref(), suspect) {
            (Some(live), Suspect::Unsuspected | Suspect::Database) if live.how.is_capture() => {
                let beside = found.beside().copied().unwrap_or_default();
                let same = is_as(live.wal.as_ref(), beside.wal.as_ref(), is_copy)
                    && is_as(live.journal.as_ref(), beside.journal.as_ref(), is_copy);
                (live.size.filter(|_| same), live.racy)
            }
            (None, Suspect::Nothing | Suspect::Unsuspected) => (Some(size), identity.racy),
            _ => (None, true),
        };
        if size_then != Some(found.size) || before.mtime != found.mtime || touched || racy || self.slots.is_due(hash) {
            return Ok(None);
        }
        let pieces = match tree_read::pieces(&self.reader, &content, size).await {
            Ok(pieces) => pieces,
            // A list that does not open is a reason to read the file, not to fail.
            Err(RepoError::Store(error)) if !is_of_the_object(&error) => return Err(error.into()),
            Err(_) => return Ok(None),
        };
        // Asked after they were read: a list that did not open is not relied on.
        if let Content::Lists(lists) = &content
            && !lists.iter().all(relies_on)
        {
            return Ok(None);
        }
        let all_there = pieces.iter().all(|piece| match piece {
            Piece::Data { blob, .. } => relies_on(blob),
            Piece::Hole { .. } => true,
        });
        Ok(all_there.then_some(Known { content, size, live: before.live }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_thirty_days_every_file_is_due_once() {
        let day = |n: i64| Time(n * DAY_MS + 5);
        for hash in (0..200_u64).map(|n| n << 32) {
            let due = (0..30).filter(|n| Slots::between(day(*n), day(n + 1)).is_due(hash)).count();
            assert_eq!(due, 1, "one run a day");
            let weekly = (0..5).filter(|n| Slots::between(day(n * 7), day(n * 7 + 7)).is_due(hash)).count();
            assert!(weekly >= 1, "one run a week");
        }
        assert!(!Slots::between(day(5), day(5)).is_due(0), "the second run of a day");
        assert!(Slots::between(day(0), day(400)).is_due(12345 << 32), "after a long pause");
        for hash in (0..200_u64).map(|n| n << 32) {
            assert!(!Slots::between(Time(day(9).0 + 3_600_000), day(9)).is_due(hash), "a clock set right by an hour");
            assert!(Slots::between(day(9), day(5)).is_due(hash), "a clock that was wrong: nobody knows when that was");
        }
    }

    #[test]
    fn an_mtime_near_the_scan_is_racy() {
        let at = |seconds| FileTime { seconds, nanos: 0 };
        assert!(is_racy(at(100), Time(101_000)));
        assert!(is_racy(at(500), Time(101_000)), "in the future");
        assert!(!is_racy(at(98), Time(101_000)));
    }
}
