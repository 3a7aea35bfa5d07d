//! Who uses the repository: writers, pruners, whoever forgets, replicators. Each run is a process of its own, with the code that the commands use.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::try_join;
use tokio::time::sleep;

use super::random::Random;
use super::world::{Faults, Lifeline, Process, Trace, World, lock};
use crate::base::id::ObjectId;
use crate::base::progress::Progress;
use crate::crypto::recipients::{IdentitySource, NoPrompt, Prompt, Recipient};
use crate::crypto::writer_key::WriterKey;
use crate::forget::run_forget;
use crate::format::entry::{Entry, FileTime, Kind, Piece, TreePath};
use crate::format::record::{SnapshotRecord, Statistics, TreeRoot};
use crate::prune::{Settings, plan_prune, run_prune};
use crate::repair::{Sources, run_repair};
use crate::replicate::{Options, replicate};
use crate::repo::checkpoint::Checkpointer;
use crate::repo::commit::{begin, commit};
use crate::repo::create::change_recipients;
use crate::repo::snapshots::Chain;
use crate::repo::tree_write::TreeBuilder;
use crate::repo::write::{Session, Writer};
use crate::repo::{RepoError, Repository};
use crate::retention::{Decision, Verdict};
use crate::store::Store;
use crate::store::retry::{Retry, RetryPolicy};

/// Longest wait between two runs of one actor.
const REST_MAX: Duration = Duration::from_hours(60);
/// Files in a source.
const FILES: usize = 5;
/// Different contents that files can have: few, so that writers meet one another's.
const CONTENTS: u64 = 24;

/// What a snapshot was reported to hold.
#[derive(Clone)]
pub struct Reported {
    pub id: ObjectId,
    pub root: TreeRoot,
    pub files: Vec<(TreePath, Vec<u8>)>,
}

/// What happened, as the people saw it.
#[derive(Default)]
pub struct Known {
    pub reported: Vec<Reported>,
    /// What somebody meant to let go of; it may be gone before its writer has said that it is there.
    pub forgotten: HashSet<ObjectId>,
    pub runs: u64,
    pub failures: Vec<String>,
}

/// The keys of the repository.
pub struct Keys {
    pub writer: WriterKey,
    pub identity: Vec<IdentitySource>,
    pub recipients: Vec<Recipient>,
}

/// What all actors share.
#[derive(Clone)]
pub struct Scene {
    pub world: Arc<World>,
    pub replica: Arc<World>,
    pub keys: Arc<Keys>,
    pub random: Arc<Mutex<Random>>,
    pub trace: Arc<Trace>,
    pub known: Arc<Mutex<Known>>,
    /// What may happen to a process; each gets its own crash and clock.
    pub faults: Faults,
}

/// The contents of a file by number; some in several chunks.
fn content(number: u64) -> Vec<Vec<u8>> {
    (0..=number % 3).map(|chunk| [number, chunk].map(u64::to_le_bytes).concat().repeat(8)).collect()
}

impl Scene {
    fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut lock(&self.random))
    }

    /// Runs a process until it ends or dies; says what came of it.
    async fn run<F, R>(&self, name: &str, work: F) -> bool
    where
        F: FnOnce(Arc<Process>, Arc<Process>) -> R,
        R: Future<Output = Result<(), String>>,
    {
        let rest = self.draw(|random| random.up_to(REST_MAX));
        sleep(rest).await;
        let mut faults = self.faults;
        (faults.crash_at, faults.skew) = self.draw(|random| {
            let crash = (!faults.pause_max.is_zero() && random.per_mille(150)).then(|| random.below(120));
            let hours = random.pick(&[0, 0, 0, 1, -1, 30, -30, 100, -100]);
            (crash, if faults.skew == 0 { 0 } else { hours * 3_600_000 })
        });
        let life = Arc::new(Lifeline::default());
        let process = |world| Arc::new(Process::new(name, world, faults, life.clone()));
        lock(&self.known).runs += 1;
        let result = tokio::select! {
            biased;
            () = life.ended() => Err("killed".to_owned()),
            result = work(process(&self.world), process(&self.replica)) => result,
        };
        let told = result.as_ref().map_or_else(|error| format!("failed: {error}"), |()| "done".to_owned());
        self.trace.tell(name, &told);
        if let Err(error) = &result {
            lock(&self.known).failures.push(format!("{name} {error}"));
        }
        result.is_ok()
    }

    fn stacked(&self, process: &Arc<Process>) -> Arc<dyn Store> {
        let seed = self.draw(Random::next);
        Arc::new(Retry::new(process.clone(), RetryPolicy::default(), seed))
    }

    async fn opened(&self, process: &Arc<Process>) -> Result<Arc<Repository>, RepoError> {
        Repository::open_with_writer(self.stacked(process), &self.keys.writer).await.map(Arc::new)
    }

    /// Backs a source up, again and again, with a few files changed in between.
    pub async fn writer(self, name: String, runs: usize) {
        let mut files: Vec<u64> = (0..FILES).map(|_| self.draw(|random| random.below(CONTENTS))).collect();
        for _ in 0..runs {
            let changed = self.draw(|random| (random.below(FILES as u64) as usize, random.below(CONTENTS)));
            files[changed.0] = changed.1;
            // Most backups take a moment, some take days.
            let between = self
                .draw(|random| if random.per_mille(200) { Duration::from_hours(50) } else { Duration::from_secs(5) });
            let (scene, files) = (&self, &files);
            self.run(&name, |process, _| async move {
                scene.back_up(&process, files, between).await.map_err(|error| told(&error))
            })
            .await;
        }
    }

    async fn back_up(&self, process: &Arc<Process>, files: &[u64], between_max: Duration) -> Result<(), RepoError> {
        let clock = process.clock();
        let repository = self.opened(process).await?;
        let ((index, chain), session) =
            try_join!(begin(&repository), Session::begin(repository.clone(), clock.clone()))?;
        let started = clock.now();
        let writer = Writer::within(session, index, None).after(&chain);
        let mut checkpoints = Checkpointer::new(&writer, clock.clone());
        let (mut tree, mut expected) = (TreeBuilder::default(), Vec::new());
        for (at, number) in files.iter().enumerate() {
            let path = TreePath::new(format!("{}-{at}", process.name)).unwrap_or_else(|_| TreePath::root());
            let chunks = content(*number);
            // A lane keeps the uploads from ending.
            let mut lane = writer.lane()?;
            let piece = |plain: &Vec<u8>| {
                let length = plain.len() as u32;
                Ok(Piece::Data { blob: writer.add_data(&mut lane, plain)?, skip: 0, length })
            };
            let pieces = chunks.iter().map(piece).collect::<Result<Vec<_>, RepoError>>()?;
            let kept = TreeBuilder::content(&writer, &mut lane, pieces)?;
            let entry = Entry {
                path: path.clone(),
                kind: Kind::File { size: chunks.iter().map(Vec::len).sum::<usize>() as u64, content: kept },
                mode: 0o600,
                uid: 0,
                gid: 0,
                mtime: FileTime::default(),
                xattrs: Vec::new(),
                identity: None,
                live: None,
            };
            tree.add(&writer, &mut lane, &entry)?;
            drop(lane);
            expected.push((path, chunks.concat()));
            if self.draw(|random| random.per_mille(400)) {
                writer.flush().await?;
            }
            sleep(self.draw(|random| random.up_to(between_max))).await;
            let _ = checkpoints.tick().await; // tried again at the next
        }
        let mut lane = writer.lane()?;
        let root = tree.finish(&writer, &mut lane)?;
        drop(lane);
        let record = SnapshotRecord {
            link: crate::format::record::Link { sequence: 0, parents: Vec::new() },
            source: process.name.clone(),
            started,
            finished: clock.now(),
            paths: Vec::new(),
            root,
            statistics: Statistics::default(),
            problems: Vec::new(),
            tags: std::collections::BTreeMap::new(),
            program: "simulation".to_owned(),
            host: process.name.clone(),
            based_on: None,
            device: None,
            run: None,
            blocks: None,
        };
        let committed = commit(writer, record, &clock).await?;
        let reported = Reported { id: committed.id, root, files: expected };
        lock(&self.known).reported.push(reported);
        checkpoints.clear().await;
        Ok(())
    }

    /// Removes what nobody needs; looked at by the judge after each run, however it ended.
    pub async fn pruner(self, name: String, runs: usize) {
        for _ in 0..runs {
            let scene = &self;
            let repack_bytes_max = self.draw(|random| random.pick(&[0, 70_000, u64::MAX]));
            let max_unused_percent = self.draw(|random| random.pick(&[20, 20, 0, 100]));
            self.run(&name, |process, _| async move {
                let clock = process.clock();
                let repository = scene.opened(&process).await.map_err(|error| told(&error))?;
                let settings = Settings { max_unused_percent, repack_bytes_max, ..Settings::default() };
                let planned = plan_prune(&repository, settings, &clock).await.map_err(|error| told(&error))?;
                run_prune(&repository, planned, &clock).await.map_err(|error| told(&error))?;
                Ok(())
            })
            .await;
            super::judge::reported_can_be_read(&self).await;
        }
    }

    /// Lets go of some snapshots.
    pub async fn forgetter(self, name: String, runs: usize) {
        for _ in 0..runs {
            let scene = &self;
            self.run(&name, |process, _| async move { scene.forget(&process).await.map_err(|error| told(&error)) })
                .await;
        }
    }

    async fn forget(&self, process: &Arc<Process>) -> Result<(), RepoError> {
        let repository = self.opened(process).await?;
        let chain = Chain::load(&repository).await?;
        let mut decisions = Vec::new();
        for snapshot in &chain.snapshots {
            let goes = self.draw(|random| random.per_mille(400));
            if goes {
                lock(&self.known).forgotten.insert(snapshot.id);
            }
            decisions.push(Decision {
                id: snapshot.id,
                source: snapshot.record.source.clone(),
                tags: std::collections::BTreeSet::new(),
                time: snapshot.record.started,
                verdict: if goes { Verdict::Remove } else { Verdict::Keep { reasons: Vec::new() } },
            });
        }
        run_forget(&repository, decisions, &process.name, &process.clock()).await.map(|_| ())
    }

    /// Copies to the replica, which must hold every snapshot that was there when it began.
    pub async fn replicator(self, name: String, runs: usize) {
        for _ in 0..runs {
            let scene = &self;
            let ended = self
                .run(&name, |from, to| async move {
                    let (from, to) = (scene.stacked(&from), scene.stacked(&to));
                    let options = Options { parallel: 1, ..Options::default() };
                    let copied = replicate(&*from, &*to, &options, &Progress::default()).await;
                    let report = copied.map_err(|error| told(&error))?;
                    // A request that hung until nobody tried again is taken for a bad sector, and told.
                    if report.damaged.is_empty() { Ok(()) } else { Err(format!("passed over {:?}", report.damaged)) }
                })
                .await;
            if ended {
                super::judge::replica_can_be_read(&self).await;
            }
        }
    }

    /// Puts right what is damaged, as `check --repair` does with the writer key and no replica.
    pub async fn mender(self, name: String, runs: usize) {
        for _ in 0..runs {
            let scene = &self;
            self.run(&name, |process, _| async move {
                let clock = process.clock();
                let store = scene.stacked(&process);
                let repository = scene.opened(&process).await.map_err(|error| told(&error))?;
                let sources = Sources::new(&store, Vec::new()).await.map_err(|error| told(&error))?;
                let mended = run_repair(&repository, &sources, &clock, &Progress::default()).await;
                mended.map(|_| ()).map_err(|error| told(&error))
            })
            .await;
            super::judge::reported_can_be_read(&self).await;
        }
    }

    /// Takes a recipient out and in again: each time out begins an epoch.
    pub async fn owner(self, name: String, runs: usize) {
        for run in 0..runs {
            let scene = &self;
            self.run(&name, |process, _| async move {
                let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
                let keys = &scene.keys;
                let pinned = Some(keys.writer.fingerprint());
                let store = scene.stacked(&process);
                let repository = Repository::open_with_identity(store, &keys.identity, &prompt, pinned).await;
                let repository = repository.map_err(|error| told(&error))?;
                let recipients = keys.recipients.get(..1 + run % 2).unwrap_or_default();
                let changed = change_recipients(&repository, recipients, &*process.clock()).await;
                changed.map_err(|error| told(&error))
            })
            .await;
        }
    }
}

fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
