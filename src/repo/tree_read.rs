//! Reading trees: all entries in order, one entry, a part, or what differs between two trees; each reads only the blobs it must.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::base::id::BlobId;
use crate::format::entry::{self, Content, Entry, Piece, TreePath};
use crate::format::kind::Kind;
use crate::format::record::TreeRoot;
use crate::repo::error::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::tree_write::{Child, LEVELS_MAX};

/// Leaves fetched together.
const LEAVES_AT_ONCE: usize = 64;

/// Reads the entries of a tree, or of a part of it, in order.
pub struct TreeReader {
    reader: Arc<Reader>,
    leaves: VecDeque<Child>,
    within: TreePath,
}

fn bad(at: &impl std::fmt::Display, reason: &str) -> RepoError {
    RepoError::Tree { at: at.to_string(), reason: reason.to_owned() }
}

/// The children of a node, checked.
pub(crate) fn decode_node(id: &BlobId, plain: &[u8]) -> Result<Vec<Child>, RepoError> {
    let children: Vec<Child> = minicbor::decode(plain).map_err(|_| bad(id, "the node does not decode"))?;
    let ordered = children.is_sorted_by(|a, b| a.first < b.first);
    let plain_paths = children.iter().all(|child| TreePath::new(child.first.as_bytes()).is_ok());
    if ordered && plain_paths && !children.is_empty() { Ok(children) } else { Err(bad(id, "a node's children lie")) }
}

/// The entries of a leaf, checked: in order, with paths that climb nowhere, with sizes that add up.
pub fn decode_leaf(id: &BlobId, plain: &[u8]) -> Result<Vec<Entry>, RepoError> {
    let entries: Vec<Entry> = minicbor::decode(plain).map_err(|_| bad(id, "the leaf does not decode"))?;
    if !entries.is_sorted_by(|a, b| a.path < b.path) {
        return Err(bad(id, "a leaf's entries are out of order"));
    }
    for entry in &entries {
        let fine = TreePath::new(entry.path.as_bytes()).is_ok()
            && match &entry.kind {
                entry::Kind::HardLink { target } => TreePath::new(target.as_bytes()).is_ok(),
                entry::Kind::File { size, content: Content::Inline(pieces) } => covers(pieces, *size),
                _ => true,
            };
        if !fine {
            return Err(bad(&entry.path.display(), "the entry contradicts itself"));
        }
    }
    Ok(entries)
}

/// The pieces in a list blob.
pub(crate) fn decode_list(id: &BlobId, plain: &[u8]) -> Result<Vec<Piece>, RepoError> {
    minicbor::decode(plain).map_err(|_| bad(id, "the list does not decode"))
}

fn covers(pieces: &[Piece], size: u64) -> bool {
    let sum = pieces.iter().try_fold(0_u64, |sum, piece| sum.checked_add(piece.length()));
    sum == Some(size) && pieces.iter().all(|piece| piece.length() > 0)
}

/// The leaves of a tree in order; inner nodes level by level.
pub async fn leaves(reader: &Reader, root: TreeRoot) -> Result<Vec<Child>, RepoError> {
    if root.level > LEVELS_MAX {
        return Err(bad(&root.blob, "more levels than any tree has"));
    }
    let mut level = vec![Child { first: TreePath::root(), blob: root.blob, entries: 0, bytes: 0 }];
    for _ in 0..root.level {
        let ids: Vec<BlobId> = level.iter().map(|child| child.blob).collect();
        let mut below = Vec::new();
        for (id, plain) in ids.iter().zip(reader.metadata_many(Kind::Node, &ids).await?) {
            below.append(&mut decode_node(id, &plain)?);
        }
        if !below.is_sorted_by(|a, b| a.first < b.first) {
            return Err(bad(&root.blob, "nodes overlap"));
        }
        level = below;
    }
    Ok(level)
}

/// Every node blob of a tree (not its leaves), for reachability.
pub async fn nodes(reader: &Reader, root: TreeRoot) -> Result<Vec<BlobId>, RepoError> {
    let mut all = Vec::new();
    let mut level = vec![root.blob];
    for _ in 0..root.level.min(LEVELS_MAX) {
        all.extend_from_slice(&level);
        let mut below = Vec::new();
        for (id, plain) in level.iter().zip(reader.metadata_many(Kind::Node, &level).await?) {
            below.extend(decode_node(id, &plain)?.into_iter().map(|child| child.blob));
        }
        level = below;
    }
    Ok(all)
}

impl TreeReader {
    /// Reads the entries at and below `within` (the root for all).
    pub async fn open(reader: Arc<Reader>, root: TreeRoot, within: TreePath) -> Result<Self, RepoError> {
        let all = leaves(&reader, root).await?;
        // A leaf holds what lies between its first path and the next leaf's.
        let ends: Vec<Option<TreePath>> =
            all.iter().skip(1).map(|child| Some(child.first.clone())).chain([None]).collect();
        let mut kept = VecDeque::new();
        for (child, end) in all.into_iter().zip(ends) {
            let begins_after = child.first > within && !child.first.is_within(&within);
            let ends_before = end.is_some_and(|end| end <= within);
            if !begins_after && !ends_before {
                kept.push_back(child);
            }
        }
        Ok(Self { reader, leaves: kept, within })
    }

    /// The next entries in order; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, RepoError> {
        loop {
            let count = self.leaves.len().min(LEAVES_AT_ONCE);
            if count == 0 {
                return Ok(None);
            }
            let ids: Vec<BlobId> = self.leaves.drain(..count).map(|child| child.blob).collect();
            let mut entries: Vec<Entry> = Vec::new();
            for (id, plain) in ids.iter().zip(self.reader.metadata_many(Kind::Leaf, &ids).await?) {
                let leaf = decode_leaf(id, &plain)?;
                if entries.last().zip(leaf.first()).is_some_and(|(last, first)| last.path >= first.path) {
                    return Err(bad(id, "leaves overlap"));
                }
                entries.extend(leaf.into_iter().filter(|entry| entry.path.is_within(&self.within)));
            }
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
    }
}

/// One entry of a tree, or `None` if it has none of this path.
pub async fn lookup(reader: &Reader, root: TreeRoot, path: &TreePath) -> Result<Option<Entry>, RepoError> {
    let mut blob = root.blob;
    for _ in 0..root.level.min(LEVELS_MAX) {
        let children = decode_node(&blob, &reader.metadata(Kind::Node, &blob).await?)?;
        let after = children.partition_point(|child| child.first <= *path);
        match after.checked_sub(1).and_then(|at| children.get(at)) {
            Some(child) => blob = child.blob,
            None => return Ok(None),
        }
    }
    let entries = decode_leaf(&blob, &reader.metadata(Kind::Leaf, &blob).await?)?;
    Ok(entries.into_iter().find(|entry| entry.path == *path))
}

/// The pieces of a file, its lists fetched and checked against `size`.
pub async fn pieces(reader: &Reader, content: &Content, size: u64) -> Result<Vec<Piece>, RepoError> {
    let lists = match content {
        Content::Inline(pieces) => return Ok(pieces.clone()),
        Content::Lists(lists) => lists,
    };
    let mut all = Vec::new();
    for (id, plain) in lists.iter().zip(reader.metadata_many(Kind::List, lists).await?) {
        all.append(&mut decode_list(id, &plain)?);
    }
    if covers(&all, size) {
        Ok(all)
    } else {
        Err(bad(&lists.first().map_or(String::new(), ToString::to_string), "the pieces do not add up to the file"))
    }
}

/// What differs between two trees at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only in the second.
    Added(Box<Entry>),
    /// Only in the first.
    Removed(Box<Entry>),
    /// In both, and not alike.
    Changed(Box<Entry>, Box<Entry>),
}

/// Entries of the leaves that only one of two trees has.
async fn unshared(reader: &Arc<Reader>, leaves: Vec<Child>, shared: &HashSet<BlobId>) -> Result<Vec<Entry>, RepoError> {
    let leaves = leaves.into_iter().filter(|child| !shared.contains(&child.blob)).collect();
    let mut tree = TreeReader { reader: reader.clone(), leaves, within: TreePath::root() };
    let mut all = Vec::new();
    while let Some(mut batch) = tree.next().await? {
        all.append(&mut batch);
    }
    Ok(all)
}

/// What changed from tree `a` to tree `b`, in order. Leaves that both have are not read.
pub async fn diff(reader: &Arc<Reader>, a: TreeRoot, b: TreeRoot) -> Result<Vec<Change>, RepoError> {
    if a == b {
        return Ok(Vec::new());
    }
    let (leaves_a, leaves_b) = (leaves(reader, a).await?, leaves(reader, b).await?);
    let of_a: HashSet<BlobId> = leaves_a.iter().map(|child| child.blob).collect();
    let shared: HashSet<BlobId> = leaves_b.iter().map(|child| child.blob).filter(|id| of_a.contains(id)).collect();
    let old = unshared(reader, leaves_a, &shared).await?;
    let new = unshared(reader, leaves_b, &shared).await?;
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(a), Some(b)) => a.path.cmp(&b.path),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return Ok(changes),
        };
        match order {
            std::cmp::Ordering::Less => changes.extend(old.next().map(|e| Change::Removed(Box::new(e)))),
            std::cmp::Ordering::Greater => changes.extend(new.next().map(|e| Change::Added(Box::new(e)))),
            std::cmp::Ordering::Equal => {
                if let (Some(a), Some(b)) = (old.next(), new.next()) {
                    // An inode number or ctime that differs is no change that a person asks about.
                    let alike = Entry { identity: b.identity, ..a.clone() } == b;
                    if !alike {
                        changes.push(Change::Changed(Box::new(a), Box::new(b)));
                    }
                }
            }
        }
    }
}
