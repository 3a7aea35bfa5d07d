//! The plan: what it finds out before anything is begun, into a folder that stands for a cluster.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use homelab_dr::crypto::recipients::generate_identity;
use serde_json::Value;

use super::{runbook, sealed};
use crate::cli::{Home, Ran};

const ALL: &str =
    "id: all\nneeds: []\nrestore.resources: {source: cluster}\ntimeout: 5m\nverify: [run: {argv: [\"true\"]}]";
const UPDATE: &str = "id: all\nneeds: []\nrestore.resources: {source: cluster, existing: update}\ntimeout: 5m\nverify: [run: {argv: [\"true\"]}]";

const MANIFESTS: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: media}\n---\n\
    apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: media}\n\
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}\n---\n\
    apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: media}\ndata: {a: b}\n---\n\
    apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-root-ca.crt, namespace: media}\ndata: {ca.crt: x}\n";

/// A folder that stands for a cluster, with a claim and its data; nothing is backed up yet.
pub(crate) fn lab() -> Home {
    let home = Home::new();
    let lab = home.path("lab");
    std::fs::create_dir_all(lab.join("volumes/media/data")).unwrap();
    std::fs::create_dir(lab.join("manifests")).unwrap();
    std::fs::write(lab.join("volumes/media/data/hello"), "hello\n").unwrap();
    std::fs::write(lab.join("manifests/all.yaml"), MANIFESTS).unwrap();
    let at = lab.display();
    let config =
        format!("sources:\n  cluster: {{resources: {{folder: {at}}}}}\n  volumes: {{volumes: {{folder: {at}}}}}\n");
    std::fs::write(home.path("homelab-dr.yaml"), config).unwrap();
    home
}

pub(crate) fn backup(home: &Home, source: &str) {
    home.write(&["backup", "--source", source]).exits(0);
}

fn recover(home: &Home, args: &[&str]) -> Ran {
    let mut command = home.command(&[&["recover"][..], args].concat());
    command.env("HOMELAB_DR_IDENTITY_FILE", "key").env("HOMELAB_DR_RUNS", "runs").env("USER", "somebody");
    Ran::of(&command.output().expect("it runs"))
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { [path].into() }).collect()
}

#[test]
fn a_volume_whose_snapshot_cannot_be_read_is_in_the_way() {
    let home = lab();
    backup(&home, "cluster");
    let before = files(&home.path("repo/packs"));
    backup(&home, "volumes");
    let book = runbook(home.dir(), "objectives: {rto: 1h, rpo: 1d}\n", &[ALL]);
    let plan = ["--plan", "--into-folder", "back"];
    let ran = recover(&home, &[&[book.as_str()][..], &plan].concat()).exits(0);
    assert!(ran.out.contains("fills media/data from ") && ran.out.contains(" s old)"), "{}", ran.out);
    assert!(!ran.out.contains("look at"), "{}", ran.out);
    for pack in files(&home.path("repo/packs")).difference(&before) {
        std::fs::remove_file(pack).unwrap();
    }
    let ran = recover(&home, &[&[book.as_str()][..], &plan].concat()).exits(7);
    for part in ["IN THE WAY [all]: snapshot ", "of pvc/media/data, from which media/data is filled, cannot be read"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    recover(&home, &[&book, "--yes", "--into-folder", "back"]).exits(7).says(&["stands in its way"]);
    assert!(!home.path("back").exists() && !home.path("runs").exists(), "nothing was begun");
}

#[test]
fn an_identity_that_was_removed_before_a_volume_was_stored_does_not_open_it() {
    let home = lab();
    backup(&home, "cluster");
    let other = generate_identity();
    std::fs::write(home.path("other"), other.secret.expose()).unwrap();
    home.read(&["keys", "add", "--recipient", &other.recipient.to_string()]).exits(0);
    let access = files(&home.path("repo/access"));
    let kept: Vec<(PathBuf, Vec<u8>)> =
        access.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    let recipient = home.recipient.clone();
    home.run(&["keys", "remove", &recipient, "--identity", "other", "--yes"]).exits(0);
    backup(&home, "volumes");
    // Who was removed kept a copy of what let them in, and puts it back.
    for (path, bytes) in kept {
        std::fs::write(path, bytes).unwrap();
    }
    let book = runbook(home.dir(), "", &[ALL]);
    let ran = recover(&home, &[&book, "--plan", "--into-folder", "back"]).exits(7);
    for part in ["from which media/data is filled, cannot be read", "the recipient of this one was removed"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
}

#[test]
fn a_plan_for_one_folder_is_not_carried_out_in_another() {
    let home = lab();
    backup(&home, "cluster");
    backup(&home, "volumes");
    let book = runbook(home.dir(), "", &[ALL]);
    recover(&home, &[&book, "--plan", "--out", "plan.json", "--into-folder", "one"]).exits(0);
    let one = home.path("one").canonicalize().unwrap_or_else(|_| home.dir().canonicalize().unwrap().join("one"));
    recover(&home, &["--from", "plan.json", "--yes", "--into-folder", "two"])
        .exits(7)
        .says(&[&format!("made for the folder {}", one.display()), "two is another"]);
    assert!(!home.path("two").exists() && !home.path("runs").exists(), "nothing was begun");
    // The same folder by another name.
    recover(&home, &["--from", "plan.json", "--yes", "--into-folder", "./two/../one"]).exits(0);
    assert!(home.path("one/volumes/media/data/hello").exists());
}

#[test]
fn what_nothing_runs_for_is_told_before_fails_at_once_and_the_command_of_the_report_goes_on() {
    let home = lab();
    backup(&home, "cluster");
    backup(&home, "volumes");
    let ready = "{ready: {objects: [media/deployments.apps/app]}, deadline: 15m}";
    let look = format!("id: look\nneeds: [all]\ncheck: [{ready}]\ntimeout: 20m");
    let wait = "id: wait\nneeds: [look]\nwait: {until: [{ready: {namespace: gone}}], every: 1s}\ntimeout: 20m";
    let book = runbook(home.dir(), "", &[ALL, &look, wait]);
    let place = ["--into-folder", "back", "--journals", "elsewhere"];
    let ran = recover(&home, &[&[book.as_str(), "--plan"][..], &place].concat()).exits(0);
    for step in ["look", "wait"] {
        assert!(ran.out.contains(&format!("look at [{step}]: in a folder nothing runs")), "{}", ran.out);
    }
    let ran = recover(&home, &[&[book.as_str(), "--yes", "--no-progress"][..], &place].concat()).exits(1);
    assert!(ran.err.contains("media/deployments.apps/app is not there (in a folder nothing runs)"), "{}", ran.err);
    let id = crate::recover::run_of(&ran.out);
    // The report says how it goes on, and what it says works, from anywhere and without a word about the folder.
    for step in ["look", "wait"] {
        let mut report = home.command(&["report", "show", &id, "--journals", "elsewhere"]);
        let shown = Ran::of(&report.output().expect("it runs")).exits(0).out;
        let command = shown.lines().find_map(|line| line.strip_prefix("it goes on with: homelab-dr recover "));
        let command = command.unwrap_or_else(|| panic!("{shown}"));
        let mut words: Vec<&str> = command.split(' ').collect();
        words.extend(["--yes", "--no-progress", "--confirm", step]);
        let ran = recover(&home, &words).exits(if step == "look" { 1 } else { 3 });
        assert_eq!(ran.err.contains("[wait] FAILED"), step == "look", "{}", ran.err);
    }
    assert!(home.path("back/volumes/media/data/hello").exists());
}

#[test]
fn what_has_changed_since_the_plan_was_made_fails_the_step_whatever_it_is() {
    let home = lab();
    backup(&home, "cluster");
    backup(&home, "volumes");
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: media}\ndata: {a: other}\n";
    // What is there before the run, what the plan is altered to, and what is said.
    for (name, step, there, altered, says) in [
        ("left", ALL, true, false, "configmaps media/settings is there by now, and differs"),
        ("replaced", UPDATE, true, false, "configmaps media/settings would be replaced"),
        ("filled", ALL, false, true, "media/data would be filled from snapshot "),
    ] {
        let book = runbook(home.dir(), "", &[step]);
        let plan = format!("{name}.json");
        recover(&home, &[&book, "--plan", "--out", &plan, "--into-folder", name]).exits(0);
        if there {
            std::fs::create_dir_all(home.path(name).join("manifests")).unwrap();
            std::fs::write(home.path(name).join("manifests/mine.yaml"), settings).unwrap();
        }
        if altered {
            let text = std::fs::read_to_string(home.path(&plan)).unwrap();
            let mut document: Value = serde_json::from_str(&text).unwrap();
            document["fates"]["all"]["fill"] = Value::Array(Vec::new());
            std::fs::write(home.path(&plan), sealed(&document.to_string())).unwrap();
        }
        let ran = recover(&home, &["--from", &plan, "--yes", "--into-folder", name]).exits(1);
        assert!(ran.err.contains(says) && ran.err.contains("has changed since the plan was made"), "{}", ran.err);
        assert!(!home.path(name).join("volumes").exists(), "nothing is written beyond the plan");
    }
}

#[test]
fn every_object_is_named_and_says_why_it_is_not_restored_or_differs() {
    let home = lab();
    backup(&home, "cluster");
    backup(&home, "volumes");
    let book = runbook(home.dir(), "", &[ALL]);
    let plan = || recover(&home, &[&book, "--plan", "--json", "--into-folder", "back"]).exits(0).json()["plan"].clone();
    let first = plan();
    let fates = &first["fates"]["all"];
    assert_eq!(fates["create"].as_array().map(Vec::len), Some(3), "{fates:#}");
    let not = fates["not_restored"].as_array().unwrap();
    assert_eq!(fates["skipped"].as_u64(), Some(not.len() as u64), "{fates:#}");
    assert_eq!(not[0]["object"], "configmaps media/kube-root-ca.crt");
    assert_eq!(not[0]["why"], "the cluster makes it by itself");
    // Into a folder nothing is started: 3 objects and some bytes.
    assert_eq!((&first["estimate"]["seconds"], &first["estimate"]["way"][0]), (&2.into(), &"all".into()), "{first:#}");
    recover(&home, &[&book, "--yes", "--into-folder", "back"]).exits(0);
    let file = files(&home.path("back/manifests")).into_iter().find(|file| file.ends_with("settings.yaml")).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("a: b", "a: mine")).unwrap();
    let second = plan();
    let fates = &second["fates"]["all"];
    assert_eq!((fates["equal"].as_array().map(Vec::len), fates["same"].as_u64()), (Some(2), Some(2)), "{fates:#}");
    assert_eq!(fates["keep"][0], "configmaps media/settings");
    assert_eq!(fates["differs"]["configmaps media/settings"][0], "data.a", "{fates:#}");
    let shown = recover(&home, &[&book, "--plan", "--into-folder", "back"]).exits(0).out;
    assert!(shown.contains("leaves configmaps media/settings (differs in data.a)"), "{shown}");
}

#[test]
fn files_are_counted_and_what_is_not_in_the_snapshot_is_told() {
    let home = Home::new();
    home.backup();
    let target = home.path("back");
    let step = |more: &str| {
        format!(
            "id: files\nneeds: []\nrestore.files: {{source: files, target: {}{more}}}\nverify: [no-empty: {{}}]",
            target.display()
        )
    };
    let other = "id: other\nneeds: []\nnotify: {message: hello}";
    let book = runbook(home.dir(), "", &[&step(""), other]);
    let plan =
        |book: &str| recover(&home, &[book, "--plan", "--json"]).exits(0).json()["plan"]["files"]["files"].clone();
    let all = serde_json::json!({"written": 3, "replaced": 0, "bytes": 300_007, "unchanged": 0, "removed": 0});
    assert_eq!(plan(&book), all);
    let shown = recover(&home, &[&book, "--plan"]).exits(0).out;
    for part in [
        "\n     2 steps that need nothing of each other, 2 at once:\n  0. [files] ",
        "\n  1. [other] ",
        "writes 3 files (",
        "about 1 s along [files], at 36.0 MiB/s (assumed)",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    recover(&home, &[&book, "--yes"]).exits(0);
    std::fs::write(target.join("a/b/hello.txt"), "mine").unwrap();
    std::fs::write(target.join("extra"), "mine").unwrap();
    std::fs::remove_file(target.join("zeros")).unwrap();
    let book = runbook(home.dir(), "", &[&step(", delete: true")]);
    let found = plan(&book);
    assert_eq!(
        (&found["written"], &found["replaced"], &found["bytes"], &found["removed"]),
        (&2.into(), &1.into(), &300_006.into(), &1.into()),
        "{found}"
    );
    let shown = recover(&home, &[&book, "--plan"]).exits(0).out;
    assert!(shown.contains("1 of them in the place of others") && shown.contains("REMOVES 1"), "{shown}");
    assert!(shown.contains("about 1 s along [files]; [files] as in run "), "the step was carried out before: {shown}");
    assert_eq!(std::fs::read_to_string(target.join("a/b/hello.txt")).unwrap(), "mine", "a plan changes nothing");
    let book = runbook(home.dir(), "", &[&step(", path: a/nowhere")]);
    let ran = recover(&home, &[&book, "--plan"]).exits(7);
    assert!(ran.out.contains("IN THE WAY [files]: the snapshot has no a/nowhere"), "{}", ran.out);
}
