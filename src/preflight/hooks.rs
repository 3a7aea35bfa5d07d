//! What hooks will do to applications: which rights that takes, what webhooks will be asked, and what a person should know before. That a hook would not work, such as on a
//! daemon set, is told of its claim.

use std::collections::BTreeSet;

use super::needs::OfHooks;
use super::webhooks::Write;
use super::{Check, Finding, Findings, Severity};
use crate::backup::volumes::claims::{Claim, Fate, Read};
use crate::cluster::{Cluster, ClusterError, Kind};
use crate::config::HookWay;
use crate::gitops::tool::role_of;

/// What hooks want of which claims, before it is found out what that means: a claim whose hook would not work says it no more afterwards.
pub(super) struct Asked(Vec<(String, HookWay)>);

fn read(claim: &Claim) -> Option<&Read> {
    match &claim.fate {
        Fate::Read(read) => Some(read),
        _ => None,
    }
}

/// See [`Asked`].
pub(super) fn asked(claims: &[Claim]) -> Asked {
    let way = |claim: &Claim| Some((claim.source(), read(claim)?.hook.as_ref()?.way.clone()));
    Asked(claims.iter().filter_map(way).collect())
}

/// What they will do; `None` if there are none.
pub(super) async fn needed(
    cluster: &dyn Cluster,
    asked: &Asked,
    claims: &[Claim],
) -> Result<Option<OfHooks>, ClusterError> {
    if asked.0.is_empty() {
        return Ok(None);
    }
    let mut of = OfHooks::default();
    for (source, way) in &asked.0 {
        let Some(claim) = claims.iter().find(|claim| claim.source() == *source) else { continue };
        of.held.insert(claim.namespace.clone());
        let held = read(claim).and_then(|read| read.held.as_ref());
        let targets = held.map(|held| held.targets.as_slice()).unwrap_or_default();
        for kind in targets.iter().map(|target| (target.kind(), target.namespace.clone())) {
            of.changed.insert((kind.0.group, kind.0.resource, kind.1));
        }
        match way {
            HookWay::Scale if read(claim).is_none() => drop(of.unclear.insert(claim.namespace.clone())),
            HookWay::Command { .. } => drop(of.commands.insert(claim.namespace.clone())),
            HookWay::Scale | HookWay::Handshake => {}
        }
    }
    if asked.0.iter().any(|(_, way)| *way == HookWay::Scale) {
        of.keda = cluster.serves(&Kind::known("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject", true)).await?;
        let kinds = cluster.kinds().await?.kinds;
        let keepers = kinds.into_iter().filter(|kind| role_of(kind).is_some());
        of.git = keepers.map(|kind| (kind.group, kind.resource)).collect();
    }
    Ok(Some(of))
}

/// What webhooks are asked about it.
pub(super) fn written(of: &OfHooks, home: Option<&String>) -> BTreeSet<Write> {
    let write = |group: &str, resource: &str, operation, namespace: Option<&String>| Write {
        group: group.to_owned(),
        resource: resource.to_owned(),
        operation,
        namespace: namespace.cloned(),
    };
    let changed = of.changed.iter().map(|(group, resource, place)| write(group, resource, "UPDATE", place.as_ref()));
    let commands = of.commands.iter().map(|place| Write::exec(place));
    let journal = ["CREATE", "UPDATE", "DELETE"].map(|operation| write("", "configmaps", operation, home));
    changed.chain(commands).chain(journal).collect()
}

/// A finding for each claim whose application is to hold still.
pub(super) fn look(findings: &mut Findings, claims: &[Claim]) {
    for claim in claims {
        let Some(read) = read(claim).filter(|read| read.hook.is_some()) else { continue };
        let Some(held) = read.held.as_ref().filter(|held| !held.idle) else {
            let what = "has a command for its application, and none would run";
            let finding = Finding::new(Severity::Doubtful, Check::Hooks, claim.source(), what);
            let why = "no pod that uses it runs now; it is looked again when the claim is read";
            findings.add(finding.because(why).mended_by("nothing, if that is meant; else start what uses it"));
            continue;
        };
        let who = if held.what.is_empty() { "nobody uses it".to_owned() } else { held.what.join(", ") };
        findings.fine(Check::Hooks, claim.source(), format!("will be held: {} ({who})", held.how));
        for note in &held.notes {
            let finding = Finding::new(Severity::Doubtful, Check::Hooks, claim.source(), "may not stay as it is held");
            findings.add(
                finding
                    .because(note)
                    .mended_by("`homelab-dr gitops pause`, and `homelab-dr gitops resume` after the backup"),
            );
        }
    }
}
