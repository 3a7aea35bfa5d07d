//! What a server's answer means for a store.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::store::{Key, StoreError};

/// A failed request in one line: `403 SignatureDoesNotMatch: The request signature…`, or why there was no answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Option<u16>,
    pub(super) code: String,
    message: String,
    credentials: bool,
    /// Not answered, though it was sent or should have been: the next time may go better.
    unanswered: bool,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None if self.credentials => f.write_str("there are no credentials, or none that can be used")?,
            None => f.write_str("no answer")?,
        }
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl Error for Answer {}

impl Answer {
    /// Whether the server has never heard of the operation or header.
    pub(super) fn is_not_implemented(&self) -> bool {
        self.status == Some(501) || self.code == "NotImplemented"
    }

    /// Whether a condition of the request did not hold, or somebody else was writing the same name.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self.status, Some(409 | 412))
    }

    /// Whether the object or version is not there. A bare 404 (HEAD has no body) is taken for a missing object.
    pub(super) fn is_not_found(&self) -> bool {
        self.status == Some(404) && self.code != "NoSuchBucket"
    }

    fn is_denied(&self) -> bool {
        const CODES: [&str; 8] = [
            "AccessDenied",
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidAccessKeyId",
            "InvalidToken",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "TokenRefreshRequired",
        ];
        self.credentials || CODES.contains(&self.code.as_str()) || matches!(self.status, Some(401 | 403))
    }

    fn is_transient(&self) -> bool {
        const CODES: [&str; 5] = ["SlowDown", "RequestTimeout", "Throttling", "InternalError", "BadDigest"];
        // RequestTimeTooSkewed is a 403 and lasts. BadDigest: the bytes were damaged on the way.
        match self.status {
            None => self.unanswered,
            Some(501) => false,
            Some(408 | 429 | 500..=599) => true,
            Some(_) => CODES.contains(&self.code.as_str()),
        }
    }

    /// The error of doing `operation` on `object`; `key` if that is an object's name.
    pub(super) fn into_error(
        self,
        store: String,
        operation: &'static str,
        object: &str,
        key: Option<&Key>,
    ) -> StoreError {
        if self.code == "NoSuchBucket" {
            return StoreError::Gone { store, source: self.into() };
        }
        match key {
            Some(key) if self.is_not_found() => StoreError::NotFound { store, key: key.clone() },
            // 507 and the codes that Garage, MinIO and Ceph use for a full disk or quota.
            Some(key) if self.status == Some(507) || self.is_quota() => {
                StoreError::Full { store, key: key.clone(), source: self.into() }
            }
            _ if self.is_denied() => {
                StoreError::Denied { store, operation, object: object.to_owned(), source: self.into() }
            }
            _ => {
                let transient = self.is_transient();
                StoreError::Failed { store, operation, object: object.to_owned(), transient, source: self.into() }
            }
        }
    }

    fn is_quota(&self) -> bool {
        matches!(self.code.as_str(), "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded")
    }
}

impl<E: ProvideErrorMetadata + Error + 'static> From<SdkError<E, HttpResponse>> for Answer {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = meta.and_then(|meta| meta.code()).unwrap_or_default().to_owned();
        let message = meta.and_then(|meta| meta.message()).map_or_else(|| chain(&error), str::to_owned);
        let credentials = causes(&error).find_map(|cause| cause.downcast_ref::<CredentialsError>());
        // A request that could not be built will not be built next time either. All others without a status are broken or
        // timed-out connections, also in the middle of an answer.
        let unanswered = status.is_none()
            && !matches!(error, SdkError::ConstructionFailure(_))
            && credentials.is_none_or(|c| matches!(c, CredentialsError::ProviderTimedOut(_)));
        // A provider that only timed out says nothing about the credentials.
        let credentials = credentials.is_some() && !unanswered;
        Self { status, code, message, credentials, unanswered }
    }
}

/// The error and its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause: &&'a (dyn Error + 'static)| (*cause).source())
}

/// The error and its causes in one line; the SDK's own texts are the outermost and say least.
fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: Option<u16>, code: &str) -> StoreError {
        let answer = Answer {
            status,
            code: code.into(),
            message: String::new(),
            credentials: false,
            unanswered: status.is_none(),
        };
        let key = Key::new("packs/ab").expect("a key");
        answer.into_error("s3://b".into(), "read", "packs/ab", Some(&key))
    }

    #[test]
    fn answers_become_what_the_caller_can_act_on() {
        assert!(matches!(error(Some(404), "NoSuchBucket"), StoreError::Gone { .. }));
        assert!(matches!(error(Some(404), "NoSuchKey"), StoreError::NotFound { .. }));
        assert!(matches!(error(Some(404), ""), StoreError::NotFound { .. }));
        for code in ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"] {
            assert!(matches!(error(Some(403), code), StoreError::Denied { .. }), "{code}");
        }
        assert!(matches!(error(Some(400), "ExpiredToken"), StoreError::Denied { .. }));
        assert!(matches!(error(Some(507), ""), StoreError::Full { .. }));
        assert!(matches!(error(Some(403), "QuotaExceeded"), StoreError::Full { .. }));
        for (status, code) in [(429, ""), (500, ""), (502, ""), (503, "SlowDown"), (400, "RequestTimeout")] {
            assert!(error(Some(status), code).is_transient(), "{status} {code}");
        }
        assert!(error(None, "").is_transient());
        for (status, code) in [(400, "InvalidRequest"), (501, "NotImplemented"), (301, "PermanentRedirect")] {
            assert!(!error(Some(status), code).is_transient(), "{status} {code}");
        }
    }
}
