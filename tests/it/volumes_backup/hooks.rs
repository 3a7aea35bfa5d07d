//! Applications that hold still while their claims are backed up: held before, let go as soon as they can be, and let go whatever happens. What the cluster was asked, and in
//! which order, is the evidence.

use serde_json::{Value, json};

use super::trouble::block;
use super::{World, claim_of, row};
use crate::support::files::noise;
use crate::support::kube::state::{State, text};

pub(super) const CSI: &str = "csi-hostpath-sc";
const LOCAL: &str = "local-path";
pub(super) const APP: &str = "/namespaces/media/deployments/app";
const DEPLOYMENTS: &str = "deployments.apps";
const SNAPSHOTS: &str = "volumesnapshots.snapshot.storage.k8s.io";
pub(super) const SCALE: &str = ", namespace: backup, hooks: [{claims: ['media/*'], scale: {}, timeout: 1m}]";

/// A workload of one pod in `media` that has these claims at `/data`, `/data1`, …; it writes a line into each whenever it starts.
pub(crate) async fn deployed(world: &World, class: &str, claims: &[&str]) {
    deployed_of(world, &claims.iter().map(|claim| (class, *claim)).collect::<Vec<_>>()).await;
}

/// The same with claims of several classes.
pub(crate) async fn deployed_of(world: &World, claims: &[(&str, &str)]) {
    world.namespace("media").await;
    world.namespace("backup").await;
    for (class, claim) in claims {
        world.kube.make("media", claim_of(claim, class));
    }
    let claims: Vec<&str> = claims.iter().map(|(_, claim)| *claim).collect();
    world.kube.make("media", workload("Deployment", &claims));
    until_back(world, DEPLOYMENTS).await;
    for claim in claims {
        started(world, claim, 1).await;
    }
}

pub(crate) fn workload(kind: &str, claims: &[&str]) -> Value {
    let at = |number: usize| if number == 0 { "/data".to_owned() } else { format!("/data{number}") };
    let script: String = (0..claims.len()).map(|number| format!("echo start >> {}/starts; ", at(number))).collect();
    let mut pod = super::application(claims[0], &format!("{script} exec sleep 600"));
    let spec = &mut pod["spec"];
    spec["volumes"] =
        claims.iter().map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}})).collect();
    let mounts = claims.iter().enumerate().map(|(number, claim)| json!({"name": claim, "mountPath": at(number)}));
    spec["containers"][0]["volumeMounts"] = mounts.collect();
    let labels = json!({"app": "app"});
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "app"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod["spec"]}},
    })
}

fn ready(state: &State, table: &str) -> bool {
    state.object(table, "media", "app").is_some_and(|app| {
        app["spec"]["replicas"] == 1
            && app["status"]["readyReplicas"] == 1
            && app["status"]["observedGeneration"] == app["metadata"]["generation"]
    })
}

/// Waits until the application runs.
pub(crate) async fn until_back(world: &World, table: &str) {
    let table = table.to_owned();
    world.kube.until("the application is there", move |state| ready(state, &table)).await;
}

pub(crate) fn pods_of_app(state: &State) -> usize {
    state.objects("pods").iter().filter(|pod| pod["metadata"]["labels"]["app"] == "app").count()
}

pub(crate) async fn until_held(world: &World) {
    let held = |state: &State| {
        let app = state.object(DEPLOYMENTS, "media", "app").unwrap();
        app["spec"]["replicas"] == 0 && pods_of_app(state) == 0
    };
    world.kube.until("it is at zero", held).await;
}

/// Journals of hooks.
pub(crate) fn journals(world: &World) -> Vec<std::sync::Arc<Value>> {
    let mut all = world.kube.shared.with(|state| state.objects("configmaps"));
    all.retain(|map| text(&map["metadata"]["name"]).starts_with("homelab-dr-hooks-"));
    all
}

pub(super) async fn until_let_go(world: &World) {
    let none = |state: &State| {
        !state.objects("configmaps").iter().any(|map| text(&map["metadata"]["name"]).starts_with("homelab-dr-hooks-"))
    };
    world.kube.until("nothing is held", none).await;
}

/// Nothing is held, nothing is written down, and nothing of ours is on what was held or anywhere else.
pub(crate) async fn is_let_go(world: &World) {
    nothing_is_held(world);
    world.is_clean().await;
}

/// The same, but for movers of runs that were killed, and what is theirs.
pub(crate) fn nothing_is_held(world: &World) {
    assert_eq!(journals(world).len(), 0);
    world.kube.shared.with(|state| {
        for table in [DEPLOYMENTS, "statefulsets.apps", "persistentvolumes"] {
            for object in state.objects(table) {
                assert!(object["metadata"]["annotations"]["homelab-dr.io/run"].is_null(), "{object}");
                assert_ne!(object["spec"]["persistentVolumeReclaimPolicy"], "Retain", "{object}");
            }
        }
    });
}

/// Where requests are in the order in which they came.
pub(super) struct Asked(Vec<String>);

impl Asked {
    pub(super) fn of(world: &World) -> Self {
        Self(world.kube.seen())
    }

    pub(super) fn all(&self, method: &str, part: &str) -> Vec<usize> {
        let is = |asked: &String| asked.starts_with(method) && asked.contains(part);
        self.0.iter().enumerate().filter(|(_, asked)| is(asked)).map(|(at, _)| at).collect()
    }

    #[track_caller]
    pub(super) fn first(&self, method: &str, part: &str) -> usize {
        let found = self.all(method, part);
        *found.first().unwrap_or_else(|| panic!("no {method} {part}: {:#?}", self.0))
    }

    #[track_caller]
    pub(super) fn last(&self, method: &str, part: &str) -> usize {
        let found = self.all(method, part);
        *found.last().unwrap_or_else(|| panic!("no {method} {part}: {:#?}", self.0))
    }

    /// Nothing is done to the workload between two moments.
    #[track_caller]
    pub(super) fn is_untouched(&self, part: &str, from: usize, to: usize) {
        assert!(from < to, "in this order: {:#?}", self.0);
        let touched = self.all("PATCH", part);
        assert!(!touched.iter().any(|at| (from..to).contains(at)), "{from} to {to}: {:#?}", self.0);
    }
}

/// Waits until the application has written so many lines; never more.
async fn started(world: &World, claim: &str, times: usize) {
    let (file, wanted) = (world.folder("media", claim).join("starts"), "start\n".repeat(times));
    for _ in 0..600 {
        if std::fs::read_to_string(&file).is_ok_and(|text| text == wanted) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{claim}: {:?} instead of {times}", std::fs::read_to_string(&file));
}

/// Whoever looks after the data of a claim, and answers when it is asked to hold still.
pub(crate) fn answers(world: &World) -> tokio::task::JoinHandle<()> {
    let shared = std::sync::Arc::clone(&world.kube.shared);
    tokio::spawn(async move {
        let mut changed = shared.changed.subscribe();
        loop {
            shared.with(|state| {
                let Some(claim) = state.object("persistentvolumeclaims", "media", "data") else { return };
                let notes = &claim["metadata"]["annotations"];
                let asked = notes["homelab-dr.io/quiesce"].clone();
                if asked != notes["homelab-dr.io/quiesced"] {
                    state.edit(&claim, |claim| {
                        let notes = claim["metadata"]["annotations"].as_object_mut().unwrap();
                        match asked {
                            Value::Null => drop(notes.remove("homelab-dr.io/quiesced")),
                            asked => drop(notes.insert("homelab-dr.io/quiesced".to_owned(), asked)),
                        }
                    });
                }
            });
            changed.changed().await.unwrap();
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn around_a_snapshot_it_stands_still_until_it_is_cut_and_no_longer() {
    let world = World::new(SCALE).await;
    deployed(&world, CSI, &["data"]).await;
    let plan = world.backup(&["--dry-run"]).await.exits(0);
    assert!(plan.out.contains("pvc, snapshot, scaled to zero (would hold Deployment media/app)"), "{}", plan.out);
    assert_eq!(Asked::of(&world).all("PATCH", APP).len() + journals(&world).len(), 0, "a plan holds nothing");

    // The storage does not come to it: as long as that lasts the application stands still.
    world.kube.faults(|faults| {
        faults.hold_snapshots("*");
        faults.upload_snapshots(true);
        faults.hold_pods("backup/");
    });
    let backup = world.begin(&[]);
    world.kube.until("a snapshot is asked for", |state| !state.objects(SNAPSHOTS).is_empty()).await;
    assert_eq!(world.kube.shared.with(|state| pods_of_app(state)), 0, "held before that");
    assert_eq!(journals(&world).len(), 1);
    // It is cut, and not ready for long: that is enough.
    world.kube.faults(|faults| faults.release_snapshots("*"));
    until_back(&world, DEPLOYMENTS).await;
    until_let_go(&world).await;
    let ready = world
        .kube
        .shared
        .with(|state| state.objects(SNAPSHOTS).iter().any(|snapshot| snapshot["status"]["readyToUse"] == true));
    assert!(!ready, "let go before the storage is done with it");
    started(&world, "data", 2).await;
    world.kube.faults(|faults| faults.upload_snapshots(false));
    world
        .kube
        .until("its mover is made", |state| {
            state.objects("pods").iter().any(|pod| pod["metadata"]["namespace"] == "backup")
        })
        .await;
    world.kube.faults(|faults| faults.release_pods("backup/"));
    let told = world.end(backup).await.exits(0).json();
    let row = row(&told, "media/data");
    assert_eq!(row["kind"], "pvc, snapshot, scaled to zero", "{row}");
    assert_eq!(
        (&row["held"]["how"], &row["held"]["what"]),
        (&json!("scaled to zero"), &json!(["Deployment media/app"]))
    );
    assert!(row["held"]["seconds"].as_f64().unwrap() > 0.0, "{row}");
    world.run(&["restore", "latest:pvc/media/data", "--target", "back"]).await.exits(0);
    let back = std::fs::read_to_string(world.lab.path("back").join("starts")).unwrap();
    assert_eq!(back, "start\n", "of the time when it stood still");
    is_let_go(&world).await;

    let asked = Asked::of(&world);
    asked.is_untouched(APP, asked.first("PATCH", APP) + 1, asked.first("POST", "/namespaces/media/volumesnapshots"));
    assert!(asked.last("PATCH", APP) < asked.first("POST", "/namespaces/backup/pods"));
    // For a few objects nobody reads the whole cluster.
    for few in ["namespaces/backup/configmaps?", "namespaces/media/pods?", "pods?limit=200&labelSelector="] {
        asked.first("GET", few);
    }
    assert_eq!(asked.all("GET", "/api/v1/configmaps?").len(), 0);
}

/// A clone is of one moment when it has its volume: at once, or when its mover is placed.
#[tokio::test(flavor = "multi_thread")]
async fn around_a_clone_it_stands_still_until_the_clone_is_made() {
    let world = World::new(SCALE).await;
    let late = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "late"},
        "provisioner": "hostpath.csi.k8s.io", "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
    });
    world.kube.make("", late);
    let clones = json!({"homelab-dr.io/mode": "clone"});
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "media", "annotations": clones}});
    world.kube.make("", space);
    deployed_of(&world, &[(CSI, "data")]).await;
    for class in [CSI, "late"] {
        if class == "late" {
            let app = world.kube.object(DEPLOYMENTS, "media", "app").unwrap();
            world.kube.shared.with(|state| {
                state.edit(&app, |app| {
                    app["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] =
                        "later".into();
                });
            });
            world.kube.make("media", claim_of("later", class));
            world
                .kube
                .until("it has the other claim", |state| {
                    ready(state, DEPLOYMENTS)
                        && state.claim_folder("media", "later").is_some()
                        && pods_of_app(state) == 1
                })
                .await;
            started(&world, "later", 1).await;
            world.configure(&SCALE.replace("media/*", "media/later"));
        }
        let claim = if class == "late" { "later" } else { "data" };
        world.kube.faults(|faults| faults.hold_pods("media/homelab-dr-"));
        let backup = world.begin(&[]);
        let its_mover = |state: &State| {
            state
                .objects("pods")
                .iter()
                .any(|pod| super::is_ours(pod) && pod["spec"]["volumes"].to_string().contains("homelab-dr-"))
        };
        world.kube.until("its mover is made", its_mover).await;
        if class == "late" {
            until_held(&world).await;
            assert_eq!(journals(&world).len(), 1, "there is no clone yet");
        } else {
            until_back(&world, DEPLOYMENTS).await;
            until_let_go(&world).await;
        }
        world.kube.faults(|faults| faults.release_pods("media/homelab-dr-"));
        let told = world.end(backup).await.exits(0).json();
        assert_eq!(row(&told, &format!("media/{claim}"))["kind"], "pvc, clone, scaled to zero", "{told}");
        until_back(&world, DEPLOYMENTS).await;
        is_let_go(&world).await;
        world.run(&["restore", &format!("latest:pvc/media/{claim}"), "--target", class]).await.exits(0);
        let back = std::fs::read_to_string(world.lab.path(class).join("starts")).unwrap();
        assert_eq!(back, "start\n", "of the time when it stood still");
    }
}

/// Two claims of one set, one of them for one pod only, which nothing else can read; a database server that runs; claims and volumes that go with replicas.
#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_read_live_it_stands_still_once_for_all_its_claims() {
    let world = World::new(&format!("{SCALE}, movers: 1")).await;
    world.namespace("media").await;
    world.namespace("backup").await;
    let mut set = workload("StatefulSet", &["one", "two"]);
    set["spec"]["serviceName"] = "app".into();
    set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": "Delete", "whenDeleted": "Retain"});
    set["spec"]["template"]["spec"].as_object_mut().unwrap().remove("volumes");
    let mut one = claim_of("one", LOCAL);
    one["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    set["spec"]["volumeClaimTemplates"] = json!([one, claim_of("two", LOCAL)]);
    world.kube.make("media", set);
    until_back(&world, "statefulsets.apps").await;
    for claim in ["one-app-0", "two-app-0"] {
        started(&world, claim, 1).await;
    }
    let before = world.kube.shared.with(|state| state.objects("persistentvolumeclaims").len());
    let server = world.folder("media", "two-app-0").join("pg");
    for folder in ["base/1", "global"] {
        std::fs::create_dir_all(server.join(folder)).unwrap();
    }
    for file in ["PG_VERSION", "postmaster.pid", "base/1/1", "global/pg_control"] {
        std::fs::write(server.join(file), noise(3, 9000)).unwrap();
    }
    let ran = world.backup(&[]).await.exits(0);
    let shown = "pvc/media/one-app-0: pvc, live, scaled to zero (StatefulSet media/app, for ";
    assert!(ran.out.contains(shown), "{}", ran.out);
    until_back(&world, "statefulsets.apps").await;
    world.run(&["restore", "latest:pvc/media/two-app-0", "--target", "back"]).await.exits(0);
    assert!(world.lab.path("back").join("pg/base/1/1").exists(), "the server's data was at rest, and is taken");
    for claim in ["one-app-0", "two-app-0"] {
        // Stopped once, and nothing was deleted.
        started(&world, claim, 2).await;
    }
    assert_eq!(world.kube.shared.with(|state| state.objects("persistentvolumeclaims").len()), before);
    is_let_go(&world).await;
    let (asked, set) = (Asked::of(&world), "/namespaces/media/statefulsets/app");
    let (made, gone) = (asked.all("POST", "/namespaces/media/pods"), asked.last("DELETE", "/namespaces/media/pods"));
    assert_eq!((made.len(), asked.all("POST", "/namespaces/backup/configmaps").len()), (2, 1), "held once");
    assert!(asked.first("PATCH", set) < made[0], "held before the first is read");
    asked.is_untouched(set, made[0], gone);
    assert!(gone < asked.last("PATCH", set), "let go after the last");
}

/// What the words of a hook do is seen in the volume.
pub(super) fn command(claims: &str, before: &str, after: &str, more: &str) -> String {
    format!(
        ", namespace: backup, hooks: [{{claims: ['{claims}'], command: {{before: {before}, after: {after}}}{more}}}]"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_before_and_one_after() {
    let world = World::new(&command("media/*", "[touch, /data/held]", "[rm, /data/held]", "")).await;
    deployed(&world, LOCAL, &["live"]).await;
    world.application_of(CSI, "media", "snapped", "true").await;
    let told = world.backup(&["--json"]).await.exits(0).json();
    for (claim, kind) in [("media/live", "pvc, live, command"), ("media/snapped", "pvc, snapshot, command")] {
        let row = row(&told, claim);
        assert_eq!((&row["kind"], &row["held"]["how"]), (&json!(kind), &json!("command")), "{row}");
        assert!(row["held"]["what"][0].as_str().unwrap().contains(", container app"), "{row}");
        let back = format!("back-{}", kind.len());
        world.run(&["restore", &format!("latest:pvc/{claim}"), "--target", &back]).await.exits(0);
        assert!(world.lab.path(&back).join("held").exists(), "held while {claim} was captured");
        let (_, claim) = claim.split_once('/').unwrap();
        assert!(!world.folder("media", claim).join("held").exists(), "and let go");
    }
    is_let_go(&world).await;
    // In which order: the live one is let go when its mover is gone.
    let asked = Asked::of(&world);
    let of_live = |word: &str| {
        let is = |at: &usize| !asked.0[*at].contains("/app-snapped/");
        asked.all("GET", word).into_iter().find(is).unwrap_or_else(|| panic!("no {word}: {:#?}", asked.0))
    };
    assert!(of_live("command=touch") < asked.first("POST", "/namespaces/media/pods"));
    assert!(of_live("command=rm") > asked.last("DELETE", "/namespaces/media/pods"));
}

/// No pod runs when claims are looked at, and one does hours later, when its claim is read: it is held then.
#[tokio::test(flavor = "multi_thread")]
async fn who_starts_before_its_claim_is_read_is_held_all_the_same() {
    let world =
        World::new(&format!("{}, movers: 1", command("*/*", "[touch, /data/held]", "[rm, /data/held]", ""))).await;
    world.namespace("backup").await;
    world.application("first", "data", "true").await;
    world.namespace("later").await;
    world.kube.make("later", claim_of("late", CSI));
    world.kube.until("it is bound", |state| state.claim_folder("later", "late").is_some()).await;
    let plan = world.backup(&["--dry-run"]).await.exits(0);
    assert!(plan.out.contains("pvc, snapshot, command (in pods that run by then; none does now)"), "{}", plan.out);
    world.kube.faults(|faults| faults.hold_pods("first/homelab-dr-"));
    let backup = world.begin(&[]);
    world
        .kube
        .until("the first is at its turn", |state| state.objects("pods").iter().any(|pod| super::is_ours(pod)))
        .await;
    world.kube.make("later", super::application("late", "sleep 600"));
    let runs = |state: &State| {
        state.object("pods", "later", "app-late").is_some_and(|pod| text(&pod["status"]["phase"]) == "Running")
    };
    world.kube.until("the other runs by now", runs).await;
    world.kube.faults(|faults| faults.release_pods("first/homelab-dr-"));
    let told = world.end(backup).await.exits(0).json();
    let row = row(&told, "later/late");
    assert_eq!(
        (&row["kind"], &row["held"]["what"][0]),
        (&json!("pvc, snapshot, command"), &json!("Pod later/app-late, container app"))
    );
    world.run(&["restore", "latest:pvc/later/late", "--target", "back"]).await.exits(0);
    assert!(world.lab.path("back").join("held").exists(), "held while it was captured");
    assert!(!world.folder("later", "late").join("held").exists(), "and let go");
    is_let_go(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_or_takes_too_long_leaves_nothing_held_and_the_claim_uncovered() {
    let half = "[sh, -c, 'touch /data/held; echo no room >&2; exit 3']";
    let world = World::new(&command("media/*", half, "[rm, /data/held]", "")).await;
    deployed(&world, LOCAL, &["data"]).await;
    let ran = world.backup(&[]).await.exits(1);
    assert!(ran.err.contains("ended with 3: no room") && ran.err.contains("NOT COVERED"), "{}", ran.err);
    assert!(!world.folder("media", "data").join("held").exists(), "half of it was done, and is undone");
    world.configure(&command("media/*", "[sleep, '600']", "[touch, /data/after]", ", timeout: 4s"));
    let ran = world.backup(&[]).await.exits(1);
    assert!(ran.err.contains("not made to hold still") && ran.err.contains("sleep"), "{}", ran.err);
    assert!(world.folder("media", "data").join("after").exists());
    // What cannot be let go is told, and stays written down.
    world.configure(&command("media/*", "['true']", "['false']", ""));
    let ran = world.backup(&[]).await.exits(1);
    assert!(ran.err.contains("STILL HELD: Pod media/app-") && ran.err.contains("homelab-dr release"), "{}", ran.err);
    assert_eq!(journals(&world).len(), 1);
    assert_eq!(world.snapshots().await, ["pvc/media/data"], "read all the same");
    let asked = Asked::of(&world);
    assert_eq!(asked.all("POST", "/namespaces/media/pods").len(), 1, "no mover for what is not held");
    // No container of that name: known before anything is begun.
    world.configure(", namespace: backup, hooks: [{claims: ['media/*'], command: {container: db, before: [x]}}]");
    let ran = world.backup(&["--dry-run"]).await.exits(1);
    assert!(ran.err.contains("it has no container db, but app"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_override_and_what_they_do_not_say_clearly_is_refused() {
    let world = World::new(SCALE).await;
    deployed(&world, LOCAL, &["data"]).await;
    let annotate = |table: &str, namespace: &str, name: &str, notes: Value| {
        world.kube.shared.with(|state| {
            let object = state.object(table, namespace, name).unwrap();
            state.edit(&object, |object| object["metadata"]["annotations"] = notes);
        });
    };
    let kind =
        async || row(&world.backup(&["--dry-run", "--json"]).await.exits(0).json(), "media/data")["kind"].clone();
    assert_eq!(kind().await, "pvc, live, scaled to zero");
    annotate("namespaces", "", "media", json!({"homelab-dr.io/hook-before": "[\"touch\", \"/data/held\"]"}));
    assert_eq!(kind().await, "pvc, live, command");
    annotate("persistentvolumeclaims", "media", "data", json!({"homelab-dr.io/hook": "none"}));
    assert_eq!(kind().await, "pvc, live");
    annotate("persistentvolumeclaims", "media", "data", json!({"homelab-dr.io/hook-before": "touch /data/held"}));
    let ran = world.backup(&[]).await.exits(1);
    assert!(ran.err.contains("hook-before of the claim is no list of words"), "{}", ran.err);
    annotate("persistentvolumeclaims", "media", "data", json!({"homelab-dr.io/hook": "handshake"}));
    world.configure("");
    let ran = world.backup(&[]).await.exits(1);
    assert!(ran.err.contains("the source has no namespace"), "{}", ran.err);
    assert_eq!(world.snapshots().await.len() + journals(&world).len(), 0);

    // Somebody looks after the data, and answers.
    world.configure(", namespace: backup");
    let answering = answers(&world);
    let told = world.backup(&["--json"]).await.exits(0).json();
    answering.abort();
    let row = row(&told, "media/data");
    assert_eq!(
        (&row["kind"], &row["held"]["what"][0]),
        (&json!("pvc, live, handshake"), &json!("PersistentVolumeClaim media/data"))
    );
    is_let_go(&world).await;
}

#[test]
fn the_hooks_in_the_documents_are_right() {
    let text = include_str!("../../../docs/hooks.md");
    let (_, rest) = text.split_once("```yaml hooks\n").expect("marked");
    let (text, _) = rest.split_once("\n```").expect("closed");
    let read = crate::configuration::read(text.as_bytes());
    let config = read.config.unwrap_or_else(|| panic!("{:?}", read.findings));
    assert_eq!(config.sources.len(), 2);
    let errors: Vec<String> =
        crate::configuration::validator().iter_errors(&config.json()).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    assert!(block("```yaml rights of hooks\n").contains("pods/exec"));
}
