//! `tls` and pages by https: certificates of an issuer of ours, and what can be wrong with them.

use homelab_dr::base::clock::{ManualClock, Time};
use homelab_dr::verify::Roots;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;

/// The time of these tests: 2026-11-01T03:00:00Z.
const NOW: Time = Time(1_793_502_000_000);

pub(crate) struct Issuer(CertifiedIssuer<'static, KeyPair>);

impl Issuer {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn roots(&self) -> Roots {
        Roots::of([self.0.as_ref().der().to_vec()])
    }

    /// Its certificate as a file has it that `SSL_CERT_FILE` names.
    pub(crate) fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A server with a certificate for some names, from a day in October 2026 to the end of a day in November.
    async fn server(&self, names: &[&str], from: u8, to: u8) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 10, from);
        params.not_after = rcgen::date_time_ymd(2026, 11, to);
        self.serve(params).await
    }

    /// A server of localhost with a certificate that lasts.
    pub(crate) async fn lasting(&self) -> String {
        self.serve(CertificateParams::new(vec!["localhost".to_owned()]).unwrap()).await
    }

    async fn serve(&self, params: CertificateParams) -> String {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    let mut asked = [0; 4096];
                    stream.read(&mut asked).await.map(drop)?;
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nalive").await?;
                    stream.shutdown().await
                });
            }
        });
        format!("localhost:{port}")
    }
}

/// A root that nobody has a certificate of.
pub fn root() -> Vec<u8> {
    Issuer::new("nobody").0.as_ref().der().to_vec()
}

fn of(roots: Roots) -> Surroundings {
    Surroundings { roots, clock: Arc::new(ManualClock::at(NOW)), ..around() }
}

fn tls(address: &str, name: Option<&str>, days: u64) -> Probe {
    let valid_for = Duration::from_hours(24 * days);
    Probe::Tls { address: address.to_owned(), name: name.map(str::to_owned), valid_for }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_trusted_for_its_name_and_its_time() {
    let issuer = Issuer::new("home");
    let around = of(issuer.roots());
    let address = issuer.server(&["localhost", "photos.example.org"], 1, 20).await;
    let said = holds(look(&tls(&address, None, 7), &around).await);
    assert_eq!(said, "its certificate for localhost is trusted and valid until 2026-11-20T00:00:00Z");
    holds(look(&tls(&address, Some("photos.example.org"), 18), &around).await);
    let why =
        not(look(&tls(&address, None, 19), &around).await, &["ends on 2026-11-20T00:00:00Z", "is its renewal stuck?"]);
    assert!(why.contains("it should last 19d"), "{why}");
    not(
        look(&tls(&address, Some("mail.example.org"), 7), &around).await,
        &["localhost", "photos.example.org", "not for mail.example.org"],
    );
    not(
        look(&tls(&address, None, 7), &of(Issuer::new("other").roots())).await,
        &["not trusted", "its issuer is not known"],
    );
    not(look(&tls(&address, None, 7), &of(Issuer::new("home").roots())).await, &["a new issuer under an old name?"]);
    not(look(&tls(&address, None, 7), &of(Roots::of([]))).await, &["this machine trusts nobody"]);
    let expired = issuer.server(&["localhost"], 1, 1).await;
    not(look(&tls(&expired, None, 7), &around).await, &["has expired on 2026-11-01T00:00:00Z"]);
    let early = Surroundings { clock: Arc::new(ManualClock::at(NOW.before(Duration::from_hours(24 * 60)))), ..around };
    not(look(&tls(&address, None, 7), &early).await, &["is valid from 2026-10-01T00:00:00Z on only"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_speak_tls_is_told() {
    let around = of(Issuer::new("home").roots());
    for (does, part) in [
        (Does::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), "does not speak TLS"),
        (Does::Says(Vec::new()), "cut off"),
        (Does::Says(vec![0x15, 3, 3, 0, 2, 2, 40]), "handshake"),
        (Does::Says(vec![0x16, 3, 3, 0, 90, 2, 0, 0, 86]), "cut off"),
    ] {
        not(look(&tls(&server(does).await, Some("localhost"), 7), &around).await, &[part]);
    }
    not(look(&tls(&nobody().await, Some("localhost"), 7), &around).await, &["cannot connect"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_by_https_wants_a_certificate_that_is_trusted() {
    let issuer = Issuer::new("home");
    let address = issuer.server(&["localhost"], 1, 2).await;
    let page = |url: &str| Probe::Http { url: url.to_owned(), status: 200, contains: Some("alive".to_owned()) };
    let url = format!("https://{address}/");
    holds(look(&page(&url), &of(issuer.roots())).await);
    not(look(&page(&url), &of(Issuer::new("other").roots())).await, &["its issuer is not known"]);
    let late =
        Surroundings { clock: Arc::new(ManualClock::at(NOW.after(Duration::from_hours(48)))), ..of(issuer.roots()) };
    not(look(&page(&url), &late).await, &["has expired"]);
    let by_number = url.replace("localhost", "127.0.0.1");
    not(look(&page(&by_number), &of(issuer.roots())).await, &["its certificate is for", "not for 127.0.0.1"]);
}
