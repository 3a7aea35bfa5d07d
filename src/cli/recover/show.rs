//! A plan and what a run came to, for people.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::units;
use crate::cli::output::count;
use crate::cli::recover::estimated::estimated;
use crate::cli::recover::person::time;
use crate::cli::runbook::time as length;
use crate::format::entry::escape;
use crate::language::unless_secret;
use crate::runbook::{Runbook, Step, Values, longest, waves};
use crate::runs::event::{Event, Record};
use crate::runs::plan::{Fates, InPlace, RunPlan};
use crate::runs::prepare::Notice;

/// Objects and volumes of a step that are named; the others are counted. `--json` has all.
const NAMED_MAX: usize = 8;

/// Objects that are created and are named as long as there are no more.
const FEW: usize = 3;

fn short(hex: &str) -> &str {
    hex.get(..8).unwrap_or(hex)
}

/// What a step does and what is verified, with the values of the run; as it is written where a value is missing, which `plan.steps` refuses before.
pub(super) fn line_of(runbook: &Runbook, plan: &RunPlan, id: &str) -> (String, Vec<String>) {
    match Values::of(&runbook.parameters, &plan.values, &plan.run) {
        Ok(values) => runbook.line_with(id, &values),
        Err(_) => runbook.line_of(id),
    }
}

/// What a run would do.
pub(super) fn plan(plan: &RunPlan, runbook: &Runbook, steps: &[Step], notices: &[Notice]) -> Vec<String> {
    let mut lines = vec![format!("{} ({}), run {}", escape(runbook.title.as_bytes()), runbook.id, plan.run)];
    lines.extend(plan.cluster.as_ref().map(|cluster| format!("into {}", escape(cluster.place().as_bytes()))));
    lines.extend(
        plan.values
            .iter()
            .map(|(name, value)| format!("with {name} = {}", escape(unless_secret(name, value).as_bytes()))),
    );
    let (limits, _) = longest(steps);
    let rto = runbook.objectives.rto.map(|rto| format!(", rto {}", length(rto)));
    lines.push(format!(
        "{} to bring back; the time limits add up to {}{}",
        units::bytes(plan.bytes()),
        length(limits),
        rto.unwrap_or_default()
    ));
    lines.extend(estimated(plan));
    lines.push(String::new());
    for (number, wave) in waves(steps).iter().enumerate() {
        let begun = wave.iter().filter_map(|index| steps.get(*index)).filter(|step| !plan.skipped.contains(&step.id));
        let (begun, parallel) = (begun.count(), plan.parallel.max(1));
        if begun > 1 {
            let how =
                if parallel > 1 { format!("{} at once", begun.min(parallel)) } else { "one after another".into() };
            lines.push(format!("{:>3}. {begun} steps that need nothing of each other, {how}:", number + 1));
        }
        for step in wave.iter().filter_map(|index| steps.get(*index)) {
            one(&mut lines, number + 1, plan, runbook, step);
        }
    }
    let undoing: Vec<&str> = steps.iter().filter(|step| step.is_compensation).map(|step| step.id.as_str()).collect();
    if !undoing.is_empty() {
        lines.push(format!("only if another fails: {}", undoing.join(", ")));
    }
    if !notices.is_empty() {
        lines.push(String::new());
    }
    for notice in notices {
        let word = if notice.blocks { "IN THE WAY" } else { "look at" };
        let step = notice.step.as_ref().map(|step| format!(" [{step}]")).unwrap_or_default();
        lines.push(format!("{word}{step}: {}", escape(notice.what.as_bytes())));
        lines.extend(notice.help.lines().map(|line| format!("    {}", escape(line.as_bytes()))));
    }
    lines
}

fn one(lines: &mut Vec<String>, wave: usize, plan: &RunPlan, runbook: &Runbook, step: &Step) {
    let (does, verify) = line_of(runbook, plan, &step.id);
    let left_out = if plan.skipped.contains(&step.id) { " (left out, as asked)" } else { "" };
    lines.push(format!("{wave:>3}. [{}]{left_out} {}", step.id, escape(does.as_bytes())));
    if !left_out.is_empty() {
        return;
    }
    if let Some(chosen) = plan.chosen.get(&step.id) {
        lines.push(format!(
            "       snapshot {} of {}, {} old, {} ({})",
            short(&chosen.snapshot),
            escape(chosen.source.as_bytes()),
            units::span(Duration::from_secs(chosen.age)),
            count(chosen.files, "file"),
            units::bytes(chosen.bytes)
        ));
    }
    if let Some(fates) = plan.fates.get(&step.id) {
        fates_of(lines, fates, Time::parse(&plan.made));
    }
    if let Some(files) = plan.files.get(&step.id) {
        let removed = if files.removed > 0 { format!(", REMOVES {}", files.removed) } else { String::new() };
        lines.push(format!(
            "       writes {} ({}), {} of them in the place of others; {} are there already{removed}",
            count(files.written, "file"),
            units::bytes(files.bytes),
            files.replaced,
            files.unchanged
        ));
    }
    if let Some(in_place) = plan.in_place.get(&step.id) {
        in_its_place(lines, in_place);
    }
    if step.is_destructive {
        lines.push("       REPLACES OR REMOVES what is there: asks before".to_owned());
    }
    lines.extend(verify.iter().map(|check| format!("       then verifies {}", escape(check.as_bytes()))));
}

/// What it does to whatever uses the volume.
fn in_its_place(lines: &mut Vec<String>, in_place: &InPlace) {
    let mut put = |text: String| lines.push(format!("         {}", escape(text.as_bytes())));
    let InPlace { claim, stops, pauses, autoscalers, goes_on } = in_place;
    for (word, list) in [("pauses", pauses), ("scales to zero, and back", stops)] {
        if !list.is_empty() {
            put(format!("{word}: {}", list.join(", ")));
        }
    }
    if !autoscalers.is_empty() {
        put(format!("which is left alone at zero by {}", autoscalers.join(", ")));
    }
    put(match goes_on {
        Some(run) => format!("goes on with run {run}, which was cut off while it wrote {claim}"),
        None => format!("overwrites what is in {claim}, which becomes a snapshot of its own before"),
    });
}

fn fates_of(lines: &mut Vec<String>, fates: &Fates, made: Option<Time>) {
    let objects = |list: &Vec<String>| count(list.len() as u64, "object");
    let mut words = vec![format!("{} created", objects(&fates.create))];
    words.push(format!("{} replaced", fates.replace.len()));
    words.push(format!("{} differ and stay", fates.keep.len()));
    words.push(format!("{} are there already", fates.same));
    words.push(format!("{} are not restored by their kind", fates.skipped));
    lines.push(format!("       {}", words.join(", ")));
    if !fates.create.is_empty() {
        lines.push(format!("         creates {}", escape(by_kind(&fates.create).as_bytes())));
    }
    for (word, list) in [("replaces", &fates.replace), ("leaves", &fates.keep), ("CANNOT RESTORE", &fates.conflict)] {
        let line = |object: &String| {
            let differs = fates.differs.get(object).map(|places| format!(" (differs in {})", places.join(", ")));
            format!("         {word} {}", escape(format!("{object}{}", differs.unwrap_or_default()).as_bytes()))
        };
        lines.extend(list.iter().take(NAMED_MAX).map(line));
        if list.len() > NAMED_MAX {
            lines.push(format!("         {word} {} more", list.len() - NAMED_MAX));
        }
    }
    let mut later: BTreeMap<&str, u64> = BTreeMap::new();
    for one in &fates.unvalidated {
        *later.entry(&one.why).or_default() += 1;
    }
    for (why, objects) in later.iter().take(NAMED_MAX) {
        lines.push(format!("         {}: {}", count(*objects, "object"), escape(why.as_bytes())));
    }
    for fill in &fates.fill {
        let (claim, bytes) = (escape(fill.claim.as_bytes()), units::bytes(fill.bytes));
        let age = made.zip(fill.started()).map(|(made, started)| format!(", {} old", units::span(made.since(started))));
        let age = age.unwrap_or_default();
        lines.push(format!("         fills {claim} from {} ({bytes}{age})", short(&fill.snapshot)));
    }
}

/// Objects by their kinds, the most first: `12 secrets, 5 deployments.apps`. A few are named.
fn by_kind(objects: &[String]) -> String {
    if objects.len() <= FEW {
        return objects.join(", ");
    }
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for object in objects {
        let (kind, _) = object.split_once(' ').unwrap_or((object, ""));
        *counts.entry(kind).or_default() += 1;
    }
    let mut kinds: Vec<(&str, u64)> = counts.into_iter().collect();
    kinds.sort_by_key(|(_, objects)| std::cmp::Reverse(*objects));
    let mut words: Vec<String> =
        kinds.iter().take(NAMED_MAX).map(|(kind, objects)| format!("{objects} {kind}")).collect();
    let others: u64 = kinds.iter().skip(NAMED_MAX).map(|(_, objects)| objects).sum();
    if others > 0 {
        words.push(format!("{others} of {}", count((kinds.len() - NAMED_MAX) as u64, "other kind")));
    }
    words.join(", ")
}

/// What became of each step, by the journal.
pub(super) fn table(steps: &[Step], events: &[Record]) -> Vec<String> {
    let mut became: BTreeMap<&str, String> = BTreeMap::new();
    for Record { event, .. } in events {
        match event {
            Event::Done { step, took, .. } => drop(became.insert(step, format!("done in {}", time(*took)))),
            Event::Failed { step, took, .. } => drop(became.insert(step, format!("FAILED after {}", time(*took)))),
            Event::Skipped { step } => drop(became.insert(step, "left out, as asked".to_owned())),
            Event::CutOff { step } => drop(became.insert(step, "stopped before its end".to_owned())),
            Event::Begun { step } => drop(became.insert(step, "begun, and its end is not known".to_owned())),
            _ => {}
        }
    }
    let width = steps.iter().map(|step| step.id.len()).max().unwrap_or_default();
    let shown = steps.iter().filter(|step| !step.is_compensation || became.contains_key(step.id.as_str()));
    shown
        .map(|step| {
            let state = became.get(step.id.as_str()).map_or("not begun", String::as_str);
            format!("{:width$}  {state}", step.id)
        })
        .collect()
}
