//! Whether the identity at hand opens a snapshot, found out without reading all of it: its tree, and the keys of the sessions that sealed what the first of its files hold.
//!
//! Damage in single places is not looked for: `check` does that, and whoever restores is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::id::{BlobId, SessionId};
use crate::format::entry::{Kind, Piece, TreePath};
use crate::format::record::TreeRoot;
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::tree_read::{TreeReader, lookup, pieces};

/// Entries that are looked at: sessions are few, and most of a volume's are met among the first of its files.
const ENTRIES_MAX: usize = 4096;

/// The error is why nothing, or not enough, would come of a restore; the other is why some of it would be missing.
pub async fn opens(reader: &Arc<Reader>, root: TreeRoot, cancel: &Cancel) -> Result<Option<RepoError>, RepoError> {
    lookup(reader, root, &TreePath::root()).await?;
    let mut looking = Looking { reader, opened: BTreeSet::new(), closed: BTreeSet::new(), first: None };
    let mut tree = TreeReader::open(reader.clone(), root, TreePath::root())?.tolerant();
    let mut seen = 0;
    while let Some(entries) = tree.next().await? {
        if cancel.is_cancelled() {
            return Err(RepoError::Cancelled);
        }
        tree.take_lost();
        seen += entries.len();
        for entry in entries {
            let Kind::File { size, content } = &entry.kind else { continue };
            match pieces(reader, content, *size).await {
                Ok(pieces) => {
                    for piece in pieces {
                        if let Piece::Data { blob, .. } = piece {
                            looking.at(&blob).await?;
                        }
                    }
                }
                Err(error) => drop(reader.blame(error).await?),
            }
        }
        if seen >= ENTRIES_MAX {
            break;
        }
    }
    match looking.first {
        Some(error) if looking.opened.is_empty() => Err(error),
        first => Ok(first),
    }
}

struct Looking<'a> {
    reader: &'a Arc<Reader>,
    opened: BTreeSet<SessionId>,
    /// Not tried again: each costs requests.
    closed: BTreeSet<SessionId>,
    first: Option<RepoError>,
}

impl Looking<'_> {
    /// What is nowhere is damage, and no matter of keys.
    async fn at(&mut self, blob: &BlobId) -> Result<(), RepoError> {
        let mut reader = self.reader;
        if reader.index.copies(blob).next().is_none()
            && let Some(deeper) = reader.deeper().await?
        {
            reader = deeper;
        }
        let mut why = None;
        for location in reader.index.copies(blob) {
            let Some(session) = location.session.and_then(|session| reader.index.session(session)) else { continue };
            if self.opened.contains(&session) {
                return Ok(());
            }
            if self.closed.contains(&session) {
                continue;
            }
            match reader.content_key(&location).await {
                Ok(_) => {
                    self.opened.insert(session);
                    return Ok(());
                }
                Err(error @ RepoError::Removed { .. }) => return Err(error),
                Err(error) => {
                    self.closed.insert(session);
                    why = Some(reader.blame(error).await?);
                }
            }
        }
        self.first = self.first.take().or(why);
        Ok(())
    }
}
