//! What kinds of objects a real cluster has: group by group, several at once. One that does not answer, or may not be asked for, hides no other.

use futures::stream::{self, StreamExt as _};
use serde::Deserialize;

use super::Api;
use crate::base::causes::in_one_line;
use crate::cluster::choice::Choice;
use crate::cluster::{ClusterError, Kind, Kinds};

/// Groups and versions that are looked at at once.
const DISCOVERED_AT_ONCE: usize = 8;

/// What an API server can be asked for at all, for its name and version.
#[derive(Deserialize)]
struct ApiVersions {
    versions: Vec<String>,
}

#[derive(Deserialize)]
struct ApiGroups {
    groups: Vec<ApiGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiGroup {
    name: String,
    versions: Vec<GroupVersion>,
    preferred_version: Option<GroupVersion>,
}

#[derive(Deserialize, PartialEq)]
struct GroupVersion {
    version: String,
}

#[derive(Deserialize)]
struct ApiResources {
    resources: Vec<ApiResource>,
}

#[derive(Deserialize)]
struct ApiResource {
    name: String,
    kind: String,
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

/// Whether its objects are also shown by the group that they moved to: before Kubernetes 1.22 each Ingress is in `extensions` too. Captured twice, it would be
/// restored over itself.
fn is_shown_elsewhere(kind: &Kind, all: &[Kind]) -> bool {
    const LEFT: &str = "extensions";
    let has_moved = |other: &Kind| other.group != LEFT && other.name == kind.name && other.is_built_in();
    kind.group == LEFT && all.iter().any(has_moved)
}

impl Api {
    /// Every kind that the server has.
    pub(super) async fn discover(&self) -> Result<Kinds, ClusterError> {
        let core: ApiVersions = self.read("/api").await?;
        let groups: ApiGroups = self.read("/apis").await?;
        let mut versions: Vec<(String, String)> =
            core.versions.into_iter().map(|version| (String::new(), version)).collect();
        for group in groups.groups {
            // The preferred one first: what it has is taken from it.
            let (first, rest): (Vec<_>, Vec<_>) =
                group.versions.into_iter().partition(|version| Some(version) == group.preferred_version.as_ref());
            versions.extend(first.into_iter().chain(rest).map(|version| (group.name.clone(), version.version)));
        }
        let asked = versions.into_iter().map(|(group, version)| self.kinds_of(group, version));
        let answers: Vec<_> = stream::iter(asked).buffered(DISCOVERED_AT_ONCE).collect().await;
        let mut found = Kinds::default();
        for (name, answer) in answers {
            match answer {
                Ok(kinds) => {
                    for kind in kinds {
                        let known = |other: &Kind| other.group == kind.group && other.resource == kind.resource;
                        if !found.kinds.iter().any(known) {
                            found.kinds.push(kind);
                        }
                    }
                }
                // Also one that denies it: what the server has at all was read with the same credentials.
                Err(error) => found.silent.push((name, in_one_line(&error))),
            }
        }
        found.kinds.sort();
        let all = found.kinds.clone();
        found.kinds.retain(|kind| !is_shown_elsewhere(kind, &all));
        let names: Vec<(String, String)> =
            found.kinds.iter().map(|kind| (kind.group.clone(), kind.name.clone())).collect();
        for kind in &mut found.kinds {
            let same = names.iter().filter(|(group, name)| *group == kind.group && *name == kind.name).count();
            if same > 1 {
                kind.directory = format!("{}.{}", kind.name, kind.resource);
            }
        }
        Ok(found)
    }

    /// Kinds of one group and version that can be read and listed.
    pub(super) async fn kinds_of(&self, group: String, version: String) -> (String, Result<Vec<Kind>, ClusterError>) {
        let name = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        let prefix = if group.is_empty() { "/api" } else { "/apis" };
        let path = format!("{prefix}/{name}");
        // Metrics are away whenever their server is, above all in a cluster that was just restored; nobody needs them here.
        let is_wanted = Choice::default().takes_group(&group);
        let found = if is_wanted { self.read(&path).await } else { self.read_once(&path).await };
        let found = found.map(|found: ApiResources| {
            let whole = found.resources.into_iter().filter(|resource| {
                !resource.name.contains('/')
                    && ["get", "list"].iter().all(|verb| resource.verbs.iter().any(|v| v == verb))
            });
            let kind = |resource: ApiResource| Kind {
                group: group.clone(),
                resource: resource.name,
                version: version.clone(),
                directory: resource.kind.clone(),
                name: resource.kind,
                namespaced: resource.namespaced,
            };
            whole.map(kind).collect()
        });
        (name, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kind::example;

    #[test]
    fn what_has_moved_to_another_group_is_read_there_alone() {
        let all = [
            example("extensions", "ingresses", "Ingress"),
            example("networking.k8s.io", "ingresses", "Ingress"),
            example("extensions", "anvils", "Anvil"),
            example("acme.org", "anvils", "Anvil"),
        ];
        let twice: Vec<bool> = all.iter().map(|kind| is_shown_elsewhere(kind, &all)).collect();
        assert_eq!(twice, [true, false, false, false], "somebody's own kind of the same name is another");
    }
}
