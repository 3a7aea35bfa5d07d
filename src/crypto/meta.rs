//! Metadata: XChaCha20-Poly1305 with random nonces under the epoch's metadata key, which every writer holds.
//!
//! ```text
//! sealed  = version u8 = 1 ‖ epoch u32le ‖ nonce [24] ‖ ciphertext ‖ tag [16]
//! ad (64) = "homelab-dr" ‖ version u8 ‖ repository id [16] ‖ epoch u32le ‖ kind u8 ‖ id [32]
//! ```
//! `id` is the blob's id for metadata blobs, a random number for the table of a pack, and zero for records that are objects (whose name is the hash of
//! these very bytes). What lies inside a pack shows no boundary: there version and epoch are masked with (XOR) the first five bytes of `id`, which
//! an observer of the store does not know.

use std::collections::BTreeMap;

use crate::base::id::{BlobId, RepositoryId};
use crate::base::secret::{Secret, random};
use crate::crypto::aead::{SealError, TAG_BYTES, extended};
use crate::format::kind::{Kind, RecordKind};

/// Version of every seal in this format.
pub const SEAL_VERSION: u8 = 1;
/// Bytes that sealing adds to metadata.
pub const META_OVERHEAD: usize = 1 + 4 + 24 + 16;

/// Why sealed metadata did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// Shorter than any seal.
    #[error("sealed metadata is cut short")]
    Short,
    /// Of a later format.
    #[error("sealed with version {0}, which this program does not know")]
    Version(u8),
    /// Sealed in an epoch whose key is not at hand.
    #[error("sealed in epoch {0}, whose key is not held here")]
    Epoch(u32),
    /// A record of an epoch whose key was retired: whoever stole that key can have made it at any time.
    #[error("sealed in epoch {0}, whose writer key was retired")]
    Retired(u32),
    /// Wrong key, or the bytes were changed.
    #[error("the seal does not open: wrong key or changed bytes")]
    Broken,
}

/// What the associated data names.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A metadata blob.
    Blob(Kind, &'a BlobId),
    /// A record that is an object, or lies at a place that everybody knows.
    Record(RecordKind),
    /// A record inside a pack, whose place must not show: bound to and masked with a random number.
    Hidden(RecordKind, &'a [u8; 32]),
}

/// Bytes before the nonce: version and epoch.
const HEAD_BYTES: usize = 5;

/// The epoch that the head of a record's seal names; to be believed only once the seal has opened.
#[must_use]
pub fn epoch_of_record(sealed: &[u8]) -> Option<u32> {
    let [_, epoch @ ..] = sealed.first_chunk::<HEAD_BYTES>()?;
    Some(u32::from_le_bytes(*epoch))
}

impl Subject<'_> {
    const fn kind(&self) -> u8 {
        match self {
            Self::Blob(kind, _) => kind.number(),
            Self::Record(kind) | Self::Hidden(kind, _) => *kind as u8,
        }
    }

    /// A blob is proven by its id, whichever key sealed it.
    const fn outlives_its_key(&self) -> bool {
        match self {
            Self::Blob(..) => true,
            Self::Record(kind) | Self::Hidden(kind, _) => kind.outlives_its_key(),
        }
    }

    /// What binds the seal; its start masks the head. Zero where nothing is masked.
    const fn id(&self) -> [u8; 32] {
        match self {
            Self::Blob(_, id) => *id.as_bytes(),
            Self::Record(_) => [0; 32],
            Self::Hidden(_, id) => **id,
        }
    }
}

/// The metadata keys of the epochs that are known, and which one seals.
pub struct MetaKeys {
    repository: RepositoryId,
    current: u32,
    key: Secret,
    earlier: BTreeMap<u32, Secret>,
    /// Records of epochs before this one are refused; see [`RecordKind::outlives_its_key`].
    accepted_from: u32,
    /// What does not open and is of an epoch before this one was sealed with a key that is not held.
    held_from: u32,
}

/// The fixed-size associated data of a seal; see the module.
pub(super) fn associated_data(repository: &RepositoryId, epoch: u32, kind: u8, id: &[u8; 32]) -> [u8; 64] {
    let mut ad = [0; 64];
    let parts: [&[u8]; 6] = [b"homelab-dr", &[SEAL_VERSION], repository.as_bytes(), &epoch.to_le_bytes(), &[kind], id];
    for (to, from) in ad.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    ad
}

impl MetaKeys {
    /// Seals under `key` of epoch `current`; keys of further epochs are added with [`MetaKeys::add`].
    #[must_use]
    pub fn new(repository: RepositoryId, current: u32, key: Secret) -> Self {
        Self { repository, current, key, earlier: BTreeMap::new(), accepted_from: 0, held_from: 0 }
    }

    /// Adds the key of another epoch, for opening only.
    pub fn add(&mut self, epoch: u32, key: Secret) {
        self.earlier.insert(epoch, key);
    }

    /// Refuses records of epochs before `epoch` from now on.
    pub(crate) const fn accept_from(&mut self, epoch: u32) {
        self.accepted_from = epoch;
    }

    /// Says that of epochs before `epoch` other keys may be right than those that are held.
    pub(crate) const fn held_from(&mut self, epoch: u32) {
        self.held_from = epoch;
    }

    /// The same keys a second time, for another view of the repository.
    pub(crate) fn duplicate(&self) -> Self {
        let earlier = self.earlier.iter().map(|(epoch, key)| (*epoch, key.duplicate())).collect();
        let Self { repository, current, accepted_from, held_from, .. } = *self;
        Self { repository, current, key: self.key.duplicate(), earlier, accepted_from, held_from }
    }

    /// The epoch that seals.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.current
    }

    /// The repository that every seal is bound to.
    #[must_use]
    pub const fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// Seals `plaintext`.
    pub fn seal(&self, subject: Subject<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce: [u8; 24] = random()?;
        let id = subject.id();
        let ad = associated_data(&self.repository, self.current, subject.kind(), &id);
        let mut out = Vec::with_capacity(plaintext.len() + META_OVERHEAD);
        let [a, b, c, d] = self.current.to_le_bytes();
        out.extend(masked([SEAL_VERSION, a, b, c, d], &id));
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let (cipher, nonce) = extended(self.key.expose(), &nonce);
        let tag = cipher.seal(nonce, &ad, out.get_mut(start..).unwrap_or_default())?;
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Opens what [`MetaKeys::seal`] made.
    pub fn open(&self, subject: Subject<'_>, sealed: &[u8]) -> Result<Vec<u8>, MetaError> {
        let id = subject.id();
        let (head, body) = sealed.split_first_chunk::<HEAD_BYTES>().ok_or(MetaError::Short)?;
        let [version, epoch @ ..] = masked(*head, &id);
        if version != SEAL_VERSION {
            return Err(MetaError::Version(version));
        }
        let epoch = u32::from_le_bytes(epoch);
        if epoch < self.accepted_from && !subject.outlives_its_key() {
            return Err(MetaError::Retired(epoch));
        }
        let (nonce, ciphertext) = body.split_first_chunk::<24>().ok_or(MetaError::Short)?;
        let key =
            if epoch == self.current { &self.key } else { self.earlier.get(&epoch).ok_or(MetaError::Epoch(epoch))? };
        let ad = associated_data(&self.repository, epoch, subject.kind(), &id);
        let (ciphertext, tag) = ciphertext.split_last_chunk::<TAG_BYTES>().ok_or(MetaError::Short)?;
        let mut plain = ciphertext.to_vec();
        let (cipher, nonce) = extended(key.expose(), nonce);
        let broken = if epoch < self.held_from { MetaError::Epoch(epoch) } else { MetaError::Broken };
        cipher.open(nonce, &ad, &mut plain, tag).ok_or(broken)?;
        Ok(plain)
    }
}

/// XORs a head with the start of an id; twice gives it back.
pub(super) fn masked<const N: usize>(mut head: [u8; N], id: &[u8; 32]) -> [u8; N] {
    for (byte, mask) in head.iter_mut().zip(id) {
        *byte ^= mask;
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> MetaKeys {
        MetaKeys::new(RepositoryId::new([9; 16]), 1, Secret::new([byte; 32]))
    }

    #[test]
    fn what_was_sealed_opens_only_as_what_it_is() {
        let id = BlobId::new([3; 32]);
        let sealed = keys(1).seal(Subject::Blob(Kind::Leaf, &id), b"names").expect("random");
        assert_eq!(sealed.len(), 5 + META_OVERHEAD);
        assert_eq!(keys(1).open(Subject::Blob(Kind::Leaf, &id), &sealed).as_deref(), Ok(&b"names"[..]));
        for subject in [
            Subject::Blob(Kind::Node, &id),
            Subject::Blob(Kind::Leaf, &BlobId::new([4; 32])),
            Subject::Record(RecordKind::Index),
        ] {
            assert!(keys(1).open(subject, &sealed).is_err());
        }
        assert_eq!(keys(2).open(Subject::Blob(Kind::Leaf, &id), &sealed), Err(MetaError::Broken));
        let elsewhere = MetaKeys::new(RepositoryId::new([8; 16]), 1, Secret::new([1; 32]));
        assert_eq!(elsewhere.open(Subject::Blob(Kind::Leaf, &id), &sealed), Err(MetaError::Broken));
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let sealed = keys(1).seal(Subject::Record(RecordKind::Index), b"abc").expect("random");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys(1).open(Subject::Record(RecordKind::Index), &changed).is_err(), "byte {at}");
            assert!(keys(1).open(Subject::Record(RecordKind::Index), &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn records_of_a_retired_key_are_refused_and_blobs_are_not() {
        let id = BlobId::new([3; 32]);
        let (blob, record) = (Subject::Blob(Kind::Leaf, &id), Subject::Record(RecordKind::Snapshot));
        let (table, mark) =
            (Subject::Hidden(RecordKind::PackTable, &[5; 32]), Subject::Hidden(RecordKind::Doomed, &[5; 32]));
        let of = |epoch, byte| MetaKeys::new(RepositoryId::new([9; 16]), epoch, Secret::new([byte; 32]));
        let mut now = of(3, 3);
        assert_eq!(now.epoch(), 3);
        now.add(2, Secret::new([2; 32]));
        now.add(1, Secret::new([1; 32]));
        now.accept_from(2);
        let opens = |epoch: u8, subject| {
            let sealed = of(epoch.into(), epoch).seal(subject, b"x").expect("random");
            let answers = [&now, &now.duplicate()].map(|keys| keys.open(subject, &sealed).map(drop));
            assert_eq!(answers[0], answers[1]);
            answers[0]
        };
        for subject in [record, mark] {
            assert_eq!([1, 2, 3].map(|epoch| opens(epoch, subject)), [Err(MetaError::Retired(1)), Ok(()), Ok(())]);
        }
        for subject in [blob, table] {
            assert_eq!([1, 2, 3].map(|epoch| opens(epoch, subject)), [Ok(()); 3]);
        }
        assert_eq!(opens(4, blob), Err(MetaError::Epoch(4)));
    }

    #[test]
    fn a_key_that_may_not_be_the_right_one_is_no_proof_of_damage() {
        let record = Subject::Record(RecordKind::Index);
        let mut held = MetaKeys::new(RepositoryId::new([9; 16]), 3, Secret::new([3; 32]));
        held.add(1, Secret::new([7; 32]));
        held.add(2, Secret::new([7; 32]));
        held.held_from(2);
        for (epoch, why) in [(1, MetaError::Epoch(1)), (2, MetaError::Broken), (3, MetaError::Broken)] {
            let other = MetaKeys::new(RepositoryId::new([9; 16]), epoch, Secret::new([8; 32]));
            let sealed = other.seal(record, b"x").expect("random");
            assert_eq!(epoch_of_record(&sealed), Some(epoch));
            assert_eq!(held.open(record, &sealed), Err(why));
        }
        assert_eq!(epoch_of_record(&[1, 2, 3, 4]), None);
    }

    #[test]
    fn the_head_of_what_lies_in_a_pack_is_masked() {
        let sealed = keys(1).seal(Subject::Blob(Kind::Leaf, &BlobId::new([0xf3; 32])), b"").expect("random");
        assert_eq!(sealed[..5], [0xf2, 0xf2, 0xf3, 0xf3, 0xf3]);
        assert_eq!(masked([0xff, 1], &[0x0f; 32]), [0xf0, 0x0e]);
    }
}
