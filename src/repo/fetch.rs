//! Reading blobs back: neighbours in one request, every copy tried before one is called lost, every byte checked against its id.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use crate::base::id::{BlobId, SessionId};
use crate::base::pool::{Pool, Pooled};
use crate::compress::Unpacking;
use crate::crypto::content::ContentKey;
use crate::crypto::meta::Subject;
use crate::format::kind::{Kind, RecordKind};
use crate::format::pack::{self, BLOB_BYTES_MAX, HEADER_BYTES_MIN, HEADER_WRAP_BYTES};
use crate::format::record::SessionRecord;
use crate::repo::error::RepoError;
use crate::repo::index::{Index, Location};
use crate::repo::open::Repository;
use crate::repo::opener::Opener;
use crate::repo::{layout, sealed};
use crate::store::StoreError;

/// Reads are widened to multiples of this, so that their lengths say little.
const WIDEN: u64 = 64 << 10;
/// Blobs of a pack this near each other are read in one request.
const GAP_MAX: u64 = 256 << 10;
/// Requests at once.
pub const FETCH_AT_ONCE: usize = 6;
/// Longest run of one request; what is in flight is bounded by this times [`FETCH_AT_ONCE`].
const RUN_BYTES_MAX: u64 = 4 << 20;
/// Openers kept between blobs; more than there are threads that open at once.
const OPENERS_KEPT: usize = 16;

/// Reads blobs of a repository through its index.
pub struct Reader {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Where the blobs are.
    pub index: Arc<Index>,
    keys: Mutex<HashMap<SessionId, Arc<ContentKey>>>,
    openers: Arc<Pool<Opener>>,
}

/// Neighbouring blobs of one pack, read in one request.
#[derive(Debug)]
pub struct Run {
    /// Number of the pack in the index.
    pub pack: u32,
    /// The bytes to read.
    pub range: Range<u64>,
    /// The blobs and where they lie.
    pub blobs: Vec<(BlobId, Location)>,
}

/// Puts blobs into runs: by pack, then by place.
#[must_use]
pub fn plan_runs(mut wanted: Vec<(BlobId, Location)>) -> Vec<Run> {
    wanted.sort_by_key(|(_, location)| (location.pack, location.offset));
    wanted.dedup_by_key(|(_, location)| (location.pack, location.offset));
    let mut runs: Vec<Run> = Vec::new();
    for (id, location) in wanted {
        let start = u64::from(location.offset);
        let end = start + u64::from(location.length);
        match runs.last_mut() {
            Some(run)
                if run.pack == location.pack
                    && start <= run.range.end + GAP_MAX
                    && end - run.range.start <= RUN_BYTES_MAX =>
            {
                run.range.end = run.range.end.max(end);
                run.blobs.push((id, location));
            }
            _ => runs.push(Run { pack: location.pack, range: start..end, blobs: vec![(id, location)] }),
        }
    }
    runs
}

impl Run {
    /// The sealed bytes of one of its blobs, within what [`Reader::fetch_run`] returned.
    #[must_use]
    pub fn slice(&self, bytes: &Bytes, location: &Location) -> Option<Bytes> {
        let start = usize::try_from(u64::from(location.offset).checked_sub(self.range.start)?).ok()?;
        let end = start.checked_add(location.length as usize)?;
        (end <= bytes.len()).then(|| bytes.slice(start..end))
    }
}

impl Reader {
    /// Reads through `index`.
    #[must_use]
    pub fn new(repository: Arc<Repository>, index: Arc<Index>) -> Self {
        Self { repository, index, keys: Mutex::default(), openers: Pool::new(OPENERS_KEPT) }
    }

    /// What a thread opens blobs with; for one after another, since its buffers grow to the longest.
    #[must_use]
    pub fn opener(&self) -> Pooled<Opener> {
        self.openers.take()
    }

    /// Where a blob can be read.
    pub fn locate(&self, id: &BlobId) -> Result<Location, RepoError> {
        self.index.find(id).ok_or(RepoError::Missing { blob: *id })
    }

    /// The bytes of a run; widened reads are cut back.
    pub async fn fetch_run(&self, run: &Run) -> Result<Bytes, RepoError> {
        let pack = self.index.pack(run.pack).ok_or(RepoError::Worker { what: "the index" })?;
        let start = run.range.start / WIDEN * WIDEN;
        let end = run.range.end.next_multiple_of(WIDEN).min(pack.size.max(run.range.end));
        let bytes = self.repository.store.get_range(&layout::pack(&pack.id), start..end).await?;
        let skip = usize::try_from(run.range.start - start).unwrap_or(usize::MAX).min(bytes.len());
        let take = usize::try_from(run.range.end - start).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.slice(skip..take))
    }

    /// One metadata blob, from whichever copy opens.
    pub async fn metadata(&self, kind: Kind, id: &BlobId) -> Result<Vec<u8>, RepoError> {
        let mut last = RepoError::Missing { blob: *id };
        for location in self.index.copies(id) {
            let start = u64::from(location.offset);
            let range = start..start + u64::from(location.length);
            let run = Run { pack: location.pack, range, blobs: Vec::new() };
            let tried = match self.fetch_run(&run).await {
                Ok(bytes) => self.open_metadata(kind, id, &location, &mut self.opener(), &bytes).map(<[u8]>::to_vec),
                Err(error) => {
                    self.not_fetched(location.pack, &error);
                    Err(error)
                }
            };
            match tried {
                Ok(plain) => return Ok(plain),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Many metadata blobs, in the order asked for; neighbours in one request.
    pub async fn metadata_many(&self, kind: Kind, ids: &[BlobId]) -> Result<Vec<Vec<u8>>, RepoError> {
        let wanted = ids.iter().map(|id| Ok((*id, self.locate(id)?))).collect::<Result<Vec<_>, RepoError>>()?;
        let mut opened: HashMap<BlobId, Vec<u8>> = HashMap::with_capacity(ids.len());
        let mut runs = stream::iter(plan_runs(wanted))
            .map(|run| async move {
                let bytes = self.fetch_run(&run).await;
                (run, bytes)
            })
            .buffer_unordered(FETCH_AT_ONCE);
        while let Some((run, bytes)) = runs.next().await {
            let mut opener = self.opener();
            for (id, location) in &run.blobs {
                let plain = bytes.as_ref().ok().and_then(|bytes| run.slice(bytes, location)).and_then(|sealed| {
                    self.open_metadata(kind, id, location, &mut opener, &sealed).map(<[u8]>::to_vec).ok()
                });
                // Not from here: perhaps another copy opens, and if none does the error is that copy's.
                let plain = match plain {
                    Some(plain) => plain,
                    None => self.metadata(kind, id).await?,
                };
                opened.insert(*id, plain);
            }
        }
        let missing = |id: &BlobId| RepoError::Missing { blob: *id };
        let mut left = HashMap::new();
        for id in ids {
            *left.entry(*id).or_insert(0_usize) += 1;
        }
        ids.iter()
            .map(|id| {
                let uses = left.get_mut(id).ok_or_else(|| missing(id))?;
                *uses -= 1;
                let plain = if *uses == 0 { opened.remove(id) } else { opened.get(id).cloned() };
                plain.ok_or_else(|| missing(id))
            })
            .collect()
    }

    /// Opens, decompresses and checks a metadata blob.
    pub fn open_metadata<'o>(
        &self,
        kind: Kind,
        id: &BlobId,
        location: &Location,
        opener: &'o mut Opener,
        sealed: &[u8],
    ) -> Result<&'o [u8], RepoError> {
        let (stored, unpacking) = opener.parts().map_err(RepoError::Compression)?;
        let plain = match self.repository.meta.open(Subject::Blob(kind, id), sealed) {
            Ok(bytes) => {
                *stored = bytes;
                self.unpack(kind, id, location, unpacking, stored)
            }
            Err(error) => Err(self.broken(id, location, &error)),
        };
        match plain {
            Ok(_) => self.index.mark_opened(location.slot),
            Err(_) => self.index.mark_broken(location.pack),
        }
        plain
    }

    /// Opens, decompresses and checks a content blob.
    pub fn open_data<'o>(
        &self,
        key: &ContentKey,
        id: &BlobId,
        location: &Location,
        opener: &'o mut Opener,
        sealed: &[u8],
    ) -> Result<&'o [u8], RepoError> {
        let (stored, unpacking) = opener.parts().map_err(RepoError::Compression)?;
        key.open(id, sealed, stored).map_err(|error| self.broken(id, location, &error))?;
        self.unpack(Kind::Data, id, location, unpacking, stored)
    }

    fn unpack<'o>(
        &self,
        kind: Kind,
        id: &BlobId,
        location: &Location,
        unpacking: &'o mut Unpacking,
        stored: &'o [u8],
    ) -> Result<&'o [u8], RepoError> {
        let plain = unpacking.open(stored, BLOB_BYTES_MAX).map_err(|error| self.broken(id, location, &error))?;
        if self.repository.hasher.blob_id(kind, plain) != *id {
            return Err(self.broken(id, location, &"its plaintext does not match its id"));
        }
        Ok(plain)
    }

    /// What is gone or cannot be read is no better than what does not open; a store that is out of reach says nothing of the pack.
    fn not_fetched(&self, pack: u32, error: &RepoError) {
        if matches!(error, RepoError::Store(StoreError::NotFound { .. } | StoreError::Failed { transient: false, .. }))
        {
            self.index.mark_broken(pack);
        }
    }

    fn broken(&self, id: &BlobId, location: &Location, reason: &dyn std::fmt::Display) -> RepoError {
        let pack = self.index.pack(location.pack).map_or(crate::base::id::ObjectId::new([0; 32]), |pack| pack.id);
        RepoError::Blob { blob: *id, pack, reason: reason.to_string() }
    }

    /// The content key of a location's session: from `sessions/`, or from the wrap inside the pack.
    pub async fn content_key(&self, location: &Location) -> Result<Arc<ContentKey>, RepoError> {
        let pack = self.index.pack(location.pack).ok_or(RepoError::Worker { what: "the index" })?;
        let id = location
            .session
            .and_then(|session| self.index.session(session))
            .ok_or_else(|| self.broken(&BlobId::new([0; 32]), location, &"it is a metadata pack"))?;
        if let Some(key) = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(key.clone());
        }
        if !self.repository.has_identity() {
            return Err(RepoError::IdentityNeeded);
        }
        let session_key = layout::session(&id);
        let store = &*self.repository.store;
        let meta = &self.repository.meta;
        let mut wraps = match sealed::read_at::<SessionRecord>(store, meta, RecordKind::Session, &session_key).await {
            Ok(record) => vec![(record.epoch, record.wrap)],
            Err(_) => Vec::new(),
        };
        let mut failure = None;
        for from_pack in [false, true] {
            if from_pack {
                wraps = self.wraps_in(&pack.id).await?;
            }
            for (epoch, wrap) in &wraps {
                match self.repository.unwrap_session(*epoch, wrap)? {
                    Ok(key) if key.id() == id => {
                        let key = Arc::new(key);
                        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(id, key.clone());
                        return Ok(key);
                    }
                    Ok(_) => {} // another session's: the object was exchanged, or the pack has several
                    Err(error) => failure = Some(error),
                }
            }
        }
        let source = failure.unwrap_or(crate::crypto::content::ContentError::Commitment);
        Err(RepoError::Session { pack: pack.id, source })
    }

    async fn wraps_in(&self, pack: &crate::base::id::ObjectId) -> Result<Vec<(u32, Vec<u8>)>, RepoError> {
        let key = layout::pack(pack);
        let fail = |source| RepoError::Pack { key: key.clone(), source };
        let head = self.repository.store.get_range(&key, 0..WIDEN).await?;
        let count = match head.first_chunk::<HEADER_BYTES_MIN>() {
            Some([_, _, low, high]) => usize::from(u16::from_le_bytes([*low, *high])),
            None => return Err(fail(pack::PackError::Short)),
        };
        let whole = HEADER_BYTES_MIN + count * HEADER_WRAP_BYTES;
        let head =
            if head.len() < whole { self.repository.store.get_range(&key, 0..whole as u64).await? } else { head };
        let (_, wraps) = pack::parse_header(&head).map_err(fail)?;
        Ok(wraps.into_iter().map(|(epoch, wrap)| (epoch, wrap.to_vec())).collect())
    }

    /// One content blob, from whichever copy opens.
    pub async fn data(&self, id: &BlobId) -> Result<Vec<u8>, RepoError> {
        let mut last = RepoError::Missing { blob: *id };
        for location in self.index.copies(id) {
            let tried = self.data_at(id, &location).await;
            match tried {
                Err(RepoError::IdentityNeeded) => return Err(RepoError::IdentityNeeded),
                Ok(plain) => return Ok(plain),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn data_at(&self, id: &BlobId, location: &Location) -> Result<Vec<u8>, RepoError> {
        let start = u64::from(location.offset);
        let range = start..start + u64::from(location.length);
        let run = Run { pack: location.pack, range, blobs: Vec::new() };
        let (bytes, key) = futures::try_join!(self.fetch_run(&run), self.content_key(location))?;
        self.open_data(&key, id, location, &mut self.opener(), &bytes).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pack: u32, offset: u32, length: u32) -> (BlobId, Location) {
        let location = Location { slot: 0, pack, offset, length, session: None };
        (BlobId::new([u8::try_from(offset % 251).unwrap_or(0); 32]), location)
    }

    #[test]
    fn neighbours_are_read_together_and_strangers_apart() {
        let far = u32::try_from(GAP_MAX).expect("small") + 1000;
        let runs = plan_runs(vec![
            wanted(1, 100, 50),
            wanted(0, 500, 50),
            wanted(0, 100, 50),
            wanted(0, 600 + far, 50),
            wanted(0, 100, 50),
        ]);
        let shape: Vec<_> = runs.iter().map(|run| (run.pack, run.range.clone(), run.blobs.len())).collect();
        let far = u64::from(far);
        assert_eq!(shape, [(0, 100..550, 2), (0, 600 + far..650 + far, 1), (1, 100..150, 1)]);
    }
}
