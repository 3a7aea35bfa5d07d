//! The plan: plain data that names every object and what becomes of it, and why.

use serde::Serialize;

use crate::base::clock::Time;
use crate::prune::PruneError;
use crate::repo::Repository;
use crate::store::{Key, StoreError};

/// What a prune will do. Bytes are stored bytes.
#[derive(Debug, Clone, Serialize)]
pub struct PrunePlan {
    /// Where.
    pub store: String,
    /// When it was made, by the store's clock.
    pub at: Time,
    /// How long a mark must stand.
    pub grace_seconds: u64,
    /// Snapshots that are kept.
    pub snapshots: usize,
    /// Packs that are there.
    pub packs: usize,
    /// Blobs that snapshots need.
    pub blobs_needed: u64,
    /// Their sealed bytes.
    pub bytes_needed: u64,
    /// Bytes of packs and index now.
    pub bytes_before: u64,
    /// … and when everything that this plan dooms and deletes is gone.
    pub bytes_after: u64,
    /// Packs that no index segment names and that are indexed again.
    pub adopt: Vec<String>,
    /// What is marked, and what is copied out of it before.
    pub doom: Vec<Doom>,
    /// What was marked long enough ago and is deleted.
    pub delete: Vec<Due>,
    /// Checkpoints of backups that were killed long ago, and records of a retired writer key: deleted, since they say nothing any more.
    pub expired: Vec<String>,
    /// What will be doomed or deleted later.
    pub wait: Vec<Waiting>,
    /// Until when everything needed is locked at least; `None` without a lock period.
    pub lock_until: Option<Time>,
}

/// An object to be marked.
#[derive(Debug, Clone, Serialize)]
pub struct Doom {
    /// Its name.
    pub object: String,
    /// Its size.
    pub bytes: u64,
    /// Bytes in it that are needed and are copied.
    pub bytes_needed: u64,
    /// Why.
    pub why: Why,
}

/// Why an object is doomed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// No snapshot needs anything in it.
    Unused,
    /// Much of it is needed by nobody.
    PartlyUsed,
    /// One of many small ones that become few.
    Small,
    /// A pack that nothing names and whose table does not open.
    Stranger,
    /// An index segment that only says what others say, or speaks of packs that are gone.
    Superseded,
    /// A session of no pack.
    NoPack,
    /// A mark whose objects are gone.
    Done,
}

/// An object to be deleted.
#[derive(Debug, Clone, Serialize)]
pub struct Due {
    /// Its name.
    pub object: String,
    /// When it was marked, by the store's clock.
    pub marked: Time,
}

/// An object that must wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Its name.
    pub object: String,
    /// For what.
    #[serde(flatten)]
    pub why: WhyWait,
}

/// What an object waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "waits_for", rename_all = "snake_case")]
pub enum WhyWait {
    /// It is marked, and the grace has not passed.
    Grace {
        /// When it will have.
        until: Time,
    },
    /// It is new, and may belong to a backup that is running.
    Young {
        /// When it no longer is.
        until: Time,
    },
    /// A running backup relies on it.
    Checkpoint,
    /// An object lock keeps it.
    Locked {
        /// Until when, if the store says.
        until: Option<Time>,
    },
    /// Something in it is needed, is nowhere else and does not read; `check` says more.
    Damaged,
    /// It is in use again.
    InUse,
    /// Something in it is needed and is nowhere else, and the store has no space for a copy.
    NoSpace,
}

/// Moves what a lock keeps from `delete` to `wait`.
pub(crate) async fn sort_out_locked(
    repository: &Repository,
    plan: &mut PrunePlan,
    now: Time,
) -> Result<(), PruneError> {
    if repository.lock_period().is_zero() {
        return Ok(());
    }
    let mut free = Vec::new();
    for due in std::mem::take(&mut plan.delete) {
        let held = match Key::new(due.object.as_str()) {
            Ok(key) => match repository.store.retention(&key).await {
                Err(StoreError::NotFound { .. }) => None,
                other => other?,
            },
            Err(_) => None,
        };
        if held.is_some_and(|until| until > now) {
            plan.wait.push(Waiting { object: due.object, why: WhyWait::Locked { until: held } });
        } else {
            free.push(due);
        }
    }
    plan.delete = free;
    Ok(())
}
