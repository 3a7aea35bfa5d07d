//! Which content keys a snapshot takes: those of the sessions that sealed what it holds, and no others. Whoever restores it elsewhere is given these.
//!
//! Only metadata is read, a part of the tree at a time, and what is held are ids of sessions: neither grows with a volume. A chunk that two volumes have
//! in common was sealed once, by the session of one of them: then the key of that session goes along, and with it what else it sealed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::id::{BlobId, SessionId};
use crate::crypto::content::HandedKey;
use crate::format::entry::{Kind, Piece, TreePath};
use crate::format::record::TreeRoot;
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::index::Location;
use crate::repo::tree_read::{TreeReader, pieces};

/// A session, by a place where something of it lies.
struct Found {
    session: SessionId,
    deeper: bool,
    location: Location,
}

/// The keys for restoring what is at and below `within`. What cannot be read of the tree takes none: whoever restores finds it damaged. So does what is
/// sealed with a key that does not open.
pub async fn keys(
    reader: &Arc<Reader>,
    root: TreeRoot,
    within: &TreePath,
    cancel: &Cancel,
) -> Result<Vec<HandedKey>, RepoError> {
    let mut taken =
        Taken { reader, sessions: BTreeSet::new(), keys: Vec::new(), open: BTreeSet::new(), places: Vec::new() };
    let mut tree = TreeReader::open(reader.clone(), root, within.clone())?.tolerant();
    while let Some(entries) = tree.next().await? {
        if cancel.is_cancelled() {
            return Err(RepoError::Cancelled);
        }
        // A lost part has no content that could be restored.
        tree.take_lost();
        for entry in entries {
            let Kind::File { size, content } = &entry.kind else { continue };
            let pieces = match pieces(reader, content, *size).await {
                Ok(pieces) => pieces,
                Err(error) => {
                    reader.blame(error).await?;
                    continue;
                }
            };
            for piece in pieces {
                if let Piece::Data { blob, .. } = piece {
                    taken.blob(&blob).await?;
                }
            }
        }
    }
    taken.finish().await
}

struct Taken<'a> {
    reader: &'a Arc<Reader>,
    /// Those whose keys are held.
    sessions: BTreeSet<SessionId>,
    keys: Vec<HandedKey>,
    /// Blobs with copies of several sessions, as sets of these: one of each set has to be taken, at best one that is taken anyway.
    open: BTreeSet<BTreeSet<SessionId>>,
    /// A place of every session in them.
    places: Vec<Found>,
}

impl Taken<'_> {
    async fn blob(&mut self, id: &BlobId) -> Result<(), RepoError> {
        let mut found = Self::copies(self.reader, id, false);
        if found.is_empty()
            && let Some(deeper) = self.reader.deeper().await?
        {
            found = Self::copies(deeper, id, true);
        }
        let of: BTreeSet<SessionId> = found.iter().map(|found| found.session).collect();
        if of.is_empty() || of.iter().any(|session| self.sessions.contains(session)) {
            return Ok(());
        }
        if of.len() > 1 {
            for found in found {
                if !self.places.iter().any(|place| place.session == found.session) {
                    self.places.push(found);
                }
            }
            self.open.insert(of);
            return Ok(());
        }
        match found.into_iter().next() {
            Some(found) => self.take(&found).await.map(drop),
            None => Ok(()),
        }
    }

    fn copies(reader: &Reader, id: &BlobId, deeper: bool) -> Vec<Found> {
        let found = |location: Location| {
            let session = reader.index.session(location.session?)?;
            Some(Found { session, deeper, location })
        };
        reader.index.copies(id).filter_map(found).collect()
    }

    /// Whether its key opens.
    async fn take(&mut self, found: &Found) -> Result<bool, RepoError> {
        if self.sessions.contains(&found.session) {
            return Ok(true);
        }
        let reader = match self.reader.deeper().await? {
            Some(deeper) if found.deeper => deeper,
            _ => self.reader,
        };
        match reader.content_key(&found.location).await {
            Ok(key) => {
                self.keys.push(key.handed());
                self.sessions.insert(found.session);
                Ok(true)
            }
            Err(error @ RepoError::Removed { .. }) => Err(error),
            Err(error) => {
                reader.blame(error).await?;
                Ok(false)
            }
        }
    }

    async fn finish(mut self) -> Result<Vec<HandedKey>, RepoError> {
        let places = std::mem::take(&mut self.places);
        for of in std::mem::take(&mut self.open) {
            if of.iter().any(|session| self.sessions.contains(session)) {
                continue;
            }
            for place in places.iter().filter(|place| of.contains(&place.session)) {
                if self.take(place).await? {
                    break;
                }
            }
        }
        Ok(self.keys)
    }
}
