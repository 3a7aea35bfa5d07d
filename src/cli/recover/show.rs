//! A plan and what a run came to, for people.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::id::short_hex;
use crate::base::units;
use crate::cli::output::count;
use crate::cli::recover::estimated::estimated;
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
    let bytes = Some(plan.bytes()).filter(|bytes| *bytes > 0);
    let bytes = bytes.map(|bytes| format!("{} to bring back; ", units::bytes(bytes))).unwrap_or_default();
    lines.push(format!("{bytes}the time limits add up to {}{}", length(limits), rto.unwrap_or_default()));
    lines.extend(estimated(plan));
    lines.push(String::new());
    let numbers = numbers(steps);
    for wave in &waves(steps) {
        let begun = wave.iter().filter_map(|index| steps.get(*index)).filter(|step| !plan.skipped.contains(&step.id));
        let (begun, parallel) = (begun.count(), plan.parallel.max(1));
        if begun > 1 {
            let how =
                if parallel > 1 { format!("{} at once", begun.min(parallel)) } else { "one after another".into() };
            lines.push(format!("     {begun} steps that need nothing of each other, {how}:"));
        }
        for (index, step) in wave.iter().filter_map(|index| Some((*index, steps.get(*index)?))) {
            one(&mut lines, numbers.get(index).copied().unwrap_or_default(), plan, runbook, step);
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

/// The number of each step: that of its heading, if all have one, so that plan and runbook speak of the same; else its place.
fn numbers(steps: &[Step]) -> Vec<usize> {
    let of_heading = |step: &Step| step.title.split_once('.').and_then(|(number, _)| number.trim().parse().ok());
    let counted = || steps.iter().filter(|step| !step.is_compensation);
    let headings: Option<Vec<usize>> = counted().map(of_heading).collect();
    let numbers = headings.unwrap_or_else(|| (1..=counted().count()).collect());
    let mut numbers = numbers.into_iter();
    steps.iter().map(|step| if step.is_compensation { 0 } else { numbers.next().unwrap_or_default() }).collect()
}

fn one(lines: &mut Vec<String>, number: usize, plan: &RunPlan, runbook: &Runbook, step: &Step) {
    let (does, verify) = line_of(runbook, plan, &step.id);
    let left_out = if plan.skipped.contains(&step.id) { " (left out, as asked)" } else { "" };
    lines.push(format!("{number:>3}. [{}]{left_out} {}", step.id, escape(does.as_bytes())));
    if !left_out.is_empty() {
        return;
    }
    if let Some(chosen) = plan.chosen.get(&step.id) {
        let holds = match (chosen.files, chosen.bytes) {
            (0, 0) => "no files".to_owned(),
            (files, bytes) => format!("{} ({})", count(files, "file"), units::bytes(bytes)),
        };
        lines.push(format!(
            "       snapshot {} of {}, {} old, {holds}",
            short_hex(&chosen.snapshot),
            escape(chosen.source.as_bytes()),
            units::span(Duration::from_secs(chosen.age)),
        ));
    }
    if let Some(fates) = plan.fates.get(&step.id) {
        fates_of(lines, fates, Time::parse(&plan.made));
    }
    if let Some(files) = plan.files.get(&step.id) {
        let mut words = Vec::new();
        let replaced = match files.replaced {
            0 => String::new(),
            some => format!(", {some} of them in the place of others"),
        };
        if files.written > 0 {
            words.push(format!("writes {} ({}){replaced}", count(files.written, "file"), units::bytes(files.bytes)));
        }
        if files.unchanged > 0 {
            words.push(format!("{} there already", are(files.unchanged)));
        }
        if files.removed > 0 {
            words.push(format!("REMOVES {}", files.removed));
        }
        lines.push(format!("       {}", all_of(&words, "writes nothing")));
    }
    if let Some(in_place) = plan.in_place.get(&step.id) {
        in_its_place(lines, in_place);
    }
    if step.is_destructive {
        lines.push("       REPLACES OR REMOVES what is there: asks before".to_owned());
    }
    lines.extend(verify.iter().map(|check| format!("       then verifies {}", escape(check.as_bytes()))));
}

/// Some facts in a line, or what is said where there are none.
fn all_of(words: &[String], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { words.join(", ") }
}

fn are(some: u64) -> String {
    format!("{some} {}", if some == 1 { "is" } else { "are" })
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
    let (created, replaced, kept) = (fates.create.len(), fates.replace.len(), fates.keep.len());
    let verb = |some: u64, one: &str, more: &str| if some == 1 { one.to_owned() } else { more.to_owned() };
    let of = [
        (created as u64, "created".to_owned()),
        (replaced as u64, "replaced".to_owned()),
        (kept as u64, verb(kept as u64, "differs and stays", "differ and stay")),
        (fates.same, verb(fates.same, "is there already", "are there already")),
        (fates.skipped, verb(fates.skipped, "is not restored by its kind", "are not restored by their kind")),
    ];
    let some = of.into_iter().filter(|(some, _)| *some > 0);
    // The first of them says what is counted.
    let words: Vec<String> = some
        .enumerate()
        .map(|(at, (some, what))| match at {
            0 => format!("{} {what}", count(some, "object")),
            _ => format!("{some} {what}"),
        })
        .collect();
    lines.push(format!("       {}", all_of(&words, "no object is restored")));
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
        let holds = if fill.files == 0 && fill.bytes == 0 { "nothing in it".to_owned() } else { bytes };
        lines.push(format!("         fills {claim} from {} ({holds}{age})", short_hex(&fill.snapshot)));
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
            Event::Done { step, took, .. } => drop(became.insert(step, format!("done in {}", units::span_ms(*took)))),
            Event::Failed { step, took, .. } => {
                drop(became.insert(step, format!("FAILED after {}", units::span_ms(*took))));
            }
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
