//! The snapshots from which a plan fills volumes beside objects: nearly all the data of a lost cluster. Whether each opens, and how old it is, is found out when the plan is made, not
//! hours into the run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use super::ages;
use super::hands::Source;
use super::plan::{Fates, Fill, RunPlan};
use super::prepare::{Notice, Preparing, blocks, warns};
use crate::base::causes::in_one_line;
use crate::recover::opens::opens;
use crate::repo::RepoError;
use crate::repo::snapshots::Snapshot;

/// Snapshots that are opened at once; each holds a part of its tree.
const OPENED_AT_ONCE: usize = 8;

const ANOTHER: &str = "choose another one, and see `homelab-dr check`";

/// What a snapshot that was looked at is a reason to say.
pub(super) fn of_opened(
    step: Option<&str>,
    name: &str,
    opened: Result<Option<RepoError>, RepoError>,
) -> Option<Notice> {
    match opened {
        Ok(None) | Err(RepoError::Cancelled) => None,
        Ok(Some(error)) => {
            let what = format!("some of {name} cannot be read: {}", in_one_line(&error));
            Some(warns(
                step,
                what,
                "what is sealed with that will be missing; `homelab-dr check --read-data` says how much",
            ))
        }
        Err(error @ RepoError::Removed { .. }) => {
            let help = "take another identity: the recipient of this one was removed before that was stored";
            Some(blocks(step, format!("{name} cannot be read: {}", in_one_line(&error)), help))
        }
        Err(error) => Some(blocks(step, format!("{name} cannot be read: {}", in_one_line(&error)), ANOTHER)),
    }
}

impl Preparing<'_> {
    /// Everything that is to be said of them; a snapshot that several steps take is opened once.
    pub(super) async fn volumes(&self, plan: &RunPlan, rpo: Option<Duration>) -> Vec<Notice> {
        let Some(source) = self.source else { return Vec::new() };
        let known: BTreeSet<&str> = plan.chosen.values().map(|chosen| chosen.snapshot.as_str()).collect();
        let mut fills: BTreeMap<&str, (&str, &Fill)> = BTreeMap::new();
        for (step, fates) in &plan.fates {
            for fill in fates.fill.iter().filter(|fill| !known.contains(fill.snapshot.as_str())) {
                fills.entry(&fill.snapshot).or_insert((step, fill));
            }
        }
        let opening = stream::iter(fills.into_values()).map(|(step, fill)| async move {
            let snapshot = of(source, fill)?;
            let name =
                format!("snapshot {} of {}, from which {} is filled,", snapshot.id.short(), fill.source, fill.claim);
            of_opened(Some(step), &name, opens(&source.reader, snapshot.record.root, &self.cancel).await)
        });
        let opened: Vec<Option<Notice>> = opening.buffered(OPENED_AT_ONCE).collect().await;
        // Where older objects are taken, so are older volumes: that is told with the objects.
        let is_latest = |step: &str| {
            plan.chosen.get(step).is_some_and(|chosen| {
                let latest = source.chain.latest_of(&chosen.source);
                latest.is_some_and(|latest| latest.id.hex() == chosen.snapshot)
            })
        };
        let when = (self.clock.now(), rpo);
        let of_step =
            |(step, fates): (&String, &Fates)| ages::of_volumes(step, fates, is_latest(step), &source.chain, when);
        opened.into_iter().flatten().chain(plan.fates.iter().flat_map(of_step)).collect()
    }
}

fn of<'a>(source: &'a Source, fill: &Fill) -> Option<&'a Snapshot> {
    source.chain.snapshots.iter().find(|one| one.id.hex() == fill.snapshot)
}
