//! `check --repair` as a person types it: from a replica, from what is left, and what it says is lost.

use std::path::{Path, PathBuf};

use super::Home;

/// The objects below a folder of the repository.
pub fn below(home: &Home, folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(home.path(&format!("repo/{folder}"))).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path()));
        } else {
            found.push(path);
        }
    }
    found
}

pub fn pack(home: &Home, class: u8) -> PathBuf {
    below(home, "packs").into_iter().find(|path| std::fs::read(path).unwrap()[1] == class).expect("a pack")
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[200] ^= 1;
    std::fs::remove_file(path).unwrap(); // objects are read-only files
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_replica_heals_whatever_was_damaged_and_a_second_run_finds_nothing_to_do() {
    let home = Home::new();
    home.backup();
    home.run(&["replicate", "--to", "copy", "--create"]).exits(0);
    flip(&pack(&home, 1));
    std::fs::remove_file(pack(&home, 2)).unwrap();
    std::fs::write(home.path("repo/format.json"), "{}").unwrap_or_else(|_| {
        std::fs::remove_file(home.path("repo/format.json")).unwrap();
        std::fs::write(home.path("repo/format.json"), "{}").unwrap();
    });
    for folder in ["sessions", "epochs"] {
        below(&home, folder).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }
    below(&home, "snapshots").iter().for_each(|path| flip(path));
    home.write(&["backup", "source", "--source", "files"]).exits(4);
    let ran = home.read(&["check", "--repair", "--from", "copy"]).exits(0);
    for part in [
        "healed: format.json: brought from",
        "healed: epochs/1",
        "healed: packs/",
        "healed: snapshots/",
        "no damage found",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let again = home.read(&["check", "--repair", "--from", "copy", "--json"]).exits(0).json();
    assert_eq!((again["healed"].as_array().unwrap().len(), again["losses"].as_array().unwrap().len()), (0, 0));
    home.read(&["check", "--read-data"]).exits(0);
    home.read(&["restore", "latest", "--target", "back"]).exits(0);
    assert_eq!(std::fs::read(home.path("back/a/b/hello.txt")).unwrap(), b"hello\n");
    home.backup();
}

#[test]
fn what_is_lost_is_named_with_the_command_that_brings_it_back() {
    let home = Home::new();
    let source = home.path("source").canonicalize().unwrap();
    let back_up = ["backup", source.to_str().unwrap(), "--source", "files"];
    home.write(&back_up).exits(0);
    std::fs::remove_file(pack(&home, 1)).unwrap();
    let ran = home.write(&["check", "--repair"]).exits(4);
    for part in ["LOST of snapshot", "a/b/hello.txt", "zeros", "`homelab-dr backup --source files"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let told = ran.out.split("help: back up files again: `homelab-dr ").nth(1).and_then(|rest| rest.split('`').next());
    let told: Vec<&str> = told.expect("a command").split(' ').collect();
    let json = home.write(&["check", "--repair", "--json"]).exits(4).json();
    assert_eq!(json["losses"][0]["files"].as_array().unwrap().len(), 3);
    home.write(&told).exits(0);
    home.read(&["check", "--repair"]).exits(0);
    let snapshots = home.write(&["snapshots", "--json"]).exits(0).json();
    for snapshot in snapshots["snapshots"].as_array().unwrap() {
        let id = snapshot["id"].as_str().unwrap();
        home.read(&["restore", id, "--target", id]).exits(0);
        assert_eq!(std::fs::read(home.path(&format!("{id}/zeros"))).unwrap(), vec![0; 300_000]);
    }
}

/// A folder lies where an object should: it is named, and everything else is put right.
#[test]
fn a_folder_in_the_place_of_an_object_holds_nothing_else_up() {
    let home = Home::new();
    home.backup();
    home.run(&["replicate", "--to", "copy", "--create"]).exits(0);
    let (content, metadata) = (pack(&home, 1), pack(&home, 2));
    std::fs::remove_file(&content).unwrap();
    std::fs::create_dir(&content).unwrap();
    std::fs::write(content.join("file"), "somebody's").unwrap();
    flip(&metadata);
    // Its blobs come one by one, so nothing is lost.
    let ran = home.write(&["check", "--repair", "--from", "copy"]).exits(3);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(ran.out.contains("healed: packs/") && ran.out.contains(&name(&metadata)), "{}", ran.out);
    let kept: Vec<&str> = ran.err.lines().filter(|line| line.contains("kept as it is")).collect();
    assert!(kept.len() == 1 && kept[0].contains(&name(&content)), "{}", ran.err);
    assert_eq!(std::fs::read(content.join("file")).unwrap(), b"somebody's");
    std::fs::rename(&content, home.path("aside")).unwrap();
    home.write(&["check", "--repair", "--from", "copy"]).exits(0);
    home.read(&["check", "--read-data"]).exits(0);

    // The record of the epoch, which everything rests on.
    let epoch = home.path("repo/epochs/1");
    std::fs::remove_file(&epoch).unwrap();
    std::fs::create_dir(&epoch).unwrap();
    std::fs::write(epoch.join("file"), "somebody's").unwrap();
    let ran = home.write(&["check", "--repair", "--from", "copy"]);
    assert!(ran.code != 0 && ran.err.contains("epochs/1"), "{}", ran.err);
    std::fs::remove_dir_all(&epoch).unwrap();
    // With an identity it needs no replica.
    let ran = home.read(&["check", "--repair"]).exits(0);
    assert!(ran.out.contains("healed: epochs/1: made anew"), "{}", ran.out);
    home.backup();
}

#[test]
fn a_key_that_everybody_may_read_is_told_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    home.backup();
    for (mode, told) in [(0o644, 1), (0o666, 1), (0o602, 1), (0o640, 0), (0o400, 0)] {
        std::fs::set_permissions(home.path("key"), std::fs::Permissions::from_mode(mode)).unwrap();
        let ran = home.read(&["check", "--read-data"]).exits(0);
        assert_eq!(ran.err.matches("chmod 600 key").count(), told, "{mode:o}: {}", ran.err);
    }
}

#[test]
fn what_cannot_be_put_right_from_is_refused() {
    let home = Home::new();
    home.backup();
    home.run(&["check", "--from", "copy"]).exits(2);
    home.write(&["check", "--repair", "--read-data"]).exits(2);
    home.write(&["check", "--repair", "--from", "repo"]).exits(2).says(&["from itself"]);
    home.write(&["check", "--repair", "--from", "nowhere"]).exits(5).says(&["is not there"]);
    std::fs::create_dir(home.path("bare")).unwrap();
    home.write(&["check", "--repair", "--from", "bare"]).exits(7).says(&["holds no repository"]);
    home.run(&["init", "--repo", "other", "--recipient", &home.recipient, "--writer-key", "other-writer"]).exits(0);
    home.write(&["check", "--repair", "--from", "other"]).exits(7).says(&["another repository"]);
    // A key of another repository makes nothing its own.
    let mut command = home.command(&["check", "--repair"]);
    let ran = super::Ran::of(&command.env("HOMELAB_DR_WRITER_KEY_FILE", "other-writer").output().unwrap());
    ran.exits(6);
    home.run(&["replicate", "--to", "copy", "--create"]).exits(0);
    flip(&pack(&home, 1));
    home.run(&["check", "--no-key", "--repair", "--from", "copy"]).exits(0);
    home.read(&["check", "--read-data"]).exits(0);
}
