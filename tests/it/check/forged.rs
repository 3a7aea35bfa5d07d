//! Recipients are public: somebody who knows them builds a repository in the place of the real one, with the program's own library.

use std::sync::Arc;

use bytes::Bytes;
use homelab_dr::base::clock::{Clock, SystemClock};
use homelab_dr::base::secret::Secret;
use homelab_dr::crypto::content::epoch_key_pair;
use homelab_dr::crypto::hash::object_id;
use homelab_dr::crypto::meta::MetaKeys;
use homelab_dr::crypto::recipients::{NoPrompt, Prompt, Recipient, wrap};
use homelab_dr::crypto::sign;
use homelab_dr::format::kind::RecordKind;
use homelab_dr::format::record::{self, AccessRecord, EpochKeys, EpochRecord, FORMAT_VERSION, FormatFile, SignedEpoch};
use homelab_dr::repo::{RepoError, Repository, layout, sealed};
use homelab_dr::store::Store;
use homelab_dr::store::memory::MemoryStore;

use super::{read_all, run};
use crate::support::repository::TestRepository;

/// A repository for `recipients` that says it has the real one's id, with keys of the forger.
async fn forge(real: &TestRepository, recipients: &[Recipient]) -> Arc<dyn Store> {
    let clock = SystemClock;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let (private, public) = epoch_key_pair().unwrap();
    let access = AccessRecord {
        repository: real.key.repository,
        root: Secret::random().unwrap(),
        chunk_id_key: Secret::random().unwrap(),
        chunker_key: Secret::random().unwrap(),
        epochs: vec![EpochKeys { number: 1, metadata_key: Secret::random().unwrap(), private }],
        recipients: recipients.iter().map(ToString::to_string).collect(),
        generation: 99,
        created: clock.now(),
    };
    let stored = wrap(&record::encode(&access, 0), recipients).unwrap();
    store.put_new(&layout::access(&object_id(&stored)), stored.into(), None).await.unwrap();
    let metadata_key = &access.epochs[0].metadata_key;
    let epoch = EpochRecord {
        number: 1,
        public,
        metadata_commitment: blake3::derive_key("homelab-dr v1 metadata key commitment", metadata_key.expose()),
        recipients_hash: [0; 32],
        created: clock.now(),
        lock_seconds: 0,
        accepted_from: None,
    };
    let body = minicbor::to_vec(&epoch).unwrap();
    let signature = sign::sign(&access.root, sign::EPOCH, &access.repository, &body).to_vec();
    let meta = MetaKeys::new(access.repository, 1, metadata_key.duplicate());
    let signed = sealed::seal(&meta, RecordKind::Epoch, &SignedEpoch { body, signature }).unwrap();
    store.put_new(&layout::epoch(1), signed, None).await.unwrap();
    let repository = real.key.repository.hex();
    let format = FormatFile { magic: "homelab-dr".to_owned(), version: FORMAT_VERSION, repository };
    let text = Bytes::from(serde_json::to_vec(&format).unwrap());
    store.put_new(&layout::format(), text, None).await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_repository_is_refused_by_the_pin_and_by_the_writer_key_and_told_without() {
    let real = TestRepository::in_memory().await;
    let recipients: Vec<Recipient> = real.identity[0].recipients();
    let forged = forge(&real, &recipients).await;
    let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);

    let pinned = Some(real.key.fingerprint());
    let refused = Repository::open_with_identity(forged.clone(), &real.identity, &prompt, pinned).await;
    assert!(matches!(refused.err(), Some(RepoError::Forged { .. })));
    let refused = Repository::open_with_writer(forged.clone(), &real.key).await;
    assert!(matches!(refused.err(), Some(RepoError::Sealed { .. } | RepoError::Epoch { .. })));

    // Without a pin the identity opens it, since age tells no sender; it must be said.
    let opened = Repository::open_with_identity(forged, &real.identity, &prompt, None).await.expect("it is well made");
    assert!(!opened.verified);
    assert_ne!(opened.fingerprint(), real.key.fingerprint());
    assert!(!run(&Arc::new(opened)).await.depth.verified);
    assert!(run(&real.owner().await).await.depth.verified);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_object_smuggled_into_the_real_repository_is_no_way_in() {
    let fixture = super::Fixture::in_memory().await;
    let real = &fixture.repository;
    let forged = forge(real, &real.identity[0].recipients()).await;
    // Of a higher generation, so that it is preferred: it must be refused, not believed.
    let listed = forged.list(layout::ACCESS).await.unwrap();
    let bytes = forged.get(&listed[0].key).await.unwrap();
    real.store.put_new(&listed[0].key, bytes, None).await.unwrap();
    let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
    let pinned = Some(real.key.fingerprint());
    match Repository::open_with_identity(real.store.clone(), &real.identity, &prompt, pinned).await {
        Err(error) => assert!(matches!(error, RepoError::Forged { .. }), "{error}"),
        Ok(opened) => {
            let snapshots = real.snapshots().await;
            read_all(&Arc::new(opened), &snapshots[0]).await.expect("the real one was found behind it");
        }
    }
}
