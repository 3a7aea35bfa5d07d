//! From options to an opened store or repository. Every store is wrapped: retried, and throttled when limits are given.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::causes::in_one_line;
use crate::base::id::ObjectId;
use crate::cli::context::{Context, local};
use crate::cli::failure::Failure;
use crate::cli::output::{Talk, count};
use crate::cli::prompt::TerminalPrompt;
use crate::crypto::recipients::Prompt;
use crate::format::entry::escape;
use crate::repo::fetch::Reader;
use crate::repo::salvage::{self, Salvaged};
use crate::repo::snapshots::Chain;
use crate::repo::{RepoError, Repository, layout};
use crate::store::Store;
use crate::store::first::FirstVersions;
use crate::store::readonly::ReadOnly;
use crate::store::retry::{Retry, RetryPolicy};
use crate::store::throttle::Throttle;
use crate::store::url::StoreUrl;

/// Snapshots from the future that are warned of one by one.
const FUTURE_SHOWN: usize = 4;

/// What a command does with the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Changes nothing; a bug cannot either.
    Read,
    /// The same for who looks and says nothing of how the store is: what was read before may come from a copy near at hand.
    Look,
    /// Adds a record of what was read back, and changes nothing else; a bug cannot either.
    Verify,
    /// Adds a record of a drill, and changes nothing else; a bug cannot either.
    Rehearse,
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
    context.cancel.begin();
    let globals = &context.globals;
    // Only spreads the waits of clients that fail together; the process id tells them apart well enough.
    let mut store: Arc<dyn Store> = Arc::new(Retry::new(store, RetryPolicy::default(), u64::from(std::process::id())));
    if globals.limit_upload.is_some() || globals.limit_download.is_some() {
        store = Arc::new(Throttle::new(store, globals.limit_upload, globals.limit_download));
    }
    match access {
        Access::Read | Access::Look => Arc::new(ReadOnly::new(store)),
        Access::Verify => Arc::new(ReadOnly::but_adding(store, layout::VERIFIED)),
        Access::Rehearse => Arc::new(ReadOnly::but_adding(store, layout::REHEARSALS)),
        Access::Write => store,
    }
}

/// The repository's store.
pub async fn store(context: &Context, access: Access) -> Result<Arc<dyn Store>, Failure> {
    let opened = address(context)?.open().await?;
    if !context.globals.first_versions {
        return Ok(wrapped(context, opened, access));
    }
    if access == Access::Write {
        return Err(Failure::usage(
            "--first-versions is for commands that only read",
            "restore, or copy what it shows into a fresh repository: `homelab-dr replicate --first-versions --to URL`",
        ));
    }
    Ok(Arc::new(FirstVersions::new(wrapped(context, opened, access))))
}

/// Opens with the writer key if there is one, otherwise with an identity: for what needs no content.
pub async fn repository(context: &Context, access: Access) -> Result<Arc<Repository>, Failure> {
    if let Some(key) = context.globals.writer_key()? {
        context.globals.pinned(Some(&key))?;
        let store = store(context, access).await?;
        return near(context, Repository::open_with_writer(store, &key).await?, access);
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
    if let Err(error) = repository.refuse_if_unfinished() {
        context.talk.warn(&format!("{error}: run `homelab-dr keys rotate-writer` again"));
    }
    match repository.refuse_if_removed() {
        // What was stored before it was removed may be all that is left.
        Err(error) if access != Access::Write => context.talk.warn(&error.to_string()),
        refused => refused?,
    }
    near(context, repository, access)
}

/// Where copies of what was read are kept: below the usual folder of such things, if the repository is in a bucket; of a folder only where somebody asks for it.
fn cache(context: &Context) -> Result<Option<PathBuf>, Failure> {
    let globals = &context.globals;
    if globals.cache_size == 0 {
        return Ok(None);
    }
    if let Some(given) = globals.cache.as_ref().filter(|given| !given.as_os_str().is_empty()) {
        return Ok(Some(given.clone()));
    }
    if matches!(address(context)?, StoreUrl::File { .. }) {
        return Ok(None);
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let usual = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    Ok(usual.filter(|usual| usual.is_absolute()).map(|usual| usual.join("homelab-dr")))
}

/// Reads through copies near at hand where that is wanted and says the same.
fn near(context: &Context, repository: Repository, access: Access) -> Result<Arc<Repository>, Failure> {
    // With --first-versions the store is what is looked at.
    let wanted = access == Access::Look && !context.globals.first_versions;
    Ok(Arc::new(match cache(context)?.filter(|_| wanted) {
        Some(directory) => repository.near(&directory, context.globals.cache_size),
        None => repository,
    }))
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
    let chain = Chain::load_to_read(repository).await?;
    warn_of_chain(context, &chain);
    Ok(chain)
}

/// The same for what writes, or plans it: a record that the store cannot read is an error, since nobody may act as if it were not there.
pub async fn chain_to_write(context: &Context, repository: &Repository) -> Result<Chain, Failure> {
    let chain = Chain::load(repository).await?;
    warn_of_chain(context, &chain);
    Ok(chain)
}

fn warn_of_chain(context: &Context, chain: &Chain) {
    for (id, reason) in &chain.unreadable {
        context.talk.warn(&format!("snapshot {} cannot be read: {reason}; run `homelab-dr check`", id.short()));
    }
    for snapshot in chain.from_the_future(context.clock.now()).take(FUTURE_SHOWN) {
        context.talk.warn(&format!(
            "snapshot {} of {} is dated {}, in the future: a clock was wrong. `latest` goes by the order in which snapshots were made, not by their times",
            snapshot.id.short(),
            escape(snapshot.record.source.as_bytes()),
            local(snapshot.record.started),
        ));
    }
    warn_of_gaps(context, &chain.gaps());
}

/// Warns of snapshots that are gone though nobody forgot them.
pub fn warn_of_gaps(context: &Context, gaps: &[ObjectId]) {
    if !gaps.is_empty() {
        let names: Vec<String> = gaps.iter().take(8).map(ObjectId::short).collect();
        context.talk.warn(&format!(
            "{} missing though nobody forgot {}: {}. Somebody deleted from the store; run `homelab-dr check`",
            count(gaps.len() as u64, "snapshot") + if gaps.len() == 1 { " is" } else { " are" },
            if gaps.len() == 1 { "it" } else { "them" },
            names.join(", ")
        ));
    }
}

/// Loads the index and makes a reader. Where the index is damaged the tables inside packs stand in, loudly.
pub async fn reader(context: &Context, repository: &Arc<Repository>) -> Result<Arc<Reader>, Failure> {
    let talk = context.talk.clone();
    Ok(salvage::reader(repository, move |salvaged| warn_salvaged(&talk, salvaged)).await?)
}

fn warn_salvaged(talk: &Talk, salvaged: &Salvaged) {
    let mut told = false;
    for (key, error) in salvaged.lost_segments() {
        told = true;
        let why = in_one_line(error);
        talk.warn(&format!("THE INDEX IS DAMAGED: {key} cannot be read: {why}"));
    }
    if !told {
        talk.warn("THE INDEX IS NOT WHOLE: a part of what is needed is in no segment of it");
    }
    let packs = if salvaged.from_tables == 1 { "pack is" } else { "packs are" };
    talk.warn(&format!(
        "{} {packs} read by the tables inside; run `homelab-dr check --rebuild-index` to make the index whole again",
        salvaged.from_tables
    ));
}
