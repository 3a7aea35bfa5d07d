//! Layer 5: putting right what `check` finds, from replicas, from older versions that the store keeps, from parity, and from what is still good.
//!
//! **Order**, each step on what the one before made whole: what opening needs (`format.json`, epochs, access) → small objects by their names → the chain of
//! snapshots → the index → packs by their names → blobs, into new packs → sessions → packs that nothing can put right are marked → a last check, which
//! says what is lost.
//!
//! Promises, held at every cut and with writers and pruners at work:
//! 1. Nothing is deleted but a mark that nobody can read, long after it was made. What is damaged stays until its proven replacement takes its place, in one step
//!    ([`crate::store::Store::put_over`]); what is rotten beyond that is marked, and `prune` deletes it.
//! 2. What comes from a replica is believed for its own sake: by the hash that its name promises, by the repository's seals and signatures, and with an identity by
//!    the id of every blob. A replica's word for anything else counts for nothing.
//! 3. Blobs are copied and indexed before their old pack is marked. A second run has nothing to do.
//!
//! What it does not do: bring back what was forgotten or pruned, or give access to whom it was taken from.

mod blobs;
mod chain;
mod error;
mod moved;
mod named;
mod opening;
mod report;
mod sessions;
mod sources;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::base::clock::{Clock, Time};
use crate::base::id::ObjectId;
use crate::base::progress::Progress;
use crate::check::{self, Options, Problem, Slice, Survey};
use crate::repo::Repository;
use crate::repo::blame::Blame;
use crate::repo::doomed::{self, Marks, OBJECTS_MAX};
use crate::repo::layout;
use crate::repo::rebuild::{Named, rebuild_index};
use crate::repo::upload::retain_until;
use crate::store::Key;

pub use error::RepairError;
pub(crate) use named::put_right;
pub use named::repair_names;
pub use opening::{Opening, heal_opening, open_again};
pub use report::{Healed, How, Kept, Outcome};
pub use sources::Sources;

/// What all steps are given.
struct Work<'a> {
    repository: &'a Arc<Repository>,
    sources: &'a Sources,
    clock: &'a Arc<dyn Clock>,
    progress: &'a Progress,
    blame: Blame,
    /// The packs that the index names.
    known: HashSet<ObjectId>,
    /// No pack is lacking that could lie, unread, in the place of another.
    unread_may_go: bool,
}

impl Work<'_> {
    /// Until when what is put now is locked.
    fn retain(&self) -> Option<Time> {
        retain_until(self.repository, self.clock.now())
    }
}

/// Puts right what can be, and says what cannot. Cut off anywhere it leaves nothing worse; the next run goes on.
pub async fn run_repair(
    repository: &Arc<Repository>,
    sources: &Sources,
    clock: &Arc<dyn Clock>,
    progress: &Progress,
) -> Result<Outcome, RepairError> {
    let (known, blame) = (HashSet::new(), Blame::default());
    let mut work = Work { repository, sources, clock, progress, blame, known, unread_may_go: false };
    let mut outcome = Outcome::default();
    sources.insist_on(repository.id).await?;
    progress.begin("putting small objects right", "");
    let keys = repository.keys_of_epochs();
    outcome.healed.extend(opening::heal(&repository.store, sources, &keys, work.retain()).await?);
    outcome.healed.extend(opening::access(&work).await?);
    named::small(&work, &mut outcome).await?;
    named::marks(&work, &mut outcome).await?;
    chain::heal(&work, &mut outcome).await?;
    let all_named = index(&mut work, &mut outcome).await?;

    let options = Options { structure: true, read_percent: 100, now: clock.now() };
    let all = Slice::of_day(100, clock.now());
    let survey = check::survey(repository, &options, &all, true, progress).await?;
    let mut touched: HashSet<ObjectId> = survey.packs.keys().copied().collect();
    let before = outcome.clone();
    packs(&mut work, &survey, all_named, &mut outcome, &mut touched).await?;
    sessions::heal(&work, &survey, &mut outcome).await?;
    let last = if outcome == before {
        survey
    } else {
        // What was good is good; what was in trouble, or is new, is read once more.
        touched.extend(outcome.packs_written.iter().copied());
        check::survey(repository, &options, &Slice::These(touched), true, progress).await?
    };
    outcome.settle();
    outcome.passed_over = sources.passed_over();
    (outcome.report, outcome.losses) = (Some(last.report), last.losses);
    Ok(outcome)
}

/// The index from what packs say of themselves; a pack that does not say it any more may be had by its name. What they say is indexed under their names, so packs that no
/// segment names are first looked at whole: another may lie in their place. Tells whether every pack has a name now.
async fn index(work: &mut Work<'_>, outcome: &mut Outcome) -> Result<bool, RepairError> {
    let index = Named::read(work.repository).await?;
    work.known = index.packs();
    let unnamed = index.unnamed(work.repository).await?;
    let wrong = named::damaged(&*work.repository.store, unnamed).await?;
    let wrong: Vec<Key> = wrong.into_iter().map(|entry| entry.key).collect();
    moved::bring_back(work, &wrong, outcome).await?;
    for key in &wrong {
        named::by_name(work, key, outcome).await?;
    }
    let mut rebuilt = index.rebuild(work.repository, &**work.clock).await?;
    let mut again = false;
    for (key, _) in &rebuilt.lost {
        again |= named::by_name(work, key, outcome).await?;
    }
    if again {
        let second = rebuild_index(work.repository, &**work.clock).await?;
        rebuilt.packs += second.packs;
        rebuilt.set_aside.extend(second.set_aside);
        (rebuilt.lost, rebuilt.known) = (second.lost, second.known);
    }
    work.known = rebuilt.known;
    outcome.packs_indexed = rebuilt.packs;
    outcome.healed.extend(rebuilt.set_aside.iter().map(|key| Healed::here(key, How::SetAside)));
    Ok(rebuilt.lost.is_empty())
}

/// Packs by their names, then the blobs that are lacking still, then marks.
async fn packs(
    work: &mut Work<'_>,
    survey: &Survey,
    all_named: bool,
    outcome: &mut Outcome,
    touched: &mut HashSet<ObjectId>,
) -> Result<(), RepairError> {
    let marks = Marks::load(work.repository).await?;
    work.progress.begin("putting packs right", "");
    let mut healed: HashSet<ObjectId> = HashSet::new();
    let of_name = |problem: &Problem| matches!(problem, Problem::Name | Problem::Size | Problem::Unreadable);
    let wrong: Vec<ObjectId> = survey
        .packs
        .iter()
        .filter(|(pack, problem)| of_name(problem) || survey.report.unsound.contains(pack))
        .filter(|(pack, _)| !marks.is_pack_doomed(pack))
        .map(|(pack, _)| *pack)
        .collect();
    let names: Vec<Key> = wrong.iter().map(layout::pack).collect();
    let before = outcome.healed.len();
    moved::bring_back(work, &names, outcome).await?;
    // Last those that do not read: what is lacking by then may lie in their places.
    let reads = |pack: &ObjectId| survey.packs.get(pack) != Some(&Problem::Unreadable);
    for pack in wrong.iter().filter(|pack| reads(pack)) {
        if named::by_name(work, &layout::pack(pack), outcome).await? {
            healed.insert(*pack);
        }
    }
    let back = |outcome: &Outcome, pack: &ObjectId| {
        let key = layout::pack(pack);
        outcome.healed.iter().any(|one| one.object == key.as_str())
    };
    let lacks = survey.packs.iter().any(|(pack, problem)| {
        (*problem == Problem::Missing || survey.report.unsound.contains(pack))
            && !marks.is_pack_doomed(pack)
            && !back(outcome, pack)
    });
    work.unread_may_go = all_named && !lacks;
    for pack in wrong.iter().filter(|pack| !reads(pack)) {
        if named::by_name(work, &layout::pack(pack), outcome).await? {
            healed.insert(*pack);
        }
    }
    work.unread_may_go = false;
    let back =
        outcome.healed.iter().skip(before).filter_map(|one| layout::pack_id(&Key::new(one.object.as_str()).ok()?));
    healed.extend(back.collect::<Vec<_>>());
    touched.extend(&healed);
    let mut going: BTreeSet<ObjectId> = survey.report.unsound.iter().chain(&survey.poisoned).copied().collect();
    going.retain(|pack| !healed.contains(pack) && !marks.is_pack_doomed(pack));
    let bad = survey.bad.iter().filter(|(pack, _)| !healed.contains(pack)).copied().collect();
    let stay = blobs::heal(work, bad, &going, &marks, outcome, touched).await?;
    going.retain(|pack| !stay.contains(pack));
    let hold = moved::hold_others(work, going.iter(), outcome).await?;
    going.retain(|pack| !hold.contains(pack));
    if let Some(why) = work.sources.unsure_of_all() {
        for pack in std::mem::take(&mut going) {
            outcome.keep(&layout::pack(&pack), why.clone());
        }
    }
    for pack in std::mem::take(&mut going) {
        let key = layout::pack(&pack);
        match work.sources.unsure_of(&key) {
            Some(why) => outcome.keep(&key, why),
            None => _ = going.insert(pack),
        }
    }
    let doom: Vec<Key> = going.iter().map(layout::pack).collect();
    for packs in doom.chunks(OBJECTS_MAX) {
        doomed::mark(work.repository, packs.to_vec(), work.clock.now()).await?;
    }
    outcome.marked.extend(doom.iter().map(ToString::to_string));
    Ok(())
}
