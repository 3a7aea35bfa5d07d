//! The checks of steps, looked at with what a step has restored around them.

use std::sync::Arc;

use super::{Target, World, because, failed};
use crate::base::cancel::Cancel;
use crate::cluster::{Cluster as _, folder};
use crate::format::entry::TreePath;
use crate::recover::cluster::Identity;
use crate::recover::cluster::data::Data;
use crate::recover::cluster::volumes::Filling;
use crate::recover::select::Selection;
use crate::runbook::{Action, Check, RestoreVolume, Step};
use crate::runs::drive::Undone;
use crate::verify::{Origin, Restored, Seen, Surroundings, describe, hold, volume};
use crate::volumes::kinds;

impl World<'_> {
    /// What a check of a step may look at.
    pub(super) fn around(&self, step: &Step, cancel: &Arc<Cancel>) -> Surroundings {
        let mut around = Surroundings::new(self.clock.clone(), cancel.clone());
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
        Some(Restored { folder, from: Some(Origin { reader, root, within, selection }) })
    }

    /// Whether a check of a volume looks at what is in a cluster, where this machine does not come.
    fn is_inside(&self, check: &Check) -> bool {
        matches!(self.target, Target::Api(_)) && volume::looks_inside(&check.probe)
    }

    /// A check of what is in a volume of a cluster.
    async fn inside(
        &self,
        step: &Step,
        of: &RestoreVolume,
        check: &Check,
        cancel: &Arc<Cancel>,
    ) -> Result<Seen, Undone> {
        let (claim, (namespace, name)) = (super::volume::claim_of(of), (&of.into.namespace, &of.into.name));
        let found = self.api()?.get(&kinds::claims(), Some(namespace), name).await;
        let found = found.map_err(|error| because(&error, "see whether the cluster answers"))?;
        let Some(object) = found else { return Ok(Seen::Not(format!("the claim {claim} is not there"))) };
        let (_, snapshot) = self.snapshot(step)?;
        let filling = Filling {
            claim: Identity {
                kind: "persistentvolumeclaims".to_owned(),
                namespace: Some(namespace.clone()),
                name: name.clone(),
            },
            object,
            data: Data::of(&self.source()?.chain, snapshot, snapshot.record.started),
            consumers: Vec::new(),
            node: None,
        };
        Ok(volume::hold(check, &self.filling(TreePath::root(), cancel)?, &filling).await)
    }

    /// One check, tried as often as it says.
    pub(super) async fn check(&self, step: &Step, check: &Check, cancel: &Arc<Cancel>) -> Result<String, Undone> {
        let what = describe(&check.probe);
        let seen = match &step.action {
            Action::RestoreVolume(of) if self.is_inside(check) => self.inside(step, of, check, cancel).await?,
            _ => hold(check, &self.around(step, cancel)).await,
        };
        match seen {
            Seen::Holds(said) => Ok(format!("holds: {what}: {said}")),
            Seen::Not(_) if cancel.is_cancelled() => Err(Undone::Stopped),
            Seen::Not(why) => {
                Err(failed(format!("does NOT hold: {what}: {why}"), "see why, mend it, and take the run up"))
            }
        }
    }
}
