//! What becomes of one object, by what is there: decided for the plan, and compared again before it is done.

use serde::Serialize;
use serde_json::Value;

use super::Existing;
use super::plan::Step;
use super::reach::{Reach, There};
use super::recreate::{Asked, refusal, would_take};
use crate::base::causes::in_one_line;
use crate::cluster::api::objects::MANAGER;
use crate::cluster::compare::differences;
use crate::cluster::object::{at, is_dying, items, text};
use crate::cluster::rewrite::{is_untouched_account, replacement};
use crate::cluster::{Cluster, ClusterError, How};
use crate::gitops::note::{self, Replaced};
use crate::gitops::tool::role_of;
use crate::hooks::held::holder;

/// What the server said to a creation that was not meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "dry-run", content = "because")]
pub enum Trial {
    /// It would take it.
    Accepted,
    /// It could not be asked yet.
    Later(String),
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Fate {
    /// Not looked at yet; in no finished plan.
    Undecided,
    /// It is not there.
    Create {
        /// What the server says to it.
        trial: Trial,
    },
    /// An earlier run created it and did not come to give it its owners back.
    Finish,
    /// The service account that every namespace has, as the cluster made it: it is filled.
    Fill,
    /// It is there, differs, and is replaced.
    Replace {
        /// Where it differs.
        differs: Vec<String>,
    },
    /// It is there, differs, cannot be changed, and is deleted and made anew.
    Recreate {
        /// Where it differs.
        differs: Vec<String>,
        /// Why it cannot be changed, in the server's words.
        because: String,
    },
    /// It is there and equal.
    Same,
    /// It is there, differs, and is left.
    Keep {
        /// Where it differs.
        differs: Vec<String>,
    },
    /// It cannot be restored.
    Conflict {
        /// Why.
        why: String,
    },
}

impl Fate {
    /// Whether it makes something new.
    #[must_use]
    pub const fn creates(&self) -> bool {
        matches!(self, Self::Create { .. })
    }

    /// Whether something is done.
    #[must_use]
    pub const fn acts(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Finish | Self::Fill | Self::Replace { .. } | Self::Recreate { .. })
    }
}

/// How fates are found.
pub(super) struct Looking<'a> {
    pub(super) cluster: &'a dyn Cluster,
    pub(super) reach: &'a Reach,
    pub(super) existing: Existing,
}

impl Looking<'_> {
    pub(super) async fn decide(&self, mut step: Step) -> Result<Step, ClusterError> {
        let namespace = step.object.namespace.as_deref();
        let later = match (self.reach.kind(&step.kind), self.reach.namespace(namespace)) {
            (There::Never(why), _) | (_, There::Never(why)) => {
                step.fate = Fate::Conflict { why };
                return Ok(step);
            }
            (There::Later, _) => Some("its definition is there"),
            (_, There::Later) => Some("its namespace is there"),
            (There::Now, There::Now) => None,
        };
        if let Some(until) = later {
            step.fate = Fate::Create { trial: Trial::Later(format!("not checked until {until}")) };
            return Ok(step);
        }
        step.live = match self.cluster.get(&step.kind, namespace, &step.object.name).await {
            Ok(live) => live,
            // It may not be read, a webhook fails to convert it, its server is down, or it cannot be decrypted: others can be.
            Err(error) => {
                if let Some(gone) = self.cluster.is_lost(&error).await {
                    return Err(gone);
                }
                step.fate = Fate::Conflict { why: format!("it cannot be looked at: {}", in_one_line(&error)) };
                return Ok(step);
            }
        };
        if let Err(why) = self.stays_paused(&mut step) {
            step.fate = Fate::Conflict { why };
            return Ok(step);
        }
        step.fate = match &step.live {
            None => self.try_create(&step).await?,
            Some(live) => self.of_existing(&step, live).await?,
        };
        Ok(step)
    }

    /// What `gitops pause` has paused stays so: it would undo in the middle what the rest of the restore does. An error is why it cannot be replaced.
    fn stays_paused(&self, step: &mut Step) -> Result<(), String> {
        let (Some(live), Some((role, _))) = (&step.live, role_of(&step.kind)) else { return Ok(()) };
        if self.existing == Existing::Skip {
            return Ok(());
        }
        match note::replace(role, &mut step.rewritten.object, live) {
            Replaced::Active => {}
            Replaced::Stays { run } => {
                let what = "stays paused, `homelab-dr gitops resume` lets it go on as the snapshot has it";
                step.notes.push(format!("{what} (paused by run {run})"));
            }
            Replaced::Ends => step.notes.push("is paused, not by homelab-dr, and will not be any more".to_owned()),
            Replaced::Unclear { why } => {
                return Err(format!("{why}: `homelab-dr gitops resume` it, or unpause it by hand, and run this again"));
            }
        }
        Ok(())
    }

    async fn try_create(&self, step: &Step) -> Result<Fate, ClusterError> {
        let tried = self.cluster.create(&step.kind, &step.rewritten.object, How::Trial).await;
        // An account that a pod names may come with an earlier step.
        let may_change = step.kind.is("", "Pod");
        Ok(match tried {
            Ok(_) => Fate::Create { trial: Trial::Accepted },
            Err(ClusterError::Refused { status: 400 | 403 | 422, message, .. })
                if !may_change && !message.contains("does not support dry run") =>
            {
                Fate::Conflict { why: message }
            }
            Err(ClusterError::Refused { status: 401, request, message }) => {
                return Err(ClusterError::Refused { status: 401, request, message });
            }
            Err(ClusterError::Refused { message, .. }) => Fate::Create { trial: Trial::Later(message) },
            Err(error) => return Err(error),
        })
    }

    async fn of_existing(&self, step: &Step, live: &Value) -> Result<Fate, ClusterError> {
        if is_dying(live) {
            return Ok(Fate::Conflict { why: "it is being deleted".to_owned() });
        }
        let differs = differences(&step.kind, &step.rewritten.object, live);
        if differs.is_empty() {
            return Ok(if is_unfinished(step, live) { Fate::Finish } else { Fate::Same });
        }
        if is_untouched_account(&step.kind, live) {
            return Ok(Fate::Fill);
        }
        if self.existing == Existing::Skip {
            return Ok(Fate::Keep { differs });
        }
        if let Some(run) = holder(live) {
            // It would go on in the middle of what that run does, which is told of that by nobody.
            let why = format!("run {run} holds it: wait for its end, or let it go (`homelab-dr release --run {run}`)");
            return Ok(Fate::Conflict { why });
        }
        let object = replacement(&step.kind, &step.rewritten.object, live);
        Ok(match self.cluster.replace(&step.kind, &object, How::Trial).await {
            Ok(_) => Fate::Replace { differs },
            // Not of a kind that a policy or a right would be: what does not change is said so (422).
            Err(ClusterError::Refused { status: 422, message, .. })
                if self.existing == Existing::Recreate
                    && self.cluster.lives()
                    && !message.contains("does not support dry run") =>
            {
                self.recreated(step, live, differs, message).await?
            }
            Err(ClusterError::Refused { status: 400 | 403 | 422, message, .. })
                if !message.contains("does not support dry run") =>
            {
                Fate::Conflict { why: message }
            }
            Err(ClusterError::Refused { status, .. }) if status != 401 => Fate::Replace { differs },
            Err(error) => return Err(error),
        })
    }
}

impl Looking<'_> {
    /// Of what cannot be changed: whether it is made anew.
    async fn recreated(
        &self,
        step: &Step,
        live: &Value,
        differs: Vec<String>,
        because: String,
    ) -> Result<Fate, ClusterError> {
        if let Some(why) = refusal(&step.kind, live) {
            return Ok(Fate::Conflict { why: format!("{because}; {why}") });
        }
        Ok(match would_take(self.cluster, &step.kind, &step.rewritten.object).await? {
            Asked::Yes => Fate::Recreate { differs, because },
            Asked::No(why) => Fate::Conflict { why: format!("{because}; {why}") },
        })
    }
}

/// Whether it is as an earlier run left it that did not come to its end: our name among the owners of its fields, or no owner where it had one.
fn is_unfinished(step: &Step, live: &Value) -> bool {
    let managed = items(live, &["metadata", "managedFields"]);
    let ours = managed.iter().any(|entry| text(entry, &["manager"]) == MANAGER);
    ours || (!step.rewritten.owners.is_empty() && at(live, &["metadata", "ownerReferences"]).is_null())
}
