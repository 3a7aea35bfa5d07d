//! What happens to a cluster during a backup of volumes: each ends in a clear word, an exit code and a clean cluster, or with the name of what is left.

use std::time::Duration;

use homelab_dr::backup::volumes::{Limits, MoverError, Outcome, Report};
use homelab_dr::cluster::api::{self, Api};
use homelab_dr::volumes::Left;
use serde_json::{Value, json};

use super::csi::{self, HOME, inventory, is_as_before};
use super::trouble::{report, slow, source_of};
use super::{CUT_OFF, IMAGE, SLOW, World, row};
use crate::support::files::picture;
use crate::support::kube::faults::{Failure, Webhook};
use crate::support::kube::server::KubeServer;
use crate::support::kube::state::{State, text};

const NODE: &str = "lab-node";

fn error(document: &Value) -> String {
    row(document, "media/data")["error"].to_string()
}

fn writer_key(world: &World) -> String {
    std::fs::read_to_string(world.lab.path("writer")).unwrap()
}

/// Carries out what a person is told to type: `delete` and `patch` of kubectl, with the options that are used.
pub(crate) async fn carry_out(kube: &KubeServer, command: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let option = |name: &str| words.iter().position(|word| *word == name).map(|at| words[at + 1]);
    let (plural, group) = words[1].split_once('.').unwrap_or((words[1], ""));
    let resource = kube.shared.with(|state| {
        let found = state.resources.iter().find(|it| it.plural == plural && it.group == group).cloned();
        found.unwrap_or_else(|| panic!("no kind {}", words[1]))
    });
    let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
    let space = option("--namespace").map(|name| format!("/namespaces/{name}")).unwrap_or_default();
    let url = format!("{}{root}/{}{space}/{plural}/{}", kube.url(), resource.version, words[2]);
    let request = match words[0] {
        "delete" if words.contains(&"--force") => {
            http::Request::delete(url).body(json!({"gracePeriodSeconds": 0}).to_string().into_bytes())
        }
        "delete" => http::Request::delete(url).body(Vec::new()),
        "patch" => {
            let patch = command.split_once("--patch '").unwrap().1.trim_end_matches('\'');
            let kind = "application/merge-patch+json";
            http::Request::patch(url).header("content-type", kind).body(patch.as_bytes().to_vec())
        }
        other => panic!("{other}"),
    };
    let done = crate::kube::client(kube).request_text(request.unwrap()).await;
    if let Err(kube::Error::Api(status)) = &done {
        assert!(status.code == 404 && words.contains(&"--ignore-not-found"), "{command}: {status:?}");
    } else {
        done.unwrap();
    }
}

/// The commands, as they are told: for the cluster of the source.
fn told(world: &World, left: &Left) -> Vec<String> {
    let kubectl = format!("    kubectl --kubeconfig {} ", world.lab.path("kubeconfig").display());
    left.commands.iter().map(|command| format!("{kubectl}{command}")).collect()
}

fn left_of(row: &Value) -> Vec<Left> {
    let left = row["left"].as_array().unwrap_or_else(|| panic!("nothing is left: {row}"));
    let field = |left: &Value, name: &str| left[name].as_str().unwrap().to_owned();
    let commands = |left: &Value| {
        left["commands"].as_array().unwrap().iter().map(|command| command.as_str().unwrap().to_owned()).collect()
    };
    left.iter()
        .map(|left| Left { what: field(left, "what"), why: field(left, "why"), commands: commands(left) })
        .collect()
}

/// A copy that stays: the data is stored, the exit code says that something is wrong, and what is told removes it. Or the next run does.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_could_not_be_removed_is_named_with_the_commands_that_remove_it() {
    let world = csi::world(HOME).await;
    std::fs::remove_file(world.folder("media", "data").join("large")).unwrap();
    // A class that keeps: then commands have to set to Delete, too.
    world.kube.shared.with(|state| {
        let class =
            state.object("volumesnapshotclasses.snapshot.storage.k8s.io", "", "csi-hostpath-snapclass").unwrap();
        state.edit(&class, |class| class["deletionPolicy"] = "Retain".into());
    });
    let before = inventory(&world);
    for by_hand in [true, false] {
        world
            .kube
            .faults(|faults| faults.refuse("DELETE", "/persistentvolumeclaims/", 403, "claims may not be deleted"));
        let ran = world.backup(&["--json"]).await.exits(3);
        let document = ran.json();
        let of_claim = row(&document, "media/data");
        assert_eq!((&of_claim["result"], of_claim["snapshot"].is_string()), (&json!("problems"), true), "{of_claim}");
        let left = left_of(&of_claim);
        assert!(left.len() == 1 && left[0].what.contains("(of media/data)"), "{left:?}");
        assert!(left[0].why.contains("claims may not be deleted"), "{left:?}");
        for said in told(&world, &left[0])
            .iter()
            .chain([&format!("LEFT BEHIND: what was made for pvc/media/data could not be removed: {}", left[0].what)])
        {
            assert!(ran.err.contains(said), "{said}: {}", ran.err);
        }
        // Whoever comes next, and may not either, says so again.
        world.kube.shared.with(csi::expire);
        if by_hand {
            let ran = world.backup(&["--json"]).await.exits(3);
            let document = ran.json();
            let rows = document["sources"].as_array().unwrap();
            let of_source = rows.iter().find(|row| row["source"] == "all").unwrap_or_else(|| panic!("{document}"));
            assert_eq!(left_of(of_source)[0].what, left[0].what);
            assert!(ran.err.contains("an earlier run left this behind"), "{}", ran.err);
            world.kube.faults(|faults| faults.permit_all());
            for left in left_of(of_source).iter().chain(&left_of(&row(&document, "media/data"))) {
                for command in &left.commands {
                    carry_out(&world.kube, command).await;
                }
            }
        } else {
            world.kube.faults(|faults| faults.permit_all());
            let ran = world.backup(&[]).await.exits(0);
            assert!(ran.err.contains("an earlier run was cut off") && ran.err.contains(&left[0].what), "{}", ran.err);
        }
        is_as_before(&world, &before).await;
    }
}

/// The same of a mover's pod and its policy, which may not be deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_mover_that_could_not_be_removed_is_named_with_the_commands_that_remove_it() {
    let world = World::new("").await;
    world.application("media", "data", "echo x > /data/x").await;
    world.kube.faults(|faults| {
        faults.refuse("DELETE", "/namespaces/media/pods/", 403, "pods may not be deleted");
        faults.refuse("DELETE", "/networkpolicies/", 403, "policies may not be deleted");
    });
    let ran = world.backup(&["--json"]).await.exits(3);
    let left = left_of(&row(&ran.json(), "media/data"));
    let whats: Vec<&str> = left.iter().map(|left| left.what.split('/').next().unwrap()).collect();
    assert_eq!(whats, ["Pod media", "NetworkPolicy media"], "{left:?}");
    world.kube.faults(|faults| faults.permit_all());
    for command in left.iter().flat_map(|left| &left.commands) {
        carry_out(&world.kube, command).await;
    }
    world.is_clean().await;
}

/// The node takes a pod away because it is short of something: at once, with its log.
#[tokio::test(flavor = "multi_thread")]
async fn a_mover_that_is_evicted_is_told_in_the_nodes_words() {
    let world = slow("").await;
    let backup = world.begin(&CUT_OFF);
    let pod = world.until_at_work(1).await.remove(0);
    let why = "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 898240Ki. Container mover was using \
               4Ki, request is 0, has larger consumption of ephemeral-storage. ";
    world.kube.evict("media", text(&pod["metadata"]["name"]), why);
    let ran = world.end(backup).await.exits(1);
    let told = error(&ran.json());
    for part in ["Evicted", "low on resource: ephemeral-storage", "make room on its node"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(ran.err.contains("NOT COVERED"), "{}", ran.err);
    world.is_clean().await;
    world.backup(&[]).await.exits(0);
    assert!(world.restored("media/data").await == picture(&world.folder("media", "data")));
}

/// Limits as they are, in small.
pub(crate) fn small() -> Limits {
    let second = Duration::from_secs(1);
    let mut limits = Limits {
        poll: second / 10,
        heartbeat: second,
        receipt: 5 * second,
        log_silence: second,
        away: 3 * second,
        // A mover on a busy machine hears its first heartbeat late.
        silence: 12 * second,
        gone: 2 * second,
        ..Limits::default()
    };
    limits.ways.poll = second / 10;
    limits.ways.gone = 2 * second;
    limits
}

async fn impatient(world: &World) -> Api {
    let limits = api::Limits { answer: Duration::from_secs(5), tries: Duration::from_secs(1) };
    Api::open(Some(&world.lab.path("kubeconfig")), None).await.unwrap().with_limits(limits)
}

/// A backup by an impatient client, struck as soon as a mover is at work; with that mover's pod.
async fn struck(world: &World, strike: impl FnOnce()) -> (Report, Value) {
    let (api, source, key) = (impatient(world).await, source_of(world), writer_key(world));
    let run = report(world, &api, &api, &source, &key, small());
    let cut = async {
        let pod = world.until_at_work(1).await.remove(0);
        strike();
        pod
    };
    let ((report, _), pod) = tokio::join!(run, cut);
    (report, pod)
}

/// The power of a node goes: its pods stay as they are, running above all, and cannot be deleted; nothing of them is heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_away_under_a_mover_is_told_and_what_it_keeps_is_named() {
    let world = slow("").await;
    let (report, pod) = struck(&world, || world.kube.power_off(NODE)).await;
    let name = text(&pod["metadata"]["name"]);
    let row = &report.rows[0];
    let Outcome::Failed(error @ MoverError::NodeAway { .. }) = &row.outcome else { panic!("{report:?}") };
    let told = error.to_string();
    for part in ["node lab-node does not answer", "NodeStatusUnknown", "Kubelet stopped posting node status"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let [left] = &row.left[..] else { panic!("only the pod is left: {row:?}") };
    assert_eq!(left.what, format!("Pod media/{name}"));
    assert!(
        left.why.contains("its node lab-node does not answer") && left.why.contains("when the node is back"),
        "{left:?}"
    );
    assert_eq!(left.commands, [format!("delete pods {name} --namespace media --force --grace-period=0")]);
    let stays = world.kube.object("pods", "media", name).expect("it is there");
    assert_eq!(
        (&stays["status"]["phase"], stays["metadata"]["deletionTimestamp"].is_string()),
        (&json!("Running"), true)
    );

    // A later run finds that it is told to go already, and names it; the claim cannot be read from a node that is away.
    world.kube.shared.with(|state| {
        state.edit(&state.object("pods", "media", name).unwrap(), |pod| {
            pod["metadata"]["annotations"]["homelab-dr.io/expires"] = "2026-01-01T00:00:00Z".into();
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        });
    });
    let ran = world.backup(&["--json"]).await.exits(1);
    let told = ran.json();
    assert!(self::error(&told).contains("its node lab-node is not ready"), "{told}");
    let rows = told["sources"].as_array().unwrap();
    let of_source = rows.iter().find(|row| row["source"] == "all").unwrap_or_else(|| panic!("{told}"));
    assert_eq!(left_of(of_source)[0].commands, left.commands);
    // By hand, of a node that is off for good.
    carry_out(&world.kube, &left.commands[0]).await;
    world.is_clean().await;
    assert_eq!(world.snapshots().await, Vec::<String>::new());
}

/// The node comes back: what hung goes by itself, and the next run has everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_ends_what_was_told_to_go() {
    let world = csi::world(HOME).await;
    let before = inventory(&world);
    let (report, _) = struck(&world, || world.kube.power_off(NODE)).await;
    let row = &report.rows[0];
    assert!(matches!(row.outcome, Outcome::Failed(MoverError::NodeAway { .. })), "{report:?}");
    let [pod, copy] = &row.left[..] else { panic!("the pod and what it mounts are left: {row:?}") };
    assert!(
        pod.what.starts_with("Pod backup/") && copy.why.contains("kubernetes.io/pvc-protection keeps it"),
        "{row:?}"
    );
    world.kube.power_on(NODE);
    world.is_clean().await;
    world.kube.shared.with(csi::expire);
    // The application's pod died with the node, and nobody makes it anew.
    world.backup(&[]).await.exits(0);
    is_as_before(&world, &before).await;
    assert!(world.restored("media/data").await == picture(&world.folder("media", "data")));
}

/// The API server goes away and stays away: nothing can be removed any more, and everything that is left is named.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_stays_away_is_told_and_what_is_left_is_named() {
    let world = csi::world(HOME).await;
    let before = inventory(&world);
    let away = || {
        let down = Failure { method: "GET".into(), path: "/".into(), nth: 0, status: 503 };
        world.kube.faults(|faults| faults.go_down(down));
        world.kube.restart();
    };
    let (report, _) = struck(&world, away).await;
    let row = &report.rows[0];
    let Outcome::Failed(MoverError::Unreachable(error)) = &row.outcome else { panic!("{report:?}") };
    assert!(error.to_string().contains("(503)"), "{error}");
    let commands: Vec<&String> = row.left.iter().flat_map(|left| &left.commands).collect();
    for kind in [
        "pods",
        "networkpolicies.networking.k8s.io",
        "persistentvolumeclaims",
        "volumesnapshots.snapshot.storage.k8s.io",
    ] {
        assert!(commands.iter().any(|command| command.starts_with(&format!("delete {kind} "))), "{kind}: {commands:?}");
    }
    // It is back, after the run: the next one removes everything.
    world.kube.faults(|faults| faults.come_back());
    world.kube.shared.with(csi::expire);
    world.backup(&[]).await.exits(0);
    is_as_before(&world, &before).await;
}

/// Somebody writes at the same time, again and again; and a server that asks to be left alone for a while.
#[tokio::test(flavor = "multi_thread")]
async fn storms_of_conflicts_and_of_too_many_requests_are_waited_out() {
    let world = csi::world(HOME).await;
    std::fs::remove_file(world.folder("media", "data").join("large")).unwrap();
    let before = inventory(&world);
    world.kube.faults(|faults| {
        let mut fail = |method: &str, path: &str, status| {
            faults.fail(Failure { method: method.into(), path: path.into(), nth: 1, status });
        };
        // A quota that counts says so of a creation; a patch is tried five times by the server itself.
        for path in ["/namespaces/backup/pods", "/volumesnapshots", "/volumesnapshotcontents", "/networkpolicies"] {
            fail("POST", path, 409);
            fail("POST", path, 409);
        }
        for path in ["/configmaps/homelab-dr-volumes", "/volumesnapshotcontents/"] {
            fail("PATCH", path, 409);
            fail("PATCH", path, 409);
        }
        for (method, path) in [
            ("GET", "/api/v1/persistentvolumeclaims"),
            ("GET", "/log"),
            ("POST", "/namespaces/backup/pods"),
            ("PATCH", "/configmaps/homelab-dr-volumes"),
            ("DELETE", "/namespaces/backup/pods"),
            ("DELETE", "/volumesnapshots/"),
        ] {
            fail(method, path, 429);
        }
    });
    world.backup(&[]).await.exits(0);
    assert_eq!(world.kube.faults(|faults| faults.waiting()), 0, "all were met");
    is_as_before(&world, &before).await;
}

/// A policy refuses the pods of movers, or nobody answers for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_refuses_movers_is_told_in_its_words() {
    let world = World::new("").await;
    world.application("media", "data", "echo x > /data/x").await;
    world.kube.make("", json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "policy"},
        "webhooks": [{
            "name": "policy.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "clientConfig": {"service": {"namespace": "policy", "name": "gone", "path": "/validate"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        }],
    }));
    let told = error(&world.backup(&["--json"]).await.exits(1).json());
    assert!(told.contains("failed calling webhook") && told.contains("policy.example.org"), "{told}");
    world.is_clean().await;
    let deny = Webhook::Denies("images have to be signed".into());
    world.kube.faults(|faults| faults.answer_for_webhook("policy.example.org", deny));
    let told = error(&world.backup(&["--json"]).await.exits(1).json());
    assert!(told.contains("images have to be signed"), "{told}");
    world.is_clean().await;
    world.kube.faults(|faults| faults.answer_for_webhook("policy.example.org", Webhook::Allows));
    world.backup(&[]).await.exits(0);
}

/// A node whose disk is full takes no pods any more: the scheduler's word.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_is_told_in_the_schedulers_words() {
    let world = World::new(", start-timeout: 2s").await;
    world.application("media", "data", "echo x > /data/x").await;
    world.kube.shared.with(|state| {
        let node = state.object("nodes", "", NODE).unwrap();
        let taint = json!({"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"});
        state.edit(&node, |node| node["spec"]["taints"] = json!([taint]));
    });
    let told = error(&world.backup(&["--json"]).await.exits(1).json());
    assert!(told.contains("did not start within 2s") && told.contains("node.kubernetes.io/disk-pressure"), "{told}");
    world.is_clean().await;
}

/// A token that runs out while a mover works, and what reads the new one: a file that is written anew, or a plugin.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_runs_out_is_read_anew() {
    for plugin in [false, true] {
        let world = slow("").await;
        world.kube.make("media", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "next"}}));
        world.kube.make("", json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "next"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "next", "namespace": "media"}],
        }));
        let next = crate::kube::token_of(&world.kube, "media", "next").await;
        let file = world.lab.path("token");
        let write = |token: &str| {
            let credential = json!({
                "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token},
            });
            std::fs::write(&file, if plugin { credential.to_string() } else { token.to_owned() }).unwrap();
        };
        write(&world.kube.token());
        let user = if plugin {
            json!({"exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": "cat", "args": [file], "interactiveMode": "Never",
            }})
        } else {
            json!({"tokenFile": file})
        };
        let mut config: Value = serde_json::from_str(&world.kube.kubeconfig()).unwrap();
        config["users"][0]["user"] = user;
        std::fs::write(world.lab.path("kubeconfig"), config.to_string()).unwrap();
        let backup = world.begin(&SLOW);
        world.until_at_work(1).await;
        write(&next);
        world.kube.faults(|faults| faults.expire_token(true));
        // Open connections would hide it.
        world.kube.restart();
        world.end(backup).await.exits(0);
        world.is_clean().await;
        assert_eq!(world.snapshots().await, ["pvc/media/data"]);
    }
}

/// A token that is dead: told as such, and what is left is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_dead_is_told_and_what_is_left_is_named() {
    let world = slow("").await;
    let dead = || {
        world.kube.faults(|faults| faults.expire_token(true));
        world.kube.restart();
    };
    let (report, _) = struck(&world, dead).await;
    let row = &report.rows[0];
    let Outcome::Failed(error @ MoverError::Unreachable(cause)) = &row.outcome else { panic!("{report:?}") };
    assert!(cause.to_string().contains("(401)"), "{error}: {cause}");
    assert_eq!(row.left.len(), 2, "pod and policy: {row:?}");
    assert!(row.left.iter().all(|left| left.commands.len() == 1 && left.why.contains("(401)")), "{row:?}");
    world.kube.faults(|faults| faults.expire_token(false));
    // The mover ends by itself, done or unheard; whoever has a token removes it.
    world.kube.until("it ended", |state: &State| state.pods.running() == 1).await;
    for command in row.left.iter().flat_map(|left| &left.commands) {
        carry_out(&world.kube, command).await;
    }
    world.is_clean().await;
}

/// Who is not known from the beginning asks once for each source, and for nothing that a backup goes on without: each of these would wait anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_answer_is_asked_for_nothing_more() {
    let world = World::new("").await;
    let kubeconfig = world.lab.path("kubeconfig");
    let kubeconfig = kubeconfig.display();
    let text = format!(
        "sources:\n  cluster: {{resources: {{kubeconfig: {kubeconfig}}}}}\n  \
         volumes: {{volumes: {{kubeconfig: {kubeconfig}, image: '{IMAGE}', namespace: backup}}}}\n"
    );
    std::fs::write(world.lab.path("homelab-dr.yaml"), text).unwrap();
    world.kube.faults(|faults| {
        faults.expire_token(true);
        // A real server says so of a token that is dead, whatever is asked.
        faults.refuse("GET", "/version", 401, "Unauthorized");
    });
    let before = world.kube.seen().len();
    let of_one = ["--json", "--dry-run", "--source", "cluster"];
    for (more, count) in [(&["--json"][..], 2), (&["--json", "--dry-run"], 2), (&of_one, 1)] {
        let told = world.backup(more).await.exits(1).json();
        let rows = told["sources"].as_array().unwrap();
        assert_eq!(rows.len(), count, "{told:#}");
        for row in rows {
            assert_eq!(row["result"], "failed", "{row:#}");
            assert!(row["error"].to_string().contains("(401)"), "{row:#}");
        }
    }
    let seen = &world.kube.seen()[before..];
    assert!(!seen.is_empty() && seen.iter().all(|asked| asked == "GET /version"), "{seen:#?}");
}
