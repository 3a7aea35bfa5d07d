//! What all renderings say in the same words.

use std::time::Duration;

use super::document::{Answer, Check, Document, Looked, Snapshot, State, Step, Try, Verdict};
use super::standing::Standing;
use crate::base::clock::Time;
use crate::base::units;
use crate::runs::event::Question;

/// A length of time for people.
pub(super) fn span(seconds: u64) -> String {
    units::span(Duration::from_secs(seconds))
}

/// A moment for people.
pub(super) fn when(time: Time) -> String {
    time.utc().format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What a run came to, in few words; of which so many steps were left out, as asked.
#[must_use]
pub const fn came_to(standing: Standing, left_out: u64) -> &'static str {
    match standing {
        Standing::Recovered if left_out > 0 => "Done in part",
        Standing::Recovered => "Recovered",
        Standing::WithFailures => "Ended with failures",
        Standing::Failed => "FAILED",
        Standing::Paused => "Not over: stopped",
        Standing::Waiting => "Not over: waits for a person",
        Standing::Declined => "Not over: stopped by a person",
        Standing::CutOff => "Not over: cut off",
        Standing::UnderWay => "Not over: under way",
    }
}

/// The same of a document: of a drill it says that it was one.
pub(super) fn headline(document: &Document) -> String {
    let came = came_to(document.stand.standing, document.totals.left_out);
    if document.drill.is_some() { format!("Drill: {came}") } else { came.to_owned() }
}

fn ids(document: &Document, state: State) -> String {
    let ids: Vec<&str> =
        document.steps.iter().filter(|step| step.state == state).map(|step| step.id.as_str()).collect();
    ids.join(", ")
}

/// What a run came to, in a sentence; what has to be done next is [`next`].
pub(super) fn sentence(document: &Document) -> String {
    let (stand, totals) = (&document.stand, &document.totals);
    let all = if totals.left_out == 0 {
        format!("All {} steps were done", totals.steps)
    } else {
        format!("{} of {} steps were done, and {} left out, as asked", totals.done, totals.steps, totals.left_out)
    };
    let failed = match ids(document, State::Failed) {
        many if many.contains(',') => format!("Steps {many} failed"),
        one if !one.is_empty() => format!("Step {one} failed"),
        _ => "It ended before everything was done".to_owned(),
    };
    match stand.standing {
        Standing::Recovered if totals.checks == 0 => format!("{all}; nothing was checked, as they have no checks."),
        Standing::Recovered => format!("{all}; every check held ({} of {}).", totals.checks_held, totals.checks),
        Standing::WithFailures => format!("{failed}, as the runbook or a person allowed. The others were done."),
        Standing::Failed if is_undone(document) => {
            format!("{failed}. The steps that the runbook has for that were begun, so it cannot go on: begin anew.")
        }
        Standing::Failed => format!("{failed}. Nothing that comes after was begun."),
        Standing::Paused | Standing::Declined => format!("Stopped because {}.", stand.why),
        Standing::Waiting | Standing::UnderWay => match &stand.waits_for {
            Some(waits) => format!("At step {} a person has {}.", waits.step, question(waits.question)),
            None => "A process carries it out while this is written.".to_owned(),
        },
        Standing::CutOff => {
            "The process that carried it out ended without a word: it was killed, or its machine stopped.".to_owned()
        }
    }
}

/// Whether steps were begun that are there for the failure of another: such a run is not gone on with.
fn is_undone(document: &Document) -> bool {
    document.steps.iter().any(|step| step.is_compensation && !step.tries.is_empty())
}

/// How a run goes on that can.
pub(super) fn next(document: &Document) -> Option<String> {
    if document.drill.is_some() {
        // What it has recovered is gone.
        return None;
    }
    let resume = format!("homelab-dr recover --resume {}", document.run);
    match document.stand.standing {
        Standing::Recovered | Standing::WithFailures | Standing::UnderWay => None,
        _ if is_undone(document) && document.stand.standing.is_over() => None,
        Standing::Waiting => {
            let confirm = document.stand.waits_for.as_ref().map(|waits| format!(" --confirm {}", waits.step));
            Some(format!("{resume}{}{}", confirm.unwrap_or_default(), document.place))
        }
        _ => Some(resume + &document.place),
    }
}

pub(super) const fn question(question: Question) -> &'static str {
    match question {
        Question::Manual => "to do what it says, and to say so",
        Question::Destructive => "to say whether what is there may be replaced or removed",
        Question::Doubtful => "to say whether data is taken that is perhaps not all that was there",
        Question::Again => "to say whether it is done again, as nobody knows how far it came",
        Question::GoOn => "to say whether the others go on although it has failed",
    }
}

/// Who answered what.
pub(super) fn answer(answer: &Answer) -> String {
    let what = match (answer.agreed, answer.question) {
        (true, Some(Question::Manual)) => "said that it is done",
        (true, Some(Question::Destructive)) => "agreed that what is there may be replaced or removed",
        (true, Some(Question::Doubtful)) => "agreed to take data that is perhaps not all that was there",
        (true, Some(Question::Again)) => "agreed to do it again",
        (true, Some(Question::GoOn)) => "agreed to go on although it has failed",
        (true, None) => "agreed",
        (false, _) => "did not agree",
    };
    format!("{} {what}, by “{}”", answer.by, answer.said)
}

pub(super) const fn state(state: State) -> &'static str {
    match state {
        State::Done => "done",
        State::Failed => "FAILED",
        State::Stopped => "stopped before its end",
        State::CutOff => "cut off, its end is not known",
        State::UnderWay => "under way",
        State::Waits => "waits for a person",
        State::LeftOut => "left out, as asked",
        State::NotBegun => "not begun",
        State::NotNeeded => "not needed",
    }
}

/// What came of a check.
pub(super) const fn looked(outcome: Looked) -> &'static str {
    match outcome {
        Looked::Held => "held",
        Looked::NotHeld => "did NOT hold",
        Looked::NotLookedAt => "not looked at",
        Looked::NotKnown => "not seen to hold",
    }
}

/// What was seen of a check, and when.
pub(super) fn seen(check: &Check) -> Option<String> {
    let seen = check.seen.as_deref()?;
    // Whether it held stands before it.
    let seen = ["holds: ", "does NOT hold: "].iter().find_map(|word| seen.strip_prefix(word)).unwrap_or(seen);
    let at = check.at.map(|at| format!(" ({}, after {})", when(at), units::span_ms(check.took_ms.unwrap_or_default())));
    Some(format!("{seen}{}", at.unwrap_or_default()))
}

pub(super) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "MISSED",
        Verdict::NotReached => "not reached",
        Verdict::Open => "open",
        Verdict::NotKnown => "not known",
    }
}

/// How a try ended and how long it took.
pub(super) fn ended(one: &Try) -> String {
    // What takes no time a person has done, or it was done at once.
    match one.took_ms.filter(|took| *took >= 100) {
        Some(took) if one.state == State::Done => format!("done in {}", units::span_ms(took)),
        Some(took) => format!("{} after {}", state(one.state), units::span_ms(took)),
        None => state(one.state).to_owned(),
    }
}

/// Where a step is, and how long its last try took.
pub(super) fn standing_of(step: &Step) -> String {
    step.tries.last().filter(|one| one.state == step.state).map_or_else(|| state(step.state).to_owned(), ended)
}

/// A row of the objectives.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) wanted: String,
    pub(super) came: String,
    pub(super) verdict: Option<Verdict>,
    pub(super) word: String,
}

/// What was to be reached and what was measured, also where nothing was to be reached.
pub(super) fn rows(document: &Document) -> Vec<Row> {
    let mut rows = vec![rto(document)];
    let wanted = wanted(document.objectives.rpo.as_ref().map(|rpo| rpo.objective_seconds));
    let mut told: Vec<(&str, &str)> = Vec::new();
    for snapshot in &document.snapshots {
        let one = (snapshot.source.as_str(), snapshot.id.as_str());
        if !told.contains(&one) {
            told.push(one);
            let same = document.snapshots.iter().filter(|other| (other.source.as_str(), other.id.as_str()) == one);
            rows.push(rpo(&same.collect::<Vec<_>>(), &wanted));
        }
    }
    rows.extend(document.volumes.iter().map(|volume| Row {
        what: format!("Age of the data (RPO): volume {}", volume.claim),
        wanted: wanted.clone(),
        came: volume.age_seconds.map_or_else(|| "not in the plan".to_owned(), span),
        verdict: volume.rpo,
        word: word(volume.rpo),
    }));
    rows
}

fn wanted(seconds: Option<u64>) -> String {
    seconds.map_or("none set".to_owned(), |seconds| units::duration(Duration::from_secs(seconds)))
}

fn word(of: Option<Verdict>) -> String {
    of.map_or("no objective", verdict).to_owned()
}

fn rto(document: &Document) -> Row {
    let (time, rto) = (&document.time, &document.objectives.rto);
    let mut came = vec![span(time.gross_seconds)];
    if time.waited_seconds > 0 {
        came.push(format!("{} without waits for people", span(time.net_seconds)));
    }
    if time.away_seconds > 0 {
        came.push(format!("for {} nobody carried it out", span(time.away_seconds)));
    }
    let verdict = rto.as_ref().map(|rto| rto.verdict);
    let is_people = rto.as_ref().is_some_and(|rto| rto.verdict == Verdict::Missed && rto.net_verdict == Verdict::Met);
    let word = if is_people { "MISSED, but for waits for people met".to_owned() } else { word(verdict) };
    Row {
        what: "Time to recover (RTO)".to_owned(),
        wanted: wanted(rto.as_ref().map(|rto| rto.objective_seconds)),
        came: came.join("; "),
        verdict,
        word,
    }
}

/// Of one snapshot, which several steps may take: the worst of their verdicts.
fn rpo(taken: &[&Snapshot], wanted: &str) -> Row {
    let worst = [Verdict::Missed, Verdict::NotReached, Verdict::NotKnown, Verdict::Open, Verdict::Met];
    let verdict = worst.into_iter().find(|verdict| taken.iter().any(|one| one.rpo == Some(*verdict)));
    let (source, age) = taken.first().map_or(("", 0), |one| (one.source.as_str(), one.age_seconds));
    let steps = if taken.len() > 1 { format!(", for {} steps", taken.len()) } else { String::new() };
    let clock = verdict == Some(Verdict::NotKnown);
    Row {
        what: format!("Age of the data (RPO): {source}{steps}"),
        wanted: wanted.to_owned(),
        came: if clock { "dated after the plan: some clock was wrong".to_owned() } else { span(age) },
        verdict,
        word: word(verdict),
    }
}

/// The most lines of a step that a page shows; the JSON has all.
pub(super) const LINES_MAX: usize = 60;

/// The lines that a page shows, and how many it leaves out.
pub(super) fn first(lines: &[String]) -> (&[String], usize) {
    let shown = lines.get(..LINES_MAX).unwrap_or(lines);
    (shown, lines.len() - shown.len())
}

/// The start of a digest.
pub(super) fn short(hex: &str) -> &str {
    hex.get(..16).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_told_in_two_units() {
        let told = [0, 59, 60, 61, 3600, 3747, 86_400, 604_800, 700_000].map(span);
        assert_eq!(told, ["0 s", "59 s", "1 min", "1 min 1 s", "1 h", "1 h 2 min", "1 d", "7 d", "8 d 2 h"]);
        assert_eq!([99, 1605, 9999, 10_000].map(units::span_ms), ["0.0 s", "1.6 s", "9.9 s", "10 s"]);
    }

    #[test]
    fn of_many_lines_the_first_are_shown_and_the_others_counted() {
        let lines = vec![String::new(); LINES_MAX + 3];
        assert_eq!((first(&lines).0.len(), first(&lines).1), (LINES_MAX, 3));
        assert_eq!(first(&lines[..2]).1, 0);
    }
}
