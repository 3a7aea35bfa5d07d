//! Whether the cluster of a source answers, asked before anything else: what comes first of a backup goes on without an answer (sweeps, what namespaces say), and each of these would
//! wait for as long as there is patience. Other sources of a cluster that was away do not wait as long once more.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use crate::cluster::{Cluster, ClusterError};

/// What a cluster has that was away before in this run: enough for one that is there again.
const AGAIN: Duration = Duration::from_secs(5);

/// The clusters of a run that were away when they were asked last.
#[derive(Default)]
pub(in crate::cli) struct Reached(BTreeSet<String>);

impl Reached {
    /// Fails if the cluster is away, or does not know us. What else is wrong is told by whoever meets it.
    pub async fn look(&mut self, cluster: &dyn Cluster) -> Result<(), ClusterError> {
        self.within(cluster.name(), cluster.version()).await
    }

    async fn within(
        &mut self,
        name: String,
        version: impl Future<Output = Result<String, ClusterError>>,
    ) -> Result<(), ClusterError> {
        let answer = if self.0.contains(&name) {
            let before = "it did not answer an earlier source of this run, and does not now";
            let away = |_| Err(ClusterError::Unreachable { server: name.clone(), source: before.into() });
            timeout(AGAIN, version).await.unwrap_or_else(away)
        } else {
            version.await
        };
        match answer {
            Err(error) if error.is_of_the_cluster() => {
                // One that does not know us has answered; another account may be known there.
                if !matches!(error, ClusterError::Refused { status: 401, .. }) {
                    self.0.insert(name);
                }
                Err(error)
            }
            _ => {
                self.0.remove(&name);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    /// How long it takes, and whether it is reached, if it answers so after a time.
    async fn look(reached: &mut Reached, name: &str, after: u64, answer: Result<(), u16>) -> (u64, bool) {
        let begun = Instant::now();
        let version = async {
            sleep(Duration::from_secs(after)).await;
            let refused = |status| ClusterError::Refused { request: String::new(), status, message: String::new() };
            answer.map(|()| "v1.36.0".to_owned()).map_err(refused)
        };
        let is_reached = reached.within(name.to_owned(), version).await.is_ok();
        (begun.elapsed().as_secs(), is_reached)
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_away_is_waited_for_once() {
        let reached = &mut Reached::default();
        assert_eq!(look(reached, "a", 16, Err(503)).await, (16, false));
        assert_eq!(look(reached, "a", 16, Err(503)).await, (5, false));
        assert_eq!(look(reached, "b", 16, Err(503)).await, (16, false), "another one");
        // It is there again: from then on there is as much patience as before.
        assert_eq!(look(reached, "a", 1, Ok(())).await, (1, true));
        assert_eq!(look(reached, "a", 16, Ok(())).await, (16, true));
        // Who may not ask for the version may do everything else.
        assert_eq!(look(reached, "a", 0, Err(403)).await, (0, true));
        assert_eq!(look(reached, "a", 0, Err(401)).await, (0, false));
        assert_eq!(look(reached, "a", 16, Ok(())).await, (16, true), "it had answered");
    }
}
