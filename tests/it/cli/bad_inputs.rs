//! What the program says when something is wrong: a statement, its cause, what to do, and the right exit code.

use super::Home;

#[test]
fn without_a_repository_or_a_key_it_says_which_options_give_them() {
    let home = Home::new();
    home.run(&["snapshots"]).exits(2).says(&["no key was given", "--writer-key-file"]);
    let mut command = home.command(&["snapshots"]);
    let output = command.env("HOMELAB_DR_REPO", "").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    home.write(&["snapshots", "--writer-key-file", "nope"]).exits(2).says(&["cannot read the writer key in nope"]);
    home.write(&["snapshots", "--writer-key-file", "key"]).exits(2).says(&["no writer key", "--identity"]);
}

#[test]
fn reading_content_with_the_writer_key_alone_asks_for_an_identity() {
    let home = Home::new();
    home.backup();
    home.write(&["cat", "latest:/zeros"]).exits(2).says(&["identity"]);
    home.write(&["restore", "latest", "--target", "out"]).exits(2).says(&["identity"]);
    assert!(!home.path("out").exists());
    home.run(&["keys", "new", "--out", "stranger"]).exits(0);
    home.write(&["cat", "latest:/zeros", "--identity", "stranger"]).exits(6).says(&["no given identity opens"]);
}

#[test]
fn another_repository_in_the_place_of_ours_is_refused_and_without_a_pin_warned_of() {
    let home = Home::new();
    let recipient = home.recipient.clone();
    home.run(&["init", "--repo", "forged", "--recipient", &recipient, "--writer-key", "w2"]).exits(0);
    home.write(&["snapshots", "--repo", "forged"]).exits(6).says(&["forged"]);
    let print = home.read(&["keys", "list", "--json"]).exits(0).json()["fingerprint"].as_str().unwrap().to_owned();
    home.run(&["snapshots", "--repo", "forged", "--identity", "key", "--fingerprint", &print])
        .exits(7)
        .says(&["not the pinned", "do not use it"]);
    let unpinned = home.run(&["snapshots", "--repo", "forged", "--identity", "key"]).exits(0);
    assert!(unpinned.err.contains("COULD NOT BE VERIFIED") && unpinned.err.contains("hdr1-"), "{}", unpinned.err);
    let pinned = home.run(&["snapshots", "--identity", "key", "--fingerprint", &print]).exits(0);
    assert!(!pinned.err.contains("VERIFIED"), "{}", pinned.err);
    home.write(&["snapshots", "--repo", "forged", "--writer-key-file", "w2", "--fingerprint", &print]).exits(7);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let home = Home::new();
    let text = std::fs::read_to_string(home.path("key")).unwrap();
    let secret = text.lines().last().unwrap();
    let init = ["init", "--repo", "other", "--writer-key", "w2", "--recipient", secret];
    for args in [
        &init[..],
        &["snapshots", "--identity", secret],
        &["snapshots", secret],
        &["keys", "remove", secret, "--identity", "key"],
    ] {
        let ran = home.run(args).exits(2).says(&[]);
        assert!(!ran.err.contains(&secret[..24]) && !ran.out.contains(&secret[..24]), "{}", ran.err);
    }
    assert!(!home.path("w2").exists());
}

#[test]
fn keys_and_the_repository_among_what_is_backed_up_are_told() {
    let home = Home::new();
    let recipient = home.recipient.clone();
    let init = |key: &str| home.run(&["init", "--repo", "new", "--recipient", &recipient, "--writer-key", key]);
    for key in ["new/key", "new/../new/x/key", "./new/key"] {
        init(key).exits(2).says(&["would lie in the repository"]);
    }
    assert!(!home.path("new").exists());
    let ran = home.write(&["backup", ".", "--source", "all", "--quiet"]).exits(0);
    for warning in ["skipping repo: it is the repository", "key: it holds an identity", "writer: it holds a writer key"]
    {
        assert!(ran.err.contains(warning), "{warning}: {}", ran.err);
    }
    let listed = home.write(&["ls", "-R", "latest"]).exits(0).out;
    assert!(listed.contains("key\n") && listed.contains("writer\n") && !listed.contains("repo"), "{listed}");
    for inside in ["repo", "repo/packs", "./source/../repo"] {
        home.write(&["backup", inside, "--source", "x"]).exits(2).says(&["is the repository itself"]);
    }
}

#[test]
fn small_slips_get_the_right_hint() {
    let home = Home::new();
    home.backup();
    home.write(&["ls", "files:a"]).exits(2).says(&["begins with a source", "write latest:files:a"]);
    home.write(&["diff", "files", "latest"]).exits(2).says(&["write latest:files"]);
    home.write(&["ls", "nothing:a"]).exits(2).says(&["names no snapshot"]);
    for args in [&["help"][..], &["help", "backup"], &["help", "keys", "add"], &["keys", "help", "add"]] {
        assert!(home.run(args).exits(0).out.contains("Usage: homelab-dr"), "{args:?}");
    }
    let plan = home.write(&["forget", "--keep-last", "1", "--dry-run"]).exits(0).out;
    assert!(plan.contains("TAGS") && plan.contains("day=1"), "{plan}");
    let drilled = home.read(&["keys", "drill", "--json"]).exits(0).json();
    assert_eq!((drilled["file"].as_str(), drilled["bytes"].as_u64()), (Some("a/b/hello.txt"), Some(6)), "{drilled}");
}

#[test]
fn quiet_leaves_only_warnings_and_results() {
    let home = Home::new();
    home.backup();
    home.backup();
    let said = |args: &[&str]| {
        let ran = home.read(&[args, &["--quiet"]].concat()).exits(0);
        (ran.out, ran.err)
    };
    let nothing = (String::new(), String::new());
    for args in [
        &["backup", "source", "--source", "files"][..],
        &["check"],
        &["check", "--read-data"],
        &["restore", "latest", "--target", "out"],
        &["restore", "--all", "--target", "all"],
        &["replicate", "--to", "copy", "--create"],
        &["forget", "--keep-last", "1", "--yes"],
        &["prune", "--yes"],
        &["keys", "drill"],
        &["keys", "paper", "--out", "kit.html"],
    ] {
        assert_eq!(said(args), nothing, "{args:?}");
    }
    for args in [
        &["snapshots"][..],
        &["ls", "latest"],
        &["stats"],
        &["forget", "--keep-last", "1", "--dry-run"],
        &["restore", "latest", "--target", "new", "--dry-run"],
    ] {
        assert!(!said(args).0.is_empty(), "{args:?} is asked for its output");
    }
}

#[test]
fn nothing_at_all_shows_the_help() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&[][..], &["keys"]] {
        let output = super::program().args(args).current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("Usage: homelab-dr") && !said.contains("a secret was given"), "{said}");
    }
}

#[test]
fn init_changes_nothing_where_something_is() {
    let home = Home::new();
    let recipient = home.recipient.clone();
    let again =
        |repo: &str, key: &str| home.run(&["init", "--repo", repo, "--recipient", &recipient, "--writer-key", key]);
    again("repo", "w2").exits(7).says(&["holds a repository already"]);
    again("source", "w2").exits(7).says(&["not empty"]);
    assert!(!home.path("w2").exists());
    again("fresh", "writer").exits(7).says(&["exists already"]);
    assert!(!home.path("fresh").exists());
    again("fresh", "no/such/folder/w").exits(2).says(&["cannot write the writer key"]);
    assert!(!home.path("fresh/format.json").exists());
    let locked = ["init", "--repo", "locked", "--recipient", &recipient, "--writer-key", "w3", "--object-lock", "30d"];
    home.run(&locked).exits(2).says(&["cannot lock"]);
    assert!(!home.path("w3").exists(), "a key of no repository does not stay");
    home.run(&["keys", "new", "--out", "key"]).exits(7).says(&["exists already"]);
}

#[test]
fn snapshots_that_are_not_there_or_not_one_are_named() {
    let home = Home::new();
    home.write(&["ls", "latest"]).exits(1).says(&["no snapshots"]);
    home.backup();
    home.write(&["ls", "0000000000"]).exits(2).says(&["no snapshot id"]);
    home.write(&["ls", "latest:other"]).exits(2).says(&["files"]);
    home.write(&["ls", "2001-01-01"]).exits(2).says(&["no snapshot is as old"]);
    home.write(&["ls", "nonsense"]).exits(2).says(&["names no snapshot"]);
    home.write(&["ls", "latest:/nope"]).exits(2).says(&["has no nope"]);
    home.write(&["ls", "latest:/a/../b"]).exits(2).says(&["no path"]);
    home.write(&["find", "["]).exits(2).says(&["cannot be understood"]);
    home.read(&["cat", "latest:/a"]).exits(2).says(&["directory"]);
    home.write(&["backup", "nope", "--source", "x"]).exits(2).says(&["cannot open nope"]);
    home.write(&["backup", "source", "--source", "a:b"]).exits(2).says(&["cannot name a source"]);
    home.write(&["forget", "--yes"]).exits(2).says(&["what is to be kept", "--keep-daily"]);
}

#[test]
fn a_repository_that_vanished_is_told_from_one_that_never_was() {
    let home = Home::new();
    std::fs::rename(home.path("repo"), home.path("gone")).unwrap();
    home.write(&["snapshots"]).exits(5).says(&["is not there"]);
    assert!(!home.path("repo").exists(), "and it is not made anew");
    std::fs::create_dir(home.path("repo")).unwrap();
    home.write(&["backup", "source", "--source", "files"]).exits(5).says(&["holds no repository"]);
    assert_eq!(std::fs::read_dir(home.path("repo")).unwrap().count(), 0);
}

#[test]
fn damage_has_its_own_code() {
    let home = Home::new();
    home.backup();
    for pack in walk(&home.path("repo/packs")) {
        let mut bytes = std::fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::remove_file(&pack).unwrap();
        std::fs::write(&pack, bytes).unwrap();
    }
    home.write(&["check", "--read-data"]).exits(4);
    home.run(&["check", "--no-key", "--read-data"]).exits(4);
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path) } else { vec![path] }
        })
        .collect()
}

#[test]
fn with_json_an_error_is_a_document_on_standard_output() {
    let home = Home::new();
    let ran = home.write(&["snapshots", "--repo", "nope", "--json"]).exits(5);
    let error = ran.json();
    assert_eq!(error["exit"], 5);
    assert!(error["error"].as_str().unwrap().contains("nope is not there"));
    assert!(!error["help"].as_str().unwrap().is_empty());
    let usage = home.write(&["snapshots", "--json", "--no-such-option"]).exits(2).json();
    assert!(usage["error"].as_str().unwrap().contains("--no-such-option"), "{usage}");
}

#[test]
fn what_chooses_nothing_or_copies_to_itself_is_told() {
    let home = Home::new();
    home.backup();
    home.read(&["restore", "latest", "--target", "out", "--include", "nope"]).exits(2).says(&["--include", "ls -R"]);
    home.run(&["replicate", "--to", "repo"]).exits(2).says(&["to itself", "--to"]);
    home.run(&["replicate", "--to", "repo", "--dry-run"]).exits(2).says(&["to itself"]);
    for inside in ["repo/copy", "repo/../repo/a/b", "."] {
        home.run(&["replicate", "--to", inside, "--create"]).exits(2).says(&["lie in one another"]);
        home.run(&["replicate", "--to", inside, "--dry-run"]).exits(2);
    }
    assert!(!home.path("repo/copy").exists() && !home.path("repo/a").exists());
    home.read(&["cat", "latest:/a"]).exits(2).says(&["a in snapshot", "is a directory"]);
    home.write(&["ls", "latest:nope"]).exits(2).says(&["there are snapshots of: files", "latest:/"]);
    let found = home.write(&["find", "x", "--source", "nope"]).exits(0);
    assert!(found.err.contains("no snapshot matches"), "{}", found.err);
}

#[test]
fn a_file_without_end_is_read_to_a_limit() {
    let home = Home::new();
    home.backup();
    let endless = "/dev/zero";
    for (args, what) in [
        (&["backup", "source", "--source", "x", "--exclude-file", endless][..], "the patterns"),
        (&["restore", "latest", "--target", "out", "--exclude-file", endless], "the patterns"),
        (&["keys", "add", "--recipients-file", endless], "the recipients"),
        (&["init", "--repo", "new", "--writer-key", "w2", "--recipients-file", endless], "the recipients"),
        (&["keys", "list", "--identity", endless], "the identity"),
        (&["keys", "paper", "--out", "kit", "--with-identity", "--identity", endless], "the identity"),
        (&["snapshots", "--writer-key-file", endless], "the writer key"),
    ] {
        home.read(args).exits(2).says(&[&format!("/dev/zero is too long to be {what}")]);
    }
    assert!(!home.path("new").exists() && !home.path("kit").exists() && !home.path("out").exists());
    home.write(&["backup", "source", "--source", "x", "--exclude-file", "source"])
        .exits(2)
        .says(&["cannot read the patterns"]);
    std::fs::write(home.path("latin"), b"caf\xe9\n").unwrap();
    home.write(&["backup", "source", "--source", "x", "--exclude-file", "latin"]).exits(2).says(&["latin is no text"]);
    // As many lines as a person may have, and from a pipe.
    std::fs::write(home.path("long"), format!("zeros\n{}", "# much\n".repeat(100_000))).unwrap();
    home.write(&["backup", "source", "--source", "x", "--exclude-file", "long"]).exits(0);
    assert!(!home.write(&["ls", "latest:x"]).exits(0).out.contains("zeros"));
}

#[test]
fn a_drill_that_cannot_be_recorded_says_what_was_proven() {
    let home = Home::new();
    home.backup();
    // What stands in the way of the record for everybody, root included.
    std::fs::write(home.path("repo/drills"), "").unwrap();
    let ran = home.read(&["keys", "drill", "--quiet"]).exits(3);
    assert!(ran.out.contains(" opens ") && ran.out.contains("and read 6 B of a/b/hello.txt"), "{}", ran.out);
    assert!(ran.err.contains("the drill could not be recorded here: "), "{}", ran.err);
    let told = home.read(&["keys", "drill", "--json"]).exits(3).json();
    assert_eq!((told["bytes"].as_u64(), told["drill"]["id"].as_str()), (Some(6), None), "{told}");
    assert!(told["not_recorded"].as_str().unwrap().contains("drills"), "{told}");
    std::fs::remove_file(home.path("repo/drills")).unwrap();
    // Damage outweighs it, and is told after what holds.
    let newest = home.backup();
    std::fs::write(home.path(&format!("repo/snapshots/{newest}")), "rot").unwrap();
    let ran = home.read(&["keys", "drill"]).exits(4);
    assert!(ran.out.contains("and read 6 B") && ran.err.contains("recorded; "), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(&format!("snapshots/{newest} cannot be read")), "{}", ran.err);
    assert_eq!(home.read(&["keys", "drill", "--json"]).exits(4).json()["damaged"].as_array().unwrap().len(), 1);
}

#[test]
fn a_damaged_format_file_is_damage_and_the_advice_mends_it() {
    let home = Home::new();
    home.backup();
    home.run(&["replicate", "--to", "copy", "--create"]).exits(0);
    let file = home.path("repo/format.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    for damaged in ["", "{", &whole[..40], &whole.replace("homelab", "homelub"), "\u{0}\u{0}"] {
        std::fs::write(&file, damaged).unwrap();
        for args in [&["snapshots"][..], &["check"], &["restore", "latest", "--target", "out"]] {
            home.read(args).exits(4).says(&["format.json in", "is damaged", "put back format.json"]);
        }
        home.run(&["replicate", "--to", "copy"]).exits(4).says(&["put back format.json"]);
        home.run(&["replicate", "--repo", "copy", "--to", "repo"]).exits(4).says(&["cannot be gone on with"]);
    }
    std::fs::write(&file, whole.replace(": 1", ": 2")).unwrap();
    home.write(&["snapshots"]).exits(1).says(&["has version 2", "a later version"]);
    let id: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let id = id["repository"].as_str().unwrap();
    std::fs::write(&file, format!("{{\"magic\":\"homelab-dr\",\"version\":1,\"repository\":\"{id}\"}}\n")).unwrap();
    home.read(&["check", "--read-data"]).exits(0);
    home.run(&["replicate", "--to", "copy"]).exits(0);
}

/// A file that nobody can read, root included: a switch of the kernel that can only be written to, mounted over it.
struct Unreadable(std::path::PathBuf);

impl Unreadable {
    fn over(path: std::path::PathBuf) -> Self {
        let switch = "/proc/sys/vm/compact_memory";
        let mounted = std::process::Command::new("mount").args(["--bind", switch]).arg(&path).status().unwrap();
        assert!(mounted.success(), "this test mounts: run it as root, or in a container with CAP_SYS_ADMIN");
        Self(path)
    }
}

impl Drop for Unreadable {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
#[ignore = "needs root, to mount: lane root"]
fn lane_root_what_forget_shows_is_what_it_does() {
    let home = Home::new();
    let first = home.backup();
    home.backup();
    let forget = |more: &[&str]| home.write(&[&["forget", "--keep-last", "1"], more].concat());
    forget(&["--dry-run"]).exits(0);
    let unreadable = Unreadable::over(home.path(&format!("repo/snapshots/{first}")));
    let dry = forget(&["--dry-run"]).exits(5).says(&[&first[..8]]);
    let run = forget(&["--yes"]).exits(5).says(&[&first[..8]]);
    assert_eq!(dry.err, run.err);
    assert_eq!(dry.out, "", "nothing is promised");
    drop(unreadable);
    forget(&["--yes"]).exits(0);
}
