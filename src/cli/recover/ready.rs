//! What a run is made of: a runbook with values, a plan that was kept, or a run that is taken up.

use std::collections::BTreeSet;
use std::path::Path;

use super::Args;
use crate::cli::configuration::{self, JUDGES};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::read_file;
use crate::cli::runbook::{self as runbooks, values};
use crate::runbook::{Runbook, Step};
use crate::runs::journal::{Found, Journal, JournalError};
use crate::runs::plan::{RunPlan, run_id};

/// Longest file of a plan: the runbook in it, and a line for each object.
const PLAN_BYTES_MAX: u64 = 64 << 20;

/// A plan, and what it is made of.
pub(super) struct Ready {
    pub(super) plan: RunPlan,
    pub(super) runbook: Runbook,
    pub(super) steps: Vec<Step>,
}

/// A plan of a runbook, in which nothing is chosen yet.
pub(super) fn fresh(file: &Path, args: &Args, context: &Context) -> Result<Ready, Failure> {
    let (runbook, text) = runbooks::load_with_text(file)?;
    let given = values::given(&runbook, &args.settings)?;
    let run = run_id()?;
    let values = values::values(&runbook, &given, &run)?;
    let steps = runbook.steps(&values, &JUDGES).map_err(|findings| {
        let what = format!("with these values the runbook {} is wrong", file.display());
        let shown = configuration::Findings(configuration::shown(&findings, file));
        Failure::because(Exit::Usage, what, shown, "give other values with --set")
    })?;
    let mut plan = RunPlan::new(run, context.clock.now().to_string(), &runbook, &text, given);
    plan.skipped = skipped(args, &steps)?;
    Ok(Ready { plan, runbook, steps })
}

/// Refuses names of steps that there are not.
fn refuse_unknown<'a>(ids: impl Iterator<Item = &'a String>, steps: &[Step]) -> Result<(), Failure> {
    let known: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
    for id in ids {
        if !known.contains(&id.as_str()) {
            let what = format!("the runbook has no step {id:?}");
            return Err(Failure::usage(what, crate::language::suggest(id, &known, "it has")));
        }
    }
    Ok(())
}

fn skipped(args: &Args, steps: &[Step]) -> Result<BTreeSet<String>, Failure> {
    refuse_unknown(args.only.iter().chain(&args.skip).chain(&args.confirm), steps)?;
    let left_out = |step: &&Step| {
        let not_chosen = !args.only.is_empty() && !args.only.contains(&step.id) && !step.is_compensation;
        not_chosen || args.skip.contains(&step.id)
    };
    let skipped = steps.iter().filter(left_out).map(|step| step.id.clone()).collect();
    refuse_nothing(&skipped, steps)?;
    Ok(skipped)
}

/// A run that leaves everything out does nothing, and would be called a recovery.
fn refuse_nothing(skipped: &BTreeSet<String>, steps: &[Step]) -> Result<(), Failure> {
    refuse_unknown(skipped.iter(), steps)?;
    if steps.iter().filter(|step| !step.is_compensation).all(|step| skipped.contains(&step.id)) {
        return Err(Failure::usage("every step is left out: nothing would be done", "leave fewer out"));
    }
    Ok(())
}

pub(super) fn kept(file: &Path) -> Result<Ready, Failure> {
    let bytes = read_file::bytes(file, PLAN_BYTES_MAX, "the plan")?;
    let text = String::from_utf8_lossy(&bytes);
    let plan = RunPlan::read(&text)?;
    let (runbook, steps) = plan.steps(&JUDGES)?;
    refuse_nothing(&plan.skipped, &steps)?;
    if let Some(first) = plan.in_the_way.first() {
        let what = format!("when the plan was made something stood in its way: {first}");
        return Err(Failure::new(Exit::Refused, what, "nothing was changed; mend it, and make the plan anew"));
    }
    Ok(Ready { plan, runbook, steps })
}

/// `named`: steps that are to be there.
pub(super) fn resumed<'a>(
    run: &str,
    journals: &Path,
    named: impl Iterator<Item = &'a String>,
) -> Result<Ready, Failure> {
    let Found { plan, .. } = Journal::look(journals, run)?;
    if plan.drill.is_some() {
        return Err(JournalError::Drill { run: run.to_owned() }.into());
    }
    let (runbook, steps) = plan.steps(&JUDGES)?;
    refuse_unknown(named, &steps)?;
    Ok(Ready { plan, runbook, steps })
}
