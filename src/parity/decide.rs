//! Which groups stay, which are made, which go. Pure: by what there is alone, so that two runs that see the same decide the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::id::ObjectId;
use crate::format::parity::{Group, MEMBERS_MAX, Member};
use crate::parity::view::{Fate, View};
use crate::parity::{ParityPlan, PlannedGroup, Settings, Trouble};
use crate::repo::layout;
use crate::repo::parity::Found;
use crate::store::Key;

/// Parity objects that go as soon as the packs that they cover are covered otherwise.
#[derive(Debug)]
pub(super) struct Obsolete {
    pub objects: Vec<Key>,
    pub packs: Vec<ObjectId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// Packs of groups that stay.
    pub covered: BTreeSet<ObjectId>,
    /// How many groups stay, and their objects.
    pub groups: u64,
    pub keep: Vec<Key>,
    pub keep_bytes: u64,
    pub make: Vec<Group>,
    pub obsolete: Vec<Obsolete>,
    /// Objects that are not what they were: replaced, or removed once everything is covered.
    pub rotten: BTreeSet<Key>,
    pub lost: Vec<Trouble>,
    /// Members of which nobody can tell whether they are needed, so that nothing goes of which nobody can tell what it is of.
    pub unclear: u64,
}

/// How many parity objects a group of so many packs gets.
pub(super) fn parity_of(share: u8, packs: usize) -> u8 {
    let wanted = (packs * usize::from(share)).div_ceil(100).clamp(1, MEMBERS_MAX);
    u8::try_from(wanted).unwrap_or(1)
}

enum Standing {
    /// As it should be.
    Sound,
    /// Something of it is lost, or may be.
    Needed,
    /// To be made anew, or not at all.
    Obsolete,
}

fn standing(found: &Found, view: &View, settings: &Settings) -> Standing {
    let group = &found.group;
    let fates = group.members.iter().filter_map(|member| view.fates.get(&member.pack));
    let (mut sound, mut needed) = (settings.share > 0, false);
    for fate in fates {
        match fate {
            Fate::Pruned => sound = false,
            Fate::Lost(_) | Fate::Unknown => needed = true,
        }
    }
    if needed {
        return Standing::Needed;
    }
    let alike = group.members.iter().all(|member| view.packs.get(&member.pack) == Some(&member.length));
    let whole = found.objects.len() == usize::from(group.parity)
        && !found.objects.values().any(|entry| view.rotten.contains(&entry.key));
    sound = sound && alike && whole && group.parity == parity_of(settings.share, group.members.len());
    if sound { Standing::Sound } else { Standing::Obsolete }
}

fn keys(found: &Found) -> impl Iterator<Item = Key> + '_ {
    found.objects.values().map(|entry| entry.key.clone())
}

/// The members that are to be covered.
fn packs_of<'a>(found: &'a Found, view: &'a View) -> impl Iterator<Item = ObjectId> + 'a {
    found.group.members.iter().map(|member| member.pack).filter(|pack| view.packs.contains_key(pack))
}

pub(super) fn decide(view: &View, settings: &Settings) -> Decided {
    let target = settings.group_packs.clamp(1, MEMBERS_MAX);
    let mut decided = Decided { rotten: view.rotten.clone(), ..Decided::default() };
    let lost = |(id, fate): (&ObjectId, &Fate)| match fate {
        Fate::Lost(what) => Some(Trouble { object: layout::pack(id).to_string(), what: (*what).to_owned() }),
        Fate::Pruned | Fate::Unknown => None,
    };
    decided.lost = view.fates.iter().filter_map(lost).collect();
    decided.unclear = view.fates.values().filter(|fate| **fate == Fate::Unknown).count() as u64;
    let (mut kept, mut sound): (Vec<&Found>, Vec<&Found>) = (Vec::new(), Vec::new());
    let mut obsolete: Vec<&Found> = Vec::new();
    for found in &view.groups {
        match standing(found, view, settings) {
            Standing::Needed => kept.push(found),
            Standing::Sound => sound.push(found),
            Standing::Obsolete => obsolete.push(found),
        }
    }
    decided.covered.extend(kept.iter().flat_map(|found| packs_of(found, view)));
    // A run that was cut off leaves packs in two groups: the larger one stays.
    sound.sort_by(|a, b| b.group.members.len().cmp(&a.group.members.len()).then_with(|| a.group.cmp(&b.group)));
    let mut small: Vec<&Found> = Vec::new();
    for found in sound {
        if packs_of(found, view).all(|pack| decided.covered.contains(&pack)) {
            obsolete.push(found);
            continue;
        }
        decided.covered.extend(packs_of(found, view));
        if found.group.members.len() < target { small.push(found) } else { kept.push(found) }
    }
    let mut left: BTreeMap<ObjectId, u32> = BTreeMap::new();
    if settings.share > 0 {
        left.extend(view.packs.iter().filter(|(pack, _)| !decided.covered.contains(*pack)));
    }
    // What is new gets small groups of its own until there is enough for a large one: else each day would read twenty packs for one.
    let in_small: usize = small.iter().map(|found| found.group.members.len()).sum();
    if left.len() + in_small >= target && (!left.is_empty() || small.len() > 1) {
        for found in small.drain(..) {
            for pack in packs_of(found, view) {
                decided.covered.remove(&pack);
                left.extend(view.packs.get_key_value(&pack));
            }
            obsolete.push(found);
        }
        // A pack that two of them had.
        for found in &kept {
            for pack in packs_of(found, view) {
                left.remove(&pack);
                decided.covered.insert(pack);
            }
        }
    }
    kept.append(&mut small);
    decided.make = groups(view, settings, target, left);
    decided.groups = kept.len() as u64;
    decided.keep = kept.iter().flat_map(|found| keys(found)).collect();
    decided.keep_bytes = kept.iter().flat_map(|found| found.objects.values()).map(|entry| entry.size).sum();
    decided.obsolete = obsolete
        .into_iter()
        .map(|found| Obsolete { objects: keys(found).collect(), packs: packs_of(found, view).collect() })
        .collect();
    decided
}

/// Packs of like size together, since a short one counts as padded to the longest.
fn groups(view: &View, settings: &Settings, target: usize, left: BTreeMap<ObjectId, u32>) -> Vec<Group> {
    let mut members: Vec<Member> = left.into_iter().map(|(pack, length)| Member { pack, length }).collect();
    members.sort_by(|a, b| b.length.cmp(&a.length).then_with(|| a.pack.cmp(&b.pack)));
    let group = |members: &[Member]| {
        let mut members = members.to_vec();
        members.sort();
        let parity = parity_of(settings.share, members.len());
        Group { repository: view.repository, stripe: settings.stripe, parity, members }
    };
    members.chunks(target).map(group).collect()
}

impl Decided {
    pub(super) fn plan(&self, view: &View, settings: &Settings) -> ParityPlan {
        let make = self.make.iter().map(|group| PlannedGroup {
            packs: group.members.iter().map(|member| member.pack).collect(),
            bytes: group.members.iter().map(|member| u64::from(member.length)).sum(),
            parity: group.parity,
            parity_bytes: u64::from(group.parity) * group.object_bytes(),
        });
        let remove = self.obsolete.iter().flat_map(|obsolete| &obsolete.objects).chain(&self.rotten);
        let remove: BTreeSet<String> = remove.map(ToString::to_string).collect();
        ParityPlan {
            share: settings.share,
            packs: view.packs.len() as u64,
            bytes: view.packs.values().map(|size| u64::from(*size)).sum(),
            covered: self.covered.len() as u64,
            groups: self.groups,
            make: make.collect(),
            remove: remove.into_iter().collect(),
            lost: self.lost.clone(),
            unclear: self.unclear,
            left_alone: view.left_alone.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time;
    use crate::base::id::RepositoryId;
    use crate::store::Listed;

    fn id(n: u16) -> ObjectId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        ObjectId::new(bytes)
    }

    fn view(packs: std::ops::Range<u16>) -> View {
        View {
            repository: RepositoryId::new([1; 16]),
            packs: packs.map(|n| (id(n), 4096)).collect(),
            groups: Vec::new(),
            fates: BTreeMap::new(),
            rotten: BTreeSet::new(),
            left_alone: Vec::new(),
        }
    }

    /// What is decided is done, as a store would show it.
    fn carry_out(view: &mut View, decided: &Decided) {
        let gone: Vec<&Key> = decided.obsolete.iter().flat_map(|obsolete| &obsolete.objects).collect();
        view.groups.retain(|found| !found.objects.values().any(|entry| gone.contains(&&entry.key)));
        for (at, group) in decided.make.iter().enumerate() {
            let objects = (0..group.parity).map(|number| {
                let name = format!("parity/{}-{at}-{number}", group.members[0].pack);
                (number, Listed { key: Key::new(name).expect("a key"), size: 1, modified: Time(0) })
            });
            view.groups.push(Found { group: group.clone(), objects: objects.collect() });
        }
        view.rotten.clear();
    }

    fn sizes(view: &View) -> Vec<usize> {
        let mut sizes: Vec<usize> = view.groups.iter().map(|found| found.group.members.len()).collect();
        sizes.sort_unstable();
        sizes
    }

    #[test]
    fn packs_of_every_day_get_small_groups_until_there_is_a_large_one() {
        let settings = Settings::default();
        let mut view = view(0..41);
        let (mut made, mut days) = (0, 0);
        for last in 41..=100 {
            view.packs.insert(id(last), 4096);
            let decided = decide(&view, &settings);
            made += decided.make.iter().map(|group| group.members.len()).sum::<usize>();
            carry_out(&mut view, &decided);
            days += 1;
            let again = decide(&view, &settings);
            assert!(again.make.is_empty() && again.obsolete.is_empty(), "{days}: {again:?}");
            assert_eq!(again.covered.len(), view.packs.len());
        }
        // 101 packs: each was read once for its small group and once for the large one, but for those of the first day.
        assert_eq!(sizes(&view), [1, 20, 20, 20, 20, 20]);
        assert!(made <= 42 + 2 * 60 + 40, "{made}");
    }

    #[test]
    fn a_pruned_pack_has_its_group_made_anew_and_a_lost_one_does_not() {
        let settings = Settings::default();
        let mut view = view(0..20);
        let decided = decide(&view, &settings);
        carry_out(&mut view, &decided);
        view.packs.remove(&id(3));
        view.fates.insert(id(3), Fate::Pruned);
        let decided = decide(&view, &settings);
        assert_eq!((decided.make.len(), decided.make[0].members.len(), decided.obsolete.len()), (1, 19, 1));
        for fate in [Fate::Lost("gone"), Fate::Unknown] {
            view.fates.insert(id(3), fate.clone());
            // Another one that was pruned changes nothing about that, nor does another share, nor none at all.
            view.packs.remove(&id(4));
            view.fates.insert(id(4), Fate::Pruned);
            for share in [0, 10, 30] {
                let decided = decide(&view, &Settings { share, ..settings });
                assert!(decided.make.is_empty() && decided.obsolete.is_empty(), "{fate:?} {share}: {decided:?}");
                assert_eq!(decided.lost.len(), usize::from(fate != Fate::Unknown));
            }
        }
    }

    #[test]
    fn another_share_makes_all_anew_and_none_removes_all() {
        let mut view = view(0..20);
        let decided = decide(&view, &Settings::default());
        assert_eq!(decided.make[0].parity, 2);
        carry_out(&mut view, &decided);
        let more = decide(&view, &Settings { share: 20, ..Settings::default() });
        assert_eq!((more.make[0].parity, more.obsolete.len()), (4, 1));
        let none = decide(&view, &Settings { share: 0, ..Settings::default() });
        assert_eq!((none.make.len(), none.obsolete.len(), none.covered.len()), (0, 1, 0));
        // One of its objects is gone, or rotten.
        let key = view.groups[0].objects[&1].key.clone();
        view.rotten.insert(key);
        assert_eq!(decide(&view, &Settings::default()).make.len(), 1);
        view.groups[0].objects.remove(&1);
        view.rotten.clear();
        assert_eq!(decide(&view, &Settings::default()).make.len(), 1);
    }

    #[test]
    fn of_two_groups_of_the_same_packs_one_stays() {
        let mut view = view(0..20);
        let decided = decide(&view, &Settings::default());
        carry_out(&mut view, &decided);
        let half = Settings { group_packs: 10, ..Settings::default() };
        let mut twice = View { groups: Vec::new(), ..self::view(0..20) };
        carry_out(&mut twice, &decide(&self::view(0..20), &half));
        view.groups.append(&mut twice.groups);
        let decided = decide(&view, &Settings::default());
        assert_eq!((decided.groups, decided.obsolete.len(), decided.make.len()), (1, 2, 0));
    }

    #[test]
    fn the_share_is_met_in_every_group() {
        for packs in 1..=64 {
            for share in 1..=100_u8 {
                let parity = parity_of(share, packs);
                assert!(usize::from(parity) * 100 >= packs * usize::from(share) && usize::from(parity) <= packs);
            }
        }
    }
}
