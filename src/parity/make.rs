//! Making the parity of one group: every pack is read once, whole, compared with its name and added to all shards. Where the shards do not fit into memory together they
//! are made in several passes.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use crate::base::causes::in_one_line;
use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::base::progress::Progress;
use crate::crypto::hash::object_id;
use crate::format::erasure;
use crate::format::parity::{Group, Header, StripeHash, stripe_hashes};
use crate::repair::put_right;
use crate::repo::blame::Blame;
use crate::repo::sealed::get_within;
use crate::repo::{RepoError, Repository, layout};
use crate::store::{Key, Put, StoreError};

/// Packs that are fetched while another is worked on.
const AHEAD: usize = 1;

/// What became of a group.
pub(super) enum Made {
    /// Its parity is durable.
    Stored {
        objects: Vec<Key>,
        /// Bytes of those that were not there before.
        written: u64,
        /// How many those are.
        new: u64,
    },
    /// One of its packs was pruned meanwhile.
    Vanished,
    /// One of its packs is not what its name promises.
    Damaged { pack: ObjectId, why: String },
}

/// What reading costs.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Cost {
    pub reads: u64,
    pub bytes: u64,
}

/// Shards on their way.
struct Shards {
    first: u8,
    shards: Vec<Vec<u8>>,
}

impl Shards {
    fn add(&mut self, member: u8, bytes: &[u8]) {
        for (number, shard) in (self.first..).zip(&mut self.shards) {
            erasure::add(shard, bytes, erasure::coefficient(number, member));
        }
    }
}

/// How many shards are made in one pass, where so many bytes of them fit into memory.
fn in_a_pass(group: &Group, pass_bytes: usize) -> u8 {
    let length = group.shard_bytes() as usize;
    u8::try_from((pass_bytes / length.max(1)).clamp(1, usize::from(group.parity))).unwrap_or(1)
}

/// How often the packs of a group are read.
pub(super) fn passes(group: &Group, pass_bytes: usize) -> u64 {
    u64::from(group.parity.div_ceil(in_a_pass(group, pass_bytes)))
}

pub(super) async fn make(
    repository: &Arc<Repository>,
    group: &Group,
    pass_bytes: usize,
    retain: Option<Time>,
    blame: &Blame,
    cost: &mut Cost,
    progress: &Progress,
) -> Result<Made, RepoError> {
    let length = group.shard_bytes() as usize;
    let in_a_pass = in_a_pass(group, pass_bytes);
    let (mut objects, mut written, mut new) = (Vec::new(), 0, 0);
    let mut first = 0;
    while first < group.parity {
        let number = in_a_pass.min(group.parity - first);
        let shards = Shards { first, shards: vec![vec![0; length]; usize::from(number)] };
        let (hashes, shards) = match pass(repository, group, shards, blame, cost, progress).await? {
            Ok(done) => done,
            Err(made) => return Ok(made),
        };
        for (number, shard) in (first..).zip(shards.shards) {
            let own = stripe_hashes(&shard, group.stripe);
            let header = Header { group: group.clone(), number, members: hashes.clone(), own };
            let mut bytes = Vec::with_capacity(usize::try_from(group.object_bytes()).unwrap_or(0));
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(&shard);
            drop(shard);
            let bytes = Bytes::from(bytes);
            let key = layout::named(layout::PARITY, &object_id(&bytes));
            let size = bytes.len() as u64;
            if put(repository, &key, bytes, retain).await? {
                written += size;
                new += 1;
            }
            objects.push(key);
        }
        first += number;
    }
    Ok(Made::Stored { objects, written, new })
}

/// Stores a parity object; what is rotten under its name is replaced. Tells whether it was not there as it is.
async fn put(repository: &Repository, key: &Key, bytes: Bytes, retain: Option<Time>) -> Result<bool, RepoError> {
    match repository.store.put_new(key, bytes.clone(), retain).await {
        Ok(put) => Ok(put == Put::Created),
        Err(StoreError::Conflict { .. }) => {
            put_right(&*repository.store, key, &bytes, retain).await?;
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads all packs once.
async fn pass(
    repository: &Arc<Repository>,
    group: &Group,
    mut shards: Shards,
    blame: &Blame,
    cost: &mut Cost,
    progress: &Progress,
) -> Result<Result<(Vec<Vec<StripeHash>>, Shards), Made>, RepoError> {
    let store = &*repository.store;
    let mut hashes = Vec::with_capacity(group.members.len());
    let mut reads = stream::iter(group.members.clone())
        .map(|member| async move {
            let key = layout::pack(&member.pack);
            (member, get_within(store, &key, u64::from(member.length)).await)
        })
        .buffered(1 + AHEAD);
    for number in 0_u8.. {
        let Some((member, read)) = reads.next().await else { break };
        let damaged = |why: String| Ok(Err(Made::Damaged { pack: member.pack, why }));
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(RepoError::Store(error)) if error.is_not_found() => return Ok(Err(Made::Vanished)),
            Err(RepoError::Store(error)) if !blame.is_the_objects(store, &error).await => return Err(error.into()),
            Err(error) => return damaged(in_one_line(&error)),
        };
        blame.read_well();
        cost.reads += 1;
        cost.bytes += bytes.len() as u64;
        progress.add_file(bytes.len() as u64);
        let stripe = group.stripe;
        let worked = tokio::task::spawn_blocking(move || {
            let id = object_id(&bytes);
            shards.add(number, &bytes);
            (id, stripe_hashes(&bytes, stripe), shards)
        });
        let (id, found, back) = worked.await.map_err(|_| RepoError::Worker { what: "the making of parity" })?;
        if id != member.pack {
            return damaged("its bytes do not match its name".to_owned());
        }
        hashes.push(found);
        shards = back;
    }
    Ok(Ok((hashes, shards)))
}
