//! The threads of a backup of files: one that scans, as many that read as there are processors, one that puts the entries in order. All of them end before
//! [`Pipeline::run`] does, whatever happens to one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::assemble::{self, Assembled};
use super::queue::Queue;
use super::scan::{ENTRIES_AT_ONCE, Pending, Scan};
use super::unchanged::Previous;
use super::worker::Worker;
use super::{BackupOptions, Context, join};
use crate::base::clock::Time;
use crate::repo::RepoError;
use crate::repo::write::{Lane, Writer};
use crate::tree::found::Found;
use crate::tree::live::Live;
use crate::tree::source::Source;
use crate::tree::walk::WalkOptions;

/// Entries between the scan and the tree; one of a file that is being read holds up those behind it.
const ENTRIES_MAX: usize = 8192;

/// What the threads share.
pub(super) struct Pipeline {
    pub(super) writer: Arc<Writer>,
    pub(super) source: Source,
    pub(super) queue: Arc<Queue>,
    pub(super) context: Context,
}

impl Pipeline {
    /// Reads everything; or says what every thread that failed has to say.
    pub(super) async fn run(
        self,
        options: &BackupOptions,
        previous: Previous,
        started: Time,
    ) -> Result<Assembled, Vec<RepoError>> {
        let live = options.live(&self.source, &self.context);
        let (sender, receiver) = sync_channel(ENTRIES_MAX / ENTRIES_AT_ONCE);
        let worker = Worker {
            writer: self.writer.clone(),
            source: self.source.clone(),
            live: live.clone(),
            queue: self.queue.clone(),
            blocks: options.blocks.unwrap_or_default(),
            progress: self.context.progress.clone(),
            cancel: self.context.cancel.clone(),
        };
        let count =
            options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from)).max(1);
        let workers: Vec<_> = (0..count)
            .map(|_| {
                let worker = worker.clone();
                spawn_blocking(move || worker.run())
            })
            .collect();
        let tree = self.assemble(worker, receiver, started);
        let scan = self.scan(options.walk(), live, previous, sender);

        let mut failures = Vec::new();
        failures.extend(join(scan, "the scan").await.err());
        for worker in workers {
            failures.extend(join(worker, "a worker").await.err());
        }
        match join(tree, "the assembler").await {
            Ok(assembled) if failures.is_empty() => Ok(assembled),
            result => {
                failures.extend(result.err());
                Err(failures)
            }
        }
    }

    /// Finds, decides, and hands out jobs.
    fn scan(
        self,
        options: WalkOptions,
        live: Option<Arc<Live>>,
        previous: Previous,
        mut sender: SyncSender<Vec<Pending>>,
    ) -> JoinHandle<Result<(), RepoError>> {
        let handle = Handle::current();
        spawn_blocking(move || {
            let scan = Scan {
                repository: &self.writer.repository,
                source: self.source,
                options,
                live: live.as_deref(),
                previous,
                relies_on: &|id| self.writer.relies_on(id),
                queue: Some(&self.queue),
                progress: &self.context.progress,
                cancel: &self.context.cancel,
                handle,
            };
            let result = scan.run(&mut sender);
            if result.is_err() {
                self.queue.abort();
            } else {
                self.queue.close();
            }
            result
        })
    }

    /// Takes the entries in order and makes the tree of them.
    fn assemble(
        &self,
        worker: Worker,
        receiver: Receiver<Vec<Pending>>,
        started: Time,
    ) -> JoinHandle<Result<Assembled, RepoError>> {
        let (writer, queue, progress) = (self.writer.clone(), self.queue.clone(), self.context.progress.clone());
        spawn_blocking(move || {
            let read_now = |lane: &mut Lane, found: &Found| worker.read_now(lane, found);
            let result = writer
                .lane()
                .and_then(|lane| assemble::assemble(&writer, lane, &receiver, started, &progress, &read_now));
            if result.is_err() {
                queue.abort();
            }
            result
        })
    }
}
