//! Whether all of a cluster is taken: each claim and each namespace is in a new snapshot, or somebody left it out on purpose. What is neither is named.
//!
//! ```text
//! what the sources of a cluster say ─┬─ judge ─ taken, left out by somebody, or neither
//! what they took ───────────────────┤
//! look (when all are done) ─────────┘
//! ```
//! Each source says itself why it did not read a claim; here only those count that no source has tried. What came while the run went on is one of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cluster::choice::Choice;
use crate::cluster::list::whole;
use crate::cluster::object::{name_of, namespace_of};
use crate::cluster::ours::is_ours;
use crate::cluster::rewrite::operators::is_ephemeral;
use crate::cluster::{Cluster, ClusterError};
use crate::config::{ClusterPlace, FolderVolumesSource, ResourcesSource, SourceKind, VolumesSource};
use crate::volumes::choose::No;
use crate::volumes::choose::policy::meant;
use crate::volumes::choose::wish::{Wish, wish};
use crate::volumes::facts::{Wishes, wishes};
use crate::volumes::kinds;
use crate::volumes::labels::BACKUP;

/// Who leaves out what `exclude-namespaces` names.
const EXCLUDED: &str = "the configuration: exclude-namespaces";
/// What says that volumes are no concern of this configuration.
const VOLUMES_ELSEWHERE: &str = "the configuration: volumes-elsewhere";
/// The same of objects.
const RESOURCES_ELSEWHERE: &str = "the configuration: resources-elsewhere";

/// A claim or a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A namespace, with everything in it.
    Namespace(String),
    /// The data of a claim, by its namespace and name.
    Claim(String, String),
}

impl What {
    /// As a row of a table names it; of a claim, the source of its snapshots.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Namespace(name) => format!("namespace/{name}"),
            Self::Claim(namespace, name) => format!("pvc/{namespace}/{name}"),
        }
    }

    /// Its kind, in a word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Namespace(_) => "namespace",
            Self::Claim(..) => "pvc",
        }
    }
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A source takes it, or has tried and says itself what came of it.
    Taken,
    /// It is left out on purpose.
    LeftOut {
        /// By whom.
        by: String,
        /// Everything of its kind is, by one word of the configuration: nobody needs to read each name.
        all: bool,
    },
    /// Neither.
    Not {
        /// Why.
        why: String,
        /// What to do about it.
        mend: String,
    },
}

impl Fate {
    fn left_out(by: impl Into<String>) -> Self {
        Self::LeftOut { by: by.into(), all: false }
    }

    fn all_left_out(by: &str) -> Self {
        Self::LeftOut { by: by.to_owned(), all: true }
    }

    fn not(why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Not { why: why.into(), mend: mend.into() }
    }
}

/// What the sources of one cluster say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Of each source of objects, the namespaces that it leaves out.
    resources: Vec<Vec<String>>,
    /// Of each source of volumes, the patterns that it leaves out.
    volumes: Vec<Vec<String>>,
    volumes_elsewhere: bool,
    resources_elsewhere: bool,
}

impl Said {
    /// One more source of the cluster; one that is of no cluster says nothing.
    pub fn add(&mut self, source: &SourceKind) {
        match source {
            SourceKind::Resources(resources) => self.add_resources(resources),
            SourceKind::Volumes(volumes) => self.add_volumes(volumes),
            SourceKind::FolderVolumes(FolderVolumesSource { choice, resources_elsewhere, .. }) => {
                self.volumes.push(choice.exclude.clone());
                self.resources_elsewhere |= resources_elsewhere;
            }
            SourceKind::Path(_) | SourceKind::Command(_) | SourceKind::Datastore(_) => {}
        }
    }

    /// A source of objects.
    pub fn add_resources(&mut self, source: &ResourcesSource) {
        self.resources.push(source.exclude_namespaces.clone());
        self.volumes_elsewhere |= source.volumes_elsewhere;
    }

    /// A source of volumes.
    pub fn add_volumes(&mut self, source: &VolumesSource) {
        self.volumes.push(source.choice.exclude.clone());
        self.resources_elsewhere |= source.resources_elsewhere;
    }
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// By name, what they say themselves. Also those that are there only as the namespace of a claim, as a folder may have them.
    namespaces: BTreeMap<String, Wishes>,
    /// By namespace and name: what they say themselves, and whether they go with their pod.
    claims: BTreeMap<(String, String), (Wishes, bool)>,
}

impl Seen {
    /// The namespaces of which these choices would take something.
    #[must_use]
    pub fn taken_by(&self, choices: &[Choice]) -> BTreeSet<String> {
        let taken = |name: &&String| choices.iter().any(|choice| choice.takes_namespace(name));
        self.namespaces.keys().filter(taken).cloned().collect()
    }
}

/// What the sources took, or tried to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Namespaces of which objects are in a new snapshot.
    pub namespaces: BTreeSet<String>,
    /// Claims that have a row of their own.
    pub claims: BTreeSet<(String, String)>,
}

/// Lists all namespaces and claims, but for claims that are ours.
pub async fn look(cluster: &dyn Cluster) -> Result<Seen, ClusterError> {
    let mut seen = Seen { namespaces: spaces(cluster).await?, ..Seen::default() };
    let claim = |object: Value| {
        let key = (namespace_of(&object)?.to_owned(), name_of(&object).to_owned());
        let ephemeral = is_ephemeral(&kinds::claims(), &object);
        (!is_ours(&object)).then(|| (key, (wishes(&object), ephemeral)))
    };
    for (key, of_claim) in known(whole(cluster, &kinds::claims(), claim).await)? {
        seen.namespaces.entry(key.0.clone()).or_default();
        seen.claims.insert(key, of_claim);
    }
    Ok(seen)
}

async fn spaces(cluster: &dyn Cluster) -> Result<BTreeMap<String, Wishes>, ClusterError> {
    let of = |object: Value| Some((name_of(&object).to_owned(), wishes(&object)));
    Ok(known(whole(cluster, &kinds::namespaces(), of).await)?.into_iter().collect())
}

/// A cluster that does not know a kind has none of it.
fn known<T>(found: Result<Vec<T>, ClusterError>) -> Result<Vec<T>, ClusterError> {
    match found {
        Err(error) if error.is_missing() => Ok(Vec::new()),
        found => found,
    }
}

/// What a source of objects takes: the annotations of namespaces count before the configuration. Where namespaces cannot be listed only that counts: then too
/// much is taken, and that they could not be listed is told by whoever tries to take them.
pub async fn choice(cluster: &dyn Cluster, source: &ResourcesSource) -> Choice {
    let by = |name: &String| (name.clone(), EXCLUDED.to_owned());
    let mut excluded: BTreeMap<String, String> = source.exclude_namespaces.iter().map(by).collect();
    for (name, wishes) in spaces(cluster).await.unwrap_or_default() {
        match of_space(&wishes, &name) {
            Ok(Wish::Out { by }) => {
                excluded.insert(name, by);
            }
            Ok(Wish::Taken) => {
                excluded.remove(&name);
            }
            Ok(Wish::Nothing) | Err(_) => {}
        }
    }
    Choice { exclude: source.exclude.clone(), exclude_namespaces: excluded }
}

/// What a namespace itself says of everything in it.
fn of_space(wishes: &Wishes, name: &str) -> Result<Wish, No> {
    match wishes.backup.as_deref() {
        Some("true") => Ok(Wish::Taken),
        _ => wish(&Wishes::default(), wishes, name, None),
    }
}

/// What becomes of each, in order: namespaces, then claims.
#[must_use]
pub fn judge(seen: &Seen, said: &Said, taken: &Taken) -> Vec<(What, Fate)> {
    let namespaces = seen.namespaces.iter().map(|(name, wishes)| {
        let fate = namespace(name, wishes, said, taken.namespaces.contains(name));
        (What::Namespace(name.clone()), fate)
    });
    let claims = seen.claims.iter().map(|(key, (wishes, ephemeral))| {
        let nothing = Wishes::default();
        let space = seen.namespaces.get(&key.0).unwrap_or(&nothing);
        let fate = if taken.claims.contains(key) { Fate::Taken } else { claim(key, wishes, space, *ephemeral, said) };
        (What::Claim(key.0.clone(), key.1.clone()), fate)
    });
    namespaces.chain(claims).collect()
}

fn namespace(name: &str, wishes: &Wishes, said: &Said, taken: bool) -> Fate {
    let wish = match of_space(wishes, name) {
        Ok(wish) => wish,
        Err(No { why, mend }) => return Fate::not(why, mend),
    };
    if taken {
        return Fate::Taken;
    }
    if let Wish::Out { by } = wish {
        return Fate::left_out(by);
    }
    if said.resources.is_empty() && said.resources_elsewhere {
        return Fate::all_left_out(RESOURCES_ELSEWHERE);
    }
    if said.resources.is_empty() {
        return Fate::not(
            "no source of the configuration takes the objects of this cluster",
            format!(
                "add a source of the kind resources; or say that they are backed up elsewhere: resources-elsewhere: true in the source of volumes, \
                 or the annotation {BACKUP}: \"false\" on a namespace"
            ),
        );
    }
    let excluded = said.resources.iter().all(|names| names.iter().any(|excluded| excluded == name));
    if excluded && wish != Wish::Taken {
        return Fate::left_out(EXCLUDED);
    }
    Fate::not(
        "none of its objects is in a new snapshot",
        "run again, if it came meanwhile; otherwise see above why its objects could not be listed",
    )
}

fn claim((namespace, name): &(String, String), wishes: &Wishes, space: &Wishes, ephemeral: bool, said: &Said) -> Fate {
    let excluded = said.volumes.iter().find_map(|patterns| meant(patterns, namespace, name));
    match wish(wishes, space, namespace, excluded) {
        Ok(Wish::Out { by }) => return Fate::left_out(by),
        Ok(Wish::Taken | Wish::Nothing) => {}
        Err(No { why, mend }) => return Fate::not(why, mend),
    }
    if ephemeral {
        return Fate::left_out("its pod: an ephemeral volume, deleted with it");
    }
    if !said.volumes.is_empty() {
        let mend = "run again, if it came meanwhile; otherwise see above why its source failed";
        return Fate::not("no source has come to it", mend);
    }
    if said.volumes_elsewhere {
        return Fate::all_left_out(VOLUMES_ELSEWHERE);
    }
    Fate::not(
        "no source of the configuration takes the volumes of this cluster",
        format!(
            "add a source of the kind volumes; or say that they are backed up elsewhere: volumes-elsewhere: true in the source of resources, \
             or the annotation {BACKUP}: \"false\" on the claim or its namespace"
        ),
    )
}

/// Which cluster a source is of, as the configuration names it; `None` for a source of none.
#[must_use]
pub fn place_of(source: &SourceKind) -> Option<ClusterPlace> {
    match source {
        SourceKind::Resources(resources) => Some(resources.of.clone()),
        SourceKind::Volumes(volumes) => {
            let (kubeconfig, context) = (volumes.kubeconfig.clone(), volumes.context.clone());
            Some(ClusterPlace::Api { kubeconfig, context })
        }
        SourceKind::FolderVolumes(volumes) => Some(ClusterPlace::Folder(volumes.folder.clone())),
        SourceKind::Path(_) | SourceKind::Command(_) | SourceKind::Datastore(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishing(backup: &str) -> Wishes {
        Wishes { backup: Some(backup.to_owned()).filter(|text| !text.is_empty()), ..Wishes::default() }
    }

    /// One namespace `a` and one claim `a/x` in it, and what becomes of both.
    fn fates(space: &str, claim: &str, said: &Said, taken: &Taken) -> [Fate; 2] {
        let mut seen = Seen::default();
        seen.namespaces.insert("a".to_owned(), wishing(space));
        seen.claims.insert(("a".to_owned(), "x".to_owned()), (wishing(claim), false));
        let judged: Vec<Fate> = judge(&seen, said, taken).into_iter().map(|(_, fate)| fate).collect();
        judged.try_into().expect("one of each")
    }

    fn told(fate: &Fate) -> &str {
        match fate {
            Fate::Taken => "taken",
            Fate::LeftOut { by, .. } => by,
            Fate::Not { why, .. } => why,
        }
    }

    fn all() -> Taken {
        Taken { namespaces: ["a".to_owned()].into(), claims: [("a".to_owned(), "x".to_owned())].into() }
    }

    fn both() -> Said {
        Said { resources: vec![Vec::new()], volumes: vec![Vec::new()], ..Said::default() }
    }

    #[test]
    fn what_no_source_is_for_is_not_covered() {
        let (objects, volumes) = (
            Said { resources: vec![Vec::new()], ..Said::default() },
            Said { volumes: vec![Vec::new()], ..Said::default() },
        );
        let spaces = Taken { claims: BTreeSet::new(), ..all() };
        let claims = Taken { namespaces: BTreeSet::new(), ..all() };
        let [space, claim] = fates("", "", &objects, &spaces);
        assert_eq!(
            (told(&space), told(&claim)),
            ("taken", "no source of the configuration takes the volumes of this cluster")
        );
        let [space, claim] = fates("", "", &volumes, &claims);
        assert_eq!(
            (told(&space), told(&claim)),
            ("no source of the configuration takes the objects of this cluster", "taken")
        );
        // One word of the configuration is enough, and counts for nothing else.
        let [_, claim] = fates("", "", &Said { volumes_elsewhere: true, ..objects }, &spaces);
        assert_eq!(claim, Fate::all_left_out(VOLUMES_ELSEWHERE));
        let [space, _] = fates("", "", &Said { resources_elsewhere: true, ..volumes }, &claims);
        assert_eq!(space, Fate::all_left_out(RESOURCES_ELSEWHERE));
        let both = Said { volumes_elsewhere: true, resources_elsewhere: true, ..both() };
        let [space, claim] = fates("", "", &both, &Taken::default());
        assert_eq!(
            (told(&space), told(&claim)),
            ("none of its objects is in a new snapshot", "no source has come to it")
        );
    }

    #[test]
    fn the_nearest_wish_counts_and_one_that_nobody_can_read_is_none() {
        let nothing = Taken::default();
        let excluding =
            Said { resources: vec![vec!["a".to_owned()]], volumes: vec![vec!["a/*".to_owned()]], ..Said::default() };
        let out = "annotation homelab-dr.io/backup of namespace a";
        for (space, claim, said, of_space, of_claim) in [
            ("", "", &excluding, EXCLUDED, "the configuration: exclude a/*"),
            ("false", "", &both(), out, out),
            ("false", "true", &both(), out, "no source has come to it"),
            ("true", "", &excluding, "none of its objects is in a new snapshot", "no source has come to it"),
            (
                "",
                "false",
                &both(),
                "none of its objects is in a new snapshot",
                "annotation homelab-dr.io/backup of the claim",
            ),
            (
                "maybe",
                "false",
                &excluding,
                "annotation homelab-dr.io/backup of namespace a is \"maybe\"",
                "annotation homelab-dr.io/backup of the claim",
            ),
        ] {
            let [left, right] = fates(space, claim, said, &nothing);
            assert_eq!((told(&left), told(&right)), (of_space, of_claim), "{space:?} {claim:?}");
        }
        // What is taken all the same is no reason to be silent about a wish that nobody can read.
        assert!(matches!(&fates("no", "", &both(), &all())[0], Fate::Not { .. }));
        assert_eq!(fates("", "", &both(), &all()), [Fate::Taken, Fate::Taken]);
    }

    #[test]
    fn one_source_that_takes_a_namespace_is_enough() {
        let said = Said { resources: vec![vec!["a".to_owned()], Vec::new()], ..both() };
        assert_eq!(told(&fates("", "", &said, &Taken::default())[0]), "none of its objects is in a new snapshot");
        assert_eq!(fates("", "", &said, &all())[0], Fate::Taken);
    }
}
