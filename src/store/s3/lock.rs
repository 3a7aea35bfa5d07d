//! Object lock: set, extended, and always read back, since some servers accept the header and protect nothing.

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockRetention, ObjectLockRetentionMode};
use data_encoding::BASE64;
use md5::{Digest, Md5};

use crate::base::clock::Time;
use crate::store::s3::S3Store;
use crate::store::s3::config::Dialect;
use crate::store::s3::error::Answer;
use crate::store::{Key, Operation, Store, StoreError};

/// What a store without locks cannot do.
pub(super) const LOCK_VERB: &str = "lock objects";

/// What a store cannot do that answers as if it had locked.
const PROTECT_VERB: &str = "lock objects: it accepted the lock and protects nothing";

impl Answer {
    /// Whether the bucket or server has no object lock.
    pub(super) fn refuses_locks(&self) -> bool {
        self.is_not_implemented()
            || matches!(
                self.code.as_str(),
                "InvalidRequest" | "ObjectLockConfigurationNotFoundError" | "InvalidBucketState"
            )
    }
}

/// Rounded up to whole seconds: some servers keep no fractions, and a lock may not end early.
pub(super) fn date_of(time: Time) -> DateTime {
    let up = i64::from(time.0.rem_euclid(1000) != 0);
    DateTime::from_secs(time.0.div_euclid(1000).saturating_add(up))
}

/// Times beyond what milliseconds can count become the nearest that can.
pub(super) fn time_of(date: &DateTime) -> Time {
    Time(date.to_millis().unwrap_or(if date.secs() < 0 { i64::MIN } else { i64::MAX }))
}

/// The whole second: HEAD's header knows no fractions, and both ways of asking must answer alike.
pub(super) fn second_of(date: &DateTime) -> Time {
    time_of(&DateTime::from_secs(date.secs()))
}

impl S3Store {
    /// Until when one version (or the visible one) is locked.
    pub(super) async fn lock_of(&self, key: &Key, version: Option<&str>) -> Result<Option<Time>, StoreError> {
        let request = self.client.get_object_retention().bucket(&self.config.bucket).key(self.full(key));
        match request.set_version_id(version.map(str::to_owned)).send().await.map_err(Answer::from) {
            Ok(output) => Ok(output.retention().and_then(ObjectLockRetention::retain_until_date).map(time_of)),
            // The object is there and has no lock: AWS's word for it, and Ceph's.
            Err(answer)
                if matches!(
                    answer.code.as_str(),
                    "NoSuchObjectLockConfiguration" | "ObjectLockConfigurationNotFoundError"
                ) =>
            {
                Ok(None)
            }
            Err(answer) if answer.refuses_locks() => {
                Err(StoreError::Unsupported { store: self.address(), operation: Operation::Retention.verb() })
            }
            // The visible version is a delete marker.
            Err(answer) if answer.status == Some(405) => {
                Err(StoreError::NotFound { store: self.address(), key: key.clone() })
            }
            Err(answer) => Err(answer.into_error(self.address(), Operation::Retention.verb(), key.as_str(), Some(key))),
        }
    }

    /// That the visible version is locked until `until` at least.
    pub(super) async fn check_lock(&self, key: &Key, until: Time) -> Result<(), StoreError> {
        match self.lock_of(key, None).await {
            Ok(Some(found)) if found >= until => Ok(()),
            Ok(_) | Err(StoreError::Unsupported { .. }) => {
                Err(StoreError::Unsupported { store: self.address(), operation: PROTECT_VERB })
            }
            Err(other) => Err(other),
        }
    }

    pub(super) async fn extend_lock(&self, key: &Key, until: Time) -> Result<(), StoreError> {
        if self.lock_of(key, None).await?.is_some_and(|found| found >= until) {
            return Ok(());
        }
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::Compliance)
            .retain_until_date(date_of(until))
            .build();
        let request = self.client.put_object_retention().bucket(&self.config.bucket).key(self.full(key));
        let b2 = self.config.dialect == Dialect::B2;
        let request = request.retention(retention).customize().mutate_request(move |request| {
            // The SDK adds a checksum to this operation whatever it is told; B2 refuses the header and takes Content-MD5.
            if b2 {
                let md5 = request.body().bytes().map(|body| BASE64.encode(&Md5::digest(body)));
                let headers = request.headers_mut();
                let added: Vec<String> =
                    headers.iter().map(|(name, _)| name.to_owned()).filter(|name| name.contains("checksum")).collect();
                for name in added {
                    headers.remove(name);
                }
                if let Some(md5) = md5 {
                    headers.insert("content-md5", md5);
                }
            }
        });
        match request.send().await.map_err(Answer::from) {
            Ok(_) => self.check_lock(key, until).await,
            Err(answer) if answer.refuses_locks() => {
                Err(StoreError::Unsupported { store: self.address(), operation: Operation::ExtendRetention.verb() })
            }
            Err(answer) => {
                Err(answer.into_error(self.address(), Operation::ExtendRetention.verb(), key.as_str(), Some(key)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_never_ends_earlier_than_asked() {
        assert_eq!(time_of(&date_of(Time(1_000))), Time(1_000));
        assert_eq!(time_of(&date_of(Time(1_001))), Time(2_000));
        assert_eq!(time_of(&date_of(Time(-1))), Time(0));
    }
}
