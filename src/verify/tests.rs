//! Trying again: how often, how long, and when it is enough. Time is simulated.

use super::*;
use crate::base::clock::SystemClock;
use crate::runs::hands::OnThisMachine;

fn around() -> Surroundings {
    Surroundings::new(Arc::new(SystemClock), Arc::default(), Arc::new(OnThisMachine))
}

/// A look that fails at once, without any other side: no cluster is there.
fn check(retries: Option<u64>, deadline: Option<u64>, every: u64) -> Check {
    let deadline = deadline.map(Duration::from_secs);
    Check { probe: Probe::NamespaceReady("x".to_owned()), retries, deadline, every: Duration::from_secs(every) }
}

#[tokio::test(start_paused = true)]
async fn a_check_is_tried_as_often_as_it_says_and_as_long() {
    for (retries, deadline, tries, seconds) in [
        (None, None, 1, 0),
        (Some(0), None, 1, 0),
        (Some(3), None, 4, 15),
        (None, Some(20), 5, 20),
        (None, Some(4), 1, 0),
        (Some(2), Some(60), 3, 10),
        (Some(50), Some(10), 3, 10),
    ] {
        let begun = Instant::now();
        let Seen::Not(why) = hold(&check(retries, deadline, 5), &around()).await else { panic!("it holds") };
        assert_eq!(begun.elapsed().as_secs(), seconds, "{retries:?} {deadline:?}");
        let said = if tries > 1 { format!(" (after {tries} tries in {seconds}s)") } else { String::new() };
        assert_eq!(why, format!("no cluster is there to look at{said}"));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_stopped_tries_no_more_and_does_not_hold() {
    let around = around();
    let cancel = around.cancel.clone();
    let begun = Instant::now();
    let stop = async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        cancel.cancel();
    };
    let check = check(None, Some(3600), 5);
    let (seen, ()) = tokio::join!(hold(&check, &around), stop);
    assert!(!seen.holds() && begun.elapsed().as_secs() == 12, "{seen:?}");
    // A look that is under way is left, whatever it waits for.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let page = format!("http://{}/", listener.local_addr().expect("an address"));
    let probe = Probe::Http { url: page, status: 200, contains: None };
    assert_eq!(look(&probe, &around).await, Seen::Not("it was stopped before it was known".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_is_seen_of_a_check_that_does_not_hold_yet_is_told_with_its_limit_and_stays_when_it_is_stopped() {
    let around = Surroundings { limit: Duration::from_mins(15), ..around() };
    let seen = |limit| Some(SeenSoFar { what: "no cluster is there to look at".to_owned(), limit });
    assert_eq!(around.progress.seen(), None);
    hold(&check(Some(0), None, 5), &around).await;
    assert_eq!(around.progress.seen(), seen(Duration::from_mins(15)), "that of the step");
    hold(&check(None, Some(20), 5), &around).await;
    assert_eq!(around.progress.seen(), seen(Duration::from_secs(20)));
    around.cancel.cancel();
    assert!(!hold(&check(None, Some(20), 5), &around).await.holds());
    assert_eq!(around.progress.seen(), seen(Duration::from_secs(20)), "that it was stopped says nothing");
    around.progress.begin("verifying", "");
    assert_eq!(around.progress.seen(), None);
}
