//! `datastore.restore`: the datastore of a k3s server on this machine, put back in its place. What is there makes way and is kept beside, so that nothing is lost by it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{World, because, failed, reported};
use crate::base::cancel::Cancel;
use crate::base::id::short_hex;
use crate::base::units;
use crate::datastore::{PARTS, lacks, user_of};
use crate::format::entry::TreePath;
use crate::recover::{Overwrite, RestorePlan, run_restore};
use crate::repo::tree_read::lookup;
use crate::runbook::Step;
use crate::runs::drive::Undone;

impl World<'_> {
    pub(super) async fn restore_datastore(
        &self,
        step: &Step,
        data_dir: &Path,
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        let (chosen, snapshot) = self.snapshot(step)?;
        let source = self.source()?;
        let server = data_dir.join("server");
        let refused = |why: String, help: &str| Err(failed(why, help));
        let mut there = Vec::new();
        for name in PARTS.into_iter().chain(["db/state.db", "db/snapshots"]) {
            let path = TreePath::new(name.as_bytes()).map_err(|error| because(&error, "report it"))?;
            let found = lookup(&source.reader, snapshot.record.root, &path).await;
            if found.map_err(|error| because(&error, "see `homelab-dr check`"))?.is_some() {
                there.push(name);
            }
        }
        if let Some(name) = lacks(|name| there.contains(&name)) {
            let why = format!("snapshot {} is no datastore of k3s: it has no {name}", short_hex(&chosen.snapshot));
            return refused(why, "name a source of the kind datastore; `homelab-dr snapshots` lists them");
        }
        let user = user_of(&server).map_err(|error| because(&error, "run it as root"))?;
        if let Some(process) = user {
            let why = format!("process {process} has files of {} open", server.display());
            return refused(
                why,
                "stop the server first: systemctl stop k3s, and k3s-killall.sh for what is left of it",
            );
        }
        self.have(data_dir)?;
        let beside = server.join(format!("before-{}", self.plan.run));
        let moved = make_way(&server, &beside).map_err(|error| {
            failed(
                format!("what is in {} cannot make way: {error}", server.display()),
                "run it as root, and see the disk",
            )
        })?;
        let plan = RestorePlan {
            overwrite: Overwrite::Changed,
            spared: self.spared.clone(),
            confined: self.confined.clone(),
            ..RestorePlan::whole(snapshot.record.root, TreePath::root(), server.clone())
        };
        let report = reported(run_restore(&self.operation(step, cancel)?, &source.reader, &plan).await, cancel)?;
        if let Some(problem) = report.problems.first() {
            let why =
                format!("{} problems, the first: {}", report.problems.len(), crate::base::causes::in_one_line(problem));
            return refused(why, "a datastore with a part missing is none: see what is wrong, and take it up again");
        }
        let mut said = vec![format!(
            "{} files ({}) of snapshot {} in {}",
            report.files + report.unchanged,
            units::bytes(report.bytes),
            short_hex(&chosen.snapshot),
            server.display()
        )];
        if moved || beside.exists() {
            said.push(format!("what was there before is in {}: remove it when the server runs", beside.display()));
        }
        if !there.contains(&"db/state.db") {
            said.push("it is a snapshot of etcd: `k3s server --cluster-reset --cluster-reset-restore-path=…` has to be run with it".to_owned());
        }
        Ok(said)
    }
}

/// Moves what would be written over into a folder beside, each once: what an earlier try of this run has restored is not what was there before it.
fn make_way(server: &Path, beside: &Path) -> io::Result<bool> {
    let mut moved = false;
    for name in PARTS {
        let (from, to) = (server.join(name), beside.join(name));
        if from.symlink_metadata().is_err() || to.symlink_metadata().is_ok() {
            continue;
        }
        std::fs::create_dir_all(beside)?;
        std::fs::rename(&from, &to)?;
        moved = true;
    }
    Ok(moved)
}
