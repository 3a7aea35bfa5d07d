//! A volume that a restore writes over what is there: written down before the first byte, in the journal of the run and on the claim, so that nothing is started on half of
//! something, whoever releases what the run holds, and that nobody backs it up.

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use super::{Acting, HookError};
use crate::base::shell::quoted;
use crate::cluster::change::Change;
use crate::cluster::edit::{Edited, Place, disown, edit};
use crate::cluster::kinds::claims;
use crate::cluster::object::take_fields;
use crate::cluster::rewrite::FILLING_IN_PLACE;

/// A volume that is being restored in place: half of what was in it, half of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unfinished {
    /// The namespace of its claim.
    pub namespace: String,
    /// Its claim.
    pub claim: String,
    /// The snapshot's id, and after a colon the path in it, as the command takes them.
    pub snapshot: String,
    /// The snapshot that was made of the volume before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_copy: Option<String>,
}

impl Unfinished {
    /// What it is, and the ways on.
    #[must_use]
    pub fn told(&self, run: &str) -> String {
        let Self { namespace, claim, snapshot, safety_copy } = self;
        let back = safety_copy
            .as_ref()
            .map(|copy| format!(", or {} in the place of the snapshot to go back to what was there", quoted(copy)));
        format!(
            "a restore of {namespace}/{claim} in place has not ended, and what is in the volume is half of something: `homelab-dr restore {} --into-claim \
             {namespace}/{claim} --in-place` goes on with it{}; `homelab-dr release --run {run} --unfinished` starts what uses it all the same",
            quoted(snapshot),
            back.unwrap_or_default()
        )
    }
}

/// Forgets that a volume is half of something: because it is not any more, or because somebody wants what uses it to start all the same.
pub async fn finish(acting: &Acting<'_>, journal: &mut Journal) -> Result<(), HookError> {
    let Some(unfinished) = &journal.unfinished else { return Ok(()) };
    let kind = claims();
    let place = Place { kind: &kind, namespace: Some(&unfinished.namespace), name: &unfinished.claim };
    let unmarked = edit(acting.cluster, place, |claim| {
        take_fields(claim, &["metadata", "annotations"], |name| name == FILLING_IN_PLACE);
    });
    let what =
        format!("take the annotation {FILLING_IN_PLACE} off claim {}/{}", unfinished.namespace, unfinished.claim);
    let unmarked = unmarked.await.map_err(|error| HookError::of(what, error))?;
    if matches!(unmarked, Edited::Written(_)) {
        disown(acting.cluster, place).await;
    }
    journal.set_unfinished(acting.cluster, None, acting.clock.now()).await
}

/// Writes down that a volume is about to be written: in the journal, so that nothing is started on it, and on its claim, so that nobody backs it up.
pub async fn begin(acting: &Acting<'_>, journal: &mut Journal, unfinished: Unfinished) -> Result<(), HookError> {
    let (namespace, claim) = (unfinished.namespace.clone(), unfinished.claim.clone());
    let snapshot = unfinished.snapshot.clone();
    journal.set_unfinished(acting.cluster, Some(unfinished), acting.clock.now()).await?;
    let kind = claims();
    let place = Place { kind: &kind, namespace: Some(&namespace), name: &claim };
    let marked = edit(acting.cluster, place, |object| {
        if let Some(note) =
            Change::of(object, &["metadata", "annotations", FILLING_IN_PLACE], Some(snapshot.clone().into()))
        {
            note.make(object);
        }
    });
    let what = format!("mark claim {namespace}/{claim}");
    match marked.await.map_err(|error| HookError::of(what, error))? {
        Edited::Gone => {
            Err(HookError::Changed { what: format!("claim {namespace}/{claim}"), why: "it is gone".into() })
        }
        Edited::Same(_) | Edited::Written(_) => Ok(()),
    }
}
