//! The very pods and policies that movers would be, created in a dry run: the server says what Pod Security, quota, limits and webhooks (Kyverno) say to them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Check, Direction, Finding, Findings, Severity, is_final};
use crate::backup::volumes::claims::{Claim, ENFORCE, Fate, Read};
use crate::backup::volumes::pod_of;
use crate::base::causes::in_one_line;
use crate::cluster::error::names_absent_webhook;
use crate::cluster::{Cluster, ClusterError, How};
use crate::config::VolumesSource;
use crate::recover::cluster::movers as fill;
use crate::recover::cluster::volumes::Filling;
use crate::volumes::choose::Way;
use crate::volumes::pod::Rights;
use crate::volumes::policy::{self, Reach};
use crate::volumes::run::name_for;
use crate::volumes::{RunId, kinds, pod::PodPlan};

/// A name and a time of nobody: nothing that has them is ever kept.
const RUN: [u8; 8] = *b"\0\0trial\0";
const NAME: &str = "homelab-dr-preflight";
const EXPIRES: &str = "1970-01-01T00:00:00Z";
const DEADLINE: Duration = Duration::from_mins(10);

/// Where the mover of a claim runs, and what it mounts there.
pub(super) fn place(source: &VolumesSource, claim: &Claim, read: &Read) -> (String, String) {
    let copy = || name_for(&RunId::new(RUN), &claim.namespace, &claim.name);
    match &read.choice.way {
        Way::Snapshot { .. } => (source.namespace.clone().unwrap_or_default(), copy()),
        Way::Clone { .. } => (claim.namespace.clone(), copy()),
        _ => (claim.namespace.clone(), claim.name.clone()),
    }
}

fn pod(source: &VolumesSource, claim: &Claim, read: &Read) -> PodPlan {
    let (namespace, mounted) = place(source, claim, read);
    let run = RunId::new(RUN);
    pod_of(source, read, (&namespace, &mounted), (NAME, run.as_str(), EXPIRES.to_owned()), DEADLINE)
}

/// What the owner of a namespace can do about a refusal.
fn mend(words: &str, pod: &PodPlan, direction: Direction) -> String {
    let namespace = &pod.namespace;
    if words.contains("violates PodSecurity") {
        return of_security((namespace, true), &pod.rights, direction);
    }
    if words.contains("quota") {
        return format!(
            "make room in it (kubectl -n {namespace} describe resourcequota): a mover asks for 50m CPU and 128Mi, and gets at most 2 CPU, 512Mi"
        );
    }
    if names_absent_webhook(words) {
        return "bring up what runs the webhook, or delete its configuration: \
                kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations"
            .to_owned();
    }
    format!(
        "see what refuses it; a policy can except pods with the label app.kubernetes.io/name: homelab-dr-mover in {namespace}"
    )
}

/// The same where Pod Security refuses it.
pub(super) fn of_security(namespace: (&str, bool), rights: &Rights, direction: Direction) -> String {
    let level = if *rights == Rights::Privileged { "privileged" } else { "baseline" };
    let user = match direction {
        Direction::Backup => {
            "let the mover run as the application does: mode: app in the source, and on the claim the annotation homelab-dr.io/mover-user: \"UID:GID\""
        }
        Direction::Restore => {
            "let the mover run as the application does: the annotation homelab-dr.io/mover-mode: app on the claim"
        }
    };
    format!("{user}; or {}", let_in(namespace, level))
}

/// How pods of a level of Pod Security are let into a namespace, which is there, or comes with the restore as its manifest has it.
pub(super) fn let_in((namespace, is_there): (&str, bool), level: &str) -> String {
    let label = format!("kubectl label namespace {namespace} {ENFORCE}={level}");
    if is_there {
        return format!("let root in, {label} --overwrite");
    }
    format!(
        "the restore makes the namespace by its manifest, and keeps one that is there: make it before, with root let in, \
         kubectl create namespace {namespace} && {label}"
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
        other => Tried::Unclear(in_one_line(other)),
    }
}

/// The way to the store, for policies.
pub(super) struct Network<'a> {
    pub(super) reach: &'a Reach,
    /// The cluster has Cilium's kinds.
    pub(super) cilium: bool,
}

/// The pods of the movers that read claims, each with the claim's source.
pub(super) fn pods(source: &VolumesSource, claims: &[Claim]) -> Vec<(PodPlan, String)> {
    let pod = |claim: &Claim| match &claim.fate {
        Fate::Read(read) => Some((pod(source, claim, read), claim.source())),
        _ => None,
    };
    claims.iter().filter_map(pod).collect()
}

/// The pod of a mover that would fill a claim, as nobody will ever make it.
pub(super) fn filling(filling: &Filling, rights: Rights, image: &str) -> PodPlan {
    let run = RunId::new(RUN);
    fill::pod_of(filling, rights, image, (NAME, run.as_str(), EXPIRES.to_owned()), (DEADLINE, DEADLINE))
}

/// Tries one mover for each namespace, rights and neighbours.
pub(super) async fn look(
    cluster: &dyn Cluster,
    findings: &mut Findings,
    pods: &[(PodPlan, String)],
    network: &Network<'_>,
    direction: Direction,
) -> Result<(), ClusterError> {
    let mut groups: BTreeMap<String, (&PodPlan, Vec<&str>)> = BTreeMap::new();
    for (pod, claim) in pods {
        // The same but for the volume that is mounted.
        let key = format!(
            "{}\0{}\0{:?}\0{:?}\0{:?}",
            pod.namespace, pod.device, pod.rights, pod.tolerations, pod.pull_secrets
        );
        groups.entry(key).or_insert_with(|| (pod, Vec::new())).1.push(claim);
    }
    let mut policed: Vec<&str> = Vec::new();
    for (pod, claims) in groups.values() {
        let mut objects = Vec::new();
        if !policed.contains(&pod.namespace.as_str()) {
            policed.push(&pod.namespace);
            objects = policy::manifests(&pod.namespace, NAME, &pod.run, EXPIRES, network.reach, network.cilium);
        }
        objects.push((kinds::pods(), pod.manifest()));
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
                    let what = format!("what a mover is made of is refused, {about}");
                    let mend = mend(&words, pod, direction);
                    findings.add(Finding::new(Severity::Blocks, Check::Trial, on, what).because(words).mended_by(mend));
                }
                Tried::Unclear(words) => {
                    let what = format!("cannot be tried without being done, {about}");
                    let command = match direction {
                        Direction::Backup => "try it: `homelab-dr preflight backup --probe`",
                        Direction::Restore => "try it: `homelab-dr preflight restore … --probe`",
                    };
                    let finding = Finding::new(Severity::Doubtful, Check::Trial, on, what);
                    findings.add(finding.because(words).mended_by(command));
                }
            }
        }
    }
    Ok(())
}
