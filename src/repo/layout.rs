//! Names of a repository's objects; docs/format.md §2.

use crate::base::id::{ObjectId, SessionId};
use crate::store::Key;

/// Whose repository it is; in clear.
pub const FORMAT: &str = "format.json";
/// Keys wrapped to the recipients.
pub const ACCESS: &str = "access/";
/// Signed epoch records.
pub const EPOCHS: &str = "epochs/";
/// Wrapped content keys.
pub const SESSIONS: &str = "sessions/";
/// Packs.
pub const PACKS: &str = "packs/";
/// Index segments.
pub const INDEX: &str = "index/";
/// Snapshot records and tombstones.
pub const SNAPSHOTS: &str = "snapshots/";
/// What running backups rely on.
pub const CHECKPOINTS: &str = "checkpoints/";
/// Marks of the two-phase deletion.
pub const DOOMED: &str = "doomed/";
/// Proofs that an identity opened the repository.
pub const KEY_DRILLS: &str = "drills/";
/// Snapshots of which all content was read back.
pub const VERIFIED: &str = "verified/";
/// What drills of recoveries came to.
pub const REHEARSALS: &str = "rehearsals/";
/// What gives lost packs back.
pub const PARITY: &str = "parity/";

/// Advisory leases.
pub const LEASES: &str = "leases/";

/// Every prefix whose objects are named by the hash of their bytes.
pub const HASH_NAMED: [&str; 10] =
    [ACCESS, PACKS, INDEX, SNAPSHOTS, CHECKPOINTS, DOOMED, KEY_DRILLS, VERIFIED, REHEARSALS, PARITY];

#[expect(clippy::expect_used, reason = "made of constants, digits and hex, which every Key may hold")]
fn key(text: String) -> Key {
    Key::new(text).expect("a name of the layout is a key")
}

/// `format.json`.
#[must_use]
pub fn format() -> Key {
    key(FORMAT.to_owned())
}

/// `access/<id>.age`.
#[must_use]
pub fn access(id: &ObjectId) -> Key {
    key(format!("{ACCESS}{id}.age"))
}

/// `epochs/<n>`.
#[must_use]
pub fn epoch(number: u32) -> Key {
    key(format!("{EPOCHS}{number}"))
}

/// `sessions/<id>`.
#[must_use]
pub fn session(id: &SessionId) -> Key {
    key(format!("{SESSIONS}{id}"))
}

/// `packs/<2 hex>/<id>`.
#[must_use]
pub fn pack(id: &ObjectId) -> Key {
    let hex = id.hex();
    key(format!("{PACKS}{}/{hex}", hex.get(..2).unwrap_or_default()))
}

/// `<prefix><id>` for index, snapshots, checkpoints, doomed, drills, verified, rehearsals and parity.
#[must_use]
pub fn named(prefix: &str, id: &ObjectId) -> Key {
    key(format!("{prefix}{id}"))
}

fn id_in(key: &Key) -> Option<ObjectId> {
    let name = key.file_name();
    name.strip_suffix(".age").unwrap_or(name).parse().ok()
}

/// Folders of objects that have nothing but their id for a name.
const NAMED: [&str; 9] = [INDEX, SNAPSHOTS, CHECKPOINTS, DOOMED, KEY_DRILLS, VERIFIED, REHEARSALS, PARITY, SESSIONS];

/// Every name that an object of this id can have.
fn names_of(id: &ObjectId) -> impl Iterator<Item = Key> + '_ {
    [access(id), pack(id)].into_iter().chain(NAMED.into_iter().map(|prefix| named(prefix, id)))
}

/// Whether it is one of these names; asked for every object of a store.
fn is_name_of(id: &ObjectId, key: &Key) -> bool {
    let folder = key.as_str().split_inclusive('/').next().unwrap_or_default();
    match folder {
        ACCESS => *key == access(id),
        PACKS => *key == pack(id),
        _ => NAMED.contains(&folder) && *key == named(folder, id),
    }
}

/// The id that a name promises the hash of; `None` for a foreign object, and for one that lies anywhere but in its place.
#[must_use]
pub fn object_id(key: &Key) -> Option<ObjectId> {
    id_in(key).filter(|id| !key.as_str().starts_with(SESSIONS) && is_name_of(id, key))
}

/// The pack that a name names.
#[must_use]
pub fn pack_id(key: &Key) -> Option<ObjectId> {
    id_in(key).filter(|id| pack(id) == *key)
}

/// The session that a name names.
#[must_use]
pub fn session_id(key: &Key) -> Option<SessionId> {
    key.file_name().parse().ok().filter(|id| session(id) == *key)
}

/// Where an object that has the name of one and lies elsewhere belongs: such as `packs/3f/3f…` for `packs/packs/3f/3f…`, which a copy that went one
/// folder too deep makes.
#[must_use]
pub fn place_of_misplaced(key: &Key) -> Option<Key> {
    let id = id_in(key).filter(|_| !belongs(key))?;
    let first = |name: &str| name.split('/').next().map(str::to_owned);
    names_of(&id)
        .find(|place| key.as_str().strip_suffix(place.as_str()).is_some_and(|above| above.ends_with('/')))
        .or_else(|| names_of(&id).find(|place| first(place.as_str()) == first(key.as_str())))
}

/// Whether a name is one that a repository has.
#[must_use]
pub fn belongs(key: &Key) -> bool {
    let name = key.as_str();
    let hex = |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.parse::<ObjectId>().is_ok());
    let is = |prefix: &str, made: fn(&ObjectId) -> Key| {
        name.starts_with(prefix) && id_in(key).is_some_and(|id| *key == made(&id))
    };
    name == FORMAT
        || is(ACCESS, access)
        || is(PACKS, pack)
        || name.strip_prefix(EPOCHS).is_some_and(|rest| rest.parse::<u32>().is_ok())
        || name.starts_with(LEASES)
        || [SESSIONS, INDEX, SNAPSHOTS, CHECKPOINTS, DOOMED, KEY_DRILLS, VERIFIED, REHEARSALS, PARITY]
            .into_iter()
            .any(hex)
}

/// Whether a name promises the hash of the object's bytes, so that anyone can check it.
#[must_use]
pub fn is_hash_named(key: &Key) -> bool {
    HASH_NAMED.iter().any(|prefix| key.as_str().starts_with(prefix)) && belongs(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_ids() {
        let id = ObjectId::new([0xab; 32]);
        assert!(pack(&id).as_str().starts_with("packs/ab/abab"));
        for key in [pack(&id), access(&id), named(INDEX, &id)] {
            assert_eq!(object_id(&key), Some(id));
        }
        assert_eq!(object_id(&format()), None);
    }

    #[test]
    fn what_lies_elsewhere_has_no_id_but_a_place() {
        let id = ObjectId::new([0xab; 32]);
        for prefix in ["packs/", "copy/", "packs/packs/"] {
            for right in [pack(&id), access(&id), named(INDEX, &id), named(SESSIONS, &id)] {
                let wrong = Key::new(format!("{prefix}{right}")).expect("a key");
                assert_eq!((object_id(&wrong), pack_id(&wrong), session_id(&wrong)), (None, None, None), "{wrong}");
                assert_eq!(place_of_misplaced(&wrong), Some(right.clone()), "{wrong}");
                assert_eq!(place_of_misplaced(&right), None);
            }
        }
        let flat = Key::new(format!("packs/{id}")).expect("a key");
        assert_eq!((object_id(&flat), place_of_misplaced(&flat)), (None, Some(pack(&id))));
        assert_eq!(place_of_misplaced(&Key::new("notes.txt").expect("a key")), None);
    }
}
