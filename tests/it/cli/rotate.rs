//! `keys rotate-writer` as a person meets it: what it says before and after, the files that it writes, and what the old key is told.

use std::os::unix::fs::PermissionsExt as _;

use super::{Home, Ran};

/// Runs with another writer key.
fn with(home: &Home, key: &str, args: &[&str]) -> Ran {
    Ran::of(&home.command(args).env("HOMELAB_DR_WRITER_KEY_FILE", key).output().expect("it runs"))
}

#[test]
fn a_stolen_writer_key_is_replaced() {
    let home = Home::new();
    let first = home.backup();
    let rotate = ["keys", "rotate-writer", "--settle", "0s", "--writer-key", "new", "--yes"];
    home.write(&rotate).exits(2).says(&["recovery identity"]);
    home.read(&["keys", "rotate-writer", "--yes"]).exits(2);
    home.read(&[&rotate[..5], &["writer", "--yes"]].concat()).exits(7).says(&["writer exists already"]);
    let plan = home.read(&["keys", "rotate-writer", "--dry-run"]).exits(0).out;
    assert!(plan.contains("begins    epoch 2, with a new writer key") && plan.contains("1 snapshot and"), "{plan}");
    assert!(!home.path("new").exists() && !home.path("repo/epochs/2").exists());
    home.write(&["snapshots"]).exits(0);

    let done = home.read(&[&rotate[..], &["--json"]].concat()).exits(0).json();
    assert_eq!((&done["plan"]["epoch"], &done["outcome"]["snapshots"][0]["from"]), (&2.into(), &first.clone().into()));
    let mode = home.path("new").metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    let told = ["the writer key is of epoch 1", "keys rotate-writer", "Install the new one"];
    home.write(&["backup", "source", "--source", "files"]).exits(6).says(&told);
    home.write(&["status"]).exits(6).says(&told);
    let listed = with(&home, "new", &["snapshots", "--json"]).exits(0).json();
    assert_eq!(listed["snapshots"][0]["id"], done["outcome"]["snapshots"][0]["to"], "{listed}");
    let again = with(&home, "new", &["backup", "source", "--source", "files", "--json"]).exits(0).json();
    assert_eq!(again["statistics"]["bytes_new"], 0, "{again}");
    with(&home, "new", &["prune", "--yes"]).exits(0);
    with(&home, "new", &["check"]).exits(0);

    let owner = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("HOMELAB_DR_WRITER_KEY_FILE", "new").env("HOMELAB_DR_IDENTITY_FILE", "key");
        Ran::of(&command.output().expect("it runs"))
    };
    let epochs = owner(&["keys", "list", "--json"]).exits(0).json()["epochs"].clone();
    let retired: Vec<_> = epochs.as_array().unwrap().iter().map(|epoch| epoch["retired"].clone()).collect();
    assert_eq!(retired, [true, false, false], "{epochs}");
    let shown = owner(&["keys", "list"]).exits(0).out;
    assert!(shown.contains("WRITER KEY") && shown.contains("retired") && shown.contains("in use"), "{shown}");
    owner(&["check", "--read-data"]).exits(0);
    owner(&["restore", "latest", "--target", "back"]).exits(0);
    assert_eq!(std::fs::read(home.path("back/a/b/hello.txt")).unwrap(), b"hello\n");
}
