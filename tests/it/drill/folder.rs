//! Into a folder of this machine: sources alone.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cli::{Home, Ran};

pub(super) fn command(home: &Home, args: &[&str]) -> Command {
    let mut command = home.command(args);
    command.env("HOMELAB_DR_IDENTITY_FILE", "key").env("HOMELAB_DR_WRITER_KEY_FILE", "writer");
    command.env("HOMELAB_DR_RUNS", "runs").env("USER", "somebody");
    command
}

pub(super) fn run(home: &Home, args: &[&str]) -> Ran {
    Ran::of(&command(home, args).output().expect("it runs"))
}

/// A drill below the folder `scratch`.
pub(super) fn drill(home: &Home, args: &[&str]) -> Ran {
    run(home, &[&["drill", "--into-folder", "scratch", "--yes"][..], args].concat())
}

/// The drills that the repository has, by who cannot read content.
pub(super) fn drills(home: &Home) -> Vec<Value> {
    let listed = home.write(&["drills", "--json"]).exits(0).json();
    listed["drills"].as_array().expect("a list").clone()
}

/// What lies below the folder of drills.
pub(super) fn left(home: &Home) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home.path("scratch"));
    entries.map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

fn database(home: &Home, name: &str) -> PathBuf {
    let path = home.path("source").join(name);
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch("CREATE TABLE t(x); CREATE INDEX i ON t(x)").unwrap();
    let mut insert = database.prepare("INSERT INTO t VALUES (?1)").unwrap();
    for number in 0..2000 {
        insert.execute([format!("row {number}")]).unwrap();
    }
    path
}

#[test]
fn a_source_is_rehearsed_and_nothing_but_the_record_stays() {
    let home = Home::new();
    database(&home, "app.data");
    let snapshot = home.backup();
    let ran = run(&home, &["drill", "--source", "files", "--into-folder", "scratch", "--plan"]).exits(0);
    for part in ["Drill of 1 source", "[source-1] restore.files files", "files: as in the snapshot, 100%"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(!home.path("scratch").exists() && !home.path("runs").exists(), "a plan changes nothing");
    run(&home, &["drill", "--source", "files", "--into-folder", "scratch"]).exits(2).says(&["no terminal"]);
    let ran = drill(&home, &["--source", "files", "--rto", "1h", "--rpo", "1h"]).exits(0);
    for part in ["SQLite app.data: the database is whole", "holds: files: as in the snapshot"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    for part in ["checks: 2 of 2 held", "(wanted 1h: met)", "passed"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert_eq!(left(&home), Vec::<PathBuf>::new());
    let all = drills(&home);
    let [record] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(
        (&record["outcome"], &record["target"], &record["why"]),
        (&"passed".into(), &"folder".into(), &"".into())
    );
    assert_eq!(record["sources"][0]["snapshot"], snapshot.as_str());
    assert!(record["sources"][0]["took"].is_u64() && record["recipient"] == home.recipient.as_str(), "{record:#}");
    assert_eq!((&record["rto"], &record["rpo"], &record["checks"]), (&3600.into(), &3600.into(), &2.into()));
    let table = home.write(&["drills"]).exits(0).out;
    assert!(table.contains("passed") && table.contains("2/2") && table.contains("files"), "{table}");
    assert!(home.write(&["drills", "--source", "other"]).exits(0).out.contains("no drill"));
    // It is a run like others: it has a report, and is none to go on with.
    let id = record["run"].as_str().unwrap();
    let report = run(&home, &["report", "show", id, "--json"]).exits(0).json();
    crate::report::is_by_the_schema(&report);
    let (report, part) = (&report["report"], &report["report"]["drill"]);
    assert_eq!(
        (&report["standing"], report["steps"][0]["checks"].as_array().map(Vec::len)),
        (&"recovered".into(), Some(2))
    );
    assert!(
        part["prepared"][0].as_str().unwrap().contains("was made") && part["cleared"]["left"] == serde_json::json!([])
    );
    for format in ["text", "markdown", "html"] {
        let shown = run(&home, &["report", "show", id, "--format", format]).exits(0).out;
        assert!(shown.contains("source-1") && !shown.contains("--resume"), "{shown}");
    }
    run(&home, &["recover", "--resume", id]).exits(2).says(&["is a drill"]);
    home.read(&["check"]).exits(0);
}

#[test]
fn objects_without_a_volume_are_told_to_be_unseen_and_of_volumes_all_are_compared() {
    let home = crate::recover::plan::lab();
    let other = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: other, namespace: media}\n\
                 spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}\n";
    std::fs::write(home.path("lab/manifests/other.yaml"), other).unwrap();
    std::fs::create_dir(home.path("lab/volumes/media/other")).unwrap();
    std::fs::write(home.path("lab/volumes/media/other/hello"), "hello, other\n").unwrap();
    crate::recover::plan::backup(&home, "cluster");
    crate::recover::plan::backup(&home, "volumes");
    let first = "id: first\nneeds: []\nrestore.resources: {source: cluster, include: [namespaces, configmaps]}\nverify: [run: {argv: [\"true\"]}]";
    let all = "id: all\nneeds: [first]\nrestore.resources: {source: cluster}\nverify: [ready: {namespace: media}]";
    let book = crate::recover::runbook(home.dir(), "", &[first, all]);
    let unseen = "[first] whether its objects are alive: it brings back no volume whose files could be compared";
    // Alone nobody would see anything of it: that is said before it begins.
    drill(&home, &[&book, "--skip", "all"]).exits(2).says(&["no check is left", "in a folder nothing runs"]);
    assert!(!home.path("runs").exists() && drills(&home).is_empty(), "nothing was begun");
    let plan = run(&home, &["drill", &book, "--into-folder", "scratch", "--plan"]).exits(0).out;
    assert!(plan.contains(unseen), "{plan}");
    assert_eq!(plan.matches("verifies files: as in the snapshot").count(), 1, "{plan}");
    let ran = drill(&home, &[&book]).exits(0);
    let held = "holds: files: as in the snapshot, 100% of the content read: ";
    let said = ran.err.lines().find_map(|line| line.trim().strip_prefix(held)).unwrap_or_else(|| panic!("{}", ran.err));
    assert!(said.contains(" of 2 volumes") && said.contains("19 B of 19 B of content were read"), "{said}");
    let record = &drills(&home)[0];
    assert_eq!((&record["outcome"], &record["checks"], &record["left_out"]), (&"passed".into(), &1.into(), &3.into()));
    // Some of the objects are a part, and of volumes all came back.
    let sources = record["sources"].as_array().unwrap().iter();
    let is =
        |part: bool| sources.clone().filter(|one| one["source"] == "cluster" && (one["part"] == true) == part).count();
    assert_eq!((is(true), is(false)), (1, 1), "{record:#}");
    assert!(sources.clone().filter(|one| one["source"] != "cluster").all(|one| one["part"].is_null()), "{record:#}");
    // By itself the first does not make the cluster one that was rehearsed.
    let data = "id: data\nneeds: []\nrestore.volume: {source: pvc/media/other, into: media/other}\nverify: [no-empty: {at_least: 1}]";
    let home = crate::recover::plan::lab();
    std::fs::write(home.path("lab/manifests/other.yaml"), other).unwrap();
    std::fs::create_dir(home.path("lab/volumes/media/other")).unwrap();
    std::fs::write(home.path("lab/volumes/media/other/hello"), "hello, other\n").unwrap();
    crate::recover::plan::backup(&home, "cluster");
    crate::recover::plan::backup(&home, "volumes");
    let book = crate::recover::runbook(home.dir(), "", &[first, data]);
    drill(&home, &[&book]).exits(0);
    let status = home.write(&["status", "--json"]).exits(3).json();
    let of = |name: &str| {
        let all = status["sources"].as_array().unwrap();
        all.iter().find(|one| one["source"] == name).unwrap_or_else(|| panic!("{status:#}"))["problems"].to_string()
    };
    assert!(of("cluster").contains("only a part of it was ever rehearsed"), "{status:#}");
    assert_eq!(of("pvc/media/other"), "[]", "{status:#}");
}

#[test]
fn what_is_damaged_or_not_there_fails_and_is_recorded_and_kept_only_if_asked() {
    let home = Home::new();
    let path = database(&home, "app.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].iter_mut().skip(100).step_by(97).for_each(|byte| *byte ^= 0x55);
    std::fs::write(&path, bytes).unwrap();
    home.backup();
    let ran = drill(&home, &["--source", "files", "--json"]).exits(1);
    let document = ran.json();
    assert_eq!(document["drill"]["outcome"], "failed", "{document:#}");
    let why = document["drill"]["why"].as_str().unwrap();
    assert!(why.contains("the SQLite database app.db does not open"), "{why}");
    assert!(document["drill"]["took"].is_null() && document["drill"]["held"] == 0, "{document:#}");
    assert_eq!(left(&home), Vec::<PathBuf>::new(), "removed after a failure, too");
    assert_eq!(drills(&home)[0]["outcome"], "failed");
    // Kept as asked, also by the next drill; until somebody cleans.
    drill(&home, &["--source", "files", "--keep-on-failure"]).exits(1);
    assert!(left(&home)[0].join("files/1-files/app.db").exists());
    drill(&home, &["--source", "files"]).exits(1);
    assert_eq!(left(&home).len(), 1);
    let ran = run(&home, &["drill", "--clean", "--into-folder", "scratch"]).exits(0);
    assert!(ran.out.contains("removed ") && left(&home).is_empty(), "{}", ran.out);
}

#[test]
fn nothing_found_is_no_pass_and_an_unknown_source_is_in_the_way() {
    let home = Home::new();
    std::fs::create_dir(home.path("empty")).unwrap();
    home.write(&["backup", "empty", "--source", "nothing"]);
    drill(&home, &["--source", "gone"]).exits(7).says(&["stands in its way"]);
    assert!(!home.path("runs").exists() && drills(&home).is_empty(), "nothing was begun");
    let listed = home.write(&["snapshots", "--json"]).exits(0).json();
    if listed["snapshots"].as_array().is_some_and(|all| !all.is_empty()) {
        drill(&home, &["--source", "nothing"]).exits(1);
        assert_eq!(drills(&home)[0]["outcome"], "failed");
    }
    home.backup();
    // A snapshot with files, of which the step brings back none.
    let step = "id: none\nneeds: []\nrestore.files: {source: files, target: /srv/none, exclude: ['*']}\nverify: [no-empty: {at_least: 0}]";
    let book = crate::recover::runbook(home.dir(), "", &[step]);
    drill(&home, &[&book]).exits(1);
    let all = drills(&home);
    let record = all.iter().find(|record| record["runbook"]["id"] == "t").expect("that of the runbook");
    assert_eq!((&record["outcome"], &record["sources"][0]["part"]), (&"failed".into(), &true.into()), "{record:#}");
    assert_eq!(record["why"], "nothing was restored");
    let mut command = command(&home, &["drill", "--source", "files", "--into-folder", "scratch", "--yes"]);
    let ran = Ran::of(&command.env_remove("HOMELAB_DR_IDENTITY_FILE").output().unwrap());
    ran.exits(2).says(&["needs a recovery identity"]);
    drill(&home, &["--source", "files", "--set", "a=b"]).exits(2);
    drill(&home, &[]).exits(2);
    drill(&home, &["--source", "files", "--rto", "soon"]).exits(2);
}

#[test]
fn data_that_nobody_here_can_start_a_server_on_is_told_and_counts_as_no_pass() {
    let home = Home::new();
    let data = home.path("source/pg/data");
    std::fs::create_dir_all(data.join("global")).unwrap();
    std::fs::write(data.join("PG_VERSION"), "8\n").unwrap();
    std::fs::write(data.join("global/pg_control"), [0; 512]).unwrap();
    home.backup();
    let ran = drill(&home, &["--source", "files"]).exits(3);
    let says = "not verified: PostgreSQL pg/data: the data are of PostgreSQL 8";
    assert!(ran.out.contains(says) && ran.err.contains(says), "{} {}", ran.out, ran.err);
    assert!(drills(&home)[0]["remarks"][0].as_str().unwrap().starts_with(says));
}

#[test]
fn an_objective_that_was_missed_is_told_and_is_no_failure() {
    let home = Home::new();
    home.backup();
    std::thread::sleep(Duration::from_millis(1100));
    let ran = drill(&home, &["--source", "files", "--rpo", "0s"]).exits(3);
    assert!(ran.out.contains("(wanted 0s: MISSED)") && ran.out.contains("OBJECTIVE MISSED"), "{}", ran.out);
    assert_eq!(drills(&home)[0]["outcome"], "missed");
}

/// A source of some MiB that takes seconds to come back.
fn slow() -> Home {
    let home = Home::new();
    std::fs::write(home.path("source/noise"), crate::support::files::noise(7, 3 << 20)).unwrap();
    home.backup();
    home
}

const SLOWLY: [&str; 8] =
    ["drill", "--into-folder", "scratch", "--yes", "--source", "files", "--limit-download", "256KiB/s"];

/// Begins a drill, and waits until it writes.
fn begun(home: &Home) -> std::process::Child {
    let mut child = command(home, &SLOWLY).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    for _ in 0..2000 {
        if left(home).iter().any(|folder| folder.join("files/1-files/a").exists()) {
            return child;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let ended = child.wait();
    panic!("it never began: {ended:?}");
}

#[test]
fn what_a_killed_drill_left_the_next_one_removes() {
    let home = slow();
    let mut child = begun(&home);
    let ran = drill(&home, &["--source", "files"]).exits(7);
    assert!(ran.err.contains("another run"), "two at once: {}", ran.err);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(left(&home).len(), 1);
    let ran = drill(&home, &["--source", "files"]).exits(0);
    assert!(ran.err.contains("a drill was cut off and left"), "{}", ran.err);
    assert!(left(&home).is_empty());
    assert_eq!(drills(&home).len(), 1, "of the one that was killed nobody knows what it came to");
}

#[test]
fn a_drill_that_is_stopped_removes_what_it_made_and_says_so() {
    let home = slow();
    let mut child = begun(&home);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(left(&home).is_empty());
    let all = drills(&home);
    assert_eq!((all.len(), &all[0]["outcome"]), (1, &"stopped".into()));
}

#[test]
fn a_repository_that_takes_no_record_is_told_with_the_result() {
    let home = Home::new();
    home.backup();
    // A file where the folder of records would be.
    std::fs::write(home.path("repo/rehearsals"), "in the way").unwrap();
    let ran = drill(&home, &["--source", "files"]).exits(3);
    assert!(ran.err.contains("could NOT be recorded") && ran.out.contains("passed"), "{} {}", ran.err, ran.out);
}

/// What an earlier step restored may be a link out of the drill's folder: nothing is written, removed or looked at behind it.
#[test]
fn links_that_come_back_lead_no_step_and_no_check_out_of_the_drill() {
    let home = Home::new();
    let live = home.path("live");
    std::fs::create_dir_all(live.join("sub")).unwrap();
    std::fs::write(live.join("sub/precious"), "mine").unwrap();
    std::fs::rename(database(&home, "app.db"), live.join("app.db")).unwrap();
    std::os::unix::fs::symlink(&live, home.path("source/data")).unwrap();
    std::os::unix::fs::symlink(live.join("app.db"), home.path("source/app.db")).unwrap();
    home.backup();
    let book = |steps: &str| {
        let text = format!("---\nid: links\ntitle: Links\n---\n\n# Links\n\n{steps}");
        std::fs::write(home.path("links.md"), text).unwrap();
    };
    let step = |id: &str, needs: &str, what: &str, check: &str| {
        format!("## {id}\n\n```yaml step\nid: {id}\n{needs}restore.files: {what}\nverify:\n  - {check}\n```\n\n")
    };
    let first = |check: &str| step("first", "", "{source: files, target: /srv}", check);
    let into = "{source: files, path: a, target: /srv/data/sub, delete: true}";
    book(&(first("files: {}") + &step("second", "needs: [first]\n", into, "files: {}")));
    let ran = drill(&home, &["links.md"]).exits(1);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("data is a link, or no directory"), "{said}");
    assert_eq!(std::fs::read_to_string(live.join("sub/precious")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(live.join("sub")).unwrap().count(), 1, "nothing was written there");
    for file in ["app.db", "data/app.db"] {
        book(&first(&format!("sqlite: {{file: {file}}}")));
        let ran = drill(&home, &["links.md"]).exits(1);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains("by a link: it was not restored there"), "{file}: {said}");
    }
    assert_eq!(left(&home), Vec::<PathBuf>::new());
}
