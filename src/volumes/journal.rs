//! What is made for which claim, written down before it is made and struck out when it is gone.
//!
//! One `ConfigMap` in our namespace, a key for each. A key is written by a merge patch of its own, so that runs do not write over one another. It holds names
//! and storage handles, no secrets.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::labels::{MANAGED_BY, MANAGER};
use super::run::RunId;
use super::wait::named;
use super::{VolumesError, kinds};
use crate::base::clock::Time;
use crate::cluster::object::at;
use crate::cluster::{Cluster, ClusterError, Created, How};

/// The `ConfigMap`.
pub use crate::cluster::ours::VOLUMES_JOURNAL as JOURNAL;

/// What is made for a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The name of everything that is made; the key.
    pub name: String,
    /// The run that makes it.
    pub run: RunId,
    /// When that run is over for certain, in RFC 3339.
    pub expires: String,
    /// The namespace of the claim.
    pub namespace: String,
    /// The claim that is captured.
    pub claim: String,
    /// The namespace of the copy: ours, or the claim's own for a clone.
    pub home: String,
    /// What the storage has, once it is there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub taken: Option<Taken>,
}

/// A snapshot of the storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// The `VolumeSnapshotContent` that was made for it first.
    pub content: String,
    /// Whose it is.
    pub driver: String,
    /// Its name in the storage: with this a person can remove what nothing else finds.
    pub handle: String,
}

impl Entry {
    /// When the run is over for certain; `None` if that cannot be read.
    #[must_use]
    pub fn expires(&self) -> Option<Time> {
        Time::parse(&self.expires)
    }
}

fn place(namespace: &str) -> String {
    named(&kinds::config_maps(), Some(namespace), JOURNAL)
}

/// Writes an entry, in place of what was written of it before.
pub(super) async fn put(cluster: &dyn Cluster, namespace: &str, entry: &Entry) -> Result<(), VolumesError> {
    let fail = |source: ClusterError| VolumesError::cluster("write", place(namespace), source);
    let kind = kinds::config_maps();
    let text = serde_json::to_value(entry).unwrap_or_default().to_string();
    let data = json!({"data": {&entry.name: text}});
    match cluster.patch(&kind, Some(namespace), JOURNAL, &data).await {
        Ok(_) => return Ok(()),
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(fail(error)),
    }
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": JOURNAL, "namespace": namespace, "labels": {MANAGED_BY: MANAGER}},
    });
    if let (Some(object), Some(data)) = (object.as_object_mut(), data.as_object()) {
        object.extend(data.clone());
    }
    match cluster.create(&kind, &object, How::Really).await.map_err(fail)? {
        Created::New(_) => Ok(()),
        Created::Found(_) => cluster.patch(&kind, Some(namespace), JOURNAL, &data).await.map(drop).map_err(fail),
    }
}

/// Strikes an entry out; without a journal there is nothing to strike out.
pub(super) async fn remove(cluster: &dyn Cluster, namespace: &str, name: &str) -> Result<(), VolumesError> {
    let data = json!({"data": {name: null}});
    match cluster.patch(&kinds::config_maps(), Some(namespace), JOURNAL, &data).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_missing() => Ok(()),
        Err(error) => Err(VolumesError::cluster("write", place(namespace), error)),
    }
}

/// What is written: the entries, and the keys that cannot be read.
pub(super) async fn read(cluster: &dyn Cluster, namespace: &str) -> Result<(Vec<Entry>, Vec<String>), VolumesError> {
    let found = cluster.get(&kinds::config_maps(), Some(namespace), JOURNAL).await;
    let found = found.map_err(|error| VolumesError::cluster("read", place(namespace), error))?;
    Ok(found.as_ref().map(understand).unwrap_or_default())
}

fn understand(journal: &Value) -> (Vec<Entry>, Vec<String>) {
    let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
    for (key, text) in at(journal, &["data"]).as_object().into_iter().flatten() {
        let entry = text.as_str().and_then(|text| serde_json::from_str::<Entry>(text).ok());
        // The name decides what is deleted: one that is not of its run is not believed.
        match entry
            .filter(|entry| entry.name == *key && super::run::parse_name(key).is_some_and(|(run, _)| run == entry.run))
        {
            Some(entry) => entries.push(entry),
            None => unreadable.push(key.clone()),
        }
    }
    (entries, unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::folder::Folder;
    use crate::volumes::run::name_for;

    fn entry(claim: &str) -> Entry {
        let run = RunId::new([7; 8]);
        Entry {
            name: name_for(&run, "media", claim),
            run,
            expires: "2026-11-01T03:00:00Z".into(),
            namespace: "media".into(),
            claim: claim.into(),
            home: "backup".into(),
            taken: None,
        }
    }

    #[tokio::test]
    async fn entries_are_written_beside_one_another_changed_and_struck_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(dir.path()).expect("an empty folder");
        assert_eq!(read(&folder, "backup").await.expect("read"), (Vec::new(), Vec::new()));
        remove(&folder, "backup", "x").await.expect("nothing to strike out");
        let (a, mut b) = (entry("a"), entry("b"));
        for entry in [&a, &b] {
            put(&folder, "backup", entry).await.expect("written");
        }
        b.taken = Some(Taken { content: "c".into(), driver: "d".into(), handle: "h".into() });
        put(&folder, "backup", &b).await.expect("changed");
        let (mut found, _) = read(&folder, "backup").await.expect("read");
        found.sort_by(|one, other| one.claim.cmp(&other.claim));
        assert_eq!(found, [a.clone(), b.clone()]);
        remove(&folder, "backup", &a.name).await.expect("struck out");
        assert_eq!(read(&folder, "backup").await.expect("read").0, [b]);
    }

    #[test]
    fn what_cannot_be_read_or_names_something_else_is_told_and_not_believed() {
        let good = entry("a");
        let text = |entry: &Entry| serde_json::to_string(entry).expect("text");
        let foreign = Entry { name: "data".into(), ..good.clone() };
        let other_run = Entry { run: RunId::new([8; 8]), ..good.clone() };
        let journal = |key: &str, text: String| json!({"data": {key: text}});
        assert_eq!(understand(&journal(&good.name, text(&good))), (vec![good.clone()], Vec::new()));
        for (key, text) in [
            (good.name.as_str(), "{".to_owned()),
            ("data", text(&foreign)),
            (good.name.as_str(), text(&foreign)),
            (good.name.as_str(), text(&other_run)),
        ] {
            assert_eq!(understand(&journal(key, text.clone())), (Vec::new(), vec![key.to_owned()]), "{text}");
        }
        assert_eq!(understand(&json!({"data": {"x": 1}})).1, ["x"]);
        assert_eq!(understand(&json!({})), (Vec::new(), Vec::new()));
    }
}
