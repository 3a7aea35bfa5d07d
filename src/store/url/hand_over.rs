//! A store for another process, which shares neither our environment nor our files: an address that says everything, and credentials beside it by name.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use zeroize::Zeroizing;

use super::StoreUrl;
use crate::store::StoreError;
use crate::store::s3::{Dialect, S3Config, S3Store, StaticCredentials};

/// The names of the credentials are those of the variables that AWS's tools read.
const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

/// What another process needs to open a store.
pub struct HandOver {
    /// An address that [`StoreUrl::parse`] takes, without credentials.
    pub address: String,
    /// Credentials by name, for [`StoreUrl::with_named_credentials`].
    pub credentials: Vec<(&'static str, Zeroizing<String>)>,
    /// Host and TCP port that it speaks to; `None` for a folder.
    pub endpoint: Option<(String, u16)>,
}

/// Everything but what is plain in every part of an address becomes `%41`.
fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(byte) {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The endpoint of AWS itself.
fn of_aws(config: &S3Config) -> String {
    format!("https://s3.{}.amazonaws.com", config.region().unwrap_or_default())
}

fn address(config: &S3Config) -> String {
    let scheme = config.dialect.scheme();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(endpoint) = &config.endpoint {
        query.append_pair("endpoint", endpoint);
    }
    if let Some(region) = &config.region {
        query.append_pair("region", region);
    }
    if let (Some(path_style), Dialect::S3) = (config.path_style, config.dialect) {
        query.append_pair("path-style", if path_style { "true" } else { "false" });
    }
    format!("{scheme}://{}/{}?{}", config.bucket, encode(config.prefix.as_bytes()), query.finish())
}

impl StoreUrl {
    /// For a process elsewhere; reads what the AWS environment and files say.
    pub async fn hand_over(&self) -> Result<HandOver, StoreError> {
        let config = match self {
            Self::File { path, wait } => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                let wait = wait.map(|wait| format!("?wait={}s", wait.as_secs().max(1))).unwrap_or_default();
                let address = format!("file://{}{wait}", encode(path.as_os_str().as_bytes()));
                return Ok(HandOver { address, credentials: Vec::new(), endpoint: None });
            }
            Self::S3(config) => S3Store::resolve(config).await?,
        };
        let endpoint = config.endpoint().unwrap_or_else(|| of_aws(&config));
        let parsed = url::Url::parse(&endpoint).ok();
        let endpoint =
            parsed.and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default().unwrap_or(443))));
        let mut credentials = Vec::new();
        if let Some(StaticCredentials { key_id, secret, session_token }) = &config.credentials {
            credentials.push((KEY_ID, Zeroizing::new(key_id.clone())));
            credentials.push((SECRET, secret.clone()));
            credentials.extend(session_token.iter().map(|token| (SESSION_TOKEN, token.clone())));
        }
        Ok(HandOver { address: address(&config), credentials, endpoint })
    }

    /// The same place with credentials as [`Self::hand_over`] names them; what has other names is not known and not used.
    #[must_use]
    pub fn with_named_credentials(self, named: &[(&str, &str)]) -> Self {
        let get = |name: &str| named.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        match (get(KEY_ID), get(SECRET)) {
            (Some(key_id), Some(secret)) => self.with_credentials(StaticCredentials {
                key_id,
                secret: Zeroizing::new(secret),
                session_token: get(SESSION_TOKEN).map(Zeroizing::new),
            }),
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    fn given() -> StaticCredentials {
        let (secret, token) = (Zeroizing::new("s".to_owned()), Zeroizing::new("t".to_owned()));
        StaticCredentials { key_id: "AK".into(), secret, session_token: Some(token) }
    }

    #[tokio::test]
    async fn what_is_handed_over_opens_the_same_place() {
        for (text, endpoint) in [
            ("s3://box/a%20b/c?endpoint=http://nas:9000&region=garage&path-style=false", ("nas", 9000)),
            ("s3://box?endpoint=https://minio.storage.svc&region=x", ("minio.storage.svc", 443)),
            ("b2://box/p?region=us-west-004", ("s3.us-west-004.backblazeb2.com", 443)),
            ("s3://box?region=eu-west-1&endpoint=http://[2001:db8::1]:9000", ("[2001:db8::1]", 9000)),
        ] {
            let url = StoreUrl::parse(text).expect(text).with_credentials(given());
            let over = url.hand_over().await.expect("nothing is asked");
            assert_eq!(over.endpoint, Some((endpoint.0.to_owned(), endpoint.1)), "{text}");
            let named: Vec<(&str, &str)> =
                over.credentials.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let StoreUrl::S3(back) = StoreUrl::parse(&over.address).expect("an address").with_named_credentials(&named)
            else {
                unreachable!("a bucket")
            };
            let StoreUrl::S3(config) = url else { unreachable!("a bucket") };
            assert_eq!(
                (&back.bucket, &back.prefix, back.endpoint(), back.region()),
                (&config.bucket, &config.prefix, config.endpoint(), config.region())
            );
            let back = back.credentials.expect("credentials");
            assert_eq!((back.key_id.as_str(), back.secret.as_str()), ("AK", "s"));
            assert_eq!(back.session_token.as_ref().map(|token| token.as_str()), Some("t"));
            assert!(!over.address.contains("AK"), "{}", over.address);
        }
    }

    #[tokio::test]
    async fn a_folder_is_handed_over_by_its_whole_path() {
        let url = StoreUrl::parse("file:///mnt/n%3Fs%20%C3%A4?wait=2m").expect("a path");
        let over = url.hand_over().await.expect("nothing is asked");
        let Ok(StoreUrl::File { path, wait }) = StoreUrl::parse(&over.address) else { unreachable!("a path") };
        assert_eq!((path, wait), (PathBuf::from("/mnt/n?s ä"), Some(Duration::from_mins(2))));
        assert!(over.endpoint.is_none() && over.credentials.is_empty());
    }
}
