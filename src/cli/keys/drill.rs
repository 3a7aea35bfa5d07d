//! `keys drill`: proof that an identity opens the repository.

use serde::Serialize;

use crate::base::units;
use crate::cli::context::{Context, host, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::table;
use crate::format::entry::escape;
use crate::keys::{Drilled, TriedKey, drill, list_key_drills};

const EXAMPLES: &str = "\
Examples:
  homelab-dr keys drill --identity /media/usb/homelab-dr.key
  homelab-dr keys drill --list --writer-key-file writer.key";

/// Prove that an identity opens the repository and content in it, and record when
///
/// An identity that was never tried is a hope. Take it from where it would be taken after a disaster. The record lies in
/// the repository, sealed; `--list` shows the earlier ones and needs the writer key only. Where nothing can be stored, such as
/// on a copy that can only be read, it says what was proven and ends with exit code 3; what is damaged ends with 4.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Show the drills that were held, newest first
    #[arg(long)]
    list: bool,
}

#[derive(Serialize)]
struct Listing {
    drills: Vec<TriedKey>,
    unreadable: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    if args.list {
        return list(context).await;
    }
    let repository = open::with_identity(context, Access::Write).await?;
    let done: Drilled = drill(&repository, &host(), &*context.clock).await?;
    for name in &done.index_damaged {
        context.talk.warn(&format!("{name} cannot be read; run `homelab-dr check --rebuild-index`"));
    }
    let exit = match (&done.damaged[..], &done.not_recorded) {
        ([_, ..], _) => Exit::Damaged,
        ([], Some(_)) => Exit::Problems,
        ([], None) => Exit::Done,
    };
    if context.out.json {
        context.out.document(&done)?;
        return Ok(exit);
    }
    // What is proven first, whatever comes after it.
    let always = exit != Exit::Done;
    let recipient = if done.drill.recipient.is_empty() { "an identity" } else { &done.drill.recipient };
    context.summary(always, &format!("{} opens {}", escape(recipient.as_bytes()), repository.store.address()))?;
    match (&done.file, done.drill.snapshot) {
        (Some(file), Some(id)) => {
            context.summary(
                always,
                &format!("and read {} of {file} in snapshot {}", units::bytes(done.bytes), id.short()),
            )?;
        }
        _ if done.damaged.is_empty() => {
            context.say("there is no content yet: hold the drill again after the first backup")?;
        }
        _ => context.summary(always, "no content was opened, so it proves the keys only")?,
    }
    context.out.flush()?;
    for damaged in &done.damaged {
        context.talk.warn(damaged);
    }
    if !done.damaged.is_empty() {
        context.talk.warn("the repository is damaged: run `homelab-dr check --read-data` with the identity");
    }
    match &done.not_recorded {
        Some(why) => context.talk.warn(&format!("the drill could not be recorded here: {why}")),
        None => context.say("recorded; `homelab-dr check --read-data` with the identity reads everything")?,
    }
    Ok(exit)
}

async fn list(context: &mut Context) -> Result<Exit, Failure> {
    let repository = open::repository(context, Access::Read).await?;
    let (drills, unreadable) = list_key_drills(&repository).await?;
    let exit = if unreadable.is_empty() { Exit::Done } else { Exit::Damaged };
    for name in &unreadable {
        context.talk.warn(&format!("{name} cannot be read; run `homelab-dr check`"));
    }
    if context.out.json {
        context.out.document(&Listing { drills, unreadable })?;
    } else if drills.is_empty() {
        context.say("no drill was held yet")?;
    } else {
        let snapshot = |drill: &TriedKey| drill.snapshot.map_or_else(|| "-".to_owned(), |id| id.short());
        let rows: Vec<Vec<String>> = drills
            .iter()
            .map(|drill| {
                vec![
                    local(drill.at),
                    escape(drill.host.as_bytes()),
                    snapshot(drill),
                    escape(drill.recipient.as_bytes()),
                ]
            })
            .collect();
        for line in table(&["TIME", "MACHINE", "SNAPSHOT", "RECIPIENT"], &rows, &[]) {
            context.out.line(&line)?;
        }
    }
    Ok(exit)
}
