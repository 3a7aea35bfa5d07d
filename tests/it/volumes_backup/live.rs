//! What works: claims are read beside their applications, and come back bit for bit.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{SLOW, World, claim_of, is_ours, row};
use crate::live::assert_whole;
use crate::live::writers::Writer;
use crate::support::files::{noise, picture};
use crate::support::kube::state::{State, text};
use crate::support::s3::SECRET;

const FILL: &str = "mkdir -p /data/a/b; echo hello > /data/a/b/hello; head -c 300000 /dev/urandom > /data/noise; \
                    ln -s a/b/hello /data/link; printf '\\001' > \"/data/odd name\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_its_application_has_filled_comes_back_bit_for_bit() {
    let world = World::new("").await;
    world.application("media", "data", FILL).await;
    // What was written less than two seconds before it is read is read again the next time.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let ran = world.backup(&[]).await.exits(0);
    assert!(ran.out.contains("pvc/media/data  pvc, live") && ran.out.trim_end().ends_with("done"), "{}", ran.out);
    assert!(world.restored("media/data").await == picture(&world.folder("media", "data")));
    world.is_clean().await;

    // What did not change is not read again, though another mover looks.
    let again = world.backup(&["--json"]).await.exits(0).json();
    let of_claim = row(&again, "media/data");
    assert_eq!((&of_claim["statistics"]["files_read"], &of_claim["kind"]), (&json!(0), &json!("pvc, live")));
    assert_eq!(of_claim["statistics"]["files"], 4, "{of_claim}");
    std::fs::write(world.folder("media", "data").join("new"), noise(1, 10_000)).unwrap();
    let more = world.backup(&["--json", "--tag", "day=3"]).await.exits(0).json();
    assert_eq!(row(&more, "media/data")["statistics"]["files_read"], 1);
    assert!(world.restored("media/data").await == picture(&world.folder("media", "data")));
    let listed = world.run(&["snapshots", "--json"]).await.json();
    let newest = &listed["snapshots"][2];
    assert_eq!((&newest["tags"]["day"], &newest["host"]), (&json!("3"), &json!("lab-node")), "{newest}");
}

/// An application writes into its database at full speed while the mover reads it: what comes back is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_use_is_whole_in_what_comes_back() {
    let world = World::new("").await;
    world.application("media", "data", "true").await;
    let writer = Writer::start(&world.folder("media", "data").join("app.db"), "wal");
    let before = writer.rounds();
    let ran = world.backup(&["--json"]).await.exits(0).json();
    assert!(writer.rounds() > before, "the writer stood still");
    writer.end();
    assert_eq!(row(&ran, "media/data")["statistics"]["problems"], 0, "{ran}");
    world.run(&["restore", "latest:pvc/media/data", "--target", "back"]).await.exits(0);
    assert_whole(&world.lab.path("back").join("app.db"));
    world.is_clean().await;
}

/// What was seen of the cluster and of movers.
#[derive(Default)]
struct Seen {
    objects: BTreeSet<String>,
    environments: BTreeSet<Vec<u8>>,
    movers_at_once: usize,
    specs: Vec<Value>,
}

fn look(state: &State, seen: &mut Seen) {
    for table in ["pods", "networkpolicies.networking.k8s.io", "secrets", "configmaps", "events"] {
        seen.objects.extend(state.objects(table).iter().map(|object| object.to_string()));
    }
    let pods = state.objects("pods");
    let running: Vec<_> = pods.iter().filter(|pod| is_ours(pod) && pod["status"]["phase"] == "Running").collect();
    seen.movers_at_once = seen.movers_at_once.max(running.len());
    for pod in running {
        if !seen.specs.iter().any(|spec| *spec == pod["spec"]) {
            seen.specs.push(pod["spec"].clone());
        }
        let name = text(&pod["metadata"]["name"]);
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(name) {
                seen.environments.insert(command);
                seen.environments.extend(std::fs::read(process.path().join("environ")));
            }
        }
        let uid = text(&pod["metadata"]["uid"]);
        let container = state.pods.get(uid).and_then(|run| run.container("mover"));
        for line in container.map(|container| container.lines()).unwrap_or_default() {
            seen.objects.insert(String::from_utf8_lossy(&line.bytes).into_owned());
        }
    }
}

/// Two volumes in two namespaces at once; and no credential in any object, any environment, any command line, any line of a log.
#[tokio::test(flavor = "multi_thread")]
async fn two_are_read_at_once_and_no_secret_is_anywhere() {
    let world = World::new("").await;
    for (namespace, claim) in [("media", "one"), ("home", "two"), ("home", "three")] {
        world.application(namespace, claim, FILL).await;
        std::fs::write(world.folder(namespace, claim).join("large"), noise(claim.len() as u64, 1_500_000)).unwrap();
    }
    let seen = world.watch(look);
    let ran = world.backup(&[&SLOW[..], &["--json"]].concat()).await.exits(0).json();
    let rows: Vec<&str> =
        ran["sources"].as_array().unwrap().iter().map(|row| row["source"].as_str().unwrap()).collect();
    assert_eq!(rows, ["pvc/home/three", "pvc/home/two", "pvc/media/one"]);
    for (namespace, claim) in [("media", "one"), ("home", "two"), ("home", "three")] {
        let name = format!("{namespace}/{claim}");
        assert!(world.restored(&name).await == picture(&world.folder(namespace, claim)), "{name}");
    }
    world.is_clean().await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.movers_at_once, 2, "as the configuration says");
    let key = std::fs::read_to_string(world.lab.path("writer")).unwrap();
    let key = key.trim();
    assert!(!seen.environments.is_empty() && seen.objects.iter().any(|line| line.contains("\"say\":\"accepted\"")));
    for secret in [key, &key[20..60], SECRET] {
        let holds = |bytes: &[u8]| memchr::memmem::find(bytes, secret.as_bytes()).is_some();
        assert!(!seen.objects.iter().any(|object| holds(object.as_bytes())), "an object or a log holds it");
        assert!(!seen.environments.iter().any(|bytes| holds(bytes)), "a process shows it");
    }
    // `restricted` let them in; they are beside the application, as what it runs as, and write nothing there.
    let spec = &seen.specs[0];
    assert_eq!(spec["securityContext"]["runAsUser"], 1000);
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["readOnly"], true);
    assert!(spec["affinity"]["nodeAffinity"].is_object() && spec["automountServiceAccountToken"] == false, "{spec}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_neither_backed_up_nor_left_out_on_purpose_fails_the_run_by_name() {
    let world = World::new(", exclude: ['media/cache-*']").await;
    world.application("media", "data", "echo x > /data/x").await;
    for claim in ["cache-1", "scratch", "never"] {
        world.kube.make("media", claim_of(claim, "local-path"));
    }
    let no = json!({"homelab-dr.io/backup": "false"});
    world.kube.shared.with(|state| {
        let claim = state.object("persistentvolumeclaims", "media", "scratch").unwrap();
        state.edit(&claim, |object| object["metadata"]["annotations"]["homelab-dr.io/backup"] = "false".into());
    });
    world
        .kube
        .make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tmp", "annotations": no}}));
    world.kube.make("tmp", claim_of("any", "local-path"));

    let plan = world.backup(&["--dry-run"]).await.exits(1);
    assert!(
        plan.out.contains("would run") && plan.err.contains("NOT COVERED: 1 volume was"),
        "{}{}",
        plan.out,
        plan.err
    );
    assert_eq!(world.snapshots().await, Vec::<String>::new());
    let ran = world.backup(&["--json"]).await.exits(1);
    let told = ran.json();
    let of = |claim: &str| row(&told, claim);
    assert_eq!((&told["exit"], &of("media/data")["result"]), (&json!(1), &json!("done")));
    assert_eq!(of("media/cache-1")["left_out_by"], "the configuration: exclude media/cache-*");
    assert_eq!(of("media/scratch")["left_out_by"], "annotation homelab-dr.io/backup of the claim");
    assert_eq!(of("tmp/any")["left_out_by"], "annotation homelab-dr.io/backup of namespace tmp");
    let never = of("media/never");
    assert!(never["result"] == "failed" && never["error"]["error"].to_string().contains("no volume yet"), "{never}");
    assert!(ran.err.contains("NOT COVERED: 1 volume was") && ran.err.contains("pvc/media/never"), "{}", ran.err);
    assert_eq!(world.snapshots().await, ["pvc/media/data"]);

    // What no source takes is not covered; what another takes is.
    world.configure(", namespaces: [media], exclude: ['media/[never']");
    world.backup(&[]).await.exits(2);
    world.configure(", namespaces: [tmp], exclude: ['media/never', 'media/cache-1']");
    let ran = world.backup(&["--json"]).await.exits(1);
    let left = row(&ran.json(), "media/data");
    assert!(left["error"]["error"].to_string().contains("no source of the configuration takes it"), "{left}");
    let text = std::fs::read_to_string(world.lab.path("homelab-dr.yaml")).unwrap();
    let second = text.lines().last().unwrap().replace("  all:", "  media:").replace("[tmp]", "[media]");
    let both = format!("{text}{second}\n");
    std::fs::write(world.lab.path("homelab-dr.yaml"), &both).unwrap();
    let told = world.backup(&["--json"]).await.exits(0).json();
    assert!(told["left_out"][0]["names"].to_string().contains("namespace/media"), "{told}");
    // Its objects are in no snapshot, which nobody has said to be meant.
    std::fs::write(world.lab.path("homelab-dr.yaml"), both.replace(", resources-elsewhere: true", "")).unwrap();
    let ran = world.backup(&["--json", "--dry-run"]).await.exits(3);
    let (media, tmp) = (super::row_of(&ran.json(), "namespace/media"), super::row_of(&ran.json(), "namespace/tmp"));
    assert_eq!((&media["result"], &tmp["result"]), (&json!("not_covered"), &json!("left_out")));
    assert!(ran.err.contains("namespace/media") && ran.err.contains("resources-elsewhere: true"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_pods_cannot_reach_is_refused_before_anything_is_started() {
    let world = World::new("").await;
    world.application("media", "data", "echo x > /data/x").await;
    let recipient = std::fs::read_to_string(world.lab.path("key")).unwrap();
    let recipient =
        recipient.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap_or_default().to_owned();
    assert!(recipient.starts_with("age1"), "the key's file names its recipient");
    world.run(&["init", "--repo", "folder", "--recipient", &recipient, "--writer-key", "w2"]).await.exits(0);
    let ran = world.run(&["backup", "--repo", "./folder", "--writer-key-file", "w2"]).await.exits(1);
    assert!(ran.err.contains("a folder of this machine") && ran.err.contains("s3://"), "{}", ran.err);
    assert!(!world.kube.seen().iter().any(|seen| seen.starts_with("POST") && seen.contains("/pods")));
}
