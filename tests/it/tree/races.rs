//! What is exchanged between being found and being opened is not touched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use homelab_dr::format::entry::TreePath;
use homelab_dr::tree::found::Found;
use homelab_dr::tree::problem::{Cause, Severity};
use homelab_dr::tree::source::Source;
use homelab_dr::tree::walk::{Walk, WalkOptions};

use super::tree_path;

fn walk_to(dir: &Path, path: &str) -> (Source, Walk, Found) {
    let source = Source::new(&[dir.to_owned()]).unwrap();
    let mut walk = source.walk(WalkOptions::default());
    let found = walk.by_ref().map(Result::unwrap).find(|found| found.path == tree_path(path)).expect(path);
    (source, walk, found)
}

type Swap<'a> = (&'a str, &'a dyn Fn());

#[test]
fn a_file_that_became_something_else_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let secret = dir.path().join("secret");
    fs::write(&secret, b"not to be read under another name").unwrap();
    let swaps: [Swap<'_>; 4] = [
        ("link", &|| symlink(&secret, &file).unwrap()),
        ("fifo", &|| rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RWXU).unwrap()),
        ("directory", &|| fs::create_dir(&file).unwrap()),
        ("other file", &|| fs::write(&file, b"other").unwrap()),
    ];
    for (what, swap) in swaps {
        let _ = fs::remove_dir(&file);
        let _ = fs::remove_file(&file);
        fs::write(&file, b"found").unwrap();
        let (source, _, found) = walk_to(dir.path(), "file");
        // Renamed, not removed, so that its inode is not given out again.
        fs::rename(&file, dir.path().join("old")).unwrap();
        swap();
        let problem = source.open(&found).expect_err(what);
        assert_eq!(problem.cause, Cause::Replaced, "{what}");
    }
    fs::remove_file(&file).unwrap();
    fs::write(&file, b"found").unwrap();
    let (source, _, found) = walk_to(dir.path(), "file");
    fs::remove_file(&file).unwrap();
    let problem = source.open(&found).expect_err("it vanished");
    assert_eq!((problem.cause, problem.severity), (Cause::Vanished, Severity::Note));
}

#[test]
fn a_directory_that_became_a_link_is_not_entered() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("data/inner")).unwrap();
    fs::write(dir.path().join("data/inner/file"), b"ours").unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), b"theirs").unwrap();

    let (_, walk, _) = walk_to(dir.path(), "data/inner");
    fs::rename(dir.path().join("data/inner"), dir.path().join("moved")).unwrap();
    symlink(outside.path(), dir.path().join("data/inner")).unwrap();
    let rest: Vec<_> = walk.collect();
    let problems: Vec<_> = rest.iter().filter_map(|item| item.as_ref().err()).collect();
    assert_eq!(problems.len(), 1, "{rest:?}");
    assert_eq!((&problems[0].cause, &problems[0].path), (&Cause::Replaced, &tree_path("data/inner")));

    // The same on the way to a file that is opened later.
    fs::remove_file(dir.path().join("data/inner")).unwrap();
    fs::rename(dir.path().join("moved"), dir.path().join("data/inner")).unwrap();
    let (source, _, found) = walk_to(dir.path(), "data/inner/file");
    fs::rename(dir.path().join("data/inner"), dir.path().join("moved")).unwrap();
    symlink(outside.path(), dir.path().join("data/inner")).unwrap();
    assert_eq!(source.open(&found).map(|_| ()).map_err(|problem| problem.cause), Err(Cause::Replaced));
}

#[test]
fn what_vanishes_during_the_walk_is_a_note_and_the_walk_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let (_, walk, _) = walk_to(dir.path(), "a");
    fs::remove_file(dir.path().join("b")).unwrap();
    let rest: Vec<Result<TreePath, Severity>> =
        walk.map(|item| item.map(|found| found.path).map_err(|problem| problem.severity)).collect();
    assert_eq!(rest, [Err(Severity::Note), Ok(tree_path("c"))]);
}
