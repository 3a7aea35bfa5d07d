//! Reading blobs back: neighbours in one request, every copy tried before one is called lost, every byte checked against its id.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tokio::sync::OnceCell;

use crate::base::id::{BlobId, SessionId};
use crate::base::pool::{Pool, Pooled};
use crate::compress::Unpacking;
use crate::crypto::content::{ContentKey, HandedKey};
use crate::crypto::meta::Subject;
use crate::format::kind::{Kind, RecordKind};
use crate::format::pack::{self, BLOB_BYTES_MAX, HEADER_BYTES_MIN, HEADER_WRAP_BYTES};
use crate::format::record::SessionRecord;
use crate::repo::blame::Blame;
use crate::repo::error::RepoError;
use crate::repo::index::{Index, Location};
use crate::repo::open::Repository;
use crate::repo::opener::Opener;
use crate::repo::salvage::{self, Salvaged};
use crate::repo::{layout, near, sealed};
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

/// Hears that the tables inside packs stand in for the index.
type Told = Box<dyn Fn(&Salvaged) + Send + Sync>;

/// Reads blobs of a repository through its index.
pub struct Reader {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Where the blobs are.
    pub index: Arc<Index>,
    keys: Arc<Keys>,
    openers: Arc<Pool<Opener>>,
    blame: Blame,
    /// Told when the tables inside packs have to stand in for the index; without it they do not.
    told: Option<Told>,
    /// Reads through those tables; made when the first blob is in no index segment.
    deeper: OnceCell<Option<Arc<Reader>>>,
}

/// The content keys that were opened so far, or handed over.
#[derive(Default)]
struct Keys {
    held: Mutex<HashMap<SessionId, Arc<ContentKey>>>,
    /// There are no others: no identity is there to open them.
    handed: bool,
}

impl Keys {
    fn get(&self, id: &SessionId) -> Option<Arc<ContentKey>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn put(&self, key: ContentKey) -> Arc<ContentKey> {
        let key = Arc::new(key);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(key.id(), key.clone());
        key
    }
}

/// Neighbouring blobs of one pack, read in one request.
#[derive(Debug)]
pub struct Run {
    /// Number of the pack in the index.
    pub pack: u32,
    /// The bytes to read.
    pub range: Range<u64>,
    /// The blobs and where they lie; none stands for a single one that is read by itself.
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
        Self {
            repository,
            index,
            keys: Arc::default(),
            openers: Pool::new(OPENERS_KEPT),
            blame: Blame::default(),
            told: None,
            deeper: OnceCell::new(),
        }
    }

    /// The same, for reading only: blobs that no index segment names are looked for in the tables inside packs. `told` is called once, when that is needed.
    #[must_use]
    pub fn salvaging(mut self, told: impl Fn(&Salvaged) + Send + Sync + 'static) -> Self {
        self.told = Some(Box::new(told));
        self
    }

    /// The same without an identity: reads what these keys open, and nothing else.
    #[must_use]
    pub fn with_keys(mut self, keys: Vec<HandedKey>) -> Self {
        let held = Keys { handed: true, ..Keys::default() };
        for key in keys {
            held.put(ContentKey::of_handed(self.repository.id, key));
        }
        self.keys = Arc::new(held);
        self
    }

    /// Whether any content can be read.
    #[must_use]
    pub fn reads_content(&self) -> bool {
        self.keys.handed || self.repository.has_identity()
    }

    /// What reads blobs that are in no index segment, if anything does.
    pub async fn deeper(&self) -> Result<Option<&Arc<Self>>, RepoError> {
        let Some(told) = &self.told else { return Ok(None) };
        let deeper = self.deeper.get_or_try_init(|| async {
            let salvaged = salvage::load(&self.repository).await?;
            if salvaged.from_tables == 0 {
                return Ok(None);
            }
            told(&salvaged);
            let deeper = Self::new(self.repository.clone(), Arc::new(salvaged.index));
            Ok::<_, RepoError>(Some(Arc::new(Self { keys: self.keys.clone(), ..deeper })))
        });
        Ok(deeper.await?.as_ref())
    }

    /// Tells an error that costs what was being read from one that ends everything, which is the error of this function.
    pub async fn blame(&self, error: RepoError) -> Result<RepoError, RepoError> {
        match &error {
            RepoError::Store(cause) if !self.blame.is_the_objects(&*self.repository.store, cause).await => Err(error),
            RepoError::IdentityNeeded
            | RepoError::Cancelled
            | RepoError::Worker { .. }
            | RepoError::Compression(_)
            | RepoError::Randomness(_) => Err(error),
            _ => Ok(error),
        }
    }

    /// What a thread opens blobs with; for one after another, since its buffers grow to the longest.
    #[must_use]
    pub fn opener(&self) -> Pooled<Opener> {
        self.openers.take()
    }

    /// Whether some bytes are what a content blob holds.
    #[must_use]
    pub fn is_data(&self, id: &BlobId, plain: &[u8]) -> bool {
        self.repository.hasher.blob_id(Kind::Data, plain) == *id
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
        let (store, key) = (&self.repository.store, layout::pack(&pack.id));
        let bytes = match store.get_range(&key, start..end).await {
            // The bad sector may be a neighbour's: the last try for a single blob asks for nothing but it.
            Err(StoreError::Failed { .. }) if run.blobs.is_empty() && (start..end) != run.range => {
                let bytes = store.get_range(&key, run.range.clone()).await?;
                self.blame.read_well();
                return Ok(bytes);
            }
            read => read?,
        };
        self.blame.read_well();
        let skip = usize::try_from(run.range.start - start).unwrap_or(usize::MAX).min(bytes.len());
        let take = usize::try_from(run.range.end - start).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.slice(skip..take))
    }

    /// One metadata blob, from whichever copy opens.
    pub async fn metadata(&self, kind: Kind, id: &BlobId) -> Result<Vec<u8>, RepoError> {
        if let Some(plain) = self.near(kind, &[*id]).await.remove(id) {
            return Ok(plain);
        }
        match self.indexed_metadata(kind, id).await {
            Err(RepoError::Missing { blob }) => match self.deeper().await? {
                Some(deeper) => deeper.indexed_metadata(kind, id).await,
                None => Err(RepoError::Missing { blob }),
            },
            done => done,
        }
    }

    /// Those of some metadata blobs that there is a copy of near at hand, opened. The index hears nothing of them: of the store they say nothing.
    async fn near(&self, kind: Kind, ids: &[BlobId]) -> HashMap<BlobId, Vec<u8>> {
        let copies = near::blobs(&self.repository, kind, ids).await;
        let mut opener = self.opener();
        let open = |(id, sealed): (BlobId, Bytes)| {
            let plain = self.unseal_metadata(kind, &id, opener.parts().ok()?, &sealed).ok()?;
            Some((id, plain.to_vec()))
        };
        copies.into_iter().filter_map(open).collect()
    }

    async fn indexed_metadata(&self, kind: Kind, id: &BlobId) -> Result<Vec<u8>, RepoError> {
        let mut last = RepoError::Missing { blob: *id };
        for location in self.index.copies(id) {
            let start = u64::from(location.offset);
            let range = start..start + u64::from(location.length);
            let run = Run { pack: location.pack, range, blobs: Vec::new() };
            let tried = match self.fetch_run(&run).await {
                Ok(bytes) => {
                    let opened =
                        self.open_metadata(kind, id, &location, &mut self.opener(), &bytes).map(<[u8]>::to_vec);
                    if opened.is_ok() {
                        near::keep(&self.repository, kind, vec![(*id, bytes)]).await;
                    }
                    opened
                }
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

    /// Many metadata blobs, in the order asked for; neighbours in one request. The first that does not read is the error.
    pub async fn metadata_many(&self, kind: Kind, ids: &[BlobId]) -> Result<Vec<Vec<u8>>, RepoError> {
        self.metadata_of(kind, ids, false).await?.into_iter().collect()
    }

    /// The same, each for itself: what does not read is told in its place, and the error is one that ends everything.
    pub async fn metadata_each(
        &self,
        kind: Kind,
        ids: &[BlobId],
    ) -> Result<Vec<Result<Vec<u8>, RepoError>>, RepoError> {
        self.metadata_of(kind, ids, true).await
    }

    async fn metadata_of(
        &self,
        kind: Kind,
        ids: &[BlobId],
        tolerant: bool,
    ) -> Result<Vec<Result<Vec<u8>, RepoError>>, RepoError> {
        let mut wanted = Vec::with_capacity(ids.len());
        let mut opened: HashMap<BlobId, Result<Vec<u8>, RepoError>> =
            self.near(kind, ids).await.into_iter().map(|(id, plain)| (id, Ok(plain))).collect();
        let mut unknown = Vec::new();
        for id in ids.iter().filter(|id| !opened.contains_key(id)) {
            match self.locate(id) {
                Ok(location) => wanted.push((*id, location)),
                Err(_) => unknown.push(*id),
            }
        }
        if !unknown.is_empty() {
            if let Some(deeper) = self.deeper().await? {
                let found = Box::pin(deeper.metadata_of(kind, &unknown, tolerant)).await?;
                opened.extend(unknown.iter().copied().zip(found));
            } else {
                for id in unknown {
                    if !tolerant {
                        return Err(RepoError::Missing { blob: id });
                    }
                    // There may be a copy in a pack that is not there: the error then says so.
                    let read = match self.indexed_metadata(kind, &id).await {
                        Err(error) => Err(self.blame(error).await?),
                        read => read,
                    };
                    opened.insert(id, read);
                }
            }
        }
        let mut runs = stream::iter(plan_runs(wanted))
            .map(|run| async move {
                let bytes = self.fetch_run(&run).await;
                (run, bytes)
            })
            .buffer_unordered(FETCH_AT_ONCE);
        while let Some((run, bytes)) = runs.next().await {
            let mut kept = Vec::new();
            for (id, location) in &run.blobs {
                let plain = bytes.as_ref().ok().and_then(|bytes| run.slice(bytes, location)).and_then(|sealed| {
                    let plain = self.open_metadata(kind, id, location, &mut self.opener(), &sealed).ok()?.to_vec();
                    kept.push((*id, sealed));
                    Some(plain)
                });
                // Not from here: perhaps another copy opens, and if none does the error is that copy's.
                let read = match plain {
                    Some(plain) => Ok(plain),
                    None => match self.metadata(kind, id).await {
                        Err(error) if tolerant => Err(self.blame(error).await?),
                        done => Ok(done?),
                    },
                };
                opened.insert(*id, read);
            }
            near::keep(&self.repository, kind, kept).await;
        }
        let mut left = HashMap::new();
        for id in ids {
            *left.entry(*id).or_insert(0_usize) += 1;
        }
        Ok(ids.iter().map(|id| take(&mut opened, &mut left, id)).collect())
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
        let parts = opener.parts().map_err(RepoError::Compression)?;
        let plain = self.unseal_metadata(kind, id, parts, sealed);
        match plain {
            Ok(_) => self.index.mark_opened(location.slot),
            Err(_) => self.index.mark_broken(location.pack),
        }
        plain.map_err(|reason| self.broken(id, location, &reason))
    }

    /// The same without a word to the index; the error is the reason.
    fn unseal_metadata<'o>(
        &self,
        kind: Kind,
        id: &BlobId,
        (stored, unpacking): (&'o mut Vec<u8>, &'o mut Unpacking),
        sealed: &[u8],
    ) -> Result<&'o [u8], String> {
        let opened = self.repository.meta.open(Subject::Blob(kind, id), sealed);
        *stored = opened.map_err(|error| error.to_string())?;
        self.unpack(kind, id, unpacking, stored)
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
        self.unpack(Kind::Data, id, unpacking, stored).map_err(|reason| self.broken(id, location, &reason))
    }

    fn unpack<'o>(
        &self,
        kind: Kind,
        id: &BlobId,
        unpacking: &'o mut Unpacking,
        stored: &'o [u8],
    ) -> Result<&'o [u8], String> {
        let plain = unpacking.open(stored, BLOB_BYTES_MAX).map_err(|error| error.to_string())?;
        if self.repository.hasher.blob_id(kind, plain) != *id {
            return Err("its plaintext does not match its id".to_owned());
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
        if let Some(key) = self.keys.get(&id) {
            return Ok(key);
        }
        if self.keys.handed {
            return Err(RepoError::NotHanded { pack: pack.id });
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
                        return Ok(self.keys.put(key));
                    }
                    Ok(_) => {} // another session's: the object was exchanged, or the pack has several
                    Err(error) => failure = Some(error),
                }
            }
        }
        let source = failure.unwrap_or(crate::crypto::content::ContentError::Commitment);
        Err(RepoError::Session { pack: pack.id, source })
    }

    pub(crate) async fn wraps_in(&self, pack: &crate::base::id::ObjectId) -> Result<Vec<(u32, Vec<u8>)>, RepoError> {
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
        match self.indexed_data(id).await {
            Err(RepoError::Missing { blob }) => match self.deeper().await? {
                Some(deeper) => deeper.indexed_data(id).await,
                None => Err(RepoError::Missing { blob }),
            },
            done => done,
        }
    }

    async fn indexed_data(&self, id: &BlobId) -> Result<Vec<u8>, RepoError> {
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

    pub(crate) async fn data_at(&self, id: &BlobId, location: &Location) -> Result<Vec<u8>, RepoError> {
        let start = u64::from(location.offset);
        let range = start..start + u64::from(location.length);
        let run = Run { pack: location.pack, range, blobs: Vec::new() };
        let (bytes, key) = futures::try_join!(self.fetch_run(&run), self.content_key(location))?;
        self.open_data(&key, id, location, &mut self.opener(), &bytes).map(<[u8]>::to_vec)
    }
}

/// What was read of a blob that may be asked for several times; the last time it is moved out.
fn take(
    opened: &mut HashMap<BlobId, Result<Vec<u8>, RepoError>>,
    left: &mut HashMap<BlobId, usize>,
    id: &BlobId,
) -> Result<Vec<u8>, RepoError> {
    let missing = || RepoError::Missing { blob: *id };
    let uses = left.get_mut(id).ok_or_else(missing)?;
    *uses -= 1;
    if *uses == 0 {
        return opened.remove(id).unwrap_or_else(|| Err(missing()));
    }
    match opened.get(id) {
        Some(Ok(plain)) => Ok(plain.clone()),
        Some(Err(error)) => Err(RepoError::Tree { at: id.to_string(), reason: error.to_string() }),
        None => Err(missing()),
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
