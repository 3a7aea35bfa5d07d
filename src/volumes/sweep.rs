//! What runs that died left behind: found by the journal, by labels and by names, and removed.
//!
//! Only of runs that the caller does not know to be alive *and* whose time is over: another machine may run one that nobody here knows of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::clear::{Traces, clear};
use super::journal::{self, Entry};
use super::left::{self, Left};
use super::run::{RunId, expires_of, parse_name, run_of};
use super::wait::Limits;
use super::{VolumesError, kinds};
use crate::base::clock::Time;
use crate::cluster::Cluster;
use crate::cluster::object::{name_of, namespace_of, text};

/// How long something lives of which nothing says when its run is over, since it was created.
const UNKNOWN_MAX: Duration = Duration::from_hours(48);

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// What was removed, by its name and what it was for.
    pub removed: Vec<String>,
    /// What is to be removed and was not, and why.
    pub left: Vec<Left>,
}

/// What the objects of one name say of it.
#[derive(Debug)]
struct Seen {
    traces: Traces,
    claim: Option<String>,
    expires: Option<Time>,
    /// When the youngest of them was created.
    created: Option<Time>,
}

/// Removes what was left, one after another; what cannot be removed keeps nothing else from it. `namespace` is ours, `live` the runs that are known to be
/// alive. An error is only that the cluster cannot be asked what there is.
pub async fn sweep(
    cluster: &dyn Cluster,
    namespace: &str,
    live: &BTreeSet<RunId>,
    now: Time,
    limits: &Limits,
) -> Result<Swept, VolumesError> {
    let (seen, unreadable) = look(cluster, namespace).await?;
    let mut swept = Swept::default();
    for key in unreadable {
        let why = format!("{} in {namespace} cannot be understood; remove it by hand", journal::JOURNAL);
        let commands = vec![format!("edit configmaps {} --namespace {namespace}", journal::JOURNAL)];
        swept.left.push(Left { what: key, why, commands });
    }
    for seen in seen.into_values().filter(|seen| seen.is_over(live, now)) {
        let what = match &seen.claim {
            Some(claim) => format!("{} (of {claim})", seen.traces.name),
            None => seen.traces.name.clone(),
        };
        match clear(cluster, limits, namespace, &seen.traces).await {
            Ok(()) => swept.removed.push(what),
            Err(error) => {
                let left = left::of_copy(cluster, namespace, &seen.traces, &error).await;
                swept.left.push(Left { what, ..left });
            }
        }
    }
    Ok(swept)
}

impl Seen {
    fn is_over(&self, live: &BTreeSet<RunId>, now: Time) -> bool {
        let end = self.expires.or(self.created.map(|created| created.after(UNKNOWN_MAX)));
        !live.contains(&self.traces.run) && end.is_none_or(|end| end <= now)
    }
}

/// By name, what there is. The journal is read last: it is written before anything is made, so what was seen of a run that lives is in it.
async fn look(cluster: &dyn Cluster, namespace: &str) -> Result<(BTreeMap<String, Seen>, Vec<String>), VolumesError> {
    let mut seen = BTreeMap::new();
    let mut add = |traces: Vec<Trace>| traces.into_iter().for_each(|trace| trace.add(&mut seen));
    add(kinds::list_if_known(cluster, &kinds::contents(), of_content).await?);
    add(kinds::list(cluster, &kinds::volumes(), of_volume).await?);
    add(kinds::list_if_known(cluster, &kinds::snapshots(), of_labelled).await?);
    add(kinds::list(cluster, &kinds::claims(), of_labelled).await?);
    let (entries, unreadable) = journal::read(cluster, namespace).await?;
    add(entries.iter().map(of_entry).collect());
    Ok((seen, unreadable))
}

/// What one object says.
struct Trace {
    run: RunId,
    name: String,
    /// The namespace, and whether it is the copy's.
    place: Option<(String, bool)>,
    other: Option<String>,
    claim: Option<String>,
    expires: Option<Time>,
    created: Option<Time>,
}

impl Trace {
    /// Of an object that is about `name` in `namespace`.
    fn new(object: &Value, namespace: &str, name: &str) -> Option<Self> {
        let (run, base) = parse_name(name)?;
        Some(Self {
            run,
            name: base.to_owned(),
            place: Some((namespace.to_owned(), base == name)),
            other: None,
            claim: None,
            expires: expires_of(object),
            created: Time::parse(text(object, &["metadata", "creationTimestamp"])),
        })
    }

    fn add(self, seen: &mut BTreeMap<String, Seen>) {
        let seen = seen.entry(self.name.clone()).or_insert_with(|| Seen {
            traces: Traces { run: self.run, name: self.name, namespace: None, home: None },
            claim: None,
            expires: None,
            created: None,
        });
        match self.place {
            Some((namespace, true)) => seen.traces.home = Some(namespace),
            Some((namespace, false)) => seen.traces.namespace = Some(namespace),
            None => {}
        }
        if self.other.is_some() {
            seen.traces.namespace = self.other;
        }
        seen.claim = self.claim.or(seen.claim.take());
        seen.expires = seen.expires.max(self.expires);
        seen.created = seen.created.max(self.created);
    }
}

/// A content, theirs or ours, by the `VolumeSnapshot` that it is for: theirs has no label yet in the beginning.
fn of_content(content: &Value) -> Option<Trace> {
    let reference = |field| text(content, &["spec", "volumeSnapshotRef", field]);
    Trace::new(content, reference("namespace"), reference("name"))
}

/// A volume whose claim had a name of ours: the claim may be gone and its volume kept.
fn of_volume(volume: &Value) -> Option<Trace> {
    let reference = |field| text(volume, &["spec", "claimRef", field]);
    Trace::new(volume, reference("namespace"), reference("name"))
}

fn of_labelled(object: &Value) -> Option<Trace> {
    let trace = Trace::new(object, namespace_of(object)?, name_of(object))?;
    (run_of(object)? == trace.run).then_some(trace)
}

fn of_entry(entry: &Entry) -> Trace {
    Trace {
        run: entry.run.clone(),
        name: entry.name.clone(),
        place: Some((entry.home.clone(), true)),
        other: Some(entry.namespace.clone()),
        claim: Some(format!("{}/{}", entry.namespace, entry.claim)),
        expires: entry.expires(),
        created: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_is_over_and_not_known_to_be_alive_is_swept() {
        let run = RunId::new([1; 8]);
        let seen = |expires, created| Seen {
            traces: Traces { run: run.clone(), name: "n".into(), namespace: None, home: None },
            claim: None,
            expires,
            created,
        };
        let (none, alive) = (BTreeSet::new(), BTreeSet::from([run.clone()]));
        let day = 86_400_000;
        for (expires, created, now, expected) in [
            (Some(Time(10)), None, 9, false),
            (Some(Time(10)), None, 10, true),
            (Some(Time(10)), Some(Time(0)), 9, false),
            (None, Some(Time(0)), day, false),
            (None, Some(Time(0)), 2 * day, true),
            (None, None, 0, true),
        ] {
            let seen = seen(expires, created);
            assert_eq!(seen.is_over(&none, Time(now)), expected, "{seen:?} at {now}");
            assert!(!seen.is_over(&alive, Time(now)), "it is alive");
        }
    }
}
