//! What may be torn never becomes a snapshot: a mover whose application is held commits when it is told that this held until all was read, and otherwise not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use homelab_dr::backup::volumes::{Limits, MoverError, Outcome};
use homelab_dr::cluster::ClusterError;
use homelab_dr::cluster::api::Api;
use homelab_dr::cluster::streams::{Input, Lines, Streams};
use homelab_dr::hooks::HookError;

use super::hooks::{SCALE, deployed, is_let_go, until_back, until_held};
use super::hooks_trouble::age;
use super::trouble::{expire, within};
use super::{SLOW, World, is_ours};
use crate::support::files::noise;

const DEPLOYMENTS: &str = "deployments.apps";
const LARGE: usize = 1_500_000;
/// The kind of the word that it may commit, as the protocol has it.
const COMMIT: u8 = 5;

/// An application at zero for a claim that is read live, with a megabyte or two in it.
async fn held() -> World {
    let world = World::new(SCALE).await;
    deployed(&world, "local-path", &["data"]).await;
    std::fs::write(world.folder("media", "data").join("large"), noise(11, LARGE)).unwrap();
    world
}

fn writer_key(world: &World) -> String {
    std::fs::read_to_string(world.lab.path("writer")).unwrap()
}

/// Somebody starts it again, and the whole read is over before anybody looks: it is looked at before the commit, and what may be torn is no snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn what_went_on_between_two_looks_is_no_snapshot() {
    let world = held().await;
    world.kube.faults(|faults| faults.hold_pods("media/homelab-dr-"));
    let limits = Limits { still: Duration::from_mins(10), poll: Duration::from_millis(100), ..Limits::default() };
    let somebody = async {
        until_held(&world).await;
        world.kube.until("its mover is made", |state| state.objects("pods").iter().any(|pod| is_ours(pod))).await;
        world.kube.shared.with(|state| {
            let app = state.object(DEPLOYMENTS, "media", "app").unwrap();
            state.edit(&app, |app| app["spec"]["replicas"] = 1.into());
        });
        until_back(&world, DEPLOYMENTS).await;
        world.kube.faults(|faults| faults.release_pods("media/homelab-dr-"));
    };
    let key = writer_key(&world);
    let ((rows, _), ()) = tokio::join!(within(&world, None, &key, limits), somebody);
    let Outcome::Failed(MoverError::Stirred(error)) = &rows[0].outcome else { panic!("{rows:?}") };
    assert!(matches!(error.downcast_ref(), Some(HookError::Stirred { .. })), "{error}");
    assert_eq!(world.snapshots().await, Vec::<String>::new());
    until_back(&world, DEPLOYMENTS).await;
    is_let_go(&world).await;
}

/// Connections that lose the first words that a mover may commit, and count them.
struct Mute<'a> {
    real: &'a Api,
    words: Arc<AtomicUsize>,
    lost: usize,
}

struct Losing {
    real: Box<dyn Input>,
    words: Arc<AtomicUsize>,
    lost: usize,
}

#[async_trait::async_trait]
impl Input for Losing {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), ClusterError> {
        if bytes.get(4) == Some(&COMMIT) && self.words.fetch_add(1, Ordering::SeqCst) < self.lost {
            return Ok(());
        }
        self.real.send(bytes).await
    }
    async fn closed(&mut self) {
        self.real.closed().await;
    }
}

#[async_trait::async_trait]
impl Streams for Mute<'_> {
    async fn attach(&self, namespace: &str, pod: &str, container: &str) -> Result<Box<dyn Input>, ClusterError> {
        let real = self.real.attach(namespace, pod, container).await?;
        Ok(Box::new(Losing { real, words: self.words.clone(), lost: self.lost }))
    }
    async fn follow(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        since: Option<&str>,
    ) -> Result<Box<dyn Lines>, ClusterError> {
        self.real.follow(namespace, pod, container, since).await
    }
}

/// A mover that is never told commits nothing, and what it stored is found by the next run. A word that is lost is said again.
#[tokio::test(flavor = "multi_thread")]
async fn a_mover_that_is_not_told_commits_nothing() {
    let world = held().await;
    let real = Api::open(Some(&world.lab.path("kubeconfig")), None).await.unwrap();
    let key = writer_key(&world);
    let limits = Limits {
        heartbeat: Duration::from_millis(500),
        silence: Duration::from_secs(6),
        poll: Duration::from_millis(100),
        ..Limits::default()
    };
    let mute = Mute { real: &real, words: Arc::default(), lost: usize::MAX };
    let (rows, _) = within(&world, Some(&mute), &key, limits).await;
    let Outcome::Failed(MoverError::Failed(failed)) = &rows[0].outcome else { panic!("{rows:?}") };
    assert!(failed.error.contains("nobody said"), "{failed:?}");
    assert!(mute.words.load(Ordering::SeqCst) > 1, "said again and again");
    assert_eq!(world.snapshots().await, Vec::<String>::new());
    until_back(&world, DEPLOYMENTS).await;

    let few = Mute { real: &real, words: Arc::default(), lost: 2 };
    let (rows, _) = within(&world, Some(&few), &key, Limits { silence: Duration::from_mins(10), ..limits }).await;
    let Outcome::Captured { summary, .. } = &rows[0].outcome else { panic!("{rows:?}") };
    assert!(few.words.load(Ordering::SeqCst) > 2, "{few:?}", few = few.words);
    assert!(summary.statistics.bytes_new < LARGE as u64 / 2, "what the first stored was found: {summary:?}");
    assert_eq!(world.snapshots().await, ["pvc/media/data"]);
    until_back(&world, DEPLOYMENTS).await;
    is_let_go(&world).await;
}

/// Whoever should say it is stopped, and then killed: the mover waits, commits nothing, and is taken away by the next run.
#[tokio::test(flavor = "multi_thread")]
async fn a_mover_whose_run_is_dead_commits_nothing() {
    let world = held().await;
    let mut backup = world.begin(&SLOW);
    let pod = world.until_at_work(1).await.remove(0);
    let pid = rustix::process::Pid::from_child(&backup);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    for _ in 0..1200 {
        if world.log(&pod).contains("\"say\":\"read\"") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(world.log(&pod).contains("\"say\":\"read\""), "{}", world.log(&pod));
    backup.kill().unwrap();
    backup.wait().unwrap();
    assert_eq!(world.snapshots().await, Vec::<String>::new());
    age(&world);
    world.kube.shared.with(expire);
    world.backup(&[]).await.exits(0);
    assert_eq!(world.snapshots().await, ["pvc/media/data"], "that of the next run");
    until_back(&world, DEPLOYMENTS).await;
    is_let_go(&world).await;
}
