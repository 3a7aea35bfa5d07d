//! What is wrong with packs and the blobs in them, gathered from all stages before it becomes findings.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::base::id::{BlobId, ObjectId};
use crate::check::report::{Finding, Hint, Problem};
use crate::repo::index::Index;
use crate::repo::layout;

/// How many reasons a finding spells out.
const REASONS_MAX: usize = 3;

/// What is wrong with one pack.
pub(super) struct PackTrouble {
    problem: Problem,
    reasons: Vec<String>,
    more: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Troubles {
    packs: BTreeMap<u32, PackTrouble>,
    /// Copies (positions in the index) that cannot be relied on.
    bad: HashSet<usize>,
    /// Packs whose stored bytes are not those that were stored: too many, too few or others.
    unsound: BTreeSet<u32>,
    /// Packs whose bytes are those that were stored, and of which a blob is not what it was stored as.
    poisoned: BTreeSet<u32>,
}

impl Troubles {
    pub(super) fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// Something is wrong with a pack. The first problem names the kind.
    pub(super) fn pack(&mut self, pack: u32, problem: Problem, reason: String) {
        if matches!(problem, Problem::Name | Problem::Size) {
            self.unsound.insert(pack);
        }
        let trouble = self.packs.entry(pack).or_insert(PackTrouble { problem, reasons: Vec::new(), more: 0 });
        if trouble.reasons.contains(&reason) {
            return;
        }
        if trouble.reasons.len() < REASONS_MAX {
            trouble.reasons.push(reason);
        } else {
            trouble.more += 1;
        }
    }

    /// A copy of a blob cannot be read.
    pub(super) fn blob(&mut self, pack: u32, slot: usize, reason: String) {
        if self.bad.insert(slot) {
            self.pack(pack, Problem::Blobs, reason);
        }
    }

    /// Every copy that lies in `pack` from byte `from` on is gone.
    pub(super) fn cut(&mut self, index: &Index, pack: u32, from: u64) {
        let beyond = |location: &crate::repo::index::Location| {
            location.pack == pack && u64::from(location.offset) + u64::from(location.length) > from
        };
        self.bad.extend(index.iter().map(|blob| blob.location).filter(beyond).map(|location| location.slot));
    }

    /// Packs whose stored bytes are not those that were stored. One that merely does not open is not among them: the key may be to blame.
    pub(super) fn unsound(&self, index: &Index) -> Vec<ObjectId> {
        self.unsound.iter().filter_map(|number| index.pack(*number)).map(|pack| pack.id).collect()
    }

    /// The bytes of a pack are those that were stored, and it was proven that a blob in it is not what its id says.
    pub(super) fn poisoned(&mut self, pack: u32) {
        self.poisoned.insert(pack);
    }

    /// The packs of [`Troubles::poisoned`].
    pub(super) fn poisoned_packs(&self, index: &Index) -> BTreeSet<ObjectId> {
        self.poisoned.iter().filter_map(|number| index.pack(*number)).map(|pack| pack.id).collect()
    }

    /// The packs in trouble with the first problem of each.
    pub(super) fn problems(&self, index: &Index) -> BTreeMap<ObjectId, Problem> {
        let of = |(number, trouble): (&u32, &PackTrouble)| Some((index.pack(*number)?.id, trouble.problem));
        self.packs.iter().filter_map(of).collect()
    }

    /// Copies that cannot be relied on, by pack and blob.
    pub(super) fn bad_copies(&self, index: &Index) -> HashSet<(ObjectId, BlobId)> {
        if self.bad.is_empty() {
            return HashSet::new();
        }
        let bad = index.iter().filter(|blob| self.bad.contains(&blob.location.slot));
        bad.filter_map(|blob| Some((index.pack(blob.location.pack)?.id, blob.id))).collect()
    }

    /// Whether no copy of a blob can be read.
    pub(super) fn is_lost(&self, index: &Index, id: &BlobId) -> bool {
        index
            .copies(id)
            .all(|copy| self.bad.contains(&copy.slot) || index.pack(copy.pack).is_none_or(|pack| !pack.present))
    }

    /// The packs in trouble as findings, with their numbers.
    pub(super) fn findings(&self, index: &Index) -> Vec<(u32, Finding)> {
        let finding = |(number, trouble): (&u32, &PackTrouble)| {
            let id = index.pack(*number)?.id;
            let mut what = trouble.reasons.join("; ");
            if trouble.more > 0 {
                what = format!("{what}; and {} more", trouble.more);
            }
            let hint = match trouble.problem {
                Problem::Unreadable => Hint::ReadAgain,
                Problem::Missing => Hint::CopyOrBackUp,
                _ => Hint::CopyOrMark,
            };
            Some((*number, Finding::damage(&layout::pack(&id), trouble.problem, what, hint)))
        };
        self.packs.iter().filter_map(finding).collect()
    }
}
