//! Backing up files: one chain, one page.
//!
//! ```text
//! walk ─ decide ─┬─ unchanged ──────────────────────────────┐
//!    (scan)      └─ jobs ─ read, cut, hash, zstd, seal ─ slot ┴─ entries in order ─ tree ─ packs ─ store ─ index ─ snapshot
//!                          (workers)                            (assemble)          (repo::write, repo::upload, repo::commit)
//! ```
//! Bounded everywhere: jobs (`queue`), entries in order (`pipeline`), packs in flight (`repo::upload`). An interrupted run reports nothing and loses
//! nothing: what it stored is found by the next one.

pub mod assemble;
pub mod cluster;
pub mod command;
pub mod coverage;
pub mod file;
pub mod in_pod;
pub mod mover;
mod pipeline;
pub mod plan;
pub mod queue;
pub mod scan;
pub mod slot;
pub mod stdin;
pub mod storing;
mod tail;
pub mod unchanged;
pub mod volumes;
pub mod worker;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use futures::try_join;
use tokio::task::JoinHandle;

use crate::backup::assemble::Assembled;
use crate::backup::command::CommandError;
use crate::backup::pipeline::Pipeline;
use crate::backup::storing::ShowStoring;
use crate::backup::unchanged::{Previous, Slots};
use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Time};
use crate::base::id::ObjectId;
use crate::base::progress::Progress;
use crate::base::when::Listed as _;
use crate::chunker::BlockSize;
use crate::cluster::ClusterError;
use crate::format::entry::TreePath;
use crate::format::live::How;
use crate::format::record::{Link, PROBLEMS_MAX, ProblemRecord, SnapshotRecord, Statistics, TreeRoot};
use crate::repo::checkpoint::{Checkpointer, Checkpoints};
use crate::repo::commit::{self, Committed};
use crate::repo::fetch::Reader;
use crate::repo::index::Index;
use crate::repo::snapshots::{BEFORE_RESTORE, Chain, Snapshot};
use crate::repo::write::{Session, Writer};
use crate::repo::{RepoError, Repository};
use crate::tree::live::{Live, LiveOptions};
use crate::tree::problem::{Problem, Severity};
use crate::tree::source::{Source, SourceError};
use crate::tree::walk::WalkOptions;

/// What to back up and how.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// The name of the source.
    pub source: String,
    /// What to read.
    pub paths: Vec<PathBuf>,
    /// What to leave out.
    pub walk: WalkOptions,
    /// Tags of the snapshot.
    pub tags: BTreeMap<String, String>,
    /// The machine's name.
    pub host: String,
    /// The run of a configured backup.
    pub run: Option<String>,
    /// Read every file, whatever the previous snapshot says.
    pub reread: bool,
    /// The blocks that databases and images are cut in; `None` for those of the source's newest snapshot.
    pub blocks: Option<BlockSize>,
    /// zstd level; `None` for the default.
    pub level: Option<i32>,
    /// Worker threads; `None` for one a processor.
    pub threads: Option<usize>,
    /// The one path is a raw volume: it is read whole, each time.
    pub device: bool,
    /// The files are in use: capture databases; `None` to read all as they are.
    pub live: Option<LiveOptions>,
}

impl BackupOptions {
    /// Of a source of which nothing is known but its name.
    #[must_use]
    pub fn of(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            paths: Vec::new(),
            walk: WalkOptions::default(),
            tags: BTreeMap::new(),
            host: String::new(),
            run: None,
            reread: false,
            blocks: None,
            level: None,
            threads: None,
            device: false,
            live: None,
        }
    }

    /// With blocks that are decided: other ones than a source was stored in would all be new to the repository, so it keeps them until somebody asks for others.
    fn with_blocks_of(&self, newest: Option<&Snapshot>) -> Self {
        let before = newest.and_then(|snapshot| snapshot.record.blocks).map(u64::from).and_then(BlockSize::new);
        Self { blocks: self.blocks.or(before), ..self.clone() }
    }

    /// What is read, opened.
    fn open(&self) -> Result<Source, SourceError> {
        match &*self.paths {
            [path] if self.device => Source::device(path),
            paths => Source::new(paths),
        }
    }

    /// How to walk.
    fn walk(&self) -> WalkOptions {
        WalkOptions { live: self.live.as_ref().map(|live| live.postgres.clone()), ..self.walk.clone() }
    }

    fn live(&self, source: &Source, context: &Context) -> Option<Arc<Live>> {
        let new = |options| Live::new(source.clone(), options, context.clock.clone(), context.cancel.clone());
        self.live.as_ref().map(new).map(Arc::new)
    }
}

/// What a backup came to.
#[derive(Debug)]
pub struct BackupReport {
    /// The snapshot; `None` after a dry run.
    pub snapshot: Option<ObjectId>,
    /// Its record (of a dry run: as far as it is known).
    pub record: SnapshotRecord,
    /// Problems and notes with single files.
    pub problems: Vec<Problem>,
    /// Packs with metadata that did not open; nothing of this snapshot rests on them.
    pub broken_packs: Vec<ObjectId>,
    /// Databases of a source in use, and how they were taken; not all if they are very many.
    pub databases: Vec<(TreePath, How)>,
    /// Of the newest earlier snapshot of the source that held anything: its statistics.
    pub before: Option<Statistics>,
    /// Snapshots of any source that are gone though nobody forgot them.
    pub missing: Vec<ObjectId>,
}

impl BackupReport {
    /// What an earlier snapshot of the source held, if this one holds nothing: no file, or no byte where there were some. A mount that is away looks like that.
    #[must_use]
    pub fn emptied(&self) -> Option<Statistics> {
        self.before.filter(|before| {
            let now = self.record.statistics;
            now.files == 0 || (now.bytes == 0 && before.bytes > 0)
        })
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The paths cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The repository cannot be written.
    #[error(transparent)]
    Repository(#[from] RepoError),
    /// A program whose output is the source did not end well.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The cluster whose objects are the source cannot be read.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Nobody said that what was read had held still: it may be torn.
    #[error("nobody said that what was read had held still until all of it was")]
    NotSure,
    /// Standard input ended before it began: whatever was to write it failed, as a rule.
    #[error("standard input was empty, and an empty dump is no backup")]
    Empty,
    /// Standard input broke off: what came before is no backup.
    #[error("reading standard input failed after {bytes} bytes")]
    Stdin {
        /// Bytes that were read.
        bytes: u64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What every operation of this kind is given.
#[derive(Clone)]
pub struct Context {
    /// The repository.
    pub repository: Arc<Repository>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is shown.
    pub progress: Arc<Progress>,
    /// Whether to go on.
    pub cancel: Arc<Cancel>,
}

/// Joins a thread of the pipeline; one that panicked is an error.
async fn join<T>(task: JoinHandle<Result<T, RepoError>>, what: &'static str) -> Result<T, RepoError> {
    task.await.map_err(|_| RepoError::Worker { what })?
}

/// Of several failures the one that tells most: whoever was merely told to stop says `Cancelled`, whoever lost its receiver `Worker`.
fn root_cause(failures: Vec<RepoError>) -> Option<RepoError> {
    failures.into_iter().min_by_key(|error| match error {
        RepoError::Worker { .. } => 1,
        RepoError::Cancelled => 2,
        _ => 0,
    })
}

/// Backs up `options.paths` and returns when the snapshot is durable.
pub async fn run_backup(context: &Context, options: &BackupOptions) -> Result<BackupReport, BackupError> {
    run_backup_if(context, options, std::future::ready(true)).await
}

/// The same, and asks when all was read whether it becomes a snapshot. If not, it is stored for the next run to find, and there is none.
pub async fn run_backup_if(
    context: &Context,
    options: &BackupOptions,
    sure: impl Future<Output = bool>,
) -> Result<BackupReport, BackupError> {
    let Context { repository, clock, progress, .. } = context;
    let started = clock.now();
    let source = options.open()?;
    // Nothing tells of a raw volume that it has not changed.
    let reread = options.reread || options.device;
    progress.begin("opening", "");
    // The session rests on nothing that is read here, and nothing is sealed in it before all of this is known.
    let ((index, chain), session) =
        try_join!(commit::begin(repository), Session::begin(repository.clone(), clock.clone()))?;
    let Earlier { newest: previous, held, missing } = earlier(&chain, options);
    let options = &options.with_blocks_of(previous.as_ref());
    let before = open_previous(repository, &index, previous.as_ref(), started, reread);
    progress.begin("backing up", "file");
    if let Some(snapshot) = &previous {
        // Until the scan is through, the last time is the best guess; without one nothing is guessed.
        let statistics = snapshot.record.statistics;
        progress.expect(statistics.files, statistics.bytes, true);
    }
    let writer = Arc::new(Writer::within(session, index.clone(), options.level).after(&chain));
    drop(chain);
    let checkpoints = Checkpointer::new(&writer, clock.clone()).start();
    let pipeline = Pipeline { writer: writer.clone(), source, queue: Arc::default(), context: context.clone() };
    let assembled = pipeline.run(options, before, started).await;
    let writer = Arc::try_unwrap(writer).map_err(|_| RepoError::Worker { what: "the pipeline" })?;
    let assembled = match assembled {
        Ok(assembled) => assembled,
        Err(failures) => return Err(give_up(writer, failures).await.into()),
    };
    let sure = tokio::select! {
        biased;
        sure = sure => Some(sure),
        () = context.cancel.cancelled() => None,
    };
    match sure {
        Some(true) => {}
        Some(false) => return Err(writer.finish().await.map_or_else(BackupError::from, |_| BackupError::NotSure)),
        None => return Err(give_up(writer, Vec::new()).await.into()),
    }
    let based_on = previous.filter(|_| !reread).map(|snapshot| snapshot.id);
    let begun = Begun { started, index, before: held, missing, checkpoints };
    Ok(finish(context, options, begun, writer, assembled, based_on).await?)
}

/// What every run has from its beginning for its end.
struct Begun {
    started: Time,
    index: Arc<Index>,
    before: Option<Statistics>,
    missing: Vec<ObjectId>,
    checkpoints: Checkpoints,
}

/// The end of every run: the rest is stored, the snapshot is committed, and what kept the run safe until then is removed.
async fn finish(
    context: &Context,
    options: &BackupOptions,
    begun: Begun,
    writer: Writer,
    assembled: Assembled,
    based_on: Option<ObjectId>,
) -> Result<BackupReport, RepoError> {
    let Begun { started, index, before, missing, checkpoints } = begun;
    let storing = ShowStoring::begin(&context.progress, &writer);
    let Assembled { root, mut statistics, problems, databases } = assembled;
    statistics.bytes_new = writer.new_bytes();
    let record = snapshot_record(options, started, context.clock.now(), root, statistics, &problems, based_on);
    let Committed { id, record, .. } = commit::commit(writer, record, &context.clock).await?;
    drop(storing);
    checkpoints.committed().await;
    let broken_packs = index.broken_packs();
    Ok(BackupReport { snapshot: Some(id), record, problems, broken_packs, databases, before, missing })
}

/// Stores and indexes what was sealed so far, so that the next run finds it, and says why this one failed.
async fn give_up(writer: Writer, mut failures: Vec<RepoError>) -> RepoError {
    failures.extend(writer.finish().await.err());
    root_cause(failures).unwrap_or(RepoError::Cancelled)
}

/// What the chain says before a run.
struct Earlier {
    /// The newest snapshot of the same source.
    newest: Option<Snapshot>,
    /// What the newest of its backups that held anything held. A safety copy is none of them: it says nothing of what its source should hold, and an empty one is a
    /// copy of something empty.
    held: Option<Statistics>,
    /// Snapshots of any source that are gone though nobody forgot them.
    missing: Vec<ObjectId>,
}

fn earlier(chain: &Chain, options: &BackupOptions) -> Earlier {
    let newest = chain.newest_of(&options.source).cloned();
    let is_aside = options.tags.contains_key(BEFORE_RESTORE);
    let is_backup =
        |snapshot: &&Snapshot| snapshot.record.source == options.source && !snapshot.is_aside() && !is_aside;
    let of_source = chain.snapshots.iter().rev().filter(is_backup);
    let held = of_source.map(|snapshot| snapshot.record.statistics).find(|held| held.files > 0 && held.bytes > 0);
    Earlier { newest, held, missing: chain.gaps() }
}

/// Its entries. A previous tree that cannot be read is a reason to read every file, not to fail. With `reread` all files are read too, and the tree is
/// looked at all the same: what of it does not open is not built upon.
fn open_previous(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    previous: Option<&Snapshot>,
    now: Time,
    reread: bool,
) -> Previous {
    let reader = Arc::new(Reader::new(repository.clone(), index.clone()));
    if let Some(snapshot) = previous {
        let slots = if reread { Slots::ALL } else { Slots::between(snapshot.record.started, now) };
        if let Ok(opened) = Previous::open(reader.clone(), snapshot.record.root, slots) {
            return opened;
        }
    }
    Previous::none(reader)
}

fn snapshot_record(
    options: &BackupOptions,
    started: Time,
    finished: Time,
    root: TreeRoot,
    statistics: Statistics,
    problems: &[Problem],
    based_on: Option<ObjectId>,
) -> SnapshotRecord {
    SnapshotRecord {
        link: Link::default(),
        source: options.source.clone(),
        started,
        finished,
        paths: options.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec().into()).collect(),
        root,
        statistics,
        problems: problems
            .iter()
            .filter(|problem| problem.severity == Severity::Problem)
            .take(PROBLEMS_MAX)
            .map(|problem| ProblemRecord {
                path: problem.path.as_bytes().to_vec().into(),
                message: format!("{problem}: {}", problem.cause),
            })
            .collect(),
        tags: options.tags.clone(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        host: options.host.clone(),
        based_on,
        device: options.device.then_some(true),
        run: options.run.clone(),
        blocks: options.blocks.filter(|blocks| *blocks != BlockSize::default()).map(BlockSize::bytes),
    }
}
