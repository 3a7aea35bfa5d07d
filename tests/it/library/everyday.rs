//! Day-to-day troubles: the looks say what it is, a person decides, and what is done mends it.

use serde_json::json;

use super::stage::{Book, DEPLOYMENTS, Stage, is_ready, until_ready};
use crate::cli::Ran;
use crate::recover::run_of;
use crate::support::kube::state::State;

/// The looks that did not hold, and what they said.
#[track_caller]
fn found(ran: &Ran, steps: &[(&str, &str)]) {
    for (step, says) in steps {
        let line = ran.err.lines().find(|line| line.starts_with(&format!("[{step}] FAILED")));
        let line = line.unwrap_or_else(|| panic!("step {step} did not fail:\n{}", ran.err));
        assert!(line.contains(says), "{line}");
    }
    let failed = ran.err.lines().filter(|line| line.contains("] FAILED")).count();
    assert_eq!(failed, steps.len(), "{}", ran.err);
}

async fn an_image_that_is_nowhere(stage: &Stage) {
    let image = |image: &'static str| {
        move |app: &mut serde_json::Value| app["spec"]["template"]["spec"]["containers"][0]["image"] = image.into()
    };
    stage.change(DEPLOYMENTS, "media", "app", image("absent:1"));
    let waits = |state: &State| {
        let reason = |pod: &serde_json::Value| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
        };
        state.objects("pods").iter().any(|pod| reason(pod))
    };
    stage.kube().until("it waits for its image", waits).await;
    let set = [
        ("namespace", "media"),
        ("workload", "app"),
        ("registry", "localhost"),
        ("registry_port", stage.port.as_str()),
    ];
    let ran = stage
        .carries_out("kubeconfig", &Book { name: "image-pull", set: &set, options: &[] }, &["decide"])
        .await
        .exits(3);
    found(&ran, &[("pod", "Back-off pulling image \"absent:1\"")]);
    until_ready(stage.kube(), "media", "app").await;
    let app = stage.kube().object(DEPLOYMENTS, "media", "app").unwrap();
    assert_eq!(app["spec"]["template"]["spec"]["containers"][0]["image"], "test:1");
}

async fn a_certificate_whose_secret_was_emptied(stage: &Stage) {
    stage.change("secrets", "media", "photos-tls", |secret| secret["data"] = json!({"tls.crt": "", "tls.key": ""}));
    let pending = |state: &State| {
        let of = state.object("certificates.cert-manager.io", "media", "photos-tls").unwrap();
        of["status"]["conditions"][0]["status"] == "False"
    };
    stage.kube().until("it is pending", pending).await;
    let set = [
        ("namespace", "media"),
        ("certificate", "photos-tls"),
        ("secret_name", "photos-tls"),
        ("host", "localhost"),
        ("http_port", stage.port.as_str()),
    ];
    let book = Book { name: "certificate-pending", set: &set, options: &[] };
    let ran = stage.carries_out("kubeconfig", &book, &["decide"]).await.exits(3);
    found(&ran, &[("certificate", "Secret does not contain a certificate")]);
    let secret = stage.kube().object("secrets", "media", "photos-tls").unwrap();
    assert_eq!(secret["data"]["tls.crt"], data_encoding::BASE64.encode(b"a certificate"));
    assert!(!stage.kube().shared.with(|state| pending(state)));
}

async fn a_tunnel_with_another_token(stage: &Stage) {
    stage.change("secrets", "cloudflared", "cloudflared-token", |secret| {
        secret["data"]["token"] = data_encoding::BASE64.encode(b"worthless").into();
    });
    for replicas in [0, 1] {
        stage.change(DEPLOYMENTS, "cloudflared", "cloudflared", |of| of["spec"]["replicas"] = replicas.into());
        let is = move |state: &State| {
            let pods = state.objects("pods");
            pods.iter().filter(|pod| pod["metadata"]["namespace"] == "cloudflared").count() == replicas
        };
        stage.kube().until("its pods follow", is).await;
    }
    let broken = |state: &State| !is_ready(state, "cloudflared", "cloudflared");
    stage.kube().until("the connector fails", broken).await;
    let port = stage.port.as_str();
    let set = [("host", "localhost"), ("page_port", port), ("edge", "localhost"), ("edge_port", port)];
    let ran = stage
        .carries_out("kubeconfig", &Book { name: "tunnel-disconnected", set: &set, options: &[] }, &["decide"])
        .await
        .exits(3);
    found(&ran, &[("connector", "cloudflared")]);
    until_ready(stage.kube(), "cloudflared", "cloudflared").await;
    let secret = stage.kube().object("secrets", "cloudflared", "cloudflared-token").unwrap();
    assert_eq!(secret["data"]["token"], data_encoding::BASE64.encode(b"good"));
}

async fn a_volume_without_room(stage: &Stage) {
    let room = |free: u64| stage.kube().faults(|faults| faults.room("media/data", free << 20, 64 << 20));
    let pressure = |status: &'static str| {
        let node = stage.kube().object("nodes", "", "lab-node").unwrap();
        stage.kube().shared.with(|state| {
            state.edit(&node, |node| {
                let conditions = node["status"]["conditions"].as_array_mut().unwrap();
                conditions.retain(|condition| condition["type"] != "DiskPressure");
                conditions.push(json!({"type": "DiskPressure", "status": status, "reason": "KubeletHasDiskPressure"}));
            });
        });
    };
    room(1);
    pressure("True");
    let set = [("namespace", "media"), ("claim", "data"), ("workload", "app"), ("node", "lab-node")];
    let ran = stage.carries_out("kubeconfig", &Book { name: "disk-full", set: &set, options: &[] }, &[]).await.exits(8);
    found(&ran, &[("volume", "media/data has 1% free"), ("node", "DiskPressure is True")]);
    // Nobody makes room by himself: said too early, it is seen.
    let run = run_of(&ran.out);
    room(32);
    pressure("False");
    let ran = stage.goes_on("kubeconfig", &run, &["room"]).await.exits(3);
    assert!(ran.err.contains("media/data has 50% free"), "{}", ran.err);
    assert!(ran.err.contains("[alive] done"), "{}", ran.err);
}

async fn a_page_behind_which_nothing_is_ready(stage: &Stage) {
    // It hangs: fresh pods help.
    let pod = stage.kube().shared.with(|state| {
        let pods = state.objects("pods");
        pods.iter().find(|pod| pod["metadata"]["labels"]["app"] == "app").map(|pod| (**pod).clone()).unwrap()
    });
    stage.kube().shared.with(|state| {
        state.edit(&pod, |pod| {
            for condition in pod["status"]["conditions"].as_array_mut().unwrap() {
                if condition["type"] == "Ready" {
                    condition["status"] = "False".into();
                }
            }
        });
    });
    stage.kube().until("nothing is ready", |state| !is_ready(state, "media", "app")).await;
    let set = [("host", "localhost"), ("port", stage.port.as_str()), ("namespace", "media"), ("workload", "app")];
    let ran = stage
        .carries_out("kubeconfig", &Book { name: "page-unavailable", set: &set, options: &[] }, &["decide"])
        .await
        .exits(3);
    found(&ran, &[("application", "media/deployments.apps/app")]);
    until_ready(stage.kube(), "media", "app").await;
    let name = pod["metadata"]["name"].as_str().unwrap();
    // It may still be on its way out when the fresh one is ready.
    stage.kube().until("the pod is a fresh one", |state| state.object("pods", "media", name).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn day_to_day_troubles_are_found_and_mended() {
    let stage = Stage::new().await;
    an_image_that_is_nowhere(&stage).await;
    a_certificate_whose_secret_was_emptied(&stage).await;
    a_tunnel_with_another_token(&stage).await;
    a_volume_without_room(&stage).await;
    a_page_behind_which_nothing_is_ready(&stage).await;
    assert!(!stage.is_suspended());
}
