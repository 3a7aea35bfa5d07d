//! Epochs: which have begun, by their names, and what proves the record of one.

use crate::base::secret::Secret;
use crate::crypto::meta::MetaKeys;
use crate::crypto::sign::{self, RootPublic};
use crate::crypto::writer_key::WriterKey;
use crate::format::kind::RecordKind;
use crate::format::record::{EpochRecord, SignedEpoch};
use crate::repo::error::RepoError;
use crate::repo::{layout, sealed};
use crate::store::{Listed, Store};

/// Most epochs beyond those of the identity that are looked at: a person removes few recipients, and planted names cost a read each.
const LATER_EPOCHS_MAX: usize = 256;

/// What an epoch's record says of its metadata key.
pub(crate) fn metadata_commitment(key: &Secret) -> [u8; 32] {
    blake3::derive_key("homelab-dr v1 metadata key commitment", key.expose())
}

/// The number that a name below `epochs/` says; `None` for any other name.
fn number_of(entry: &Listed) -> Option<u32> {
    entry.key.file_name().parse().ok().filter(|number| layout::epoch(*number) == entry.key)
}

/// Numbers below `epochs/` above `held`, the lowest first.
pub(super) fn later_epochs(begun: &[Listed], held: u32) -> Vec<u32> {
    let mut later: Vec<u32> = begun.iter().filter_map(number_of).filter(|number| *number > held).collect();
    later.sort_unstable();
    later.truncate(LATER_EPOCHS_MAX);
    later
}

/// The record of one epoch, if the holder of `key` can prove it: sealed with its metadata key and signed by the root key.
pub(crate) async fn proven_epoch(store: &dyn Store, key: &WriterKey, number: u32) -> Result<EpochRecord, RepoError> {
    let meta = MetaKeys::new(key.repository, number, key.metadata_key.duplicate());
    read_epoch(store, &meta, &key.root, &key.metadata_key).await
}

/// The numbers below `epochs/` above `held`, as far as they are looked at.
pub(crate) async fn epochs_above(store: &dyn Store, held: u32) -> Result<Vec<u32>, RepoError> {
    Ok(later_epochs(&store.list(layout::EPOCHS).await?, held))
}

/// The highest number below `epochs/`.
pub(super) async fn latest_epoch(store: &dyn Store) -> Result<Option<u32>, RepoError> {
    Ok(latest_of(&store.list(layout::EPOCHS).await?))
}

pub(super) fn latest_of(listed: &[Listed]) -> Option<u32> {
    listed.iter().filter_map(number_of).max()
}

/// Reads the current epoch's record and checks everything that can be checked of it.
pub(super) async fn read_epoch(
    store: &dyn Store,
    meta: &MetaKeys,
    root: &RootPublic,
    metadata_key: &Secret,
) -> Result<EpochRecord, RepoError> {
    let number = meta.epoch();
    let key = layout::epoch(number);
    let fail = |reason: &str| RepoError::Epoch { store: store.address(), epoch: number, reason: reason.to_owned() };
    let signed: SignedEpoch = sealed::read_at(store, meta, RecordKind::Epoch, &key).await?;
    let signature = signed.signature.as_slice().try_into().map_err(|_| fail("its signature is cut short"))?;
    let id = meta.repository();
    root.verify(sign::EPOCH, &id, &signed.body, signature).map_err(|error| fail(&error.to_string()))?;
    let epoch: EpochRecord = minicbor::decode(&signed.body).map_err(|_| fail("it does not decode"))?;
    if epoch.number != number {
        return Err(fail("it is the record of another epoch"));
    }
    if epoch.metadata_commitment != metadata_commitment(metadata_key) {
        return Err(fail("it was made for another metadata key"));
    }
    Ok(epoch)
}
