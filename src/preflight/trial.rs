//! The very pods and policies that movers would be, created in a dry run: the server says what Pod Security, quota, limits and webhooks (Kyverno) say to them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Check, Finding, Findings, Severity, is_final};
use crate::backup::volumes::claims::{Claim, Fate, Read};
use crate::backup::volumes::pod_of;
use crate::cluster::error::told;
use crate::cluster::{Cluster, ClusterError, How};
use crate::config::VolumesSource;
use crate::volumes::choose::Way;
use crate::volumes::kinds::pods;
use crate::volumes::pod::Rights;
use crate::volumes::policy::{self, Reach};
use crate::volumes::run::name_for;
use crate::volumes::{RunId, pod::PodPlan};

/// A name and a time of nobody: nothing that has them is ever kept.
const RUN: [u8; 8] = *b"\0\0trial\0";
const NAME: &str = "homelab-dr-preflight";
const EXPIRES: &str = "1970-01-01T00:00:00Z";

/// Where the mover of a claim runs, and what it mounts there.
pub(super) fn place(source: &VolumesSource, claim: &Claim, read: &Read) -> (String, String) {
    let copy = || name_for(&RunId::new(RUN), &claim.namespace, &claim.name);
    match &read.choice.way {
        Way::Snapshot { .. } => (source.namespace.clone().unwrap_or_default(), copy()),
        Way::Clone { .. } => (claim.namespace.clone(), copy()),
        _ => (claim.namespace.clone(), claim.name.clone()),
    }
}

pub(super) fn pod(source: &VolumesSource, claim: &Claim, read: &Read) -> PodPlan {
    let (namespace, mounted) = place(source, claim, read);
    let run = RunId::new(RUN);
    pod_of(source, read, (&namespace, &mounted), (NAME, run.as_str(), EXPIRES.to_owned()), Duration::from_mins(10))
}

/// What the owner of a namespace can do about a refusal.
fn mend(words: &str, namespace: &str, rights: &Rights) -> String {
    if words.contains("violates PodSecurity") {
        let label = |level: &str| {
            format!("kubectl label namespace {namespace} pod-security.kubernetes.io/enforce={level} --overwrite")
        };
        let user = "let the mover run as the application does: mode: app in the source, and on the claim the annotation homelab-dr.io/mover-user: \"UID:GID\"";
        return match rights {
            Rights::Privileged => format!("{user}; or {}", label("privileged")),
            _ => format!("{user}; or {}", label("baseline")),
        };
    }
    if words.contains("quota") {
        return format!(
            "make room in it (kubectl -n {namespace} describe resourcequota): a mover asks for 50m CPU and 128Mi, and gets at most 2 CPU, 512Mi"
        );
    }
    if words.contains("failed calling webhook") {
        return "bring up what runs the webhook, or delete its configuration: \
                kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations"
            .to_owned();
    }
    format!(
        "see what refuses it; a policy can except pods with the label app.kubernetes.io/name: homelab-dr-mover in {namespace}"
    )
}

/// What a dry run came to.
enum Tried {
    Taken,
    /// The server's words.
    Refused(String),
    /// It cannot be tried.
    Unclear(String),
    /// Another check tells why.
    Elsewhere,
}

fn tried(error: &ClusterError) -> Tried {
    match error {
        ClusterError::Refused { status: 404, .. } => Tried::Elsewhere,
        // Not even looked at: a right is missing.
        ClusterError::Refused { status: 403, message, .. } if message.contains(" cannot ") => Tried::Elsewhere,
        ClusterError::Refused { message, .. } if message.contains("does not support dry run") => {
            Tried::Unclear(message.clone())
        }
        ClusterError::Refused { message, .. } => Tried::Refused(message.clone()),
        other => Tried::Unclear(told(other)),
    }
}

/// Tries one mover for each namespace, rights and neighbours.
pub(super) async fn look(
    cluster: &dyn Cluster,
    findings: &mut Findings,
    (source, claims): (&VolumesSource, &[Claim]),
    reach: &Reach,
    cilium: bool,
) -> Result<(), ClusterError> {
    let mut groups: BTreeMap<String, (PodPlan, Vec<String>)> = BTreeMap::new();
    for claim in claims {
        let Fate::Read(read) = &claim.fate else { continue };
        let pod = pod(source, claim, read);
        // The same but for the volume that is mounted.
        let key = format!("{}\0{:?}\0{:?}\0{:?}", pod.namespace, pod.rights, pod.tolerations, pod.pull_secrets);
        groups.entry(key).or_insert_with(|| (pod, Vec::new())).1.push(claim.source());
    }
    let mut policed: Vec<&str> = Vec::new();
    for (pod, claims) in groups.values() {
        let mut objects = Vec::new();
        if !policed.contains(&pod.namespace.as_str()) {
            policed.push(&pod.namespace);
            objects = policy::manifests(&pod.namespace, NAME, &pod.run, EXPIRES, reach, cilium);
        }
        objects.push((pods(), pod.manifest()));
        for (kind, object) in objects {
            let tried = match cluster.create(&kind, &object, How::Trial).await {
                Ok(_) => Tried::Taken,
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => tried(&error),
            };
            let on = format!("{kind} in namespace {}", pod.namespace);
            let about = format!("for {}", claims.join(", "));
            match tried {
                Tried::Taken if kind.name == "Pod" => {
                    findings.fine(Check::Trial, on, format!("a mover's pod would be taken, {about}"));
                }
                Tried::Taken | Tried::Elsewhere => {}
                Tried::Refused(words) => {
                    let finding = Finding::new(
                        Severity::Blocks,
                        Check::Trial,
                        on,
                        format!("what a mover is made of is refused, {about}"),
                    );
                    let mend = mend(&words, &pod.namespace, &pod.rights);
                    findings.add(finding.because(words).mended_by(mend));
                }
                Tried::Unclear(words) => {
                    let finding = Finding::new(
                        Severity::Doubtful,
                        Check::Trial,
                        on,
                        format!("cannot be tried without being done, {about}"),
                    );
                    findings.add(finding.because(words).mended_by("try it: homelab-dr preflight backup --probe"));
                }
            }
        }
    }
    Ok(())
}
