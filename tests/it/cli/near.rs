//! Looking again asks the store for little, and what is kept for that neither hides what became of the store nor harms anybody.

use std::fs;
use std::path::{Path, PathBuf};

use crate::kill::lab::Lab;
use crate::support::files::picture;
use crate::support::s3::{Rules, S3Server};

const FILES: usize = 3000;

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] })
        .collect()
}

/// A bucket with a few snapshots of many files.
fn lab(server: &S3Server) -> Lab {
    let lab = Lab::new(|_| server.address("repo"), Some(server.bucket_dir().join("repo")));
    for number in 0..FILES {
        let folder = lab.source().join(format!("{:02}", number % 60));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{number}.txt")), format!("file {number}\n")).unwrap();
    }
    for day in 0..4 {
        fs::write(lab.source().join("day"), format!("{day}\n")).unwrap();
        lab.run(&["backup", "source", "--source", "s"]).exits(0);
    }
    lab
}

/// Ids of its snapshots, in the order in which they are told.
fn ids(lab: &Lab) -> Vec<String> {
    let told: serde_json::Value = serde_json::from_str(&lab.run(&["snapshots", "--json"]).exits(0).out).unwrap();
    let all = told["snapshots"].as_array().unwrap();
    all.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// How many requests for objects, and for lists of them, a command makes.
fn requests(server: &S3Server, run: impl FnOnce()) -> usize {
    let before = server.seen().len();
    run();
    server.seen().len() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_once_is_not_asked_for_again() {
    let server = S3Server::start(Rules::PLAIN).await;
    tokio::task::block_in_place(|| {
        let lab = lab(&server);
        let look = |command: &[&str]| {
            let mut out = String::new();
            let with: Vec<&str> = command.iter().chain(&["--cache", "near", "--json"]).copied().collect();
            let count = requests(&server, || out = lab.run(&with).exits(0).out);
            (count, out)
        };
        let ids = ids(&lab);
        // What opens a repository and says what there is now is asked for anew; everything else is at hand. `diff` also reads small files that share chunks.
        let commands: [(&[&str], usize); 4] = [
            (&["ls", "-R", "latest"], 10),
            (&["find", "17*.txt"], 10),
            (&["diff", &ids[0], &ids[3]], 14),
            (&["snapshots"], 9),
        ];
        for (command, most) in commands {
            let (_, first) = look(command);
            let (again, second) = look(command);
            assert_eq!(first, second, "{command:?}");
            let plain: Vec<&str> = command.iter().chain(&["--json"]).copied().collect();
            assert_eq!(first, lab.run(&plain).exits(0).out, "{command:?} without copies");
            assert!(again <= most, "{command:?}: {again} requests");
        }
        let part = ["restore", "latest:/07/67.txt", "--target", "back", "--cache", "near"];
        let one = requests(&server, || drop(lab.run(&part).exits(0)));
        assert!(one <= 14, "{one} requests for one file");
        assert_eq!(fs::read(lab.path("back/67.txt")).unwrap(), b"file 67\n");

        // Nothing is in there in clear, and nobody else can read it.
        let kept = files(&lab.path("near"));
        assert!(kept.len() > 5, "{kept:?}");
        for file in &kept {
            let bytes = fs::read(file).unwrap();
            assert!(memchr::memmem::find(&bytes, b"67.txt").is_none(), "{}", file.display());
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_damaged_old_or_gone_change_nothing_that_is_told() {
    let server = S3Server::start(Rules::PLAIN).await;
    tokio::task::block_in_place(|| {
        let lab = lab(&server);
        let list = || lab.run(&["ls", "-R", "latest", "--cache", "near"]).exits(0).out;
        let right = list();
        for file in files(&lab.path("near")) {
            let mut bytes = fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&file, bytes).unwrap();
        }
        assert_eq!(list(), right, "rotten copies are read anew");
        fs::remove_dir_all(lab.path("near")).unwrap();
        assert_eq!(list(), right);
        fs::remove_dir_all(lab.path("near")).unwrap();
        fs::write(lab.path("near"), "no directory").unwrap();
        assert_eq!(list(), right, "where nothing can be kept");
        fs::remove_file(lab.path("near")).unwrap();
        list();

        // A snapshot that was forgotten is not shown, though there is a copy of it.
        lab.run(&["forget", &ids(&lab)[0], "--yes"]).exits(0);
        let left = lab.run(&["snapshots", "--json", "--cache", "near"]).exits(0);
        assert_eq!(left.out, lab.run(&["snapshots", "--json"]).exits(0).out);

        // Who says something of the store reads the store: rotten packs and segments are found with every copy at hand.
        for folder in ["index", "packs"] {
            for file in files(&server.bucket_dir().join("repo").join(folder)) {
                let mut bytes = fs::read(&file).unwrap();
                let last = bytes.len() - 1;
                bytes[last / 2] ^= 1;
                fs::write(&file, bytes).unwrap();
            }
        }
        lab.run(&["ls", "-R", "latest", "--cache", "near"]).exits(0);
        lab.run(&["check", "--read-data", "--cache", "near"]).exits(4);
        assert_ne!(lab.run(&["restore", "latest", "--target", "all", "--cache", "near"]).code, 0);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_no_more_than_it_may_and_several_use_it_at_once() {
    let server = S3Server::start(Rules::PLAIN).await;
    tokio::task::block_in_place(|| {
        let lab = lab(&server);
        lab.run(&["ls", "-R", "latest", "--cache", "none", "--cache-size", "0"]).exits(0);
        assert!(!lab.path("none").exists(), "0 keeps nothing");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| lab.run(&["find", "1*", "--cache", "near", "--cache-size", "512KiB"]).exits(0));
            }
        });
        let bytes: u64 = files(&lab.path("near")).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!((1..=512 << 10).contains(&bytes), "{bytes} bytes");
        lab.run(&["restore", "latest", "--target", "back", "--cache", "near"]).exits(0);
        assert!(picture(&lab.path("back")) == picture(&lab.source()));
    });
}
