//! Where good bytes may still be: the versions that the store itself keeps, replicas, and parity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::base::causes::in_one_line;
use crate::base::id::RepositoryId;
use crate::crypto::hash::object_id;
use crate::crypto::recipients::AGE_BYTES_MAX;
use crate::format::pack::PACK_BYTES_MAX;
use crate::repair::RepairError;
use crate::repo::RepoError;
use crate::repo::layout;
use crate::repo::open::read_format;
use crate::repo::parity::{WINDOW_BYTES, WithParity};
use crate::repo::sealed::{RECORD_BYTES_MAX, get_within};
use crate::store::first::FirstVersions;
use crate::store::{Key, Store, StoreError};

/// Troubles with replicas that are told; a replica that is away would fill pages.
const TROUBLES_MAX: usize = 20;

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub store: Arc<dyn Store>,
    /// For people.
    pub name: String,
    /// What the store itself holds: older versions, parity.
    pub own: bool,
    /// Only of packs it knows more than the store itself.
    pub packs_only: bool,
}

/// All of them, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Sources {
    pub(super) list: Vec<Source>,
    /// Parity, which is among them.
    parity: Option<Arc<WithParity>>,
    troubles: Mutex<BTreeSet<String>>,
    unsure: Mutex<Unsure>,
}

/// Where a source answered with something else than bytes, or that it has none: what rests on its having none could not be taken back.
#[derive(Debug, Default)]
struct Unsure {
    /// By object, why.
    of: BTreeMap<Key, String>,
    of_all: Option<String>,
}

impl Sources {
    /// The older versions of `own`, where it keeps any, then the replicas; last parity, since one pack out of it costs reading a whole group.
    pub async fn new(own: &Arc<dyn Store>, replicas: Vec<Arc<dyn Store>>) -> Result<Self, StoreError> {
        let mut list = Vec::new();
        match own.versions(layout::FORMAT).await {
            Ok(_) => {
                let store: Arc<dyn Store> = Arc::new(FirstVersions::new(own.clone()));
                list.push(Source {
                    name: format!("an older version in {}", own.address()),
                    store,
                    own: true,
                    packs_only: false,
                });
            }
            Err(StoreError::Unsupported { .. } | StoreError::Denied { .. }) => {}
            Err(error) => return Err(error),
        }
        let replica = |store: Arc<dyn Store>| Source { name: store.address(), store, own: false, packs_only: false };
        list.extend(replicas.into_iter().map(replica));
        let mut parity = None;
        if !own.list(layout::PARITY).await?.is_empty() {
            let store = parity.insert(Arc::new(WithParity::new(own.clone(), WINDOW_BYTES))).clone();
            list.push(Source { name: format!("parity in {}", own.address()), store, own: true, packs_only: true });
        }
        Ok(Self { list, parity, ..Self::default() })
    }

    /// Refuses a replica of another repository, and a place that holds none. A replica whose `format.json` is damaged is taken: its objects prove themselves.
    pub(super) async fn insist_on(&self, id: RepositoryId) -> Result<(), RepairError> {
        for source in self.list.iter().filter(|source| !source.own) {
            match read_format(&*source.store).await {
                Ok(found) if found != id => {
                    return Err(RepairError::OtherRepository { replica: source.name.clone(), repository: id.hex() });
                }
                Err(RepoError::NoRepository { .. }) => {
                    return Err(RepairError::NoReplica { replica: source.name.clone() });
                }
                Err(error @ RepoError::Store(StoreError::Gone { .. } | StoreError::Denied { .. })) => {
                    return Err(error.into());
                }
                Ok(_) => {}
                Err(error) => self.trouble(source, &layout::format(), &error),
            }
        }
        Ok(())
    }

    /// The bytes that a name promises the hash of, from the first that has them whole, and its name.
    pub(super) async fn whole(&self, key: &Key) -> Option<(Bytes, &str)> {
        let id = layout::object_id(key)?;
        let limit = match key.as_str() {
            name if name.starts_with(layout::PACKS) => PACK_BYTES_MAX as u64,
            name if name.starts_with(layout::ACCESS) => AGE_BYTES_MAX as u64,
            _ => RECORD_BYTES_MAX,
        };
        let packs = key.as_str().starts_with(layout::PACKS);
        for source in self.list.iter().filter(|source| packs || !source.packs_only) {
            match get_within(&*source.store, key, limit).await {
                Ok(bytes) => {
                    let hashed = bytes.clone();
                    let found = tokio::task::spawn_blocking(move || object_id(&hashed)).await;
                    if found.is_ok_and(|found| found == id) {
                        return Some((bytes, &source.name));
                    }
                    // Where the store keeps no other version this is what is being put right.
                    if !source.own {
                        self.trouble(source, key, &RepoError::Damaged { key: key.clone() });
                    }
                }
                Err(RepoError::Store(error)) if error.is_not_found() => {}
                Err(error) => {
                    self.trouble(source, key, &error);
                    // Too long is wrong, too.
                    if matches!(error, RepoError::Store(_)) {
                        let why = format!("{} may have it: {}", source.name, in_one_line(&error));
                        self.unsure().of.insert(key.clone(), why);
                    }
                }
            }
        }
        None
    }

    fn unsure(&self) -> MutexGuard<'_, Unsure> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a source is away, or a part of it that nobody can name.
    pub(super) fn away(&self, source: &Source, error: &dyn std::error::Error) {
        self.trouble(source, &layout::format(), error);
        self.unsure().of_all = Some(format!("{} may have what is in it: {}", source.name, in_one_line(error)));
    }

    /// Why nobody can say that no source has what is lacking, whatever that is.
    pub(super) fn unsure_of_all(&self) -> Option<String> {
        self.unsure().of_all.clone()
    }

    /// Why nobody can say that no source has these bytes.
    pub(super) fn unsure_of(&self, key: &Key) -> Option<String> {
        let known = self.unsure().of.get(key).cloned();
        known.or_else(|| {
            let why = self.parity.as_ref()?.unsure_of(&layout::pack_id(key)?)?;
            Some(format!("parity may bring it back: {why}"))
        })
    }

    /// Notes that something could not be had.
    pub(super) fn trouble(&self, source: &Source, key: &Key, error: &dyn std::error::Error) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.len() < TROUBLES_MAX {
            troubles.insert(format!("{key} in {}: {}", source.name, in_one_line(error)));
        }
    }

    /// What was noted.
    pub(super) fn passed_over(&self) -> Vec<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
