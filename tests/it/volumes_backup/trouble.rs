//! What goes wrong with movers, and what is left of it: a clear word, no snapshot that is none, and nothing in the cluster.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homelab_dr::backup::volumes::{self, Handed, Limits, MoverError, Movers, Outcome, Report, Wanted};
use homelab_dr::base::clock::SystemClock;
use homelab_dr::cluster::ClusterError;
use homelab_dr::cluster::api::Api;
use homelab_dr::cluster::streams::{Input, Lines, Streams};
use homelab_dr::config::{SourceKind, VolumesSource};
use homelab_dr::volumes::policy::Reach;
use homelab_dr::volumes::protocol::SecretText;
use serde_json::{Value, json};

use super::{CUT_OFF, SLOW, World, row};
use crate::support::files::{noise, picture};
use crate::support::kube::faults::Failure;
use crate::support::kube::state::{State, text};

/// A volume that takes some seconds.
pub(super) async fn slow(more: &str) -> World {
    let world = World::new(more).await;
    world.application("media", "data", "echo x > /data/x").await;
    std::fs::write(world.folder("media", "data").join("large"), noise(7, 4_000_000)).unwrap();
    world
}

fn error(document: &Value) -> String {
    row(document, "media/data")["error"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_that_is_killed_is_told_and_the_next_run_goes_on() {
    let world = slow("").await;
    let backup = world.begin(&CUT_OFF);
    let pod = world.until_at_work(1).await.remove(0);
    world.kube.shared.with(|state| {
        state.pods.get(text(&pod["metadata"]["uid"])).and_then(|run| run.container("mover")).unwrap().kill();
    });
    let ran = world.end(backup).await.exits(1);
    let told = error(&ran.json());
    assert!(told.contains("ended without a result") && told.contains("exit code 137"), "{told}");
    assert!(ran.err.contains("NOT COVERED") && ran.err.contains("pvc/media/data"), "{}", ran.err);
    // What goes with its pod is in the document: the end of its log, each line with its time, and its events.
    let seen = &row(&ran.json(), "media/data")["mover"];
    let log: Vec<&str> = seen["log"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(log.iter().any(|line| line.starts_with("20") && line.contains("\"say\":\"accepted\"")), "{seen:#}");
    assert!(log.len() <= 40 && seen["events"].to_string().contains("Started"), "{seen:#}");
    world.is_clean().await;
    assert_eq!(world.snapshots().await, Vec::<String>::new());
    let again = world.backup(&["--json"]).await.exits(0).json();
    assert!(row(&again, "media/data")["mover"].is_null(), "of one that did its work nothing is kept: {again:#}");
    assert!(world.restored("media/data").await == picture(&world.folder("media", "data")));
}

/// An API server that restarts again and again stops no upload: the mover works on, is attached to again, and its log is read on from where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_changes_nothing() {
    let world = slow("").await;
    let backup = world.begin(&SLOW);
    world.until_at_work(1).await;
    let one = world.movers()[0]["metadata"]["uid"].clone();
    for _ in 0..4 {
        world.kube.restart();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(world.movers()[0]["metadata"]["uid"], one, "it is the same mover");
    world.end(backup).await.exits(0);
    let seen = world.kube.seen();
    let times = |part: &str| seen.iter().filter(|seen| seen.contains(part)).count();
    assert!(times("/attach") >= 2 && times("sinceTime=") >= 2, "{seen:?}");
    assert_eq!(times("POST /api/v1/namespaces/media/pods"), 1);
    assert_eq!(world.snapshots().await, ["pvc/media/data"]);
    assert!(world.restored("media/data").await == picture(&world.folder("media", "data")));
    world.is_clean().await;
}

/// Answers that get lost and a server in trouble, at every request that a run makes.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_get_lost_leave_nothing_behind() {
    let world = World::new("").await;
    world.application("media", "data", "echo x > /data/x").await;
    for (method, path) in [
        ("POST", "/namespaces/media/pods"),
        ("POST", "/networkpolicies"),
        ("DELETE", "/namespaces/media/pods"),
        ("DELETE", "/networkpolicies"),
        ("GET", "/log"),
        ("GET", "/attach"),
    ] {
        let failure = |nth| Failure { method: method.into(), path: path.into(), nth, status: 503 };
        world.kube.faults(|faults| {
            faults.fail(failure(1));
            faults.lose(failure(1));
        });
        world.backup(&[]).await.exits(0);
        assert_eq!(world.kube.faults(|faults| faults.waiting()), 0, "{method} {path} met the faults");
        world.is_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_starts_is_explained_and_taken_away() {
    let world = World::new(", image: 'absent:1', start-timeout: 2s").await;
    world.application("media", "data", "echo x > /data/x").await;
    let ran = world.backup(&["--json"]).await.exits(1);
    let told = error(&ran.json());
    for part in ["did not start within 2s", "ImagePullBackOff", "absent:1", "start-timeout"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let seen = &row(&ran.json(), "media/data")["mover"];
    assert!(seen["events"].to_string().contains("absent:1") && seen["log"] == json!([]), "{seen:#}");
    world.is_clean().await;

    // A node that takes no pods: the scheduler's word.
    world.configure(", start-timeout: 2s");
    let cordon = || {
        world.kube.shared.with(|state| {
            let node = state.object("nodes", "", "lab-node").unwrap();
            state.edit(&node, |object| object["spec"]["unschedulable"] = true.into());
        });
    };
    // Cordoned between the look and the pod, whose first creation fails.
    let failure = Failure { method: "POST".into(), path: "/namespaces/media/pods".into(), nth: 1, status: 503 };
    world.kube.faults(|faults| faults.fail(failure));
    // As people see it: what was seen of its pod is below the failure.
    let mut backup = world.lab.command(&["backup", "--no-progress"]);
    let backup = backup.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    world.kube.until("it is begun", |state| !state.objects("networkpolicies.networking.k8s.io").is_empty()).await;
    cordon();
    let told = world.end(backup).await.exits(1).err;
    assert!(told.contains("Unschedulable") && told.contains("were unschedulable"), "{told}");
    let (_, below) = told.split_once("pvc/media/data has no new snapshot").expect("the failure");
    assert!(below.contains("\n  event FailedScheduling: ") && !below.contains("\n  log "), "{told}");
    world.is_clean().await;
    // Known before anything is begun.
    let told = error(&world.backup(&["--json"]).await.exits(1).json());
    assert!(told.contains("is cordoned") && told.contains("kubectl uncordon lab-node"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_not_let_in_is_explained() {
    let world = World::new(", mode: root").await;
    world.application("media", "data", "echo x > /data/x").await;
    let told = error(&world.backup(&["--json"]).await.exits(1).json());
    assert!(told.contains("violates PodSecurity") && told.contains("another mode"), "{told}");
    world.is_clean().await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "1"}}});
    world.kube.make("media", quota);
    world.configure("");
    let told = error(&world.backup(&["--json"]).await.exits(1).json());
    assert!(told.contains("exceeded quota"), "{told}");
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_takes_its_movers_away() {
    let world = slow("").await;
    let backup = world.begin(&CUT_OFF);
    world.until_at_work(1).await;
    let pid = rustix::process::Pid::from_child(&backup);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    world.end(backup).await.exits(130);
    world.kube.until("the movers are gone", |state| state.pods.running() == 1).await;
    world.is_clean().await;
    assert_eq!(world.snapshots().await, Vec::<String>::new());
}

pub(super) fn expire(state: &mut State) {
    for table in ["pods", "networkpolicies.networking.k8s.io"] {
        for object in state.objects(table).iter().filter(|object| super::is_ours(object)) {
            state.edit(object, |object| {
                object["metadata"]["annotations"]["homelab-dr.io/expires"] = "2026-01-01T00:00:00Z".into();
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_swept_once_it_is_nobodys() {
    let world = slow("").await;
    let mut backup = world.begin(&SLOW);
    let orphan = world.until_at_work(1).await.remove(0);
    backup.kill().unwrap();
    backup.wait().unwrap();
    // Another run comes while it may still be somebody's: it is left alone, and both write.
    world.backup(&[]).await.exits(0);
    assert_eq!(world.movers().len(), 1, "the orphan is there");
    // It stores what it has read before it ends, and its policy lets it until it is gone.
    let alone = world.watch(|state, alone: &mut BTreeSet<String>| {
        let names = |table: &str| {
            let all = state.objects(table).into_iter().filter(|object| super::is_ours(object));
            all.map(|object| text(&object["metadata"]["name"]).to_owned()).collect::<BTreeSet<_>>()
        };
        alone.extend(&names("pods") - &names("networkpolicies.networking.k8s.io"));
    });
    world.kube.shared.with(expire);
    let ran = world.backup(&[]).await.exits(0);
    let name = text(&orphan["metadata"]["name"]);
    assert!(ran.err.contains("an earlier run was cut off") && ran.err.contains(name), "{}", ran.err);
    world.kube.until("only the application runs", |state| state.pods.running() == 1).await;
    world.is_clean().await;
    assert_eq!(*alone.lock().unwrap(), BTreeSet::new(), "pods without their policies");
    world.run(&["check"]).await.exits(0);
}

/// The source of the configuration.
pub(super) fn source_of(world: &World) -> VolumesSource {
    let text = std::fs::read(world.lab.path("homelab-dr.yaml")).unwrap();
    let config = crate::configuration::read(&text).config.expect("it is right");
    let SourceKind::Volumes(source) = config.sources[0].kind.clone() else { panic!("{config:?}") };
    source
}

/// A run within this process: with other limits, another key, or connections of our own making.
pub(super) async fn within(
    world: &World,
    streams: Option<&dyn Streams>,
    writer_key: &str,
    limits: Limits,
) -> (Vec<volumes::Row>, Vec<String>) {
    let source = source_of(world);
    let api = Api::open(source.kubeconfig.as_deref(), None).await.unwrap();
    let report = report(world, &api, streams.unwrap_or(&api), &source, writer_key, limits).await;
    assert!(report.0.left.is_empty(), "{report:?}");
    (report.0.rows, report.1)
}

/// The same by any API, with everything that is told.
pub(super) async fn report(
    world: &World,
    api: &Api,
    streams: &dyn Streams,
    source: &VolumesSource,
    writer_key: &str,
    limits: Limits,
) -> (Report, Vec<String>) {
    let over = world.s3.url("home").hand_over().await.unwrap();
    let credentials =
        over.credentials.into_iter().map(|(name, value)| (name.to_owned(), SecretText::new(value))).collect();
    let handed = Handed {
        address: over.address,
        credentials,
        reach: Reach::Nowhere,
        writer_key: SecretText::new(writer_key.trim().to_owned()),
        limit_upload: Some(512 << 10),
        limit_download: None,
    };
    let movers = Movers {
        cluster: api,
        streams,
        exec: api,
        clock: Arc::new(SystemClock),
        progress: Arc::default(),
        cancel: Arc::default(),
        source,
        others: &[],
        succeeded: &BTreeSet::new(),
        handed: &handed,
        wanted: Wanted::default(),
        limits,
    };
    let warnings = Mutex::new(Vec::new());
    let report = volumes::run(&movers, &|text| warnings.lock().unwrap().push(text.to_owned())).await.unwrap();
    (report, warnings.into_inner().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_repository_is_told_by_the_mover_with_its_exit_code() {
    let world = World::new("").await;
    world.application("media", "data", "echo x > /data/x").await;
    let other = tokio::task::spawn_blocking(crate::cli::Home::new).await.unwrap();
    let key = std::fs::read_to_string(other.path("writer")).unwrap();
    let (rows, _) = within(&world, None, &key, Limits::default()).await;
    let Outcome::Failed(MoverError::Failed(failed)) = &rows[0].outcome else { panic!("{rows:?}") };
    assert_eq!(failed.exit, 6, "{failed:?}");
    assert!(rows[0].left.is_empty());
    world.is_clean().await;
}

/// Connections that take everything and bring nothing, as half-open ones do: the first never brings the job, the second no heartbeat after the first.
struct Deaf<'a> {
    real: &'a Api,
    attached: AtomicUsize,
}

struct Swallow {
    real: Box<dyn Input>,
    /// Messages that still arrive.
    arrive: usize,
}

#[async_trait::async_trait]
impl Input for Swallow {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), ClusterError> {
        if self.arrive == 0 {
            return Ok(());
        }
        self.arrive -= 1;
        self.real.send(bytes).await
    }
    async fn closed(&mut self) {
        std::future::pending().await
    }
}

#[async_trait::async_trait]
impl Streams for Deaf<'_> {
    async fn attach(&self, namespace: &str, pod: &str, container: &str) -> Result<Box<dyn Input>, ClusterError> {
        let real = self.real.attach(namespace, pod, container).await?;
        let arrive = [0, 2].get(self.attached.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(usize::MAX);
        Ok(Box::new(Swallow { real, arrive }))
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

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_bring_nothing_are_recognised() {
    let world = World::new("").await;
    world.application("media", "data", "echo x > /data/x").await;
    // Long enough that a mover without heartbeats would have ended itself.
    std::fs::write(world.folder("media", "data").join("large"), noise(7, 9_000_000)).unwrap();
    let real = Api::open(Some(&world.lab.path("kubeconfig")), None).await.unwrap();
    let deaf = Deaf { real: &real, attached: AtomicUsize::new(0) };
    let key = std::fs::read_to_string(world.lab.path("writer")).unwrap();
    let second = Duration::from_secs(1);
    // It goes on saying that its pod is its own.
    let expiries = world.watch(|state, seen: &mut BTreeSet<String>| {
        let ours = state.objects("pods").into_iter().filter(|pod| super::is_ours(pod));
        seen.extend(ours.map(|pod| text(&pod["metadata"]["annotations"]["homelab-dr.io/expires"]).to_owned()));
    });
    let limits = Limits {
        heartbeat: second,
        renew: second,
        receipt: 2 * second,
        silence: 14 * second,
        poll: second / 10,
        ..Limits::default()
    };
    let (rows, warnings) = within(&world, Some(&deaf), &key, limits).await;
    let Outcome::Captured { summary, .. } = &rows[0].outcome else { panic!("{rows:?}") };
    assert!(summary.seconds > 14.0, "it took longer than it would have lived: {}", summary.seconds);
    assert!(expiries.lock().unwrap().len() >= 3, "{expiries:?}");
    assert_eq!((deaf.attached.load(Ordering::SeqCst), warnings), (3, Vec::new()));
    assert!(world.restored("media/data").await == picture(&world.folder("media", "data")));
    world.is_clean().await;
}

/// A marked block of docs/volumes.md.
pub(super) fn block(mark: &str) -> String {
    let (_, rest) = include_str!("../../../docs/volumes.md").split_once(mark).expect("the block is marked");
    rest.split_once("\n```").expect("closed").0.to_owned()
}

#[test]
fn the_example_in_the_documents_is_right() {
    let read = crate::configuration::read(block("```yaml sources\n").as_bytes());
    assert_eq!(read.config.unwrap_or_else(|| panic!("{:?}", read.findings)).sources.len(), 2);
}

/// With each of them taken away the backup fails and says what is missing; with all of them it succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_in_the_documents_suffice_and_are_needed() {
    let world = World::new("").await;
    world.application("media", "data", "echo x > /data/x").await;
    let role: Value = serde_saphyr::from_str(&block("```yaml rights\n")).expect("a manifest");
    let name = role["metadata"]["name"].clone();
    world.kube.make("", role.clone());
    world.kube.make("media", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "backup"}}));
    world.kube.make(
        "",
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "backup"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "backup", "namespace": "media"}],
        }),
    );
    let token = crate::kube::token_of(&world.kube, "media", "backup").await;
    let config = world.kube.kubeconfig().replace(&world.kube.token(), &token);
    std::fs::write(world.lab.path("kubeconfig"), config).unwrap();
    world.backup(&[]).await.exits(0);
    let set = |rules: Value| {
        world.kube.shared.with(|state| {
            let role = state.object("clusterroles.rbac.authorization.k8s.io", "", "homelab-dr-volumes").unwrap();
            state.edit(&role, |object| object["rules"] = rules);
        });
    };
    for (resource, says) in [
        ("persistentvolumeclaims", "docs/volumes.md"),
        ("pods", "docs/volumes.md"),
        ("pods/attach", "pods/attach"),
        ("pods/log", "pods/log"),
        ("networkpolicies", "docs/volumes.md"),
    ] {
        let mut rules = role["rules"].clone();
        for rule in rules.as_array_mut().unwrap() {
            rule["resources"].as_array_mut().unwrap().retain(|other| other != resource);
        }
        set(rules);
        let ran = world.backup(&[]).await.exits(1);
        assert!(ran.err.contains(says) && ran.err.contains("cannot "), "{resource}: {}", ran.err);
    }
    set(role["rules"].clone());
    world.backup(&[]).await.exits(0);
    world.is_clean().await;
}

/// Somebody deletes the mover and gives its name to a pod that listens: it hears nothing, and is nobody's to delete.
#[tokio::test(flavor = "multi_thread")]
async fn another_pod_of_the_same_name_is_told_nothing() {
    let world = slow("").await;
    let backup = world.begin(&SLOW);
    let pod = world.until_at_work(1).await.remove(0);
    let name = text(&pod["metadata"]["name"]).to_owned();
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(crate::kube::client(&world.kube), "media");
    let now = kube::api::DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
    pods.delete(&name, &now).await.unwrap();
    world.kube.until("it is gone", |state| state.object("pods", "media", &name).is_none()).await;
    let mut other = super::application("data", "cat > /data/heard");
    other["metadata"]["name"] = name.as_str().into();
    other["spec"]["containers"][0]["name"] = "mover".into();
    other["spec"]["containers"][0]["stdin"] = true.into();
    world.kube.make("media", other);
    let ran = world.end(backup).await.exits(1);
    assert!(error(&ran.json()).contains("deleted by somebody else"), "{}", ran.out);
    let heard = world.folder("media", "data").join("heard");
    for _ in 0..200 {
        if heard.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(std::fs::metadata(&heard).map(|file| file.len()).ok(), Some(0), "it listened and heard nothing");
    assert!(world.kube.object("pods", "media", &name).is_some(), "it is left alone");
}
