//! Everything breaks at every request once: an error before it, an answer lost after it, the API server gone for good, the process killed. Whatever was
//! done by then, nothing stays: by clearing up at once where that is possible, by the next sweep where it is not.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use homelab_dr::base::cancel::Cancel;
use homelab_dr::cluster::{Cluster, ClusterError, Created, Deleted, How, Kind, Kinds, Page};
use homelab_dr::volumes::VolumesError;
use homelab_dr::volumes::choose::policy::Mode;
use homelab_dr::volumes::sweep::sweep;
use serde_json::Value;
use tokio::sync::Notify;

use super::{Lab, OURS, later, prepare, run, sendable, told};

/// What happens at the n-th request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// It fails and is not carried out; the next ones are.
    Before,
    /// It is carried out and fails all the same; the next ones do not.
    After,
    /// It and all after it fail.
    Gone,
    /// It is carried out, and nobody is there any more for the answer.
    Killed,
}

/// Counts requests and breaks at one of them.
struct Breaking<'a> {
    inner: &'a dyn Cluster,
    how: Break,
    at: usize,
    seen: AtomicUsize,
    killed: Notify,
}

impl Breaking<'_> {
    async fn ask<T>(&self, request: impl Future<Output = Result<T, ClusterError>> + Send) -> Result<T, ClusterError> {
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let broken =
            || Err(ClusterError::Unreachable { server: "the server".into(), source: "broken on purpose".into() });
        match self.how {
            Break::Before if number == self.at => broken(),
            Break::Gone if number >= self.at => broken(),
            Break::After if number == self.at => {
                let _ = request.await;
                broken()
            }
            Break::Killed if number == self.at => {
                let _ = request.await;
                self.killed.notify_one();
                std::future::pending().await
            }
            _ => request.await,
        }
    }
}

#[async_trait]
impl Cluster for Breaking<'_> {
    fn name(&self) -> String {
        self.inner.name()
    }

    async fn version(&self) -> Result<String, ClusterError> {
        self.ask(self.inner.version()).await
    }

    async fn kinds(&self) -> Result<Kinds, ClusterError> {
        self.ask(self.inner.kinds()).await
    }

    async fn list(&self, kind: &Kind, next: Option<&str>) -> Result<Page, ClusterError> {
        self.ask(self.inner.list(kind, next)).await
    }

    async fn serves(&self, kind: &Kind) -> Result<bool, ClusterError> {
        self.ask(self.inner.serves(kind)).await
    }

    async fn get(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>, ClusterError> {
        self.ask(self.inner.get(kind, namespace, name)).await
    }

    async fn create(&self, kind: &Kind, object: &Value, how: How) -> Result<Created, ClusterError> {
        self.ask(self.inner.create(kind, object, how)).await
    }

    async fn replace(&self, kind: &Kind, object: &Value, how: How) -> Result<Value, ClusterError> {
        self.ask(self.inner.replace(kind, object, how)).await
    }

    async fn patch(&self, kind: &Kind, space: Option<&str>, name: &str, patch: &Value) -> Result<Value, ClusterError> {
        self.ask(self.inner.patch(kind, space, name, patch)).await
    }

    async fn delete(&self, kind: &Kind, space: Option<&str>, name: &str, uid: &str) -> Result<Deleted, ClusterError> {
        self.ask(self.inner.delete(kind, space, name, uid)).await
    }
}

/// Clusters that share the work: most of it is waiting.
const CLUSTERS: usize = 4;

/// Breaks at the first request, the second, and so on, until nothing breaks any more.
async fn at_every_request(retains: bool, mode: Mode, how: Break, fewest: usize) {
    let shares = (1..=CLUSTERS).map(|first| async move {
        let lab = if retains { Lab::that_retains().await } else { Lab::new().await };
        at_every_fourth(&lab, first, mode, how, fewest).await;
    });
    futures::future::join_all(shares).await;
}

async fn at_every_fourth(lab: &Lab, first: usize, mode: Mode, how: Break, fewest: usize) {
    let choice = lab.choice(mode).await;
    let before = lab.inventory();
    for at in (first..).step_by(CLUSTERS) {
        let what = format!("{mode:?}, {how:?} at request {at}");
        let breaking = Breaking { inner: &lab.api, how, at, seen: AtomicUsize::new(0), killed: Notify::new() };
        let run = run(at as u64);
        let cancel = Cancel::default();
        let whole = async {
            let prepared = prepare(&breaking, lab, &run, &choice, &cancel).await.map_err(|error| {
                let is_clear = !matches!(error, VolumesError::NotCleared { .. });
                (Some(is_clear), told(&error))
            })?;
            prepared.release(&breaking, &lab.limits).await.map_err(|left| (None, left.why))
        };
        let ended = tokio::select! {
            ended = whole => Some(ended),
            () = breaking.killed.notified() => None,
        };
        let broke = breaking.seen.load(Ordering::SeqCst) >= at;
        match &ended {
            Some(Ok(())) if !broke => {
                lab.is_as_before(&before, &what).await;
                assert!(at > fewest, "{what}: that was too few to be true");
                println!("{mode:?}, {how:?}: fewer than {at} requests");
                return;
            }
            // A failure that passes while preparing is cleared up at once.
            Some(Err((Some(is_clear), error))) if matches!(how, Break::Before | Break::After) => {
                assert!(*is_clear && error.contains("broken on purpose"), "{what}: {error}");
                lab.is_as_before(&before, &what).await;
                continue;
            }
            Some(Err((_, error))) => assert!(error.contains("broken on purpose"), "{what}: {error}"),
            Some(Ok(())) => panic!("{what}: nobody noticed"),
            None => assert_eq!(how, Break::Killed),
        }
        let swept = sendable(sweep(&lab.api, OURS, &BTreeSet::new(), later(), &lab.limits)).await.unwrap();
        assert!(swept.left.is_empty(), "{what}: {swept:?}");
        lab.is_as_before(&before, &what).await;
    }
}

/// Writes of a whole snapshot: four of the journal, four creations, four changes and five deletions, with looks between them.
const OF_SNAPSHOT: usize = 30;
const OF_CLONE: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_fails_at_any_request_leaves_nothing() {
    at_every_request(false, Mode::Snapshot, Break::Before, OF_SNAPSHOT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_answer_is_lost_at_any_request_leaves_nothing() {
    at_every_request(true, Mode::Snapshot, Break::After, OF_SNAPSHOT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_cluster_goes_away_at_any_request_is_swept() {
    at_every_request(false, Mode::Snapshot, Break::Gone, OF_SNAPSHOT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_killed_at_any_request_is_swept() {
    at_every_request(false, Mode::Snapshot, Break::Killed, OF_SNAPSHOT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_killed_where_the_classes_retain_is_swept() {
    at_every_request(true, Mode::Snapshot, Break::Killed, OF_SNAPSHOT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_breaks_at_any_request_leaves_nothing() {
    for how in [Break::Before, Break::After, Break::Gone, Break::Killed] {
        at_every_request(true, Mode::Clone, how, OF_CLONE).await;
    }
}
