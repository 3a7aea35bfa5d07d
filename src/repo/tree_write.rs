//! Building a tree: entries in order go in, blobs come out, the root is known at the end.
//!
//! A tree is a search tree whose cuts depend on the paths alone: a leaf ends with a path whose keyed hash ends in eight zero bits, a node of level *n*
//! with one that has six more for every level. So a change touches one leaf and the nodes above it, and everything else is shared.

use minicbor::{Decode, Encode};

use crate::base::id::BlobId;
use crate::format::entry::{self, Content, Entry, Piece, TreePath};
use crate::format::kind::Kind;
use crate::format::record::TreeRoot;
use crate::repo::error::RepoError;
use crate::repo::write::{Lane, Writer};

/// A leaf ends where this many low bits of the path's hash are zero: 256 entries on average.
const LEAF_BITS: u32 = 8;
/// … and for each level above, this many more: 64 children on average.
const NODE_BITS: u32 = 6;
/// A leaf or node is cut at this many bytes whatever the paths say.
const SEGMENT_BYTES_MAX: usize = 512 << 10;
/// Pieces kept in the entry itself; longer lists go into blobs of their own.
pub const PIECES_INLINE: usize = 8;
/// A list ends where this many low bits of a hash of a piece's blob are zero.
const LIST_BITS: u32 = 9;
/// … and at the latest after so many pieces.
const LIST_PIECES_MAX: usize = 4096;
/// A hash that ends nothing, for what is closed because the tree ends.
const NO_BOUNDARY: u64 = 1;
/// Levels of a tree: 256 · 64^7 entries.
pub const LEVELS_MAX: u8 = 8;

/// A child of a node.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Child {
    /// The first path below it.
    #[n(0)]
    pub first: TreePath,
    /// A leaf, or a node one level down.
    #[n(1)]
    pub blob: BlobId,
    /// Entries below it.
    #[n(2)]
    pub entries: u64,
    /// Sum of the sizes of the files below it.
    #[n(3)]
    pub bytes: u64,
}

/// See the module.
#[derive(Default)]
pub struct TreeBuilder {
    leaf: Segment,
    levels: Vec<Segment>,
    last: Option<TreePath>,
}

/// A leaf or node that is being filled: its items are kept encoded.
#[derive(Default)]
struct Segment {
    first: Option<TreePath>,
    count: u64,
    body: Vec<u8>,
    entries: u64,
    file_bytes: u64,
    /// The last child of a node, which is the root if it stays the only one.
    child: Option<Child>,
}

fn encode<T: Encode<()> + ?Sized>(value: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "writing to a Vec cannot fail")]
    minicbor::to_vec(value).expect("writing to memory")
}

impl Segment {
    fn add<T: Encode<()>>(&mut self, first: &TreePath, item: &T, entries: u64, file_bytes: u64) {
        if self.first.is_none() {
            self.first = Some(first.clone());
        }
        #[expect(clippy::expect_used, reason = "writing to a Vec cannot fail")]
        minicbor::encode(item, &mut self.body).expect("writing to memory");
        self.count += 1;
        self.entries += entries;
        self.file_bytes += file_bytes;
    }

    /// Stores the items as one CBOR array and empties the segment; `None` if there is nothing in it.
    fn close(&mut self, writer: &Writer, lane: &mut Lane, kind: Kind) -> Result<Option<Child>, RepoError> {
        let Self { first, count, body, entries, file_bytes, .. } = std::mem::take(self);
        let Some(first) = first else { return Ok(None) };
        let mut plain = Vec::with_capacity(body.len() + 9);
        #[expect(clippy::expect_used, reason = "writing to a Vec cannot fail")]
        minicbor::Encoder::new(&mut plain).array(count).expect("writing to memory");
        plain.extend_from_slice(&body);
        let blob = writer.add_metadata(lane, kind, &plain)?;
        Ok(Some(Child { first, blob, entries, bytes: file_bytes }))
    }
}

impl TreeBuilder {
    /// Adds the next entry. Paths must strictly ascend.
    pub fn add(&mut self, writer: &Writer, lane: &mut Lane, entry: &Entry) -> Result<(), RepoError> {
        if self.last.as_ref().is_some_and(|last| *last >= entry.path) {
            return Err(RepoError::Tree { at: entry.path.display(), reason: "entries are out of order".to_owned() });
        }
        let hash = writer.repository.hasher.boundary(entry.path.as_bytes());
        let file_bytes = match entry.kind {
            entry::Kind::File { size, .. } => size,
            _ => 0,
        };
        self.leaf.add(&entry.path, entry, 1, file_bytes);
        self.last = Some(entry.path.clone());
        if hash.trailing_zeros() >= LEAF_BITS || self.leaf.body.len() >= SEGMENT_BYTES_MAX {
            self.close_leaf(writer, lane, hash)?;
        }
        Ok(())
    }

    fn close_leaf(&mut self, writer: &Writer, lane: &mut Lane, hash: u64) -> Result<(), RepoError> {
        match self.leaf.close(writer, lane, Kind::Leaf)? {
            Some(child) => self.add_child(writer, lane, 0, child, hash),
            None => Ok(()),
        }
    }

    fn add_child(
        &mut self,
        writer: &Writer,
        lane: &mut Lane,
        level: usize,
        child: Child,
        hash: u64,
    ) -> Result<(), RepoError> {
        if self.levels.len() <= level {
            self.levels.push(Segment::default());
        }
        let Some(segment) = self.levels.get_mut(level) else { return Ok(()) };
        segment.add(&child.first, &child, child.entries, child.bytes);
        segment.child = Some(child);
        let bits = LEAF_BITS + NODE_BITS * u32::try_from(level + 1).unwrap_or(u32::MAX);
        if hash.trailing_zeros() >= bits || segment.body.len() >= SEGMENT_BYTES_MAX {
            self.close_node(writer, lane, level, hash)?;
        }
        Ok(())
    }

    fn close_node(&mut self, writer: &Writer, lane: &mut Lane, level: usize, hash: u64) -> Result<(), RepoError> {
        let Some(segment) = self.levels.get_mut(level) else { return Ok(()) };
        match segment.close(writer, lane, Kind::Node)? {
            Some(child) => self.add_child(writer, lane, level + 1, child, hash),
            None => Ok(()),
        }
    }

    /// Closes what is open, level by level, until one blob is left.
    pub fn finish(mut self, writer: &Writer, lane: &mut Lane) -> Result<TreeRoot, RepoError> {
        self.close_leaf(writer, lane, NO_BOUNDARY)?;
        for level in 0..LEVELS_MAX {
            let above_is_empty = self.levels.iter().skip(usize::from(level) + 1).all(|segment| segment.count == 0);
            match self.levels.get(usize::from(level)) {
                Some(Segment { count: 1, child: Some(only), .. }) if above_is_empty => {
                    return Ok(TreeRoot { blob: only.blob, level });
                }
                Some(_) => self.close_node(writer, lane, usize::from(level), NO_BOUNDARY)?,
                None if level == 0 => {
                    let blob = writer.add_metadata(lane, Kind::Leaf, &encode(&Vec::<Entry>::new()))?;
                    return Ok(TreeRoot { blob, level: 0 });
                }
                None => break,
            }
        }
        Err(RepoError::Tree { at: "the root".to_owned(), reason: "too many entries for one tree".to_owned() })
    }

    /// Where a file's bytes are, from its pieces: in the entry if they are few, else in list blobs, cut where the pieces say.
    pub fn content(writer: &Writer, lane: &mut Lane, pieces: Vec<Piece>) -> Result<Content, RepoError> {
        if pieces.len() <= PIECES_INLINE {
            return Ok(Content::Inline(pieces));
        }
        let mut lists = Vec::new();
        let mut start = 0;
        for (at, piece) in pieces.iter().enumerate() {
            let cut = match piece {
                Piece::Data { blob, .. } => {
                    writer.repository.hasher.boundary(blob.as_bytes()).trailing_zeros() >= LIST_BITS
                }
                Piece::Hole { .. } => false,
            };
            if cut || at + 1 - start >= LIST_PIECES_MAX || at + 1 == pieces.len() {
                let part = pieces.get(start..=at).unwrap_or_default();
                lists.push(writer.add_metadata(lane, Kind::List, &encode(&part))?);
                start = at + 1;
            }
        }
        Ok(Content::Lists(lists))
    }
}
