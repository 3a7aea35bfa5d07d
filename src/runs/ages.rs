//! What the age of a snapshot says: older than the objective, not the latest, dated in the future. None of it keeps a run from being begun: an old backup is better than none.

use std::time::Duration;

use super::plan::Fates;
use super::prepare::{Notice, warns};
use crate::base::clock::Time;
use crate::base::units;
use crate::repo::snapshots::{Chain, Snapshot};

/// By so much a snapshot of a volume is newer than the one that is taken, before that is told: those of one backup, and of two right after one another, are nearer.
const NEWER: Duration = Duration::from_hours(1);
/// Volumes that a notice names.
const NAMED_MAX: usize = 5;

/// What speaks against a snapshot, and does not forbid it.
pub(super) fn of_chosen(
    step: &str,
    snapshot: &Snapshot,
    chain: &Chain,
    (now, rpo): (Time, Option<Duration>),
) -> Vec<Notice> {
    let (mut notices, record) = (Vec::new(), &snapshot.record);
    let name = format!("snapshot {} of {}", snapshot.id.short(), record.source);
    let age = now.since(record.started);
    if let Some(rpo) = rpo.filter(|rpo| age > *rpo) {
        let what = format!("{name} is {} old, and the objective is {}", units::span(age), units::duration(rpo));
        notices.push(warns(Some(step), what, "take a newer one if there is one, and see why there is none"));
    }
    if record.started.is_future(now) {
        notices.push(warns(
            Some(step),
            format!("{name} is dated in the future: some clock was wrong"),
            "compare the clocks",
        ));
    }
    let newer = chain.latest_of(&record.source).is_some_and(|latest| latest.id != snapshot.id);
    if newer {
        notices.push(warns(
            Some(step),
            format!("{name} is not the latest"),
            "it was chosen by the runbook or a parameter",
        ));
    }
    notices
}

/// The same of the volumes that a step fills. `is_latest`: its objects are those of the latest snapshot.
pub(super) fn of_volumes(
    step: &str,
    fates: &Fates,
    is_latest: bool,
    chain: &Chain,
    (now, rpo): (Time, Option<Duration>),
) -> Vec<Notice> {
    let (mut old, mut future, mut newer) = (Vec::new(), Vec::new(), Vec::new());
    for fill in &fates.fill {
        let Some(started) = fill.started() else { continue };
        let age = now.since(started);
        if rpo.is_some_and(|rpo| age > rpo) {
            old.push(format!("{} ({} old)", fill.claim, units::span(age)));
        }
        if started.is_future(now) {
            future.push(format!("{} ({})", fill.claim, fill.started));
        }
        // One that makes way for a whole one is told with the reason.
        let latest = chain.latest_of(&fill.source).filter(|_| is_latest && fill.doubt.is_none());
        let is_newer = |latest: &&Snapshot| latest.record.started.since(started) > NEWER;
        if let Some(latest) = latest.filter(is_newer) {
            newer.push(format!("{} (there is {} of {})", fill.claim, latest.id.short(), latest.record.started));
        }
    }
    let mut notices = Vec::new();
    let mut tell = |found: Vec<String>, what: &dyn Fn(String) -> String, help: &str| {
        if !found.is_empty() {
            notices.push(warns(Some(step), what(named(&found)), help));
        }
    };
    let wanted = rpo.map(units::duration).unwrap_or_default();
    tell(
        old,
        &|all| format!("volumes are filled from snapshots that are older than the objective, {wanted}: {all}"),
        "take newer ones if there are any (`homelab-dr snapshots`), and see why there are none",
    );
    tell(
        future,
        &|all| format!("snapshots of volumes are dated in the future, some clock was wrong: {all}"),
        "compare the clocks",
    );
    tell(
        newer,
        &|all| {
            format!("volumes are not filled from their latest snapshots, but from those nearest to the objects: {all}")
        },
        "`volumes_at: latest` in the step takes the latest",
    );
    notices
}

fn named(found: &[String]) -> String {
    let first = found.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let more = found.len().saturating_sub(NAMED_MAX);
    if more > 0 { format!("{first} and {more} more") } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::whole::tests::snapshot;
    use crate::runs::plan::Fill;

    const HOUR: i64 = 60;
    const NOW: Time = Time(100 * 60 * 60_000);

    fn chain() -> Chain {
        // By minutes: the objects now, one volume of now, one that has not been backed up for four days, one from the future.
        let one = |id: u8, source: &str, hour: i64| snapshot(id, source, (hour * HOUR, u64::from(id)), 5, 0);
        let snapshots = vec![
            one(1, "cluster", 50),
            one(2, "pvc/a/fresh", 40),
            one(3, "pvc/a/stale", 4),
            one(4, "cluster", 100),
            one(5, "pvc/a/fresh", 100),
            one(6, "pvc/a/ahead", 200),
        ];
        Chain { snapshots, ..Chain::default() }
    }

    fn fill(chain: &Chain, at: usize, doubt: Option<&str>) -> Fill {
        let one = &chain.snapshots[at];
        let (source, started) = (one.record.source.clone(), one.record.started.to_string());
        let claim = source.trim_start_matches("pvc/").to_owned();
        Fill { claim, snapshot: one.id.hex(), source, started, bytes: 1, files: 1, doubt: doubt.map(str::to_owned) }
    }

    fn told(fills: Vec<Fill>, is_latest: bool, rpo: Option<u64>) -> Vec<String> {
        let fates = Fates { fill: fills, ..Fates::default() };
        let rpo = rpo.map(Duration::from_hours);
        let notices = of_volumes("all", &fates, is_latest, &chain(), (NOW, rpo));
        assert!(notices.iter().all(|one| !one.blocks && one.step.as_deref() == Some("all")), "{notices:?}");
        notices.into_iter().map(|one| one.what).collect()
    }

    #[test]
    fn a_volume_alone_can_be_older_than_the_objective() {
        let chain = chain();
        let all = || vec![fill(&chain, 4, None), fill(&chain, 2, None)];
        let old = told(all(), true, Some(26));
        assert_eq!(
            old,
            ["volumes are filled from snapshots that are older than the objective, 26h: a/stale (4 d old)"]
        );
        assert_eq!(told(all(), true, Some(96)), Vec::<String>::new(), "as old as it may be");
        assert_eq!(told(all(), true, None), Vec::<String>::new(), "without an objective nothing is too old");
        let plan_of_before = vec![Fill { started: String::new(), ..fill(&chain, 2, None) }];
        assert_eq!(told(plan_of_before, true, Some(1)), Vec::<String>::new());
    }

    #[test]
    fn an_older_one_is_told_where_nothing_says_why_it_is_taken() {
        let chain = chain();
        let [newer] = &told(vec![fill(&chain, 1, None)], true, None)[..] else { panic!("one") };
        assert!(
            newer.contains("not filled from their latest") && newer.contains("a/fresh (there is 05050505"),
            "{newer}"
        );
        assert_eq!(
            told(vec![fill(&chain, 1, None)], false, None),
            Vec::<String>::new(),
            "the objects are older as well"
        );
        assert_eq!(told(vec![fill(&chain, 1, Some("the latest is empty"))], true, None), Vec::<String>::new());
    }

    #[test]
    fn one_from_the_future_is_told_and_is_not_young() {
        let chain = chain();
        let [future] = &told(vec![fill(&chain, 5, None)], true, Some(1))[..] else { panic!("one") };
        assert!(future.contains("dated in the future") && future.contains("a/ahead"), "{future}");
    }

    #[test]
    fn many_volumes_are_named_in_one_line() {
        let chain = chain();
        let many = (0..8).map(|number| Fill { claim: format!("a/{number}"), ..fill(&chain, 2, None) }).collect();
        let [old] = &told(many, true, Some(1))[..] else { panic!("one") };
        assert!(old.contains("a/4 (4 d old) and 3 more") && !old.contains("a/5"), "{old}");
    }

    #[test]
    fn of_the_snapshot_of_a_step_the_same_is_told() {
        let chain = chain();
        let told = |at: usize, rpo: Option<u64>| -> Vec<String> {
            let when = (NOW, rpo.map(Duration::from_hours));
            of_chosen("files", &chain.snapshots[at], &chain, when).into_iter().map(|one| one.what).collect()
        };
        assert_eq!(told(3, Some(26)), Vec::<String>::new());
        let [old, other] = &told(0, Some(26))[..] else { panic!("two") };
        assert!(
            old.contains("is 2 d 2 h old, and the objective is 26h") && other.contains("is not the latest"),
            "{old} {other}"
        );
        let [future] = &told(5, Some(26))[..] else { panic!("one") };
        assert!(future.contains("dated in the future"), "{future}");
    }
}
