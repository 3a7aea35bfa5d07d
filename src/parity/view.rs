//! What there is: packs that should be covered, groups, and what became of members that should not be covered any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::causes::in_one_line;
use crate::base::clock::Time;
use crate::base::id::{ObjectId, RepositoryId};
use crate::base::progress::Progress;
use crate::check::{self, Options, Problem, Severity};
use crate::format::pack::PACK_BYTES_MAX;
use crate::parity::{Settings, Trouble};
use crate::repo::blame::Blame;
use crate::repo::doomed::Marks;
use crate::repo::index::Index;
use crate::repo::named::read_as_named;
use crate::repo::parity::{self, Found, Groups};
use crate::repo::presence::Presence;
use crate::repo::{RepoError, Repository, layout};
use crate::store::Key;

/// What became of a member that is not among the packs to be covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody needs it: it was pruned, or will be.
    Pruned,
    /// It is needed, and this is wrong with it.
    Lost(&'static str),
    /// Nobody can tell while the repository is not whole.
    Unknown,
}

/// See the module.
#[derive(Debug)]
pub(super) struct View {
    pub repository: RepositoryId,
    /// Packs to be covered, with their sizes.
    pub packs: BTreeMap<ObjectId, u32>,
    /// Groups of this repository.
    pub groups: Vec<Found>,
    /// Of every member that is not to be covered.
    pub fates: BTreeMap<ObjectId, Fate>,
    /// Parity objects whose bytes are not those of their names, or cannot be read.
    pub rotten: BTreeSet<Key>,
    /// What is no parity object of this repository and version.
    pub left_alone: Vec<Trouble>,
}

pub(super) async fn load(
    repository: &Arc<Repository>,
    settings: &Settings,
    now: Time,
    progress: &Progress,
) -> Result<View, RepoError> {
    let store = &*repository.store;
    progress.begin("looking at parity", "");
    // Marks before packs: a pack that is listed later and unmarked is there to stay.
    let marks = Marks::load(repository).await?;
    let index = Index::load(repository).await?;
    let presence = Presence::load(repository).await?;
    let listed = store.list(layout::PARITY).await?;
    let loaded = parity::load(store, listed, settings.read_data).await?;
    let sizes: BTreeMap<ObjectId, u64> = index.packs.iter().map(|pack| (pack.id, pack.size)).collect();
    drop(index);
    let is_here = |id: &ObjectId, size: u64| presence.has(id, size) && !marks.is_pack_doomed(id);
    let size = |size: u64| u32::try_from(size).ok().filter(|size| (1..=PACK_BYTES_MAX).contains(&(*size as usize)));
    let packs: BTreeMap<ObjectId, u32> = sizes
        .iter()
        .filter(|(id, bytes)| is_here(id, **bytes))
        .filter_map(|(id, bytes)| Some((*id, size(*bytes)?)))
        .collect();
    let (groups, rotten, left_alone) = sort_out(repository, loaded).await?;

    let mut fates = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for member in groups.iter().flat_map(|found| &found.group.members).filter(|m| !packs.contains_key(&m.pack)) {
        let id = member.pack;
        if marks.is_pack_doomed(&id) {
            fates.insert(id, Fate::Pruned);
        } else if sizes.contains_key(&id) && presence.packs.contains_key(&id) {
            fates.insert(id, Fate::Lost("it is not as long as it was"));
        } else {
            unknown.insert(id);
        }
    }
    if !unknown.is_empty() {
        fates.extend(fates_of(repository, unknown, now, progress).await?);
    }
    Ok(View { repository: repository.id, packs, groups, fates, rotten, left_alone })
}

/// Which of the objects belong to this repository, are rotten, or are somebody else's.
async fn sort_out(
    repository: &Repository,
    loaded: Groups,
) -> Result<(Vec<Found>, BTreeSet<Key>, Vec<Trouble>), RepoError> {
    let store = &*repository.store;
    let (mut rotten, mut left_alone, blame) = (BTreeSet::new(), Vec::new(), Blame::default());
    for (entry, error) in loaded.bad {
        let planted = match error {
            RepoError::TooLarge { .. } => true,
            RepoError::Parity { .. } => match read_as_named(store, &entry).await {
                Ok(_) => true,
                Err(RepoError::Store(error)) if error.is_not_found() => continue,
                Err(RepoError::Store(error)) if !blame.is_the_objects(store, &error).await => return Err(error.into()),
                Err(_) => false,
            },
            _ => false,
        };
        if planted {
            // As it was stored: of a later version, or somebody's mischief. Neither is ours to remove.
            left_alone.push(Trouble { object: entry.key.to_string(), what: in_one_line(&error) });
        } else {
            rotten.insert(entry.key);
        }
    }
    let (own, others): (Vec<Found>, Vec<Found>) =
        loaded.found.into_iter().partition(|found| found.group.repository == repository.id);
    for entry in others.iter().flat_map(|found| found.objects.values()) {
        let what = "it is of another repository".to_owned();
        left_alone.push(Trouble { object: entry.key.to_string(), what });
    }
    left_alone.sort();
    Ok((own, rotten, left_alone))
}

/// Members that are gone without a mark: pruned so long ago that the mark is gone too, or lost? Following all trees tells, as long as nothing is damaged.
async fn fates_of(
    repository: &Arc<Repository>,
    gone: BTreeSet<ObjectId>,
    now: Time,
    progress: &Progress,
) -> Result<BTreeMap<ObjectId, Fate>, RepoError> {
    let options = Options { structure: true, read_percent: 0, now };
    let report = check::check(repository, &options, progress).await?;
    let damaged = report.is_damaged();
    let lost: BTreeSet<&str> = report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Damage && finding.problem == Problem::Missing)
        .map(|finding| finding.object.as_str())
        .collect();
    let fate = |id: &ObjectId| {
        if lost.contains(layout::pack(id).as_str()) {
            Fate::Lost("it is not there")
        } else if damaged {
            Fate::Unknown
        } else {
            Fate::Pruned
        }
    };
    Ok(gone.iter().map(|id| (*id, fate(id))).collect())
}
