//! The records of a repository: CBOR maps with small integer keys, sealed and padded. docs/format.md §5, §8.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::base::clock::Time;
use crate::base::id::{BlobId, ObjectId, RepositoryId};
use crate::base::secret::Secret;

/// The version of the format that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// Why a record's bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The inner length is longer than what is there.
    #[error("the record is cut short")]
    Short,
    /// Not the CBOR of this record.
    #[error("the record does not decode")]
    Cbor(#[source] minicbor::decode::Error),
}

/// A record's plaintext: length u32le ‖ CBOR ‖ zeros, so that with `overhead` bytes around it the whole has a padded size.
///
/// # Panics
/// Never: writing CBOR to memory does not fail for these types.
#[must_use]
pub fn encode<T: Encode<()>>(record: &T, overhead: usize) -> Vec<u8> {
    let mut out = vec![0; 4];
    #[expect(clippy::expect_used, reason = "writing to a Vec cannot fail")]
    minicbor::encode(record, &mut out).expect("writing to memory");
    let body = u32::try_from(out.len() - 4).unwrap_or(u32::MAX).to_le_bytes();
    for (to, from) in out.iter_mut().zip(body) {
        *to = from;
    }
    let whole = crate::format::padding::padded(out.len() + overhead);
    out.resize(whole - overhead, 0);
    out
}

/// What [`encode`] wrote.
pub fn decode<'b, T: Decode<'b, ()>>(plain: &'b [u8]) -> Result<T, RecordError> {
    let (length, rest) = plain.split_first_chunk::<4>().ok_or(RecordError::Short)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    minicbor::decode(rest.get(..length).ok_or(RecordError::Short)?).map_err(RecordError::Cbor)
}

/// `format.json`, in clear.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct FormatFile {
    /// Always `homelab-dr`.
    pub magic: String,
    /// The version of the format.
    pub version: u32,
    /// The repository's id in hex.
    pub repository: String,
}

/// What `access/<id>.age` holds, sealed to the recipients.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub struct AccessRecord {
    /// Must be the repository it lies in.
    #[n(0)]
    pub repository: RepositoryId,
    /// Seed of the root signing key.
    #[n(1)]
    pub root: Secret,
    /// Makes blob ids.
    #[n(2)]
    pub chunk_id_key: Secret,
    /// Decides where files are cut.
    #[n(3)]
    pub chunker_key: Secret,
    /// The keys of every epoch.
    #[n(4)]
    pub epochs: Vec<EpochKeys>,
    /// The recipients it is sealed to, as they were given.
    #[n(5)]
    pub recipients: Vec<String>,
    /// Counts up with every change of the recipients; readers use the highest that opens.
    #[n(6)]
    pub generation: u64,
    /// When it was made.
    #[n(7)]
    pub created: Time,
}

/// The keys of an epoch.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub struct EpochKeys {
    /// Its number, from 1.
    #[n(0)]
    pub number: u32,
    /// Seals and opens metadata.
    #[n(1)]
    pub metadata_key: Secret,
    /// Opens sessions.
    #[n(2)]
    pub private: Secret,
}

/// `epochs/<n>`: what a writer needs to know of an epoch, signed by the root key.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct SignedEpoch {
    /// The CBOR of an [`EpochRecord`].
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub body: Vec<u8>,
    /// Ed25519 over it; see `crypto::sign`.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub signature: Vec<u8>,
}

/// The body of a [`SignedEpoch`].
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct EpochRecord {
    /// Its number, from 1.
    #[n(0)]
    pub number: u32,
    /// Its X25519 public key: sessions are wrapped to it.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub public: [u8; 32],
    /// BLAKE3 `derive_key("homelab-dr v1 metadata key commitment", metadata key)`.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub metadata_commitment: [u8; 32],
    /// BLAKE3 of the recipients, sorted and joined by line feeds.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub recipients_hash: [u8; 32],
    /// When it began.
    #[n(4)]
    pub created: Time,
    /// Seconds of object lock that every object gets; 0 for none.
    #[n(5)]
    pub lock_seconds: u64,
    /// The first epoch whose records are accepted: those before it had a writer key that was retired. Left out if that never happened.
    #[n(6)]
    pub accepted_from: Option<u32>,
}

impl EpochRecord {
    /// The first epoch whose records are accepted: the first of all if no writer key was ever retired.
    #[must_use]
    pub fn accepted_from(&self) -> u32 {
        self.accepted_from.unwrap_or(1)
    }
}

/// `sessions/<id>`: a session's content key wrapped to the epoch.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct SessionRecord {
    /// The epoch it is wrapped to.
    #[n(0)]
    pub epoch: u32,
    /// See `crypto::content`.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub wrap: Vec<u8>,
    /// When it began.
    #[n(2)]
    pub created: Time,
}

/// `snapshots/<id>`: a snapshot, or a tombstone for forgotten ones. Together they form a chain in which gaps show.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum ChainRecord {
    /// A backup that was finished.
    #[n(0)]
    Snapshot(#[n(0)] Box<SnapshotRecord>),
    /// What `forget` removed.
    #[n(1)]
    Tombstone(#[n(0)] Tombstone),
}

/// The place of a record in the chain.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, Default)]
#[cbor(map)]
pub struct Link {
    /// One more than the highest number among its parents.
    #[n(0)]
    pub sequence: u64,
    /// The heads of the chain when it was written, sorted: records that no other named as a parent.
    #[n(1)]
    pub parents: Vec<ObjectId>,
}

/// A snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct SnapshotRecord {
    /// Its place in the chain.
    #[n(0)]
    pub link: Link,
    /// What was backed up, by the name its owner gives it.
    #[n(1)]
    pub source: String,
    /// When the scan began.
    #[n(2)]
    pub started: Time,
    /// When everything was stored.
    #[n(3)]
    pub finished: Time,
    /// The paths that were read, raw.
    #[n(4)]
    pub paths: Vec<minicbor::bytes::ByteVec>,
    /// The root of the tree.
    #[n(5)]
    pub root: TreeRoot,
    /// What it cost and holds.
    #[n(6)]
    pub statistics: Statistics,
    /// What went wrong with single files; at most [`PROBLEMS_MAX`] of them, `statistics.problems` has the number.
    #[n(7)]
    pub problems: Vec<ProblemRecord>,
    /// Tags given by the owner.
    #[n(8)]
    pub tags: BTreeMap<String, String>,
    /// Version of the program that wrote it.
    #[n(9)]
    pub program: String,
    /// Name of the machine that wrote it.
    #[n(10)]
    pub host: String,
    /// The snapshot whose tree told what is unchanged.
    #[n(11)]
    pub based_on: Option<ObjectId>,
    /// `true` if its one file is all that was on a block device; else left out.
    #[n(12)]
    pub device: Option<bool>,
    /// The run of a configured backup that made it: what that has made besides says the same.
    #[n(13)]
    pub run: Option<String>,
    /// Bytes of the blocks that databases and images were cut in, if others than usual were asked for: the next backup of the source keeps them.
    #[n(14)]
    pub blocks: Option<u32>,
}

/// How many problems a snapshot record spells out.
pub const PROBLEMS_MAX: usize = 1000;

/// The root of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct TreeRoot {
    /// Its blob.
    #[n(0)]
    pub blob: BlobId,
    /// 0: the blob is a leaf; otherwise a node, this many levels above the leaves.
    #[n(1)]
    pub level: u8,
}

/// Numbers of a backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, Default, serde::Serialize, serde::Deserialize)]
#[cbor(map)]
pub struct Statistics {
    /// Entries that are regular files (hard links counted once).
    #[n(0)]
    pub files: u64,
    /// Entries that are directories.
    #[n(1)]
    pub directories: u64,
    /// Other entries.
    #[n(2)]
    pub others: u64,
    /// Sum of the sizes of the files, holes included.
    #[n(3)]
    pub bytes: u64,
    /// Files that were opened and read.
    #[n(4)]
    pub files_read: u64,
    /// Bytes that were read.
    #[n(5)]
    pub bytes_read: u64,
    /// Plaintext bytes of blobs that were new to the repository.
    #[n(6)]
    pub bytes_new: u64,
    /// Bytes of new objects.
    #[n(7)]
    pub bytes_stored: u64,
    /// Problems with single files.
    #[n(8)]
    pub problems: u64,
}

/// A problem with one file.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct ProblemRecord {
    /// The file, raw.
    #[n(0)]
    pub path: minicbor::bytes::ByteVec,
    /// What went wrong.
    #[n(1)]
    pub message: String,
}

/// Says which records of the chain were forgotten on purpose.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Tombstone {
    /// Its place in the chain.
    #[n(0)]
    pub link: Link,
    /// When.
    #[n(1)]
    pub created: Time,
    /// Every record forgotten so far that another may still name, sorted.
    #[n(2)]
    pub forgotten: Vec<ObjectId>,
    /// By which machine.
    #[n(3)]
    pub host: String,
}

/// `checkpoints/<id>`: what a running backup relies on, so that no pruner takes it away.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Checkpoint {
    /// The packs it wrote or deduplicates to.
    #[n(0)]
    pub packs: Vec<ObjectId>,
    /// When it was written, by the writer's clock; its age is counted by the store's.
    #[n(1)]
    pub created: Time,
}

/// `doomed/<id>`: objects that will be deleted after the grace period. Never withdrawn.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct DoomMark {
    /// Names of the doomed objects.
    #[n(0)]
    pub objects: Vec<String>,
    /// When, by the pruner's clock; its age is counted by the store's.
    #[n(1)]
    pub created: Time,
}

/// `drills/<id>`: proof that an identity opened the repository.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct KeyDrill {
    /// When.
    #[n(0)]
    pub at: Time,
    /// The recipient whose identity it was, where that can be told.
    #[n(1)]
    pub recipient: String,
    /// The machine.
    #[n(2)]
    pub host: String,
    /// The newest snapshot of which a file was opened, if there was one.
    #[n(3)]
    pub snapshot: Option<ObjectId>,
    /// The heads of the chain that it saw, and what was missing from it.
    #[n(4)]
    pub heads: Vec<ObjectId>,
}

/// `verified/<id>`: snapshots of which every content blob was read from this store, decrypted and compared with its id; and those that were found damaged.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct VerifiedRecord {
    /// When the reading was over, by the clock of the machine that read.
    #[n(0)]
    pub at: Time,
    /// The snapshots that are good, sorted.
    #[n(1)]
    pub snapshots: Vec<ObjectId>,
    /// The machine.
    #[n(2)]
    pub host: String,
    /// The snapshots that are damaged, sorted; none if there is none.
    #[n(3)]
    pub damaged: Option<Vec<ObjectId>>,
    /// What it witnesses of the chain beside those in `snapshots`, sorted: its heads, and what was missing from it; none if there is none.
    #[n(4)]
    pub chain: Option<Vec<ObjectId>>,
}

/// `rehearsals/<id>`: what a drill of a recovery came to.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, serde::Serialize)]
#[cbor(map)]
pub struct RehearsalRecord {
    /// The id of its run, 8 hex digits.
    #[n(0)]
    pub run: String,
    /// When it was begun, by the clock of the machine that held it.
    #[n(1)]
    pub begun: Time,
    /// When it was over.
    #[n(2)]
    pub ended: Time,
    /// What it came to.
    #[n(3)]
    pub outcome: Rehearsed,
    /// The runbook; none where sources alone were drilled.
    #[n(4)]
    pub runbook: Option<RehearsedBook>,
    /// What it brought back, or tried to.
    #[n(5)]
    pub sources: Vec<RehearsedSource>,
    /// Where to.
    #[n(6)]
    pub target: RehearsalTarget,
    /// Milliseconds that the recovery took, without what the drill itself does before and after; none if it came to no end.
    #[n(7)]
    pub took: Option<u64>,
    /// Seconds that it might have taken.
    #[n(8)]
    pub rto: Option<u64>,
    /// Seconds that the data might have been old.
    #[n(9)]
    pub rpo: Option<u64>,
    /// Checks of all steps.
    #[n(10)]
    pub checks: u64,
    /// Checks that were seen to hold.
    #[n(11)]
    pub held: u64,
    /// Steps, checks and kinds of objects that were not rehearsed.
    #[n(12)]
    pub left_out: u64,
    /// What could not be verified on that machine, and what a snapshot lacked; at most [`REMARKS_MAX`].
    #[n(13)]
    pub remarks: Vec<String>,
    /// Why it failed; empty if it did not.
    #[n(14)]
    pub why: String,
    /// The recipient whose identity was used, where that can be told.
    #[n(15)]
    pub recipient: String,
    /// The machine.
    #[n(16)]
    pub host: String,
    /// Version of the program.
    #[n(17)]
    pub program: String,
    /// What the drill made and could not take away; at most [`REMARKS_MAX`].
    #[n(18)]
    pub left_behind: Vec<String>,
}

/// How many remarks a rehearsal record spells out.
pub const REMARKS_MAX: usize = 100;

/// What a drill came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rehearsed {
    /// All came back, and every check held; no objective was missed.
    #[n(0)]
    Passed,
    /// The same, and an objective was missed.
    #[n(1)]
    Missed,
    /// Something did not come back, a check did not hold, or nothing was there to bring back or to check.
    #[n(2)]
    Failed,
    /// It was stopped.
    #[n(3)]
    Stopped,
}

/// Where a drill recovered into.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RehearsalTarget {
    /// A folder of the machine.
    #[n(0)]
    Folder,
    /// Namespaces of a cluster.
    #[n(1)]
    Cluster,
}

/// The runbook of a drill.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, serde::Serialize)]
#[cbor(map)]
pub struct RehearsedBook {
    /// Its id.
    #[n(0)]
    pub id: String,
    /// BLAKE3 of its text, in hex.
    #[n(1)]
    pub digest: String,
}

/// A source in a drill.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, serde::Serialize)]
#[cbor(map)]
pub struct RehearsedSource {
    /// Its name.
    #[n(0)]
    pub source: String,
    /// The snapshot that was taken.
    #[n(1)]
    pub snapshot: ObjectId,
    /// When that was begun.
    #[n(2)]
    pub started: Time,
    /// How old it was when the drill was begun, in seconds.
    #[n(3)]
    pub age: u64,
    /// Bytes in it.
    #[n(4)]
    pub bytes: u64,
    /// Milliseconds until it was back and verified; none if it was not.
    #[n(5)]
    pub took: Option<u64>,
    /// Whether the drill brought back only a part of what the snapshot holds, or nothing looked at it; absent if not.
    #[n(6)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<bool>,
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
