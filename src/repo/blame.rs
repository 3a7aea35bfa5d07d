//! Whose fault is a read that failed: one object's (a bad sector, a file that nobody may open), or the store's?
//!
//! What a single object costs is counted and told, and the reading goes on; when the store itself is away, going on would call everything lost.

use std::sync::{Mutex, PoisonError};

use crate::repo::layout;
use crate::store::{Store, StoreError};

/// So many different objects in a row that do not read are no bad sectors but a dead disk. Each of them costs a few minutes of trying again.
const IN_A_ROW_MAX: u32 = 30;
/// `format.json` is shorter than this.
const PROBE_BYTES: u64 = 4096;

#[derive(Debug, Default)]
struct Row {
    last: String,
    objects: u32,
}

/// Remembers how many objects failed in a row.
#[derive(Debug, Default)]
pub struct Blame {
    row: Mutex<Row>,
}

impl Blame {
    /// Something was read: the store is there.
    pub fn read_well(&self) {
        *self.row.lock().unwrap_or_else(PoisonError::into_inner) = Row::default();
    }

    /// Whether only the object is to blame that was being read. An object that is not there always is; for anything else the store must still answer
    /// when it is asked for `format.json`.
    pub async fn is_the_objects(&self, store: &dyn Store, error: &StoreError) -> bool {
        match error {
            StoreError::NotFound { .. } => return true,
            StoreError::Gone { .. } => return false,
            StoreError::Failed { object, .. } | StoreError::Denied { object, .. } => {
                let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
                if row.last != *object {
                    row.last.clone_from(object);
                    row.objects += 1;
                }
                if row.objects > IN_A_ROW_MAX {
                    return false;
                }
            }
            _ => {}
        }
        store.get_range(&layout::format(), 0..PROBE_BYTES).await.is_ok()
    }
}
