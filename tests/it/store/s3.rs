//! Buckets: the suite on the in-process server plain, versioned, locking and as B2; and what only a server can do to us.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use homelab_dr::base::clock::{Clock, SystemClock};
use homelab_dr::store::retry::{Retry, RetryPolicy};
use homelab_dr::store::{Put, Store, StoreError};

use crate::store::conformance::{Can, conforms};
use crate::store::{key, noise};
use crate::support::s3::{Rules, S3Server, Trouble};

async fn conforms_under(rules: Rules, many: usize) {
    let server = S3Server::start(rules).await;
    let made = AtomicU32::new(0);
    let fresh = || {
        let url = server.url(&format!("repo/{}", made.fetch_add(1, Ordering::Relaxed)));
        async move { url.open().await.expect("opened") }
    };
    // No race: the inner server looks, writes and renames, so 15 of 16 racers win; B2 has no conditional PUT at all.
    let can = Can { race: false, versions: rules.versions, locks: rules.locks, many };
    conforms(can, fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_s3_conforms() {
    conforms_under(Rules::PLAIN, 1050).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versioned_s3_conforms() {
    conforms_under(Rules::VERSIONED, 150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locking_s3_conforms() {
    conforms_under(Rules::LOCKING, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_conforms() {
    conforms_under(Rules::B2, 150).await;
}

async fn plain() -> (S3Server, Arc<dyn Store>) {
    let server = S3Server::start(Rules::PLAIN).await;
    let store = server.url("repo").open().await.expect("opened");
    (server, store)
}

#[tokio::test]
async fn a_wrong_bucket_is_gone_and_a_wrong_key_denied() {
    let server = S3Server::start(Rules::PLAIN).await;
    let error = server.url_of("nobucket", "", "test-secret").open().await.expect_err("no such bucket");
    assert!(matches!(error, StoreError::Gone { .. }), "{error:?}");
    let error = server.url_of("box", "", "wrong").open().await.expect_err("wrong secret");
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("SignatureDoesNotMatch"), "{cause}");
}

#[tokio::test]
async fn an_expired_token_in_the_middle_is_denied_and_says_so() {
    let (server, store) = plain().await;
    for status in [400, 403] {
        server.make(Trouble::Refuse(status, "ExpiredToken"));
        let error = store.list("").await.expect_err("expired");
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains("ExpiredToken"), "{cause}");
    }
}

#[tokio::test]
async fn throttling_and_outages_are_transient_and_asked_once() {
    let (server, store) = plain().await;
    for (status, code) in [(429, "TooManyRequests"), (503, "SlowDown"), (500, "InternalError"), (502, "")] {
        let before = server.seen().len();
        server.make(Trouble::Refuse(status, code));
        let error = store.list("").await.expect_err("refused");
        assert!(error.is_transient(), "{error:?}");
        assert_eq!(server.seen().len(), before + 1, "the SDK's own retries are off");
    }
    let error = {
        let store = server.url("repo").open().await.expect("opened");
        drop(server);
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.list("").await.expect_err("nobody listens")
    };
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_finds_its_own_bytes() {
    for rules in [Rules::PLAIN, Rules::B2] {
        let server = S3Server::start(rules).await;
        let store = server.url("repo").open().await.expect("opened");
        let policy = RetryPolicy { wait_first: Duration::from_millis(1), ..RetryPolicy::default() };
        let store = Retry::new(store, policy, 1);
        server.make(Trouble::LoseAnswer);
        let put = store.put_new(&key("packs/aa/a"), noise(5, 1), None).await.expect("put");
        assert_eq!((put, store.repeated()), (Put::AlreadyThere, 1));
    }
}

#[tokio::test]
async fn half_an_object_is_noticed() {
    let (server, store) = plain().await;
    server.make(Trouble::KeepHalf);
    let error = store.put_new(&key("a"), noise(100, 1), None).await.expect_err("cut");
    assert!(matches!(error, StoreError::ShortWrite { expected: 100, found: 50, .. }), "{error:?}");
    store.put_new(&key("b"), noise(100_000, 1), None).await.expect("put");
    server.make(Trouble::BreakOff);
    let error = store.get(&key("b")).await.expect_err("broken off");
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(store.get(&key("b")).await.expect("whole"), noise(100_000, 1));
}

#[tokio::test]
async fn foreign_names_and_neighbours_of_the_prefix_are_not_listed() {
    let (server, store) = plain().await;
    store.put_new(&key("packs/aa/a"), noise(5, 1), None).await.expect("put");
    for foreign in ["repo/README.TXT", "repo2/a", "repo/packs/b c", "elsewhere"] {
        let path = server.bucket_dir().join(foreign);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, b"x").expect("write");
    }
    let list = store.list("").await.expect("list");
    assert_eq!(list.iter().map(|l| l.key.as_str()).collect::<Vec<_>>(), ["packs/aa/a"]);
}

/// A repository of many packs is listed in ranges beside each other: no page is asked for twice, and what comes is what is there.
#[tokio::test(flavor = "multi_thread")]
async fn many_objects_are_listed_in_ranges() {
    const OBJECTS: u64 = 3100;
    for (rules, below) in [(Rules::PLAIN, "repo"), (Rules::B2, "")] {
        let server = S3Server::start(rules).await;
        let store = server.url(below).open().await.expect("opened");
        let folder = server.bucket_dir().join(below);
        let mut names: Vec<String> = (0..OBJECTS)
            .map(|number| blake3::hash(&number.to_le_bytes()).to_hex())
            .map(|hex| format!("packs/{}/{hex}", &hex[..2]))
            .collect();
        names.sort();
        for name in &names {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, b"x").expect("write");
        }
        // No names of ours, in the midst of them.
        for foreign in ["packs/80", "packs/README.TXT", "packs/~", "packs/7f/7f and more"] {
            let path = folder.join(foreign);
            if !path.exists() {
                fs::write(path, b"x").expect("write");
            }
        }
        let before = server.seen().len();
        let listed = store.list("packs/").await.expect("listed");
        assert_eq!(listed.iter().map(|listed| listed.key.as_str()).collect::<Vec<_>>(), names);
        assert!(listed.iter().all(|listed| listed.size == 1));
        let seen = server.seen().split_off(before);
        // The first page, the range behind it, and others that begin where they are told.
        let begun: Vec<&String> = seen.iter().filter(|line| line.contains("start-after")).collect();
        assert!(!begun.is_empty() && (4..=8).contains(&seen.len()), "{seen:#?}");
        assert_eq!(seen.iter().collect::<std::collections::BTreeSet<_>>().len(), seen.len(), "none twice: {seen:#?}");
        // Few enough for one page: asked for once.
        store.put_new(&key("index/aa"), noise(5, 1), None).await.expect("put");
        let before = server.seen().len();
        assert_eq!(store.list("index/").await.expect("listed").len(), 1);
        assert_eq!(server.seen().len(), before + 1);
        server.make(Trouble::Refuse(503, "SlowDown"));
        let error = store.list("packs/").await.expect_err("refused");
        assert!(error.is_transient(), "{error:?}");
    }
}

#[tokio::test]
async fn uploads_carry_content_md5_and_no_other_checksum() {
    for rules in [Rules::PLAIN, Rules::B2] {
        let server = S3Server::start(rules).await;
        let store = server.url("repo").open().await.expect("opened");
        store.put_new(&key("a"), noise(5, 1), None).await.expect("put");
        let seen = server.seen();
        let put = seen.iter().find(|line| line.starts_with("PUT")).expect("a PUT");
        assert!(put.contains("content-md5") && !put.contains("checksum") && !put.contains("trailer"), "{put}");
        assert_eq!(put.contains("if-none-match"), !rules.b2, "{put}");
        assert!(seen.iter().all(|line| !line.contains("?versioning") || !rules.b2), "{seen:?}");
    }
}

#[tokio::test]
async fn a_server_without_conditional_put_is_served_without() {
    let server = S3Server::start(Rules::UNCONDITIONAL).await;
    let store = server.url("repo").open().await.expect("opened");
    let puts = || server.seen().into_iter().filter(|line| line.starts_with("PUT")).count();
    let put = async |name: &str, seed| store.put_new(&key(name), noise(5, seed), None).await;
    assert_eq!(put("a", 1).await.expect("put"), Put::Created);
    assert_eq!(puts(), 2, "refused with the condition, done without");
    assert_eq!(put("b", 1).await.expect("put"), Put::Created);
    assert_eq!(puts(), 3, "the condition is not tried again");
    let error = put("a", 2).await.expect_err("taken");
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    assert_eq!(puts(), 3, "what is there is seen before anything is sent");
}

#[tokio::test]
async fn a_lock_that_protects_nothing_is_not_believed() {
    // The inner server takes the headers and ignores them, as Garage does.
    let (_server, store) = plain().await;
    let until = SystemClock.now().after(Duration::from_hours(1));
    let error = store.put_new(&key("a"), noise(5, 1), Some(until)).await.expect_err("not protected");
    assert!(matches!(error, StoreError::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("protects nothing"), "{error}");
}

#[tokio::test]
async fn a_hidden_object_is_found_among_its_versions() {
    let server = S3Server::start(Rules::B2).await;
    let store = server.url("repo").open().await.expect("opened");
    store.put_new(&key("a"), noise(5, 1), None).await.expect("put");
    server.hide("repo/a").await;
    assert!(store.get(&key("a")).await.expect_err("hidden").is_not_found());
    assert_eq!(store.list("").await.expect("list"), []);
    let versions = store.versions("").await.expect("versions");
    assert_eq!(versions.iter().map(|v| v.is_delete_marker).collect::<Vec<_>>(), [true, false]);
    let bytes = store.get_version(&key("a"), &versions[1].version).await.expect("readable");
    assert_eq!(bytes, noise(5, 1));
    store.delete(&key("a")).await.expect("delete");
    assert_eq!(store.versions("").await.expect("versions"), [], "marker and version are gone");
}

#[tokio::test]
async fn whether_a_lock_has_run_out_is_the_servers_to_say() {
    let server = S3Server::start(Rules::LOCKING).await;
    let store = server.url("repo").open().await.expect("opened");
    let until = SystemClock.now().after(Duration::from_secs(2));
    store.put_new(&key("a"), "locked".into(), Some(until)).await.expect("stored");
    tokio::time::sleep(Duration::from_millis(3100)).await;
    // To this machine the lock has run out; the server's clock is behind.
    store.versions("").await.expect("asked once");
    let _ = store.retention(&key("a")).await.expect("a lock");
    server.make_delete_refused(403, "AccessDenied");
    let error = store.delete(&key("a")).await.expect_err("refused");
    assert!(matches!(error, StoreError::Locked { until: Some(_), .. }), "{error:?}");
    store.delete(&key("a")).await.expect("now it has run out there too");
}
