//! Witnesses of the chain of snapshots: the newest key drill and the newest verification name records that were there. Records name their parents, so a
//! gap within the chain shows by itself; that its end, or all of it, was cut off shows only to who remembers more.
//!
//! Only the newest of each kind counts, so that a tombstone need not name everything that was ever forgotten: `repo::tombstone` keeps what these name.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};
use minicbor::Decode;

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::format::kind::RecordKind;
use crate::format::record::{KeyDrill, VerifiedRecord};
use crate::repo::error::RepoError;
use crate::repo::open::Repository;
use crate::repo::snapshots::Chain;
use crate::repo::{layout, sealed};
use crate::store::Key;

/// Records fetched at once.
const FETCH_AT_ONCE: usize = 16;

/// What the witnesses say.
#[derive(Debug, Default)]
pub struct Witnesses {
    /// Records of the chain that were there.
    pub seen: BTreeSet<ObjectId>,
    /// Witnesses that do not read, and why.
    pub unreadable: Vec<(Key, RepoError)>,
}

impl Witnesses {
    /// Reads all of both kinds. The writer key suffices.
    pub async fn load(repository: &Repository) -> Result<Self, RepoError> {
        let mut found = Self::default();
        let of = |drill: KeyDrill| Some((drill.at, drill.heads));
        found.newest(repository, layout::KEY_DRILLS, RecordKind::KeyDrill, of).await?;
        // One that tells of damage alone names too few to be a witness.
        let of = |VerifiedRecord { at, snapshots, chain, .. }: VerifiedRecord| {
            let named = || snapshots.iter().chain(chain.iter().flatten()).copied().collect();
            (!snapshots.is_empty()).then(|| (at, named()))
        };
        found.newest(repository, layout::VERIFIED, RecordKind::Verified, of).await?;
        Ok(found)
    }

    async fn newest<T: for<'b> Decode<'b, ()>>(
        &mut self,
        repository: &Repository,
        folder: &'static str,
        kind: RecordKind,
        says: impl Fn(T) -> Option<(Time, Vec<ObjectId>)>,
    ) -> Result<(), RepoError> {
        let listed = repository.store.list(folder).await?;
        let mut reads = stream::iter(listed)
            .map(|entry| async move {
                let read: Result<T, RepoError> =
                    sealed::read(&*repository.store, &repository.meta, kind, &entry.key).await;
                (entry.key, read)
            })
            .buffer_unordered(FETCH_AT_ONCE);
        let mut newest: Option<Time> = None;
        let mut seen = Vec::new();
        while let Some((key, read)) = reads.next().await {
            match read {
                _ if layout::object_id(&key).is_none() => {} // a foreign object
                Ok(record) => {
                    let Some((at, named)) = says(record) else { continue };
                    if newest.is_none_or(|newest| at > newest) {
                        newest = Some(at);
                        seen.clear();
                    }
                    if newest == Some(at) {
                        seen.extend(named);
                    }
                }
                Err(RepoError::Store(error)) if error.is_not_found() => {}
                Err(error) if error.is_retired() => {}
                Err(error) => self.unreadable.push((key, error)),
            }
        }
        self.seen.extend(seen);
        Ok(())
    }

    /// Itself, if the store has shown every witness. Those that it has shown and that do not open say nothing to anybody.
    pub(crate) fn all_shown(mut self) -> Result<Self, RepoError> {
        match self.unreadable.iter().position(|(_, error)| matches!(error, RepoError::Store(_))) {
            Some(place) => Err(self.unreadable.swap_remove(place).1),
            None => Ok(self),
        }
    }

    /// Records that are gone and that nobody forgot: those that the chain itself misses, and those that were seen and of which it knows nothing.
    #[must_use]
    pub fn gaps(&self, chain: &Chain) -> Vec<ObjectId> {
        let (mut gaps, forgotten) = (chain.gaps(), chain.forgotten());
        let known = |id: &ObjectId| chain.has(id) || forgotten.contains(id) || gaps.contains(id);
        let unknown: Vec<ObjectId> = self.seen.iter().copied().filter(|id| !known(id)).collect();
        gaps.extend(unknown);
        gaps
    }
}

/// What a new witness names of the chain, sorted: its heads, what does not read, and what is missing from it. Only the newest witness counts, so that what an
/// older one alone remembers would be forgotten with the next.
pub async fn testimony(repository: &Repository, chain: &Chain) -> Result<Vec<ObjectId>, RepoError> {
    let mut named: BTreeSet<ObjectId> = chain.next_link().parents.into_iter().collect();
    named.extend(chain.unreadable.iter().map(|(id, _)| *id));
    named.extend(gaps(repository, chain).await?);
    Ok(named.into_iter().collect())
}

/// [`Witnesses::gaps`] of all witnesses; one that the store cannot show now may be the one that knows, and is the error.
pub async fn gaps(repository: &Repository, chain: &Chain) -> Result<Vec<ObjectId>, RepoError> {
    Ok(Witnesses::load(repository).await?.all_shown()?.gaps(chain))
}
