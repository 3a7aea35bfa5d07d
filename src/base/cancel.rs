//! The wish to stop: set once, by Ctrl-C or a deadline, and asked for wherever an operation can stop cleanly.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Shared between whoever may ask for the stop and the operation. Never taken back.
#[derive(Debug, Default)]
pub struct Cancel {
    asked: AtomicBool,
    waiting: Notify,
    begun: AtomicBool,
}

impl Cancel {
    /// Asks for the stop.
    pub fn cancel(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.waiting.notify_waiters();
    }

    /// Says that from now on something is under way that should end in its own time.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// Whether [`Self::begin`] was called: else the program can be left at once.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// Whether the stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Returns when the stop was asked for; at once if it was already.
    pub async fn cancelled(&self) {
        let notified = self.waiting.notified();
        tokio::pin!(notified);
        // Registered before the question, or a stop between the two would be missed.
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn everyone_who_waits_is_woken_and_later_ones_do_not_wait() {
        let cancel = Arc::new(Cancel::default());
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let cancel = cancel.clone();
                tokio::spawn(async move { cancel.cancelled().await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(!cancel.is_cancelled());
        cancel.cancel();
        for waiter in waiting {
            waiter.await.expect("joined");
        }
        cancel.cancelled().await;
        assert!(cancel.is_cancelled());
    }
}
