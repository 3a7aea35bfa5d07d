//! One pack out of its group, stripe by stripe: what is rotten in it is computed from the same stripe of the others. So rot that lies in different stripes is mended
//! even where it touches more objects than the group has parity.
//!
//! Memory: the pack, and a window of the group (`WINDOW_BYTES`, or one stripe of each object if that is more).

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::base::id::ObjectId;
use crate::crypto::hash::object_id;
use crate::format::erasure;
use crate::format::parity::{Group, Header, StripeHash, stripe_hash};
use crate::repo::blame::Blame;
use crate::repo::error::RepoError;
use crate::repo::layout;
use crate::repo::parity::{Found, read_header};
use crate::store::{Key, Listed, Store};

/// Bytes of a group that are in memory at once.
pub const WINDOW_BYTES: u64 = 12 << 20;
/// Parts fetched at once.
const FETCH_AT_ONCE: usize = 8;

/// What a group gave.
pub(super) struct Rebuilt {
    pub bytes: Vec<u8>,
    /// Stripes that are neither good where the pack lies nor could be computed; their bytes are what lies there, or zeros.
    pub lacking: usize,
    /// Stripes that were computed.
    pub computed: usize,
    /// Whether they are what the pack's name promises.
    pub named: bool,
    /// Why something of the group did not read, of which nobody has said that it is not there: with it more might be computed.
    pub unread: Option<String>,
}

/// What reads need, and what they leave.
struct Reads<'a> {
    store: &'a dyn Store,
    blame: &'a Blame,
    unread: Mutex<Option<String>>,
}

impl Reads<'_> {
    /// A part of an object; nothing for one that is not there, and for one that does not read while the store is there. Anything else would take what is good for lost.
    async fn part(&self, key: &Key, range: Range<u64>) -> Result<Bytes, RepoError> {
        match self.store.get_range(key, range).await {
            Ok(bytes) => {
                self.blame.read_well();
                Ok(bytes)
            }
            Err(error) => self.pass_over(error.into()).await.map(|()| Bytes::new()),
        }
    }

    /// The header of a parity object that is of this group.
    async fn header(&self, entry: &Listed, group: &Group) -> Result<Option<Header>, RepoError> {
        match read_header(self.store, entry).await {
            Ok(header) => Ok(Some(header).filter(|header| header.group == *group)),
            Err(error) => self.pass_over(error).await.map(|()| None),
        }
    }

    async fn pass_over(&self, error: RepoError) -> Result<(), RepoError> {
        let RepoError::Store(error) = error else { return Ok(()) };
        if error.is_not_found() {
            return Ok(());
        }
        if !self.blame.is_the_objects(self.store, &error).await {
            return Err(error.into());
        }
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
        Ok(())
    }
}

/// A parity object and its header.
type Shard<'a> = (&'a Listed, &'a Header);

/// The bytes of a pack as well as its group knows them, with `window_bytes` of the group in memory. Headers say by which hashes stripes are judged, and one of them may lie:
/// where the bytes do not match the pack's name in the end, those that say something else are tried, and what one of the others alone may have spoilt.
pub(super) async fn rebuild(
    store: &dyn Store,
    blame: &Blame,
    found: &Found,
    pack: &ObjectId,
    window_bytes: u64,
) -> Result<Option<Rebuilt>, RepoError> {
    let reads = Reads { store, blame, unread: Mutex::default() };
    let Some(wanted) = found.group.number(pack) else { return Ok(None) };
    let mut headers = Vec::new();
    for entry in found.objects.values() {
        if let Some(header) = reads.header(entry, &found.group).await? {
            headers.push((entry, header));
        }
    }
    let mut best: Option<Rebuilt> = None;
    for (at, (_, header)) in headers.iter().enumerate() {
        if headers.iter().take(at).any(|(_, before)| before.members == header.members) {
            continue;
        }
        let alike = |one: &&(&Listed, Header)| one.1.members == header.members;
        let shards: Vec<Shard<'_>> = headers.iter().filter(alike).map(|(entry, header)| (*entry, header)).collect();
        let whole = by_header(&reads, &found.group, header, &shards, wanted, window_bytes).await?;
        let mut rebuilt = named(whole, *pack).await?;
        // All that was lacking was computed, and is wrong.
        let spoilt = !rebuilt.named && rebuilt.lacking == 0 && rebuilt.computed > 0;
        for without in (0..shards.len()).filter(|_| spoilt) {
            let mut others = shards.clone();
            others.remove(without);
            let again = by_header(&reads, &found.group, header, &others, wanted, window_bytes).await?;
            let again = named(again, *pack).await?;
            if again.named {
                rebuilt = again;
                break;
            }
        }
        let done = rebuilt.named;
        if done || best.as_ref().is_none_or(|best| rebuilt.lacking < best.lacking) {
            best = Some(rebuilt);
        }
        if done {
            break;
        }
    }
    if let Some(best) = &mut best {
        best.unread = reads.unread.into_inner().unwrap_or_else(PoisonError::into_inner);
    }
    Ok(best)
}

async fn named(rebuilt: Rebuilt, pack: ObjectId) -> Result<Rebuilt, RepoError> {
    let hashed = tokio::task::spawn_blocking(move || {
        let named = object_id(&rebuilt.bytes) == pack;
        Rebuilt { named, ..rebuilt }
    });
    hashed.await.map_err(|_| RepoError::Worker { what: "the hashing" })
}

async fn by_header(
    reads: &Reads<'_>,
    group: &Group,
    header: &Header,
    shards: &[Shard<'_>],
    wanted: usize,
    window_bytes: u64,
) -> Result<Rebuilt, RepoError> {
    let lacking = || RepoError::Worker { what: "the mending of a pack" };
    let member = group.members.get(wanted).ok_or_else(lacking)?;
    let stripe = group.stripe as usize;
    let length = member.length as usize;
    // Absent, rotten, too short: what is not there is computed.
    let there = reads.part(&layout::pack(&member.pack), 0..u64::from(member.length)).await?;
    let mut bytes = there.to_vec();
    drop(there);
    bytes.resize(length, 0);
    let hashes = header.members.get(wanted).map(Vec::as_slice).unwrap_or_default();
    let bad: Vec<usize> = bytes
        .chunks(stripe)
        .zip(hashes)
        .enumerate()
        .filter(|(_, (bytes, hash))| stripe_hash(bytes) != **hash)
        .map(|(at, _)| at)
        .collect();
    let mut rebuilt = Rebuilt { bytes, lacking: 0, computed: 0, named: false, unread: None };
    let objects = group.members.len() + shards.len();
    let window = usize::try_from(window_bytes).unwrap_or(usize::MAX) / (objects * stripe).max(1);
    let mut left = bad.as_slice();
    while let Some(first) = left.first() {
        let run = left.iter().zip(*first..first + window.max(1)).take_while(|(at, next)| **at == *next).count();
        let (stripes, rest) = left.split_at(run);
        left = rest;
        let window = Window::fetch(reads, header, shards, wanted, *first..first + stripes.len()).await?;
        let computed = tokio::task::spawn_blocking(move || window.compute(wanted)).await;
        let computed = computed.map_err(|_| lacking())?;
        for (at, computed) in stripes.iter().zip(computed) {
            let place = rebuilt.bytes.get_mut(at * stripe..length.min((at + 1) * stripe));
            match (computed, place) {
                (Some(computed), Some(place)) if computed.len() >= place.len() => {
                    place.copy_from_slice(computed.get(..place.len()).unwrap_or_default());
                    rebuilt.computed += 1;
                }
                _ => rebuilt.lacking += 1,
            }
        }
    }
    Ok(rebuilt)
}

/// Some stripes of all objects of a group, as far as they are good.
struct Window {
    stripes: usize,
    /// By member: its bytes in the window, stripe by stripe; `None` for one that is not good.
    members: Vec<Vec<Option<Bytes>>>,
    /// By parity object: its number, and the same.
    parity: Vec<(u8, Vec<Option<Bytes>>)>,
}

/// The good stripes of a part of an object that begins at `from`.
async fn part(
    reads: &Reads<'_>,
    key: &Key,
    from: u64,
    bytes: Range<u64>,
    stripe: usize,
    hashes: &[StripeHash],
) -> Result<Vec<Option<Bytes>>, RepoError> {
    let read =
        if bytes.is_empty() { Bytes::new() } else { reads.part(key, from + bytes.start..from + bytes.end).await? };
    let good = |(at, hash): (usize, &StripeHash)| {
        let end = read.len().min((at + 1) * stripe);
        let found = read.slice((at * stripe).min(end)..end);
        (stripe_hash(&found) == *hash).then_some(found)
    };
    Ok(hashes.iter().enumerate().map(good).collect())
}

impl Window {
    async fn fetch(
        reads: &Reads<'_>,
        header: &Header,
        shards: &[Shard<'_>],
        wanted: usize,
        stripes: Range<usize>,
    ) -> Result<Self, RepoError> {
        let group = &header.group;
        let stripe_bytes = group.stripe as usize;
        let range = |length: u32| {
            let at = |stripe: usize| (stripe as u64 * u64::from(group.stripe)).min(u64::from(length));
            at(stripes.start)..at(stripes.end)
        };
        let jobs: Vec<_> = (0..)
            .zip(group.members.iter().zip(&header.members))
            .map(|(number, (member, hashes)): (usize, _)| {
                let end = stripes.end.min(hashes.len());
                let hashes = hashes.get(stripes.start.min(end)..end).unwrap_or_default().to_vec();
                (number == wanted, layout::pack(&member.pack), range(member.length), hashes)
            })
            .collect();
        let members: Vec<Vec<Option<Bytes>>> = stream::iter(jobs)
            .map(|(is_wanted, key, bytes, hashes)| async move {
                if is_wanted {
                    Ok(vec![None; hashes.len()])
                } else {
                    part(reads, &key, 0, bytes, stripe_bytes, &hashes).await
                }
            })
            .buffered(FETCH_AT_ONCE)
            .try_collect()
            .await?;
        let mut window = Self { stripes: stripes.len(), members, parity: Vec::new() };
        // Of the parity only as much as it takes.
        for (entry, shard) in shards {
            if (0..window.stripes).all(|stripe| window.gone(stripe).len() <= window.pieces(stripe).len()) {
                break;
            }
            let hashes = shard.own.get(stripes.clone()).unwrap_or_default();
            let bytes = range(group.shard_bytes());
            let good = part(reads, &entry.key, group.header_bytes() as u64, bytes, stripe_bytes, hashes).await?;
            window.parity.push((shard.number, good));
        }
        Ok(window)
    }

    /// The members whose stripe is not good. One that ends before it is all zeros there.
    fn gone(&self, stripe: usize) -> Vec<u8> {
        let lacks = |member: &Vec<Option<Bytes>>| matches!(member.get(stripe), Some(None));
        (0..).zip(&self.members).filter(|(_, member)| lacks(member)).map(|(number, _)| number).collect()
    }

    /// The good parity of a stripe.
    fn pieces(&self, stripe: usize) -> Vec<(u8, &Bytes)> {
        self.parity.iter().filter_map(|(number, parts)| Some((*number, parts.get(stripe)?.as_ref()?))).collect()
    }

    /// The wanted member's stripes, each as long as the group's.
    fn compute(&self, wanted: usize) -> Vec<Option<Vec<u8>>> {
        (0..self.stripes).map(|stripe| self.compute_one(wanted, stripe)).collect()
    }

    fn compute_one(&self, wanted: usize, stripe: usize) -> Option<Vec<u8>> {
        let gone = self.gone(stripe);
        let mut pieces = self.pieces(stripe);
        if pieces.len() < gone.len() {
            return None;
        }
        pieces.truncate(gone.len());
        let numbers: Vec<u8> = pieces.iter().map(|(number, _)| *number).collect();
        let row = gone.iter().position(|member| usize::from(*member) == wanted)?;
        let factors = erasure::solve(&numbers, &gone)?.swap_remove(row);
        let mut sum = vec![0; pieces.first().map_or(0, |(_, bytes)| bytes.len())];
        for ((number, piece), factor) in pieces.into_iter().zip(factors) {
            // What the good members put into this piece is taken off, and the rest counts as much as the solution says.
            erasure::add(&mut sum, piece, factor);
            for (member, parts) in (0..).zip(&self.members) {
                if let Some(Some(bytes)) = parts.get(stripe) {
                    erasure::add(&mut sum, bytes, erasure::multiply(factor, erasure::coefficient(number, member)));
                }
            }
        }
        Some(sum)
    }
}
