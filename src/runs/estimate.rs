//! How long a run would take: what comes back, by rates, along the steps as they would be carried out. Pure. It is no promise: nobody knows how long people, programs and
//! applications take, and no line is always as fast.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
}

fn seconds(amount: u64, a_second: u64) -> Duration {
    Duration::from_secs(amount.div_ceil(a_second))
}

/// How long a step takes, and whether that is all.
fn of(plan: &RunPlan, step: &Step, movers: Option<usize>) -> (Duration, bool) {
    let chosen = plan.chosen.get(&step.id);
    let whole = || {
        let (bytes, files) = chosen.map_or((0, 0), |chosen| (chosen.bytes, chosen.files));
        seconds(bytes, BYTES_A_SECOND).max(seconds(files, FILES_A_SECOND))
    };
    let mover = if movers.is_some() { MOVER } else { Duration::ZERO };
    let took = match &step.action {
        Action::RestoreFiles(_) | Action::RestoreDatastore { .. } => whole(),
        // What is in it is backed up before.
        Action::RestoreVolume(volume) if volume.in_place && movers.is_some() => (whole() + mover) * 2,
        Action::RestoreVolume(_) => whole() + mover,
        Action::RestoreResources(_) => plan.fates.get(&step.id).map_or(Duration::ZERO, |fates| {
            let objects = (fates.create.len() + fates.replace.len()) as u64;
            let files = fates.fill.iter().map(|fill| fill.files).sum();
            let rounds = u32::try_from(fates.fill.len().div_ceil(movers.unwrap_or(1).max(1))).unwrap_or(u32::MAX);
            let data = seconds(fates.bytes(), BYTES_A_SECOND).max(seconds(files, FILES_A_SECOND));
            seconds(objects, OBJECTS_A_SECOND) + data + mover.saturating_mul(rounds)
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
    (took, is_known)
}

/// How long the steps take, `parallel` of them at once, each begun as soon as what it needs is over, in their order. `movers`: volumes filled at once; none where no pods fill them.
#[must_use]
pub fn estimate(plan: &RunPlan, steps: &[Step], movers: Option<usize>) -> Estimate {
    let mut estimate = Estimate { bytes_a_second: BYTES_A_SECOND, ..Estimate::default() };
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
        let (mut took, is_known) = of(plan, step, movers);
        if plan.skipped.contains(&step.id) {
            took = Duration::ZERO;
        } else if !is_known {
            estimate.unknown.push(step.id.clone());
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
            estimate.steps.insert(step.id.clone(), took.as_secs());
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
    // Several at once share the line.
    let line = seconds(plan.bytes(), BYTES_A_SECOND);
    (estimate.seconds, estimate.is_of_the_line) = (total.max(line).as_secs(), line > total);
    estimate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::Judges;
    use crate::runbook::{OnFailure, Runbook};
    use crate::runs::plan::{Chosen, Fates, Fill};

    const JUDGES: Judges<'_> = Judges { url: &|_| Ok(()), pattern: &|_| Ok(()) };

    fn runbook() -> Runbook {
        let text = "---\nid: t\ntitle: T\nparallel: 2\n---\nX.\n\n## A\n\nX.\n\n```yaml step\nid: a\nneeds: []\nmanual: {}\n```\n";
        crate::runbook::read(text.as_bytes(), &JUDGES).runbook.expect("right")
    }

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

    fn plan() -> RunPlan {
        RunPlan::new("5f0c1d2e".into(), String::new(), &runbook(), "", BTreeMap::new())
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
}
