//! A key is lost.

use super::stage::{Book, is_reviewed, masked};
use crate::cli::{Home, Ran};
use crate::recover::run_of;

#[test]
fn a_lost_identity_is_shut_out_and_another_takes_its_place() {
    let home = Home::new();
    home.backup();
    let path = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let text = format!("repositories:\n  home:\n    url: {}\n    writer-key-file: {}\n", path("repo"), path("writer"));
    std::fs::write(home.path("homelab-dr.yaml"), text).unwrap();
    std::fs::create_dir(home.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_homelab-dr"), home.path("bin/homelab-dr")).unwrap();
    let run = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("HOMELAB_DR_RUNS", "runs").env("HOME", home.dir());
        command.env("PATH", format!("{}:/usr/bin:/bin", path("bin")));
        Ran::of(&command.output().expect("it runs"))
    };
    // The one in the safe, the one on the laptop, and the one that comes.
    let recipient = |name: &str| run(&["keys", "new", "--out", name]).exits(0).out.trim().to_owned();
    let (laptop, new) = (recipient("laptop"), recipient("new"));
    run(&["keys", "add", "--recipient", &laptop, "--identity", "key"]).exits(0);
    run(&["keys", "drill", "--identity", "laptop"]).exits(0);

    let (config, identity, new_identity) = (path("homelab-dr.yaml"), path("key"), path("new"));
    let set = [
        ("config", config.as_str()),
        ("identity", identity.as_str()),
        ("new_identity", new_identity.as_str()),
        ("new_recipient", new.as_str()),
        ("lost", laptop.as_str()),
    ];
    let book = Book { name: "lost-key", set: &set, options: &[] };
    let file = format!("{}/runbooks/{}.md", env!("CARGO_MANIFEST_DIR"), book.name);
    let mut args = vec!["recover".to_owned(), file];
    for (name, value) in book.set {
        args.extend(["--set".to_owned(), format!("{name}={value}")]);
    }
    let recover = |more: &[&str]| run(&args.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>());
    let plan = recover(&["--plan"]).exits(0).out;
    assert!(plan.contains(&format!("keys, remove, {laptop}")), "{plan}");
    is_reviewed(book.name, &masked(&plan, home.dir()));
    let ran = recover(&["--yes", "--confirm", "access"]).exits(8);
    for step in ["left", "added", "removed"] {
        assert!(ran.err.contains(&format!("[{step}] done")), "{}", ran.err);
    }
    let ran = run(&["recover", "--resume", &run_of(&ran.out), "--confirm", "paper"]).exits(0);
    assert!(ran.err.contains("no damage found"), "{}", ran.err);

    // Who reads what is written from now on.
    home.backup();
    let cat = |identity: &str| run(&["cat", "latest:files:a/b/hello.txt", "--identity", identity]);
    for identity in ["key", "new"] {
        cat(identity).exits(0);
    }
    cat("laptop").exits(6);
    let listed = run(&["keys", "list", "--identity", "new"]).exits(0).out;
    assert!(!listed.contains(&laptop) && listed.contains(&new), "{listed}");
}
