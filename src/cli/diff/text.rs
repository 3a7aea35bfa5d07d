//! What changed in a text, line by line, as `diff -u` shows it. Of manifests of a cluster's objects, what a person would call a change: not the status, nor
//! the bookkeeping of the API server.

use serde_json::Value;
use similar::TextDiff;

use crate::cluster::kind::RESOURCES;
use crate::cluster::manifest;
use crate::format::entry::{TreePath, escape};

/// Longest text that is compared line by line: the largest objects of a cluster, and any configuration.
pub(super) const TEXT_BYTES_MAX: u64 = 4 << 20;
/// Lines around a change.
const CONTEXT: usize = 3;
/// Fields of `metadata` that change with every write.
const BOOKKEEPING: [&str; 3] = ["generation", "managedFields", "resourceVersion"];

/// How two files differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// In these lines; every one ends with a line break.
    Lines(String),
    /// Manifests of objects of which only the status or the bookkeeping changed.
    Bookkeeping,
    /// One of them is no text.
    Binary,
}

/// The manifest without what changes by itself; `None` if it is none.
fn settled(text: &str) -> Option<String> {
    let mut object = manifest::read(text).ok()?;
    let fields = object.as_object_mut()?;
    fields.remove("status");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !BOOKKEEPING.contains(&name.as_str()));
    }
    Some(manifest::write(&object))
}

fn is_manifest(path: &TreePath) -> bool {
    path.names().next() == Some(RESOURCES.as_bytes()) && path.as_bytes().ends_with(b".yaml")
}

/// Compares two versions of the file at a path.
pub(super) fn compare(path: &TreePath, before: &[u8], after: &[u8]) -> Difference {
    let text = |bytes| std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let (Some(before), Some(after)) = (text(before), text(after)) else { return Difference::Binary };
    let manifests = if is_manifest(path) { settled(before).zip(settled(after)) } else { None };
    if manifests.as_ref().is_some_and(|(before, after)| before == after) {
        return Difference::Bookkeeping;
    }
    let (before, after) = manifests.as_ref().map_or((before, after), |(before, after)| (before, after));
    let shown = path.display();
    let diff = TextDiff::from_lines(before, after);
    let mut unified = diff.unified_diff();
    let unified = unified.context_radius(CONTEXT).header(&format!("a/{shown}"), &format!("b/{shown}")).to_string();
    // What a file says must not drive the terminal.
    let lines = unified
        .lines()
        .map(|line| line.split('\t').map(|part| escape(part.as_bytes())).collect::<Vec<_>>().join("\t") + "\n");
    Difference::Lines(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).expect("plain")
    }

    #[test]
    fn lines_are_shown_with_what_is_around_them() {
        let (before, after) = ("1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\n5\x1b[2J\n6");
        let Difference::Lines(shown) = compare(&path("etc/x"), before.as_bytes(), after.as_bytes()) else { panic!() };
        assert_eq!(
            shown,
            "--- a/etc/x\n+++ b/etc/x\n@@ -2,5 +2,5 @@\n 2\n 3\n 4\n-5\n-6\n+5\\x1b[2J\n+6\n\\ No newline at end of file\n"
        );
        assert_eq!(compare(&path("x"), b"a\0", b"b"), Difference::Binary);
        assert_eq!(compare(&path("x"), b"\xff", b"b"), Difference::Binary);
    }

    #[test]
    fn of_a_manifest_only_what_somebody_changed_is_shown() {
        let manifest = |version: u32, replicas: u32, ready: u32| {
            format!(
                "kind: D\nmetadata:\n  name: x\n  generation: {version}\n  resourceVersion: \"{version}\"\nspec:\n  replicas: {replicas}\nstatus:\n  ready: {ready}\n"
            )
        };
        let there = path("resources/apps/D/media/x.yaml");
        let compared = |a: String, b: String| compare(&there, a.as_bytes(), b.as_bytes());
        assert_eq!(compared(manifest(1, 1, 0), manifest(2, 1, 1)), Difference::Bookkeeping);
        let Difference::Lines(shown) = compared(manifest(1, 1, 0), manifest(2, 3, 1)) else { panic!() };
        assert!(shown.contains("-  replicas: 1\n+  replicas: 3\n"), "{shown}");
        assert!(!shown.contains("resourceVersion") && !shown.contains("ready"), "{shown}");
        // Elsewhere a text is a text.
        let elsewhere = compare(&path("etc/x.yaml"), manifest(1, 1, 0).as_bytes(), manifest(2, 1, 1).as_bytes());
        assert!(matches!(elsewhere, Difference::Lines(shown) if shown.contains("+  resourceVersion: \"2\"")));
    }
}
