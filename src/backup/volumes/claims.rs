//! Which claims there are, and what is to become of each: read, by a way that `volumes::choose` decides and with rights that are decided here; left out on purpose;
//! or refused with a reason. Plain data; nothing is changed in the cluster.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::hold::Foreseen;
use super::hooks::{Unclear, Wanted, wanted};
use crate::cluster::Cluster;
use crate::cluster::list::whole;
use crate::cluster::object::{annotation, at, is_dying, items, label, name_of, namespace_of, text};
use crate::cluster::ours::is_ours;
use crate::config::{ClaimsChoice, Cnpg, HookWay, MoverMode, PostgresDump, VolumesSource};
use crate::volumes::choose::live::{APART, WRITTEN};
use crate::volumes::choose::policy::{Policy, means};
use crate::volumes::choose::{Choice, Way, choose};
use crate::volumes::facts::{Wishes, wishes};
use crate::volumes::labels::{FILLING, FILLING_IN_PLACE, MOVER_MODE, MOVER_USER, PRIVILEGED_MOVERS};
use crate::volumes::pod::{NOBODY, Rights};
use crate::volumes::{VolumesError, facts, kinds};

/// The level of Pod Security that a namespace enforces.
pub(crate) const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// The label of claims that belong to a cluster of `CloudNativePG`.
const CNPG: &str = "cnpg.io/cluster";

/// A claim, and what is to become of it; `R` says how it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim<R = Read> {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is to become of it.
    pub fate: Fate<R>,
}

impl<R> Claim<R> {
    /// The source that its snapshots are of.
    #[must_use]
    pub fn source(&self) -> String {
        format!("pvc/{}/{}", self.namespace, self.name)
    }
}

/// What is to become of a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate<R = Read> {
    /// It is read.
    Read(Box<R>),
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

impl<R> Fate<R> {
    /// It cannot be read, and what to do about it.
    pub(super) fn refused(why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Refused { why: why.into(), mend: mend.into() }
    }
}

/// Of every claim that this source does not take, and none of the others either, says so: it is in no snapshot.
pub(super) fn settle_unselected<R>(found: &mut Vec<Claim<R>>, others: &[Vec<Claim<R>>]) {
    for theirs in others {
        // Both are in the same order, but claims come and go.
        found.retain(|claim| {
            let taken = |their: &Claim<R>| {
                let same = (&their.namespace, &their.name) == (&claim.namespace, &claim.name);
                same && !matches!(their.fate, Fate::Unselected)
            };
            !matches!(claim.fate, Fate::Unselected) || !theirs.iter().any(taken)
        });
    }
    for claim in found.iter_mut().filter(|claim| matches!(claim.fate, Fate::Unselected)) {
        let mend = "take it in, or leave it out on purpose: under exclude, or with the annotation homelab-dr.io/backup: \"false\"";
        claim.fate = Fate::refused("no source of the configuration takes it", mend);
    }
}

/// How a claim is read by a mover.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// By which way, and why: a snapshot, a clone, or live.
    pub choice: Choice,
    /// How its application is to hold still.
    pub hook: Option<Wanted>,
    /// What that would hold; `None` if there is nobody to hold, or it was not looked at yet.
    pub held: Option<Foreseen>,
    /// The source whose dump stands for data of `PostgreSQL` in it.
    pub dumped_by: Option<String>,
    /// With whose rights.
    pub rights: Rights,
    /// Whether it is a raw volume, a block device.
    pub device: bool,
    /// The application's.
    pub tolerations: Vec<Value>,
    /// The application's, where the mover runs in its namespace.
    pub pull_secrets: Vec<Value>,
}

impl Read {
    /// Whether whoever uses it may have locks that a mover does not see.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.choice.cautions.iter().any(|caution| caution == APART)
    }

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
    if matches!(phase, "Succeeded" | "Failed") || is_ours(pod) {
        return Vec::new();
    }
    let namespace = namespace_of(pod).unwrap_or_default();
    let of_claim = |volume: &Value| {
        let claim = text(volume, &["persistentVolumeClaim", "claimName"]);
        if claim.is_empty() {
            return None;
        }
        let mounts = |container: &&Value| {
            let mut mounts = items(container, &["volumeMounts"]).iter().chain(items(container, &["volumeDevices"]));
            mounts.any(|mount| at(mount, &["name"]) == at(volume, &["name"]))
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
    /// Its annotations of ours.
    pub(super) wishes: Wishes,
    /// Whether it enforces Pod Security `restricted`.
    pub(crate) restricted: bool,
    privileged_movers: bool,
    /// What it says about the rights of movers, for claims that do not say it themselves: annotations, by name.
    of_movers: Vec<(&'static str, String)>,
}

impl Namespace {
    /// As it says itself.
    pub(crate) fn of(object: &Value) -> Self {
        Self {
            wishes: wishes(object),
            restricted: label(object, ENFORCE) == "restricted",
            privileged_movers: annotation(object, PRIVILEGED_MOVERS) == "true",
            of_movers: [MOVER_MODE, MOVER_USER]
                .map(|name| (name, annotation(object, name).to_owned()))
                .into_iter()
                .filter(|(_, said)| !said.is_empty())
                .collect(),
        }
    }

    /// A claim in it, with what the namespace says about the rights of its mover where it says nothing itself.
    pub(crate) fn speaks_for<'a>(&self, claim: &'a Value) -> Cow<'a, Value> {
        let mut claim = Cow::Borrowed(claim);
        for (name, said) in &self.of_movers {
            if annotation(&claim, name).is_empty()
                && let Some(metadata) = claim.to_mut().get_mut("metadata").and_then(Value::as_object_mut)
            {
                let annotations = metadata.entry("annotations").or_insert(Value::Null);
                if annotations.is_null() {
                    *annotations = Value::Object(Map::new());
                }
                if let Some(annotations) = annotations.as_object_mut() {
                    annotations.insert((*name).to_owned(), said.clone().into());
                }
            }
        }
        claim
    }
}

/// Whether a source is for a claim at all.
pub(super) fn selects(choice: &ClaimsChoice, claim: &Value) -> bool {
    let (namespace, name) = (namespace_of(claim).unwrap_or_default(), name_of(claim));
    let class = text(claim, &["spec", "storageClassName"]);
    let listed = |list: &[String], text: &str| list.is_empty() || list.iter().any(|entry| entry == text);
    listed(&choice.namespaces, namespace)
        && listed(&choice.storage_classes, class)
        && (choice.names.is_empty() || means(&choice.names, namespace, name))
        && choice.labels.iter().all(|(key, value)| label(claim, key) == value)
}

/// What all namespaces say, by name.
pub(super) async fn spaces(cluster: &dyn Cluster) -> Result<BTreeMap<String, Namespace>, VolumesError> {
    let of = |object: Value| Some((name_of(&object).to_owned(), Namespace::of(&object)));
    let found = whole(cluster, &kinds::namespaces(), of).await;
    let fail = |source| VolumesError::Cluster { operation: "list", object: "namespaces".to_owned(), source };
    Ok(found.map_err(fail)?.into_iter().collect())
}

/// All claims, whoever made them, as `take` has them.
pub(super) async fn all<T: Send>(
    cluster: &dyn Cluster,
    take: impl Fn(&Value) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, VolumesError> {
    let found = whole(cluster, &kinds::claims(), |object| take(&object)).await;
    let fail =
        |source| VolumesError::Cluster { operation: "list", object: "persistentvolumeclaims".to_owned(), source };
    found.map_err(fail)
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
        let failed = |object: &'static str| {
            move |source| VolumesError::Cluster { operation: "list", object: object.into(), source }
        };
        let mut of_pods = BTreeMap::new();
        let pods = whole(cluster, &kinds::pods(), |pod| Some(uses(&pod))).await;
        let pods = pods.map_err(failed("pods"))?;
        for one in pods.into_iter().flatten() {
            if one.running || !of_pods.contains_key(&one.claim) {
                of_pods.insert(one.claim.clone(), one);
            }
        }
        let namespaces = spaces(cluster).await?;
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
            exclude: source.choice.exclude.clone(),
        };
        let choices = choose(&facts, &policy).into_iter();
        Ok(Self {
            namespaces,
            uses: of_pods,
            choices: choices.map(|choice| ((choice.namespace.clone(), choice.claim.clone()), choice)).collect(),
            hooks,
        })
    }

    fn fate(&self, source: &VolumesSource, claim: &Value) -> Fate {
        let (namespace, name) = (namespace_of(claim).unwrap_or_default(), name_of(claim));
        let nothing = Namespace::default();
        let key = (namespace.to_owned(), name.to_owned());
        let choice = self.choices.get(&key);
        if let Some(Choice { way: Way::Excluded { by }, .. }) = choice {
            return Fate::Excluded { by: by.clone() };
        }
        if !selects(&source.choice, claim) {
            return Fate::Unselected;
        }
        if let Some(dump) = dump_of(&source.choice, claim) {
            return Fate::Dumped { by: dump.to_owned() };
        }
        if let Some((why, mend)) = unreadable(claim) {
            return Fate::refused(why, mend);
        }
        let hook = match self.hooks.get(&key) {
            Some(Err((why, mend))) => return Fate::refused(why, mend),
            Some(Ok(hook)) => hook.clone(),
            None => None,
        };
        let Some(choice) = choice else {
            return Fate::refused("it came while the cluster was looked at", "run again");
        };
        let home = match &choice.way {
            Way::Refused { why, mend } => return Fate::refused(why, mend),
            Way::Excluded { by } => return Fate::Excluded { by: by.clone() },
            Way::Empty => return Fate::refused("it has no volume yet", LEAVE_OUT),
            Way::Snapshot { .. } => source.namespace.as_deref().unwrap_or_default(),
            Way::Clone { .. } | Way::Live { .. } => namespace,
        };
        let claim = &*self.namespaces.get(namespace).unwrap_or(&nothing).speaks_for(claim);
        let mode = match annotation(claim, MOVER_MODE) {
            "" => Some(source.mode),
            text => MoverMode::parse(text),
        };
        let Some(mode) = mode else {
            let why = format!("its annotation {MOVER_MODE} is {:?}", annotation(claim, MOVER_MODE));
            return Fate::refused(why, "write app, root or privileged");
        };
        let used = self.uses.get(&key);
        // The mover has to be let in where it runs.
        let rights = match rights(claim, mode, used, (home, self.namespaces.get(home).unwrap_or(&nothing))) {
            Ok(rights) => rights,
            Err((why, mend)) => return Fate::refused(why, mend),
        };
        let pull_secrets = used.filter(|_| home == namespace).map(|used| used.pull_secrets.clone());
        let mut choice = choice.clone();
        if matches!(hook, Some(Wanted { way: HookWay::Handshake, .. })) {
            // Whoever answers says that it does not write.
            choice.cautions.retain(|caution| caution != WRITTEN);
        }
        if hook.is_some() {
            // It stands still: locks that are not seen are not held.
            choice.cautions.retain(|caution| caution != APART);
        }
        Fate::Read(Box::new(Read {
            choice,
            hook,
            held: None,
            dumped_by: postgres_dump_of(&source.choice, claim).map(str::to_owned),
            rights,
            device: is_device(claim),
            tolerations: used.map(|used| used.tolerations.clone()).unwrap_or_default(),
            pull_secrets: pull_secrets.unwrap_or_default(),
        }))
    }
}

pub(super) const LEAVE_OUT: &str =
    "leave it out on purpose: under exclude, or with the annotation homelab-dr.io/backup: \"false\"";

/// The source whose dump stands for a claim.
pub(super) fn dump_of<'a>(choice: &'a ClaimsChoice, claim: &Value) -> Option<&'a str> {
    let (namespace, cluster) = (namespace_of(claim)?, label(claim, CNPG));
    let is_of = |cnpg: &&Cnpg| !cluster.is_empty() && means(&cnpg.clusters, namespace, cluster);
    choice.cnpg.iter().find(is_of).filter(|_| !is_dying(claim)).map(|cnpg| cnpg.covered_by.as_str())
}

/// The source whose dump stands for data of `PostgreSQL` in a claim that is read where it is.
pub(super) fn postgres_dump_of<'a>(choice: &'a ClaimsChoice, claim: &Value) -> Option<&'a str> {
    let namespace = namespace_of(claim)?;
    let is_of = |dump: &&PostgresDump| means(&dump.claims, namespace, name_of(claim));
    choice.postgres_dumps.iter().find(is_of).map(|dump| dump.covered_by.as_str())
}

/// Why the data of a claim cannot be read, wherever it is, and what to do about it.
pub(super) fn unreadable(claim: &Value) -> Option<(&'static str, &'static str)> {
    if is_dying(claim) {
        return Some(("it is being deleted", "nothing, if that is meant"));
    }
    if [FILLING, FILLING_IN_PLACE].iter().any(|filling| !annotation(claim, filling).is_empty()) {
        return Some((
            "a restore has begun to fill it and has not ended: what is in it is half of something",
            "run that restore again until it is done, or see `homelab-dr release --plan`",
        ));
    }
    (!label(claim, CNPG).is_empty()).then_some((
        "it belongs to a CloudNativePG cluster, whose files make no database that starts",
        "dump it with pg_dump (a source of the kind command), and name that source under cnpg; or leave the claim out on purpose",
    ))
}

/// Whether a claim is of a raw volume.
pub(crate) fn is_device(claim: &Value) -> bool {
    text(claim, &["spec", "volumeMode"]) == "Block"
}

/// A user, and a group.
type User = (Option<u64>, Option<u64>);

/// Whom the claim says that its mover runs as, and of which group. What is no number is refused: a guess would be root.
fn said_user(claim: &Value) -> Result<User, (String, &'static str)> {
    let said = annotation(claim, MOVER_USER);
    if said.is_empty() {
        return Ok((None, None));
    }
    // A sign is none that anybody writes, but for parse().
    let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (uid, gid) = match said.split_once(':') {
        Some((uid, gid)) => (number(uid), number(gid).map(Some)),
        None => (number(said), Some(None)),
    };
    match (uid, gid) {
        (Some(uid), Some(gid)) => Ok((Some(uid), gid)),
        _ => Err((
            format!("its annotation {MOVER_USER} is {said:?}"),
            "write the numbers of a user, or of a user and a group, such as \"1000\" or \"1000:1000\"",
        )),
    }
}

/// With whose rights a claim is read or filled by a mover in a namespace. An error is why not, and what to do about it: a privilege that nobody granted, or a user that is none.
pub(crate) fn rights(
    claim: &Value,
    mode: MoverMode,
    used: Option<&Use>,
    (home, space): (&str, &Namespace),
) -> Result<Rights, (String, &'static str)> {
    let groups = used.map(|used| used.groups.clone()).unwrap_or_default();
    let (uid, gid) = said_user(claim)?;
    Ok(match (mode, uid.or_else(|| used?.user)) {
        (MoverMode::Privileged, _) if space.privileged_movers => Rights::Privileged,
        (MoverMode::Privileged, _) => {
            let why = format!(
                "it needs a privileged mover, and the namespace {home} does not permit one by {PRIVILEGED_MOVERS}"
            );
            return Err((why, "annotate the namespace, or use the mode app or root"));
        }
        (MoverMode::Root, _) => Rights::Root,
        (MoverMode::App, Some(uid)) if uid > 0 => {
            Rights::Application { user: uid, group: gid.or_else(|| used?.group), groups }
        }
        // The image decides as whom the application runs. Where root may run it is taken for root, which reads everything.
        (MoverMode::App, _) if !space.restricted && used.is_none_or(|used| !used.non_root) => Rights::Root,
        (MoverMode::App, _) => Rights::Application { user: NOBODY, group: None, groups },
    })
}

/// All claims of a cluster, by namespace and name, and what a source makes of each. Those that we made ourselves are none.
pub async fn look(cluster: &dyn Cluster, source: &VolumesSource) -> Result<Vec<Claim>, VolumesError> {
    let facts = Facts::read(cluster, source).await?;
    let claim = |object: &Value| {
        let (namespace, name) = (namespace_of(object)?.to_owned(), name_of(object).to_owned());
        (!is_ours(object)).then(|| Claim { namespace, name, fate: facts.fate(source, object) })
    };
    let mut all = all(cluster, claim).await?;
    all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(all)
}

#[cfg(test)]
mod tests;
