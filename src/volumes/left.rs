//! What could not be taken away, told so that a person can do it: what it is, why it is still there, and the commands that remove it.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::clear::Traces;
use super::journal::{self, JOURNAL};
use super::run::{run_of, taken};
use super::{VolumesError, kinds};
use crate::base::causes::in_one_line;
use crate::cluster::object::{name_of, text};
use crate::cluster::{Cluster, Kind};

/// Something that is still there and should not be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Kind, namespace and name; of a copy, the name that all of its objects have.
    pub what: String,
    /// Why it is still there, in one line.
    pub why: String,
    /// What removes it, in this order: what follows the word `kubectl` in a shell. Empty if nothing of it can be named.
    pub commands: Vec<String>,
}

/// In one line, with what removes it.
impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)?;
        let commands: Vec<String> = self.commands.iter().map(|command| format!("kubectl {command}")).collect();
        if commands.is_empty() { Ok(()) } else { write!(f, " (remove it with: {})", commands.join("; ")) }
    }
}

impl Left {
    /// An object of a namespace, and why it is still there.
    #[must_use]
    pub fn object(kind: &Kind, namespace: &str, name: &str, why: String) -> Self {
        let what = format!("{} {namespace}/{name}", kind.name);
        Self { what, why, commands: vec![delete(kind, Some(namespace), name)] }
    }
}

/// The name of a kind that `kubectl` takes for no other.
fn resource(kind: &Kind) -> String {
    if kind.group.is_empty() { kind.resource.clone() } else { format!("{}.{}", kind.resource, kind.group) }
}

fn at(namespace: Option<&str>) -> String {
    namespace.map(|namespace| format!(" --namespace {namespace}")).unwrap_or_default()
}

fn delete(kind: &Kind, namespace: Option<&str>, name: &str) -> String {
    format!("delete {} {name}{}", resource(kind), at(namespace))
}

/// What `kubectl` has to be told to change an object.
pub(crate) fn patch(kind: &Kind, namespace: Option<&str>, name: &str, patch: &Value) -> String {
    format!("patch {} {name}{} --type merge --patch '{patch}'", resource(kind), at(namespace))
}

/// What is left of a copy after clearing up failed. It looks what there is; what it cannot look at is taken to be there, by the name that it would have.
pub(super) async fn of_copy(cluster: &dyn Cluster, journal: &str, traces: &Traces, why: &VolumesError) -> Left {
    let mut commands = Vec::new();
    if let Some(home) = &traces.home {
        copy(cluster, home, traces, &mut commands).await;
    }
    for (namespace, name) in [(&traces.namespace, taken(&traces.name)), (&traces.home, traces.name.clone())] {
        if let Some(namespace) = namespace {
            pair(cluster, namespace, &name, traces, &mut commands).await;
        }
    }
    let entry = journal::read(cluster, journal).await.ok();
    if entry.is_none_or(|(entries, _)| entries.iter().any(|entry| entry.name == traces.name)) {
        let strike = json!({"data": {&traces.name: null}});
        commands.push(patch(&kinds::config_maps(), Some(journal), JOURNAL, &strike));
    }
    Left { what: traces.name.clone(), why: in_one_line(why), commands }
}

/// What is there of one of our names.
#[derive(PartialEq, Eq)]
enum There {
    /// The run's, or nobody can say.
    Perhaps,
    Gone,
    /// Somebody else's, and so is what belongs to it.
    Foreign,
}

async fn look(cluster: &dyn Cluster, kind: &Kind, namespace: &str, name: &str, traces: &Traces) -> There {
    match cluster.get(kind, Some(namespace), name).await {
        Ok(None) => There::Gone,
        Ok(Some(object)) if run_of(&object).as_ref() != Some(&traces.run) => There::Foreign,
        Ok(Some(_)) | Err(_) => There::Perhaps,
    }
}

/// Objects without a namespace that refer to one of this name; none if they cannot be listed, since their names are the cluster's.
async fn referring(
    cluster: &dyn Cluster,
    kind: &Kind,
    field: &'static str,
    namespace: &str,
    name: &str,
) -> Vec<(String, Value)> {
    let refers = |object: &Value| {
        let reference = |part| text(object, &["spec", field, part]);
        (reference("namespace") == namespace && reference("name") == name)
            .then(|| (name_of(object).to_owned(), object.clone()))
    };
    kinds::list(cluster, kind, refers).await.unwrap_or_default()
}

async fn copy(cluster: &dyn Cluster, home: &str, traces: &Traces, commands: &mut Vec<String>) {
    let (kind, volumes) = (kinds::claims(), kinds::volumes());
    let there = look(cluster, &kind, home, &traces.name, traces).await;
    if there == There::Foreign {
        return;
    }
    // Before the claim: who deletes that of a class with Retain keeps the volume for ever.
    for (volume, object) in referring(cluster, &volumes, "claimRef", home, &traces.name).await {
        if text(&object, &["spec", "persistentVolumeReclaimPolicy"]) != "Delete" {
            let change = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
            commands.push(patch(&volumes, None, &volume, &change));
        }
    }
    if there == There::Perhaps {
        commands.push(delete(&kind, Some(home), &traces.name));
    }
}

/// A `VolumeSnapshot` and its contents, which take the storage's snapshot with them only if they say Delete.
async fn pair(cluster: &dyn Cluster, namespace: &str, name: &str, traces: &Traces, commands: &mut Vec<String>) {
    let (kind, contents) = (kinds::snapshots(), kinds::contents());
    let there = look(cluster, &kind, namespace, name, traces).await;
    if there == There::Foreign {
        return;
    }
    let found = referring(cluster, &contents, "volumeSnapshotRef", namespace, name).await;
    for (content, object) in &found {
        if text(object, &["spec", "deletionPolicy"]) != "Delete" {
            commands.push(patch(&contents, None, content, &json!({"spec": {"deletionPolicy": "Delete"}})));
        }
    }
    if there == There::Perhaps {
        commands.push(delete(&kind, Some(namespace), name));
    }
    for (content, _) in &found {
        // It goes with its VolumeSnapshot, if it was ever bound to one.
        commands.push(format!("{} --ignore-not-found", delete(&contents, None, content)));
    }
}
