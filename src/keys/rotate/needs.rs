//! What trees need: every node, leaf and list that opens, the first that does not, and chunks that are in no pack.

use std::collections::{BTreeSet, HashSet};

use crate::base::id::BlobId;
use crate::base::progress::Progress;
use crate::check::{Broken, Trees, Visitor, walk};
use crate::format::entry::{Piece, TreePath};
use crate::format::kind::Kind;
use crate::format::record::TreeRoot;
use crate::repo::fetch::Reader;
use crate::repo::index::Index;

/// Looks for what trees need; stops at nothing.
pub(super) struct Needs<'a> {
    index: &'a Index,
    seen: HashSet<BlobId>,
    /// Those that opened.
    pub(super) blobs: Vec<(Kind, BlobId)>,
    /// Chunks that no pack has.
    pub(super) missing: BTreeSet<BlobId>,
    /// The first that did not open, and why.
    pub(super) broken: Option<(String, String)>,
}

impl Visitor for Needs<'_> {
    fn skip(&mut self, _: Kind, blob: &BlobId) -> bool {
        !self.seen.insert(*blob)
    }

    fn opened(&mut self, kind: Kind, blob: &BlobId) {
        self.blobs.push((kind, *blob));
    }

    fn broken(&mut self, broken: &Broken<'_>) {
        let what = format!("tree blob {} at {}", broken.blob.short(), broken.at.display());
        self.broken.get_or_insert((what, broken.why.clone()));
    }

    fn file(&mut self, _: &TreePath, pieces: &[Piece]) {
        for piece in pieces {
            if let Piece::Data { blob, .. } = piece
                && self.index.find(blob).is_none()
            {
                self.missing.insert(*blob);
            }
        }
    }
}

impl<'a> Needs<'a> {
    /// What these trees need.
    pub(super) async fn of(reader: &'a Reader, roots: &[TreeRoot], progress: &Progress) -> Self {
        let index = &*reader.index;
        let (seen, blobs, missing) = (HashSet::new(), Vec::new(), BTreeSet::new());
        let mut needs = Self { index, seen, blobs, missing, broken: None };
        progress.expect(roots.len() as u64, 0, false);
        for root in roots {
            walk(&Trees::from(reader), *root, &mut needs).await;
            progress.add_file(0);
        }
        needs
    }
}
