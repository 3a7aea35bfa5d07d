//! A bucket as a store, by the S3 protocol: AWS, Ceph, MinIO, Garage, R2, and Backblaze B2 with its own rules.
//!
//! Nothing a server says is believed on its word where servers are known to be wrong: a conditional PUT is used but not relied
//! on, the size of every upload is read back, every lock is read back. Uploads carry Content-MD5 and no other checksum. On buckets
//! that keep versions, a deletion removes every version. The SDK's retries are off; see [`Retry`](crate::store::retry::Retry).
//!
//! Not here: multipart uploads (objects are packs of some MiB; one PUT takes 5 GiB), and making buckets.

mod client;
mod config;
mod error;
mod lock;
mod pages;
mod put;
mod versions;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::base::clock::Time;
use crate::store::{BoxError, Key, Listed, Operation, Put, Store, StoreError, Version};

pub use config::{Dialect, S3Config, StaticCredentials};
use error::Answer;
use lock::second_of;
use pages::{From, Page};

/// What is known of `If-None-Match: *`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conditional {
    /// AWS itself: it keeps the promise.
    Trusted,
    /// Sent, and not relied on.
    Tried,
    /// Not sent: B2, and servers that answered 501.
    Off,
}

/// A bucket, or a prefix within one.
pub struct S3Store {
    client: Client,
    config: S3Config,
    is_aws: bool,
    conditional_off: AtomicBool,
    versioned: OnceCell<bool>,
}

impl S3Store {
    /// Connects and lists one object, so that a wrong bucket or key shows at once: [`StoreError::Gone`], [`StoreError::Denied`].
    /// The bucket has to exist.
    pub async fn open(config: S3Config) -> Result<Self, StoreError> {
        let store = Self::connect(config).await;
        let request =
            store.client.list_objects_v2().bucket(&store.config.bucket).prefix(store.full_prefix("")).max_keys(1);
        match request.send().await.map_err(Answer::from) {
            Ok(_) => Ok(store),
            Err(answer) => Err(answer.into_error(store.address(), "open", "the bucket", None)),
        }
    }

    /// The same place as a process elsewhere needs it: with everything that our environment and files say.
    pub async fn resolve(config: &S3Config) -> Result<S3Config, StoreError> {
        client::resolve(config).await.map_err(|error| StoreError::Denied {
            store: config.address(),
            operation: "hand over",
            object: "its credentials".to_owned(),
            source: error.into(),
        })
    }

    /// Prepares a client without asking the server anything.
    pub async fn connect(config: S3Config) -> Self {
        let (client, is_aws) = client::connect(&config).await;
        let conditional_off = AtomicBool::new(config.dialect == Dialect::B2);
        Self { client, config, is_aws, conditional_off, versioned: OnceCell::new() }
    }

    fn conditional(&self) -> Conditional {
        match (self.conditional_off.load(Ordering::Relaxed), self.is_aws) {
            (true, _) => Conditional::Off,
            (false, true) => Conditional::Trusted,
            (false, false) => Conditional::Tried,
        }
    }

    fn conditional_is_unsupported(&self) {
        self.conditional_off.store(true, Ordering::Relaxed);
    }

    /// The name of an object within the bucket.
    fn full(&self, key: &Key) -> String {
        self.full_prefix(key.as_str())
    }

    fn full_prefix(&self, below: &str) -> String {
        if self.config.prefix.is_empty() { below.to_owned() } else { format!("{}/{below}", self.config.prefix) }
    }

    /// The part of a name in the bucket that is ours.
    fn strip<'a>(&self, full: &'a str) -> Option<&'a str> {
        if self.config.prefix.is_empty() {
            Some(full)
        } else {
            full.strip_prefix(&self.config.prefix)?.strip_prefix('/')
        }
    }

    fn failed(&self, operation: &'static str, key: &Key, transient: bool, source: BoxError) -> StoreError {
        StoreError::Failed { store: self.address(), operation, object: key.to_string(), transient, source }
    }

    /// A listing that claims to go on and does not say where. Less than all must not pass for all.
    fn endless(&self, operation: &'static str, object: &str) -> StoreError {
        let source = "the answer is cut off and names no (new) place to go on from".into();
        StoreError::Failed { store: self.address(), operation, object: object.to_owned(), transient: false, source }
    }

    async fn fetch(
        &self,
        key: &Key,
        operation: &'static str,
        request: GetObjectFluentBuilder,
    ) -> Result<Bytes, StoreError> {
        let answer = |answer: Answer| answer.into_error(self.address(), operation, key.as_str(), Some(key));
        let output = request.send().await.map_err(Answer::from).map_err(answer)?;
        let expected = output.content_length().and_then(|length| u64::try_from(length).ok());
        let body = output.body.collect().await.map_err(|error| self.failed(operation, key, true, error.into()))?;
        let bytes = body.into_bytes();
        if expected.is_some_and(|expected| expected != bytes.len() as u64) {
            let source = format!("the answer ended after {} bytes", bytes.len()).into();
            return Err(self.failed(operation, key, true, source));
        }
        Ok(bytes)
    }

    /// One page of a listing.
    async fn page(&self, prefix: &str, from: From) -> Result<Page, StoreError> {
        let verb = Operation::List.verb();
        let request = self.client.list_objects_v2().bucket(&self.config.bucket).prefix(self.full_prefix(prefix));
        let request = match from {
            From::Start => request,
            From::Token(token) => request.continuation_token(token),
            From::After(name) => request.start_after(self.full_prefix(&name)),
        };
        let answer = request.send().await.map_err(Answer::from);
        let output = answer.map_err(|answer| answer.into_error(self.address(), verb, prefix, None))?;
        let mut page = Page::default();
        for object in output.contents() {
            let Some(name) = object.key().and_then(|full| self.strip(full)) else { continue };
            page.saw(name);
            let Ok(key) = Key::new(name) else { continue };
            let size = object.size().and_then(|size| u64::try_from(size).ok());
            let (Some(size), Some(date)) = (size, object.last_modified()) else {
                return Err(self.failed(verb, &key, false, "it is listed without size or time".into()));
            };
            page.found.push(Listed { key, size, modified: second_of(date) });
        }
        if output.is_truncated().unwrap_or(false) {
            page.next = Some(output.next_continuation_token().unwrap_or_default().to_owned());
        }
        Ok(page)
    }

    fn get_object(&self, key: &Key) -> GetObjectFluentBuilder {
        self.client.get_object().bucket(&self.config.bucket).key(self.full(key))
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for S3Store {
    fn address(&self) -> String {
        self.config.address()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError> {
        self.put(key, bytes, retain_until).await
    }

    async fn put_over(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<(), StoreError> {
        self.put_in_place(key, bytes, retain_until).await
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.fetch(key, Operation::Get.verb(), self.get_object(key)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        // Servers refuse numbers beyond 63 bits.
        let end = range.end.min(i64::MAX.unsigned_abs());
        let Some(last) = end.checked_sub(1).filter(|last| *last >= range.start) else {
            // Nothing is asked for; but that the object is missing is still to be told.
            return match self.stat(key).await? {
                Some(_) => Ok(Bytes::new()),
                None => Err(StoreError::NotFound { store: self.address(), key: key.clone() }),
            };
        };
        let request = self.get_object(key).range(format!("bytes={}-{last}", range.start));
        let operation = Operation::GetRange.verb();
        match self.fetch(key, operation, request).await {
            Err(StoreError::Failed { source, .. }) if is_past_the_end(&source) => Ok(Bytes::new()),
            // A server that ignores the range would answer with everything.
            Ok(bytes) if bytes.len() as u64 > end - range.start => {
                Err(self.failed(operation, key, false, "it answered with more than was asked for".into()))
            }
            other => other,
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let page = |from: From| self.page(prefix, from);
        pages::list(prefix, &page, || self.endless(Operation::List.verb(), prefix)).await
    }

    /// A bucket that is gone looks like an object that is not there: HEAD has no other answer than 404.
    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        let verb = Operation::Stat.verb();
        let request = self.client.head_object().bucket(&self.config.bucket).key(self.full(key));
        match request.send().await.map_err(Answer::from) {
            Ok(head) => {
                let size = head.content_length().and_then(|size| u64::try_from(size).ok());
                match (size, head.last_modified()) {
                    (Some(size), Some(date)) => Ok(Some(Listed { key: key.clone(), size, modified: second_of(date) })),
                    _ => Err(self.failed(verb, key, false, "the answer has no size or no time".into())),
                }
            }
            Err(answer) if answer.is_not_found() => Ok(None),
            Err(answer) => Err(answer.into_error(self.address(), verb, key.as_str(), Some(key))),
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.delete_all(key).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Version>, StoreError> {
        if self.keeps_versions().await? {
            self.versions_from(&self.full_prefix(prefix)).await
        } else {
            Err(StoreError::Unsupported { store: self.address(), operation: Operation::Versions.verb() })
        }
    }

    async fn get_version(&self, key: &Key, version: &str) -> Result<Bytes, StoreError> {
        let operation = Operation::GetVersion.verb();
        if self.keeps_versions().await? {
            self.fetch(key, operation, self.get_object(key).version_id(version)).await
        } else {
            Err(StoreError::Unsupported { store: self.address(), operation })
        }
    }

    async fn retention(&self, key: &Key) -> Result<Option<Time>, StoreError> {
        self.lock_of(key, None).await
    }

    async fn extend_retention(&self, key: &Key, until: Time) -> Result<(), StoreError> {
        self.extend_lock(key, until).await
    }
}

/// Whether a failed read answered 416: the range begins past the object's end.
fn is_past_the_end(source: &BoxError) -> bool {
    source.downcast_ref::<Answer>().is_some_and(|answer| answer.status == Some(416))
}
