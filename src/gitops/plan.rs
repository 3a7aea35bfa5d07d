//! What would be done to which object, and in which order. Nothing is written here.

use serde::Serialize;

use super::family::family;
use super::find::{Found, kinds, objects};
use super::note::{Note, State, pause, resume, state_of};
use super::tool::{Automated, Role, Tool, role_of};
use super::{GitopsError, Name, Selection};
use crate::base::clock::Time;
use crate::cluster::object::is_dying;
use crate::cluster::{Cluster, Kind};

/// What is meant to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Parents first.
    Pause,
    /// Children first.
    Resume,
}

/// What is done to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "act")]
pub enum Act {
    /// It is paused, by these fields.
    Pause {
        /// Which.
        fields: Vec<String>,
    },
    /// It gets back what it had.
    Resume,
    /// Nothing: it is as it should be.
    Leave,
    /// Nothing, although something should be done.
    Cannot {
        /// Why.
        why: String,
    },
}

/// An object and what is done to it.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Which.
    pub object: Name,
    /// Whose.
    pub tool: Tool,
    /// How many generations are above it.
    pub depth: usize,
    /// Who made it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Name>,
    /// What it is now.
    #[serde(flatten)]
    pub state: State,
    /// What is done.
    #[serde(flatten)]
    pub act: Act,
    /// Who made it, goes on, and may undo it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub may_be_undone_by: Vec<Name>,
    #[serde(skip)]
    pub(crate) kind: Kind,
    #[serde(skip)]
    pub(crate) role: Role,
}

/// See the module.
#[derive(Debug, Clone, Serialize)]
pub struct GitopsPlan {
    /// What is meant to happen.
    pub action: Action,
    /// Where.
    pub cluster: String,
    /// The id that notes will have.
    pub run: String,
    /// Which objects were asked for.
    pub selection: Selection,
    /// Whether Flux or ArgoCD is there at all.
    pub installed: bool,
    /// How many objects there are that were not asked for.
    pub not_selected: usize,
    /// The objects, in order.
    pub steps: Vec<Step>,
}

/// An object and what it is.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// Which.
    pub object: Name,
    /// Whose.
    pub tool: Tool,
    /// How many generations are above it.
    pub depth: usize,
    /// What it is.
    #[serde(flatten)]
    pub state: State,
}

/// What there is, parents first.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Where.
    pub cluster: String,
    /// Whether Flux or ArgoCD is there at all.
    pub installed: bool,
    /// The objects.
    pub objects: Vec<Standing>,
}

/// What is there now.
pub async fn status(cluster: &dyn Cluster, selection: &Selection) -> Result<Status, GitopsError> {
    let plan = plan(cluster, Action::Pause, selection, "").await?;
    let standing = |step: Step| Standing { object: step.object, tool: step.tool, depth: step.depth, state: step.state };
    let objects = plan.steps.into_iter().map(standing).collect();
    Ok(Status { cluster: plan.cluster, installed: plan.installed, objects })
}

/// Decides. `run` is the id of the run to come.
pub async fn plan(
    cluster: &dyn Cluster,
    action: Action,
    selection: &Selection,
    run: &str,
) -> Result<GitopsPlan, GitopsError> {
    let kinds = kinds(cluster).await?;
    let found = objects(cluster, &kinds).await?;
    let mut plan = GitopsPlan {
        action,
        cluster: cluster.name(),
        run: run.to_owned(),
        selection: selection.clone(),
        installed: !kinds.is_empty(),
        not_selected: 0,
        steps: Vec::new(),
    };
    let family = family(&found);
    for place in &family.order {
        let Some(this) = found.get(*place) else { continue };
        if !selection.takes(&this.name) {
            plan.not_selected += 1;
            continue;
        }
        let parents: Vec<&Found> =
            family.parents.get(*place).into_iter().flatten().filter_map(|place| found.get(*place)).collect();
        let depth = family.depth.get(*place).copied().unwrap_or_default();
        plan.steps.extend(step(action, this, &parents, depth, selection));
    }
    if action == Action::Resume {
        plan.steps.reverse();
    }
    Ok(plan)
}

fn step(action: Action, this: &Found, parents: &[&Found], depth: usize, selection: &Selection) -> Option<Step> {
    let (role, tool) = role_of(&this.kind)?;
    let state = state_of(role, &this.object);
    let act = match action {
        Action::Pause => to_pause(role, this, &state),
        Action::Resume => to_resume(this, &state),
    };
    // A parent that goes on: neither paused already nor by this plan.
    let goes_on = |parent: &&&Found| {
        !selection.takes(&parent.name) && role_of(&parent.kind).is_some_and(|(role, _)| !role.is_paused(&parent.object))
    };
    let undoing = matches!(act, Act::Pause { .. }).then(|| parents.iter().filter(goes_on));
    Some(Step {
        object: this.name.clone(),
        tool,
        depth,
        parents: parents.iter().map(|parent| parent.name.clone()).collect(),
        may_be_undone_by: undoing.into_iter().flatten().map(|parent| parent.name.clone()).collect(),
        state,
        act,
        kind: this.kind.clone(),
        role,
    })
}

fn to_pause(role: Role, this: &Found, state: &State) -> Act {
    match state {
        State::Ours { .. } | State::Others => Act::Leave,
        State::Unreadable { why } => Act::Cannot { why: unreadable(why) },
        State::Active | State::Undone { .. } if is_dying(&this.object) => Act::Cannot { why: DYING.to_owned() },
        State::Active | State::Undone { .. } => {
            let mut wanted = this.object.clone();
            pause(role, &mut wanted, Note::new("", Time(0)), Automated::Disabled);
            let fields = Note::of(&wanted).ok().flatten().map(|note| note.fields).unwrap_or_default();
            Act::Pause { fields: fields.iter().map(crate::cluster::change::Change::field).collect() }
        }
    }
}

fn to_resume(this: &Found, state: &State) -> Act {
    match state {
        State::Active | State::Others => Act::Leave,
        State::Unreadable { why } => Act::Cannot { why: unreadable(why) },
        State::Ours { .. } | State::Undone { .. } => match resume(&mut this.object.clone()) {
            Ok(_) => Act::Resume,
            Err(why) => Act::Cannot { why: unreadable(&why) },
        },
    }
}

/// Why what is being deleted is left: paused, its controller would never take its finalizer away, or leave behind what it made.
pub(crate) const DYING: &str = "it is being deleted; paused, it would stay for ever";

pub(crate) fn unreadable(why: &str) -> String {
    format!("its annotation {} cannot be understood ({why}); see what it says, then remove it", super::note::NOTE)
}
