//! Copies whatever is needed out of doomed objects: blobs into new packs, and what doomed index segments say of packs that are there into new segments.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::base::clock::Clock;
use crate::base::id::{BlobId, ObjectId};
use crate::format::pack::IndexSegment;
use crate::prune::PruneError;
use crate::prune::view::View;
use crate::repo::index::{Indexed, read_segment};
use crate::repo::presence::put_segment;
use crate::repo::rescue::Rescue;
use crate::repo::upload::SEGMENT_BLOBS;
use crate::repo::{RepoError, Repository, layout};
use crate::store::Key;

/// What is going to be marked, and counts as marked.
#[derive(Default)]
pub(crate) struct Also {
    pub packs: HashSet<ObjectId>,
    pub segments: HashSet<Key>,
}

/// What was copied.
#[derive(Default)]
pub(crate) struct Secured {
    /// Packs that hold something needed which does not read: they must stay.
    pub damaged: HashSet<ObjectId>,
    pub packs: Vec<ObjectId>,
    pub stored_bytes: u64,
}

/// Afterwards every needed blob that was only in doomed packs is in a new one as well, but for those in [`Secured::damaged`]; and every pack that is there
/// is named by a segment that nobody doomed.
pub(crate) async fn secure(
    repository: &Arc<Repository>,
    clock: &Arc<dyn Clock>,
    view: &View,
    also: &Also,
) -> Result<Secured, PruneError> {
    let mut secured = Secured::default();
    // What did not copy from a pack, by pack: its blobs are looked for in other doomed packs, one of which may hold the last good copy.
    let mut failed: BTreeMap<ObjectId, HashSet<BlobId>> = BTreeMap::new();
    let mut copied: HashSet<BlobId> = HashSet::new();
    let mut wanted = wanted(view, also, &copied, &failed);
    if !wanted.is_empty() {
        let mut rescue = Rescue::start(repository.clone(), clock.clone());
        while !wanted.is_empty() {
            for (pack, blobs) in wanted {
                let damaged: HashSet<BlobId> = match rescue.copy(&pack, &blobs).await {
                    Ok(damaged) => damaged.into_iter().collect(),
                    Err(RepoError::Pack { .. } | RepoError::Sealed { .. } | RepoError::Record { .. }) => blobs.clone(),
                    Err(error) => return Err(rescue.why_failed(error).await.into()),
                };
                copied.extend(blobs.difference(&damaged));
                failed.entry(pack).or_default().extend(damaged);
            }
            wanted = self::wanted(view, also, &copied, &failed);
        }
        let written = rescue.finish().await?;
        secured.packs = written.packs;
        secured.stored_bytes = written.stored_bytes;
    }
    let lost = |blobs: &HashSet<BlobId>| blobs.iter().any(|blob| !copied.contains(blob));
    secured.damaged = failed.iter().filter(|(_, blobs)| lost(blobs)).map(|(pack, _)| *pack).collect();
    secure_index(repository, view, also).await?;
    Ok(secured)
}

/// What must stay where nothing can be copied: packs with any copy of a needed blob that has no good one elsewhere, and doomed index segments that alone
/// name a pack which is there.
pub(crate) fn irreplaceable(view: &View) -> HashSet<Key> {
    let mut stay = HashSet::new();
    view.for_needed(|copies| {
        let usable = |number| view.index.pack(number).is_some_and(|pack| pack.usable);
        if view.good(copies, &usable).next().is_none() {
            let packs = copies.iter().filter_map(|copy| view.index.pack(copy.location.pack));
            stay.extend(packs.map(|pack| layout::pack(&pack.id)));
        }
    });
    let (doomed, kept): (Vec<_>, Vec<_>) = view.segments.iter().partition(|segment| view.marks.is_doomed(&segment.key));
    let named: HashSet<ObjectId> =
        kept.iter().flat_map(|segment| segment.packs.iter().map(|(pack, _)| *pack)).collect();
    let alone = |pack: &ObjectId| view.presence.packs.contains_key(pack) && !named.contains(pack);
    stay.extend(
        doomed
            .into_iter()
            .filter(|segment| segment.packs.iter().any(|(pack, _)| alone(pack)))
            .map(|segment| segment.key.clone()),
    );
    stay
}

/// Needed blobs without a good copy, by the doomed pack to copy them from: one from which they did not fail before.
fn wanted(
    view: &View,
    also: &Also,
    copied: &HashSet<BlobId>,
    failed: &BTreeMap<ObjectId, HashSet<BlobId>>,
) -> BTreeMap<ObjectId, HashSet<BlobId>> {
    let mut wanted: BTreeMap<ObjectId, HashSet<BlobId>> = BTreeMap::new();
    view.for_needed(|copies| {
        let pack_of = |number: u32| view.index.pack(number);
        let stays = |number| pack_of(number).is_some_and(|pack| pack.usable && !also.packs.contains(&pack.id));
        if copies.iter().any(|copy| copied.contains(&copy.id)) || view.good(copies, &stays).next().is_some() {
            return;
        }
        let doomed = |id: &ObjectId| also.packs.contains(id) || view.marks.is_pack_doomed(id);
        let goes =
            |number| pack_of(number).is_some_and(|pack| view.presence.has(&pack.id, pack.size) && doomed(&pack.id));
        let untried = |copy: &&Indexed| {
            let pack = pack_of(copy.location.pack);
            !pack.and_then(|pack| failed.get(&pack.id)).is_some_and(|blobs| blobs.contains(&copy.id))
        };
        let from = view.good(copies, &goes).find(untried);
        let from = from.or_else(|| copies.iter().filter(|copy| goes(copy.location.pack)).find(untried));
        if let Some((copy, pack)) = from.and_then(|copy| Some((copy, pack_of(copy.location.pack)?))) {
            wanted.entry(pack.id).or_default().insert(copy.id);
        }
    });
    wanted
}

async fn secure_index(repository: &Arc<Repository>, view: &View, also: &Also) -> Result<(), PruneError> {
    let doomed = |key: &Key| view.marks.is_doomed(key) || also.segments.contains(key);
    let mut covered: HashSet<ObjectId> = view
        .segments
        .iter()
        .filter(|segment| !doomed(&segment.key))
        .flat_map(|segment| segment.packs.iter().map(|(pack, _)| *pack))
        .collect();
    covered.extend(view.adopted.iter().map(|pack| pack.id));
    let (mut merged, mut blobs) = (IndexSegment::default(), 0);
    for segment in view.segments.iter().filter(|segment| doomed(&segment.key)) {
        let lacks = |pack: &ObjectId| view.presence.packs.contains_key(pack) && !covered.contains(pack);
        if !segment.packs.iter().any(|(pack, _)| lacks(pack)) {
            continue;
        }
        for pack in read_segment(repository, &segment.key).await?.packs {
            if view.presence.packs.contains_key(&pack.id) && covered.insert(pack.id) {
                blobs += pack.table.len();
                merged.packs.push(pack);
            }
            if blobs >= SEGMENT_BLOBS {
                put_segment(repository, &std::mem::take(&mut merged), view.now).await?;
                blobs = 0;
            }
        }
    }
    if !merged.packs.is_empty() {
        put_segment(repository, &merged, view.now).await?;
    }
    Ok(())
}
