//! What a drill would do, and what it came to, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use crate::base::id::{ObjectId, short_hex};
use crate::base::units;
use crate::cli::context::{Context, local};
use crate::cli::drill::ready::Ready;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::count;
use crate::cli::recover::estimated::estimated;
use crate::drill::part::{Into, LeftOut};
use crate::drill::words::{checks, does};
use crate::format::entry::escape;
use crate::format::record::{RehearsalRecord, Rehearsed, RehearsedSource};
use crate::language::unless_secret;
use crate::runbook::{Step, waves};
use crate::runs::plan::RunPlan;
use crate::runs::prepare::Notice;

/// Things left out that are named one by one.
const LEFT_OUT_MAX: usize = 40;

#[derive(Serialize)]
struct PlanDocument<'a> {
    plan: &'a RunPlan,
    steps: Vec<StepDocument>,
    left_out: &'a [LeftOut],
    notices: &'a [Notice],
}

#[derive(Serialize)]
struct StepDocument {
    id: String,
    does: String,
    checks: Vec<String>,
}

fn shown(text: &str) -> String {
    escape(text.as_bytes())
}

/// What would be rehearsed.
pub(super) fn plan(ready: &Ready, notices: &[Notice]) -> Vec<String> {
    let plan = &ready.plan;
    let part = ready.part();
    // The title of one that the program wrote says it already.
    let of = if part.of_sources { "" } else { "Drill of " };
    let mut lines = vec![format!("{of}{} ({}), run {}", shown(&ready.runbook.title), ready.runbook.id, plan.run)];
    lines.push(match (part.into, &plan.cluster) {
        (Into::Cluster, Some(cluster)) => {
            format!("into namespaces of its own in the cluster {}", shown(&cluster.shown))
        }
        (Into::Cluster, None) => "into namespaces of its own in the cluster".to_owned(),
        (Into::Machine | Into::Folder, _) => format!("into the folder {}", shown(&part.folder.to_string_lossy())),
    });
    lines
        .extend(plan.values.iter().map(|(name, value)| format!("with {name} = {}", shown(unless_secret(name, value)))));
    let objectives = ready.plan.objectives(&ready.runbook);
    let time = |name: &str, time: Option<Duration>| time.map(|time| format!("{name} {}", units::duration(time)));
    let wanted: Vec<String> =
        [time("rto", objectives.rto), time("rpo", objectives.rpo)].into_iter().flatten().collect();
    let wanted = if wanted.is_empty() { String::new() } else { format!("; wanted: {}", wanted.join(", ")) };
    lines.push(format!("{} to bring back{wanted}; all of it is removed at the end", units::bytes(plan.bytes())));
    lines.extend(estimated(plan));
    lines.push(String::new());
    let waves = waves(&ready.steps);
    for (number, step) in waves.iter().flatten().filter_map(|index| ready.steps.get(*index)).enumerate() {
        one(&mut lines, number + 1, plan, step);
    }
    if !ready.left_out.is_empty() {
        lines.push(String::new());
        lines.push("Not rehearsed:".to_owned());
        let line = |one: &LeftOut| format!("  [{}] {}: {}", one.step, shown(&one.what), shown(&one.why));
        lines.extend(ready.left_out.iter().take(LEFT_OUT_MAX).map(line));
        if ready.left_out.len() > LEFT_OUT_MAX {
            lines.push(format!("  and {} more, which --json has", ready.left_out.len() - LEFT_OUT_MAX));
        }
    }
    if !notices.is_empty() {
        lines.push(String::new());
    }
    for notice in notices {
        let word = if notice.blocks { "IN THE WAY" } else { "look at" };
        let step = notice.step.as_ref().map(|step| format!(" [{step}]")).unwrap_or_default();
        lines.push(format!("{word}{step}: {}", shown(&notice.what)));
        if !notice.help.is_empty() {
            lines.push(format!("    {}", shown(&notice.help)));
        }
    }
    lines
}

fn one(lines: &mut Vec<String>, number: usize, plan: &RunPlan, step: &Step) {
    lines.push(format!("{number:>3}. [{}] {}", step.id, shown(&does(step))));
    if let Some(chosen) = plan.chosen.get(&step.id) {
        lines.push(format!(
            "       snapshot {} of {}, {} old, {} ({})",
            short_hex(&chosen.snapshot),
            shown(&chosen.source),
            units::span(Duration::from_secs(chosen.age)),
            count(chosen.files, "file"),
            units::bytes(chosen.bytes)
        ));
    }
    if let Some(fates) = plan.fates.get(&step.id) {
        let created = count(fates.create.len() as u64, "object");
        let left_out =
            if fates.skipped > 0 { format!(", {} left out", count(fates.skipped, "object")) } else { String::new() };
        lines.push(format!("       {created} created{left_out}"));
        lines.extend(fates.conflict.iter().map(|what| format!("         CANNOT RESTORE {}", shown(what))));
        lines.extend(fates.fill.iter().map(|fill| {
            format!(
                "         fills {} from {} ({})",
                shown(&fill.claim),
                short_hex(&fill.snapshot),
                units::bytes(fill.bytes)
            )
        }));
    }
    lines.extend(checks(step).iter().map(|check| format!("       verifies {}", shown(check))));
}

/// `--plan`.
pub(super) fn planned(ready: &Ready, notices: &[Notice], context: &mut Context) -> Result<Exit, Failure> {
    if context.out.json {
        let step = |step: &Step| StepDocument { id: step.id.clone(), does: does(step), checks: checks(step) };
        context.out.document(&PlanDocument {
            plan: &ready.plan,
            steps: ready.steps.iter().map(step).collect(),
            left_out: &ready.left_out,
            notices,
        })?;
    } else {
        for line in plan(ready, notices) {
            context.out.line(&line)?;
        }
    }
    Ok(if notices.iter().any(|notice| notice.blocks) { Exit::Refused } else { Exit::Done })
}

/// A drill that was held, as JSON.
#[derive(Serialize)]
pub(super) struct Held<'a> {
    /// The id of its record; none if it was not recorded.
    pub(super) id: Option<ObjectId>,
    #[serde(flatten)]
    pub(super) record: &'a RehearsalRecord,
}

/// In few words.
pub(crate) const fn came_to(outcome: Rehearsed) -> &'static str {
    match outcome {
        Rehearsed::Passed => "passed",
        Rehearsed::Missed => "passed, OBJECTIVE MISSED",
        Rehearsed::Failed => "FAILED",
        Rehearsed::Stopped => "stopped",
    }
}

fn wanted(objective: Option<u64>, is_met: bool) -> String {
    objective.map_or_else(
        || "no objective".to_owned(),
        |seconds| {
            let word = if is_met { "met" } else { "MISSED" };
            format!("wanted {}: {word}", units::duration(Duration::from_secs(seconds)))
        },
    )
}

/// When a source was back, which several steps may have brought back from the same snapshot.
fn came_back(source: &RehearsedSource, same: &[&RehearsedSource], record: &RehearsalRecord) -> String {
    let took: Vec<u64> = same.iter().filter_map(|one| one.took).collect();
    let of = |some: &str| if same.len() > 1 { format!(" {some}{} steps", same.len()) } else { String::new() };
    let back = match took.iter().max() {
        None => "NOT back".to_owned(),
        Some(last) if took.len() == same.len() => format!("back after {}{}", units::span_ms(*last), of("by ")),
        Some(_) => format!("NOT all back: {}", of(&format!("{} of ", took.len())).trim_start()),
    };
    format!(
        "{}: snapshot {} of {}, {back}, {} old ({})",
        shown(&source.source),
        source.snapshot.short(),
        local(source.started),
        units::span(Duration::from_secs(source.age)),
        wanted(record.rpo, record.rpo.is_none_or(|rpo| source.age <= rpo && !source.started.is_future(record.begun)),),
    )
}

/// What a drill came to.
pub(super) fn result(record: &RehearsalRecord) -> Vec<String> {
    let mut lines = Vec::new();
    let mut told: Vec<(&str, ObjectId)> = Vec::new();
    for source in &record.sources {
        let one = (source.source.as_str(), source.snapshot);
        if !told.contains(&one) {
            told.push(one);
            let same = record.sources.iter().filter(|other| (other.source.as_str(), other.snapshot) == one);
            lines.push(came_back(source, &same.collect::<Vec<_>>(), record));
        }
    }
    if let Some(took) = record.took {
        let is_met = record.rto.is_none_or(|rto| took <= rto.saturating_mul(1000));
        lines.push(format!("time to recover: {} ({})", units::span_ms(took), wanted(record.rto, is_met)));
    }
    lines.push(format!(
        "checks: {} of {} held; {} not rehearsed",
        record.held,
        record.checks,
        count(record.left_out, "thing") + if record.left_out == 1 { " was" } else { " were" }
    ));
    lines.extend(record.remarks.iter().map(|remark| format!("look at: {}", shown(remark))));
    lines.extend(record.left_behind.iter().map(|left| format!("LEFT BEHIND: {}", shown(left))));
    if !record.why.is_empty() {
        lines.push(format!("why: {}", shown(&record.why)));
    }
    lines
}
