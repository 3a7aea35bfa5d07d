//! Layer 5: objects from which lost and rotten packs can be computed, for who has no second copy. Works with the writer key; off unless it is run.
//!
//! Packs are put into groups of about twenty, and each group gets parity objects: as many packs of it may be lost as it has of them, whichever they are.
//!
//! **Order**: parity of a new group is durable before that of an old one which it replaces is removed. It is derived, so it is removed at once, without marks. Cut off
//! anywhere, a run leaves packs covered twice at worst; the next one sorts that out, and makes the same objects again under the same names.
//!
//! Promises: what is lost is never regrouped away: a group of which a needed pack is gone stays as it is until `check --repair` has brought it back. A pack goes into
//! a group only after all its bytes matched its name. Memory: two packs and two parity objects of usual size.
//!
//! What it does not do: bring anything back (`repair` does, through `repo::parity`), or stand in for a second copy.

mod decide;
mod make;
mod run;
mod view;

use std::sync::Arc;

use serde::Serialize;

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::base::progress::Progress;
use crate::format::parity::STRIPE_BYTES;
use crate::repo::{RepoError, Repository};

pub use run::{Outcome, run_parity};

/// Packs of a group, once there are enough.
pub const GROUP_PACKS: usize = 20;
/// Percent of a group that may be lost, where nobody says otherwise.
pub const SHARE_DEFAULT: u8 = 10;

/// Parity that is made in one pass, in bytes: two objects of usual size, with room for long packs.
const PASS_BYTES: usize = 32 << 20;

/// How to cover.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Percent of each group that may be lost; with 0 all parity is removed.
    pub share: u8,
    /// Read the parity that is there whole, not only its headers.
    pub read_data: bool,
    /// Packs of a group, at most 64.
    pub group_packs: usize,
    /// Bytes of a stripe, 4 KiB to 1 MiB.
    pub stripe: u32,
    /// Parity that is in memory at once while packs are read, in bytes, one object at least: what does not fit is made in another pass.
    pub pass_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let (group_packs, stripe, pass_bytes) = (GROUP_PACKS, STRIPE_BYTES, PASS_BYTES);
        Self { share: SHARE_DEFAULT, read_data: false, group_packs, stripe, pass_bytes }
    }
}

/// A group that would be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedGroup {
    /// Its packs.
    pub packs: Vec<ObjectId>,
    /// Their bytes: what is read.
    pub bytes: u64,
    /// How many of them may be lost.
    pub parity: u8,
    /// Bytes of the parity: what is written.
    pub parity_bytes: u64,
}

/// Something in the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Trouble {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// What a run would do: plain data.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ParityPlan {
    /// Percent of a group that may be lost.
    pub share: u8,
    /// Packs that are to be covered: those that the index names and no mark does.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that are covered as they should be.
    pub covered: u64,
    /// Groups that stay as they are.
    pub groups: u64,
    /// Groups that are made.
    pub make: Vec<PlannedGroup>,
    /// Parity objects that others take the place of, or that are not wanted any more.
    pub remove: Vec<String>,
    /// Packs that a snapshot needs and that are gone or not as long as they were: their groups stay as they are.
    pub lost: Vec<Trouble>,
    /// Packs that are gone, and of which nobody can tell whether a snapshot needs them, since the repository is damaged elsewhere: their groups stay as they are.
    pub unclear: u64,
    /// Objects that nobody here made sense of, and that stay.
    pub left_alone: Vec<Trouble>,
}

impl ParityPlan {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.make.is_empty() && self.remove.is_empty()
    }
}

/// A plan, and what it was made from. Dropping it changes nothing.
#[derive(Debug)]
pub struct Planned {
    /// What would be done: plain data to print or keep.
    pub plan: ParityPlan,
    settings: Settings,
    decided: decide::Decided,
}

/// Looks at packs and parity, and plans; changes nothing.
pub async fn plan_parity(
    repository: &Arc<Repository>,
    settings: Settings,
    now: Time,
    progress: &Progress,
) -> Result<Planned, RepoError> {
    let view = view::load(repository, &settings, now, progress).await?;
    let decided = decide::decide(&view, &settings);
    Ok(Planned { plan: decided.plan(&view, &settings), settings, decided })
}
