//! A blob whose copies are all doomed: the one that is good is copied, whichever it is, before any goes.

use homelab_dr::repo::doomed::mark;
use homelab_dr::store::Key;

use super::world::{GRACE, HOUR, World};

/// Dooms all packs that are there; returns those of content.
async fn doom_all(world: &World) -> Vec<Key> {
    let keys: Vec<Key> =
        world.names("packs/").await.iter().map(|name| Key::new(name.as_str()).expect("listed")).collect();
    mark(&*world.open().await, keys.clone(), world.clock.now()).await.expect("a mark");
    let mut content = Vec::new();
    for key in keys {
        if world.store.get(&key).await.expect("a pack")[1] == 1 {
            content.push(key);
        }
    }
    content
}

/// Flips a bit of a blob in a pack.
async fn rot(world: &World, key: &Key) {
    let mut bytes = world.store.get(key).await.expect("a pack").to_vec();
    bytes[300] ^= 1;
    world.store.delete(key).await.expect("a deletion");
    world.store.put_new(key, bytes.into(), None).await.expect("a put");
}

#[tokio::test]
async fn the_good_one_of_two_doomed_copies_is_found() {
    // Which of two copies is looked at first depends on keys that are drawn anew.
    for rotten in [0, 1, 0, 1, 0, 1] {
        let world = World::new().await;
        let first = world.backup(&["a", "b"]).await;
        let one = doom_all(&world).await;
        // Doomed counts as absent: all is stored once more.
        let second = world.backup(&["a", "b"]).await;
        let two: Vec<Key> = doom_all(&world).await.into_iter().filter(|key| !one.contains(key)).collect();
        assert_eq!((one.len(), two.len()), (1, 1));
        rot(&world, [&one[0], &two[0]][rotten]).await;
        world.pass(GRACE + HOUR);
        let outcome = world.prune().await;
        assert!(outcome.packs_written > 0, "{outcome:?}");
        let left = world.names("packs/").await;
        assert!(!left.contains(&one[0].to_string()) && !left.contains(&two[0].to_string()), "{outcome:?}");
        assert_eq!(world.read_all().await.keys().collect::<std::collections::BTreeSet<_>>(), [&first, &second].into());
    }
}

#[tokio::test]
async fn a_writer_whose_data_is_doomed_takes_the_good_copy() {
    for rotten in [0, 1, 0, 1, 0, 1] {
        let world = World::new().await;
        world.backup(&["a", "b"]).await;
        let one = doom_all(&world).await;
        world.backup(&["a", "b"]).await;
        let begun = world.begin(&world.open().await, &["a", "b"]).await.expect("a begin");
        let two: Vec<Key> = doom_all(&world).await.into_iter().filter(|key| !one.contains(key)).collect();
        rot(&world, [&one[0], &two[0]][rotten]).await;
        let id = world.commit(begun).await.expect("one copy is good").id;
        assert_eq!(world.read_all().await[&id], ["a", "b"]);
    }
}
