//! One volume into a claim that is made for it, beside whatever is there.

use serde_json::{Value, json};

use super::Identity;
use super::claims::lacks_class;
use super::data::{Data, claim_of_source};
use super::filling::unmark;
use super::volumes::{Filled, Filling, Volumes};
use crate::cluster::object::{annotation, at, is_dying, name_of, text};
use crate::cluster::rewrite::FILLING;
use crate::cluster::{Cluster, ClusterError, Created, How};
use crate::hooks::scale::consumers;
use crate::volumes::labels::{MOVER_MODE, MOVER_USER, RESTORED_BY};
use crate::volumes::{kinds, quantity};

/// Which claim, and what comes into it.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its storage class; `None` for that of `like`, or the cluster's own choice.
    pub class: Option<&'a str>,
    /// The least size, in bytes, more if the data needs it; 0 for that of `like`.
    pub bytes: u64,
    /// The claim that the data is of, if it is there.
    pub like: Option<&'a Value>,
    /// What it is filled from.
    pub data: &'a Data,
    /// Who fills it, for whoever tries the same again; `None` where nobody will.
    pub by: Option<&'a str>,
}

/// A claim that is to be filled.
#[derive(Debug, Clone)]
pub enum Made {
    /// It is there, and not full yet.
    Claim(Value),
    /// The same filler filled it before.
    Full,
}

/// Why there is no claim to fill.
#[derive(Debug, thiserror::Error)]
pub enum BesideError {
    /// The cluster did not do as it was asked.
    #[error("cannot make the claim")]
    Cluster(#[from] ClusterError),
    /// It would wait for a volume for ever.
    #[error("the claim {claim} would never get a volume: {why}")]
    Classless {
        /// Namespace and name.
        claim: String,
        /// Why.
        why: String,
    },
    /// Another claim has the name.
    #[error("the claim {claim} is there already, and {why}")]
    Taken {
        /// Namespace and name.
        claim: String,
        /// Whose it is.
        why: String,
    },
}

impl BesideError {
    /// What to do about it.
    #[must_use]
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "see whether the cluster answers, and the rights of the account",
            Self::Classless { .. } => "nothing was changed; name a storage class that is there",
            Self::Taken { .. } => {
                "nothing was changed; give a name that is not taken, or restore in place to replace what is in it"
            }
        }
    }
}

impl Wanted<'_> {
    fn shown(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn manifest(&self) -> Value {
        let like = self.like.unwrap_or(&Value::Null);
        let asked = quantity::bytes(text(like, &["spec", "resources", "requests", "storage"])).unwrap_or(0);
        let bytes = if self.bytes == 0 { asked } else { self.bytes };
        let mebibytes = bytes.max(self.data.needs()).div_ceil(1 << 20).max(1);
        // What one class can do another perhaps cannot.
        let modes =
            at(like, &["spec", "accessModes"]).as_array().filter(|modes| self.class.is_none() && !modes.is_empty());
        let of_like = Some(text(like, &["spec", "storageClassName"])).filter(|class| !class.is_empty());
        let class = self.class.or(of_like);
        let mut claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": self.name, "namespace": self.namespace, "annotations": {FILLING: self.data.snapshot.hex()}},
            "spec": {
                "accessModes": modes.cloned().unwrap_or_else(|| vec!["ReadWriteOnce".into()]),
                "resources": {"requests": {"storage": format!("{mebibytes}Mi")}},
            },
        });
        // Which rights it may have is said in a namespace for that namespace.
        let is_home = text(like, &["metadata", "namespace"]) == self.namespace;
        for name in [MOVER_USER, MOVER_MODE].into_iter().take(if is_home { 2 } else { 1 }) {
            let said = annotation(like, name);
            if let (false, Some(all)) = (said.is_empty(), claim.pointer_mut("/metadata/annotations")) {
                all[name] = said.into();
            }
        }
        if let (true, Some(spec)) = (self.data.device, claim.get_mut("spec").and_then(Value::as_object_mut)) {
            spec.insert("volumeMode".to_owned(), "Block".into());
        }
        if let (Some(class), Some(spec)) = (class, claim.get_mut("spec").and_then(Value::as_object_mut)) {
            spec.insert("storageClassName".to_owned(), class.into());
        }
        claim
    }
}

/// The claim that data is of, as it is now in the cluster that is restored into. Only what the new one is made like: that it cannot be seen is no fault.
pub async fn original(cluster: &dyn Cluster, source: &str) -> Option<Value> {
    let (namespace, name) = claim_of_source(source)?;
    cluster.get(&kinds::claims(), Some(&namespace), &name).await.ok().flatten().filter(|claim| !is_dying(claim))
}

/// The pods that use the original now, as if they used the new claim: whose its files are, theirs are. That they cannot be seen is no fault, as above.
async fn users(cluster: &dyn Cluster, wanted: &Wanted<'_>) -> Vec<Value> {
    let Some(like) = wanted.like else { return Vec::new() };
    let (namespace, name) = (text(like, &["metadata", "namespace"]), name_of(like));
    let mut pods = consumers(cluster, namespace, &[name.to_owned()].into()).await.unwrap_or_default();
    for pod in &mut pods {
        let volumes = pod.pointer_mut("/spec/volumes").and_then(Value::as_array_mut).into_iter().flatten();
        let claims = volumes.filter_map(|volume| volume.pointer_mut("/persistentVolumeClaim/claimName"));
        claims.filter(|claim| **claim == *name).for_each(|claim| *claim = wanted.name.into());
    }
    pods
}

/// Refuses a claim that would wait for a volume for ever.
pub async fn refuse(cluster: &dyn Cluster, wanted: &Wanted<'_>) -> Result<(), BesideError> {
    let is_there = cluster.get(&kinds::claims(), Some(wanted.namespace), wanted.name).await?.is_some();
    match lacks_class(cluster, &wanted.manifest()).await? {
        Some(why) if !is_there => Err(BesideError::Classless { claim: wanted.shown(), why }),
        _ => Ok(()),
    }
}

/// The claim as it is now: made, or an earlier run's that is not full yet.
pub async fn make(cluster: &dyn Cluster, wanted: &Wanted<'_>, how: How) -> Result<Made, BesideError> {
    let (kind, manifest) = (kinds::claims(), wanted.manifest());
    refuse(cluster, wanted).await?;
    match cluster.create(&kind, &manifest, how).await? {
        Created::New(claim) => Ok(Made::Claim(claim)),
        Created::Found(found) if annotation(&found, FILLING) == wanted.data.snapshot.hex() && !is_dying(&found) => {
            Ok(Made::Claim(found))
        }
        Created::Found(found) if wanted.by.is_some_and(|by| annotation(&found, RESTORED_BY) == by) => Ok(Made::Full),
        Created::Found(found) => {
            let begun = annotation(&found, FILLING);
            let why = if begun.is_empty() {
                "its data is somebody's".to_owned()
            } else {
                format!("it is being filled from snapshot {begun}")
            };
            Err(BesideError::Taken { claim: wanted.shown(), why })
        }
    }
}

/// Fills a claim that was made, and says on it that it is full.
pub async fn fill(cluster: &dyn Cluster, volumes: &dyn Volumes, wanted: &Wanted<'_>, claim: Value) -> Filled {
    let filling = Filling {
        claim: Identity {
            kind: "persistentvolumeclaims".to_owned(),
            namespace: Some(wanted.namespace.to_owned()),
            name: wanted.name.to_owned(),
        },
        object: claim,
        data: wanted.data.clone(),
        consumers: users(cluster, wanted).await,
        node: None,
    };
    let mut filled = volumes.fill(&filling).await;
    unmark(cluster, &mut filled, wanted.by).await;
    filled
}
