//! Versions on S3: listed, read, and deleted by id, since a plain DELETE only hides and the version goes on being billed.

use std::cmp::Reverse;

use aws_sdk_s3::types::BucketVersioningStatus;

use crate::base::clock::Time;
use crate::store::s3::S3Store;
use crate::store::s3::config::Dialect;
use crate::store::s3::error::Answer;
use crate::store::s3::lock::time_of;
use crate::store::{Key, Operation, Store, StoreError, Version};

impl S3Store {
    /// Whether the bucket keeps, or ever kept, versions. Asked once.
    pub(super) async fn keeps_versions(&self) -> Result<bool, StoreError> {
        // B2 always keeps versions, and a key restricted to a bucket may not ask.
        if self.config.dialect == Dialect::B2 {
            return Ok(true);
        }
        let ask = || async {
            match self.client.get_bucket_versioning().bucket(&self.config.bucket).send().await.map_err(Answer::from) {
                Ok(output) => Ok(matches!(
                    output.status(),
                    Some(BucketVersioningStatus::Enabled | BucketVersioningStatus::Suspended)
                )),
                Err(answer) if answer.is_not_implemented() => Ok(false),
                // May not ask: then it may be so.
                Err(answer) if answer.status == Some(403) => Ok(true),
                Err(answer) => Err(answer.into_error(self.address(), "ask for the versioning of", "", None)),
            }
        };
        self.versioned.get_or_try_init(ask).await.copied()
    }

    /// Versions whose full name begins with `start`, newest first within a name; foreign names are left out.
    pub(super) async fn versions_from(&self, start: &str) -> Result<Vec<Version>, StoreError> {
        let fail = |answer: Answer| {
            answer.into_error(self.address(), Operation::Versions.verb(), self.strip(start).unwrap_or(""), None)
        };
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let request = self.client.list_object_versions().bucket(&self.config.bucket).prefix(start);
            let request = request.set_key_marker(key_marker.clone()).set_version_id_marker(id_marker.clone());
            let page = request.send().await.map_err(Answer::from).map_err(fail)?;
            for version in page.versions() {
                let size = version.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                let (name, id, time) = (version.key(), version.version_id(), version.last_modified());
                let latest = version.is_latest().unwrap_or(false);
                found.extend(self.version(name, id, time.map(time_of), size, latest, false));
            }
            for marker in page.delete_markers() {
                let (name, id, time) = (marker.key(), marker.version_id(), marker.last_modified());
                let latest = marker.is_latest().unwrap_or(false);
                found.extend(self.version(name, id, time.map(time_of), 0, latest, true));
            }
            if !page.is_truncated().unwrap_or(false) {
                break;
            }
            let next = (page.next_key_marker().map(str::to_owned), page.next_version_id_marker().map(str::to_owned));
            if next.0.is_none() || next == (key_marker, id_marker) {
                return Err(self.endless(Operation::Versions.verb(), start));
            }
            (key_marker, id_marker) = next;
        }
        // Versions and markers come in two lists. Both are newest first, which the stable sort keeps among equal times.
        found.sort_by(|a, b| {
            let rank = |v: &Version| (!v.is_latest, Reverse(v.modified));
            a.key.cmp(&b.key).then_with(|| rank(a).cmp(&rank(b)))
        });
        // Fractions were for the order only: a lookup of the same object knows none.
        for version in &mut found {
            version.modified = Time(version.modified.0.div_euclid(1000).saturating_mul(1000));
        }
        Ok(found)
    }

    fn version(
        &self,
        name: Option<&str>,
        id: Option<&str>,
        modified: Option<Time>,
        size: u64,
        is_latest: bool,
        is_delete_marker: bool,
    ) -> Option<Version> {
        let key = Key::new(self.strip(name?)?).ok()?;
        let version = id.unwrap_or("null").to_owned();
        Some(Version { key, version, size, modified: modified?, is_latest, is_delete_marker })
    }

    pub(super) async fn delete_all(&self, key: &Key) -> Result<(), StoreError> {
        if !self.keeps_versions().await? {
            return self.delete_one(key, None).await;
        }
        // Names that merely begin with this one are listed too. Newest first: what hides a locked version goes, it stays.
        for version in self.versions_from(&self.full(key)).await?.iter().filter(|version| version.key == *key) {
            self.delete_one(key, Some(&version.version)).await?;
        }
        Ok(())
    }

    async fn delete_one(&self, key: &Key, version: Option<&str>) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.config.bucket).key(self.full(key));
        let answer = match request.set_version_id(version.map(str::to_owned)).send().await.map_err(Answer::from) {
            Ok(_) => return Ok(()),
            Err(answer) if answer.is_not_found() => return Ok(()),
            Err(answer) => answer,
        };
        // A lock and a lack of rights are both answered with 403.
        if matches!(answer.status, Some(400 | 403)) && version.is_some() {
            // What this asks may be forbidden or unknown too; the first answer is the one to report then.
            // Whether the lock has run out is the server's to say, and it has refused: this machine's clock may be years ahead.
            if let Some(until) = self.lock_of(key, version).await.ok().flatten() {
                return Err(StoreError::Locked { store: self.address(), key: key.clone(), until: Some(until) });
            }
        }
        Err(answer.into_error(self.address(), Operation::Delete.verb(), key.as_str(), Some(key)))
    }
}
