//! Who would make a pod anew if it went: the controller of its controller, up to the top.

use serde_json::{Value, json};

use super::{HookError, pods};
use crate::cluster::object::{controller_of, name_of, namespace_of, text, uid_of};
use crate::cluster::{Cluster, Kind};

/// Most generations that are looked at; real ones have three.
const GENERATIONS_MAX: usize = 8;

/// The object at the top: a pod itself, or what controls it and is controlled by nobody.
#[derive(Debug, Clone)]
pub struct Top {
    /// Its kind.
    pub kind: Kind,
    /// All of it.
    pub object: Value,
}

impl Top {
    /// For people: `StatefulSet media/db`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}/{}", self.kind.name, namespace_of(&self.object).unwrap_or_default(), name_of(&self.object))
    }

    /// How many replicas are wanted, where it is something that can be scaled; else why it cannot be.
    pub fn replicas(&self) -> Result<u64, String> {
        let scaled =
            [("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "ReplicaSet"), ("", "ReplicationController")];
        if scaled.iter().any(|(group, kind)| self.kind.is(group, kind)) {
            return Ok(self.object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1));
        }
        Err(match (self.kind.group.as_str(), self.kind.name.as_str()) {
            ("", "Pod") => "nobody would start this pod again".to_owned(),
            ("apps", "DaemonSet") => "a DaemonSet has no replicas".to_owned(),
            ("batch", _) => "a job is not scaled; wait for its end, or suspend it".to_owned(),
            _ => format!(
                "{} is looked after by an operator, which would scale it up again; pause it by its own means",
                self.name()
            ),
        })
    }
}

/// Climbs from an object to the top. `kinds` are those of the cluster.
pub async fn top(cluster: &dyn Cluster, kinds: &[Kind], pod: &Value) -> Result<Top, HookError> {
    let mut top = Top { kind: pods(), object: pod.clone() };
    for _ in 0..GENERATIONS_MAX {
        let Some(owner) = controller_of(&top.object) else { return Ok(top) };
        let (kind, name, uid) = (text(owner, &["kind"]), text(owner, &["name"]), text(owner, &["uid"]));
        let group = text(owner, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
        let refused =
            |why: &str| HookError::Refused { what: top.name(), why: format!("its owner {kind} {name} {why}") };
        let Some(known) = kinds.iter().find(|known| known.is(group, kind)) else {
            return Err(refused("is of a kind that the API server does not know"));
        };
        if known.is("apps", "DaemonSet") {
            // Nobody controls it, and it is not scaled: it need not be read, which no role of ours permits.
            let metadata = json!({"name": name, "namespace": namespace_of(&top.object), "uid": uid});
            return Ok(Top { kind: known.clone(), object: json!({"metadata": metadata}) });
        }
        let found = cluster.get(known, namespace_of(&top.object), name).await;
        let found = found.map_err(|error| HookError::of(format!("read {kind} {name}"), error))?;
        match found.filter(|object| uid_of(object) == uid) {
            Some(object) => top = Top { kind: known.clone(), object },
            None => return Err(refused("is gone")),
        }
    }
    Err(HookError::Refused { what: top.name(), why: "its owners go round in a circle".to_owned() })
}
