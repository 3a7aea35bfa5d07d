//! What is tried in a real cluster. Each test makes its own namespaces.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{CLASS, CSI_CLASS, IMAGE, REPO, Real, TEST, typed, variable};

/// The only program that there is for certain: it writes a file, and says what has to be in it.
fn writes(file: &str) -> [String; 5] {
    ["keys", "new", "--quiet", "--out", &format!("/data/{file}")].map(str::to_owned)
}

/// The row of a source.
#[track_caller]
fn row<'a>(document: &'a Value, source: &str) -> &'a Value {
    let rows = document["sources"].as_array().unwrap_or_else(|| panic!("{document}"));
    rows.iter().find(|row| row["source"] == source).unwrap_or_else(|| panic!("no {source}: {document}"))
}

/// The newest snapshot of a claim has a file that is the identity of this recipient.
async fn is_identity(real: &Real, source: &str, file: &str, recipient: &str) {
    let identity = real.run(&["cat", &format!("latest:{source}:{file}")]).await.exits(0).out;
    assert!(identity.contains("AGE-SECRET-KEY-1") && identity.contains(recipient.trim()), "{source}: another file");
}

async fn no_mover(real: &Real, namespace: &str) {
    let pods = real.pods(namespace).list(&ListParams::default().labels("homelab-dr.io/run")).await.unwrap();
    assert_eq!(pods.items.len(), 0, "no mover is left in {namespace}");
}

/// Everything is captured; a namespace of ours comes back beside itself, under another name.
#[tokio::test(flavor = "multi_thread")]
async fn resources_come_back_in_another_namespace() {
    let Some(real) = Real::from_env(&[], None).await else { return };
    real.test(async {
        let (from, to) = (real.namespace("from").await, format!("{}-to", real.name));
        let maps = |namespace: &str| Api::<ConfigMap>::namespaced(real.client.clone(), namespace);
        let secrets = |namespace: &str| Api::<Secret>::namespaced(real.client.clone(), namespace);
        let map = typed(json!({"metadata": {"name": "app", "labels": real.labels()}, "data": {"on": "yes", "text": "a: 1\n\ttab\n"}}));
        maps(&from).create(&PostParams::default(), &map).await.unwrap();
        let secret = typed(json!({"metadata": {"name": "login", "labels": real.labels()}, "stringData": {"password": "hunter2"}}));
        secrets(&from).create(&PostParams::default(), &secret).await.unwrap();
        real.configure("  cluster: {resources: {kubeconfig: 'KUBECONFIG', volumes-elsewhere: true}}\n");
        // 3: of a living cluster something may not answer, which is no fault of ours.
        let ran = real.run(&["backup"]).await;
        assert!([0, 3].contains(&ran.code), "{}{}", ran.out, ran.err);
        let shown = format!("latest:cluster:resources/core/ConfigMap/{from}/app.yaml");
        let manifest = real.run(&["cat", &shown]).await.exits(0).out;
        let manifest: Value = serde_saphyr::from_str(&manifest).unwrap();
        let live = maps(&from).get("app").await.unwrap();
        assert_eq!(manifest["metadata"]["uid"].as_str(), live.metadata.uid.as_deref());

        let (include, mapping) = (format!("{from}/*/*"), format!("{from}={to}"));
        let restore = [
            "restore",
            "latest:cluster",
            "--cluster",
            "--kubeconfig",
            &real.kubeconfig,
            "--yes",
            "--include",
            &include,
            "--namespace",
            &mapping,
            "--json",
        ];
        let planned = real.run(&[&restore[..], &["--plan"]].concat()).await.exits(0);
        assert!(planned.json()["plan"]["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{}", planned.out);
        real.run(&restore).await.exits(0);
        assert_eq!(maps(&to).get("app").await.unwrap().data, live.data);
        let secret = secrets(&to).get("login").await.unwrap();
        assert_eq!(secret.data.unwrap()["password"].0, b"hunter2");
        // Nothing is left to do.
        let again = real.run(&restore).await.exits(0).json();
        let left = again["plan"]["steps"].as_array().unwrap().iter().filter(|step| step["do"] == "create");
        assert_eq!(left.count(), 0, "{again}");
    })
    .await;
}

/// A claim that a pod has filled is read by a mover into the store; every other claim of the cluster is left out.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_comes_back_as_files() {
    let Some(real) = Real::from_env(&[IMAGE, REPO], variable(REPO).as_deref()).await else { return };
    real.test(async {
        let namespace = real.namespace("volumes").await;
        real.claim(&namespace, "data", variable(CLASS), &[]).await;
        let recipient = real.fill(&namespace, "data", &writes("identity")).await;
        let image = variable(IMAGE).unwrap();
        real.configure(&format!(
            "  all: {{volumes: {{kubeconfig: 'KUBECONFIG', image: '{image}', exclude: ['*/*'], resources-elsewhere: true}}}}\n"
        ));
        // 7: of a living cluster something else may be in the way.
        let ran = real.run(&["preflight", "backup", &format!("--probe={namespace}"), "--json"]).await;
        assert!([0, 7].contains(&ran.code), "{}{}", ran.out, ran.err);
        let document = ran.json();
        let probes: Vec<&Value> =
            document["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == "probe").collect();
        assert!(probes.len() == 1 && probes[0]["severity"] == "fine", "{probes:?}");

        let source = format!("pvc/{namespace}/data");
        let document = real.run(&["backup", "--json"]).await.exits(0).json();
        assert_eq!(row(&document, &source)["result"], "done", "{document}");
        is_identity(&real, &source, "identity", &recipient).await;
        no_mover(&real, &namespace).await;
    })
    .await;
}

/// An application is scaled to zero for a backup and comes back, its volume is brought to an earlier snapshot in place, and all of it comes back beside itself.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_held_restored_in_place_and_brought_back_beside_itself() {
    let Some(real) = Real::from_env(&[IMAGE, REPO], variable(REPO).as_deref()).await else { return };
    real.test(async {
        let (home, from) = (real.namespace("home").await, real.namespace("app").await);
        let (to, source) = (format!("{}-copy", real.name), format!("pvc/{from}/data"));
        let image = variable(IMAGE).unwrap();
        real.configure(&format!(
            "  cluster: {{resources: {{kubeconfig: 'KUBECONFIG'}}}}\n  \
             volumes: {{volumes: {{kubeconfig: 'KUBECONFIG', image: '{image}', namespace: {home}, exclude: ['*/*']}}}}\n"
        ));
        real.claim(&from, "data", variable(CLASS), &[("homelab-dr.io/hook", "scale"), ("homelab-dr.io/mode", "live")]).await;
        let first = real.fill(&from, "data", &writes("first")).await;
        let document = real.run(&["backup", "--source", "volumes", "--json"]).await.exits(0).json();
        let before = row(&document, &source)["snapshot"].as_str().unwrap().to_owned();

        let second = real.fill(&from, "data", &writes("second")).await;
        real.start(&from).await;
        // 3: of a living cluster something may not answer, which is no fault of ours.
        let ran = real.run(&["backup", "--json"]).await;
        assert!([0, 3].contains(&ran.code), "{}{}", ran.out, ran.err);
        let document = ran.json();
        let of_claim = row(&document, &source);
        assert_eq!((&of_claim["result"], &of_claim["held"]["how"]), (&json!("done"), &json!("scaled to zero")), "{of_claim}");
        real.until_up(&from).await;
        is_identity(&real, &source, "second", &second).await;

        let claim = format!("{from}/data");
        let place = ["--kubeconfig", &real.kubeconfig, "--mover-image", &image, "--yes", "--json"];
        let in_place = ["restore", &before, "--into-claim", &claim, "--in-place"];
        let report = real.run(&[&in_place[..], &place].concat()).await.exits(0).json();
        assert_eq!(report["report"]["volume"]["outcome"], "restored", "{report}");
        assert!(report["report"]["safety_copy"].is_string(), "{report}");
        real.until_up(&from).await;

        let (include, mapping) = (format!("{from}/*/*"), format!("{from}={to}"));
        let beside = ["restore", "latest:cluster", "--cluster", "--include", &include, "--namespace", &mapping, "--wait=4m"];
        let report = real.run(&[&beside[..], &place].concat()).await.exits(0).json();
        let volumes = report["report"]["volumes"].as_array().unwrap();
        assert!(volumes.len() == 1 && volumes[0]["outcome"] == "restored", "{report}");
        real.until_up(&to).await;

        // In place it is as it was at first; the copy is of the second backup.
        let document = real.run(&["backup", "--source", "volumes", "--json"]).await.exits(0).json();
        let of_copy = format!("pvc/{to}/data");
        for source in [&source, &of_copy] {
            assert_eq!(row(&document, source)["result"], "done", "{document}");
            is_identity(&real, source, "first", &first).await;
        }
        is_identity(&real, &of_copy, "second", &second).await;
        let listed = real.run(&["ls", &format!("latest:{source}")]).await.exits(0).out;
        assert!(listed.contains("first") && !listed.contains("second"), "{listed}");
        for namespace in [&home, &from, &to] {
            no_mover(&real, namespace).await;
        }
    })
    .await;
}

/// What a command in its container does to a volume is done before that is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_its_container_holds_an_application() {
    let Some(real) = Real::from_env(&[IMAGE, REPO], variable(REPO).as_deref()).await else { return };
    real.test(async {
        let (home, namespace) = (real.namespace("home").await, real.namespace("held").await);
        let image = variable(IMAGE).unwrap();
        real.configure(&format!(
            "  all: {{volumes: {{kubeconfig: 'KUBECONFIG', image: '{image}', namespace: {home}, exclude: ['*/*'], resources-elsewhere: true}}}}\n"
        ));
        let making = |file: &str| json!(["homelab-dr", "keys", "new", "--quiet", "--out", file]).to_string();
        let (before, after) = (making("/data/held"), making("/data/released"));
        let hooks = [
            ("homelab-dr.io/hook-before", before.as_str()),
            ("homelab-dr.io/hook-after", after.as_str()),
            ("homelab-dr.io/mode", "live"),
        ];
        real.claim(&namespace, "data", variable(CLASS), &hooks).await;
        real.start(&namespace).await;
        let source = format!("pvc/{namespace}/data");
        let document = real.run(&["backup", "--json"]).await.exits(0).json();
        let of_claim = row(&document, &source);
        assert_eq!((&of_claim["result"], &of_claim["held"]["how"]), (&json!("done"), &json!("command")), "{of_claim}");
        let listed = async || real.run(&["ls", &format!("latest:{source}")]).await.exits(0).out;
        let first = listed().await;
        assert!(first.contains("held") && !first.contains("released"), "{first}");
        // It never overwrites a file: the hook fails, and what was not held is not taken.
        let annotate = async |annotations: Value| {
            let change = json!({"metadata": {"annotations": annotations}});
            real.claims(&namespace).patch("data", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
        };
        annotate(json!({"homelab-dr.io/hook-after": null})).await;
        let document = real.run(&["backup", "--json"]).await.exits(1).json();
        let of_claim = row(&document, &source);
        assert_eq!((&of_claim["result"], &of_claim["snapshot"]), (&json!("failed"), &Value::Null), "{of_claim}");
        // What was done after the first is there for whoever asks without a hook.
        annotate(json!({"homelab-dr.io/hook": "none", "homelab-dr.io/hook-before": null})).await;
        real.run(&["backup"]).await.exits(0);
        let last = listed().await;
        assert!(last.contains("held") && last.contains("released"), "{last}");
        no_mover(&real, &namespace).await;
        real.until_up(&namespace).await;
    })
    .await;
}

/// A program in a container whose output is backed up: all of it, or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_made_in_a_container_is_whole_or_none() {
    let Some(real) = Real::from_env(&[IMAGE], None).await else { return };
    real.test(async {
        let namespace = real.namespace("dump").await;
        real.claim(&namespace, "data", variable(CLASS), &[]).await;
        real.start(&namespace).await;
        let configure = |argv: &[&str], more: &str| {
            let place = format!(
                "kubeconfig: 'KUBECONFIG', namespace: {namespace}, labels: {{{TEST}: {}}}, container: app",
                real.name
            );
            let argv = json!(argv);
            real.configure(&format!("  dump: {{command: {{in: {{{place}}}, argv: {argv}, file: said.txt{more}}}}}\n"));
        };
        let version = ["homelab-dr", "--version"];
        configure(&version, ", ends-with: homelab-dr");
        real.run(&["preflight", "backup"]).await.exits(0);
        real.run(&["backup"]).await.exits(0);
        let said = real.run(&["cat", "latest:dump:said.txt"]).await.exits(0).out;
        assert!(said.starts_with("homelab-dr ") && said.ends_with('\n') && said.lines().count() == 1, "{said}");
        for (argv, more, why) in [
            (&version[..], ", ends-with: the end", "has no \"the end\""),
            (&["homelab-dr", "no-such-command"], "", "ended with exit code 2"),
        ] {
            configure(argv, more);
            real.run(&["backup"]).await.exits(1).says(&[why]);
        }
        // Some runtimes say of what they could not begin that it ended with an error.
        configure(&["no-such-program"], "");
        let said = real.run(&["backup"]).await.exits(1).err;
        assert!(said.contains("nothing was begun") || said.contains("ended with exit code"), "{said}");
        let snapshots = real.run(&["snapshots", "--json"]).await.exits(0).json();
        assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(1), "{snapshots}");
    })
    .await;
}

/// What was changed since the backup becomes as it was, also what no change can bring back.
#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_brought_back_or_made_anew() {
    let Some(real) = Real::from_env(&[], None).await else { return };
    real.test(async {
        let namespace = real.namespace("changed").await;
        let maps = Api::<ConfigMap>::namespaced(real.client.clone(), &namespace);
        let map = typed(json!({"metadata": {"name": "app", "labels": real.labels()}, "data": {"on": "yes"}}));
        maps.create(&PostParams::default(), &map).await.unwrap();
        let deployments = real.deployments(&namespace);
        // Nothing of it ever starts.
        let app = |selected: &str| {
            let mut labels = real.labels();
            labels["app"] = selected.into();
            let spec = json!({"containers": [{"name": "app", "image": "example.invalid/none:1"}]});
            typed(json!({
                "metadata": {"name": "app", "labels": real.labels()},
                "spec": {"replicas": 0, "selector": {"matchLabels": {"app": selected}}, "template": {"metadata": {"labels": labels}, "spec": spec}},
            }))
        };
        deployments.create(&PostParams::default(), &app("first")).await.unwrap();
        real.configure("  cluster: {resources: {kubeconfig: 'KUBECONFIG', volumes-elsewhere: true}}\n");
        // 3: of a living cluster something may not answer, which is no fault of ours.
        let ran = real.run(&["backup"]).await;
        assert!([0, 3].contains(&ran.code), "{}{}", ran.out, ran.err);

        let other = json!({"data": {"on": "no", "more": "x"}});
        maps.patch("app", &PatchParams::default(), &Patch::Merge(&other)).await.unwrap();
        deployments.delete("app", &DeleteParams::foreground()).await.unwrap();
        real.until("it is gone", || async { deployments.get_opt("app").await.unwrap().is_none().then_some(()) }).await;
        deployments.create(&PostParams::default(), &app("second")).await.unwrap();

        let include = format!("{namespace}/*/app");
        let restore = ["restore", "latest:cluster", "--cluster", "--kubeconfig", &real.kubeconfig, "--yes", "--include", &include];
        // A selector cannot be changed.
        real.run(&[&restore[..], &["--existing", "update"]].concat()).await.exits(3);
        let data = maps.get("app").await.unwrap().data.unwrap();
        assert_eq!(data.into_iter().collect::<Vec<_>>(), [("on".to_owned(), "yes".to_owned())]);
        let selected = async || {
            let spec = deployments.get("app").await.unwrap().spec.unwrap();
            spec.selector.match_labels.unwrap()["app"].clone()
        };
        assert_eq!(selected().await, "second");
        real.run(&[&restore[..], &["--existing", "recreate"]].concat()).await.exits(0);
        assert_eq!(selected().await, "first");
    })
    .await;
}

/// A snapshot and a clone of CSI volumes are read, and nothing of them stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_a_clone_are_read_and_nothing_of_them_stays() {
    let Some(real) = Real::from_env(&[IMAGE, REPO, CSI_CLASS], variable(REPO).as_deref()).await else { return };
    real.test(async {
        let (home, namespace) = (real.namespace("home").await, real.namespace("csi").await);
        let image = variable(IMAGE).unwrap();
        real.configure(&format!(
            "  all: {{volumes: {{kubeconfig: 'KUBECONFIG', image: '{image}', namespace: {home}, exclude: ['*/*'], resources-elsewhere: true}}}}\n"
        ));
        let mut written = Vec::new();
        for way in ["snapshot", "clone"] {
            real.claim(&namespace, way, variable(CSI_CLASS), &[("homelab-dr.io/mode", way)]).await;
            written.push((way, real.fill(&namespace, way, &writes("identity")).await));
        }
        let document = real.run(&["backup", "--json"]).await.exits(0).json();
        for (way, recipient) in &written {
            let source = format!("pvc/{namespace}/{way}");
            let of_claim = row(&document, &source);
            assert_eq!((&of_claim["result"], &of_claim["kind"]), (&json!("done"), &json!(format!("pvc, {way}"))), "{of_claim}");
            is_identity(&real, &source, "identity", recipient).await;
        }
        for space in [&home, &namespace] {
            no_mover(&real, space).await;
            let ours = ListParams::default().labels("homelab-dr.io/run");
            let copies = real.claims(space).list(&ours).await.unwrap();
            assert_eq!(copies.items.len(), 0, "no copy is left in {space}");
            for kind in ["VolumeSnapshot", "VolumeSnapshotContent"] {
                let all = real.snapshots(kind).list(&ListParams::default()).await.unwrap();
                let of_run = |object: &&kube::core::DynamicObject| {
                    let reference = &object.data["spec"]["volumeSnapshotRef"]["namespace"];
                    [object.metadata.namespace.as_deref(), reference.as_str()].contains(&Some(space.as_str()))
                };
                let left: Vec<_> = all.items.iter().filter(of_run).collect();
                assert!(left.is_empty(), "{left:?}");
            }
        }
    })
    .await;
}

/// Flux and ArgoCD are looked at, whether they are there or not.
#[tokio::test(flavor = "multi_thread")]
async fn gitops_is_looked_at() {
    let Some(real) = Real::from_env(&[], None).await else { return };
    let ran = real.run(&["gitops", "status", "--kubeconfig", &real.kubeconfig, "--json"]).await.exits(0);
    assert!(ran.json()["objects"].is_array(), "{}", ran.out);
}
