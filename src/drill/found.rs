//! What the plan of a restore says of a drill: what comes to life, what is left out, which volumes are wanted. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::part::{Brings, LeftOut};
use crate::cluster::Kind;
use crate::cluster::object::{at, items, text};
use crate::cluster::rewrite::skip::Skip;
use crate::recover::cluster::Identity;
use crate::recover::cluster::plan::ClusterPlan;
use crate::volumes::quantity;

/// Objects of a kind that are named; the others are counted.
const NAMED_MAX: usize = 5;

/// A claim that is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wants {
    /// `NAMESPACE/CLAIM`, or what makes it.
    pub claim: String,
    /// Its storage class; `None` for the cluster's default.
    pub class: Option<String>,
    /// What it asks for.
    pub bytes: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Found {
    /// What comes.
    pub brings: Brings,
    /// Namespaces of the drill that anything is put into.
    pub namespaces: BTreeSet<String>,
    /// What does not come, as objects are named.
    pub absent: BTreeSet<String>,
    /// The same, for people; and what comes and is different.
    pub left_out: Vec<LeftOut>,
    /// Volumes.
    pub wants: Vec<Wants>,
}

fn named(object: &Identity) -> Option<String> {
    Some(format!("{}/{}/{}", object.namespace.as_ref()?, object.kind, object.name))
}

/// What a claim, or a template of one, wants.
fn wants(claim: &str, manifest: &serde_json::Value) -> Wants {
    let class = at(manifest, &["spec", "storageClassName"]).as_str().map(str::to_owned);
    let bytes = quantity::bytes(text(manifest, &["spec", "resources", "requests", "storage"])).unwrap_or_default();
    Wants { claim: claim.to_owned(), class, bytes }
}

fn lives(kind: &Kind) -> bool {
    kind.group == "apps" || kind.is("", "Pod") || kind.is("", "PersistentVolumeClaim")
}

/// Of the plan of one step.
#[must_use]
pub fn found(step: &str, plan: &ClusterPlan) -> Found {
    let mut found = Found::default();
    // By kind and reason: the names.
    let mut groups: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for one in &plan.steps {
        let Some(name) = named(&one.object) else { continue };
        let namespace = one.object.namespace.clone().unwrap_or_default();
        found.namespaces.insert(namespace.clone());
        if lives(one.kind()) {
            found.brings.living.insert(namespace);
        }
        for note in &one.drilled {
            groups.entry((one.object.kind.clone(), note.clone())).or_default().push(one.object.name.clone());
        }
        if one.kind().is("", "PersistentVolumeClaim") {
            found.wants.push(wants(&name, one.manifest()));
        }
        let replicas = at(one.manifest(), &["spec", "replicas"]).as_u64().unwrap_or(1);
        for template in items(one.manifest(), &["spec", "volumeClaimTemplates"]) {
            let mut wants = wants(&name, template);
            wants.bytes = wants.bytes.saturating_mul(replicas);
            found.wants.push(wants);
        }
        found.brings.objects.push(name);
    }
    for skipped in &plan.skipped {
        let Skip::NotInADrill(why) = &skipped.why else { continue };
        found.absent.extend(named(&skipped.object));
        groups.entry((skipped.object.kind.clone(), why.clone())).or_default().push(skipped.object.name.clone());
    }
    found.left_out = groups
        .into_iter()
        .map(|((kind, why), names)| {
            let first = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
            let more = if names.len() > NAMED_MAX { ", …" } else { "" };
            LeftOut { step: step.to_owned(), what: format!("{} {kind}: {first}{more}", names.len()), why }
        })
        .collect();
    found
}
