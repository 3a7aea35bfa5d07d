//! The filter's memory of versions, delete markers and locks; the inner server only knows what is visible.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use hyper::http::request::Parts;
use hyper::{Method, Response};
use s3s::Body;

use crate::support::s3::{Rules, is_ours, refuse, xml};

/// Entries on a page of versions; small, so that paging is met.
const PAGE: usize = 100;

struct Version {
    id: String,
    /// `None` for a delete marker.
    bytes: Option<Bytes>,
    modified: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
}

pub(crate) struct Versions {
    bucket: PathBuf,
    rules: Rules,
    /// Oldest first.
    objects: BTreeMap<String, Vec<Version>>,
    made: u64,
}

impl Versions {
    pub(crate) fn new(bucket: PathBuf, rules: Rules) -> Self {
        Self { bucket, rules, objects: BTreeMap::new(), made: 0 }
    }

    /// The answer to what the inner server cannot do; `None` to ask it.
    pub(crate) fn answer(&mut self, parts: &Parts, body: &Bytes) -> Option<Response<Body>> {
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()).into_owned().collect();
        let has = |name: &str| query.contains_key(name);
        let key = key_of(parts);
        let lock_header = parts.headers.contains_key("x-amz-object-lock-mode");
        let mine = has("versions")
            || has("versioning")
            || has("retention")
            || has("versionId")
            || parts.method == Method::DELETE
            || lock_header;
        if mine && !is_ours(parts) {
            return Some(refuse(403, "InvalidAccessKeyId"));
        }
        let version = query.get("versionId").map(String::as_str);
        match parts.method {
            Method::GET if has("versioning") => {
                Some(xml(200, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>".into()))
            }
            Method::GET if has("versions") => Some(self.list(&query)),
            Method::GET if has("retention") => Some(self.retention(&key, version)),
            Method::PUT if has("retention") => Some(self.retain(&key, version, parts, body)),
            Method::GET if has("versionId") => Some(self.get(&key, version.unwrap_or(""))),
            Method::DELETE if has("versionId") => Some(self.delete(&key, version.unwrap_or(""))),
            Method::DELETE => {
                self.hide(&key);
                Some(empty())
            }
            Method::PUT if lock_header && !self.rules.locks => Some(refuse(400, "InvalidRequest")),
            Method::PUT if lock_header && !parts.headers.contains_key("content-md5") => {
                Some(refuse(400, "InvalidRequest"))
            }
            _ => None,
        }
    }

    /// Notes what the inner server stored.
    pub(crate) fn stored(&mut self, parts: &Parts, bytes: Bytes) {
        let header = parts.headers.get("x-amz-object-lock-retain-until-date").and_then(|value| value.to_str().ok());
        let until = header.map(|text| text.parse().expect("a date"));
        self.push(key_of(parts), Some(bytes), until);
    }

    /// A plain DELETE.
    pub(crate) fn hide(&mut self, key: &str) {
        self.push(key.to_owned(), None, None);
        self.show(key);
    }

    fn push(&mut self, key: String, bytes: Option<Bytes>, until: Option<DateTime<Utc>>) {
        self.made += 1;
        let version = Version { id: format!("v{:08}", self.made), bytes, modified: Utc::now(), until };
        self.objects.entry(key).or_default().push(version);
    }

    /// Makes the inner server hold what is visible.
    fn show(&self, key: &str) {
        let path = self.bucket.join(key);
        match self.objects.get(key).and_then(|versions| versions.last()).and_then(|newest| newest.bytes.as_ref()) {
            Some(bytes) => std::fs::write(path, bytes).expect("shown"),
            None => drop(std::fs::remove_file(path)),
        }
    }

    fn find(&mut self, key: &str, version: Option<&str>) -> Option<&mut Version> {
        let versions = self.objects.get_mut(key)?;
        match version {
            Some(id) => versions.iter_mut().find(|version| version.id == id),
            None => versions.last_mut(),
        }
    }

    fn get(&mut self, key: &str, version: &str) -> Response<Body> {
        match self.find(key, Some(version)) {
            None => refuse(404, "NoSuchVersion"),
            Some(Version { bytes: None, .. }) => refuse(405, "MethodNotAllowed"),
            Some(Version { bytes: Some(bytes), .. }) => {
                let response = Response::builder().header("content-length", bytes.len());
                response.body(Body::from(bytes.clone())).expect("a response")
            }
        }
    }

    fn delete(&mut self, key: &str, version: &str) -> Response<Body> {
        if self.find(key, Some(version)).is_some_and(|version| version.until.is_some_and(|until| until > Utc::now())) {
            return refuse(403, "AccessDenied");
        }
        if let Some(versions) = self.objects.get_mut(key) {
            versions.retain(|there| there.id != version);
            if versions.is_empty() {
                self.objects.remove(key);
            }
            self.show(key);
        }
        empty()
    }

    fn retention(&mut self, key: &str, version: Option<&str>) -> Response<Body> {
        if !self.rules.locks {
            return refuse(400, "InvalidRequest");
        }
        match self.find(key, version) {
            None => refuse(404, "NoSuchKey"),
            Some(Version { bytes: None, .. }) => refuse(405, "MethodNotAllowed"),
            Some(Version { until: None, .. }) => refuse(404, "NoSuchObjectLockConfiguration"),
            Some(Version { until: Some(until), .. }) => xml(
                200,
                format!(
                    "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>",
                    until.to_rfc3339_opts(SecondsFormat::Millis, true)
                ),
            ),
        }
    }

    fn retain(&mut self, key: &str, version: Option<&str>, parts: &Parts, body: &Bytes) -> Response<Body> {
        let text = std::str::from_utf8(body).expect("XML");
        let date = text.split("<RetainUntilDate>").nth(1).and_then(|rest| rest.split('<').next());
        let until: DateTime<Utc> = date.expect("a date").parse().expect("a date");
        let checked =
            parts.headers.keys().any(|name| name == "content-md5" || name.as_str().starts_with("x-amz-checksum-"));
        if !self.rules.locks || !checked {
            return refuse(400, "InvalidRequest");
        }
        match self.find(key, version) {
            None => refuse(404, "NoSuchKey"),
            Some(Version { bytes: None, .. }) => refuse(405, "MethodNotAllowed"),
            // COMPLIANCE: never shorter.
            Some(there) if there.until.is_some_and(|locked| locked > until) => refuse(403, "AccessDenied"),
            Some(there) => {
                there.until = Some(until);
                xml(200, String::new())
            }
        }
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response<Body> {
        let text = |name: &str| query.get(name).map_or("", String::as_str);
        let below = self.objects.iter().filter(|(key, _)| key.starts_with(text("prefix")));
        let all: Vec<(&String, &Version, bool)> = below
            .flat_map(|(key, versions)| versions.iter().rev().enumerate().map(move |(age, v)| (key, v, age == 0)))
            .collect();
        let marker = (text("key-marker"), text("version-id-marker"));
        let begin = all.iter().position(|(key, v, _)| (key.as_str(), v.id.as_str()) == marker).map_or(0, |at| at + 1);
        let page: Vec<_> = all.iter().skip(begin).take(PAGE).collect();
        let truncated = begin + page.len() < all.len();
        let mut out = format!("<ListVersionsResult><IsTruncated>{truncated}</IsTruncated>");
        if let (true, Some((key, v, _))) = (truncated, page.last()) {
            let _ =
                write!(out, "<NextKeyMarker>{key}</NextKeyMarker><NextVersionIdMarker>{}</NextVersionIdMarker>", v.id);
        }
        for (key, v, latest) in page {
            let tag = if v.bytes.is_some() { "Version" } else { "DeleteMarker" };
            let time = v.modified.to_rfc3339_opts(SecondsFormat::Millis, true);
            let size = v.bytes.as_ref().map_or(String::new(), |bytes| format!("<Size>{}</Size>", bytes.len()));
            let _ = write!(
                out,
                "<{tag}><Key>{key}</Key><VersionId>{}</VersionId><IsLatest>{latest}</IsLatest><LastModified>{time}</LastModified>{size}</{tag}>",
                v.id
            );
        }
        xml(200, out + "</ListVersionsResult>")
    }
}

fn key_of(parts: &Parts) -> String {
    parts.uri.path().trim_start_matches('/').split_once('/').map_or("", |(_, key)| key).to_owned()
}

fn empty() -> Response<Body> {
    Response::builder().status(204).body(Body::empty()).expect("a response")
}
