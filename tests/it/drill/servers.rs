//! Data of a real PostgreSQL in a source: a server is started on a copy of what came back. Lane `servers`.

use std::process::Command;

use super::folder::{drill, drills};
use crate::cli::Home;

/// The newest server of this machine.
fn program(name: &str) -> std::path::PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL of Debian: the lane installs it");
    let newest = versions.map(|dir| dir.unwrap().path()).max().expect("a version");
    newest.join("bin").join(name)
}

#[test]
#[ignore = "needs PostgreSQL: lane servers"]
fn lane_servers_a_drill_boots_the_data_of_postgres_and_sees_when_they_are_damaged() {
    let home = Home::new();
    let data = home.path("source/pg");
    let is_root = rustix::process::geteuid().is_root();
    let mut command = if is_root {
        // It refuses to run as root.
        std::fs::create_dir(&data).unwrap();
        for dir in [home.dir(), &home.path("source")] {
            std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::chown(&data, Some(65534), Some(65534)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program("initdb"));
        command
    } else {
        Command::new(program("initdb"))
    };
    command.args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C", "-D"]).arg(&data);
    let output = command.current_dir("/").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    home.backup();
    let ran = drill(&home, &["--source", "files"]).exits(0);
    assert!(ran.err.contains("PostgreSQL pg: a server ran on a copy: the query gives"), "{}", ran.err);
    std::fs::write(data.join("global/pg_control"), [7; 8192]).unwrap();
    home.backup();
    drill(&home, &["--source", "files"]).exits(1);
    let record = &drills(&home)[0];
    assert!(record["why"].as_str().unwrap().contains("the PostgreSQL data pg do not come up"), "{record:#}");
}
