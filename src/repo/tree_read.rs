//! Reading trees: all entries in order, one entry, or a part; each reads only the blobs it must.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::id::BlobId;
use crate::format::entry::{self, Content, Entry, Piece, TreePath};
use crate::format::kind::Kind;
use crate::format::record::TreeRoot;
use crate::repo::error::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::tree_write::{Child, LEVELS_MAX};

/// Leaves, or nodes of one level, fetched together.
const BLOBS_AT_ONCE: usize = 64;

/// A blob of the tree and where what it holds ends: the first path of the next one, or the end of the tree.
type Bounded = (Child, Option<TreePath>);

/// Reads the entries of a tree, or of a part of it, in order.
///
/// Memory: the leaves and nodes fetched together, and the children of one path of nodes.
pub struct TreeReader {
    reader: Arc<Reader>,
    /// What is still to be read, the next at the end: blobs of a level, which come before all of those above it.
    stack: Vec<(u8, VecDeque<Bounded>)>,
    within: TreePath,
    /// Only what lies directly in `within`: what is below that is passed over, leaves and nodes unread.
    shallow: bool,
    /// With `shallow`: the name in `within` that was told last; nothing more of it or below it is wanted.
    told: Option<TreePath>,
    /// How many blobs are fetched next. Where subtrees are passed over it begins small, so that little is fetched in vain.
    ahead: usize,
    last: Option<TreePath>,
    /// What does not read is put into `lost`, and the reading goes on.
    tolerant: bool,
    lost: Vec<LostPart>,
}

/// A part of a tree that cannot be read.
#[derive(Debug)]
pub struct LostPart {
    /// Its first path.
    pub at: TreePath,
    /// The first path after it; `None` for the end of the tree.
    pub end: Option<TreePath>,
    /// How many entries are in it; 0 where nobody knows.
    pub entries: u64,
    /// Why.
    pub source: RepoError,
}

impl LostPart {
    /// Whether something directly in `directory` may be in this part, or the directory itself.
    #[must_use]
    pub fn may_hide_names_of(&self, directory: &TreePath) -> bool {
        let begins_behind = self.at > *directory && !self.at.is_within(directory);
        if begins_behind || self.end.as_ref().is_some_and(|end| end <= directory) {
            return false;
        }
        // Wholly within one name of the directory: what comes next tells that name, or is a lost part that reaches further.
        let first = |path: &TreePath| path.first_below(directory);
        let below_one = self.end.as_ref().and_then(first).is_some_and(|end| first(&self.at) == Some(end));
        !below_one
    }
}

fn bad(at: &impl std::fmt::Display, reason: &str) -> RepoError {
    RepoError::Tree { at: at.to_string(), reason: reason.to_owned() }
}

/// The children of a node, checked.
pub fn decode_node(id: &BlobId, plain: &[u8]) -> Result<Vec<Child>, RepoError> {
    let children: Vec<Child> = minicbor::decode(plain).map_err(|_| bad(id, "the node does not decode"))?;
    let ordered = children.is_sorted_by(|a, b| a.first < b.first);
    let plain_paths = children.iter().all(|child| TreePath::new(child.first.as_bytes()).is_ok());
    if ordered && plain_paths && !children.is_empty() { Ok(children) } else { Err(bad(id, "a node's children lie")) }
}

/// The pieces in a list; whether they add up to the file is known only with its other lists.
pub fn decode_list(id: &BlobId, plain: &[u8]) -> Result<Vec<Piece>, RepoError> {
    minicbor::decode(plain).map_err(|_| bad(id, "the list does not decode"))
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
                entry::Kind::HardLink { target } => TreePath::new(target.as_bytes()).is_ok() && *target < entry.path,
                entry::Kind::File { size, content: Content::Inline(pieces) } => covers(pieces, *size),
                _ => true,
            };
        if !fine {
            return Err(bad(&entry.path.display(), "the entry contradicts itself"));
        }
    }
    Ok(entries)
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

impl TreeReader {
    /// Reads the entries at and below `within` (the root for all).
    pub fn open(reader: Arc<Reader>, root: TreeRoot, within: TreePath) -> Result<Self, RepoError> {
        if root.level > LEVELS_MAX {
            return Err(bad(&root.blob, "more levels than any tree has"));
        }
        let top = Child { first: TreePath::root(), blob: root.blob, entries: 0, bytes: 0 };
        Ok(Self::of(reader, root.level, [(top, None)].into(), within))
    }

    /// Reads what lies directly in the directory `within`, or `within` itself if it is none. Of a directory that has no entry of its own (its parent was not
    /// backed up as such) the first entry below it stands for it.
    pub fn open_shallow(reader: Arc<Reader>, root: TreeRoot, within: TreePath) -> Result<Self, RepoError> {
        let all = Self::open(reader, root, within)?;
        Ok(Self { shallow: true, ahead: 1, ..all })
    }

    /// Reads these leaves, which are in order.
    pub(super) fn of_leaves(reader: Arc<Reader>, leaves: impl IntoIterator<Item = Child>) -> Self {
        let leaves = leaves.into_iter().map(|child| (child, None)).collect();
        Self::of(reader, 0, leaves, TreePath::root())
    }

    fn of(reader: Arc<Reader>, level: u8, blobs: VecDeque<Bounded>, within: TreePath) -> Self {
        let stack = vec![(level, blobs)];
        Self {
            reader,
            stack,
            within,
            shallow: false,
            told: None,
            ahead: BLOBS_AT_ONCE,
            last: None,
            tolerant: false,
            lost: Vec::new(),
        }
    }

    /// The same, but what does not read is passed over and told by [`Self::take_lost`]; [`Self::next`] fails only with what ends everything.
    #[must_use]
    pub fn tolerant(mut self) -> Self {
        self.tolerant = true;
        self
    }

    /// The parts that were passed over since this was asked last. All that lie before an entry are known when the entry is told.
    pub fn take_lost(&mut self) -> Vec<LostPart> {
        std::mem::take(&mut self.lost)
    }

    /// Passes over a part, or fails.
    fn lose(&mut self, child: Child, end: Option<TreePath>, source: RepoError) -> Result<(), RepoError> {
        if !self.tolerant {
            return Err(source);
        }
        let at = if child.first < self.within { self.within.clone() } else { child.first };
        self.lost.push(LostPart { at, end, entries: child.entries, source });
        Ok(())
    }

    async fn read(&self, kind: Kind, ids: &[BlobId]) -> Result<Vec<Result<Vec<u8>, RepoError>>, RepoError> {
        if self.tolerant {
            self.reader.metadata_each(kind, ids).await
        } else {
            Ok(self.reader.metadata_many(kind, ids).await?.into_iter().map(Ok).collect())
        }
    }

    /// The next entries in order; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, RepoError> {
        while let Some((level, blobs)) = self.take() {
            if level > 0 {
                let below = self.children(level, blobs).await?;
                self.stack.push((level - 1, below));
                continue;
            }
            let entries = self.entries(blobs).await?;
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
        Ok(None)
    }

    /// What is fetched next: some blobs of the lowest level at hand.
    fn take(&mut self) -> Option<(u8, Vec<Bounded>)> {
        loop {
            let (level, mut blobs) = self.stack.pop()?;
            let there = blobs.len();
            while blobs.front().is_some_and(|(_, end)| self.is_passed(end.as_ref())) {
                blobs.pop_front();
            }
            if self.shallow {
                // Nothing was passed over: the directory is wide, and more is worth fetching at once.
                self.ahead = if blobs.len() < there { 1 } else { (self.ahead * 2).min(BLOBS_AT_ONCE) };
            }
            let batch: Vec<Bounded> = blobs.drain(..self.ahead.min(blobs.len())).collect();
            if !blobs.is_empty() {
                self.stack.push((level, blobs));
            }
            if !batch.is_empty() {
                return Some((level, batch));
            }
        }
    }

    /// Whether nothing before `end` is wanted any more.
    fn is_passed(&self, end: Option<&TreePath>) -> bool {
        end.is_some_and(|end| *end <= self.within || self.told.as_ref().is_some_and(|told| end.is_within(told)))
    }

    async fn children(&mut self, level: u8, nodes: Vec<Bounded>) -> Result<VecDeque<Bounded>, RepoError> {
        let ids: Vec<BlobId> = nodes.iter().map(|(node, _)| node.blob).collect();
        let mut below = VecDeque::new();
        for ((node, end), plain) in nodes.into_iter().zip(self.read(Kind::Node, &ids).await?) {
            let children = match plain.and_then(|plain| children_of(level, &node, end.as_ref(), &plain)) {
                Ok(children) => children,
                Err(error) => {
                    self.lose(node, end, error)?;
                    continue;
                }
            };
            let firsts: Vec<TreePath> = children.iter().skip(1).map(|child| child.first.clone()).collect();
            let ends = firsts.into_iter().map(Some).chain([end]);
            below.extend(children.into_iter().zip(ends).filter(|(child, end)| {
                let begins_after = child.first > self.within && !child.first.is_within(&self.within);
                !begins_after && !self.is_passed(end.as_ref())
            }));
        }
        Ok(below)
    }

    async fn entries(&mut self, leaves: Vec<Bounded>) -> Result<Vec<Entry>, RepoError> {
        let ids: Vec<BlobId> = leaves.iter().map(|(leaf, _)| leaf.blob).collect();
        let mut wanted: Vec<Entry> = Vec::new();
        for ((leaf, end), plain) in leaves.into_iter().zip(self.read(Kind::Leaf, &ids).await?) {
            let entries = plain.and_then(|plain| decode_leaf(&leaf.blob, &plain)).and_then(|entries| {
                let overlaps = self.last.as_ref().zip(entries.first()).is_some_and(|(last, first)| *last >= first.path);
                if overlaps { Err(bad(&leaf.blob, "leaves overlap")) } else { Ok(entries) }
            });
            let entries = match entries {
                Ok(entries) => entries,
                Err(error) => {
                    self.lose(leaf, end, error)?;
                    continue;
                }
            };
            self.last = entries.last().map(|entry| entry.path.clone()).or_else(|| self.last.take());
            for entry in entries {
                if self.wants(&entry) {
                    wanted.push(entry);
                }
            }
        }
        Ok(wanted)
    }

    fn wants(&mut self, entry: &Entry) -> bool {
        if !entry.path.is_within(&self.within) {
            return false;
        }
        if !self.shallow {
            return true;
        }
        if self.told.as_ref().is_some_and(|told| entry.path.is_within(told)) {
            return false;
        }
        if entry.path == self.within {
            return entry.kind != entry::Kind::Directory;
        }
        self.told = entry.path.first_below(&self.within);
        true
    }
}

/// The children of a node that must lie within its bounds.
fn children_of(level: u8, node: &Child, end: Option<&TreePath>, plain: &[u8]) -> Result<Vec<Child>, RepoError> {
    let children = decode_node(&node.blob, plain)?;
    let inside = children.first().is_some_and(|child| child.first >= node.first)
        && children.last().zip(end).is_none_or(|(last, end)| last.first < *end);
    if inside { Ok(children) } else { Err(bad(&node.blob, &format!("nodes overlap at level {level}"))) }
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

/// The bytes of a chunk that a piece means. `at` says whose they are, should they not be there.
pub fn part_of(chunk: &[u8], skip: u32, length: u32, at: impl FnOnce() -> String) -> Result<&[u8], RepoError> {
    let (start, length) = (skip as usize, length as usize);
    let part = chunk.get(start..start.saturating_add(length));
    part.ok_or_else(|| RepoError::Tree { at: at(), reason: "a piece reaches beyond its chunk".to_owned() })
}

/// The whole content of a file in memory: the caller has looked at its `size`.
pub async fn whole(reader: &Reader, path: &TreePath, content: &Content, size: u64) -> Result<Vec<u8>, RepoError> {
    let mut bytes = Vec::new();
    for piece in pieces(reader, content, size).await? {
        match piece {
            Piece::Data { blob, skip, length } => {
                let chunk = reader.data(&blob).await?;
                bytes.extend_from_slice(part_of(&chunk, skip, length, || path.display())?);
            }
            Piece::Hole { length } => {
                let length = usize::try_from(length).map_err(|_| bad(&path.display(), "a hole without end"))?;
                bytes.resize(bytes.len().saturating_add(length), 0);
            }
        }
    }
    Ok(bytes)
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
