//! A volume comes back where it is: what uses it stands still, what was in it is kept, and only what differs is written.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::process::{Child, Stdio};

use super::*;
use crate::volumes_backup::hooks::{deployed, is_let_go, nothing_is_held, until_back, workload};

pub(super) const DEPLOYMENTS: &str = "deployments.apps";
const LARGE_BYTES: usize = 8_000_000;

/// An application at work on a volume, of which there is a snapshot, and what somebody did to it since.
pub(super) struct Living {
    pub(super) world: World,
    /// As it was when it was backed up, but for what the application writes.
    pub(super) before: BTreeMap<PathBuf, Entry>,
    /// As it was when the restore began.
    pub(super) spoilt: BTreeMap<PathBuf, Entry>,
}

/// What a command says, be it an error or a result.
pub(super) fn said(ran: &Ran) -> String {
    format!("{}{}", ran.out, ran.err)
}

/// Without the lines that the application writes when it starts.
pub(super) fn picture(folder: &Path) -> BTreeMap<PathBuf, Entry> {
    whole(folder).into_iter().filter(|(path, _)| path != Path::new("starts") && path != Path::new("")).collect()
}

impl Living {
    pub(super) async fn new() -> Self {
        let world = World::new(", namespace: backup, start-timeout: 20s").await;
        deployed(&world, "local-path", &["data"]).await;
        Self::of(world, "data").await
    }

    pub(super) async fn of(world: World, claim: &str) -> Self {
        let folder = world.folder("media", claim);
        std::fs::write(folder.join("large"), noise(11, LARGE_BYTES)).unwrap();
        std::fs::write(folder.join("same"), noise(12, 200_000)).unwrap();
        std::fs::write(folder.join("gone"), "will be deleted").unwrap();
        std::fs::create_dir_all(folder.join("a/b")).unwrap();
        std::fs::write(folder.join("a/b/hello"), "hello").unwrap();
        world.backup(&[]).await.exits(0);
        let before = picture(&folder);
        let large = std::fs::File::options().write(true).open(folder.join("large")).unwrap();
        large.write_at(b"spoilt", 5_000_000).unwrap();
        std::fs::remove_file(folder.join("gone")).unwrap();
        std::fs::write(folder.join("a/b/hello"), "other").unwrap();
        std::fs::write(folder.join("extra"), "made since").unwrap();
        std::fs::create_dir(folder.join("a/more")).unwrap();
        std::fs::write(folder.join("a/more/deep"), "made since").unwrap();
        std::fs::create_dir(folder.join("lost+found")).unwrap();
        let spoilt = picture(&folder);
        Self { world, before, spoilt }
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.world.folder("media", "data")
    }

    pub(super) fn args<'a>(snapshot: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let args = ["restore", snapshot, "--into-claim", "media/data", "--in-place", "--kubeconfig", "kubeconfig"];
        [&args[..], &["--yes", "--no-progress", "--json"], more].concat()
    }

    pub(super) async fn restore(&self, more: &[&str]) -> Ran {
        self.world.run(&Self::args("latest:pvc/media/data", more)).await
    }

    pub(super) fn begin(&self, more: &[&str]) -> Child {
        let mut command = self.world.lab.command(&Self::args("latest:pvc/media/data", more));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
    }

    /// The volume is as it was when it was backed up, and its application is back.
    pub(super) async fn is_back(&self) {
        until_back(&self.world, DEPLOYMENTS).await;
        nothing_is_held(&self.world);
        let mut is = picture(&self.folder());
        is.remove(Path::new("lost+found"));
        assert!(is == self.before, "{:?} instead of {:?}", is.keys(), self.before.keys());
        let claim = self.world.kube.object("persistentvolumeclaims", "media", "data").unwrap();
        assert!(claim["metadata"]["annotations"]["homelab-dr.io/filling-in-place"].is_null(), "{claim}");
    }

    /// Nothing was written, and the application is back.
    pub(super) async fn is_untouched(&self) {
        until_back(&self.world, DEPLOYMENTS).await;
        nothing_is_held(&self.world);
        assert!(picture(&self.folder()) == self.spoilt);
    }
}

/// A Deployment with an autoscaler.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_written_and_what_was_there_can_be_gone_back_to() {
    let living = Living::new().await;
    let world = &living.world;
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"});
    world.kube.make(
        "media",
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "app"},
            "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3},
        }),
    );
    let inode = |name: &str| std::fs::metadata(living.folder().join(name)).unwrap().ino();
    let inodes = [inode("large"), inode("same")];
    let mut args = Living::args("latest:pvc/media/data", &["--plan"]);
    args.retain(|arg| *arg != "--json");
    let plan = world.run(&args).await.exits(0);
    for part in [
        "hold Deployment media/app: spec.replicas from 1 to 0",
        "spec.persistentVolumeReclaimPolicy from \"Delete\" to \"Retain\"",
        "HorizontalPodAutoscaler media/app leaves alone what is at zero",
        "back up what is in it, as a snapshot of pvc/media/data",
        "5 files",
    ] {
        assert!(plan.out.contains(part), "{part}: {}", plan.out);
    }
    assert!(whole(&living.folder()).contains_key(Path::new("extra")), "a plan changes nothing");
    let starts = std::fs::read_to_string(living.folder().join("starts")).unwrap();
    assert_eq!(starts, "start\n", "nothing was held either");

    let told = living.restore(&[]).await.exits(0).json();
    living.is_back().await;
    is_let_go(world).await;
    let volume = &told["report"]["volume"];
    assert_eq!(volume["outcome"], "restored", "{told:#}");
    assert_eq!(volume["restored"]["removed"], 2, "`extra` and `a/more`");
    let written = volume["restored"]["written"].as_u64().unwrap();
    assert!((100..300_000).contains(&written), "{written} bytes were written");
    assert_eq!([inode("large"), inode("same")], inodes, "they are the same files");
    assert!(living.folder().join("lost+found").exists());

    // What was there before is whole, and nobody takes it for the latest.
    let copy = told["report"]["safety_copy"].as_str().unwrap().to_owned();
    let extra = world.run(&["cat", &format!("{copy}:extra")]).await.exits(0);
    assert_eq!(extra.out, "made since");
    let listed = world.run(&["snapshots", "--json"]).await.exits(0).json();
    let tagged: Vec<&Value> = listed["snapshots"].as_array().unwrap().iter().collect();
    assert_eq!((tagged.len(), &tagged[1]["source"]), (2, &json!("pvc/media/data")), "{listed:#}");
    assert!(tagged[1]["tags"]["before-restore"].is_string(), "{listed:#}");
    let latest = world.run(&["cat", "latest:pvc/media/data:gone"]).await.exits(0);
    assert_eq!(latest.out, "will be deleted");
    let back = world.run(&Living::args(&copy, &["--no-safety-copy"])).await.exits(0).json();
    assert_eq!(back["report"]["volume"]["outcome"], "restored", "{back:#}");
    until_back(world, DEPLOYMENTS).await;
    let is = picture(&living.folder());
    assert!(is == living.spoilt, "{:?} instead of {:?}", is.keys(), living.spoilt.keys());
}

/// A volume is stored in the blocks that its source asks for, also by a mover; and the safety copy of a restore, which knows no configuration, in the same: nearly all of it is there already.
#[tokio::test(flavor = "multi_thread")]
async fn a_safety_copy_has_the_blocks_of_its_volume() {
    const MIB: u64 = 1 << 20;
    let world = World::new(", namespace: backup, start-timeout: 20s}, block-size: 1MiB, tags: {of: images").await;
    deployed(&world, "local-path", &["data"]).await;
    let image = world.folder("media", "data").join("image");
    let before = noise(11, 8 << 20);
    std::fs::write(&image, &before).unwrap();
    world.backup(&[]).await.exits(0);
    std::fs::File::options().write(true).open(&image).unwrap().write_all_at(b"spoilt", 5_000_000).unwrap();
    world.run(&Living::args("latest:pvc/media/data", &[])).await.exits(0);
    assert!(std::fs::read(&image).unwrap() == before);
    until_back(&world, DEPLOYMENTS).await;
    let listed = world.run(&["snapshots", "--json"]).await.exits(0).json();
    let new = |at: usize| listed["snapshots"][at]["statistics"]["bytes_new"].as_u64().expect("bytes");
    assert!(new(0) >= 8 * MIB, "{listed:#}");
    assert!((MIB..MIB + MIB / 4).contains(&new(1)), "the block that was spoilt: {listed:#}");
}

/// Scaled to zero this set deletes its claims, and its volumes go with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_deletes_its_claims_loses_nothing() {
    let world = World::new(", namespace: backup").await;
    world.namespace("media").await;
    world.namespace("backup").await;
    let mut set = workload("StatefulSet", &["data"]);
    set["spec"]["serviceName"] = "app".into();
    set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": "Delete"});
    set["spec"]["template"]["spec"]["volumes"].take();
    set["spec"]["volumeClaimTemplates"] = json!([claim_of("data", "local-path")]);
    world.kube.make("media", set);
    until_back(&world, "statefulsets.apps").await;
    let living = Living::of(world, "data-app-0").await;
    let world = &living.world;
    let uids = || {
        let claim = world.kube.object("persistentvolumeclaims", "media", "data-app-0").unwrap();
        let volume = world.kube.object("persistentvolumes", "", text(&claim["spec"]["volumeName"])).unwrap();
        [claim["metadata"]["uid"].clone(), volume["metadata"]["uid"].clone()]
    };
    let before = uids();
    // With the rights that the documents give.
    beside::limited(world, &["```yaml rights\n", "```yaml rights in place\n"]).await;
    let told = world
        .run(&[
            "restore",
            "latest:pvc/media/data-app-0",
            "--into-claim",
            "media/data-app-0",
            "--in-place",
            "--kubeconfig",
            "limited",
            "--yes",
            "--json",
        ])
        .await
        .exits(0)
        .json();
    assert_eq!(told["report"]["volume"]["outcome"], "restored", "{told:#}");
    until_back(world, "statefulsets.apps").await;
    is_let_go(world).await;
    assert_eq!(uids(), before);
    let set = world.kube.object("statefulsets.apps", "media", "app").unwrap();
    assert_eq!(set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"], "Delete");
    let mut is = picture(&world.folder("media", "data-app-0"));
    is.remove(Path::new("lost+found"));
    assert!(is == living.before, "{:?} instead of {:?}", is.keys(), living.before.keys());
}

/// Flux would scale it up again: it is paused with what made it, and goes on last.
#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_it_as_in_git_is_paused_and_goes_on() {
    let living = Living::new().await;
    let world = &living.world;
    let label =
        |name: &str| json!({"kustomize.toolkit.fluxcd.io/name": name, "kustomize.toolkit.fluxcd.io/namespace": "flux"});
    let edit = |name: &str| {
        world.kube.shared.with(|state| {
            let app = state.object(DEPLOYMENTS, "media", "app").unwrap();
            state.edit(&app, |app| app["metadata"]["labels"] = label(name));
        });
    };
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"type": "object", "properties": {"spec": free}});
    crate::gitops::world::define(
        &world.kube,
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "kustomizations.kustomize.toolkit.fluxcd.io"},
            "spec": {
                "group": "kustomize.toolkit.fluxcd.io", "scope": "Namespaced",
                "names": {"plural": "kustomizations", "singular": "kustomization", "kind": "Kustomization", "listKind": "KustomizationList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
            },
        }),
    )
    .await;
    open_namespace(&world.kube, "flux").await;
    for (name, labels) in [("all", json!({})), ("apps", label("all")), ("aside", json!({}))] {
        world.kube.make(
            "flux",
            json!({
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                "metadata": {"name": name, "labels": labels}, "spec": {"interval": "1m"},
            }),
        );
    }
    edit("lost");
    let ran = living.restore(&[]).await.exits(7);
    assert!(said(&ran).contains("cannot be found") && said(&ran).contains("gitops pause"), "{}", said(&ran));
    living.is_untouched().await;
    edit("apps");
    let suspended = world.watch(|state, seen: &mut std::collections::BTreeSet<Vec<String>>| {
        let all = state.objects("kustomizations.kustomize.toolkit.fluxcd.io");
        let paused = all.iter().filter(|object| object["spec"]["suspend"] == true);
        let at_zero = state.object(DEPLOYMENTS, "media", "app").is_some_and(|app| app["spec"]["replicas"] == 0);
        if at_zero {
            seen.insert(paused.map(|object| text(&object["metadata"]["name"]).to_owned()).collect());
        }
    });
    let told = living.restore(&[]).await.exits(0).json();
    assert_eq!(told["plan"]["paused"], json!(["Kustomization flux/all", "Kustomization flux/apps"]), "{told:#}");
    living.is_back().await;
    let seen: Vec<Vec<String>> = suspended.lock().unwrap().iter().cloned().collect();
    assert_eq!(seen, [["all", "apps"]], "whenever it was at zero");
    for name in ["all", "apps", "aside"] {
        let object = world.kube.object("kustomizations.kustomize.toolkit.fluxcd.io", "flux", name).unwrap();
        assert!(object["spec"]["suspend"].is_null() && object["metadata"]["annotations"].is_null(), "{object}");
    }
}

/// `ArgoCD` would heal it, and KEDA scale it up by its events: both are paused while it is at zero, and are as they were afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn who_heals_it_and_who_scales_it_by_events_are_paused() {
    let living = Living::new().await;
    let world = &living.world;
    for (group, version, kind) in [("argoproj.io", "v1alpha1", "Application"), ("keda.sh", "v1alpha1", "ScaledObject")]
    {
        let definition = crate::gitops::world::definition(group, version, kind, &json!({}));
        crate::gitops::world::define(&world.kube, definition).await;
    }
    open_namespace(&world.kube, "argocd").await;
    let automated = json!({"automated": {"prune": true, "selfHeal": true}});
    world.kube.make(
        "argocd",
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "home"},
            "spec": {"project": "default", "syncPolicy": automated},
        }),
    );
    let scaled = |name: &str| {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name},
            "spec": {"scaleTargetRef": {"name": name}, "minReplicaCount": 1},
        })
    };
    world.kube.make("media", scaled("app"));
    world.kube.make("media", scaled("other"));
    let tracked = |by: &str| {
        let id = format!("{by}:apps/Deployment:media/app");
        world.kube.shared.with(|state| {
            let app = state.object(DEPLOYMENTS, "media", "app").unwrap();
            state.edit(&app, |app| app["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = id.into());
        });
    };
    // Whoever it is cannot be found: it would be scaled up again.
    tracked("lost");
    let ran = living.restore(&[]).await.exits(7);
    assert!(said(&ran).contains("cannot be found") && said(&ran).contains("gitops pause"), "{}", said(&ran));
    living.is_untouched().await;
    tracked("home");
    const APPLICATIONS: &str = "applications.argoproj.io";
    const SCALED: &str = "scaledobjects.keda.sh";
    let seen = world.watch(|state, seen: &mut std::collections::BTreeSet<[String; 3]>| {
        if state.object(DEPLOYMENTS, "media", "app").is_some_and(|app| app["spec"]["replicas"] == 0) {
            let paused = |name: &str| {
                let object = state.object(SCALED, "media", name).unwrap();
                object["metadata"]["annotations"]["autoscaling.keda.sh/paused"].to_string()
            };
            let home = state.object(APPLICATIONS, "argocd", "home").unwrap();
            seen.insert([home["spec"]["syncPolicy"]["automated"].to_string(), paused("app"), paused("other")]);
        }
    });
    let told = living.restore(&[]).await.exits(0).json();
    assert_eq!(told["plan"]["paused"], json!(["Application argocd/home"]), "{told:#}");
    living.is_back().await;
    let seen: Vec<[String; 3]> = seen.lock().unwrap().iter().cloned().collect();
    assert_eq!(seen, [["null", "\"true\"", "null"]], "whenever it was at zero");
    let home = world.kube.object(APPLICATIONS, "argocd", "home").unwrap();
    assert_eq!(home["spec"]["syncPolicy"], automated, "{home}");
    for (table, namespace, name) in [(APPLICATIONS, "argocd", "home"), (SCALED, "media", "app")] {
        let object = world.kube.object(table, namespace, name).unwrap();
        assert!(object["metadata"]["annotations"].is_null(), "{object}");
    }
}
