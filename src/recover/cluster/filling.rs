//! The filling of claims within a run: after everything that movers need is there, and before anything that could use the claims.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::Identity;
use super::data::{names_claims, ordinal, templates_of};
use super::plan::{ClusterPlan, Step};
use super::volumes::{Filled, Filling, Outcome, Volumes, consumers_of, place};
use crate::base::causes::in_one_line;
use crate::cluster::order::Stage;
use crate::cluster::rewrite::FILLING;
use crate::cluster::{Cluster, ClusterError};
use crate::volumes::facts::Facts;
use crate::volumes::kinds;
use crate::volumes::labels::RESTORED_BY;

/// The first stage whose objects could use a claim. What movers may need (secrets for images, accounts, limits, policies) comes before.
pub(super) const FIRST_USER: Stage = Stage::Services;

/// Claims, by namespace and name, that nothing may use: nobody knows what is in them.
pub(super) type Held = BTreeSet<(String, String)>;

pub(super) fn key(object: &Identity) -> (String, String) {
    (object.namespace.clone().unwrap_or_default(), object.name.clone())
}

/// The claims among `held` that an object uses, or will.
pub(super) fn uses_held(object: &Value, namespace: Option<&str>, held: &Held) -> Vec<String> {
    let namespace = namespace.unwrap_or_default();
    let mut names = Vec::new();
    names_claims(object, &mut names);
    let templates: Vec<String> = templates_of(object).collect();
    let is_used = |claim: &str| {
        names.iter().any(|name| name == claim) || templates.iter().any(|template| ordinal(template, claim).is_some())
    };
    let used = held.iter().filter(|(of, claim)| of == namespace && is_used(claim));
    used.map(|(namespace, claim)| format!("{namespace}/{claim}")).collect()
}

/// Fills what the plan says and what is there. `is_there` tells which steps have been carried out. The result is in the order of the plan.
pub(super) async fn fill(
    cluster: &dyn Cluster,
    volumes: &dyn Volumes,
    plan: &ClusterPlan,
    is_there: &dyn Fn(usize) -> bool,
) -> Result<Vec<Filled>, ClusterError> {
    let mut fillings = Vec::new();
    for (number, step) in plan.steps.iter().enumerate() {
        let Some(data) = step.fill.as_ref().filter(|_| is_there(number)) else { continue };
        let found = cluster.get(&step.kind, step.object.namespace.as_deref(), &step.object.name).await?;
        let object = found.unwrap_or_else(|| step.rewritten.object.clone());
        let (claim, data) = (step.object.clone(), data.clone());
        fillings.push(Filling { claim, object, data, consumers: Vec::new(), node: None });
    }
    let mut over: BTreeMap<Identity, Filled> = BTreeMap::new();
    if plan.lives {
        // What is proven to be empty is filled already, and no pod is started for it.
        let (empty, rest): (Vec<Filling>, Vec<Filling>) =
            fillings.into_iter().partition(|filling| filling.data.proven_empty);
        over.extend(empty.iter().map(|one| (one.claim.clone(), Filled::without(one, Outcome::ProvenEmpty))));
        fillings = rest;
        with_consumers(&mut fillings, plan);
    }
    if !fillings.is_empty() {
        match volumes.facts().await {
            Ok(facts) => {
                let nowhere = facts.map(|facts| place(&mut fillings, &facts)).unwrap_or_default();
                for filling in &fillings {
                    if let Some(why) = nowhere.get(&filling.claim) {
                        let mend = "see its nodeSelector, affinity and tolerations, and the nodes";
                        over.insert(filling.claim.clone(), Filled::without(filling, Outcome::unknown(why, mend)));
                    }
                }
            }
            Err(why) => {
                let unknown = || Outcome::unknown(&why, "see the cluster, and run it again");
                over.extend(fillings.iter().map(|one| (one.claim.clone(), Filled::without(one, unknown()))));
            }
        }
    }
    let todo = fillings.iter().filter(|filling| !over.contains_key(&filling.claim));
    let todo: Vec<_> = todo.map(|filling| one(cluster, volumes, plan.lives, filling)).collect();
    let done: Vec<Filled> = stream::iter(todo).buffer_unordered(volumes.at_once()).collect().await;
    over.extend(done.into_iter().map(|filled| (filled.claim.clone(), filled)));
    Ok(plan.steps.iter().filter_map(|step| over.remove(&step.object)).collect())
}

/// What a run of this plan will fill, as far as it is known before: the claims as they will be, the pods that will mount them, and the nodes where they go by what
/// the cluster has now. Also those for which there is no node, and why.
#[must_use]
pub fn foreseen(plan: &ClusterPlan, facts: &Facts) -> (Vec<Filling>, BTreeMap<Identity, String>) {
    let mut fillings: Vec<Filling> = plan
        .fills()
        .map(|(step, data)| {
            let object = step.live.clone().unwrap_or_else(|| step.rewritten.object.clone());
            let (claim, data) = (step.object.clone(), data.clone());
            Filling { claim, object, data, consumers: Vec::new(), node: None }
        })
        .collect();
    with_consumers(&mut fillings, plan);
    let nowhere = place(&mut fillings, facts);
    (fillings, nowhere)
}

async fn one(cluster: &dyn Cluster, volumes: &dyn Volumes, lives: bool, filling: &Filling) -> Filled {
    let mut filled = volumes.fill(filling).await;
    if filled.outcome == Outcome::Restored && filling.data.proven_empty {
        filled.outcome = Outcome::ProvenEmpty;
    }
    if lives {
        unmark(cluster, &mut filled, None).await;
    }
    filled
}

/// Takes the note away that a claim is being filled, once it is full; in its place comes who filled it, if that is to be known.
pub async fn unmark(cluster: &dyn Cluster, filled: &mut Filled, by: Option<&str>) {
    if !filled.outcome.is_well() {
        return;
    }
    let claim = &filled.claim;
    let mut annotations = json!({FILLING: null});
    if let (Some(by), Some(annotations)) = (by, annotations.as_object_mut()) {
        annotations.insert(RESTORED_BY.to_owned(), by.into());
    }
    let patch = json!({"metadata": {"annotations": annotations}});
    if let Err(error) = cluster.patch(&kinds::claims(), claim.namespace.as_deref(), &claim.name, &patch).await {
        filled.left.push(format!("the annotation {FILLING} of {claim}: {}", in_one_line(&error)));
    }
}

/// The pods of the plan that will mount each, for places, rights and secrets of images.
fn with_consumers(fillings: &mut [Filling], plan: &ClusterPlan) {
    let mut claims: BTreeMap<Option<String>, BTreeSet<String>> = BTreeMap::new();
    for step in plan.steps.iter().filter(|step| step.kind.is("", "PersistentVolumeClaim")) {
        claims.entry(step.object.namespace.clone()).or_default().insert(step.object.name.clone());
    }
    let users: Vec<&Step> = plan.steps.iter().filter(|step| step.stage >= FIRST_USER).collect();
    for step in users {
        let Some(claims) = claims.get(&step.object.namespace) else { continue };
        for pod in consumers_of(&step.rewritten.object, claims) {
            let mut names = Vec::new();
            names_claims(&pod, &mut names);
            let theirs = |filling: &&mut Filling| {
                filling.claim.namespace == step.object.namespace && names.contains(&filling.claim.name)
            };
            for filling in fillings.iter_mut().filter(theirs) {
                filling.consumers.push(pod.clone());
            }
        }
    }
}
