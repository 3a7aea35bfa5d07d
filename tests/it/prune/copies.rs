//! A blob whose copies are all doomed: the one that is good is copied, whichever it is, before any goes.

use homelab_dr::repo::doomed::mark;
use homelab_dr::store::Key;

use super::world::{GRACE, HOUR, World};

/// Dooms all packs that are there; returns those of content.
async fn doom_all(world: &World) -> Vec<Key> {
    let keys: Vec<Key> =
        world.names("packs/").await.iter().map(|name| Key::new(name.as_str()).expect("listed")).collect();
    mark(&*world.open().await, keys, world.clock.now()).await.expect("a mark");
    packs(world, 1).await
}

/// Flips bits of blobs in a pack, behind its header; metadata are as short as that.
async fn rot(world: &World, key: &Key) {
    let mut bytes = world.store.get(key).await.expect("a pack").to_vec();
    (150..400).step_by(10).for_each(|at| bytes[at] ^= 1);
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

/// Two backups that store the same at the same time; returns the packs of one class, 1 of content, 2 of metadata.
async fn twice(world: &World, class: u8) -> Vec<Key> {
    let (one, two) = (world.open().await, world.open().await);
    let first = world.begin(&one, &["a"]).await.expect("a begin");
    let second = world.begin(&two, &["a"]).await.expect("a begin");
    for begun in [first, second] {
        world.commit(begun).await.expect("a commit");
    }
    let packs = packs(world, class).await;
    assert_eq!(packs.len(), 2);
    packs
}

async fn packs(world: &World, class: u8) -> Vec<Key> {
    let mut packs = Vec::new();
    for name in world.names("packs/").await {
        let key = Key::new(name).expect("listed");
        if world.store.get(&key).await.expect("a pack")[1] == class {
            packs.push(key);
        }
    }
    packs
}

/// It is opened on the way, so it is known which copy of it opens.
#[tokio::test]
async fn of_two_copies_of_metadata_the_one_that_opens_stays() {
    for rotten in [0, 1, 0, 1] {
        let world = World::new().await;
        let packs = twice(&world, 2).await;
        rot(&world, &packs[rotten]).await;
        for _ in 0..2 {
            world.pass(GRACE + HOUR);
            world.prune().await;
        }
        let left = world.names("packs/").await;
        assert!(left.contains(&packs[1 - rotten].to_string()), "{left:?} of {packs:?}, {rotten} is rotten");
        assert_eq!(world.read_all().await.len(), 2);
    }
}

/// No writer builds upon a pack whose session is gone, and each would store the blob anew.
#[tokio::test]
async fn of_two_copies_the_one_whose_session_is_there_stays() {
    for gone in [0, 1, 0, 1] {
        let world = World::new().await;
        twice(&world, 1).await;
        let sessions = world.names("sessions/").await;
        assert_eq!(sessions.len(), 2);
        world.store.delete(&Key::new(sessions[gone].as_str()).expect("listed")).await.expect("a deletion");
        for _ in 0..2 {
            world.pass(GRACE + HOUR);
            world.prune().await;
        }
        let left = packs(&world, 1).await;
        assert_eq!(left.len(), 1);
        world.backup(&["a"]).await;
        assert_eq!(packs(&world, 1).await, left, "it is built upon");
        assert_eq!(world.read_all().await.len(), 3);
    }
}
