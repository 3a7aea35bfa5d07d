//! The files of a folder: read as documents, written whole.
//!
//! A uid is of one cluster: `kubectl apply` of an object that has one is refused where it is there, and an owner by a uid that is no one's gets the object
//! collected where it is not. So they are no fields of the manifest but a comment at its head, `# homelab-dr: {…}`, which only [`read_file`] reads.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::cluster::object::{fields_mut, items, name_of, namespace_of, take, text};
use crate::cluster::{ClusterError, manifest};

/// Largest file that is read: the largest object as text, many times over.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Begins the first line of a file whose object has what only its cluster understands; JSON follows.
const HEAD: &str = "# homelab-dr: ";
/// Fields of the metadata that are there and not in the manifest.
const APART: [&str; 2] = ["uid", "ownerReferences"];

/// Group, kind, namespace (or the empty text), name.
pub(super) type Key = (String, String, String, String);

/// An object and where it lies.
pub(super) struct Held {
    pub(super) file: PathBuf,
    /// It has the file for itself.
    pub(super) alone: bool,
    pub(super) object: Value,
}

pub(super) fn failed(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> ClusterError {
    let path = path.display().to_string();
    move |source| ClusterError::Folder { operation, path, source }
}

pub(super) fn group_of(object: &Value) -> &str {
    text(object, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group)
}

pub(super) fn key(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> Key {
    (group.to_owned(), kind.to_owned(), namespace.unwrap_or_default().to_owned(), name.to_owned())
}

pub(super) fn key_of(object: &Value) -> Key {
    key(group_of(object), text(object, &["kind"]), namespace_of(object), name_of(object))
}

/// The documents of a text. A line of three dashes ends one wherever it stands, also in a block of text.
fn documents(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            all.push(line.strip_prefix("---").unwrap_or_default().to_owned());
        } else if let Some(last) = all.last_mut() {
            last.push_str(line);
        }
        if let Some(last) = all.last_mut() {
            last.push('\n');
        }
    }
    let is_empty = |text: &str| {
        text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#') || line.starts_with('%'))
    };
    all.retain(|document| !is_empty(document));
    all
}

/// Gives an object what the head of its file says. What is in the manifest itself counts more, and a head that cannot be read is a comment like any other.
fn put_head(text: &str, object: &mut Value) {
    let head = text.lines().next().and_then(|line| line.strip_prefix(HEAD));
    let head: Option<Value> = head.and_then(|head| serde_json::from_str(head).ok());
    let (Some(head), Some(metadata)) = (head, fields_mut(object, &["metadata"])) else { return };
    for field in APART {
        if let Some(value) = head.get(field) {
            metadata.entry(field).or_insert_with(|| value.clone());
        }
    }
}

pub(super) fn read_file(path: &Path, objects: &mut BTreeMap<Key, Held>) -> Result<(), ClusterError> {
    let size = fs::metadata(path).map_err(|error| failed("cannot read", path)(error.into()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed("cannot read", path)(format!("it has {size} bytes, which no manifest has").into()));
    }
    let whole = fs::read_to_string(path).map_err(|error| failed("cannot read", path)(error.into()))?;
    let documents = documents(&whole);
    for document in &documents {
        let object = manifest::read(document).map_err(|error| failed("cannot understand", path)(error.into()))?;
        let is_list = text(&object, &["kind"]).ends_with("List") && object.get("items").is_some_and(Value::is_array);
        let inside: Vec<Value> = if is_list { items(&object, &["items"]).to_vec() } else { vec![object] };
        let alone = documents.len() == 1 && !is_list;
        for mut object in inside {
            if alone {
                put_head(&whole, &mut object);
            }
            if name_of(&object).is_empty() || text(&object, &["kind"]).is_empty() {
                return Err(failed("cannot understand", path)("a document in it has no kind or no name".into()));
            }
            let (key, held) = (key_of(&object), Held { file: path.to_owned(), alone, object });
            if let Some(other) = objects.insert(key, held) {
                let why = format!("an object in it is in {} too", other.file.display());
                return Err(failed("cannot understand", path)(why.into()));
            }
        }
    }
    Ok(())
}

pub(super) fn write(file: &Path, object: &Value) -> Result<(), ClusterError> {
    let mut object = object.clone();
    let apart =
        APART.into_iter().filter_map(|field| Some((field.to_owned(), take(&mut object, &["metadata", field])?)));
    let apart: Map<String, Value> = apart.collect();
    let head = if apart.is_empty() { String::new() } else { format!("{HEAD}{}\n", Value::Object(apart)) };
    let text = head + &manifest::write(&object);
    let put = || -> std::io::Result<()> {
        let folder = file.parent().unwrap_or(file);
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let part = file.with_extension("yaml.part");
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&part, file)
    };
    put().map_err(|error| failed("cannot write", file)(error.into()))
}
