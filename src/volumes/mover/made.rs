//! What was made for a mover, to be taken away again whatever happens.

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::evidence::Evidence;
use super::{Crew, MoverError, away};
use crate::base::causes::in_one_line;
use crate::cluster::list::whole_of;
use crate::cluster::object::{items, name_of, namespace_of, text, uid_of};
use crate::cluster::ours::is_ours;
use crate::cluster::{Cluster, ClusterError, Created, Deleted, How, Kind, Which};
use crate::volumes::Left;
use crate::volumes::kinds::pods;

/// What was made, or may have been; and what was seen of it, if it came to no result.
#[derive(Default)]
pub struct Made {
    things: Vec<Thing>,
    pub(super) evidence: Evidence,
}

struct Thing {
    kind: Kind,
    namespace: String,
    name: String,
    /// Empty until the answer came: then whatever has the random name is ours.
    uid: String,
}

impl Made {
    pub(super) async fn create(
        &mut self,
        cluster: &dyn Cluster,
        what: &'static str,
        kind: Kind,
        object: &Value,
    ) -> Result<String, MoverError> {
        let namespace = namespace_of(object).unwrap_or_default().to_owned();
        // Before it is made: whoever is stopped in between has made it perhaps.
        let name = name_of(object).to_owned();
        self.things.push(Thing { kind: kind.clone(), namespace, name, uid: String::new() });
        // Its name is random: one that is there is ours, made by a request whose answer got lost.
        match cluster.create(&kind, object, How::Really).await {
            Ok(Created::New(made) | Created::Found(made)) => {
                let uid = uid_of(&made).to_owned();
                if let Some(thing) = self.things.last_mut() {
                    thing.uid.clone_from(&uid);
                }
                Ok(uid)
            }
            Err(source) => Err(MoverError::Create { what, source }),
        }
    }

    /// What was seen of a mover that came to no result.
    pub fn take_evidence(&mut self) -> Evidence {
        std::mem::take(&mut self.evidence)
    }

    /// The pod first, and its policy when it is gone, since a pod that is told to end stores what it has read. What stays is named.
    pub async fn remove(&mut self, crew: &Crew<'_>) -> Vec<Left> {
        let mut left = Vec::new();
        for thing in self.things.iter().rev() {
            left.extend(remove(crew, thing).await.err());
        }
        left
    }
}

async fn remove(crew: &Crew<'_>, thing: &Thing) -> Result<(), Left> {
    let Thing { kind, namespace, name, uid } = thing;
    let look = async || {
        let found = crew.cluster.get(kind, Some(namespace), name).await;
        found.map_err(|error| Left::object(kind, namespace, name, in_one_line(&error)))
    };
    let ours = |object: &Value| uid.is_empty() || uid_of(object) == uid;
    let Some(mut object) = look().await?.filter(ours) else { return Ok(()) };
    let begun = Instant::now();
    let deleted = crew.cluster.delete(kind, Some(namespace), name, uid_of(&object)).await;
    let mut deleted = deleted.map_err(|error| Left::object(kind, namespace, name, in_one_line(&error)))?;
    while deleted == Deleted::Going && begun.elapsed() < crew.limits.gone {
        sleep(crew.limits.poll).await;
        match look().await?.filter(|there| uid_of(there) == uid_of(&object)) {
            Some(there) => object = there,
            None => deleted = Deleted::Gone,
        }
    }
    // It may be on its way all the same, but nobody waits for a node that is dead.
    if deleted == Deleted::Going { Err(away::still_there(crew.cluster, kind, &object).await) } else { Ok(()) }
}

/// Takes away movers of other runs that mount a claim, ended or not: two that fill the same volume would write over one another. Whoever started them sees
/// that they are gone. Fails if one of them does not go.
pub(crate) async fn evict(crew: &Crew<'_>, namespace: &str, claim: &str) -> Result<Vec<String>, ClusterError> {
    let theirs = |pod: &Value| {
        let mounts = items(pod, &["spec", "volumes"])
            .iter()
            .any(|volume| text(volume, &["persistentVolumeClaim", "claimName"]) == claim);
        (is_ours(pod) && mounts).then(|| Thing {
            kind: pods(),
            namespace: namespace.to_owned(),
            name: name_of(pod).to_owned(),
            uid: uid_of(pod).to_owned(),
        })
    };
    let mut gone = Vec::new();
    for thing in whole_of(crew.cluster, &pods(), Which::of(Some(namespace)), |pod| theirs(&pod)).await? {
        if let Err(left) = remove(crew, &thing).await {
            let why = left.why;
            let message =
                format!("the mover {} of an earlier run, which mounts {claim}, does not end: {why}", thing.name);
            return Err(ClusterError::Refused { request: format!("DELETE pod {}", thing.name), status: 409, message });
        }
        gone.push(thing.name);
    }
    Ok(gone)
}
