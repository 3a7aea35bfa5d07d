//! What of the target a restore leaves as it is: the repository that it reads, and the keys.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::format::entry::TreePath;
use crate::recover::RestorePlan;
use crate::tree::problem::{Cause, Problem};

/// Places within the target, and whether each was told.
pub(crate) struct Spared(Vec<(TreePath, bool)>);

/// Whether an entry meets a spared place.
pub(crate) enum Met {
    Nothing,
    /// To be told: once for each place, which may hold very many entries.
    First(Problem),
    Again,
}

/// Where a spared path is in the target, if it is; the root if the target lies in it.
fn inside(target: &Path, path: &PathBuf) -> Option<TreePath> {
    if target.starts_with(path) {
        return Some(TreePath::root());
    }
    TreePath::new(path.strip_prefix(target).ok()?.as_os_str().as_bytes()).ok()
}

impl Spared {
    /// Those of the plan that lie in its target.
    pub(crate) fn of(plan: &RestorePlan) -> Self {
        // One that cannot be resolved is not there, and so is nothing in it.
        let Ok(target) = plan.target.canonicalize() else { return Self(Vec::new()) };
        Self(plan.spared.iter().filter_map(|path| inside(&target, path)).map(|path| (path, false)).collect())
    }

    /// Whether an entry would be put into a spared place, or take the place of one or of what holds it; only a directory may be where one holds it.
    pub(crate) fn meets(&mut self, path: &TreePath, is_directory: bool) -> Met {
        let met = |spared: &TreePath| path.is_within(spared) || (!is_directory && spared.is_within(path));
        match self.0.iter_mut().find(|(spared, _)| met(spared)) {
            None => Met::Nothing,
            Some((_, true)) => Met::Again,
            Some((spared, told)) => {
                *told = true;
                Met::First(Problem::new(spared.clone(), "restoring", Cause::InUse))
            }
        }
    }
}
