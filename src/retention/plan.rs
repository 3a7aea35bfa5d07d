//! The decision itself.

use std::collections::{BTreeMap, BTreeSet};

use chrono::FixedOffset;

use crate::base::clock::Time;
use crate::base::id::ObjectId;

use super::{Candidate, Decision, Every, Policy, Reason, RetentionError, Verdict};

type Reasons = BTreeMap<ObjectId, BTreeSet<Reason>>;

/// Decides about every snapshot of the list, in the list's order.
///
/// Hours, days and weeks are those of `zone`. It is one offset for all: across a change to summer time a day is cut an
/// hour early or late, which moves a snapshot to the neighbouring period and removes none more.
pub fn plan_retention(
    policy: &Policy,
    snapshots: &[Candidate],
    now: Time,
    zone: FixedOffset,
) -> Result<Vec<Decision>, RetentionError> {
    if policy.is_empty() {
        return Err(RetentionError::EmptyPolicy);
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = snapshots.iter().find(|snapshot| !seen.insert(snapshot.id)) {
        return Err(RetentionError::Twice(twice.id));
    }
    let mut reasons = Reasons::new();
    let mut sources: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
    let mut groups: BTreeMap<(&str, Option<&BTreeSet<String>>), Vec<&Candidate>> = BTreeMap::new();
    for snapshot in newest_first(snapshots) {
        if snapshot.time > now {
            keep(&mut reasons, snapshot, Reason::Future);
        } else {
            if !snapshot.aside {
                sources.entry(&snapshot.source).or_default().push(snapshot);
            }
            let tags = (!snapshot.aside).then_some(&snapshot.tags);
            groups.entry((&snapshot.source, tags)).or_default().push(snapshot);
        }
    }
    for source in sources.values() {
        keep_always(&mut reasons, source);
    }
    for group in groups.values() {
        keep_last(&mut reasons, policy, group);
        keep_within(&mut reasons, policy, group);
        for every in Every::ALL {
            keep_periods(&mut reasons, policy, every, zone, group);
        }
    }
    Ok(snapshots.iter().map(|snapshot| decision(snapshot, reasons.remove(&snapshot.id))).collect())
}

/// The id decides between equal times, so that the order of the list never matters.
fn newest_first(snapshots: &[Candidate]) -> Vec<&Candidate> {
    let mut sorted: Vec<_> = snapshots.iter().collect();
    sorted.sort_unstable_by_key(|snapshot| std::cmp::Reverse((snapshot.time, snapshot.id)));
    sorted
}

fn keep(reasons: &mut Reasons, snapshot: &Candidate, reason: Reason) {
    reasons.entry(snapshot.id).or_default().insert(reason);
}

/// What no policy can remove.
fn keep_always(reasons: &mut Reasons, source: &[&Candidate]) {
    if let Some(newest) = source.first() {
        keep(reasons, newest, Reason::Newest);
        if let Some(complete) = source.iter().find(|s| s.complete).filter(|s| s.id != newest.id) {
            keep(reasons, complete, Reason::NewestComplete);
        }
    }
    if let Some(verified) = source.iter().find(|s| s.verified) {
        keep(reasons, verified, Reason::LastVerified);
    }
}

fn keep_last(reasons: &mut Reasons, policy: &Policy, group: &[&Candidate]) {
    for (rank, snapshot) in (1..=policy.last).zip(group) {
        keep(reasons, snapshot, Reason::Last { rank });
    }
}

fn keep_within(reasons: &mut Reasons, policy: &Policy, group: &[&Candidate]) {
    let (Some(within), Some(newest)) = (policy.within.filter(|d| !d.is_zero()), group.first()) else { return };
    let since = newest.time.before(within);
    for snapshot in group.iter().take_while(|snapshot| snapshot.time >= since) {
        keep(reasons, snapshot, Reason::Within { seconds: within.as_secs() });
    }
}

fn keep_periods(reasons: &mut Reasons, policy: &Policy, every: Every, zone: FixedOffset, group: &[&Candidate]) {
    let mut newest_periods: Vec<(String, &Candidate)> = Vec::new();
    for snapshot in group {
        let period = period(every, snapshot.time, zone);
        match newest_periods.last_mut() {
            // Of the same period and older: takes its place only as the first complete one.
            Some((current, chosen)) if *current == period => {
                if snapshot.complete && !chosen.complete {
                    *chosen = snapshot;
                }
            }
            _ => newest_periods.push((period, snapshot)),
        }
    }
    let count = usize::try_from(policy.count(every)).unwrap_or(usize::MAX);
    for (period, snapshot) in newest_periods.into_iter().take(count) {
        keep(reasons, snapshot, Reason::Period { every, period });
    }
}

fn period(every: Every, time: Time, zone: FixedOffset) -> String {
    let format = match every {
        Every::Hour => "%Y-%m-%dT%H",
        Every::Day => "%Y-%m-%d",
        Every::Week => "%G-W%V",
        Every::Month => "%Y-%m",
        Every::Year => "%Y",
    };
    time.utc().with_timezone(&zone).format(format).to_string()
}

fn decision(snapshot: &Candidate, reasons: Option<BTreeSet<Reason>>) -> Decision {
    Decision {
        id: snapshot.id,
        source: snapshot.source.clone(),
        tags: snapshot.tags.clone(),
        time: snapshot.time,
        verdict: reasons.map_or(Verdict::Remove, |reasons| Verdict::Keep { reasons: reasons.into_iter().collect() }),
    }
}
