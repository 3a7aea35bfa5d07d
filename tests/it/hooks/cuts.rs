//! Killed after every single write, while an application is made to hold still and while it is let go: afterwards all is as it was.

use homelab_dr::hooks::release::release;
use homelab_dr::hooks::scale;

use super::*;
use crate::support::around::Around;

/// The journal, two volumes, the autoscaler, the set.
const WRITES: usize = 5;

async fn hold(cluster: &dyn Cluster, api: &Api, journal: &mut Journal) -> Result<(), HookError> {
    let (clock, cancel) = (ManualClock::at(NOW), Cancel::default());
    let acting = acting(cluster, api, &clock, &cancel);
    let plan = scale::plan(api, "media", &["data-db-0".to_owned()]).await.unwrap();
    scale::begin(&acting, &plan, journal).await
}

async fn check(server: &KubeServer, before: &BTreeMap<String, Value>, when: &str) {
    ready(server, "db", 2).await;
    assert_eq!(&all(server), before, "{when}");
    assert_eq!(journals(server), 0, "{when}");
    let table = std::fs::read_to_string(server.volume("media", "data-db-0").unwrap().join("table")).unwrap();
    assert!(table.starts_with("row\n"), "the data is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_every_write_of_going_to_zero() {
    let server = database().await;
    let (api, before) = (api(&server).await, all(&server));
    for writes in 1..=WRITES {
        for answered in [true, false] {
            let when = format!("after {writes} writes, the last {}", if answered { "answered" } else { "not" });
            let dying = Around::dying(&api, writes, answered);
            hold(&dying, &api, &mut journal()).await.expect_err(&when);
            assert!(dying.is_dead() && journals(&server) == 1, "{when}");
            let reports = swept(&api).await;
            assert!(reports.len() == 1 && reports[0].is_well(), "{when}: {reports:?}");
            check(&server, &before, &when).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_every_write_of_coming_back() {
    let server = database().await;
    let (api, before) = (api(&server).await, all(&server));
    let (clock, cancel) = (ManualClock::at(NOW), Cancel::default());
    let mut total = usize::MAX;
    let mut writes = 0;
    while writes < total {
        let mut held = journal();
        hold(&api, &api, &mut held).await.unwrap();
        // First to its end, which counts the writes.
        let dying = Around::dying(&api, if writes == 0 { usize::MAX } else { writes }, writes % 2 == 0);
        let report = release(&acting(&dying, &api, &clock, &cancel), &mut held).await;
        if writes == 0 {
            assert!(report.is_well(), "{report:?}");
            total = dying.used();
            assert!(total > WRITES, "{total}");
        }
        swept(&api).await;
        check(&server, &before, &format!("after {writes} of {total} writes")).await;
        writes += 1;
    }
}
