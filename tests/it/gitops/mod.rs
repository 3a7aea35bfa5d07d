//! Pausing and resuming Flux and ArgoCD, against the test API server with their kinds, and with what their controllers would do.

mod cuts;
mod order;
mod program;
mod trouble;
pub(crate) mod world;

use std::time::Duration;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::{ManualClock, Time};
use homelab_dr::base::progress::Progress;
use homelab_dr::cluster::Cluster;
use homelab_dr::cluster::api::{Api, Limits};
use homelab_dr::gitops::Selection;
use homelab_dr::gitops::plan::{Action, GitopsPlan, plan};
use homelab_dr::gitops::report::{Outcome, Report};
use homelab_dr::gitops::run::{Running, run};

use crate::support::kube::server::KubeServer;

/// 2026-11-01T03:00:00Z
const NOW: Time = Time(1_793_502_000_000);

async fn api(server: &KubeServer) -> Api {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, server.kubeconfig()).unwrap();
    let limits = Limits { answer: Duration::from_secs(20), tries: Duration::from_secs(3) };
    Api::open(Some(&path), None).await.unwrap().with_limits(limits)
}

async fn planned(cluster: &dyn Cluster, action: Action) -> GitopsPlan {
    plan(cluster, action, &Selection::default(), "0badcafe").await.unwrap()
}

/// Runs a plan with hardly a wait before the looks.
async fn ran(cluster: &dyn Cluster, plan: &GitopsPlan) -> Report {
    let (progress, cancel, clock) = (Progress::default(), Cancel::default(), ManualClock::at(NOW));
    let settle = Duration::from_millis(20);
    run(plan, &Running { cluster, clock: &clock, settle, progress: &progress, cancel: &cancel }).await
}

async fn pause_all(cluster: &dyn Cluster) -> Report {
    ran(cluster, &planned(cluster, Action::Pause).await).await
}

async fn resume_all(cluster: &dyn Cluster) -> Report {
    ran(cluster, &planned(cluster, Action::Resume).await).await
}

/// The outcome for an object, `Kind namespace/name`.
#[track_caller]
fn outcome<'a>(report: &'a Report, object: &str) -> &'a Outcome {
    let row = report.rows.iter().find(|row| row.object.to_string() == object);
    &row.unwrap_or_else(|| panic!("no {object} in {report:?}")).outcome
}
