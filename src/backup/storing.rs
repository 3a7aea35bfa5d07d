//! The last phase as it is shown: everything is read, and the last packs are still on their way to the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::base::progress::Progress;
use crate::repo::write::Writer;

/// How often the bytes that were stored are looked at.
const EVERY: Duration = Duration::from_millis(200);

/// Moves the progress by the bytes that are stored, until it is dropped.
pub struct ShowStoring(JoinHandle<()>);

impl ShowStoring {
    /// Enters the phase.
    #[must_use]
    pub fn begin(progress: &Arc<Progress>, writer: &Writer) -> Self {
        progress.begin("storing", "");
        let (progress, stored): (_, Arc<AtomicU64>) = (progress.clone(), writer.stored_counter());
        Self(tokio::spawn(async move {
            loop {
                progress.bytes_done.store(stored.load(Ordering::Relaxed), Ordering::Relaxed);
                tokio::time::sleep(EVERY).await;
            }
        }))
    }
}

impl Drop for ShowStoring {
    fn drop(&mut self) {
        self.0.abort();
    }
}
