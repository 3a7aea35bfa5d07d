//! The API groups of a cluster in a table: how many objects of how many kinds, how large, how long they took, and what is missing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use crate::base::clock::Time;
use crate::base::units;
use crate::cli::output::count;
use crate::cli::progress;
use crate::cluster::capture::Captured;
use crate::cluster::kind::CORE;
use crate::format::entry::escape;

/// An API group with objects, or with problems.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Group {
    #[serde(rename = "group")]
    name: String,
    kinds: u64,
    objects: u64,
    bytes: u64,
    /// From its first request until its last object was taken to be stored; others are read meanwhile. None if nothing of it could be asked for.
    seconds: Option<f64>,
    problems: u64,
}

impl Group {
    /// Below the row of their source, under the heads of its table.
    pub fn cells(&self) -> Vec<String> {
        let nothing = String::new;
        let problems = if self.problems == 0 { nothing() } else { self.problems.to_string() };
        vec![
            format!("  {}", escape(self.name.as_bytes())),
            count(self.kinds, "kind"),
            self.objects.to_string(),
            units::bytes(self.bytes),
            nothing(),
            nothing(),
            self.seconds.map_or_else(nothing, |seconds| progress::left(Duration::from_secs_f64(seconds))),
            problems,
            nothing(),
        ]
    }
}

/// By name, the core group as `core`. A problem of the whole cluster is of none: the row of the source counts it.
pub(super) fn of(captured: &Captured) -> Vec<Group> {
    let mut groups = BTreeMap::<String, Group>::new();
    let mut during = BTreeMap::<&str, Range<Time>>::new();
    for row in &captured.rows {
        let name = if row.kind.group.is_empty() { CORE } else { &row.kind.group };
        let group = groups.entry(name.to_owned()).or_default();
        group.kinds += u64::from(row.objects > 0);
        group.objects += row.objects;
        group.bytes += row.bytes;
        let during = during.entry(name).or_insert_with(|| row.during.clone());
        *during = during.start.min(row.during.start)..during.end.max(row.during.end);
        group.seconds = Some(during.end.since(during.start).as_secs_f64());
    }
    for missing in &captured.missing {
        let path = String::from_utf8_lossy(missing.path.as_bytes());
        if let Some(name) = path.split('/').nth(1) {
            groups.entry(name.to_owned()).or_default().problems += 1;
        }
    }
    groups.retain(|_, group| group.objects > 0 || group.problems > 0);
    groups.into_iter().map(|(name, group)| Group { name, ..group }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::capture::{Missing, Row};
    use crate::cluster::kind::example;
    use crate::format::entry::TreePath;

    #[test]
    fn kinds_are_summed_up_by_group_and_problems_are_of_theirs() {
        let row = |group, resource, objects, during: Range<i64>| Row {
            kind: example(group, resource, "X"),
            objects,
            bytes: objects * 10,
            during: Time(during.start * 1000)..Time(during.end * 1000),
        };
        let missing = |path| Missing {
            path: TreePath::new(path).expect("plain"),
            operation: "listing",
            why: "forbidden".to_owned(),
        };
        let captured = Captured {
            rows: vec![
                row("", "secrets", 2, 1..3),
                row("", "pods", 3, 0..2),
                row("apps", "daemonsets", 0, 2..3),
                row("acme.org", "anvils", 0, 3..4),
            ],
            missing: vec![missing("resources/core/Secret"), missing("resources/metrics.k8s.io")],
            ..Captured::default()
        };
        let group = |group: &str, kinds, objects, seconds, problems| Group {
            name: group.to_owned(),
            kinds,
            objects,
            bytes: objects * 10,
            seconds,
            problems,
        };
        assert_eq!(of(&captured), [group("core", 2, 5, Some(3.0), 1), group("metrics.k8s.io", 0, 0, None, 1)]);
    }
}
