//! A run that puts the datastore of its cluster back finds the Leases of then. Whoever had the cluster then is not there, unless they say so.

use homelab_dr::base::clock::SystemClock;
use homelab_dr::runs::lease::Lease;
use serde_json::json;

use crate::hooks::{api, bare};
use crate::support::kube::ops::delete::DeleteOptions;

const LEASES: &str = "leases.coordination.k8s.io";
const NAME: &str = "homelab-dr-recover";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_datastore_of_before_says_of_the_lease_is_not_taken_for_another_run_unless_that_lives() {
    let server = bare().await;
    let api = api(&server).await;
    let lease = Lease::take(&api, ("run 11111111", "here"), &SystemClock, &|_| {}).await.expect("nobody has it");
    assert_eq!(lease.lost_to(&SystemClock).await, None);
    let found = || server.object(LEASES, "default", NAME);
    let holder = || found().expect("it is there")["spec"]["holderIdentity"].clone();
    let own = holder();
    let removed = || {
        let lease = found().expect("it is there");
        server.shared.with(|state| state.remove("kubectl", &lease, &DeleteOptions::default()));
    };
    let others = |lasts: u64| {
        let lease = found().expect("it is there");
        server.shared.with(|state| {
            state.edit(&lease, |lease| {
                lease["metadata"]["annotations"] = json!({});
                lease["spec"]["holderIdentity"] = json!("run 00000000 on other");
                lease["spec"]["leaseDurationSeconds"] = json!(lasts);
            });
        });
    };
    // Without that, a Lease that is gone or another's means that somebody was here.
    others(1);
    assert!(lease.lost_to(&SystemClock).await.is_some_and(|who| who.starts_with("run 00000000 on other")));
    removed();
    assert!(lease.lost_to(&SystemClock).await.is_some_and(|who| who.contains("the Lease of this run is gone")));
    assert!(found().is_none(), "looking makes nothing");
    lease.sets_back();
    assert_eq!(lease.lost_to(&SystemClock).await, None);
    assert_eq!(holder(), own);
    // One that nobody renews is of before.
    others(1);
    assert_eq!(lease.lost_to(&SystemClock).await, None);
    assert_eq!(holder(), own);
    // One that is renewed is of somebody who lives.
    others(30);
    let shared = server.shared.clone();
    let renews = tokio::spawn(async move {
        for count in 0_u32.. {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            shared.with(|state| {
                let lease = state.object(LEASES, "default", NAME).expect("it is there");
                state.edit(&lease, |lease| lease["spec"]["renewTime"] = json!(format!("number {count}")));
            });
        }
    });
    assert!(lease.lost_to(&SystemClock).await.is_some_and(|who| who.starts_with("run 00000000 on other")));
    renews.abort();
    assert_eq!(lease.end().await, Ok(()));
    assert_eq!(holder(), "run 00000000 on other", "what is another's stays");
}
