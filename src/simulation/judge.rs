//! What must be true however the schedule went.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::actors::{Reported, Scene};
use super::world::{Process, World, lock};
use crate::base::id::{BlobId, ObjectId};
use crate::base::progress::Progress;
use crate::crypto::recipients::{NoPrompt, Prompt};
use crate::format::entry::{Kind, Piece, TreePath};
use crate::prune::{Settings, plan_prune, run_prune};
use crate::repair::{Sources, run_repair};
use crate::repo::checkpoint::GRACE;
use crate::repo::doomed::Marks;
use crate::repo::fetch::Reader;
use crate::repo::index::Index;
use crate::repo::presence::Presence;
use crate::repo::snapshots::Chain;
use crate::repo::tree_read::{TreeReader, pieces, whole};
use crate::repo::{RepoError, Repository, salvage};
use crate::store::Store;

/// Marks whose work is done wait until there are so many, or others are made.
const MARKS_MAX: usize = 17;
/// All that a simulation needs fits into one pack of each class; fewer than 16 small ones of a class are left alone, and the last prune's wait for their grace.
const PACKS_MAX: usize = 64;
/// So many small segments are merged, and the last prune's wait for their grace.
const SEGMENTS_MAX: usize = 33;
/// Sessions that the last prune marked wait for their grace.
const SESSIONS_MAX: usize = 16;

/// How closely is looked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// With the writer key: the tree, and that every chunk has a copy in a pack that is there.
    There,
    /// With an identity: every byte of every file.
    Bytes,
}

/// Whoever reads, at this moment, with nothing in the way.
async fn reader(scene: &Scene, world: &Arc<World>, depth: Depth) -> Arc<Reader> {
    let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
    let store = Arc::new(Process::calm("judge", world));
    let opened = match depth {
        Depth::There => Repository::open_with_writer(store, &scene.keys.writer).await,
        Depth::Bytes => {
            let pinned = Some(scene.keys.writer.fingerprint());
            Repository::open_with_identity(store, &scene.keys.identity, &prompt, pinned).await
        }
    };
    let repository = Arc::new(opened.expect("the repository opens"));
    // A torn segment stops writers and pruners until somebody mends; readers go on by the tables inside packs.
    let mut index = if scene.faults.torn > 0 {
        salvage::load(&repository).await.expect("what is left of it").index
    } else {
        Index::load(&repository).await.expect("its index can be read")
    };
    let presence = Presence::load(&repository).await.expect("lists");
    presence.apply(&mut index, &Marks::default());
    Arc::new(Reader::new(repository, Arc::new(index)))
}

/// Reads a snapshot; adds what it needs to `needed`. At [`Depth::There`] the files are told without their bytes.
async fn read(
    reader: &Arc<Reader>,
    snapshot: &Reported,
    depth: Depth,
    needed: &mut HashSet<BlobId>,
) -> Result<Vec<(TreePath, Vec<u8>)>, RepoError> {
    let mut files = Vec::new();
    let mut tree = TreeReader::open(reader.clone(), snapshot.root, TreePath::root())?;
    while let Some(entries) = tree.next().await? {
        for entry in entries {
            let Kind::File { size, content } = &entry.kind else { continue };
            for piece in pieces(reader, content, *size).await? {
                if let Piece::Data { blob, .. } = piece {
                    // A session's object that a writer put once more, because a pruner had taken it, may be taken by another pruner that slept (seed 3922): nobody builds upon its packs then,
                    // but their headers have its wrap, and they are read.
                    let there = reader
                        .index
                        .find(&blob)
                        .is_some_and(|copy| reader.index.pack(copy.pack).is_some_and(|pack| pack.present));
                    assert!(there, "no pack that is there holds chunk {blob} of {}", snapshot.id);
                    needed.insert(blob);
                }
            }
            let bytes = match depth {
                Depth::There => Vec::new(),
                Depth::Bytes => whole(reader, &entry.path, content, *size).await?,
            };
            files.push((entry.path, bytes));
        }
    }
    Ok(files)
}

async fn insist(scene: &Scene, world: &Arc<World>, snapshots: &[Reported], depth: Depth) -> HashSet<BlobId> {
    let mut needed = HashSet::new();
    if snapshots.is_empty() {
        return needed;
    }
    let reader = reader(scene, world, depth).await;
    let chain = Chain::load(&reader.repository).await.expect("the chain can be read");
    assert!(chain.unreadable.is_empty(), "{:?}", chain.unreadable);
    let there: HashSet<ObjectId> = chain.snapshots.iter().map(|snapshot| snapshot.id).collect();
    for snapshot in snapshots {
        let id = snapshot.id;
        assert!(there.contains(&id), "snapshot {id} was reported, and is not there");
        match read(&reader, snapshot, depth, &mut needed).await {
            Ok(_) if depth == Depth::There => {}
            Ok(files) => assert!(files == snapshot.files, "snapshot {id} holds something else"),
            Err(error) => panic!("snapshot {id} was reported, and cannot be read: {error}"),
        }
    }
    needed
}

fn kept(scene: &Scene) -> Vec<Reported> {
    let known = lock(&scene.known);
    known.reported.iter().filter(|snapshot| !known.forgotten.contains(&snapshot.id)).cloned().collect()
}

/// Every snapshot that was reported and that nobody forgot can be read.
pub async fn reported_can_be_read(scene: &Scene) {
    insist(scene, &scene.world, &kept(scene), Depth::There).await;
}

/// Every snapshot that the replica names can be read there.
pub async fn replica_can_be_read(scene: &Scene) {
    let named: HashSet<String> = scene
        .replica
        .names("snapshots/")
        .iter()
        .map(|key| key.as_str().trim_start_matches("snapshots/").to_owned())
        .collect();
    let on_both: Vec<Reported> =
        kept(scene).into_iter().filter(|snapshot| named.contains(&snapshot.id.hex())).collect();
    insist(scene, &scene.replica, &on_both, Depth::There).await;
}

/// A calm repair: what was torn last is put right.
async fn mend(scene: &Scene, process: &Arc<Process>) {
    let store: Arc<dyn Store> = process.clone();
    let opened = Repository::open_with_writer(store.clone(), &scene.keys.writer).await;
    let repository = Arc::new(opened.expect("the writer key opens it"));
    let sources = Sources::new(&store, Vec::new()).await.expect("no versions");
    run_repair(&repository, &sources, &process.clock(), &Progress::default()).await.expect("a repair of what is quiet");
}

/// When all is quiet, a few prunes with the grace between leave nothing that nobody needs, and what was reported reads to the last byte.
pub async fn nothing_is_left_over(scene: &Scene) {
    let process = Arc::new(Process::calm("tidy", &scene.world));
    let clock = process.clock();
    let prune = async || {
        let repository = Arc::new(
            Repository::open_with_writer(process.clone(), &scene.keys.writer).await.expect("the writer key opens it"),
        );
        let settings = Settings { allow_empty: true, allow_older: true, ..Settings::default() };
        let planned = plan_prune(&repository, settings, &clock).await.expect("a plan of what is quiet");
        run_prune(&repository, planned, &clock).await.expect("a prune of what is quiet");
        repository
    };
    if scene.faults.torn > 0 {
        mend(scene, &process).await;
    }
    for _ in 0..4 {
        prune().await;
        sleep(GRACE + Duration::from_hours(1)).await;
    }
    let repository = prune().await;
    insist(scene, &scene.world, &kept(scene), Depth::Bytes).await;
    let chain = Chain::load(&repository).await.expect("the chain can be read");
    // What was forgotten or taken back, and shows again since a request was carried out late, is spared until the next `forget` removes it.
    if !chain.leaving.is_empty() || !chain.leaving_unreadable.is_empty() {
        return;
    }
    // What was written and not reported (its answer got lost) is kept like any other.
    let all: Vec<Reported> = chain
        .snapshots
        .iter()
        .map(|snapshot| Reported { id: snapshot.id, root: snapshot.record.root, files: Vec::new() })
        .collect();
    let needed = insist(scene, &scene.world, &all, Depth::There).await;
    garbage_is_bounded(scene, &repository, &needed).await;
}

/// What stays is in proportion to what is needed.
async fn garbage_is_bounded(scene: &Scene, repository: &Arc<Repository>, needed: &HashSet<BlobId>) {
    let index = Index::load(repository).await.expect("an index");
    let presence = Presence::load(repository).await.expect("lists");
    let mut useful = HashSet::new();
    let mut with_content = HashSet::new();
    for blob in index.iter() {
        let Some(pack) = index.pack(blob.location.pack) else { continue };
        if needed.contains(&blob.id) {
            useful.insert(pack.id);
        }
    }
    for (pack, session) in index.places() {
        if let (Some(pack), true) = (index.pack(pack), session.is_some()) {
            with_content.insert(pack.id);
        }
    }
    let idle: Vec<_> =
        presence.packs.keys().filter(|pack| with_content.contains(*pack) && !useful.contains(*pack)).collect();
    assert!(idle.is_empty(), "packs that nobody needs stay: {idle:?}");
    let marks = scene.world.names("doomed/");
    assert!(marks.len() <= MARKS_MAX, "marks of what is gone stay: {marks:?}");
    for (folder, most) in [("packs/", PACKS_MAX), ("index/", SEGMENTS_MAX), ("checkpoints/", 0)] {
        let names = scene.world.names(folder);
        assert!(names.len() <= most, "{} objects stay in {folder}: {names:?}", names.len());
    }
    let used: HashSet<_> = index
        .places()
        .filter(|(pack, _)| index.pack(*pack).is_some_and(|pack| presence.packs.contains_key(&pack.id)))
        .filter_map(|(_, session)| index.session(session?))
        .collect();
    let stray: Vec<_> = presence.sessions.keys().filter(|session| !used.contains(*session)).collect();
    assert!(stray.len() <= SESSIONS_MAX, "sessions of no pack stay: {stray:?}");
}
