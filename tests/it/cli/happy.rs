//! What the commands do when nothing is wrong.

use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use super::Home;

#[test]
fn a_backup_is_listed_looked_into_and_restored() {
    let home = Home::new();
    let first = home.backup();
    std::fs::write(home.path("source/a/b/hello.txt"), "changed\n").unwrap();
    std::fs::write(home.path("source/new"), "new").unwrap();
    home.backup();
    let list = home.write(&["snapshots", "--json", "--source", "files", "--tag", "day"]).exits(0).json();
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 2);
    assert_eq!(list["snapshots"][0]["id"], first.as_str());
    let table = home.write(&["snapshots"]).exits(0).out;
    assert!(table.contains("day=1") && table.contains(&first[..8]), "{table}");

    let top = home.write(&["ls", "latest"]).exits(0).out;
    assert_eq!(top, "a/\nevil\\x1b[2J\nnew\nzeros\n", "and no escape sequence reaches the terminal");
    let all = home.write(&["ls", "-R", "--json", "latest:files"]).exits(0).out;
    assert_eq!(all.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count(), 6, "{all}");
    assert!(home.write(&["ls", "-l", "latest:/a/b"]).exits(0).out.contains("a/b/hello.txt"));
    assert_eq!(home.write(&["find", "*.txt"]).exits(0).out.lines().count(), 2);
    assert_eq!(home.write(&["find", "*.txt", "--snapshot", "latest"]).exits(0).out.lines().count(), 1);
    let changes = home.write(&["diff", &first, "latest"]).exits(0).out;
    assert!(changes.contains("M a/b/hello.txt") && changes.contains("+ new"), "{changes}");
    assert_eq!(home.read(&["cat", "latest:/a/b/hello.txt"]).exits(0).out, "changed\n");
    assert_eq!(home.read(&["cat", &format!("{first}:a/b/hello.txt")]).exits(0).out, "hello\n");
    assert_eq!(home.read(&["cat", "latest:/zeros"]).exits(0).out.len(), 300_000);

    home.read(&["restore", "latest", "--target", "out"]).exits(0);
    assert_eq!(std::fs::read(home.path("out/a/b/hello.txt")).unwrap(), b"changed\n");
    std::fs::write(home.path("out/extra"), "x").unwrap();
    home.read(&["restore", "latest", "--target", "out", "--delete"]).exits(2).says(&["no terminal", "--yes"]);
    assert!(home.path("out/extra").exists());
    let done = home.read(&["restore", "latest", "--target", "out", "--delete", "--yes", "--json"]).exits(0).json();
    assert_eq!(done["deleted"][0], "extra");
    assert!(!home.path("out/extra").exists());
}

#[test]
fn all_sources_come_back_each_into_a_directory_of_its_own() {
    let home = Home::new();
    home.write(&["restore", "--all", "--target", "out", "--identity", "key"]).exits(1).says(&["no snapshots"]);
    home.backup();
    std::fs::write(home.path("source/a/b/hello.txt"), "newer\n").unwrap();
    home.backup();
    for (folder, source) in [("one", "pg"), ("two", "pg/app"), ("three", "..")] {
        std::fs::create_dir(home.path(folder)).unwrap();
        std::fs::write(home.path(folder).join("file"), source).unwrap();
        home.write(&["backup", folder, "--source", source]).exits(0);
    }
    let ran = home.read(&["restore", "--all", "--target", "out"]).exits(0);
    assert!(ran.out.contains("pg/app") && ran.out.contains("restored 4 sources into out"), "{}", ran.out);
    for (file, content) in
        [("files/a/b/hello.txt", "newer\n"), ("pg/file", "pg"), ("pg%2Fapp/file", "pg/app"), ("%2E./file", "..")]
    {
        assert_eq!(std::fs::read_to_string(home.path("out").join(file)).unwrap(), content, "{file}");
    }
    assert!(!home.path("file").exists());
    // What one source has of problems does not keep the others from coming back, and is the exit code.
    std::fs::remove_dir_all(home.path("out")).unwrap();
    std::fs::create_dir(home.path("out")).unwrap();
    std::fs::write(home.path("out/files"), "in the way").unwrap();
    let ran = home.read(&["restore", "--all", "--target", "out", "--json"]);
    assert!(ran.code != 0 && home.path("out/pg/file").exists(), "{}", ran.out);
    let told = ran.json();
    assert_eq!(told["exit"], ran.code);
    assert_eq!(told["sources"].as_array().unwrap().len(), 4);
    let one = home.read(&["restore", "latest", "--target", "newest"]).exits(0);
    assert!(one.err.contains("not restored: files, pg, pg/app") && one.err.contains("--all"), "{}", one.err);
    let again = home.read(&["restore", "latest", "--target", "newest"]).exits(0);
    assert!(again.out.contains("1 entry was there already"), "{}", again.out);
    assert!(!home.read(&["restore", "latest:pg", "--target", "newest2"]).exits(0).err.contains("not restored"));
    home.read(&["restore", "latest", "--all", "--target", "x"]).exits(2);
}

#[test]
fn diff_tells_other_content_from_what_was_only_touched() {
    use std::time::{Duration, SystemTime};
    let home = Home::new();
    let big: Vec<u8> = (0..2_000_000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    for (name, content) in [("k", &b"one"[..]), ("l", b"two"), ("n", b"three"), ("grows", b"x"), ("big", &big)] {
        std::fs::write(home.path("source").join(name), content).unwrap();
    }
    std::os::unix::fs::symlink("one", home.path("source/link")).unwrap();
    let first = home.backup();
    let touch = |name: &str| {
        let file = std::fs::File::options().append(true).open(home.path("source").join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(1000)).unwrap();
    };
    std::fs::write(home.path("source/l"), "TWO").unwrap();
    std::fs::write(home.path("source/grows"), "xyz").unwrap();
    ["k", "l", "big"].iter().for_each(|name| touch(name));
    std::fs::remove_file(home.path("source/link")).unwrap();
    std::os::unix::fs::symlink("two", home.path("source/link")).unwrap();
    home.backup();
    let diff = |ran: super::Ran| -> Vec<String> { ran.exits(0).out.lines().map(str::to_owned).collect() };
    let blind = diff(home.write(&["diff", &first, "latest"]));
    let expected = [
        "m big  time",
        "M grows  1 B -> 3 B",
        "~ k  3 B, stored anew, may be the same",
        "~ l  3 B, stored anew, may be the same",
        "M link  one -> two",
    ];
    assert_eq!(
        blind.iter().filter(|line| !line.starts_with("m ./")).collect::<Vec<_>>(),
        expected,
        "n was never touched"
    );
    let seeing = diff(home.read(&["diff", &first, "latest"]));
    let expected = ["m big  time", "M grows  1 B -> 3 B", "m k  time", "M l  3 B", "M link  one -> two"];
    assert_eq!(seeing.iter().filter(|line| !line.starts_with("m ./")).collect::<Vec<_>>(), expected);
}

#[test]
fn standard_input_is_a_source() {
    let home = Home::new();
    let args = ["backup", "--stdin", "--name", "dump.sql", "--source", "pg/app"];
    let mut command = home.command(&args);
    command
        .env("HOMELAB_DR_WRITER_KEY_FILE", "writer")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"select 1;").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(home.read(&["cat", "latest:pg/app:dump.sql"]).exits(0).out, "select 1;");
}

#[test]
fn a_backup_of_nothing_is_told_and_does_not_displace_one_of_something() {
    use std::io::Write as _;
    let home = Home::new();
    let pipe = |content: &[u8]| {
        let mut command = home.command(&["backup", "--stdin", "--name", "dump", "--source", "pg", "--json"]);
        command.env("HOMELAB_DR_WRITER_KEY_FILE", "writer").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        super::Ran::of(&child.wait_with_output().unwrap())
    };
    assert!(pipe(b"").exits(1).out.contains("an empty dump is no backup"), "there was nothing before");
    pipe(b"a dump").exits(0);
    pipe(b"").exits(1);
    assert_eq!(home.write(&["snapshots", "--json"]).exits(0).json()["snapshots"].as_array().unwrap().len(), 1);

    let full = home.backup();
    std::fs::rename(home.path("source"), home.path("away")).unwrap();
    std::fs::create_dir(home.path("source")).unwrap();
    for reread in [&[][..], &["--reread"]] {
        let args = [&["backup", "source", "--source", "files", "--quiet"], reread].concat();
        let ran = home.write(&args).exits(3);
        assert!(ran.err.contains("NOTHING WAS BACKED UP: files holds 0 files") && ran.out.is_empty(), "{}", ran.err);
    }
    std::fs::write(home.path("source/empty"), "").unwrap();
    home.write(&["backup", "source", "--source", "files"]).exits(3);
    home.write(&["backup", "source", "--source", "files", "--dry-run"]).exits(3);
    home.write(&["forget", "--keep-last", "1", "--yes"]).exits(0);
    let left = home.write(&["snapshots", "--json", "--source", "files"]).exits(0).json();
    assert!(left.to_string().contains(&full), "the one that holds something stays: {left}");
    // Nothing is restored quickly; it must not look like a success, nor count as the proof of a backup.
    let ran = home.read(&["restore", "latest:files", "--target", "none"]).exits(3);
    assert!(ran.err.contains("HOLDS NOTHING") && ran.err.contains(&full[..8]), "{}", ran.err);
    let told = home.read(&["restore", "latest:files", "--target", "none", "--json"]).exits(3).json();
    assert_eq!(told["held_something"], full.as_str(), "{told}");
    let ran = home.read(&["restore", "--all", "--target", "all"]).exits(3);
    assert!(ran.out.contains("NOTHING IN IT") && ran.err.contains("HOLDS NOTHING"), "{} {}", ran.out, ran.err);
    home.read(&["restore", &full, "--target", "some"]).exits(0);
    home.read(&["restore", "latest:files", "--target", "none2"]).exits(3);
    let told = home.write(&["forget", "--keep-last", "1", "--dry-run", "--source", "files"]).exits(0).out;
    let row = told.lines().find(|line| line.contains(&full[..8])).expect("a row");
    assert!(row.contains("last verified"), "{told}");
    std::fs::remove_dir_all(home.path("source")).unwrap();
    std::fs::rename(home.path("away"), home.path("source")).unwrap();
    let ran = home.write(&["backup", "source", "--source", "files"]).exits(0);
    assert!(!ran.err.contains("NOTHING"), "{}", ran.err);
}

#[test]
fn the_time_of_a_backup_ends_when_its_snapshot_is_there() {
    let home = Home::new();
    let mut noise = vec![0; 3 << 20];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    std::fs::write(home.path("source/noise"), noise).unwrap();
    let began = std::time::Instant::now();
    let args = ["backup", "source", "--source", "files", "--json", "--limit-upload", "1MiB/s"];
    let told = home.write(&args).exits(0).json()["seconds"].as_f64().unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!(told > took - 1.5 && told <= took, "{told} of {took} seconds: all is read long before it is stored");
    assert!(took > 2.0, "{took}: the limit holds, or this shows nothing");
}

#[test]
fn keys_come_and_go_and_the_last_one_stays() {
    let home = Home::new();
    let mode = |name: &str| std::fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("key"), mode("writer")), (0o600, 0o600));
    let second = home.run(&["keys", "new", "--out", "second", "--json"]).exits(0).json();
    let second = second["recipient"].as_str().unwrap();
    home.read(&["keys", "remove", &home.recipient, "--yes"]).exits(7).says(&["last recipient"]);
    home.read(&["keys", "add", "--recipient", second]).exits(0);
    let listed = home.read(&["keys", "list", "--json"]).exits(0).json();
    assert_eq!(listed["recipients"].as_array().unwrap().len(), 2);
    home.write(&["keys", "list", "--identity", "second"]).exits(0);
    for start in ["age1", &home.recipient[..12], &home.recipient[..15]] {
        home.read(&["keys", "remove", start, "--yes", "--identity", "second"]).exits(2);
    }
    // Whoever removes their own key shows that they hold one that stays.
    home.run(&["keys", "new", "--out", "stranger"]).exits(0);
    for held in [&["key"][..], &["key", "stranger"]] {
        let mut args = vec!["keys", "remove", &home.recipient, "--yes"];
        held.iter().for_each(|file| args.extend(["--identity", file]));
        home.write(&args).exits(7).says(&["a recipient that stays", "second --identity"]);
    }
    let both = ["--identity", "key", "--identity", "second"];
    home.write(&[&["keys", "remove", &home.recipient][..], &both].concat()).exits(2).says(&["--yes"]);
    home.write(&[&["keys", "remove", &home.recipient[..16], "--yes"][..], &both].concat()).exits(0);
    home.read(&["keys", "list"]).exits(6).says(&["no given identity opens"]);
    home.write(&["keys", "list", "--identity", "second"]).exits(0);
    home.write(&["keys", "drill", "--identity", "second"]).exits(0);
    let drills = home.write(&["keys", "drill", "--list", "--json"]).exits(0).json();
    assert_eq!(drills["drills"][0]["recipient"], second);
}

#[test]
fn a_removed_identity_on_a_copy_is_told_so_and_never_of_damage() {
    let home = Home::new();
    let second = home.run(&["keys", "new", "--out", "second", "--json"]).exits(0).json();
    let second = second["recipient"].as_str().unwrap();
    home.read(&["keys", "add", "--recipient", second]).exits(0);
    let before = home.backup();
    home.run(&["replicate", "--to", "copy", "--create"]).exits(0);
    home.read(&["keys", "remove", second, "--yes"]).exits(0);
    std::fs::write(home.path("source/new"), "of the second epoch").unwrap();
    home.backup();
    home.run(&["replicate", "--to", "copy"]).exits(0);
    let removed = |args: &[&str]| {
        let ran = home.write(&[args, &["--repo", "copy", "--identity", "second"]].concat());
        assert!(!ran.out.to_lowercase().contains("damage"), "{}", ran.out);
        assert!(ran.err.contains("this identity was removed from the repository (epoch 2, 20"), "{}", ran.err);
        ran
    };
    for args in [
        &["cat", "latest:/new"][..],
        &["restore", "latest", "--target", "out"],
        &["restore", "--all", "--target", "all"],
        &["check"],
        &["check", "--read-data"],
        &["keys", "list"],
        &["keys", "drill"],
        &["keys", "add", "--recipient", second],
    ] {
        removed(args).exits(6).says(&["nothing is damaged"]);
    }
    // What may be all that is left after the other identity was lost.
    removed(&["restore", &before, "--target", "old"]).exits(0);
    assert_eq!(std::fs::read(home.path("old/a/b/hello.txt")).unwrap(), b"hello\n");
    home.write(&["check", "--read-data", "--repo", "copy", "--identity", "key"]).exits(0);
    home.write(&["cat", "latest:/new", "--identity", "second"]).exits(6).says(&["no given identity opens"]);
}

#[test]
fn a_name_is_given_back_as_it_was_printed() {
    let home = Home::new();
    let bytes = |name: &[u8]| home.path("source").join(std::ffi::OsStr::from_bytes(name));
    std::fs::create_dir(bytes(b"d\xff\\x41")).unwrap();
    let names: [(&[u8], &str); 5] = [
        (b"d\xff\\x41/in\tside", "d\\xff\\x5cx41/in\\x09side"),
        (b"r\xe9sum\xe9.txt", "r\\xe9sum\\xe9.txt"),
        (b"new\nline", "new\\x0aline"),
        // Letters that only look like an escape, and the file that they would name: the letters go first.
        (b"disk\\x2duuid", "disk\\x2duuid"),
        (b"disk-uuid", "disk-uuid"),
    ];
    for (name, printed) in names {
        std::fs::write(bytes(name), printed).unwrap();
    }
    home.backup();
    let listed = home.write(&["ls", "-R", "latest"]).exits(0).out;
    for (at, (name, printed)) in names.into_iter().enumerate() {
        assert!(listed.lines().any(|line| line == printed), "{printed} is not in\n{listed}");
        let there = format!("latest:/{printed}");
        assert_eq!(home.write(&["ls", &there]).exits(0).out.trim_end(), printed);
        assert_eq!(home.read(&["cat", &there]).exits(0).out, printed);
        let target = format!("out-{at}");
        home.read(&["restore", &there, "--target", &target]).exits(0);
        let last = name.rsplit(|byte| *byte == b'/').next().unwrap();
        let restored = home.path(&target).join(std::ffi::OsStr::from_bytes(last));
        assert_eq!(std::fs::read_to_string(restored).unwrap(), printed);
    }
    let directory = home.write(&["ls", "latest:/d\\xff\\x5cx41/"]).exits(0).out;
    assert_eq!(directory, "d\\xff\\x5cx41/in\\x09side\n");
    home.write(&["ls", "latest:/no\\xff"]).exits(2).says(&["has no no\\xff"]);
}

#[test]
fn an_ssh_key_is_added_and_removed_as_its_file_has_it() {
    let home = Home::new();
    let public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@rust\n";
    std::fs::write(home.path("id.pub"), public).unwrap();
    home.read(&["keys", "add", "--recipient", "id.pub"]).exits(2).says(&["is a file", "--recipients-file id.pub"]);
    home.read(&["keys", "add", "--recipients-file", "id.pub"]).exits(0);
    let start = &public[.."ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqep".len()];
    home.read(&["keys", "remove", start, "--yes"]).exits(2).says(&["too little"]);
    home.read(&["keys", "remove", public, "--yes"]).exits(0);
    assert_eq!(home.read(&["keys", "list", "--json"]).exits(0).json()["recipients"].as_array().unwrap().len(), 1);
}

#[test]
fn the_recovery_kit_is_private_and_holds_the_identity_only_if_asked() {
    let home = Home::new();
    home.read(&["keys", "paper", "--out", "kit.html"]).exits(0);
    let kit = std::fs::read_to_string(home.path("kit.html")).unwrap();
    assert!(!kit.contains("AGE-SECRET"), "and what it has of the groups of four cannot be the key");
    assert!(kit.contains(&home.dir().join("repo").display().to_string()), "an absolute address");
    home.read(&["keys", "paper", "--out", "kit.html"]).exits(7).says(&["exists already"]);
    home.read(&["keys", "paper", "--out", "kit2.html", "--with-identity"]).exits(0);
    let mode = std::fs::metadata(home.path("kit2.html")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        std::fs::metadata(home.path("kit2.html")).unwrap().len()
            > std::fs::metadata(home.path("kit.html")).unwrap().len()
    );
    // Typed in from the page, the gaps between the groups as spaces.
    let page = std::fs::read_to_string(home.path("kit2.html")).unwrap();
    let from = page.find("<span>AGE-SECRET-KEY-1</span>").expect("the secret");
    let shown = &page[from..from + page[from..].find("</div>").unwrap()];
    let typed: String = shown.replace("</span>", " ").split('<').map(|part| part.rsplit('>').next().unwrap()).collect();
    assert_eq!(typed.split_whitespace().count(), 16, "the head and 58 letters in fours: {typed}");
    std::fs::write(home.path("typed.txt"), typed).unwrap();
    home.write(&["keys", "list", "--identity", "typed.txt"]).exits(0);
}

#[test]
fn check_copy_forget_and_prune_are_wired() {
    let home = Home::new();
    home.backup();
    home.backup();
    let report = home.read(&["check", "--read-data", "--json"]).exits(0).json();
    assert_eq!(report["depth"]["decrypted"], true);
    home.run(&["check", "--no-key", "--read-data"]).exits(0);
    let plan = home.run(&["replicate", "--to", "copy", "--dry-run"]).exits(0);
    assert!(plan.out.contains("format.json") && plan.err.contains("--create"), "{}", plan.err);
    assert!(!home.path("copy").exists(), "a place that is not there is not made by a dry run");
    // A disk that is not mounted is a folder that is not there, or an empty one.
    home.run(&["replicate", "--to", "copy"]).exits(7).says(&["holds no copy", "--create"]);
    assert!(!home.path("copy").exists());
    std::fs::create_dir(home.path("copy")).unwrap();
    home.run(&["replicate", "--to", "copy"]).exits(7).says(&["holds no copy", "--create"]);
    assert_eq!(std::fs::read_dir(home.path("copy")).unwrap().count(), 0);
    home.run(&["replicate", "--to", "copy", "--create"]).exits(0);
    let again = home.run(&["replicate", "--to", "copy", "--quiet"]).exits(0);
    assert_eq!((again.out.as_str(), again.err.as_str()), ("", ""));
    home.write(&["snapshots", "--repo", "copy"]).exits(0);
    assert!(home.write(&["stats", "--json"]).exits(0).json()["total_ratio"].is_number());
    home.write(&["forget", "--keep-last", "1"]).exits(2).says(&["--yes"]);
    let dry = home.write(&["forget", "--keep-last", "1", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(dry["decisions"][0]["verdict"], "remove");
    assert_eq!(home.write(&["snapshots"]).exits(0).out.lines().count(), 3);
    home.write(&["forget", "--keep-last", "1", "--yes"]).exits(0);
    assert_eq!(home.write(&["snapshots"]).exits(0).out.lines().count(), 2);
    home.write(&["prune", "--dry-run", "--json"]).exits(0).json();
    home.write(&["prune", "--yes"]).exits(0);
    home.write(&["check"]).exits(0);
    // Both phases: the index still names packs that are gone, and nothing is wrong with that.
    std::fs::write(home.path("source/zeros"), "other").unwrap();
    home.backup();
    home.read(&["check", "--read-data"]).exits(0); // or `forget` keeps the one before, which was read back
    home.write(&["forget", "--keep-last", "1", "--yes"]).exits(0);
    let pruned = home.write(&["prune", "--grace", "0s", "--yes", "--json"]).exits(0).json();
    assert!(pruned["outcome"]["deleted"].to_string().contains("packs/"), "{pruned}");
    let report = home.read(&["check", "--read-data", "--json"]).exits(0).json();
    assert!(report["findings"].as_array().unwrap().iter().all(|finding| finding["severity"] == "note"), "{report}");
    home.write(&["check", "--objects-only"]).exits(0);
}

#[test]
fn forget_keeps_the_last_snapshot_that_was_read_back() {
    let home = Home::new();
    let backups: Vec<String> = (0..4)
        .map(|n| {
            std::fs::write(home.path("source/a/b/hello.txt"), format!("{n}\n")).unwrap();
            home.backup()
        })
        .collect();
    let plan = || home.write(&["forget", "--keep-last", "1", "--dry-run"]).exits(0).out;
    let verified = |id: &str| plan().lines().any(|line| line.contains(&id[..8]) && line.contains("last verified"));
    assert!(!plan().contains("verified"));
    // Less than everything proves nothing.
    home.read(&["check"]).exits(0);
    home.write(&["check", "--read-data"]).exits(0);
    home.read(&["restore", &format!("{}:a", backups[0]), "--target", "part"]).exits(0);
    assert!(!plan().contains("verified") && !home.path("repo/verified").exists());
    home.read(&["restore", &backups[0], "--target", "zero"]).exits(0);
    assert!(verified(&backups[0]));
    home.read(&["restore", &backups[1], "--target", "one"]).exits(0);
    assert!(verified(&backups[1]) && !verified(&backups[0]), "{}", plan());
    let said = home.write(&["forget", "--keep-last", "1", "--yes"]).exits(0).out;
    assert!(said.contains("forgot 2 snapshots"), "{said}");
    home.write(&["prune", "--yes", "--grace", "0s"]).exits(0);
    home.read(&["restore", &backups[1], "--target", "again"]).exits(0);
    let all = home.read(&["check", "--read-data", "--json"]).exits(0).json();
    assert_eq!(all["verified"].as_array().unwrap().len(), 2);
    assert!(verified(&backups[3]) && !verified(&backups[1]));
    home.write(&["forget", "--keep-last", "1", "--yes"]).exits(0);
    assert_eq!(home.write(&["snapshots", "--json"]).exits(0).json()["snapshots"].as_array().unwrap().len(), 1);
}

#[test]
fn a_repository_that_cannot_be_written_to_is_read_all_the_same() {
    let home = Home::new();
    let id = home.backup();
    // What stands in the way of the record for everybody, root included.
    std::fs::write(home.path("repo/verified"), "").unwrap();
    let ran = home.read(&["restore", &id, "--target", "out"]).exits(0);
    assert!(ran.err.contains("could not be stored"), "{}", ran.err);
    assert_eq!(std::fs::read(home.path("out/a/b/hello.txt")).unwrap(), b"hello\n");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let home = Home::new();
    std::fs::write(home.path("source/zeros"), vec![0; 20_000_000]).unwrap();
    home.backup();
    let mut command = home.command(&["cat", "latest:/zeros"]);
    command.env("HOMELAB_DR_WRITER_KEY_FILE", "writer").env("HOMELAB_DR_IDENTITY_FILE", "key");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut three = [0; 3];
    child.stdout.take().unwrap().read_exact(&mut three).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Three snapshots; returns their ids.
fn three(home: &Home) -> [String; 3] {
    [1, 2, 3].map(|n| {
        std::fs::write(home.path("source/counted"), vec![n; 100_000]).unwrap();
        home.backup()
    })
}

#[test]
fn a_snapshot_goes_by_its_id_and_by_nothing_less() {
    let home = Home::new();
    let [first, second, third] = three(&home);
    home.write(&["forget", "latest", "--yes"]).exits(2).says(&["no snapshot id"]);
    home.write(&["forget", &second, "--keep-last", "1", "--yes"]).exits(2).says(&["rules"]);
    home.write(&["forget", "--lost", &second, "--yes"]).exits(2).says(&["forget SNAPSHOT"]);
    let plan = home.write(&["forget", &second[..10], "--dry-run"]).exits(0).out;
    assert!(plan.contains("forget") && plan.contains(&second[..8]) && !plan.contains(&first[..8]), "{plan}");
    home.write(&["forget", &second[..10], "--yes"]).exits(0);
    let left = home.write(&["snapshots", "--json"]).exits(0).json();
    let left: Vec<&str> = left["snapshots"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert_eq!(left, [first, third]);
    home.write(&["prune", "--yes"]).exits(0);
}

#[test]
fn a_lost_record_stops_prune_until_the_command_that_it_names() {
    let home = Home::new();
    let [_, second, _] = three(&home);
    std::fs::remove_file(home.path(&format!("repo/snapshots/{second}"))).unwrap();
    let command = format!("forget --lost {second}");
    home.write(&["prune", "--yes"]).exits(7).says(&[&command]);
    let words: Vec<&str> = command.split(' ').chain(["--yes"]).collect();
    assert!(home.write(&words).exits(0).out.contains("gave up 1 record"));
    home.write(&["prune", "--yes"]).exits(0);
    home.write(&["check"]).exits(0);
}

#[test]
fn a_damaged_pack_is_marked_and_heals() {
    let home = Home::new();
    home.backup();
    let mut packs = Vec::new();
    for folder in std::fs::read_dir(home.path("repo/packs")).unwrap() {
        packs.extend(std::fs::read_dir(folder.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    let pack = packs.into_iter().find(|path| std::fs::read(path).unwrap()[1] == 1).expect("a content pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[200] ^= 1;
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    home.write(&["check", "--mark-damaged"]).exits(2);
    let found = home.write(&["check", "--read-data"]).exits(4);
    assert!(found.out.contains("--mark-damaged"), "{}", found.out);
    let marked = home.write(&["check", "--read-data", "--mark-damaged"]).exits(4);
    assert!(marked.err.contains("marked 1 damaged pack"), "{}", marked.err);
    home.backup();
    home.write(&["check", "--read-data"]).exits(0);
    home.write(&["prune", "--grace", "0s", "--yes"]).exits(0);
    home.read(&["check", "--read-data"]).exits(0);
    home.read(&["restore", "latest", "--target", "back"]).exits(0);
    assert_eq!(std::fs::read(home.path("back/zeros")).unwrap(), vec![0; 300_000]);
}
