//! How long a run would take: what comes back, along the steps as they would be carried out. Pure. It is no promise: nobody knows how long people take, and no line is always as fast.
//!
//! A step that was carried out before takes as long as it did then, and what is more to bring back by now comes at the rate that was measured. What was never measured is assumed, and said to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::measured::{Measured, Place, Ran, Size, Whole};
use super::plan::RunPlan;
use crate::runbook::{Action, Check, Probe, Step};

/// What comes back in a second: a line of 300 Mbit/s, or a disk that other things use too. From a repository in memory it was five times that (docs/performance.md).
pub const BYTES_A_SECOND: u64 = 36 << 20;
/// Small files made in a second: 40,000 in less than six were measured into memory (docs/performance.md), and disks are slower.
const FILES_A_SECOND: u64 = 5000;
/// Objects created, given back their owners of fields, and read back in a second, a few requests each.
const OBJECTS_A_SECOND: u64 = 20;
/// Until the pod of a mover is scheduled, has its image, and works; and until it is taken away.
const MOVER: Duration = Duration::from_secs(15);
/// What only changes a field, or looks once.
const SHORT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// How long all of it takes, as far as that can be known, in seconds.
    pub seconds: u64,
    /// The steps one after another that take so long.
    pub way: Vec<String>,
    /// The line, and not a step, is what it waits for: so much comes back at once.
    pub is_of_the_line: bool,
    /// How long each step takes, in seconds.
    pub steps: BTreeMap<String, u64>,
    /// Steps that take longer than that, and nobody knows how long: people, programs, applications that have to be ready.
    pub unknown: Vec<String>,
    /// Bytes a second that were reckoned with.
    pub bytes_a_second: u64,
    /// When that was measured; assumed where it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_of: Option<Ran>,
    /// Steps that took so long before, and when; all others are reckoned by rates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub as_in: BTreeMap<String, Ran>,
    /// What all of it took in its last drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drilled: Option<Whole>,
}

/// What is known before.
pub struct Known<'a> {
    /// What was measured.
    pub measured: &'a Measured,
    /// Where to.
    pub place: Place,
    /// Volumes filled at once; none where no pods fill them.
    pub movers: Option<usize>,
}

impl Known<'_> {
    fn bytes_a_second(&self) -> u64 {
        self.measured.rate(self.place).map_or(BYTES_A_SECOND, |(rate, _)| *rate)
    }

    fn by_rates(&self, size: Size) -> Duration {
        let data = seconds(size.bytes, self.bytes_a_second()).max(seconds(size.files, FILES_A_SECOND));
        seconds(size.objects, OBJECTS_A_SECOND) + data
    }
}

/// Begun ones counted.
fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

/// How long a step takes.
struct Takes {
    time: Duration,
    /// That is all.
    is_known: bool,
    /// When it took so long.
    as_in: Option<Ran>,
}

fn seconds(amount: u64, a_second: u64) -> Duration {
    Duration::from_secs(amount.div_ceil(a_second))
}

fn of(plan: &RunPlan, step: &Step, known: &Known<'_>) -> Takes {
    let size = Size::of(plan, &step.id);
    let is_for_people = matches!(step.action, Action::Manual(_) | Action::Notify(_));
    if let Some(before) = known.measured.step(plan, &step.id, known.place).filter(|_| !is_for_people) {
        let time = before.time.saturating_add(known.by_rates(size.beyond(before.size)));
        return Takes { time, is_known: true, as_in: Some(before.ran.clone()) };
    }
    let mover = if known.movers.is_some() { MOVER } else { Duration::ZERO };
    let time = match &step.action {
        Action::RestoreFiles(_) | Action::RestoreDatastore { .. } => known.by_rates(size),
        // What is in it is backed up before.
        Action::RestoreVolume(volume) if volume.in_place && known.movers.is_some() => {
            (known.by_rates(size) + mover) * 2
        }
        Action::RestoreVolume(_) => known.by_rates(size) + mover,
        Action::RestoreResources(_) => plan.fates.get(&step.id).map_or(Duration::ZERO, |fates| {
            let at_once = known.movers.unwrap_or(1).max(1);
            let rounds = u32::try_from(fates.fill.len().div_ceil(at_once)).unwrap_or(u32::MAX);
            known.by_rates(size) + mover.saturating_mul(rounds)
        }),
        Action::Pause(time) => *time,
        Action::Gitops { .. } | Action::Scale { .. } | Action::Quiesce { .. } | Action::Check(_) => SHORT,
        Action::Notify(_) | Action::Manual(_) | Action::Run(_) | Action::Exec(_) | Action::WaitUntil { .. } => {
            Duration::ZERO
        }
    };
    // What is compared is read again: from a disk, not over the line.
    let waits =
        |check: &Check| check.deadline.is_some() || matches!(check.probe, Probe::Exec { .. } | Probe::Run { .. });
    let is_known =
        !matches!(step.action, Action::Manual(_) | Action::Run(_) | Action::Exec(_) | Action::WaitUntil { .. })
            && !step.verify.iter().any(waits);
    Takes { time, is_known, as_in: None }
}

/// How long the steps take, `parallel` of them at once, each begun as soon as what it needs is over, in their order.
#[must_use]
pub fn estimate(plan: &RunPlan, steps: &[Step], known: &Known<'_>) -> Estimate {
    let mut estimate = Estimate {
        bytes_a_second: known.bytes_a_second(),
        rate_of: known.measured.rate(known.place).map(|(_, ran)| ran.clone()),
        drilled: known.measured.whole(plan),
        ..Estimate::default()
    };
    let carried_out = |step: &&Step| !step.is_compensation;
    let mut over: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    // Until when each place of `parallel` is taken, and by which step.
    let mut places: Vec<(Duration, Option<&str>)> = vec![(Duration::ZERO, None); plan.parallel.max(1)];
    let mut waiting: Vec<&Step> = steps.iter().filter(carried_out).collect();
    while !waiting.is_empty() {
        let is_known = |id: &String| over.contains_key(id.as_str()) || !waiting.iter().any(|step| step.id == *id);
        let ready = |step: &&Step| step.needs.iter().all(is_known);
        let latest =
            |step: &Step| step.needs.iter().filter_map(|id| over.get_key_value(id.as_str())).max_by_key(|(_, at)| **at);
        // Whoever can begin first; of several the first in the order of the runbook.
        let found = waiting.iter().enumerate().filter(|(_, step)| ready(step));
        let next = found.min_by_key(|(_, step)| latest(step).map_or(Duration::ZERO, |(_, at)| *at));
        // Needs in a circle: the lint refuses them.
        let Some((at, _)) = next else { break };
        let step = waiting.remove(at);
        let Takes { time: mut took, is_known, as_in } = of(plan, step, known);
        if plan.skipped.contains(&step.id) {
            took = Duration::ZERO;
        } else {
            if !is_known {
                estimate.unknown.push(step.id.clone());
            }
            estimate.as_in.extend(as_in.map(|ran| (step.id.clone(), ran)));
        }
        let need = latest(step).map(|(id, at)| (*at, *id));
        let Some(place) = places.iter_mut().min_by_key(|(until, _)| *until) else { break };
        let (from, after) = match (need, *place) {
            (Some((at, id)), (until, _)) if at >= until => (at, Some(id)),
            (_, (until, by)) => (until, by),
        };
        let until = from.saturating_add(took);
        *place = (until, Some(&step.id));
        over.insert(&step.id, until);
        before.extend(after.map(|id| (step.id.as_str(), id)));
        if !took.is_zero() {
            estimate.steps.insert(step.id.clone(), whole_seconds(took));
        }
    }
    let mut at = over.iter().max_by_key(|(_, until)| **until).map(|(id, _)| *id);
    let total = at.and_then(|id| over.get(id)).copied().unwrap_or_default();
    let mut met = BTreeSet::new();
    while let Some(id) = at.filter(|id| met.insert(*id)) {
        if estimate.steps.contains_key(id) {
            estimate.way.push(id.to_owned());
        }
        at = before.get(id).copied();
    }
    estimate.way.reverse();
    // Several at once share the line, as far as nobody has seen how long that takes.
    let reckoned = |id: &&String| !estimate.as_in.contains_key(*id) && !plan.skipped.contains(*id);
    let bytes: u64 = plan.chosen.keys().filter(reckoned).map(|id| Size::of(plan, id).bytes).sum();
    let line = seconds(bytes, estimate.bytes_a_second);
    (estimate.seconds, estimate.is_of_the_line) = (whole_seconds(total.max(line)), line > total);
    estimate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runbook::OnFailure;
    use crate::runs::event::{Event, Record};
    use crate::runs::journal::Found;
    use crate::runs::plan::{Chosen, Fates, Fill};
    use crate::runs::tests::{JUDGES, plan};

    fn step(id: &str, needs: &[&str], action: Action) -> Step {
        Step {
            id: id.into(),
            title: String::new(),
            needs: needs.iter().map(ToString::to_string).collect(),
            timeout: Duration::from_mins(1),
            action,
            verify: Vec::new(),
            on_failure: OnFailure::Stop,
            is_destructive: false,
            is_compensation: false,
        }
    }

    fn waits(id: &str, needs: &[&str], seconds: u64) -> Step {
        step(id, needs, Action::Pause(Duration::from_secs(seconds)))
    }

    fn estimate(plan: &RunPlan, steps: &[Step], movers: Option<usize>) -> Estimate {
        super::estimate(plan, steps, &Known { measured: &Measured::default(), place: Place::Machine, movers })
    }

    #[test]
    fn steps_at_once_take_as_long_as_the_longest_way_and_no_longer() {
        let steps = [waits("a", &[], 10), waits("b", &[], 30), waits("c", &["a"], 15), waits("d", &["b", "c"], 1)];
        let found = estimate(&plan(), &steps, None);
        assert_eq!((found.seconds, found.way), (31, vec!["b".to_owned(), "d".to_owned()]), "and not 56");
        let one_after_another = RunPlan { parallel: 1, ..plan() };
        let found = estimate(&one_after_another, &steps, None);
        assert_eq!((found.seconds, found.way), (56, vec!["a".into(), "b".into(), "c".into(), "d".into()]));
        // Three want to begin, and two may.
        let steps = [waits("a", &[], 10), waits("b", &[], 10), waits("c", &[], 10)];
        let found = estimate(&plan(), &steps, None);
        assert_eq!((found.seconds, found.way.len()), (20, 2));
    }

    #[test]
    fn what_is_left_out_takes_no_time_and_what_nobody_knows_is_named() {
        let undo = Step { is_compensation: true, ..waits("undo", &[], 1000) };
        let steps =
            [waits("a", &[], 10), step("ask", &["a"], Action::Manual("done".into())), waits("c", &["ask"], 5), undo];
        let found = estimate(&RunPlan { skipped: ["a".to_owned()].into(), ..plan() }, &steps, None);
        assert_eq!((found.seconds, found.unknown), (5, vec!["ask".to_owned()]));
        assert_eq!(estimate(&plan(), &[], None).seconds, 0);
        // What the lint refuses still has an end.
        assert_eq!(estimate(&plan(), &[waits("a", &["b"], 1), waits("b", &["a"], 1)], None).seconds, 0);
    }

    #[test]
    fn volumes_take_the_line_and_their_movers_in_rounds() {
        let fill = |number: u64| Fill {
            claim: format!("a/{number}"),
            snapshot: String::new(),
            source: String::new(),
            started: String::new(),
            bytes: 60 * BYTES_A_SECOND,
            files: 1,
            doubt: None,
        };
        let fates = Fates { create: vec![String::new(); 40], fill: (0..4).map(fill).collect(), ..Fates::default() };
        let resources = |id: &str, needs: &[&str]| {
            let text = format!(
                "---\nid: t\ntitle: T\n---\nX.\n\n## A\n\nX.\n\n```yaml step\nid: {id}\nneeds: []\nrestore.resources: {{source: cluster}}\nverify: [ready: {{namespace: a}}]\n```\n"
            );
            let runbook = crate::runbook::read(text.as_bytes(), &JUDGES).runbook.expect("right");
            let one = runbook.sampled(&JUDGES).expect("right").remove(0);
            Step { needs: needs.iter().map(ToString::to_string).collect(), ..one }
        };
        let mut plan = plan();
        let chosen = |bytes| Chosen {
            snapshot: String::new(),
            source: String::new(),
            started: String::new(),
            age: 0,
            files: 0,
            bytes,
        };
        plan.chosen.insert("all".into(), chosen(0));
        plan.fates.insert("all".into(), fates.clone());
        // 40 objects, 4 minutes of bytes, two rounds of two movers.
        let found = estimate(&plan, &[resources("all", &[])], Some(2));
        assert_eq!((found.seconds, found.is_of_the_line), (2 + 240 + 30, false));
        // Twice that at once does not come through the line any sooner.
        plan.chosen.insert("more".into(), chosen(0));
        plan.fates.insert("more".into(), fates);
        let found = estimate(&plan, &[resources("all", &[]), resources("more", &[])], Some(2));
        assert_eq!((found.seconds, found.is_of_the_line), (480, true));
    }

    #[test]
    fn what_was_measured_comes_before_what_is_assumed_and_says_when_that_was() {
        let run = |id: &str, needs: &[&str]| step(id, needs, Action::Run(vec!["true".into()]));
        let manual = step("ask", &["slow"], Action::Manual("done".into()));
        let steps = [run("slow", &[]), manual, run("never", &["ask"])];
        let chosen = |bytes| Chosen {
            snapshot: String::new(),
            source: "photos".into(),
            started: String::new(),
            age: 0,
            files: 1,
            bytes,
        };
        let mut before = RunPlan { made: "2026-11-01T03:00:00Z".into(), ..plan() };
        before.chosen.insert("slow".into(), chosen(100 << 20));
        let events = ["slow", "ask"].into_iter().flat_map(|id| {
            let done = Event::Done { step: id.into(), said: Vec::new(), took: 10_000 };
            [Event::Begun { step: id.into() }, done].map(|event| Record { at: String::new(), event })
        });
        let measured = Measured::of(vec![Found { plan: before.clone(), records: events.collect() }]);
        let known = Known { measured: &measured, place: Place::Machine, movers: None };
        // 100 MiB in 10 s, and 50 MiB have come since.
        let mut now = RunPlan { run: "5f0c1d2f".into(), ..plan() };
        now.chosen.insert("slow".into(), chosen(150 << 20));
        let found = super::estimate(&now, &steps, &known);
        assert_eq!((found.seconds, found.bytes_a_second, found.is_of_the_line), (15, 10 << 20, false));
        assert_eq!(found.as_in.keys().collect::<Vec<_>>(), ["slow"]);
        assert_eq!(found.as_in["slow"].made, "2026-11-01T03:00:00Z");
        assert_eq!(found.rate_of.as_ref().map(|ran| ran.run.as_str()), Some("5f0c1d2e"));
        assert_eq!(found.unknown, ["ask", "never"], "a person takes another time each time");
        // Less than then is not reckoned as faster.
        now.chosen.insert("slow".into(), chosen(1));
        assert_eq!(super::estimate(&now, &steps, &known).seconds, 10);
        now.skipped.insert("slow".into());
        let found = super::estimate(&now, &steps, &known);
        assert!(found.seconds == 0 && found.as_in.is_empty());
    }
}
