//! Walking a tree that may be broken: what opens is visited, what does not is told, and the walk goes on.

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::causes::in_one_line;
use crate::base::id::BlobId;
use crate::format::entry::{self, Content, Entry, Piece, TreePath};
use crate::format::kind::Kind;
use crate::format::record::TreeRoot;
use crate::repo::error::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::tree_read::{decode_leaf, decode_list, decode_node};
use crate::repo::tree_write::{Child, LEVELS_MAX};

/// Nodes or leaves fetched together; a leaf has at most 512 KiB.
const BATCH: usize = 32;

/// A metadata blob that did not open.
pub(crate) struct Broken<'a> {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its id.
    pub(crate) blob: &'a BlobId,
    /// The first path below it.
    pub(crate) at: &'a TreePath,
    /// Entries below it; 0 where that is not known.
    pub(crate) entries: u64,
    /// Why.
    pub(crate) why: String,
}

/// What the walk tells.
pub(crate) trait Visitor: Send {
    /// Asked before a blob is read; true leaves it and what is below it out.
    fn skip(&mut self, kind: Kind, blob: &BlobId) -> bool;
    /// A blob opened.
    fn opened(&mut self, kind: Kind, blob: &BlobId);
    /// A blob did not open here and did in one of the others; told before [`Visitor::opened`].
    fn elsewhere(&mut self, _blob: &BlobId) {}
    /// A blob did not open, or made no sense.
    fn broken(&mut self, broken: &Broken<'_>);
    /// A file and its pieces. Lists that were left out or are broken are not among them.
    fn file(&mut self, path: &TreePath, pieces: &[Piece]);
    /// A leaf ends: everything in it was told.
    fn leaf_done(&mut self, _leaf: &BlobId) {}
}

/// For visitors that look for what is lost: leaves that lost nothing are remembered, and not read for the next tree.
#[derive(Default)]
pub(crate) struct CleanLeaves {
    clean: HashSet<BlobId>,
    /// Whether the leaf that is being told lost something.
    lost: bool,
}

impl CleanLeaves {
    /// For [`Visitor::skip`]: whether nothing is lost in it.
    pub(crate) fn skip(&mut self, kind: Kind, blob: &BlobId) -> bool {
        self.begin(kind);
        self.clean.contains(blob)
    }

    /// For [`Visitor::opened`].
    pub(crate) fn begin(&mut self, kind: Kind) {
        if kind == Kind::Leaf {
            self.lost = false;
        }
    }

    /// Something of the leaf that is being told is lost.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    /// For [`Visitor::leaf_done`].
    pub(crate) fn done(&mut self, leaf: &BlobId) {
        if !self.lost {
            self.clean.insert(*leaf);
        }
    }
}

/// Where the blobs of trees are read: here, and where they do not open here in one of the others.
pub(crate) struct Trees<'a> {
    /// This repository.
    pub(crate) own: &'a Reader,
    /// Replicas of it.
    pub(crate) others: &'a [Arc<Reader>],
}

impl<'a> From<&'a Reader> for Trees<'a> {
    fn from(own: &'a Reader) -> Self {
        Self { own, others: &[] }
    }
}

impl Trees<'_> {
    /// Reads blobs together if all open, else one by one.
    async fn read<V: Visitor>(&self, kind: Kind, ids: &[BlobId], visitor: &mut V) -> Vec<Result<Vec<u8>, RepoError>> {
        if let Ok(all) = self.own.metadata_many(kind, ids).await {
            return all.into_iter().map(Ok).collect();
        }
        let mut each = Vec::with_capacity(ids.len());
        for id in ids {
            let mut read = self.own.metadata(kind, id).await;
            for other in self.others {
                if read.is_ok() {
                    break;
                }
                if let Ok(plain) = other.metadata(kind, id).await {
                    visitor.elsewhere(id);
                    read = Ok(plain);
                }
            }
            each.push(read);
        }
        each
    }
}

fn tell(visitor: &mut impl Visitor, kind: Kind, child: &Child, error: &RepoError) {
    let Child { first, blob, entries, .. } = child;
    visitor.broken(&Broken { kind, blob, at: first, entries: *entries, why: in_one_line(error) });
}

/// Walks the whole tree; see the module.
pub(crate) async fn walk<V: Visitor>(trees: &Trees<'_>, root: TreeRoot, visitor: &mut V) {
    let mut level = vec![Child { first: TreePath::root(), blob: root.blob, entries: 0, bytes: 0 }];
    for depth in (1..=root.level.min(LEVELS_MAX)).rev() {
        let mut below: Vec<Child> = Vec::new();
        for batch in wanted(visitor, Kind::Node, level).chunks(BATCH) {
            let ids: Vec<BlobId> = batch.iter().map(|child| child.blob).collect();
            for (child, plain) in batch.iter().zip(trees.read(Kind::Node, &ids, visitor).await) {
                match plain.and_then(|plain| decode_node(&child.blob, &plain)) {
                    Ok(mut children) => {
                        visitor.opened(Kind::Node, &child.blob);
                        if below.last().zip(children.first()).is_some_and(|(last, first)| last.first >= first.first) {
                            let reason = format!("nodes overlap at level {depth}");
                            tell(visitor, Kind::Node, child, &RepoError::Tree { at: child.first.display(), reason });
                        }
                        below.append(&mut children);
                    }
                    Err(error) => tell(visitor, Kind::Node, child, &error),
                }
            }
        }
        level = below;
    }
    for batch in wanted(visitor, Kind::Leaf, level).chunks(BATCH) {
        let ids: Vec<BlobId> = batch.iter().map(|child| child.blob).collect();
        for (child, plain) in batch.iter().zip(trees.read(Kind::Leaf, &ids, visitor).await) {
            match plain.and_then(|plain| decode_leaf(&child.blob, &plain)) {
                Ok(entries) => {
                    visitor.opened(Kind::Leaf, &child.blob);
                    leaf(trees, &entries, visitor).await;
                    visitor.leaf_done(&child.blob);
                }
                Err(error) => tell(visitor, Kind::Leaf, child, &error),
            }
        }
    }
}

fn wanted(visitor: &mut impl Visitor, kind: Kind, level: Vec<Child>) -> Vec<Child> {
    level.into_iter().filter(|child| !visitor.skip(kind, &child.blob)).collect()
}

async fn leaf<V: Visitor>(trees: &Trees<'_>, entries: &[Entry], visitor: &mut V) {
    for entry in entries {
        let entry::Kind::File { size, content } = &entry.kind else { continue };
        let lists = match content {
            Content::Inline(pieces) => {
                visitor.file(&entry.path, pieces);
                continue;
            }
            Content::Lists(lists) => lists,
        };
        let wanted: Vec<BlobId> = lists.iter().filter(|id| !visitor.skip(Kind::List, id)).copied().collect();
        let mut covered = Some(0_u64);
        let mut pieces: Vec<Piece> = Vec::new();
        for ids in wanted.chunks(BATCH) {
            for (id, plain) in ids.iter().zip(trees.read(Kind::List, ids, visitor).await) {
                match plain.and_then(|plain| decode_list(id, &plain)) {
                    Ok(mut part) => {
                        visitor.opened(Kind::List, id);
                        let length = part.iter().try_fold(0_u64, |sum, piece| sum.checked_add(piece.length()));
                        covered = covered.zip(length).and_then(|(sum, length)| sum.checked_add(length));
                        pieces.append(&mut part);
                    }
                    Err(error) => {
                        covered = None;
                        let why = in_one_line(&error);
                        visitor.broken(&Broken { kind: Kind::List, blob: id, at: &entry.path, entries: 1, why });
                    }
                }
            }
        }
        visitor.file(&entry.path, &pieces);
        if let (Some(covered), Some(first)) = (covered, lists.first())
            && wanted.len() == lists.len()
            && covered != *size
        {
            let why = "the pieces do not add up to the file".to_owned();
            visitor.broken(&Broken { kind: Kind::List, blob: first, at: &entry.path, entries: 1, why });
        }
    }
}
