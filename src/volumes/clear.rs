//! Everything that was made for a claim is removed, from whatever state it was left in, and seen gone.
//!
//! ```text
//! the copy: claim, then its volume ─ theirs: contents to Delete, VolumeSnapshot, contents ─ ours: the same ─ journal
//! ```
//! The copy first: some storages keep a snapshot as long as a volume depends on it. A content is set to Delete before its `VolumeSnapshot` goes, or
//! the storage's snapshot would stay; a snapshot that two contents name is deleted twice, which CSI drivers have to take (`DeleteSnapshot` is idempotent).
//! The journal last: while it knows the name, another run can do the same again. Every step is "see that it is so".

use serde_json::{Value, json};

use super::journal::{self, Entry};
use super::run::{RunId, run_of, taken};
use super::wait::{Limits, gone, named, named_object};
use super::{VolumesError, kinds};
use crate::cluster::object::{name_of, namespace_of, text, uid_of};
use crate::cluster::{Cluster, ClusterError, Kind};

/// What is known of something that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Traces {
    /// Who made it.
    pub(super) run: RunId,
    /// The name that all names come from.
    pub(super) name: String,
    /// The application's namespace, if it is known: the `VolumeSnapshot` that was taken first is there.
    pub(super) namespace: Option<String>,
    /// The namespace of the copy, if it is known.
    pub(super) home: Option<String>,
}

impl From<&Entry> for Traces {
    fn from(entry: &Entry) -> Self {
        Self {
            run: entry.run.clone(),
            name: entry.name.clone(),
            namespace: Some(entry.namespace.clone()),
            home: Some(entry.home.clone()),
        }
    }
}

/// Removes it all; `journal` is the namespace of the journal. What fails is left where it is, and so is the journal's entry.
pub(super) async fn clear(
    cluster: &dyn Cluster,
    limits: &Limits,
    journal: &str,
    traces: &Traces,
) -> Result<(), VolumesError> {
    let clearing = Clearing { cluster, limits, run: &traces.run };
    if let Some(home) = &traces.home {
        clearing.copy(home, &traces.name).await?;
    }
    if let Some(namespace) = &traces.namespace {
        clearing.pair(namespace, &taken(&traces.name)).await?;
    }
    if let Some(home) = &traces.home {
        clearing.pair(home, &traces.name).await?;
    }
    journal::remove(cluster, journal, &traces.name).await
}

struct Clearing<'a> {
    cluster: &'a dyn Cluster,
    limits: &'a Limits,
    run: &'a RunId,
}

impl Clearing<'_> {
    /// The claim of this name and its volume, whatever the policy of the volume's class is.
    async fn copy(&self, namespace: &str, name: &str) -> Result<(), VolumesError> {
        self.remove_ours(&kinds::claims(), namespace, name).await?;
        let of_claim = |volume: &Value| {
            let reference = |field| text(volume, &["spec", "claimRef", field]);
            (reference("namespace") == namespace && reference("name") == name).then(|| volume.clone())
        };
        for volume in kinds::list(self.cluster, &kinds::volumes(), of_claim).await? {
            // A class with Retain would keep a volume for every copy that was ever made.
            let is_kept = text(&volume, &["spec", "persistentVolumeReclaimPolicy"]) != "Delete";
            let patch = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
            if is_kept && !self.change(&kinds::volumes(), &volume, &patch).await? {
                continue;
            }
            self.gone(&kinds::volumes(), &volume).await?;
        }
        Ok(())
    }

    /// A `VolumeSnapshot` and the contents that are for it, with the storage's snapshot.
    async fn pair(&self, namespace: &str, name: &str) -> Result<(), VolumesError> {
        for content in self.contents(namespace, name).await? {
            self.free(&content).await?;
        }
        self.remove_ours(&kinds::snapshots(), namespace, name).await?;
        // The controller may have made it only now, and one that was never bound does not go by itself.
        for content in self.contents(namespace, name).await? {
            if self.free(&content).await? {
                self.delete(&kinds::contents(), &content).await?;
            }
        }
        Ok(())
    }

    async fn contents(&self, namespace: &str, name: &str) -> Result<Vec<Value>, VolumesError> {
        let of_snapshot = |content: &Value| {
            let reference = |field| text(content, &["spec", "volumeSnapshotRef", field]);
            (reference("namespace") == namespace && reference("name") == name).then(|| content.clone())
        };
        kinds::list_if_known(self.cluster, &kinds::contents(), of_snapshot).await
    }

    /// The content takes the storage's snapshot with it when it goes; false if it is gone already.
    async fn free(&self, content: &Value) -> Result<bool, VolumesError> {
        if text(content, &["spec", "deletionPolicy"]) == "Delete" {
            return Ok(true);
        }
        self.change(&kinds::contents(), content, &json!({"spec": {"deletionPolicy": "Delete"}})).await
    }

    /// Deletes an object with a name of ours that carries the label of the run. Another one with that name is nothing of ours, and an error.
    async fn remove_ours(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(), VolumesError> {
        let found = self.cluster.get(kind, Some(namespace), name).await;
        let fail = |error: ClusterError| VolumesError::cluster("read", named(kind, Some(namespace), name), error);
        let Some(object) = found.map_err(fail)? else { return Ok(()) };
        if run_of(&object).as_ref() != Some(self.run) {
            let why = format!("it does not carry the label of run {}", self.run);
            return Err(VolumesError::Foreign { object: named(kind, Some(namespace), name), why });
        }
        self.delete(kind, &object).await
    }

    async fn delete(&self, kind: &Kind, object: &Value) -> Result<(), VolumesError> {
        let deleted = self.cluster.delete(kind, namespace_of(object), name_of(object), uid_of(object)).await;
        deleted.map_err(|error| VolumesError::cluster("delete", named_object(object), error))?;
        self.gone(kind, object).await
    }

    async fn gone(&self, kind: &Kind, object: &Value) -> Result<(), VolumesError> {
        gone(self.cluster, self.limits, None, kind, object).await
    }

    /// Changes an object; false if it is gone already.
    async fn change(&self, kind: &Kind, object: &Value, patch: &Value) -> Result<bool, VolumesError> {
        match self.cluster.patch(kind, namespace_of(object), name_of(object), patch).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(VolumesError::cluster("change", named_object(object), error)),
        }
    }
}
