//! Which claims there are, and what is to become of each: read, by a way that `volumes::choose` decides and with rights that are decided here; left out on purpose;
//! or refused with a reason. Plain data; nothing is changed in the cluster.

use std::collections::BTreeMap;

use serde_json::Value;

use super::hold::Foreseen;
use super::hooks::{Unclear, Wanted, wanted};
use crate::cluster::list::collect;
use crate::cluster::object::{annotation, at, is_dying, items, label, name_of, namespace_of, text};
use crate::cluster::{Cluster, Kind};
use crate::config::{Cnpg, HookWay, MoverMode, VolumesSource};
use crate::volumes::choose::live::WRITTEN;
use crate::volumes::choose::policy::Policy;
use crate::volumes::choose::{Choice, Way, choose};
use crate::volumes::labels::{BACKUP, MANAGED_BY, MANAGER, MOVER_MODE, MOVER_USER, PRIVILEGED_MOVERS};
use crate::volumes::pod::{NOBODY, Rights};
use crate::volumes::{VolumesError, facts, kinds};

/// The level of Pod Security that a namespace enforces.
pub(crate) const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// The label of claims that belong to a cluster of `CloudNativePG`.
const CNPG: &str = "cnpg.io/cluster";

/// A claim, and what is to become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is to become of it.
    pub fate: Fate,
}

impl Claim {
    /// The source that its snapshots are of.
    #[must_use]
    pub fn source(&self) -> String {
        format!("pvc/{}/{}", self.namespace, self.name)
    }
}

/// What is to become of a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// It is read.
    Read(Box<Read>),
    /// It is left out on purpose.
    Excluded {
        /// By whom.
        by: String,
    },
    /// A dump of another source stands for it, if that source succeeds in the same run.
    Dumped {
        /// The source.
        by: String,
    },
    /// It cannot be read.
    Refused {
        /// Why.
        why: String,
        /// What to do about it.
        mend: String,
    },
    /// This source does not take it.
    Unselected,
}

/// How a claim is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// By which way, and why: a snapshot, a clone, or live.
    pub choice: Choice,
    /// How its application is to hold still.
    pub hook: Option<Wanted>,
    /// What that would hold; `None` if there is nobody to hold, or it was not looked at yet.
    pub held: Option<Foreseen>,
    /// With whose rights.
    pub rights: Rights,
    /// The application's.
    pub tolerations: Vec<Value>,
    /// The application's, where the mover runs in its namespace.
    pub pull_secrets: Vec<Value>,
}

impl Read {
    /// On which node; `None` if any will do that can mount the volume. A copy is nobody's neighbour.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        match &self.choice.way {
            Way::Live { node, .. } => node.as_deref(),
            _ => None,
        }
    }
}

/// A pod that mounts a claim.
pub(crate) struct Use {
    /// By namespace and name.
    pub(crate) claim: (String, String),
    running: bool,
    user: Option<u64>,
    group: Option<u64>,
    groups: Vec<u64>,
    non_root: bool,
    /// The taints that it bears.
    pub(crate) tolerations: Vec<Value>,
    /// What its images are pulled with.
    pub(crate) pull_secrets: Vec<Value>,
}

/// What a pod says of each claim that it mounts.
pub(crate) fn uses(pod: &Value) -> Vec<Use> {
    let phase = text(pod, &["status", "phase"]);
    if matches!(phase, "Succeeded" | "Failed") || label(pod, MANAGED_BY) == MANAGER {
        return Vec::new();
    }
    let namespace = namespace_of(pod).unwrap_or_default();
    let of_claim = |volume: &Value| {
        let claim = text(volume, &["persistentVolumeClaim", "claimName"]);
        if claim.is_empty() {
            return None;
        }
        let mounts = |container: &&Value| {
            items(container, &["volumeMounts"]).iter().any(|mount| at(mount, &["name"]) == at(volume, &["name"]))
        };
        let container = items(pod, &["spec", "containers"]).iter().find(mounts).unwrap_or(&Value::Null);
        let own = |field: &str| {
            let of_container = at(container, &["securityContext", field]);
            if of_container.is_null() { at(pod, &["spec", "securityContext", field]) } else { of_container }
        };
        let further = items(pod, &["spec", "securityContext", "supplementalGroups"]).iter().filter_map(Value::as_u64);
        let mut groups: Vec<u64> = at(pod, &["spec", "securityContext", "fsGroup"]).as_u64().into_iter().collect();
        groups.extend(further);
        groups.dedup();
        Some(Use {
            claim: (namespace.to_owned(), claim.to_owned()),
            running: phase == "Running",
            user: own("runAsUser").as_u64(),
            group: own("runAsGroup").as_u64(),
            groups,
            non_root: own("runAsNonRoot") == true,
            tolerations: items(pod, &["spec", "tolerations"]).to_vec(),
            pull_secrets: items(pod, &["spec", "imagePullSecrets"]).to_vec(),
        })
    };
    items(pod, &["spec", "volumes"]).iter().filter_map(of_claim).collect()
}

/// What a namespace says.
#[derive(Default)]
pub(crate) struct Namespace {
    left_out: bool,
    /// Whether it enforces Pod Security `restricted`.
    pub(crate) restricted: bool,
    privileged_movers: bool,
}

impl Namespace {
    /// As it says itself.
    pub(crate) fn of(object: &Value) -> Self {
        Self {
            left_out: annotation(object, BACKUP) == "false",
            restricted: label(object, ENFORCE) == "restricted",
            privileged_movers: annotation(object, PRIVILEGED_MOVERS) == "true",
        }
    }
}

/// Whether a pattern with `*` for any part of a name means a name.
fn means_name(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| means_name(after, rest)))),
    }
}

/// Whether one of the patterns `NAMESPACE/CLAIM` means a claim.
pub(super) fn means(patterns: &[String], namespace: &str, name: &str) -> bool {
    let is = |pattern: &String| {
        pattern.split_once('/').is_some_and(|(space, claim)| means_name(space, namespace) && means_name(claim, name))
    };
    patterns.iter().any(is)
}

/// Whether a source is for a claim at all.
fn selects(source: &VolumesSource, claim: &Value) -> bool {
    let (namespace, name) = (namespace_of(claim).unwrap_or_default(), name_of(claim));
    let class = text(claim, &["spec", "storageClassName"]);
    let listed = |list: &[String], text: &str| list.is_empty() || list.iter().any(|entry| entry == text);
    listed(&source.namespaces, namespace)
        && listed(&source.storage_classes, class)
        && (source.names.is_empty() || means(&source.names, namespace, name))
        && source.labels.iter().all(|(key, value)| label(claim, key) == value)
}

/// Everything that deciding takes, read once.
struct Facts {
    namespaces: BTreeMap<String, Namespace>,
    /// The pod that runs, if one does, before one that does not yet.
    uses: BTreeMap<(String, String), Use>,
    /// By namespace and name.
    choices: BTreeMap<(String, String), Choice>,
    hooks: BTreeMap<(String, String), Result<Option<Wanted>, Unclear>>,
}

impl Facts {
    async fn read(cluster: &dyn Cluster, source: &VolumesSource) -> Result<Self, VolumesError> {
        let namespace = |object: &Value| Some((name_of(object).to_owned(), Namespace::of(object)));
        let failed = |object: &'static str| {
            move |source| VolumesError::Cluster { operation: "list", object: object.into(), source }
        };
        let mut of_pods = BTreeMap::new();
        let pods = collect(cluster, &kinds::pods(), usize::MAX, |pod| Some(uses(&pod))).await;
        let pods = pods.map_err(failed("pods"))?;
        for one in pods.into_iter().flatten() {
            if one.running || !of_pods.contains_key(&one.claim) {
                of_pods.insert(one.claim.clone(), one);
            }
        }
        let kind = Kind::known("", "v1", "namespaces", "Namespace", false);
        let namespaces = collect(cluster, &kind, usize::MAX, |object| namespace(&object)).await;
        let namespaces = namespaces.map_err(failed("namespaces"))?;
        let facts = facts::read(cluster).await?;
        let hook = |claim: &facts::Claim| {
            let key = (claim.namespace.clone(), claim.name.clone());
            (key, wanted(source, claim, facts.namespaces.get(&claim.namespace)))
        };
        let hooks: BTreeMap<_, _> = facts.claims.iter().map(hook).collect();
        let stops =
            |hook: &Result<Option<Wanted>, Unclear>| matches!(hook, Ok(Some(Wanted { way: HookWay::Scale, .. })));
        let stopped = hooks.iter().filter(|(_, hook)| stops(hook)).map(|(key, _)| key.clone()).collect();
        let policy = Policy {
            homeless: source.namespace.is_none(),
            snapshot_classes: source.snapshot_classes.clone(),
            stopped,
            ..Policy::default()
        };
        let choices = choose(&facts, &policy).into_iter();
        Ok(Self {
            namespaces: namespaces.into_iter().collect(),
            uses: of_pods,
            choices: choices.map(|choice| ((choice.namespace.clone(), choice.claim.clone()), choice)).collect(),
            hooks,
        })
    }

    fn fate(&self, source: &VolumesSource, claim: &Value) -> Fate {
        let (namespace, name) = (namespace_of(claim).unwrap_or_default(), name_of(claim));
        let nothing = Namespace::default();
        let space = self.namespaces.get(namespace).unwrap_or(&nothing);
        let by = |by: &str| Fate::Excluded { by: by.to_owned() };
        match (annotation(claim, BACKUP), space.left_out) {
            ("false", _) => return by("the annotation of the claim"),
            ("", true) => return by("the annotation of the namespace"),
            ("true", _) => {}
            _ if means(&source.exclude, namespace, name) => return by("the configuration"),
            _ => {}
        }
        if !selects(source, claim) {
            return Fate::Unselected;
        }
        if let Some(dump) = dump_of(source, claim).filter(|_| !is_dying(claim)) {
            return Fate::Dumped { by: dump.to_owned() };
        }
        if let Some((why, mend)) = obstacle(claim) {
            return refused(why, mend);
        }
        let key = (namespace.to_owned(), name.to_owned());
        let hook = match self.hooks.get(&key) {
            Some(Err((why, mend))) => return refused(why, mend),
            Some(Ok(hook)) => hook.clone(),
            None => None,
        };
        let Some(choice) = self.choices.get(&key) else {
            return refused("it came while the cluster was looked at", "run again");
        };
        let home = match &choice.way {
            Way::Refused { why, mend } => return refused(why, mend),
            Way::Excluded { by } => return Fate::Excluded { by: by.clone() },
            Way::Empty => return refused("it has no volume yet", LEAVE_OUT),
            Way::Snapshot { .. } => source.namespace.as_deref().unwrap_or_default(),
            Way::Clone { .. } | Way::Live { .. } => namespace,
        };
        let mode = match annotation(claim, MOVER_MODE) {
            "" => Some(source.mode),
            text => MoverMode::parse(text),
        };
        let Some(mode) = mode else {
            let why = format!("its annotation {MOVER_MODE} is {:?}", annotation(claim, MOVER_MODE));
            return refused(why, "write app, root or privileged");
        };
        let used = self.uses.get(&key);
        // The mover has to be let in where it runs.
        let Some(rights) = rights(claim, mode, used, self.namespaces.get(home).unwrap_or(&nothing)) else {
            let why = format!(
                "it needs a privileged mover, and the namespace {home} does not permit one by {PRIVILEGED_MOVERS}"
            );
            return refused(why, "annotate the namespace, or use the mode app or root");
        };
        let pull_secrets = used.filter(|_| home == namespace).map(|used| used.pull_secrets.clone());
        let mut choice = choice.clone();
        if matches!(hook, Some(Wanted { way: HookWay::Handshake, .. })) {
            // Whoever answers says that it does not write.
            choice.cautions.retain(|caution| caution != WRITTEN);
        }
        Fate::Read(Box::new(Read {
            choice,
            hook,
            held: None,
            rights,
            tolerations: used.map(|used| used.tolerations.clone()).unwrap_or_default(),
            pull_secrets: pull_secrets.unwrap_or_default(),
        }))
    }
}

const LEAVE_OUT: &str =
    "leave it out on purpose: under exclude, or with the annotation homelab-dr.io/backup: \"false\"";

fn refused(why: impl Into<String>, mend: impl Into<String>) -> Fate {
    Fate::Refused { why: why.into(), mend: mend.into() }
}

/// The source whose dump stands for a claim.
fn dump_of<'a>(source: &'a VolumesSource, claim: &Value) -> Option<&'a str> {
    let (namespace, cluster) = (namespace_of(claim)?, label(claim, CNPG));
    let is_of = |cnpg: &&Cnpg| !cluster.is_empty() && means(&cnpg.clusters, namespace, cluster);
    source.cnpg.iter().find(is_of).map(|cnpg| cnpg.covered_by.as_str())
}

/// Why a claim cannot be read by any way, and what to do about it.
fn obstacle(claim: &Value) -> Option<(&'static str, &'static str)> {
    Some(match text(claim, &["status", "phase"]) {
        _ if is_dying(claim) => ("it is being deleted", "nothing, if that is meant"),
        "Lost" => ("its volume is gone", "restore it, then delete the claim or bind it anew"),
        "Bound" if text(claim, &["spec", "volumeMode"]) == "Block" => {
            ("it is a block device, which this version does not read", LEAVE_OUT)
        }
        "Bound" if !label(claim, CNPG).is_empty() => (
            "it belongs to a CloudNativePG cluster, whose files make no database that starts",
            "dump it with pg_dump (a source of the kind command), and name that source under cnpg; or leave the claim out on purpose",
        ),
        "Bound" => return None,
        _ => ("it has no volume yet", LEAVE_OUT),
    })
}

/// With whose rights a claim is read or filled; `None` for a privilege that nobody granted.
pub(crate) fn rights(claim: &Value, mode: MoverMode, used: Option<&Use>, space: &Namespace) -> Option<Rights> {
    let groups = used.map(|used| used.groups.clone()).unwrap_or_default();
    let said = annotation(claim, MOVER_USER);
    let (uid, gid) = match said.split_once(':') {
        Some((uid, gid)) => (uid.parse().ok(), gid.parse().ok()),
        None => (said.parse().ok(), None),
    };
    match (mode, uid.or_else(|| used?.user)) {
        (MoverMode::Privileged, _) => space.privileged_movers.then_some(Rights::Privileged),
        (MoverMode::Root, _) => Some(Rights::Root),
        (MoverMode::App, Some(uid)) if uid > 0 => {
            Some(Rights::Application { user: uid, group: gid.or_else(|| used?.group), groups })
        }
        // The image decides as whom the application runs. Where root may run it is taken for root, which reads everything.
        (MoverMode::App, _) if !space.restricted && used.is_none_or(|used| !used.non_root) => Some(Rights::Root),
        (MoverMode::App, _) => Some(Rights::Application { user: NOBODY, group: None, groups }),
    }
}

/// All claims of a cluster, by namespace and name, and what a source makes of each. Those that we made ourselves are none.
pub async fn look(cluster: &dyn Cluster, source: &VolumesSource) -> Result<Vec<Claim>, VolumesError> {
    let facts = Facts::read(cluster, source).await?;
    let claim = |object: &Value| {
        let (namespace, name) = (namespace_of(object)?.to_owned(), name_of(object).to_owned());
        (label(object, MANAGED_BY) != MANAGER).then(|| Claim { namespace, name, fate: facts.fate(source, object) })
    };
    let all = collect(cluster, &kinds::claims(), usize::MAX, |object| claim(&object)).await;
    let fail =
        |source| VolumesError::Cluster { operation: "list", object: "persistentvolumeclaims".to_owned(), source };
    let mut all = all.map_err(fail)?;
    all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(all)
}

#[cfg(test)]
mod tests;
