//! A worker thread: takes jobs until there are none.

use std::sync::Arc;

use crate::backup::file::{Opened, Parts, Storing, ready};
use crate::backup::queue::{FileJob, Job, Queue};
use crate::backup::slot::{FileRead, Outcome, Slot};
use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::chunker::{CHUNK_BYTES_MAX, SMALL_BYTES};
use crate::format::entry::Piece;
use crate::repo::RepoError;
use crate::repo::write::{Lane, Writer};
use crate::tree::found::Found;
use crate::tree::problem::{Cause, Problem};
use crate::tree::read::{FileReader, Part};
use crate::tree::source::Source;

impl Parts for FileReader {
    fn next(&mut self, buffer: &mut [u8]) -> Result<Option<Part>, Problem> {
        Self::next(self, buffer)
    }

    fn finish(self) -> Result<Option<Problem>, Problem> {
        Self::finish(self).map(|ending| ending.changed)
    }
}

/// Everything a worker needs; cheap to clone.
#[derive(Clone)]
pub struct Worker {
    /// Where blobs go.
    pub writer: Arc<Writer>,
    /// Opens the files.
    pub source: Source,
    /// Where jobs come from.
    pub queue: Arc<Queue>,
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
        let reader = match self.source.open(found) {
            Ok(reader) => reader,
            Err(problem) => return Ok(Outcome::Failed(problem)),
        };
        let (slot, queue, mut buffer) = (Arc::new(Slot::default()), Queue::default(), Vec::new());
        let opened = Opened { size: reader.size(), mtime: reader.mtime(), identity: reader.identity() };
        let mut storing = Storing {
            writer: &self.writer,
            lane,
            buffer: &mut buffer,
            queue: &queue,
            progress: &self.progress,
            cancel: &self.cancel,
        };
        storing.store(reader, opened, &slot)?;
        Ok(slot.wait())
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
                progress: &self.progress,
                cancel: &self.cancel,
            };
            match job {
                Job::Chunk { data, file, at } => file.store_chunk(&self.writer, &mut lane, &data, at)?,
                Job::File(mut job) => match self.source.open(&job.found) {
                    Ok(reader) => store_file(&mut storing, reader, &mut job)?,
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
            let reader = match self.source.open(&job.found) {
                Ok(reader) => reader,
                Err(problem) => {
                    job.slot.fill(Outcome::Failed(problem));
                    continue;
                }
            };
            if reader.size() > 4 * SMALL_BYTES {
                // It grew since the walk; the buffer is needed for it.
                flush(storing, &mut waiting, &mut filled)?;
                store_file(storing, reader, &mut job)?;
                continue;
            }
            if filled + usize::try_from(reader.size()).unwrap_or(usize::MAX) > CHUNK_BYTES_MAX {
                flush(storing, &mut waiting, &mut filled)?;
            }
            let before = filled;
            match read_small(storing.buffer, &mut filled, reader) {
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
fn store_file(storing: &mut Storing<'_>, reader: FileReader, job: &mut FileJob) -> Result<(), RepoError> {
    let slot = std::mem::take(&mut job.slot);
    let opened = Opened { size: reader.size(), mtime: reader.mtime(), identity: reader.identity() };
    storing.store(reader, opened, &slot)
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
fn read_small(buffer: &mut [u8], filled: &mut usize, mut reader: FileReader) -> Result<FileRead, Problem> {
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
    Ok(FileRead { pieces, size: ending.size, mtime, identity, changed: ending.changed, key: None })
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
