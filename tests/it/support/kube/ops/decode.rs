//! From the bytes of a request to an object of the right kind, with warnings.

use serde_json::Value;

use crate::support::kube::kinds::defaults;
use crate::support::kube::registry::Resource;
use crate::support::kube::state::{How, Validation, text};
use crate::support::kube::status::{Result, Status};
use crate::support::kube::{custom, typed};

/// An object as it was sent; JSON, or YAML where the type says so.
pub(crate) fn parse(kind: &str, content_type: &str, bytes: &[u8]) -> Result<Value> {
    let unrecognized = |why: String| {
        let sent = String::from_utf8_lossy(bytes);
        let text = format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {why} ({sent})"
        );
        Status::bad_request(text)
    };
    if content_type.contains("protobuf") {
        let text = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml";
        return Err(Status::new(415, "UnsupportedMediaType", text));
    }
    if content_type.contains("yaml") {
        let text = std::str::from_utf8(bytes).map_err(|error| unrecognized(error.to_string()))?;
        return serde_saphyr::from_str(text)
            .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")));
    }
    serde_json::from_slice(bytes).map_err(|_| unrecognized(go_error(bytes)))
}

/// Go's words for the commonest mistake; anything else in short.
fn go_error(bytes: &[u8]) -> String {
    match bytes.iter().position(|byte| *byte == b'{') {
        Some(at) => match bytes.get(at + 1) {
            Some(c) if !b"\"} \n\t".contains(c) => {
                format!("invalid character '{}' looking for beginning of object key string", char::from(*c))
            }
            _ => "unexpected end of JSON input".into(),
        },
        None => "invalid character looking for beginning of value".into(),
    }
}

/// Checks the kind, takes out what is unknown (or refuses it), fills in defaults.
pub(crate) fn decode(resource: &Resource, object: &mut Value, how: &How) -> Result<Vec<String>> {
    let wanted = resource.api_version();
    if resource.custom.is_none() && object["kind"].is_null() && object["apiVersion"].is_null() && object.is_object() {
        // A built-in kind follows from the address.
        object["kind"] = resource.kind.as_str().into();
        object["apiVersion"] = wanted.as_str().into();
    }
    let (api_version, kind) = (text(&object["apiVersion"]).to_owned(), text(&object["kind"]).to_owned());
    if kind.is_empty() || api_version.is_empty() {
        let what = if kind.is_empty() { "Object 'Kind' is missing" } else { "Object 'apiVersion' is missing" };
        return Err(Status::bad_request(format!("{what} in '{object}'")));
    }
    if api_version != wanted {
        let text =
            format!("the API version in the data ({api_version}) does not match the expected API version ({wanted})");
        return Err(Status::bad_request(text));
    }
    if kind != resource.kind {
        let (version, ours) = (&resource.version, &resource.kind);
        let group =
            if resource.group.is_empty() { "core" } else { resource.group.split('.').next().unwrap_or_default() };
        return Err(Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {ours}: converting ({version}.{kind}) to ({group}.{ours}): unknown conversion"
        )));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(serde_json::Map::new());
    }
    tidy(resource, object, how)
}

/// The part of [`decode`] that a patched object needs too.
pub(crate) fn tidy(resource: &Resource, object: &mut Value, how: &How) -> Result<Vec<String>> {
    let unknown = match &resource.custom {
        Some(custom) => {
            drop_null_metadata(object);
            custom.schema().map(|schema| custom::prune(schema, object)).unwrap_or_default()
        }
        None => typed::prune(&resource.group, &resource.kind, object).map_err(|error| {
            let (kind, version) = (&resource.kind, &resource.version);
            Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"))
        })?,
    };
    let warnings: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    if how.validation == Validation::Strict && !warnings.is_empty() {
        let errors = warnings.join(", ");
        let (kind, version) = (&resource.kind, &resource.version);
        return Err(Status::bad_request(if resource.custom.is_some() {
            format!("strict decoding error: {errors}")
        } else {
            format!("{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {errors}")
        }));
    }
    match &resource.custom {
        Some(custom) => custom.schema().into_iter().for_each(|schema| custom::fill(schema, object)),
        None => defaults::apply(&resource.group, &resource.kind, object),
    }
    if how.validation == Validation::Ignore { Ok(Vec::new()) } else { Ok(warnings) }
}

fn drop_null_metadata(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|_, value| {
            let empty =
                value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
            !(value.is_null() || empty)
        });
    }
}
