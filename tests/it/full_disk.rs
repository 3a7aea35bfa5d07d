//! A disk that is full: the backup says so, nothing that was there is hurt, and with more space the next run goes on.
//!
//! On a small tmpfs, which only root can mount.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use homelab_dr::backup::{BackupError, run_backup};
use homelab_dr::base::clock::SystemClock;
use homelab_dr::recover::RestoreError;
use homelab_dr::repo::RepoError;
use homelab_dr::store::StoreError;
use homelab_dr::store::file::FileStore;

use crate::cli::Home;
use crate::support::files::{noise, picture, scratch};
use crate::support::repository::{TestRepository, options};

/// A tmpfs of some MiB, gone with the value.
pub struct SmallDisk {
    dir: tempfile::TempDir,
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status().expect(program);
    assert!(
        status.success(),
        "{program} {arguments:?} {} failed: these tests mount, so run them as root, or in a container with CAP_SYS_ADMIN",
        path.display()
    );
}

impl SmallDisk {
    pub fn mount(mebibytes: u32) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "homelab-dr-test"], dir.path());
        Self { dir }
    }

    pub fn grow(&self, mebibytes: u32) {
        run("mount", &["-o", &format!("remount,size={mebibytes}m")], self.dir.path());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a handle that a failing test left open must not keep the mount.
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to mount: lane root"]
async fn lane_root_a_backup_onto_a_full_disk_says_so_and_goes_on_when_there_is_space() {
    let disk = SmallDisk::mount(20);
    let store = FileStore::create(disk.path("repository")).await.expect("a store");
    let repository = TestRepository::on(Arc::new(store), Arc::new(SystemClock)).await;
    let source = scratch();
    let source = source.path();
    std::fs::write(source.join("first"), noise(1, 3 << 20)).unwrap();
    let first = repository.backup(source, "s").await;
    let mut expected = vec![(first.snapshot.unwrap(), picture(source))];

    for n in 0..24 {
        std::fs::write(source.join(format!("more-{n}")), noise(10 + n, 1 << 20)).unwrap();
    }
    for _ in 0..2 {
        let context = repository.context(repository.writer().await);
        let error = run_backup(&context, &options(source, "s")).await.expect_err("20 MiB do not hold 27");
        let BackupError::Repository(RepoError::Store(full @ StoreError::Full { .. })) = &error else {
            panic!("not told as a full disk: {error:?}")
        };
        assert!(error.to_string().contains("is full"), "{error}");
        assert!(full.source().expect("a cause").to_string().contains("No space left"), "{error:?}");
        repository.has(&expected).await;
        assert_eq!(repository.snapshots().await.len(), 1);
    }

    disk.grow(100);
    let next = repository.backup(source, "s").await;
    expected.push((next.snapshot.unwrap(), picture(source)));
    repository.has(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to mount: lane root"]
async fn lane_root_a_restore_onto_a_full_disk_ends_and_leaves_no_half_file() {
    let disk = SmallDisk::mount(10);
    let source = scratch();
    let source = source.path();
    for n in 0..24 {
        std::fs::write(source.join(format!("f{n}")), noise(n, 1 << 20)).unwrap();
    }
    let repository = TestRepository::in_memory().await;
    let report = repository.backup(source, "s").await;
    let target = disk.path("target");
    let error = repository.try_restore(report.record.root, &target).await.expect_err("10 MiB do not hold 24");
    let RestoreError::Full { target: named, .. } = &error else { panic!("not told as a full disk: {error:?}") };
    assert_eq!(*named, target);
    let whole = picture(source);
    for (path, bytes) in picture(&target) {
        assert!(whole.get(&path) == Some(&bytes), "{} is half a file", path.display());
    }

    disk.grow(100);
    repository.try_restore(report.record.root, &target).await.expect("there is space now");
    assert!(picture(&target) == whole);
}

/// What is left of the disk is filled with something else.
fn fill(disk: &SmallDisk) {
    use std::io::Write as _;
    let mut filler = std::fs::File::create(disk.path("filler")).expect("a name needs no space");
    for block in [1 << 16, 1 << 12, 1] {
        while filler.write_all(&noise(0, block)).is_ok() {}
    }
}

#[test]
#[ignore = "needs root, to mount: lane root"]
fn lane_root_a_prune_on_a_full_disk_deletes_what_is_due_and_the_next_goes_on() {
    let disk = SmallDisk::mount(20);
    let home = Home::new();
    let repository = disk.path("repository").display().to_string();
    let recipient = home.recipient.clone();
    home.run(&["init", "--repo", &repository, "--recipient", &recipient, "--writer-key", "w"]).exits(0);
    let run = |args: &[&str]| home.run(&[args, &["--repo", &repository, "--writer-key-file", "w"]].concat());
    let prune = || run(&["prune", "--grace", "1s", "--yes"]);
    let backup = |seed: u64| {
        std::fs::write(home.path("source/noise"), noise(seed, 3 << 20)).unwrap();
        run(&["backup", "source", "--source", "s"]).exits(0);
        run(&["forget", "--keep-last", "1", "--yes"]).exits(0);
        std::thread::sleep(std::time::Duration::from_millis(1200));
    };
    backup(1);
    backup(2);
    assert!(prune().exits(0).out.contains("marked"));
    backup(3);
    fill(&disk);
    let told = prune().exits(5);
    assert!(told.err.contains("THE STORE IS FULL") && told.err.contains("Run it again"), "{}", told.err);
    assert!(told.out.contains("deleted ") && !told.out.contains("marked 1"), "{}", told.out);
    assert!(prune().exits(0).out.contains("marked"), "there is space now");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    fill(&disk);
    let told = run(&["prune", "--grace", "1s", "--yes", "--json"]).json();
    assert!(told["outcome"]["deleted"].to_string().contains("packs/"), "{told}");
    run(&["check", "--read-data"]).exits(0);
    home.run(&["restore", "latest", "--target", "out", "--repo", &repository, "--identity", "key"]).exits(0);
    assert!(std::fs::read(home.path("out/noise")).unwrap() == noise(3, 3 << 20));
}
