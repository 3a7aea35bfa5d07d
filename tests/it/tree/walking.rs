//! What the walk finds, leaves out, and in which order.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use homelab_dr::tree::exclude::Excludes;
use homelab_dr::tree::source::Source;
use homelab_dr::tree::walk::WalkOptions;

use super::{capture, capture_with};

fn excluding(globs: &[&str], caches: bool) -> WalkOptions {
    let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
    WalkOptions { exclude: Excludes::new(&globs).unwrap().with_caches(caches), ..WalkOptions::default() }
}

#[test]
fn one_file_or_several_paths_are_put_under_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("x/dir")).unwrap();
    fs::write(at("x/dir/inner"), b"1").unwrap();
    fs::write(at("file"), b"2").unwrap();
    let options = WalkOptions::default;
    assert_eq!(capture_with(&[&at("file")], options()).paths(), ["file"]);
    assert_eq!(capture_with(&[&at("x/dir")], options()).paths(), ["", "inner"]);
    let both = capture_with(&[&at("file"), &at("x/dir")], options());
    assert_eq!(both.paths(), ["dir", "dir/inner", "file"]);
    assert!(both.problems.is_empty());
}

#[test]
fn excluded_names_and_caches_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for sub in ["cache/x", "app/cache", "tagged/sub", "badly-tagged"] {
        fs::create_dir_all(at(sub)).unwrap();
    }
    for file in ["app/a.log", "app/keep", "tagged/big", "badly-tagged/kept"] {
        fs::write(at(file), b"1").unwrap();
    }
    fs::write(at("tagged/CACHEDIR.TAG"), b"Signature: 8a477f597d28d172789f06886806bc55\n# mine").unwrap();
    fs::write(at("badly-tagged/CACHEDIR.TAG"), b"just a name").unwrap();
    let found = capture_with(&[dir.path()], excluding(&["/cache", "*.log"], true)).paths();
    let rest = ["badly-tagged", "badly-tagged/CACHEDIR.TAG", "badly-tagged/kept", "tagged", "tagged/CACHEDIR.TAG"];
    assert_eq!(found[..4], ["", "app", "app/cache", "app/keep"]);
    assert_eq!(found[4..], rest);
}

#[test]
fn a_tree_deeper_than_directories_are_held_open_is_found_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut path = dir.path().to_owned();
    for _ in 0..150 {
        path.push("d");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("z"), b"after the directory").unwrap();
    }
    let captured = capture(dir.path());
    assert!(captured.problems.is_empty(), "{:?}", captured.problems);
    assert_eq!(captured.entries.len(), 301);
    assert!(captured.entries.is_sorted_by(|a, b| a.0.path < b.0.path));
}

#[test]
fn a_mount_point_is_kept_empty_with_one_file_system() {
    let dev = |path: &str| fs::metadata(path).map(|meta| meta.dev()).ok();
    let mount = ["/dev/pts", "/dev/shm", "/dev/mqueue"].into_iter().find(|path| dev(path) != dev("/dev"));
    let mount =
        mount.filter(|path| Path::new(path).exists()).expect("something is mounted below /dev: a Linux as usual");
    let name = mount.trim_start_matches("/dev/");
    let walk = |one_file_system| {
        let source = Source::new(&["/dev".into()]).unwrap();
        let found: Vec<_> = source
            .walk(WalkOptions { one_file_system, ..WalkOptions::default() })
            .flatten()
            .map(|found| found.path.display())
            .filter(|path| path.starts_with(name))
            .collect();
        found
    };
    assert_eq!(walk(true), [name]);
}
