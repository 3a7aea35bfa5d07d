//! The suite against real servers, which `tests/run` starts. A lane that cannot run fails and says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use homelab_dr::base::clock::{Clock, SystemClock};
use homelab_dr::store::url::StoreUrl;
use homelab_dr::store::{Put, Store, StoreError};

use crate::store::conformance::{Can, conforms};
use crate::store::{key, noise};

/// Value of a variable that a lane needs.
pub fn needed(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("this lane needs {variable}; tests/run starts the server and sets it"))
}

/// Never the same twice, so that runs do not meet each other's (locked) objects.
pub fn fresh_name() -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let now = SystemClock.now().0;
    format!("run-{now}-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// The bucket of a variable with a fresh prefix.
async fn fresh_below(variable: &str) -> Arc<dyn Store> {
    let url = needed(variable);
    let (place, query) =
        url.split_once('?').map_or((url.as_str(), String::new()), |(place, query)| (place, format!("?{query}")));
    let url = format!("{}/{}{query}", place.trim_end_matches('/'), fresh_name());
    StoreUrl::parse(&url)
        .expect(variable)
        .open()
        .await
        .expect("the bucket opens with the credentials in the environment")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real S3 server in HOMELAB_DR_TEST_S3_URL"]
async fn lane_s3_conforms() {
    // An unversioned bucket of Ceph, whose conditional PUT also holds in a race.
    let can = Can { race: true, versions: false, locks: false, many: 1050 };
    conforms(can, || fresh_below("HOMELAB_DR_TEST_S3_URL")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real S3 server in HOMELAB_DR_TEST_S3_URL"]
async fn lane_s3_wrong_credentials_are_denied() {
    let StoreUrl::S3(config) = StoreUrl::parse(&needed("HOMELAB_DR_TEST_S3_URL")).expect("an address") else {
        panic!("HOMELAB_DR_TEST_S3_URL names a bucket")
    };
    let wrong = homelab_dr::store::s3::StaticCredentials {
        key_id: "nobody".into(),
        secret: String::from("wrong").into(),
        session_token: None,
    };
    let mut missing = config.clone();
    missing.bucket = "homelab-dr-no-such-bucket".into();
    let error = StoreUrl::S3(config).with_credentials(wrong).open().await.expect_err("denied");
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    let error = StoreUrl::S3(missing).open().await.expect_err("no such bucket");
    assert!(matches!(error, StoreError::Gone { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a versioned bucket with object lock in HOMELAB_DR_TEST_S3_LOCK_URL"]
async fn lane_lock_conforms() {
    // With versions Ceph's conditional PUT let three of 16 racers win on a busy machine.
    let can = Can { race: false, versions: true, locks: true, many: 1050 };
    conforms(can, || fresh_below("HOMELAB_DR_TEST_S3_LOCK_URL")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a versioned bucket with object lock in HOMELAB_DR_TEST_S3_LOCK_URL"]
async fn lane_lock_a_hidden_object_is_listed_and_readable() {
    let url = needed("HOMELAB_DR_TEST_S3_LOCK_URL");
    let StoreUrl::S3(mut config) = StoreUrl::parse(&url).expect("an address") else { panic!("it names a bucket") };
    config.prefix = format!("{}/{}", config.prefix, fresh_name()).trim_start_matches('/').to_owned();
    let store = StoreUrl::S3(config.clone()).open().await.expect("opened");
    let until = SystemClock.now().after(Duration::from_secs(20));
    assert_eq!(store.put_new(&key("snapshots/a"), noise(50, 1), Some(until)).await.expect("put"), Put::Created);
    hide(&config, "snapshots/a").await;
    assert!(store.get(&key("snapshots/a")).await.expect_err("hidden").is_not_found());
    assert_eq!(store.stat(&key("snapshots/a")).await.expect("stat"), None);
    assert_eq!(store.list("").await.expect("list"), []);
    let versions = store.versions("snapshots/").await.expect("versions");
    assert_eq!(
        versions.iter().map(|v| (v.is_latest, v.is_delete_marker)).collect::<Vec<_>>(),
        [(true, true), (false, false)]
    );
    let bytes = store.get_version(&key("snapshots/a"), &versions[1].version).await.expect("readable");
    assert_eq!(bytes, noise(50, 1));
    let error = store.delete(&key("snapshots/a")).await.expect_err("locked");
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    assert_eq!(store.get(&key("snapshots/a")).await.expect("no longer hidden"), noise(50, 1));
}

/// A plain DELETE as a foreign client sends it.
async fn hide(config: &homelab_dr::store::s3::S3Config, name: &str) {
    let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest());
    loader = loader.region(aws_config::Region::new(config.region().unwrap_or_else(|| "us-east-1".into())));
    loader = loader.http_client(aws_smithy_http_client::Builder::new().build_http());
    let shared = loader.endpoint_url(config.endpoint().expect("an endpoint")).load().await;
    let client = aws_sdk_s3::config::Builder::from(&shared).force_path_style(true).build();
    let request = aws_sdk_s3::Client::from_conf(client).delete_object().bucket(&config.bucket);
    request.key(format!("{}/{name}", config.prefix)).send().await.expect("hidden");
}
