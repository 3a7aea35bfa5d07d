//! The hands of a drill: those of a recovery, which afterwards also look for databases among what came back into a folder.

use std::sync::Arc;

use async_trait::async_trait;

use super::{World, stoppable};
use crate::base::cancel::Cancel;
use crate::drill::databases::open_all;
use crate::runbook::Step;
use crate::runs::drive::{Hands, Undone};
use crate::runs::event::Event;

/// See the module.
pub struct DrillHands<'a, 'p> {
    /// What does everything else.
    pub world: &'a World<'p>,
}

impl DrillHands<'_, '_> {
    async fn databases(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone> {
        let own = Arc::new(Cancel::default());
        let around = self.world.around(step, &own);
        let all = self.world.all_restored(step);
        let mut said = Vec::new();
        for restored in &all {
            let opened = Box::pin(stoppable(cancel, &own, open_all(restored, &around))).await;
            said.extend(opened.map_err(|why| {
                if own.is_cancelled() {
                    return Undone::Stopped;
                }
                let help =
                    "the backup has it like this: see how it was taken (docs/live-databases.md), and an older snapshot";
                Undone::Failed { why, help: help.to_owned(), end_unseen: false }
            })?);
        }
        Ok(said)
    }
}

#[async_trait(?Send)]
impl Hands for DrillHands<'_, '_> {
    async fn act(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone> {
        self.world.act(step, cancel).await
    }

    /// What was seen of the checks stands last, one line for each, as a report has it.
    async fn verify(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone> {
        let mut said = Box::pin(self.databases(step, cancel)).await?;
        said.extend(self.world.verify(step, cancel).await?);
        Ok(said)
    }

    fn seen(&self, step: &Step) -> Option<String> {
        self.world.seen(step)
    }

    fn checked(&self, step: &Step) -> Vec<Event> {
        self.world.checked(step)
    }

    async fn let_go(&self, step: &Step) -> (Vec<String>, bool) {
        self.world.let_go(step).await
    }
}
