//! What Flux and ArgoCD have in a cluster.

use serde_json::Value;

use super::tool::{is_known_group, role_of};
use super::{GitopsError, Name};
use crate::cluster::object::name_of;
use crate::cluster::{Cluster, ClusterError, Kind};

/// How often a list is begun anew when its moment is too long ago for the server.
const ANEW_MAX: u32 = 3;

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
        found.extend(list(cluster, kind).await.map_err(GitopsError::Look)?);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

async fn list(cluster: &dyn Cluster, kind: &Kind) -> Result<Vec<Found>, ClusterError> {
    let mut tries = 0;
    'anew: loop {
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = match cluster.list(kind, next.as_deref()).await {
                Ok(page) => page,
                Err(error) if error.is_expired() && tries < ANEW_MAX => {
                    tries += 1;
                    continue 'anew;
                }
                Err(error) => return Err(error),
            };
            let named = page.objects.into_iter().filter(|object| !name_of(object).is_empty());
            all.extend(named.map(|object| Found { name: Name::of(kind, &object), kind: kind.clone(), object }));
            next = page.next;
            if next.is_none() {
                return Ok(all);
            }
        }
    }
}
