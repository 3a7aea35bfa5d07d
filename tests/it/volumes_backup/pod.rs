//! The manifests of a mover's pod, as they were reviewed. `HOMELAB_DR_BLESS=1 cargo test --test it volumes_backup::pod` writes them.

use std::time::Duration;

use homelab_dr::volumes::pod::{PodPlan, Rights};
use serde_json::{Value, json};

use super::IMAGE;
use crate::support::kube::server::{KubeServer, Options};
use crate::support::kube::state::{Caller, How};

fn plan(rights: Rights) -> PodPlan {
    PodPlan {
        name: "homelab-dr-0123456789-0".into(),
        namespace: "media".into(),
        claim: "data".into(),
        run: "0123456789".into(),
        expires: "2026-11-01T04:00:00Z".into(),
        image: IMAGE.into(),
        rights,
        fills: false,
        device: false,
        reaches: false,
        node: Some("lab-node".into()),
        tolerations: vec![
            json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}),
        ],
        pull_secrets: vec![json!({"name": "registry"})],
        deadline: Duration::from_hours(24),
        silence: Duration::from_mins(10),
    }
}

fn application() -> PodPlan {
    let rights = Rights::Application { user: 1000, group: Some(1001), groups: vec![2000] };
    PodPlan { node: None, tolerations: Vec::new(), pull_secrets: Vec::new(), ..plan(rights) }
}

fn fills(plan: PodPlan) -> PodPlan {
    PodPlan { fills: true, ..plan }
}

#[test]
fn manifests_are_as_they_were_reviewed() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/volumes_backup/golden");
    let bless = std::env::var_os("HOMELAB_DR_BLESS").is_some();
    for (name, plan) in [
        ("application", application()),
        ("root", plan(Rights::Root)),
        ("privileged", plan(Rights::Privileged)),
        ("fills-application", fills(application())),
        ("fills-root", fills(plan(Rights::Root))),
        ("device", PodPlan { device: true, ..application() }),
        ("fills-device", fills(PodPlan { device: true, ..plan(Rights::Root) })),
    ] {
        let (golden, text) = (dir.join(format!("{name}.json")), format!("{:#}\n", plan.manifest()));
        if bless {
            std::fs::write(&golden, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert!(text == expected, "the pod of {name} changed; review it, then bless:\n{text}");
    }
}

/// Each level of Pod Security lets in what it is for, and no other.
#[tokio::test]
async fn each_level_lets_in_what_it_is_for() {
    let server = KubeServer::start(Options { still: true, ..Options::default() }).await;
    for level in ["restricted", "baseline", "privileged"] {
        let labels = json!({"pod-security.kubernetes.io/enforce": level});
        server
            .make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": level, "labels": labels}}));
        server.make(level, json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}));
    }
    let lets_in = |level: &str, plan: &PodPlan| {
        let manifest = PodPlan { namespace: level.into(), ..plan.clone() }.manifest();
        server.shared.with(|state| {
            let pods = state.kind("v1", "Pod").unwrap();
            let how = How { dry_run: true, ..How::default() };
            state.create(&Caller::system("test"), &pods, level, manifest, &how).map_err(|status| status.body)
        })
    };
    for (plan, levels) in [
        (application(), [true, true, true]),
        (fills(application()), [true, true, true]),
        (fills(plan(Rights::Root)), [false, true, true]),
        (PodPlan { device: true, ..application() }, [true, true, true]),
        (fills(PodPlan { device: true, ..plan(Rights::Root) }), [false, true, true]),
        (plan(Rights::Root), [false, true, true]),
        (plan(Rights::Privileged), [false, false, true]),
    ] {
        let found = ["restricted", "baseline", "privileged"].map(|level| lets_in(level, &plan));
        let taken: Vec<bool> = found.iter().map(Result::is_ok).collect();
        assert_eq!(taken, levels, "{found:?}");
    }
    let manifest: Value = application().manifest();
    assert!(manifest["spec"]["nodeName"].is_null() && manifest["spec"]["securityContext"]["fsGroup"].is_null());
}
