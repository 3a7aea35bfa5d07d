//! A server that goes away in the middle: the run ends soon, and says of no object what nobody looked at.

use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::support::kube::faults::Failure;

/// Maps of an old cluster, and a plan to create them in a new one.
async fn six(new: &KubeServer, api: &Api, number: usize) -> ClusterPlan {
    let old = server().await;
    old.make("", namespace("media"));
    new.make("", namespace("media"));
    let maps = (0..number).map(|n| (None, old.make("media", map(&format!("m{n:02}"), &json!({"a": "1"})))));
    planned(api, maps.collect()).await
}

fn from(method: &str, path: &str, nth: usize) -> Failure {
    Failure { method: method.into(), path: path.into(), nth, status: 503 }
}

#[tokio::test(flavor = "multi_thread")]
async fn away_while_it_is_written_to_nothing_more_is_asked() {
    let new = server().await;
    let api = impatient(&new).await;
    let plan = six(&new, &api, 6).await;
    new.faults(|faults| faults.go_down(from("POST", "/configmaps?", 4)));
    let begun = Instant::now();
    let report = carried_out(&api, &plan, &Cancel::default()).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(words(&report), ["unknown", "unknown", "unknown", "not reached", "not reached", "not reached"]);
    let stopped = report.stopped.as_ref().expect("it says where it stopped");
    assert!(stopped.at.name == "m03" && stopped.why.contains("currently unable"), "{stopped:?}");
    assert!(!report.is_well());
}

#[tokio::test(flavor = "multi_thread")]
async fn away_while_it_is_read_back_the_rest_is_unknown() {
    let new = server().await;
    let api = impatient(&new).await;
    let plan = six(&new, &api, 8).await;
    new.faults(|faults| faults.go_down(from("GET", "/configmaps/", 2)));
    let begun = Instant::now();
    let report = carried_out(&api, &plan, &Cancel::default()).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(words(&report), [&["restored"][..], &["unknown"; 7]].concat());
    assert!(report.stopped.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn away_while_owners_are_linked_the_rest_is_unknown() {
    let (old, new) = (server().await, server().await);
    let api = impatient(&new).await;
    old.make("", namespace("media"));
    new.make("", namespace("media"));
    let last = old.make("media", deployment("web", 0));
    let mut objects = vec![(Some(kind("apps", "deployments", "Deployment")), last.clone())];
    for n in 0..6 {
        let mut made = map(&format!("m{n}"), &json!({"a": "1"}));
        made["metadata"]["ownerReferences"] = owner(&last, false);
        objects.push((None, old.make("media", made)));
    }
    let plan = planned(&api, objects).await;
    new.faults(|faults| faults.go_down(from("GET", "/configmaps/m", 1)));
    let begun = Instant::now();
    let report = carried_out(&api, &plan, &Cancel::default()).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(words(&report), ["unknown"; 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_to_stop_is_heard_while_it_is_read_back() {
    let new = server().await;
    let api = impatient(&new).await;
    let plan = six(&new, &api, 200).await;
    let cancel = Arc::new(Cancel::default());
    let (seen, stop) = (Arc::clone(&new.shared), Arc::clone(&cancel));
    let before = new.seen().len();
    let watching = tokio::spawn(async move {
        while !seen.seen.lock().unwrap()[before..]
            .iter()
            .any(|seen| seen.starts_with("GET") && seen.contains("/configmaps/m"))
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.cancel();
    });
    let report = carried_out(&api, &plan, &cancel).await;
    watching.await.unwrap();
    assert!(report.interrupted);
    let last = words(&report);
    assert_eq!(last.last(), Some(&"unknown"), "{last:?}");
}
