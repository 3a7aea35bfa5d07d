//! Which snapshots stand for all that their source held: those that were made without a problem, and do not hold nothing where one before them held something. A disk that was away
//! when its backup was made looks like the latter.
//!
//! One answer for all who choose or keep snapshots: `forget`, and every way to restore. By the order of the chain, which no clock can spoil (docs/decisions/0014). Safety copies are
//! no backups of their source: they prove nothing about others, and an empty one is a copy of something empty.

use std::fmt;

use serde::Serialize;

use super::snapshots::{Chain, Snapshot};
use crate::base::id::ObjectId;
use crate::base::when::{Listed as _, newest_first_key};

/// Why a snapshot does not stand for all that its source held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "lack", rename_all = "kebab-case")]
pub enum Lack {
    /// Something could not be read when it was made, or changed meanwhile: it is not in it, or not of one moment.
    Problems {
        /// How many.
        problems: u64,
        /// The newest whole one before it that holds something.
        #[serde(skip_serializing_if = "Option::is_none")]
        whole: Option<ObjectId>,
    },
    /// It holds nothing, and one before it held something.
    Emptied {
        /// The newest of those; a whole one, if there is one.
        held: ObjectId,
    },
}

impl Lack {
    /// The snapshot that has what this one lacks, or some of it.
    #[must_use]
    pub const fn better(&self) -> Option<ObjectId> {
        match self {
            Self::Problems { whole, .. } => *whole,
            Self::Emptied { held } => Some(*held),
        }
    }
}

impl fmt::Display for Lack {
    /// What follows a snapshot's name in a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emptied { held } => {
                write!(
                    f,
                    "HOLDS NOTHING, as if what it was made of had been away, while {} before it does",
                    held.short()
                )
            }
            Self::Problems { problems, whole } => {
                let s = if *problems == 1 { "" } else { "s" };
                write!(f, "was made with {problems} problem{s}: NOT ALL of its source is in it as it was")?;
                whole.map_or(Ok(()), |whole| write!(f, "; {} before it is whole", whole.short()))
            }
        }
    }
}

impl Snapshot {
    /// No file, or no byte in any.
    #[must_use]
    pub const fn holds_nothing(&self) -> bool {
        self.record.statistics.files == 0 || self.record.statistics.bytes == 0
    }

    /// Something is in it, and all could be read: it lacks nothing, whatever was before it.
    #[must_use]
    pub const fn is_whole_by_itself(&self) -> bool {
        self.record.statistics.problems == 0 && !self.holds_nothing()
    }
}

impl Chain {
    /// What a snapshot lacks; `None` if it is whole.
    #[must_use]
    pub fn lack(&self, snapshot: &Snapshot) -> Option<Lack> {
        if let Some(held) = self.held_before(snapshot) {
            return Some(Lack::Emptied { held: held.id });
        }
        let problems = snapshot.record.statistics.problems;
        let whole = || self.newest_before(snapshot, Snapshot::is_whole_by_itself).map(|one| one.id);
        (problems > 0).then(|| Lack::Problems { problems, whole: whole() })
    }

    /// The newest earlier snapshot of the source that held something, if this one does not: a whole one, if there is one.
    #[must_use]
    pub fn held_before(&self, snapshot: &Snapshot) -> Option<&Snapshot> {
        if !snapshot.holds_nothing() || snapshot.is_aside() {
            return None;
        }
        let whole = self.newest_before(snapshot, Snapshot::is_whole_by_itself);
        whole.or_else(|| self.newest_before(snapshot, |one| !one.holds_nothing()))
    }

    fn newest_before(&self, snapshot: &Snapshot, is: impl Fn(&Snapshot) -> bool) -> Option<&Snapshot> {
        let key = newest_first_key(snapshot);
        let of_source = self.snapshots.iter().filter(|one| one.record.source == snapshot.record.source);
        let earlier = of_source.filter(|one| !one.is_aside() && newest_first_key(*one) < key && is(one));
        earlier.max_by_key(|one| newest_first_key(*one))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::clock::Time;
    use crate::base::id::BlobId;
    use crate::format::record::{Link, SnapshotRecord, Statistics, TreeRoot};
    use crate::repo::snapshots::BEFORE_RESTORE;

    /// Of so many files, a MiB each, made at a minute and in this place of the chain.
    pub(crate) fn snapshot(
        id: u8,
        source: &str,
        (minute, sequence): (i64, u64),
        files: u64,
        problems: u64,
    ) -> Snapshot {
        let started = Time(minute * 60_000);
        let statistics = Statistics { files, directories: 1, bytes: files << 20, problems, ..Statistics::default() };
        let record = SnapshotRecord {
            link: Link { sequence, parents: Vec::new() },
            source: source.into(),
            started,
            finished: started,
            paths: Vec::new(),
            root: TreeRoot { blob: BlobId::new([id; 32]), level: 0 },
            statistics,
            problems: Vec::new(),
            tags: BTreeMap::new(),
            program: String::new(),
            host: String::new(),
            based_on: None,
            device: None,
            run: None,
            blocks: None,
        };
        Snapshot { id: ObjectId::new([id; 32]), record }
    }

    /// The same as a copy before a restore.
    pub(crate) fn aside(mut snapshot: Snapshot) -> Snapshot {
        snapshot.record.tags.insert(BEFORE_RESTORE.to_owned(), "0123".to_owned());
        snapshot
    }

    fn id(id: u8) -> ObjectId {
        ObjectId::new([id; 32])
    }

    #[test]
    fn what_could_not_be_read_or_was_away_is_not_whole() {
        let snapshots = vec![
            snapshot(1, "a", (0, 1), 0, 0),
            snapshot(2, "a", (60, 2), 5, 0),
            snapshot(3, "a", (120, 3), 5, 2),
            snapshot(4, "a", (180, 4), 0, 0),
            snapshot(5, "b", (190, 5), 0, 0),
            snapshot(6, "b", (191, 6), 0, 3),
            // A clock that begins in 1970, as a board without a battery has it: still after all others.
            snapshot(7, "a", (-999, 7), 0, 0),
        ];
        let chain = Chain { snapshots, ..Chain::default() };
        let lacks: Vec<Option<Lack>> = chain.snapshots.iter().map(|one| chain.lack(one)).collect();
        let emptied = Some(Lack::Emptied { held: id(2) });
        let problems = |problems, whole| Some(Lack::Problems { problems, whole });
        assert_eq!(lacks, [None, None, problems(2, Some(id(2))), emptied, None, problems(3, None), emptied]);
    }

    #[test]
    fn safety_copies_prove_nothing_and_are_what_they_are() {
        let snapshots = vec![
            aside(snapshot(1, "a", (0, 1), 5, 0)),
            snapshot(2, "a", (60, 2), 0, 0),
            snapshot(3, "b", (70, 3), 5, 0),
            aside(snapshot(4, "b", (80, 4), 0, 0)),
        ];
        let chain = Chain { snapshots, ..Chain::default() };
        assert!(chain.snapshots.iter().all(|one| chain.lack(one).is_none()));
    }
}
