//! Holding an object: some of its fields are changed by one write that also says which run did it, and put back in two steps.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::held::{HELD, Held};
use super::{HookError, RUN};
use crate::cluster::change::Change;
use crate::cluster::edit::{Edited, Place, disown, edit};
use crate::cluster::object::{annotation, is_dying, name_of, namespace_of, uid_of};
use crate::cluster::{Cluster, Kind};

/// Follows the id of a run in the annotation when what comes first is back: it is not put back a second time.
pub(super) const LATE: &str = "/late";

/// Which object, for a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    group: String,
    version: String,
    resource: String,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Target {
    pub(crate) fn of(kind: &Kind, object: &Value) -> Self {
        Self {
            group: kind.group.clone(),
            version: kind.version.clone(),
            resource: kind.resource.clone(),
            kind: kind.name.clone(),
            namespace: namespace_of(object).map(str::to_owned),
            name: name_of(object).to_owned(),
            uid: uid_of(object).to_owned(),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::known(&self.group, &self.version, &self.resource, &self.kind, self.namespace.is_some())
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = self.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        write!(f, "{} {namespace}{}", self.kind, self.name)
    }
}

/// What is changed on an object. All of it is set by one write. Fields of `early` are put back first, those of `late` when everything else is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Which object.
    pub target: Target,
    /// What lets the application go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub early: Vec<Change>,
    /// What keeps its data safe meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<Change>,
    /// The claim that a volume belongs to: without it, `late` stays as it was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Target>,
}

/// What became of an object that was held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Released {
    /// It is as it was.
    Done,
    /// This run does not hold it: it had not come to it, or it was released before.
    NotHeld,
    /// It does not exist any more.
    Gone,
    /// It is released, but for what somebody else has set meanwhile, or what is better left.
    Except {
        /// What stays, and why.
        why: Vec<String>,
    },
    /// It is still held.
    Failed {
        /// Why.
        why: String,
    },
}

impl Released {
    /// Whether nothing is left to be done.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }

    /// In words, behind the name of what was held; `None` if there is nothing to say.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        match self {
            Self::Done | Self::NotHeld => None,
            Self::Gone => Some("is gone".to_owned()),
            Self::Except { why } => Some(format!("released, but {}", why.join("; "))),
            Self::Failed { why } => Some(format!("STILL HELD: {why}")),
        }
    }

    /// Whether all is as it was.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        !matches!(self, Self::Failed { .. } | Self::Except { .. })
    }
}

/// Notes on an object who holds it, and what it takes to make it what it was: whoever has only the object, such as a backup that was made meanwhile, needs no journal.
fn note(run: &str, held: &Held, object: &mut Value) {
    for (name, text) in [(RUN, run.to_owned()), (HELD, held.text())] {
        if let Some(change) = Change::of(object, &["metadata", "annotations", name], Some(Value::String(text))) {
            change.make(object);
        }
    }
}

pub(super) fn unnote(object: &mut Value) {
    crate::cluster::object::take_fields(object, &["metadata", "annotations"], |name| [RUN, HELD].contains(&name));
}

impl Hold {
    fn place<'a>(&'a self, kind: &'a Kind) -> Place<'a> {
        Place { kind, namespace: self.target.namespace.as_deref(), name: &self.target.name }
    }

    /// What the annotation says while a run holds it.
    fn holder(&self, run: &str) -> String {
        if self.early.is_empty() { format!("{run}{LATE}") } else { run.to_owned() }
    }

    /// Whether there is anything to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.early.is_empty() && self.late.is_empty()
    }

    /// Changes the object. It has to be as it was planned.
    pub(crate) async fn begin(&self, cluster: &dyn Cluster, run: &str) -> Result<(), HookError> {
        let kind = self.target.kind();
        let what = || self.target.to_string();
        let mut refused = None;
        let decide = |object: &mut Value| {
            refused = self.refusal(object, run);
            if refused.is_some() || annotation(object, RUN) == self.holder(run) {
                return;
            }
            self.early.iter().chain(&self.late).for_each(|change| change.make(object));
            note(&self.holder(run), &Held::new(&self.early, &self.late), object);
        };
        let edited = edit(cluster, self.place(&kind), decide).await;
        match edited.map_err(|error| HookError::of(format!("hold {}", what()), error))? {
            Edited::Gone => Err(HookError::Changed { what: what(), why: "it is gone".to_owned() }),
            Edited::Same(_) | Edited::Written(_) => refused.map_or(Ok(()), Err),
        }
    }

    /// It still says that this run holds it.
    pub(crate) async fn look(&self, cluster: &dyn Cluster, run: &str) -> Result<(), HookError> {
        let found = cluster.get(&self.target.kind(), self.target.namespace.as_deref(), &self.target.name).await;
        let found = found.map_err(|error| HookError::of(format!("read {}", self.target), error))?;
        let is_held = |object: &Value| {
            let undone = self.early.iter().find(|change| change.value(object) != change.set.as_ref());
            annotation(object, RUN) == self.holder(run) && undone.is_none()
        };
        if found.as_ref().is_some_and(is_held) {
            return Ok(());
        }
        Err(HookError::Stirred { what: self.target.to_string(), why: "somebody has changed it".to_owned() })
    }

    fn refusal(&self, object: &Value, run: &str) -> Option<HookError> {
        let what = || self.target.to_string();
        let holder = annotation(object, RUN);
        if uid_of(object) != self.target.uid || is_dying(object) {
            return Some(HookError::Changed { what: what(), why: "it was deleted".to_owned() });
        }
        // Our own write, whose answer got lost.
        if holder == self.holder(run) {
            return None;
        }
        if !holder.is_empty() {
            return Some(HookError::Held { what: what(), run: holder.trim_end_matches(LATE).to_owned() });
        }
        let changed = self.early.iter().chain(&self.late).find(|change| !change.is_undone(object));
        changed.map(|change| HookError::Changed { what: what(), why: format!("somebody has set {}", change.field()) })
    }

    /// Puts back what lets the application go on.
    pub(crate) async fn release_early(&self, cluster: &dyn Cluster, run: &str) -> Released {
        if self.early.is_empty() {
            return Released::NotHeld;
        }
        let (late, mut kept, mut held) = (format!("{run}{LATE}"), Vec::new(), false);
        let edited = self.edited(cluster, |object| {
            if annotation(object, RUN) != run {
                held |= annotation(object, RUN) == late;
                return;
            }
            held = true;
            kept = undo(&self.early, object);
            note(&late, &Held::new(&[], &self.late), object);
        });
        let edited = edited.await;
        told(edited, held, kept)
    }

    /// Puts back the rest; with a reason why that would be unsafe it stays, and is told.
    pub(crate) async fn release_late(&self, cluster: &dyn Cluster, run: &str, unsafe_why: Option<&str>) -> Released {
        let (late, mut kept, mut held) = (format!("{run}{LATE}"), Vec::new(), false);
        let edited = self.edited(cluster, |object| {
            if annotation(object, RUN) != late {
                return;
            }
            held = true;
            kept = match unsafe_why {
                None => undo(&self.late, object),
                Some(why) => {
                    self.late.iter().map(|change| format!("{} stays as it is: {why}", change.field())).collect()
                }
            };
            unnote(object);
        });
        let edited = edited.await;
        if matches!(edited, Ok(Edited::Written(_))) {
            let kind = self.target.kind();
            disown(cluster, self.place(&kind)).await;
        }
        told(edited, held, kept)
    }

    async fn edited(
        &self,
        cluster: &dyn Cluster,
        mut decide: impl FnMut(&mut Value) + Send,
    ) -> Result<Edited, crate::cluster::ClusterError> {
        let kind = self.target.kind();
        let mut gone = false;
        let edited = edit(cluster, self.place(&kind), |object| {
            gone = uid_of(object) != self.target.uid;
            if !gone {
                decide(object);
            }
        });
        let edited = edited.await?;
        Ok(if gone { Edited::Gone } else { edited })
    }
}

/// Puts fields back, the last first; gives those that somebody else has set meanwhile, which stay.
pub(super) fn undo(changes: &[Change], object: &mut Value) -> Vec<String> {
    let mut kept = Vec::new();
    for change in changes.iter().rev() {
        if !change.undo(object) {
            let value = |value: Option<&Value>| value.cloned().unwrap_or(Value::Null);
            let (now, was) = (value(change.value(object)), value(change.was.as_ref()));
            kept.push(format!("{} stays {now}, which somebody has set; it was {was}", change.field()));
        }
    }
    kept
}

fn told(edited: Result<Edited, crate::cluster::ClusterError>, held: bool, kept: Vec<String>) -> Released {
    match edited {
        Err(error) => Released::Failed { why: crate::base::causes::in_one_line(&error) },
        Ok(Edited::Gone) => Released::Gone,
        Ok(_) if !held => Released::NotHeld,
        Ok(_) if kept.is_empty() => Released::Done,
        Ok(_) => Released::Except { why: kept },
    }
}
