//! Everything that goes in comes out.

use std::os::unix::fs::MetadataExt as _;

use homelab_dr::format::entry::Kind;
use homelab_dr::tree::problem::{Cause, Severity};
use homelab_dr::tree::restore::{Comparison, RestoreOptions, Target};

use super::{capture, restore, tree_path};
use crate::support::every_kind::{self, Kinds};

#[test]
fn every_kind_of_entry_comes_back_as_it_was() {
    come_back(Kinds::Everybodys);
}

#[test]
#[ignore = "needs root, to make devices and to give files away: lane root"]
fn lane_root_every_kind_of_entry_comes_back_as_it_was() {
    come_back(Kinds::Roots);
}

fn come_back(kinds: Kinds) {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    every_kind::build(&source, kinds);

    let before = capture(&source);
    assert_eq!(before.problems.len(), 1, "{:?}", before.problems);
    assert_eq!(before.problems[0].path, tree_path("socket"));
    assert_eq!((&before.problems[0].cause, before.problems[0].severity), (&Cause::Socket, Severity::Note));
    let links = before.entries.iter().filter(|(e, _)| matches!(e.kind, Kind::HardLink { .. })).count();
    assert_eq!(links, 2);
    let mut sorted = before.entries.clone();
    sorted.sort_by(|a, b| a.0.path.cmp(&b.0.path));
    assert_eq!(sorted, before.entries, "tree order");

    // What the comparison below would not miss if the walk did.
    let attributes = |path: &str| {
        let names = before.entry(path).xattrs.iter().map(|x| String::from_utf8_lossy(&x.name).into_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(attributes("empty"), "system.posix_acl_access");
    assert_eq!(attributes("acl-dir"), "system.posix_acl_default");
    assert_eq!((before.entry("text").mtime.seconds, before.entry("text").mtime.nanos), (-86_401, 123_456_789));
    if kinds == Kinds::Roots {
        assert_eq!(attributes("capable"), "security.capability trusted.note");
        assert_eq!(before.entry("foreign-suid").mode, 0o6755);
        assert_eq!(before.entry("null").kind, Kind::CharDevice { major: 1, minor: 3 });
    }

    assert_eq!(restore(&before, &target, RestoreOptions::default()), []);
    let after = capture(&target);
    for (left, right) in before.entries.iter().zip(&after.entries) {
        assert_eq!(left.0, right.0);
        assert!(left.1 == right.1, "the bytes or holes of {}", left.0.path.display());
    }
    assert_eq!(before.paths(), after.paths());
    assert!(after.problems.is_empty());
    let blocks = |name: &str| std::fs::metadata(target.join(name)).unwrap().blocks();
    assert!(blocks("sparse") * 512 < 100_000, "{} blocks", blocks("sparse"));
    assert_eq!(blocks("only-a-hole"), 0);

    // All over again onto itself: the same tree, and every entry is known to be the same.
    let opened = Target::create_or_open(&target, RestoreOptions::default()).unwrap();
    for (entry, _) in &before.entries {
        assert_eq!(opened.compare(entry), Ok(Comparison::Same), "{}", entry.path.display());
    }
    assert_eq!(restore(&before, &target, RestoreOptions::default()), []);
    assert_eq!(capture(&target).entries, before.entries);
    every_kind::open_up(&source);
    every_kind::open_up(&target);
}

#[test]
fn with_the_sparse_option_zeros_become_holes_and_nothing_else_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    let mut bytes = vec![0; 1_000_001];
    bytes[500_000] = 1;
    bytes[8191] = 2;
    std::fs::write(source.join("zeros"), &bytes).unwrap();
    let captured = capture(&source);
    assert_eq!(restore(&captured, &target, RestoreOptions { sparse: true, ..RestoreOptions::default() }), []);
    assert!(std::fs::read(target.join("zeros")).unwrap() == bytes);
    assert!(std::fs::metadata(target.join("zeros")).unwrap().blocks() * 512 <= 16 * 1024);
}
