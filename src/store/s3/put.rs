//! `put_new` on S3: never trust a conditional PUT alone, never trust a lock or a size that was not read back.

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ObjectLockMode;
use bytes::Bytes;
use data_encoding::BASE64;
use md5::{Digest, Md5};

use crate::base::clock::Time;
use crate::base::units;
use crate::store::s3::client::timeouts;
use crate::store::s3::error::Answer;
use crate::store::s3::lock::{LOCK_VERB, date_of};
use crate::store::s3::{Conditional, S3Store};
use crate::store::{Key, Operation, Put, Store, StoreError};

/// The most that S3 takes in one PUT.
const PUT_BYTES_MAX: u64 = 5 * units::GIB;

const VERB: &str = Operation::PutNew.verb();

impl S3Store {
    pub(super) async fn put(&self, key: &Key, bytes: Bytes, until: Option<Time>) -> Result<Put, StoreError> {
        let put = self.put_unlocked_or_locked(key, &bytes, until).await?;
        if let Some(until) = until {
            match put {
                Put::Created => self.check_lock(key, until).await?,
                Put::AlreadyThere => self.extend_lock(key, until).await?,
            }
        }
        Ok(put)
    }

    /// Over whatever is there: no condition, and what the PUT left behind is looked at.
    pub(super) async fn put_in_place(&self, key: &Key, bytes: Bytes, until: Option<Time>) -> Result<(), StoreError> {
        let verb = Operation::PutOver.verb();
        self.refuse_too_long(verb, key, &bytes)?;
        match self.send(key, &bytes, until, false).await.map_err(Answer::from) {
            Ok(output) => self.read_back(key, &bytes, output.e_tag()).await?,
            Err(answer) if until.is_some() && answer.refuses_locks() => {
                return Err(StoreError::Unsupported { store: self.address(), operation: LOCK_VERB });
            }
            Err(answer) => return Err(answer.into_error(self.address(), verb, key.as_str(), Some(key))),
        };
        match until {
            Some(until) => self.check_lock(key, until).await,
            None => Ok(()),
        }
    }

    fn refuse_too_long(&self, verb: &'static str, key: &Key, bytes: &Bytes) -> Result<(), StoreError> {
        if bytes.len() as u64 <= PUT_BYTES_MAX {
            return Ok(());
        }
        let source = format!("it has {}, an object may have 5 GiB", units::bytes(bytes.len() as u64)).into();
        Err(self.failed(verb, key, false, source))
    }

    async fn put_unlocked_or_locked(&self, key: &Key, bytes: &Bytes, until: Option<Time>) -> Result<Put, StoreError> {
        self.refuse_too_long(VERB, key, bytes)?;
        // Only AWS itself is known to keep its word on `If-None-Match`; others accept the header and overwrite. This look
        // leaves them a race, in which content-named objects cannot lose anything.
        if self.conditional() != Conditional::Trusted && self.stat(key).await?.is_some() {
            return self.compare(key, bytes).await;
        }
        let sent = match self.send(key, bytes, until, true).await.map_err(Answer::from) {
            Err(answer) if answer.is_not_implemented() && self.conditional() != Conditional::Off => {
                self.conditional_is_unsupported();
                if self.stat(key).await?.is_some() {
                    return self.compare(key, bytes).await;
                }
                self.send(key, bytes, until, true).await.map_err(Answer::from)
            }
            other => other,
        };
        match sent {
            Ok(output) => self.read_back(key, bytes, output.e_tag()).await,
            Err(answer) if answer.is_conflict() => match self.compare(key, bytes).await {
                // 409: a write of the same name is under way and not visible yet.
                Err(error) if error.is_not_found() => Err(self.failed(VERB, key, true, answer.into())),
                other => other,
            },
            Err(answer) if until.is_some() && answer.refuses_locks() => {
                Err(StoreError::Unsupported { store: self.address(), operation: LOCK_VERB })
            }
            Err(answer) => Err(answer.into_error(self.address(), VERB, key.as_str(), Some(key))),
        }
    }

    async fn send(
        &self,
        key: &Key,
        bytes: &Bytes,
        until: Option<Time>,
        only_new: bool,
    ) -> Result<PutObjectOutput, SdkError<PutObjectError, HttpResponse>> {
        let mut request = self
            .client
            .put_object()
            .bucket(&self.config.bucket)
            .key(self.full(key))
            .content_type("application/octet-stream")
            .content_md5(BASE64.encode(&Md5::digest(bytes)))
            .body(ByteStream::from(bytes.clone()));
        if only_new && self.conditional() != Conditional::Off {
            request = request.if_none_match("*");
        }
        if let Some(until) = until {
            // COMPLIANCE: nobody can shorten it, not even the account's owner. GOVERNANCE yields to whoever holds the
            // bypass permission, which stolen administrator credentials do.
            request =
                request.object_lock_mode(ObjectLockMode::Compliance).object_lock_retain_until_date(date_of(until));
        }
        let limits = Builder::new().timeout_config(timeouts(bytes.len() as u64));
        request.customize().config_override(limits).send().await
    }

    /// Looks at what a successful PUT left behind.
    async fn read_back(&self, key: &Key, bytes: &Bytes, e_tag: Option<&str>) -> Result<Put, StoreError> {
        let (expected, (found, found_tag)) = (bytes.len() as u64, self.size_and_tag(key).await?.unwrap_or((0, None)));
        if found_tag.as_deref() != e_tag {
            // Another writer's bytes (or a server whose tags mean nothing): only the bytes can tell.
            return self.compare(key, bytes).await.map(|_| Put::Created);
        }
        if found == expected {
            Ok(Put::Created)
        } else {
            Err(StoreError::ShortWrite { store: self.address(), key: key.clone(), expected, found })
        }
    }

    /// The name is taken: by the same bytes?
    async fn compare(&self, key: &Key, bytes: &Bytes) -> Result<Put, StoreError> {
        let same = match self.size_and_tag(key).await? {
            Some((size, _)) if size != bytes.len() as u64 => false,
            _ => self.get(key).await? == *bytes,
        };
        if same { Ok(Put::AlreadyThere) } else { Err(StoreError::Conflict { store: self.address(), key: key.clone() }) }
    }

    /// By HEAD; `None` if it is not there.
    async fn size_and_tag(&self, key: &Key) -> Result<Option<(u64, Option<String>)>, StoreError> {
        let request = self.client.head_object().bucket(&self.config.bucket).key(self.full(key));
        match request.send().await.map_err(Answer::from) {
            Ok(head) => {
                let size = head.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                Ok(Some((size, head.e_tag().map(str::to_owned))))
            }
            Err(answer) if answer.is_not_found() => Ok(None),
            Err(answer) => Err(answer.into_error(self.address(), "look up", key.as_str(), Some(key))),
        }
    }
}
