//! What a drill came to, by its plan and its journal alone: the same journal always gives the same verdict.
//!
//! Nothing restored is failed, and so is no check made: a rehearsal in which nothing was seen proves nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::drill::databases::NOT_VERIFIED;
use crate::drill::part::Into;
use crate::drill::words::checks;
use crate::format::record::{REMARKS_MAX, RehearsalRecord, RehearsalTarget, Rehearsed, RehearsedBook, RehearsedSource};
use crate::runbook::{Action, Objectives, Step};
use crate::runs::event::{Event, Outcome, Record};
use crate::runs::plan::RunPlan;

/// Who held it, and with what.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The recipient whose identity was used, where that can be told.
    pub recipient: String,
    /// The machine.
    pub host: String,
}

/// What the events say.
#[derive(Default)]
struct Heard<'a> {
    begun: Option<Time>,
    /// The target was there: from here on it is a recovery.
    ready: Option<Time>,
    ended: Option<(Time, Outcome)>,
    last: Option<Time>,
    done: BTreeMap<&'a str, Time>,
    failed: Option<String>,
    refused: Option<String>,
    stopped: bool,
    remarks: Vec<String>,
    left: Vec<String>,
}

impl<'a> Heard<'a> {
    fn of(records: &'a [Record]) -> Self {
        let mut heard = Self::default();
        for Record { at, event } in records {
            let Some(now) = Time::parse(at) else { continue };
            heard.last = Some(now);
            match event {
                Event::TakenUp { .. } => heard.begun = heard.begun.or(Some(now)),
                Event::Prepared { .. } => heard.ready = Some(now),
                Event::Refused { why, .. } => heard.refused = Some(why.clone()),
                Event::Done { step, said, .. } => {
                    heard.done.insert(step, now);
                    heard.remark(said);
                }
                Event::Acted { said, .. } => heard.remark(said),
                Event::Failed { step, why, .. } if heard.failed.is_none() => {
                    heard.failed = Some(format!("step {step}: {why}"));
                }
                Event::Paused { .. } => heard.stopped = true,
                Event::Ended { outcome } => heard.ended = Some((now, *outcome)),
                Event::Cleared { left, .. } => heard.left.clone_from(left),
                _ => {}
            }
        }
        heard
    }

    fn remark(&mut self, said: &[String]) {
        self.remarks.extend(said.iter().filter(|line| line.starts_with(NOT_VERIFIED)).cloned());
    }

    /// Why it did not pass, whatever was to be reached.
    fn why(&self, checks: u64, restored: bool) -> Option<String> {
        if let Some(why) = self.refused.as_ref().or(self.failed.as_ref()) {
            return Some(why.clone());
        }
        match self.ended {
            Some((_, Outcome::Recovered)) if !restored => Some("nothing was restored".to_owned()),
            Some((_, Outcome::Recovered)) if checks == 0 => Some("no check was made".to_owned()),
            Some((_, Outcome::Recovered)) => None,
            _ => Some("it ended before everything was done".to_owned()),
        }
    }
}

/// The record of a drill. `steps` are those that were rehearsed.
#[must_use]
pub fn verdict(
    plan: &RunPlan,
    steps: &[Step],
    objectives: Objectives,
    left_out: u64,
    records: &[Record],
    holder: Holder,
) -> RehearsalRecord {
    let heard = Heard::of(records);
    let made = Time::parse(&plan.made).unwrap_or_default();
    let begun = heard.begun.unwrap_or(made);
    let from = heard.ready.unwrap_or(begun);
    let since = |at: Time| u64::try_from(at.since(from).as_millis()).unwrap_or(u64::MAX);
    let is_done = |step: &&Step| heard.done.contains_key(step.id.as_str());
    let count = |steps: &mut dyn Iterator<Item = &Step>| steps.map(|step| checks(step).len() as u64).sum();
    let (all, held): (u64, u64) = (count(&mut steps.iter()), count(&mut steps.iter().filter(is_done)));
    let restored = steps.iter().filter(is_done).any(|step| brought_something(plan, &step.id));
    let why = heard.why(all, restored);
    let sources = sources(plan, steps, begun, |step| heard.done.get(step).copied().map(since));
    let took = heard.ended.map(|(at, _)| since(at)).filter(|_| why.is_none());
    let late = objectives.rto.zip(took).is_some_and(|(rto, took)| u128::from(took) > rto.as_millis());
    // How old something is that is dated in the future, nobody knows.
    let is_old =
        |source: &RehearsedSource, rpo: Duration| source.age > rpo.as_secs() || source.started.is_future(begun);
    let old = objectives.rpo.is_some_and(|rpo| sources.iter().any(|source| is_old(source, rpo)));
    let outcome = match &why {
        Some(_) if heard.stopped && heard.failed.is_none() => Rehearsed::Stopped,
        Some(_) => Rehearsed::Failed,
        None if late || old => Rehearsed::Missed,
        None => Rehearsed::Passed,
    };
    let doubts =
        plan.doubts.iter().flat_map(|(step, doubts)| doubts.iter().map(move |doubt| format!("{step}: {doubt}")));
    let mut remarks: Vec<String> = heard.remarks.iter().cloned().chain(doubts).collect();
    remarks.truncate(REMARKS_MAX);
    let mut left_behind = heard.left;
    left_behind.truncate(REMARKS_MAX);
    let part = plan.drill.as_ref();
    let of_sources = part.is_some_and(|part| part.of_sources);
    let Holder { recipient, host } = holder;
    RehearsalRecord {
        run: plan.run.clone(),
        begun,
        ended: heard.last.unwrap_or(begun),
        outcome,
        runbook: (!of_sources)
            .then(|| RehearsedBook { id: plan.runbook.id.clone(), digest: plan.runbook.digest.clone() }),
        sources,
        target: match part.map(|part| part.into) {
            Some(Into::Cluster) => RehearsalTarget::Cluster,
            _ => RehearsalTarget::Folder,
        },
        took,
        rto: objectives.rto.map(|rto| rto.as_secs()),
        rpo: objectives.rpo.map(|rpo| rpo.as_secs()),
        checks: all,
        held,
        left_out,
        remarks,
        why: why.unwrap_or_default(),
        recipient,
        host,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        left_behind,
    }
}

/// Whether a step that is done brought anything back, by the plan.
fn brought_something(plan: &RunPlan, step: &str) -> bool {
    match (plan.fates.get(step), plan.chosen.get(step)) {
        (Some(fates), _) => !fates.create.is_empty() || fates.bytes() > 0,
        (None, Some(chosen)) => plan.files.get(step).map_or(chosen.files, |files| files.written) > 0,
        (None, None) => false,
    }
}

/// Whether a step brings back only some of its snapshot.
fn is_part(step: &Step) -> bool {
    match &step.action {
        Action::RestoreFiles(files) => {
            let path = files.path.as_deref().unwrap_or_default();
            !path.trim_matches('/').is_empty() || !files.include.is_empty() || !files.exclude.is_empty()
        }
        Action::RestoreResources(objects) => !objects.include.is_empty() || !objects.exclude.is_empty(),
        _ => false,
    }
}

/// What each step took, and the volumes beside objects.
fn sources(plan: &RunPlan, steps: &[Step], begun: Time, took: impl Fn(&str) -> Option<u64>) -> Vec<RehearsedSource> {
    let one =
        |id: &str, (source, snapshot, started): (&str, &str, &str), (bytes, is_some): (u64, fn(&Step) -> bool)| {
            // What nothing looks at counts no more than what did not come back.
            let is_part = steps.iter().any(|step| step.id == id && (is_some(step) || checks(step).is_empty()));
            let started = Time::parse(started)?;
            Some(RehearsedSource {
                source: source.to_owned(),
                snapshot: snapshot.parse::<ObjectId>().ok()?,
                started,
                age: begun.since(started).as_secs(),
                bytes,
                took: took(id),
                part: is_part.then_some(true),
            })
        };
    let chosen = plan.chosen.iter().filter(|(step, _)| !plan.skipped.contains(*step)).filter_map(|(step, chosen)| {
        let bytes = plan.files.get(step).map_or(chosen.bytes, |files| files.bytes);
        one(step, (&chosen.source, &chosen.snapshot, &chosen.started), (bytes, is_part))
    });
    let filled = plan.fates.iter().flat_map(|(step, fates)| fates.fill.iter().map(move |fill| (step, fill)));
    // Of a claim all is brought back, whatever else the step leaves out.
    let filled = filled
        .filter_map(|(step, fill)| one(step, (&fill.source, &fill.snapshot, &fill.started), (fill.bytes, |_| false)));
    chosen.chain(filled).collect()
}
