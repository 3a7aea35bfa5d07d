//! One object written: created or replaced, its field owners given back, linked to its owners. Looks before it writes, and says when what it finds is not
//! what the plan saw.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::link::{Resolved, field_owners};
use super::plan::Step;
use crate::base::causes::in_one_line;
use crate::cluster::api::objects::MANAGER;
use crate::cluster::compare::differences;
use crate::cluster::object::{at, fields_mut, is_dying, items, text};
use crate::cluster::rewrite::{FILLING, as_restored, is_untouched_account, replacement};
use crate::cluster::{Cluster, ClusterError, Created, How};

/// Times that a write is tried anew when somebody else changed the object in between.
const TRIES_MAX: u32 = 8;
/// How long a kind or namespace that was just made may still be unknown to the server that is asked.
const NEW_UNKNOWN_MAX: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Why an object was not written.
#[derive(Debug)]
pub(super) enum Failed {
    /// The cluster refused this one.
    Refused(String),
    /// Its kind or namespace is not there, also after a wait if there was to be one.
    Missing(String),
    /// What converts objects of its kind does not answer.
    Unconverted(String),
    /// Something else would have to be done than the plan says.
    Otherwise(String),
    /// The cluster cannot be talked to any more.
    Away(ClusterError),
    /// The same, with an object deleted that was to be made anew.
    Gone(String),
}

impl From<ClusterError> for Failed {
    fn from(error: ClusterError) -> Self {
        match error {
            error if error.is_of_the_cluster() => Self::Away(error),
            error if error.is_of_a_conversion() => Self::Unconverted(in_one_line(&error)),
            ClusterError::Refused { message, .. } => Self::Refused(message),
            error => Self::Refused(in_one_line(&error)),
        }
    }
}

/// Writes objects.
pub(super) struct Acting<'a> {
    pub(super) cluster: &'a dyn Cluster,
    /// Whether kind and namespace may still come up, so that it is worth the wait.
    pub(super) may_come: bool,
}

fn with(object: &Value, field: &str, value: Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = fields_mut(&mut object, &["metadata"]) {
        metadata.insert(field.to_owned(), value);
    }
    object
}

impl Acting<'_> {
    /// Creates an object, with those of its owners that are there. Returns it as it is now.
    pub(super) async fn create(&self, step: &Step, owners: &Resolved) -> Result<Value, Failed> {
        let mut object = if owners.there.is_empty() {
            step.rewritten.object.clone()
        } else {
            with(&step.rewritten.object, "ownerReferences", owners.there.clone().into())
        };
        if let Some(data) = step.fill.as_ref().filter(|data| self.cluster.lives() && !data.proven_empty) {
            // In the same request: a run that is cut off right after it is recognised.
            let annotations = at(&object, &["metadata", "annotations"]);
            let mut annotations = annotations.as_object().cloned().unwrap_or_default();
            annotations.insert(FILLING.to_owned(), data.snapshot.hex().into());
            object = with(&object, "annotations", annotations.into());
        }
        // Where nothing gives out uids, none is invented.
        if !self.cluster.lives() && !step.rewritten.uid.is_empty() {
            object = with(&object, "uid", step.rewritten.uid.clone().into());
        }
        let begun = Instant::now();
        let created = loop {
            match self.cluster.create(&step.kind, &object, How::Really).await {
                Err(ClusterError::Refused { status: 404, message, .. }) => {
                    if !self.may_come || begun.elapsed() >= NEW_UNKNOWN_MAX {
                        return Err(Failed::Missing(message));
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                created => break created?,
            }
        };
        let live = match created {
            Created::New(live) => live,
            Created::Found(live) if is_dying(&live) => {
                return Err(Failed::Otherwise("it is there since the plan was made, and is being deleted".to_owned()));
            }
            Created::Found(live) if is_untouched_account(&step.kind, &live) => return self.fill(step, owners).await,
            Created::Found(live) => {
                let differs = differences(&step.kind, &step.rewritten.object, &live);
                if !differs.is_empty() {
                    let why = format!("it is there since the plan was made, and differs in {}", differs.join(", "));
                    return Err(Failed::Otherwise(why));
                }
                live
            }
        };
        self.give_back(step, live, owners).await
    }

    /// What an earlier run left half done.
    pub(super) async fn finish(&self, step: &Step, owners: &Resolved) -> Result<Value, Failed> {
        let live = self.again(step).await?;
        let differs = differences(&step.kind, &step.rewritten.object, &live);
        if !differs.is_empty() {
            return Err(Failed::Otherwise(format!("it was changed since the plan was made: {}", differs.join(", "))));
        }
        let ours = items(&live, &["metadata", "managedFields"]).iter().any(|e| text(e, &["manager"]) == MANAGER);
        if ours { self.give_back(step, live, owners).await } else { Ok(live) }
    }

    /// Replaces what the plan saw, if it is still that.
    pub(super) async fn replace(&self, step: &Step, owners: &Resolved) -> Result<Value, Failed> {
        let (kind, desired) = (&step.kind, &step.rewritten.object);
        let seen = step.live.as_ref().unwrap_or(&Value::Null);
        self.put(step, owners, |live| {
            let is_other = at(live, &["metadata", "uid"]) != at(seen, &["metadata", "uid"]);
            if is_other || as_restored(kind, live, desired) != as_restored(kind, seen, desired) {
                return Err(Failed::Otherwise("it was changed since the plan was made".to_owned()));
            }
            Ok(())
        })
        .await
    }

    /// Puts what was captured into the account that the cluster made.
    pub(super) async fn fill(&self, step: &Step, owners: &Resolved) -> Result<Value, Failed> {
        self.put(step, owners, |live| {
            if is_untouched_account(&step.kind, live)
                || differences(&step.kind, &step.rewritten.object, live).is_empty()
            {
                return Ok(());
            }
            Err(Failed::Otherwise("it was changed since the plan was made".to_owned()))
        })
        .await
    }

    async fn put(
        &self,
        step: &Step,
        owners: &Resolved,
        is_expected: impl Fn(&Value) -> Result<(), Failed>,
    ) -> Result<Value, Failed> {
        for _ in 0..TRIES_MAX {
            let live = self.again(step).await?;
            if differences(&step.kind, &step.rewritten.object, &live).is_empty() {
                return self.give_back(step, live, owners).await;
            }
            is_expected(&live)?;
            let object = replacement(&step.kind, &step.rewritten.object, &live);
            match self.cluster.replace(&step.kind, &object, How::Really).await {
                Ok(live) => return self.give_back(step, live, owners).await,
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failed::Refused("somebody else keeps changing it".to_owned()))
    }

    /// Makes the owners of its fields what they were, so that none is ours.
    async fn give_back(&self, step: &Step, mut live: Value, owners: &Resolved) -> Result<Value, Failed> {
        for _ in 0..TRIES_MAX {
            let now = items(&live, &["metadata", "managedFields"]);
            if now.is_empty() && step.rewritten.managed.is_none() {
                return Ok(live);
            }
            let fields = field_owners(step.rewritten.managed.as_ref(), now, &owners.renamed);
            if at(&live, &["metadata", "managedFields"]) == &fields {
                return Ok(live);
            }
            let version = at(&live, &["metadata", "resourceVersion"]);
            let patch = json!({"metadata": {"managedFields": fields, "resourceVersion": version}});
            match self.patch(step, &patch).await {
                Ok(live) => return Ok(live),
                Err(error) if error.is_conflict() => live = self.again(step).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failed::Refused("somebody else keeps changing it, and its fields are still owned by homelab-dr".to_owned()))
    }

    /// Names the owners that are there now.
    pub(super) async fn link(&self, step: &Step, owners: &Resolved) -> Result<(), Failed> {
        for _ in 0..TRIES_MAX {
            let live = self.again(step).await?;
            let mut named = items(&live, &["metadata", "ownerReferences"]).to_vec();
            let before = named.len();
            for owner in &owners.there {
                if !named.iter().any(|other| at(other, &["uid"]) == at(owner, &["uid"])) {
                    named.push(owner.clone());
                }
            }
            if named.len() == before {
                return Ok(());
            }
            let version = at(&live, &["metadata", "resourceVersion"]);
            let patch = json!({"metadata": {"ownerReferences": named, "resourceVersion": version}});
            match self.patch(step, &patch).await {
                Ok(live) => return self.give_back(step, live, owners).await.map(|_| ()),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failed::Refused("somebody else keeps changing it, and it is not linked to its owners".to_owned()))
    }

    async fn patch(&self, step: &Step, patch: &Value) -> Result<Value, ClusterError> {
        self.cluster.patch(&step.kind, step.object.namespace.as_deref(), &step.object.name, patch).await
    }

    /// The object as it is now.
    pub(super) async fn again(&self, step: &Step) -> Result<Value, Failed> {
        let found = self.cluster.get(&step.kind, step.object.namespace.as_deref(), &step.object.name).await?;
        found.ok_or_else(|| Failed::Otherwise("it is gone since it was last looked at".to_owned()))
    }
}
