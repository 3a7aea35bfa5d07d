//! What holds for any input: trees, chunks, packs and the index against plain models.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use homelab_dr::base::id::{BlobId, ObjectId, SessionId};
use homelab_dr::base::pool::Pool;
use homelab_dr::base::secret::Secret;
use homelab_dr::chunker::{BlockSize, CHUNK_BYTES_MAX, Chunker, choose};
use homelab_dr::crypto::meta::{META_OVERHEAD, MetaKeys};
use homelab_dr::format::entry::{Content, Entry, FileTime, Kind as EntryKind, Piece, TreePath};
use homelab_dr::format::kind::Kind;
use homelab_dr::format::pack::{BlobRecord, IndexedPack, PackClass, PackTable};
use homelab_dr::format::padding::padded;
use homelab_dr::format::record::TreeRoot;
use homelab_dr::repo::Repository;
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::index::{Index, IndexBuilder};
use homelab_dr::repo::packer::{PackBuilder, TRAILER_BYTES, open_table, open_trailer};
use homelab_dr::repo::tree_diff::{Change, Diff};
use homelab_dr::repo::tree_read::{self, TreeReader};
use homelab_dr::repo::tree_write::TreeBuilder;
use homelab_dr::repo::write::Writer;
use homelab_dr::store::record::Record;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::support::files::noise;
use crate::support::repository::TestRepository;

/// Short names of few letters, so that trees have directories in common.
fn paths() -> impl Strategy<Value = TreePath> {
    vec("[a-c\\x01\u{e9}~]{1,3}", 0..5).prop_map(|names| TreePath::new(names.join("/")).expect("plain names"))
}

/// A seed gives the same entry every time; `of` decides what it is.
fn entry(path: TreePath, of: u8) -> Entry {
    let id = |n| BlobId::new([n; 32]);
    let kind = match of % 5 {
        0 => EntryKind::Directory,
        1 => EntryKind::Fifo,
        2 => EntryKind::Symlink { target: vec![of; 3].into() },
        3 => EntryKind::File {
            size: u64::from(of) + 5,
            content: Content::Inline(vec![
                Piece::Data { blob: id(of), skip: u32::from(of), length: 5 },
                Piece::Hole { length: u64::from(of) },
            ]),
        },
        _ => EntryKind::File { size: 1 << 40, content: Content::Lists(vec![id(of), id(!of)]) },
    };
    let mtime = FileTime { seconds: i64::from(of) - 100, nanos: u32::from(of) };
    Entry { path, kind, mode: u32::from(of), uid: 0, gid: 0, mtime, xattrs: Vec::new(), identity: None, live: None }
}

type Model = BTreeMap<TreePath, u8>;

fn models() -> impl Strategy<Value = Model> {
    btree_map(paths(), 1..=254_u8, 0..300)
}

/// A repository into which trees are built.
struct Forest {
    repository: TestRepository,
    /// Of the trees that were built.
    roots: Mutex<Vec<TreeRoot>>,
}

impl Forest {
    async fn new() -> Self {
        Self { repository: TestRepository::in_memory().await, roots: Mutex::default() }
    }

    /// The tree of a model, and the plaintext bytes of its blobs that were new.
    async fn plant(&self, model: &Model) -> (TreeRoot, u64) {
        let repository = self.repository.writer().await;
        let index = Arc::new(Index::load(&repository).await.unwrap());
        // As a backup does: what of the earlier trees opens is built upon.
        let reader = Arc::new(Reader::new(repository.clone(), index.clone()));
        let earlier = self.roots.lock().unwrap().clone();
        for root in earlier.first().into_iter().chain(earlier.last()).copied() {
            entries(&reader, root, &TreePath::root()).await;
        }
        let writer = Writer::begin(repository, index, self.repository.clock.clone(), None).await.unwrap();
        let mut lane = writer.lane().unwrap();
        let mut builder = TreeBuilder::default();
        for (path, of) in model {
            builder.add(&writer, &mut lane, &entry(path.clone(), *of)).unwrap();
        }
        let root = builder.finish(&writer, &mut lane).unwrap();
        drop(lane);
        let new = writer.new_bytes();
        self.roots.lock().unwrap().push(root);
        writer.finish().await.unwrap();
        (root, new)
    }

    async fn reader(&self) -> Arc<Reader> {
        let repository = self.repository.writer().await;
        let index = Arc::new(Index::load(&repository).await.unwrap());
        Arc::new(Reader::new(repository, index))
    }
}

async fn all(mut tree: TreeReader) -> Vec<Entry> {
    let mut all = Vec::new();
    while let Some(mut batch) = tree.next().await.unwrap() {
        all.append(&mut batch);
    }
    all
}

async fn entries(reader: &Arc<Reader>, root: TreeRoot, within: &TreePath) -> Vec<Entry> {
    all(TreeReader::open(reader.clone(), root, within.clone()).unwrap()).await
}

async fn shallow(reader: &Arc<Reader>, root: TreeRoot, within: &TreePath) -> Vec<Entry> {
    all(TreeReader::open_shallow(reader.clone(), root, within.clone()).unwrap()).await
}

/// The first entry of every name in a directory; what is no directory stands for itself.
fn naive_shallow(expected: &[Entry], within: &TreePath) -> Vec<Entry> {
    let depth = within.names().count();
    let mut told = BTreeSet::new();
    let below = expected.iter().filter(|entry| entry.path.is_within(within));
    let wanted = below.filter(|entry| match entry.path.names().nth(depth) {
        Some(name) => told.insert(name.to_vec()),
        None => entry.kind != EntryKind::Directory,
    });
    wanted.cloned().collect()
}

async fn diff(reader: &Arc<Reader>, a: TreeRoot, b: TreeRoot) -> Vec<Change> {
    let mut diff = Diff::open(reader, a, b).await.unwrap();
    let mut changes = Vec::new();
    while let Some(change) = diff.next().await.unwrap() {
        changes.push(change);
    }
    changes
}

fn naive_diff(a: &Model, b: &Model) -> Vec<Change> {
    let make = |path: &TreePath, of: u8| Box::new(entry(path.clone(), of));
    let all: BTreeSet<&TreePath> = a.keys().chain(b.keys()).collect();
    all.into_iter()
        .filter_map(|path| match (a.get(path), b.get(path)) {
            (Some(a), None) => Some(Change::Removed(make(path, *a))),
            (None, Some(b)) => Some(Change::Added(make(path, *b))),
            (Some(a), Some(b)) if a != b => Some(Change::Changed(make(path, *a), make(path, *b))),
            _ => None,
        })
        .collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn tree_is_its_model(a: Model, b: Model, asked: Vec<TreePath>) {
    let forest = Forest::new().await;
    let ((root_a, _), (root_b, _)) = (forest.plant(&a).await, forest.plant(&b).await);
    let (again, new) = forest.plant(&a).await;
    assert_eq!((again, new), (root_a, 0), "the same entries are the same tree, and all of it is there");
    let reader = forest.reader().await;
    for (model, root) in [(&a, root_a), (&b, root_b)] {
        let expected: Vec<Entry> = model.iter().map(|(path, of)| entry(path.clone(), *of)).collect();
        assert_eq!(entries(&reader, root, &TreePath::root()).await, expected);
        for path in model.keys().step_by(7).chain(&asked).chain([&TreePath::root()]) {
            assert_eq!(shallow(&reader, root, path).await, naive_shallow(&expected, path), "in {}", path.display());
            let expected: Vec<&Entry> = expected.iter().filter(|entry| entry.path.is_within(path)).collect();
            assert!(entries(&reader, root, path).await.iter().eq(expected), "below {}", path.display());
            let found = tree_read::lookup(&reader, root, path).await.unwrap();
            assert_eq!(found, model.get(path).map(|of| entry(path.clone(), *of)));
        }
    }
    assert_eq!(diff(&reader, root_a, root_b).await, naive_diff(&a, &b));
    assert_eq!(diff(&reader, root_b, root_a).await, naive_diff(&b, &a));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_is_read_looked_up_and_compared_as_its_model(a in models(), b in models(), asked in vec(paths(), 8)) {
        runtime().block_on(tree_is_its_model(a, b, asked));
    }

    #[test]
    fn neighbouring_trees_differ_where_their_models_do(a in models(), flips in vec((any::<prop::sample::Index>(), 0..=254_u8), 0..5)) {
        let mut b = a.clone();
        for (at, of) in flips {
            let Some(path) = (!a.is_empty()).then(|| a.keys().nth(at.index(a.len())).expect("within")) else { continue };
            match of {
                0..50 => drop(b.remove(path)),
                _ => drop(b.insert(path.clone(), of)),
            }
        }
        runtime().block_on(tree_is_its_model(a, b, vec![TreePath::root()]));
    }
}

/// Three directories of four directories with 4000 files each, and a wide one: listing the top, or one of the three, fetches little of what lies below.
#[test]
fn a_directory_is_listed_without_reading_what_lies_deeper() {
    let name = |n: u32| format!("{}/{}/{}", n % 3, n / 3 % 4, blake3::hash(&n.to_le_bytes()));
    let path = |n: u32| TreePath::new(name(n)).expect("plain");
    let mut model: Model = (0..48_000).map(|n| (path(n), 1)).collect();
    model.extend((0..3).map(|n| (TreePath::new(format!("{n}")).expect("plain"), 5)));
    model.extend((0..3000).map(|n| (TreePath::new(format!("wide/{n}")).expect("plain"), 1)));
    runtime().block_on(async {
        let forest = Forest::new().await;
        let (root, _) = forest.plant(&model).await;
        assert!(root.level >= 1);
        let whole: Vec<Entry> = model.iter().map(|(path, of)| entry(path.clone(), *of)).collect();
        let mut cost = Vec::new();
        for (recursive, within) in [(true, ""), (false, ""), (false, "1"), (false, "wide"), (false, "1/nothing")] {
            // A reader of its own each time: what one has read it may remember.
            let record = Arc::new(Record::new(forest.repository.store.clone()));
            let repository = forest.repository.writer().await;
            let index = Arc::new(Index::load(&repository).await.unwrap());
            let repository =
                Repository::open_with_writer(forest.repository.store.clone(), &forest.repository.key).await;
            let repository = Arc::new(repository.unwrap().with_store(record.clone()));
            let reader = Arc::new(Reader::new(repository, index));
            let within = TreePath::new(within).expect("plain");
            if recursive {
                assert!(entries(&reader, root, &within).await == whole);
            } else {
                assert!(
                    shallow(&reader, root, &within).await == naive_shallow(&whole, &within),
                    "{}",
                    within.display()
                );
            }
            cost.push(record.counts().bytes_down);
        }
        println!("bytes: {cost:?}");
        let [all, top, one, wide, nothing] = cost[..] else { panic!("five") };
        assert!(all > 1_000_000, "{all}");
        assert!(top < all / 2 && one < all / 2, "a leaf or two for each name: {cost:?}");
        assert!(wide < all / 4 && nothing < all / 4, "{cost:?}");
    });
}

/// Trees large enough for nodes above the leaves: reading, looking up, and how much one change costs.
#[test]
fn one_change_in_a_large_tree_stores_a_leaf_and_the_nodes_above() {
    let path = |n: u32| TreePath::new(format!("d{}/s{}/f{n}", n % 17, n % 251)).expect("plain");
    let model: Model = (0..40_000).map(|n| (path(n), u8::try_from(n % 250).expect("small"))).collect();
    runtime().block_on(async {
        let forest = Forest::new().await;
        let (root, whole) = forest.plant(&model).await;
        assert!(root.level >= 1, "{root:?}"); // the keys are drawn anew in each run; two levels are only likely
        let reader = forest.reader().await;
        let read = entries(&reader, root, &TreePath::root()).await;
        assert!(read.iter().map(|entry| &entry.path).eq(model.keys()));
        for n in (0..40_000).step_by(1999) {
            let found = tree_read::lookup(&reader, root, &path(n)).await.unwrap();
            assert_eq!(found, model.get(&path(n)).map(|of| entry(path(n), *of)));
        }
        let mut news = Vec::new();
        for (round, change) in (0..6).enumerate() {
            let mut changed = model.clone();
            match round % 3 {
                0 => drop(changed.insert(path(change * 1301), 251)),
                1 => drop(changed.remove(&path(change * 1301))),
                _ => drop(changed.insert(path(100_000 + change), 3)),
            }
            let (other, new) = forest.plant(&changed).await;
            let reader = forest.reader().await;
            assert_eq!(diff(&reader, root, other).await, naive_diff(&model, &changed));
            news.push(new);
        }
        let mean = news.iter().sum::<u64>() / news.len() as u64;
        println!("one change costs {mean} of {whole} bytes on average: {news:?}");
        // Where leaves end is drawn anew with each key: the mean of six is mostly between a 90th and a 49th.
        assert!(mean < whole / 30, "one change stored {mean} of {whole} bytes on average");
        assert!(news.iter().all(|new| *new < whole / 10), "{news:?} of {whole}");
    });
}

/// Files as they are: noise, text, zeros and repetitions behind each other, after one of the heads that decide the way of cutting.
fn files() -> impl Strategy<Value = Vec<u8>> {
    let head = prop::sample::select(vec![
        &b""[..],
        b"SQLite format 3\0",
        b"\xff\xd8\xff\xe0",
        b"PK\x03\x04",
        b"\x28\xb5\x2f\xfd",
    ]);
    let part = (any::<u64>(), 0..1_500_000_usize, 0..4_u8).prop_map(|(seed, length, of)| match of {
        0 => vec![0; length],
        1 => noise(seed, 997).repeat(length / 997),
        _ => noise(seed, length),
    });
    (head, vec(part, 0..5), any::<bool>()).prop_map(|(head, parts, pages)| {
        let mut file = [head.to_vec(), parts.concat()].concat();
        if pages {
            file.truncate(file.len() / 4096 * 4096);
        }
        file
    })
}

/// The chunks of a file that is read `ahead` bytes beyond what the chunker asks for.
fn cut(chunker: &Chunker, file: &[u8], blocks: BlockSize, ahead: usize) -> Vec<usize> {
    let way = choose(&file[..file.len().min(16)], file.len() as u64, blocks);
    let (mut lengths, mut at) = (Vec::new(), 0);
    while at < file.len() {
        let seen = &file[at..file.len().min(at + way.longest() + ahead)];
        let length = chunker.next(way, at as u64, seen);
        assert!(length > 0 && length <= seen.len() && length <= CHUNK_BYTES_MAX, "a chunk of {length} bytes");
        lengths.push(length);
        at += length;
    }
    lengths
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunks_are_the_file_within_limits_and_the_same_every_time(
        file in files(), key in any::<u8>(), power in 16..=22_u32, ahead in 0..5_000_000_usize,
    ) {
        let blocks = BlockSize::new(1_u64 << power).expect("one of the sizes");
        let chunker = Chunker::new(&Secret::new([key; 32]));
        let lengths = cut(&chunker, &file, blocks, 0);
        prop_assert_eq!(lengths.iter().sum::<usize>(), file.len());
        prop_assert_eq!(&lengths, &cut(&Chunker::new(&Secret::new([key; 32])), &file, blocks, ahead), "what is read ahead decides");
    }

    #[test]
    fn a_pack_gives_back_what_was_added(
        blobs in vec((vec(any::<u8>(), 1..3000), 0..3_u8), 1..60),
        content in any::<bool>(),
    ) {
        let meta = MetaKeys::new(homelab_dr::base::id::RepositoryId::new([5; 16]), 1, Secret::new([1; 32]));
        let class = if content { PackClass::Content } else { PackClass::Metadata };
        let mut builder = PackBuilder::new(class, &Pool::new(1));
        for (n, (sealed, of)) in blobs.iter().enumerate() {
            let id = BlobId::new(*blake3::hash(&n.to_le_bytes()).as_bytes());
            let (kind, session) = if content {
                (Kind::Data, Some((SessionId::new([*of; 32]), (1, [*of; 112]))))
            } else {
                (Kind::from_number(of + 2).expect("metadata"), None)
            };
            builder.add(kind, id, sealed, 9, session);
        }
        let pack = builder.finish(&meta).expect("random");
        prop_assert_eq!(pack.bytes.len(), padded(pack.bytes.len()), "the size of a pack says little");
        let trailer = &pack.bytes[pack.bytes.len() - TRAILER_BYTES..];
        let place = open_trailer(&meta, &pack.indexed.id, trailer).expect("a trailer");
        let at = |offset: u64| usize::try_from(offset).expect("small");
        let range = at(place.range.start)..at(place.range.end);
        prop_assert!(range.end <= pack.bytes.len() - TRAILER_BYTES && range.len() > META_OVERHEAD);
        let table = open_table(&meta, &pack.indexed.id, &place, &pack.bytes[range]).expect("a table");
        prop_assert_eq!(&table, &pack.indexed.table);
        prop_assert_eq!(table.len(), blobs.len());
        for (record, (sealed, of)) in table.records().zip(&blobs) {
            let at = record.offset as usize..usize::try_from(record.end()).expect("small");
            prop_assert_eq!(&pack.bytes[at], &sealed[..]);
            prop_assert_eq!(record.sealed_hash, *blake3::hash(sealed).as_bytes());
            if content {
                prop_assert_eq!(table.sessions[usize::from(record.session)], SessionId::new([*of; 32]));
            }
        }
    }

    #[test]
    fn the_index_is_a_map(packs in vec((vec((0..200_u8, 1..1000_u32), 0..40), any::<bool>(), any::<bool>(), any::<bool>()), 0..20)) {
        // Ids that are not uniform at all, many of them twice; packs that are doomed or gone.
        let id = |n: u8| if n < 100 { BlobId::new([n; 32]) } else { BlobId::new(*blake3::hash(&[n]).as_bytes()) };
        let mut builder = IndexBuilder::default();
        let mut model: HashMap<BlobId, Vec<(ObjectId, u32, u32)>> = HashMap::new();
        for (number, (blobs, content, _, _)) in packs.iter().enumerate() {
            let mut offset = 300;
            let records: Vec<BlobRecord> = blobs.iter().map(|(n, length)| {
                let kind = if *content { Kind::Data } else { Kind::Leaf };
                let record = BlobRecord { id: id(*n), kind, session: 0, offset, length: *length, plain_length: 1, sealed_hash: [0; 32] };
                offset += length;
                record
            }).collect();
            let pack = ObjectId::new([u8::try_from(number).expect("few"); 32]);
            for record in &records {
                model.entry(record.id).or_default().push((pack, record.offset, record.length));
            }
            let sessions = if *content { vec![SessionId::new([7; 32])] } else { Vec::new() };
            let indexed = IndexedPack { id: pack, size: 1 << 20, table: PackTable::new(sessions, &records) };
            prop_assert_eq!(indexed.table.check(), Ok(()));
            builder.add(&indexed);
            if number % 3 == 0 {
                builder.add(&indexed); // as when two segments name it
            }
        }
        let mut index = builder.finish(vec![]);
        for (pack, (_, _, usable, present)) in index.packs.iter_mut().zip(&packs) {
            pack.usable = *usable && *present;
            pack.present = *present;
        }
        let state = |pack: &ObjectId| index.pack(index.pack_number(pack).expect("known")).expect("known").clone();
        prop_assert_eq!(index.len(), model.values().map(Vec::len).sum::<usize>());
        for n in 0..=255 {
            let copies = model.get(&id(n)).cloned().unwrap_or_default();
            let found: BTreeSet<_> = index.copies(&id(n)).map(|l| (index.pack(l.pack).expect("known").id, l.offset, l.length)).collect();
            prop_assert_eq!(found, copies.iter().copied().collect::<BTreeSet<_>>());
            // Metadata counts from when it was opened.
            let content = |pack: &ObjectId| state(pack).class == PackClass::Content;
            let usable = copies.iter().any(|(pack, ..)| state(pack).usable && content(pack));
            prop_assert_eq!(index.find_usable(&id(n)).is_some(), usable);
            index.copies(&id(n)).for_each(|copy| index.mark_opened(copy.slot));
            prop_assert_eq!(index.find_usable(&id(n)).is_some(), copies.iter().any(|(pack, ..)| state(pack).usable));
            prop_assert_eq!(index.find(&id(n)).is_some(), copies.iter().any(|(pack, ..)| state(pack).present));
        }
        prop_assert!(index.iter().map(|blob| blob.id).is_sorted());
    }
}
