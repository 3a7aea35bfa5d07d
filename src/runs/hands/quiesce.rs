//! `quiesce`: the applications of some claims hold still until a later step is over. What it takes to let them go is in a journal in the cluster before anything is held, as for
//! a backup: `homelab-dr release` finds it if this machine is lost.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{World, because, failed};
use crate::base::cancel::Cancel;
use crate::base::causes::in_one_line;
use crate::config::HookWay;
use crate::hooks::journal::{FoundJournal, Journal, RENEW, journals};
use crate::hooks::plan::{For, Seen, plan};
use crate::hooks::release::{Row, back, release};
use crate::hooks::{Acting, HookError, Waits};
use crate::runbook::{Claim, Quiet, Step};
use crate::runs::drive::Undone;

/// Journals of what holds still, by the step that holds it.
pub type Holding = Mutex<BTreeMap<String, Vec<Journal>>>;

const HELP: &str = "see what uses the claims; `homelab-dr release` lets go what is held";

fn way(how: &Quiet) -> HookWay {
    match how {
        Quiet::Scale => HookWay::Scale,
        Quiet::Handshake => HookWay::Handshake,
        Quiet::Command { container, before, after } => {
            HookWay::Command { container: container.clone(), before: before.clone(), after: after.clone() }
        }
    }
}

impl World<'_> {
    /// The name that the holds of a step have: the same each time the run is taken up.
    pub(super) fn hold_id(&self, step: &Step, part: usize) -> String {
        let digest = blake3::hash(format!("{}/{part}", step.id).as_bytes()).to_hex();
        format!("{}{}", self.plan.run, digest.get(..8).unwrap_or_default())
    }

    fn acting<'a>(&'a self, cancel: &'a Cancel) -> Result<Acting<'a>, Undone> {
        let api = self.api()?;
        Ok(Acting { cluster: api, exec: api, clock: &*self.clock, waits: Waits::default(), cancel })
    }

    pub(super) async fn quiesce(
        &self,
        step: &Step,
        claims: &[Claim],
        how: &Quiet,
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        // What an earlier try of this step held.
        let (left, is_well) = self.release(step).await;
        if !is_well {
            return Err(failed(format!("what an earlier try held is not let go: {}", left.join("; ")), HELP));
        }
        let parts = groups(claims, how);
        if parts.len() > PARTS_MAX {
            return Err(failed(
                format!("it is about more than {PARTS_MAX} namespaces or handshakes"),
                "make several steps of it",
            ));
        }
        let acting = self.acting(cancel)?;
        let mut said = Vec::new();
        for (part, (namespace, names)) in parts.into_iter().enumerate() {
            let id = self.hold_id(step, part);
            let home = self.journals.clone().unwrap_or_else(|| namespace.clone());
            let mut journal = Journal::new(&home, &id, &self.host, self.clock.now());
            let seen = Seen::read(acting.cluster).await.map_err(|error| because(&error, HELP))?;
            let of = For { namespace: &namespace, claims: &names, run: &id };
            let planned = plan(acting.cluster, &seen, &way(how), step.timeout, of).await;
            let planned = planned.map_err(|error| because(&error, HELP))?;
            let begun = planned.begin(&acting, &mut journal).await;
            self.held.lock().await.entry(step.id.clone()).or_default().push(journal);
            match begun {
                Ok(()) => {}
                Err(HookError::Cancelled) => return Err(Undone::Stopped),
                Err(error) => return Err(because(&error, HELP)),
            }
            let what = planned.what();
            let what = if what.is_empty() { "nobody uses it".to_owned() } else { what.join(", ") };
            said.push(format!("{namespace}/{}: {} ({what})", names.join(","), planned.how()));
        }
        Ok(said)
    }

    /// Lets go what an earlier try of a restore in place has held, if it had not come to write: else it is gone on with.
    pub(super) async fn let_go_of_earlier(&self, step: &Step) -> Result<(), Undone> {
        let found = journals(self.cluster()?, self.journals.as_deref()).await.map_err(|error| because(&error, HELP))?;
        let id = self.hold_id(step, 0);
        let is_earlier = |journal: &Journal| journal.run == id && journal.unfinished.is_none();
        if !found.into_iter().filter_map(FoundJournal::ok).any(|journal| is_earlier(&journal)) {
            return Ok(());
        }
        match self.release(step).await {
            (_, true) => Ok(()),
            (left, false) => Err(failed(format!("what an earlier try held is not let go: {}", left.join("; ")), HELP)),
        }
    }

    /// Lets go what a step holds: what this process knows of, and what the cluster says of an earlier one.
    pub(super) async fn release(&self, step: &Step) -> (Vec<String>, bool) {
        let going_on = Cancel::default();
        let Ok(acting) = self.acting(&going_on) else { return (vec!["nothing can be held here".to_owned()], true) };
        let mut own = self.held.lock().await.remove(&step.id).unwrap_or_default();
        let ids: Vec<String> = (0..PARTS_MAX).map(|part| self.hold_id(step, part)).collect();
        let found = match journals(acting.cluster, self.journals.as_deref()).await {
            Ok(found) => found,
            Err(error) => return (vec![in_one_line(&error)], false),
        };
        let known: Vec<String> = own.iter().map(|journal| journal.run.clone()).collect();
        let of_this = |journal: &Journal| ids.contains(&journal.run) && !known.contains(&journal.run);
        own.extend(found.into_iter().filter_map(FoundJournal::ok).filter(of_this));
        let (mut said, mut is_well, mut reports) = (Vec::new(), true, Vec::new());
        for mut journal in own.into_iter().rev() {
            let report = release(&acting, &mut journal).await;
            let told = |row: &Row| row.outcome.told().unwrap_or_else(|| "goes on".to_owned());
            said.extend(report.rows.iter().map(|row| format!("{}: {}", row.what, told(row))));
            said.extend(report.journal.iter().map(|why| format!("its journal could not be brought up to date: {why}")));
            // What others have set meanwhile stays theirs, and is held by nobody.
            let is_free = report.journal.is_none() && report.rows.iter().all(|row| row.outcome.is_over());
            is_well &= is_free;
            if !is_free {
                self.held.lock().await.entry(step.id.clone()).or_default().push(journal);
            }
            reports.push(report);
        }
        back(&acting, &reports).await;
        (said, is_well)
    }

    /// Says again and again that what holds still is held by somebody who lives. Never returns.
    pub async fn keep(&self) -> Infallible {
        loop {
            tokio::time::sleep(RENEW).await;
            let Some(cluster) = self.target.cluster() else { continue };
            for journal in self.held.lock().await.values_mut().flatten() {
                // One that does not succeed is tried again the next time.
                let _ = journal.renew(cluster, self.clock.now()).await;
            }
        }
    }
}

/// A step names at most so many namespaces or, for a handshake, claims.
const PARTS_MAX: usize = 100;

/// What holds still together: the claims of a namespace; for a handshake each by itself.
fn groups(claims: &[Claim], how: &Quiet) -> Vec<(String, Vec<String>)> {
    if matches!(how, Quiet::Handshake) {
        return claims.iter().map(|claim| (claim.namespace.clone(), vec![claim.name.clone()])).collect();
    }
    let mut by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for claim in claims {
        by.entry(claim.namespace.clone()).or_default().push(claim.name.clone());
    }
    by.into_iter().collect()
}
