//! Status, plan and report as text.

use std::fmt::Write as _;

use crate::base::clock::Time;
use crate::cli::context::{Context, local};
use crate::cli::failure::Failure;
use crate::cli::output::{count, table};
use crate::format::entry::escape;
use crate::gitops::Name;
use crate::gitops::note::State;
use crate::gitops::plan::{Act, Action, GitopsPlan, Status, Step};
use crate::gitops::report::{Outcome, Report};

fn name(name: &Name) -> String {
    escape(name.to_string().as_bytes())
}

fn names(list: &[Name]) -> String {
    list.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// What there is of neither.
fn none_at(cluster: &str) -> String {
    format!("neither Flux nor ArgoCD is installed in {cluster}")
}

/// A time that some machine wrote; told if its clock or ours is wrong.
fn at(time: Time, now: Time) -> String {
    let wrong = if time.is_future(now) { " (a time to come: some clock was wrong)" } else { "" };
    format!("{}{wrong}", local(time))
}

fn state(state: &State, now: Time) -> String {
    match state {
        State::Active => "active".to_owned(),
        State::Ours { since, run } => format!("paused by homelab-dr since {} (run {run})", at(*since, now)),
        State::Others => "paused by somebody else".to_owned(),
        State::Undone { since, fields, .. } => {
            format!("paused by homelab-dr at {}; somebody has changed {} since", at(*since, now), fields.join(", "))
        }
        State::Unreadable { why } => format!("noted by homelab-dr, in a way that cannot be understood: {why}"),
    }
}

pub(super) fn status(status: &Status, context: &mut Context) -> Result<(), Failure> {
    if !status.installed {
        return context.out.line(&none_at(&status.cluster));
    }
    let now = context.clock.now();
    let row = |object: &Name, is: &State| {
        [&object.kind, &object.namespace, &object.name, &state(is, now)].map(|cell| escape(cell.as_bytes())).to_vec()
    };
    let rows: Vec<Vec<String>> = status.objects.iter().map(|standing| row(&standing.object, &standing.state)).collect();
    for line in table(&["KIND", "NAMESPACE", "NAME", "STATE"], &rows, &[]) {
        context.out.line(&line)?;
    }
    let ours = status.objects.iter().filter(|standing| matches!(standing.state, State::Ours { .. })).count();
    let theirs = status.objects.iter().filter(|standing| standing.state == State::Others).count();
    let all = count(status.objects.len() as u64, "object");
    context.summary(false, &format!("{all}: {ours} paused by homelab-dr, {theirs} by others"))
}

fn line(step: &Step, now: Time) -> String {
    let (word, note) = match &step.act {
        Act::Pause { fields } => ("pause", fields.join(", ")),
        Act::Resume => ("resume", String::new()),
        Act::Leave => ("leave", state(&step.state, now)),
        Act::Cannot { why } => ("CANNOT", why.clone()),
    };
    let mut text = format!("  {word:<7} {}", name(&step.object));
    if !note.is_empty() {
        text.push_str(": ");
        text.push_str(&note);
    }
    if !step.may_be_undone_by.is_empty() {
        let _ = write!(text, "; {} goes on and may undo it", names(&step.may_be_undone_by));
    }
    text
}

/// What would be done. Before a question on standard error, where the question is.
pub(super) fn plan(plan: &GitopsPlan, result: bool, context: &mut Context) -> Result<(), Failure> {
    let now = context.clock.now();
    let mut lines = Vec::new();
    if plan.installed {
        let what = match plan.action {
            Action::Pause => "pause, in this order",
            Action::Resume => "resume, in this order",
        };
        lines.push(format!("{what}, in {}", plan.cluster));
        lines.extend(plan.steps.iter().map(|step| line(step, now)));
        lines.push(counts(plan));
    } else {
        lines.push(nothing(plan));
    }
    for line in lines {
        if result {
            context.out.line(&line)?;
        } else {
            context.talk.put(&line);
        }
    }
    Ok(())
}

fn nothing(plan: &GitopsPlan) -> String {
    let what = match plan.action {
        Action::Pause => "nothing to pause",
        Action::Resume => "nothing to resume",
    };
    format!("{}: {what}", none_at(&plan.cluster))
}

fn counts(plan: &GitopsPlan) -> String {
    let number = |is: &dyn Fn(&Act) -> bool| plan.steps.iter().filter(|step| is(&step.act)).count();
    let (acts, left, cannot) = (
        number(&|act| matches!(act, Act::Pause { .. } | Act::Resume)),
        number(&|act| *act == Act::Leave),
        number(&|act| matches!(act, Act::Cannot { .. })),
    );
    let word = match plan.action {
        Action::Pause => "to pause",
        Action::Resume => "to resume",
    };
    let mut text = format!("{}: {acts} {word}, {left} left as they are", count(plan.steps.len() as u64, "object"));
    if cannot > 0 {
        let _ = write!(text, ", {cannot} that cannot be");
    }
    text
}

/// What is told of a single object.
fn told(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::NotDone { why } => Some(why.clone()),
        Outcome::ResumedExcept { kept } => {
            let kept: Vec<String> = kept
                .iter()
                .map(|kept| format!("{} stays {}, which somebody has set; it was {}", kept.field, kept.now, kept.was))
                .collect();
            Some(kept.join("; "))
        }
        _ => None,
    }
}

/// What it came to.
pub(super) fn report(plan: &GitopsPlan, report: &Report, context: &mut Context) -> Result<(), Failure> {
    if !plan.installed {
        return context.summary(false, &nothing(plan));
    }
    for row in &report.rows {
        if let Some(told) = told(&row.outcome) {
            let word = match (plan.action, &row.outcome) {
                (Action::Pause, _) => "NOT PAUSED",
                (_, Outcome::ResumedExcept { .. }) => "resumed, but",
                _ => "NOT RESUMED",
            };
            context.out.line(&format!("{}: {word}: {told}", name(&row.object)))?;
        }
    }
    let words: &[(&str, &[Outcome])] = &[
        ("paused", &[Outcome::Paused]),
        ("paused before", &[Outcome::AlreadyPaused]),
        ("paused by others", &[Outcome::PausedByOthers]),
        ("resumed", &[Outcome::Resumed]),
        ("not paused by homelab-dr", &[Outcome::NotOurs]),
        ("gone", &[Outcome::Gone]),
        ("not reached", &[Outcome::NotReached]),
    ];
    let mut parts: Vec<String> = words
        .iter()
        .map(|(word, these)| (report.count(|outcome| these.contains(outcome)), word))
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    let problems = report.count(|outcome| told(outcome).is_some());
    if problems > 0 {
        parts.push(format!("{problems} with problems"));
    }
    let objects = count(report.rows.len() as u64, "object");
    let parts = if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") };
    context.summary(problems > 0, &format!("{objects}: {parts}"))?;
    if let Some(why) = &report.stopped {
        context.out.flush()?;
        context.talk.warn(&format!("it ended early: {why}; run it again, what is done is not done twice"));
    }
    if plan.action == Action::Pause && report.count(|outcome| *outcome == Outcome::Paused) > 0 {
        context.say("`homelab-dr gitops resume` takes it back, from any machine")?;
    }
    Ok(())
}
