//! Trying again: how often, how long, and when it is enough. Time is simulated. Programs in containers: how long they have, and whether somebody saw their end.

use std::sync::Mutex;

use tokio::sync::mpsc::Sender;

use super::objects::run_in_pod;
use super::*;
use crate::base::clock::SystemClock;
use crate::cluster::ClusterError;
use crate::cluster::exec::{Room, Said};
use crate::cluster::folder::Folder;
use crate::runbook::{InPod, Object};
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

/// Says of every program what it was told to, and keeps how long it would have been waited for.
struct Told {
    answer: Box<dyn Fn() -> Result<Said, ClusterError> + Send + Sync>,
    limits: Mutex<Vec<Duration>>,
}

#[async_trait]
impl Exec for Told {
    async fn exec(&self, _: &Room<'_>, _: &[String], limit: Duration) -> Result<Said, ClusterError> {
        self.limits.lock().expect("nobody panics").push(limit);
        (self.answer)()
    }

    async fn pour(&self, _: &Room<'_>, _: &[String], _: Sender<Vec<u8>>) -> Result<Said, ClusterError> {
        (self.answer)()
    }
}

/// With a folder that has one pod, in which programs do as they are told.
async fn in_pod(
    dir: &Path,
    answer: impl Fn() -> Result<Said, ClusterError> + Send + Sync + 'static,
) -> (Result<(), (String, bool)>, Vec<Duration>) {
    let told = Arc::new(Told { answer: Box::new(answer), limits: Mutex::default() });
    let folder = Folder::open(dir).expect("a folder");
    let around = Surroundings { cluster: Ok(Arc::new(folder)), exec: Ok(told.clone()), ..around() };
    let namespace = Some("media".to_owned());
    let object = Object { namespace, resource: "pods".into(), group: String::new(), name: "db".into() };
    let what = InPod { object, container: None, argv: vec!["pg_restore".into()] };
    let ran = run_in_pod(&what, &around, Duration::from_hours(1)).await;
    let ran = ran.map(drop).map_err(|not| (not.why, not.end_unseen));
    let limits = told.limits.lock().expect("nobody panics").clone();
    (ran, limits)
}

#[tokio::test]
async fn a_program_in_a_container_has_the_time_of_its_step_and_it_is_known_whether_its_end_was_seen() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("manifests")).expect("fresh");
    let request = || "exec in media/db".to_owned();
    let refused = |status| move || Err(ClusterError::Refused { request: request(), status, message: "no".into() });
    let silent =
        move || Err(ClusterError::Silent { server: "s".into(), request: request(), limit: Duration::from_hours(1) });
    let broke = move || Err(ClusterError::Answer { request: request(), what: "the connection broke".into() });
    let gone = || Err(ClusterError::Unreachable { server: "s".into(), source: "reset".into() });
    let ended = |code| move || Ok(Said { code, stdout: b"ok".to_vec(), stderr: Vec::new(), is_cut: false });
    // Where there is no pod nothing is started.
    let (ran, limits) = in_pod(dir.path(), ended(0)).await;
    assert!(ran.as_ref().is_err_and(|(why, unseen)| why.contains("is not there") && !unseen), "{ran:?}");
    assert!(limits.is_empty(), "{limits:?}");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: db, namespace: media}\nspec: {containers: [{name: c}]}\n";
    std::fs::write(dir.path().join("manifests/db.yaml"), pod).expect("written");
    let (ran, limits) = in_pod(dir.path(), ended(0)).await;
    assert_eq!((ran, limits), (Ok(()), vec![Duration::from_hours(1)]), "not the time of a query");
    let unseen = |(ran, _): (Result<(), (String, bool)>, Vec<Duration>)| ran.expect_err("it did not end well").1;
    assert!(!unseen(in_pod(dir.path(), ended(1)).await));
    for status in [400, 403, 404, 500] {
        assert!(!unseen(in_pod(dir.path(), refused(status)).await), "{status}");
    }
    assert!(unseen(in_pod(dir.path(), refused(504)).await));
    assert!(unseen(in_pod(dir.path(), silent).await));
    assert!(unseen(in_pod(dir.path(), broke).await));
    let absent = move || Err(ClusterError::NotBegun { request: request(), message: "no such file".into() });
    assert!(!unseen(in_pod(dir.path(), absent).await));
    assert!(unseen(in_pod(dir.path(), gone).await));
}
