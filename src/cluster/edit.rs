//! Changing an object that others change too: read, decide, patch the version that was read; and again if somebody was faster.

use std::time::Duration;

use serde_json::Value;

use super::api::objects::MANAGER;
use super::change::patch_of;
use super::object::{items, take_items, text};
use super::{Cluster, ClusterError, Kind};

/// How often an object is read anew because somebody changed it between reading and writing. ArgoCD writes the status of an Application several times a second
/// during a sync, and each write counts as a change.
const TRIES_MAX: u32 = 30;
/// The wait after the first conflict; each is twice as long as the one before.
const WAIT_FIRST: Duration = Duration::from_millis(10);
/// Longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_millis(320);

/// An object that is edited.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its kind.
    pub kind: &'a Kind,
    /// Its namespace, if it is in one.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
}

/// What an edit came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Edited {
    /// It was written; the object as the server has it now.
    Written(Value),
    /// There was nothing to write.
    Same(Value),
    /// There is no such object.
    Gone,
}

/// Edits an object: `decide` is given it as it is, and changes it to what it should be. It is asked again after every conflict; also after a write whose
/// answer got lost, and then finds its own work. After `TRIES_MAX` conflicts the last one is the error.
pub async fn edit(
    cluster: &dyn Cluster,
    place: Place<'_>,
    mut decide: impl FnMut(&mut Value) + Send,
) -> Result<Edited, ClusterError> {
    let Place { kind, namespace, name } = place;
    let (mut tries, mut wait) = (1, WAIT_FIRST);
    loop {
        let Some(object) = cluster.get(kind, namespace, name).await? else { return Ok(Edited::Gone) };
        let mut wanted = object.clone();
        decide(&mut wanted);
        let Some(patch) = patch_of(&object, &wanted) else { return Ok(Edited::Same(object)) };
        match cluster.patch(kind, namespace, name, &patch).await {
            Ok(written) => return Ok(Edited::Written(written)),
            Err(error) if error.is_missing() => return Ok(Edited::Gone),
            Err(error) if error.is_conflict() && tries < TRIES_MAX => {
                tokio::time::sleep(wait).await;
                (tries, wait) = (tries + 1, (wait * 2).min(WAIT_MAX));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Gives up the ownership of fields (`metadata.managedFields`) that edits have brought: whoever applies the object next owns them again. Best effort: nothing depends on it,
/// so a server that does not answer is left.
pub async fn disown(cluster: &dyn Cluster, place: Place<'_>) {
    const FIELDS: [&str; 2] = ["metadata", "managedFields"];
    let edited = edit(cluster, place, |object| {
        // Without any entry a server would keep those that it has.
        if items(object, &FIELDS).iter().any(|entry| text(entry, &["manager"]) != MANAGER) {
            take_items(object, &FIELDS, |entry| text(entry, &["manager"]) == MANAGER);
        }
    });
    let _ = edited.await;
}
