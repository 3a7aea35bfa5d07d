//! `backup` by the configuration: sources that do well, and every way in which one does not.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::config::{configured, run, write};
use super::{Home, Ran, program};

/// The newest snapshots' sources.
fn snapshots(home: &Home) -> Vec<String> {
    let listed = run(home, &["snapshots", "--json"]).exits(0).json();
    listed["snapshots"].as_array().unwrap().iter().map(|s| s["source"].as_str().unwrap().to_owned()).collect()
}

/// A source that runs a script of bash, as YAML.
fn script(script: &str, rest: &str) -> String {
    format!("{{command: {{argv: [bash, -c, {}], file: dump{rest}}}}}", serde_json::Value::from(script))
}

#[test]
fn all_sources_are_backed_up_and_the_table_says_how() {
    let home = configured(&format!(
        "sources:\n  photos: {{path: {{paths: [DIR/source], exclude: [zeros]}}, tags: {{kind: media}}}}\n  pg/app: {}\n",
        script("echo a dump; echo talk >&2; env | grep -c ^HOMELAB_DR_ || true; pwd", "")
    ));
    let mut command = program();
    command.current_dir(home.dir()).env("HOMELAB_DR_LEAK", "secret").args(["backup", "--tag", "day=1"]);
    let ran = Ran::of(&command.output().unwrap()).exits(0);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with("SOURCE  KIND     FILES"), "{}", ran.out);
    assert!(lines[1].starts_with("photos  path") && lines[1].ends_with("done"), "{}", ran.out);
    assert!(lines[2].starts_with("pg/app  command      1") && lines[2].ends_with("done"), "{}", ran.out);
    assert_eq!(snapshots(&home), ["photos", "pg/app"]);
    let files = run(&home, &["ls", "latest:photos"]).exits(0).out;
    assert!(!files.contains("zeros"), "{files}");
    assert_eq!(run(&home, &["cat", "latest:pg/app:dump", "--identity", "key"]).exits(0).out, "a dump\n0\n/\n");
    let tags = run(&home, &["snapshots", "--tag", "kind=media", "--tag", "day=1", "--json"]).json();
    assert_eq!(tags["snapshots"].as_array().unwrap().len(), 1);

    let one = run(&home, &["backup", "--source", "photos", "--json"]).exits(0).json();
    assert_eq!((one["exit"].as_u64(), one["sources"].as_array().unwrap().len()), (Some(0), 1));
    assert_eq!((&one["sources"][0]["result"], &one["sources"][0]["kind"]), (&"done".into(), &"path".into()));
    assert!(one["sources"][0]["snapshot"].is_string() && one["sources"][0]["statistics"]["files"].as_u64() > Some(0));
    let dry = run(&home, &["backup", "--dry-run"]).exits(0).out;
    assert_eq!(dry.matches("would run").count(), 2, "{dry}");
    assert_eq!(snapshots(&home).len(), 3, "a dry run stores nothing");
    run(&home, &["backup", "--source", "phots"]).exits(2).says(&["has no source \"phots\"", "photos, pg/app"]);
    run(&home, &["backup", "--exclude", "x"]).exits(2).says(&["belong to a PATH"]);
    run(&home, &["backup", "source"]).exits(2).says(&["no name was given", "--source NAME"]);
}

#[test]
fn one_source_that_fails_does_not_stop_the_others() {
    let home = configured(&format!(
        "sources:\n  gone: {{path: {{paths: [DIR/nope]}}}}\n  broken: {}\n  photos: {{path: {{paths: [DIR/source]}}}}\n",
        script("echo half; echo no such database >&2; exit 9", "")
    ));
    let ran = run(&home, &["backup"]).exits(1);
    assert_eq!(snapshots(&home), ["photos"]);
    assert_eq!(ran.out.matches("FAILED").count(), 2, "{}", ran.out);
    for says in
        ["cannot open", "  | no such database", "bash ended with exit code 9", "2 of 3 sources have no new snapshot"]
    {
        assert!(ran.err.contains(says), "{says}: {}", ran.err);
    }
    let json = run(&home, &["backup", "--json"]).exits(1).json();
    assert_eq!(json["sources"][1]["error"]["error"], "bash ended with exit code 9");
    assert_eq!((&json["sources"][1]["result"], &json["sources"][2]["result"]), (&"failed".into(), &"done".into()));
}

/// Insists that a source fails with these words, and leaves no snapshot.
fn fails(home: &Home, source: &str, says: &[&str]) {
    write(home, &format!("sources:\n  dump: {source}\n"));
    let ran = run(home, &["backup"]).exits(1).says(says);
    assert!(ran.out.contains("FAILED"), "{}", ran.out);
    assert_eq!(snapshots(home), Vec::<String>::new(), "{source}");
}

#[test]
fn a_command_that_does_not_end_well_leaves_no_snapshot() {
    let home = Home::new();
    fails(&home, &script("exit 0", ""), &["bash wrote nothing", "no snapshot was made: an empty dump"]);
    let ends = ", ends-with: done";
    fails(&home, &script("echo half", ends), &["the end of what it wrote has no \"done\"", "the dump is not whole"]);
    fails(&home, &script("head -c 10485760 /dev/urandom; exit 1", ""), &["bash ended with exit code 1"]);
    fails(&home, &script("echo x; kill -9 $$", ""), &["bash was ended by signal 9"]);
    fails(
        &home,
        "{command: {argv: [/no/such/program], file: y}}",
        &["/no/such/program cannot be started", "No such file"],
    );
    // It closes its output in time and fails afterwards.
    fails(&home, &script("echo x; exec >&-; sleep 0.3; exit 4", ""), &["bash ended with exit code 4"]);
    // More is said than is kept; the end of it counts, and no escape sequence reaches the terminal.
    fails(&home, &script("seq 100000 >&2; printf 'last\\033[2J' >&2; exit 3", ""), &["exit code 3", "last\\x1b[2J"]);
    let ran = run(&home, &["check"]).exits(0);
    assert!(ran.out.contains("no damage found"), "{}", ran.out);
}

#[test]
fn a_command_that_takes_too_long_is_stopped_with_all_it_started() {
    let home = Home::new();
    let begun = Instant::now();
    fails(
        &home,
        &script("echo begun; sleep 600", ", timeout: 1s"),
        &["bash was not done after 1s and was stopped", "set the source's timeout"],
    );
    // It ignores the polite signal, and a child of it holds the pipe.
    let stubborn = "trap '' TERM; echo $$ > DIR/pid; (trap '' TERM; while :; do sleep 1; done) & echo x; while :; do sleep 1; done";
    fails(&home, &script(stubborn, ", timeout: 1s"), &["was stopped"]);
    // Its output is closed, and it goes on.
    fails(&home, &script("echo x; exec >&- 2>&-; sleep 600", ", timeout: 1s"), &["was stopped"]);
    // It obeys, and what it started does not.
    let obeys = "echo $$ > DIR/pid2; (trap '' TERM; while :; do sleep 1; done) & echo x; wait";
    fails(&home, &script(obeys, ", timeout: 1s"), &["was stopped"]);
    // It fails by itself and leaves something behind.
    let fails_itself = "echo $$ > DIR/pid3; (while :; do sleep 1; done) >&- 2>&- & echo x; exit 3";
    fails(&home, &script(fails_itself, ""), &["ended with exit code 3"]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    for pid in ["pid", "pid2", "pid3"] {
        nothing_is_left_of(&home, pid);
    }
}

/// Waits until no process of a group is alive.
fn nothing_is_left_of(home: &Home, pid: &str) {
    let group = std::fs::read_to_string(home.path(pid)).unwrap();
    let alive = || {
        let ps = std::process::Command::new("ps").args(["-o", "stat=", "-g", group.trim()]).output().unwrap();
        String::from_utf8_lossy(&ps.stdout).lines().any(|state| !state.starts_with('Z'))
    };
    for _ in 0..50 {
        if !alive() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("something of the group {group} is left");
}

#[test]
fn problems_with_files_and_a_store_that_is_gone_have_their_exit_codes() {
    let home = configured("sources:\n  a: {path: {paths: [DIR/source]}}\n  b: {path: {paths: [DIR/source]}}\n");
    std::fs::rename(home.path("repo"), home.path("away")).unwrap();
    run(&home, &["backup"]).exits(5).says(&["help"]);
    std::fs::rename(home.path("away"), home.path("repo")).unwrap();
    run(&home, &["backup"]).exits(0);
    // A store that goes away in the middle: what failed for one would fail for all.
    write(
        &home,
        &format!(
            "sources:\n  go: {}\n  b: {{path: {{paths: [DIR/source]}}}}\n",
            script("mv DIR/repo DIR/away; echo x", "")
        ),
    );
    let ran = run(&home, &["backup"]).exits(5);
    assert!(ran.out.contains("FAILED") && ran.out.contains("not run"), "{}", ran.out);
}

#[test]
fn ctrl_c_stops_a_command_and_leaves_no_snapshot() {
    let home = configured(&format!(
        "sources:\n  slow: {}\n  photos: {{path: {{paths: [DIR/source]}}}}\n",
        script("touch DIR/begun; echo x; sleep 600", "")
    ));
    let mut command = program();
    command.current_dir(home.dir()).arg("backup").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    for _ in 0..300 {
        if home.path("begun").exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(130);
    assert_eq!(ran.out.matches("not run").count(), 2, "{}", ran.out);
    assert_eq!(snapshots(&home), Vec::<String>::new());
}
