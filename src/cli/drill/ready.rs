//! The plan of a drill, and what it is made of.

use crate::base::units;
use crate::cli::configuration::{self, JUDGES};
use crate::cli::context::Context;
use crate::cli::drill::Args;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::runbook::{self as runbooks, values};
use crate::drill::book;
use crate::drill::folder::{free, path_of};
use crate::drill::part::{Into, LeftOut, Part};
use crate::drill::transform::{Scene, transform};
use crate::runbook::{self, Action, Runbook, Step};
use crate::runs::plan::{PlanError, RunPlan, run_id};
use crate::runs::prepare::Notice;

/// See the module.
pub(super) struct Ready {
    pub(super) plan: RunPlan,
    pub(super) runbook: Runbook,
    /// The steps of the runbook.
    whole: Vec<Step>,
    /// Those that are rehearsed.
    pub(super) steps: Vec<Step>,
    /// What is not.
    pub(super) left_out: Vec<LeftOut>,
}

/// Whether objects or volumes of a cluster are brought back.
fn wants_cluster(step: &Step) -> bool {
    matches!(step.action, Action::RestoreVolume(_) | Action::RestoreResources(_)) && !step.is_compensation
}

/// A plan in which nothing is chosen yet.
pub(super) fn ready(args: &Args, context: &Context) -> Result<Ready, Failure> {
    let run = run_id()?;
    let (runbook, text) = match &args.runbook {
        Some(file) => runbooks::load_with_text(file)?,
        None => of_sources(args)?,
    };
    let given = values::given(&runbook, &args.settings)?;
    let values = values::values(&runbook, &given, &run)?;
    let whole = runbook.steps(&values, &JUDGES).map_err(|findings| {
        let shown =
            configuration::Findings(configuration::shown(&findings, args.runbook.as_deref().unwrap_or("".as_ref())));
        Failure::because(Exit::Usage, "with these values the runbook is wrong", shown, "give other values with --set")
    })?;
    let known: Vec<&str> = whole.iter().map(|step| step.id.as_str()).collect();
    for id in &args.skip {
        if !known.contains(&id.as_str()) {
            let what = format!("the runbook has no step {id:?}");
            return Err(Failure::usage(what, crate::language::suggest(id, &known, "it has")));
        }
    }
    let wants = whole.iter().any(|step| wants_cluster(step) && !args.skip.contains(&step.id));
    let into = match (wants, &args.into_folder) {
        (false, _) => Into::Machine,
        (true, Some(_)) => Into::Folder,
        (true, None) => Into::Cluster,
    };
    let parent = std::path::absolute(args.parent()).unwrap_or_else(|_| args.parent());
    let mut part = Part::new(into, path_of(&parent, &run), args.runbook.is_none());
    (part.rto, part.rpo) = (args.rto.map(|rto| rto.as_secs()), args.rpo.map(|rpo| rpo.as_secs()));
    (part.probe, part.probe_seconds) = (args.probe.clone(), args.probe_time.as_secs());
    let mut plan = RunPlan::new(run, context.clock.now().to_string(), &runbook, &text, given).drilling(part);
    plan.skipped = args.skip.iter().cloned().collect();
    let mut ready = Ready { plan, runbook, whole, steps: Vec::new(), left_out: Vec::new() };
    ready.again()?;
    Ok(ready)
}

/// The runbook that stands for some sources.
fn of_sources(args: &Args) -> Result<(Runbook, String), Failure> {
    let mut sources = args.source.clone();
    sources.sort();
    sources.dedup();
    let text = book::of_sources(&sources, "latest");
    let read = runbook::read(text.as_bytes(), &JUDGES);
    let wrong: Vec<String> = read.findings.iter().map(|finding| finding.what.clone()).collect();
    let runbook = read.runbook.ok_or_else(|| {
        let what = format!("these sources cannot be drilled: {}", wrong.join("; "));
        Failure::usage(what, "`homelab-dr snapshots` lists the sources that there are")
    })?;
    Ok((runbook, text))
}

impl Ready {
    pub(super) fn part(&self) -> &Part {
        // It is there: the plan was made so.
        const NONE: &Part = &Part::new(Into::Machine, std::path::PathBuf::new(), false);
        self.plan.drill.as_ref().unwrap_or(NONE)
    }

    fn scene(&self) -> Scene<'_> {
        Scene { run: &self.plan.run, part: self.part(), skipped: &self.plan.skipped }
    }

    /// The folder that stands for a cluster.
    pub(super) fn cluster(&self) -> std::path::PathBuf {
        self.scene().cluster()
    }

    /// The steps that are rehearsed, by what is known by now.
    pub(super) fn again(&mut self) -> Result<(), PlanError> {
        let rehearsed = transform(&self.whole, &self.scene()).map_err(PlanError::NoDrill)?;
        let found = self.part().left_out.clone();
        self.left_out = rehearsed.left_out.into_iter().chain(found).collect();
        self.steps = rehearsed.steps;
        Ok(())
    }

    /// Has the plan say what is not rehearsed.
    pub(super) fn settle(&mut self) {
        if let Some(part) = &mut self.plan.drill {
            part.not_rehearsed.clone_from(&self.left_out);
        }
    }

    /// That what comes onto this machine does not fit.
    pub(super) fn lacks_room(&self) -> Option<Notice> {
        let here = |step: &&Step| match step.action {
            Action::RestoreFiles(_) => true,
            _ => step.restores() && self.part().into == Into::Folder,
        };
        let bytes = |step: &Step| match (self.plan.fates.get(&step.id), self.plan.chosen.get(&step.id)) {
            (Some(fates), _) => fates.bytes(),
            (None, chosen) => chosen.map_or(0, |chosen| chosen.bytes),
        };
        let wanted: u64 = self.steps.iter().filter(here).map(bytes).sum();
        let free = free(&self.part().folder).filter(|free| *free < wanted)?;
        Some(Notice {
            blocks: true,
            step: None,
            what: format!(
                "{} come back to {}, where {} are free",
                units::bytes(wanted),
                self.part().folder.parent().unwrap_or(&self.part().folder).display(),
                units::bytes(free)
            ),
            help: "name a folder with more room: --into-folder DIR".to_owned(),
        })
    }
}
