//! Who keeps workloads as they are in Git, and would scale them up again in the middle: Flux and ArgoCD, with everything above that would un-pause them. What is paused
//! already is left to whoever did it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::Identity;
use super::{InPlaceError, refused};
use crate::cluster::change::Change;
use crate::cluster::object::is_dying;
use crate::cluster::{Cluster, Kind};
use crate::gitops::Name;
use crate::gitops::family::family;
use crate::gitops::find::{Found, kinds, objects};
use crate::gitops::note::{State, state_of};
use crate::gitops::tool::{Automated, Role, role_of};
use crate::hooks::hold::{Hold, Target};
use crate::hooks::scale::ScalePlan;

const BY_HAND: &str = "pause what keeps it by `homelab-dr gitops pause` first, and run this again (`homelab-dr gitops status` shows what there is)";

/// What has to be paused, parents first.
pub(super) async fn holds(
    cluster: &dyn Cluster,
    claim: &Identity,
    scale: &ScalePlan,
    workloads: &[(Kind, Value)],
) -> Result<Vec<Hold>, InPlaceError> {
    if workloads.is_empty() {
        return Ok(Vec::new());
    }
    let unseen = |source| InPlaceError::Gitops { workloads: scale.workloads.join(", "), source };
    let kinds = kinds(cluster).await.map_err(unseen)?;
    if kinds.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = objects(cluster, &kinds).await.map_err(unseen)?;
    let first = found.len();
    found.extend(workloads.iter().map(|(kind, object)| Found {
        name: Name::of(kind, object),
        kind: kind.clone(),
        object: object.clone(),
    }));
    let family = family(&found);
    let mut above: BTreeSet<usize> = BTreeSet::new();
    let mut todo: Vec<usize> = (first..found.len()).collect();
    let mut is_kept = false;
    while let Some(place) = todo.pop() {
        for parent in family.parents.get(place).into_iter().flatten().copied() {
            is_kept = true;
            let Some(role) = found.get(parent).and_then(|found| role_of(&found.kind)).map(|(role, _)| role) else {
                continue;
            };
            // What somebody has paused is theirs, and so is what is above it.
            if found.get(parent).is_some_and(|found| !is_paused(role, &found.object)) && above.insert(parent) {
                todo.push(parent);
            }
        }
    }
    if let (Some(note), false) = (scale.notes.first(), is_kept) {
        return Err(refused(claim, format!("{note}; and what that is cannot be found"), BY_HAND));
    }
    let order = family.order.iter().filter(|place| above.contains(place)).filter_map(|place| found.get(*place));
    order.map(|found| hold(claim, found)).collect()
}

fn is_paused(role: Role, object: &Value) -> bool {
    matches!(state_of(role, object), State::Ours { .. } | State::Others)
}

fn hold(claim: &Identity, found: &Found) -> Result<Hold, InPlaceError> {
    let cannot = |why: &str| {
        refused(claim, format!("{} keeps it as it is in Git, and cannot be paused: {why}", found.name), BY_HAND)
    };
    let Some((role, _)) = role_of(&found.kind) else { return Err(cannot("it is of an unknown kind")) };
    if is_dying(&found.object) {
        return Err(cannot("it is being deleted"));
    }
    if let State::Unreadable { why } = state_of(role, &found.object) {
        return Err(cannot(&why));
    }
    // Every version of ArgoCD understands `automated` that is not there; older ones drop `enabled` without a word.
    let wanted = role.wanted(&found.object, Automated::TakenOut);
    let changes = wanted.into_iter().filter_map(|(path, value)| Change::of(&found.object, &path, value));
    Ok(Hold { target: Target::of(&found.kind, &found.object), early: changes.collect(), late: Vec::new(), claim: None })
}
