//! One file on its way: read, cut, its chunks stored here or by an idle neighbour, its pieces put together in order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::backup::queue::{Job, Queue};
use crate::backup::slot::{FileRead, Outcome, Slot};
use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::chunker::{self, BlockSize, CHUNK_BYTES_MAX, Chunker, Cut};
use crate::format::entry::{FileTime, Identity, Piece};
use crate::format::live::Live;
use crate::repo::RepoError;
use crate::repo::write::{Lane, Writer};
use crate::tree::problem::Problem;
use crate::tree::read::Part;

/// A file whose chunks may be stored by several threads.
pub struct FileState {
    pieces: Mutex<Vec<Option<Piece>>>,
    /// Chunks under way, plus one for the reader.
    pending: AtomicUsize,
    ending: Mutex<Option<FileRead>>,
    slot: Arc<Slot>,
}

/// A file that is dropped before it is complete (an error elsewhere, a cancelled run) must not leave anybody waiting.
impl Drop for FileState {
    fn drop(&mut self) {
        self.slot.fill(Outcome::Abandoned);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FileState {
    /// A file whose content goes to `slot`.
    #[must_use]
    pub fn new(slot: Arc<Slot>) -> Arc<Self> {
        Arc::new(Self { pieces: Mutex::default(), pending: AtomicUsize::new(1), ending: Mutex::default(), slot })
    }

    fn reserve(&self) -> usize {
        let mut pieces = lock(&self.pieces);
        pieces.push(None);
        pieces.len() - 1
    }

    fn set(&self, at: usize, piece: Piece) {
        if let Some(place) = lock(&self.pieces).get_mut(at) {
            *place = Some(piece);
        }
    }

    fn push(&self, piece: Piece) {
        lock(&self.pieces).push(Some(piece));
    }

    /// One chunk, or the reader, is done; the last one fills the slot.
    fn done(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(mut read) = lock(&self.ending).take()
        {
            read.pieces = std::mem::take(&mut *lock(&self.pieces)).into_iter().flatten().collect();
            self.slot.fill(Outcome::Read(read));
        }
    }

    /// Stores a chunk that another worker passed on.
    pub fn store_chunk(&self, writer: &Writer, lane: &mut Lane, data: &[u8], at: usize) -> Result<(), RepoError> {
        let blob = writer.add_data(lane, data)?;
        self.set(at, Piece::Data { blob, skip: 0, length: u32::try_from(data.len()).unwrap_or(u32::MAX) });
        self.done();
        Ok(())
    }
}

/// Whatever bytes come from: a file, or a pipe.
pub trait Parts {
    /// The next part; `None` at the end.
    fn next(&mut self, buffer: &mut [u8]) -> Result<Option<Part>, Problem>;
    /// After the last part: a note if what was read changed meanwhile.
    fn finish(self) -> Result<Option<Problem>, Problem>;
}

/// What a worker needs to store the parts of a file.
pub struct Storing<'a> {
    /// Where blobs go.
    pub writer: &'a Writer,
    /// This thread's.
    pub lane: &'a mut Lane,
    /// This thread's buffer.
    pub buffer: &'a mut Vec<u8>,
    /// Who may help.
    pub queue: &'a Queue,
    /// Those of databases and images.
    pub blocks: BlockSize,
    /// What is shown.
    pub progress: &'a Progress,
    /// Whether to go on.
    pub cancel: &'a Cancel,
}

/// Metadata of an opened file.
pub struct Opened {
    /// Its size, or a guess; decides how it is cut.
    pub size: u64,
    /// It is a raw volume, which is rewritten page by page.
    pub device: bool,
    /// Its mtime.
    pub mtime: FileTime,
    /// Its identity.
    pub identity: Identity,
    /// How it was taken, if it is a database of a source in use.
    pub live: Option<Box<Live>>,
    /// Why that could not be captured.
    pub trouble: Option<Box<Problem>>,
}

impl Opened {
    /// Of a file that is nothing special.
    #[must_use]
    pub const fn plain(size: u64, mtime: FileTime, identity: Identity) -> Self {
        Self { size, device: false, mtime, identity, live: None, trouble: None }
    }
}

/// A longest chunk, and what is read while it is at hand: what is left of that is moved to the front each time.
const BUFFER_BYTES: usize = CHUNK_BYTES_MAX + CHUNK_BYTES_MAX / 2;

/// Makes a thread's buffer on its first use. Zeroed pages of the kernel: what is never read into takes no memory.
pub(crate) fn ready(buffer: &mut Vec<u8>) {
    if buffer.is_empty() {
        *buffer = vec![0; BUFFER_BYTES];
    }
}

impl Storing<'_> {
    /// Reads all parts, cuts and stores them. The slot is filled when the last chunk is stored, here or elsewhere.
    pub fn store(&mut self, mut parts: impl Parts, opened: Opened, slot: &Arc<Slot>) -> Result<(), RepoError> {
        ready(self.buffer);
        let state = FileState::new(slot.clone());
        let chunker: &Chunker = self.writer.repository.chunker();
        let mut cut: Option<Cut> = None;
        let (mut start, mut end) = (0, 0); // the part of the buffer that is read and not yet stored
        let mut offset = 0_u64; // where in the file `start` is
        let mut at_end = false;
        while !(at_end && start == end) {
            if self.cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let mut hole = 0;
            // Nobody knows how to cut it before its head was seen.
            let ahead = cut.map_or(CHUNK_BYTES_MAX, Cut::longest);
            while !at_end && hole == 0 && end - start < ahead {
                if end == self.buffer.len() {
                    self.buffer.copy_within(start..end, 0);
                    (start, end) = (0, end - start);
                }
                match parts.next(self.buffer.get_mut(end..).unwrap_or_default()) {
                    Ok(Some(Part::Data(length))) => {
                        end += length;
                        self.progress.add_bytes(length as u64);
                    }
                    Ok(Some(Part::Hole(length))) => {
                        hole = length;
                        self.progress.add_bytes(length);
                    }
                    Ok(None) => at_end = true,
                    Err(problem) => {
                        slot.fill(Outcome::Failed(problem));
                        return Ok(());
                    }
                }
            }
            // A hole or the end flushes what was read; otherwise cut only while a longest chunk is at hand.
            while start < end && (at_end || hole > 0 || end - start >= ahead) {
                let data = self.buffer.get(start..end).unwrap_or_default();
                let cut = *cut.get_or_insert_with(|| {
                    if opened.device {
                        return chunker::paged(opened.size, self.blocks);
                    }
                    let head = data.get(..data.len().min(chunker::HEAD_BYTES)).unwrap_or_default();
                    chunker::choose(head, opened.size, self.blocks)
                });
                let length = chunker.next(cut, offset, data);
                self.store_one(&state, start..start + length)?;
                start += length;
                offset += length as u64;
            }
            if hole > 0 {
                state.push(Piece::Hole { length: hole });
                offset += hole;
            }
        }
        match parts.finish() {
            Ok(changed) => {
                let Opened { mtime, identity, live, trouble, .. } = opened;
                let (pieces, size) = (Vec::new(), offset);
                *lock(&state.ending) =
                    Some(FileRead { pieces, size, mtime, identity, changed, key: None, live, trouble });
                state.done();
            }
            Err(problem) => slot.fill(Outcome::Failed(problem)),
        }
        Ok(())
    }

    fn store_one(&mut self, state: &Arc<FileState>, range: std::ops::Range<usize>) -> Result<(), RepoError> {
        let data = self.buffer.get(range).unwrap_or_default();
        let at = state.reserve();
        state.pending.fetch_add(1, Ordering::AcqRel);
        if self.queue.wants_chunk() {
            self.queue.push_chunk(Job::Chunk { data: data.to_vec(), file: state.clone(), at });
            return Ok(());
        }
        state.store_chunk(self.writer, self.lane, data, at)
    }
}
