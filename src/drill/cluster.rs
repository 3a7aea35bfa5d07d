//! The namespaces of a drill in a cluster: made, closed, and removed with everything in them, volumes included; also those of drills that were killed.
//!
//! A drill holds the lease of its cluster: any namespace with a drill's label that is not its own is of a dead one, unless it is kept for a person. What is removed carries the
//! label, our name as manager, and a name that begins with its run; nothing else is ever touched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::isolate::{self, DRILL, KEPT};
use crate::base::cancel::Cancel;
use crate::base::causes::in_one_line;
use crate::base::id::is_run;
use crate::base::units;
use crate::cluster::list::{whole, whole_of};
use crate::cluster::object::{annotation, at, is_dying, items, label, name_of, text, uid_of};
use crate::cluster::ours::{MANAGED_BY, MANAGER};
use crate::cluster::rewrite::drill::prefix;
use crate::cluster::{Cluster, ClusterError, Created, How, Kind, Which};
use crate::volumes::kinds;

const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// For a namespace to be active with its service account.
const ACTIVE_WITHIN: Duration = Duration::from_secs(30);
/// For a namespace to be gone, and then for its volumes: a storage system takes its time.
const GONE_WITHIN: Duration = Duration::from_mins(5);

/// Why a drill has no place in a cluster.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Something has the name.
    #[error("the namespace {name} is there already")]
    There {
        /// It.
        name: String,
    },
    /// The cluster does not do it.
    #[error("cannot {what}")]
    Cluster {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: ClusterError,
    },
    /// It does not come up.
    #[error("the namespace {name} was not ready within {}", units::duration(*limit))]
    NotActive {
        /// It.
        name: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Somebody wanted it to stop.
    #[error("stopped as asked")]
    Cancelled,
}

impl PlaceError {
    /// What to do about it.
    #[must_use]
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::There { .. } => "begin the drill again: it draws another name",
            Self::Cluster { .. } => "see whether the cluster answers, and the rights of the account (docs/drill.md)",
            Self::NotActive { .. } => "see why: kubectl get events -A",
            Self::Cancelled => "begin it again when it suits",
        }
    }
}

fn failing(what: String) -> impl FnOnce(ClusterError) -> PlaceError {
    move |source| PlaceError::Cluster { what, source }
}

fn accounts() -> Kind {
    Kind::known("", "v1", "serviceaccounts", "ServiceAccount", true)
}

/// What a drill makes its place of.
pub struct Place<'a> {
    /// The cluster.
    pub cluster: &'a dyn Cluster,
    /// The run.
    pub run: &'a str,
    /// Its namespaces.
    pub namespaces: &'a BTreeSet<String>,
    /// When it is over for certain, RFC 3339: for people, who see it at the namespaces.
    pub expires: String,
    /// What claims will ask for.
    pub storage_bytes: u64,
    /// How many objects will be made.
    pub objects: usize,
}

/// Refuses names that are taken.
pub async fn refuse_taken(cluster: &dyn Cluster, namespaces: &BTreeSet<String>) -> Result<(), PlaceError> {
    for name in namespaces {
        let found = cluster.get(&kinds::namespaces(), None, name).await;
        if found.map_err(failing(format!("look at the namespace {name}")))?.is_some() {
            return Err(PlaceError::There { name: name.clone() });
        }
    }
    Ok(())
}

impl Place<'_> {
    /// Makes the namespaces, and waits until pods can be made in them.
    pub async fn make(&self, cancel: &Cancel) -> Result<(), PlaceError> {
        let kind = kinds::namespaces();
        for name in self.namespaces {
            let manifest = isolate::namespace(name, self.run, &self.expires);
            let made = self.cluster.create(&kind, &manifest, How::Really).await;
            match made.map_err(failing(format!("make the namespace {name}")))? {
                // The answer to our own request may have got lost.
                Created::Found(found) if label(&found, DRILL) != self.run => {
                    return Err(PlaceError::There { name: name.clone() });
                }
                Created::New(_) | Created::Found(_) => {}
            }
        }
        for name in self.namespaces {
            let begun = Instant::now();
            loop {
                let space = self.cluster.get(&kind, None, name).await;
                let space = space.map_err(failing(format!("look at the namespace {name}")))?.unwrap_or_default();
                let account = self.cluster.get(&accounts(), Some(name), "default").await;
                let account = account.map_err(failing(format!("look at the accounts of {name}")))?;
                if text(&space, &["status", "phase"]) == "Active" && account.is_some() {
                    break;
                }
                if begun.elapsed() >= ACTIVE_WITHIN {
                    return Err(PlaceError::NotActive { name: name.clone(), limit: ACTIVE_WITHIN });
                }
                tokio::select! {
                    () = sleep(LOOK_AGAIN) => {}
                    () = cancel.cancelled() => return Err(PlaceError::Cancelled),
                }
            }
        }
        Ok(())
    }

    /// Closes them, and gives them quotas.
    pub async fn close(&self) -> Result<(), PlaceError> {
        for name in self.namespaces {
            let quota = isolate::quota(name, self.run, self.storage_bytes, self.objects);
            for (kind, object) in [isolate::policy(name, self.run), quota] {
                let made = self.cluster.create(&kind, &object, How::Really).await;
                let what = || format!("make the {} of {name}", kind.name);
                // One that is there is of the request whose answer got lost, or of a controller that gives every namespace one of this name.
                if let Created::Found(found) = made.map_err(failing(what()))?
                    && at(&found, &["spec"]) != at(&object, &["spec"])
                {
                    return Err(PlaceError::There { name: format!("{name} with another {}", kind.name) });
                }
            }
        }
        Ok(())
    }
}

/// What became of what was made.
#[derive(Debug, Default)]
pub struct Cleared {
    /// What is gone.
    pub gone: Vec<String>,
    /// What is kept for a person.
    pub kept: Vec<String>,
    /// What could not be removed, and why.
    pub left: Vec<String>,
}

/// A namespace of a drill.
struct Space {
    name: String,
    uid: String,
    created: String,
    run: String,
    kept: bool,
}

fn space(object: &Value) -> Option<Space> {
    let (name, run) = (name_of(object), label(object, DRILL));
    let ours = label(object, MANAGED_BY) == MANAGER && is_run(run) && name.starts_with(&prefix(run));
    ours.then(|| Space {
        name: name.to_owned(),
        uid: uid_of(object).to_owned(),
        created: text(object, &["metadata", "creationTimestamp"]).to_owned(),
        run: run.to_owned(),
        kept: !annotation(object, KEPT).is_empty(),
    })
}

async fn spaces(cluster: &dyn Cluster) -> Result<Vec<Space>, ClusterError> {
    let which = Which::labelled(&[(MANAGED_BY, MANAGER)]);
    whole_of(cluster, &kinds::namespaces(), which, |object| space(&object)).await
}

/// Removes the namespaces of a run, and its volumes.
pub async fn clear(cluster: &dyn Cluster, run: &str) -> Result<Cleared, ClusterError> {
    let found = spaces(cluster).await?.into_iter().filter(|space| space.run == run).collect();
    remove(cluster, found).await
}

/// Removes what dead drills have left: whoever calls it has the lease. What is kept only if `kept_too`.
pub async fn sweep(cluster: &dyn Cluster, kept_too: bool) -> Result<Cleared, ClusterError> {
    let (kept, dead): (Vec<Space>, Vec<Space>) =
        spaces(cluster).await?.into_iter().partition(|space| space.kept && !kept_too);
    let mut cleared = if dead.is_empty() { Cleared::default() } else { remove(cluster, dead).await? };
    cleared.kept = kept.into_iter().map(|space| format!("namespace {}", space.name)).collect();
    Ok(cleared)
}

/// Leaves the namespaces of a run for a person, who removes them by `drill --clean`.
pub async fn keep(cluster: &dyn Cluster, run: &str) -> Result<Cleared, ClusterError> {
    let mut cleared = Cleared::default();
    for space in spaces(cluster).await?.into_iter().filter(|space| space.run == run) {
        let patch = json!({"metadata": {"annotations": {KEPT: "true"}}});
        cluster.patch(&kinds::namespaces(), None, &space.name, &patch).await?;
        cleared.kept.push(format!("namespace {}", space.name));
    }
    Ok(cleared)
}

/// A volume that a claim of a drill is bound to.
struct Bound {
    name: String,
    uid: String,
    namespace: String,
    /// It was made for the claim, by its class.
    provisioned: bool,
    retained: bool,
    created: String,
}

async fn bound(cluster: &dyn Cluster, spaces: &[Space]) -> Result<Vec<Bound>, ClusterError> {
    let names: BTreeSet<&str> = spaces.iter().map(|space| space.name.as_str()).collect();
    let take = |volume: Value| {
        let namespace = text(&volume, &["spec", "claimRef", "namespace"]);
        names.contains(namespace).then(|| Bound {
            name: name_of(&volume).to_owned(),
            uid: uid_of(&volume).to_owned(),
            namespace: namespace.to_owned(),
            provisioned: !annotation(&volume, "pv.kubernetes.io/provisioned-by").is_empty(),
            retained: text(&volume, &["spec", "persistentVolumeReclaimPolicy"]) == "Retain",
            created: text(&volume, &["metadata", "creationTimestamp"]).to_owned(),
        })
    };
    whole(cluster, &kinds::volumes(), take).await
}

async fn reclaim(cluster: &dyn Cluster, volume: &Bound, policy: &str) -> Result<(), ClusterError> {
    let patch = json!({"spec": {"persistentVolumeReclaimPolicy": policy}});
    cluster.patch(&kinds::volumes(), None, &volume.name, &patch).await.map(drop)
}

/// Volumes of a drill that go with it, and those that a drill may not take along.
#[derive(Default)]
struct Volumes {
    /// Each is decided about once.
    seen: BTreeSet<String>,
    going: Vec<Bound>,
    /// Namespaces whose end would take data that is not the drill's.
    held: BTreeSet<String>,
}

impl Volumes {
    /// Decides about those that are bound to claims in the namespaces by now.
    async fn look(
        &mut self,
        cluster: &dyn Cluster,
        spaces: &[Space],
        left: &mut Vec<String>,
    ) -> Result<(), ClusterError> {
        let created: BTreeMap<&str, &str> =
            spaces.iter().map(|space| (space.name.as_str(), space.created.as_str())).collect();
        for volume in bound(cluster, spaces).await? {
            if !self.seen.insert(volume.uid.clone()) {
                continue;
            }
            // RFC 3339 in UTC, to the second: the order of texts is that of times.
            let is_older =
                created.get(volume.namespace.as_str()).is_some_and(|created| volume.created.as_str() < *created);
            let name = &volume.name;
            if !volume.provisioned || is_older {
                // Not made for the drill: it was there, and stays. Its data is somebody's.
                match if volume.retained { Ok(()) } else { reclaim(cluster, &volume, "Retain").await } {
                    Ok(()) => left.push(format!("volume {name}: it was there before, and is kept; see what is in it")),
                    Err(error) => {
                        left.push(format!(
                            "volume {name}: it was there before and would be deleted with its claim, and cannot be set to Retain: {}",
                            in_one_line(&error)
                        ));
                        self.held.insert(volume.namespace);
                    }
                }
                continue;
            }
            // A class whose volumes stay would leave the data of every drill behind.
            match if volume.retained { reclaim(cluster, &volume, "Delete").await } else { Ok(()) } {
                Ok(()) => self.going.push(volume),
                Err(error) => left.push(format!("volume {name}: it cannot be set to Delete: {}", in_one_line(&error))),
            }
        }
        Ok(())
    }
}

/// What cannot be removed is told, and keeps nothing else.
async fn remove(cluster: &dyn Cluster, spaces: Vec<Space>) -> Result<Cleared, ClusterError> {
    let mut cleared = Cleared::default();
    let mut volumes = Volumes::default();
    volumes.look(cluster, &spaces, &mut cleared.left).await?;
    let (held, going): (Vec<&Space>, Vec<&Space>) = spaces.iter().partition(|space| volumes.held.contains(&space.name));
    for space in held {
        cleared
            .left
            .push(format!("namespace {}: a volume that is not the drill's would be deleted with it", space.name));
    }
    for space in &going {
        if let Err(error) = cluster.delete(&kinds::namespaces(), None, &space.name, &space.uid).await {
            cleared.left.push(format!("namespace {}: {}", space.name, in_one_line(&error)));
        }
    }
    let begun = Instant::now();
    for space in &going {
        match gone(cluster, &kinds::namespaces(), (&space.name, &space.uid), begun).await {
            Ok(None) => cleared.gone.push(format!("namespace {}", space.name)),
            Ok(Some(there)) => cleared.left.push(format!("namespace {}: {}", space.name, keeps(&there))),
            Err(error) => cleared.left.push(format!("namespace {}: {}", space.name, in_one_line(&error))),
        }
    }
    // A claim may have got its volume after the first look.
    if let Err(error) = volumes.look(cluster, &spaces, &mut cleared.left).await {
        cleared.left.push(format!("volumes that were made meanwhile: {}", in_one_line(&error)));
    }
    for volume in &volumes.going {
        match gone(cluster, &kinds::volumes(), (&volume.name, &volume.uid), begun).await {
            Ok(None) => cleared.gone.push(format!("volume {}", volume.name)),
            Ok(Some(_)) => {
                cleared.left.push(format!("volume {}: the storage system has not deleted it yet", volume.name));
            }
            Err(error) => cleared.left.push(format!("volume {}: {}", volume.name, in_one_line(&error))),
        }
    }
    cleared.left.dedup();
    Ok(cleared)
}

/// Waits until an object is gone; as it is when nobody waits any longer.
async fn gone(
    cluster: &dyn Cluster,
    kind: &Kind,
    (name, uid): (&str, &str),
    begun: Instant,
) -> Result<Option<Value>, ClusterError> {
    loop {
        let Some(there) = cluster.get(kind, None, name).await?.filter(|there| uid_of(there) == uid) else {
            return Ok(None);
        };
        if begun.elapsed() >= GONE_WITHIN {
            return Ok(Some(there));
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// What keeps a namespace, as it says itself.
fn keeps(space: &Value) -> String {
    if !is_dying(space) {
        return "it was not deleted".to_owned();
    }
    let conditions = items(space, &["status", "conditions"]).iter();
    let told: Vec<&str> = conditions
        .filter(|condition| text(condition, &["status"]) == "True")
        .map(|condition| text(condition, &["message"]))
        .collect();
    if told.is_empty() { "it is still being deleted".to_owned() } else { told.join("; ") }
}
