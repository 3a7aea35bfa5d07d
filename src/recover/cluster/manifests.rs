//! The manifests of a snapshot, read into memory: a cluster at home has some thousand objects of a few KiB.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use serde_json::Value;

use crate::backup::Context;
use crate::cluster::capture::ABOUT;
use crate::cluster::kind::RESOURCES;
use crate::cluster::object::{at, items, name_of, text};
use crate::cluster::{Kind, manifest};
use crate::format::entry::{self, Content, TreePath};
use crate::format::record::TreeRoot;
use crate::repo::RepoError;
use crate::repo::fetch::{FETCH_AT_ONCE, Reader};
use crate::repo::tree_read::{TreeReader, whole};

/// Largest manifest that is read; the API takes objects of 3 MiB at most, and YAML makes them a little longer.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// An object as it was captured.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Its kind, as the cluster had it.
    pub kind: Kind,
    /// The whole object.
    pub object: Value,
}

/// An object of whose kind the snapshot no longer tells: what it knows of it is in its own manifest.
#[derive(Debug, Clone)]
pub struct Stranger {
    /// The name of its kind's directory.
    pub directory: String,
    /// The whole object.
    pub object: Value,
}

/// A manifest that cannot be used.
#[derive(Debug, Clone, Serialize)]
pub struct Unreadable {
    /// Where it lies in the snapshot.
    pub path: String,
    /// Why.
    pub why: String,
    /// Whether the repository is damaged there.
    pub damaged: bool,
}

/// All of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    /// In the order of the snapshot.
    pub objects: Vec<Captured>,
    /// Those of which the snapshot does not say the kind, because what says it is damaged.
    pub strangers: Vec<Stranger>,
    /// What cannot be used.
    pub unreadable: Vec<Unreadable>,
    /// What the capture could not read, as it said.
    pub missing: Vec<String>,
    /// Whether it is a snapshot of a cluster.
    pub is_cluster: bool,
}

/// A file of the tree.
struct File {
    path: TreePath,
    size: u64,
    content: Content,
}

async fn read_file(reader: &Reader, file: File) -> (TreePath, Result<Vec<u8>, RepoError>) {
    let read = whole(reader, &file.path, &file.content, file.size).await;
    (file.path, read)
}

/// Reads every manifest. One that does not read is told, and the others are read; only a store that is away ends it.
pub async fn read(context: &Context, reader: &Arc<Reader>, root: TreeRoot) -> Result<Manifests, RepoError> {
    let mut manifests = Manifests::default();
    let mut files = Vec::new();
    let mut tree = TreeReader::open(reader.clone(), root, TreePath::root())?.tolerant();
    while let Some(entries) = tree.next().await? {
        for entry in entries {
            if let entry::Kind::File { size, content } = entry.kind {
                files.push(File { path: entry.path, size, content });
            }
        }
    }
    for lost in tree.take_lost() {
        let path = lost.at.display();
        let why = format!("up to {} objects cannot be read: {}", lost.entries, reader.blame(lost.source).await?);
        manifests.unreadable.push(Unreadable { path, why, damaged: true });
    }
    let (large, files): (Vec<File>, Vec<File>) = files.into_iter().partition(|file| file.size > MANIFEST_BYTES_MAX);
    for file in large {
        let why = format!("{} bytes are more than any object has", file.size);
        manifests.unreadable.push(Unreadable { path: file.path.display(), why, damaged: false });
    }
    context.progress.expect(files.len() as u64, 0, false);
    let mut texts = Vec::new();
    let mut reads = stream::iter(files.into_iter().map(|file| read_file(reader, file))).buffered(FETCH_AT_ONCE);
    while let Some((path, bytes)) = reads.next().await {
        if context.cancel.is_cancelled() {
            return Err(RepoError::Cancelled);
        }
        match bytes {
            Ok(bytes) => texts.push((path, bytes)),
            Err(error) => {
                let why = reader.blame(error).await?.to_string();
                manifests.unreadable.push(Unreadable { path: path.display(), why, damaged: true });
            }
        }
        context.progress.add_file(0);
    }
    understand(texts, &mut manifests);
    Ok(manifests)
}

fn parse(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    manifest::read(text).map_err(|error| error.to_string())
}

/// From the texts of a snapshot to objects, by what its `cluster.yaml` says of their kinds. Should that be lost, they are strangers.
fn understand(texts: Vec<(TreePath, Vec<u8>)>, manifests: &mut Manifests) {
    let about = texts.iter().find(|(path, _)| path.as_bytes() == ABOUT.as_bytes());
    let about = about.map(|(path, bytes)| (path, parse(bytes)));
    let (about, is_lost) = match about {
        Some((_, Ok(about))) => (about, false),
        Some((path, Err(why))) => {
            manifests.unreadable.push(Unreadable { path: path.display(), why, damaged: false });
            (Value::Null, true)
        }
        None => (Value::Null, manifests.unreadable.iter().any(|unreadable| unreadable.damaged)),
    };
    manifests.missing = items(&about, &["missing"])
        .iter()
        .map(|missing| format!("{}: {}", text(missing, &["directory"]), text(missing, &["why"])))
        .collect();
    let kinds = kinds_of(&about);
    for (path, bytes) in texts {
        if path.names().next().is_none_or(|name| name != RESOURCES.as_bytes()) {
            continue;
        }
        let folder = path.parent().and_then(|folder| folder.parent());
        let parsed = match parse(&bytes) {
            Ok(object) if is_lost && !text(&object, &["kind"]).is_empty() && !name_of(&object).is_empty() => {
                let directory =
                    folder.and_then(|folder| folder.names().last().map(String::from_utf8_lossy).map(Into::into));
                manifests.strangers.push(Stranger { directory: directory.unwrap_or_default(), object });
                continue;
            }
            parsed => parsed,
        };
        let object = match (folder.and_then(|folder| kinds.get(&folder)), parsed) {
            (Some(kind), Ok(object)) if !name_of(&object).is_empty() => Ok(Captured { kind: kind.clone(), object }),
            (_, Err(why)) => Err(why),
            (None, Ok(_)) => Err(format!("{ABOUT} says nothing of its kind")),
            (Some(_), Ok(_)) => Err("it has no name".to_owned()),
        };
        match object {
            Ok(object) => manifests.objects.push(object),
            Err(why) => manifests.unreadable.push(Unreadable { path: path.display(), why, damaged: false }),
        }
    }
    manifests.is_cluster = !kinds.is_empty() || !manifests.strangers.is_empty();
}

/// The kinds of a snapshot, by their directories.
fn kinds_of(about: &Value) -> HashMap<TreePath, Kind> {
    let kinds = items(about, &["kinds"]).iter().filter_map(|kind| {
        let field = |name| text(kind, &[name]).to_owned();
        let kind = Kind {
            group: field("group"),
            resource: field("resource"),
            version: field("version"),
            name: field("kind"),
            namespaced: at(kind, &["namespaced"]) == true,
            directory: field("directory"),
        };
        kind.folder().ok().map(|folder| (folder, kind))
    });
    kinds.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_get_their_kind_from_what_the_capture_said_and_strangers_are_told() {
        let about = "kinds:\n- {group: apps, version: v1, kind: Deployment, resource: deployments, namespaced: true, directory: Deployment}\n\
                     missing:\n- {directory: resources/core/Secret, why: forbidden}\n";
        let web = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: media}\n";
        let file = |path: &str, text: &str| (TreePath::new(path).expect("plain"), text.as_bytes().to_vec());
        let mut manifests = Manifests::default();
        let texts = vec![
            file("cluster.yaml", about),
            file("resources/apps/Deployment/media/web.yaml", web),
            file("resources/apps/Deployment/media/nameless.yaml", "kind: Deployment"),
            file("resources/apps/Deployment/media/broken.yaml", "{"),
            file("resources/acme.example/Anvil/_cluster/x.yaml", web),
        ];
        understand(texts, &mut manifests);
        assert!(manifests.is_cluster);
        assert_eq!(manifests.missing, ["resources/core/Secret: forbidden"]);
        assert_eq!(manifests.objects.len(), 1);
        assert_eq!(manifests.objects.first().map(|object| object.kind.to_string()), Some("deployments.apps".into()));
        let told: Vec<&str> = manifests.unreadable.iter().map(|unreadable| unreadable.path.as_str()).collect();
        let stem = |name: &str| format!("resources/apps/Deployment/media/{name}.yaml");
        assert_eq!(told, [&stem("nameless"), &stem("broken"), "resources/acme.example/Anvil/_cluster/x.yaml"]);
    }
}
