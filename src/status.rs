//! Layer 5: could this be recovered right now? By what the repository alone says: how fresh each source is, when it was last rehearsed, when content was last read back, and when an
//! identity was last tried. Pure: records in, a judgement out.
//!
//! It knows of a source only what was backed up, or what the configuration names: what nobody ever named is not missed here (`preflight backup` and `backup` tell of claims that nothing
//! covers).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::base::units;
use crate::base::when::Listed as _;
use crate::format::record::{RehearsalRecord, Rehearsed};
use crate::keys::TriedKey;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::verified::Verified;

const DAY: Duration = Duration::from_hours(24);

/// How old things may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The newest complete snapshot of a source, where no drill was told an objective: one that is made weekly, and a day.
    pub data: Duration,
    /// Whether that counts before an objective that a drill was told.
    pub data_is_asked: bool,
    /// The last drill of a source that passed: one a month, and some days.
    pub drill: Duration,
    /// The last time that an identity was tried: twice a year.
    pub key: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { data: DAY * 8, data_is_asked: false, drill: DAY * 35, key: DAY * 190 }
    }
}

/// What is known.
pub struct Facts<'a> {
    /// The time.
    pub now: Time,
    /// The snapshots.
    pub chain: &'a Chain,
    /// Sources that the configuration names, and that have snapshots of their own name.
    pub named: &'a [String],
    /// The drills of recoveries, newest first.
    pub rehearsals: &'a [(ObjectId, RehearsalRecord)],
    /// What was read back.
    pub verified: &'a Verified,
    /// The key drills, newest first.
    pub keys: &'a [TriedKey],
    /// When the current epoch began: the repository was created, or a recipient was removed.
    pub epoch: Time,
}

/// A snapshot of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Newest {
    /// Its id.
    pub id: ObjectId,
    /// When it was begun.
    pub started: Time,
    /// How old it is, in seconds.
    pub age: u64,
}

/// A snapshot that was read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadBack {
    /// Its id.
    pub id: ObjectId,
    /// When.
    pub at: Time,
    /// Whether it is the newest that lacks nothing.
    pub is_newest: bool,
}

/// A drill that covered a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Covered {
    /// Its run.
    pub run: String,
    /// When.
    pub at: Time,
    /// How long ago, in seconds.
    pub age: u64,
    /// What it came to.
    pub outcome: Rehearsed,
}

/// A source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Its name.
    pub source: String,
    /// Its newest snapshot that lacks nothing.
    pub complete: Option<Newest>,
    /// How old that may be, in seconds.
    pub may_be: u64,
    /// The last drill that covered it, whatever it came to.
    pub drill: Option<Covered>,
    /// The snapshot of which all content was read back last, and when.
    pub read_back: Option<ReadBack>,
    /// What is not well.
    pub problems: Vec<String>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Each source, by name.
    pub sources: Vec<SourceStatus>,
    /// When an identity was last tried, and whose.
    pub key_drill: Option<(Time, String)>,
    /// What is not well, of the whole.
    pub problems: Vec<String>,
}

impl Status {
    /// Whether all is well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.problems.is_empty() && self.sources.iter().all(|source| source.problems.is_empty())
    }
}

/// Judges.
#[must_use]
pub fn judge(facts: &Facts<'_>, limits: &Limits) -> Status {
    let mut of: BTreeMap<&str, Vec<&Snapshot>> = BTreeMap::new();
    for name in facts.named {
        of.entry(name).or_default();
    }
    for snapshot in facts.chain.snapshots.iter().filter(|one| !one.is_aside()) {
        of.entry(&snapshot.record.source).or_default().push(snapshot);
    }
    let sources: Vec<SourceStatus> = of.iter().map(|(name, all)| source(name, all, facts, limits)).collect();
    let mut problems = Vec::new();
    if sources.is_empty() {
        problems.push("there is no snapshot, and nothing is named to be backed up".to_owned());
    }
    problems.extend(from_the_future(facts));
    let newest = facts.keys.iter().find(|drill| !drill.at.is_future(facts.now));
    match newest.map(|drill| facts.now.since(drill.at)) {
        None => problems.push("no identity was ever tried: `homelab-dr keys drill`".to_owned()),
        Some(age) if age > limits.key => {
            problems.push(format!("no identity was tried for {}: `homelab-dr keys drill`", units::age(age.as_secs())));
        }
        // Whose identity it was may be who was removed.
        Some(_) if newest.is_some_and(|drill| drill.at < facts.epoch) => problems.push(
            "no identity was tried since a recipient was removed, or the writer key replaced: `homelab-dr keys drill`, with one that stays"
                .to_owned(),
        ),
        Some(_) => {}
    }
    let key_drill = newest.map(|drill| (drill.at, drill.recipient.clone()));
    Status { sources, key_drill, problems }
}

fn source(name: &str, all: &[&Snapshot], facts: &Facts<'_>, limits: &Limits) -> SourceStatus {
    let mut problems = Vec::new();
    let age = |at: Time| facts.now.since(at).as_secs();
    let is_complete = |one: &&&Snapshot| facts.chain.lack(one).is_none();
    let sequence = |one: &&Snapshot| one.record.link.sequence;
    let complete = all.iter().filter(is_complete).copied().max_by_key(sequence);
    let latest = all.iter().copied().max_by_key(sequence);
    let covering = |wanted: &dyn Fn(&RehearsalRecord) -> bool| {
        facts.rehearsals.iter().map(|(_, record)| record).find(|record| {
            wanted(record)
                && record.outcome != Rehearsed::Stopped
                && !record.begun.is_future(facts.now)
                && record.sources.iter().any(|one| one.source == name && one.part != Some(true))
        })
    };
    let told = covering(&|record| record.rpo.is_some()).and_then(|record| record.rpo);
    let may_be = told.filter(|_| !limits.data_is_asked).unwrap_or(limits.data.as_secs());
    match (complete, latest) {
        (None, None) => problems.push("it was never backed up".to_owned()),
        (None, Some(_)) => problems.push("none of its snapshots is complete".to_owned()),
        (Some(complete), _) => {
            let old = age(complete.record.started);
            if complete.record.started.is_future(facts.now) {
                problems.push("its newest snapshot is dated in the future: some clock was wrong".to_owned());
            } else if old > may_be {
                problems.push(format!(
                    "its newest complete snapshot is {} old, and may be {}",
                    units::age(old),
                    units::age(may_be)
                ));
            }
        }
    }
    if let (Some(complete), Some(latest)) = (complete, latest)
        && latest.id != complete.id
    {
        problems.push(format!("its newest snapshot {} is not complete", latest.id.short()));
    }
    let drill = covering(&|_| true);
    match drill {
        None if rehearsed_in_part(name, facts) => problems.push(
            "only a part of it was ever rehearsed, or nothing looked at it: let a step of a runbook bring all of it back and verify it, or `homelab-dr drill --source NAME`".to_owned(),
        ),
        None => problems
            .push("it was never rehearsed: `homelab-dr drill RUNBOOK`, or `homelab-dr drill --source NAME`".to_owned()),
        Some(record) if record.outcome == Rehearsed::Failed => {
            problems.push(format!("its last drill ({}) FAILED: {}", record.run, record.why));
        }
        Some(record) if age(record.begun) > limits.drill.as_secs() => {
            problems.push(format!("its last drill was {} ago", units::age(age(record.begun))));
        }
        Some(_) => {}
    }
    problems.extend(damage(all, facts));
    let read = all.iter().filter_map(|one| Some((*facts.verified.at.get(&one.id)?, sequence(one), one.id)));
    let is_newest = |id| complete.is_some_and(|complete| complete.id == id);
    let read_back = read.max().map(|(at, _, id)| ReadBack { id, at, is_newest: is_newest(id) });
    SourceStatus {
        source: name.to_owned(),
        complete: complete.map(|one| Newest { id: one.id, started: one.record.started, age: age(one.record.started) }),
        may_be,
        drill: drill.map(|record| Covered {
            run: record.run.clone(),
            at: record.begun,
            age: age(record.begun),
            outcome: record.outcome,
        }),
        read_back,
        problems,
    }
}

fn rehearsed_in_part(name: &str, facts: &Facts<'_>) -> bool {
    facts.rehearsals.iter().any(|(_, record)| record.sources.iter().any(|one| one.source == name))
}

/// Records that a wrong clock has dated in the future: they would stand before every later one, so they do not count.
fn from_the_future(facts: &Facts<'_>) -> Option<String> {
    let drills = facts.rehearsals.iter().filter(|(_, record)| record.begun.is_future(facts.now)).count();
    let keys = facts.keys.iter().filter(|drill| drill.at.is_future(facts.now)).count();
    let number = drills + keys;
    (number > 0).then(|| {
        format!("{number} of the records of drills and key drills are dated in the future and do not count: some clock was wrong, or somebody made them up")
    })
}

/// The newest snapshot that was found damaged, unless that one, or a newer one, was read whole since.
fn damage(all: &[&Snapshot], facts: &Facts<'_>) -> Option<String> {
    let sequence = |one: &Snapshot| one.record.link.sequence;
    let found = all.iter().filter_map(|one| Some((sequence(one), one.id, *facts.verified.damaged.get(&one.id)?)));
    let (number, id, at) = found.max()?;
    let is_good = |one: &&Snapshot| facts.verified.at.get(&one.id).is_some_and(|good| *good >= at);
    if all.iter().any(|one| sequence(one) >= number && is_good(one)) {
        return None;
    }
    let ago = units::age(facts.now.since(at).as_secs());
    Some(format!(
        "`check` found its snapshot {} DAMAGED {ago} ago, and nothing was read whole since: `homelab-dr check --repair` with an identity mends what it can and says what is lost",
        id.short()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{RehearsalTarget, RehearsedSource};
    use crate::repo::whole::tests::{aside, snapshot};

    const DAY_MINUTES: i64 = 24 * 60;

    fn rehearsal(source: &str, day: i64, outcome: Rehearsed) -> (ObjectId, RehearsalRecord) {
        let at = Time(day * DAY_MINUTES * 60_000);
        let id = ObjectId::new([7; 32]);
        let source = RehearsedSource {
            source: source.to_owned(),
            snapshot: id,
            started: at,
            age: 0,
            bytes: 1,
            took: Some(1),
            part: None,
        };
        let record = RehearsalRecord {
            run: format!("{day:08x}"),
            begun: at,
            ended: at,
            outcome,
            runbook: None,
            sources: vec![source],
            target: RehearsalTarget::Folder,
            took: Some(1),
            rto: None,
            rpo: None,
            checks: 1,
            held: 1,
            left_out: 0,
            remarks: Vec::new(),
            why: "it broke".to_owned(),
            recipient: String::new(),
            host: String::new(),
            program: String::new(),
            left_behind: Vec::new(),
        };
        (id, record)
    }

    fn key(day: i64) -> TriedKey {
        let at = Time(day * DAY_MINUTES * 60_000);
        TriedKey { id: None, at, recipient: "age1x".to_owned(), host: String::new(), snapshot: None }
    }

    /// On day 100, with snapshots by day, files and problems.
    fn judged(
        snapshots: &[(i64, u64, u64)],
        rehearsals: &[(ObjectId, RehearsalRecord)],
        keys: &[TriedKey],
        limits: &Limits,
    ) -> Vec<String> {
        let made = |(number, (day, files, problems)): (usize, &(i64, u64, u64))| {
            let sequence = u64::try_from(number).expect("small") + 1;
            let id = u8::try_from(sequence).expect("small");
            snapshot(id, "photos", (day * DAY_MINUTES, sequence), *files, *problems)
        };
        let chain = Chain { snapshots: snapshots.iter().enumerate().map(made).collect(), ..Chain::default() };
        let facts = Facts {
            now: Time(100 * DAY_MINUTES * 60_000),
            chain: &chain,
            named: &["photos".to_owned()],
            rehearsals,
            verified: &Verified::default(),
            keys,
            epoch: Time(-100 * DAY_MINUTES * 60_000),
        };
        let status = judge(&facts, limits);
        assert_eq!(status.is_well(), status.problems.is_empty() && status.sources[0].problems.is_empty());
        status.problems.iter().chain(&status.sources[0].problems).cloned().collect()
    }

    #[test]
    fn what_is_fresh_and_was_rehearsed_is_well_and_everything_else_is_told() {
        use Rehearsed::{Failed, Missed, Passed, Stopped};
        let good = [rehearsal("photos", 90, Passed)];
        let keys = [key(10)];
        let limits = Limits::default();
        assert_eq!(judged(&[(99, 5, 0)], &good, &keys, &limits), Vec::<String>::new());
        assert_eq!(judged(&[(99, 5, 0)], &[rehearsal("photos", 90, Missed)], &keys, &limits), Vec::<String>::new());
        for (snapshots, rehearsals, keys, says) in [
            (&[][..], &good[..], &keys[..], "never backed up"),
            (&[(91, 5, 0)], &good, &keys, "9d old, and may be 8d"),
            (&[(99, 5, 2)], &good, &keys, "none of its snapshots is complete"),
            (&[(98, 5, 0), (99, 5, 2)], &good, &keys, "is not complete"),
            (&[(98, 5, 0), (99, 0, 0)], &good, &keys, "is not complete"),
            (&[(105, 5, 0)], &good, &keys, "dated in the future"),
            (&[(99, 5, 0)], &[], &keys, "never rehearsed"),
            (&[(99, 5, 0)], &[rehearsal("other", 90, Passed)], &keys, "never rehearsed"),
            (&[(99, 5, 0)], &[rehearsal("photos", 64, Passed)], &keys, "last drill was 36d ago"),
            (
                &[(99, 5, 0)],
                &[rehearsal("photos", 95, Failed), rehearsal("photos", 90, Passed)],
                &keys,
                "FAILED: it broke",
            ),
            (&[(99, 5, 0)], &good, &[], "no identity was ever tried"),
            (&[(99, 5, 0)], &good, &[key(-95)], "no identity was tried for 195d"),
        ] {
            let told = judged(snapshots, rehearsals, keys, &limits);
            assert_eq!((told.len(), told[0].contains(says)), (1, true), "{says}: {told:?}");
        }
        // One that brought a part back says nothing of the rest, and one from the future nothing at all.
        let mut part = rehearsal("photos", 95, Passed);
        part.1.sources[0].part = Some(true);
        let told = judged(&[(99, 5, 0)], std::slice::from_ref(&part), &keys, &limits);
        assert!(told.len() == 1 && told[0].contains("only a part of it"), "{told:?}");
        assert_eq!(
            judged(&[(99, 5, 0)], &[part, rehearsal("photos", 90, Passed)], &keys, &limits),
            Vec::<String>::new()
        );
        let future = [rehearsal("photos", 120, Passed), rehearsal("photos", 95, Failed)];
        let told = judged(&[(99, 5, 0)], &future, &keys, &limits);
        assert!(told.len() == 2 && told[0].contains("future") && told[1].contains("FAILED"), "{told:?}");
        let told = judged(&[(99, 5, 0)], &good, &[key(120)], &limits);
        assert!(
            told.len() == 2 && told[0].contains("future") && told[1].contains("no identity was ever tried"),
            "{told:?}"
        );
        // One that was stopped says nothing of the source.
        let stopped = [rehearsal("photos", 95, Stopped), rehearsal("photos", 90, Passed)];
        assert_eq!(judged(&[(99, 5, 0)], &stopped, &keys, &limits), Vec::<String>::new());
    }

    #[test]
    fn the_objective_of_a_drill_counts_unless_another_is_asked_for() {
        let mut good = [rehearsal("photos", 90, Rehearsed::Passed)];
        good[0].1.rpo = Some(3600);
        let told = judged(&[(99, 5, 0)], &good, &[key(99)], &Limits::default());
        assert!(told[0].contains("may be 1h"), "{told:?}");
        let asked = Limits { data: DAY * 2, data_is_asked: true, ..Limits::default() };
        assert_eq!(judged(&[(99, 5, 0)], &good, &[key(99)], &asked), Vec::<String>::new());
    }

    #[test]
    fn a_safety_copy_is_no_source_and_no_repository_is_well_without_any() {
        let chain = Chain { snapshots: vec![aside(snapshot(1, "pvc/a/b", (0, 1), 5, 0))], ..Chain::default() };
        let (now, verified) = (Time(0), Verified::default());
        let keys = [key(0)];
        let facts =
            Facts { now, chain: &chain, named: &[], rehearsals: &[], verified: &verified, keys: &keys, epoch: now };
        let status = judge(&facts, &Limits::default());
        assert!(status.sources.is_empty() && !status.is_well(), "{status:?}");
        // And an identity that was tried before a recipient went may be the one that went.
        assert!(!status.problems.iter().any(|problem| problem.contains("was removed")), "{status:?}");
        let removed = Facts { epoch: Time(1), ..facts };
        let status = judge(&removed, &Limits::default());
        assert!(status.problems.iter().any(|problem| problem.contains("since a recipient was removed")), "{status:?}");
    }

    #[test]
    fn damage_is_told_until_that_snapshot_or_a_newer_one_is_read_whole() {
        let at = |day: i64| Time(day * DAY_MINUTES * 60_000);
        let made =
            [snapshot(1, "photos", (90 * DAY_MINUTES, 1), 5, 0), snapshot(2, "photos", (99 * DAY_MINUTES, 2), 5, 0)];
        let [old, new] = [made[0].id, made[1].id];
        let chain = Chain { snapshots: made.into(), ..Chain::default() };
        for (good, damaged, is_told) in [
            (vec![], vec![(new, 99)], true),
            (vec![], vec![(old, 99)], true),
            (vec![(old, 100)], vec![(new, 99)], true),
            (vec![(new, 98)], vec![(old, 99)], true),
            (vec![(new, 99)], vec![(old, 99)], false),
            (vec![(new, 100)], vec![(old, 99)], false),
            (vec![(new, 100)], vec![], false),
        ] {
            let days = |all: &[(ObjectId, i64)]| all.iter().map(|(id, day)| (*id, at(*day))).collect();
            let verified = Verified { at: days(&good), damaged: days(&damaged), ..Verified::default() };
            let rehearsals = [rehearsal("photos", 99, Rehearsed::Passed)];
            let (now, keys) = (at(100), [key(99)]);
            let facts = Facts {
                now,
                chain: &chain,
                named: &[],
                rehearsals: &rehearsals,
                verified: &verified,
                keys: &keys,
                epoch: at(0),
            };
            let status = judge(&facts, &Limits::default());
            let told = status.sources[0].problems.iter().any(|problem| problem.contains("DAMAGED"));
            assert_eq!((told, status.is_well()), (is_told, !is_told), "{good:?} {damaged:?}: {status:?}");
        }
    }
}
