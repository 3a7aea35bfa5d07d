//! `keys list`: who can read the repository.

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::table;
use crate::crypto::recipients::Recipient;
use crate::format::entry::escape;

const EXAMPLES: &str = "\
Examples:
  homelab-dr keys list --repo /mnt/backup --identity ~/homelab-dr.key";

/// List the recipients that can read the repository (needs an identity)
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
    if context.out.json {
        let fingerprint = repository.fingerprint().to_string();
        context.out.document(&Document { fingerprint, recipients: rows })?;
        return Ok(Exit::Done);
    }
    let cells: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| vec![row.kind, if row.yours { "yours".to_owned() } else { String::new() }, row.recipient])
        .collect();
    for line in table(&["KIND", "", "RECIPIENT"], &cells, &[]) {
        context.out.line(&line)?;
    }
    Ok(Exit::Done)
}
