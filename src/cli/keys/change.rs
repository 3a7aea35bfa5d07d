//! `keys add` and `keys remove`: another set of recipients.

use std::sync::Arc;

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::keys::list::{Document, rows};
use crate::cli::open::{self, Access};
use crate::cli::prompt::{TerminalPrompt, confirm};
use crate::cli::recipients;
use crate::crypto::recipients::{Prompt, Recipient, unwrap, wrap};
use crate::repo::Repository;
use crate::repo::create::change_recipients;

const ADD_EXAMPLES: &str = "\
Examples:
  homelab-dr keys add --identity ~/homelab-dr.key --recipient age1…
  homelab-dr keys add --identity ~/homelab-dr.key --recipients-file ~/.ssh/id_ed25519.pub";

/// Let another recipient read the repository, past and future backups alike (needs an identity)
#[derive(Debug, clap::Args)]
#[command(after_help = ADD_EXAMPLES)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    recipients: recipients::Args,
}

const REMOVE_EXAMPLES: &str = "\
Examples:
  homelab-dr keys remove age1qyqszqg… --identity ~/homelab-dr.key
  homelab-dr keys remove \"$(cat old.pub)\" --identity ~/homelab-dr.key";

/// Characters of a recipient beyond what all of its kind begin with, if not all of it is given.
const START_CHARS_MIN: usize = 12;

/// Take a recipient away (needs an identity)
///
/// Whoever held its identity may have kept a copy of the repository's keys and can read what was written until now. The
/// last recipient cannot be removed, and the one whose identity is used only if another one that stays is given too. Copies
/// of the repository that are not kept up to date still know the removed one.
#[derive(Debug, clap::Args)]
#[command(after_help = REMOVE_EXAMPLES)]
pub(crate) struct RemoveArgs {
    /// The recipient as `keys list` shows it, or the start of it: at least 12 characters after what all of its kind begin with
    #[arg(value_name = "RECIPIENT", required_unless_present = "named")]
    recipient: Option<String>,
    /// The same, as `keys add` takes it
    #[arg(long = "recipient", value_name = "RECIPIENT", conflicts_with = "recipient", hide = true)]
    named: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// The recipients there are, parsed.
fn held(repository: &Repository) -> Result<Vec<Recipient>, Failure> {
    let texts = repository.recipients().unwrap_or_default();
    texts.iter().map(|text| Ok(Recipient::parse(text)?)).collect()
}

async fn change(repository: &Repository, recipients: &[Recipient], context: &mut Context) -> Result<Exit, Failure> {
    change_recipients(repository, recipients, &*context.clock).await?;
    if context.out.json {
        let texts: Vec<String> = recipients.iter().map(ToString::to_string).collect();
        let rows = rows(&texts, repository.opened_by.as_deref());
        context.out.document(&Document { fingerprint: repository.fingerprint().to_string(), recipients: rows })?;
    } else {
        let count = recipients.len();
        context.summary(false, &format!("{count} recipient{} can read it now", if count == 1 { "" } else { "s" }))?;
    }
    Ok(Exit::Done)
}

pub(crate) async fn add(args: AddArgs, context: &mut Context) -> Result<Exit, Failure> {
    let wanted = args.recipients.parse()?;
    let repository = open::with_identity(context, Access::Write).await?;
    let mut all = held(&repository)?;
    let before = all.len();
    for recipient in wanted {
        if all.contains(&recipient) {
            context.talk.say(&format!("{} can read it already", recipient.short()));
        } else {
            all.push(recipient);
        }
    }
    if all.len() == before {
        return Ok(Exit::Done);
    }
    change(&repository, &all, context).await
}

/// Whether one of the given identities opens what is wrapped to these recipients: the proof that whoever removes their own key keeps one.
fn one_opens(left: &[Recipient], context: &Context) -> Result<bool, Failure> {
    let identities = context.globals.identities()?;
    let prompt: Arc<dyn Prompt> = Arc::new(TerminalPrompt);
    let wrapped = wrap(b"tried out", left)?;
    Ok(unwrap(&wrapped, &identities, &prompt).is_ok())
}

pub(crate) async fn remove(args: RemoveArgs, context: &mut Context) -> Result<Exit, Failure> {
    let given = args.recipient.or(args.named).unwrap_or_default();
    let given = given.trim();
    if crate::base::secret::holds_secret(given) {
        return Err(crate::crypto::recipients::RecipientError::PrivateKey.into());
    }
    let repository = open::with_identity(context, Access::Write).await?;
    let all = held(&repository)?;
    let exact = Recipient::parse(given).ok();
    let meant = |recipient: &Recipient| match &exact {
        Some(exact) => exact == recipient,
        None => recipient.as_str().starts_with(given),
    };
    let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(meant);
    let gone = match gone.as_slice() {
        [one] if exact.is_some() || given.len() >= one.common_chars() + START_CHARS_MIN => one,
        [] => {
            return Err(Failure::usage(
                format!("no recipient begins with {given:?}"),
                "`homelab-dr keys list` shows them",
            ));
        }
        [one] => {
            let what = format!("{given:?} is too little of {}", one.short());
            let help = format!(
                "give the whole recipient, as `homelab-dr keys list` shows it, or its first {} characters",
                one.common_chars() + START_CHARS_MIN
            );
            return Err(Failure::usage(what, help));
        }
        many => {
            let what = format!("{given:?} is the start of {} recipients", many.len());
            return Err(Failure::usage(what, "give more characters of the one that you mean"));
        }
    };
    if left.is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            "this is the last recipient: nobody could read the repository any more",
            "add another one first: homelab-dr keys add --recipient age1…",
        ));
    }
    if repository.opened_by.as_deref() == Some(gone.as_str()) && !one_opens(&left, context)? {
        return Err(Failure::new(
            Exit::Refused,
            "this is the recipient of the identity that you gave, and none of a recipient that stays was given",
            "give a second --identity, of one that stays: it is tried, and then this one goes",
        ));
    }
    context.talk.say(&format!("removes {}; {} left", gone.short(), left.len()));
    confirm(args.yes, "Remove it?")?;
    let exit = change(&repository, &left, context).await?;
    if left.len() == 1 {
        context.talk.warn(
            "only ONE recipient is left: if its identity is lost, so is everything; `homelab-dr keys add` adds another",
        );
    }
    Ok(exit)
}
