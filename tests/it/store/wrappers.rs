//! The memory store and the wrappers: the suite over memory, and what each wrapper is for.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homelab_dr::base::clock::{ManualClock, SystemClock, Time};
use homelab_dr::store::fault::{Failure, Fault, When};
use homelab_dr::store::first::FirstVersions;
use homelab_dr::store::memory::MemoryStore;
use homelab_dr::store::readonly::ReadOnly;
use homelab_dr::store::record::Record;
use homelab_dr::store::retry::{Retry, RetryPolicy};
use homelab_dr::store::throttle::Throttle;
use homelab_dr::store::{Operation, Put, Store, StoreError};

use crate::store::conformance::{Can, conforms};
use crate::store::{key, noise};

const PLAIN: Can = Can { race: true, versions: false, locks: false, many: 1200 };
const LOCKING: Can = Can { race: true, versions: true, locks: true, many: 1200 };

fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock)))
}

fn quick() -> RetryPolicy {
    RetryPolicy { tries_max: 4, wait_first: Duration::from_millis(1), ..RetryPolicy::default() }
}

/// Wraps a plain and a locking memory store alike.
async fn wrapper_conforms(wrap: impl Fn(Arc<dyn Store>) -> Arc<dyn Store>) {
    conforms(PLAIN, || async { wrap(memory()) }).await;
    conforms(LOCKING, || async { wrap(Arc::new(MemoryStore::new(Arc::new(SystemClock)).locking())) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    wrapper_conforms(|store| store).await;
    let versioned = Can { versions: true, ..PLAIN };
    let fresh = || async { Arc::new(MemoryStore::new(Arc::new(SystemClock)).versioned()) as Arc<dyn Store> };
    conforms(versioned, fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_conforms() {
    wrapper_conforms(|store| Arc::new(Retry::new(store, quick(), 1))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttle_conforms() {
    let fast = NonZeroU64::new(1 << 40);
    wrapper_conforms(|store| Arc::new(Throttle::new(store, fast, fast))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn record_conforms() {
    wrapper_conforms(|store| Arc::new(Record::new(store))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_conforms_while_nothing_is_planned() {
    wrapper_conforms(|store| Arc::new(Fault::new(store))).await;
}

/// Every call fails once before and once after it took effect; a retry above makes the suite pass all the same.
#[tokio::test(flavor = "multi_thread")]
async fn retry_hides_what_passes() {
    let store = memory();
    let fault = Arc::new(Fault::new(store));
    for call in [0, 1, 2, 4, 6, 8, 10] {
        fault.fail(call, if call % 4 == 0 { When::After } else { When::Before }, Failure::Transient);
    }
    let retry = Retry::new(Arc::clone(&fault) as Arc<dyn Store>, quick(), 7);
    // Calls 0 (done, answer lost), 1, 2 fail; call 3 finds its own bytes.
    assert_eq!(retry.put_new(&key("a"), noise(5, 1), None).await.expect("put"), Put::AlreadyThere);
    assert_eq!(retry.get(&key("a")).await.expect("get"), noise(5, 1));
    assert_eq!(retry.list("").await.expect("list").len(), 1);
    assert!(retry.stat(&key("a")).await.expect("stat").is_some());
    retry.delete(&key("a")).await.expect("delete");
    assert_eq!((fault.failed(), retry.repeated()), (7, 7));
}

#[tokio::test]
async fn retry_gives_up_and_leaves_the_lasting_alone() {
    let fault = Arc::new(Fault::new(memory()));
    fault.fail_from(0, When::Before, Failure::Transient);
    let retry = Retry::new(Arc::clone(&fault) as Arc<dyn Store>, quick(), 7);
    assert!(retry.get(&key("a")).await.expect_err("for ever").is_transient());
    assert_eq!(fault.calls(), 4, "as many tries as the policy has");
    for failure in [Failure::Permanent, Failure::Denied, Failure::Gone] {
        let fault = Arc::new(Fault::new(memory()));
        fault.fail_from(0, When::Before, failure);
        let retry = Retry::new(Arc::clone(&fault) as Arc<dyn Store>, quick(), 7);
        retry.get(&key("a")).await.expect_err("lasting");
        assert_eq!(fault.calls(), 1, "{failure:?}");
    }
    let slow = RetryPolicy { wait_first: Duration::from_mins(1), total_max: Duration::from_secs(1), ..quick() };
    let begun = Instant::now();
    let fault = Arc::new(Fault::new(memory()));
    fault.fail_from(0, When::Before, Failure::Transient);
    Retry::new(fault, slow, 7).get(&key("a")).await.expect_err("no time");
    assert!(begun.elapsed() < Duration::from_secs(5), "no wait that goes past the total");
}

#[tokio::test]
async fn fault_fails_the_call_it_is_told_to() {
    let store = memory();
    let fault = Fault::only(Arc::clone(&store) as Arc<dyn Store>, &[Operation::PutNew]);
    fault.fail(1, When::Before, Failure::Permanent);
    fault.fail(2, When::After, Failure::Denied);
    for (name, ok, there) in [("a", true, true), ("b", false, false), ("c", false, true), ("d", true, true)] {
        assert_eq!(fault.put_new(&key(name), noise(5, 1), None).await.is_ok(), ok, "{name}");
        assert_eq!(fault.stat(&key(name)).await.expect("not counted").is_some(), there, "{name}");
    }
    assert_eq!((fault.calls(), fault.failed()), (4, 2));
}

#[tokio::test]
async fn record_counts_calls_and_bytes_in_order() {
    let record = Record::new(memory());
    record.put_new(&key("a"), noise(100, 1), None).await.expect("put");
    record.put_new(&key("a"), noise(100, 1), None).await.expect("again");
    record.get_range(&key("a"), 0..10).await.expect("range");
    record.get(&key("none")).await.expect_err("missing");
    let counts = record.counts();
    assert_eq!((counts.bytes_up, counts.bytes_down, counts.failed, counts.total()), (100, 10, 1, 4));
    assert_eq!(counts.of(Operation::PutNew), 2);
    let log: Vec<_> = record.log().into_iter().map(|call| (call.operation, call.object, call.ok)).collect();
    assert_eq!(log[2], (Operation::GetRange, "a".into(), true));
    assert_eq!(log[3], (Operation::Get, "none".into(), false));
}

#[tokio::test]
async fn throttle_keeps_the_average_in_each_direction() {
    let (up, down) = (NonZeroU64::new(100_000), NonZeroU64::new(200_000));
    let store = Throttle::new(memory(), up, down);
    let begun = Instant::now();
    for n in 0..4 {
        store.put_new(&key(&format!("a{n}")), noise(10_000, n), None).await.expect("put");
    }
    // The first burst is free, the other three wait 100 ms each.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(290), "{took:?}");
    let begun = Instant::now();
    for _ in 0..4 {
        store.get(&key("a0")).await.expect("get");
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(145), "{took:?}");
}

#[tokio::test]
async fn read_only_reads_and_refuses_every_write() {
    let memory = Arc::new(MemoryStore::new(Arc::new(SystemClock)).locking());
    memory.put_new(&key("a"), noise(5, 1), None).await.expect("put");
    let record = Arc::new(Record::new(memory as Arc<dyn Store>));
    let store = ReadOnly::new(Arc::clone(&record) as Arc<dyn Store>);
    assert_eq!(store.get(&key("a")).await.expect("get"), noise(5, 1));
    assert_eq!(store.get_range(&key("a"), 1..2).await.expect("range").len(), 1);
    assert_eq!(store.list("").await.expect("list").len(), 1);
    assert!(store.stat(&key("a")).await.expect("stat").is_some());
    let versions = store.versions("").await.expect("versions");
    store.get_version(&key("a"), &versions[0].version).await.expect("get");
    assert_eq!(store.retention(&key("a")).await.expect("retention"), None);
    let asked = record.counts().total();
    for error in [
        store.put_new(&key("b"), noise(5, 1), None).await.expect_err("read-only"),
        store.delete(&key("a")).await.expect_err("read-only"),
        store.extend_retention(&key("a"), Time(0)).await.expect_err("read-only"),
    ] {
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    }
    assert_eq!(record.counts().total(), asked, "the store below is not asked");
}

#[tokio::test]
async fn read_only_but_adding_adds_below_its_prefix_and_nowhere_else() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let store = ReadOnly::but_adding(Arc::clone(&memory), "notes/");
    store.put_new(&key("notes/a"), noise(5, 1), None).await.expect("put");
    for error in [
        store.put_new(&key("other/a"), noise(5, 1), None).await.expect_err("elsewhere"),
        store.put_new(&key("notes"), noise(5, 1), None).await.expect_err("beside it"),
        store.delete(&key("notes/a")).await.expect_err("what was added stays"),
        store.extend_retention(&key("notes/a"), Time(0)).await.expect_err("read-only"),
    ] {
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    }
    assert_eq!(memory.list("").await.expect("list").len(), 1);
}

#[tokio::test]
async fn memory_takes_its_times_and_locks_from_its_own_clock() {
    let clock = Arc::new(ManualClock::at(Time(1_000_000)));
    let store = MemoryStore::new(Arc::clone(&clock) as _).locking();
    let until = Time(1_000_000).after(Duration::from_hours(1));
    store.put_new(&key("a"), noise(5, 1), Some(until)).await.expect("put");
    assert_eq!(store.stat(&key("a")).await.expect("stat").expect("there").modified, Time(1_000_000));
    store.hide(&key("a"));
    store.plant(&key("a"), noise(5, 2));
    assert_eq!(store.get(&key("a")).await.expect("get"), noise(5, 2), "a newer version hides the locked one");
    let error = store.delete(&key("a")).await.expect_err("locked");
    assert!(matches!(error, StoreError::Locked { until: Some(found), .. } if found == until), "{error:?}");
    assert_eq!(store.get(&key("a")).await.expect("the locked one is back"), noise(5, 1));
    clock.advance(Duration::from_hours(1));
    store.delete(&key("a")).await.expect("the lock has ended");
}

#[tokio::test]
async fn first_versions_are_read_whatever_hides_them_or_lies_over_them() {
    let below = Arc::new(MemoryStore::new(Arc::new(SystemClock)).versioned());
    for name in ["packs/a", "packs/b", "packs/c"] {
        below.put_new(&key(name), noise(1000, 1), None).await.expect("put");
    }
    below.hide(&key("packs/a"));
    below.hide(&key("packs/b"));
    below.put_new(&key("packs/b"), noise(50, 2), None).await.expect("put over it");
    below.hide(&key("packs/d"));
    let first = FirstVersions::new(Arc::clone(&below) as Arc<dyn Store>);
    let names = ["packs/a", "packs/b", "packs/c"].map(key);
    assert_eq!(
        first.list("packs/").await.expect("list").into_iter().map(|listed| listed.key).collect::<Vec<_>>(),
        names
    );
    for name in &names {
        assert_eq!(first.get(name).await.expect("get"), noise(1000, 1));
        for range in [0..10, 990..2000, 2000..3000, 500..501] {
            let clip = |at: u64| usize::try_from(at.min(1000)).expect("small");
            let part = noise(1000, 1).slice(clip(range.start)..clip(range.end));
            assert_eq!(first.get_range(name, range).await.expect("range"), part);
        }
        assert_eq!(first.stat(name).await.expect("stat").expect("there").size, 1000);
    }
    assert!(first.get(&key("packs/d")).await.expect_err("never stored").is_not_found());
    let refused = first.delete(&names[0]).await.expect_err("read only");
    assert!(matches!(refused, StoreError::ReadOnly { .. }));
    let plain = FirstVersions::new(memory());
    assert!(matches!(plain.list("").await.expect_err("no versions"), StoreError::Unsupported { .. }));
}
