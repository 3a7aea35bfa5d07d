//! A real kubectl against the test server. Lane `kube`. Before 1.31 kubectl speaks only SPDY to exec and attach, and the server does not: the lane leaves
//! those tests out then, and counts them as ignored.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::kube::phase;
use crate::support::kube::server::{KubeServer, Options};

struct Kubectl {
    program: String,
    config: tempfile::NamedTempFile,
    cache: tempfile::TempDir,
}

impl Kubectl {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(self.config.path()).arg("--cache-dir").arg(self.cache.path()).args(arguments);
        command
    }

    /// Runs in a thread of its own: the server is in this process.
    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output().unwrap()).await.unwrap()
    }

    async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn write(folder: &Path, name: &str, object: &serde_json::Value) -> String {
    let path = folder.join(name);
    std::fs::write(&path, object.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server that takes everybody for an administrator, and kubectl for it.
async fn server() -> (KubeServer, Kubectl) {
    let server = KubeServer::start(Options { open: true, ..Options::default() }).await;
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), server.kubeconfig()).unwrap();
    let program = std::env::var("HOMELAB_DR_KUBECTL").unwrap_or_else(|_| "kubectl".into());
    let kubectl = Kubectl { program, config, cache: tempfile::tempdir().unwrap() };
    server
        .until("the default service account", |state| state.object("serviceaccounts", "default", "default").is_some())
        .await;
    (server, kubectl)
}

/// A pod `p` that runs.
async fn pod(server: &KubeServer, kubectl: &Kubectl, folder: &Path) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "x:1", "command": ["sh", "-c", "echo started; sleep 60"]}],
        },
    });
    kubectl.ok(&["create", "--validate=false", "-f", &write(folder, "pod.json", &pod)]).await;
    phase(server, "p", "Running").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kubectl of at least 1.31: lane kube"]
async fn lane_kube_exec_by_a_real_kubectl() {
    let (server, kubectl) = server().await;
    pod(&server, &kubectl, tempfile::tempdir().unwrap().path()).await;
    let executed = kubectl.run(&["exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]).await;
    assert_eq!(executed.status.code(), Some(3), "{executed:?}");
    assert_eq!(String::from_utf8_lossy(&executed.stdout), "out\n");
    assert!(String::from_utf8_lossy(&executed.stderr).starts_with("err\n"), "{executed:?}");
}

/// What is typed arrives in the container, and what it says comes back until it ends.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kubectl of at least 1.31: lane kube"]
async fn lane_kube_exec_and_attach_by_a_real_kubectl() {
    let (server, kubectl) = server().await;
    let folder = tempfile::tempdir().unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "c", "image": "x:1", "stdin": true, "stdinOnce": true,
                "command": ["sh", "-c", "while read -r line; do echo \"heard $line\"; done; echo over"],
            }],
        },
    });
    kubectl.ok(&["create", "--validate=false", "-f", &write(folder.path(), "pod.json", &pod)]).await;
    phase(&server, "p", "Running").await;
    let mut attach = kubectl.command(&["attach", "-i", "-q", "p"]);
    let mut attach = attach.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut attach.stdin.take().unwrap(), b"one\ntwo  words\n").unwrap();
    let attached = tokio::task::spawn_blocking(move || attach.wait_with_output().unwrap()).await.unwrap();
    assert!(attached.status.success(), "{attached:?}");
    assert_eq!(String::from_utf8_lossy(&attached.stdout), "heard one\nheard two  words\nover\n", "{attached:?}");
    phase(&server, "p", "Succeeded").await;
    assert_eq!(kubectl.ok(&["logs", "p"]).await, "heard one\nheard two  words\nover\n");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kubectl: lane kube"]
async fn lane_kube_a_real_kubectl_works() {
    let (server, kubectl) = server().await;
    let folder = tempfile::tempdir().unwrap();
    let resources = kubectl.ok(&["api-resources"]).await;
    assert!(resources.contains("volumesnapshots") && resources.contains("deployments"), "{resources}");
    let nodes = kubectl.ok(&["get", "nodes", "-o", "wide"]).await;
    assert!(nodes.contains("lab-node"), "{nodes}");

    // Apply twice: made, then unchanged; a watch beside it sees both.
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}, "data": {"a": "1"}});
    let file = write(folder.path(), "map.json", &map);
    let mut watch = kubectl.command(&["get", "configmaps", "--watch-only", "-o", "name", "--request-timeout=8s"]);
    let watching = tokio::task::spawn_blocking(move || watch.output().unwrap());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let applied = kubectl.ok(&["apply", "--validate=false", "--server-side", "-f", &file]).await;
    assert!(applied.contains("serverside-applied"), "{applied}");
    kubectl.ok(&["apply", "--validate=false", "--server-side", "-f", &file]).await;
    let mut theirs = map.clone();
    theirs["data"]["a"] = "2".into();
    let theirs = write(folder.path(), "other.json", &theirs);
    let other =
        kubectl.run(&["apply", "--validate=false", "--server-side", "--field-manager=other", "-f", &theirs]).await;
    assert!(!other.status.success(), "somebody else's field");
    assert!(String::from_utf8_lossy(&other.stderr).contains("conflict with \"kubectl\": .data.a"), "{other:?}");
    assert_eq!(kubectl.ok(&["get", "configmap", "m", "-o", "jsonpath={.data.a}"]).await, "1");
    let table = kubectl.ok(&["get", "configmaps"]).await;
    assert!(
        table.lines().any(|line| line.starts_with("NAME") && line.contains("DATA") && line.contains("AGE")),
        "{table}"
    );
    // Client-side apply and edits use strategic merge.
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "default"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "x:1", "command": ["sleep", "60"]}]}},
        },
    });
    let file = write(folder.path(), "deployment.json", &deployment);
    kubectl.ok(&["apply", "--validate=false", "-f", &file]).await;
    kubectl.ok(&["rollout", "status", "deployment/d", "--timeout=20s"]).await;
    kubectl.ok(&["set", "env", "deployment/d", "A=1"]).await;
    kubectl.ok(&["apply", "--validate=false", "-f", &file]).await;
    kubectl.ok(&["scale", "deployment/d", "--replicas=0"]).await;
    kubectl.ok(&["wait", "--for=delete", "pod", "-l", "app=d", "--timeout=20s"]).await;

    pod(&server, &kubectl, folder.path()).await;
    assert_eq!(kubectl.ok(&["logs", "p"]).await, "started\n");
    let described = kubectl.ok(&["describe", "pod", "p"]).await;
    assert!(described.contains("Scheduled") && described.contains("Started"), "{described}");
    kubectl.ok(&["delete", "pod", "p"]).await;
    kubectl.ok(&["delete", "-f", &file, "--cascade=foreground"]).await;
    // From a file: what kubectl makes up itself it sends as protobuf, which the server does not read.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    kubectl.ok(&["create", "--validate=false", "-f", &write(folder.path(), "namespace.json", &namespace)]).await;
    kubectl.ok(&["delete", "namespace", "n"]).await;
    assert!(!kubectl.run(&["get", "configmap", "absent"]).await.status.success());

    let seen = String::from_utf8_lossy(&watching.await.unwrap().stdout).into_owned();
    assert!(seen.contains("configmap/m"), "{seen}");
}
