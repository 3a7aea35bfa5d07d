//! Data of a real PostgreSQL in a source: a server is started on a copy of what came back. Lane `servers`.

use std::path::Path;
use std::process::Command;

use super::folder::{drill, drills};
use crate::cli::Home;
use crate::recover::runbook;
use crate::volumes_restore::{Disaster, FINDS_OR_MAKES};

/// The newest server of this machine.
fn program(name: &str) -> std::path::PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL of Debian: the lane installs it");
    let newest = versions.map(|dir| dir.unwrap().path()).max().expect("a version");
    newest.join("bin").join(name)
}

/// Makes a database cluster there, and lets the server's user come to it.
fn database(data: &Path, ways: &[&Path]) {
    let mut command = if rustix::process::geteuid().is_root() {
        // It refuses to run as root.
        std::fs::create_dir(data).unwrap();
        for dir in ways {
            std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::chown(data, Some(65534), Some(65534)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program("initdb"));
        command
    } else {
        Command::new(program("initdb"))
    };
    command.args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C", "-D"]).arg(data);
    let output = command.current_dir("/").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "needs PostgreSQL: lane servers"]
fn lane_servers_a_drill_boots_the_data_of_postgres_and_sees_when_they_are_damaged() {
    let home = Home::new();
    let data = home.path("source/pg");
    database(&data, &[home.dir(), &home.path("source")]);
    home.backup();
    let ran = drill(&home, &["--source", "files"]).exits(0);
    assert!(ran.err.contains("PostgreSQL pg: a server ran on a copy: the query gives"), "{}", ran.err);
    std::fs::write(data.join("global/pg_control"), [7; 8192]).unwrap();
    home.backup();
    drill(&home, &["--source", "files"]).exits(1);
    let record = &drills(&home)[0];
    assert!(record["why"].as_str().unwrap().contains("the PostgreSQL data pg do not come up"), "{record:#}");
}

/// In a claim of a cluster: the server runs here, on what the claim was seen to have.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: lane servers"]
async fn lane_servers_the_data_of_postgres_in_a_claim_are_opened_on_this_machine() {
    let disaster = Disaster::new().await;
    let world = &disaster.world;
    world.application("media", "data", FINDS_OR_MAKES).await;
    let folder = world.folder("media", "data");
    let ways: Vec<&Path> = folder
        .ancestors()
        .take_while(|dir| dir.starts_with(std::env::temp_dir()) && *dir != std::env::temp_dir())
        .collect();
    database(&folder.join("pgdata"), &ways);
    // Of a server that runs it would be left out: what is read live is torn.
    world.backup(&["--source", "volumes"]).await.exits(0);
    let step = |query: &str| {
        format!(
            "id: beside\nneeds: []\nrestore.volume: {{source: pvc/media/data, into: media/copy, storage_class: local-path}}\nverify: [{{postgres: {{datadir: true, query: '{query}', at_least: 1}}}}]"
        )
    };
    let book = runbook(&world.lab.path(""), "", &[&step("select count(*) from pg_database")]);
    let place = ["--kubeconfig", "kubeconfig", "--journals", "runs", "--no-progress", "--yes"];
    let ran = world.run(&[&["recover", &book][..], &place].concat()).await.exits(0);
    for part in ["holds: postgres", "on this machine; in the claim "] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    // The same in a drill, in a claim of its own.
    let place = ["--kubeconfig", "kubeconfig", "--journals", "runs", "--probe-time", "2s", "--yes"];
    let ran = world.run(&[&["drill", &book][..], &place].concat()).await.exits(0);
    assert!(ran.err.contains("on this machine; in the claim "), "{}", ran.err);
}
