//! What snapshots need: walks their trees and sets a bit in the index for every blob. Leaves are streamed; what two trees share is walked once.

use std::sync::Arc;

use crate::base::id::BlobId;
use crate::format::entry::{self, Content, Piece};
use crate::format::kind::Kind;
use crate::format::record::TreeRoot;
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::index::Index;
use crate::repo::tree_read::{decode_leaf, decode_list, decode_node};
use crate::repo::tree_write::LEVELS_MAX;

/// Tree blobs fetched together.
const BATCH: usize = 64;

/// Walks trees; the used bits of the index are the result: the bit of a blob's *first* copy says that the blob is needed.
pub(crate) struct Reach {
    reader: Reader,
    /// Chunks that no pack holds.
    pub missing: u64,
    /// One of them.
    pub first_missing: Option<BlobId>,
}

impl Reach {
    pub(crate) fn new(repository: Arc<crate::repo::Repository>, index: Arc<Index>) -> Self {
        Self { reader: Reader::new(repository, index), missing: 0, first_missing: None }
    }

    fn index(&self) -> &Index {
        &self.reader.index
    }

    /// Sets the bit; tells whether it was not set before. A tree blob that nothing holds is an error.
    fn need(&self, id: &BlobId) -> Result<bool, RepoError> {
        let first = self.index().copies(id).next().ok_or(RepoError::Missing { blob: *id })?;
        Ok(self.index().mark_used(&first))
    }

    fn need_data(&mut self, id: &BlobId) {
        let index = self.index();
        let new = index.copies(id).next().is_none_or(|first| index.mark_used(&first));
        if new && index.find(id).is_none() {
            self.missing += 1;
            self.first_missing.get_or_insert(*id);
        }
    }

    /// Walks a tree. Any of its tree blobs that cannot be read is an error; chunks that are missing are counted.
    pub(crate) async fn walk(&mut self, root: TreeRoot) -> Result<(), RepoError> {
        if root.level > LEVELS_MAX {
            return Err(RepoError::Tree {
                at: root.blob.to_string(),
                reason: "more levels than any tree has".to_owned(),
            });
        }
        if !self.need(&root.blob)? {
            return Ok(());
        }
        // What waits at each level; the lowest goes first, so that little waits.
        let mut waiting: Vec<Vec<BlobId>> = vec![Vec::new(); usize::from(root.level) + 1];
        if let Some(top) = waiting.last_mut() {
            top.push(root.blob);
        }
        while let Some(level) = waiting.iter().position(|blobs| !blobs.is_empty()) {
            let Some(blobs) = waiting.get_mut(level) else { break };
            let batch = blobs.split_off(blobs.len().saturating_sub(BATCH));
            match level.checked_sub(1).and_then(|below| waiting.get_mut(below)) {
                Some(below) => {
                    for (id, plain) in batch.iter().zip(self.reader.metadata_many(Kind::Node, &batch).await?) {
                        for child in decode_node(id, &plain)? {
                            if self.need(&child.blob)? {
                                below.push(child.blob);
                            }
                        }
                    }
                }
                None => self.walk_leaves(&batch).await?,
            }
        }
        Ok(())
    }

    async fn walk_leaves(&mut self, leaves: &[BlobId]) -> Result<(), RepoError> {
        let mut lists = Vec::new();
        for (id, plain) in leaves.iter().zip(self.reader.metadata_many(Kind::Leaf, leaves).await?) {
            for entry in decode_leaf(id, &plain)? {
                let entry::Kind::File { content, .. } = entry.kind else { continue };
                match content {
                    Content::Inline(pieces) => self.need_pieces(&pieces),
                    Content::Lists(ids) => {
                        for list in ids {
                            if self.need(&list)? {
                                lists.push(list);
                            }
                        }
                    }
                }
            }
        }
        for batch in lists.chunks(BATCH) {
            for (id, plain) in batch.iter().zip(self.reader.metadata_many(Kind::List, batch).await?) {
                self.need_pieces(&decode_list(id, &plain)?);
            }
        }
        Ok(())
    }

    fn need_pieces(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            if let Piece::Data { blob, .. } = piece {
                self.need_data(blob);
            }
        }
    }
}
