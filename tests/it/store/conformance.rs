//! What every store promises, whatever lies behind it. One suite; capabilities are said, with the reason, by whoever runs it.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use homelab_dr::base::clock::{Clock, SystemClock};
use homelab_dr::store::{Put, Store, StoreError};

use crate::store::{key, noise};

/// What a store can beyond the promises of all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Can {
    /// Of many concurrent writers of other bytes, exactly one is told that it created the object.
    pub(crate) race: bool,
    pub(crate) versions: bool,
    pub(crate) locks: bool,
    /// Objects for the test of paging; more than 1,000 where listings have pages.
    pub(crate) many: usize,
}

/// Runs every check on a fresh, empty store each.
pub(crate) async fn conforms<F, Fut>(can: Can, fresh: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    what_was_put_is_there(&*fresh().await).await;
    nothing_is_replaced(&*fresh().await).await;
    damage_can_be_put_right(&*fresh().await, can).await;
    missing_objects_are_told(&*fresh().await).await;
    sizes_from_nothing_to_20_mib(&*fresh().await).await;
    ranges_are_clipped(&*fresh().await).await;
    lists_are_sorted_and_by_prefix(&*fresh().await).await;
    lists_are_complete(&*fresh().await, can.many).await;
    deletion_is_idempotent(&*fresh().await).await;
    a_race_has_one_winner(fresh().await, can.race).await;
    if can.versions {
        versions_are_listed_read_and_deleted(&*fresh().await).await;
    } else {
        versions_are_refused(&*fresh().await).await;
    }
    if can.locks {
        locks_hold(&*fresh().await).await;
    } else {
        locks_are_refused(&*fresh().await).await;
    }
}

async fn what_was_put_is_there(store: &dyn Store) {
    let (name, bytes) = (key("packs/3f/3f9a"), noise(10_000, 1));
    assert!(!store.address().is_empty());
    assert_eq!(store.stat(&name).await.expect("stat"), None);
    assert_eq!(store.put_new(&name, bytes.clone(), None).await.expect("put"), Put::Created);
    assert_eq!(store.get(&name).await.expect("get"), bytes);
    let found = store.stat(&name).await.expect("stat").expect("there");
    assert_eq!((found.size, &found.key), (10_000, &name));
    assert_eq!(store.list("").await.expect("list"), std::slice::from_ref(&found));
    let later = key("packs/40/later");
    store.put_new(&later, bytes, None).await.expect("put");
    let later = store.stat(&later).await.expect("stat").expect("there");
    assert!(later.modified >= found.modified, "the store's clock goes forward");
}

async fn nothing_is_replaced(store: &dyn Store) {
    let name = key("format.json");
    store.put_new(&name, Bytes::from_static(b"first"), None).await.expect("put");
    for other in ["other", "longer than first", ""] {
        let error = store.put_new(&name, other.into(), None).await.expect_err("taken");
        assert!(matches!(&error, StoreError::Conflict { key, .. } if *key == name), "{error:?}");
        assert!(!error.is_transient());
    }
    let again = store.put_new(&name, Bytes::from_static(b"first"), None).await.expect("the same bytes");
    assert_eq!(again, Put::AlreadyThere);
    assert_eq!(store.get(&name).await.expect("get"), "first");
}

async fn damage_can_be_put_right(store: &dyn Store, can: Can) {
    let name = key("packs/ab/abc");
    store.put_new(&name, Bytes::from_static(b"wrong"), None).await.expect("put");
    for right in ["right", "longer than what was there", "", ""] {
        store.put_over(&name, right.into(), None).await.expect("in its place");
        assert_eq!(store.get(&name).await.expect("get"), right);
        assert_eq!(store.stat(&name).await.expect("stat").expect("there").size, right.len() as u64);
        assert_eq!(store.list("packs/").await.expect("list").len(), 1);
    }
    let absent = key("packs/cd/cde");
    store.put_over(&absent, Bytes::from_static(b"new"), None).await.expect("where nothing is");
    assert_eq!(store.get(&absent).await.expect("get"), "new");
    if can.versions {
        let kept = store.versions("packs/ab/").await.expect("versions");
        let oldest = kept.last().expect("the first");
        assert_eq!(store.get_version(&name, &oldest.version).await.expect("kept"), "wrong");
    }
    let until = SystemClock.now().after(Duration::from_secs(2));
    let locked = store.put_over(&absent, Bytes::from_static(b"held"), Some(until)).await;
    if can.locks {
        locked.expect("a lock");
        assert!(store.retention(&absent).await.expect("a lock").is_some_and(|held| held >= until));
    } else {
        assert!(matches!(locked, Err(StoreError::Unsupported { .. })), "{locked:?}");
    }
}

async fn missing_objects_are_told(store: &dyn Store) {
    let name = key("packs/00/none");
    for error in [
        store.get(&name).await.expect_err("missing"),
        store.get_range(&name, 0..5).await.expect_err("missing"),
        store.get_range(&name, 5..5).await.expect_err("missing"),
    ] {
        assert!(error.is_not_found(), "{error:?}");
    }
    assert_eq!(store.stat(&name).await.expect("stat"), None);
    assert_eq!(store.list("packs/").await.expect("list"), []);
    assert_eq!(store.list("").await.expect("list"), []);
}

async fn sizes_from_nothing_to_20_mib(store: &dyn Store) {
    for (name, len) in [("empty", 0), ("one", 1), ("large", 20 << 20)] {
        let bytes = noise(len, 2);
        assert_eq!(store.put_new(&key(name), bytes.clone(), None).await.expect("put"), Put::Created);
        assert!(store.get(&key(name)).await.expect("get") == bytes, "{name}");
        assert_eq!(store.stat(&key(name)).await.expect("stat").expect("there").size, len as u64);
        assert_eq!(store.put_new(&key(name), bytes, None).await.expect("again"), Put::AlreadyThere);
    }
    assert!(store.get_range(&key("empty"), 0..10).await.expect("range").is_empty());
}

async fn ranges_are_clipped(store: &dyn Store) {
    let (name, bytes) = (key("packs/ab/abc"), noise(1000, 3));
    store.put_new(&name, bytes.clone(), None).await.expect("put");
    let backwards = Range { start: 600, end: 500 };
    for (range, found) in [
        (0..1000, 0..1000),
        (0..1, 0..1),
        (999..1000, 999..1000),
        (990..5000, 990..1000),
        (0..u64::MAX, 0..1000),
        (1000..1001, 0..0),
        (5000..6000, 0..0),
        (u64::MAX - 1..u64::MAX, 0..0),
        (500..500, 0..0),
        (backwards, 0..0),
    ] {
        let got = store.get_range(&name, range.clone()).await.expect("range");
        assert_eq!(got, bytes.slice(found), "{range:?}");
    }
}

async fn lists_are_sorted_and_by_prefix(store: &dyn Store) {
    let names =
        ["format.json", "packs/00/a", "packs/0f/b", "packs/0f/c", "packs-old/x", "snapshots/a.b", "snapshots/a_c"];
    for name in names.iter().rev() {
        store.put_new(&key(name), noise(3, 4), None).await.expect("put");
    }
    for (prefix, found) in [
        (
            "",
            &["format.json", "packs-old/x", "packs/00/a", "packs/0f/b", "packs/0f/c", "snapshots/a.b", "snapshots/a_c"]
                [..],
        ),
        ("packs/", &["packs/00/a", "packs/0f/b", "packs/0f/c"]),
        ("packs/0f/", &["packs/0f/b", "packs/0f/c"]),
        ("packs/1/", &[]),
        ("format.json/", &[]),
        ("../", &[]),
        ("nothing/", &[]),
    ] {
        let list = store.list(prefix).await.expect("list");
        let keys: Vec<&str> = list.iter().map(|listed| listed.key.as_str()).collect();
        assert_eq!(keys, found, "below {prefix:?}");
        assert!(list.iter().all(|listed| listed.size == 3));
    }
}

async fn lists_are_complete(store: &dyn Store, many: usize) {
    let put = |n: usize| async move { store.put_new(&key(&format!("index/{n:05}")), noise(8, n as u64), None).await };
    let puts = futures::stream::iter(0..many).map(put).buffer_unordered(16);
    puts.try_for_each(|_| async { Ok(()) }).await.expect("put");
    let list = store.list("index/").await.expect("list");
    assert_eq!(list.len(), many);
    assert!(list.is_sorted_by(|a, b| a.key < b.key));
}

async fn deletion_is_idempotent(store: &dyn Store) {
    let (name, neighbour) = (key("packs/ab/a"), key("packs/ab/a2"));
    store.delete(&name).await.expect("nothing to delete");
    for name in [&name, &neighbour] {
        store.put_new(name, noise(5, 5), None).await.expect("put");
    }
    store.delete(&name).await.expect("delete");
    assert!(store.get(&name).await.expect_err("deleted").is_not_found());
    assert_eq!(store.stat(&name).await.expect("stat"), None);
    store.delete(&name).await.expect("again");
    store.get(&neighbour).await.expect("a name that begins alike stays");
    assert_eq!(store.list("packs/").await.expect("list").len(), 1);
    assert_eq!(store.put_new(&name, noise(6, 6), None).await.expect("put anew"), Put::Created);
    assert_eq!(store.get(&name).await.expect("get"), noise(6, 6));
}

async fn a_race_has_one_winner(store: Arc<dyn Store>, strict: bool) {
    const RACERS: u64 = 16;
    let name = key("leases/gc/0");
    let racers = (0..RACERS).map(|n| {
        let (store, name) = (Arc::clone(&store), name.clone());
        tokio::spawn(async move { (n, store.put_new(&name, noise(5000, n), None).await) })
    });
    let mut winners = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.expect("joined") {
            (n, Ok(_)) => winners.push(n),
            (_, Err(StoreError::Conflict { .. })) => {}
            // A store may be busy with another writer's try; what was not reported is not promised.
            (_, Err(error)) => assert!(error.is_transient(), "{error:?}"),
        }
    }
    let found = store.get(&name).await.expect("somebody won");
    assert!((0..RACERS).any(|n| found == noise(5000, n)), "whole, and somebody's");
    if strict {
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(found, noise(5000, winners[0]));
    } else {
        assert!(!winners.is_empty());
    }
}

async fn versions_are_refused(store: &dyn Store) {
    let name = key("a");
    store.put_new(&name, noise(5, 7), None).await.expect("put");
    for error in [
        store.versions("").await.expect_err("no versions"),
        store.get_version(&name, "null").await.expect_err("no versions"),
    ] {
        assert!(matches!(error, StoreError::Unsupported { .. }), "{error:?}");
    }
}

async fn versions_are_listed_read_and_deleted(store: &dyn Store) {
    let (name, other) = (key("snapshots/a"), key("snapshots/ab"));
    for name in [&name, &other] {
        store.put_new(name, noise(5, 7), None).await.expect("put");
    }
    let versions = store.versions("snapshots/").await.expect("versions");
    assert_eq!(versions.iter().map(|v| &v.key).collect::<Vec<_>>(), [&name, &other]);
    let version = &versions[0];
    assert_eq!((version.size, version.is_latest, version.is_delete_marker), (5, true, false));
    assert_eq!(store.get_version(&name, &version.version).await.expect("get"), noise(5, 7));
    store.delete(&name).await.expect("delete");
    let left = store.versions("").await.expect("versions");
    assert!(left.iter().all(|v| v.key == other), "nothing goes on being billed: {left:?}");
    assert_eq!(store.versions("nothing/").await.expect("versions"), []);
}

async fn locks_are_refused(store: &dyn Store) {
    let until = SystemClock.now().after(Duration::from_mins(1));
    let error = store.put_new(&key("a"), noise(5, 8), Some(until)).await.expect_err("no locks");
    assert!(matches!(error, StoreError::Unsupported { .. }), "{error:?}");
    store.put_new(&key("b"), noise(5, 8), None).await.expect("put");
    for error in [
        store.retention(&key("b")).await.expect_err("no locks"),
        store.extend_retention(&key("b"), until).await.expect_err("no locks"),
    ] {
        assert!(matches!(error, StoreError::Unsupported { .. }), "{error:?}");
    }
}

/// Takes a few seconds of the store's real time where it has no other.
async fn locks_hold(store: &dyn Store) {
    let now = SystemClock.now();
    let (soon, later) = (now.after(Duration::from_secs(4)), now.after(Duration::from_secs(8)));
    let (locked, free) = (key("packs/aa/locked"), key("packs/aa/free"));
    assert_eq!(store.put_new(&locked, noise(5, 9), Some(soon)).await.expect("put"), Put::Created);
    store.put_new(&free, noise(5, 9), None).await.expect("put");
    assert_eq!(store.retention(&free).await.expect("retention"), None);
    let until = store.retention(&locked).await.expect("retention").expect("locked");
    assert!(until >= soon && until <= soon.after(Duration::from_secs(1)), "{until}");
    assert_locked(store, &locked).await;
    assert_eq!(store.get(&locked).await.expect("it stays"), noise(5, 9));
    // The same bytes with a longer lock extend it; a shorter one changes nothing.
    assert_eq!(store.put_new(&locked, noise(5, 9), Some(later)).await.expect("again"), Put::AlreadyThere);
    store.extend_retention(&locked, soon).await.expect("no shorter");
    assert!(store.retention(&locked).await.expect("retention") >= Some(later));
    store.extend_retention(&free, later).await.expect("extended from nothing");
    assert_locked(store, &free).await;
    let left = later.after(Duration::from_secs(2)).since(SystemClock.now());
    tokio::time::sleep(left).await;
    for name in [&locked, &free] {
        store.delete(name).await.expect("the lock has ended");
    }
    assert_eq!(store.list("").await.expect("list"), []);
}

async fn assert_locked(store: &dyn Store, name: &homelab_dr::store::Key) {
    let error = store.delete(name).await.expect_err("locked");
    assert!(matches!(&error, StoreError::Locked { until: Some(_), .. }), "{error:?}");
    store.get(name).await.expect("it stays");
}
