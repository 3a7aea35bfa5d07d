//! Databases on volumes that are read where they are: which a mover captures, which are left out because a dump stands for them, and which nobody can capture.

use std::path::Path;

use serde_json::{Value, json};

use super::{World, application, claim_of, row};
use crate::live::{create, transfer};

/// What the data directory of a server that runs looks like.
pub(super) fn postgres(volume: &Path) {
    for directory in ["pgdata/base/1", "pgdata/global"] {
        std::fs::create_dir_all(volume.join(directory)).unwrap();
    }
    std::fs::write(volume.join("pgdata/PG_VERSION"), "17\n").unwrap();
    std::fs::write(volume.join("pgdata/postmaster.pid"), "1\n").unwrap();
    std::fs::write(volume.join("pgdata/base/1/1259"), vec![1; 8192]).unwrap();
    // Version 1700, in production.
    let mut control = vec![0; 8192];
    control[8..12].copy_from_slice(&1700_u32.to_ne_bytes());
    control[16..20].copy_from_slice(&6_u32.to_ne_bytes());
    std::fs::write(volume.join("pgdata/global/pg_control"), control).unwrap();
}

/// A command source above the volumes, which a dump comes from or not.
fn with_dump(world: &World, argv: &str) {
    world.configure(", postgres-dump: [{claims: ['media/*'], covered-by: pg/app}]");
    let path = world.lab.path("homelab-dr.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let dump = format!("sources:\n  pg/app: {{command: {{argv: {argv}, file: app.sql}}}}\n");
    std::fs::write(path, text.replace("sources:\n", &dump)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_stands_for_a_postgres_that_runs_and_the_record_says_which() {
    let world = World::new("").await;
    world.application("media", "data", "echo x > /data/beside").await;
    postgres(&world.folder("media", "data"));
    let listed = async || world.run(&["ls", "-R", "--json", "latest:pvc/media/data"]).await.exits(0).out;

    let told = world.backup(&["--json"]).await.exits(3).json();
    let problems = row(&told, "media/data")["problems"].to_string();
    assert!(problems.contains("a PostgreSQL server that was not shut down"), "{problems}");
    assert!(listed().await.contains("\"postgres-left-out\"") && !listed().await.contains("1/1259"));

    with_dump(&world, "[echo, dumped]");
    let told = world.backup(&["--json"]).await.exits(0).json();
    assert_eq!(row(&told, "media/data")["problems"], json!([]), "{told:#}");
    let entries = listed().await;
    assert!(entries.contains(r#""live":"postgres-left-out","dump":"pg/app""#), "{entries}");
    assert!(entries.contains("beside") && !entries.contains("1/1259"), "{entries}");
    assert_eq!(world.run(&["cat", "latest:pg/app:app.sql"]).await.exits(0).out, "dumped\n");

    // One that failed stands for nothing, and neither does one that was not run.
    with_dump(&world, "['false']");
    for args in [&["--json"][..], &["--json", "--source", "all"]] {
        let ran = world.backup(args).await;
        let told = ran.json();
        let problems = row(&told, "media/data")["problems"].to_string();
        assert!(problems.contains("pg/app, which should have a dump of it"), "{args:?} {told:#}");
        assert_eq!(ran.code, if args.len() == 1 { 1 } else { 3 }, "{args:?} {told:#}");
    }
    world.is_clean().await;
}

/// From outside a sandbox a database in it looks idle: nobody sees its locks.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_behind_another_kernel_is_not_captured_unless_somebody_says_that_it_can_be() {
    let world = World::new("").await;
    world.namespace("media").await;
    world.kube.make(
        "",
        json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata-qemu"}, "handler": "kata-qemu"}),
    );
    world.kube.make("media", claim_of("data", "local-path"));
    let mut pod = application("data", "touch /data/ready; sleep 600");
    pod["spec"]["runtimeClassName"] = "kata-qemu".into();
    world.kube.make("media", pod);
    let ready = |state: &crate::support::kube::state::State| {
        state.claim_folder("media", "data").is_some_and(|folder| folder.join("ready").exists())
    };
    world.kube.until("it runs", ready).await;
    transfer(&create(&world.folder("media", "data").join("app.db"), "wal"), 3);

    let told = world.backup(&["--json"]).await.exits(3).json();
    let of_claim = row(&told, "media/data");
    let problems = of_claim["problems"].to_string();
    assert!(problems.contains("capturing the database app.db") && problems.contains("sandbox"), "{of_claim:#}");
    assert!(of_claim["cautions"].to_string().contains("SQLite databases are not captured"), "{of_claim:#}");
    let wished = |wish: Value| {
        world.kube.shared.with(|state| {
            let claim = state.object("persistentvolumeclaims", "media", "data").unwrap();
            state.edit(&claim, |claim| claim["metadata"]["annotations"]["homelab-dr.io/mode"] = wish);
        });
    };
    wished("live".into());
    world.backup(&["--json"]).await.exits(0);
}
