//! A window of writes, carried out in the order of the packs: each blob is fetched and opened once, whatever files it goes to.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::backup::Context;
use crate::base::id::BlobId;
use crate::crypto::content::ContentKey;
use crate::recover::RestoreProblem;
use crate::recover::file::OpenFile;
use crate::repo::RepoError;
use crate::repo::fetch::{FETCH_AT_ONCE, Reader, Run, plan_runs};
use crate::repo::tree_read::part_of;

/// Bytes of a file that come from a blob.
pub struct Write {
    /// The blob.
    pub blob: BlobId,
    /// The file.
    pub file: Arc<OpenFile>,
    /// Where in the file.
    pub offset: u64,
    /// Where in the chunk they begin.
    pub skip: u32,
    /// How many.
    pub length: u32,
}

/// Threads that open and write at once, beyond one a processor: for the time that a file system takes. Each holds a chunk twice.
const WRITERS_BEYOND: usize = 1;

/// See the module.
#[derive(Default)]
pub struct Window {
    writes: Vec<Write>,
}

type ByBlob = HashMap<BlobId, Vec<Write>>;

impl Window {
    /// Adds a write.
    pub fn push(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.writes.len()
    }

    /// Carries all of them out. An error is one of the store or a wish to stop; damaged blobs are told to their files.
    pub async fn carry_out(self, context: &Context, reader: &Arc<Reader>) -> Result<(), RepoError> {
        let unknown = self.carry_out_indexed(context, reader).await?;
        if unknown.writes.is_empty() {
            return Ok(());
        }
        // In no index segment: perhaps the tables inside packs know them.
        let unknown = match reader.deeper().await? {
            Some(deeper) => unknown.carry_out_indexed(context, deeper).await?,
            None => unknown,
        };
        for write in unknown.writes {
            let blob = write.blob;
            fail(vec![write], || RepoError::Missing { blob });
        }
        Ok(())
    }

    /// Carries out what the index knows; returns the rest.
    async fn carry_out_indexed(self, context: &Context, reader: &Arc<Reader>) -> Result<Self, RepoError> {
        let mut by_blob: ByBlob = HashMap::new();
        for write in self.writes {
            by_blob.entry(write.blob).or_default().push(write);
        }
        let mut wanted = Vec::with_capacity(by_blob.len());
        let mut nowhere = Vec::new();
        for id in by_blob.keys() {
            match reader.locate(id) {
                Ok(location) => wanted.push((*id, location)),
                Err(_) => nowhere.push(*id),
            }
        }
        let unknown = nowhere.iter().filter_map(|id| by_blob.remove(id)).flatten().collect();
        let parts: Vec<(Run, ByBlob)> = plan_runs(wanted)
            .into_iter()
            .map(|run| {
                let writes = run.blobs.iter().filter_map(|(id, _)| by_blob.remove_entry(id)).collect();
                (run, writes)
            })
            .collect();
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let turns = Semaphore::new(processors + WRITERS_BEYOND);
        stream::iter(parts)
            .map(|(run, writes)| carry_out_run(context, reader, &turns, run, writes))
            .buffer_unordered(FETCH_AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(Self { writes: unknown })
    }
}

/// Tells every file of these writes that a blob is lost to it.
fn fail(writes: Vec<Write>, source: impl Fn() -> RepoError) {
    for write in writes {
        write.file.fail(RestoreProblem::Damaged { path: write.file.path().clone(), source: source() });
        write.file.done();
    }
}

async fn carry_out_run(
    context: &Context,
    reader: &Arc<Reader>,
    turns: &Semaphore,
    run: Run,
    writes: ByBlob,
) -> Result<(), RepoError> {
    if context.cancel.is_cancelled() {
        return Err(RepoError::Cancelled);
    }
    let bytes = reader.fetch_run(&run).await;
    let mut keys: HashMap<Option<u32>, Arc<ContentKey>> = HashMap::new();
    if bytes.is_ok() {
        for (_, location) in &run.blobs {
            if !keys.contains_key(&location.session)
                && let Ok(key) = reader.content_key(location).await
            {
                keys.insert(location.session, key);
            }
        }
    }
    let left = match bytes {
        Ok(bytes) => {
            let _turn = turns.acquire().await.map_err(|_| RepoError::Worker { what: "writing files" })?;
            let (reader, progress) = (reader.clone(), context.progress.clone());
            spawn_blocking(move || write_run(&reader, &progress, &run, &bytes, &keys, writes))
                .await
                .map_err(|_| RepoError::Worker { what: "writing files" })?
        }
        Err(error) => {
            reader.blame(error).await?;
            writes
        }
    };
    // What did not open here may have another copy.
    for (id, writes) in left {
        match reader.data(&id).await {
            Ok(plain) => write_blob(&context.progress, &plain, writes),
            // No damage: this identity may not read it, nor what comes after.
            Err(error @ RepoError::Removed { .. }) => return Err(error),
            Err(error) => {
                let reason = reader.blame(error).await?.to_string();
                fail(writes, || RepoError::Tree { at: format!("blob {}", id.short()), reason: reason.clone() });
            }
        }
    }
    Ok(())
}

/// Opens and writes every blob of a run; hands back those that did not open.
fn write_run(
    reader: &Reader,
    progress: &crate::base::progress::Progress,
    run: &Run,
    bytes: &Bytes,
    keys: &HashMap<Option<u32>, Arc<ContentKey>>,
    mut writes: ByBlob,
) -> ByBlob {
    let mut opener = reader.opener();
    for (id, location) in &run.blobs {
        let plain = run
            .slice(bytes, location)
            .zip(keys.get(&location.session))
            .and_then(|(sealed, key)| reader.open_data(key, id, location, &mut opener, &sealed).ok());
        if let Some(plain) = plain
            && let Some(writes) = writes.remove(id)
        {
            write_blob(progress, plain, writes);
        }
    }
    writes
}

fn write_blob(progress: &crate::base::progress::Progress, plain: &[u8], writes: Vec<Write>) {
    for write in writes {
        match part_of(plain, write.skip, write.length, || format!("blob {}", write.blob.short())) {
            Ok(bytes) => {
                write.file.write(write.offset, bytes);
                progress.add_bytes(u64::from(write.length));
            }
            Err(source) => write.file.fail(RestoreProblem::Damaged { path: write.file.path().clone(), source }),
        }
        write.file.done();
    }
}
