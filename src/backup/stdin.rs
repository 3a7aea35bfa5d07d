//! Backing up what a program writes: one file, read from standard input.
//!
//! A pipe does not say whether its writer succeeded; only that it ended. Whoever pipes a dump must check the dump's own exit code (`set -o pipefail`).

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::spawn_blocking;

use crate::backup::assemble::Assembled;
use crate::backup::file::{Opened, Parts, Storing};
use crate::backup::queue::Queue;
use crate::backup::slot::{Outcome, Slot};
use crate::backup::{
    BackupError, BackupOptions, BackupReport, Begun, Context, Earlier, earlier, finish, give_up, join,
};
use crate::base::clock::Time;
use crate::format::entry::{Entry, FileTime, Identity, Kind, Piece, TreePath};
use crate::format::record::{Statistics, TreeRoot};
use crate::repo::RepoError;
use crate::repo::checkpoint::Checkpointer;
use crate::repo::commit;
use crate::repo::tree_write::TreeBuilder;
use crate::repo::write::Writer;
use crate::tree::problem::{Cause, Problem};
use crate::tree::read::Part;

struct Pipe<R> {
    input: R,
    bytes: u64,
    failure: Arc<Mutex<Option<(u64, std::io::Error)>>>,
    path: TreePath,
}

impl<R: Read> Parts for Pipe<R> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<Option<Part>, Problem> {
        loop {
            match self.input.read(buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => {
                    self.bytes += length as u64;
                    return Ok(Some(Part::Data(length)));
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.bytes, error));
                    return Err(Problem::new(self.path.clone(), "reading", Cause::Vanished));
                }
            }
        }
    }

    fn finish(self) -> Result<Option<Problem>, Problem> {
        Ok(None)
    }
}

fn file_time(time: Time) -> FileTime {
    FileTime {
        seconds: time.0.div_euclid(1000),
        nanos: u32::try_from(time.0.rem_euclid(1000)).unwrap_or(0) * 1_000_000,
    }
}

/// Stores as the file `name` everything that comes from what `open` gives; it is called when the repository is ready.
pub async fn run_stdin<R: Read + Send + 'static>(
    context: &Context,
    options: &BackupOptions,
    name: &TreePath,
    open: impl FnOnce() -> Result<R, BackupError>,
) -> Result<BackupReport, BackupError> {
    let Context { repository, clock, progress, cancel } = context.clone();
    let started = clock.now();
    let (index, chain) = commit::begin(&repository).await?;
    let Earlier { newest, held: before, missing } = earlier(&chain, options);
    let options = &options.with_blocks_of(newest.as_ref());
    let blocks = options.blocks.unwrap_or_default();
    let input = open()?;
    progress.begin("backing up", "file");
    let writer = Writer::begin(repository, index.clone(), clock.clone(), options.level).await?;
    let writer = Arc::new(writer.after(&chain));
    drop(chain);
    let checkpoints = Checkpointer::new(&writer, clock.clone()).start();
    let failure = Arc::new(Mutex::new(None));
    let built = {
        let (writer, failure, name, progress) = (writer.clone(), failure.clone(), name.clone(), progress.clone());
        spawn_blocking(move || -> Result<(TreeRoot, Statistics), RepoError> {
            let mut lane = writer.lane()?;
            let slot = Arc::new(Slot::default());
            let queue = Queue::default();
            let mut buffer = Vec::new();
            let (writer_ref, queue_ref, progress_ref, cancel_ref) = (&*writer, &queue, &*progress, &*cancel);
            let identity = Identity { inode: 0, ctime: FileTime::default(), racy: true };
            let opened = Opened::plain(u64::MAX, file_time(started), identity);
            let pipe = Pipe { input, bytes: 0, failure, path: name.clone() };
            Storing {
                writer: writer_ref,
                lane: &mut lane,
                buffer: &mut buffer,
                queue: queue_ref,
                blocks,
                progress: progress_ref,
                cancel: cancel_ref,
            }
            .store(pipe, opened, &slot)?;
            let read = match slot.wait() {
                Outcome::Read(read) => read,
                Outcome::Failed(_) | Outcome::Abandoned => return Err(RepoError::Cancelled),
            };
            let bytes_read = read.pieces.iter().map(Piece::length).sum();
            let kept = TreeBuilder::content(&writer, &mut lane, read.pieces)?;
            let entry = Entry {
                path: name,
                kind: Kind::File { size: read.size, content: kept },
                mode: 0o600,
                uid: rustix::process::getuid().as_raw(),
                gid: rustix::process::getgid().as_raw(),
                mtime: file_time(started),
                xattrs: Vec::new(),
                identity: None,
                live: None,
            };
            let mut tree = TreeBuilder::default();
            tree.add(&writer, &mut lane, &entry)?;
            let root = tree.finish(&writer, &mut lane)?;
            let bytes = read.size;
            Ok((root, Statistics { files: 1, bytes, files_read: 1, bytes_read, ..Statistics::default() }))
        })
    };
    let built = join(built, "reading standard input").await;
    let writer = Arc::try_unwrap(writer).map_err(|_| RepoError::Worker { what: "the pipeline" })?;
    let (root, statistics) = match built {
        Ok(built) => built,
        Err(error) => {
            let error = give_up(writer, vec![error]).await;
            let broken = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            return Err(match broken {
                Some((bytes, source)) => BackupError::Stdin { bytes, source },
                None => error.into(),
            });
        }
    };
    if statistics.bytes == 0 {
        return Err(match writer.finish().await {
            Ok(_) => BackupError::Empty,
            Err(error) => error.into(),
        });
    }
    let assembled = Assembled { root, statistics, problems: Vec::new(), databases: Vec::new() };
    let begun = Begun { started, index, before, missing, checkpoints };
    Ok(finish(context, options, begun, writer, assembled, None).await?)
}
