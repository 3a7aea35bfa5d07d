//! Checks of what is in a volume of a cluster: a mover looks, where nobody else can.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{run_of, runbook};
use crate::cli::Ran;
use crate::support::kube::state::text;
use crate::volumes_backup::World;
use crate::volumes_restore::{Disaster, FINDS_OR_MAKES, write_hard_things};

const CLAIMS: &str = "persistentvolumeclaims";

/// Files beside those of the backup, without which the first check waits: its mover can be met meanwhile.
fn enough(folder: &Path, there: bool) {
    for name in ["one-more", "and-another"] {
        if there {
            std::fs::write(folder.join(name), "x").unwrap();
        } else {
            std::fs::remove_file(folder.join(name)).unwrap();
        }
    }
}

/// Files below a folder, each name of one counted.
fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let of = |entry: std::fs::DirEntry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => count(&entry.path()),
        kind => usize::from(kind.is_file()),
    };
    entries.map(of).sum()
}

struct Inside {
    disaster: Disaster,
}

impl Inside {
    fn world(&self) -> &World {
        &self.disaster.world
    }

    fn folder(&self) -> std::path::PathBuf {
        self.world().folder("media", "copy")
    }

    async fn recover(&self, args: &[&str]) -> Ran {
        let place = ["--kubeconfig", "kubeconfig", "--journals", "runs", "--no-progress"];
        self.world().run(&[&["recover"][..], args, &place].concat()).await
    }

    /// The mover that waits in the first check, while `work` is under way.
    async fn met(&self, work: impl Future<Output = Ran>, then: impl AsyncFnOnce(Value)) -> Ran {
        let met = async {
            let world = self.world();
            let is_full = |state: &crate::support::kube::state::State| {
                let claim = state.object(CLAIMS, "media", "copy");
                claim.is_some_and(|claim| claim["metadata"]["annotations"]["homelab-dr.io/restored-by"].is_string())
            };
            world.kube.until("the copy is full", is_full).await;
            let looks = |pod: &Value| pod["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] == true;
            loop {
                let at_work = world.until_at_work(1).await;
                if let Some(pod) = at_work.into_iter().find(looks) {
                    return then(pod).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::pin!(work, met);
        tokio::select! {
            ran = &mut work => panic!("it ended before its mover was met: {}{}", ran.out, ran.err),
            () = &mut met => work.await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_volume_of_a_cluster_is_verified_where_it_is() {
    let disaster = Disaster::new().await;
    disaster.world.application("media", "data", FINDS_OR_MAKES).await;
    let data = disaster.world.folder("media", "data");
    write_hard_things(&data);
    disaster.world.backup(&["--source", "volumes"]).await.exits(0);
    let step = format!(
        "id: beside\nneeds: []\nrestore.volume: {{source: pvc/media/data, into: media/copy}}\nverify:\n  \
         - {{no-empty: {{at_least: {}}}, deadline: 1m, every: 1s}}\n  - sqlite: {{file: app.db, query: select count(*) from a, at_least: 1}}\n  \
         - files: {{sample: 100%}}",
        count(&data) + 2
    );
    let book = runbook(&disaster.world.lab.path(""), "", &[&step]);
    let inside = Inside { disaster };
    let world = inside.world();

    // The mover dies: nobody knows what it would have seen.
    let args = [book.as_str(), "--yes"];
    let first = inside.met(inside.recover(&args), async |pod| {
        let plan = &pod["spec"];
        assert_eq!(plan["containers"][0]["securityContext"]["capabilities"], json!({"drop": ["ALL"]}), "{plan}");
        world.kube.evict("media", text(&pod["metadata"]["name"]), "The node was low on resource: memory");
    });
    let first = first.await.exits(1);
    assert!(
        first.err.contains("does NOT hold: no-empty") && first.err.contains("could not be looked at"),
        "{}",
        first.err
    );
    let run = run_of(&first.out);
    let resume = async || inside.recover(&["--resume", &run]).await;
    let folder = inside.folder();
    enough(&folder, true);

    // A file of the same length and time, and one that is gone.
    let (hello, before) = (folder.join("a/b/hello"), std::fs::read(folder.join("a/b/hello")).unwrap());
    let time = std::fs::metadata(&hello).unwrap().modified().unwrap();
    std::fs::write(&hello, "HELLO\n").unwrap();
    std::fs::File::options().write(true).open(&hello).unwrap().set_modified(time).unwrap();
    let ran = resume().await.exits(1);
    assert!(ran.err.contains("does NOT hold: files") && ran.err.contains("a/b/hello ("), "{}", ran.err);
    std::fs::remove_file(&hello).unwrap();
    std::fs::write(folder.join("in-its-place"), "x").unwrap();
    let ran = resume().await.exits(1);
    assert!(ran.err.contains("a/b/hello (it is not there)"), "{}", ran.err);
    std::fs::remove_file(folder.join("in-its-place")).unwrap();
    std::fs::write(&hello, &before).unwrap();

    // A database that is damaged.
    let database = std::fs::read(folder.join("app.db")).unwrap();
    let mut damaged = database.clone();
    damaged[4096..].fill(7);
    std::fs::write(folder.join("app.db"), damaged).unwrap();
    let ran = resume().await.exits(1);
    assert!(ran.err.contains("does NOT hold: sqlite") && ran.err.contains("app.db"), "{}", ran.err);
    std::fs::write(folder.join("app.db"), database).unwrap();

    // A pod uses it that lets nobody else in.
    let mut user = crate::volumes_backup::application("copy", "exec sleep 600");
    user["spec"]["terminationGracePeriodSeconds"] = 0.into();
    world.kube.make("media", user);
    let runs = |state: &crate::support::kube::state::State| {
        state.object("pods", "media", "app-copy").is_some_and(|pod| pod["status"]["phase"] == "Running")
    };
    world.kube.until("the user runs", runs).await;
    let modes = |modes: Value| {
        world.kube.shared.with(|state| {
            let claim = state.object(CLAIMS, "media", "copy").unwrap();
            state.edit(&claim, |claim| claim["spec"]["accessModes"] = modes);
        });
    };
    modes(json!(["ReadWriteOncePod"]));
    let ran = resume().await.exits(1);
    assert!(ran.err.contains("pod app-copy uses it, and ReadWriteOncePod lets nobody else in"), "{}", ran.err);
    modes(json!(["ReadWriteOnce"]));

    // Beside the pod that uses it, on its node.
    enough(&folder, false);
    let node = world.kube.object("pods", "media", "app-copy").unwrap()["spec"]["nodeName"].clone();
    let ran = inside.met(resume(), async |pod| {
        let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        assert_eq!(pod.pointer(terms).unwrap()[0]["matchFields"][0]["values"], json!([node]), "{pod}");
        enough(&folder, true);
    });
    let ran = ran.await.exits(0);
    for part in ["or more", "the database is whole", "entries are as in the snapshot"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_postgres_in_a_claim_are_judged_by_a_snapshot_only_as_long_as_the_claim_has_the_same() {
    let disaster = Disaster::new().await;
    disaster.world.application("media", "data", FINDS_OR_MAKES).await;
    disaster.world.backup(&["--source", "volumes"]).await.exits(0);
    let step = "id: beside\nneeds: []\nrestore.volume: {source: pvc/media/data, into: media/copy}\nverify: [{postgres: {datadir: true, query: select 1, at_least: 1}}]";
    let book = runbook(&disaster.world.lab.path(""), "", &[step]);
    let inside = Inside { disaster };
    // Equal, so that the snapshot speaks for the claim; and there is no database in it.
    let ran = inside.recover(&[&book, "--yes"]).await.exits(1);
    for part in ["does NOT hold: postgres", "has no data directory of PostgreSQL"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    std::fs::write(inside.folder().join("a/b/hello"), "altered").unwrap();
    let run = run_of(&ran.out);
    let ran = inside.recover(&["--resume", &run]).await.exits(1);
    assert!(
        ran.err.contains("the claim media/copy holds something else") && ran.err.contains("a/b/hello"),
        "{}",
        ran.err
    );
    let left = [std::env::temp_dir(), "/var/tmp".into()].map(|dir| dir.join(format!("homelab-dr-volume-{run}-beside")));
    assert!(left.iter().all(|room| !room.exists()), "nothing of it stays on this machine");
}
