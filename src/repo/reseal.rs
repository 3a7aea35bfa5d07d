//! Sealing anew, under the metadata key of the epoch that is current, what earlier ones sealed: records, the index, tree blobs. Content stays as it is, where it is.
//!
//! Everything here only adds, and what was added before is known again: a run that was cut off is finished by the next. What the new objects replace is for
//! the caller to mark, once nothing needs it any more.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use minicbor::{Decode, Encode};

use crate::base::clock::{Clock, Time};
use crate::base::id::{BlobId, ObjectId};
use crate::compress::{LEVEL_DEFAULT, Packing};
use crate::crypto::meta::{Subject, epoch_of_record};
use crate::format::kind::{Kind, RecordKind};
use crate::format::pack::{IndexSegment, IndexedPack, PackClass};
use crate::repo::doomed::{self, Marks, OBJECTS_MAX};
use crate::repo::error::RepoError;
use crate::repo::index::{Index, IndexBuilder, load_segments, read_segment};
use crate::repo::open::Repository;
use crate::repo::packer::{PackBuilder, TRAILER_BYTES};
use crate::repo::presence::{Presence, adopt, put_segment, put_segments};
use crate::repo::upload::{PackSender, Uploads, retain_until};
use crate::repo::write::Written;
use crate::repo::{layout, sealed};
use crate::store::Key;

/// Records fetched at once.
const FETCH_AT_ONCE: usize = 8;
/// Index segments in memory at once.
const SEGMENTS_AT_ONCE: usize = 4;

/// A record as it lies in the store.
pub(crate) struct Stored<T> {
    pub key: Key,
    pub id: ObjectId,
    /// When the store took it.
    pub modified: Time,
    /// Sealed with an earlier key.
    pub old: bool,
    pub record: T,
}

/// All records below a prefix.
pub(crate) struct Prefix<T> {
    pub found: Vec<Stored<T>>,
    /// Those that do not read, and why.
    pub unreadable: Vec<(ObjectId, RepoError)>,
    /// Those that were listed and were gone when they were to be read.
    pub vanished: Vec<ObjectId>,
}

/// Reads all records of a kind; those of epochs before `first` are old. What the store cannot read is an error.
pub(crate) async fn read_all<T: for<'b> Decode<'b, ()>>(
    repository: &Repository,
    first: u32,
    kind: RecordKind,
    prefix: &'static str,
) -> Result<Prefix<T>, RepoError> {
    let listed = repository.store.list(prefix).await?;
    let mut reads = stream::iter(listed)
        .map(|entry| async move {
            let stored = sealed::get_of(&*repository.store, kind, &entry.key).await;
            (entry, stored)
        })
        .buffer_unordered(FETCH_AT_ONCE);
    let mut all = Prefix { found: Vec::new(), unreadable: Vec::new(), vanished: Vec::new() };
    while let Some((entry, stored)) = reads.next().await {
        let Some(id) = layout::object_id(&entry.key) else { continue };
        let stored = match stored {
            Err(RepoError::Store(error)) if error.is_not_found() => {
                all.vanished.push(id);
                continue;
            }
            Err(error @ RepoError::Store(_)) => return Err(error),
            other => other,
        };
        let opened = stored.and_then(|stored| {
            let old = epoch_of_record(&stored).is_some_and(|epoch| epoch < first);
            Ok((old, sealed::open_named(&repository.meta, kind, &entry.key, &stored)?))
        });
        match opened {
            Ok((old, record)) => {
                all.found.push(Stored { key: entry.key, id, modified: entry.modified, old, record });
            }
            // Of a key that was retired before: it counts for nothing already.
            Err(error) if error.is_retired() => {}
            Err(error) => all.unreadable.push((id, error)),
        }
    }
    all.found.sort_by_key(|stored| stored.id);
    Ok(all)
}

/// Puts a record below a prefix unless one of `there` says the same; returns its id.
pub(crate) async fn put_once<T: Encode<()> + PartialEq>(
    repository: &Repository,
    kind: RecordKind,
    prefix: &'static str,
    record: &T,
    there: &[Stored<T>],
    now: Time,
) -> Result<ObjectId, RepoError> {
    if let Some(same) = there.iter().find(|stored| !stored.old && stored.record == *record) {
        return Ok(same.id);
    }
    let retain = retain_until(repository, now);
    Ok(sealed::put(&*repository.store, &repository.meta, kind, prefix, record, retain).await?.0)
}

/// Marks that only earlier keys open are made again: what they doom is doomed for who holds the new key. Returns the old ones' names.
pub(crate) async fn marks(repository: &Repository, first: u32, now: Time) -> Result<Vec<Key>, RepoError> {
    use crate::format::record::DoomMark;
    let all = read_all::<DoomMark>(repository, first, RecordKind::Doomed, layout::DOOMED).await?;
    let rotten = |(_, error): &&(ObjectId, RepoError)| matches!(error, RepoError::Damaged { .. });
    if let Some((id, _)) = all.unreadable.iter().find(rotten) {
        // Nobody knows what it dooms.
        return Err(RepoError::Damaged { key: layout::named(layout::DOOMED, id) });
    }
    let (old, new): (Vec<_>, Vec<_>) = all.found.into_iter().partition(|stored| stored.old);
    let known: HashSet<&String> = new.iter().flat_map(|stored| &stored.record.objects).collect();
    let named: BTreeSet<&String> = old.iter().flat_map(|stored| &stored.record.objects).collect();
    let again: Vec<Key> = named
        .into_iter()
        .filter(|name| !known.contains(name))
        .filter_map(|name| Key::new(name.as_str()).ok())
        .collect();
    for objects in again.chunks(OBJECTS_MAX) {
        doomed::mark(repository, objects.to_vec(), now).await?;
    }
    Ok(old.into_iter().map(|stored| stored.key).collect())
}

/// The index, in which old and new segments are told apart.
pub(crate) struct Segments {
    /// Everything that any segment names, as it can be relied on.
    pub index: Arc<Index>,
    /// Segments that earlier keys sealed, or that nobody can read and a mark dooms.
    pub old: Vec<Key>,
    /// Segments of the new key.
    pub new: Vec<Key>,
    /// Metadata packs that only old segments name.
    pub old_packs: BTreeSet<ObjectId>,
    /// What lies in metadata packs of the new key already.
    pub blobs: HashSet<BlobId>,
    /// Content packs that are in segments of the new key.
    covered: HashSet<ObjectId>,
    /// What is there.
    pub presence: Presence,
    pub marks: Marks,
}

/// Whether the trailer of a pack was sealed in an epoch before `first`. One that is gone is of no use either.
async fn is_old(repository: &Repository, first: u32, pack: &IndexedPack) -> Result<bool, RepoError> {
    let start = pack.size.saturating_sub(TRAILER_BYTES as u64);
    match repository.store.get_range(&layout::pack(&pack.id), start..pack.size).await {
        Ok(trailer) => Ok(epoch_of_record(&trailer).is_none_or(|epoch| epoch < first)),
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) => Err(error.into()),
    }
}

impl Segments {
    /// Reads all of the index.
    pub(crate) async fn load(repository: &Repository, first: u32) -> Result<Self, RepoError> {
        let listed = repository.store.list(layout::INDEX).await?;
        let mut packs: Vec<(Key, Vec<IndexedPack>)> = Vec::new();
        let builder = load_segments(repository, &listed, &mut |key, segment| {
            let metadata = segment.packs.iter().filter(|pack| class(pack) == PackClass::Metadata).cloned();
            packs.push((key.clone(), metadata.collect()));
        })
        .await?;
        let keys: Vec<Key> = listed.iter().map(|entry| entry.key.clone()).collect();
        // The epoch stands at the head, and the seals have opened.
        let heads: Vec<(Key, Option<u32>)> = stream::iter(keys)
            .map(|key| async move {
                match repository.store.get_range(&key, 0..8).await {
                    Ok(head) => Ok((key, epoch_of_record(&head))),
                    Err(error) if error.is_not_found() => Ok((key, None)),
                    Err(error) => Err(RepoError::from(error)),
                }
            })
            .buffer_unordered(FETCH_AT_ONCE)
            .try_collect()
            .await?;
        let marks = Marks::load(repository).await?;
        let presence = Presence::load(repository).await?;
        let readable: HashSet<&Key> = packs.iter().map(|(key, _)| key).collect();
        let is_new =
            |(key, epoch): &(Key, Option<u32>)| readable.contains(key) && epoch.is_some_and(|epoch| epoch >= first);
        let (new, old): (Vec<_>, Vec<_>) =
            heads.into_iter().filter(|(key, _)| layout::object_id(key).is_some()).partition(is_new);
        let named = |heads: Vec<(Key, Option<u32>)>| heads.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let (new, old) = (named(new), named(old));
        let (mut blobs, mut old_packs, mut sound) = (HashSet::new(), BTreeSet::new(), HashSet::new());
        let (of_new, of_old): (Vec<_>, Vec<_>) = packs.into_iter().partition(|(key, _)| new.contains(key));
        old_packs.extend(of_old.iter().flat_map(|(_, packs)| packs).map(|pack| pack.id));
        let mut asked = stream::iter(of_new.into_iter().flat_map(|(_, packs)| packs))
            .map(|pack| async move {
                let old = is_old(repository, first, &pack).await;
                (pack, old)
            })
            .buffer_unordered(FETCH_AT_ONCE);
        while let Some((pack, old)) = asked.next().await {
            if old? {
                old_packs.insert(pack.id);
            } else {
                sound.insert(pack.id);
                blobs.extend(pack.table.records().map(|record| record.id));
            }
        }
        drop(asked);
        old_packs.retain(|pack| !sound.contains(pack) && presence.packs.contains_key(pack));
        let mut index = builder.finish(Vec::new());
        presence.apply(&mut index, &marks);
        let index = Arc::new(index);
        Ok(Self { index, old, new, old_packs, blobs, covered: HashSet::new(), presence, marks })
    }

    /// Puts what old segments say of content packs that are there into new ones, a segment for a segment; and content packs of backups that were cut off.
    pub(crate) async fn reseal(&mut self, repository: &Repository) -> Result<u64, RepoError> {
        let now = self.presence.latest();
        let mut written = 0;
        let mut segments = segments(repository, &self.new);
        while let Some(segment) = segments.next().await {
            self.covered.extend(segment?.packs.iter().map(|pack| pack.id));
        }
        drop(segments);
        let mut builder = IndexBuilder::default();
        let old = self.old.clone();
        let mut segments = self::segments(repository, &old);
        while let Some(segment) = segments.next().await {
            // What nobody can read was set aside: others name its packs.
            let segment = match segment {
                Err(error @ RepoError::Store(_)) => return Err(error),
                read => read.unwrap_or_default(),
            };
            segment.packs.iter().for_each(|pack| builder.add(pack));
            let wanted =
                |pack: &IndexedPack| class(pack) == PackClass::Content && self.presence.packs.contains_key(&pack.id);
            let packs: Vec<IndexedPack> =
                segment.packs.into_iter().filter(|pack| wanted(pack) && !self.covered.contains(&pack.id)).collect();
            if packs.is_empty() {
                continue;
            }
            self.covered.extend(packs.iter().map(|pack| pack.id));
            put_segment(repository, &IndexSegment { packs }, now).await?;
            written += 1;
        }
        let mut known = IndexBuilder::default();
        self.index.packs.iter().for_each(|pack| known.add(&named(pack.id)));
        let mut orphans = adopt(repository, &mut known, &self.marks, &self.presence, usize::MAX).await?;
        orphans.retain(|pack| class(pack) == PackClass::Content);
        written += u64::from(!orphans.is_empty());
        put_segments(repository, orphans, now).await?;
        Ok(written)
    }
}

/// A pack of which nothing but the name matters.
fn named(id: ObjectId) -> IndexedPack {
    IndexedPack { id, size: 0, table: crate::format::pack::PackTable::new(Vec::new(), &[]) }
}

fn class(pack: &IndexedPack) -> PackClass {
    if pack.table.sessions.is_empty() { PackClass::Metadata } else { PackClass::Content }
}

/// Segments, in order, a few at once: a segment may be some MiB.
fn segments<'a>(
    repository: &'a Repository,
    keys: &'a [Key],
) -> impl Stream<Item = Result<IndexSegment, RepoError>> + Unpin + 'a {
    stream::iter(keys).map(|key| read_segment(repository, key)).buffered(SEGMENTS_AT_ONCE)
}

/// The index as it is to who holds the new key alone: what these segments say, and nothing else.
pub(crate) async fn index_of(repository: &Repository, segments: &[Key]) -> Result<Index, RepoError> {
    let mut builder = IndexBuilder::default();
    let mut read = self::segments(repository, segments);
    while let Some(segment) = read.next().await {
        segment?.packs.iter().for_each(|pack| builder.add(pack));
    }
    drop(read);
    let mut index = builder.finish(segments.to_vec());
    let marks = Marks::load(repository).await?;
    Presence::load(repository).await?.apply(&mut index, &marks);
    Ok(index)
}

/// Puts tree blobs into metadata packs of the current epoch. Nothing counts before [`Resealer::finish`] has returned.
pub(crate) struct Resealer {
    repository: Arc<Repository>,
    uploads: Uploads,
    sender: PackSender,
    pack: PackBuilder,
    packing: Packing,
    buffer: Vec<u8>,
}

impl Resealer {
    /// Starts; nothing is stored until there is something to store.
    pub(crate) fn start(repository: Arc<Repository>, clock: Arc<dyn Clock>) -> Result<Self, RepoError> {
        let uploads = Uploads::start(repository.clone(), clock);
        let sender = uploads.sender();
        let pack = PackBuilder::new(PackClass::Metadata, uploads.buffers());
        let packing = Packing::new(LEVEL_DEFAULT).map_err(RepoError::Compression)?;
        Ok(Self { repository, uploads, sender, pack, packing, buffer: Vec::new() })
    }

    /// Adds a blob that was opened and has this id.
    pub(crate) async fn add(&mut self, kind: Kind, id: BlobId, plain: &[u8]) -> Result<(), RepoError> {
        let too_long = || RepoError::Tree {
            at: id.to_string(),
            reason: format!("{} bytes are more than a blob has", plain.len()),
        };
        let length = u32::try_from(plain.len()).map_err(|_| too_long())?;
        self.buffer.clear();
        self.packing.append(plain, &mut self.buffer);
        let sealed = self.repository.meta.seal(Subject::Blob(kind, &id), &self.buffer)?;
        if self.pack.is_full_for(sealed.len()) {
            let place = self.sender.place().await?;
            let empty = PackBuilder::new(PackClass::Metadata, self.uploads.buffers());
            let full = std::mem::replace(&mut self.pack, empty);
            self.sender.hand_over(full.finish(&self.repository.meta)?, place)?;
        }
        self.pack.add(kind, id, &sealed, length, None);
        Ok(())
    }

    /// Waits until everything is stored and indexed.
    pub(crate) async fn finish(self) -> Result<Written, RepoError> {
        if !self.pack.is_empty() {
            // If the uploads failed they say below why.
            let _ = self.sender.send(self.pack.finish(&self.repository.meta)?).await;
        }
        drop(self.sender);
        let stored = self.uploads.stored_bytes();
        let packs = self.uploads.finish().await?;
        Ok(Written { packs, stored_bytes: stored.load(Ordering::Relaxed) })
    }
}
