//! Everything that cannot be read, file by file: what a person has to know after nothing more could be done.

use serde::Serialize;

use crate::base::clock::Time;
use crate::base::id::{BlobId, ObjectId};
use crate::check::trouble::Troubles;
use crate::check::walk::{Broken, CleanLeaves, Visitor, walk};
use crate::format::entry::{Piece, TreePath, escape};
use crate::format::kind::Kind;
use crate::repo::fetch::Reader;
use crate::repo::index::Index;
use crate::repo::snapshots::Snapshot;

/// A part of a tree that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LostPart {
    /// The first path in it.
    pub from: String,
    /// How many entries it has; 0 where that is not known.
    pub entries: u64,
}

/// What a snapshot has lost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Loss {
    /// The snapshot.
    pub snapshot: ObjectId,
    /// Its source.
    pub source: String,
    /// When it began.
    pub started: Time,
    /// The paths that were backed up.
    pub paths: Vec<String>,
    /// Every file that cannot be read whole.
    pub files: Vec<String>,
    /// Parts of the tree of which nothing is known.
    pub parts: Vec<LostPart>,
}

struct Losing<'a> {
    index: &'a Index,
    troubles: &'a Troubles,
    leaves: CleanLeaves,
    files: Vec<String>,
    parts: Vec<LostPart>,
}

impl Losing<'_> {
    fn lost_file(&mut self, path: &TreePath) {
        self.leaves.lose();
        let name = path.display();
        // A file with a broken list and a lost chunk is told twice in a row.
        if self.files.last() != Some(&name) {
            self.files.push(name);
        }
    }
}

impl Visitor for Losing<'_> {
    fn skip(&mut self, kind: Kind, blob: &BlobId) -> bool {
        self.leaves.skip(kind, blob)
    }

    fn opened(&mut self, kind: Kind, _: &BlobId) {
        self.leaves.begin(kind);
    }

    fn broken(&mut self, broken: &Broken<'_>) {
        if broken.kind == Kind::List {
            self.lost_file(broken.at);
        } else {
            self.parts.push(LostPart { from: broken.at.display(), entries: broken.entries });
        }
    }

    fn file(&mut self, path: &TreePath, pieces: &[Piece]) {
        let lost = |piece: &Piece| match piece {
            Piece::Data { blob, .. } => self.troubles.is_lost(self.index, blob),
            Piece::Hole { .. } => false,
        };
        if pieces.iter().any(lost) {
            self.lost_file(path);
        }
    }

    fn leaf_done(&mut self, leaf: &BlobId) {
        self.leaves.done(leaf);
    }
}

/// What each snapshot has lost, the newest first; whole ones are left out.
pub(super) async fn of(reader: &Reader, snapshots: &[Snapshot], troubles: &Troubles) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut losing =
        Losing { index: &reader.index, troubles, leaves: CleanLeaves::default(), files: Vec::new(), parts: Vec::new() };
    for snapshot in snapshots.iter().rev() {
        walk(&reader.into(), snapshot.record.root, &mut losing).await;
        let (files, parts) = (std::mem::take(&mut losing.files), std::mem::take(&mut losing.parts));
        if files.is_empty() && parts.is_empty() {
            continue;
        }
        losses.push(Loss {
            snapshot: snapshot.id,
            source: snapshot.record.source.clone(),
            started: snapshot.record.started,
            paths: snapshot.record.paths.iter().map(|path| escape(path)).collect(),
            files,
            parts,
        });
    }
    losses
}
