//! `postgres` with `datadir` of a volume in a cluster: a mover has no server, and this machine does not come to the volume.
//!
//! So it is seen in two halves. A mover compares all that is in the claim with its snapshot, byte by byte; then the same snapshot is restored into a room of this machine, a server
//! is started on a copy of that, and asked. What holds for the one holds for the other, since they are the same. A claim that is in use by then differs: that is told, and is no pass.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::geteuid;

use super::{World, because, failed, reported};
use crate::base::cancel::Cancel;
use crate::base::units;
use crate::format::entry::TreePath;
use crate::recover::{RestorePlan, run_restore};
use crate::runbook::{Check, Probe, RestoreVolume, Step};
use crate::runs::drive::Undone;
use crate::runs::plan::RunPlan;
use crate::verify::{Restored, Seen, Surroundings, hold};

/// How the names of such rooms begin; run and step follow, so that a run which is taken up finds what it left.
const PREFIX: &str = "homelab-dr-volume-";
/// Whether a check starts a server.
pub(crate) fn starts_a_server(check: &Check) -> bool {
    matches!(&check.probe, Probe::Postgres(query) if query.address.is_none())
}

/// Where the snapshot is restored: in the folder of a drill, which goes with it whatever happens, else where copies of databases are made.
fn place(plan: &RunPlan, scratch: &Path) -> PathBuf {
    plan.drill.as_ref().map_or_else(|| scratch.to_owned(), |part| part.folder.clone())
}

/// A directory of this machine for nobody else; removed with the value.
struct Room(PathBuf);

impl Room {
    fn make(path: PathBuf) -> io::Result<Self> {
        let create = || DirBuilder::new().mode(0o700).create(&path);
        match create() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_ours(&path)? => {
                std::fs::remove_dir_all(&path)?;
                create()?;
            }
            made => made?,
        }
        Ok(Self(path))
    }
}

/// What lies there was left by a try of this run that was killed, and is not somebody's.
fn is_ours(path: &Path) -> io::Result<bool> {
    let found = std::fs::symlink_metadata(path)?;
    Ok(found.is_dir() && found.uid() == geteuid().as_raw())
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl World<'_> {
    pub(super) async fn server_on_a_copy(
        &self,
        step: &Step,
        of: &RestoreVolume,
        (check, around): (&Check, &Surroundings),
        cancel: &Arc<Cancel>,
    ) -> Result<Seen, Undone> {
        let whole = Check { probe: Probe::Files(100), retries: None, deadline: None, ..check.clone() };
        let same = match self.inside((step, self.snapshot(step)?.1), &of.into, &whole, cancel).await? {
            Seen::Holds(said) => said,
            Seen::Not(why) => {
                return Ok(Seen::Not(format!(
                    "nothing can be said by its snapshot, since the claim {} holds something else: {why}",
                    super::volume::claim_of(of)
                )));
            }
        };
        let (_, snapshot) = self.snapshot(step)?;
        let path = place(self.plan, &around.scratch).join(format!("{PREFIX}{}-{}", self.plan.run, step.id));
        let room = Room::make(path.clone()).map_err(|error| {
            failed(format!("cannot make {}: {error}", path.display()), "set TMPDIR to a directory with room")
        })?;
        let plan = RestorePlan {
            owner: geteuid().is_root(),
            ..RestorePlan::whole(snapshot.record.root, TreePath::root(), room.0.clone())
        };
        let operation = self.operation(step, cancel)?;
        let report = reported(run_restore(&operation, &self.source()?.reader, &plan).await, cancel)?;
        if let Some(problem) = report.problems.first() {
            return Err(because(
                problem,
                "see what is wrong with it; `homelab-dr check --read-data` looks at the repository",
            ));
        }
        let restored = vec![Restored { folder: room.0.clone(), from: None }];
        let seen = hold(check, &Surroundings { restored, ..around.clone() }).await;
        Ok(match seen {
            Seen::Holds(said) => Seen::Holds(format!("{said}, on this machine; in the claim {same}")),
            not @ Seen::Not(_) => not,
        })
    }
}

/// Why a check of a snapshot of so many bytes cannot be carried out here: it is restored, and copied for the server. `free` says how much is.
pub(crate) fn lacks_room(
    plan: &RunPlan,
    (bytes, scratch): (u64, &Path),
    free: impl Fn(&Path) -> Option<u64>,
) -> Option<String> {
    let place = place(plan, scratch);
    let both = if place == scratch { bytes.saturating_mul(2) } else { bytes };
    let lacks = |(dir, wanted): (&Path, u64)| {
        let free = free(dir).filter(|free| *free < wanted)?;
        Some(format!(
            "postgres with datadir restores the snapshot to this machine and copies it for a server: that takes {} in {}, where {} are free",
            units::bytes(wanted),
            dir.display(),
            units::bytes(free)
        ))
    };
    [(scratch, both), (&place, both)].into_iter().find_map(lacks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::part::{Into, Part};
    use crate::runs::tests::plan;

    #[test]
    fn what_does_not_fit_is_refused() {
        let scratch = Path::new("/var/tmp");
        let told = |bytes, free: Option<u64>| lacks_room(&plan(), (bytes, scratch), |_| free);
        assert!(told(10, Some(19)).is_some_and(|told| told.contains("/var/tmp")), "both lie there");
        assert_eq!((told(10, Some(20)), told(10, None)), (None, None));
        assert!(told(u64::MAX, Some(u64::MAX - 1)).is_some());
        let drill = plan().drilling(Part::new(Into::Cluster, "/srv/drill".into(), false));
        let told =
            |here, there| lacks_room(&drill, (10, scratch), |dir| Some(if dir == scratch { here } else { there }));
        assert_eq!(told(10, 10), None, "one half in each");
        assert!(told(9, 10).is_some_and(|told| told.contains("/var/tmp")));
        assert!(told(10, 9).is_some_and(|told| told.contains("/srv/drill")));
    }

    #[test]
    fn what_a_killed_try_left_goes_and_what_is_no_folder_of_ours_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("room");
        std::fs::create_dir(&path).expect("made");
        std::fs::write(path.join("old"), "x").expect("written");
        let room = Room::make(path.clone()).expect("ours");
        assert!(!path.join("old").exists());
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o700);
        drop(room);
        assert!(!path.exists());
        std::os::unix::fs::symlink(dir.path(), &path).expect("made");
        assert!(Room::make(path.clone()).is_err() && path.exists());
    }
}
