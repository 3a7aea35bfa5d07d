//! Lists: a consistent state, in pages if asked.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::support::kube::registry::Resource;
use crate::support::kube::select::Selector;
use crate::support::kube::state::State;
use crate::support::kube::status::{Result, Status};

#[derive(Debug, Clone, Default)]
pub(crate) struct ListOptions {
    pub(crate) limit: usize,
    pub(crate) token: String,
    pub(crate) version: String,
    pub(crate) version_match: String,
}

#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) items: Vec<Value>,
    pub(crate) version: u64,
    pub(crate) token: Option<String>,
    pub(crate) remaining: Option<usize>,
}

impl State {
    pub(crate) fn list(
        &self,
        resource: &Resource,
        namespace: &str,
        selector: &Selector,
        options: &ListOptions,
    ) -> Result<Listing> {
        let mut limit = options.limit;
        let mut start = String::new();
        let mut version = self.store.revision();
        if !options.token.is_empty() {
            (version, start) = self.resume(&options.token)?;
        } else if !options.version.is_empty() {
            let asked: u64 = options
                .version
                .parse()
                .map_err(|_| Status::bad_request(format!("resourceVersion: Invalid value: \"{}\"", options.version)))?;
            if asked > version {
                let text = format!("Too large resource version: {asked}, current: {version}");
                let mut status = Status::new(504, "Timeout", format!("Timeout: {text}"));
                status.body["details"] = json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1});
                return Err(status);
            }
            if options.version_match == "Exact" {
                if asked < self.store.compacted() {
                    return Err(Status::expired("The resourceVersion for the provided list is too old."));
                }
                version = asked;
            } else if asked == 0 {
                // From the watch cache, which knows no pages.
                limit = 0;
            }
        }
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let from = format!("{prefix}{}", start.trim_start_matches('/'));
        let all = self.store.list_at(&resource.table(), &prefix, version);
        let left: Vec<_> = all
            .into_iter()
            .filter(|(key, object)| *key >= from && selector.matches(&State::show(resource, object)))
            .collect();
        let taken = if limit == 0 { left.len() } else { limit.min(left.len()) };
        let more = left.len() - taken;
        let token = (more > 0).then(|| {
            let last = left[taken - 1].0.trim_start_matches(prefix.as_str());
            // A NUL after the last key is the next possible one.
            let token = format!("{{\"v\":\"meta.k8s.io/v1\",\"rv\":{version},\"start\":\"/{last}\\u0000\"}}");
            BASE64URL_NOPAD.encode(token.as_bytes())
        });
        Ok(Listing {
            items: left.iter().take(taken).map(|(_, object)| State::show(resource, object)).collect(),
            version,
            remaining: (more > 0 && selector.is_empty()).then_some(more),
            token,
        })
    }

    fn resume(&self, token: &str) -> Result<(u64, String)> {
        let invalid =
            |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        // Go does not mind loose bits at the end.
        let mut lenient = BASE64URL_NOPAD.specification();
        lenient.check_trailing_bits = false;
        let encoding = lenient.encoding().expect("a valid encoding");
        let bytes = encoding.decode(token.as_bytes()).unwrap_or_default();
        let parsed: Value = serde_json::from_slice(&bytes).map_err(|_| match bytes.first() {
            Some(byte) => invalid(&format!("invalid character '{}' looking for beginning of value", char::from(*byte))),
            None => invalid("unexpected end of JSON input"),
        })?;
        let start = parsed["start"].as_str().ok_or_else(|| invalid("incorrect encoding"))?.to_owned();
        let version = parsed["rv"].as_i64().unwrap_or(0);
        if version < 0 {
            return Ok((self.store.revision(), start));
        }
        let version = version.unsigned_abs();
        if version < self.store.compacted() {
            let text = "The provided continue parameter is too old to display a consistent list result. You can start a new list \
                        without the continue parameter, or use the continue token in this response to retrieve the remainder \
                        of the results. Continuing with the provided token results in an inconsistent list - objects that \
                        were created, modified, or deleted between the time the first chunk was returned and now may show \
                        up in the list.";
            let mut status = Status::expired(text);
            let start = start.replace('\0', "\\u0000");
            let next = format!("{{\"v\":\"meta.k8s.io/v1\",\"rv\":-1,\"start\":\"{start}\"}}");
            status.body["metadata"] = json!({"continue": BASE64URL_NOPAD.encode(next.as_bytes())});
            return Err(status);
        }
        Ok((version, start))
    }
}
