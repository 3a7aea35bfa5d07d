//! `--block-size`: databases and images in larger blocks, and a source that keeps what it was stored with.

use std::os::unix::fs::FileExt as _;

use super::Home;
use super::config::{configured, run, write};

const MIB: u64 = 1 << 20;

/// A file of 8 MiB of whole pages, each other than all others.
fn database(home: &Home) {
    let pages: Vec<u8> = (0..2048_u32).flat_map(|page| page.to_le_bytes().repeat(1024)).collect();
    std::fs::create_dir_all(home.path("data")).unwrap();
    std::fs::write(home.path("data/db"), pages).unwrap();
}

/// Writes a page of it anew.
fn change(home: &Home, page: u64, byte: u8) {
    let file = std::fs::File::options().write(true).open(home.path("data/db")).unwrap();
    file.write_all_at(&[byte; 4096], page * 4096).unwrap();
}

/// Plaintext bytes that a backup adds, beside those of the tree: a run that stores no content adds none.
fn added(home: &Home, args: &[&str]) -> u64 {
    let told = run(home, &[&["backup", "--json"], args].concat()).exits(0).json();
    let statistics = if told["sources"].is_array() { &told["sources"][0]["statistics"] } else { &told["statistics"] };
    statistics["bytes_new"].as_u64().expect("bytes")
}

/// So many bytes of content, and a leaf of the tree.
#[track_caller]
fn is_about(added: u64, content: u64) {
    assert!(
        (content..content + 16 * 1024).contains(&added),
        "{added} bytes were new, and {content} of content were to be"
    );
}

#[test]
fn a_source_keeps_its_blocks_until_others_are_asked_for() {
    let home = configured("");
    database(&home);
    is_about(added(&home, &["data", "--source", "db", "--block-size", "1MiB"]), 8 * MIB);
    change(&home, 1, b'a');
    is_about(added(&home, &["data", "--source", "db"]), MIB);
    // Another source has blocks of its own: one of the same bytes finds nothing that it could share.
    is_about(added(&home, &["data", "--source", "other"]), 8 * MIB);
    change(&home, 1, b'b');
    is_about(added(&home, &["data", "--source", "other"]), 64 << 10);
    change(&home, 700, b'c');
    is_about(added(&home, &["data", "--source", "db", "--block-size", "64KiB"]), 64 << 10);
    change(&home, 1300, b'd');
    is_about(added(&home, &["data", "--source", "db"]), 64 << 10);

    run(&home, &["restore", "latest:db", "--identity", "key", "--target", "back"]).exits(0);
    assert_eq!(std::fs::read(home.path("back/db")).unwrap(), std::fs::read(home.path("data/db")).unwrap());
    run(&home, &["check", "--read-data", "--identity", "key"]).exits(0);
    for wrong in ["4KiB", "100KiB", "8MiB", "0", "much"] {
        let ran = run(&home, &["backup", "data", "--source", "db", "--block-size", wrong]).exits(2);
        assert!(ran.err.contains("write one of 64KiB, 128KiB"), "{}", ran.err);
    }
}

#[test]
fn the_configuration_says_it_for_a_source() {
    let home = configured("sources:\n  db: {path: {paths: [DIR/data]}, block-size: 512KiB}\n");
    database(&home);
    is_about(added(&home, &[]), 8 * MIB);
    change(&home, 2000, b'a');
    is_about(added(&home, &[]), 512 << 10);
    write(&home, "sources:\n  db: {path: {paths: [DIR/data]}}\n");
    change(&home, 2000, b'b');
    is_about(added(&home, &[]), 512 << 10);
    change(&home, 2000, b'c');
    is_about(added(&home, &["--block-size", "4MiB"]), 8 * MIB);
    let listed = run(&home, &["snapshots", "--json"]).exits(0).json();
    let sizes: Vec<_> = listed["snapshots"].as_array().unwrap().iter().map(|one| one["block_size"].as_u64()).collect();
    assert_eq!(sizes, [Some(512 << 10), Some(512 << 10), Some(512 << 10), Some(4 * MIB)]);
    write(&home, "sources:\n  db: {path: {paths: [DIR/data]}, block-size: 1MB}\n");
    run(&home, &["backup"]).exits(2).says(&["\"1MB\" is not 64KiB, 128KiB", "1MiB"]);
}

/// Holes begin and end anywhere in a block, and pieces of a MiB and more lie around them.
#[test]
fn a_sparse_image_comes_back_from_blocks_of_every_size() {
    let home = configured("");
    std::fs::create_dir_all(home.path("data")).unwrap();
    let image = std::fs::File::create(home.path("data/image")).unwrap();
    image.set_len(24 * MIB).unwrap();
    for (at, length) in [(0, 70_000), (3 * MIB - 4096, 5 * MIB + 8192), (10 * MIB + 12_288, 4096), (17 * MIB, 7 * MIB)]
    {
        let bytes: Vec<u8> = (0..length).map(|n| (n / 7 + at) as u8 | 1).collect();
        image.write_all_at(&bytes, at).unwrap();
    }
    let before = std::fs::read(home.path("data/image")).unwrap();
    for size in ["64KiB", "1MiB", "4MiB"] {
        run(&home, &["backup", "data", "--source", size, "--block-size", size]).exits(0);
        let target = format!("back-{size}");
        run(&home, &["restore", &format!("latest:{size}"), "--identity", "key", "--target", &target]).exits(0);
        assert!(std::fs::read(home.path(&target).join("image")).unwrap() == before, "{size}");
        // Cut alike it is all there, but for the tree.
        is_about(added(&home, &["data", "--source", size, "--reread"]), 0);
    }
}
