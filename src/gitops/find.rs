//! What Flux and ArgoCD have in a cluster.

use serde_json::Value;

use super::tool::{is_known_group, role_of};
use super::{GitopsError, Name};
use crate::cluster::list::whole;
use crate::cluster::object::name_of;
use crate::cluster::{Cluster, Kind};

/// One of their objects, as it is.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which.
    pub name: Name,
    /// Its kind, in the version that the server prefers.
    pub kind: Kind,
    /// All of it.
    pub object: Value,
}

/// Their kinds in the cluster; none if neither is installed. A group of theirs that does not answer is an error: what it would hide could undo a restore.
pub async fn kinds(cluster: &dyn Cluster) -> Result<Vec<Kind>, GitopsError> {
    let found = cluster.kinds().await.map_err(GitopsError::Look)?;
    for (version, why) in found.silent {
        if version.split_once('/').is_some_and(|(group, _)| is_known_group(group)) {
            return Err(GitopsError::Silent { group: version, why });
        }
    }
    Ok(found.kinds.into_iter().filter(|kind| role_of(kind).is_some()).collect())
}

/// Their objects, by name within each kind.
pub async fn objects(cluster: &dyn Cluster, kinds: &[Kind]) -> Result<Vec<Found>, GitopsError> {
    let mut found = Vec::new();
    for kind in kinds {
        let one = |object: Value| {
            let named = !name_of(&object).is_empty();
            named.then(|| Found { name: Name::of(kind, &object), kind: kind.clone(), object })
        };
        found.extend(whole(cluster, kind, one).await.map_err(GitopsError::Look)?);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
