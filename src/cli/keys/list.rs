//! `keys list`: who can read the repository.

use serde::Serialize;

use crate::cli::context::{Context, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::table;
use crate::crypto::recipients::Recipient;
use crate::format::entry::escape;
use crate::repo::open::Begun;

const EXAMPLES: &str = "\
Examples:
  homelab-dr keys list --repo /mnt/backup --identity ~/homelab-dr.key";

/// List the recipients that can read the repository, and which writer keys were retired (needs an identity)
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

#[derive(Serialize)]
pub(super) struct Row {
    recipient: String,
    kind: String,
    /// Whether it is the one whose identity was given.
    yours: bool,
}

#[derive(Serialize)]
pub(super) struct Document {
    pub(super) fingerprint: String,
    pub(super) recipients: Vec<Row>,
}

#[derive(Serialize)]
struct Listing {
    #[serde(flatten)]
    who: Document,
    epochs: Vec<Begun>,
}

/// The recipients as rows; `mine` is the one whose identity opened the repository.
pub(super) fn rows(recipients: &[String], mine: Option<&str>) -> Vec<Row> {
    let kind = |text: &str| Recipient::parse(text).map_or_else(|_| "unknown".to_owned(), |known| known.kind());
    recipients
        .iter()
        .map(|text| Row { recipient: escape(text.as_bytes()), kind: kind(text), yours: mine == Some(text.as_str()) })
        .collect()
}

pub(crate) async fn run(_: Args, context: &mut Context) -> Result<Exit, Failure> {
    let repository = open::with_identity(context, Access::Read).await?;
    repository.refuse_if_removed()?; // the list that it opens is an old one
    let rows = rows(repository.recipients().unwrap_or_default(), repository.opened_by.as_deref());
    let epochs = repository.epochs().await;
    if context.out.json {
        let who = Document { fingerprint: repository.fingerprint().to_string(), recipients: rows };
        context.out.document(&Listing { who, epochs })?;
        return Ok(Exit::Done);
    }
    let cells: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| vec![row.kind, if row.yours { "yours".to_owned() } else { String::new() }, row.recipient])
        .collect();
    for line in table(&["KIND", "", "RECIPIENT"], &cells, &[]) {
        context.out.line(&line)?;
    }
    // Before a recipient is removed or the writer key rotated there is nothing to tell.
    if epochs.len() > 1 {
        let cell = |epoch: &Begun| {
            let began = epoch.created.map_or_else(|| "unknown".to_owned(), local);
            let key = if epoch.retired { "retired" } else { "in use" };
            vec![epoch.number.to_string(), began, key.to_owned()]
        };
        let cells: Vec<Vec<String>> = epochs.iter().map(cell).collect();
        context.out.line("")?;
        for line in table(&["EPOCH", "BEGAN", "WRITER KEY"], &cells, &[]) {
            context.out.line(&line)?;
        }
    }
    Ok(Exit::Done)
}
