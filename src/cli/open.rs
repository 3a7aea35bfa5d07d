//! From options to an opened store or repository. Every store is wrapped: retried, and throttled when limits are given.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::prompt::TerminalPrompt;
use crate::crypto::recipients::Prompt;
use crate::repo::fetch::Reader;
use crate::repo::index::Index;
use crate::repo::snapshots::Chain;
use crate::repo::{RepoError, Repository, layout};
use crate::store::Store;
use crate::store::readonly::ReadOnly;
use crate::store::retry::{Retry, RetryPolicy};
use crate::store::throttle::Throttle;
use crate::store::url::StoreUrl;

/// What a command does with the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Changes nothing; a bug cannot either.
    Read,
    /// Adds a record of what was read back, and changes nothing else; a bug cannot either.
    Verify,
    /// Adds or removes objects.
    Write,
}

/// The address that `--repo` or its variable gave.
pub fn address(context: &Context) -> Result<StoreUrl, Failure> {
    let given = context.globals.repo.as_deref().filter(|text| !text.is_empty());
    let given = given.ok_or_else(|| {
        Failure::usage(
            "no repository was given",
            "give --repo URL or set HOMELAB_DR_REPO, such as /mnt/backup or s3://bucket/prefix, or write homelab-dr.yaml",
        )
    })?;
    parse_address(given)
}

/// Parses the address of a store.
pub fn parse_address(text: &OsStr) -> Result<StoreUrl, Failure> {
    Ok(StoreUrl::from_os(text)?)
}

/// Stacks on a store what every command wants.
pub fn wrapped(context: &Context, store: Arc<dyn Store>, access: Access) -> Arc<dyn Store> {
    let globals = &context.globals;
    // Only spreads the waits of clients that fail together; the process id tells them apart well enough.
    let mut store: Arc<dyn Store> = Arc::new(Retry::new(store, RetryPolicy::default(), u64::from(std::process::id())));
    if globals.limit_upload.is_some() || globals.limit_download.is_some() {
        store = Arc::new(Throttle::new(store, globals.limit_upload, globals.limit_download));
    }
    match access {
        Access::Read => Arc::new(ReadOnly::new(store)),
        Access::Verify => Arc::new(ReadOnly::but_adding(store, layout::VERIFIED)),
        Access::Write => store,
    }
}

/// The repository's store.
pub async fn store(context: &Context, access: Access) -> Result<Arc<dyn Store>, Failure> {
    let opened = address(context)?.open().await?;
    Ok(wrapped(context, opened, access))
}

/// Opens with the writer key if there is one, otherwise with an identity: for what needs no content.
pub async fn repository(context: &Context, access: Access) -> Result<Arc<Repository>, Failure> {
    if let Some(key) = context.globals.writer_key()? {
        context.globals.pinned(Some(&key))?;
        let store = store(context, access).await?;
        return Ok(Arc::new(Repository::open_with_writer(store, &key).await?));
    }
    if context.globals.identities()?.is_empty() {
        return Err(Failure::usage(
            "no key was given",
            "give --writer-key-file FILE or --identity FILE, or set HOMELAB_DR_WRITER_KEY_FILE or HOMELAB_DR_IDENTITY_FILE",
        ));
    }
    with_identity(context, access).await
}

/// Opens with an identity: for what reads content or changes who can.
pub async fn with_identity(context: &Context, access: Access) -> Result<Arc<Repository>, Failure> {
    let writer_key = context.globals.writer_key()?;
    let pinned = context.globals.pinned(writer_key.as_ref())?;
    let identities = context.globals.identities()?;
    if identities.is_empty() {
        return Err(RepoError::IdentityNeeded.into());
    }
    let prompt: Arc<dyn Prompt> = Arc::new(TerminalPrompt);
    let store = store(context, access).await?;
    let repository = Repository::open_with_identity(store, &identities, &prompt, pinned).await?;
    if !repository.verified {
        warn_unverified(context, &repository);
    }
    Ok(Arc::new(repository))
}

fn warn_unverified(context: &Context, repository: &Repository) {
    let found = repository.fingerprint();
    context.talk.warn(&format!(
        "IT COULD NOT BE VERIFIED THAT THIS IS YOUR REPOSITORY.\n  \
         Whoever can write to the store could have put a forged one in its place. It shows the fingerprint\n    \
         {found}\n  \
         Compare it with your recovery kit, then give it with --fingerprint (or HOMELAB_DR_FINGERPRINT)."
    ));
}

/// The chain of snapshots; records that do not read are warned of, so that the others can be used.
pub async fn chain(context: &Context, repository: &Repository) -> Result<Chain, Failure> {
    let chain = Chain::load(repository).await?;
    for (id, reason) in &chain.unreadable {
        context.talk.warn(&format!("snapshot {} cannot be read: {reason}; run `homelab-dr check`", id.short()));
    }
    let gaps = chain.gaps();
    if !gaps.is_empty() {
        let names: Vec<String> = gaps.iter().take(8).map(crate::base::id::ObjectId::short).collect();
        context.talk.warn(&format!(
            "{} missing though nobody forgot {}: {}. Somebody deleted from the store; run `homelab-dr check`",
            if gaps.len() == 1 { "a snapshot is".to_owned() } else { format!("{} snapshots are", gaps.len()) },
            if gaps.len() == 1 { "it" } else { "them" },
            names.join(", ")
        ));
    }
    Ok(chain)
}

/// Loads the index and makes a reader.
pub async fn reader(repository: &Arc<Repository>) -> Result<Arc<Reader>, Failure> {
    let index = Index::load(repository).await?;
    Ok(Arc::new(Reader::new(repository.clone(), Arc::new(index))))
}
