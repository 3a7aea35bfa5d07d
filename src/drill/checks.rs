//! The checks of a drill: the same, of what the drill has recovered; those that would look at what is in use are left out.

use std::path::{Component, Path, PathBuf};

use super::part::Into;
use super::transform::Scene;
use crate::runbook::{Check, Claim, InPod, Object, Probe};
use crate::verify::words::name_of;

const AN_ADDRESS: &str = "it asks an address, and what answers there is in use";
const NOTHING_RUNS: &str = "in a folder nothing runs";
const OF_THE_CLUSTER: &str = "it is of the whole cluster, which is in use";
const NOT_TAKEN_OVER: &str = "a drill takes over no objects of this kind";
const IS_ABSENT: &str = "the drill leaves this object out";
const ON_THIS_MACHINE: &str = "it runs a program on this machine, which looks at what it likes";
const ELSEWHERE: &str = "the file is not among what the drill brings back";

/// Kinds that a drill takes over and that something can be seen of: resource and group.
const TAKEN_OVER: [(&str, &str); 12] = [
    ("configmaps", ""),
    ("secrets", ""),
    ("services", ""),
    ("serviceaccounts", ""),
    ("persistentvolumeclaims", ""),
    ("pods", ""),
    ("deployments", "apps"),
    ("statefulsets", "apps"),
    ("replicasets", "apps"),
    ("cronjobs", "batch"),
    ("roles", "rbac.authorization.k8s.io"),
    ("rolebindings", "rbac.authorization.k8s.io"),
];

/// A path of this machine as it is below a folder, whole.
pub(super) fn below(folder: &Path, path: &Path) -> PathBuf {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_)));
    names.fold(folder.to_owned(), |folder, name| folder.join(name))
}

/// What a step has around it that its checks look at.
pub(super) struct Around<'a> {
    pub(super) scene: &'a Scene<'a>,
    /// Folders of this machine that the runbook restores into.
    pub(super) targets: &'a [PathBuf],
}

impl Around<'_> {
    /// The object of the drill that stands for another.
    pub(super) fn object(&self, object: &Object) -> Result<Object, &'static str> {
        let Some(namespace) = &object.namespace else { return Err(OF_THE_CLUSTER) };
        if self.scene.part.into != Into::Cluster {
            return Err(NOTHING_RUNS);
        }
        if !TAKEN_OVER.contains(&(object.resource.as_str(), object.group.as_str())) {
            return Err(NOT_TAKEN_OVER);
        }
        let object = Object { namespace: Some(self.scene.namespace(namespace)), ..object.clone() };
        if self.scene.part.absent.contains(&name_of(&object)) { Err(IS_ABSENT) } else { Ok(object) }
    }

    pub(super) fn in_pod(&self, what: &InPod) -> Result<InPod, &'static str> {
        Ok(InPod { object: self.object(&what.object)?, ..what.clone() })
    }

    /// The claim of the drill that stands for another.
    fn claim(&self, claim: &Claim) -> Claim {
        let namespace = match self.scene.part.into {
            Into::Cluster => self.scene.namespace(&claim.namespace),
            Into::Machine | Into::Folder => claim.namespace.clone(),
        };
        Claim { namespace, name: claim.name.clone() }
    }

    fn file(&self, file: &Path) -> Result<PathBuf, &'static str> {
        if file.is_relative() {
            return Ok(file.to_owned());
        }
        let plain = below(Path::new("/"), file);
        let has = |target: &PathBuf| plain.starts_with(below(Path::new("/"), target));
        let leads_up = file.components().any(|part| part == Component::ParentDir);
        if leads_up || !self.targets.iter().any(has) {
            return Err(ELSEWHERE);
        }
        Ok(below(&self.scene.files(), file))
    }

    fn probe(&self, probe: &Probe) -> Result<Probe, &'static str> {
        Ok(match probe {
            Probe::Files(_) | Probe::NoEmpty(_) => probe.clone(),
            Probe::Ready(objects) => {
                Probe::Ready(objects.iter().map(|object| self.object(object)).collect::<Result<_, _>>()?)
            }
            Probe::NamespaceReady(_) | Probe::Room { .. } if self.scene.part.into != Into::Cluster => {
                return Err(NOTHING_RUNS);
            }
            Probe::NamespaceReady(namespace) => Probe::NamespaceReady(self.scene.namespace(namespace)),
            Probe::Condition { object, condition, status } => {
                Probe::Condition { object: self.object(object)?, condition: condition.clone(), status: status.clone() }
            }
            Probe::Exec { what, contains } => Probe::Exec { what: self.in_pod(what)?, contains: contains.clone() },
            Probe::Sqlite { claim, file, query, answer } => Probe::Sqlite {
                claim: claim.as_ref().map(|claim| self.claim(claim)),
                file: if claim.is_some() { file.clone() } else { self.file(file)? },
                query: query.clone(),
                answer: answer.clone(),
            },
            Probe::Postgres(query) if query.address.is_none() => probe.clone(),
            Probe::Room { claim, at_least } => Probe::Room { claim: self.claim(claim), at_least: *at_least },
            Probe::Run { .. } => return Err(ON_THIS_MACHINE),
            Probe::Http { .. }
            | Probe::Tcp(_)
            | Probe::Dns { .. }
            | Probe::Tls { .. }
            | Probe::Postgres(_)
            | Probe::Mysql(_) => return Err(AN_ADDRESS),
        })
    }

    /// Those that look at the drill alone; each of the others, with why it is left out, is given to `left_out`.
    pub(super) fn checks(&self, checks: &[Check], left_out: &mut dyn FnMut(String, &str)) -> Vec<Check> {
        let mut kept = Vec::new();
        for check in checks.iter().flat_map(one_object_each) {
            match self.probe(&check.probe) {
                Ok(probe) => kept.push(Check { probe, ..check }),
                Err(why) => left_out(crate::verify::describe(&check.probe), why),
            }
        }
        kept
    }
}

/// Of several objects in one check some may be left out.
fn one_object_each(check: &Check) -> Vec<Check> {
    match &check.probe {
        Probe::Ready(objects) if objects.len() > 1 => {
            objects.iter().map(|object| Check { probe: Probe::Ready(vec![object.clone()]), ..check.clone() }).collect()
        }
        _ => vec![check.clone()],
    }
}
