//! Restoring where something is already, some of it hostile.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use homelab_dr::format::entry::{Content, Entry, FileTime, Kind};
use homelab_dr::tree::problem::Cause;
use homelab_dr::tree::restore::{Comparison, RestoreOptions, Target};

use super::{capture, restore, tree_path};

fn entry(path: &str, kind: Kind) -> Entry {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Entry {
        path: tree_path(path),
        kind,
        mode: 0o644,
        uid,
        gid,
        mtime: FileTime { seconds: 5, nanos: 6 },
        xattrs: Vec::new(),
        identity: None,
        live: None,
    }
}

fn file(path: &str, size: u64) -> Entry {
    entry(path, Kind::File { size, content: Content::Inline(Vec::new()) })
}

fn put(target: &Target, path: &str, bytes: &[u8]) -> Result<(), Cause> {
    let writer = target.create_file(&tree_path(path), bytes.len() as u64).map_err(|problem| problem.cause)?;
    writer.write_at(0, bytes).map_err(|problem| problem.cause)?;
    assert_eq!(writer.finish(&file(path, bytes.len() as u64)).map_err(|problem| problem.cause)?, []);
    Ok(())
}

#[test]
fn links_laid_in_the_target_lead_nowhere() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| dir.path().join(name);
    fs::write(outside.path().join("file"), b"untouched").unwrap();
    let before = fs::metadata(outside.path()).unwrap().permissions();
    let target = Target::create_or_open(dir.path(), RestoreOptions::default()).unwrap();

    symlink(outside.path(), at("a")).unwrap();
    put(&target, "a/file", b"restored").unwrap();
    assert!(at("a").symlink_metadata().unwrap().is_dir());

    symlink(outside.path().join("file"), at("link")).unwrap();
    put(&target, "link", b"restored").unwrap();
    assert!(at("link").symlink_metadata().unwrap().is_file());

    symlink(outside.path(), at("b")).unwrap();
    let metadata = target.apply_metadata(&Entry { mode: 0o777, ..entry("b", Kind::Directory) });
    assert_eq!(metadata.first().map(|problem| problem.cause.clone()), Some(Cause::OtherKind));
    assert!(target.extra_entries(&tree_path("b"), |_| false).unwrap().is_empty());
    assert_eq!(target.compare(&file("b/file", 9)), Ok(Comparison::Missing));
    assert_eq!(target.remove(&tree_path("b/file")), []);
    assert_eq!(target.remove(&tree_path("b")), []);
    target.ensure_directory(&tree_path("b")).unwrap();

    assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"untouched");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::metadata(outside.path()).unwrap().permissions(), before);
}

#[test]
fn what_is_in_the_way_is_replaced_but_a_full_directory_only_when_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("full/sub")).unwrap();
    fs::create_dir_all(dir.path().join("empty")).unwrap();
    fs::write(dir.path().join("full/sub/file"), b"1").unwrap();
    let target = Target::create_or_open(dir.path(), RestoreOptions::default()).unwrap();
    assert_eq!(put(&target, "full", b"x"), Err(Cause::DirectoryInTheWay));
    let link = entry("full", Kind::Symlink { target: b"t".to_vec().into() });
    assert_eq!(target.create(&link).map_err(|problem| problem.cause), Err(Cause::DirectoryInTheWay));
    assert_eq!(put(&target, "empty", b"x"), Ok(()));
    assert_eq!(target.create(&Entry { path: tree_path("empty"), ..link.clone() }), Ok(()));
    assert_eq!(target.create(&entry("empty", Kind::Directory)), Ok(()));

    let target =
        Target::create_or_open(dir.path(), RestoreOptions { delete: true, ..RestoreOptions::default() }).unwrap();
    assert_eq!(put(&target, "full", b"x"), Ok(()));
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no temporary name is left: {left:?}");
}

#[test]
fn an_old_file_stays_until_the_new_one_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("old"), b"old").unwrap();
    let target = Target::create_or_open(dir.path(), RestoreOptions::default()).unwrap();
    for name in ["old", "new"] {
        let writer = target.create_file(&tree_path(name), 3).unwrap();
        writer.write_at(0, b"ne").unwrap();
        drop(writer);
    }
    assert_eq!(fs::read(at("old")).unwrap(), b"old");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "given up, they take themselves away");
    put(&target, "old", b"new").unwrap();
    assert_eq!(fs::read(at("old")).unwrap(), b"new");
}

#[test]
fn a_file_has_its_name_only_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::create_or_open(dir.path(), RestoreOptions::default()).unwrap();
    let writer = target.create_file(&tree_path("new"), 3).unwrap();
    writer.write_at(0, b"ne").unwrap();
    assert!(!dir.path().join("new").exists(), "a kill here must not leave a file of the right size");
    assert_eq!(target.compare(&file("new", 3)), Ok(Comparison::Missing));
    writer.write_at(2, b"w").unwrap();
    assert_eq!(writer.finish(&file("new", 3)).unwrap(), []);
    assert_eq!(fs::read(dir.path().join("new")).unwrap(), b"new");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_a_killed_restore_left_is_swept_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let target = Target::create_or_open(dir.path(), RestoreOptions::default()).unwrap();
    let left = [".homelab-dr-0123456789abcdef-0.part", ".homelab-dr-fedcba9876543210-17.part"];
    let others = [".homelab-dr-12-3.part", ".homelab-dr-0123456789abcdef-0.partly", "homelab-dr.part"];
    for name in left.iter().chain(&others) {
        fs::write(at(name), "half").unwrap();
    }
    symlink(at("elsewhere"), at(".homelab-dr-0123456789abcdef-1.part")).unwrap();
    // Another restore is at work in the same place.
    let other = Target::create_or_open(dir.path(), RestoreOptions::default()).unwrap();
    let writer = other.create_file(&tree_path("new"), 3).unwrap();
    assert_eq!(target.sweep(&tree_path("")), 2);
    assert_eq!(target.sweep(&tree_path("")), 0);
    assert!(left.iter().all(|name| !at(name).exists()) && others.iter().all(|name| at(name).exists()));
    writer.write_at(0, b"new").unwrap();
    assert_eq!(writer.finish(&file("new", 3)).unwrap(), [], "it was not swept away beneath the other");
}

#[test]
fn comparing_tells_what_needs_to_be_done() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::create_or_open(dir.path(), RestoreOptions::default()).unwrap();
    let same = file("f", 3);
    assert_eq!(target.compare(&same), Ok(Comparison::Missing));
    put(&target, "f", b"abc").unwrap();
    assert_eq!(target.compare(&same), Ok(Comparison::Same));
    assert_eq!(target.compare(&Entry { mode: 0o600, ..same.clone() }), Ok(Comparison::MetadataDiffers));
    let later = Entry { mtime: FileTime { seconds: 5, nanos: 7 }, ..same.clone() };
    assert_eq!(target.compare(&later), Ok(Comparison::ContentMayDiffer));
    assert_eq!(target.compare(&file("f", 4)), Ok(Comparison::ContentMayDiffer));
    assert_eq!(target.compare(&entry("f", Kind::Fifo)), Ok(Comparison::OtherType));
    assert_eq!(target.compare(&file("f/below", 3)), Ok(Comparison::Missing));
    let hard = entry("g", Kind::HardLink { target: tree_path("f") });
    put(&target, "g", b"abc").unwrap();
    assert_eq!(target.compare(&hard), Ok(Comparison::ContentMayDiffer));
    target.create(&hard).unwrap();
    assert_eq!(target.compare(&hard), Ok(Comparison::Same));
}

#[test]
fn extra_entries_are_listed_and_removed_with_all_below() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), b"1").unwrap();
    fs::create_dir_all(dir.path().join("extra/a/b/c")).unwrap();
    symlink(outside.path(), dir.path().join("extra/a/link")).unwrap();
    fs::write(dir.path().join("extra/a/b/file"), b"1").unwrap();
    fs::write(dir.path().join("wanted"), b"1").unwrap();
    fs::set_permissions(dir.path().join("extra/a"), Permissions::from_mode(0o700)).unwrap();
    let target = Target::create_or_open(dir.path(), RestoreOptions::default()).unwrap();
    let extra = target.extra_entries(&tree_path(""), |name| name == b"wanted").unwrap();
    assert_eq!(extra, [tree_path("extra")]);
    assert_eq!(target.remove(&extra[0]), []);
    assert_eq!(target.remove(&extra[0]), [], "nothing there is fine");
    assert_eq!(capture(dir.path()).paths(), ["", "wanted"]);
    assert!(outside.path().join("file").exists());
    assert_eq!(target.remove(&tree_path("")), []);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the target itself is emptied and stays");
}

#[test]
fn an_entry_without_its_directory_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::create_or_open(&dir.path().join("new/target"), RestoreOptions::default()).unwrap();
    put(&target, "a/b/c", b"1").unwrap();
    assert_eq!(fs::read(dir.path().join("new/target/a/b/c")).unwrap(), b"1");
    let captured = capture(&dir.path().join("new"));
    assert_eq!(restore(&captured, &dir.path().join("again"), RestoreOptions::default()), []);
}
