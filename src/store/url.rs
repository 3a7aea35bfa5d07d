//! Addresses of stores as people write them: `/mnt/backup`, `file:///mnt/backup?wait=2m`, `s3://bucket/prefix?…`, `b2://bucket/prefix?…`.
//!
//! Never with credentials: those come from the environment or are given in code, so that an address can be printed.

mod hand_over;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::units::parse_duration;
use crate::store::file::{FILE_TIME_MAX, FileStore};
use crate::store::s3::{Dialect, S3Config, S3Store, StaticCredentials};
use crate::store::{Store, StoreError};

pub use hand_over::HandOver;

/// Text that is no address of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// Nothing at all.
    #[error("the address of the store is empty")]
    Empty,
    /// A scheme that is not known.
    #[error("{0}:// is no kind of store: write a path, file:///path, s3://bucket/prefix or b2://bucket/prefix")]
    Scheme(String),
    /// `s3:bucket` and the like, which could also be a strange file name.
    #[error(
        "{0:?} is ambiguous: write s3://bucket/prefix, b2://bucket/prefix or file:///path; for a file of this name, ./ before it"
    )]
    Slashes(String),
    /// Not a URL at all.
    #[error("{url:?} is no URL: {reason}")]
    Malformed {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A parameter that this kind of store does not have.
    #[error("a {scheme}:// address has no parameter {name:?}: there are {allowed}")]
    Parameter {
        /// The scheme.
        scheme: &'static str,
        /// The parameter's name.
        name: String,
        /// The ones there are.
        allowed: &'static str,
    },
    /// A parameter with a value that it cannot have.
    #[error("{name}={value} cannot be: {expected}")]
    Value {
        /// The parameter's name.
        name: String,
        /// The value.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// B2's endpoint depends on the region.
    #[error("a b2:// address needs ?region=…, such as region=us-west-004 (it is part of the bucket's endpoint)")]
    Region,
    /// User name or password in the address.
    #[error("an address holds no credentials: take them out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    Credentials,
}

/// Where a store is.
#[derive(Debug, Clone)]
pub enum StoreUrl {
    /// A directory.
    File {
        /// Its path.
        path: PathBuf,
        /// Longest wait for one file operation, if it is not the usual one.
        wait: Option<Duration>,
    },
    /// A bucket.
    S3(Box<S3Config>),
}

impl StoreUrl {
    /// Parses what is on a command line. A plain path may be any bytes.
    pub fn from_os(text: &OsStr) -> Result<Self, StoreUrlError> {
        match text.to_str() {
            Some(text) => Self::parse(text),
            None => Ok(Self::folder(text)),
        }
    }

    /// Parses text. What has no `://` is a path.
    pub fn parse(text: &str) -> Result<Self, StoreUrlError> {
        if text.is_empty() {
            return Err(StoreUrlError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let ambiguous = ["s3:", "b2:", "file:"].iter().any(|scheme| text.starts_with(scheme));
            return if ambiguous { Err(StoreUrlError::Slashes(text.into())) } else { Ok(Self::folder(text)) };
        };
        match scheme {
            "file" => file(text, rest),
            "s3" => bucket(Dialect::S3, text).map(|config| Self::S3(Box::new(config))),
            "b2" => bucket(Dialect::B2, text).map(|config| Self::S3(Box::new(config))),
            // `./odd://name` and `/odd://name` are paths.
            other if other.is_empty() || other.contains(['/', '.']) => Ok(Self::folder(text)),
            other => Err(StoreUrlError::Scheme(other.into())),
        }
    }

    /// A directory, with nothing said about it.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::File { path: path.into(), wait: None }
    }

    /// The same place with this access key instead of the environment's; a directory has none and stays as it is.
    #[must_use]
    pub fn with_credentials(mut self, credentials: StaticCredentials) -> Self {
        if let Self::S3(config) = &mut self {
            config.credentials = Some(credentials);
        }
        self
    }

    /// Opens the store; the directory or bucket has to exist.
    pub async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::File { path, wait } => Arc::new(FileStore::open_waiting(path, wait.unwrap_or(FILE_TIME_MAX)).await?),
            Self::S3(config) => Arc::new(S3Store::open((**config).clone()).await?),
        })
    }

    /// Opens the store and makes the directory if it is not there. Buckets are not made: their versioning, locks and lifecycle
    /// rules are their owner's decision.
    pub async fn create(&self) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::File { path, wait } => {
                Ok(Arc::new(FileStore::create_waiting(path, wait.unwrap_or(FILE_TIME_MAX)).await?))
            }
            Self::S3(_) => self.open().await,
        }
    }
}

impl fmt::Display for StoreUrl {
    /// As in messages: without parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::S3(config) => f.write_str(&config.address()),
        }
    }
}

/// `file:///path?wait=2m`, percent-encoded bytes and all.
fn file(url: &str, rest: &str) -> Result<StoreUrl, StoreUrlError> {
    let malformed = |reason: &str| StoreUrlError::Malformed { url: url.into(), reason: reason.into() };
    if !rest.starts_with('/') {
        return Err(malformed(
            "three slashes and an absolute path follow \"file:\"; another machine's files need a mount",
        ));
    }
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    if rest.contains('#') {
        return Err(malformed("nothing follows a #; write %23 for # in a name"));
    }
    let wait = query.map(wait_of).transpose()?;
    let bytes = percent_decode(path).ok_or_else(|| malformed("% is not followed by two hex digits"))?;
    if bytes.contains(&0) {
        return Err(malformed("a path has no NUL"));
    }
    Ok(StoreUrl::File { path: OsString::from_vec(bytes).into(), wait })
}

/// The one parameter of a `file://` address: `wait=2m`.
fn wait_of(query: &str) -> Result<Duration, StoreUrlError> {
    let (name, value) = query.split_once('=').unwrap_or((query, ""));
    if name != "wait" {
        let allowed = "only wait; write %3F for ? in a name";
        return Err(StoreUrlError::Parameter { scheme: "file", name: name.into(), allowed });
    }
    let wait = parse_duration(value).ok().filter(|wait| !wait.is_zero());
    let expected = "it is how long one file operation may take, such as 90s or 10m";
    wait.ok_or_else(|| StoreUrlError::Value { name: name.into(), value: value.into(), expected })
}

fn bucket(dialect: Dialect, text: &str) -> Result<S3Config, StoreUrlError> {
    let malformed = |reason: &str| StoreUrlError::Malformed { url: text.into(), reason: reason.into() };
    let url = url::Url::parse(text).map_err(|error| malformed(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(StoreUrlError::Credentials);
    }
    if url.port().is_some() || url.fragment().is_some() {
        return Err(malformed("a bucket's name is followed by /prefix and ?parameters only"));
    }
    let bucket =
        url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| malformed("the bucket's name is missing"))?;
    let mut config = S3Config::new(dialect, bucket);
    let prefix = percent_decode(url.path().trim_matches('/')).and_then(|bytes| String::from_utf8(bytes).ok());
    config.prefix = prefix.ok_or_else(|| malformed("the prefix is no percent-encoded UTF-8"))?;
    for (name, value) in url.query_pairs() {
        let bad = |expected| StoreUrlError::Value { name: name.clone().into(), value: value.clone().into(), expected };
        let is_set = match (&*name, dialect) {
            ("endpoint", _) => {
                let host = |url: &url::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
                let endpoint = url::Url::parse(&value).ok().filter(host);
                if endpoint.as_ref().is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
                    return Err(StoreUrlError::Credentials);
                }
                if endpoint.is_none() {
                    return Err(bad("an endpoint is https://host or https://host:port"));
                }
                config.endpoint.replace(value.clone().into_owned()).is_some()
            }
            ("region", _) => {
                if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
                    return Err(bad("a region is a word such as us-east-1"));
                }
                config.region.replace(value.clone().into_owned()).is_some()
            }
            ("path-style", Dialect::S3) => {
                let yes = value.parse().map_err(|_| bad("it is true or false"))?;
                config.path_style.replace(yes).is_some()
            }
            _ => {
                let allowed =
                    if dialect == Dialect::S3 { "endpoint, region and path-style" } else { "endpoint and region" };
                return Err(StoreUrlError::Parameter { scheme: dialect.scheme(), name: name.into(), allowed });
            }
        };
        if is_set {
            return Err(bad("it is given twice"));
        }
    }
    if dialect == Dialect::B2 && config.endpoint().is_none() {
        return Err(StoreUrlError::Region);
    }
    Ok(config)
}

/// `%41` becomes `A`; `None` if a `%` stands alone.
fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = OsStr::new(text).as_bytes().iter();
    while let Some(&byte) = rest.next() {
        if byte == b'%' {
            let digit = |b: &u8| char::from(*b).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathBuf {
        match StoreUrl::parse(text).expect(text) {
            StoreUrl::File { path, wait: None } => path,
            StoreUrl::File { .. } => panic!("{text} says how long to wait"),
            StoreUrl::S3(_) => panic!("{text} is a path"),
        }
    }

    fn s3(text: &str) -> S3Config {
        match StoreUrl::parse(text).expect(text) {
            StoreUrl::S3(config) => *config,
            StoreUrl::File { .. } => panic!("{text} is a bucket"),
        }
    }

    #[test]
    fn paths_are_taken_as_they_are() {
        for plain in ["/mnt/backup", "backup", "./s3:odd", "/a%20b", "../x", "a:b", "./odd://name"] {
            assert_eq!(path(plain), PathBuf::from(plain));
        }
        assert_eq!(path("file:///mnt/a%20b/%C3%A4"), PathBuf::from("/mnt/a b/ä"));
        assert_eq!(path("file:///mnt/%FF").as_os_str().as_bytes(), b"/mnt/\xff");
        let StoreUrl::File { path: raw, .. } = StoreUrl::from_os(OsStr::from_bytes(b"/mnt/\xff")).expect("a path")
        else {
            panic!("a path")
        };
        assert_eq!(raw.as_os_str().as_bytes(), b"/mnt/\xff");
        let Ok(StoreUrl::File { path, wait }) = StoreUrl::parse("file:///mnt/n%3Fs?wait=2m") else { panic!("a path") };
        assert_eq!((path, wait), (PathBuf::from("/mnt/n?s"), Some(Duration::from_mins(2))));
    }

    #[test]
    fn buckets_have_prefix_and_parameters() {
        let config = s3("s3://Box_1/homelab/dr%20x/?endpoint=http://nas:9000&region=garage&path-style=false");
        assert_eq!((config.bucket.as_str(), config.prefix.as_str()), ("Box_1", "homelab/dr x"));
        assert_eq!(config.endpoint.as_deref(), Some("http://nas:9000"));
        assert_eq!((config.region.as_deref(), config.path_style), (Some("garage"), Some(false)));
        assert_eq!(config.address(), "s3://Box_1/homelab/dr x");
        let config = s3("b2://box?region=us-west-004");
        assert_eq!(config.endpoint().as_deref(), Some("https://s3.us-west-004.backblazeb2.com"));
        assert_eq!(config.address(), "b2://box");
    }

    #[test]
    fn what_is_no_address_is_refused_and_says_what_would_be() {
        for (text, part) in [
            ("", "empty"),
            ("sftp://host/path", "s3://bucket/prefix"),
            ("s3:bucket", "s3://bucket/prefix"),
            ("file://nas/share", "mount"),
            ("file:///a?b=c", "%3F"),
            ("file:///a?wait", "90s"),
            ("file:///a?wait=soon", "90s"),
            ("file:///a?wait=0s", "90s"),
            ("file:///a?wait=1s&wait=2s", "90s"),
            ("file:///a#b", "%23"),
            ("file:///a%0", "hex"),
            ("file:///a%00", "NUL"),
            ("s3:///prefix", "bucket"),
            ("s3://bucket:80/x", "bucket"),
            ("s3://key:secret@bucket/x", "AWS_ACCESS_KEY_ID"),
            ("s3://bucket/%ff", "UTF-8"),
            ("s3://bucket?endpoint=nas:9000", "https://host"),
            ("s3://bucket?path-style=maybe", "true or false"),
            ("s3://bucket?region=a&region=b", "twice"),
            ("s3://bucket?region=", "us-east-1"),
            ("s3://bucket?retries=3", "endpoint, region and path-style"),
            ("b2://bucket?path-style=true", "endpoint and region"),
            ("b2://bucket", "region"),
        ] {
            let error = StoreUrl::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
