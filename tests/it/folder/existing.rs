//! A restore into a folder that is there.

use super::*;

const UPDATE: [&str; 4] = ["--existing", "update", "--yes", "--json"];

/// A folder, backed up, and unpacked into `out`.
fn unpacked() -> (Folder, PathBuf) {
    let folder = Folder::new("");
    let data = folder.claim("media", "data", "");
    std::fs::write(data.join("second"), "second\n").unwrap();
    folder.backup(&[]).exits(0);
    let document = folder.restore("out", &["--yes", "--json"]).exits(0).json();
    assert_eq!(volume(&document, "media", "data")["outcome"], "restored");
    let out = folder.path("out/volumes/media/data");
    (folder, out)
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}

#[test]
fn what_is_equal_is_not_written_again() {
    let (folder, out) = unpacked();
    let before = inode(&out.join("hello"));
    for more in [&["--yes", "--json"][..], &UPDATE] {
        let document = folder.restore("out", more).exits(0).json();
        let row = volume(&document, "media", "data");
        assert_eq!((&row["outcome"], &row["restored"]["files"]), (&"restored".into(), &0.into()), "{row:#}");
        assert_eq!(inode(&out.join("hello")), before);
    }
}

#[test]
fn what_differs_is_left_and_said_or_written_over_when_asked() {
    let (folder, out) = unpacked();
    std::fs::write(out.join("hello"), "somebody's").unwrap();
    std::fs::remove_file(out.join("second")).unwrap();
    let before = inode(&out.join("hello"));
    let left = folder.restore("out", &["--yes"]).exits(3);
    let says = "NOT RESTORED: ";
    assert!(left.out.contains(says) && left.out.contains("--existing update"), "{}", left.out);
    assert_eq!((read(&out.join("hello")), inode(&out.join("hello"))), ("somebody's".into(), before));
    assert!(!out.join("second").exists());
    let planned = folder.restore("out", &["--existing", "update", "--plan"]).exits(0);
    assert!(planned.out.contains("is written over"), "{}", planned.out);
    // Nobody is there to say yes.
    assert_ne!(folder.restore("out", &["--existing", "update"]).code, 0);
    assert_eq!(read(&out.join("hello")), "somebody's");
    let document = folder.restore("out", &UPDATE).exits(0).json();
    let row = volume(&document, "media", "data");
    assert_eq!((&row["outcome"], &row["restored"]["files"]), (&"restored".into(), &2.into()), "{row:#}");
    assert_eq!((read(&out.join("hello")), read(&out.join("second"))), ("of media/data\n".into(), "second\n".into()));
}

#[test]
fn what_the_snapshot_does_not_have_is_left_and_named() {
    let (folder, out) = unpacked();
    std::fs::write(out.join("hello"), "somebody's").unwrap();
    std::fs::write(out.join("hello-wal"), "a journal").unwrap();
    std::fs::write(out.join("mine"), "mine").unwrap();
    let begun = out.join(format!(".homelab-dr-filling-{}", "ab".repeat(32)));
    std::fs::write(&begun, "").unwrap();
    let document = folder.restore("out", &UPDATE).exits(3).json();
    let row = volume(&document, "media", "data");
    let problems = row["problems"].to_string();
    assert!(problems.contains("mine is not in the snapshot, and was left"), "{row:#}");
    assert!(problems.contains("remove it before anything opens that"), "{row:#}");
    assert_eq!((&row["outcome"], row["problems"].as_array().unwrap().len()), (&"restored".into(), 2), "{row:#}");
    assert_eq!((read(&out.join("hello")), read(&out.join("mine"))), ("of media/data\n".into(), "mine".into()));
    assert!(!begun.exists(), "what another snapshot began is this one's now");
}

/// A run that was cut off while it updated is gone on with, also by one that would leave what is there.
#[test]
fn an_update_that_was_cut_off_is_gone_on_with() {
    let (folder, out) = unpacked();
    let listed = folder.home.read(&["snapshots", "--json"]).exits(0).json();
    let all = listed["snapshots"].as_array().unwrap();
    let id = all.iter().find(|one| one["source"] == "pvc/media/data").unwrap()["id"].as_str().unwrap().to_owned();
    std::fs::write(out.join(format!(".homelab-dr-filling-{id}")), "").unwrap();
    std::fs::write(out.join("hello"), "half").unwrap();
    folder.restore("out", &["--yes"]).exits(0);
    assert_eq!(read(&out.join("hello")), "of media/data\n");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2, "the mark is gone");
}
