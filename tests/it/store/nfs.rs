//! The NFS lane: the suite, the program, and a server that stops, on a mount by a real Linux client. `tests/run --lane nfs` boots one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homelab_dr::store::Store;
use homelab_dr::store::file::FileStore;
use rustix::process::{Pid, Signal, kill_process};

use crate::kill::lab::Lab;
use crate::store::conformance::{Can, conforms};
use crate::store::lanes::{fresh_name, needed};
use crate::support::files::{change_small_tree, noise, picture, write_small_tree};

/// The mount.
const DIR: &str = "HOMELAB_DR_TEST_NFS_DIR";
/// The server's process, which is stopped and goes on.
const SERVER: &str = "HOMELAB_DR_TEST_NFS_SERVER_PID";
/// What the program is told to wait at most for one file operation …
const WAIT: Duration = Duration::from_secs(10);
/// … and what it may take to give up: a few operations of a run wait one after another.
const GIVES_UP: Duration = Duration::from_secs(60);

fn mount() -> PathBuf {
    PathBuf::from(needed(DIR))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an NFS mount in HOMELAB_DR_TEST_NFS_DIR"]
async fn lane_nfs_conforms() {
    let root = mount();
    let fresh = || {
        let dir = root.join(fresh_name());
        async move { Arc::new(FileStore::create(dir).await.expect("made")) as Arc<dyn Store> }
    };
    // More than an NFS client reads of a directory at once, few enough for their fsyncs.
    conforms(Can { race: true, versions: false, locks: false, many: 300 }, fresh).await;
}

#[test]
#[ignore = "needs an NFS mount in HOMELAB_DR_TEST_NFS_DIR"]
fn lane_nfs_a_log_in_use_is_refused() {
    let folder = mount().join(fresh_name());
    std::fs::create_dir(&folder).unwrap();
    crate::live::trouble::is_refused_on(&folder, "NFS");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
#[ignore = "needs an NFS mount in HOMELAB_DR_TEST_NFS_DIR"]
fn lane_nfs_program() {
    let repo = mount().join(fresh_name());
    let lab = Lab::new(|_| repo.to_str().unwrap().to_owned(), Some(repo.clone()));
    let source = lab.source();
    write_small_tree(&source, 1);
    let mut reported = Vec::new();
    for day in 0..3 {
        change_small_tree(&source, day);
        let ran = lab.run(&["backup", "source", "--source", "s", "--json"]).exits(0).json();
        reported.push((ran["snapshot"].as_str().expect("an id").to_owned(), picture(&source)));
    }
    lab.is_clean(&["--read-data"]);
    for (id, expected) in &reported {
        assert!(lab.restored(id) == *expected, "snapshot {id} restores to something else");
    }
    lab.run(&["forget", "--keep-last", "1", "--yes"]).exits(0);
    let pruned = lab.run(&["prune", "--grace", "0s", "--yes", "--json"]).exits(0).json();
    assert!(!pruned["outcome"]["deleted"].as_array().expect("a list").is_empty(), "{pruned}");
    lab.is_clean(&["--read-data"]);
    let (id, expected) = reported.pop().expect("three");
    assert_eq!(lab.snapshots(), std::slice::from_ref(&id));
    assert!(lab.restored(&id) == expected);
    // An NFS client renames a file that is removed while it is open.
    assert!(lab.names().iter().all(|name| !name.contains(".nfs")), "{:?}", lab.names());
    assert_eq!(lab.temporary(), 0);
}

/// A stopped server, which goes on when this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn stop() -> Self {
        let pid = Pid::from_raw(needed(SERVER).parse().expect("a process")).expect("a process");
        kill_process(pid, Signal::STOP).expect("stopped");
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// The program tells that the mount does not answer, instead of hanging for ever, and nothing is lost. Whether the process itself can end before the
/// server is back is the kernel's matter (it holds a thread that waits for pages to be written), so that is only told.
#[test]
#[ignore = "needs an NFS mount and its server's process id, in the environment"]
fn lane_nfs_frozen() {
    let repo = mount().join(fresh_name());
    let address = format!("file://{}?wait={}s", repo.display(), WAIT.as_secs());
    let lab = Lab::new(|_| address.clone(), Some(repo.clone()));
    let source = lab.source();
    write_small_tree(&source, 1);
    lab.run(&["backup", "source", "--source", "s"]).exits(0);
    let first = lab.snapshots().pop().expect("a snapshot");
    let before = picture(&source);

    // Some seconds of writing at this speed, so that the server stops in the middle.
    std::fs::write(source.join("more"), noise(9, 2 << 20)).unwrap();
    let sessions = lab.names().iter().filter(|name| name.starts_with("sessions/")).count();
    let mut run = lab.start(&["backup", "source", "--source", "s", "--limit-upload", "512KiB/s"]);
    run.until("its session is stored", || {
        lab.names().iter().filter(|name| name.starts_with("sessions/")).count() > sessions
    });
    let stopped = Stopped::stop();
    let begun = Instant::now();
    run.hears_within("did not answer for 10 s", GIVES_UP);
    let took = begun.elapsed();
    println!("it gave up after {took:?}; {}", if run.is_running() { "the kernel holds it" } else { "it has ended" });
    assert!(took >= WAIT / 2, "it gave up after {took:?}: the server was not what it waited for");
    drop(stopped);
    let ran = run.ends(Duration::from_secs(30)).exits(5);
    ran.says(&["failed to", "is the server of this mount up?"]);

    lab.is_clean(&["--read-data"]);
    assert_eq!(lab.snapshots(), std::slice::from_ref(&first));
    assert!(lab.restored(&first) == before);
    lab.run(&["backup", "source", "--source", "s"]).exits(0);
    let second = lab.snapshots().pop().expect("a snapshot");
    assert!(first != second && lab.restored(&second) == picture(&source));
    lab.is_clean(&["--read-data"]);
}
