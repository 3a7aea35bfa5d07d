//! The checks of steps, looked at with what a step has restored around them.

use std::sync::Arc;

use super::{OnThisMachine, Target, World, failed};
use crate::base::cancel::Cancel;
use crate::cluster::folder;
use crate::format::entry::TreePath;
use crate::recover::select::Selection;
use crate::runbook::{Action, Check, Step};
use crate::runs::drive::Undone;
use crate::verify::{Restored, Seen, Surroundings, describe, hold};

impl World<'_> {
    /// What a check of a step may look at.
    pub(super) fn around(&self, step: &Step, cancel: &Arc<Cancel>) -> Surroundings {
        let mut around = Surroundings::new(self.clock.clone(), cancel.clone(), Arc::new(OnThisMachine));
        match &self.target {
            Target::Machine => {}
            Target::Api(api) => {
                around.cluster = Ok(api.clone());
                around.exec = Ok(api.clone());
            }
            Target::Folder(folder, _) => {
                around.cluster = Ok(folder.clone());
                around.exec = Err("in a folder nothing runs".to_owned());
            }
        }
        around.restored = self.restored(step);
        around
    }

    /// What a step restores into a folder of this machine.
    fn restored(&self, step: &Step) -> Option<Restored> {
        let source = self.source.as_ref()?;
        let (_, snapshot) = self.snapshot(step).ok()?;
        let (folder, within, selection) = match (&step.action, &self.target) {
            (Action::RestoreFiles(files), _) => {
                (files.target.clone(), super::files::within(files).ok()?, super::files::selection(files).ok()?)
            }
            (Action::RestoreVolume(volume), Target::Folder(_, root)) => {
                let folder = folder::volume(root, &volume.into.namespace, &volume.into.name)?;
                (folder, TreePath::root(), Selection::default())
            }
            _ => return None,
        };
        let (reader, root) = (source.reader.clone(), snapshot.record.root);
        Some(Restored { folder, reader, root, within, selection })
    }

    /// One check, tried as often as it says.
    pub(super) async fn check(&self, step: &Step, check: &Check, cancel: &Arc<Cancel>) -> Result<String, Undone> {
        let what = describe(&check.probe);
        match hold(check, &self.around(step, cancel)).await {
            Seen::Holds(said) => Ok(format!("holds: {what}: {said}")),
            Seen::Not(_) if cancel.is_cancelled() => Err(Undone::Stopped),
            Seen::Not(why) => {
                Err(failed(format!("does NOT hold: {what}: {why}"), "see why, mend it, and take the run up"))
            }
        }
    }
}
