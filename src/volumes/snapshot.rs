//! A CSI snapshot, taken beside the application and handed over to our namespace, where a claim is made from it.
//!
//! ```text
//! journal ─ VolumeSnapshot (theirs) ─ ready ─ journal the handle ─ content (theirs): our labels, Retain
//!   ─ content (ours, Retain) ─ VolumeSnapshot (ours) ─ ready ─ delete theirs, both ─ claim from ours
//! ```
//! In this order, because a snapshot of the storage whose contents are all gone while they said Retain is leaked for ever: at every moment at least one
//! object that names it carries our label or our name, and the journal knows its handle. Theirs is deleted, so that the application's namespace can go
//! at any time; ours is read by a mover that needs nothing of that namespace.

use serde_json::{Value, json};

use super::choose::{Choice, Copy, Way};
use super::journal::Taken;
use super::prepared::{Making, Prepared};
use super::run::taken;
use super::wait::{Time, Waiting, error_of, gone, last_words, named, named_object};
use super::{Context, VolumesError, kinds, quantity};
use crate::cluster::Kind;
use crate::cluster::object::{at, fields_mut, is_dying, items, name_of, namespace_of, text, uid_of};

const API: &str = "snapshot.storage.k8s.io/v1";
const GROUP: &str = "snapshot.storage.k8s.io";
/// Annotations of a content that say what its own snapshot is going through. All others are copied to ours: among them are the secrets that its
/// deletion needs.
const OF_THE_MOMENT: [&str; 2] = [
    "snapshot.storage.kubernetes.io/volumesnapshot-being-created",
    "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted",
];
/// Says which node's sidecar looks after the content, where there is one on each.
const MANAGED_BY_NODE: &str = "snapshot.storage.kubernetes.io/managed-by";
/// What is told of a `VolumeSnapshot` in whose status nobody writes.
const SILENCE: &str = "nothing acts on it: is the controller of external-snapshotter running? k3s comes without it";

/// Takes the snapshot of a claim for which [`Way::Snapshot`] was chosen. After an error nothing is left of it.
pub async fn prepare(context: &Context<'_>, choice: &Choice) -> Result<Prepared, VolumesError> {
    let Way::Snapshot { class, copy } = &choice.way else {
        let object = named(&kinds::claims(), Some(&choice.namespace), &choice.claim);
        return Err(VolumesError::Way { object, way: "snapshot" });
    };
    let mut making = Making::new(context, choice, context.namespace);
    let made = making.snapshot(choice, class, copy).await;
    making.end(made).await
}

/// A `VolumeSnapshot` that is ready, and its content.
struct Pair {
    snapshot: Value,
    content: Value,
}

impl Making<'_> {
    async fn snapshot(&mut self, choice: &Choice, class: &str, copy: &Copy) -> Result<(), VolumesError> {
        self.is_the_same(choice).await?;
        self.journal().await?;
        let theirs = self.take(choice, class).await?;
        self.entry.taken = Some(understand(&theirs.content)?);
        self.journal().await?;
        let content = self.hold(&theirs.content).await?;
        let ours = self.adopt(&content, class, copy).await?;
        self.let_go(&theirs).await?;
        let size = quantity::bytes(text(&ours.snapshot, &["status", "restoreSize"])).unwrap_or(0);
        let size = size.max(quantity::bytes(text(&theirs.snapshot, &["status", "restoreSize"])).unwrap_or(0));
        let source = json!({"apiGroup": GROUP, "kind": "VolumeSnapshot", "name": self.entry.name});
        self.copy(copy, size, source).await
    }

    /// The storage takes its snapshot.
    async fn take(&self, choice: &Choice, class: &str) -> Result<Pair, VolumesError> {
        let name = taken(&self.entry.name);
        let namespace = &choice.namespace;
        self.create(
            &kinds::snapshots(),
            &json!({
                "apiVersion": API, "kind": "VolumeSnapshot", "metadata": self.context.run.named(Some(namespace), &name),
                "spec": {"source": {"persistentVolumeClaimName": choice.claim}, "volumeSnapshotClassName": class},
            }),
        )
        .await?;
        let pair = self.ready(namespace, &name, None, self.context.limits.taken).await?;
        if text(&pair.content, &["spec", "volumeSnapshotRef", "uid"]) != uid_of(&pair.snapshot) {
            let why = "it belongs to another VolumeSnapshot".to_owned();
            return Err(VolumesError::Foreign { object: named_object(&pair.content), why });
        }
        Ok(pair)
    }

    /// Waits until a `VolumeSnapshot` is ready. `content` is the one that it was made for; its own is known only then.
    async fn ready(
        &self,
        namespace: &str,
        name: &str,
        content: Option<&str>,
        limit: std::time::Duration,
    ) -> Result<Pair, VolumesError> {
        let limits = self.context.limits;
        let kind = kinds::snapshots();
        let object = || named(&kind, Some(namespace), name);
        let mut waiting = Waiting::new(limit, limits, Some(self.context.cancel));
        loop {
            let Some(snapshot) = self.get(&kind, Some(namespace), name).await?.filter(|it| !is_dying(it)) else {
                return Err(VolumesError::Failed { object: object(), message: "somebody deleted it".to_owned() });
            };
            let bound = text(&snapshot, &["status", "boundVolumeSnapshotContentName"]);
            let known = content.or(Some(bound)).filter(|name| !name.is_empty());
            let content = match known {
                Some(name) => self.get(&kinds::contents(), None, name).await?,
                None => None,
            };
            if is_cut(&snapshot) || content.as_ref().is_some_and(is_cut) {
                self.context.cut.reach();
            }
            let failed =
                [Some(&snapshot), content.as_ref()].into_iter().flatten().find_map(error_of).map(str::to_owned);
            let is_ready = at(&snapshot, &["status", "readyToUse"]) == true && !bound.is_empty();
            if let Some(content) = content.as_ref().filter(|content| is_ready && is_held(content)) {
                return Ok(Pair { content: content.clone(), snapshot });
            }
            if waiting.is_final(failed.is_some(), limits.error)
                && let Some(message) = &failed
            {
                return Err(VolumesError::Failed { object: object(), message: message.clone() });
            }
            if waiting.again().await? == Time::Over {
                let last = match failed {
                    Some(message) => message,
                    None => last_words(self.context.cluster, Some(&snapshot), SILENCE).await,
                };
                return Err(VolumesError::Late { object: object(), state: "ready", limit, last });
            }
        }
    }

    /// Their content says whose it is, and no longer takes the storage's snapshot with it.
    async fn hold(&self, content: &Value) -> Result<Value, VolumesError> {
        self.not_stopped()?;
        let patch = json!({"metadata": self.context.run.metadata(), "spec": {"deletionPolicy": "Retain"}});
        let name = name_of(content);
        let held = self.context.cluster.patch(&kinds::contents(), None, name, &patch).await;
        let held = held.map_err(|error| VolumesError::cluster("change", named_object(content), error))?;
        is_retained(&held)?;
        Ok(held)
    }

    /// A content of ours for the same snapshot of the storage, and a `VolumeSnapshot` of ours for it.
    async fn adopt(&self, theirs: &Value, class: &str, copy: &Copy) -> Result<Pair, VolumesError> {
        let Taken { driver, handle, .. } = understand(theirs)?;
        let (namespace, name) = (&self.entry.home, &self.entry.name);
        let mut metadata = self.context.run.named(None, name);
        inherit(&mut metadata, theirs);
        let mode = Some(text(theirs, &["spec", "sourceVolumeMode"])).filter(|mode| !mode.is_empty());
        let mode = mode.unwrap_or(if copy.block { "Block" } else { "Filesystem" });
        self.create(&kinds::contents(), &json!({
            "apiVersion": API, "kind": "VolumeSnapshotContent", "metadata": metadata,
            "spec": {
                "deletionPolicy": "Retain", "driver": driver, "source": {"snapshotHandle": handle}, "sourceVolumeMode": mode,
                "volumeSnapshotClassName": class, "volumeSnapshotRef": {"name": name, "namespace": namespace},
            },
        }))
        .await?;
        self.create(
            &kinds::snapshots(),
            &json!({
                "apiVersion": API, "kind": "VolumeSnapshot", "metadata": self.context.run.named(Some(namespace), name),
                "spec": {"source": {"volumeSnapshotContentName": name}, "volumeSnapshotClassName": class},
            }),
        )
        .await?;
        self.ready(namespace, name, Some(name), self.context.limits.handed).await
    }

    /// Deletes their `VolumeSnapshot` and content, now that ours is ready. Somebody (a policy, `GitOps`) may have set theirs back: then the storage's snapshot
    /// goes with it, and what is made from ours would be nothing.
    async fn let_go(&self, theirs: &Pair) -> Result<(), VolumesError> {
        is_retained(&self.still_there(&theirs.content).await?)?;
        self.delete(&kinds::snapshots(), &theirs.snapshot).await?;
        // With Retain it outlives its VolumeSnapshot.
        let content = self.still_there(&theirs.content).await?;
        is_retained(&content)?;
        self.delete(&kinds::contents(), &content).await
    }

    async fn still_there(&self, content: &Value) -> Result<Value, VolumesError> {
        let found = self.get(&kinds::contents(), None, name_of(content)).await?;
        found.filter(|found| uid_of(found) == uid_of(content) && !is_dying(found)).ok_or_else(|| {
            VolumesError::Foreign {
                object: named_object(content),
                why: "somebody deleted it, perhaps with the storage's snapshot".to_owned(),
            }
        })
    }

    async fn delete(&self, kind: &Kind, object: &Value) -> Result<(), VolumesError> {
        self.not_stopped()?;
        let Context { cluster, limits, cancel, .. } = *self.context;
        let deleted = cluster.delete(kind, namespace_of(object), name_of(object), uid_of(object)).await;
        deleted.map_err(|error| VolumesError::cluster("delete", named_object(object), error))?;
        gone(cluster, limits, Some(cancel), kind, object).await
    }
}

/// Whether the storage has its moment. Only then it says when that was (`creation_time` of CSI's `CreateSnapshot`); that it is ready may come long after, where
/// a snapshot is uploaded first.
fn is_cut(object: &Value) -> bool {
    !at(object, &["status", "creationTime"]).is_null() || at(object, &["status", "readyToUse"]) == true
}

/// Whether the controller keeps the content until the storage was told: without its finalizer a deletion would go past the storage and leak.
fn is_held(content: &Value) -> bool {
    at(content, &["status", "readyToUse"]) == true && !items(content, &["metadata", "finalizers"]).is_empty()
}

fn is_retained(content: &Value) -> Result<(), VolumesError> {
    if text(content, &["spec", "deletionPolicy"]) == "Retain" {
        return Ok(());
    }
    let why = "its deletionPolicy was to be Retain, and somebody set it to something else".to_owned();
    Err(VolumesError::Foreign { object: named_object(content), why })
}

fn understand(content: &Value) -> Result<Taken, VolumesError> {
    let need = |path: &[&str], what| match text(content, path) {
        "" => Err(VolumesError::Incomplete { object: named_object(content), what }),
        text => Ok(text.to_owned()),
    };
    Ok(Taken {
        content: need(&["metadata", "name"], "name")?,
        driver: need(&["spec", "driver"], "driver")?,
        handle: need(&["status", "snapshotHandle"], "handle")?,
    })
}

/// Ours gets what their content has beside what tells of its own life.
fn inherit(metadata: &mut Value, theirs: &Value) {
    let annotations = at(theirs, &["metadata", "annotations"]).as_object().into_iter().flatten();
    let annotations: Vec<_> = annotations.filter(|(name, _)| !OF_THE_MOMENT.contains(&name.as_str())).collect();
    if let Some(fields) = fields_mut(metadata, &["annotations"]) {
        for (name, value) in annotations {
            fields.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    let node = at(theirs, &["metadata", "labels", MANAGED_BY_NODE]);
    if let Some(fields) = fields_mut(metadata, &["labels"]).filter(|_| node.is_string()) {
        fields.insert(MANAGED_BY_NODE.to_owned(), node.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time as Moment;
    use crate::volumes::labels::EXPIRES;
    use crate::volumes::run::{Run, RunId, run_of};

    #[test]
    fn ours_inherits_the_secrets_and_the_node_and_stays_ours() {
        let run = Run { id: RunId::new([3; 8]), expires: Moment(0) };
        let theirs = json!({"metadata": {
            "labels": {MANAGED_BY_NODE: "node-1", "homelab-dr.io/run": "0000000000000000", "app": "x"},
            "annotations": {
                "snapshot.storage.kubernetes.io/deletion-secret-name": "s",
                "snapshot.storage.kubernetes.io/deletion-secret-namespace": "n",
                "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes",
                EXPIRES: "1999-01-01T00:00:00Z",
            },
        }});
        let mut metadata = run.named(None, "x");
        inherit(&mut metadata, &theirs);
        assert_eq!(
            metadata["annotations"],
            json!({
                "snapshot.storage.kubernetes.io/deletion-secret-name": "s",
                "snapshot.storage.kubernetes.io/deletion-secret-namespace": "n",
                EXPIRES: "1970-01-01T00:00:00Z",
            })
        );
        assert_eq!(metadata["labels"][MANAGED_BY_NODE], "node-1");
        assert!(metadata["labels"]["app"].is_null());
        assert_eq!(run_of(&json!({"metadata": metadata})), Some(run.id));
    }

    #[test]
    fn it_is_cut_when_the_storage_says_of_which_moment_it_is() {
        for (status, cut) in [
            (json!({}), false),
            (json!({"readyToUse": false}), false),
            (json!({"error": {"message": "no"}, "readyToUse": false}), false),
            (json!({"creationTime": "2026-11-01T03:00:00Z", "readyToUse": false}), true),
            (json!({"creationTime": 1_793_502_000_000_000_000_i64}), true),
            (json!({"readyToUse": true}), true),
        ] {
            assert_eq!(is_cut(&json!({"status": status})), cut, "{status}");
        }
        assert!(!is_cut(&json!({})));
    }

    #[test]
    fn a_content_without_a_handle_is_an_error_that_names_it() {
        let content = json!({"kind": "VolumeSnapshotContent", "metadata": {"name": "c"}, "spec": {"driver": "d"}});
        let error = understand(&content).expect_err("no handle");
        assert_eq!(error.to_string(), "VolumeSnapshotContent c has no handle");
    }
}
