//! The cluster part: what is captured of a cluster, against the test API server.

pub(crate) mod capture;
mod coverage;
pub(crate) mod delete;
mod faults;
mod homelabs;
mod limits;
pub(crate) mod restore;
mod salt;

use serde_json::{Value, json};

use crate::cli::config::configured;
use crate::cli::{Home, Ran, program};
use crate::support::kube::server::KubeServer;

/// A home whose configuration has the objects of the cluster as its source `cluster`, and leaves its volumes out; `rest` is added to its fields.
fn home(server: &KubeServer, rest: &str) -> Home {
    let home = configured(&format!(
        "sources:\n  cluster: {{resources: {{kubeconfig: DIR/kubeconfig, volumes-elsewhere: true{rest}}}}}\n"
    ));
    std::fs::write(home.path("kubeconfig"), server.kubeconfig()).unwrap();
    home
}

/// Runs the program with the configuration and the identity, while the server goes on.
async fn run(home: &Home, args: &[&str]) -> Ran {
    let mut command = program();
    command.current_dir(home.dir()).args(args);
    if !["backup", "ls"].contains(&args[0]) {
        command.env("HOMELAB_DR_IDENTITY_FILE", "key");
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    Ran::of(&output.expect("it runs"))
}

fn map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}
