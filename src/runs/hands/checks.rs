//! The checks of steps, looked at with what a step has restored around them.

use std::sync::Arc;

use super::datadir::starts_a_server;
use super::{OnThisMachine, Target, World, because, failed};
use crate::base::cancel::Cancel;
use crate::cluster::{Cluster as _, folder};
use crate::format::entry::TreePath;
use crate::recover::cluster::Identity;
use crate::recover::cluster::data::Data;
use crate::recover::cluster::volumes::Filling;
use crate::recover::select::Selection;
use crate::repo::snapshots::Snapshot;
use crate::runbook::{Action, Check, Claim, Probe, Step};
use crate::runs::drive::Undone;
use crate::runs::plan::Fill;
use crate::verify::{Origin, Restored, Seen, Surroundings, describe, hold, volume};
use crate::volumes::kinds;

impl World<'_> {
    /// What a check of a step may look at.
    pub(crate) fn around(&self, step: &Step, cancel: &Arc<Cancel>) -> Surroundings {
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
        around.restored = self.restored(step).into_iter().collect();
        (around.progress, around.limit) = (self.board.of(&step.id), step.timeout);
        around.confined.clone_from(&self.confined);
        around
    }

    /// Everything that a step restores into folders of this machine: of objects, each volume that it fills.
    pub(crate) fn all_restored(&self, step: &Step) -> Vec<Restored> {
        let (Action::RestoreResources(_), Target::Folder(_, root), Some(source)) =
            (&step.action, &self.target, &self.source)
        else {
            return self.restored(step).into_iter().collect();
        };
        let fills = self.plan.fates.get(&step.id).map(|fates| fates.fill.as_slice()).unwrap_or_default();
        let one = |fill: &Fill| {
            let (namespace, name) = fill.claim.split_once('/')?;
            let snapshot = source.chain.snapshots.iter().find(|one| one.id.hex() == fill.snapshot)?;
            Some(Restored {
                folder: folder::volume(root, namespace, name)?,
                from: Some(Origin {
                    reader: source.reader.clone(),
                    root: snapshot.record.root,
                    within: TreePath::root(),
                    selection: Selection::default(),
                }),
            })
        };
        fills.iter().filter_map(one).collect()
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

    /// The snapshot that a claim is filled from which comes with the objects of a step.
    fn filled_from(&self, step: &Step, claim: &Claim) -> Result<&Snapshot, Undone> {
        let claim = format!("{}/{}", claim.namespace, claim.name);
        let fills = self.plan.fates.get(&step.id).map(|fates| fates.fill.as_slice()).unwrap_or_default();
        let fill = fills.iter().find(|fill| fill.claim == claim);
        let fill = fill.ok_or_else(|| {
            failed(format!("the step does not fill the claim {claim}"), "name one that it fills: the plan lists them")
        })?;
        let found = self.source()?.chain.snapshots.iter().find(|one| one.id.hex() == fill.snapshot);
        found.ok_or_else(|| failed("its snapshot is not in the repository any more", "make the plan anew"))
    }

    /// A check of what is in a volume of a cluster.
    pub(super) async fn inside(
        &self,
        (step, snapshot): (&Step, &Snapshot),
        into: &Claim,
        check: &Check,
        cancel: &Arc<Cancel>,
    ) -> Result<Seen, Undone> {
        let (claim, (namespace, name)) = (format!("{}/{}", into.namespace, into.name), (&into.namespace, &into.name));
        let found = self.api()?.get(&kinds::claims(), Some(namespace), name).await;
        let found = found.map_err(|error| because(&error, "see whether the cluster answers"))?;
        let Some(object) = found else { return Ok(Seen::Not(format!("the claim {claim} is not there"))) };
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
        Ok(volume::hold(check, &self.filling(TreePath::root(), (&self.board.of(&step.id), cancel))?, &filling).await)
    }

    /// One check, tried as often as it says.
    pub(super) async fn check(&self, step: &Step, check: &Check, cancel: &Arc<Cancel>) -> Result<String, Undone> {
        let what = describe(&check.probe);
        let mut around = self.around(step, cancel);
        if matches!(check.probe, Probe::Files(_)) {
            around.restored = self.all_restored(step);
        }
        let claim = match &check.probe {
            Probe::Sqlite { claim, .. } => claim.as_ref(),
            _ => None,
        };
        if let (Some(claim), Target::Folder(_, root)) = (claim, &self.target) {
            let folder = folder::volume(root, &claim.namespace, &claim.name);
            around.restored = folder.map(|folder| Restored { folder, from: None }).into_iter().collect();
        }
        // There nothing changes by itself, so that nothing is waited for.
        let once = Check { retries: Some(0), deadline: None, ..check.clone() };
        let waits = !self.stays_so(std::slice::from_ref(check));
        let check = if waits { check } else { &once };
        let seen = match (&step.action, claim) {
            (Action::RestoreVolume(of), _) if self.is_inside(check) => {
                self.inside((step, self.snapshot(step)?.1), &of.into, check, cancel).await?
            }
            (Action::RestoreVolume(of), _) if matches!(self.target, Target::Api(_)) && starts_a_server(check) => {
                self.server_on_a_copy(step, of, (check, &around), cancel).await?
            }
            (Action::RestoreResources(_), Some(claim)) if self.is_inside(check) => {
                self.inside((step, self.filled_from(step, claim)?), claim, check, cancel).await?
            }
            _ => hold(check, &around).await,
        };
        match seen {
            Seen::Holds(said) => Ok(format!("holds: {what}: {said}")),
            Seen::Not(_) if cancel.is_cancelled() => Err(Undone::Stopped),
            Seen::Not(why) => {
                let help = match &self.plan.drill {
                    Some(_) => "see why, mend it, and hold the drill again",
                    None if step.restores() => {
                        "see why, mend it, and take the run up: then it is looked at again, and with --again also restored once more"
                    }
                    None => "see why, mend it, and take the run up",
                };
                let folder = if waits { "" } else { " (in a folder nothing runs)" };
                Err(failed(format!("does NOT hold: {what}: {why}{folder}"), help))
            }
        }
    }
}
