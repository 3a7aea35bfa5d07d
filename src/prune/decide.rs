//! The decision: from what is seen to a plan. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::format::pack::PackClass;
use crate::prune::Settings;
use crate::prune::plan::{Doom, Due, PrunePlan, Waiting, Why, WhyWait};
use crate::prune::view::{Segment, View};
use crate::repo::layout;
use crate::repo::packer::PACK_BYTES;
use crate::store::{Key, Listed};

/// What may be unused of a pack unless somebody asks for less or more.
pub(crate) const UNUSED_PERCENT: u8 = 20;
/// A pack below this size is small …
const SMALL_PACK_BYTES: u64 = PACK_BYTES as u64 / 4;
/// … and so many small ones of a class are made into few: a backup that finds little leaves one of each class.
const SMALL_PACKS: usize = 16;
/// An index segment below this size is small …
const SMALL_SEGMENT_BYTES: u64 = 1 << 20;
/// … and so many are merged.
const SMALL_SEGMENTS: usize = 16;
/// Marks that are done are swept with the next mark that is made anyway, or when so many have gathered.
const MARKS_DONE: usize = 16;

/// How a pack is used.
#[derive(Clone, Copy, Default)]
struct Use {
    /// Sealed bytes of all blobs in it.
    held: u64,
    /// Sealed bytes whose only good copy is here.
    alone: u64,
    /// Sealed bytes that it is chosen to keep.
    needed: u64,
}

/// Whether so much of a pack is unused that the rest is copied elsewhere: of the blobs that it holds; or of its size, which headers and tables are
/// part of, so that only much of it says that there is something which the index does not know.
fn is_wasteful(size: u64, used: Use, max_unused_percent: u8) -> bool {
    let above = |of: u64, percent: u8| {
        of.saturating_sub(used.needed).saturating_mul(100) > of.saturating_mul(u64::from(percent))
    };
    above(used.held, max_unused_percent) || above(size, max_unused_percent.max(UNUSED_PERCENT))
}

/// Whether more than a quarter of what a segment says is of packs that are gone.
const fn is_stale(gone: usize, all: usize) -> bool {
    gone * 4 > all
}

/// What is copied to free a pack, in thousandths of it: the lower, the sooner.
fn price(size: u64, needed: u64) -> u64 {
    needed.saturating_mul(1000) / size.max(1)
}

struct Decider<'a> {
    view: &'a View,
    settings: &'a Settings,
    plan: PrunePlan,
}

/// See the module.
pub(crate) fn decide(store: &str, view: &View, settings: &Settings) -> PrunePlan {
    let packs = view.presence.packs.values().map(|entry| entry.size).sum::<u64>();
    let plan = PrunePlan {
        store: store.to_owned(),
        at: view.now,
        grace_seconds: settings.grace.as_secs(),
        snapshots: view.chain.snapshots.len(),
        packs: view.presence.packs.len(),
        blobs_needed: 0,
        bytes_needed: 0,
        bytes_before: packs + view.segments.iter().map(|segment| segment.size).sum::<u64>(),
        bytes_after: 0,
        adopt: view.adopted.iter().map(|pack| layout::pack(&pack.id).to_string()).collect(),
        doom: Vec::new(),
        delete: Vec::new(),
        expired: view.expired.iter().map(ToString::to_string).collect(),
        wait: Vec::new(),
        lock_until: None,
    };
    let mut decider = Decider { view, settings, plan };
    decider.due();
    let uses = decider.uses();
    decider.packs(&uses);
    decider.strangers();
    decider.segments();
    decider.sessions();
    decider.marks();
    decider.finish()
}

impl Decider<'_> {
    /// Since when an object must have been there to be doomed: younger ones may belong to a running backup.
    fn young_until(&self, entry: &Listed) -> Option<Time> {
        let until = entry.modified.after(self.settings.grace);
        (until > self.view.now).then_some(until)
    }

    fn wait(&mut self, object: &Key, why: WhyWait) {
        self.plan.wait.push(Waiting { object: object.to_string(), why });
    }

    fn doom(&mut self, object: &Key, bytes: u64, bytes_needed: u64, why: Why) {
        self.plan.doom.push(Doom { object: object.to_string(), bytes, bytes_needed, why });
    }

    /// What is marked already: to be deleted, or to wait.
    fn due(&mut self) {
        let view = self.view;
        let mut seen = HashSet::new();
        let mut marks: Vec<_> = view.marks.marks.iter().collect();
        marks.sort_by_key(|mark| mark.modified);
        let in_use = view.sessions_in_use();
        for mark in marks {
            let until = mark.modified.after(self.settings.grace);
            for key in mark.objects.iter().filter(|key| view.is_there(key)) {
                if !seen.insert(key.clone()) {
                    continue;
                }
                let pack = crate::repo::doomed::pack_of(key);
                let used_again = layout::session_id(key).is_some_and(|session| in_use.contains(&session));
                if used_again {
                    self.wait(key, WhyWait::InUse);
                } else if pack.is_some_and(|pack| view.protected.contains(&pack)) {
                    self.wait(key, WhyWait::Checkpoint);
                } else if until > view.now {
                    self.wait(key, WhyWait::Grace { until });
                } else {
                    self.plan.delete.push(Due { object: key.to_string(), marked: mark.modified });
                }
            }
        }
    }

    /// Which pack keeps which needed blob: of several good copies the one in the pack that must stay most.
    fn uses(&mut self) -> Vec<Use> {
        let view = self.view;
        let mut uses = vec![Use::default(); view.index.packs.len()];
        for blob in view.index.iter() {
            if let Some(used) = uses.get_mut(blob.location.pack as usize) {
                used.held += u64::from(blob.location.length);
            }
        }
        let good = |pack: u32| view.index.pack(pack).is_some_and(|pack| pack.usable);
        let (mut blobs, mut bytes) = (0, 0);
        view.for_needed(|copies| {
            let mut there = view.good(copies, &good);
            let (first, second) = (there.next(), there.next());
            if let (Some(only), None) = (first, second)
                && let Some(used) = uses.get_mut(only.location.pack as usize)
            {
                used.alone += u64::from(only.location.length);
            }
            blobs += 1;
            bytes += copies.first().map_or(0, |copy| u64::from(copy.location.length));
        });
        view.for_needed(|copies| {
            let there = view.good(copies, &good);
            let alone = |pack: u32| uses.get(pack as usize).map_or(0, |used| used.alone);
            let keeper = there.max_by_key(|copy| (alone(copy.location.pack), std::cmp::Reverse(copy.location.pack)));
            if let Some(keeper) = keeper
                && let Some(used) = uses.get_mut(keeper.location.pack as usize)
            {
                used.needed += u64::from(keeper.location.length);
            }
        });
        self.plan.blobs_needed = blobs;
        self.plan.bytes_needed = bytes;
        uses
    }

    fn packs(&mut self, uses: &[Use]) {
        let view = self.view;
        let mut partly: Vec<(Key, u64, u64)> = Vec::new();
        let mut small: BTreeMap<bool, Vec<(Key, u64, u64)>> = BTreeMap::new();
        for (pack, used) in view.index.packs.iter().zip(uses).filter(|(pack, _)| pack.usable) {
            let key = layout::pack(&pack.id);
            let wasteful = is_wasteful(pack.size, *used, self.settings.max_unused_percent);
            let is_small = pack.size < SMALL_PACK_BYTES;
            if used.needed > 0 && !wasteful && !is_small {
                continue;
            }
            if view.protected.contains(&pack.id) {
                if used.needed == 0 {
                    self.wait(&key, WhyWait::Checkpoint);
                }
            } else if let Some(until) = view.presence.packs.get(&pack.id).and_then(|entry| self.young_until(entry)) {
                if used.needed == 0 {
                    self.wait(&key, WhyWait::Young { until });
                }
            } else if used.needed == 0 {
                self.doom(&key, pack.size, 0, Why::Unused);
            } else if is_small {
                small.entry(pack.class == PackClass::Content).or_default().push((key, pack.size, used.needed));
            } else {
                partly.push((key, pack.size, used.needed));
            }
        }
        let small = small.into_values().filter(|packs| packs.len() >= SMALL_PACKS).flatten();
        let mut repack: Vec<_> = partly.into_iter().map(|pack| (pack, Why::PartlyUsed)).collect();
        repack.extend(small.map(|pack| (pack, Why::Small)));
        // What frees most for each byte copied comes first.
        repack.sort_by_key(|((key, size, needed), _)| (price(*size, *needed), key.clone()));
        let mut budget = self.settings.repack_bytes_max;
        for ((key, size, needed), why) in repack {
            if let Some(left) = budget.checked_sub(needed) {
                budget = left;
                self.doom(&key, size, needed, why);
            }
        }
    }

    fn strangers(&mut self) {
        let view = self.view;
        for id in view.strangers().filter(|id| !view.marks.is_pack_doomed(id)) {
            let Some(entry) = view.presence.packs.get(id) else { continue };
            match self.young_until(entry) {
                Some(until) => self.wait(&entry.key, WhyWait::Young { until }),
                None => self.doom(&entry.key, entry.size, 0, Why::Stranger),
            }
        }
    }

    /// Segments that say nothing that others do not say, that speak mostly of packs that are gone, or that are many and small.
    fn segments(&mut self) {
        let view = self.view;
        let there = |pack: &ObjectId| view.presence.packs.contains_key(pack);
        let mut open: Vec<&Segment> =
            view.segments.iter().filter(|segment| !view.marks.is_doomed(&segment.key)).collect();
        open.sort_by_key(|segment| (segment.size, segment.key.clone()));
        let mut named: HashMap<ObjectId, usize> = HashMap::new();
        for (pack, _) in open.iter().flat_map(|segment| &segment.packs) {
            *named.entry(*pack).or_default() += 1;
        }
        let mut small = Vec::new();
        for segment in open {
            let dead: usize = segment.packs.iter().filter(|(pack, _)| !there(pack)).map(|(_, blobs)| blobs).sum();
            let all: usize = segment.packs.iter().map(|(_, blobs)| blobs).sum();
            let repeated = |pack: &ObjectId| named.get(pack).is_some_and(|times| *times > 1);
            if segment.packs.iter().all(|(pack, _)| !there(pack) || repeated(pack)) {
                for (pack, _) in &segment.packs {
                    named.entry(*pack).and_modify(|times| *times -= 1);
                }
                self.doom(&segment.key, segment.size, 0, Why::Superseded);
            } else if is_stale(dead, all) {
                self.doom(&segment.key, segment.size, segment.size / 2, Why::Superseded);
            } else if segment.size < SMALL_SEGMENT_BYTES {
                small.push(segment);
            }
        }
        if small.len() >= SMALL_SEGMENTS {
            for segment in small {
                self.doom(&segment.key, segment.size, segment.size, Why::Small);
            }
        }
    }

    fn sessions(&mut self) {
        let view = self.view;
        if view.strangers().next().is_some() {
            return; // nobody knows which sessions they have; they go first
        }
        let in_use = view.sessions_in_use();
        let mut unused: Vec<_> = view.presence.sessions.iter().filter(|(id, _)| !in_use.contains(id)).collect();
        unused.sort_by_key(|(id, _)| **id);
        for (_, entry) in unused {
            if self.young_until(entry).is_none() && !view.marks.is_doomed(&entry.key) {
                self.doom(&entry.key, entry.size, 0, Why::NoPack);
            }
        }
    }

    fn marks(&mut self) {
        let view = self.view;
        let done: Vec<&Key> = view
            .marks
            .marks
            .iter()
            .filter(|mark| mark.modified.after(self.settings.grace) <= view.now)
            .filter(|mark| !view.marks.is_doomed(&mark.key) && !mark.objects.iter().any(|key| view.is_there(key)))
            .map(|mark| &mark.key)
            .collect();
        if done.len() >= MARKS_DONE || !self.plan.doom.is_empty() {
            for key in done {
                self.doom(key, 0, 0, Why::Done);
            }
        }
    }

    fn finish(mut self) -> PrunePlan {
        let view = self.view;
        let size = |object: &str| {
            let key = Key::new(object).ok()?;
            let pack = crate::repo::doomed::pack_of(&key).and_then(|pack| view.presence.packs.get(&pack));
            pack.map(|entry| entry.size)
                .or_else(|| view.segments.iter().find(|segment| segment.key == key).map(|segment| segment.size))
        };
        let doomed: u64 = self.plan.doom.iter().map(|doom| size(&doom.object).unwrap_or(0)).sum();
        let copied: u64 = self.plan.doom.iter().map(|doom| doom.bytes_needed).sum();
        let due: u64 = self.plan.delete.iter().filter_map(|due| size(&due.object)).sum();
        self.plan.bytes_after = (self.plan.bytes_before + copied).saturating_sub(doomed + due);
        self.plan
    }
}

#[cfg(test)]
mod tests {
    use super::{UNUSED_PERCENT, Use, is_stale, is_wasteful, price};

    #[test]
    fn a_fifth_may_be_unused_and_no_more() {
        let wasteful = |held, needed| is_wasteful(1000, Use { held, needed, alone: 0 }, UNUSED_PERCENT);
        assert!(!wasteful(1000, 1000) && !wasteful(1000, 800) && wasteful(1000, 799) && wasteful(1000, 0));
        assert!(!wasteful(5000, 5000), "an index that lies");
        assert!(wasteful(700, 700), "an index that does not know all of it");
    }

    #[test]
    fn who_asks_has_nothing_unused_or_all_but_nothing() {
        let wasteful = |needed, percent| is_wasteful(1000, Use { held: 950, needed, alone: 0 }, percent);
        assert!(wasteful(949, 0) && !wasteful(950, 0), "headers are no blobs");
        assert!(!wasteful(0, 100) && wasteful(9, 99) && !wasteful(10, 99));
    }

    #[test]
    fn a_segment_may_say_a_quarter_in_vain() {
        assert!(!is_stale(0, 0) && !is_stale(2, 8) && is_stale(3, 8));
    }

    #[test]
    fn what_frees_most_for_a_byte_copied_has_the_lowest_price() {
        assert_eq!([price(1000, 0), price(2000, 500), price(1000, 500), price(0, 3)], [0, 250, 500, 3000]);
    }
}
