//! Parity objects as they lie there: which groups there are, and what they give back. docs/format.md §6.5.
//!
//! Nothing here is believed: a header only says where to look, and whatever comes out has to match the name of a pack (`rebuild`).
//! Deliberately absent: making groups (`crate::parity` does), and judging what is lost (`check` does).

mod rebuild;
mod within;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use futures::stream::{self, StreamExt};

use crate::base::id::ObjectId;
use crate::format::parity::{self, Header, OBJECT_BYTES_MAX, ParityError};
use crate::repo::blame::Blame;
use crate::repo::error::RepoError;
use crate::repo::layout;
use crate::repo::named::read_as_named;
use crate::store::{Listed, Store};

pub use rebuild::WINDOW_BYTES;
pub use within::WithParity;

/// Headers fetched at once.
const FETCH_AT_ONCE: usize = 8;
/// Parity objects read whole at once: each may be as long as a pack.
const READ_AT_ONCE: usize = 3;
/// What is read first of each: a group of twenty packs as they are written has its header in it.
const HEADER_BYTES_FIRST: u64 = 64 << 10;

/// A group and what is there of its parity objects.
#[derive(Debug, Clone)]
pub struct Found {
    /// The group.
    pub group: parity::Group,
    /// Its parity objects by their numbers, as far as their headers and sizes are right.
    pub objects: BTreeMap<u8, Listed>,
}

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    /// In the order of what they are.
    pub found: Vec<Found>,
    /// Objects that are of no use, each with why.
    pub bad: Vec<(Listed, RepoError)>,
}

impl Groups {
    /// The groups that each pack is in.
    #[must_use]
    pub fn by_pack(&self) -> HashMap<ObjectId, Vec<usize>> {
        let mut by_pack: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        for (at, found) in self.found.iter().enumerate() {
            for member in &found.group.members {
                by_pack.entry(member.pack).or_default().push(at);
            }
        }
        by_pack
    }
}

/// The header of one object, as long as the store says that the object is.
pub(crate) async fn read_header(store: &dyn Store, entry: &Listed) -> Result<Header, RepoError> {
    let key = &entry.key;
    if entry.size > OBJECT_BYTES_MAX {
        return Err(RepoError::TooLarge { key: key.clone(), bytes: entry.size, limit: OBJECT_BYTES_MAX });
    }
    let fail = |source| RepoError::Parity { key: key.clone(), source };
    if entry.size == 0 {
        return Err(fail(ParityError::Short));
    }
    let mut bytes = store.get_range(key, 0..HEADER_BYTES_FIRST.min(entry.size)).await?;
    let length = parity::header_bytes(&bytes).map_err(fail)?;
    if length > bytes.len() {
        bytes = store.get_range(key, 0..length as u64).await?;
    }
    Header::parse_object(&bytes, entry.size).map_err(fail)
}

/// Reads the headers of what is listed; with `whole` all of each, compared with its name. An error means that the store is away; what is wrong with single objects
/// is told.
pub async fn load(store: &dyn Store, listed: Vec<Listed>, whole: bool) -> Result<Groups, RepoError> {
    let blame = Blame::default();
    let listed = listed.into_iter().filter(|entry| layout::object_id(&entry.key).is_some());
    let mut reads = stream::iter(listed)
        .map(|entry| async move {
            let read = read(store, &entry, whole).await;
            (entry, read)
        })
        .buffered(if whole { READ_AT_ONCE } else { FETCH_AT_ONCE });
    let mut groups: BTreeMap<parity::Group, BTreeMap<u8, Listed>> = BTreeMap::new();
    let mut bad = Vec::new();
    while let Some((entry, read)) = reads.next().await {
        match read {
            Ok(header) => {
                blame.read_well();
                match groups.entry(header.group).or_default().entry(header.number) {
                    Entry::Vacant(place) => _ = place.insert(entry),
                    Entry::Occupied(_) => {
                        // The same group always has the same bytes: one of the two lies.
                        let source = ParityError::Group("another object says that it is the same");
                        bad.push((entry.clone(), RepoError::Parity { key: entry.key, source }));
                    }
                }
            }
            // Removed since it was listed.
            Err(RepoError::Store(error)) if error.is_not_found() => {}
            Err(RepoError::Store(error)) if !blame.is_the_objects(store, &error).await => return Err(error.into()),
            Err(error) => bad.push((entry, error)),
        }
    }
    let found = groups.into_iter().map(|(group, objects)| Found { group, objects }).collect();
    Ok(Groups { found, bad })
}

async fn read(store: &dyn Store, entry: &Listed, whole: bool) -> Result<Header, RepoError> {
    if whole {
        read_as_named(store, entry).await?;
    }
    read_header(store, entry).await
}
