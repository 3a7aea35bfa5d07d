//! One pack out of its group, stripe by stripe: what is rotten in it is computed from the same stripe of the others. So rot that lies in different stripes is mended
//! even where it touches more objects than the group has parity.
//!
//! Memory: the pack, and a window of the group (`WINDOW_BYTES`, or one stripe of each object if that is more).

use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use crate::base::id::ObjectId;
use crate::format::erasure;
use crate::format::parity::{Group, Header, StripeHash, stripe_hash};
use crate::repo::error::RepoError;
use crate::repo::layout;
use crate::repo::parity::{Found, read_header};
use crate::store::{Key, Listed, Store};

/// Bytes of a group that are in memory at once.
const WINDOW_BYTES: u64 = 12 << 20;
/// Parts fetched at once.
const FETCH_AT_ONCE: usize = 8;

/// What a group gave.
pub(super) struct Rebuilt {
    pub bytes: Vec<u8>,
    /// Stripes that are neither good where the pack lies nor could be computed; their bytes are what lies there, or zeros.
    pub lacking: usize,
    /// Stripes that were computed.
    pub computed: usize,
}

/// The bytes of a pack as well as its group knows them.
pub(super) async fn rebuild(store: &dyn Store, found: &Found, pack: &ObjectId) -> Result<Option<Rebuilt>, RepoError> {
    let group = &found.group;
    let Some((wanted, member)) = group.number(pack).and_then(|at| Some((at, group.members.get(at)?))) else {
        return Ok(None);
    };
    let mut known = None;
    for entry in found.objects.values() {
        if let Ok(header) = read_header(store, entry).await {
            known = Some(header).filter(|header| header.group == *group);
            break;
        }
    }
    let Some(header) = known else { return Ok(None) };
    let stripe = group.stripe as usize;
    let length = member.length as usize;
    // Absent, unreadable, too short: what is not there is computed.
    let there = store.get_range(&layout::pack(pack), 0..u64::from(member.length)).await.unwrap_or_default();
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
    let mut rebuilt = Rebuilt { bytes, lacking: 0, computed: 0 };
    let objects = group.members.len() + found.objects.len();
    let window = usize::try_from(WINDOW_BYTES).unwrap_or(usize::MAX) / (objects * stripe).max(1);
    let mut left = bad.as_slice();
    while let Some(first) = left.first() {
        let run = left.iter().zip(*first..first + window.max(1)).take_while(|(at, next)| **at == *next).count();
        let (stripes, rest) = left.split_at(run);
        left = rest;
        let window = Window::fetch(store, found, &header, wanted, *first..first + stripes.len()).await?;
        let computed = tokio::task::spawn_blocking(move || window.compute(wanted)).await;
        let computed = computed.map_err(|_| RepoError::Worker { what: "the mending of a pack" })?;
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
    Ok(Some(rebuilt))
}

/// Some stripes of all objects of a group, as far as they are good.
struct Window {
    stripes: usize,
    /// By member: its bytes in the window, stripe by stripe; `None` for one that is not good.
    members: Vec<Vec<Option<Bytes>>>,
    /// By parity object: its number, and the same.
    parity: Vec<(u8, Vec<Option<Bytes>>)>,
    stripe_bytes: usize,
}

/// The good stripes of a part of an object that begins at `from`.
async fn part(
    store: &dyn Store,
    key: &Key,
    from: u64,
    bytes: Range<u64>,
    stripe: usize,
    hashes: &[StripeHash],
) -> Vec<Option<Bytes>> {
    let read = if bytes.is_empty() {
        Bytes::new()
    } else {
        store.get_range(key, from + bytes.start..from + bytes.end).await.unwrap_or_default()
    };
    let good = |(at, hash): (usize, &StripeHash)| {
        let end = read.len().min((at + 1) * stripe);
        let found = read.slice((at * stripe).min(end)..end);
        (stripe_hash(&found) == *hash).then_some(found)
    };
    hashes.iter().enumerate().map(good).collect()
}

impl Window {
    async fn fetch(
        store: &dyn Store,
        found: &Found,
        header: &Header,
        wanted: usize,
        stripes: Range<usize>,
    ) -> Result<Self, RepoError> {
        let group = &found.group;
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
                    vec![None; hashes.len()]
                } else {
                    part(store, &key, 0, bytes, stripe_bytes, &hashes).await
                }
            })
            .buffered(FETCH_AT_ONCE)
            .collect()
            .await;
        let mut window = Self { stripes: stripes.len(), members, parity: Vec::new(), stripe_bytes };
        // Of the parity only as much as it takes.
        for (number, entry) in &found.objects {
            if (0..window.stripes).all(|stripe| window.gone(stripe).len() <= window.pieces(stripe).len()) {
                break;
            }
            let good = window.fetch_parity(store, group, entry, &stripes, range(group.shard_bytes())).await;
            window.parity.push((*number, good));
        }
        Ok(window)
    }

    async fn fetch_parity(
        &self,
        store: &dyn Store,
        group: &Group,
        entry: &Listed,
        stripes: &Range<usize>,
        bytes: Range<u64>,
    ) -> Vec<Option<Bytes>> {
        let header = match read_header(store, entry).await {
            Ok(header) if header.group == *group => header,
            _ => return Vec::new(),
        };
        let hashes = header.own.get(stripes.clone()).unwrap_or_default();
        part(store, &entry.key, group.header_bytes() as u64, bytes, self.stripe_bytes, hashes).await
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
