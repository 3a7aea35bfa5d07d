//! All objects of a cluster as manifests, kind by kind, in bounded memory. What could not be read is told, and everything else goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use chrono::DateTime;
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;

use super::choice::Choice;
use super::list::ANEW_MAX;
use super::object::{name_of, namespace_of, text, uid_of};
use super::{Cluster, ClusterError, Kind, Page, manifest};
use crate::base::cancel::Cancel;
use crate::base::causes::in_one_line;
use crate::base::clock::{Clock, Time};
use crate::format::entry::TreePath;

/// Kinds that are listed at once; each holds a page.
const LISTED_AT_ONCE: usize = 3;
/// The document beside the manifests that tells what they are.
pub const ABOUT: &str = "cluster.yaml";

/// On its way into a snapshot.
#[derive(Debug)]
pub enum Item {
    /// A manifest.
    Document {
        /// Where it lies.
        path: TreePath,
        /// Its text.
        text: String,
        /// When the object was created, in seconds since 1970; 0 if nobody knows. Not the time of the backup: an object that did not change is to be
        /// the same entry every day.
        created: i64,
        /// Which object in which version it shows: API version, uid and resource version, with a space between; none if it has no such thing. The
        /// manifest of an object that has the same again is the same again.
        version: Option<String>,
    },
    /// What was given so far in this directory does not count: it is given anew.
    Again(TreePath),
}

/// What was read of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub kind: Kind,
    /// Objects that were given.
    pub objects: u64,
    /// Bytes of their manifests.
    pub bytes: u64,
    /// From when until when it was read, and taken by whoever stores it. Some kinds are read at once.
    pub during: Range<Time>,
}

/// What could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The directory of a snapshot that it would be in.
    pub path: TreePath,
    /// What was tried.
    pub operation: &'static str,
    /// Why it did not work.
    pub why: String,
}

/// What a capture came to.
#[derive(Debug, Default)]
pub struct Captured {
    /// Every kind that was read, also those without objects, by group and name.
    pub rows: Vec<Row>,
    /// What is not in the snapshot and should be.
    pub missing: Vec<Missing>,
    /// Kinds that were left out, as noise or by the user.
    pub left_out: Vec<String>,
    /// Namespaces that were left out, and by whom.
    pub left_out_namespaces: BTreeMap<String, String>,
    /// Namespaces of which something was given.
    pub namespaces: BTreeSet<String>,
}

impl Captured {
    /// What a recovery has to know that no manifest says: of which kinds there are manifests, how each is addressed, and what is missing.
    fn about(&self, version: &str) -> Value {
        let kind = |row: &Row| {
            json!({
                "group": row.kind.group,
                "version": row.kind.version,
                "kind": row.kind.name,
                "resource": row.kind.resource,
                "namespaced": row.kind.namespaced,
                "directory": row.kind.directory,
                "objects": row.objects,
            })
        };
        let missing = |missing: &Missing| json!({"directory": missing.path.display(), "why": missing.why});
        json!({
            "kubernetes": version,
            "kinds": self.rows.iter().map(kind).collect::<Vec<_>>(),
            "leftOut": self.left_out,
            "leftOutNamespaces": self.left_out_namespaces,
            "missing": self.missing.iter().map(missing).collect::<Vec<_>>(),
        })
    }
}

/// Why a capture ended early.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The cluster cannot be read at all.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Whoever takes the items has gone; it knows why.
    #[error("the items were not taken")]
    Unwanted,
}

/// Reads every object that the choice takes and gives it to `items`. `version` is the cluster's, for the document about it.
pub async fn capture(
    cluster: &dyn Cluster,
    version: &str,
    choice: &Choice,
    items: &Sender<Item>,
    cancel: &Arc<Cancel>,
    clock: &dyn Clock,
) -> Result<Captured, CaptureError> {
    let found = cluster.kinds().await?;
    let mut captured = Captured::default();
    for (version, why) in found.silent {
        // Noise that does not answer is not missed.
        let group = version.rsplit_once('/').map_or("", |(group, _)| group);
        if choice.takes_group(group) {
            let path =
                TreePath::new(format!("{}/{group}", super::kind::RESOURCES)).unwrap_or_else(|_| TreePath::root());
            captured.missing.push(Missing { path, operation: "discovering", why });
        }
    }
    let (taken, left_out): (Vec<Kind>, Vec<Kind>) = found.kinds.into_iter().partition(|kind| choice.takes(kind));
    captured.left_out = left_out.iter().map(ToString::to_string).collect();
    captured.left_out_namespaces.clone_from(&choice.exclude_namespaces);
    let reads = taken.iter().map(|kind| Reading { cluster, choice, kind, items, cancel, clock }.read());
    let mut reads = stream::iter(reads).buffered(LISTED_AT_ONCE);
    while let Some(read) = reads.next().await {
        let Of { row, missing, namespaces } = read?;
        captured.missing.extend(missing);
        captured.namespaces.extend(namespaces);
        captured.rows.push(row);
    }
    let path = TreePath::new(ABOUT).unwrap_or_else(|_| TreePath::root());
    let text = manifest::write(&captured.about(version));
    items.send(Item::Document { path, text, created: 0, version: None }).await.map_err(|_| CaptureError::Unwanted)?;
    Ok(captured)
}

/// What was read of one kind.
struct Of {
    row: Row,
    missing: Vec<Missing>,
    namespaces: BTreeSet<String>,
}

impl Of {
    const fn nothing(kind: Kind) -> Self {
        let row = Row { kind, objects: 0, bytes: 0, during: Time(0)..Time(0) };
        Self { row, missing: Vec::new(), namespaces: BTreeSet::new() }
    }

    fn add(&mut self, space: Option<&str>, text: &str) {
        self.row.objects += 1;
        self.row.bytes += text.len() as u64;
        if let Some(space) = space.filter(|space| !self.namespaces.contains(*space)) {
            self.namespaces.insert(space.to_owned());
        }
    }
}

/// One kind being read.
struct Reading<'a> {
    cluster: &'a dyn Cluster,
    choice: &'a Choice,
    kind: &'a Kind,
    items: &'a Sender<Item>,
    cancel: &'a Arc<Cancel>,
    clock: &'a dyn Clock,
}

impl Reading<'_> {
    async fn read(self) -> Result<Of, CaptureError> {
        let from = self.clock.now();
        let mut of = self.list().await?;
        of.row.during = from..self.clock.now();
        Ok(of)
    }

    async fn list(&self) -> Result<Of, CaptureError> {
        let empty = || Of::nothing(self.kind.clone());
        let Ok(folder) = self.kind.folder() else {
            let why = format!("{} has a group or kind that can name no directory", self.kind);
            let missing = Missing { path: TreePath::root(), operation: "listing", why };
            return Ok(Of { missing: vec![missing], ..empty() });
        };
        let mut tries = 0;
        loop {
            let mut of = empty();
            match self.pages(&mut of).await {
                Ok(()) => return Ok(of),
                Err(CaptureError::Cluster(error)) if error.is_expired() && tries < ANEW_MAX => {
                    tries += 1;
                    self.give(Item::Again(folder.clone())).await?;
                }
                Err(CaptureError::Cluster(error)) => {
                    // Of a cluster that went away, or does not know us any more, nothing else would be read either: that is no snapshot of it.
                    if let Some(gone) = self.cluster.is_lost(&error).await {
                        return Err(CaptureError::Cluster(gone));
                    }
                    // Half a list is no list: what there is of it is kept, and the kind is told as missing.
                    of.missing.push(Missing { path: folder, operation: "listing", why: in_one_line(&error) });
                    return Ok(of);
                }
                Err(unwanted) => return Err(unwanted),
            }
        }
    }

    async fn pages(&self, of: &mut Of) -> Result<(), CaptureError> {
        let mut next = None;
        loop {
            if self.cancel.is_cancelled() {
                return Err(CaptureError::Unwanted);
            }
            let Page { objects, next: following, held } = self.cluster.list(self.kind, next.as_deref()).await?;
            for object in objects {
                match self.document(&object) {
                    Ok(None) => {}
                    Ok(Some(path)) => {
                        let text = manifest::write(&object);
                        of.add(self.space_of(&object), &text);
                        self.give(Item::Document { path, text, created: created(&object), version: version(&object) })
                            .await?;
                    }
                    Err(problem) => of.missing.push(problem),
                }
            }
            drop(held);
            next = following;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Which namespace an object is in, or is.
    fn space_of<'a>(&self, object: &'a Value) -> Option<&'a str> {
        let is_namespace = self.kind.group.is_empty() && self.kind.resource == "namespaces";
        if is_namespace { Some(name_of(object)) } else { namespace_of(object) }
    }

    /// Where an object's manifest lies; `None` for what is left out.
    fn document(&self, object: &Value) -> Result<Option<TreePath>, Missing> {
        let folder = || self.kind.folder().unwrap_or_else(|_| TreePath::root());
        let (name, namespace) = (name_of(object), namespace_of(object));
        if name.is_empty() {
            let why = "an object in the list has no name".to_owned();
            return Err(Missing { path: folder(), operation: "listing", why });
        }
        if self.space_of(object).is_some_and(|namespace| !self.choice.takes_namespace(namespace)) {
            return Ok(None);
        }
        if !self.choice.takes_object(self.kind, object) {
            return Ok(None);
        }
        self.kind.document(namespace, name).map(Some).map_err(|error| Missing {
            path: folder(),
            operation: "naming an object in",
            why: error.to_string(),
        })
    }

    async fn give(&self, item: Item) -> Result<(), CaptureError> {
        self.items.send(item).await.map_err(|_| CaptureError::Unwanted)
    }
}

/// The API version is among them because the same object reads otherwise in another one. Servers of aggregated APIs may have no versions, or always say `0`.
fn version(object: &Value) -> Option<String> {
    let parts = [text(object, &["apiVersion"]), uid_of(object), text(object, &["metadata", "resourceVersion"])];
    let says = parts.iter().all(|part| !part.is_empty() && *part != "0" && !part.contains(' '));
    says.then(|| parts.join(" "))
}

fn created(object: &Value) -> i64 {
    let time = text(object, &["metadata", "creationTimestamp"]);
    DateTime::parse_from_rfc3339(time).map_or(0, |time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_an_object_needs_all_three() {
        let object = |uid: &str, version: &str| json!({"apiVersion": "v1", "metadata": {"uid": uid, "resourceVersion": version}});
        assert_eq!(version(&object("u-1", "42")).as_deref(), Some("v1 u-1 42"));
        for (uid, number) in [("", "42"), ("u-1", ""), ("u-1", "0"), ("u-1 42", "7")] {
            assert_eq!(version(&object(uid, number)), None, "{uid:?} {number:?}");
        }
    }
}
