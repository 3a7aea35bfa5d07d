//! Which snapshots were read back whole: for every content blob of them a copy was opened. Evidence counts, not the absence of trouble.

use std::collections::HashSet;

use crate::base::id::{BlobId, ObjectId};
use crate::check::walk::{Broken, Visitor, walk};
use crate::format::entry::{Piece, TreePath};
use crate::format::kind::Kind;
use crate::repo::fetch::Reader;
use crate::repo::index::Index;
use crate::repo::snapshots::Snapshot;

/// Copies (positions in the index) that were decrypted and are what their ids say; one bit each.
pub(super) struct Opened {
    bits: Vec<u64>,
    left: usize,
}

impl Opened {
    pub(super) fn new(copies: usize) -> Self {
        Self { bits: vec![0; copies.div_ceil(64)], left: copies }
    }

    pub(super) fn add(&mut self, slots: &[usize]) {
        for slot in slots {
            let bit = 1_u64 << (slot % 64);
            if let Some(word) = self.bits.get_mut(slot / 64).filter(|word| **word & bit == 0) {
                *word |= bit;
                self.left = self.left.saturating_sub(1);
            }
        }
    }

    fn has(&self, slot: usize) -> bool {
        self.bits.get(slot / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }
}

struct Whole<'a> {
    index: &'a Index,
    opened: &'a Opened,
    /// Leaves of which everything was opened.
    clean: HashSet<BlobId>,
    leaf_lost: bool,
    lost: bool,
}

impl Visitor for Whole<'_> {
    fn skip(&mut self, _: Kind, blob: &BlobId) -> bool {
        self.clean.contains(blob)
    }

    fn opened(&mut self, kind: Kind, _: &BlobId) {
        if kind == Kind::Leaf {
            self.leaf_lost = false;
        }
    }

    fn broken(&mut self, _: &Broken<'_>) {
        (self.leaf_lost, self.lost) = (true, true);
    }

    fn file(&mut self, _: &TreePath, pieces: &[Piece]) {
        let opened = |blob| self.index.copies(blob).any(|copy| self.opened.has(copy.slot));
        if !pieces.iter().all(|piece| if let Piece::Data { blob, .. } = piece { opened(blob) } else { true }) {
            (self.leaf_lost, self.lost) = (true, true);
        }
    }

    fn leaf_done(&mut self, leaf: &BlobId) {
        if !self.leaf_lost {
            self.clean.insert(*leaf);
        }
    }
}

/// The snapshots of which everything was opened. `lacking`: the structure missed something, so that not even a full set of copies proves all of them.
pub(super) async fn snapshots(
    reader: &Reader,
    snapshots: &[Snapshot],
    opened: &Opened,
    lacking: bool,
) -> Vec<ObjectId> {
    if opened.left == 0 && !lacking {
        // The structure found every tree whole, and what they name is in the index, of which every copy was opened: no need to walk again.
        return snapshots.iter().map(|snapshot| snapshot.id).collect();
    }
    let clean = HashSet::new();
    let mut whole = Whole { index: &reader.index, opened, clean, leaf_lost: false, lost: false };
    let mut found = Vec::new();
    for snapshot in snapshots {
        whole.lost = false;
        walk(&reader.into(), snapshot.record.root, &mut whole).await;
        if !whole.lost {
            found.push(snapshot.id);
        }
    }
    found
}
