//! A backup that takes nine days.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homelab_dr::backup::stdin::run_stdin;
use homelab_dr::base::clock::{ManualClock, Time};
use homelab_dr::format::entry::TreePath;
use homelab_dr::repo::checkpoint::{Checkpointer, EVERY};
use homelab_dr::repo::layout;
use homelab_dr::store::file::FileStore;

use crate::support::files::scratch;
use crate::support::repository::{TestRepository, options};

use super::world::{GRACE, HOUR, World};

async fn nine_days(with_checkpoints: bool) -> (bool, u64) {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let old = world.backup(&["a", "b"]).await;
    world.forget(&[old]).await;
    world.pass(GRACE);
    let begun = world.begin(&world.open().await, &["a", "b", "new"]).await.expect("a begin");
    let index = begun.writer.index.clone();
    let packs: Vec<_> = index.used_packs().iter().filter_map(|pack| index.pack(*pack)).map(|pack| pack.id).collect();
    let mut checkpointer = Checkpointer::new(&begun.writer, world.clock.clone());
    let mut published = 0;
    for hour in 0..9 * 24 {
        world.pass(HOUR);
        if with_checkpoints && checkpointer.tick().await.expect("a tick") {
            published += 1;
        }
        if hour % 24 == 20 {
            world.prune().await;
        }
    }
    let mut there = true;
    for pack in &packs {
        there &= world.store.stat(&layout::pack(pack)).await.expect("a stat").is_some();
    }
    assert!(!packs.is_empty());
    assert!(world.count("checkpoints/").await <= 1);
    let done = world.commit(begun).await;
    checkpointer.clear().await;
    assert_eq!(world.count("checkpoints/").await, 0);
    if let Ok(done) = &done {
        world.pass(GRACE);
        world.prune().await;
        assert_eq!(world.read_all().await[&done.id], ["a", "b", "new"]);
    }
    assert_eq!(done.is_ok(), there);
    (there, published)
}

/// Nobody but a prune removes what a killed backup published, and that only when it says nothing any more.
#[tokio::test]
async fn the_checkpoint_of_a_killed_backup_goes_when_it_has_expired() {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let begun = world.begin(&world.open().await, &["keep", "new"]).await.expect("a begin");
    Checkpointer::new(&begun.writer, world.clock.clone()).publish().await.expect("a checkpoint");
    drop(begun);
    world.pass(GRACE * 2 - HOUR);
    world.prune().await;
    assert_eq!(world.count("checkpoints/").await, 1, "it may yet be needed");
    world.pass(HOUR);
    let outcome = world.prune().await;
    assert_eq!(world.count("checkpoints/").await, 0);
    assert!(outcome.deleted.iter().any(|name| name.starts_with("checkpoints/")), "{:?}", outcome.deleted);
    world.read_all().await;
}

#[tokio::test]
async fn checkpoints_keep_what_a_long_backup_builds_upon() {
    assert_eq!(nine_days(true).await, (true, 18));
}

#[tokio::test]
async fn without_them_it_fails_loudly() {
    assert_eq!(nine_days(false).await, (false, 0));
}

#[tokio::test]
async fn a_checkpoint_of_a_dead_run_expires() {
    let world = World::with_forgotten().await;
    let begun = world.begin(&world.open().await, &["a"]).await.expect("a begin");
    Checkpointer::new(&begun.writer, world.clock.clone()).publish().await.expect("a checkpoint");
    drop(begun);
    // The content stays; metadata of the forgotten snapshot, which the run had not opened, goes.
    assert_eq!(world.prune().await.doomed, 1);
    world.pass(GRACE * 2);
    assert!(world.prune().await.doomed > 0);
}

/// What a program writes that takes half a day: it ends when a checkpoint is there, or gives up.
struct Slow {
    checkpoints: std::path::PathBuf,
    clock: Arc<ManualClock>,
    begun: bool,
    fails: bool,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !self.begun {
            self.begun = true;
            buffer[..4].copy_from_slice(b"dump");
            return Ok(4);
        }
        self.clock.advance(EVERY);
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::fs::read_dir(&self.checkpoints).map_or(0, Iterator::count) == 0 {
            assert!(Instant::now() < deadline, "no checkpoint is published");
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.fails { Err(std::io::Error::other("the program died")) } else { Ok(0) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_publishes_them_by_itself_and_removes_them_only_with_its_snapshot() {
    let dir = scratch();
    let clock = Arc::new(ManualClock::at(Time(1_700_000_000_000)));
    let repository = TestRepository::on(Arc::new(FileStore::open(dir.path()).await.unwrap()), clock.clone()).await;
    let checkpoints = dir.path().join("checkpoints");
    let name = TreePath::new(b"dump").unwrap();
    for (fails, left) in [(false, 0), (true, 1)] {
        let context = repository.context(repository.writer().await);
        let input = Slow { checkpoints: checkpoints.clone(), clock: clock.clone(), begun: false, fails };
        let done = run_stdin(&context, &options(dir.path(), "s"), &name, || Ok(input)).await;
        assert_eq!(done.is_err(), fails, "{done:?}");
        assert_eq!(std::fs::read_dir(&checkpoints).unwrap().count(), left);
    }
}
