//! What a command leaves alone, whatever it is told: the repository that it reads, and the keys that it uses.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::Home;
use crate::support::files::{Picture, picture};

/// Everything in the home folder, to see that nothing changed.
fn all(home: &Home) -> Picture {
    picture(home.dir())
}

#[test]
fn nothing_is_restored_into_the_repository() {
    let home = Home::new();
    home.backup();
    symlink("repo", home.path("link")).unwrap();
    let before = all(&home);
    for target in ["repo", "repo/new", "./source/../repo/packs", "link", "link/x", "new/../repo"] {
        for more in [&[][..], &["--delete", "--yes"], &["--dry-run"]] {
            let ran = home.read(&[&["restore", "latest", "--target", target], more].concat());
            ran.exits(2).says(&["is the repository itself, or lies in it", "nothing was done"]);
        }
        home.read(&["restore", "--all", "--target", target]).exits(2).says(&["is the repository itself"]);
    }
    // With the repository under its other name, and as an address.
    let address = format!("file://{}/link", home.dir().display());
    home.read(&["restore", "latest", "--target", "repo", "--repo", &address]).exits(2).says(&["is the repository"]);
    assert!(all(&home) == before && !home.path("new").exists());
    // A source whose directory would be the repository.
    home.write(&["backup", "source", "--source", "repo"]).exits(0);
    let before = all(&home);
    home.read(&["restore", "--all", "--target", "."]).exits(2).says(&["./repo is the repository itself"]);
    assert!(all(&home) == before);
}

#[test]
fn delete_is_refused_where_it_would_take_the_repository_or_a_key() {
    let home = Home::new();
    home.backup();
    std::fs::create_dir(home.path("keys")).unwrap();
    std::fs::rename(home.path("key"), home.path("keys/real")).unwrap();
    symlink("keys/real", home.path("key")).unwrap();
    symlink(".", home.path("same")).unwrap();
    let before = all(&home);
    let delete = |target: &str, more: &[&str]| {
        home.read(&[&["restore", "latest", "--delete", "--yes", "--target", target], more].concat())
    };
    for target in [".", "/", "same", "same/source/.."] {
        delete(target, &[]).exits(2).says(&["the repository lies in", "--delete would remove it", "nothing was done"]);
        delete(target, &["--dry-run"]).exits(2);
    }
    delete("keys", &[]).exits(2).says(&["the identity", "lies in keys, and --delete would remove it"]);
    std::fs::create_dir(home.path("etc")).unwrap();
    std::fs::copy(home.path("writer"), home.path("etc/writer")).unwrap();
    delete("etc", &["--writer-key-file", "etc/writer"]).exits(2).says(&["the writer key", "lies in etc"]);
    std::fs::remove_dir_all(home.path("etc")).unwrap();
    assert!(all(&home) == before);
    std::fs::create_dir(home.path("out")).unwrap();
    std::fs::write(home.path("out/extra"), "").unwrap();
    delete("out", &[]).exits(0);
    assert!(!home.path("out/extra").exists() && home.path("out/zeros").exists());
}

#[test]
fn a_restore_beside_the_repository_and_the_keys_leaves_them_as_they_are() {
    let home = Home::new();
    // Entries that would take the place of each, one that would lie in it, and innocent ones.
    for (name, bytes) in
        [("key", "no key"), ("writer/x", "?"), ("repo/format.json", "{}"), ("repo/packs", ""), ("z", "z")]
    {
        let path = home.path("source").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    home.backup();
    let before = all(&home);
    let ran = home.read(&["restore", "latest", "--target", ".", "--overwrite", "always"]).exits(3);
    for spared in ["key", "writer", "repo"] {
        let told = format!("restoring {spared}: it is, or holds, the repository or a key file that this restore uses");
        assert_eq!(ran.err.matches(&told).count(), 1, "{told}: {}", ran.err);
    }
    let mut after = all(&home);
    for (name, bytes) in [("z", &b"z"[..]), ("a/b/hello.txt", b"hello\n")] {
        assert_eq!(after.remove(&PathBuf::from(name)).as_deref(), Some(bytes), "{name}");
    }
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
    home.read(&["check", "--read-data"]).exits(0);
    // A file in the place of the folder that holds the repository.
    std::fs::create_dir(home.path("folder")).unwrap();
    std::fs::rename(home.path("repo"), home.path("folder/repo")).unwrap();
    std::fs::write(home.path("source/folder"), "a file").unwrap();
    home.write(&["backup", "source", "--source", "files", "--repo", "folder/repo"]).exits(0);
    let ran = home.read(&["restore", "latest", "--target", ".", "--repo", "folder/repo"]).exits(3);
    assert!(ran.err.contains("restoring folder/repo: it is, or holds, the repository"), "{}", ran.err);
    assert!(home.path("folder/repo/format.json").exists());
}

/// All of `DIR/manifests` is read, and written over.
#[test]
fn manifests_are_unpacked_beside_the_repository_and_the_keys() {
    let home = Home::new();
    home.backup();
    symlink(".", home.path("same")).unwrap();
    std::fs::create_dir_all(home.path("out/manifests/mine")).unwrap();
    std::fs::copy(home.path("writer"), home.path("out/manifests/mine/writer")).unwrap();
    std::fs::create_dir(home.path("up")).unwrap();
    symlink("../repo", home.path("up/manifests")).unwrap();
    let before = all(&home);
    let unpack = |folder: &str, more: &[&str]| {
        let args = ["restore", "latest", "--cluster", "--yes", "--into-folder", folder];
        home.read(&[&args[..], more].concat())
    };
    for folder in ["repo", "repo/new", "same/repo", "up"] {
        unpack(folder, &[]).exits(2).says(&["is the repository itself, or lies in it", "nothing was done"]);
        unpack(folder, &["--plan"]).exits(2);
    }
    unpack("out", &["--writer-key-file", "out/manifests/mine/writer"])
        .exits(2)
        .says(&["the writer key", "lies in out/manifests"]);
    assert!(all(&home) == before);
    std::fs::create_dir(home.path("in")).unwrap();
    std::fs::rename(home.path("repo"), home.path("in/manifests")).unwrap();
    let before = all(&home);
    unpack("in", &["--repo", "in/manifests"]).exits(2).says(&["is the repository itself"]);
    std::fs::create_dir(home.path("deep")).unwrap();
    std::fs::rename(home.path("in"), home.path("deep/manifests")).unwrap();
    unpack("deep", &["--repo", "deep/manifests/manifests"])
        .exits(2)
        .says(&["the repository", "lies in deep/manifests"]);
    std::fs::rename(home.path("deep/manifests"), home.path("in")).unwrap();
    std::fs::remove_dir(home.path("deep")).unwrap();
    assert!(all(&home) == before);
}

#[test]
fn no_key_and_no_demonstration_is_made_in_the_repository() {
    let home = Home::new();
    let before = all(&home);
    for args in [
        &["keys", "new", "--out", "repo/new"][..],
        &["keys", "paper", "--out", "repo/packs/../kit.html"],
        &["demo", "--dir", "repo/demo"],
    ] {
        home.read(args).exits(2).says(&["would lie in the repository", "nothing was done"]);
    }
    assert!(all(&home) == before);
}
