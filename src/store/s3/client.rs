//! Makes the SDK's client: TLS by rustls, bounded waits, no retries and no checksum headers of its own.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider};
use aws_smithy_http_client::{Builder, tls};
use zeroize::Zeroizing;

use crate::store::s3::config::{S3Config, StaticCredentials};

/// TCP and TLS; a server further away than this is not reachable.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);

/// For a request without a body to be answered. Some servers think long over a listing.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(2);

/// The slowest uplink worth waiting for. A transfer that stalls altogether is ended earlier by the SDK's stall protection.
const BYTES_PER_SECOND_MIN: u64 = 16 * 1024;

/// Region in signatures when nobody names one; self-hosted servers mostly do not care.
const REGION_DEFAULT: &str = "us-east-1";

/// The variable by which the SDK lets the environment choose another endpoint for S3 alone.
const ENDPOINT_ENV: &str = "AWS_ENDPOINT_URL_S3";

/// The limits for a request that sends `bytes`.
pub(super) fn timeouts(bytes: u64) -> TimeoutConfig {
    let limit = ANSWER_TIME_MAX + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIME_MAX)
        .read_timeout(limit)
        .operation_attempt_timeout(limit)
        .operation_timeout(limit)
        .build()
}

/// What the AWS environment and files say of what `config` leaves open. Nothing is sent yet.
async fn settings(config: &S3Config) -> aws_config::SdkConfig {
    let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    // No question to a cloud's metadata service for the region: at home it is a wait for nobody.
    let region = RegionProviderChain::first_try(config.region().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(Region::new(REGION_DEFAULT));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(region)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(0))
        // Trailing checksums are refused by Ceph, checksum headers by B2; Content-MD5 protects uploads everywhere.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = config.endpoint() {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(given) = &config.credentials {
        let token = given.session_token.as_ref().map(|token| token.to_string());
        let credentials =
            Credentials::new(given.key_id.clone(), given.secret.to_string(), token, None, "configuration");
        loader = loader.credentials_provider(SharedCredentialsProvider::new(credentials));
    }
    loader.load().await
}

/// Makes the client. Nothing is sent yet. The second value tells whether it is AWS itself, that is, whether nobody named another endpoint.
pub(super) async fn connect(config: &S3Config) -> (Client, bool) {
    let shared = settings(config).await;
    let builder = aws_sdk_s3::config::Builder::from(&shared);
    let is_aws =
        config.endpoint().is_none() && shared.endpoint_url().is_none() && std::env::var_os(ENDPOINT_ENV).is_none();
    let path_style = config.path_style.unwrap_or(!is_aws);
    (Client::from_conf(builder.force_path_style(path_style).build()), is_aws)
}

/// The same place for another process, which has neither our environment nor our files: endpoint, region and credentials are in it.
pub(super) async fn resolve(config: &S3Config) -> Result<S3Config, CredentialsError> {
    let shared = settings(config).await;
    let mut found = config.clone();
    let of_environment = || std::env::var(ENDPOINT_ENV).ok().filter(|url| !url.is_empty());
    found.endpoint = config.endpoint().or_else(of_environment).or_else(|| shared.endpoint_url().map(str::to_owned));
    found.region = shared.region().map(ToString::to_string);
    found.path_style = Some(config.path_style.unwrap_or(found.endpoint.is_some()));
    if found.credentials.is_none() {
        let provider = shared.credentials_provider().ok_or_else(|| CredentialsError::not_loaded("there are none"))?;
        let given = provider.provide_credentials().await?;
        found.credentials = Some(StaticCredentials {
            key_id: given.access_key_id().to_owned(),
            secret: Zeroizing::new(given.secret_access_key().to_owned()),
            session_token: given.session_token().map(|token| Zeroizing::new(token.to_owned())),
        });
    }
    Ok(found)
}
