//! A page answers: one GET by HTTP/1.1, directly and without following where it sends; https only by a certificate that this machine trusts.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use super::{Look, Surroundings, tcp, trust, within};
use crate::base::causes::in_one_line;

/// A text is looked for in so many bytes of an answer: more than any page for people has.
const BODY_BYTES_MAX: usize = 4 << 20;

pub(super) async fn look(url: &str, status: u64, contains: Option<&str>, around: &Surroundings) -> Look {
    let parsed = Url::parse(url).map_err(|error| format!("{url} is no address of a page: {error}"))?;
    let (Some(host), Some(port)) = (parsed.host_str(), parsed.port_or_known_default()) else {
        return Err(format!("{url} names no host"));
    };
    let address = format!("{host}:{port}");
    let asked = async {
        let stream = tcp::connect(&address).await?;
        if parsed.scheme() == "https" {
            let name = trust::name(tcp::host(&address))?;
            let stream = trust::handshake(stream, name, around.roots.judge()?, around.clock.now()).await?;
            ask(stream, &parsed, status, contains).await
        } else {
            ask(stream, &parsed, status, contains).await
        }
    };
    within(around.limits.answer, &address, asked).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Url,
    status: u64,
    contains: Option<&str>,
) -> Look {
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("homelab-dr/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("{url} cannot be asked for: {error}"))?;
    let cut = |error: &hyper::Error| {
        let help = if error.is_parse() { "; is it HTTP at all, or https?" } else { "" };
        format!("no answer of HTTP came: {}{help}", in_one_line(error))
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| cut(&error))?;
    let work = async {
        let response = sender.send_request(request).await.map_err(|error| cut(&error))?;
        judge(response, status, contains).await
    };
    // What the connection ends with is told by what was asked over it.
    let drive = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        seen = work => seen,
        seen = drive => seen,
    }
}

async fn judge(response: Response<Incoming>, status: u64, contains: Option<&str>) -> Look {
    let found = response.status();
    if u64::from(found.as_u16()) != status {
        let to = response.headers().get(header::LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
        let to = to.map_or_else(String::new, |to| {
            format!("; it sends to {to}: check that address, or `status: {}`", found.as_u16())
        });
        let help = match found {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                "; a proxy answers, and nothing that is ready behind it"
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; it wants somebody to log in",
            _ => "",
        };
        return Err(format!("it answers {found}, not {status}{to}{help}"));
    }
    let Some(text) = contains else { return Ok(format!("it answers {found}")) };
    let mut body = response.into_body();
    let mut read = Vec::new();
    // Where the text may begin that has not come as a whole yet.
    let mut from = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| format!("it answers {found}, and then it is cut off: {}", in_one_line(&error)))?;
        read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        let new = read.get(from..).unwrap_or_default();
        if new.windows(text.len().max(1)).any(|part| part == text.as_bytes()) {
            return Ok(format!("it answers {found} with {text:?} in it"));
        }
        from = read.len().saturating_sub(text.len());
        if read.len() > BODY_BYTES_MAX {
            return Err(format!("it answers {found}, and its first {} MiB have no {text:?}", BODY_BYTES_MAX >> 20));
        }
    }
    let shown: String = String::from_utf8_lossy(&read).chars().take(100).collect();
    Err(format!("it answers {found} without {text:?}; its {} bytes begin with {shown:?}", read.len()))
}
