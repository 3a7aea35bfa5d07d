//! From a journal to a [`Document`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::document::{
    Answer, Book, Check, Cleared, Document, DocumentError, Drill, FORM, LeftOut, LetGo, Looked, Objectives, Objects,
    Rpo, Rto, Snapshot, State, Step, TakenUp, Target, Timing, Totals, Try, Verdict, Volume,
};
use super::idle::{idle, timing};
use super::standing::{Stand, Standing};
use crate::base::clock::Time;
use crate::base::secret::holds_secret;
use crate::crypto::report_key::ReportPublic;
use crate::drill::databases::NOT_VERIFIED;
use crate::drill::part::Part;
use crate::drill::words;
use crate::language::{NOT_SHOWN, holds_password, unless_secret};
use crate::runbook::{self, Runbook};
use crate::runs::event::{Event, Record};
use crate::runs::journal::Found;
use crate::runs::plan::{Fates, Fill, RunPlan};

/// Bytes of a secret that is looked for: a shorter one is part of every second word.
const SECRET_BYTES_MIN: usize = 4;

/// Fields of events that are free text.
const TEXTS: [&str; 5] = ["said", "why", "help", "left", "recipient"];

/// A time of a journal.
pub(super) fn time(text: &str) -> Result<Time, DocumentError> {
    Time::parse(text).ok_or_else(|| DocumentError::Time { text: text.to_owned() })
}

/// A text without what looks like a secret: a journal stays on its machine, and a report is handed on.
fn redacted(text: &str) -> String {
    if holds_secret(text) {
        return NOT_SHOWN.to_owned();
    }
    let word = |word: &str| if holds_password(word) { NOT_SHOWN.to_owned() } else { word.to_owned() };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn all_redacted(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| redacted(line)).collect()
}

impl Document {
    /// Of a journal, with its runbook and steps as [`RunPlan::steps`] gives them. `is_carried_out`: whether a process has the journal; asked only where the journal leaves it open.
    pub fn of(
        found: &Found,
        (runbook, steps): (&Runbook, &[runbook::Step]),
        key: &ReportPublic,
        is_carried_out: impl FnOnce() -> bool,
    ) -> Result<Self, DocumentError> {
        let plan = &found.plan;
        let hidden = Hidden::of(plan);
        let records = &hidden.without(&found.records)?;
        let stand = Stand::of(records, is_carried_out)?;
        let mut histories: BTreeMap<&str, History> = BTreeMap::new();
        let (mut taken_up, mut last): (Vec<TakenUp>, _) = (Vec::new(), None);
        for Record { at, event } in records {
            let at = time(at)?;
            if let Event::TakenUp { host, by, version } = event {
                histories.values_mut().for_each(History::died);
                let (host, by, version) = (host.clone(), by.clone(), version.clone());
                taken_up.push(TakenUp { at, until: at, host, by, version, recipient: None });
            }
            if let (Event::Opened { recipient }, Some(process)) = (event, taken_up.last_mut()) {
                process.recipient = Some(redacted(recipient));
            }
            if let Some(process) = taken_up.last_mut() {
                process.until = at;
            }
            if let Some(id) = step_of(event) {
                histories.entry(id).or_default().apply(at, event);
            }
            last = Some(at);
        }
        if stand.standing != Standing::UnderWay {
            histories.values_mut().for_each(History::died);
        }
        let (planned, wanted) = (time(&plan.made)?, plan.objectives(runbook));
        let idle = idle(records)?;
        let time = match &plan.drill {
            // What a drill makes and takes away is no part of a recovery.
            Some(_) => {
                timing(prepared(records)?.or(taken_up.first().map(|first| first.at)), over(records)?.or(last), &idle)
            }
            None => timing(taken_up.first().map(|first| first.at), last, &idle),
        };
        let steps: Vec<Step> = steps
            .iter()
            .map(|step| {
                let history = histories.remove(step.id.as_str()).unwrap_or_default();
                let around = (runbook, plan.drill.is_some(), &hidden);
                history.into_step(step, around, plan.fates.get(&step.id), &stand)
            })
            .collect();
        let snapshots = snapshots(plan, &steps, planned, &stand, wanted.rpo)?;
        let volumes = volumes(plan, &steps, planned, &stand, wanted.rpo);
        let objectives = Objectives {
            rto: wanted.rto.map(|objective| rto(objective.as_secs(), &time, (stand.standing, plan.skipped.is_empty()))),
            rpo: wanted
                .rpo
                .map(|objective| Rpo { objective_seconds: objective.as_secs(), verdict: rpo(&snapshots, &volumes) }),
        };
        Ok(Self {
            homelab_dr_report: FORM,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            key: key.to_string(),
            run: plan.run.clone(),
            runbook: Book {
                id: plan.runbook.id.clone(),
                title: plan.runbook.title.clone(),
                digest: plan.runbook.digest.clone(),
            },
            values: values(plan),
            planned,
            target: plan.cluster.as_ref().map_or(Target::Machine, |cluster| Target::Cluster {
                uid: cluster.uid.clone(),
                shown: redacted(&cluster.folder.as_ref().map_or_else(|| cluster.shown.clone(), |_| cluster.place())),
                version: Some(redacted(&cluster.version)).filter(|version| !version.is_empty()),
            }),
            repository: plan.repository.clone(),
            stand,
            taken_up,
            time,
            idle,
            objectives,
            totals: totals(plan, &steps),
            snapshots,
            volumes,
            steps,
            drill: plan.drill.as_ref().map(|part| drill(part, records)),
            place: String::new(),
        })
    }
}

/// The values of parameters whose names say that they are secrets: whatever a program or a server said, they are in no report.
struct Hidden(Vec<String>);

impl Hidden {
    fn of(plan: &RunPlan) -> Self {
        let is_secret =
            |name: &str, value: &str| value.len() >= SECRET_BYTES_MIN && unless_secret(name, value) != value;
        let mut values: Vec<String> =
            plan.values.iter().filter(|(name, value)| is_secret(name, value)).map(|(_, value)| value.clone()).collect();
        // The longest first: one may be a part of another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values)
    }

    fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), NOT_SHOWN))
    }

    /// In free text: a step or a kind of event may have a name that is a bad password too.
    fn hide_all(&self, value: &mut Value, is_text: bool) {
        match value {
            Value::String(text) if is_text => *text = self.hide(text),
            Value::Array(all) => all.iter_mut().for_each(|one| self.hide_all(one, is_text)),
            Value::Object(fields) => {
                fields.iter_mut().for_each(|(name, one)| self.hide_all(one, is_text || TEXTS.contains(&name.as_str())));
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The records without them: each of them, since a report that leaves one out says something else than what happened.
    fn without(&self, records: &[Record]) -> Result<Vec<Record>, DocumentError> {
        let hidden = |record: &Record| {
            let mut value = serde_json::to_value(record)?;
            self.hide_all(&mut value, false);
            serde_json::from_value(value)
        };
        let hidden =
            |record: &Record| hidden(record).map_err(|source| DocumentError::Hidden { at: record.at.clone(), source });
        if self.0.is_empty() { Ok(records.to_vec()) } else { records.iter().map(hidden).collect() }
    }
}

fn values(plan: &RunPlan) -> BTreeMap<String, String> {
    let shown = |name: &String, value: &String| redacted(unless_secret(name, value));
    plan.values.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect()
}

fn step_of(event: &Event) -> Option<&str> {
    match event {
        Event::Begun { step }
        | Event::Asked { step, .. }
        | Event::Agreed { step, .. }
        | Event::Declined { step, .. }
        | Event::Acted { step, .. }
        | Event::Checked { step, .. }
        | Event::Done { step, .. }
        | Event::Failed { step, .. }
        | Event::LettingGo { step }
        | Event::LetGo { step, .. }
        | Event::CutOff { step }
        | Event::Skipped { step } => Some(step),
        Event::TakenUp { .. }
        | Event::Opened { .. }
        | Event::Paused { .. }
        | Event::Prepared { .. }
        | Event::Refused { .. }
        | Event::Cleared { .. }
        | Event::Ended { .. } => None,
    }
}

/// What has happened to a step.
#[derive(Default)]
struct History {
    tries: Vec<Try>,
    answers: Vec<Answer>,
    let_go: Vec<LetGo>,
    asked: Option<crate::runs::event::Question>,
    is_left_out: bool,
    /// What was seen of checks in the last try, by their places.
    checked: BTreeMap<usize, Seen>,
}

/// What was seen of a check.
struct Seen {
    held: bool,
    said: String,
    at: Option<Time>,
    took_ms: u64,
}

impl History {
    fn apply(&mut self, at: Time, event: &Event) {
        match event {
            Event::Begun { .. } => {
                self.checked.clear();
                self.tries.push(Try {
                    begun: at,
                    ended: None,
                    state: State::UnderWay,
                    took_ms: None,
                    said: Vec::new(),
                    why: String::new(),
                    help: String::new(),
                });
            }
            Event::Checked { check, held, said, seen, took, .. } => {
                let seen = Seen { held: *held, said: redacted(said), at: time(seen).ok(), took_ms: *took };
                self.checked.insert(*check, seen);
            }
            Event::Acted { said, .. } => {
                if let Some(one) = self.tries.last_mut() {
                    one.said = all_redacted(said);
                }
            }
            Event::Done { said, took, .. } => {
                if let Some(one) = self.ended(at, State::Done, Some(*took)) {
                    one.said.extend(all_redacted(said));
                }
            }
            Event::Failed { why, help, took, .. } => {
                if let Some(one) = self.ended(at, State::Failed, Some(*took)) {
                    (one.why, one.help) = (redacted(why), redacted(help));
                }
            }
            Event::CutOff { .. } => drop(self.ended(at, State::Stopped, None)),
            Event::Asked { question, .. } => self.asked = Some(*question),
            Event::Agreed { question, said, by, .. } => self.answers.push(Answer {
                at,
                question: Some(*question),
                agreed: true,
                said: redacted(said),
                by: by.clone(),
            }),
            Event::Declined { said, by, .. } => self.answers.push(Answer {
                at,
                question: self.asked,
                agreed: false,
                said: redacted(said),
                by: by.clone(),
            }),
            Event::LetGo { said, is_well, .. } => {
                self.let_go.push(LetGo { at, said: all_redacted(said), is_well: *is_well });
            }
            Event::Skipped { .. } => self.is_left_out = true,
            Event::TakenUp { .. }
            | Event::Opened { .. }
            | Event::LettingGo { .. }
            | Event::Paused { .. }
            | Event::Prepared { .. }
            | Event::Refused { .. }
            | Event::Cleared { .. }
            | Event::Ended { .. } => {}
        }
    }

    fn ended(&mut self, at: Time, state: State, took_ms: Option<u64>) -> Option<&mut Try> {
        let one = self.tries.last_mut().filter(|one| one.state == State::UnderWay)?;
        (one.ended, one.state, one.took_ms) = (Some(at), state, took_ms);
        Some(one)
    }

    /// The process that had it under way is no more.
    fn died(&mut self) {
        for one in self.tries.iter_mut().filter(|one| one.state == State::UnderWay) {
            one.state = State::CutOff;
        }
    }

    fn into_step(
        mut self,
        step: &runbook::Step,
        (runbook, is_drill, hidden): (&Runbook, bool, &Hidden),
        fates: Option<&Fates>,
        stand: &Stand,
    ) -> Step {
        let waits = stand.waits_for.as_ref().is_some_and(|waits| waits.step == step.id);
        let state = match self.tries.last() {
            _ if self.is_left_out => State::LeftOut,
            // That of one that failed is whether the others go on: it stays what it is.
            Some(one) if !waits || one.state == State::Failed => one.state,
            _ if waits => State::Waits,
            _ if step.is_compensation => State::NotNeeded,
            _ => State::NotBegun,
        };
        // The runbook speaks of what is in use.
        let (does, asked) = if is_drill {
            (words::does(step), words::checks(step))
        } else {
            (runbook.line_of(&step.id).0, runbook.checks_of(&step.id))
        };
        let checks = self.checks(asked.iter().map(|asked| hidden.hide(asked)).collect());
        Step {
            id: step.id.clone(),
            title: step.title.clone(),
            kind: runbook.kind_of(&step.id).to_owned(),
            does: redacted(&hidden.hide(&does)),
            needs: step.needs.clone(),
            is_destructive: step.is_destructive,
            is_compensation: step.is_compensation,
            state,
            tries: self.tries,
            checks,
            answers: self.answers,
            let_go: self.let_go,
            objects: fates.map(objects),
        }
    }

    /// What was seen stands at the end of what a step said, one line for each check; it is taken from there.
    fn checks(&mut self, asked: Vec<String>) -> Vec<Check> {
        let done = self.tries.last_mut().filter(|one| one.state == State::Done);
        let is_done = done.is_some();
        let seen = done.and_then(|one| one.said.len().checked_sub(asked.len()).map(|at| one.said.split_off(at)));
        let mut seen = seen.unwrap_or_default().into_iter();
        let (is_written_down, is_untried) = (!self.checked.is_empty(), self.tries.is_empty());
        let one = |(place, asked): (usize, String)| {
            let (asked, said) = (redacted(&asked), seen.next());
            if let Some(Seen { held, said, at, took_ms }) = self.checked.remove(&place) {
                let outcome = if held { Looked::Held } else { Looked::NotHeld };
                return Check { asked, held, outcome, seen: Some(said), at, took_ms: Some(took_ms) };
            }
            // A step that is done was seen to hold, also where its checks were seen by a process before.
            let outcome = match is_done {
                true => Looked::Held,
                false if is_written_down || is_untried => Looked::NotLookedAt,
                false => Looked::NotKnown,
            };
            Check { asked, held: is_done, outcome, seen: said, at: None, took_ms: None }
        };
        asked.into_iter().enumerate().map(one).collect()
    }
}

fn objects(fates: &Fates) -> Objects {
    let count = |list: &Vec<String>| list.len() as u64;
    Objects {
        create: count(&fates.create),
        replace: count(&fates.replace),
        keep: count(&fates.keep),
        same: fates.same,
        conflict: count(&fates.conflict),
        skipped: fates.skipped,
    }
}

fn is_done(steps: &[Step], id: &str) -> bool {
    steps.iter().any(|step| step.id == id && step.state == State::Done)
}

fn snapshots(
    plan: &RunPlan,
    steps: &[Step],
    planned: Time,
    stand: &Stand,
    objective: Option<Duration>,
) -> Result<Vec<Snapshot>, DocumentError> {
    let of = |id: &String, chosen: &crate::runs::plan::Chosen| {
        let started = time(&chosen.started)?;
        let verdict = |objective: Duration| {
            if chosen.age > objective.as_secs() {
                Verdict::Missed
            } else if started > planned {
                Verdict::NotKnown // some clock was wrong, and an age of nothing means nothing
            } else if is_done(steps, id) {
                Verdict::Met
            } else if stand.standing.is_over() {
                Verdict::NotReached
            } else {
                Verdict::Open
            }
        };
        Ok(Snapshot {
            step: id.clone(),
            id: chosen.snapshot.clone(),
            source: chosen.source.clone(),
            started,
            age_seconds: chosen.age,
            files: chosen.files,
            bytes: chosen.bytes,
            rpo: objective.map(verdict),
        })
    };
    plan.chosen.iter().map(|(id, chosen)| of(id, chosen)).collect()
}

fn volumes(plan: &RunPlan, steps: &[Step], planned: Time, stand: &Stand, objective: Option<Duration>) -> Vec<Volume> {
    let of = |(step, fates): (&String, &Fates)| {
        let is_done = is_done(steps, step);
        let one = |fill: &Fill| {
            let started = time(&fill.started).ok();
            let age = started.map(|started| planned.since(started).as_secs());
            let is_of_the_future = started.is_some_and(|started| started > planned);
            let rpo = objective.map(|objective| match age {
                None => Verdict::NotKnown,
                Some(age) if age > objective.as_secs() => Verdict::Missed,
                Some(_) if is_of_the_future => Verdict::NotKnown,
                Some(_) if is_done => Verdict::Met,
                Some(_) if stand.standing.is_over() => Verdict::NotReached,
                Some(_) => Verdict::Open,
            });
            Volume {
                step: step.clone(),
                claim: fill.claim.clone(),
                snapshot: fill.snapshot.clone(),
                bytes: fill.bytes,
                started,
                age_seconds: age,
                rpo,
            }
        };
        fates.fill.iter().map(one).collect::<Vec<_>>()
    };
    plan.fates.iter().flat_map(of).collect()
}

/// When the target of a drill was there.
fn prepared(records: &[Record]) -> Result<Option<Time>, DocumentError> {
    let found = records.iter().find(|record| matches!(record.event, Event::Prepared { .. }));
    found.map(|record| time(&record.at)).transpose()
}

/// When the run itself was over.
fn over(records: &[Record]) -> Result<Option<Time>, DocumentError> {
    let is_over = |record: &&Record| matches!(record.event, Event::Ended { .. } | Event::Paused { .. });
    records.iter().rev().find(is_over).map(|record| time(&record.at)).transpose()
}

fn drill(part: &Part, records: &[Record]) -> Drill {
    let mut drill = Drill {
        prepared: Vec::new(),
        left_out: part
            .not_rehearsed
            .iter()
            .map(|one| LeftOut { step: one.step.clone(), what: redacted(&one.what), why: redacted(&one.why) })
            .collect(),
        not_verified: Vec::new(),
        cleared: None,
    };
    for Record { event, .. } in records {
        match event {
            Event::Prepared { said } => drill.prepared = all_redacted(said),
            Event::Refused { why, .. } => drill.prepared = vec![redacted(why)],
            Event::Done { said, .. } | Event::Acted { said, .. } => {
                let not = said.iter().filter_map(|line| line.strip_prefix(NOT_VERIFIED));
                drill.not_verified.extend(not.map(redacted));
            }
            Event::Cleared { said, left, kept } => {
                drill.cleared = Some(Cleared { said: all_redacted(said), left: all_redacted(left), kept: *kept });
            }
            _ => {}
        }
    }
    drill
}

fn rto(objective_seconds: u64, time: &Timing, (standing, is_all): (Standing, bool)) -> Rto {
    let verdict = |took: u64| match standing {
        _ if took > objective_seconds => Verdict::Missed,
        // How long all of it takes, a part does not tell.
        Standing::Recovered | Standing::WithFailures if !is_all => Verdict::NotKnown,
        Standing::Recovered | Standing::WithFailures => Verdict::Met,
        Standing::Failed => Verdict::NotReached,
        _ => Verdict::Open,
    };
    Rto { objective_seconds, verdict: verdict(time.gross_seconds), net_verdict: verdict(time.net_seconds) }
}

/// The worst of all. Volumes whose age the plan does not have leave it unknown whether all is young enough.
fn rpo(snapshots: &[Snapshot], volumes: &[Volume]) -> Verdict {
    let all = || snapshots.iter().map(|one| one.rpo).chain(volumes.iter().map(|one| one.rpo));
    let is = |verdict| all().any(|one| one == Some(verdict));
    let bad = [Verdict::Missed, Verdict::NotReached, Verdict::Open].into_iter().find(|verdict| is(*verdict));
    match bad {
        Some(verdict) => verdict,
        None if snapshots.is_empty() || is(Verdict::NotKnown) => Verdict::NotKnown,
        None => Verdict::Met,
    }
}

fn totals(plan: &RunPlan, steps: &[Step]) -> Totals {
    let bytes =
        |(id, chosen): (&String, &crate::runs::plan::Chosen)| plan.fates.get(id).map_or(chosen.bytes, Fates::bytes);
    let counted = || steps.iter().filter(|step| step.state != State::NotNeeded);
    let count = |state| counted().filter(|step| step.state == state).count() as u64;
    let checks = || counted().filter(|step| step.state != State::LeftOut).flat_map(|step| &step.checks);
    Totals {
        bytes_planned: plan.bytes(),
        bytes_done: plan.chosen.iter().filter(|(id, _)| is_done(steps, id)).map(bytes).sum(),
        steps: counted().count() as u64,
        done: count(State::Done),
        failed: count(State::Failed),
        left_out: count(State::LeftOut),
        checks: checks().count() as u64,
        checks_held: checks().filter(|check| check.held).count() as u64,
    }
}
