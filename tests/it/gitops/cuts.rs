//! Cut off between any two writes: resuming puts everything back, from another machine.

use super::world::{Around, TABLES, all, world};
use super::*;

/// How many patches pausing everything takes.
const WRITES: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn pausing_that_is_cut_off_anywhere_is_taken_back_exactly() {
    let server = world().await;
    let (api, before) = (api(&server).await, all(&server));
    for answered in [true, false] {
        for writes in 1..=WRITES {
            let dying = Around::dying(&api, writes, answered);
            let report = pause_all(&dying).await;
            assert!(dying.is_dead() && !report.is_well(), "{writes}: {report:?}");
            let changed = all(&server).iter().filter(|(place, object)| before[*place] != **object).count();
            assert_eq!(changed, writes, "each write pauses one object, and none else is touched");
            let report = resume_all(&api).await;
            assert!(report.is_well(), "{report:?}");
            assert_eq!(report.count(|outcome| *outcome == Outcome::Resumed), writes);
            assert_eq!(all(&server), before, "after {writes} writes");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_that_is_cut_off_anywhere_goes_on_later() {
    let server = world().await;
    let (api, before) = (api(&server).await, all(&server));
    assert!(pause_all(&api).await.is_well());
    let whole = Around::dying(&api, usize::MAX, true);
    assert!(resume_all(&whole).await.is_well());
    // One that takes the pause back, and one that gives up the ownership of a field that is not absent again.
    assert!(whole.used() > WRITES, "{}", whole.used());
    for writes in 1..=whole.used() {
        assert!(pause_all(&api).await.is_well());
        let dying = Around::dying(&api, writes, writes % 2 == 0);
        resume_all(&dying).await;
        assert!(dying.is_dead(), "{writes}");
        let report = resume_all(&api).await;
        assert!(report.is_well(), "{report:?}");
        assert_eq!(all(&server), before, "after {writes} writes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_that_was_cut_off_goes_on_and_keeps_what_was_there_first() {
    let server = world().await;
    let (api, before) = (api(&server).await, all(&server));
    for writes in [1, 5, WRITES - 1] {
        pause_all(&Around::dying(&api, writes, false)).await;
        let report = pause_all(&api).await;
        assert!(report.is_well(), "{report:?}");
        let again = all(&server);
        assert!(pause_all(&api).await.is_well());
        assert_eq!(all(&server), again, "pausing what is paused writes nothing");
        assert!(resume_all(&api).await.is_well());
        assert_eq!(all(&server), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn homelab_dr_owns_no_field_afterwards() {
    let server = world().await;
    let api = api(&server).await;
    let owned = || {
        let objects = TABLES.map(|table| server.shared.with(|state| state.objects(table))).concat();
        objects
            .iter()
            .filter(|object| object["metadata"]["managedFields"].to_string().contains("\"homelab-dr\""))
            .count()
    };
    pause_all(&api).await;
    assert_eq!(owned(), WRITES);
    resume_all(&api).await;
    assert_eq!(owned(), 0);
}
