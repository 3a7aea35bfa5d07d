//! The record of the current epoch: gone or rotten, and what is known of what it said.

use std::time::Duration;

use homelab_dr::repair::{How, RepairError};
use homelab_dr::repo::{RepoError, layout};

use super::{Held, Scene, is_whole, repair};
use crate::prune::world::World;
use crate::rotate;

async fn rot(world: &World, epoch: u32) {
    world.store.put_over(&layout::epoch(epoch), vec![7; 400].into(), None).await.unwrap();
}

/// With a snapshot of the second epoch.
async fn second_epoch(scene: &Scene) -> World {
    let world = scene.world.fork().await;
    world.begin_epoch().await;
    world.backup(&["a", "second"]).await;
    world
}

/// One that came after a removal says what the one before said; nothing else opens either, so a replica is not needed.
#[tokio::test]
async fn an_epoch_that_took_access_away_is_signed_again() {
    let scene = Scene::new().await;
    let world = second_epoch(&scene).await;
    let files = world.read_all().await;
    rot(&world, 2).await;
    let outcome = repair(&world, Held::Owner, &[]).await.expect("a repair");
    let healed: Vec<_> = outcome.healed.iter().map(|one| (one.object.as_str(), one.how)).collect();
    assert_eq!(healed, [("epochs/2", How::Made)]);
    assert!(!outcome.report.expect("a report").is_damaged());
    assert_eq!(world.read_all().await, files);
    world.backup(&["a", "third"]).await;
    is_whole(&world, Held::Writer, "signed again").await;
}

/// A record that is gone comes back from a replica, and what was sealed in its epoch is no damage in the same run.
#[tokio::test]
async fn a_lost_epoch_that_a_replica_has_is_put_right_in_one_run() {
    let scene = Scene::new().await;
    let world = second_epoch(&scene).await;
    let files = world.read_all().await;
    let replica = world.fork().await;
    for held in [Held::Writer, Held::Owner] {
        let world = world.fork().await;
        world.store.delete(&layout::epoch(2)).await.unwrap();
        let outcome = repair(&world, held, &[&replica]).await.expect("a repair");
        assert!(!outcome.report.as_ref().expect("a report").is_damaged(), "{held:?}: {outcome:?}");
        assert_eq!(world.read_all().await, files, "{held:?}");
        is_whole(&world, held, "brought back").await;
    }
}

/// Which epochs are accepted after a rotation, and how long objects are locked, nobody may guess.
#[tokio::test]
async fn what_is_not_known_for_sure_is_not_signed() {
    let scene = Scene::new().await;
    let mut world = scene.world.fork().await;
    rotate::rotate(&mut world).await;
    let replica = world.fork().await;
    let files = rotate::files(&world).await;
    // The first of the new key follows from the one before; the second might have ended the rotation, or not.
    for epoch in [2, 3] {
        let world = world.fork().await;
        rot(&world, epoch).await;
        let before = world.names("").await;
        match repair(&world, Held::Owner, &[]).await {
            Ok(outcome) => assert!(epoch == 2 && !outcome.report.expect("a report").is_damaged(), "{epoch}"),
            Err(error) => {
                let unsure = matches!(&error, RepairError::Repo(RepoError::Epoch { epoch: 3, .. }));
                assert!(epoch == 3 && unsure, "{epoch}: {error}");
                assert_eq!(world.names("").await, before);
            }
        }
        repair(&world, Held::Owner, &[&replica]).await.expect("a repair");
        assert_eq!(rotate::files(&world).await, files, "{epoch}");
    }
    let locked = World::locked(Duration::from_hours(240)).await;
    locked.backup(&["a"]).await;
    let epoch = layout::epoch(1);
    locked.store.put_over(&epoch, vec![7; 400].into(), None).await.unwrap();
    // A store that locks keeps versions, too: the first one of them is there, so nothing is guessed.
    let outcome = repair(&locked, Held::Owner, &[]).await.expect("a repair");
    assert_eq!(outcome.healed.iter().map(|one| one.how).collect::<Vec<_>>(), [How::Copied]);
}
