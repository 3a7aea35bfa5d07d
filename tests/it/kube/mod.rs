//! The test API server itself, and what speaks to it.

mod client;
mod faults;
mod kubectl;
mod pods;
mod replay;
mod rules;
mod volumes;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::support::kube::server::{KubeServer, Options};

/// A server as tests want it: fast.
async fn server() -> KubeServer {
    KubeServer::start(Options::default()).await
}

/// A client with some token.
fn client_with(server: &KubeServer, token: &str) -> kube::Client {
    let mut config = kube::Config::new(server.url().parse().unwrap());
    config.auth_info.token = Some(token.to_owned().into());
    config.default_namespace = "default".into();
    kube::Client::try_from(config).unwrap()
}

/// The administrator's client.
pub(crate) fn client(server: &KubeServer) -> kube::Client {
    client_with(server, &server.token())
}

/// A pod of one container `c` that is not restarted.
fn pod(name: &str, container: Value) -> Pod {
    let mut spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]});
    spec["containers"][0]["name"] = "c".into();
    if spec["containers"][0]["image"].is_null() {
        spec["containers"][0]["image"] = "test:1".into();
    }
    // Volumes are named by their claims.
    let mounts = spec["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
    let volume = |mount: &Value| json!({"name": mount["name"], "persistentVolumeClaim": {"claimName": mount["name"]}});
    spec["volumes"] = mounts.iter().map(volume).collect();
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

async fn create_pod(server: &KubeServer, pod: &Pod) -> Api<Pod> {
    let pods: Api<Pod> = Api::default_namespaced(client(server));
    server
        .until("the default service account", |state| state.object("serviceaccounts", "default", "default").is_some())
        .await;
    pods.create(&PostParams::default(), pod).await.unwrap();
    pods
}

/// Waits for a phase of a pod in `default`.
async fn phase(server: &KubeServer, name: &str, phase: &str) -> Value {
    let is = |pod: &Value| pod["status"]["phase"] == phase;
    server
        .until(&format!("pod {name} is {phase}"), |state| {
            state.object("pods", "default", name).is_some_and(|pod| is(&pod))
        })
        .await;
    server.object("pods", "default", name).unwrap()
}

/// One request without any client's patience: kube-rs asks again by itself after 429 and 503.
async fn raw(server: &KubeServer, request: &str, headers: &str, body: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = server.url().trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        server.token(),
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    (status, answer)
}

/// The code of an error that the server gave.
fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("expected a refusal: {other:?}"),
    }
}

/// A token of a service account.
pub(crate) async fn token_of(server: &KubeServer, namespace: &str, account: &str) -> String {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let path = format!("{}/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", server.url());
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .unwrap();
    let answer: Value = client(server).request(request).await.unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}
