//! The manifests of `deploy/`: a server takes them, their rights are those of the documents and no more, and what the job runs does its work with them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::Ran;
use crate::support::kube::state::text;
use crate::volumes_backup::{IMAGE, World};
use crate::volumes_restore::FINDS_OR_MAKES;

const HOME: &str = env!("CARGO_MANIFEST_DIR");
/// What a person writes a value of their own for.
const PLACEHOLDER: &str = "IMAGE";
/// In the order of `kubectl apply -f`: namespaces come first.
const FILES: [&str; 5] = ["namespaces.yaml", "rights.yaml", "settings.yaml", "network.yaml", "backup.yaml"];

fn manifests() -> Vec<Value> {
    let read = |file: &str| std::fs::read_to_string(Path::new(HOME).join("deploy").join(file)).unwrap();
    let one = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    FILES.iter().flat_map(|file| read(file).split("\n---\n").map(one).collect::<Vec<_>>()).collect()
}

fn of_kind<'a>(all: &'a [Value], kind: &str) -> Vec<&'a Value> {
    all.iter().filter(|object| object["kind"] == kind).collect()
}

/// The role of a page.
fn documented(page: &str) -> Value {
    let (_, rest) = page.split_once("```yaml rights\n").expect("the block is marked");
    serde_saphyr::from_str(rest.split_once("\n```").expect("closed").0).expect("a manifest")
}

#[test]
fn the_roles_are_those_of_the_documents_and_are_bound_to_the_account_of_the_job() {
    let all = manifests();
    let mut listed: Vec<String> = std::fs::read_dir(Path::new(HOME).join("deploy"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "yaml"))
        .collect();
    listed.sort();
    let mut known = FILES.map(str::to_owned);
    known.sort();
    assert_eq!(listed, known, "every manifest is tried");
    let pages = [
        include_str!("../../docs/cluster.md"),
        include_str!("../../docs/volumes.md"),
        include_str!("../../docs/preflight.md"),
    ];
    let documented: BTreeMap<String, Value> =
        pages.map(documented).into_iter().map(|role| (text(&role["metadata"]["name"]).to_owned(), role)).collect();
    let roles = of_kind(&all, "ClusterRole");
    let given = roles.iter().map(|role| (text(&role["metadata"]["name"]).to_owned(), (*role).clone()));
    assert_eq!(given.collect::<BTreeMap<_, _>>(), documented);
    let [account] = of_kind(&all, "ServiceAccount")[..] else { panic!("one account") };
    for binding in of_kind(&all, "ClusterRoleBinding") {
        assert!(documented.contains_key(text(&binding["roleRef"]["name"])), "{binding}");
        assert_eq!(binding["subjects"].as_array().map(Vec::len), Some(1), "{binding}");
        assert_eq!(binding["subjects"][0]["name"], account["metadata"]["name"]);
        assert_eq!(binding["subjects"][0]["namespace"], account["metadata"]["namespace"]);
    }
    assert_eq!(of_kind(&all, "ClusterRoleBinding").len(), documented.len());
    let [job] = of_kind(&all, "CronJob")[..] else { panic!("one job") };
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    // One at a time, tried once, and not for ever late: what a second one would do the next night's does.
    assert_eq!(job["spec"]["concurrencyPolicy"], "Forbid");
    assert_eq!(job["spec"]["jobTemplate"]["spec"]["backoffLimit"], 0);
    assert!(job["spec"]["startingDeadlineSeconds"].as_u64().is_some_and(|seconds| seconds >= 600), "{job}");
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
    assert_eq!(pod["containers"][0]["image"], PLACEHOLDER, "whose registry it is nobody but the user knows");
    // What it reads is what is there.
    let volumes: BTreeMap<&str, &Value> =
        pod["volumes"].as_array().unwrap().iter().map(|one| (text(&one["name"]), one)).collect();
    for (kind, name) in
        [("ConfigMap", &volumes["settings"]["configMap"]["name"]), ("Secret", &volumes["keys"]["secret"]["secretName"])]
    {
        assert!(of_kind(&all, kind).iter().any(|object| object["metadata"]["name"] == *name), "{kind}");
    }
}

/// The commands of the unit that rehearses, those too that stand there to be chosen.
fn drills() -> Vec<String> {
    let unit = std::fs::read_to_string(Path::new(HOME).join("deploy/homelab-dr-drill.service")).unwrap();
    let of = |line: &str| line.trim_start_matches('#').strip_prefix("ExecStart=").map(str::to_owned);
    let commands: Vec<String> = unit.lines().filter_map(of).collect();
    assert_eq!(commands.len(), 2, "with a cluster, and without");
    let reference = [include_str!("../../docs/cli.md"), include_str!("../../docs/recover.md")].concat();
    for name in unit.lines().filter_map(|line| line.strip_prefix("Environment=")) {
        let name = name.split_once('=').expect("a value").0;
        assert!(["KUBECONFIG", "AWS_SHARED_CREDENTIALS_FILE"].contains(&name) || reference.contains(name), "{name}");
    }
    commands
}

/// What is said to be in a file is there: each key of the secret by its path in the container.
#[test]
fn the_secret_is_where_the_configuration_and_the_job_look_for_it() {
    let all = manifests();
    let container = pod_of(of_kind(&all, "CronJob")[0])["spec"]["containers"][0].clone();
    let mounts = container["volumeMounts"].as_array().unwrap();
    let at = |name: &str| {
        let mount = mounts.iter().find(|mount| mount["name"] == name).expect("mounted");
        text(&mount["mountPath"]).to_owned()
    };
    let settings = text(&of_kind(&all, "ConfigMap")[0]["data"]["homelab-dr.yaml"]).to_owned();
    let told = format!("{settings}{}{}", container["env"], container["args"]);
    for file in of_kind(&all, "Secret")[0]["stringData"].as_object().unwrap().keys() {
        assert!(told.contains(&format!("{}/{file}", at("keys"))), "nobody reads {file}");
    }
    assert!(told.contains(&format!("{}/homelab-dr.yaml", at("settings"))));
    // One mount in another that is read-only cannot be made.
    let paths: Vec<String> = ["keys", "settings", "scratch"].map(at).to_vec();
    let nested = |one: &String| paths.iter().any(|other| one != other && one.starts_with(&format!("{other}/")));
    assert!(!paths.iter().any(nested), "{paths:?}");
}

/// The pod of the job, as its controller would make it.
fn pod_of(job: &Value) -> Value {
    let template = &job["spec"]["jobTemplate"]["spec"]["template"];
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    pod["metadata"]["name"] = "backup-1".into();
    pod
}

async fn tried(world: &World, pod: &Value) -> Result<Value, String> {
    let path = format!("{}/api/v1/namespaces/homelab-dr/pods?dryRun=All", world.kube.url());
    let request = http::Request::post(path).header("content-type", "application/json");
    let answer = crate::kube::client(&world.kube).request(request.body(pod.to_string().into_bytes()).unwrap()).await;
    answer.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_the_manifests_and_the_account_can_do_what_the_job_does() {
    let world = World::new("").await;
    let all = manifests();
    for object in &all {
        let namespace = text(&object["metadata"]["namespace"]);
        if !namespace.is_empty() {
            let has_account = |state: &crate::support::kube::state::State| {
                state.object("serviceaccounts", namespace, "default").is_some()
            };
            world.kube.until("the namespace", has_account).await;
        }
        world.kube.make(namespace, object.clone());
    }
    // Pod Security takes the job's pod, and is really asked.
    let pod = pod_of(of_kind(&all, "CronJob")[0]);
    tried(&world, &pod).await.expect("it is taken");
    let mut other = pod.clone();
    other["spec"]["containers"][0]["securityContext"]["capabilities"] = json!({"add": ["SYS_ADMIN"]});
    assert!(tried(&world, &other).await.is_err_and(|why| why.contains("PodSecurity")), "the namespace is closed");

    // A volume that is read where it is, and one by a snapshot that is handed over.
    world.application("media", "data", FINDS_OR_MAKES).await;
    world.application_of("csi-hostpath-sc", "media", "library", FINDS_OR_MAKES).await;
    let token = crate::kube::token_of(&world.kube, "homelab-dr", "homelab-dr").await;
    let kubeconfig = world.kube.kubeconfig().replace(&world.kube.token(), &token);
    std::fs::write(world.lab.path("owner"), world.kube.kubeconfig()).unwrap();
    std::fs::write(world.lab.path("kubeconfig"), kubeconfig).unwrap();
    let settings = of_kind(&all, "ConfigMap")[0]["data"]["homelab-dr.yaml"].as_str().unwrap();
    let read = crate::configuration::read(settings.as_bytes());
    assert!(read.config.is_some_and(|config| config.sources.len() == 2), "{:?}", read.findings);
    let (_, sources) = settings.split_once("sources:").unwrap();
    let sources = format!("sources:{}", sources.replace(PLACEHOLDER, IMAGE));
    std::fs::write(world.lab.path("homelab-dr.yaml"), sources).unwrap();
    let run = async |args: &[&str]| {
        let mut command = world.lab.command(args);
        command.env("KUBECONFIG", world.lab.path("kubeconfig"));
        Ran::of(&tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("it runs"))
    };
    let found = run(&["preflight", "backup", "--json"]).await.json();
    let rights = found["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == "rights");
    let (fine, others): (Vec<&Value>, Vec<&Value>) = rights.partition(|finding| finding["severity"] == "fine");
    assert!(!fine.is_empty() && others.is_empty() && found["blocks"] == 0, "{found:#}");
    let made = run(&["backup", "--no-progress", "--json"]).await.exits(0).json();
    assert!(made.to_string().contains("pvc/media/library"), "{made:#}");
    let used = |object: &Value| text(&object["metadata"]["namespace"]).starts_with("homelab-dr");
    let left =
        world.kube.shared.with(|state| state.objects("persistentvolumeclaims").iter().filter(|it| used(it)).count());
    assert_eq!(left, 0, "nothing of it stays");
    for command in drills() {
        let mut args: Vec<String> = command.split_whitespace().skip(1).map(str::to_owned).collect();
        for arg in &mut args {
            *arg =
                arg.replace("NAMESPACE", "media").replace("/var/lib/homelab-dr", text(&json!(world.lab.path("var"))));
            *arg = arg.replace("/etc/homelab-dr", &format!("{HOME}/runbooks"));
        }
        let mut command = world.lab.command(&args.iter().map(String::as_str).chain(["--plan"]).collect::<Vec<_>>());
        command.env("KUBECONFIG", world.lab.path("owner")).env("HOMELAB_DR_RUNS", world.lab.path("runs"));
        let planned = Ran::of(&tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("it runs"));
        assert!(planned.exits(0).out.contains("media"), "{args:?}");
    }
}
