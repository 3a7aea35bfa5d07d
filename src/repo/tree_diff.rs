//! What differs between two trees, change by change: leaves that both have are not read, and of the others a few at a time are in memory.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::base::id::BlobId;
use crate::format::entry::Entry;
use crate::format::record::TreeRoot;
use crate::repo::error::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::tree_read::{TreeReader, leaves};
use crate::repo::tree_write::Child;

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

/// Entries one by one.
struct Entries {
    tree: TreeReader,
    ready: VecDeque<Entry>,
}

impl Entries {
    /// Those of the leaves that the other tree does not have.
    fn unshared(reader: &Arc<Reader>, leaves: Vec<Child>, shared: &HashSet<BlobId>) -> Self {
        let leaves = leaves.into_iter().filter(|child| !shared.contains(&child.blob));
        Self { tree: TreeReader::of_leaves(reader.clone(), leaves), ready: VecDeque::new() }
    }

    async fn peek(&mut self) -> Result<Option<&Entry>, RepoError> {
        if self.ready.is_empty() {
            self.ready.extend(self.tree.next().await?.unwrap_or_default());
        }
        Ok(self.ready.front())
    }

    fn pop(&mut self) -> Option<Entry> {
        self.ready.pop_front()
    }
}

/// The changes from one tree to another, in order of their paths.
pub struct Diff {
    old: Entries,
    new: Entries,
}

impl Diff {
    /// From tree `a` to tree `b`. The nodes of both are read at once.
    pub async fn open(reader: &Arc<Reader>, a: TreeRoot, b: TreeRoot) -> Result<Self, RepoError> {
        let (old, new) =
            if a == b { (Vec::new(), Vec::new()) } else { (leaves(reader, a).await?, leaves(reader, b).await?) };
        let of_old: HashSet<BlobId> = old.iter().map(|child| child.blob).collect();
        let shared = new.iter().map(|child| child.blob).filter(|id| of_old.contains(id)).collect();
        Ok(Self { old: Entries::unshared(reader, old, &shared), new: Entries::unshared(reader, new, &shared) })
    }

    /// The next change; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Change>, RepoError> {
        loop {
            let order = match (self.old.peek().await?, self.new.peek().await?) {
                (Some(a), Some(b)) => a.path.cmp(&b.path),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return Ok(None),
            };
            match order {
                std::cmp::Ordering::Less => return Ok(self.old.pop().map(|entry| Change::Removed(Box::new(entry)))),
                std::cmp::Ordering::Greater => return Ok(self.new.pop().map(|entry| Change::Added(Box::new(entry)))),
                std::cmp::Ordering::Equal => {
                    let Some((a, b)) = self.old.pop().zip(self.new.pop()) else { return Ok(None) };
                    // An inode number or ctime that differs, or the state of a journal, is no change that a person asks about.
                    if (Entry { identity: b.identity, live: b.live.clone(), ..a.clone() }) != b {
                        return Ok(Some(Change::Changed(Box::new(a), Box::new(b))));
                    }
                }
            }
        }
    }
}
