//! A folder as a cluster: `manifests/<group>/<Kind>/<namespace>/<name>.yaml`, and any other `.yaml` below `manifests`, also with several documents.
//!
//! Nothing acts in it: what is put there stays as it is put. An object without a uid gets one, so that owners can be told apart, and each gets a file of its
//! own, which only its owner may read, since secrets are among them. Uids and owners are no fields in that file: they are in a comment at its head. Files are
//! small and on this machine: they are read and written where the caller waits.

mod files;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::kind::{CLUSTER_SCOPED, CORE};
use super::object::{fields_mut, name_of, namespace_of, text, uid_of};
use super::{Cluster, ClusterError, Created, Deleted, How, Kind, Kinds, Page};
use crate::format::entry::TreePath;
use files::{Held, Key, failed, group_of, key, key_of, read_file};

/// The directory that holds the manifests.
pub const MANIFESTS: &str = "manifests";
/// The directory that holds the data of volumes, `<namespace>/<claim>/` below it.
pub const VOLUMES: &str = "volumes";

/// The directory of a claim's data; `None` for names that would lead elsewhere, since they come from elsewhere.
#[must_use]
pub fn volume(root: &Path, namespace: &str, claim: &str) -> Option<PathBuf> {
    let path = [namespace, claim].iter().try_fold(TreePath::root(), |path, name| path.join(name.as_bytes())).ok()?;
    Some(root.join(VOLUMES).join(std::str::from_utf8(path.as_bytes()).ok()?))
}

/// Every directory that could hold the data of a claim, as namespace and claim, in order. Links to directories are some, too: a person has laid them.
pub fn volumes(root: &Path) -> Result<Vec<(String, String)>, ClusterError> {
    let mut found = Vec::new();
    let top = root.join(VOLUMES);
    for namespace in directories(&top)? {
        found.extend(directories(&top.join(&namespace))?.into_iter().map(|claim| (namespace.clone(), claim)));
    }
    Ok(found)
}

/// The names of the directories in a directory, but for what a file system of its own brings along.
fn directories(folder: &Path) -> Result<Vec<String>, ClusterError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<Result<Vec<_>, _>>),
    };
    let entries = entries.map_err(|error| failed("cannot read", folder)(error.into()))?;
    let is_ours = |entry: &fs::DirEntry| entry.path().is_dir() && entry.file_name() != "lost+found";
    let mut names: Vec<String> =
        entries.iter().filter(|entry| is_ours(entry)).map(|entry| entry.file_name().to_string_lossy().into()).collect();
    names.sort();
    Ok(names)
}

/// See the module.
pub struct Folder {
    root: PathBuf,
    objects: Mutex<BTreeMap<Key, Held>>,
}

/// As `kubectl` guesses it; a definition in the folder knows better.
pub(crate) fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    if kind == "Endpoints" {
        lower
    } else if ["s", "x", "ch", "sh"].iter().any(|end| lower.ends_with(end)) {
        format!("{lower}es")
    } else if let Some(stem) = lower.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o'])) {
        format!("{stem}ies")
    } else {
        format!("{lower}s")
    }
}

fn new_uid() -> String {
    let mut bytes = [0_u8; 16];
    // Only tells objects of a folder apart.
    let _ = getrandom::fill(&mut bytes);
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// RFC 7386.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        patch.clone_into(object);
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(fields) = object.as_object_mut() else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

impl Folder {
    /// Reads what is in a folder. One that is not there is empty, and made when something is put into it.
    pub fn open(root: &Path) -> Result<Self, ClusterError> {
        let mut objects = BTreeMap::new();
        let mut folders = vec![root.join(MANIFESTS)];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("cannot read", &folder)(error.into())),
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed("cannot read", &folder)(error.into()))?;
                let (path, kind) = (entry.path(), entry.file_type());
                let is_yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
                // A link to a directory may lead around in circles; a link to a file is a file, and a fifo is none.
                if kind.is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if is_yaml && path.is_file() {
                    read_file(&path, &mut objects)?;
                }
            }
        }
        Ok(Self { root: root.to_owned(), objects: Mutex::new(objects) })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Key, Held>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the manifest of an object lies if it is made here, below the folder.
    pub fn path_of(&self, kind: &Kind, object: &Value) -> Result<String, ClusterError> {
        let group = if kind.group.is_empty() { CORE } else { &kind.group };
        let name = format!("{}.yaml", name_of(object));
        let parts = [MANIFESTS, group, &kind.directory, namespace_of(object).unwrap_or(CLUSTER_SCOPED), &name];
        // Names come from elsewhere: none may lead out of the folder.
        let path = parts.iter().try_fold(TreePath::root(), |path, part| path.join(part.as_bytes()));
        let path = path.map_err(|error| failed("cannot name", Path::new(&name))(error.into()))?;
        Ok(String::from_utf8_lossy(path.as_bytes()).into_owned())
    }

    fn change(&self, key: &Key, change: impl FnOnce(&mut Value)) -> Result<Value, ClusterError> {
        let mut all = self.held();
        let Some(held) = all.get_mut(key) else {
            let message = format!("there is no {} {}", key.1, key.3);
            return Err(ClusterError::Refused { request: self.root.display().to_string(), status: 404, message });
        };
        if !held.alone {
            return Err(failed("cannot change", &held.file)("the file has several documents".into()));
        }
        let mut object = held.object.clone();
        change(&mut object);
        files::write(&held.file, &object)?;
        held.object = object.clone();
        Ok(object)
    }
}

#[async_trait]
impl Cluster for Folder {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    async fn version(&self) -> Result<String, ClusterError> {
        Ok("a folder".to_owned())
    }

    async fn kinds(&self) -> Result<Kinds, ClusterError> {
        let held = self.held();
        let definitions: BTreeMap<(&str, &str), &str> = held
            .values()
            .filter(|held| text(&held.object, &["kind"]) == "CustomResourceDefinition")
            .map(|held| {
                let spec = |path: &[&str]| text(&held.object, &[&["spec"], path].concat());
                ((spec(&["group"]), spec(&["names", "kind"])), spec(&["names", "plural"]))
            })
            .collect();
        let mut kinds: Vec<Kind> = Vec::new();
        for Held { object, .. } in held.values() {
            let (group, name) = (group_of(object), text(object, &["kind"]));
            let version = text(object, &["apiVersion"]).rsplit('/').next().unwrap_or_default();
            match kinds.iter_mut().find(|kind| kind.is(group, name)) {
                Some(kind) => kind.namespaced |= namespace_of(object).is_some(),
                None => kinds.push(Kind {
                    group: group.to_owned(),
                    resource: definitions.get(&(group, name)).map_or_else(|| plural(name), |&plural| plural.to_owned()),
                    version: version.to_owned(),
                    name: name.to_owned(),
                    namespaced: namespace_of(object).is_some(),
                    directory: name.to_owned(),
                }),
            }
        }
        kinds.sort();
        Ok(Kinds { kinds, silent: Vec::new() })
    }

    async fn list(&self, kind: &Kind, _: Option<&str>) -> Result<Page, ClusterError> {
        let held = self.held();
        let objects = held.iter().filter(|(key, _)| key.0 == kind.group && key.1 == kind.name);
        Ok(Page { objects: objects.map(|(_, held)| held.object.clone()).collect(), next: None, held: None })
    }

    fn lives(&self) -> bool {
        false
    }

    async fn serves(&self, _: &Kind) -> Result<bool, ClusterError> {
        Ok(true)
    }

    async fn get(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>, ClusterError> {
        let found = self.held().get(&key(&kind.group, &kind.name, namespace, name)).map(|held| held.object.clone());
        Ok(found)
    }

    async fn create(&self, kind: &Kind, object: &Value, how: How) -> Result<Created, ClusterError> {
        let mut all = self.held();
        let key = key_of(object);
        if let Some(held) = all.get(&key) {
            return Ok(Created::Found(held.object.clone()));
        }
        let mut object = object.clone();
        if uid_of(&object).is_empty()
            && let Some(metadata) = fields_mut(&mut object, &["metadata"])
        {
            metadata.insert("uid".to_owned(), json!(new_uid()));
        }
        if how == How::Really {
            let file = self.root.join(self.path_of(kind, &object)?);
            files::write(&file, &object)?;
            all.insert(key, Held { file, alone: true, object: object.clone() });
        }
        Ok(Created::New(object))
    }

    async fn replace(&self, _: &Kind, object: &Value, how: How) -> Result<Value, ClusterError> {
        if how == How::Trial {
            return Ok(object.clone());
        }
        self.change(&key_of(object), |held| object.clone_into(held))
    }

    async fn patch(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        patch: &Value,
    ) -> Result<Value, ClusterError> {
        self.change(&key(&kind.group, &kind.name, namespace, name), |held| merge(held, patch))
    }

    async fn delete(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
    ) -> Result<Deleted, ClusterError> {
        let mut all = self.held();
        let key = key(&kind.group, &kind.name, namespace, name);
        let Some(held) = all.get(&key).filter(|held| uid_of(&held.object) == uid) else { return Ok(Deleted::Gone) };
        if !held.alone {
            return Err(failed("cannot delete", &held.file)("the file has several documents".into()));
        }
        fs::remove_file(&held.file).map_err(|error| failed("cannot delete", &held.file)(error.into()))?;
        all.remove(&key);
        Ok(Deleted::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kind::example;

    fn kind(group: &str, name: &str) -> Kind {
        example(group, &plural(name), name)
    }

    fn map(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "media"}, "data": {"a": "1"}})
    }

    #[tokio::test]
    async fn what_is_put_there_is_found_again_and_nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(dir.path()).expect("an empty folder");
        let maps = kind("", "ConfigMap");
        let Created::New(made) = folder.create(&maps, &map("app"), How::Really).await.expect("made") else {
            unreachable!("it was empty")
        };
        assert!(matches!(folder.create(&maps, &map("app"), How::Really).await, Ok(Created::Found(_))));
        folder.create(&maps, &map("trial"), How::Trial).await.expect("tried");
        let patch = json!({"metadata": {"labels": {"x": "y"}}, "data": {"a": null, "b": "2"}});
        folder.patch(&maps, Some("media"), "app", &patch).await.expect("patched");
        let again = Folder::open(dir.path()).expect("a folder with a manifest");
        let found = again.get(&maps, Some("media"), "app").await.expect("read").expect("there");
        assert_eq!((&found["data"], &found["metadata"]["uid"]), (&json!({"b": "2"}), &made["metadata"]["uid"]));
        assert!(again.get(&maps, Some("media"), "trial").await.expect("read").is_none());
        let file = dir.path().join("manifests/core/ConfigMap/media/app.yaml");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        let missing = again.patch(&maps, Some("media"), "nope", &patch).await.expect_err("nothing to patch");
        assert!(missing.is_missing(), "{missing}");
    }

    #[tokio::test]
    async fn only_the_object_that_is_meant_is_deleted() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(dir.path()).expect("an empty folder");
        let maps = kind("", "ConfigMap");
        let Ok(Created::New(made)) = folder.create(&maps, &map("app"), How::Really).await else {
            unreachable!("it was empty")
        };
        let there = async || folder.get(&maps, Some("media"), "app").await.expect("read").is_some();
        folder.delete(&maps, Some("media"), "app", "another").await.expect("left alone");
        assert!(there().await, "it has another uid");
        folder.delete(&maps, Some("media"), "app", uid_of(&made)).await.expect("deleted");
        assert!(!there().await);
        let again = Folder::open(dir.path()).expect("a folder");
        assert!(again.get(&maps, Some("media"), "app").await.expect("read").is_none(), "its file is gone too");
    }

    #[tokio::test]
    async fn files_of_several_documents_are_read_and_not_changed() {
        let dir = tempfile::tempdir().expect("a folder");
        let sub = dir.path().join("manifests/mine");
        fs::create_dir_all(&sub).expect("made");
        let text = "# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: media}\n---\n\
                    apiVersion: acme.example/v1\nkind: Policy\nmetadata: {name: b}\n---\n";
        fs::write(sub.join("all.yml"), text).expect("written");
        let folder = Folder::open(dir.path()).expect("read");
        let kinds: Vec<String> = folder.kinds().await.expect("kinds").kinds.iter().map(ToString::to_string).collect();
        assert_eq!(kinds, ["configmaps", "policies.acme.example"]);
        let maps = kind("", "ConfigMap");
        assert_eq!(folder.list(&maps, None).await.expect("a page").objects.len(), 1);
        assert!(folder.patch(&maps, Some("media"), "a", &json!({})).await.is_err());
    }

    #[test]
    fn what_is_no_manifest_is_told_with_its_file() {
        for text in ["{", "kind: X", "apiVersion: v1\nkind: X\nmetadata: {}\n"] {
            let dir = tempfile::tempdir().expect("a folder");
            fs::create_dir_all(dir.path().join("manifests")).expect("made");
            fs::write(dir.path().join("manifests/x.yaml"), text).expect("written");
            let error = Folder::open(dir.path()).err().expect("no manifest");
            assert!(error.to_string().contains("x.yaml"), "{error}");
        }
    }

    #[tokio::test]
    async fn links_and_fifos_laid_in_it_do_no_harm() {
        let dir = tempfile::tempdir().expect("a folder");
        let sub = dir.path().join("manifests/core/ConfigMap/media");
        fs::create_dir_all(&sub).expect("made");
        for name in ["a", "b"] {
            std::os::unix::fs::symlink(".", dir.path().join("manifests").join(name)).expect("a link");
        }
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let fifo = sub.join("x.yaml");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a fifo");
        let victim = dir.path().join("victim");
        fs::write(&victim, "kept").expect("written");
        std::os::unix::fs::symlink(&victim, sub.join("app.yaml.part")).expect("a link");
        let folder = Folder::open(dir.path()).expect("read, and in time");
        folder.create(&kind("", "ConfigMap"), &map("app"), How::Really).await.expect("made");
        assert_eq!(fs::read_to_string(&victim).expect("a file"), "kept");
        assert!(sub.join("app.yaml").symlink_metadata().expect("made").is_file());
    }

    #[tokio::test]
    async fn a_name_leads_nowhere_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(dir.path()).expect("empty");
        let mut object = map("x");
        object["metadata"]["namespace"] = "../..".into();
        assert!(folder.create(&kind("", "ConfigMap"), &object, How::Really).await.is_err());
    }
}
