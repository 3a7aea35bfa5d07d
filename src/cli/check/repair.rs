//! `check --repair`: puts right what can be, and says exactly what is lost.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::sync::Arc;

use crate::base::causes::in_one_line;
use crate::check::{Loss, Report};
use crate::cli::context::{Context, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::hints::{Advice, Advise};
use crate::cli::open::{self, Access};
use crate::cli::output::{count, quoted};
use crate::cli::prompt::TerminalPrompt;
use crate::cli::{progress, verified};
use crate::crypto::recipients::Prompt;
use crate::format::entry::escape;
use crate::repair::{How, Opening, Outcome, RepairError, Sources, heal_opening, open_again, repair_names, run_repair};
use crate::repo::{RepoError, Repository};
use crate::store::{Store, StoreError};

/// Snapshots whose losses are shown.
const SNAPSHOTS_SHOWN: usize = 10;
/// Lost files shown of each.
const FILES_SHOWN: usize = 20;

pub(super) async fn run(no_key: bool, from: &[OsString], context: &mut Context) -> Result<Exit, Failure> {
    let own = open::store(context, Access::Write).await?;
    let replicas = replicas(from, &*own, context).await?;
    let sources = Sources::new(&own, replicas).await?;
    let display = progress::show(context);
    let cancel = context.cancel.clone();
    // Cut off anywhere it leaves nothing worse, so dropping it is a clean stop.
    let done = tokio::select! {
        done = work(no_key, &own, &sources, context) => Some(done),
        () = cancel.cancelled() => None,
    };
    display.finish();
    let (outcome, repository) = done.unwrap_or(Err(Failure::Interrupted))?;
    let exit = tell(&outcome, context)?;
    if let (Some(repository), Some(report)) = (repository, &outcome.report) {
        verified::record(context, &repository, &report.verified, &report.damaged()).await?;
    }
    Ok(exit)
}

async fn work(
    no_key: bool,
    own: &Arc<dyn Store>,
    sources: &Sources,
    context: &Context,
) -> Result<(Outcome, Option<Arc<Repository>>), Failure> {
    if no_key {
        return Ok((repair_names(own, sources, context.clock.now(), &context.progress).await?, None));
    }
    let (repository, mut healed) = match opened(context).await {
        Ok(repository) => {
            let healed = heal_opening(&repository, sources, &*context.clock).await?;
            // In the epoch that it opened in what later ones sealed would be damage.
            if healed.is_empty() { (repository, healed) } else { (opened(context).await?, healed) }
        }
        Err(failure) => {
            let healed = before_opening(own, sources, failure, context).await?;
            (opened(context).await?, healed)
        }
    };
    let mut outcome = run_repair(&repository, sources, &context.clock, &context.progress).await?;
    healed.append(&mut outcome.healed);
    outcome.healed = healed;
    Ok((outcome, Some(repository)))
}

async fn opened(context: &Context) -> Result<Arc<Repository>, Failure> {
    if context.globals.identity_texts()?.is_empty() {
        return open::repository(context, Access::Write).await;
    }
    let repository = open::with_identity(context, Access::Write).await?;
    // It would find damage where there is none.
    repository.refuse_if_removed()?;
    Ok(repository)
}

/// What keeps the repository from opening is put right; where nothing is, the failure to open it is what there is to tell.
async fn before_opening(
    own: &Arc<dyn Store>,
    sources: &Sources,
    failure: Failure,
    context: &Context,
) -> Result<Vec<crate::repair::Healed>, Failure> {
    let writer_key = context.globals.writer_key()?;
    let identities = context.globals.identities()?;
    let prompt: Arc<dyn Prompt> = Arc::new(TerminalPrompt);
    let pinned = context.globals.pinned(writer_key.as_ref())?;
    // An identity can do more, and a writer key needs less.
    let with_identity =
        (!identities.is_empty()).then(|| Opening::Identity { identities: &identities, prompt: &prompt, pinned });
    let mut all = Vec::new();
    for opening in writer_key.as_ref().map(Opening::Writer).into_iter().chain(with_identity) {
        match open_again(own, sources, &opening).await {
            Ok(mut healed) => all.append(&mut healed),
            // It says what is known of the record and what is not.
            Err(RepairError::Repo(error @ RepoError::Epoch { .. })) => return Err(error.into()),
            // Nor would opening it again say what could not be written.
            Err(RepairError::Repo(RepoError::Store(
                error @ (StoreError::Failed { .. } | StoreError::Full { .. } | StoreError::Denied { .. }),
            ))) => return Err(error.into()),
            Err(RepairError::Repo(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if all.is_empty() { Err(failure) } else { Ok(all) }
}

/// The replicas that were named; else those of the configuration, as far as they are there.
async fn replicas(from: &[OsString], own: &dyn Store, context: &Context) -> Result<Vec<Arc<dyn Store>>, Failure> {
    let targets = context.configuration.as_ref().map(|loaded| loaded.config.replicate.as_slice()).unwrap_or_default();
    let mut replicas = Vec::new();
    if from.is_empty() {
        for target in targets {
            let address = open::parse_address(OsStr::new(&target.to))?;
            match address.open().await {
                Ok(store) => replicas.push(open::wrapped(context, store, Access::Read)),
                Err(error) => {
                    let why = in_one_line(&error);
                    context.talk.warn(&format!("the replica {} is passed over: {why}", target.name));
                }
            }
        }
        return Ok(replicas);
    }
    for named in from {
        let target = targets.iter().find(|target| named.to_str() == Some(target.name.as_str()));
        let address = open::parse_address(target.map_or(named.as_os_str(), |target| OsStr::new(&target.to)))?;
        let store = address.open().await?;
        if store.address() == own.address() {
            let what = format!("{} would be put right from itself", own.address());
            return Err(Failure::usage(
                what,
                "--repo is what is put right, --from a replica of it: give another place",
            ));
        }
        replicas.push(open::wrapped(context, store, Access::Read));
    }
    Ok(replicas)
}

fn tell(outcome: &Outcome, context: &mut Context) -> Result<Exit, Failure> {
    let damaged = outcome.report.as_ref().is_some_and(Report::is_damaged);
    let exit = match (damaged, outcome.kept.is_empty()) {
        (true, _) => Exit::Damaged,
        (false, false) => Exit::Problems,
        (false, true) => Exit::Done,
    };
    if context.out.json {
        context.out.document(outcome)?;
        return Ok(exit);
    }
    for healed in &outcome.healed {
        let how = match (healed.how, &healed.from) {
            (How::Copied, Some(from)) => format!("brought from {}", escape(from.as_bytes())),
            (How::Copied, None) => "brought".to_owned(),
            (How::Made, _) => "made anew".to_owned(),
            (How::PutBack, _) => "put back in its place: it lay under another name".to_owned(),
            (How::SetAside, _) => {
                "cannot be read; what it said is known from elsewhere, and `homelab-dr prune` takes it away".to_owned()
            }
            (How::Removed, _) => "taken away: nobody could read what it marks".to_owned(),
        };
        context.line(&format!("healed: {}: {how}", healed.object))?;
    }
    for pack in &outcome.marked {
        context
            .line(&format!("marked: {pack}: nobody builds upon it any more, and `homelab-dr prune` takes it away"))?;
    }
    for kept in &outcome.kept {
        context.talk.warn(&format!(
            "kept as it is: {}: {}\n  help: give more replicas (--from), or run it again once they answer. If it stays: move what lies there out of the repository, keep it, and run it again",
            kept.object,
            escape(kept.why.as_bytes())
        ));
    }
    for trouble in &outcome.passed_over {
        context.talk.warn(&format!("passed over: {}", escape(trouble.as_bytes())));
    }
    if let Some(report) = &outcome.report {
        super::tell(report, context)?;
    }
    lost(&outcome.losses, context)?;
    let copied = outcome.blobs_moved + outcome.blobs_brought;
    let mut done = format!("put right {}", count(outcome.healed.len() as u64, "object"));
    if copied > 0 {
        let _ = write!(done, ", copied {} out of damaged packs or from replicas", count(copied, "blob"));
    }
    if outcome.packs_indexed > 0 {
        let _ = write!(done, ", indexed {}", count(outcome.packs_indexed, "pack"));
    }
    if !outcome.changed() {
        "there was nothing to put right, or nothing to do it with".clone_into(&mut done);
    }
    context.summary(exit != Exit::Done, &done)?;
    Ok(exit)
}

/// Every file that is lost, as far as a terminal bears it, and how to have those back that the sources still hold.
fn lost(losses: &[Loss], context: &mut Context) -> Result<(), Failure> {
    if losses.is_empty() {
        return Ok(());
    }
    for loss in losses.iter().take(SNAPSHOTS_SHOWN) {
        let mut text = format!(
            "LOST of snapshot {} of {} ({}): {}",
            loss.snapshot.short(),
            escape(loss.source.as_bytes()),
            local(loss.started),
            count(loss.files.len() as u64, "file")
        );
        for file in loss.files.iter().take(FILES_SHOWN) {
            let _ = write!(text, "\n  {file}");
        }
        if loss.files.len() > FILES_SHOWN {
            let _ = write!(text, "\n  … and {} more (--json has them)", loss.files.len() - FILES_SHOWN);
        }
        for part in loss.parts.iter().take(FILES_SHOWN) {
            let from = if part.from.is_empty() { "/" } else { &part.from };
            let entries = if part.entries == 0 { "all that follows".to_owned() } else { count(part.entries, "entry") };
            let _ = write!(
                text,
                "\n  a part of the tree from {from} on ({entries}), of which not even the names are known"
            );
        }
        context.out.line(&text)?;
    }
    if losses.len() > SNAPSHOTS_SHOWN {
        context.out.line(&format!("… and of {} more snapshots (--json has them)", losses.len() - SNAPSHOTS_SHOWN))?;
    }
    let mut told: Vec<&str> = Vec::new();
    for loss in losses {
        if told.contains(&loss.source.as_str()) {
            continue;
        }
        told.push(&loss.source);
        context.line(&format!("  help: {}", again(loss, context)))?;
    }
    context.out.line("  What a source still holds as it was is stored anew by its next backup, and these snapshots are whole again; check then.")
}

/// How to back a source up again.
fn again(loss: &Loss, context: &Context) -> String {
    let shown = escape(loss.source.as_bytes());
    let configured = context.configuration.as_ref();
    let configured = configured.is_some_and(|l| l.config.sources.iter().any(|source| source.name == loss.source));
    if configured {
        return format!("back up {shown} again: `homelab-dr backup`");
    }
    if loss.paths.is_empty() || !loss.paths.iter().all(|path| path.starts_with('/')) {
        return format!("back up {shown} again, as it was backed up before");
    }
    let paths: Vec<String> = loss.paths.iter().map(|path| quoted(path)).collect();
    format!("back up {shown} again: `homelab-dr backup --source {} {}`", quoted(&loss.source), paths.join(" "))
}

impl Advise for RepairError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Repo(error) => return error.advice(),
            Self::OtherRepository { .. } => {
                Advice::new(Exit::Refused, "nothing was taken from it; give replicas of this repository only")
            }
            Self::NoReplica { .. } => Advice::new(
                Exit::Refused,
                "nothing was taken from it; is the disk mounted and the address right? `homelab-dr replicate` makes a replica",
            ),
            Self::NotProven { .. } => Advice::new(
                Exit::Refused,
                "nothing was changed. If the place is empty, copy a replica there: `homelab-dr replicate --repo REPLICA --to PLACE --create`",
            ),
            Self::Mark { key, until } => Advice::new(
                Exit::Damaged,
                format!(
                    "what was put right before it stays so. After {} the same command takes {key} away; if you are sure that no `homelab-dr prune` has been at work since it was damaged, delete it yourself",
                    local(*until)
                ),
            ),
        })
    }
}
