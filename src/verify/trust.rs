//! TLS: whom this machine trusts, a handshake with who is trusted, and one with anybody.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::base::clock::Time;

/// Whose certificates are trusted.
#[derive(Debug, Clone)]
pub struct Roots(Arc<OnceLock<Arc<RootCertStore>>>);

impl Roots {
    /// Whom this machine trusts, also by `SSL_CERT_FILE` and `SSL_CERT_DIR`; read when it is first asked for.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::default())
    }

    /// These alone, as DER. What is none is left out.
    #[must_use]
    pub fn of(certificates: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates.into_iter().map(CertificateDer::from));
        Self(Arc::new(OnceLock::from(Arc::new(store))))
    }

    fn store(&self) -> Arc<RootCertStore> {
        let read = || {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(store)
        };
        self.0.get_or_init(read).clone()
    }

    /// Judges chains by these roots.
    pub(super) fn judge(&self) -> Result<Arc<WebPkiServerVerifier>, String> {
        let judge = WebPkiServerVerifier::builder_with_provider(self.store(), provider()).build();
        judge.map_err(|_| "this machine trusts nobody: install its root certificates (ca-certificates)".to_owned())
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}

/// The name that a certificate has to be for.
pub(super) fn name(name: &str) -> Result<ServerName<'static>, String> {
    let plain = name.strip_suffix('.').unwrap_or(name).to_owned();
    ServerName::try_from(plain).map_err(|_| format!("{name:?} is no name that a certificate could be for"))
}

/// A handshake in which the certificate is judged by `judge`.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    name: ServerName<'static>,
    judge: Arc<dyn ServerCertVerifier>,
    now: Time,
) -> Result<TlsStream<S>, String> {
    let config = ClientConfig::builder_with_details(provider(), Arc::new(At(unix(now))))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be spoken here: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(judge)
        .with_no_client_auth();
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    shaken.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => told(error),
        None => format!("the handshake of TLS was cut off: {error}"),
    })
}

/// What is wrong with a certificate or a handshake, and what may help.
pub(super) fn told(error: &Error) -> String {
    use CertificateError as Of;
    let Error::InvalidCertificate(of) = error else {
        return match error {
            Error::InvalidMessage(_) => format!("what answers there does not speak TLS: {error}"),
            error => format!("the handshake of TLS failed: {error}"),
        };
    };
    match of {
        Of::UnknownIssuer => "its certificate is not trusted by this machine: its issuer is not known; a self-signed one, a missing intermediate, or an issuer to be put among this machine's roots".to_owned(),
        Of::BadSignature => "its certificate is not trusted by this machine: it names an issuer that is, whose key has not signed it; a new issuer under an old name?".to_owned(),
        Of::Expired => "its certificate has expired".to_owned(),
        Of::ExpiredContext { not_after, .. } => format!("its certificate has expired on {}", day(*not_after)),
        Of::NotValidYet => "its certificate is not valid yet: is the clock right?".to_owned(),
        Of::NotValidYetContext { not_before, .. } => {
            format!("its certificate is valid from {} on only: is the clock right?", day(*not_before))
        }
        Of::NotValidForName => "its certificate is for another name".to_owned(),
        Of::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") };
            format!("its certificate is for {names}, not for {}", expected.to_str())
        }
        other => format!("its certificate is not trusted: {other}"),
    }
}

/// The time of a handshake.
#[derive(Debug)]
struct At(UnixTime);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// A time as certificates are judged by.
pub(super) fn unix(time: Time) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(time.0).unwrap_or(0)))
}

/// A time of a certificate, to the second.
pub(super) fn day(time: UnixTime) -> Time {
    Time(i64::try_from(time.as_secs().saturating_mul(1000)).unwrap_or(i64::MAX))
}

/// Takes every certificate, of which only the key is proven: for who looks at it himself afterwards, or where nobody can know it.
#[derive(Debug)]
pub(super) struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
