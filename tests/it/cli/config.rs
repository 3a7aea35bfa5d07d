//! `homelab-dr.yaml`: found, checked, shown, and used by every command.

use std::os::unix::fs::PermissionsExt as _;

use super::{Home, Ran, program};

/// A home with a configuration `homelab-dr.yaml` that names its repository and `rest`; `DIR` in it stands for the folder.
pub fn configured(rest: &str) -> Home {
    let home = Home::new();
    write(&home, rest);
    home
}

pub fn write(home: &Home, rest: &str) {
    let text = format!("repositories:\n  home: {{url: DIR/repo, writer-key-file: DIR/writer}}\n{rest}");
    let text = text.replace("DIR", home.dir().to_str().unwrap());
    std::fs::write(home.path("homelab-dr.yaml"), text).unwrap();
}

/// Runs with nothing but the configuration.
pub fn run(home: &Home, args: &[&str]) -> Ran {
    Ran::of(&program().current_dir(home.dir()).args(args).output().expect("it runs"))
}

#[test]
fn the_repository_its_key_and_its_pin_come_from_the_configuration() {
    let home = configured("");
    home.backup();
    assert_eq!(run(&home, &["snapshots", "--json"]).exits(0).json()["snapshots"].as_array().unwrap().len(), 1);
    run(&home, &["snapshots", "--repo", "home"]).exits(0);
    run(&home, &["cat", "latest:/a/b/hello.txt", "--identity", "key"]).exits(0);
    // An address that is given has nothing to do with the configured key.
    run(&home, &["snapshots", "--repo", "./repo"]).exits(2).says(&["no key was given"]);
    run(&home, &["snapshots", "--repo", "./repo", "--writer-key-file", "writer"]).exits(0);
    // A laptop has the same file and no writer key.
    std::fs::remove_file(home.path("writer")).unwrap();
    run(&home, &["snapshots"]).exits(2).says(&["cannot read the writer key"]);
    let unpinned = run(&home, &["snapshots", "--identity", "key"]).exits(0).err;
    let (_, rest) = unpinned.split_once("hdr1-").expect("a warning without a pin");
    let print = format!("hdr1-{}", rest.lines().next().unwrap());
    let pin = |print: &str| {
        let text = format!("repositories: {{home: {{url: {}, fingerprint: {print}}}}}", home.path("repo").display());
        std::fs::write(home.path("homelab-dr.yaml"), text).unwrap();
    };
    pin(&print);
    assert_eq!(run(&home, &["snapshots", "--identity", "key"]).exits(0).err, "");
    pin("hdr1-aaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaa");
    run(&home, &["snapshots", "--identity", "key"]).exits(7).says(&["not the pinned"]);
    run(&home, &["snapshots", "--identity", "key", "--fingerprint", &print]).exits(0);
}

#[test]
fn a_name_that_the_configuration_does_not_have_is_told() {
    let home = configured("replicate: {elsewhere: {to: DIR/copy}}\n");
    run(&home, &["snapshots", "--repo", "hmoe"]).exits(2).says(&["hmoe is no repository of", "it has home"]);
    let page = home.path("kit.html");
    run(&home, &["keys", "paper", "--identity", "key", "--out", page.to_str().unwrap()]).exits(0);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(home.path("copy").to_str().unwrap()), "the copy is in the kit");
}

#[test]
fn several_repositories_have_names() {
    let home = Home::new();
    home.run(&["init", "--repo", "second", "--recipient", &home.recipient, "--writer-key", "w2"]).exits(0);
    let text = "default-repository: b\nrepositories:\n  a: {url: DIR/repo, writer-key-file: DIR/writer}\n  b: {url: DIR/second, writer-key-file: DIR/w2}\n";
    let text = text.replace("DIR", home.dir().to_str().unwrap());
    std::fs::write(home.path("homelab-dr.yaml"), text).unwrap();
    home.backup();
    let snapshots = |args: &[&str]| run(&home, args).exits(0).json()["snapshots"].as_array().unwrap().len();
    assert_eq!(snapshots(&["snapshots", "--json"]), 0);
    assert_eq!(snapshots(&["snapshots", "--json", "--repo", "a"]), 1);
    run(&home, &["snapshots", "--repo", "c"]).exits(2);
}

#[test]
fn a_configuration_that_is_wrong_stops_everything_and_shows_every_finding() {
    let home = configured("sources:\n  photos: {path: {pahts: [/srv]}}\nchek: {}\n");
    let checked = run(&home, &["config", "check"]).exits(2);
    assert_eq!(
        checked.out,
        "homelab-dr.yaml:4:18: error: sources.photos.path lacks paths\n  \
           help: add paths: One folder becomes the top of the snapshot; several paths lie in it by their names.\n\
         homelab-dr.yaml:4:19: error: unknown field \"pahts\" in sources.photos.path\n  help: did you mean \"paths\"?\n\
         homelab-dr.yaml:5:1: error: unknown field \"chek\" in the file\n  help: did you mean \"check\"?\n\
         homelab-dr.yaml has 3 errors\n"
    );
    let json = run(&home, &["config", "check", "--json"]).exits(2).json();
    assert_eq!((json["errors"].as_u64(), json["findings"][2]["line"].as_u64()), (Some(3), Some(5)));
    for args in [&["backup"][..], &["snapshots"], &["forget", "--yes"], &["config", "show"]] {
        run(&home, args).exits(2).says(&["has 3 errors", "did you mean \"check\"?", "homelab-dr config check"]);
    }
    // A file that merely lies there is no reason not to restore.
    let emergency = run(&home, &["snapshots", "--repo", "./repo", "--writer-key-file", "writer"]).exits(0);
    assert!(emergency.err.contains("warning: the configuration homelab-dr.yaml has 3 errors"), "{}", emergency.err);
    let named = ["snapshots", "--repo", "./repo", "--writer-key-file", "writer", "--config", "homelab-dr.yaml"];
    run(&home, &named).exits(2);
    run(&home, &["config", "check", "nope.yaml"]).exits(2).says(&["cannot read the configuration nope.yaml"]);
    std::fs::remove_file(home.path("homelab-dr.yaml")).unwrap();
    run(&home, &["config", "check"]).exits(2).says(&["there is no configuration"]);
    run(&home, &["backup"]).exits(2).says(&["no path was given", "--source NAME", "docs/configuration.md"]);
}

#[test]
fn what_was_understood_is_shown_and_reads_back() {
    let home = configured("sources:\n  pg: {command: {argv: [x, --password=hunter2], file: y}}\n");
    let shown = run(&home, &["config", "show"]).exits(0).out;
    assert!(shown.starts_with("# homelab-dr.yaml\ndefault-repository: home\n"), "{shown}");
    assert!(shown.contains("timeout: \"1h\"") && !shown.contains("hunter2"), "{shown}");
    let checked = run(&home, &["config", "check"]).exits(0).out;
    assert!(checked.contains("warning: sources.pg.command.argv: this looks like a password"), "{checked}");
    assert!(checked.ends_with("homelab-dr.yaml is right: 1 repository, 1 source\n"), "{checked}");
    std::fs::write(home.path("again.yaml"), &shown).unwrap();
    let again = run(&home, &["config", "show", "--config", "again.yaml", "--json"]).exits(0).json();
    assert_eq!(again["config"], run(&home, &["config", "show", "--json"]).exits(0).json()["config"]);
    let mut by_variable = program();
    let output = by_variable.current_dir(home.dir()).env("HOMELAB_DR_CONFIG", "again.yaml").args(["config", "show"]);
    assert!(Ran::of(&output.output().unwrap()).exits(0).out.starts_with("# again.yaml\n"));
}

#[test]
fn a_file_that_everybody_can_write_is_not_found_by_chance() {
    let home = configured("");
    let path = home.path("homelab-dr.yaml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    run(&home, &["snapshots"]).exits(7).says(&["everybody can write it", "--config"]);
    run(&home, &["snapshots", "--config", "homelab-dr.yaml"]).exits(0);
}

#[test]
fn forget_check_and_replicate_take_what_the_configuration_says() {
    let home = configured(
        "sources: {files: {path: {paths: [DIR/source]}}}\n\
         retention: {default: {last: 2}, sources: {files: {last: 1}}}\n\
         replicate: {first: {to: DIR/copy}, second: {to: DIR/copy2}}\n\
         check: {read-data: 100%}\n",
    );
    for _ in 0..2 {
        home.backup();
        home.write(&["backup", "source", "--source", "other"]).exits(0);
    }
    let looked = run(&home, &["check"]).exits(0);
    assert!(looked.err.contains("; read: "), "{}", looked.err);
    assert!(!run(&home, &["check", "--read-data=0%"]).exits(0).err.contains("; read: "));
    let dry = run(&home, &["forget", "--dry-run", "--json"]).exits(0).json();
    let verdict = |dry: &serde_json::Value, source: &str| {
        let decisions = dry["decisions"].as_array().unwrap().iter();
        decisions.filter(|d| d["source"] == source && d["verdict"] == "keep").count()
    };
    assert_eq!((verdict(&dry, "files"), verdict(&dry, "other")), (1, 2));
    let given = run(&home, &["forget", "--keep-last", "2", "--dry-run", "--json"]).exits(0).json();
    assert_eq!((verdict(&given, "files"), verdict(&given, "other")), (2, 2), "options win");
    run(&home, &["forget", "--yes"]).exits(0);
    assert_eq!(run(&home, &["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len(), 3);

    run(&home, &["replicate"]).exits(7).says(&["holds no copy", "--create"]);
    let planned = run(&home, &["replicate", "--dry-run", "--json"]).exits(0).json();
    let targets = planned["targets"].as_array().unwrap();
    assert!(targets.len() == 2 && targets.iter().all(|target| target["plan"]["first"] == true), "{planned}");
    let copied = run(&home, &["replicate", "--create"]).exits(0).out;
    assert_eq!(copied.lines().filter(|line| line.starts_with("copied ")).count(), 2, "{copied}");
    run(&home, &["snapshots", "--repo", "./copy", "--writer-key-file", "writer"]).exits(0);
    // One that fails does not stop the other.
    std::fs::remove_dir_all(home.path("copy")).unwrap();
    std::fs::write(home.path("copy"), "in the way").unwrap();
    let told = run(&home, &["replicate", "--json"]).exits(7).json();
    assert!(told["targets"][0]["error"]["error"].is_string(), "{told}");
    assert!(told["targets"][1]["report"]["present"].as_u64().unwrap() > 0, "{told}");
    run(&home, &["replicate", "--to", "second"]).exits(0);
    run(&home, &["replicate", "--to", "DIR", "--create"]).exits(0);

    write(&home, "retention: {sources: {files: {last: 1}}}\n");
    let some = run(&home, &["forget", "--dry-run"]).exits(0);
    assert!(
        !some.out.contains("other") && some.err.contains("2 snapshots of sources that no rule is for: kept"),
        "{}",
        some.err
    );
    write(&home, "");
    run(&home, &["forget", "--yes"]).exits(2).says(&["what is to be kept", "retention"]);
    run(&home, &["replicate"]).exits(2).says(&["has none under replicate"]);
}
