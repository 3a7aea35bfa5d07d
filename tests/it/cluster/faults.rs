//! What happens to an API server while the objects of its cluster are captured.

use serde_json::{Value, json};

use super::{home, map, namespace, run};
use crate::cli::{Home, program};
use crate::support::kube::faults::Failure;
use crate::support::kube::server::{KubeServer, Options};

/// A cluster with some pages of objects.
async fn cluster() -> KubeServer {
    let server = KubeServer::start(Options { still: true, ..Options::default() }).await;
    server.make("", namespace("media"));
    for number in 0..450 {
        server.make("media", map(&format!("m{number:03}"), &json!({"number": number.to_string()})));
    }
    server
}

fn second_page(status: u16) -> Failure {
    Failure { method: "GET".into(), path: "configmaps?limit=200&continue".into(), nth: 1, status }
}

async fn captured(home: &Home) -> usize {
    run(home, &["ls", "-R", "latest:cluster"]).await.exits(0).out.matches("ConfigMap/media/m").count()
}

/// Connections break again and again, wherever it is; what was asked is asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_again_and_again_is_waited_for() {
    let server = cluster().await;
    let home = home(&server, "");
    let mut command = program();
    command.current_dir(home.dir()).args(["backup", "--json"]);
    let backup = tokio::task::spawn_blocking(move || command.output());
    let mut restarts = 0;
    // From its first requests to its last ones. A request that meets all of them is still tried once more: seven times within half a minute.
    for wanted in (5..).step_by(20).take(6) {
        while server.seen().len() < wanted && !backup.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        if backup.is_finished() {
            break;
        }
        server.restart();
        restarts += 1;
    }
    let ran = crate::cli::Ran::of(&backup.await.unwrap().unwrap()).exits(0).json();
    assert!(restarts > 1, "it was met: {restarts}");
    assert_eq!(ran["sources"][0]["result"], "done", "{ran}");
    assert_eq!(captured(&home).await, 450);
}

/// A server that asks to be left alone for a while, by whatever is asked first.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_too_many_requests_is_waited_out() {
    let server = cluster().await;
    let home = home(&server, "");
    for _ in 0..6 {
        server
            .faults(|faults| faults.fail(Failure { method: "GET".into(), path: "/apis/".into(), nth: 1, status: 429 }));
    }
    server.faults(|faults| (0..3).for_each(|_| faults.fail(second_page(429))));
    run(&home, &["backup"]).await.exits(0);
    assert_eq!(server.faults(|faults| faults.waiting()), 0, "it met them");
    assert_eq!(captured(&home).await, 450);
}

/// A server that is gone for good in the middle: half a cluster is no snapshot of it, and it is said once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_makes_no_snapshot() {
    use homelab_dr::base::cancel::Cancel;
    use homelab_dr::base::clock::SystemClock;
    use homelab_dr::cluster::ClusterError;
    use homelab_dr::cluster::api::{Api, Limits};
    use homelab_dr::cluster::capture::{CaptureError, capture};
    use homelab_dr::cluster::choice::Choice;
    use std::time::Duration;

    let server = cluster().await;
    let home = home(&server, "");
    let limits = Limits { answer: Duration::from_secs(5), tries: Duration::from_secs(1) };
    let api = Api::open(Some(&home.path("kubeconfig")), None).await.unwrap().with_limits(limits);
    server.faults(|faults| faults.go_down(second_page(503)));
    let (items, mut taken) = tokio::sync::mpsc::channel(4);
    let taking = tokio::spawn(async move { while taken.recv().await.is_some() {} });
    let cancel = std::sync::Arc::new(Cancel::default());
    let ended = capture(&api, "v1.36.0", &Choice::default(), &items, &cancel, &SystemClock).await;
    let Err(CaptureError::Cluster(ClusterError::Refused { status: 503, .. })) = ended else { panic!("{ended:?}") };
    drop(items);
    taking.await.unwrap();
}

/// A token that runs out in the middle: what holds the next one is read; without one it is said, and no snapshot is made of what was read so far.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_runs_out_in_the_middle() {
    let server = cluster().await;
    let home = home(&server, "");
    server.faults(|faults| faults.fail(second_page(401)));
    run(&home, &["backup"]).await.exits(0);
    assert_eq!(server.faults(|faults| faults.waiting()), 0, "it was not known once");
    assert_eq!(captured(&home).await, 450);

    server.faults(|faults| faults.go_down(second_page(401)));
    let ran = run(&home, &["backup"]).await.exits(1);
    for part in ["(401)", "no snapshot was made", "have run out"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    server.faults(|faults| faults.come_back());
    let listed = run(&home, &["snapshots", "--json"]).await.json();
    assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(1), "{listed}");
}

/// A conversion webhook that nobody answers for: its kind is missing and named, nothing waits for it, and everything else is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_webhook_that_fails_is_a_named_problem() {
    let server = cluster().await;
    let home = home(&server, "");
    let says = "conversion webhook for snapshot.storage.k8s.io/v1beta1, Kind=VolumeSnapshot failed: Post \"https://snapshots.default.svc:443/convert?timeout=30s\": \
                service \"snapshots\" not found";
    server.faults(|faults| faults.refuse("GET", "/volumesnapshots?limit=200", 500, says));
    let ran = run(&home, &["backup", "--json"]).await.exits(3);
    let document = ran.json();
    let problems: Vec<&Value> = document["sources"][0]["problems"].as_array().unwrap().iter().collect();
    assert_eq!(problems.len(), 1, "{document}");
    assert!(
        problems[0].to_string().contains("conversion webhook for") && ran.err.contains("VolumeSnapshot"),
        "{document}"
    );
    assert_eq!(server.seen().iter().filter(|seen| seen.contains("/volumesnapshots?")).count(), 1, "it is asked once");
    assert_eq!(captured(&home).await, 450);
}
