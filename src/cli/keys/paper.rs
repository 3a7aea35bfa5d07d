//! `keys paper`: the recovery kit.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::quoted;
use crate::cli::{guard, private_file};
use crate::crypto::recipients::{Recipient, SecretText};
use crate::format::record::FORMAT_VERSION;
use crate::paper::{Identity, Kit, NamedRecipient, Step, render};
use crate::store::url::StoreUrl;

const EXAMPLES: &str = "\
Examples:
  A page that says where the identity is:
    homelab-dr keys paper --identity ~/homelab-dr.key --out kit.html \\
      --kept-at 'safe at my sister'
  A page that holds the identity itself, for the safe:
    homelab-dr keys paper --identity ~/homelab-dr.key --with-identity --out kit.html";

/// Write the recovery kit, one page to print: addresses, fingerprint, what to run (needs an identity)
///
/// Print it, and keep it where whatever happens to the house does not happen to it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Write the page to this new file (mode 0600) instead of to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the identity on the page: whoever holds the paper and reaches the store can read everything
    #[arg(long, conflicts_with = "kept_at")]
    with_identity: bool,
    /// Where the identity is kept, to be printed; without it the page has a line to fill in
    #[arg(long, value_name = "TEXT")]
    kept_at: Option<String>,
    /// The address of a copy of the repository, beside those that the configuration names under replicate; may be repeated
    #[arg(long, value_name = "URL")]
    copy: Vec<String>,
}

#[derive(Serialize)]
struct Document {
    file: PathBuf,
    fingerprint: String,
    with_identity: bool,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    if args.out.is_none() && (std::io::stdout().is_terminal() || context.out.json) {
        let help = "give --out kit.html and print that file; or send the output to a program";
        return Err(Failure::usage("the recovery kit is a page of HTML, which a terminal cannot show", help));
    }
    for copy in &args.copy {
        open::parse_address(copy.as_ref())?;
    }
    if let Some(file) = &args.out {
        guard::refuse_in_repository(context, file)?;
    }
    let identity = identity(&args, context)?;
    let with_identity = matches!(identity, Identity::Printed(_));
    let repository = open::with_identity(context, Access::Read).await?;
    repository.refuse_if_removed()?;
    let address = full_address(context)?;
    let fingerprint = repository.fingerprint().to_string();
    let recipients = repository.recipients().unwrap_or_default();
    // The repository keeps no names. What is known is whose identity is on this sheet.
    let name = |text: &String| {
        let here = with_identity && repository.opened_by.as_ref() == Some(text);
        if here { "identity on this sheet".to_owned() } else { String::new() }
    };
    let named = |text: &String| Ok(NamedRecipient { name: name(text), recipient: Recipient::parse(text)? });
    let kit = Kit {
        steps: steps(&address, &fingerprint),
        addresses: addresses(address, args.copy, context),
        repository: repository.id,
        fingerprint: fingerprint.clone(),
        recipients: recipients.iter().map(named).collect::<Result<_, Failure>>()?,
        identity,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        format_version: FORMAT_VERSION,
        created: context.clock.now(),
    };
    let page = render(&kit);
    let Some(file) = args.out else {
        context.out.bytes(page.as_bytes())?;
        return Ok(Exit::Done);
    };
    private_file::create(&file, &page, "the recovery kit")?;
    if context.out.json {
        context.out.document(&Document { file, fingerprint, with_identity })?;
    } else {
        context.summary(false, &format!("wrote {}", file.display()))?;
        context.say("Open it in a browser and print it.")?;
        if with_identity {
            context.say("It holds the identity: delete the file once it is printed.")?;
        }
    }
    Ok(Exit::Done)
}

/// Where the repository is, and its copies: those that are named, and those that the configuration keeps up to date.
fn addresses(first: String, named: Vec<String>, context: &Context) -> Vec<String> {
    let targets = context.configuration.iter().flat_map(|loaded| &loaded.config.replicate);
    let mut all = vec![first];
    for address in named.into_iter().chain(targets.map(|target| target.to.clone())) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// The address with its parameters; a relative path would lead nowhere from another folder.
fn full_address(context: &Context) -> Result<String, Failure> {
    Ok(match open::address(context)? {
        StoreUrl::File { path, .. } => std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned(),
        StoreUrl::S3(_) => context.globals.repo.as_deref().unwrap_or_default().to_string_lossy().into_owned(),
    })
}

/// What the page says of the secret half. One identity only: with more, nobody could tell which to type in.
fn identity(args: &Args, context: &Context) -> Result<Identity, Failure> {
    if !args.with_identity {
        return Ok(Identity::Elsewhere(args.kept_at.clone().unwrap_or_default()));
    }
    let texts = context.globals.identity_texts()?;
    let [(name, bytes)] = texts.as_slice() else {
        return Err(Failure::usage(
            format!("--with-identity prints one identity, and {} were given", texts.len()),
            "give --identity once",
        ));
    };
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Failure::usage(format!("{name} is not text that could be printed"), "give it in its armored form")
    })?;
    // Comments are for the file's owner; on paper only the secret has to be typed in.
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    Ok(Identity::Printed(SecretText::new(lines.join("\n"))))
}

/// The five commands. The test below proves that they parse.
fn steps(address: &str, fingerprint: &str) -> [Step; 5] {
    let options = format!("--repo {} --identity key.txt \\\n  --fingerprint {fingerprint}", quoted(address));
    let step = |what: &str, command: String| Step { what: what.to_owned(), command };
    [
        step(
            concat!("Get the program, version ", env!("CARGO_PKG_VERSION"), " or later, and make it executable."),
            "chmod +x homelab-dr; ./homelab-dr --version".to_owned(),
        ),
        step("Prove that the identity opens the repository.", format!("./homelab-dr keys drill {options}")),
        step("See what there is.", format!("./homelab-dr snapshots {options}")),
        step(
            "Restore the newest snapshot of every source, each into a folder below the folder “restored”.",
            format!("./homelab-dr restore --all --target restored {options}"),
        ),
        step("Look for damage, if something does not come back.", format!("./homelab-dr check --read-data {options}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_safe_in_a_shell() {
        assert_eq!(quoted("/mnt/backup"), "/mnt/backup");
        assert_eq!(quoted("s3://b/p?endpoint=https://nas&region=x"), "'s3://b/p?endpoint=https://nas&region=x'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
