//! Volumes of a folder that stands for a cluster: `volumes/<namespace>/<claim>/`, restored directly.
//!
//! An empty one is filled, and one that an earlier run began is gone on with. What somebody else put there is left, unless it is to be updated: then what differs
//! is written over, and what the snapshot does not have is left and told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Existing;
use super::volumes::{Filled, Filling, Outcome, Volumes};
use crate::backup::Context;
use crate::base::causes::in_one_line;
use crate::cluster::folder;
use crate::format::entry::TreePath;
use crate::recover::fill::{fill, update};
use crate::recover::mover::{problem_lines, summary};
use crate::recover::{RestoreError, RestorePlan};
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::tree::live;
use crate::volumes::facts::Facts;
use crate::volumes::said::{PROBLEMS_TOLD_MAX, ProblemLine};

/// See the module.
pub struct IntoFolder<'a> {
    /// The folder.
    pub root: PathBuf,
    /// Reads the repository with an identity.
    pub reader: Arc<Reader>,
    /// The operation.
    pub context: &'a Context,
    /// What to do with a directory that holds something else.
    pub existing: Existing,
}

#[async_trait]
impl Volumes for IntoFolder<'_> {
    async fn facts(&self) -> Result<Option<Facts>, String> {
        Ok(None)
    }

    async fn fill(&self, filling: &Filling) -> Filled {
        let claim = &filling.claim;
        let Some(target) = folder::volume(&self.root, claim.namespace.as_deref().unwrap_or_default(), &claim.name)
        else {
            let why = "its name cannot be the name of a folder";
            return Filled::without(filling, Outcome::unknown(why, "restore it by itself, with --target"));
        };
        let begun = self.context.clock.now();
        let plan = RestorePlan::whole(filling.data.root, TreePath::root(), target);
        let snapshot = &filling.data.snapshot;
        let done = match fill(self.context, &self.reader, snapshot, plan.clone()).await {
            Err(RestoreError::NotEmpty { .. }) if self.existing.writes() => {
                update(self.context, &self.reader, snapshot, plan).await
            }
            done => done.map(|report| (report, Vec::new())),
        };
        match done {
            Ok((report, strangers)) => {
                let took = self.context.clock.now().since(begun).max(Duration::ZERO);
                let mut filled = Filled::with(filling, summary(&report, took), problem_lines(&report));
                filled.restored.problems += strangers.len() as u64;
                filled.problems.extend(strangers.iter().map(stranger));
                filled.problems.truncate(PROBLEMS_TOLD_MAX);
                filled
            }
            Err(error @ RestoreError::NotEmpty { .. }) => {
                let why = format!("{}, and not what the snapshot holds", in_one_line(&error));
                Filled::without(filling, Outcome::Kept { why })
            }
            Err(error) => {
                let damaged = matches!(&error, RestoreError::Repository(cause) if !matches!(cause, RepoError::Store(_) | RepoError::Cancelled));
                let mend = "see why; what is right there is not written again by another run".to_owned();
                Filled::without(filling, Outcome::Unknown { why: in_one_line(&error), mend, damaged, exit: None })
            }
        }
    }

    /// Each uses all processors by itself.
    fn at_once(&self) -> usize {
        1
    }
}

/// Something that the snapshot does not have.
fn stranger(path: &TreePath) -> ProblemLine {
    let shown = path.display();
    let danger = match live::base(path.as_bytes()) {
        Some(_) => "; it belongs to a database as it was before: remove it before anything opens that",
        None => "",
    };
    ProblemLine::new(&shown, &format!("{shown} is not in the snapshot, and was left{danger}"), false)
}
