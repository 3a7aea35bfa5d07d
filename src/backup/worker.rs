//! A worker thread: takes jobs until there are none.

use std::sync::Arc;

use crate::backup::file::{Opened, Parts, Storing, ready};
use crate::backup::queue::{FileJob, Job, Queue};
use crate::backup::slot::{FileRead, Outcome, Slot};
use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::chunker::{BlockSize, CHUNK_BYTES_MAX, SMALL_BYTES};
use crate::format::entry::Piece;
use crate::repo::RepoError;
use crate::repo::write::{Lane, Writer};
use crate::tree::found::Found;
use crate::tree::live::{Live, Taken};
use crate::tree::problem::{Cause, Problem};
use crate::tree::read::{FileReader, Part};
use crate::tree::source::Source;

/// Borrowed: whoever lent it holds what the file needs until all of it was read.
impl Parts for &mut FileReader {
    fn next(&mut self, buffer: &mut [u8]) -> Result<Option<Part>, Problem> {
        FileReader::next(self, buffer)
    }

    fn finish(self) -> Result<Option<Problem>, Problem> {
        FileReader::finish(self).map(|ending| ending.changed)
    }
}

/// Everything a worker needs; cheap to clone.
#[derive(Clone)]
pub struct Worker {
    /// Where blobs go.
    pub writer: Arc<Writer>,
    /// Opens the files.
    pub source: Source,
    /// Opens them, and captures databases, if the source is in use.
    pub live: Option<Arc<Live>>,
    /// Where jobs come from.
    pub queue: Arc<Queue>,
    /// The blocks of databases and images.
    pub blocks: BlockSize,
    /// What is shown.
    pub progress: Arc<Progress>,
    /// Whether to go on.
    pub cancel: Arc<Cancel>,
}

impl Worker {
    /// Works until the queue is closed and empty. On an error the queue is aborted, so that nobody waits for this worker.
    pub fn run(&self) -> Result<(), RepoError> {
        let result = self.writer.lane().and_then(|lane| self.work(lane));
        if result.is_err() {
            self.queue.abort();
        }
        result
    }

    /// Reads one file here and now, with nobody's help: the queue may be closed already.
    pub fn read_now(&self, lane: &mut Lane, found: &Found) -> Result<Outcome, RepoError> {
        let taken = match self.open(found)? {
            Ok(taken) => taken,
            Err(problem) => return Ok(Outcome::Failed(problem)),
        };
        let (slot, queue, mut buffer) = (Arc::new(Slot::default()), Queue::default(), Vec::new());
        let mut storing = Storing {
            writer: &self.writer,
            lane,
            buffer: &mut buffer,
            queue: &queue,
            blocks: self.blocks,
            progress: &self.progress,
            cancel: &self.cancel,
        };
        store(&mut storing, taken, &slot)?;
        Ok(slot.wait())
    }

    fn open(&self, found: &Found) -> Result<Result<Taken, Problem>, RepoError> {
        let opened = match &self.live {
            Some(live) => live.open(found),
            None => self.source.open(found).map(Taken::from),
        };
        // A capture that was asked to stop says so of its file, and the run has to end.
        if self.cancel.is_cancelled() { Err(RepoError::Cancelled) } else { Ok(opened) }
    }

    fn work(&self, mut lane: Lane) -> Result<(), RepoError> {
        let mut buffer = Vec::new();
        while let Some(job) = self.queue.pop() {
            if self.cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let mut storing = Storing {
                writer: &self.writer,
                lane: &mut lane,
                buffer: &mut buffer,
                queue: &self.queue,
                blocks: self.blocks,
                progress: &self.progress,
                cancel: &self.cancel,
            };
            match job {
                Job::Chunk { data, file, at } => file.store_chunk(&self.writer, &mut lane, &data, at)?,
                Job::File(mut job) => match self.open(&job.found)? {
                    Ok(taken) => store_file(&mut storing, taken, &mut job)?,
                    Err(problem) => job.slot.fill(Outcome::Failed(problem)),
                },
                Job::Batch(files) => self.batch(&mut storing, files)?,
            }
        }
        Ok(())
    }

    /// Reads small files one behind the other into one chunk.
    fn batch(&self, storing: &mut Storing<'_>, files: Vec<FileJob>) -> Result<(), RepoError> {
        ready(storing.buffer);
        let mut filled = 0;
        let mut waiting: Vec<(FileJob, FileRead)> = Vec::with_capacity(files.len());
        for mut job in files {
            let taken = match self.open(&job.found)? {
                Ok(taken) => taken,
                Err(problem) => {
                    job.slot.fill(Outcome::Failed(problem));
                    continue;
                }
            };
            if taken.reader.size() > 4 * SMALL_BYTES {
                // It grew since the walk, or is a database with a long log; the buffer is needed for it.
                flush(storing, &mut waiting, &mut filled)?;
                store_file(storing, taken, &mut job)?;
                continue;
            }
            if filled + usize::try_from(taken.reader.size()).unwrap_or(usize::MAX) > CHUNK_BYTES_MAX {
                flush(storing, &mut waiting, &mut filled)?;
            }
            let before = filled;
            match read_small(storing.buffer, &mut filled, taken) {
                Ok(mut read) => {
                    read.key = key_in(storing.buffer.get(before..filled).unwrap_or_default())
                        .map(|cause| Box::new(Problem::new(job.found.path.clone(), "warning of", cause)));
                    storing.progress.add_bytes(read.size);
                    waiting.push((job, read));
                }
                Err(problem) => job.slot.fill(Outcome::Failed(problem)),
            }
        }
        flush(storing, &mut waiting, &mut filled)
    }
}

/// The file's state answers for the slot from here on: a neighbour may still be storing a chunk when the job ends, and a job that ends
/// with its slot empty says that the file was abandoned.
fn store_file(storing: &mut Storing<'_>, taken: Taken, job: &mut FileJob) -> Result<(), RepoError> {
    let slot = std::mem::take(&mut job.slot);
    store(storing, taken, &slot)
}

fn store(storing: &mut Storing<'_>, mut taken: Taken, slot: &Arc<Slot>) -> Result<(), RepoError> {
    let (live, trouble, reader) = (taken.live.take(), taken.trouble.take(), &mut taken.reader);
    let plain = Opened::plain(reader.size(), reader.mtime(), reader.identity());
    let device = reader.is_device();
    storing.store(reader, Opened { device, live, trouble, ..plain }, slot)
}

/// Where a key begins in its file at the latest: after some lines of comment.
const KEY_WITHIN: usize = 4 << 10;

/// Whether a small file is one of the keys of this program: one of its first lines begins as theirs do. SSH keys can be identities too, but most are not.
fn key_in(bytes: &[u8]) -> Option<Cause> {
    let mut lines = bytes.get(..KEY_WITHIN.min(bytes.len()))?.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        if line.starts_with(b"AGE-SECRET-KEY-1") || line.starts_with(b"AGE-PLUGIN-") {
            Some(Cause::Identity)
        } else if line.starts_with(b"homelab-dr-writer-") {
            Some(Cause::WriterKey)
        } else {
            None
        }
    })
}

/// Reads a small file to the end of the batch; a file that fails leaves the batch as it was.
fn read_small(buffer: &mut [u8], filled: &mut usize, taken: Taken) -> Result<FileRead, Problem> {
    let Taken { mut reader, live, trouble, .. } = taken;
    let (mtime, identity) = (reader.mtime(), reader.identity());
    let mut end = *filled;
    let mut pieces = Vec::new();
    while let Some(part) = reader.next(buffer.get_mut(end..).unwrap_or_default())? {
        match part {
            Part::Data(length) => {
                let (skip, length_u32) = (u32::try_from(end), u32::try_from(length));
                match pieces.last_mut() {
                    Some(Piece::Data { length: before, .. }) => *before += length_u32.unwrap_or(0),
                    _ => pieces.push(Piece::Data {
                        blob: crate::base::id::BlobId::new([0; 32]), // known when the batch is full
                        skip: skip.unwrap_or(u32::MAX),
                        length: length_u32.unwrap_or(u32::MAX),
                    }),
                }
                end += length;
            }
            Part::Hole(length) => pieces.push(Piece::Hole { length }),
        }
    }
    let ending = reader.finish()?;
    *filled = end;
    let (size, changed) = (ending.size, ending.changed);
    Ok(FileRead { pieces, size, mtime, identity, changed, key: None, live, trouble })
}

/// Stores the batch and tells every file where its bytes are.
fn flush(
    storing: &mut Storing<'_>,
    waiting: &mut Vec<(FileJob, FileRead)>,
    filled: &mut usize,
) -> Result<(), RepoError> {
    let data = storing.buffer.get(..*filled).unwrap_or_default();
    let stored = if data.is_empty() { None } else { Some(storing.writer.add_data(storing.lane, data)?) };
    for (job, mut read) in waiting.drain(..) {
        for piece in &mut read.pieces {
            if let (Piece::Data { blob, .. }, Some(id)) = (piece, stored) {
                *blob = id;
            }
        }
        job.slot.fill(Outcome::Read(read));
    }
    *filled = 0;
    Ok(())
}
