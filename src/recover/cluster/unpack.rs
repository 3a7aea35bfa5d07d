//! Volumes of a folder that stands for a cluster: `volumes/<namespace>/<claim>/`, restored directly.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::volumes::{Filled, Filling, Outcome, Volumes};
use crate::backup::Context;
use crate::cluster::error::told;
use crate::cluster::folder::VOLUMES;
use crate::format::entry::TreePath;
use crate::recover::fill::fill;
use crate::recover::mover::{problem_lines, summary};
use crate::recover::{RestoreError, RestorePlan};
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::volumes::facts::Facts;

/// See the module.
pub struct IntoFolder<'a> {
    /// The folder.
    pub root: PathBuf,
    /// Reads the repository with an identity.
    pub reader: Arc<Reader>,
    /// The operation.
    pub context: &'a Context,
}

#[async_trait]
impl Volumes for IntoFolder<'_> {
    async fn facts(&self) -> Result<Option<Facts>, String> {
        Ok(None)
    }

    async fn fill(&self, filling: &Filling) -> Filled {
        let unknown = |why: String, damaged: bool, mend: &str| {
            let outcome = Outcome::Unknown { why, mend: mend.to_owned(), damaged, exit: None };
            Filled::without(filling, outcome)
        };
        // Names come from elsewhere: none may lead out of the folder.
        let names = [filling.claim.namespace.as_deref().unwrap_or_default(), &filling.claim.name];
        let path = names.iter().try_fold(TreePath::root(), |path, name| path.join(name.as_bytes()));
        let Ok(path) = path else {
            return unknown(
                "its name cannot be the name of a folder".to_owned(),
                false,
                "restore it by itself, with --target",
            );
        };
        let target = self.root.join(VOLUMES).join(String::from_utf8_lossy(path.as_bytes()).as_ref());
        let begun = self.context.clock.now();
        let plan = RestorePlan::whole(filling.data.root, TreePath::root(), target);
        match fill(self.context, &self.reader, &filling.data.snapshot, plan).await {
            Ok(report) => {
                let took = self.context.clock.now().since(begun);
                Filled::with(filling, summary(&report, took.max(Duration::ZERO)), problem_lines(&report))
            }
            Err(error) => {
                let damaged = matches!(&error, RestoreError::Repository(cause) if !matches!(cause, RepoError::Store(_) | RepoError::Cancelled));
                unknown(told(&error), damaged, "see why; what is right there is not written again by another run")
            }
        }
    }

    /// Each uses all processors by itself.
    fn at_once(&self) -> usize {
        1
    }
}
