//! `keys new`: a fresh identity.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::{guard, private_file};
use crate::crypto::recipients::generate_identity;

const EXAMPLES: &str = "\
Examples:
  Make an identity and see its recipient:
    homelab-dr keys new --out ~/homelab-dr.key
  Make one that only a password manager keeps:
    homelab-dr keys new | pass insert -m homelab-dr";

/// Make an age identity, the key that reads backups, and print its recipient
///
/// The recipient (age1…) is public and goes to `init --recipient`. The identity is the secret half: keep it away from the
/// machines that are backed up, and more than once. Without --out the identity itself is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Write the identity to this new file (mode 0600); a file that exists is never overwritten
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    recipient: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a std::path::Path>,
}

pub(crate) fn run(args: &Args, context: &mut Context) -> Result<Exit, Failure> {
    let made = generate_identity();
    let recipient = made.recipient.as_str();
    let text = made.file_text(context.clock.now());
    if let Some(file) = &args.out {
        guard::refuse_in_repository(context, file)?;
        private_file::create(file, text.expose(), "the identity")?;
        if context.out.json {
            context.out.document(&Document { recipient, identity: None, file: Some(file) })?;
        } else {
            context.out.line(recipient)?;
        }
        context.say(&format!(
            "wrote the identity to {}; the line above is its recipient.\nKeep a second copy elsewhere: without an identity nobody can read the backups.",
            file.display()
        ))?;
    } else if context.out.json {
        context.out.document(&Document { recipient, identity: Some(made.secret.expose()), file: None })?;
    } else {
        context.out.bytes(text.expose().as_bytes())?;
        context.say(&format!("recipient: {recipient}"))?;
    }
    Ok(Exit::Done)
}
