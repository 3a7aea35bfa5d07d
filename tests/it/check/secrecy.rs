//! What a writer cannot read, and what nobody finds in stored bytes.

use std::path::Path;
use std::sync::Arc;

use homelab_dr::backup::run_backup;
use homelab_dr::base::clock::{Clock as _, SystemClock};
use homelab_dr::base::secret::Secret;
use homelab_dr::crypto::content::ContentKey;
use homelab_dr::format::kind::{Kind, RecordKind};
use homelab_dr::format::pack;
use homelab_dr::format::record::SessionRecord;
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::index::Index;
use homelab_dr::repo::write::Writer;
use homelab_dr::repo::{RepoError, commit, layout, sealed};
use homelab_dr::store::file::FileStore;

use crate::support::repository::{TestRepository, options};

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_cannot_read_what_it_wrote_a_moment_ago() {
    let test = TestRepository::in_memory().await;
    let repository = test.writer().await;
    let index = commit::prepare(&repository).await.unwrap();
    let writer = Writer::begin(repository.clone(), index, test.clock.clone(), None).await.unwrap();
    let (writer, blob) = tokio::task::spawn_blocking(move || {
        let mut lane = writer.lane().unwrap();
        let blob = writer.add_data(&mut lane, b"the password is swordfish").unwrap();
        drop(lane);
        (writer, blob)
    })
    .await
    .unwrap();
    writer.finish().await.unwrap();

    let index = Arc::new(Index::load(&repository).await.unwrap());
    assert!(index.find(&blob).is_some());
    let reader = Reader::new(repository.clone(), index.clone());
    assert!(matches!(reader.data(&blob).await, Err(RepoError::IdentityNeeded)));
    assert!(matches!(reader.metadata(Kind::Leaf, &blob).await, Err(RepoError::Blob { .. })));
    assert!(!repository.has_identity() && repository.recipients().is_none());

    // By hand: no secret that the writer key holds unwraps the session, neither from sessions/ nor from the pack.
    let key = &test.key;
    let meta = homelab_dr::crypto::meta::MetaKeys::new(key.repository, key.epoch, key.metadata_key.duplicate());
    let session = layout::session(&index.sessions[0]);
    let record: SessionRecord = sealed::read_at(&*test.store, &meta, RecordKind::Session, &session).await.unwrap();
    let packed = test.store.get(&layout::pack(&index.packs[0].id)).await.unwrap();
    let (_, wraps) = pack::parse_header(&packed).unwrap();
    assert_eq!(wraps[0].1.to_vec(), record.wrap);
    let root = Secret::new(*key.root.as_bytes());
    for secret in [&key.metadata_key, &key.chunk_id_key, &key.chunker_key, &root] {
        for epoch in 0..3 {
            assert!(ContentKey::unwrap(key.repository, epoch, secret, &record.wrap).is_err());
        }
    }
    // The identity does.
    let owner = test.owner().await;
    let reader = Reader::new(owner.clone(), Arc::new(Index::load(&owner).await.unwrap()));
    assert_eq!(reader.data(&blob).await.unwrap(), b"the password is swordfish");
}

/// Every file below a folder, with its path.
fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    all
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_secret_is_in_no_stored_byte_and_in_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let (source, stored) = (dir.path().join("source"), dir.path().join("stored"));
    std::fs::create_dir(&source).unwrap();
    // Every one is as it would be stored in clear: too short or too random to compress.
    let secrets: Vec<String> = ["name", "content", "link", "source", "host", "tag"]
        .iter()
        .map(|what| format!("{what}-7f3a9c51e0b8d246"))
        .collect();
    let [name, content, link, label, host, tag] = &secrets[..] else { panic!("six") };
    let noise = super::noise(99, 300_000);
    std::fs::write(source.join(name), content).unwrap();
    std::fs::write(source.join("noise"), &noise).unwrap();
    std::os::unix::fs::symlink(link, source.join("link")).unwrap();

    let store = Arc::new(FileStore::create(&stored).await.unwrap());
    let test = TestRepository::on(store, Arc::new(SystemClock)).await;
    let mut options = options(&source, label);
    options.host.clone_from(host);
    options.tags.insert("note".to_owned(), tag.clone());
    let report = run_backup(&test.context(test.writer().await), &options).await.unwrap();
    assert_eq!(report.record.statistics.files, 2);
    homelab_dr::keys::drill(&test.owner().await, host, &SystemClock).await.unwrap();
    let snapshot = report.snapshot.unwrap();
    homelab_dr::verified::record(&*test.owner().await, &[snapshot], &[], host, &SystemClock).await.unwrap().unwrap();
    let rehearsal = crate::frozen::rehearsal(snapshot, label, host);
    homelab_dr::drill::record::store(&*test.owner().await, &rehearsal, SystemClock.now()).await.unwrap();

    let all = files(&stored);
    assert!(all.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > noise.len(), "it was stored");
    let mut needles: Vec<&[u8]> = secrets.iter().map(String::as_bytes).collect();
    needles.extend([&noise[..32], &noise[150_000..150_032]]);
    let key = test.key.to_text();
    for secret in [&test.key.metadata_key, &test.key.chunk_id_key, &test.key.chunker_key] {
        needles.push(secret.expose());
    }
    needles.push(key.as_bytes());
    for (path, bytes) in &all {
        for needle in &needles {
            assert!(!holds(bytes, needle), "{path} holds {:?}", String::from_utf8_lossy(needle));
            assert!(!holds(path.as_bytes(), needle), "{path}");
        }
    }
    // The scan itself finds what is there.
    let format = all.iter().find(|(path, _)| path.ends_with("format.json")).unwrap();
    assert!(holds(&format.1, test.key.repository.hex().as_bytes()));
}
