//! Every node, leaf and list of every snapshot's tree opens, and every data blob they name is in a pack that is there.
//!
//! A blob is read once however many snapshots share it: the index keeps a mark of one bit.

use std::sync::atomic::Ordering;

use crate::base::id::BlobId;
use crate::base::progress::Progress;
use crate::check::report::Counts;
use crate::check::trouble::Troubles;
use crate::check::walk::{Broken, Visitor, walk};
use crate::format::entry::{Piece, TreePath};
use crate::format::kind::Kind;
use crate::repo::fetch::Reader;
use crate::repo::index::Index;
use crate::repo::snapshots::Snapshot;

struct Structure<'a> {
    index: &'a Index,
    troubles: &'a mut Troubles,
    counts: &'a mut Counts,
    /// Something is needed that is in no index segment, in no pack that is there, or makes no sense.
    lacking: bool,
}

impl Visitor for Structure<'_> {
    fn skip(&mut self, _: Kind, blob: &BlobId) -> bool {
        self.index.copies(blob).next().is_some_and(|first| !self.index.mark_used(&first))
    }

    fn opened(&mut self, _: Kind, _: &BlobId) {
        self.counts.metadata_blobs += 1;
    }

    fn broken(&mut self, broken: &Broken<'_>) {
        self.lacking = true;
        let what = match broken.kind {
            Kind::Leaf => "leaf",
            Kind::List => "list",
            Kind::Node | Kind::Data => "node",
        };
        for copy in self.index.copies(broken.blob) {
            if self.index.pack(copy.pack).is_some_and(|pack| pack.present) {
                let reason = format!("{what} {} cannot be read: {}", broken.blob.short(), broken.why);
                self.troubles.blob(copy.pack, copy.slot, reason);
            }
        }
    }

    fn file(&mut self, _: &TreePath, pieces: &[Piece]) {
        self.counts.files += 1;
        for piece in pieces {
            if let Piece::Data { blob, .. } = piece {
                self.counts.references += 1;
                self.lacking |= self.index.find(blob).is_none();
            }
        }
    }
}

/// Follows every tree. Returns whether something that a snapshot needs is lacking.
pub(super) async fn look(
    reader: &Reader,
    snapshots: &[Snapshot],
    troubles: &mut Troubles,
    counts: &mut Counts,
    progress: &Progress,
) -> bool {
    let mut structure = Structure { index: &reader.index, troubles, counts, lacking: false };
    progress.files_total.fetch_add(snapshots.len() as u64, Ordering::Relaxed);
    for snapshot in snapshots {
        walk(&reader.into(), snapshot.record.root, &mut structure).await;
        progress.add_file(0);
    }
    structure.lacking
}
