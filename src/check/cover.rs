//! Parity: which packs it covers, and whether its groups could stand what they promise. Nobody needs it, so that nothing about it is damage.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::base::id::ObjectId;
use crate::check::report::{Cover, Finding, Hint, Problem, Severity};
use crate::check::snapshots::of_error;
use crate::repo::doomed::Marks;
use crate::repo::error::RepoError;
use crate::repo::index::Index;
use crate::repo::layout;
use crate::repo::open::Repository;
use crate::repo::parity::{Found, load};
use crate::store::Listed;

/// Looks at the headers of all parity objects; `None` where there are none. What it finds is in `findings`; findings of packs that a group can bring back say so.
pub(super) async fn look(
    repository: &Repository,
    index: &Index,
    marks: &Marks,
    inventory: &[Listed],
    findings: &mut Vec<Finding>,
) -> Result<Option<Cover>, RepoError> {
    let listed: Vec<Listed> =
        inventory.iter().filter(|entry| entry.key.as_str().starts_with(layout::PARITY)).cloned().collect();
    if listed.is_empty() {
        return Ok(None);
    }
    let groups = load(&*repository.store, listed, false).await?;
    for (entry, error) in groups.bad {
        let finding = of_error(&entry.key, &error);
        findings.push(Finding { severity: Severity::Warning, hint: Hint::MakeParity, ..finding });
    }
    let (own, others): (Vec<Found>, Vec<Found>) =
        groups.found.into_iter().partition(|found| found.group.repository == repository.id);
    for entry in others.iter().flat_map(|found| found.objects.values()) {
        let what = "it is parity of another repository";
        findings.push(Finding::note(&entry.key, Problem::Foreign, what, Hint::Nothing));
    }
    let wanted: HashMap<ObjectId, u64> =
        index.packs.iter().filter(|pack| !marks.is_pack_doomed(&pack.id)).map(|pack| (pack.id, pack.size)).collect();
    let listed: HashMap<&str, u64> = inventory.iter().map(|entry| (entry.key.as_str(), entry.size)).collect();
    let is_there = |pack: &ObjectId, size: u64| listed.get(layout::pack(pack).as_str()) == Some(&size);
    let mut cover = Cover::default();
    let mut covered: HashSet<ObjectId> = HashSet::new();
    let mut mendable: HashSet<ObjectId> = HashSet::new();
    let mut short: BTreeMap<String, String> = BTreeMap::new();
    for found in &own {
        let group = &found.group;
        cover.groups += 1;
        cover.objects += found.objects.len() as u64;
        cover.bytes += found.objects.values().map(|entry| entry.size).sum::<u64>();
        let gone = group.members.iter().filter(|member| !is_there(&member.pack, u64::from(member.length))).count();
        let spare = found.objects.len().checked_sub(gone);
        if spare.is_some_and(|spare| spare > 0) {
            covered.extend(group.members.iter().map(|member| member.pack));
        }
        if spare.is_some() {
            mendable.extend(group.members.iter().map(|member| member.pack));
        }
        if spare != Some(usize::from(group.parity))
            && let Some(first) = found.objects.values().next()
        {
            cover.short += 1;
            let stands = spare.unwrap_or(0);
            let what = format!(
                "of its group of {} packs {gone} are gone, and {} of {} parity objects: it stands the loss of {stands} more",
                group.members.len(),
                usize::from(group.parity) - found.objects.len().min(usize::from(group.parity)),
                group.parity
            );
            short.insert(first.key.to_string(), what);
        }
    }
    for (object, what) in short {
        findings.push(Finding::new(&object, Severity::Warning, Problem::Missing, what, Hint::MakeParity));
    }
    cover.packs = wanted.len() as u64;
    cover.covered = wanted.keys().filter(|pack| covered.contains(*pack)).count() as u64;
    if cover.covered < cover.packs {
        let what = format!("of {} packs {} are not covered by parity", cover.packs, cover.packs - cover.covered);
        findings.push(Finding::note(&layout::PARITY, Problem::Uncovered, what, Hint::MakeParity));
    }
    for finding in findings.iter_mut().filter(|finding| finding.severity == Severity::Damage) {
        let pack = crate::store::Key::new(finding.object.as_str()).ok().and_then(|key| layout::pack_id(&key));
        let by_copy = matches!(finding.hint, Hint::CopyOrBackUp | Hint::CopyOrMark | Hint::ReadAgain);
        if by_copy && pack.is_some_and(|pack| mendable.contains(&pack)) {
            finding.hint = Hint::Rebuild;
        }
    }
    Ok(Some(cover))
}
