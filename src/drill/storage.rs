//! Volumes of a drill are made for it. A claim can get one that is there, free and of its class: somebody's data would be written to, and deleted with the drill. Such a drill is not
//! begun.

use super::found::Wants;
use crate::cluster::list::whole;
use crate::cluster::object::{annotation, at, name_of, text};
use crate::cluster::{Cluster, ClusterError};
use crate::volumes::kinds;

/// What stands in the way of these claims.
pub async fn look(cluster: &dyn Cluster, wants: &[Wants]) -> Result<Vec<String>, ClusterError> {
    if wants.is_empty() {
        return Ok(Vec::new());
    }
    let classes = whole(cluster, &kinds::storage_classes(), Some).await?;
    let is_free = |volume: &serde_json::Value| {
        text(volume, &["status", "phase"]) == "Available" && at(volume, &["spec", "claimRef"]).is_null()
    };
    let free = whole(cluster, &kinds::volumes(), |volume| is_free(&volume).then_some(volume)).await?;
    let default = classes.iter().find(|class| annotation(class, kinds::DEFAULT_CLASS) == "true").map(name_of);
    let mut troubles = Vec::new();
    for Wants { claim, class, .. } in wants {
        let Some(name) = class.as_deref().or(default) else {
            troubles.push(format!("{claim} has no storage class, and the cluster has no default"));
            continue;
        };
        match classes.iter().find(|class| name_of(class) == name) {
            None => troubles.push(format!(
                "{claim} is of the storage class {name}, which is not there: it could get a volume that is"
            )),
            Some(class) if text(class, &["provisioner"]) == kinds::NO_PROVISIONER => {
                troubles.push(format!(
                    "{claim} is of the storage class {name}, which makes no volumes: it would get one that is there"
                ));
            }
            Some(_) => {}
        }
        if let Some(volume) = free.iter().find(|volume| text(volume, &["spec", "storageClassName"]) == name) {
            troubles.push(format!(
                "{claim} could get the volume {}, which is there, free and of its class {name}",
                name_of(volume)
            ));
        }
    }
    troubles.sort();
    troubles.dedup();
    Ok(troubles)
}
