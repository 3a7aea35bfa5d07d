//! Objects of whose kinds the snapshot does not tell, because what tells of them is damaged: group, version and kind are in each manifest, and so is whether
//! it is in a namespace; the name of the resource comes from the definitions among them, from the target, or is guessed as `kubectl` does.

use std::collections::HashMap;

use super::manifests::{Captured, Stranger};
use crate::cluster::folder::plural;
use crate::cluster::object::{namespace_of, text};
use crate::cluster::{Cluster, ClusterError, Kind};

/// Gives each its kind. Asks the target only if there are any.
pub(super) async fn introduce(strangers: Vec<Stranger>, cluster: &dyn Cluster) -> Result<Vec<Captured>, ClusterError> {
    if strangers.is_empty() {
        return Ok(Vec::new());
    }
    let mut resources: HashMap<(String, String), String> = HashMap::new();
    for kind in cluster.kinds().await?.kinds {
        resources.insert((kind.group, kind.name), kind.resource);
    }
    for Stranger { object, .. } in &strangers {
        if text(object, &["kind"]) == "CustomResourceDefinition" {
            let spec = |path: &[&str]| text(object, &[&["spec"], path].concat()).to_owned();
            resources.insert((spec(&["group"]), spec(&["names", "kind"])), spec(&["names", "plural"]));
        }
    }
    let introduced = strangers.into_iter().map(|Stranger { directory, object }| {
        let api_version = text(&object, &["apiVersion"]);
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let (group, name) = (group.to_owned(), text(&object, &["kind"]).to_owned());
        let key = (group, name);
        let resource = resources.get(&key).cloned().unwrap_or_else(|| plural(&key.1));
        let (group, name) = key;
        let namespaced = namespace_of(&object).is_some();
        let kind = Kind { group, resource, version: version.to_owned(), name, namespaced, directory };
        Captured { kind, object }
    });
    Ok(introduced.collect())
}
