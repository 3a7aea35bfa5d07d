//! Who keeps workloads as they are in Git, and would scale them up again while they are held at zero: Flux and ArgoCD, with everything above that would un-pause them. What is
//! paused already is left to whoever did it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::base::causes::in_one_line;
use crate::cluster::change::Change;
use crate::cluster::object::is_dying;
use crate::cluster::{Cluster, ClusterError, Kind};
use crate::gitops::family::family;
use crate::gitops::find::{Found, kinds, objects};
use crate::gitops::note::{State, state_of};
use crate::gitops::tool::{Automated, Role, role_of};
use crate::gitops::{GitopsError, Name};
use crate::hooks::HookError;
use crate::hooks::hold::{Hold, Target};
use crate::hooks::plan::Plan;
use crate::hooks::scale::ScalePlan;

/// What to do where they cannot be paused.
pub(crate) const BY_HAND: &str = "pause what keeps it by `homelab-dr gitops pause` first, and run this again (`homelab-dr gitops status` shows what there is)";

/// Why they are not paused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    /// It cannot be found out who they are.
    #[error("{workloads} may be kept as they are in Git, and by whom cannot be seen")]
    Unseen {
        /// The workloads.
        workloads: String,
        /// Why not.
        #[source]
        source: GitopsError,
    },
    /// A label says that there is one, and there is none.
    #[error("{0}; and what that is cannot be found")]
    Unfound(String),
    /// It cannot be told to leave them alone.
    #[error("{who} keeps it as it is in Git, and cannot be paused: {why}")]
    Cannot {
        /// The keeper.
        who: Name,
        /// Why not.
        why: String,
    },
}

/// Whether something is held so that no pod runs, and not for the sake of it.
pub(crate) fn is_workload(kind: &Kind) -> bool {
    ["Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"].contains(&kind.name.as_str())
}

/// The workloads that a plan holds, as they are.
pub(crate) async fn workloads(cluster: &dyn Cluster, scale: &ScalePlan) -> Result<Vec<(Kind, Value)>, ClusterError> {
    let mut workloads = Vec::new();
    for hold in scale.holds.iter().filter(|hold| is_workload(&hold.target.kind())) {
        let kind = hold.target.kind();
        let found = cluster.get(&kind, hold.target.namespace.as_deref(), &hold.target.name).await?;
        workloads.extend(found.map(|object| (kind, object)));
    }
    Ok(workloads)
}

/// What has to be paused, parents first. `None` where there is neither Flux nor ArgoCD.
pub(crate) async fn holds(
    cluster: &dyn Cluster,
    scale: &ScalePlan,
    workloads: &[(Kind, Value)],
) -> Result<Option<Vec<Hold>>, KeeperError> {
    if workloads.is_empty() {
        return Ok(None);
    }
    let unseen = |source| KeeperError::Unseen { workloads: scale.workloads.join(", "), source };
    let kinds = kinds(cluster).await.map_err(unseen)?;
    if kinds.is_empty() {
        return Ok(None);
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
        return Err(KeeperError::Unfound(note.clone()));
    }
    let order = family.order.iter().filter(|place| above.contains(place)).filter_map(|place| found.get(*place));
    order.map(hold).collect::<Result<_, _>>().map(Some)
}

fn is_paused(role: Role, object: &Value) -> bool {
    matches!(state_of(role, object), State::Ours { .. } | State::Others)
}

fn hold(found: &Found) -> Result<Hold, KeeperError> {
    let cannot = |why: &str| KeeperError::Cannot { who: found.name.clone(), why: why.to_owned() };
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

/// Has a hook that scales to zero pause them too: before everything else, in the same journal, and let go last. Gives who they are.
pub(super) async fn join(cluster: &dyn Cluster, plan: &mut Plan) -> Result<Vec<String>, HookError> {
    let Plan::Scale(scale) = plan else { return Ok(Vec::new()) };
    let workloads =
        workloads(cluster, scale).await.map_err(|source| HookError::of("read what would be scaled to zero", source))?;
    let keepers = holds(cluster, scale, &workloads).await.map_err(|error| HookError::Refused {
        what: scale.workloads.join(", "),
        why: format!("{}; {BY_HAND}", in_one_line(&error)),
    })?;
    // Nobody is there who could do it; what a label says stays said.
    let Some(mut keepers) = keepers else { return Ok(Vec::new()) };
    let paused = keepers.iter().map(|hold| hold.target.to_string()).collect();
    keepers.append(&mut scale.holds);
    scale.holds = keepers;
    scale.notes.clear();
    Ok(paused)
}
