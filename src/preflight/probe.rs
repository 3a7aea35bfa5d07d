//! The one check that starts something: in each namespace where movers would run, a pod that pulls the image, passes what admits pods, gets its job over its standard
//! input, and opens the repository for reading, behind the same policies as a mover. It is taken away in every path.

use std::collections::BTreeMap;

use super::{Check, Finding, Findings, Severity, trial};
use crate::backup::volumes::claims::Claim;
use crate::backup::volumes::{self, Handed, MoverError};
use crate::base::causes::in_one_line;
use crate::config::VolumesSource;
use crate::volumes::mover::Crew;
use crate::volumes::pod::PodPlan;
use crate::volumes::said::Failed;

fn mend(error: &MoverError, namespace: &str) -> String {
    match error {
        MoverError::NeverStarted { why, .. } if why.contains("ImagePull") || why.contains("ErrImage") => {
            "see the name of the image in the source, and whether the pull secrets of the application (or of our namespace's default account) fit".to_owned()
        }
        MoverError::NeverStarted { .. } => format!("see kubectl -n {namespace} get events"),
        MoverError::Failed(Failed { help, .. }) => {
            format!("{help}; a policy that denies the way out is named by kubectl -n {namespace} get networkpolicies")
        }
        MoverError::Ended { .. } => "does the image have this version of homelab-dr?".to_owned(),
        _ => "docs/volumes.md has the rights and what movers need".to_owned(),
    }
}

/// The movers of a backup, each with its claim, as one is planned.
#[must_use]
pub fn of_backup(source: &VolumesSource, claims: &[Claim]) -> Vec<(PodPlan, String)> {
    trial::pods(source, claims)
}

/// Tries each namespace of these movers, or one; false if none would run in that one.
pub async fn look(
    crew: &Crew<'_>,
    handed: &Handed,
    pods: &[(PodPlan, String)],
    only: Option<&str>,
    findings: &mut Findings,
) -> bool {
    let mut places: BTreeMap<&str, &PodPlan> = BTreeMap::new();
    for (pod, _) in pods {
        places.entry(&pod.namespace).or_insert(pod);
    }
    places.retain(|namespace, _| only.is_none_or(|only| only == *namespace));
    for (namespace, pod) in &places {
        let (result, left) = volumes::probe(crew, pod, handed).await;
        let on = format!("namespace {namespace}");
        match result {
            Ok(()) => findings.fine(Check::Probe, on, "a mover starts here and reaches the repository"),
            Err(error) => {
                let what = "a mover does not start here, or does not reach the repository";
                let mend = mend(&error, namespace);
                findings.add(
                    Finding::new(Severity::Blocks, Check::Probe, on, what).because(in_one_line(&error)).mended_by(mend),
                );
                if matches!(error, MoverError::Cancelled) {
                    return true;
                }
            }
        }
        for left in left {
            let finding = Finding::new(Severity::Doubtful, Check::Probe, left.what, "could not be removed");
            let mend = left.commands.iter().map(|command| format!("kubectl {command}")).collect::<Vec<_>>().join("; ");
            findings.add(finding.because(left.why).mended_by(format!("the next backup removes it; by hand: {mend}")));
        }
    }
    !places.is_empty()
}
