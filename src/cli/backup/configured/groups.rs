//! The API groups of a cluster in a table: how many objects of how many kinds, how large, and what is missing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::units;
use crate::cli::output::count;
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
            nothing(),
            problems,
            nothing(),
        ]
    }
}

/// By name, the core group as `core`. A problem of the whole cluster is of none: the row of the source counts it.
pub(super) fn of(captured: &Captured) -> Vec<Group> {
    let mut groups = BTreeMap::<String, Group>::new();
    for row in &captured.rows {
        let name = if row.kind.group.is_empty() { CORE } else { &row.kind.group };
        let group = groups.entry(name.to_owned()).or_default();
        group.kinds += u64::from(row.objects > 0);
        group.objects += row.objects;
        group.bytes += row.bytes;
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
        let row = |group, resource, objects| Row { kind: example(group, resource, "X"), objects, bytes: objects * 10 };
        let missing = |path| Missing {
            path: TreePath::new(path).expect("plain"),
            operation: "listing",
            why: "forbidden".to_owned(),
        };
        let captured = Captured {
            rows: vec![
                row("", "secrets", 2),
                row("", "pods", 3),
                row("apps", "daemonsets", 0),
                row("acme.org", "anvils", 0),
            ],
            missing: vec![missing("resources/core/Secret"), missing("resources/metrics.k8s.io")],
            ..Captured::default()
        };
        let group = |group: &str, kinds, objects, problems| Group {
            name: group.to_owned(),
            kinds,
            objects,
            bytes: objects * 10,
            problems,
        };
        assert_eq!(of(&captured), [group("core", 2, 5, 1), group("metrics.k8s.io", 0, 0, 1)]);
    }
}
