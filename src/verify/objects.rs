//! Objects of a cluster: whether they are ready by their own status, what a condition of one says, and a program in a container of one.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use serde_json::Value;

use super::words::name_of as shown;
use super::{Look, Surroundings};
use crate::base::causes::in_one_line;
use crate::cluster::exec::{Room, Said};
use crate::cluster::kinds::pods;
use crate::cluster::list::{Which, collect_of, whole};
use crate::cluster::object::{controller_of, items, name_of, namespace_of, text};
use crate::cluster::ready::{Readiness, obstacles, readiness};
use crate::cluster::{Cluster, Kind};
use crate::hooks::command::container;
use crate::recover::cluster::ready::{is_of, is_unused};
use crate::runbook::{InPod, Object};

/// Objects that are not ready and told of.
const TOLD_MAX: usize = 5;
/// Bytes that are kept of each output of a program, and signs of them that are told.
const OUTPUT_BYTES_MAX: usize = 256 << 10;
const OUTPUT_CHARS_TOLD: usize = 300;

/// What lives in a namespace: group, version, plural and name of its kind.
const LIVING: [(&str, &str, &str, &str); 7] = [
    ("apps", "v1", "deployments", "Deployment"),
    ("apps", "v1", "statefulsets", "StatefulSet"),
    ("apps", "v1", "daemonsets", "DaemonSet"),
    ("apps", "v1", "replicasets", "ReplicaSet"),
    ("batch", "v1", "jobs", "Job"),
    ("", "v1", "pods", "Pod"),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
];

/// Groups of Kubernetes itself: what of them lives is in [`LIVING`]. Everything else is somebody's definition.
const OF_KUBERNETES: [&str; 15] = [
    "",
    "apps",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "metrics.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "storage.k8s.io",
];
/// Definitions that are looked at, how many of them at once, and objects of each: far more than a cluster at home has.
const KINDS_MAX: usize = 1000;
const KINDS_AT_ONCE: usize = 8;
const OBJECTS_EACH_MAX: usize = 2000;

pub(super) fn cluster(around: &Surroundings) -> Result<&dyn Cluster, String> {
    around.cluster.as_deref().map_err(Clone::clone)
}

/// The kind of an object, as the cluster has it.
///
/// # Errors
/// Why it has none.
pub(crate) async fn kind_of(cluster: &dyn Cluster, object: &Object) -> Result<Kind, String> {
    // Of what is looked at again and again no discovery is asked.
    if let Some((group, version, resource, name)) =
        LIVING.iter().find(|(group, _, resource, _)| (*group, *resource) == (&*object.group, &*object.resource))
    {
        return Ok(Kind::known(group, version, resource, name, true));
    }
    let kinds = cluster.kinds().await.map_err(|error| in_one_line(&error))?;
    let is_it = |kind: &&Kind| kind.resource == object.resource && kind.group == object.group;
    let found = kinds.kinds.iter().find(is_it).cloned();
    found.ok_or_else(|| {
        let silent = kinds.silent.iter().find(|(group, _)| *group == object.group);
        let why = silent.map(|(_, why)| format!(": its API does not answer, {why}")).unwrap_or_default();
        format!("{} has no kind {} in the group {:?}{why}", cluster.name(), object.resource, object.group)
    })
}

async fn get(cluster: &dyn Cluster, object: &Object) -> Result<(Kind, Value), String> {
    let kind = kind_of(cluster, object).await?;
    match cluster.get(&kind, object.namespace.as_deref(), &object.name).await {
        Ok(Some(live)) => Ok((kind, live)),
        Ok(None) => Err(format!("{} is not there", shown(object))),
        Err(error) => Err(format!("{} cannot be read: {}", shown(object), in_one_line(&error))),
    }
}

/// Why an object is not ready, with what its pods say; `None` if it is.
async fn trouble(cluster: &dyn Cluster, kind: &Kind, live: &Value) -> Option<String> {
    let (Readiness::Waiting(mut why) | Readiness::Failed(mut why)) = readiness(kind, live) else { return None };
    if kind.is("", "PersistentVolumeClaim") {
        return (!is_unused(cluster, live).await).then_some(why);
    }
    let own = |pod: Value| (is_of(&pod, kind, live)).then_some(pod);
    // What may not be read is left out: the object itself says that it is not ready.
    let pods = whole(cluster, &pods(), own).await.unwrap_or_default();
    for pod in pods.iter().take(TOLD_MAX) {
        let said = obstacles(pod).join("; ");
        if !said.is_empty() && !why.contains(&said) {
            why = format!("{why}; pod {}: {said}", name_of(pod));
        }
    }
    Some(why)
}

pub(super) async fn ready(objects: &[Object], around: &Surroundings) -> Look {
    let cluster = cluster(around)?;
    let mut troubles = Vec::new();
    for object in objects {
        match get(cluster, object).await {
            Ok((kind, live)) => {
                let why = trouble(cluster, &kind, &live).await;
                troubles.extend(why.map(|why| format!("{}: {why}", shown(object))));
            }
            Err(why) => troubles.push(why),
        }
    }
    all(objects.len(), &troubles)
}

fn all(count: usize, troubles: &[String]) -> Look {
    let objects = if count == 1 { "1 object is".to_owned() } else { format!("{count} objects are") };
    if troubles.is_empty() {
        return Ok(format!("{objects} ready"));
    }
    let more =
        if troubles.len() > TOLD_MAX { format!("; and {} more", troubles.len() - TOLD_MAX) } else { String::new() };
    let told = troubles.iter().take(TOLD_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    Err(format!("{} of {objects} not ready: {told}{more}", troubles.len()))
}

/// All workloads and claims of a namespace, and then what operators say of their objects in it; what another one controls is that one's affair. A namespace without any workload and claim
/// is not ready.
pub(super) async fn namespace(namespace: &str, around: &Surroundings) -> Look {
    let cluster = cluster(around)?;
    let (mut count, mut troubles) = (0, Vec::new());
    for (group, version, resource, name) in LIVING {
        let kind = Kind::known(group, version, resource, name, true);
        let own = |object: Value| {
            (namespace_of(&object) == Some(namespace) && controller_of(&object).is_none()).then_some(object)
        };
        let found = whole(cluster, &kind, own).await;
        let found = found.map_err(|error| format!("{resource} cannot be listed: {}", in_one_line(&error)))?;
        count += found.len();
        for object in found {
            let why = trouble(cluster, &kind, &object).await;
            troubles.extend(why.map(|why| format!("{resource}/{}: {why}", name_of(&object))));
        }
    }
    if count == 0 {
        return Err(format!("the namespace {namespace} has no workload and no claim"));
    }
    if troubles.is_empty() {
        let (more, wrong) = of_operators(cluster, namespace).await?;
        count += more;
        troubles = wrong;
    }
    all(count, &troubles)
}

/// How many objects of somebody's definitions are in a namespace, and why some are not ready. What has no status says nothing, and is ready.
async fn of_operators(cluster: &dyn Cluster, namespace: &str) -> Result<(usize, Vec<String>), String> {
    let kinds = cluster.kinds().await.map_err(|error| in_one_line(&error))?.kinds;
    let defined: Vec<Kind> =
        kinds.into_iter().filter(|kind| kind.namespaced && !OF_KUBERNETES.contains(&&*kind.group)).collect();
    if defined.len() > KINDS_MAX {
        return Err(format!("{} has more than {KINDS_MAX} kinds of operators", cluster.name()));
    }
    let looked = defined.iter().map(|kind| async move {
        let own = |object: Value| controller_of(&object).is_none().then_some(object);
        (kind, collect_of(cluster, kind, Which::of(Some(namespace)), OBJECTS_EACH_MAX, own).await)
    });
    let mut looked = stream::iter(looked).buffered(KINDS_AT_ONCE);
    let (mut count, mut troubles) = (0, Vec::new());
    while let Some((kind, found)) = looked.next().await {
        let found = match found {
            // Its definition went in between.
            Err(error) if error.is_missing() => continue,
            Err(error) => return Err(format!("{kind} cannot be listed: {}", in_one_line(&error))),
            Ok(found) if found.len() > OBJECTS_EACH_MAX => {
                return Err(format!("there are more than {OBJECTS_EACH_MAX} {kind} in {namespace}"));
            }
            Ok(found) => found,
        };
        count += found.len();
        for object in &found {
            if let Readiness::Waiting(why) | Readiness::Failed(why) = readiness(kind, object) {
                troubles.push(format!("{kind}/{}: {why}", name_of(object)));
            }
        }
    }
    Ok((count, troubles))
}

pub(super) async fn condition(object: &Object, condition: &str, status: &str, around: &Surroundings) -> Look {
    let (_, live) = get(cluster(around)?, object).await?;
    let conditions = items(&live, &["status", "conditions"]);
    let Some(found) = conditions.iter().find(|found| text(found, &["type"]) == condition) else {
        let known: Vec<&str> = conditions.iter().map(|found| text(found, &["type"])).collect();
        let known =
            if known.is_empty() { "it has none at all".to_owned() } else { format!("it has {}", known.join(", ")) };
        return Err(format!("{} has no condition {condition}: {known}", shown(object)));
    };
    let mut said = format!("{condition} is {}", text(found, &["status"]));
    for more in [text(found, &["reason"]), text(found, &["message"])].into_iter().filter(|more| !more.is_empty()) {
        said = format!("{said}: {more}");
    }
    if text(found, &["status"]) == status { Ok(said) } else { Err(format!("{said}; it should be {status}")) }
}

/// A pod of an object in which something can be run: itself, or one of its own that is ready.
///
/// # Errors
/// Why there is none.
async fn pod_of(cluster: &dyn Cluster, object: &Object) -> Result<Value, String> {
    let (kind, live) = get(cluster, object).await?;
    if kind.is("", "Pod") {
        return Ok(live);
    }
    let own = |pod: Value| is_of(&pod, &kind, &live).then_some(pod);
    let found = whole(cluster, &pods(), own).await.map_err(|error| in_one_line(&error))?;
    let is_ready =
        |pod: &&Value| text(pod, &["status", "phase"]) == "Running" && readiness(&pods(), pod) == Readiness::Ready;
    let count = found.len();
    found.iter().find(is_ready).cloned().ok_or_else(|| {
        let why: Vec<String> = found.iter().flat_map(obstacles).take(TOLD_MAX).collect();
        format!("none of the {count} pods of {} is ready: {}", shown(object), why.join("; "))
    })
}

/// The last words of a program.
fn last(said: &str) -> String {
    let skipped = said.trim().chars().count().saturating_sub(OUTPUT_CHARS_TOLD);
    said.trim().chars().skip(skipped).collect()
}

/// Why a program in a container is not known to have ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotWell {
    /// Why.
    pub(crate) why: String,
    /// It was started, or may have been, and nobody saw its end: it may go on in its container.
    pub(crate) end_unseen: bool,
}

impl From<String> for NotWell {
    fn from(why: String) -> Self {
        Self { why, end_unseen: false }
    }
}

/// What a program in a container said, and in which. Its end is waited for as long as `limit`; it goes on after that.
///
/// # Errors
/// Why it could not be carried out, or how it ended.
pub(crate) async fn run_in_pod(
    what: &InPod,
    around: &Surroundings,
    limit: Duration,
) -> Result<(Said, String), NotWell> {
    let pod = pod_of(cluster(around)?, &what.object).await?;
    let exec = around.exec.as_deref().map_err(Clone::clone)?;
    let container = container(&pod, what.container.as_deref()).map_err(|error| in_one_line(&error))?;
    let room = Room {
        namespace: namespace_of(&pod).unwrap_or_default(),
        pod: name_of(&pod),
        container,
        output_bytes_max: OUTPUT_BYTES_MAX,
    };
    let said = exec.exec(&room, &what.argv, limit).await;
    let said = said.map_err(|error| NotWell { why: in_one_line(&error), end_unseen: error.may_have_begun() })?;
    let place = format!("in {}, container {container}", name_of(&pod));
    if said.code != 0 {
        let (stdout, stderr) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        let words = last(if stderr.trim().is_empty() { &stdout } else { &stderr });
        return Err(format!("it ended with {} {place}: {words:?}", said.code).into());
    }
    Ok((said, place))
}

pub(super) async fn exec(what: &InPod, contains: Option<&str>, around: &Surroundings) -> Look {
    let (said, place) = run_in_pod(what, around, around.limits.query).await.map_err(|not| not.why)?;
    let [stdout, stderr] = [&said.stdout, &said.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    match contains {
        Some(wanted) if !stdout.contains(wanted) && !stderr.contains(wanted) => {
            let cut = if said.is_cut { " the beginning of" } else { "" };
            Err(format!("it ended well {place}, and{cut} what it printed has no {wanted:?}: {:?}", last(&stdout)))
        }
        Some(wanted) => Ok(format!("it ended well {place} and printed {wanted:?}")),
        None => Ok(format!("it ended well {place}")),
    }
}
