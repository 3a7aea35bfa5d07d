//! `restore.volume`: the data of one claim; into a claim that is made for it, into the one that is there, or into the folder that stands for it.

use std::sync::Arc;

use super::{Target, World, because, failed, reported};
use crate::base::cancel::Cancel;
use crate::base::id::short_hex;
use crate::base::progress::Progress;
use crate::base::units;
use crate::cluster::{How, folder};
use crate::format::entry::TreePath;
use crate::hooks::{Acting, Waits};
use crate::recover::RestorePlan;
use crate::recover::cluster::Identity;
use crate::recover::cluster::beside::{self, Made, Wanted};
use crate::recover::cluster::data::Data;
use crate::recover::cluster::in_place::{self, InPlace};
use crate::recover::cluster::movers::ByMovers;
use crate::recover::cluster::volumes::{Filled, Outcome};
use crate::recover::fill::{self, fill};
use crate::recover::mover::leaves_out;
use crate::runbook::{RestoreVolume, Step};
use crate::runs::drive::Undone;
use crate::volumes::mover::evidence::Evidence;
use crate::volumes::mover::{Crew, Limits};

pub(super) fn claim_of(volume: &RestoreVolume) -> String {
    format!("{}/{}", volume.into.namespace, volume.into.name)
}

impl World<'_> {
    /// What fills volumes of a cluster.
    pub(super) fn filling<'a>(
        &'a self,
        within: TreePath,
        (progress, cancel): (&'a Progress, &'a Cancel),
    ) -> Result<ByMovers<'a>, Undone> {
        let api = self.api()?;
        let help = "give --mover-image IMAGE, or name it in homelab-dr.yaml";
        let movers = self.movers.as_ref().ok_or_else(|| failed("nothing says how movers run", help))?;
        let running = &movers.running;
        let crew = Crew {
            cluster: api,
            streams: api,
            clock: &*self.clock,
            progress,
            cancel,
            limits: Limits::default(),
            start_timeout: running.start_timeout,
            timeout: running.timeout,
        };
        ByMovers::new(crew, &movers.handed, running, self.source()?.reader.clone(), within)
            .map_err(|error| because(&error, "the system gives no randomness"))
    }

    /// The progress of a step that brings all of this back.
    fn begins(&self, what: &'static str, (step, data): (&Step, &Data)) -> Arc<Progress> {
        let progress = self.board.of(&step.id);
        progress.begin(what, "file");
        progress.expect(data.files, data.bytes, false);
        progress
    }

    pub(super) async fn restore_volume(
        &self,
        step: &Step,
        volume: &RestoreVolume,
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        let (_, snapshot) = self.snapshot(step)?;
        let data = Data::of(&self.source()?.chain, snapshot, snapshot.record.started);
        match &self.target {
            Target::Machine => Err(failed("it needs a cluster, and none was given", "give --kubeconfig FILE")),
            Target::Folder(_, root) => self.unpack(step, (root, volume), &data, cancel).await,
            Target::Api(_) if volume.in_place => self.in_place(step, volume, data, cancel).await,
            Target::Api(_) => self.beside(step, volume, data, cancel).await,
        }
    }

    async fn unpack(
        &self,
        step: &Step,
        (root, volume): (&std::path::Path, &RestoreVolume),
        data: &Data,
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        let claim = claim_of(volume);
        let target = folder::volume(root, &volume.into.namespace, &volume.into.name)
            .ok_or_else(|| failed(format!("{claim} cannot be the name of a folder"), "name another claim with into"))?;
        let (operation, reader) = (self.operation(step, cancel)?, &self.source()?.reader);
        let _ = self.begins("restoring", (step, data));
        let plan = RestorePlan::whole(data.root, TreePath::root(), target.clone());
        let done = if volume.in_place {
            fill::in_place(&operation, reader, plan).await
        } else {
            fill(&operation, reader, &data.snapshot, plan).await
        };
        let report = reported(done, cancel)?;
        let missing = report.problems.iter().filter(|problem| leaves_out(problem)).count();
        if missing > 0 {
            let first = report
                .problems
                .iter()
                .find(|problem| leaves_out(problem))
                .map(|problem| crate::base::causes::in_one_line(problem));
            let why = format!("{missing} entries are missing in {claim}, the first: {}", first.unwrap_or_default());
            return Err(failed(
                why,
                "see what is wrong with them; `homelab-dr check --read-data` looks at the repository",
            ));
        }
        Ok(vec![format!(
            "{} files ({}) of snapshot {} in {}",
            report.files + report.unchanged,
            units::bytes(data.bytes),
            data.snapshot.short(),
            target.display()
        )])
    }

    async fn beside(
        &self,
        step: &Step,
        volume: &RestoreVolume,
        data: Data,
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        let api = self.api()?;
        let by = format!("{} {}", self.plan.run, step.id);
        let like = beside::original(api, &data.source).await;
        let wanted = Wanted {
            namespace: &volume.into.namespace,
            name: &volume.into.name,
            class: volume.storage_class.as_deref(),
            bytes: volume.size.unwrap_or(0),
            like: like.as_ref(),
            data: &data,
            by: Some(&by),
        };
        let made = match beside::make(api, &wanted, How::Really).await {
            Ok(Made::Claim(claim)) => claim,
            Ok(Made::Full) => return Ok(vec![format!("{} was filled before this run was taken up", claim_of(volume))]),
            Err(error) => return Err(because(&error, error.mend())),
        };
        let progress = self.begins("filling", (step, &data));
        let movers = self.filling(TreePath::root(), (&progress, cancel))?;
        let filled = beside::fill(api, &movers, &wanted, made).await;
        outcome(&filled, cancel)
    }

    async fn in_place(
        &self,
        step: &Step,
        volume: &RestoreVolume,
        data: Data,
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        let api = self.api()?;
        let (namespace, name) = (volume.into.namespace.clone(), volume.into.name.clone());
        let claim = Identity { kind: "persistentvolumeclaims".to_owned(), namespace: Some(namespace.clone()), name };
        self.let_go_of_earlier(step).await?;
        let planned = in_place::plan(api, claim, data, &TreePath::root()).await;
        let planned = planned
            .map_err(|error| because(&error, "see what it says, or restore it beside with another claim in into"))?;
        let progress = self.board.of(&step.id);
        progress.begin("restoring in place", "file");
        let movers = self.filling(TreePath::root(), (&progress, cancel))?;
        let acting = Acting { cluster: api, exec: api, clock: &*self.clock, waits: Waits::default(), cancel };
        let journals = self.journals.clone().unwrap_or(namespace);
        let id = self.hold_id(step, 0);
        let report =
            InPlace { acting, movers, id: Some(&id), namespace: &journals, host: &self.host, safety_copy: true };
        let report = report.run(&planned).await;
        if let Some(not) = &report.not_written {
            let why = with_evidence(&not.why, &not.mover);
            return Err(if cancel.is_cancelled() { Undone::Stopped } else { failed(why, &not.mend) });
        }
        let filled = report.volume.as_ref().ok_or_else(|| failed("nobody knows what became of it", "run it again"))?;
        let before =
            report.safety_copy.as_deref().map(|copy| format!("what was in it before is snapshot {}", short_hex(copy)));
        let mut said = outcome(filled, cancel).map_err(|error| match (error, &before) {
            (Undone::Failed { why, help, end_unseen }, Some(before)) => {
                Undone::Failed { why: format!("{why}; {before}"), help, end_unseen }
            }
            (error, _) => error,
        })?;
        let released = report.released.as_ref().is_some_and(crate::hooks::release::Report::is_well);
        if !released || !report.left.is_empty() {
            let why = format!("it is restored, and not all that was held goes on {}", report.left.join("; "));
            return Err(failed(why, "`homelab-dr release` says what is held and lets it go"));
        }
        said.extend(before);
        Ok(said)
    }
}

/// Why it failed, with what there was to see of its mover: a record has no other place for it, and its pod is gone.
pub(super) fn with_evidence(why: &str, mover: &Evidence) -> String {
    mover.in_short().map_or_else(|| why.to_owned(), |seen| format!("{why} ({seen})"))
}

/// What became of a volume that movers filled.
pub(super) fn outcome(filled: &Filled, cancel: &Cancel) -> Result<Vec<String>, Undone> {
    match &filled.outcome {
        Outcome::Unknown { .. } if cancel.is_cancelled() => Err(Undone::Stopped),
        Outcome::Unknown { why, mend, .. } => Err(failed(with_evidence(why, &filled.mover), mend)),
        Outcome::Kept { why } => Err(failed(why, "name another claim with into, or restore it in_place")),
        Outcome::ProvenEmpty => {
            Ok(vec![format!("{}: the snapshot holds nothing, and so does the volume", filled.claim)])
        }
        Outcome::Restored if filled.restored.problems > 0 => {
            let first = filled.problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
            Err(failed(
                format!("{} problems with single files, the first: {first}", filled.restored.problems),
                "everything else is in the volume; see what is wrong with them",
            ))
        }
        Outcome::Restored => Ok(vec![format!(
            "{}: {} ({}) from snapshot {}, {} written",
            filled.claim,
            match filled.restored.files + filled.restored.unchanged {
                1 => "1 file".to_owned(),
                files => format!("{files} files"),
            },
            units::bytes(filled.data.bytes),
            filled.data.snapshot.short(),
            units::bytes(filled.restored.written),
        )]),
    }
}
