//! A claim with one moment of a volume in it, and its end. What a snapshot and a clone have in common is here.

use serde_json::{Value, json};

use super::clear::{Traces, clear};
use super::journal::{self, Entry};
use super::labels::EXPIRES;
use super::run::{name_for, run_of};
use super::wait::{Time, Waiting, last_words, named, named_object};
use super::{Context, Limits, VolumesError, kinds};
use crate::base::clock::Time as Moment;
use crate::cluster::error::told;
use crate::cluster::object::{is_dying, text, uid_of};
use crate::cluster::{Cluster, Created, How, Kind};
use crate::volumes::choose::{Choice, Copy};

/// A claim that a mover may mount and that nobody else writes to. It goes with [`Prepared::release`]; if that is never called, with the next sweep.
#[must_use = "it stays in the cluster until it is released"]
#[derive(Debug)]
pub struct Prepared {
    /// Where the claim is.
    pub namespace: String,
    /// Its name.
    pub claim: String,
    entry: Entry,
    journal: String,
}

impl Prepared {
    /// Moves on the time from which a sweep of others may take it for abandoned. Only for a run that takes longer than it said.
    pub async fn renew(&self, cluster: &dyn Cluster, expires: Moment) -> Result<(), VolumesError> {
        // Every sweep lists the claims, and of all that it sees of a name the latest end counts.
        let patch = json!({"metadata": {"annotations": {EXPIRES: expires.to_string()}}});
        let (kind, namespace) = (kinds::claims(), Some(self.namespace.as_str()));
        let renewed = cluster.patch(&kind, namespace, &self.claim, &patch).await;
        let fail = |error| VolumesError::cluster("change", named(&kind, namespace, &self.claim), error);
        renewed.map(drop).map_err(fail)
    }

    /// Removes the claim, its volume and the storage's snapshot, and sees them gone. Pods that mount the claim have to be gone already. What cannot be
    /// removed is left to the next sweep, and is an error.
    pub async fn release(self, cluster: &dyn Cluster, limits: &Limits) -> Result<(), VolumesError> {
        clear(cluster, limits, &self.journal, &Traces::from(&self.entry)).await
    }
}

/// Something being prepared: its steps have the journal's entry in common.
pub(super) struct Making<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) entry: Entry,
}

impl<'a> Making<'a> {
    /// For a claim; `home` is the namespace of the copy.
    pub(super) fn new(context: &'a Context<'a>, choice: &Choice, home: &str) -> Self {
        let entry = Entry {
            name: name_for(&context.run.id, &choice.namespace, &choice.claim),
            run: context.run.id.clone(),
            expires: context.run.expires.to_string(),
            namespace: choice.namespace.clone(),
            claim: choice.claim.clone(),
            home: home.to_owned(),
            taken: None,
        };
        Self { context, entry }
    }

    /// What was made, or after a failure nothing of it.
    pub(super) async fn end(self, made: Result<(), VolumesError>) -> Result<Prepared, VolumesError> {
        let Context { cluster, limits, namespace, .. } = *self.context;
        // Nothing is taken of it any more: whoever holds its application still need not wait for the clearing up.
        self.context.cut.reach();
        let entry = self.entry;
        let Err(why) = made else {
            let journal = namespace.to_owned();
            return Ok(Prepared { namespace: entry.home.clone(), claim: entry.name.clone(), entry, journal });
        };
        match clear(cluster, limits, namespace, &Traces::from(&entry)).await {
            Ok(()) => Err(why),
            Err(left) => {
                let reason = told(&left);
                Err(VolumesError::NotCleared { left: entry.name, reason, why: Box::new(why) })
            }
        }
    }

    pub(super) async fn journal(&self) -> Result<(), VolumesError> {
        self.not_stopped()?;
        journal::put(self.context.cluster, self.context.namespace, &self.entry).await
    }

    /// Asked before each thing that is made.
    pub(super) fn not_stopped(&self) -> Result<(), VolumesError> {
        if self.context.cancel.is_cancelled() { Err(VolumesError::Cancelled) } else { Ok(()) }
    }

    /// The claim is still the one that was chosen.
    pub(super) async fn is_the_same(&self, choice: &Choice) -> Result<(), VolumesError> {
        let kind = kinds::claims();
        let found = self.get(&kind, Some(&choice.namespace), &choice.claim).await?;
        let object = named(&kind, Some(&choice.namespace), &choice.claim);
        match found {
            Some(claim) if uid_of(&claim) == choice.uid && !is_dying(&claim) => Ok(()),
            Some(_) => Err(VolumesError::Foreign { object, why: "it was deleted or made anew meanwhile".to_owned() }),
            None => Err(VolumesError::Foreign { object, why: "it was deleted meanwhile".to_owned() }),
        }
    }

    pub(super) async fn get(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, VolumesError> {
        let found = self.context.cluster.get(kind, namespace, name).await;
        found.map_err(|error| VolumesError::cluster("read", named(kind, namespace, name), error))
    }

    /// Creates an object of this run, or finds that it did already: a request whose answer was lost may have been carried out.
    pub(super) async fn create(&self, kind: &Kind, object: &Value) -> Result<Value, VolumesError> {
        self.not_stopped()?;
        let fail = |error| VolumesError::cluster("create", named_object(object), error);
        match self.context.cluster.create(kind, object, How::Really).await.map_err(fail)? {
            Created::New(made) => Ok(made),
            Created::Found(found) if run_of(&found).as_ref() == Some(&self.entry.run) && !is_dying(&found) => Ok(found),
            Created::Found(found) => Err(VolumesError::Foreign {
                object: named_object(&found),
                why: "it was there before, or is being deleted".to_owned(),
            }),
        }
    }

    /// Makes the claim that movers mount, from `source`. One whose volume is made at once is waited for; for any other the mover's pod is.
    pub(super) async fn copy(&self, copy: &Copy, bytes: u64, source: Value) -> Result<(), VolumesError> {
        let Context { cluster, run, limits, cancel, .. } = *self.context;
        let Entry { home, name, .. } = &self.entry;
        let kind = kinds::claims();
        self.create(
            &kind,
            &json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": run.named(Some(home), name),
                "spec": {
                    // Any driver can do this one, and the copy is one mover's.
                    "accessModes": ["ReadWriteOnce"],
                    "dataSource": source,
                    "resources": {"requests": {"storage": copy.bytes.max(bytes).max(1).to_string()}},
                    "storageClassName": copy.storage_class,
                    "volumeMode": if copy.block { "Block" } else { "Filesystem" },
                },
            }),
        )
        .await?;
        if copy.waits_for_consumer {
            return Ok(());
        }
        let mut waiting = Waiting::new(limits.bound, limits, Some(cancel));
        loop {
            let claim = self.get(&kind, Some(home), name).await?;
            if claim.as_ref().is_some_and(|claim| text(claim, &["status", "phase"]) == "Bound") {
                return Ok(());
            }
            if waiting.again().await? == Time::Over {
                return Err(VolumesError::Late {
                    object: named(&kind, Some(home), name),
                    state: "bound",
                    limit: limits.bound,
                    last: last_words(cluster, claim.as_ref(), "nothing makes a volume for it").await,
                });
            }
        }
    }
}
