//! Blobs, one by one, into new packs: what snapshots need and nothing here holds whole comes from replicas, and what is still good in a rotten pack is copied out of it.
//!
//! All of it only adds. A pack that is gone and unmarked comes back as it was, under its name; what a mark names does not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::base::id::{BlobId, ObjectId};
use crate::check::{Broken, Trees, Visitor, walk};
use crate::format::entry::{Piece, TreePath};
use crate::format::kind::Kind;
use crate::repair::{Outcome, RepairError, Work, named};
use crate::repo::blame::Blame;
use crate::repo::doomed::Marks;
use crate::repo::fetch::Reader;
use crate::repo::index::{Index, Location};
use crate::repo::presence::Presence;
use crate::repo::rebuild::rebuild_index;
use crate::repo::rescue::Rescue;
use crate::repo::snapshots::Chain;
use crate::repo::{RepoError, Repository, layout, salvage};

/// Copies that cannot be relied on, by pack and blob.
type Bad = HashSet<(ObjectId, BlobId)>;

/// What snapshots need and nothing here holds whole.
struct Needs<'a> {
    index: &'a Index,
    bad: &'a Bad,
    wanted: BTreeSet<BlobId>,
    /// Nodes, leaves and lists that were walked.
    seen: HashSet<BlobId>,
}

/// Whether some copy of a blob is there and was not found bad.
fn is_good(index: &Index, bad: &Bad, blob: &BlobId) -> bool {
    index
        .copies(blob)
        .filter_map(|copy| index.pack(copy.pack))
        .any(|pack| pack.present && !bad.contains(&(pack.id, *blob)))
}

impl Visitor for Needs<'_> {
    fn skip(&mut self, _: Kind, blob: &BlobId) -> bool {
        !self.seen.insert(*blob)
    }

    fn opened(&mut self, _: Kind, _: &BlobId) {}

    fn elsewhere(&mut self, blob: &BlobId) {
        self.wanted.insert(*blob);
    }

    /// Nobody has it: the last check tells what that costs.
    fn broken(&mut self, _: &Broken<'_>) {}

    fn file(&mut self, _: &TreePath, pieces: &[Piece]) {
        for piece in pieces {
            if let Piece::Data { blob, .. } = piece
                && !is_good(self.index, self.bad, blob)
            {
                self.wanted.insert(*blob);
            }
        }
    }
}

/// A reader of what is really in a store.
async fn reader(repository: Arc<Repository>) -> Result<Arc<Reader>, RepoError> {
    let mut index = salvage::load(&repository).await?.index;
    let presence = Presence::load(&repository).await?;
    for pack in &mut index.packs {
        pack.present = presence.packs.contains_key(&pack.id);
        pack.usable &= presence.has(&pack.id, pack.size);
    }
    Ok(Arc::new(Reader::new(repository, Arc::new(index))))
}

/// Brings what is wanted, and copies what is good out of the packs that are `going`. Returns those of them that must stay, since nothing could be copied.
pub(super) async fn heal(
    work: &Work<'_>,
    mut bad: Bad,
    going: &BTreeSet<ObjectId>,
    marks: &Marks,
    outcome: &mut Outcome,
    touched: &mut HashSet<ObjectId>,
) -> Result<HashSet<ObjectId>, RepairError> {
    let own = reader(work.repository.clone()).await?;
    let (mut others, mut named) = (Vec::new(), Vec::new());
    for source in &work.sources.list {
        match reader(Arc::new(work.repository.through(source.store.clone()))).await {
            Ok(other) => {
                others.push(other);
                named.push(source);
            }
            Err(error @ RepoError::Store(_)) => work.sources.away(source, &error),
            Err(error) => work.sources.trouble(source, &layout::format(), &error),
        }
    }
    work.progress.begin("looking for what is lacking", "");
    let mut needs = Needs { index: &own.index, bad: &bad, wanted: BTreeSet::new(), seen: HashSet::new() };
    for snapshot in &Chain::load_to_read(work.repository).await?.snapshots {
        walk(&Trees { own: &own, others: &others }, snapshot.record.root, &mut needs).await;
    }
    let mut wanted = needs.wanted;
    let back = whole_packs(work, &own, &others, marks, &mut wanted, outcome).await?;
    if back.iter().any(|pack| own.index.pack_number(pack).is_none()) {
        outcome.packs_indexed += rebuild_index(work.repository, &**work.clock).await?.packs;
    }
    touched.extend(back);

    let mut rescue = Rescue::start(work.repository.clone(), work.clock.clone());
    work.progress.begin("copying blobs", "");
    for (other, source) in others.iter().zip(named) {
        let (brought, ended) = bring(&mut rescue, other, &mut wanted).await;
        outcome.blobs_brought += brought;
        match ended {
            Ok(()) => {}
            // The replica went away; the next one may have the rest.
            Err(error @ RepoError::Store(_)) => work.sources.away(source, &error),
            Err(error) => return Err(rescue.why_failed(error).await.into()),
        }
    }
    let mut stay = HashSet::new();
    for pack in going {
        let blobs = only_here(&own.index, pack, going, marks, &bad);
        if blobs.is_empty() {
            continue;
        }
        match rescue.copy(pack, &blobs).await {
            Ok(damaged) => {
                outcome.blobs_moved += (blobs.len() - damaged.len()) as u64;
                bad.extend(damaged.into_iter().map(|blob| (*pack, blob)));
            }
            // Neither its table nor the index can be made sense of any more, or it is gone by now.
            Err(
                RepoError::Pack { .. }
                | RepoError::Sealed { .. }
                | RepoError::Record { .. }
                | RepoError::Vanished { .. }
                | RepoError::TooLarge { .. },
            ) => _ = stay.insert(*pack),
            Err(error) => return Err(rescue.why_failed(error).await.into()),
        }
    }
    outcome.packs_written.extend(rescue.finish().await?.packs);
    Ok(stay)
}

/// Packs that are gone come back under their names, where a source has them. Returns them.
async fn whole_packs(
    work: &Work<'_>,
    own: &Reader,
    others: &[Arc<Reader>],
    marks: &Marks,
    wanted: &mut BTreeSet<BlobId>,
    outcome: &mut Outcome,
) -> Result<HashSet<ObjectId>, RepairError> {
    let here = |pack: &ObjectId| own.index.pack_number(pack).and_then(|n| own.index.pack(n)).is_some_and(|p| p.present);
    let packs_of = |blob: &BlobId| -> BTreeSet<ObjectId> {
        let indices = std::iter::once(&own.index).chain(others.iter().map(|other| &other.index));
        let copies = indices.flat_map(|index| index.copies(blob).filter_map(|copy| index.pack(copy.pack)));
        copies.map(|pack| pack.id).collect()
    };
    let mut back: HashSet<ObjectId> = HashSet::new();
    let mut in_vain: HashSet<ObjectId> = HashSet::new();
    for blob in std::mem::take(wanted) {
        let packs = packs_of(&blob);
        let mut found = packs.iter().any(|pack| back.contains(pack));
        for pack in packs.iter().filter(|pack| !here(pack) && !marks.is_pack_doomed(pack)) {
            if found || !in_vain.insert(*pack) {
                continue;
            }
            found = named::by_name(work, &layout::pack(pack), outcome).await?;
            if found {
                back.insert(*pack);
            }
        }
        if !found {
            wanted.insert(blob);
        }
    }
    Ok(back)
}

/// Copies what is wanted and what `other` has; what was copied is wanted no more. With an identity content is opened before it is believed.
async fn bring(
    rescue: &mut Rescue,
    other: &Arc<Reader>,
    wanted: &mut BTreeSet<BlobId>,
) -> (u64, Result<(), RepoError>) {
    let blame = Blame::default();
    let mut brought = 0;
    let mut tried: HashMap<BlobId, HashSet<ObjectId>> = HashMap::new();
    loop {
        // Pack by pack: a pack out of parity costs reading its whole group, and blobs come in no order.
        let mut by_pack: BTreeMap<ObjectId, Vec<(BlobId, Location)>> = BTreeMap::new();
        for blob in wanted.iter() {
            for copy in other.index.copies(blob) {
                let Some(pack) = other.index.pack(copy.pack).filter(|pack| pack.present) else { continue };
                if tried.entry(*blob).or_default().insert(pack.id) {
                    by_pack.entry(pack.id).or_default().push((*blob, copy));
                    break;
                }
            }
        }
        if by_pack.is_empty() {
            return (brought, Ok(()));
        }
        for (pack, copies) in by_pack {
            let mut blobs = HashSet::new();
            for (blob, copy) in copies {
                if copy.session.is_some() && other.repository.has_identity() {
                    match other.data_at(&blob, &copy).await {
                        Ok(_) => {}
                        Err(RepoError::Store(error))
                            if !blame.is_the_objects(&*other.repository.store, &error).await =>
                        {
                            return (brought, Err(error.into()));
                        }
                        Err(_) => continue,
                    }
                }
                blobs.insert(blob);
            }
            if blobs.is_empty() {
                continue;
            }
            match rescue.copy_from(&other.repository, &pack, &blobs).await {
                Ok(damaged) => {
                    let damaged: HashSet<BlobId> = damaged.into_iter().collect();
                    for blob in blobs.difference(&damaged) {
                        wanted.remove(blob);
                        brought += 1;
                    }
                }
                // The upload failed, and says why at the end.
                Err(error @ RepoError::Worker { .. }) => return (brought, Err(error)),
                Err(RepoError::Store(error)) if !blame.is_the_objects(&*other.repository.store, &error).await => {
                    return (brought, Err(error.into()));
                }
                Err(_) => {}
            }
        }
    }
}

/// The good blobs of a pack that no other pack which stays holds.
fn only_here(index: &Index, pack: &ObjectId, going: &BTreeSet<ObjectId>, marks: &Marks, bad: &Bad) -> HashSet<BlobId> {
    let Some(number) = index.pack_number(pack) else { return HashSet::new() };
    let stays = |copy: Location, blob: &BlobId| {
        index.pack(copy.pack).is_some_and(|other| {
            let goes = going.contains(&other.id) || marks.is_pack_doomed(&other.id);
            other.present && !goes && !bad.contains(&(other.id, *blob))
        })
    };
    let here = index.iter().filter(|blob| blob.location.pack == number && !bad.contains(&(*pack, blob.id)));
    here.filter(|blob| !index.copies(&blob.id).any(|copy| stays(copy, &blob.id))).map(|blob| blob.id).collect()
}
