//! A handshake by annotations of the claim: for an application, or its operator, that can hold still by itself and watches its claim.
//!
//! We set `homelab-dr.io/quiesce: RUN`. Whoever looks after the data holds still and answers with `homelab-dr.io/quiesced: RUN`. When ours goes, it goes on, and takes its answer away.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::hold::{Hold, Target};
use super::journal::{Entry, Journal};
use super::{Acting, HookError};
use crate::cluster::change::Change;
use crate::cluster::object::annotation;
use crate::cluster::{Cluster, kinds};

/// Our question.
pub const QUIESCE: &str = "homelab-dr.io/quiesce";
/// The answer.
pub const QUIESCED: &str = "homelab-dr.io/quiesced";

/// Which claim is asked for.
#[derive(Debug, Clone, Serialize)]
pub struct HandshakePlan {
    namespace: String,
    claim: String,
    hold: Hold,
}

impl HandshakePlan {
    /// For people.
    #[must_use]
    pub fn name(&self) -> String {
        self.hold.target.to_string()
    }

    pub(super) const fn target(&self) -> &Target {
        &self.hold.target
    }

    /// The answer is still there.
    pub(crate) async fn look(&self, acting: &Acting<'_>, run: &str) -> Result<(), HookError> {
        let found = acting.cluster.get(&self.hold.target.kind(), Some(&self.namespace), &self.claim).await;
        let found = found.map_err(|error| HookError::of(format!("read {}", self.hold.target), error))?;
        if found.is_some_and(|object| annotation(&object, QUIESCED) == run) {
            return Ok(());
        }
        let why = format!("its annotation {QUIESCED} is not what it was");
        Err(HookError::Stirred { what: self.hold.target.to_string(), why })
    }
}

/// The handshake for a claim.
pub async fn plan(cluster: &dyn Cluster, namespace: &str, claim: &str, run: &str) -> Result<HandshakePlan, HookError> {
    let kind = kinds::claims();
    let what = || format!("claim {namespace}/{claim}");
    let found = cluster.get(&kind, Some(namespace), claim).await;
    let found = found.map_err(|error| HookError::of(format!("read {}", what()), error))?;
    let object = found.ok_or_else(|| HookError::Changed { what: what(), why: "it is not there".to_owned() })?;
    let asked = Change::of(&object, &["metadata", "annotations", QUIESCE], Some(json!(run)));
    let target = Target::of(&kind, &object);
    let hold = Hold { target, early: asked.into_iter().collect(), late: Vec::new(), claim: None };
    Ok(HandshakePlan { namespace: namespace.to_owned(), claim: claim.to_owned(), hold })
}

/// Asks, and waits for the answer. After an error the journal says what is to be released.
pub async fn begin(acting: &Acting<'_>, plan: &HandshakePlan, journal: &mut Journal) -> Result<(), HookError> {
    journal.add(acting.cluster, [Entry::Hold(plan.hold.clone())], acting.clock.now()).await?;
    plan.hold.begin(acting.cluster, &journal.run).await?;
    let what = || format!("claim {}/{} says {QUIESCED}", plan.namespace, plan.claim);
    let mut waited = Duration::ZERO;
    loop {
        let kind = plan.hold.target.kind();
        let found = acting.cluster.get(&kind, Some(&plan.namespace), &plan.claim).await;
        let found = found.map_err(|error| HookError::of(format!("read {}", plan.hold.target), error))?;
        match found {
            None => {
                return Err(HookError::Changed { what: plan.hold.target.to_string(), why: "it is gone".to_owned() });
            }
            Some(object) if annotation(&object, QUIESCED) == journal.run => return Ok(()),
            Some(_) => {
                journal.renew_if_old(acting.cluster, acting.clock.now()).await;
                acting.wait(&mut waited, acting.waits.handshake, what).await?;
            }
        }
    }
}
