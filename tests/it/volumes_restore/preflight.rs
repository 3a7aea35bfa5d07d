//! `preflight restore` where volumes are filled: what movers would meet is told before, with its mend, and nothing is written but by a probe.

use std::collections::BTreeSet;

use homelab_dr::preflight::needs::OfVolumes;

use super::*;
use crate::volumes_backup::preflight::{has, lacks, right_of, told, writes};

impl Disaster {
    async fn preflight(&self, more: &[&str]) -> Ran {
        let args = ["preflight", "restore", "latest:cluster", "--cluster", "--kubeconfig", "new", "--json"];
        self.world.run(&[&args[..], more].concat()).await
    }

    /// Changes an object of the cluster that will be lost.
    fn edit(&self, table: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        self.world.kube.shared.with(|state| {
            let object = state.object(table, namespace, name).unwrap();
            state.edit(&object, change);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_movers_would_meet_is_told_before_and_a_probe_tries_it() {
    let disaster = Disaster::new().await;
    let (world, new) = (&disaster.world, &disaster.new);
    world.application("media", "data", FINDS_OR_MAKES).await;
    world.application("home", "library", FINDS_OR_MAKES).await;
    world.backup(&["--source", "volumes"]).await.exits(0);
    // After the movers of the backup: what would refuse those of the restore.
    disaster.edit("persistentvolumeclaims", "home", "library", |claim| {
        claim["metadata"]["annotations"]["homelab-dr.io/mover-mode"] = "root".into();
    });
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"limits.memory": "256Mi"}},
    });
    world.kube.make("media", quota);
    world.backup(&["--source", "cluster"]).await.exits(0);

    let before = new.seen().len();
    let ran = disaster.preflight(&[]).await.exits(7);
    let found = told(&ran.json());
    has(
        &found,
        "blocks trial namespace home",
        &["refuses the mover for persistentvolumeclaims home/library", "is restricted", "mover-mode: app on the claim"],
    );
    has(
        &found,
        "blocks trial resourcequotas media/small",
        &["limits.memory: 256Mi, and a mover takes 512Mi", "--exclude 'media/resourcequotas/small'"],
    );
    has(&found, "doubtful plan persistentvolumeclaims media/data", &["is filled as user 1000", "enforce=baseline"]);
    has(
        &found,
        "doubtful space storage class local-path",
        &["lab-node gets ", " free on its kubelet's disk", "see df"],
    );
    assert!(ran.out.contains("its Pod Security (restricted) takes a mover's pod"), "{}", ran.out);
    assert!(ran.out.contains("rights that are needed"), "{}", ran.out);
    assert_eq!(writes(&new.seen()[before..]), Vec::<&String>::new());
    // A node without power takes nothing, and its kubelet says nothing.
    new.power_off("lab-node");
    let found = told(&disaster.preflight(&["--exclude", "resourcequotas"]).await.exits(7).json());
    has(&found, "blocks nodes persistentvolumeclaims media/data: would not be filled", &["no node that is ready"]);
    has(&found, "doubtful space storage class local-path", &["nobody says how much it has"]);
    new.power_on("lab-node");

    // The namespace is there: the server is asked.
    let restricted = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "home", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    });
    new.make("", restricted);
    open_namespace(new, "media").await;
    let home = ["--include", "home/*/*"];
    let found = told(&disaster.preflight(&home).await.exits(7).json());
    has(
        &found,
        "blocks trial pods in namespace home",
        &[
            "violates PodSecurity \"restricted:latest\"",
            "for persistentvolumeclaims home/library",
            "mover-mode: app on the claim",
        ],
    );
    // A namespace speaks for the claims that say nothing themselves.
    let media = ["--include", "media/*/*", "--exclude", "resourcequotas"];
    let says = |notes: Value, labels: Value| {
        new.shared.with(|state| {
            let space = state.object("namespaces", "", "media").unwrap();
            state.edit(&space, |space| {
                space["metadata"]["annotations"] = notes;
                space["metadata"]["labels"] = labels;
            });
        });
    };
    says(json!({"homelab-dr.io/mover-mode": "root"}), json!({"pod-security.kubernetes.io/enforce": "restricted"}));
    let found = told(&disaster.preflight(&media).await.exits(7).json());
    has(
        &found,
        "blocks trial pods in namespace media",
        &["violates PodSecurity", "for persistentvolumeclaims media/data"],
    );
    says(json!({"homelab-dr.io/mover-mode": "wheel"}), json!({}));
    let found = told(&disaster.preflight(&media).await.exits(7).json());
    has(&found, "blocks plan persistentvolumeclaims media/data: would not be filled", &["mover-mode", "\"wheel\""]);
    says(Value::Null, json!({}));
    // Under another name it is another namespace: one that enforces nothing, and another storage class.
    let found = told(
        &disaster
            .preflight(
                &[&home[..], &["--namespace", "home=media", "--storage-class", "local-path=csi-hostpath-sc"]].concat(),
            )
            .await
            .exits(0)
            .json(),
    );
    lacks(&found, "blocks");
    has(&found, "doubtful space storage class csi-hostpath-sc", &["nobody says how much it has"]);
    // Nothing says which image movers run; and a folder is nothing that they reach.
    let folder = world.lab.path("");
    let folder = folder.to_str().unwrap().trim_end_matches('/');
    std::fs::write(
        world.lab.path("homelab-dr.yaml"),
        format!("sources:\n  cluster: {{resources: {{kubeconfig: {folder}/kubeconfig}}}}\n"),
    )
    .unwrap();
    world.run(&["replicate", "--to", "copy", "--create"]).await.exits(0);
    let found = told(&disaster.preflight(&[&media[..], &["--repo", "copy"]].concat()).await.exits(7).json());
    has(&found, "blocks plan the movers that fill volumes", &["--mover-image IMAGE"]);
    has(&found, "blocks network the repository: is a folder", &["homelab-dr replicate --to s3://"]);

    // A pod that starts and reaches the store, and nothing stays of it.
    let probe = [&media[..], &["--mover-image", IMAGE, "--probe=media"]].concat();
    let ran = disaster.preflight(&probe).await.exits(0);
    assert!(ran.out.contains("a mover starts here and reaches the repository"), "{}", ran.out);
    disaster.is_clean().await;
    assert!(new.object("persistentvolumeclaims", "media", "data").is_none());
    disaster.preflight(&[&media[..], &["--mover-image", IMAGE, "--probe=nowhere"]].concat()).await.exits(2);
    disaster.configure("absent:1", "5s");
    let found = told(&disaster.preflight(&[&media[..], &["--probe"]].concat()).await.exits(7).json());
    has(&found, "blocks probe namespace media", &["ImagePullBackOff", "absent:1"]);
    disaster.is_clean().await;
}

/// What filling really asks of the server is what preflight asks for, and nothing that it never does.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_are_asked_for_are_those_that_filling_uses() {
    let disaster = Disaster::new().await;
    let world = &disaster.world;
    world.application("media", "data", FINDS_OR_MAKES).await;
    world.backup(&[]).await.exits(0);
    open_namespace(&disaster.new, "media").await;
    let before = disaster.new.seen().len();
    disaster.restore(&["--include", "media/persistentvolumeclaims/data"]).await.exits(0);
    let seen = disaster.new.seen();
    let used: BTreeSet<_> = seen[before..].iter().filter_map(|seen| right_of(seen)).collect();
    let of = OfVolumes { anywhere: true, cilium: true, snapshots: true, ..OfVolumes::default() };
    let needs = of.needs_to_fill().into_iter().chain(OfVolumes::needs_of_lease());
    let asked: BTreeSet<_> = needs.map(|need| (need.right.group, need.right.resource, need.right.verb)).collect();
    let missing: Vec<_> = used.difference(&asked).collect();
    assert!(missing.is_empty(), "used and not asked for: {missing:?}");
    // Only in trouble: words of errors, a heartbeat after five minutes, a lease that is renewed, a connection of an older server. And Cilium is not here: nobody finds its policies.
    let rare = |(_, resource, verb): &&(String, String, String)| {
        matches!(
            (resource.as_str(), verb.as_str()),
            ("events" | "pods/attach" | "ciliumnetworkpolicies", _) | ("pods" | "leases", "patch")
        )
    };
    let idle: Vec<_> = asked.difference(&used).filter(|right| !rare(right)).collect();
    assert!(idle.is_empty(), "asked for and not used: {idle:?}");
}
