//! `gitops.pause` and `gitops.resume`.

use std::sync::Arc;
use std::time::Duration;

use super::{World, because, failed};
use crate::base::cancel::Cancel;
use crate::gitops::plan::{Action, plan};
use crate::gitops::report::Outcome;
use crate::gitops::run::{Running, run};
use crate::gitops::{Selection, note};
use crate::runbook::Step;
use crate::runs::drive::Undone;

/// How long is waited before looking whether anything was un-paused again, as `gitops pause` does.
const SETTLE: Duration = Duration::from_secs(5);
const HELP: &str = "`homelab-dr gitops status` says what is paused and by whom";

impl World<'_> {
    pub(super) async fn gitops(
        &self,
        step: &Step,
        pause: bool,
        (namespaces, names): (&[String], &[String]),
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        let cluster = self.cluster()?;
        let selection = Selection { namespaces: namespaces.to_vec(), names: names.to_vec() };
        let action = if pause { Action::Pause } else { Action::Resume };
        let planned = plan(cluster, action, &selection, &self.plan.run).await;
        let planned = planned.map_err(|error| because(&error, HELP))?;
        if !planned.installed {
            return Ok(vec!["neither Flux nor ArgoCD is there".to_owned()]);
        }
        let progress = self.board.of(&step.id);
        let running = Running { cluster, clock: &*self.clock, settle: SETTLE, progress: &progress, cancel };
        let report = run(&planned, &running).await;
        if report.interrupted {
            return Err(Undone::Stopped);
        }
        let mut wrong: Vec<String> = report.stopped.iter().cloned().collect();
        for row in report.rows.iter().filter(|row| !row.outcome.is_well()) {
            wrong.push(match &row.outcome {
                Outcome::NotDone { why } => format!("{}: {why}", row.object),
                // It has what it had, but for what somebody else wants: that is no failure of a recovery.
                Outcome::ResumedExcept { .. } => continue,
                _ => format!("{}: not reached", row.object),
            });
        }
        if !wrong.is_empty() {
            return Err(failed(wrong.join("; "), HELP));
        }
        let count = |is: fn(&Outcome) -> bool| report.count(is);
        let said = if pause {
            let others = count(|outcome| matches!(outcome, Outcome::PausedByOthers));
            let ours = count(|outcome| matches!(outcome, Outcome::Paused | Outcome::AlreadyPaused));
            vec![format!("{ours} paused, {others} were paused by others")]
        } else {
            let resumed = count(|outcome| matches!(outcome, Outcome::Resumed));
            let mut said = vec![format!("{resumed} go on as before")];
            for row in &report.rows {
                if let Outcome::ResumedExcept { kept } = &row.outcome {
                    let fields: Vec<String> = kept.iter().map(|kept: &note::Kept| kept.field.clone()).collect();
                    said.push(format!("{}: {} stays as somebody has set it since", row.object, fields.join(", ")));
                }
            }
            said
        };
        Ok(said)
    }
}
