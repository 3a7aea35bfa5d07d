//! The one check that starts something: in each namespace where movers would run, a pod that pulls the image, passes what admits pods, gets its job over its standard
//! input, and opens the repository for reading, behind the same policies as a mover. It is taken away in every path.

use std::collections::BTreeMap;

use super::{Check, Finding, Findings, Severity, trial};
use crate::backup::volumes::claims::{Claim, Fate, Read};
use crate::backup::volumes::{self, MoverError, Movers};
use crate::cluster::error::told;
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

/// Tries each namespace of the claims, or one; false if no mover would run in that one.
pub async fn look(movers: &Movers<'_>, claims: &[Claim], only: Option<&str>, findings: &mut Findings) -> bool {
    let mut places: BTreeMap<String, (&Claim, &Read)> = BTreeMap::new();
    for claim in claims {
        if let Fate::Read(read) = &claim.fate {
            places.entry(trial::place(movers.source, claim, read).0).or_insert((claim, read));
        }
    }
    places.retain(|namespace, _| only.is_none_or(|only| only == namespace));
    for (namespace, (claim, read)) in &places {
        let (result, left) = volumes::probe(movers, claim, read, namespace).await;
        let on = format!("namespace {namespace}");
        match result {
            Ok(()) => findings.fine(Check::Probe, on, "a mover starts here and reaches the repository"),
            Err(error) => {
                let what = "a mover does not start here, or does not reach the repository";
                let mend = mend(&error, namespace);
                findings
                    .add(Finding::new(Severity::Blocks, Check::Probe, on, what).because(told(&error)).mended_by(mend));
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
