//! A damaged index, from the first warning to a repository that is whole again.

use super::Home;

/// Flips a bit in the middle of every index segment; returns their names.
fn rot(home: &Home) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(home.path("repo/index")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::remove_file(&path).unwrap(); // objects are read-only files
        std::fs::write(&path, bytes).unwrap();
        names.push(format!("index/{}", path.file_name().unwrap().to_str().unwrap()));
    }
    names
}

#[test]
fn a_damaged_index_is_read_around_and_rebuilt() {
    let home = Home::new();
    home.backup();
    let rotten = rot(&home);
    assert_eq!(rotten.len(), 1);
    let read: [&[&str]; 6] = [
        &["restore", "latest", "--target", "out"],
        &["ls", "latest"],
        &["cat", "latest:/a/b/hello.txt"],
        &["find", "*.txt"],
        &["diff", "latest", "latest"],
        &["keys", "drill"],
    ];
    for args in read {
        let ran = home.read(args).exits(0);
        assert!(ran.err.contains(&rotten[0]) && ran.err.contains("--rebuild-index"), "{args:?}: {}", ran.err);
    }
    assert_eq!(std::fs::read(home.path("out/a/b/hello.txt")).unwrap(), b"hello\n");
    let stats = home.write(&["stats"]).exits(4);
    assert!(stats.err.contains(&rotten[0]), "{}", stats.err);

    // Who writes refuses, and says what helps.
    let backup = ["backup", "source", "--source", "files"];
    home.write(&backup).exits(4).says(&[&rotten[0], "check --rebuild-index"]);
    home.write(&["prune", "--yes"]).exits(4).says(&[&rotten[0], "check --rebuild-index"]);
    let check = home.write(&["check"]).exits(4);
    assert!(check.out.contains("check --rebuild-index"), "{}", check.out);

    let rebuilt = home.write(&["check", "--rebuild-index"]).exits(0);
    assert!(rebuilt.err.contains(&rotten[0]) && rebuilt.err.contains("2 packs"), "{}", rebuilt.err);
    home.write(&backup).exits(0);
    home.write(&["prune", "--yes"]).exits(0);
    home.read(&["check", "--read-data"]).exits(0);
    let again = home.read(&["restore", "latest", "--target", "again"]).exits(0);
    assert!(!again.err.contains("INDEX"), "{}", again.err);
    // A second time there is nothing to do.
    let rebuilt = home.write(&["check", "--rebuild-index"]).exits(0);
    assert!(rebuilt.err.contains("0 packs") && !rebuilt.err.contains("warning"), "{}", rebuilt.err);
}

#[test]
fn a_lost_index_is_read_around_and_rebuilt() {
    let home = Home::new();
    home.backup();
    for entry in std::fs::read_dir(home.path("repo/index")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let ran = home.read(&["restore", "latest", "--target", "out"]).exits(0);
    assert!(ran.err.contains("THE INDEX IS NOT WHOLE") && ran.err.contains("--rebuild-index"), "{}", ran.err);
    home.write(&["check", "--rebuild-index"]).exits(0);
    let ran = home.read(&["restore", "latest", "--target", "again"]).exits(0);
    assert!(!ran.err.contains("INDEX"), "{}", ran.err);
}
