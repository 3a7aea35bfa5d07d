//! On this machine: from `recover` to a report, the key, and the list of runs.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use super::{Place, changed, cut};
use crate::cli::{Ran, program};

#[test]
fn what_recover_prints_at_its_end_works() {
    let place = Place::new();
    std::fs::remove_file(place.path("runs/report.key")).unwrap();
    let book = "---\nid: t\ntitle: A test\n---\nX.\n\n## 1. Say it\n\nX.\n\n```yaml step\nid: say\nrun: {argv: [echo, said and done]}\n```\n\n## 2. Look\n\nX.\n\n```yaml step\nid: look\nmanual: {confirm: it is there}\n```\n";
    std::fs::write(place.path("book.md"), book).unwrap();
    let ran = place.ran(&["recover", "book.md", "--yes"]).exits(8);
    let line = ran.out.lines().last().expect("a line");
    let pointed = line.strip_prefix("report: homelab-dr ").unwrap_or_else(|| panic!("{}", ran.out));
    let words: Vec<&str> = pointed.split(' ').collect();
    place.ran(&words).exits(0);
    let page = std::fs::read_to_string(place.path("report.html")).expect("it is written");
    assert!(page.contains("waits for a person") && page.contains("said and done"), "{page}");
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("runs/report.key"), mode("report.html")), (0o600, 0o600));
    place.ran(&["report", "verify", "report.html"]).exits(0);
    place.ran(&words).exits(7).says(&["exists already"]);
    // The key is made once.
    let key = std::fs::read(place.path("runs/report.key")).unwrap();
    let run = words[2];
    place.ran(&["recover", "--resume", run, "--confirm", "look", "--quiet"]).exits(0);
    assert_eq!(std::fs::read(place.path("runs/report.key")).unwrap(), key);
    let report = place.ran(&["report", "show", run, "--json"]).exits(0).json();
    assert_eq!(report["report"]["standing"], "recovered");
    assert_eq!(report["report"]["taken_up"].as_array().map(Vec::len), Some(2));
    let again = place.ran(&["report", "show", run, "--json"]).exits(0).out;
    assert_eq!(again, place.ran(&["report", "show", run, "--json"]).exits(0).out, "the same journal, the same bytes");
    // Journals elsewhere are named.
    let ran = place.ran(&["recover", "book.md", "--yes", "--journals", "other runs"]).exits(8);
    assert!(
        ran.out.lines().last().is_some_and(|line| line.contains("--journals 'other runs' --format")),
        "{}",
        ran.out
    );
    assert!(!place.ran(&["recover", "book.md", "--yes", "--json"]).exits(8).out.contains("report: "));
}

#[test]
fn the_runs_of_a_machine_are_listed_and_a_broken_journal_is_told() {
    let place = Place::with_all();
    let ran = place.ran(&["report", "list"]).exits(0);
    let runs: Vec<&str> = ran.out.lines().skip(1).filter_map(|line| line.split(' ').next()).take(4).collect();
    assert_eq!(runs, ["d0d0cafe", "5f0c1d2e", "a1b2c3d4", "0badcafe"], "by when they were planned: {}", ran.out);
    for part in [
        "Drill: Recovered",
        "  Recovered",
        "FAILED",
        "Not over: waits for a person",
        "2026-11-21 09:00",
        "hdr-report1-",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    place.add("bad0bad0", "{\"no\":\"plan\"}\n");
    place.add("bad1bad1", &changed("good", &[("2026-11-21T09:41:14Z", "yesterday")]));
    std::fs::create_dir(place.path("runs/not-a-run")).unwrap();
    let ran = place.ran(&["report", "list", "--json"]).exits(3);
    let document = ran.json();
    assert_eq!(
        (document["runs"].as_array().map(Vec::len), document["problems"].as_array().map(Vec::len)),
        (Some(4), Some(2))
    );
    place.ran(&["report", "show", "bad0bad0"]).exits(1).says(&["line 1"]);
    place.ran(&["report", "show", "bad1bad1"]).exits(1).says(&["\"yesterday\" in the journal is no time"]);
    let altered = changed("good", &[("Everything of the namespace.", "Nothing of it.")]);
    place.add("bad2bad2", &altered);
    place.ran(&["report", "show", "bad2bad2"]).exits(2).says(&["not the one that it was made of"]);
    place.ran(&["report", "show", "../../../etc"]).exits(2).says(&["no run"]);
    place.ran(&["report", "show", "5f0c1d2e", "--format", "html", "--json"]).exits(2);
    let nowhere = place.ran(&["report", "list", "--journals", "nowhere"]).exits(0);
    assert!(nowhere.out.contains("no run has left a journal") && !place.path("nowhere").exists());
}

#[test]
fn a_run_under_way_is_told_from_one_that_died() {
    let place = Place::new();
    place.add("0badcafe", &cut("waiting", 4));
    let standing =
        || place.ran(&["report", "show", "0badcafe", "--json"]).exits(0).json()["report"]["standing"].clone();
    assert_eq!(standing(), "cut-off");
    // As who carries it out does.
    let file = std::fs::File::open(place.path("runs/0badcafe/journal.jsonl")).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(standing(), "under-way");
    drop(file);
    // A line that was being written is none.
    let torn = cut("waiting", 4) + "{\"at\":\"2026-11-21T20:3";
    std::fs::write(place.path("runs/0badcafe/journal.jsonl"), &torn).unwrap();
    assert_eq!(standing(), "cut-off");
    let left = std::fs::read_to_string(place.path("runs/0badcafe/journal.jsonl")).unwrap();
    assert_eq!(left, torn, "who looks changes nothing");
}

#[test]
fn without_a_place_for_the_key_nothing_is_signed() {
    let place = Place::with_all();
    let missing = |args: &[&str]| {
        let mut command: Command = program();
        Ran::of(&command.current_dir(place.path(".")).args(args).output().unwrap())
    };
    missing(&["report", "list"]).exits(2).says(&["no home directory", "--journals"]);
    std::fs::remove_file(place.path("runs/report.key")).unwrap();
    std::fs::create_dir(place.path("runs/report.key")).unwrap();
    place.ran(&["report", "show", "5f0c1d2e"]).exits(1).says(&["the key of reports"]);
}

#[test]
fn the_commands_of_the_page_on_reports_work() {
    let place = Place::with_all();
    let page = include_str!("../../../docs/report.md");
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    homelab-dr ")).collect();
    assert_eq!(commands.len(), 4, "{commands:?}");
    for command in commands {
        place.ran(&command.split(' ').collect::<Vec<_>>()).exits(0);
    }
    assert!(place.path("report.html").exists());
}

#[test]
fn of_many_that_make_the_key_at_once_all_get_the_same() {
    let place = Place::with_all();
    std::fs::remove_file(place.path("runs/report.key")).unwrap();
    let start = |_| {
        let mut command = program();
        command.current_dir(place.path(".")).env("HOMELAB_DR_RUNS", "runs");
        command.args(["report", "show", "5f0c1d2e", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let all: Vec<_> = (0..4).map(start).collect();
    let mut keys: Vec<String> = Vec::new();
    for child in all {
        let report = Ran::of(&child.wait_with_output().unwrap()).exits(0).json();
        keys.push(report["signature"]["key"].as_str().unwrap().to_owned());
    }
    keys.dedup();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let left = std::fs::read_dir(place.path("runs"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".report-key"));
    assert_eq!(left.count(), 0, "nothing half-made stays");
}
