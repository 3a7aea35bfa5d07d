//! What is in the target and not in the snapshot, found directory by directory while the tree is read.
//!
//! Only directories that have an entry of their own in the snapshot count (of others only a part was backed up), only what the selection would have
//! restored (what it leaves out is nobody's to remove), and none of which some names cannot be read.

use std::collections::HashSet;

use crate::format::entry::{Entry, Kind, TreePath};
use crate::recover::RestoreProblem;
use crate::recover::select::Selection;
use crate::repo::tree_read::LostPart;
use crate::tree::restore::{Target, is_temporary};

/// A directory whose entries are being told.
struct Open {
    /// In the snapshot.
    path: TreePath,
    names: HashSet<Vec<u8>>,
}

/// See the module. Memory: the names of the directories above the current entry, and what is found.
pub struct Extra {
    /// The part of the tree that is restored.
    within: TreePath,
    /// How many bytes at the start of a path are not repeated in the target.
    base: usize,
    selection: Selection,
    open: Vec<Open>,
    /// Paths in the target.
    found: Vec<TreePath>,
    problems: Vec<RestoreProblem>,
}

impl Extra {
    /// Begins at the start of the tree.
    pub const fn new(within: TreePath, base: usize, selection: Selection) -> Self {
        Self { within, base, selection, open: Vec::new(), found: Vec::new(), problems: Vec::new() }
    }

    /// The next entry of the snapshot, whether it is chosen or not.
    pub fn entry(&mut self, entry: &Entry, lost: &[LostPart], target: Option<&Target>) {
        while self.open.last().is_some_and(|open| !entry.path.is_within(&open.path)) {
            self.close(lost, target);
        }
        if let Some(open) = self.open.last_mut()
            && let Some(name) = entry.path.first_below(&open.path)
        {
            open.names.insert(name.name().to_vec());
        }
        if entry.kind == Kind::Directory {
            self.open.push(Open { path: entry.path.clone(), names: HashSet::new() });
        }
    }

    /// The tree ends: what there is too much in the target, in order, and what could not be listed.
    pub fn finish(mut self, lost: &[LostPart], target: Option<&Target>) -> (Vec<TreePath>, Vec<RestoreProblem>) {
        while !self.open.is_empty() {
            self.close(lost, target);
        }
        self.found.sort();
        (self.found, self.problems)
    }

    fn close(&mut self, lost: &[LostPart], target: Option<&Target>) {
        let Some((open, target)) = self.open.pop().zip(target) else { return };
        if lost.iter().any(|part| part.may_hide_names_of(&open.path)) {
            return;
        }
        let inside = open.path.as_bytes().get(self.base..).unwrap_or_default();
        let Ok(directory) = TreePath::new(inside) else { return };
        // Files that this or another run is just writing are none of it.
        match target.extra_entries(&directory, |name| open.names.contains(name) || is_temporary(name)) {
            Ok(extra) => {
                self.found.extend(extra.into_iter().filter(|path| is_chosen(&self.selection, &self.within, path)));
            }
            Err(problem) => self.problems.push(problem.into()),
        }
    }
}

/// Whether the selection takes what has this path in the target, be it a directory or not.
fn is_chosen(selection: &Selection, within: &TreePath, path: &TreePath) -> bool {
    let whole = path.names().try_fold(within.clone(), |above, name| above.join(name));
    whole.is_ok_and(|path| selection.takes(&path, false) && selection.takes(&path, true))
}
