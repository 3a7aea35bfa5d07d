//! A backup that takes nine days.

use homelab_dr::repo::checkpoint::Checkpointer;
use homelab_dr::repo::layout;

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
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let old = world.backup(&["a"]).await;
    world.forget(&[old]).await;
    world.pass(GRACE);
    let begun = world.begin(&world.open().await, &["a"]).await.expect("a begin");
    Checkpointer::new(&begun.writer, world.clock.clone()).publish().await.expect("a checkpoint");
    drop(begun);
    assert_eq!(world.prune().await.doomed, 0);
    world.pass(GRACE * 2);
    assert!(world.prune().await.doomed > 0);
}
