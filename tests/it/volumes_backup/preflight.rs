//! `preflight backup`: each finding is there when its cause is, with its mend, and gone without it; nothing is written.

use std::collections::BTreeSet;

use homelab_dr::cluster::api::Api;
use homelab_dr::config::SourceKind;
use homelab_dr::preflight::Findings;
use homelab_dr::preflight::backup::{self, Wanted};
use homelab_dr::preflight::needs::OfVolumes;
use homelab_dr::volumes::policy::Reach;
use serde_json::{Value, json};

use super::{IMAGE, World};
use crate::cli::Ran;
use crate::support::kube::faults::Webhook;
use crate::support::kube::state::State;

pub(super) const VOLUMES: &str = include_str!("../../../docs/volumes.md");
const HOME: &str = ", namespace: backup";
pub(super) const REGISTRATION: &str = "admissionregistration.k8s.io";

impl World {
    async fn preflight(&self, more: &[&str]) -> Ran {
        self.run(&[&["preflight", "backup", "--json", "--no-progress"][..], more].concat()).await
    }

    /// Findings that are not fine, as `severity check on: what | why | mend`.
    async fn found(&self) -> Vec<String> {
        let ran = self.preflight(&[]).await;
        let document = ran.json();
        let expected = if document["blocks"] == 0 { 0 } else { 7 };
        assert_eq!(ran.code, expected, "{document}");
        told(&document)
    }

    pub(super) fn edit(&self, table: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        self.kube.shared.with(|state| {
            let object =
                state.object(table, namespace, name).unwrap_or_else(|| panic!("no {table} {namespace}/{name}"));
            state.edit(&object, change);
        });
    }

    pub(crate) async fn delete(&self, path: &str) {
        let request = http::Request::delete(format!("{}{path}", self.kube.url())).body(Vec::new()).unwrap();
        crate::kube::client(&self.kube).request_text(request).await.unwrap();
    }
}

/// Findings that are not fine, as `severity check on: what | why | mend`.
pub(crate) fn told(document: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = document["findings"].as_array().unwrap_or_else(|| panic!("{document}")).iter();
    let bad = findings.filter(|finding| finding["severity"] != "fine");
    bad.map(|finding| {
        let [severity, check, on, what, why, mend] =
            ["severity", "check", "on", "what", "why", "mend"].map(|field| text(&finding[field]));
        format!("{severity} {check} {on}: {what} | {why} | {mend}")
    })
    .collect()
}

/// Exactly one of the findings begins so, and has all of these parts.
#[track_caller]
pub(crate) fn has(found: &[String], begins: &str, parts: &[&str]) {
    let one: Vec<&String> = found.iter().filter(|finding| finding.starts_with(begins)).collect();
    assert!(one.len() == 1, "{} begin with {begins:?}: {found:#?}", one.len());
    for part in parts {
        assert!(one[0].contains(part), "{part:?} is not in {}", one[0]);
    }
}

#[track_caller]
pub(crate) fn lacks(found: &[String], begins: &str) {
    assert!(!found.iter().any(|finding| finding.starts_with(begins)), "{begins:?} is there: {found:#?}");
}

fn controller() -> Value {
    let mut pod = super::application("none", "sleep 600");
    pod["metadata"] = json!({"name": "snapshot-controller"});
    pod["spec"]["containers"][0]["image"] = "registry.example.org/sig-storage/snapshot-controller:v8".into();
    pod["spec"]["containers"][0]["volumeMounts"] = json!([]);
    pod["spec"]["volumes"] = json!([]);
    pod
}

/// A cluster with a claim of CSI storage, our namespace, and everything that it takes.
async fn world() -> World {
    let world = World::new(HOME).await;
    world.namespace("backup").await;
    world.application_of("csi-hostpath-sc", "media", "data", "true").await;
    world.kube.make("backup", controller());
    let ready = |state: &State| {
        let pod = state.object("pods", "backup", "snapshot-controller");
        pod.is_some_and(|pod| pod["status"]["conditions"].to_string().contains("\"Ready\""))
    };
    world.kube.until("the controller is ready", ready).await;
    world
}

/// What of the requests could have changed something.
pub(crate) fn writes(seen: &[String]) -> Vec<&String> {
    let changes = |seen: &&String| {
        let review = seen.contains("/selfsubjectaccessreviews");
        !seen.starts_with("GET ") && !review && !seen.contains("dryRun=All")
    };
    seen.iter().filter(changes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_namespaces_and_nodes_are_told_and_nothing_is_written() {
    let world = world().await;
    let before = world.kube.seen().len();
    let ran = world.preflight(&[]).await.exits(0);
    assert_eq!(told(&ran.json()), Vec::<String>::new());
    let seen = world.kube.seen();
    assert_eq!(writes(&seen[before..]), Vec::<&String>::new());
    assert!(
        seen[before..]
            .iter()
            .any(|seen| seen.starts_with("POST /api/v1/namespaces/backup/pods?") && seen.contains("dryRun=All"))
    );

    // As people see it.
    let human = world.run(&["preflight", "backup", "--no-progress"]).await.exits(0).out;
    assert!(
        human.contains("fine      pvc/media/data: read by a snapshot") && human.contains("0 block, 0 doubtful"),
        "{human}"
    );

    world.edit("nodes", "", "lab-node", |node| {
        node["spec"]["unschedulable"] = true.into();
        let pressure =
            json!({"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure", "message": "full"});
        node["status"]["conditions"].as_array_mut().unwrap().push(pressure);
    });
    let found = world.found().await;
    has(&found, "blocks nodes the cluster", &["no node takes pods"]);
    has(&found, "doubtful nodes node lab-node: is cordoned", &["kubectl uncordon lab-node"]);
    has(&found, "doubtful nodes node lab-node: has DiskPressure", &["KubeletHasDiskPressure: full"]);
    world.edit("nodes", "", "lab-node", |node| {
        node["spec"] = json!({});
        node["status"]["conditions"].as_array_mut().unwrap().pop();
        node["status"]["conditions"][0]["status"] = "Unknown".into();
    });
    has(&world.found().await, "doubtful nodes node lab-node: is not ready", &["kubectl describe node lab-node"]);
    world.edit("nodes", "", "lab-node", |node| node["status"]["conditions"][0]["status"] = "True".into());

    // A claim that nobody can read, and one left out.
    world.kube.make("media", super::claim_of("idle", "local-path"));
    has(&world.found().await, "blocks claims pvc/media/idle", &["it has no volume yet", "homelab-dr.io/backup"]);
    world.configure(&format!("{HOME}, exclude: [media/idle]"));

    world.delete("/apis/snapshot.storage.k8s.io/v1/volumesnapshotclasses/csi-hostpath-snapclass").await;
    world.delete("/api/v1/namespaces/backup/pods/snapshot-controller?gracePeriodSeconds=0").await;
    world.kube.until("it is gone", |state| state.object("pods", "backup", "snapshot-controller").is_none()).await;
    let found = world.found().await;
    has(
        &found,
        "doubtful snapshots hostpath.csi.k8s.io",
        &["has no VolumeSnapshotClass", "kind: VolumeSnapshotClass", "driver: hostpath.csi.k8s.io"],
    );
    has(
        &found,
        "doubtful snapshots the snapshot controller",
        &["no pod has an image of that name", "external-snapshotter"],
    );
    // The mend can be pasted.
    let class = found.iter().find(|finding| finding.contains("kind: VolumeSnapshotClass")).unwrap();
    let class: Value = serde_saphyr::from_str(class.split_once("(kubectl create -f -):\n").unwrap().1).expect("YAML");
    world.kube.make("", class);
    lacks(&world.found().await, "doubtful snapshots hostpath.csi.k8s.io");

    // Without the definitions nothing of that is there: one finding, and the way that is left.
    world
        .delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/volumesnapshotclasses.snapshot.storage.k8s.io")
        .await;
    let gone = |state: &State| state.kind("snapshot.storage.k8s.io/v1", "VolumeSnapshotClass").is_none();
    world.kube.until("the kind is gone", gone).await;
    let ran = world.preflight(&[]).await.exits(0);
    let found = told(&ran.json());
    assert_eq!(found.len(), 1, "{found:#?}");
    has(
        &found,
        "doubtful snapshots hostpath.csi.k8s.io: takes no snapshots: the cluster knows no VolumeSnapshots",
        &["external-snapshotter/client/config/crd | kubectl create -f -", "snapshot-controller"],
    );
    assert!(
        ran.out.contains("read by a clone, because hostpath.csi.k8s.io clones volumes; no snapshot: "),
        "{}",
        ran.out
    );

    // An image of no version.
    world.configure(", namespace: backup, exclude: [media/idle], image: 'nas.lan:5000/homelab-dr'");
    has(
        &world.found().await,
        "doubtful image nas.lan:5000/homelab-dr: is whatever",
        &["nas.lan:5000/homelab-dr@sha256:"],
    );

    world.configure(", namespace: nowhere, exclude: [media/idle]");
    has(&world.found().await, "blocks namespace namespace nowhere", &["kubectl create namespace nowhere"]);
    world.configure(", exclude: [media/idle]");
    has(&world.found().await, "doubtful snapshots hostpath.csi.k8s.io", &["no namespace of homelab-dr's own"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_to_the_movers_pod_is_told() {
    let world = World::new(", mode: root").await;
    world.application("media", "data", "true").await;
    let found = world.found().await;
    has(
        &found,
        "blocks trial pods in namespace media",
        &[
            "for pvc/media/data",
            "violates PodSecurity \"restricted:latest\"",
            "kubectl label namespace media pod-security.kubernetes.io/enforce=baseline --overwrite",
        ],
    );
    world.edit("namespaces", "", "media", |space| {
        space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "baseline".into();
    });
    assert_eq!(world.found().await, Vec::<String>::new());

    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}},
    });
    world.kube.make("media", quota);
    has(
        &world.found().await,
        "blocks trial pods in namespace media",
        &["exceeded quota: small", "kubectl -n media describe resourcequota"],
    );
    world.delete("/api/v1/namespaces/media/resourcequotas/small").await;

    // A webhook that fails closed, and whose service is not there.
    let hook = |change: &dyn Fn(&mut Value)| {
        let mut hook = json!({
            "name": "pods.kyverno.example", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
            "clientConfig": {"service": {"namespace": "kyverno", "name": "svc", "path": "/"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
        });
        change(&mut hook);
        json!({
            "apiVersion": format!("{REGISTRATION}/v1"), "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "kyverno"}, "webhooks": [hook],
        })
    };
    const PATH: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/kyverno";
    world.kube.make("", hook(&|_| {}));
    let found = world.found().await;
    has(
        &found,
        "blocks webhooks webhook pods.kyverno.example",
        &[
            "refuses CREATE pods in media",
            "its service kyverno/svc has no endpoint",
            "kubectl delete validatingwebhookconfigurations.admissionregistration.k8s.io kyverno",
        ],
    );
    has(&found, "blocks trial pods in namespace media", &["failed calling webhook \"pods.kyverno.example\""]);
    world.delete(PATH).await;
    world.kube.make("", hook(&|hook| hook["failurePolicy"] = "Ignore".into()));
    assert_eq!(world.found().await, Vec::<String>::new());
    world.delete(PATH).await;
    world.kube.make(
        "",
        hook(&|hook| {
            hook["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}});
        }),
    );
    assert_eq!(world.found().await, Vec::<String>::new());
    world.delete(PATH).await;
    // One that answers, and denies; and one that cannot be tried.
    world.kube.make("", hook(&|_| {}));
    world.kube.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kyverno"}}));
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "svc-1", "labels": {"kubernetes.io/service-name": "svc"}},
        "endpoints": [{"addresses": ["192.0.2.7"], "conditions": {"ready": true}}],
    });
    world.kube.make("kyverno", slice);
    world
        .kube
        .faults(|faults| faults.answer_for_webhook("pods.kyverno.example", Webhook::Denies("no latest tag".into())));
    let found = world.found().await;
    lacks(&found, "blocks webhooks");
    has(&found, "blocks trial pods in namespace media", &["denied the request: no latest tag", "homelab-dr-mover"]);
    world.edit("validatingwebhookconfigurations.admissionregistration.k8s.io", "", "kyverno", |object| {
        object["webhooks"][0]["sideEffects"] = "Some".into();
    });
    has(&world.found().await, "doubtful trial pods in namespace media", &["does not support dry run", "--probe"]);
    world.kube.faults(|faults| faults.answer_for_webhook("pods.kyverno.example", Webhook::Allows));
    world.edit("validatingwebhookconfigurations.admissionregistration.k8s.io", "", "kyverno", |object| {
        object["webhooks"][0]["sideEffects"] = "None".into();
    });
    assert_eq!(world.found().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_of_cilium_and_apis_that_do_not_answer_are_told() {
    let world = World::new("").await;
    world.application("media", "data", "true").await;
    super::cilium::install(&world).await;
    assert_eq!(world.found().await, Vec::<String>::new());
    let policy = |selector: Value| {
        json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy", "metadata": {"name": "no-world"},
            "spec": {"endpointSelector": selector, "egressDeny": [{"toEntities": ["all"]}]},
        })
    };
    world.kube.make("", policy(json!({})));
    let found = world.found().await;
    has(
        &found,
        "blocks network ciliumclusterwidenetworkpolicies.cilium.io no-world",
        &["egressDeny", "values: [homelab-dr-mover]"],
    );
    // As the mend says.
    world.edit("ciliumclusterwidenetworkpolicies.cilium.io", "", "no-world", |policy| {
        let except = json!({"key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["homelab-dr-mover"]});
        policy["spec"]["endpointSelector"] = json!({"matchExpressions": [except]});
    });
    assert_eq!(world.found().await, Vec::<String>::new());

    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.acme.example"},
        "spec": {
            "group": "acme.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"namespace": "acme", "name": "api"},
        },
    });
    world.kube.make("", service);
    world.edit("apiservices.apiregistration.k8s.io", "", "v1.acme.example", |service| {
        let away = json!({"type": "Available", "status": "False", "reason": "ServiceNotFound", "message": "service/api in \"acme\" is not present"});
        service["status"] = json!({"conditions": [away]});
    });
    let found = world.found().await;
    has(
        &found,
        "doubtful apis apiservices.apiregistration.k8s.io v1.acme.example",
        &["ServiceNotFound", "kubectl delete apiservice v1.acme.example"],
    );
    world.delete("/apis/apiregistration.k8s.io/v1/apiservices/v1.acme.example").await;
    assert_eq!(world.found().await, Vec::<String>::new());
    world.edit("customresourcedefinitions.apiextensions.k8s.io", "", "ciliumnodes.cilium.io", |definition| {
        let service = json!({"namespace": "acme", "name": "convert", "path": "/"});
        definition["spec"]["conversion"] = json!({
            "strategy": "Webhook", "webhook": {"clientConfig": {"service": service}, "conversionReviewVersions": ["v1"]},
        });
    });
    has(
        &world.found().await,
        "doubtful apis customresourcedefinitions.apiextensions.k8s.io ciliumnodes.cilium.io",
        &["acme/convert"],
    );
}

pub(super) fn block(page: &str, mark: &str) -> Value {
    let (_, rest) = page.split_once(mark).expect("the block is marked");
    serde_saphyr::from_str(rest.split_once("\n```").expect("closed").0).expect("a manifest")
}

/// Looks again and again with the account of the kubeconfig: within this process, which takes less time than the program does.
pub(super) async fn looking(world: &World, more: &str) -> impl AsyncFn() -> Vec<String> {
    let api = Api::open(Some(&world.lab.path("kubeconfig")), None).await.unwrap();
    let text = format!("sources: {{all: {{volumes: {{image: '{IMAGE}'{more}}}}}}}");
    let config = crate::configuration::read(text.as_bytes()).config.expect("a configuration");
    let SourceKind::Volumes(source) = config.sources[0].kind.clone() else { panic!("it is volumes") };
    async move || {
        let reach = Reach::of("192.0.2.9", 9000);
        let wanted = Wanted {
            volumes: vec![(&source, Vec::new())],
            resources: Vec::new(),
            commands: Vec::new(),
            reach: &reach,
            whole: false,
        };
        let mut findings = Findings::default();
        backup::look(&api, &wanted, &mut findings).await.expect("it answers");
        told(&serde_json::to_value(&findings).unwrap())
    }
}

/// With each rule of the documented roles taken away there is a finding that names it; with all of them there is none.
#[tokio::test(flavor = "multi_thread")]
async fn each_missing_rule_is_told_and_no_other() {
    let world = world().await;
    super::cilium::install(&world).await;
    let mut role = block(VOLUMES, "```yaml rights\n");
    let more = block(include_str!("../../../docs/preflight.md"), "```yaml rights\n");
    role["rules"].as_array_mut().unwrap().extend(more["rules"].as_array().unwrap().iter().cloned());
    let config = crate::cluster::capture::kubeconfig_of(&world.kube, role.clone()).await;
    std::fs::write(world.lab.path("kubeconfig"), config).unwrap();
    let look = looking(&world, HOME).await;
    assert_eq!(look().await, Vec::<String>::new());
    let name = role["metadata"]["name"].as_str().unwrap().to_owned();
    let rules = role["rules"].as_array().unwrap();
    for number in 0..rules.len() {
        let mut fewer = rules.clone();
        let rule = fewer.remove(number);
        let resources: Vec<&str> =
            rule["resources"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        world.edit("clusterroles.rbac.authorization.k8s.io", "", &name, |role| role["rules"] = fewer.clone().into());
        let found = look().await;
        if resources == ["csistoragecapacities"] {
            // Before a restore only.
            assert_eq!(found, Vec::<String>::new());
            continue;
        }
        let told = |resource: &&str| found.iter().any(|finding| finding.contains(&format!("resources: [{resource}]")));
        assert!(resources.iter().any(told), "{rule}: {found:#?}");
        let of_backup = number < rules.len() - more["rules"].as_array().unwrap().len();
        let blocks = found.iter().any(|finding| finding.starts_with("blocks rights"));
        assert_eq!(blocks, of_backup && resources != ["events"], "{rule}: {found:#?}");
    }
}

/// Group, resource and verb of a request, as roles name them.
pub(crate) fn right_of(seen: &str) -> Option<(String, String, String)> {
    let (method, rest) = seen.split_once(' ')?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let group = match parts.remove(0) {
        "api" => "",
        "apis" if parts.len() > 1 => parts.remove(0),
        _ => return None,
    };
    // The version; without one it is a look at which there are.
    parts.first()?;
    parts.remove(0);
    if parts.first() == Some(&"namespaces") && parts.len() > 2 {
        parts.drain(..2);
    }
    let (resource, name, sub) = match parts.as_slice() {
        [] => return None,
        [resource] => (*resource, false, ""),
        [resource, _] => (*resource, true, ""),
        [resource, _, sub, ..] => (*resource, true, *sub),
    };
    let resource = if sub.is_empty() { resource.to_owned() } else { format!("{resource}/{sub}") };
    let verb = match (method, name) {
        ("GET", false) if query.contains("watch=") => "watch",
        ("GET", false) => "list",
        ("GET", true) => "get",
        ("POST", _) => "create",
        ("PATCH", _) => "patch",
        ("PUT", _) => "update",
        _ => "delete",
    };
    Some((group.to_owned(), resource, verb.to_owned()))
}

/// What a backup really asks of the server is what preflight asks for, and nothing that it never does.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_are_asked_for_are_those_that_a_backup_uses() {
    let world = world().await;
    super::cilium::install(&world).await;
    for claim in ["cloned", "live"] {
        world.application_of("csi-hostpath-sc", "media", claim, "true").await;
        let way = if claim == "cloned" { "clone" } else { "live" };
        world.edit("persistentvolumeclaims", "media", claim, |claim| {
            claim["metadata"]["annotations"]["homelab-dr.io/mode"] = way.into();
        });
    }
    let before = world.kube.seen().len();
    world.backup(&[]).await.exits(0);
    let seen = world.kube.seen();
    let used: BTreeSet<_> = seen[before..].iter().filter_map(|seen| right_of(seen)).collect();
    let all = OfVolumes {
        anywhere: true,
        home: Some("backup".into()),
        cilium: true,
        snapshots: true,
        ..OfVolumes::default()
    };
    let asked: BTreeSet<_> =
        all.needs().into_iter().map(|need| (need.right.group, need.right.resource, need.right.verb)).collect();
    // What earlier runs left held is looked for by all, and who has no hooks needs no right to it.
    let journals = ("".to_owned(), "configmaps".to_owned(), "list".to_owned());
    let missing: Vec<_> = used.difference(&asked).filter(|right| **right != journals).collect();
    assert!(missing.is_empty(), "used and not asked for: {missing:?}");
    // Only in trouble: words of errors, a heartbeat after five minutes, what is left of earlier runs, a connection of an older server.
    let rare = |(_, resource, verb): &&(String, String, String)| {
        matches!(
            (resource.as_str(), verb.as_str()),
            ("events", _)
                | ("pods", "patch")
                | ("pods/attach", _)
                | ("configmaps", _)
                | ("persistentvolumes", "patch" | "get")
                | ("persistentvolumeclaims", "patch")
        )
    };
    let idle: Vec<_> = asked.difference(&used).filter(|right| !rare(right)).collect();
    assert!(idle.is_empty(), "asked for and not used: {idle:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_starts_a_pod_that_reaches_the_store_and_nothing_stays() {
    let world = World::new("").await;
    world.application("media", "data", "true").await;
    world.application("office", "data", "true").await;
    let pods = world.watch(|state, seen: &mut BTreeSet<String>| {
        for pod in state.objects("pods").iter().filter(|pod| super::is_ours(pod)) {
            assert!(pod["spec"]["volumes"].to_string().contains("scratch"));
            assert!(
                !pod["spec"]["volumes"].to_string().contains("persistentVolumeClaim"),
                "it mounts no volume: {pod}"
            );
            seen.insert(pod["metadata"]["namespace"].as_str().unwrap().to_owned());
        }
    });
    let names = world.lab.names();
    let ran = world.preflight(&["--probe"]).await.exits(0);
    assert!(ran.out.contains("a mover starts here and reaches the repository"), "{}", ran.out);
    assert_eq!(pods.lock().unwrap().iter().collect::<Vec<_>>(), ["media", "office"]);
    world.is_clean().await;
    assert_eq!(world.lab.names(), names, "it writes nothing");
    pods.lock().unwrap().clear();
    world.preflight(&["--probe=media"]).await.exits(0);
    assert_eq!(pods.lock().unwrap().iter().collect::<Vec<_>>(), ["media"]);
    world.preflight(&["--probe=nowhere"]).await.exits(2);

    world.configure(", image: 'absent:1', start-timeout: 2s");
    let ran = world.preflight(&["--probe=media"]).await.exits(7);
    has(&told(&ran.json()), "blocks probe namespace media", &["ImagePullBackOff", "absent:1", "pull secrets"]);
    world.is_clean().await;
    // A key of another repository: the mover says it, from where it runs.
    world.configure("");
    let recipient = world.run(&["keys", "new", "--out", "other"]).await.exits(0).out.trim().to_owned();
    let init = ["init", "--repo", "elsewhere", "--recipient", &recipient, "--writer-key", "other.writer"];
    world.run(&init).await.exits(0);
    let ran = world.preflight(&["--probe=media", "--writer-key-file", "other.writer"]).await.exits(7);
    has(
        &told(&ran.json()),
        "blocks probe namespace media",
        &["the mover says", "not the expected", "another repository"],
    );
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_answer_and_a_wrong_call_are_told() {
    let world = World::new("").await;
    world.run(&["preflight", "backup", "--source", "nothing"]).await.exits(2);
    let config = world.kube.kubeconfig().replace(&world.kube.token(), "wrong");
    std::fs::write(world.lab.path("kubeconfig"), config).unwrap();
    let ran = world.preflight(&[]).await.exits(1);
    assert!(
        ran.out.contains("cannot look at the cluster") || ran.err.contains("cannot look at the cluster"),
        "{}{}",
        ran.out,
        ran.err
    );
}
