//! On this machine: files, programs, people, and a run that dies.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{run_of, runbook, sealed};
use crate::cli::{Home, Ran};

const FILES: &str = "id: files\nneeds: []\nrestore.files: {source: files, target: \"${to}\"}\nverify: [no-empty: {at_least: 3}, files: {}]";
const TO: &str = "parameters:\n  to: {type: path, description: Where to., example: /tmp/there}\n";

fn command(home: &Home, args: &[&str]) -> Command {
    let mut command = home.command(args);
    command.env("HOMELAB_DR_IDENTITY_FILE", "key").env("HOMELAB_DR_RUNS", "runs").env("USER", "somebody");
    command
}

fn recover(home: &Home, args: &[&str]) -> Ran {
    let args = [&["recover"][..], args].concat();
    Ran::of(&command(home, &args).output().expect("it runs"))
}

fn prepared() -> Home {
    let home = Home::new();
    home.backup();
    home
}

#[test]
fn a_runbook_is_planned_kept_and_carried_out() {
    let home = prepared();
    let book = runbook(
        home.dir(),
        TO,
        &[FILES, "id: look\nrun: {argv: [ls, \"${to}/a/b\"]}", "id: tell\nnotify: {message: it is back}"],
    );
    let to = format!("to={}", home.path("back").display());
    recover(&home, &[&book]).exits(2).says(&["wants a value of to", "--set to="]);
    recover(&home, &[&book, "--set", "too=/x"]).exits(2).says(&["no parameter", "to"]);
    recover(&home, &[&book, "--set", "to=relative"]).exits(2).says(&["--set to"]);
    recover(&home, &[&book, "--set", &to]).exits(2).says(&["no terminal"]);
    let ran = recover(&home, &[&book, "--set", &to, "--plan", "--out", "plan.json"]).exits(0);
    for part in ["[files]", "3 files", "[tell]", "recover --from plan.json"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(!home.path("back").exists() && !home.path("runs").exists(), "a plan changes nothing");
    // A newer snapshot, and another runbook: the plan is carried out as it is.
    std::fs::write(home.path("source/newer"), "newer").unwrap();
    home.backup();
    std::fs::write(home.path("book.md"), "gone").unwrap();
    let ran = recover(&home, &["--from", "plan.json", "--yes", "--json"]).exits(0);
    let document = ran.json();
    assert_eq!(document["outcome"], "recovered", "{document:#}");
    let kinds: Vec<&str> =
        document["events"].as_array().unwrap().iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(
        kinds,
        [
            "taken-up", "opened", "begun", "acted", "checked", "checked", "done", "begun", "acted", "done", "begun",
            "acted", "done", "ended"
        ]
    );
    assert_eq!(document["events"][1]["recipient"], home.recipient.as_str());
    assert!(document["events"][8]["said"].to_string().contains("hello.txt"), "{document:#}");
    assert_eq!(std::fs::read_to_string(home.path("back/a/b/hello.txt")).unwrap(), "hello\n");
    assert!(!home.path("back/newer").exists());
    recover(&home, &["--from", "plan.json", "--yes"]).exits(7).says(&["was begun already", "--resume"]);
    let run = document["plan"]["run"].as_str().unwrap().to_owned();
    let ran = recover(&home, &["--resume", &run]).exits(0);
    assert!(ran.out.contains("done already"), "{}", ran.out);
}

#[test]
fn a_plan_is_for_what_it_was_made_for() {
    let home = prepared();
    let book = runbook(home.dir(), TO, &[FILES]);
    let to = format!("to={}", home.path("back").display());
    recover(&home, &[&book, "--set", &to, "--plan", "--out", "plan.json"]).exits(0);
    let plan = std::fs::read_to_string(home.path("plan.json")).unwrap();
    for (from, to, code, says) in [
        ("What a person would do", "What a thief would do", 2, "not the one that it was made of"),
        ("\"homelab_dr_plan\": 1", "\"homelab_dr_plan\": 7", 2, "form 7"),
        ("\"run\": \"", "\"run\": \"../", 2, "is no run"),
        ("\"in_the_way\": []", "\"in_the_way\": [\"a tree\"]", 7, "stood in its way: a tree"),
        ("\"source\": \"files\"", "\"source\": \"other\"", 1, "FAILED"),
        ("hdr1-", "hdr1-x", 7, "made with the repository"),
    ] {
        let altered = plan.replacen(from, to, 1);
        assert!(altered != plan, "{from} is in it");
        let carried = |text: &str| {
            std::fs::write(home.path("altered.json"), text).unwrap();
            recover(&home, &["--from", "altered.json", "--yes"])
        };
        let refused = carried(&altered).exits(2);
        let is_no_plan = says.contains("form") || says.contains("no run");
        let told = if is_no_plan { says } else { "this plan was changed after it was made" };
        assert!(refused.err.contains(told), "{}", refused.err);
        // Also where somebody has made the digest anew it is judged by what is in it.
        let ran = carried(&sealed(&altered)).exits(code);
        assert!(ran.err.contains(says), "{}", ran.err);
        assert!(!home.path("back").exists());
    }
    // What is left out is as much of it as everything else, and so is that it has a digest.
    let mut without: serde_json::Value = serde_json::from_str(&plan).unwrap();
    for (field, value, says) in [
        ("skipped", serde_json::json!(["files"]), "was changed after it was made"),
        ("values", serde_json::json!({"to": "/elsewhere"}), "was changed after it was made"),
        ("digest", serde_json::Value::Null, "was changed after it was made"),
    ] {
        let mut altered = without.clone();
        altered[field] = value;
        std::fs::write(home.path("altered.json"), altered.to_string()).unwrap();
        recover(&home, &["--from", "altered.json", "--yes"]).exits(2).says(&[says, "--plan --out FILE"]);
    }
    without.as_object_mut().unwrap().remove("digest").unwrap();
    std::fs::write(home.path("altered.json"), without.to_string()).unwrap();
    recover(&home, &["--from", "altered.json", "--yes"]).exits(2).says(&["it has no digest of its content"]);
    std::fs::remove_dir_all(home.path("runs")).unwrap();
    let snapshots = home.read(&["snapshots", "--json"]).exits(0).json();
    let id = snapshots["snapshots"][0]["id"].as_str().unwrap().to_owned();
    home.backup();
    home.read(&["forget", &id, "--yes"]).exits(0);
    let ran = recover(&home, &["--from", "plan.json", "--yes"]).exits(1);
    assert!(ran.err.contains("not in the repository any more"), "{}", ran.err);
    assert!(!home.path("back").exists());
}

#[test]
fn what_stands_in_the_way_is_said_before_anything_is_done() {
    let home = prepared();
    let gone = "id: gone\nneeds: []\nrestore.files: {source: gone, target: /tmp/there}\nverify: [no-empty: {}]";
    let book = runbook(
        home.dir(),
        "",
        &["id: first\nrun: {argv: [touch, DIR/began]}".replace("DIR", home.dir().to_str().unwrap()).as_str(), gone],
    );
    let ran = recover(&home, &[&book, "--yes"]).exits(7).says(&["stands in its way"]);
    assert!(ran.err.contains("no snapshot of gone"), "{}", ran.err);
    assert!(!home.path("began").exists());
    let into = format!(
        "id: into\nneeds: []\nrestore.files: {{source: files, target: {}/repo/x}}\nverify: [no-empty: {{}}]",
        home.dir().display()
    );
    let book = runbook(home.dir(), "", &[&into]);
    recover(&home, &[&book, "--yes"]).exits(2).says(&["is the repository itself, or lies in it"]);
}

#[test]
fn a_manual_step_waits_for_a_person_and_is_taken_up() {
    let home = prepared();
    let mark = home.path("after");
    let after = format!("id: after\nrun: {{argv: [touch, {}]}}", mark.display());
    let book = runbook(home.dir(), "", &["id: look\nmanual: {confirm: looks right}", &after]);
    let ran = recover(&home, &[&book, "--yes"]).exits(8);
    let run = run_of(&ran.out);
    assert!(ran.out.contains(&format!("recover --resume {run} --confirm look")), "{}", ran.out);
    assert!(!mark.exists());
    recover(&home, &["--resume", &run]).exits(8);
    let ran = recover(&home, &["--resume", &run, "--confirm", "look", "--json"]).exits(0);
    let events = ran.json()["events"].to_string();
    assert!(mark.exists() && events.contains("\"by\":\"somebody\"") && events.contains("--confirm look"), "{events}");
}

#[test]
fn a_step_that_fails_stops_the_run_and_is_tried_again_when_it_is_mended() {
    let home = prepared();
    let (switch, count) = (home.path("switch"), home.path("count"));
    let first = format!("id: first\nrun: {{argv: [mkdir, {}]}}", count.display());
    let bad = format!("id: bad\nrun: {{argv: [cat, {}]}}", switch.display());
    let book = runbook(home.dir(), "", &[&first, &bad, "id: last\nnotify: {message: end}"]);
    let ran = recover(&home, &[&book, "--yes"]).exits(1);
    assert!(ran.err.contains("[bad] FAILED") && ran.err.contains("No such file"), "{}", ran.err);
    assert!(ran.out.contains("last   not begun"), "{}", ran.out);
    let run = run_of(&ran.out);
    std::fs::write(&switch, "on").unwrap();
    recover(&home, &["--resume", &run]).exits(0);
}

#[test]
fn nothing_of_ours_reaches_a_program_and_nothing_of_a_shell_happens() {
    let home = prepared();
    let book = runbook(
        home.dir(),
        "",
        &["id: env\nrun: {argv: [env]}", "id: words\nrun: {argv: [echo, \"$(id); `id` $HOME\"]}"],
    );
    let ran = recover(&home, &[&book, "--yes", "--json"]).exits(0);
    let events = ran.json()["events"].to_string();
    assert!(events.contains("PATH=") || events.contains("TZ=UTC"), "{events}");
    assert!(!events.contains("HOMELAB_DR"), "{events}");
    assert!(events.contains("$(id); `id` $HOME"), "{events}");
}

/// Waits until a file is there.
fn until(path: &std::path::Path) {
    for _ in 0..1200 {
        if path.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("{} never came", path.display());
}

#[test]
fn a_run_that_is_killed_or_stopped_goes_on_and_two_at_once_are_refused() {
    let home = prepared();
    let (began, go, runs) = (home.path("began"), home.path("go"), home.path("runs"));
    let wait = format!(
        "id: wait\nrun: {{argv: [sh, -c, 'touch {}; while [ ! -e {} ]; do sleep 0.05; done']}}",
        began.display(),
        go.display()
    );
    let once = format!("id: once\nrun: {{argv: [mkdir, {}]}}", home.path("once").display());
    let book = runbook(home.dir(), "", &[&once, &wait, "id: last\nnotify: {message: end}"]);
    let start = || {
        let mut command = command(&home, &["recover", &book, "--yes"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
    };
    let child = start();
    until(&began);
    recover(&home, &[&book, "--yes"]).exits(7).says(&["is being recovered by another run"]);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(9));
    let run = run_of(&String::from_utf8_lossy(&output.stderr));
    // The program lives on, whoever started it is dead: nothing is begun beside it.
    let still = "of an earlier try of step wait still runs";
    recover(&home, &["--resume", &run]).exits(7).says(&[still]);
    recover(&home, &["--resume", &run, "--confirm", "wait"]).exits(7).says(&[still, "kill -- -"]);
    std::fs::write(&go, "").unwrap();
    let still_runs = || !homelab_dr::runs::hands::outlived::all(&runs.join(&run)).is_empty();
    super::until("the end of the program", || !still_runs());
    // Whether it came to its end nobody knows, so somebody is asked.
    let ran = recover(&home, &["--resume", &run]).exits(8);
    assert!(ran.out.contains("--confirm wait"), "{}", ran.out);
    recover(&home, &["--resume", &run, "--confirm", "wait"]).exits(0);
    // Asked to stop, it ends what it has started.
    for path in [&began, &go] {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::remove_dir(home.path("once")).unwrap();
    let child = start();
    until(&began);
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(130);
    assert!(ran.out.contains("recover --resume"), "{}", ran.out);
    let run = run_of(&ran.out);
    std::fs::write(&go, "").unwrap();
    recover(&home, &["--resume", &run, "--confirm", "wait"]).exits(0);
}

#[test]
fn a_full_disk_under_the_journal_begins_nothing() {
    let home = prepared();
    let began = home.path("began");
    let book = runbook(home.dir(), "", &[&format!("id: first\nrun: {{argv: [touch, {}]}}", began.display())]);
    let ran = recover(&home, &[&book, "--yes", "--journals", "/dev/full/x"]).exits(2);
    assert!(ran.err.contains("cannot lock"), "{}", ran.err);
    assert!(!began.exists());
}

#[test]
fn a_datastore_is_put_back_beside_what_was_there_and_never_under_a_running_server() {
    use crate::cli::config::{configured, run};
    let home = configured("sources:\n  k3s: {datastore: {k3s: {data-dir: DIR/k3s}}}\n");
    let server = home.path("k3s/server");
    for folder in ["cred", "tls", "db", "manifests"] {
        std::fs::create_dir_all(server.join(folder)).unwrap();
    }
    for (file, text) in [("token", "K10old\n"), ("cred/x", "key"), ("tls/ca", "key"), ("manifests/mine.yaml", "mine")] {
        std::fs::write(server.join(file), text).unwrap();
    }
    let database = rusqlite::Connection::open(server.join("db/state.db")).unwrap();
    database.execute_batch("create table kine (name text); insert into kine values ('old')").unwrap();
    drop(database);
    run(&home, &["backup"]).exits(0);
    let gone_on = rusqlite::Connection::open(server.join("db/state.db")).unwrap();
    gone_on.execute_batch("pragma journal_mode=wal; insert into kine values ('new')").unwrap();
    std::fs::write(server.join("token"), "K10new\n").unwrap();
    for file in ["cred/x", "tls/ca"] {
        std::fs::write(server.join(file), "since").unwrap();
    }
    let beside = |out: &str| server.join(format!("before-{}", run_of(out)));
    let back = format!(
        "id: back\nneeds: []\ndatastore.restore: {{source: k3s, k3s: {{data_dir: {}}}}}\nverify:\n  - sqlite: {{file: {}/db/state.db, query: 'select count(*) from kine', equals: 1}}",
        home.path("k3s").display(),
        server.display()
    );
    let book = runbook(home.dir(), "", &[&back]);
    let go =
        |args: &[&str]| run(&home, &[&["recover"][..], args, &["--identity", "key", "--journals", "runs"]].concat());
    let ran = go(&[&book, "--yes"]).exits(1);
    assert!(ran.err.contains("open") && ran.err.contains("systemctl stop k3s"), "{}", ran.err);
    drop(gone_on);
    let ran = go(&["--resume", &run_of(&ran.out), "--yes"]).exits(0);
    assert_eq!(std::fs::read_to_string(server.join("token")).unwrap(), "K10old\n");
    assert_eq!(std::fs::read_to_string(server.join("manifests/mine.yaml")).unwrap(), "mine");
    // Without these no agent is let in again, and no kubeconfig is of use.
    for (file, text) in [("cred/x", "key"), ("tls/ca", "key")] {
        assert_eq!(std::fs::read_to_string(server.join(file)).unwrap(), text, "{file} comes back");
        assert_eq!(std::fs::read_to_string(beside(&ran.out).join(file)).unwrap(), "since", "{file} of before is kept");
    }
    let beside = beside(&ran.out);
    assert_eq!(std::fs::read_to_string(beside.join("token")).unwrap(), "K10new\n");
    let before = rusqlite::Connection::open(beside.join("db/state.db")).unwrap();
    assert_eq!(before.query_row("select count(*) from kine", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
}
