//! Layer 5: a second copy of a repository, made without any key.
//!
//! Objects are immutable and mostly named by the hash of their bytes: those are compared with their names before they are written to the target, so that
//! damage does not spread. Never copied: `doomed/`, `checkpoints/`, `leases/`, `verified/` and `rehearsals/`, which speak of one store only (that bytes were read back here proves nothing of the copy). Nothing is ever deleted on the target: what
//! was forgotten at the source stays there until the target is pruned itself.
//!
//! **Order.** The source's snapshots are listed first and copied last, after everything else was seen on the target: a snapshot on the target is whole. One that the
//! listing of everything else lacks waits for the next copy: that listing shows an older state (stores that are slow to list), without what the snapshot needs.
//! `format.json` is the first object written: it claims the place for this repository, so that a copy that was cut off is known again and goes on, and
//! neither `init` nor another repository's copy can take the place meanwhile. The epoch records come right before the snapshots: without them no key opens
//! the target, so a half copy cannot be taken for an empty repository and written to. Where there are some already, those that began since come last, and only when
//! every snapshot is there: an epoch may say that earlier records count no more (a rotation of the writer key), and what takes their place must be there before. One that began during the copy sealed some of what was copied, so it takes another round with it. While a snapshot is
//! damaged no later epoch follows, and the report says so. (With `format.json` last, a half copy would be a heap of objects
//! that nothing ties to a repository, and going on would have to trust any heap.)
//!
//! Limits: epoch records, sessions and `format.json` have fixed names that anyone without a key must take on trust; `check` on the target opens them.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use crate::base::clock::Time;
use crate::base::progress::Progress;
use crate::crypto::hash::object_id;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
pub use report::{Damaged, Fault, Options, PARALLEL_DEFAULT, Plan, Planned, ReplicateError, Report};

use crate::repo::blame::Blame;
use crate::repo::layout;
use crate::repo::open::read_format;
use crate::store::{Key, Listed, Put, Store, StoreError};

/// What is copied before the snapshots, in this order; see the module.
const ORDER: [&str; 6] =
    [layout::ACCESS, layout::SESSIONS, layout::PACKS, layout::INDEX, layout::KEY_DRILLS, layout::EPOCHS];
/// The same where later epochs come after them.
const BEFORE_EPOCHS: &[&str] = ORDER.split_at(5).0;
/// Longest object that is copied; packs have at most 64 MiB. Bounds what one copy allocates.
const OBJECT_BYTES_MAX: u64 = 256 << 20;
/// How often the source is listed anew because a pruner took away what was to be copied.
const ROUNDS_MAX: u32 = 5;

enum Copied {
    Stored(u64),
    AlreadyThere,
    Vanished,
    Bad(Fault),
}

/// Reads both ends' `format.json`; returns the source's, and whether the target is still empty.
async fn ends(source: &dyn Store, target: &dyn Store) -> Result<(Bytes, bool), ReplicateError> {
    let id = read_format(source).await.map_err(ReplicateError::Source)?;
    let format = source.get(&layout::format()).await?;
    match target.get(&layout::format()).await {
        // One that was lost and made anew by hand may be set otherwise.
        Ok(there) if there == format || read_format(target).await.map_err(ReplicateError::Target)? == id => {
            Ok((format, false))
        }
        Ok(_) => Err(ReplicateError::OtherRepository { target: target.address(), source_address: source.address() }),
        Err(error) if error.is_not_found() => match target.list("").await?.into_iter().next() {
            Some(found) => Err(ReplicateError::NotEmpty { target: target.address(), example: found.key }),
            None => Ok((format, true)),
        },
        Err(error) => Err(error.into()),
    }
}

/// Sizes by name of what lies in a store.
async fn sizes(store: &dyn Store) -> Result<BTreeMap<Key, u64>, StoreError> {
    Ok(store.list("").await?.into_iter().map(|entry| (entry.key, entry.size)).collect())
}

/// Whether an object on the target needs nothing: epochs are few and compared by their bytes, the others by their size.
fn is_there(there: &BTreeMap<Key, u64>, entry: &Listed) -> bool {
    !entry.key.as_str().starts_with(layout::EPOCHS) && there.get(&entry.key) == Some(&entry.size)
}

/// What is of `prefix` in a listing.
fn of<'a>(listing: &'a [Listed], prefix: &'a str) -> impl Iterator<Item = &'a Listed> {
    listing.iter().filter(move |entry| entry.key.as_str().starts_with(prefix) && layout::belongs(&entry.key))
}

/// What [`replicate`] would do; changes nothing.
pub async fn plan(source: &dyn Store, target: &dyn Store) -> Result<Plan, ReplicateError> {
    let (format, first) = ends(source, target).await?;
    let listing = source.list("").await?;
    let there = sizes(target).await?;
    let mut plan = Plan {
        source: source.address(),
        target: target.address(),
        first,
        copy: Vec::new(),
        bytes: 0,
        present: 0,
        different: Vec::new(),
    };
    if first {
        plan.copy.push(Planned { key: layout::FORMAT.to_owned(), bytes: format.len() as u64 });
    }
    let prefixes: Vec<&str> = if there.keys().any(is_epoch) {
        [BEFORE_EPOCHS, &[layout::SNAPSHOTS, layout::EPOCHS]].concat()
    } else {
        [&ORDER[..], &[layout::SNAPSHOTS]].concat()
    };
    for entry in prefixes.into_iter().flat_map(|prefix| of(&listing, prefix)) {
        match there.get(&entry.key) {
            Some(size) if *size == entry.size => plan.present += 1,
            Some(_) => plan.different.push(entry.key.to_string()),
            None => plan.copy.push(Planned { key: entry.key.to_string(), bytes: entry.size }),
        }
    }
    plan.bytes = plan.copy.iter().map(|planned| planned.bytes).sum();
    Ok(plan)
}

/// Whether every snapshot that was listed is on the target.
enum Whole {
    Yes,
    /// Some vanished, or a listing of everything else is not as new.
    Moving,
    /// Some are damaged.
    Damaged,
}

/// A copy that is going on.
struct Copying<'a> {
    source: &'a dyn Store,
    target: &'a dyn Store,
    options: &'a Options,
    progress: &'a Progress,
    report: Report,
    bad: BTreeSet<Key>,
    blame: Blame,
    /// The snapshots in the last listing of everything.
    seen: BTreeSet<Key>,
    /// The epochs that had begun when the copy began.
    epochs: BTreeSet<Key>,
    /// What is copied before the snapshots.
    order: &'static [&'static str],
}

/// The epochs in a listing.
fn begun(listing: &[Listed]) -> BTreeSet<Key> {
    of(listing, layout::EPOCHS).map(|entry| entry.key.clone()).collect()
}

fn is_epoch(key: &Key) -> bool {
    key.as_str().starts_with(layout::EPOCHS)
}

/// Copies what the target lacks; see the module. An error leaves the target as a copy that was cut off: the next call goes on.
pub async fn replicate(
    source: &dyn Store,
    target: &dyn Store,
    options: &Options,
    progress: &Progress,
) -> Result<Report, ReplicateError> {
    // Before the snapshots: what an epoch says of earlier records is true of a listing that comes later.
    let epochs = begun(&source.list(layout::EPOCHS).await?);
    let mut snapshots = source.list(layout::SNAPSHOTS).await?;
    let (format, first) = ends(source, target).await?;
    let order = if target.list(layout::EPOCHS).await?.is_empty() { &ORDER[..] } else { BEFORE_EPOCHS };
    let report = Report::default();
    let (bad, blame, seen) = (BTreeSet::new(), Blame::default(), BTreeSet::new());
    let mut copying = Copying { source, target, options, progress, report, bad, blame, seen, epochs, order };
    if first {
        copying.report.copied_bytes += format.len() as u64;
        copying.report.copied += 1;
        target.put_new(&layout::format(), format, options.retain_until).await?;
    }
    let (mut round, mut looked) = (0, false);
    let there = loop {
        let vanished = copying.round(round == 0).await? > 0;
        round += 1;
        if !vanished {
            let there = sizes(target).await?;
            let whole = copying.snapshots(&snapshots, &there, !looked).await?;
            looked = true;
            let lacks_epochs = copying.epochs_come_last() && copying.epochs.iter().any(|key| !there.contains_key(key));
            let listed = source.list(layout::EPOCHS).await?;
            let (begun, since): (Vec<_>, Vec<_>) =
                of(&listed, layout::EPOCHS).cloned().partition(|entry| copying.epochs.contains(&entry.key));
            match whole {
                Whole::Yes if since.is_empty() => {
                    if copying.epochs_come_last() {
                        copying.all(begun, &there, true).await?;
                    }
                    break there;
                }
                Whole::Damaged => {
                    let lacks = |entry: &&Listed| !there.contains_key(&entry.key) && !copying.bad.contains(&entry.key);
                    copying.report.epochs_withheld = of(&listed, layout::EPOCHS).filter(lacks).count() as u64;
                    break there;
                }
                Whole::Moving if since.is_empty() && !lacks_epochs => break there,
                // Without its epoch nothing opens on the target that was sealed since, be it a snapshot or a part of the index: what took the place of the others is
                // copied, so that the epochs can follow.
                Whole::Moving | Whole::Yes => {
                    copying.epochs = self::begun(&listed);
                    copying.order = BEFORE_EPOCHS;
                    snapshots = source.list(layout::SNAPSHOTS).await?;
                }
            }
        }
        if round >= ROUNDS_MAX {
            return Err(ReplicateError::Moving { source_address: source.address() });
        }
    };
    copying.lock(there).await?;
    Ok(copying.report)
}

/// Extends a lock that runs out too early, and reads it back; tells whether it did. What is gone meanwhile needs none.
async fn extend(target: &dyn Store, key: &Key, enough: Time, until: Time) -> Result<bool, ReplicateError> {
    let long_enough = |held: Option<Time>| held.is_some_and(|held| held >= enough);
    match target.retention(key).await {
        Err(error) if error.is_not_found() => return Ok(false),
        Err(error) => return Err(error.into()),
        Ok(held) if long_enough(held) => return Ok(false),
        Ok(_) => {}
    }
    target.extend_retention(key, until).await?;
    if long_enough(target.retention(key).await?) {
        Ok(true)
    } else {
        Err(ReplicateError::NotLocked { target: target.address(), key: key.clone() })
    }
}

impl Copying<'_> {
    /// Whether epochs were on the target before, so that later ones follow the snapshots.
    fn epochs_come_last(&self) -> bool {
        self.order.len() < ORDER.len()
    }

    /// Copies the snapshots of which the listing of everything else knew.
    async fn snapshots(
        &mut self,
        listed: &[Listed],
        there: &BTreeMap<Key, u64>,
        count_present: bool,
    ) -> Result<Whole, ReplicateError> {
        let mut wanted: Vec<Listed> = of(listed, layout::SNAPSHOTS).cloned().collect();
        let all = wanted.len();
        wanted.retain(|entry| self.seen.contains(&entry.key));
        let moving = wanted.len() < all;
        let before = self.report.copied;
        let gone = self.all(wanted, there, count_present).await?;
        self.report.snapshots += self.report.copied - before;
        Ok(if moving || !gone.is_empty() {
            Whole::Moving
        } else if self.bad.iter().any(|key| key.as_str().starts_with(layout::SNAPSHOTS)) {
            Whole::Damaged
        } else {
            Whole::Yes
        })
    }

    /// Lists the source, copies everything but snapshots, and sees it on the target. Returns how many objects vanished meanwhile: what took their place was
    /// perhaps not listed yet, so that another round is needed.
    async fn round(&mut self, first: bool) -> Result<u64, ReplicateError> {
        let listing = self.source.list("").await?;
        self.seen = of(&listing, layout::SNAPSHOTS).map(|entry| entry.key.clone()).collect();
        let there = sizes(self.target).await?;
        self.report.foreign = listing.iter().filter(|entry| !layout::belongs(&entry.key)).count() as u64;
        let to_copy = ORDER.into_iter().chain([layout::SNAPSHOTS]).flat_map(|prefix| of(&listing, prefix));
        let missing = to_copy.filter(|entry| !there.contains_key(&entry.key));
        // `format.json`, the first object, is counted in the report and never shown as done.
        let (done, done_bytes) = (&self.progress.files_done, &self.progress.bytes_done);
        let (mut objects, mut bytes) = (done.load(Ordering::Relaxed), done_bytes.load(Ordering::Relaxed));
        for entry in missing {
            (objects, bytes) = (objects + 1, bytes + entry.size);
        }
        self.progress.expect(objects, bytes, false);
        let mut gone = BTreeSet::new();
        let had_begun = |entry: &&Listed| !is_epoch(&entry.key) || self.epochs.contains(&entry.key);
        let copied: Vec<Listed> =
            self.order.iter().flat_map(|prefix| of(&listing, prefix)).filter(had_begun).cloned().collect();
        for prefix in self.order {
            let wanted = of(&copied, prefix).cloned().collect();
            gone.append(&mut self.all(wanted, &there, first).await?);
        }
        let seen = sizes(self.target).await?;
        for entry in &copied {
            let excused = gone.contains(&entry.key) || self.bad.contains(&entry.key);
            if !excused && seen.get(&entry.key) != Some(&entry.size) {
                return Err(ReplicateError::NotSeen { target: self.target.address(), key: entry.key.clone() });
            }
        }
        Ok(gone.len() as u64)
    }

    /// Locks what was there before as long as what was copied now. Everything that belongs to the repository, also what the source has no more: whoever
    /// empties the source must not thereby let the locks of the copy run out.
    async fn lock(&mut self, there: BTreeMap<Key, u64>) -> Result<(), ReplicateError> {
        let Some(until) = self.options.retain_until else { return Ok(()) };
        let enough = self.options.enough_until.unwrap_or(until).min(until);
        let copied = |key: &Key| {
            let name = key.as_str();
            name == layout::FORMAT || name.starts_with(layout::SNAPSHOTS) || ORDER.iter().any(|of| name.starts_with(of))
        };
        let keys: Vec<Key> = there.into_keys().filter(|key| layout::belongs(key) && copied(key)).collect();
        let target = self.target;
        let mut extended = stream::iter(keys)
            .map(|key| async move { extend(target, &key, enough, until).await })
            .buffer_unordered(self.options.parallel.max(1));
        while let Some(done) = extended.next().await {
            self.report.locks_extended += u64::from(done?);
        }
        Ok(())
    }

    /// Copies those of `wanted` that are not there, a few at once. Returns those that vanished.
    async fn all(
        &mut self,
        wanted: Vec<Listed>,
        there: &BTreeMap<Key, u64>,
        count_present: bool,
    ) -> Result<BTreeSet<Key>, ReplicateError> {
        let (present, lacking): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|entry| is_there(there, entry));
        if count_present {
            self.report.present += present.len() as u64;
        }
        let lacking: Vec<Listed> = lacking.into_iter().filter(|entry| !self.bad.contains(&entry.key)).collect();
        let (source, target, retain) = (self.source, self.target, self.options.retain_until);
        let blame = &self.blame;
        let mut copies = stream::iter(lacking)
            .map(|entry| async move {
                // One of another size is tried too: put_new refuses it, and a damaged source is told from a damaged target.
                let copied = copy(source, target, blame, &entry, retain).await;
                (entry, copied)
            })
            .buffer_unordered(self.options.parallel.max(1));
        let mut gone = BTreeSet::new();
        while let Some((entry, copied)) = copies.next().await {
            match copied? {
                Copied::Stored(bytes) => {
                    self.report.copied += 1;
                    self.report.copied_bytes += bytes;
                    self.progress.add_file(bytes);
                    self.progress.bytes_stored.fetch_add(bytes, Ordering::Relaxed);
                }
                Copied::AlreadyThere if count_present => self.report.present += 1,
                Copied::AlreadyThere => {}
                Copied::Vanished => {
                    self.report.vanished += 1;
                    gone.insert(entry.key);
                }
                Copied::Bad(fault) => {
                    self.report.damaged.push(Damaged { object: entry.key.to_string(), fault });
                    self.bad.insert(entry.key);
                }
            }
        }
        Ok(gone)
    }
}

/// Copies one object. What is wrong with it alone is an outcome; what stops everything is an error.
async fn copy(
    source: &dyn Store,
    target: &dyn Store,
    blame: &Blame,
    entry: &Listed,
    retain: Option<Time>,
) -> Result<Copied, ReplicateError> {
    if entry.size > OBJECT_BYTES_MAX {
        return Ok(Copied::Bad(Fault::SourceDamaged));
    }
    let bytes = match source.get(&entry.key).await {
        Ok(bytes) => {
            blame.read_well();
            bytes
        }
        Err(error) if error.is_not_found() => return Ok(Copied::Vanished),
        // A bad sector must not keep the rest of the repository from being saved; a store that is away ends the run.
        Err(error) if blame.is_the_objects(source, &error).await => return Ok(Copied::Bad(Fault::SourceUnreadable)),
        Err(error) => return Err(error.into()),
    };
    let length = bytes.len() as u64;
    let whole = if layout::is_hash_named(&entry.key) {
        let hashed = bytes.clone();
        let found = tokio::task::spawn_blocking(move || object_id(&hashed)).await;
        layout::object_id(&entry.key) == Some(found.map_err(|_| ReplicateError::Worker)?)
    } else {
        length == entry.size
    };
    if !whole {
        return Ok(Copied::Bad(Fault::SourceDamaged));
    }
    match target.put_new(&entry.key, bytes, retain).await {
        Ok(Put::Created) => Ok(Copied::Stored(length)),
        Ok(Put::AlreadyThere) => Ok(Copied::AlreadyThere),
        Err(StoreError::Conflict { .. }) => Ok(Copied::Bad(Fault::TargetDiffers)),
        Err(error) => Err(error.into()),
    }
}
