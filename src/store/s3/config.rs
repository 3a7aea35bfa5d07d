//! Which bucket, where, with which credentials, by whose rules.

use std::fmt;

use zeroize::Zeroizing;

/// Whose S3 it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// AWS and what follows it: conditional PUT is used where it works.
    S3,
    /// Backblaze B2: no checksum headers, no conditional PUT, no questions about the bucket; always keeps versions.
    B2,
}

impl Dialect {
    /// The scheme of its addresses.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::B2 => "b2",
        }
    }
}

/// An access key given in code (a secret of the cluster, a second store); the secret is wiped and never printed.
#[derive(Clone)]
pub struct StaticCredentials {
    /// Access key id.
    pub key_id: String,
    /// Secret access key.
    pub secret: Zeroizing<String>,
    /// Session token of temporary credentials.
    pub session_token: Option<Zeroizing<String>>,
}

impl fmt::Debug for StaticCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticCredentials").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Everything that is needed to reach a bucket.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// Whose S3 it is.
    pub dialect: Dialect,
    /// The bucket.
    pub bucket: String,
    /// Where in the bucket, without `/` at either end; empty for the whole of it.
    pub prefix: String,
    /// `https://host[:port]`; `None` for AWS (or what its environment variables and files say), for B2 the region's.
    pub endpoint: Option<String>,
    /// Region in signatures; `None` asks the AWS environment and files, then takes `us-east-1`.
    pub region: Option<String>,
    /// `https://endpoint/bucket` instead of `https://bucket.endpoint`; `None` for "if an endpoint is given", since the servers
    /// people run themselves seldom have a name for each bucket.
    pub path_style: Option<bool>,
    /// `None` for the usual AWS environment variables, files and metadata services.
    pub credentials: Option<StaticCredentials>,
}

impl S3Config {
    /// A bucket by its name alone; everything else as the environment has it.
    #[must_use]
    pub fn new(dialect: Dialect, bucket: impl Into<String>) -> Self {
        Self {
            dialect,
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            region: None,
            path_style: None,
            credentials: None,
        }
    }

    /// The address for messages.
    #[must_use]
    pub fn address(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        format!("{}://{}{slash}{}", self.dialect.scheme(), self.bucket, self.prefix)
    }

    /// The endpoint to use, if not AWS's own.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        match (&self.endpoint, self.dialect, &self.region) {
            (Some(endpoint), ..) => Some(endpoint.clone()),
            (None, Dialect::B2, Some(region)) => Some(format!("https://s3.{region}.backblazeb2.com")),
            (None, ..) => None,
        }
    }

    /// The region to sign for, as far as the configuration knows it: given, or part of B2's endpoint.
    #[must_use]
    pub fn region(&self) -> Option<String> {
        let of_endpoint = || {
            let host = self.endpoint.as_ref()?.strip_prefix("https://s3.")?;
            host.trim_end_matches('/').strip_suffix(".backblazeb2.com").map(str::to_owned)
        };
        self.region.clone().or_else(of_endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b2_finds_its_endpoint_by_region_and_its_region_by_endpoint() {
        let mut config = S3Config::new(Dialect::B2, "backups");
        config.region = Some("eu-central-003".into());
        assert_eq!(config.endpoint().as_deref(), Some("https://s3.eu-central-003.backblazeb2.com"));
        let mut config = S3Config::new(Dialect::B2, "backups");
        config.endpoint = Some("https://s3.us-west-004.backblazeb2.com".into());
        assert_eq!(config.region().as_deref(), Some("us-west-004"));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let credentials = StaticCredentials {
            key_id: "AKIA".into(),
            secret: Zeroizing::new("hunter2".into()),
            session_token: Some(Zeroizing::new("hunter3".into())),
        };
        let mut config = S3Config::new(Dialect::S3, "b");
        config.credentials = Some(credentials);
        assert!(!format!("{config:?}").contains("hunter"));
    }
}
