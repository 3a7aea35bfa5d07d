//! From `SNAPSHOT[:PATH]` on the command line to a snapshot and a path in its tree.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::base::when::{Selector, SelectorError, SnapshotPath, select};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::format::entry::{TreePath, escape, unescape};
use crate::repo::fetch::Reader;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::repo::tree_read::lookup;

/// The help of an argument that names a snapshot.
pub(crate) const SNAPSHOT_HELP: &str =
    "An id or its start, latest, latest:SOURCE, or a time such as 2026-11-01T03:00 for the newest until then";
/// The help of an argument that names a snapshot and a path in it.
pub(crate) const SNAPSHOT_PATH_HELP: &str = "An id or its start, latest, latest:SOURCE, or a time such as 2026-11-01T03:00 for the newest until then; \
     a path goes after a colon, as in latest:photos:2026 or, in the newest of all, latest:/2026";

/// The snapshot that a text names.
pub(crate) fn snapshot<'a>(context: &Context, chain: &'a Chain, text: &str) -> Result<&'a Snapshot, Failure> {
    let selector = Selector::parse(text, context.zone()).map_err(|error| latest_meant(error, chain, text.as_ref()))?;
    Ok(select(&selector, &chain.snapshots)?)
}

/// The snapshot and the path that a text names; without a path the whole tree.
pub(crate) fn snapshot_path<'a>(
    context: &Context,
    chain: &'a Chain,
    text: &OsStr,
) -> Result<(&'a Snapshot, TreePath), Failure> {
    let parsed = SnapshotPath::parse(text, context.zone()).map_err(|error| latest_meant(error, chain, text))?;
    let snapshot = select(&parsed.snapshot, &chain.snapshots)?;
    Ok((snapshot, tree_path(parsed.path.as_deref().unwrap_or_default())?))
}

/// Whether a text names a part of a snapshot, not all of it. One that does not parse names neither.
pub(crate) fn names_a_part(context: &Context, text: &OsStr) -> bool {
    SnapshotPath::parse(text, context.zone())
        .ok()
        .and_then(|parsed| tree_path(parsed.path.as_deref().unwrap_or_default()).ok())
        .is_some_and(|path| path != TreePath::root())
}

/// `photos:a.jpg` for `latest:photos:a.jpg`: a source where a snapshot is expected.
fn latest_meant(error: SelectorError, chain: &Chain, text: &OsStr) -> Failure {
    let bytes = text.as_bytes();
    let head = bytes.split(|byte| *byte == b':').next().unwrap_or_default();
    if !chain.snapshots.iter().any(|snapshot| snapshot.record.source.as_bytes() == head) {
        return error.into();
    }
    let what = format!("{:?} begins with a source, and a snapshot is expected", escape(bytes));
    Failure::usage(what, format!("write latest:{}", escape(bytes)))
}

/// A path as people write it: slashes around it and `.` in it mean nothing.
pub(crate) fn tree_path(given: &[u8]) -> Result<TreePath, Failure> {
    let names: Vec<&[u8]> = given.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    TreePath::new(names.join(&b'/')).map_err(|_| {
        let what = format!("{:?} is no path in a snapshot", escape(given));
        Failure::usage(what, "paths are as `homelab-dr ls SNAPSHOT` shows them, without ..")
    })
}

/// The path that is meant: the one given, or, if the snapshot does not have it, the one that is printed like it.
///
/// `ls`, `find` and `diff` print bytes that a terminal should not get as `\xNN`. A name that really has these letters
/// goes first; where there are both, one more letter written as `\xNN` names the other.
pub(crate) async fn as_printed(reader: &Reader, snapshot: &Snapshot, given: TreePath) -> Result<TreePath, Failure> {
    let Some(path) = unescape(given.as_bytes()).and_then(|bytes| TreePath::new(bytes).ok()) else { return Ok(given) };
    let root = snapshot.record.root;
    let printed = lookup(reader, root, &given).await?.is_none() && lookup(reader, root, &path).await?.is_some();
    Ok(if printed { path } else { given })
}

/// A path that the snapshot does not have.
pub(crate) fn no_such_path(snapshot: &Snapshot, path: &TreePath) -> Failure {
    let what = format!("snapshot {} has no {}", snapshot.id.short(), path.display());
    let help = "`homelab-dr ls SNAPSHOT[:PATH]` shows what it has; paths begin below what was backed up";
    Failure::new(Exit::Usage, what, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_dots_are_forgiven_and_climbing_is_not() {
        for text in ["/a/b", "a/b/", "./a/./b", "a//b"] {
            assert_eq!(tree_path(text.as_bytes()).expect(text), TreePath::new("a/b").expect("plain"), "{text}");
        }
        assert_eq!(tree_path(b"/").expect("the root"), TreePath::root());
        assert!(tree_path(b"a/../b").is_err());
    }
}
