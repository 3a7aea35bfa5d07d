//! Putting right: every kind of damage to every kind of object, with and without a replica; cut off at every call; with others at work at every call.

mod cuts;
mod epochs;
mod matrix;
mod moved;
mod replicas;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use homelab_dr::base::id::ObjectId;
use homelab_dr::base::progress::Progress;
use homelab_dr::check::Severity;
use homelab_dr::crypto::recipients::{NoPrompt, Prompt};
use homelab_dr::repair::{Opening, Outcome, RepairError, Sources, heal_opening, open_again, run_repair};
use homelab_dr::repo::{RepoError, Repository};
use homelab_dr::store::{Key, Store};

use crate::prune::world::World;

/// Every kind of object that a repository cannot do without.
pub const KINDS: [&str; 8] =
    ["format", "access", "epoch", "sessions", "content pack", "metadata pack", "index", "snapshots"];

/// The key that is at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    Writer,
    Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    Delete,
    Truncate,
    Flip,
    Swap,
}

/// Three snapshots that share nothing, and what each backup stored.
pub struct Scene {
    pub world: World,
    pub files: BTreeMap<ObjectId, Vec<String>>,
    pub snapshots: Vec<ObjectId>,
    objects: Vec<Vec<String>>,
}

impl Scene {
    pub async fn new() -> Self {
        let world = World::new().await;
        let (mut objects, mut snapshots) = (Vec::new(), Vec::new());
        for files in [["a", "b"], ["c", "d"], ["e", "f"]] {
            let before = world.names("").await;
            snapshots.push(world.backup(&files).await);
            objects.push(world.names("").await.into_iter().filter(|name| !before.contains(name)).collect());
        }
        let files = world.read_all().await;
        Self { world, files, snapshots, objects }
    }

    /// The object of the `backup`-th backup.
    pub async fn object(&self, backup: usize, kind: &str) -> Key {
        let key = |name: &str| Key::new(name).unwrap();
        match kind {
            "format" => key("format.json"),
            "epoch" => key("epochs/1"),
            "access" => key(&self.world.names("access/").await[0]),
            "content pack" | "metadata pack" => {
                let class = if kind == "content pack" { 1 } else { 2 };
                for name in self.objects[backup].iter().filter(|name| name.starts_with("packs/")) {
                    if self.world.store.get(&key(name)).await.unwrap()[1] == class {
                        return key(name);
                    }
                }
                panic!("no {kind}");
            }
            kind => key(self.objects[backup].iter().find(|name| name.starts_with(&format!("{kind}/"))).expect(kind)),
        }
    }

    /// Damages an object of the first backup in a fork; a swap is with one of the second, where there is one.
    pub async fn damage(&self, world: &World, backup: usize, kind: &str, how: Damage) {
        let store = &*world.store;
        let key = self.object(backup, kind).await;
        let bytes = store.get(&key).await.unwrap();
        let put = async |key: &Key, bytes: Bytes| store.put_over(key, bytes, None).await.unwrap();
        match how {
            Damage::Delete => store.delete(&key).await.unwrap(),
            Damage::Truncate => put(&key, bytes.slice(..100.min(bytes.len() / 2))).await,
            Damage::Flip => {
                // For packs this is inside of a blob: their blobs begin behind the header.
                let at = if kind.ends_with("pack") { 200 } else { bytes.len() / 2 };
                let mut bytes = bytes.to_vec();
                bytes[at] ^= 1;
                put(&key, bytes.into()).await;
            }
            Damage::Swap => {
                let other = match kind {
                    "format" => self.object(0, "access").await,
                    "access" | "epoch" => self.object(0, "format").await,
                    kind => self.object(1, kind).await,
                };
                let others = store.get(&other).await.unwrap();
                put(&key, others).await;
                put(&other, bytes).await;
            }
        }
    }
}

async fn open(world: &World, held: Held) -> Result<Repository, RepoError> {
    let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
    let store = world.store.clone();
    match held {
        Held::Writer => Repository::open_with_writer(store, &world.key).await,
        Held::Owner => {
            let pin = Some(world.key.fingerprint());
            Repository::open_with_identity(store, &world.identity, &prompt, pin).await
        }
    }
}

/// What the command does, with its store behind `through`.
pub async fn repair_on(
    world: &World,
    held: Held,
    replicas: Vec<Arc<dyn Store>>,
    through: Arc<dyn Store>,
) -> Result<Outcome, RepairError> {
    let sources = Sources::new(&through, replicas).await?;
    let mut healed;
    let repository = match open(world, held).await {
        Ok(repository) => {
            healed = heal_opening(&repository.with_store(through.clone()), &sources, &*world.clock).await?;
            open(world, held).await?
        }
        Err(_) => {
            let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
            let opening = match held {
                Held::Writer => Opening::Writer(&world.key),
                Held::Owner => Opening::Identity {
                    identities: &world.identity,
                    prompt: &prompt,
                    pinned: Some(world.key.fingerprint()),
                },
            };
            healed = open_again(&through, &sources, &opening).await?;
            open(world, held).await?
        }
    };
    let repository = Arc::new(repository.with_store(through));
    let mut outcome = run_repair(&repository, &sources, &world.clock, &Progress::default()).await?;
    healed.append(&mut outcome.healed);
    outcome.healed = healed;
    Ok(outcome)
}

pub async fn repair(world: &World, held: Held, replicas: &[&World]) -> Result<Outcome, RepairError> {
    let replicas = replicas.iter().map(|world| world.store.clone()).collect();
    repair_on(world, held, replicas, world.store.clone()).await
}

/// Nothing is wrong, and a second run finds nothing to do.
pub async fn is_whole(world: &World, held: Held, what: &str) {
    let again = repair(world, held, &[]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(!again.changed(), "{what}: a second run did something: {again:?}");
    let report = again.report.expect("a report");
    let worse: Vec<_> = report.findings.iter().filter(|finding| finding.severity != Severity::Note).collect();
    assert!(worse.is_empty() && again.losses.is_empty(), "{what}: {worse:?}");
}
