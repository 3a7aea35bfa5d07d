//! The datastore of a k3s server as a source: what is in the snapshot is what makes it usable again, and a datastore that could not be used is no backup.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use crate::cli::config::{configured, run};
use crate::cli::{Home, Ran};
use crate::live::assert_whole;
use crate::live::writers::Writer;
use crate::support::files::{noise, picture};

/// The folder of a server, without a datastore.
fn server(home: &Home) -> PathBuf {
    let server = home.path("k3s/server");
    for folder in ["cred", "tls/etcd", "manifests", "db"] {
        std::fs::create_dir_all(server.join(folder)).unwrap();
    }
    for (file, text) in [
        ("token", "K10abc::server:hunter2\n"),
        ("agent-token", "K10abc::node:hunter3\n"),
        ("cred/encryption-config.json", "{}"),
        ("tls/server-ca.key", "key"),
        ("tls/etcd/server-ca.key", "key"),
        ("manifests/traefik.yaml", "not wanted"),
        ("kubeconfig", "not wanted"),
    ] {
        std::fs::write(server.join(file), text).unwrap();
    }
    std::os::unix::fs::symlink("token", server.join("node-token")).unwrap();
    server
}

fn home(rest: &str) -> Home {
    configured(&format!("sources:\n  k3s: {{datastore: {{k3s: {{data-dir: DIR/k3s{rest}}}}}}}\n"))
}

/// As `k3s etcd-snapshot save` leaves one: pages, and their hash behind them.
fn snapshot(server: &Path, name: &str, seed: u64, age: Duration) -> PathBuf {
    let path = server.join("db/snapshots").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::create_dir_all(server.join("db/etcd/member")).unwrap();
    let mut bytes = noise(seed, 16 * 512);
    bytes.extend_from_slice(&Sha256::digest(&bytes));
    std::fs::write(&path, bytes).unwrap();
    grow_old(&path, age);
    path
}

fn grow_old(path: &Path, age: Duration) {
    std::fs::File::options().append(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    picture(folder).into_keys().map(|path| path.to_str().unwrap().to_owned()).filter(|path| !path.is_empty()).collect()
}

fn restored(home: &Home, to: &str) -> PathBuf {
    let args = ["restore", "latest:k3s", "--target", to, "--identity", "key"];
    run(home, &args).exits(0);
    home.path(to)
}

const HOUR: Duration = Duration::from_secs(3600);

/// The steps of docs/datastore.md that are done with files alone.
#[test]
fn sqlite_under_a_writer_comes_back_whole_with_its_token_and_keys() {
    let home = home("");
    let server = server(&home);
    let writer = Writer::start(&server.join("db/state.db"), "WAL");
    let ran = run(&home, &["backup"]).exits(0);
    let journal = std::fs::read(server.join("db/state.db-wal")).unwrap();
    writer.end();
    assert!(ran.err.contains("k3s with SQLite") && ran.err.contains("1 database captured whole"), "{}", ran.err);
    assert!(ran.out.contains("k3s     datastore"), "{}", ran.out);
    let back = restored(&home, "back");
    let expected = [
        "agent-token",
        "cred",
        "cred/encryption-config.json",
        "db",
        "db/state.db",
        "node-token",
        "tls",
        "tls/etcd",
        "tls/etcd/server-ca.key",
        "tls/server-ca.key",
        "token",
    ];
    assert_eq!(names(&back), expected);
    assert_eq!(std::fs::read_to_string(back.join("token")).unwrap(), "K10abc::server:hunter2\n");
    // In the place of one that has gone on, whose journal is still there.
    std::fs::write(server.join("db/state.db-wal"), journal).unwrap();
    let script = block("```sh put-back\n");
    let script = script
        .replace("/root/k3s", back.to_str().unwrap())
        .replace("/var/lib/rancher/k3s", home.path("k3s").to_str().unwrap());
    let done = std::process::Command::new("sh").args(["-euc", &script]).status().unwrap();
    assert!(done.success() && !server.join("db/state.db-wal").exists());
    assert_eq!(std::fs::read(server.join("db/state.db")).unwrap(), std::fs::read(back.join("db/state.db")).unwrap());
    assert_whole(&server.join("db/state.db"));
}

#[test]
fn of_an_embedded_etcd_the_newest_complete_snapshot_is_taken() {
    let home = home("");
    let server = server(&home);
    snapshot(&server, "etcd-snapshot-nas-1", 1, 30 * HOUR);
    let good = snapshot(&server, "etcd-snapshot-nas-2[x]", 2, 12 * HOUR);
    // Cut off, altered, still being written.
    let cut = snapshot(&server, "etcd-snapshot-nas-3", 3, 2 * HOUR);
    std::fs::File::options().write(true).open(&cut).unwrap().set_len(1000).unwrap();
    let altered = snapshot(&server, "etcd-snapshot-nas-4", 4, HOUR);
    let mut bytes = std::fs::read(&altered).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&altered, bytes).unwrap();
    snapshot(&server, "etcd-snapshot-nas-5.part", 5, Duration::ZERO);
    // What SQLite there was before etcd is not the datastore any more.
    std::fs::write(server.join("db/state.db"), "old").unwrap();
    let ran = run(&home, &["backup"]).exits(0);
    assert!(ran.err.contains("embedded etcd: its snapshot etcd-snapshot-nas-2[x], 12h old"), "{}", ran.err);
    let back = restored(&home, "back");
    let of_db: Vec<String> = names(&back).into_iter().filter(|name| name.starts_with("db/")).collect();
    assert_eq!(of_db, ["db/snapshots", "db/snapshots/etcd-snapshot-nas-2[x]"]);
    assert_eq!(std::fs::read(back.join("db/snapshots/etcd-snapshot-nas-2[x]")).unwrap(), std::fs::read(&good).unwrap());
    assert!(back.join("token").exists() && back.join("tls/etcd/server-ca.key").exists());

    // One that k3s has packed.
    let packed = snapshot(&server, "etcd-snapshot-nas-6.zip", 6, HOUR);
    let mut zip = noise(9, 5000);
    zip.extend_from_slice(b"PK\x05\x06");
    zip.extend_from_slice(&[0; 18]);
    std::fs::write(&packed, zip).unwrap();
    grow_old(&packed, HOUR);
    run(&home, &["backup", "--dry-run"]).exits(0).says_of("etcd-snapshot-nas-6.zip");
}

impl Ran {
    #[track_caller]
    fn says_of(self, part: &str) {
        assert!(self.err.contains(part), "{part}: {}", self.err);
    }
}

/// Without the token, the keys or a fresh snapshot there is no snapshot of ours, and the reason and what to do are told.
#[test]
fn what_could_not_be_used_is_no_backup() {
    type Spoil = fn(&Path);
    let spoils: [(&str, &str, Spoil); 8] = [
        ("server/token is missing, without which", "is this the node of a k3s server", |server| {
            std::fs::remove_file(server.join("token")).unwrap()
        }),
        ("server/token is empty", "is this the node", |server| std::fs::write(server.join("token"), " \n").unwrap()),
        ("server/cred is missing", "is this the node", |server| std::fs::remove_dir_all(server.join("cred")).unwrap()),
        ("server/tls is empty", "is this the node", |server| {
            std::fs::remove_dir_all(server.join("tls")).unwrap();
            std::fs::create_dir(server.join("tls")).unwrap();
        }),
        ("holds no datastore of k3s", "--datastore-endpoint", |server| {
            std::fs::remove_dir_all(server.join("db/etcd")).unwrap()
        }),
        ("holds no complete snapshot of etcd", "k3s etcd-snapshot save", |server| {
            std::fs::remove_dir_all(server.join("db/snapshots")).unwrap();
        }),
        ("no complete snapshot of etcd, but 1 that are not", "etcd-snapshot", |server| {
            std::fs::write(server.join("db/snapshots/s"), "cut").unwrap();
        }),
        ("is 27h old, and 26h is the limit", "set max-age", |server| {
            grow_old(&server.join("db/snapshots/s"), 27 * HOUR);
        }),
    ];
    let home = home("");
    for (says, help, spoil) in spoils {
        let _ = std::fs::remove_dir_all(home.path("k3s"));
        let server = server(&home);
        snapshot(&server, "s", 1, HOUR);
        spoil(&server);
        let ran = run(&home, &["backup"]).exits(1).says(&[says, help, "no snapshot was made"]);
        assert!(ran.out.contains("FAILED"), "{}", ran.out);
    }
    assert_eq!(run(&home, &["snapshots", "--json"]).exits(0).json()["snapshots"].as_array().map(Vec::len), Some(0));
    // Somebody may want it all the same.
    let text = std::fs::read_to_string(home.path("homelab-dr.yaml")).unwrap().replace("/k3s}", "/k3s, max-age: 30d}");
    std::fs::write(home.path("homelab-dr.yaml"), text).unwrap();
    run(&home, &["backup"]).exits(0);
}

/// A marked block of docs/datastore.md.
fn block(mark: &str) -> String {
    let (_, rest) = include_str!("../../docs/datastore.md").split_once(mark).expect("the block is marked");
    rest.split_once("\n```").expect("closed").0.to_owned()
}

#[test]
fn the_examples_in_the_documents_are_right() {
    let read = crate::configuration::read(block("```yaml sources\n").as_bytes());
    assert_eq!(read.config.unwrap_or_else(|| panic!("{:?}", read.findings)).sources.len(), 2);
}
