//! Answers as they go over the wire.

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

use crate::support::kube::status::Status;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What an operation came to.
pub(crate) enum Reply {
    Json(u16, Value, Vec<String>),
    /// Already the shape that the content type names.
    Typed(u16, &'static str, Value),
    Text(u16, String),
    /// Lines of JSON or text, as they come.
    Stream(&'static str, Receiver<Bytes>),
    Raw(Response<Body>),
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

fn stream(receiver: Receiver<Bytes>) -> Body {
    let frames = futures::stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((bytes, receiver))
    });
    StreamBody::new(frames.map(|bytes| Ok(Frame::data(bytes)))).boxed_unsync()
}

impl Reply {
    pub(crate) fn ok(value: Value) -> Self {
        Self::Json(200, value, Vec::new())
    }

    /// `yaml`: the client prefers it.
    pub(crate) fn response(self, yaml: bool) -> Response<Body> {
        let builder = |code: u16, kind: &str| Response::builder().status(code).header("content-type", kind);
        match self {
            Self::Json(code, value, warnings) => {
                let mut response = if yaml {
                    builder(code, "application/yaml").body(full(yaml_text(&value)))
                } else {
                    builder(code, "application/json").body(full(format!("{value}\n")))
                }
                .expect("a response");
                for warning in warnings {
                    let quoted = warning.replace('"', "\\\"");
                    let header = format!("299 - \"{quoted}\"");
                    response.headers_mut().append("warning", header.parse().expect("a header"));
                }
                response
            }
            Self::Typed(code, kind, value) => builder(code, kind).body(full(value.to_string())).expect("a response"),
            Self::Text(code, text) => builder(code, "text/plain; charset=utf-8").body(full(text)).expect("a response"),
            Self::Stream(kind, receiver) => builder(200, kind).body(stream(receiver)).expect("a response"),
            Self::Raw(response) => response,
        }
    }
}

/// YAML 1.2 takes JSON, but a reader of YAML expects blocks.
fn yaml_text(value: &Value) -> String {
    serde_saphyr::to_string(value).expect("JSON is YAML")
}

impl From<Status> for Reply {
    fn from(status: Status) -> Self {
        if status.plain {
            return Self::Text(status.code, status.body.as_str().unwrap_or_default().to_owned());
        }
        if let Some(seconds) = status.retry_after {
            let response = Response::builder()
                .status(status.code)
                .header("content-type", "application/json")
                .header("retry-after", seconds)
                .body(full(status.body.to_string()));
            return Self::Raw(response.expect("a response"));
        }
        Self::Json(status.code, status.body, Vec::new())
    }
}
