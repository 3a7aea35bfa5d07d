//! A file with several names is kept by those that are there, whichever the walk met first.

use std::sync::Arc;

use homelab_dr::backup::assemble::assemble;
use homelab_dr::backup::queue::Queue;
use homelab_dr::backup::scan::Pending;
use homelab_dr::backup::slot::Slot;
use homelab_dr::backup::unchanged::Known;
use homelab_dr::backup::worker::Worker;
use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::{Clock, SystemClock};
use homelab_dr::base::progress::Progress;
use homelab_dr::chunker::BlockSize;
use homelab_dr::format::entry::{Kind, TreePath};
use homelab_dr::repo::commit::prepare;
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::index::Index;
use homelab_dr::repo::tree_read::TreeReader;
use homelab_dr::repo::write::{Lane, Writer};
use homelab_dr::tree::found::{Found, FoundKind};
use homelab_dr::tree::problem::Severity;
use homelab_dr::tree::source::Source;
use homelab_dr::tree::walk::WalkOptions;

use crate::support::files::scratch;
use crate::support::repository::TestRepository;

/// Backs up `a`, `b` and `c`, names of one file, of which `gone` vanish between the walk and the reading. Returns the entries with their kinds and the problems.
async fn backed_up(gone: &'static [&'static str]) -> (Vec<(String, Kind)>, Vec<(String, Severity)>) {
    let dir = scratch();
    std::fs::write(dir.path().join("a"), "content").unwrap();
    for name in ["b", "c"] {
        std::fs::hard_link(dir.path().join("a"), dir.path().join(name)).unwrap();
    }
    let repository = TestRepository::in_memory().await;
    let opened = repository.writer().await;
    let index = prepare(&opened).await.unwrap();
    let writer = Arc::new(Writer::begin(opened.clone(), index, repository.clock.clone(), None).await.unwrap());
    let built = {
        let writer = writer.clone();
        tokio::task::spawn_blocking(move || {
            let source = Source::new(&[dir.path().to_owned()]).unwrap();
            let found: Vec<Found> = source.walk(WalkOptions::default()).map(|item| item.expect("readable")).collect();
            for name in gone {
                std::fs::remove_file(dir.path().join(name)).unwrap();
            }
            let worker = Worker {
                writer: writer.clone(),
                source,
                live: None,
                queue: Arc::new(Queue::default()),
                blocks: BlockSize::default(),
                progress: Arc::new(Progress::default()),
                cancel: Arc::new(Cancel::default()),
            };
            let read_now = |lane: &mut Lane, found: &Found| worker.read_now(lane, found);
            let (sender, receiver) = std::sync::mpsc::sync_channel(1);
            let mut lane = writer.lane().unwrap();
            let pending = found
                .into_iter()
                .map(|found| match found.kind {
                    FoundKind::File => {
                        let slot = Slot::default();
                        slot.fill(worker.read_now(&mut lane, &found).unwrap());
                        Pending::Waiting(found, Arc::new(slot))
                    }
                    _ => Pending::Ready(found, Known::nothing(0)),
                })
                .collect();
            drop(lane);
            sender.send(pending).unwrap();
            drop(sender);
            let began = SystemClock.now();
            assemble(&writer, writer.lane().unwrap(), &receiver, began, &Progress::default(), &read_now).unwrap()
        })
        .await
        .unwrap()
    };
    let writer = Arc::try_unwrap(writer).unwrap_or_else(|_| panic!("nobody holds it"));
    writer.finish().await.unwrap();
    let index = Arc::new(Index::load(&opened).await.unwrap());
    let mut tree = TreeReader::open(Arc::new(Reader::new(opened, index)), built.root, TreePath::root()).unwrap();
    let mut entries = Vec::new();
    while let Some(batch) = tree.next().await.unwrap() {
        entries.extend(batch.into_iter().map(|entry| (entry.path.display(), entry.kind)));
    }
    entries.retain(|(_, kind)| *kind != Kind::Directory);
    (entries, built.problems.into_iter().map(|problem| (problem.path.display(), problem.severity)).collect())
}

fn names(entries: &[(String, Kind)]) -> Vec<&str> {
    entries.iter().map(|(name, _)| name.as_str()).collect()
}

fn link_to(name: &str) -> Kind {
    Kind::HardLink { target: TreePath::new(name).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanished_by_its_first_name_is_read_by_the_next() {
    let (entries, problems) = backed_up(&[]).await;
    assert_eq!((names(&entries), problems.len()), (vec!["a", "b", "c"], 0));

    let (entries, problems) = backed_up(&["a"]).await;
    assert_eq!(problems, [("a".to_owned(), Severity::Note)]);
    assert_eq!(names(&entries), ["b", "c"]);
    assert!(matches!(entries[0].1, Kind::File { size: 7, .. }), "{:?}", entries[0]);
    assert_eq!(entries[1].1, link_to("b"), "the other names follow");

    let (entries, problems) = backed_up(&["a", "b"]).await;
    assert_eq!(problems.len(), 2);
    assert_eq!(names(&entries), ["c"]);
    assert!(matches!(entries[0].1, Kind::File { size: 7, .. }));

    let (entries, problems) = backed_up(&["a", "b", "c"]).await;
    assert_eq!((names(&entries), problems.len()), (vec![], 3));
}
