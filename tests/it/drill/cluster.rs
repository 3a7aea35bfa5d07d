//! In a cluster that is in use: a whole application comes back beside itself, behind a policy that was proven, and nothing of it stays; production is as it was, object by object.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::sync::Arc;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::cluster::api::Api;
use homelab_dr::drill::cluster::{Place, PlaceError, clear, refuse_taken};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::cli::Ran;
use crate::recover::runbook;
use crate::support::around::Around;
use crate::support::kube::node::network::Network;
use crate::support::kube::state::{State, text};
use crate::volumes_backup::{IMAGE, World, is_ours};
use crate::volumes_restore::FINDS_OR_MAKES;

const ALL: &str = "id: all\nneeds: [pause]\nrestore.resources: {source: cluster, include: [\"media/*/*\"]}\ntimeout: 5m\nverify:\n  - ready: {namespace: media}\n    deadline: 1m\n    every: 1s\n  - exec: {object: media/pods/app-data, argv: [cat, /data/verdict], contains: found}\n    deadline: 20s\n    every: 1s\n  - sqlite: {claim: media/data, file: some.db, query: select count(*) from t, equals: 1}\n  - http: {url: \"http://127.0.0.1:1/\"}";

/// The application, and what lies in another namespace.
const MEDIA_AND_NOTES: &str = "id: all\nneeds: []\nrestore.resources: {source: cluster, include: [\"media/*/*\", \"notes/*/*\"]}\ntimeout: 5m\nverify: [ready: {objects: [notes/configmaps/settings]}]";

/// An application with everything that a drill has to be careful about, backed up.
async fn stage() -> World {
    let world = World::new("").await;
    let folder = world.lab.path("");
    let folder = folder.to_str().unwrap().trim_end_matches('/');
    let config = format!(
        "sources:\n  cluster: {{resources: {{kubeconfig: {folder}/kubeconfig}}}}\n  volumes: {{volumes: {{kubeconfig: {folder}/kubeconfig, image: '{IMAGE}'}}}}\n"
    );
    std::fs::write(world.lab.path("homelab-dr.yaml"), config).unwrap();
    world.application("media", "data", FINDS_OR_MAKES).await;
    let database = rusqlite::Connection::open(world.folder("media", "data").join("some.db")).unwrap();
    database.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1)").unwrap();
    drop(database);
    let pod = |more: Value| {
        let mut spec = json!({"containers": [{"name": "c", "image": "test:1", "command": ["sleep", "600"]}]});
        more.as_object().unwrap().iter().for_each(|(field, value)| spec[field] = value.clone());
        json!({"metadata": {"labels": {"app": "x"}}, "spec": spec})
    };
    let workload = |kind: &str, name: &str, more: Value, annotations: Value| {
        json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "annotations": annotations},
            "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": pod(more)},
        })
    };
    let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
    let object = |version: &str, kind: &str, name: &str, more: Value| {
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
        more.as_object().unwrap().iter().for_each(|(field, value)| object[field] = value.clone());
        object
    };
    let job =
        json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "test:1"}]}}});
    let open = json!({"spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}});
    for one in [
        object("v1", "ConfigMap", "settings", json!({"data": {"a": "b"}})),
        object("v1", "Secret", "login", json!({"stringData": {"password": "hunter2"}})),
        workload("Deployment", "syncs", json!({}), json!({"homelab-dr.io/drill": "exclude"})),
        workload("Deployment", "agent", json!({"hostNetwork": true}), json!({})),
        workload("DaemonSet", "everywhere", json!({}), json!({})),
        service("web", json!({"type": "LoadBalancer", "selector": {"app": "x"}, "ports": [{"port": 80}]})),
        service("elsewhere", json!({"type": "ExternalName", "externalName": "db.example"})),
        object(
            "batch/v1",
            "CronJob",
            "nightly",
            json!({"spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job}}}),
        ),
        object("networking.k8s.io/v1", "NetworkPolicy", "open", open),
    ] {
        world.kube.make("media", one);
    }
    world.kube.make("", object("v1", "Namespace", "notes", json!({})));
    world.kube.make("notes", object("v1", "ConfigMap", "settings", json!({"data": {"a": "b"}})));
    world.backup(&[]).await.exits(0);
    world
}

fn command(world: &World, args: &[&str]) -> std::process::Command {
    let place = ["--kubeconfig", "kubeconfig", "--journals", "runs", "--probe-time", "2s"];
    let mut command = world.lab.command(&[&["drill"][..], args, &place].concat());
    command.env("TMPDIR", world.lab.path(""));
    command
}

async fn drill(world: &World, args: &[&str]) -> Ran {
    let mut command = command(world, args);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    Ran::of(&output.expect("it runs"))
}

/// Begins a drill and waits until its application runs.
async fn begun(world: &World, book: &str) -> Child {
    let mut command = command(world, &[book, "--yes"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let runs = |state: &State| {
        let pods = state.objects("pods");
        pods.iter().any(|pod| is_of_drill(pod) && !is_ours(pod) && pod["status"]["phase"] == "Running")
    };
    world.kube.until("the application of the drill runs", runs).await;
    child
}

fn is_of_drill(object: &Value) -> bool {
    text(&object["metadata"]["namespace"]).starts_with("drill-")
}

/// The drill's namespaces.
fn spaces(world: &World) -> Vec<String> {
    world.kube.shared.with(|state| {
        let all = state.objects("namespaces");
        all.iter()
            .map(|space| text(&space["metadata"]["name"]).to_owned())
            .filter(|name| name.starts_with("drill-"))
            .collect()
    })
}

/// Every object with its version, but for events and leases.
fn everything(world: &World) -> BTreeMap<String, String> {
    world.kube.shared.with(|state| {
        let tables: Vec<String> = state.resources.iter().map(|resource| resource.table()).collect();
        let mut all = BTreeMap::new();
        for table in tables.iter().filter(|table| !table.starts_with("events") && !table.starts_with("leases")) {
            for object in state.objects(table) {
                let key = format!("{table} {}", crate::support::kube::state::key_of(&object));
                all.insert(key, object["metadata"]["resourceVersion"].to_string());
            }
        }
        all
    })
}

async fn records(world: &World) -> Vec<Value> {
    let listed = world.run(&["drills", "--json"]).await.exits(0).json();
    listed["drills"].as_array().unwrap().clone()
}

/// What was seen in the namespaces of drills while one went on.
#[derive(Default, Clone)]
struct Seen {
    /// What should never be.
    wrong: Vec<String>,
    workloads: usize,
    cron: Option<Value>,
    service: Option<Value>,
    objects: BTreeSet<String>,
}

fn look(state: &State, seen: &mut Seen) {
    let closed = |namespace: &Value, table: &str| {
        state.objects(table).iter().any(|object| {
            object["metadata"]["namespace"] == *namespace && object["metadata"]["name"] == "homelab-dr-drill"
        })
    };
    for pod in state.objects("pods").iter().filter(|pod| is_of_drill(pod) && !is_ours(pod)) {
        seen.workloads += 1;
        let namespace = &pod["metadata"]["namespace"];
        let dying = state
            .object("namespaces", "", text(namespace))
            .is_none_or(|space| !space["metadata"]["deletionTimestamp"].is_null());
        let is_closed = closed(namespace, "networkpolicies.networking.k8s.io") && closed(namespace, "resourcequotas");
        if !dying && !is_closed {
            seen.wrong.push(format!("a workload before the policy: {}", pod["metadata"]["name"]));
        }
        if pod["spec"]["automountServiceAccountToken"] != false {
            seen.wrong.push(format!("a token: {}", pod["metadata"]["name"]));
        }
    }
    for (table, into) in [("cronjobs.batch", &mut seen.cron), ("services", &mut seen.service)] {
        if let Some(found) = state.objects(table).iter().find(|object| is_of_drill(object)) {
            *into = Some((**found).clone());
        }
    }
    for table in [
        "deployments.apps",
        "daemonsets.apps",
        "services",
        "networkpolicies.networking.k8s.io",
        "configmaps",
        "secrets",
    ] {
        let found = state.objects(table);
        seen.objects
            .extend(found.iter().filter(|one| is_of_drill(one)).map(|one| text(&one["metadata"]["name"]).to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_application_is_rehearsed_beside_itself_and_production_is_as_it_was() {
    let world = stage().await;
    let steps = ["id: pause\nneeds: []\ngitops.pause: {}", ALL, "id: resume\ngitops.resume: {}"];
    let book = runbook(&world.lab.path(""), "objectives: {rto: 1h, rpo: 1h}\n", &steps);
    let before = everything(&world);
    let plan = drill(&world, &[&book, "--plan", "--json"]).await.exits(0).json();
    let left_out: Vec<String> = plan["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}: {}", one["step"], text(&one["what"]), text(&one["why"])))
        .collect();
    for part in [
        "gitops.pause",
        "http: http://127.0.0.1:1/",
        "1 deployments.apps: agent: it reaches past the policy: hostNetwork",
        "1 daemonsets.apps: everywhere: it would run on every node",
        "elsewhere: it leads to db.example",
        "1 networkpolicies.networking.k8s.io: open: it would open what the drill closes",
        "1 cronjobs.batch: nightly: is suspended",
        "1 deployments.apps: syncs: gets no pods",
        "1 services: web: is ClusterIP, not LoadBalancer",
    ] {
        assert!(left_out.iter().any(|line| line.contains(part)), "{part}: {left_out:#?}");
    }
    assert_eq!(everything(&world), before, "a plan changes nothing");
    let seen = world.watch(look);
    let ran = drill(&world, &[&book, "--yes", "--json"]).await.exits(0);
    let record = ran.json()["drill"].clone();
    assert_eq!(
        (&record["outcome"], &record["target"], &record["held"]),
        (&"passed".into(), &"cluster".into(), &3.into()),
        "{record:#}"
    );
    let sources: Vec<&str> =
        record["sources"].as_array().unwrap().iter().map(|source| text(&source["source"])).collect();
    assert_eq!(sources, ["cluster", "pvc/media/data"]);
    assert!(record["sources"].as_array().unwrap().iter().all(|source| source["took"].is_u64()), "{record:#}");
    for part in ["isolation proven in drill-", "[all] done", "printed \"found\"", "was removed"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    assert_eq!(spaces(&world), Vec::<String>::new());
    assert_eq!(everything(&world), before, "production is as it was, and nothing else is there");
    assert!(world.kube.object("leases.coordination.k8s.io", "default", "homelab-dr-recover").is_none());
    let seen = seen.lock().unwrap().clone();
    assert_eq!((seen.wrong, seen.workloads > 0), (Vec::<String>::new(), true));
    assert_eq!(seen.cron.unwrap()["spec"]["suspend"], true);
    assert_eq!(seen.service.unwrap()["spec"]["type"], "ClusterIP");
    for there in ["settings", "login", "syncs", "web", "homelab-dr-drill"] {
        assert!(seen.objects.contains(there), "{there}: {:?}", seen.objects);
    }
    for absent in ["agent", "everywhere", "elsewhere", "open"] {
        assert!(!seen.objects.contains(absent), "{absent}: {:?}", seen.objects);
    }
    assert_eq!(records(&world).await.len(), 1);
    let run = text(&record["run"]).to_owned();
    let report = world.run(&["report", "show", &run, "--journals", "runs", "--json"]).await.exits(0).json();
    crate::report::is_by_the_schema(&report);
    let report = &report["report"];
    assert_eq!(
        (&report["objectives"]["rpo"]["verdict"], &report["objectives"]["rto"]["verdict"]),
        (&"met".into(), &"met".into())
    );
    assert!(report["drill"]["prepared"].to_string().contains("isolation proven"), "{report:#}");
    assert!(report["drill"]["left_out"].as_array().unwrap().len() >= 9 && report["volumes"][0]["age_seconds"].is_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_workload_starts_without_proof_and_what_dies_or_is_kept_is_removed() {
    let world = stage().await;
    let book = runbook(&world.lab.path(""), "", &["id: pause\nneeds: []\ngitops.pause: {}", ALL]);
    let before = everything(&world);
    // The second of two namespaces is open: what was proven in the first says nothing of it.
    let both = [MEDIA_AND_NOTES];
    std::fs::create_dir(world.lab.path("both")).unwrap();
    let both = format!("both/{}", runbook(&world.lab.path("both"), "", &both));
    for (book, network, says) in [
        (&book, Network::Ignores, "-media although a policy denies it: the network plugin does not enforce policies"),
        (&both, Network::IgnoresIn("-notes"), "-notes although a policy denies it"),
        (&book, Network::Broken, "nothing would be proven"),
    ] {
        world.kube.faults(|faults| faults.network = network);
        let seen = world.watch(look);
        let args: &[&str] = &[book, "--yes"];
        // A network that lets nothing through is given up after half a minute: once is enough.
        let ran = drill(&world, args).await.exits(7);
        assert!(ran.err.contains(says), "{}", ran.err);
        assert_eq!((seen.lock().unwrap().workloads, spaces(&world).len()), (0, 0), "nothing was started");
        assert_eq!(
            (records(&world).await[0]["outcome"].clone(), everything(&world) == before),
            ("failed".into(), true)
        );
    }
    world.kube.faults(|faults| faults.network = Network::Enforces);
    // Stopped: everything goes.
    let mut child = begun(&world, &book).await;
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(
        (status.code(), spaces(&world).len(), records(&world).await[0]["outcome"].clone()),
        (Some(130), 0, "stopped".into())
    );
    // Failed and kept: until somebody cleans. Killed: until the next one.
    let bad = "id: all\nneeds: []\nrestore.resources: {source: cluster, include: [\"media/configmaps/*\"]}\nverify: [ready: {objects: [media/configmaps/gone]}]";
    let failing = runbook(&world.lab.path("runs"), "", &[bad]);
    let ran = drill(&world, &[&format!("runs/{failing}"), "--yes", "--keep-on-failure"]).await.exits(1);
    assert!(ran.err.contains("kept: namespace drill-"), "{}", ran.err);
    let kept = spaces(&world);
    let mut child = begun(&world, &book).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((kept.len(), spaces(&world).len()), (1, 2));
    // Its lease is over sooner than half a minute after its last word.
    world.kube.shared.with(|state| {
        let lease =
            state.object("leases.coordination.k8s.io", "default", "homelab-dr-recover").expect("the dead drill's");
        state.edit(&lease, |lease| lease["spec"]["leaseDurationSeconds"] = json!(1));
    });
    let ran = drill(&world, &[&format!("runs/{failing}"), "--yes"]).await.exits(1);
    assert!(ran.err.contains("a drill was cut off and left namespace drill-"), "{}", ran.err);
    assert_eq!(spaces(&world), kept);
    drill(&world, &["--clean"]).await.exits(0);
    assert_eq!((spaces(&world).len(), everything(&world) == before), (0, true));
    taken_names_and_free_volumes(&world).await;
}

/// The namespaces of one drill, which may hold anything.
fn place<'a>(api: &'a Api, namespaces: &'a BTreeSet<String>) -> Place<'a> {
    Place { cluster: api, run: "5f0c1d2e", namespaces, expires: String::new(), storage_bytes: 0, objects: 0 }
}

/// A claim gets its volume when a pod is scheduled: after what is there was looked at. The data of an application would stay behind in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_comes_while_a_drill_is_cleared_goes_too() {
    let world = World::new("").await;
    let api = Api::open(Some(&world.lab.path("kubeconfig")), None).await.unwrap();
    let namespaces = ["drill-5f0c1d2e-media".to_owned()].into();
    let place = place(&api, &namespaces);
    place.make(&Cancel::default()).await.expect("made");
    let late = || {
        if world.kube.object("persistentvolumes", "", "late").is_none() {
            let claim = json!({"namespace": "drill-5f0c1d2e-media", "name": "data", "uid": "gone"});
            let spec = json!({
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "kept",
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/srv/late"}, "claimRef": claim,
            });
            let annotations = json!({"pv.kubernetes.io/provisioned-by": "some.csi"});
            world.kube.make(
                "",
                json!({
                    "apiVersion": "v1", "kind": "PersistentVolume",
                    "metadata": {"name": "late", "annotations": annotations}, "spec": spec,
                }),
            );
        }
    };
    let made = std::sync::Once::new();
    let mut around = Around::dying(&api, usize::MAX, true);
    around.after = Box::new(|| made.call_once(late));
    let cleared = clear(&around, "5f0c1d2e").await.unwrap();
    assert_eq!(cleared.gone, ["namespace drill-5f0c1d2e-media", "volume late"], "{:?}", cleared.left);
    assert!(cleared.left.is_empty() && world.kube.object("persistentvolumes", "", "late").is_none());
    // One that was there before and cannot be kept keeps its namespace; what is tried after that fails too, and is told.
    place.make(&Cancel::default()).await.expect("made again");
    late();
    world.kube.shared.with(|state| {
        let volume = state.object("persistentvolumes", "", "late").expect("it is there");
        state.edit(&volume, |volume| {
            volume["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
            volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
            volume["spec"]["claimRef"].as_object_mut().map(|claim| claim.remove("uid"));
        });
    });
    let cleared = clear(&Around::dying(&api, 1, false), "5f0c1d2e").await;
    let left = cleared.unwrap().left.join("; ");
    assert!(left.contains("cannot be set to Retain") && left.contains("would be deleted with it"), "{left}");
    assert_eq!(spaces(&world).len(), 1, "its namespace was not deleted");
}

/// Names that are taken and volumes that are there keep a drill from beginning.
async fn taken_names_and_free_volumes(world: &World) {
    let api = Api::open(Some(&world.lab.path("kubeconfig")), None).await.unwrap();
    let name = "drill-5f0c1d2e-media".to_owned();
    world.kube.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    let namespaces = [name.clone()].into();
    assert!(matches!(refuse_taken(&api, &namespaces).await, Err(PlaceError::There { .. })));
    let place = place(&api, &namespaces);
    assert!(matches!(place.make(&Cancel::default()).await, Err(PlaceError::There { .. })));
    // It is somebody's: its name alone is no label.
    assert!(clear(&api, "5f0c1d2e").await.unwrap().gone.is_empty());
    assert!(world.kube.object("namespaces", "", &name).is_some());
    let free = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "photos"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Ti"}, "storageClassName": "local-path",
            "persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": "/srv/photos"},
        },
    });
    let volume = world.kube.make("", free);
    world.kube.shared.with(|state| {
        state.change("test", &Arc::new(volume), "status", |object| object["status"] = json!({"phase": "Available"}))
    });
    let book = runbook(&world.lab.path(""), "", &["id: pause\nneeds: []\ngitops.pause: {}", ALL]);
    let ran = drill(world, &[&book, "--yes"]).await.exits(7);
    assert!(ran.err.contains("could get the volume photos") && ran.err.contains("IN THE WAY"), "{}", ran.err);
    assert_eq!(spaces(world), [name], "nothing was made");
}
