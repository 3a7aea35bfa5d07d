//! Adding and removing recipients of a repository that is in use.

use std::sync::Arc;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::crypto::recipients::{
    GeneratedIdentity, IdentitySource, NoPrompt, Prompt, Recipient, generate_identity,
};
use homelab_dr::recover::opens::opens;
use homelab_dr::repo::create::change_recipients;
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::index::Index;
use homelab_dr::repo::{RepoError, Repository};

use homelab_dr::store::{Operation, StoreError};

use crate::prune::gate::Gate;
use crate::support::repository::TestRepository;

fn source(identity: &GeneratedIdentity) -> Vec<IdentitySource> {
    vec![IdentitySource::parse("other", identity.secret.expose().as_bytes()).unwrap()]
}

async fn open(repository: &TestRepository, identity: &[IdentitySource]) -> Result<Repository, RepoError> {
    let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
    let pin = Some(repository.key.fingerprint());
    Repository::open_with_identity(repository.store.clone(), identity, &prompt, pin).await
}

async fn reads_all(repository: Repository) -> Result<(), RepoError> {
    let repository = Arc::new(repository);
    let index = Arc::new(Index::load(&repository).await?);
    let reader = Reader::new(repository, index.clone());
    for blob in index.iter().filter(|blob| blob.location.session.is_some()) {
        reader.data(&blob.id).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_reads_nothing_that_is_written_later_even_with_the_old_access_object() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "first").unwrap();
    let repository = TestRepository::in_memory().await;
    let other = generate_identity();
    let mine: Vec<Recipient> = repository.identity[0].recipients();

    let both = [mine.clone(), vec![Recipient::parse(&other.recipient.to_string()).unwrap()]].concat();
    change_recipients(&*repository.owner().await, &both, &*repository.clock).await.unwrap();
    let first = repository.backup(dir.path(), "s").await;
    reads_all(open(&repository, &source(&other)).await.unwrap()).await.unwrap();
    let access = repository.store.list("access/").await.unwrap();
    assert_eq!(access.len(), 1, "the access object of before is gone");
    let kept = repository.store.get(&access[0].key).await.unwrap();

    change_recipients(&*repository.owner().await, &mine, &*repository.clock).await.unwrap();
    let error = open(&repository, &source(&other)).await.err().unwrap();
    assert!(matches!(error, RepoError::NoIdentity { .. }), "{error}");

    // The writer key that is out there goes on working, and what it writes is sealed to the new epoch.
    std::fs::write(dir.path().join("b"), "second").unwrap();
    let report = repository.backup(dir.path(), "s").await;
    reads_all(open(&repository, &repository.identity).await.unwrap()).await.unwrap();
    let target = tempfile::tempdir().unwrap();
    assert!(repository.restore(&report, target.path()).await.problems.is_empty());

    // Who was removed kept a copy of the access object and puts it back.
    repository.store.put_new(&access[0].key, kept, None).await.unwrap();
    let old = open(&repository, &source(&other)).await.unwrap();
    let old = Arc::new(old);
    let reader = Arc::new(Reader::new(old.clone(), Arc::new(Index::load(&old).await.unwrap())));
    let looked = async |root| opens(&reader, root, &Cancel::default()).await;
    assert!(matches!(looked(first.record.root).await, Ok(None)), "what was stored before is open to it");
    let error = looked(report.record.root).await.unwrap_err();
    assert!(matches!(error, RepoError::Removed { .. }), "{error}");
    drop((reader, old));
    let old = open(&repository, &source(&other)).await.unwrap();
    let error = reads_all(old).await.unwrap_err();
    assert!(matches!(error, RepoError::Removed { .. }), "{error}");
    // And the owner is not led astray by it.
    reads_all(open(&repository, &repository.identity).await.unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_access_objects_lock_nobody_out() {
    let repository = TestRepository::in_memory().await;
    let mine = repository.identity[0].recipients();
    let forged = homelab_dr::crypto::recipients::wrap(b"rubbish", &mine).unwrap();
    let id = homelab_dr::crypto::hash::object_id(&forged);
    let key = homelab_dr::repo::layout::access(&id);
    repository.store.put_new(&key, forged.into(), None).await.unwrap();

    let foreign = TestRepository::in_memory().await;
    change_recipients(&*foreign.owner().await, &mine, &*foreign.clock).await.unwrap();
    for listed in foreign.store.list("access/").await.unwrap() {
        let bytes = foreign.store.get(&listed.key).await.unwrap();
        repository.store.put_new(&listed.key, bytes, None).await.unwrap();
    }
    open(&repository, &repository.identity).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_removals_at_once_leave_a_repository_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "first").unwrap();
    let mut repository = TestRepository::in_memory().await;
    let mine: Vec<Recipient> = repository.identity[0].recipients();
    let [one, two] = [generate_identity(), generate_identity()];
    let with = |others: &[&GeneratedIdentity]| {
        let others = others.iter().map(|other| Recipient::parse(&other.recipient.to_string()).unwrap());
        mine.iter().cloned().chain(others).collect::<Vec<_>>()
    };
    change_recipients(&*repository.owner().await, &with(&[&one, &two]), &*repository.clock).await.unwrap();

    // The first is about to begin its epoch; meanwhile the second does all of its work.
    let (second, clock) = (repository.owner().await, repository.clock.clone());
    let (remaining, store) = (with(&[&one]), repository.store.clone());
    let left_behind = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = left_behind.clone();
    let gate = Gate::new(
        &repository.store,
        |_, operation, object| operation == Operation::PutNew && object.starts_with("epochs/"),
        async move {
            for listed in store.list("access/").await.unwrap() {
                let bytes = store.get(&listed.key).await.unwrap();
                seen.lock().unwrap().push((listed.key, bytes));
            }
            change_recipients(&second, &remaining, &*clock).await.unwrap();
        },
    );
    let opened = open(&repository, &repository.identity).await.unwrap().with_store(gate.clone());
    let error = change_recipients(&opened, &with(&[&two]), &*repository.clock).await.unwrap_err();
    assert!(gate.opened() && matches!(error, RepoError::Store(StoreError::Conflict { .. })), "{error}");
    assert_eq!(repository.store.list("access/").await.unwrap().len(), 1, "its own object is gone");

    repository.backup(dir.path(), "s").await;
    reads_all(open(&repository, &repository.identity).await.unwrap()).await.unwrap();
    reads_all(open(&repository, &source(&one)).await.unwrap()).await.unwrap();
    // Killed before it could remove its object, it leaves that behind: it matches no epoch, and is passed over.
    for (key, bytes) in left_behind.lock().unwrap().drain(..) {
        futures::executor::block_on(repository.store.put_new(&key, bytes, None)).unwrap();
    }
    assert!(repository.store.list("access/").await.unwrap().len() >= 2);
    reads_all(open(&repository, &repository.identity).await.unwrap()).await.unwrap();
    repository.identity = source(&one);
    reads_all(open(&repository, &repository.identity).await.unwrap()).await.unwrap();
}

/// Whoever can write to the store can stop writers with a false epoch. He leads no owner astray.
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_epoch_stops_writers_and_no_owner() {
    let repository = TestRepository::in_memory().await;
    let planted = homelab_dr::store::Key::new("epochs/7").unwrap();
    repository.store.put_new(&planted, vec![1; 4096].into(), None).await.unwrap();
    let stopped = Repository::open_with_writer(repository.store.clone(), &repository.key).await.err().unwrap();
    assert!(matches!(stopped, RepoError::Retired { found: 7, .. }), "{stopped}");
    reads_all(open(&repository, &repository.identity).await.unwrap()).await.unwrap();
    repository.store.delete(&planted).await.unwrap();
    Repository::open_with_writer(repository.store.clone(), &repository.key).await.unwrap();
}
