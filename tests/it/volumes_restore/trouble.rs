//! What goes wrong while volumes are filled, and what of it is left: a clear word for each volume, nothing that starts on half of its data, and another run goes on.

use super::*;
use crate::cluster::restore::outcome;
use crate::support::s3::Trouble;

/// A mover reads some hundred KiB of metadata before the first byte of content: seconds in which it can be met.
pub(super) const SLOW: [&str; 2] = ["--limit-download", "80KiB/s"];

pub(super) fn begin(disaster: &Disaster, more: &[&str]) -> std::process::Child {
    let args = ["restore", "latest:cluster", "--cluster", "--kubeconfig", "new", "--yes", "--no-progress", "--json"];
    disaster.world.lab.command(&[&args[..], more].concat()).spawn().expect("it runs")
}

/// Killed in the middle, then its mover is killed, then it is let be.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_holds_its_application_back_and_the_next_run_goes_on() {
    let disaster = Disaster::new().await;
    disaster.world.application("media", "data", FINDS_OR_MAKES).await;
    std::fs::write(disaster.world.folder("media", "data").join("large"), noise(7, 4_000_000)).unwrap();
    disaster.world.backup(&[]).await.exits(0);

    let mut first = begin(&disaster, &SLOW);
    let orphan = disaster.until_at_work().await["metadata"]["name"].clone();
    first.kill().unwrap();
    first.wait().unwrap();
    let pod = |name: &str| disaster.new.object("pods", "media", name);
    assert!(pod("app-data").is_none(), "nothing starts");
    let claim = disaster.new.object("persistentvolumeclaims", "media", "data").unwrap();
    assert!(claim["metadata"]["annotations"]["homelab-dr.io/filling"].is_string(), "{claim}");

    // The orphan still writes: it is taken away before another begins.
    let second = begin(&disaster, &SLOW);
    let other = |state: &crate::support::kube::state::State| {
        let pods = state.objects("pods");
        let names: Vec<_> = pods.iter().filter(|pod| is_ours(pod)).map(|pod| pod["metadata"]["name"].clone()).collect();
        !names.is_empty() && !names.contains(&orphan)
    };
    disaster.new.until("the orphan is gone and another is there", other).await;
    let mover = disaster.until_at_work().await;
    disaster.new.shared.with(|state| {
        state.pods.get(text(&mover["metadata"]["uid"])).and_then(|run| run.container("mover")).unwrap().kill();
    });
    let ran = disaster.world.end(second).await.exits(3);
    let document = ran.json();
    let of_volume = volume(&document, "media", "data");
    assert_eq!(of_volume["outcome"], "unknown");
    assert!(of_volume["why"].to_string().contains("ended without a result"), "{of_volume}");
    assert_eq!(outcome(&document, "media/persistentvolumeclaims/data"), "unknown");
    assert_eq!(outcome(&document, "media/pods/app-data"), "held", "{document:#}");
    assert!(document["report"]["rows"].to_string().contains("it uses media/data"), "{document:#}");
    assert!(pod("app-data").is_none(), "nothing starts");

    let ran = disaster.restore(&[]).await.exits(0);
    assert!(ran.out.contains("persistentvolumeclaims media/data: restored"), "{}", ran.out);
    assert_eq!(disaster.verdict("media", "data").await, "found");
    let (was, is) = (whole(&disaster.world.folder("media", "data")), whole(&disaster.folder("media", "data")));
    assert!(was == is, "{:?} {:?}", was.keys(), is.keys());
    assert!(disaster.movers().is_empty());
}

/// It would read what is not whole, and write into it.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_comes_in_the_middle_ends_the_filling() {
    let disaster = Disaster::new().await;
    disaster.world.application("media", "data", FINDS_OR_MAKES).await;
    std::fs::write(disaster.world.folder("media", "data").join("large"), noise(7, 4_000_000)).unwrap();
    disaster.world.backup(&[]).await.exits(0);
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(crate::kube::client(&disaster.new), "media");
    let early = || {
        let mut early = application("data", "sleep 600");
        early["metadata"]["name"] = "early".into();
        disaster.new.make("media", early);
    };
    let told = async |run: std::process::Child| {
        let document = disaster.world.end(run).await.exits(3).json();
        let of_volume = volume(&document, "media", "data");
        assert_eq!(of_volume["outcome"], "unknown", "{of_volume}");
        assert!(text(&of_volume["why"]).contains("pod early uses the claim"), "{of_volume}");
        assert_eq!(outcome(&document, "media/pods/app-data"), "held", "{document:#}");
        assert!(disaster.movers().is_empty());
    };
    let gone = async || {
        pods.delete("early", &kube::api::DeleteParams::default()).await.unwrap();
        disaster.new.until("it is gone", |state| state.object("pods", "media", "early").is_none()).await;
    };
    // This mover would never come to its end.
    disaster.new.faults(|faults| faults.hold_pods("media/homelab-dr-"));
    let first = begin(&disaster, &[]);
    disaster.new.until("a mover is there", |state| state.objects("pods").iter().any(|pod| is_ours(pod))).await;
    early();
    told(first).await;
    disaster.new.faults(|faults| faults.release_pods("media/homelab-dr-"));
    // It stays in the way until it is gone.
    let ran = disaster.restore(&[]).await.exits(3);
    assert!(ran.out.contains("pod early uses it and would start on a volume that is not filled yet"), "{}", ran.out);
    gone().await;
    // This one may be done before anybody looks again: then it is looked once more.
    let second = begin(&disaster, &SLOW);
    disaster.until_at_work().await;
    early();
    told(second).await;
    gone().await;
    disaster.restore(&[]).await.exits(0);
    assert_eq!(disaster.verdict("media", "data").await, "found");
    let (was, is) = (whole(&disaster.world.folder("media", "data")), whole(&disaster.folder("media", "data")));
    assert!(was == is, "{:?} {:?}", was.keys(), is.keys());
}

/// The disk was away when the newest backup was made: what was there before comes back, and that is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_disk_that_was_away_is_no_empty_volume() {
    let disaster = Disaster::new().await;
    let world = &disaster.world;
    world.application("media", "data", FINDS_OR_MAKES).await;
    let folder = world.folder("media", "data");
    world.backup(&[]).await.exits(0);
    let (was, aside) = (whole(&folder), folder.with_extension("away"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let ran = world.backup(&[]).await.exits(3);
    assert!(ran.err.contains("NOTHING WAS BACKED UP"), "{}", ran.err);
    std::fs::remove_dir(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();

    let newest = ["--volumes-at", "latest"];
    let plan = disaster.restore(&[&newest[..], &["--plan"]].concat()).await.exits(3);
    assert!(plan.out.contains("is nearer, but HOLDS NOTHING"), "{}", plan.out);
    let into = async |claim: &str, more: &[&str]| {
        let args = ["restore", "latest:pvc/media/data", "--into-claim", claim, "--kubeconfig", "kubeconfig", "--yes"];
        world.run(&[&args[..], more].concat()).await
    };
    // One that is named is taken, and told; in place it would remove all that is there.
    let ran = into("media/copy", &["--storage-class", "local-path"]).await.exits(3);
    assert!(ran.err.contains("HOLDS NOTHING"), "{}{}", ran.out, ran.err);
    let ran = into("media/data", &["--in-place"]).await.exits(7);
    assert!(ran.err.contains("all that is in the claim would be removed"), "{}", ran.err);
    let document = disaster.restore(&[&newest[..], &["--json"]].concat()).await.exits(3).json();
    let of_volume = volume(&document, "media", "data");
    assert_eq!(of_volume["outcome"], "restored", "{of_volume:#}");
    assert_eq!(of_volume["data"]["passed-over"]["lack"], "emptied", "{of_volume:#}");
    assert_eq!(disaster.verdict("media", "data").await, "found");
    let is = whole(&disaster.folder("media", "data"));
    assert!(was == is, "{:?} {:?}", was.keys(), is.keys());
}

/// One volume is damaged, of another the class is gone: each is told, and what does not need them is restored.
#[tokio::test(flavor = "multi_thread")]
async fn each_volume_fails_for_itself() {
    let disaster = Disaster::new().await;
    let world = &disaster.world;
    world.application("media", "data", FINDS_OR_MAKES).await;
    world.backup(&[]).await.exits(0);
    let before = world.lab.names();
    world.application_of("csi-hostpath-sc", "home", "library", FINDS_OR_MAKES).await;
    world.kube.make(
        "",
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "gone"},
            "provisioner": "hostpath.csi.k8s.io", "volumeBindingMode": "Immediate",
        }),
    );
    world.application_of("gone", "home", "lost", FINDS_OR_MAKES).await;
    world.backup(&["--source", "cluster"]).await.exits(0);
    // So that the plan has a distance to tell: it is in whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.backup(&["--source", "volumes"]).await.exits(0);
    // Every large pack that came with them: `home/lost` is not looked at, so the damage that counts is of `home/library`.
    let sizes = world.lab.sizes();
    let packs: Vec<&String> = sizes
        .keys()
        .filter(|name| name.starts_with("packs/") && !before.contains(*name) && sizes[*name] > 200_000)
        .collect();
    assert!(!packs.is_empty());
    for name in packs {
        let path = world.s3.bucket_dir().join("home").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        for at in (2000..bytes.len()).step_by(1000) {
            bytes[at] ^= 0xff;
        }
        std::fs::write(path, bytes).unwrap();
    }
    let exclude = ["--exclude", "storageclasses.storage.k8s.io"];
    let plan = disaster.restore(&[&exclude[..], &["--plan"]].concat()).await.exits(3);
    for part in [
        "conflict",
        "the cluster has no storage class gone; it has ",
        "--storage-class gone=OTHER",
        "filled from ",
        " of pvc/media/data (",
        "the objects)",
    ] {
        assert!(plan.out.to_lowercase().contains(&part.to_lowercase()), "{part}: {}", plan.out);
    }
    assert!(disaster.new.object("namespaces", "", "media").is_none(), "a plan writes nothing");
    let ran = disaster.restore(&[&exclude[..], &["--json"]].concat()).await.exits(4);
    let document = ran.json();
    assert_eq!(volume(&document, "media", "data")["outcome"], "restored", "{document:#}");
    let library = volume(&document, "home", "library");
    assert_eq!((&library["outcome"], &library["damaged"]), (&json!("unknown"), &json!(true)), "{library:#}");
    assert_eq!(outcome(&document, "home/persistentvolumeclaims/lost"), "conflict");
    for pod in ["app-library", "app-lost"] {
        assert_eq!(outcome(&document, &format!("home/pods/{pod}")), "held", "{document:#}");
        assert!(disaster.new.object("pods", "home", pod).is_none());
    }
    assert_eq!(disaster.verdict("media", "data").await, "found");
    let policies = disaster.new.shared.with(|state| state.objects("networkpolicies.networking.k8s.io").len());
    assert_eq!((disaster.movers().len(), policies), (0, 0));
}

/// Before anything is written: what movers lack, what is somebody's, what already waits. And a pod that never starts ends in a word.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_filled_is_known_before_or_told_after() {
    let disaster = Disaster::new().await;
    let world = &disaster.world;
    world.application("media", "data", FINDS_OR_MAKES).await;
    world.kube.make("media", claim_of("never", "local-path"));
    world.backup(&["--source", "cluster"]).await.exits(0);
    // Without a snapshot of the volume it is as without data.
    let ran = disaster.restore(&[]).await.exits(7);
    assert!(ran.err.contains("persistentvolumeclaims media/data") && !ran.err.contains("media/never"), "{}", ran.err);
    world.backup(&["--source", "volumes"]).await;
    // The wrong identity opens nothing.
    world.run(&["keys", "new", "--out", "other"]).await.exits(0);
    disaster.restore(&["--identity", "other"]).await.exits(6);
    // In the cluster that it is from: the data of somebody.
    let here =
        ["restore", "latest:cluster", "--cluster", "--kubeconfig", "kubeconfig", "--yes", "--include", "media/*/*"];
    let before = whole(&world.folder("media", "data"));
    let ran = world.run(&[&here[..], &["--existing", "update"]].concat()).await.exits(7);
    assert!(
        ran.err.contains("would be replaced") && ran.err.contains("--into-claim media/data --in-place"),
        "{}",
        ran.err
    );
    let plan = world.run(&[&here[..], &["--plan"]].concat()).await;
    assert!(plan.out.contains("it is there: its data is left as it is"), "{}", plan.out);
    assert!(whole(&world.folder("media", "data")) == before);

    // A pod that waits for the claim would start on an empty volume.
    world.namespace("media").await;
    open_namespace(&disaster.new, "media").await;
    disaster.new.make("media", application("data", "sleep 600"));
    let ran = disaster.restore(&["--include", "persistentvolumeclaims"]).await.exits(3);
    assert!(ran.out.contains("pod app-data uses it and would start on a volume that is not filled yet"), "{}", ran.out);
    assert!(disaster.new.object("persistentvolumeclaims", "media", "data").is_none());
    assert_eq!(disaster.new.object("persistentvolumeclaims", "media", "never").unwrap()["status"]["phase"], "Pending");
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(crate::kube::client(&disaster.new), "media");
    pods.delete("app-data", &kube::api::DeleteParams::default()).await.unwrap();
    disaster.new.until("it is gone", |state| state.object("pods", "media", "app-data").is_none()).await;

    // An image that nobody has, then a store that refuses.
    disaster.configure("absent:1", "1s");
    let document = disaster.restore(&["--json"]).await.exits(3).json();
    let why = volume(&document, "media", "data")["why"].to_string();
    assert!(why.contains("did not start within 1s") && why.contains("absent:1"), "{why}");
    assert_eq!(outcome(&document, "media/pods/app-data"), "held");
    assert!(disaster.movers().is_empty());
    disaster.configure(IMAGE, "1m");
    let second = begin(&disaster, &[]);
    disaster.new.until("a mover is there", |state| state.objects("pods").iter().any(|pod| is_ours(pod))).await;
    for _ in 0..40 {
        world.s3.make(Trouble::Refuse(403, "AccessDenied"));
    }
    let ran = world.end(second).await;
    let document = ran.json();
    let of_volume = volume(&document, "media", "data");
    assert_eq!((ran.code, &of_volume["outcome"]), (5, &json!("unknown")), "{of_volume}");
    assert_eq!(outcome(&document, "media/pods/app-data"), "held");
    assert!(disaster.movers().is_empty());
}
