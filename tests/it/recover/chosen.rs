//! Steps that are left out, steps that stand for others that failed, and what somebody lets pass: by the real program.

use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::{run_of, runbook, until};
use crate::cli::{Home, Ran};

fn recover(home: &Home, args: &[&str]) -> Ran {
    let mut command = home.command(&[&["recover"][..], args].concat());
    command.env("HOMELAB_DR_IDENTITY_FILE", "key").env("HOMELAB_DR_RUNS", "runs").env("USER", "somebody");
    Ran::of(&command.output().expect("it runs"))
}

/// A step that leaves a file with its name, and fails where that is there: it was done before.
fn marks(home: &Home, id: &str, needs: &str) -> String {
    format!("id: {id}\nneeds: [{needs}]\nrun: {{argv: [mkdir, {}]}}", home.path(id).display())
}

/// Which of the steps were carried out, and forgets it.
fn done(home: &Home) -> String {
    let all: Vec<PathBuf> =
        ["a", "b", "c", "undo"].map(|id| home.path(id)).into_iter().filter(|path| path.exists()).collect();
    all.iter().for_each(|path| std::fs::remove_dir(path).unwrap());
    all.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_left_out_is_not_done_and_what_needs_it_goes_on() {
    let home = Home::new();
    let gone = "id: gone\nneeds: []\nrestore.files: {source: gone, target: /nowhere/x}\nverify: [no-empty: {}]";
    let steps = [gone, &marks(&home, "a", ""), &marks(&home, "b", "a, gone"), &marks(&home, "c", "b")];
    let book = runbook(home.dir(), "", &steps);
    for (option, told) in [("--only", "has no step \"bb\""), ("--skip", "has no step \"bb\"")] {
        recover(&home, &[&book, option, "bb", "--plan"]).exits(2).says(&[told, "did you mean \"b\""]);
    }
    recover(&home, &[&book, "--yes"]).exits(7).says(&["stands in its way"]);
    assert_eq!(done(&home), "");
    // What is left out stands in nobody's way, needs neither a snapshot nor the repository, and counts as done.
    let plain = |args: &[&str]| {
        let mut command = home.command(&[&["recover", &book, "--yes"][..], args].concat());
        Ran::of(&command.env("HOMELAB_DR_RUNS", "runs").env_remove("HOMELAB_DR_REPO").output().unwrap())
    };
    let ran = plain(&["--skip", "gone"]).exits(0);
    assert!(ran.err.contains("[gone] left out, as asked"), "{}", ran.err);
    assert_eq!(done(&home), "a b c");
    plain(&["--only", "c"]).exits(0);
    assert_eq!(done(&home), "c", "what it needs was left out");
    plain(&["--only", "a", "--only", "b", "--skip", "a"]).exits(0);
    assert_eq!(done(&home), "b", "both at once");
    plain(&["--only", "a", "--skip", "a"]).exits(2).says(&["every step is left out"]);
    assert_eq!(done(&home), "");

    // A plan that was kept has it.
    recover(&home, &[&book, "--only", "b", "--plan", "--out", "plan.json"]).exits(0);
    recover(&home, &["--from", "plan.json", "--yes", "--skip", "b"]).exits(2);
    let ran = recover(&home, &["--from", "plan.json", "--yes", "--json"]).exits(0);
    let skipped: Vec<String> = ran.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["event"] == "skipped")
        .map(|event| event["step"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((skipped.join(" "), done(&home)), ("a c gone".to_owned(), "b".to_owned()));

    // So has a run that is taken up.
    std::fs::create_dir(home.path("b")).unwrap();
    let ran = recover(&home, &[&book, "--yes", "--skip", "gone", "--skip", "a"]).exits(1);
    let run = run_of(&ran.out);
    assert_eq!(done(&home), "b");
    recover(&home, &["--resume", &run, "--skip", "c"]).exits(2);
    recover(&home, &["--resume", &run]).exits(0);
    assert_eq!(done(&home), "b c");
}

#[test]
fn what_stands_for_a_step_that_failed_is_done_also_when_it_was_killed() {
    let home = Home::new();
    let (began, go) = (home.path("began"), home.path("go"));
    let bad = "id: bad\nneeds: [a]\nrun: {argv: [\"false\"]}\non_failure: {run: [slow, undo]}";
    let undo = marks(&home, "undo", "").replace("needs: []\n", "");
    let slow = format!(
        "id: slow\nrun: {{argv: [sh, -c, 'touch {}; while [ ! -e {} ]; do sleep 0.05; done']}}",
        began.display(),
        go.display()
    );
    let steps = [&marks(&home, "a", ""), bad, &marks(&home, "b", "bad"), &slow, &undo];
    let book = runbook(home.dir(), "", &steps);
    let ran = recover(&home, &[&book, "--plan"]).exits(0);
    assert!(ran.out.contains("only if another fails: slow, undo"), "{}", ran.out);
    let mut command = home.command(&["recover", &book, "--yes", "--no-progress"]);
    command.env("HOMELAB_DR_RUNS", "runs").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    until("the step", || began.exists());
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    let run = run_of(&String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr));
    std::fs::write(&go, "").unwrap();
    let folder = home.path("runs").join(&run);
    until("the end of the program", || homelab_dr::runs::hands::outlived::all(&folder).is_empty());
    // Whether what undoes came to its end nobody knows.
    let ran = recover(&home, &["--resume", &run, "--yes"]).exits(8);
    assert!(ran.out.contains("--confirm slow"), "{}", ran.out);
    assert!(!home.path("undo").exists());
    let ran = recover(&home, &["--resume", &run, "--confirm", "slow"]).exits(1);
    assert!(ran.out.contains("has FAILED") && !ran.err.contains("[bad] begins"), "{}{}", ran.out, ran.err);
    assert_eq!(done(&home), "a undo", "each once, and nothing after what failed");
    recover(&home, &["--resume", &run]).exits(7).says(&["was undone by its own steps", "begin anew"]);
}

#[test]
fn a_step_that_failed_is_passed_when_somebody_says_so() {
    let home = Home::new();
    let bad = "id: bad\nneeds: [a]\nrun: {argv: [\"false\"]}\non_failure: ask";
    let book = runbook(home.dir(), "", &[&marks(&home, "a", ""), bad, &marks(&home, "b", "bad")]);
    let ran = recover(&home, &[&book, "--yes"]).exits(8);
    let run = run_of(&ran.out);
    assert!(ran.out.contains(&format!("recover --resume {run} --confirm bad")), "{}", ran.out);
    let ran = recover(&home, &["--resume", &run, "--confirm", "bad", "--json"]).exits(3);
    assert_eq!(done(&home), "a b");
    let document = ran.json();
    assert_eq!(document["outcome"], "with-failures");
    let events = document["events"].as_array().unwrap();
    let agreed = events.iter().find(|event| event["event"] == "agreed").unwrap();
    assert_eq!((&agreed["question"], &agreed["by"]), (&"go-on".into(), &"somebody".into()), "{agreed}");
}
