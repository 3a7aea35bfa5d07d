//! Whether what steps have brought back is still there. A run that is taken up believes its journal, and what it has restored may have been removed since.
//!
//! Objects are looked at by their names, claims of `restore.volume` also by who has restored them, folders by whether anything is in them. What an application has done with what it got is its own affair, and so is
//! whether what a step promised holds at this moment: neither is looked at. Jobs and pods end by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::{Target, World};
use crate::base::causes::in_one_line;
use crate::cluster::list::{Which, whole_of};
use crate::cluster::object::{annotation, name_of, namespace_of};
use crate::cluster::{Cluster, Kind, folder};
use crate::recover::fill::is_stranger;
use crate::runbook::{Action, RestoreVolume, Step};
use crate::runs::fates::Fates;
use crate::volumes::kinds;
use crate::volumes::labels::RESTORED_BY;

/// Objects that are named.
const NAMED_MAX: usize = 5;
/// Kinds of which nobody expects that they stay.
const END_BY_THEMSELVES: [&str; 2] = ["jobs.batch", "pods"];

/// An object by its namespace, if it has one, and its name.
type Named = (Option<String>, String);

/// What a folder lacks that had `files` restored into it. What a file system makes of its own, and the mark of a restore, are nothing.
fn of_folder(path: &Path, files: u64) -> Option<String> {
    let shown = path.display();
    let is_something =
        |entry: io::Result<fs::DirEntry>| entry.map_or(true, |entry| is_stranger(entry.file_name().as_encoded_bytes()));
    match fs::read_dir(path) {
        Err(error) => Some(format!("{shown} cannot be read any more: {error}")),
        Ok(mut entries) => (files > 0 && !entries.any(is_something)).then(|| format!("{shown} is empty")),
    }
}

/// Objects by their kinds, as a plan names them: `deployments.apps media/web`.
fn by_kind<'a>(objects: impl IntoIterator<Item = &'a String>) -> BTreeMap<&'a str, BTreeSet<Named>> {
    let mut kinds: BTreeMap<&str, BTreeSet<Named>> = BTreeMap::new();
    for (kind, name) in objects.into_iter().filter_map(|object| object.split_once(' ')) {
        let named = match name.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name.to_owned()),
            None => (None, name.to_owned()),
        };
        kinds.entry(kind).or_default().insert(named);
    }
    kinds
}

fn shown_as(kind: &str, (namespace, name): Named) -> String {
    let namespace = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{kind} {namespace}{name}")
}

/// Which of the objects of a kind are not there.
async fn missing(cluster: &dyn Cluster, kind: &Kind, wanted: BTreeSet<Named>) -> Result<BTreeSet<Named>, String> {
    let spaces: BTreeSet<&Option<String>> = wanted.iter().map(|(namespace, _)| namespace).collect();
    // Of one namespace its own list, of several all: both are a request each thousand objects.
    let which = match spaces.into_iter().collect::<Vec<_>>()[..] {
        [one] => Which::of(one.as_deref()),
        _ => Which::default(),
    };
    let take =
        |object: serde_json::Value| Some((namespace_of(&object).map(str::to_owned), name_of(&object).to_owned()));
    let found: BTreeSet<Named> = match whole_of(cluster, kind, which, take).await {
        Ok(found) => found.into_iter().collect(),
        Err(error) if error.is_missing() => BTreeSet::new(),
        Err(error) => return Err(format!("{kind} cannot be listed: {}", in_one_line(&error))),
    };
    Ok(wanted.difference(&found).cloned().collect())
}

async fn of_objects(cluster: &dyn Cluster, fates: &Fates) -> Result<Vec<String>, String> {
    let restored = fates.create.iter().chain(&fates.replace).chain(&fates.equal);
    let known = cluster.kinds().await.map_err(|error| in_one_line(&error))?;
    let mut gone = Vec::new();
    for (kind, wanted) in by_kind(restored) {
        if END_BY_THEMSELVES.contains(&kind) {
            continue;
        }
        let lacking = if let Some(found) = known.kinds.iter().find(|one| one.to_string() == kind) {
            missing(cluster, found, wanted).await?
        } else {
            let group = kind.split_once('.').map_or("", |(_, group)| group);
            if let Some((_, why)) = known.silent.iter().find(|(silent, _)| silent == group) {
                return Err(format!("{kind} cannot be listed: its API does not answer, {why}"));
            }
            wanted
        };
        gone.extend(lacking.into_iter().map(|named| (kind, named)));
    }
    // With a namespace all goes that was in it.
    let is_namespace = |kind: &str| kind == "namespaces";
    let spaces = gone.iter().filter(|(kind, _)| is_namespace(kind)).map(|(_, (_, name))| name.clone());
    let spaces: BTreeSet<String> = spaces.collect();
    gone.retain(|(_, (namespace, _))| namespace.as_ref().is_none_or(|namespace| !spaces.contains(namespace)));
    gone.sort_by_key(|(kind, _)| !is_namespace(kind));
    Ok(gone.into_iter().map(|(kind, named)| shown_as(kind, named)).collect())
}

/// The first of them, and how many more.
fn shown(gone: &[String]) -> Option<String> {
    let named = gone.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let more = gone.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!gone.is_empty()).then(|| format!("{named}{more}"))
}

impl World<'_> {
    /// What a step that was done has brought back and is not there any more, in words.
    ///
    /// # Errors
    /// Why that cannot be seen.
    pub async fn gone(&self, step: &Step) -> Result<Option<String>, String> {
        match (&step.action, &self.target) {
            (Action::RestoreFiles(files), _) => {
                // Where it was too much to look, the whole snapshot stands for what was chosen of it.
                let all = || self.plan.chosen.get(&step.id).map_or(0, |chosen| chosen.files);
                let count = self.plan.files.get(&step.id).map_or_else(all, |files| files.written + files.unchanged);
                Ok(of_folder(&files.target, count))
            }
            (Action::RestoreVolume(volume), Target::Folder(_, root)) => {
                let count = self.plan.chosen.get(&step.id).map_or(0, |chosen| chosen.files);
                let path = folder::volume(root, &volume.into.namespace, &volume.into.name);
                Ok(path.and_then(|path| of_folder(&path, count)))
            }
            (Action::RestoreVolume(volume), Target::Api(api)) => self.of_claim(&**api, step, volume).await,
            (Action::RestoreResources(_), Target::Folder(cluster, root)) => {
                let Some(fates) = self.plan.fates.get(&step.id) else { return Ok(None) };
                let mut gone = of_objects(&**cluster, fates).await?;
                gone.extend(fates.fill.iter().filter_map(|fill| {
                    let (namespace, name) = fill.claim.split_once('/')?;
                    of_folder(&folder::volume(root, namespace, name)?, fill.files)
                }));
                Ok(shown(&gone))
            }
            (Action::RestoreResources(_), Target::Api(api)) => {
                let Some(fates) = self.plan.fates.get(&step.id) else { return Ok(None) };
                Ok(shown(&of_objects(&**api, fates).await?))
            }
            _ => Ok(None),
        }
    }

    /// A claim of the same name that the step has not made is another.
    async fn of_claim(
        &self,
        cluster: &dyn Cluster,
        step: &Step,
        volume: &RestoreVolume,
    ) -> Result<Option<String>, String> {
        let (namespace, name) = (&volume.into.namespace, &volume.into.name);
        let found = cluster.get(&kinds::claims(), Some(namespace), name).await.map_err(|error| in_one_line(&error))?;
        let by = format!("{} {}", self.plan.run, step.id);
        Ok(match found {
            None => Some(format!("the claim {namespace}/{name}")),
            Some(claim) if !volume.in_place && annotation(&claim, RESTORED_BY) != by => {
                Some(format!("the claim {namespace}/{name}, of which another has the name by now"))
            }
            Some(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::folder::Folder;
    use crate::volumes::filling::MARK;

    #[tokio::test]
    async fn what_is_not_there_any_more_is_named_and_what_ends_by_itself_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| {
            fs::create_dir_all(dir.path().join("manifests")).expect("made");
            fs::write(dir.path().join("manifests").join(name), text).expect("written");
        };
        put("one.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: media}\n");
        put("media.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: media}\n");
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<String>>();
        let fates = Fates {
            create: names(&["configmaps media/one", "namespaces media", "jobs.batch media/once", "pods media/bare"]),
            ..Fates::default()
        };
        let gone = async |fates: &Fates| {
            of_objects(&Folder::open(dir.path()).expect("a folder"), fates).await.expect("it can be seen")
        };
        assert_eq!(gone(&fates).await, names(&[]));
        let more = Fates {
            replace: names(&["configmaps media/two", "configmaps other/one"]),
            equal: names(&["widgets.example.org media/w", "namespaces other"]),
            ..fates
        };
        let expected = names(&["namespaces other", "configmaps media/two", "widgets.example.org media/w"]);
        assert_eq!(gone(&more).await, expected);
        assert_eq!(shown(&expected[..1]), Some("namespaces other".to_owned()));
        assert_eq!(shown(&[]), None);
        let seven = vec!["x".to_owned(); 7];
        assert_eq!(shown(&seven), Some("x, x, x, x, x and 2 more".to_owned()));
    }

    #[test]
    fn a_folder_that_is_gone_or_was_emptied_is_told_unless_it_was_to_be_empty() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(of_folder(dir.path(), 1).is_some_and(|told| told.ends_with("is empty")));
        assert_eq!(of_folder(dir.path(), 0), None);
        fs::create_dir(dir.path().join("lost+found")).expect("made");
        fs::write(dir.path().join(format!("{MARK}00")), "").expect("written");
        assert!(of_folder(dir.path(), 1).is_some_and(|told| told.ends_with("is empty")));
        fs::write(dir.path().join("a"), "").expect("written");
        assert_eq!(of_folder(dir.path(), 1), None);
        assert!(of_folder(&dir.path().join("b"), 0).is_some_and(|told| told.contains("cannot be read")));
        assert!(of_folder(&dir.path().join("a"), 0).is_some(), "that is no folder");
    }
}
