//! Backing up the volumes of a folder that stands for a cluster: the directory of each claim is read by this process, one after another, since each read uses all
//! processors. Claims, exclusions, coverage and rows are those of a cluster ([`super::claims`]); what is about pods has no meaning here, since nothing runs.
//!
//! ```text
//! look ─┬─ left out, refused ──────────────────────────────────┬─ rows
//!       └─ read as a mover reads what is in use (`backup::mover`) ┘
//! ```
//! Both sides count: a claim without its directory is not covered, and neither is a directory without its claim, which no restore would bring back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::claims::{self, Claim, Fate, LEAVE_OUT, Namespace};
use super::{Capture, MoverError, Outcome, Report, Row, VolumesError, Wanted, Warn, one};
use crate::backup::mover::InUse;
use crate::backup::{BackupOptions, Context, mover, run_backup};
use crate::cluster::Cluster;
use crate::cluster::folder::{self, VOLUMES};
use crate::cluster::object::{name_of, namespace_of, uid_of};
use crate::cluster::ours::is_ours;
use crate::cluster::rewrite::operators::is_ephemeral;
use crate::config::{ClaimsChoice, FolderVolumesSource};
use crate::tree::device::NAME;
use crate::tree::walk::WalkOptions;
use crate::volumes as ways;
use crate::volumes::choose::policy::meant;
use crate::volumes::choose::wish::{Wish, wish};
use crate::volumes::choose::{Choice, No, Way};
use crate::volumes::facts::wishes;
use crate::volumes::filling::is_begun;
use crate::volumes::kinds;

/// What is not as good about it as one would wish.
const AS_IT_LIES: &str = "read where it lies: if somebody writes to it meanwhile, its files are not of one moment";

/// How a claim of a folder is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Direct {
    /// For the record: live, since it is read where it is.
    pub choice: Choice,
    /// The directory of its data; of a raw volume the file that holds all of it.
    pub directory: PathBuf,
    /// Whether it is a raw volume.
    pub device: bool,
    /// The source whose dump stands for data of `PostgreSQL` in it.
    pub dumped_by: Option<String>,
}

/// Everything that a run is given.
pub struct Reading<'a> {
    /// The folder.
    pub cluster: &'a dyn Cluster,
    /// Which claims.
    pub source: &'a FolderVolumesSource,
    /// Other sources of the same folder: what they take or leave out is no concern of this one.
    pub others: &'a [FolderVolumesSource],
    /// Sources that succeeded before this one in the same run: their dumps stand for volumes.
    pub succeeded: &'a BTreeSet<String>,
    /// The operation.
    pub context: &'a Context,
    /// How snapshots are made.
    pub wanted: Wanted,
    /// How directories are walked: without [`ALWAYS_LEFT_OUT`](crate::backup::mover::ALWAYS_LEFT_OUT) and the repository.
    pub walk: WalkOptions,
}

/// Looks what there is, without changing anything; also says of each claim whether any source takes it.
pub async fn plan(
    cluster: &dyn Cluster,
    source: &FolderVolumesSource,
    others: &[FolderVolumesSource],
) -> Result<Vec<Claim<Direct>>, VolumesError> {
    let mut found = look(cluster, source).await?;
    let mut theirs = Vec::new();
    for other in others {
        theirs.push(look(cluster, other).await?);
    }
    claims::settle_unselected(&mut found, &theirs);
    Ok(found)
}

/// Every claim of the manifests and every directory of a volume, by namespace and name, and what a source makes of each.
async fn look(cluster: &dyn Cluster, source: &FolderVolumesSource) -> Result<Vec<Claim<Direct>>, ways::VolumesError> {
    let FolderVolumesSource { folder: root, choice, .. } = source;
    let (spaces, nothing) = (claims::spaces(cluster).await?, Namespace::default());
    let of = |claim: &Value, fate: &dyn Fn(&Value, &Namespace) -> Fate<Direct>| {
        let (namespace, name) = (namespace_of(claim).unwrap_or_default(), name_of(claim));
        let fate = fate(claim, spaces.get(namespace).unwrap_or(&nothing));
        Claim { namespace: namespace.to_owned(), name: name.to_owned(), fate }
    };
    let with_manifest = |claim: &Value, space: &Namespace| fate(root, choice, claim, space);
    let mut found = claims::all(cluster, |claim| Some(claim.clone())).await?;
    let mut found: Vec<Claim<Direct>> = found.drain(..).map(|claim| of(&claim, &with_manifest)).collect();
    let fail = |source| ways::VolumesError::Cluster { operation: "list", object: VOLUMES.to_owned(), source };
    for (namespace, name) in folder::volumes(root).map_err(fail)? {
        if !found.iter().any(|claim| (&claim.namespace, &claim.name) == (&namespace, &name)) {
            let stray = json!({"metadata": {"namespace": namespace, "name": name}});
            found.push(of(&stray, &|claim, space| fate_of_stray(choice, claim, space)));
        }
    }
    found.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(found)
}

/// Whether somebody wants it left out.
fn wished(choice: &ClaimsChoice, claim: &Value, space: &Namespace) -> Result<Wish, No> {
    let namespace = namespace_of(claim).unwrap_or_default();
    wish(&wishes(claim), &space.wishes, namespace, meant(&choice.exclude, namespace, name_of(claim)))
}

fn fate(root: &Path, choice: &ClaimsChoice, claim: &Value, space: &Namespace) -> Fate<Direct> {
    let wished = wished(choice, claim, space);
    if let Ok(Wish::Out { by }) = wished {
        return Fate::Excluded { by };
    }
    if is_ours(claim) {
        return Fate::Excluded { by: "homelab-dr, which made it for a run".to_owned() };
    }
    if !claims::selects(choice, claim) {
        return Fate::Unselected;
    }
    if let Err(No { why, mend }) = wished {
        return Fate::refused(why, mend);
    }
    if let Some(dump) = claims::dump_of(choice, claim) {
        return Fate::Dumped { by: dump.to_owned() };
    }
    if let Some((why, mend)) = claims::unreadable(claim) {
        return Fate::refused(why, mend);
    }
    if is_ephemeral(&kinds::claims(), claim) {
        return Fate::Excluded { by: "its pod: an ephemeral volume, deleted with it".to_owned() };
    }
    let Some(namespace) = namespace_of(claim) else {
        return Fate::refused("its manifest names no namespace", "write metadata.namespace into it");
    };
    let name = name_of(claim);
    let Some(mut directory) = folder::volume(root, namespace, name) else {
        return Fate::refused("its name cannot be the name of a directory", LEAVE_OUT);
    };
    let (device, content) = (claims::is_device(claim), directory.join(NAME));
    if device && !content.symlink_metadata().is_ok_and(|found| found.is_file()) {
        let path = content.display();
        let why = format!("it is a block device, and there is no file {path}: nobody knows what was on it");
        return Fate::refused(why, format!("restore its data, which makes that file; or {LEAVE_OUT}"));
    }
    if !directory.is_dir() {
        let why = format!("there is no directory {}: nobody knows what was in it", directory.display());
        return Fate::refused(why, format!("restore its data into it; make it, if nothing was; or {LEAVE_OUT}"));
    }
    if is_begun(&directory) {
        let why = format!("a restore began to fill {} and did not come to its end", directory.display());
        return Fate::refused(why, "run that restore again");
    }
    if device {
        directory = content;
    }
    let dumped_by = claims::postgres_dump_of(choice, claim).map(str::to_owned);
    let choice = Choice {
        namespace: namespace.to_owned(),
        claim: name.to_owned(),
        uid: uid_of(claim).to_owned(),
        way: Way::Live { node: None, beside: None },
        reason: format!("its data lies in the folder {}", root.display()),
        cautions: vec![AS_IT_LIES.to_owned()],
    };
    Fate::Read(Box::new(Direct { choice, directory, device, dumped_by }))
}

/// Of a directory for which there is no claim. Labels and class are unknown: a source that asks for some does not take it.
fn fate_of_stray(choice: &ClaimsChoice, claim: &Value, space: &Namespace) -> Fate<Direct> {
    if let Ok(Wish::Out { by }) = wished(choice, claim, space) {
        return Fate::Excluded { by };
    }
    if !claims::selects(choice, claim) {
        return Fate::Unselected;
    }
    let why = "the folder has its data and no manifest of a claim of this name, so that nothing would restore it";
    Fate::refused(
        why,
        "put the manifest of its claim into the folder, move the data out of it, or name it under exclude",
    )
}

#[async_trait(?Send)]
impl Capture for Reading<'_> {
    async fn run(&self, _: &Warn<'_>) -> Result<Report, VolumesError> {
        let mut report = Report::default();
        for claim in plan(self.cluster, self.source, self.others).await? {
            report.rows.push(self.row(claim).await);
        }
        Ok(report)
    }
}

impl Reading<'_> {
    async fn row(&self, claim: Claim<Direct>) -> Row {
        let source = claim.source();
        match (Outcome::of(&claim.fate, self.succeeded), claim.fate) {
            (None, Fate::Read(read)) => self.read(source, *read).await,
            (outcome, _) => Row::new(source, None, outcome.unwrap_or(Outcome::Failed(MoverError::Cancelled))),
        }
    }

    async fn read(&self, source: String, read: Direct) -> Row {
        let Direct { choice, directory, device, dumped_by } = read;
        let dumped = dumped_by.map(|source| one::dump(&source, self.succeeded));
        let read = if device {
            mover::device_options(&source, directory)
        } else {
            mover::options(&source, directory, None, InUse { dumped, ..InUse::default() })
        };
        let begun = self.context.clock.now();
        let outcome = if self.context.cancel.is_cancelled() {
            Outcome::Failed(MoverError::Cancelled)
        } else {
            match run_backup(self.context, &self.options(read)).await {
                Ok(report) => {
                    let (summary, problems) = mover::summary(&report, self.context.clock.now().since(begun));
                    Outcome::Captured { summary, problems }
                }
                Err(error) => Outcome::NotStored(error),
            }
        };
        Row { took: self.context.clock.now().since(begun), ..Row::new(source, Some(choice), outcome) }
    }

    fn options(&self, read: BackupOptions) -> BackupOptions {
        BackupOptions {
            walk: self.walk.clone(),
            tags: self.wanted.tags.clone(),
            run: self.wanted.run.clone(),
            host: self.wanted.host.clone(),
            reread: self.wanted.reread,
            blocks: self.wanted.blocks,
            ..read
        }
    }
}
