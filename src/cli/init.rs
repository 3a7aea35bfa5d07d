//! `init`: a new repository.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::base::units::{self, parse_duration};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::quoted;
use crate::cli::{guard, private_file, recipients};
use crate::repo::create::NewRepository;
use crate::repo::layout;
use crate::store::Store;
use crate::store::url::StoreUrl;

const EXAMPLES: &str = "\
Examples:
  On a disk or a mounted share:
    homelab-dr keys new --out ~/homelab-dr.key
    homelab-dr init --repo /mnt/backup --recipient age1… --writer-key writer.key
  In a bucket, readable with a second key that lies in a safe:
    homelab-dr init --repo 's3://bucket/home?endpoint=https://nas:9000' \\
      --recipient age1… --recipient \"$(cat ~/.ssh/id_ed25519.pub)\" --writer-key writer.key
  Where nobody can delete for 30 days:
    homelab-dr init --repo 'b2://bucket/home?region=us-west-004' --object-lock 30d \\
      --recipient age1… --writer-key writer.key";

/// Make a new repository in an empty place
///
/// Writes the writer key, which the machines that make backups hold: it adds backups and cannot read them. Prints the
/// fingerprint, which tells this repository from a forged one.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    recipients: recipients::Args,
    /// Write the writer key to this new file (mode 0600)
    #[arg(long, value_name = "FILE")]
    writer_key: PathBuf,
    /// Lock every object against deletion for this long, such as 30d; the bucket must have object lock
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    object_lock: Option<Duration>,
}

#[derive(Serialize)]
struct Document<'a> {
    repository: String,
    address: String,
    fingerprint: String,
    writer_key_file: &'a Path,
    recipients: Vec<String>,
    object_lock_seconds: u64,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let recipients = args.recipients.parse()?;
    let url = open::address(context)?;
    guard::refuse_in_repository(context, &args.writer_key)?;
    refuse_foreign_files(&url)?;
    private_file::refuse_existing(&args.writer_key, "the writer key")?;
    let store = open::wrapped(context, url.create().await?, Access::Write);
    let lock = args.object_lock.or(context.globals.configured.object_lock).unwrap_or_default();
    let new = NewRepository::draw(&*store, &recipients, lock, &*context.clock).await?;
    // Before the repository is there: a key that could not be written would leave one that nothing can add to.
    let text = Zeroizing::new(format!("{}\n", *new.writer_key().to_text()));
    private_file::create(&args.writer_key, &text, "the writer key")?;
    let key = match new.store(&*store).await {
        Ok(key) => key,
        Err(error) => {
            forget_useless_key(&*store, &args.writer_key, context).await;
            return Err(error.into());
        }
    };
    let fingerprint = key.fingerprint();
    if context.out.json {
        context.out.document(&Document {
            repository: key.repository.hex(),
            address: store.address(),
            fingerprint: fingerprint.to_string(),
            writer_key_file: &args.writer_key,
            recipients: recipients.iter().map(ToString::to_string).collect(),
            object_lock_seconds: lock.as_secs(),
        })?;
        return Ok(Exit::Done);
    }
    context.out.line(&format!("repository   {}", store.address()))?;
    context.out.line(&format!("fingerprint  {fingerprint}"))?;
    context.out.line(&format!("writer key   {}", args.writer_key.display()))?;
    if !lock.is_zero() {
        context.out.line(&format!("object lock  {}", units::duration(lock)))?;
    }
    for recipient in &recipients {
        context.out.line(&format!("recipient    {} ({})", recipient.short(), recipient.kind()))?;
    }
    let (address, key) =
        (context.globals.repo.as_deref().unwrap_or_default().to_string_lossy(), args.writer_key.display());
    let address = quoted(&address);
    context.say(&format!(
        "\nNext:\n  1. Print the recovery kit and keep it outside the house:\n       homelab-dr keys paper --repo {address} --out kit.html --identity FILE\n  \
         2. Put {key} where backups are made (a Secret in the cluster), the identity nowhere near.\n  \
         3. Make a backup:\n       homelab-dr backup PATH --source NAME --repo {address} --writer-key-file {key}",
    ))?;
    Ok(Exit::Done)
}

/// A store does not list files that cannot be objects of it, but a folder with somebody's files is not empty.
fn refuse_foreign_files(url: &StoreUrl) -> Result<(), Failure> {
    let StoreUrl::File { path, .. } = url else { return Ok(()) };
    // A new file system has `lost+found`, and an `init` that met a full disk leaves `.tmp` behind. A folder that is not there will be made; other errors are the store's to tell.
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(()) };
    let found = entries.flatten().map(|entry| entry.file_name()).find(|name| name != "lost+found" && name != ".tmp");
    found.map_or(Ok(()), |name| {
        if path.join("format.json").exists() {
            let help =
                "nothing was changed; it is used as it is, with its writer key, or take a new folder for another one";
            return Err(Failure::new(Exit::Refused, format!("{} holds a repository already", path.display()), help));
        }
        let what = format!("{} is not empty: it holds {}", path.display(), name.to_string_lossy().escape_debug());
        Err(Failure::new(Exit::Refused, what, "nothing was changed; take an empty or a new folder"))
    })
}

/// A writer key whose repository was not made opens nothing. It stays where that is not sure.
async fn forget_useless_key(store: &dyn Store, file: &Path, context: &Context) {
    if matches!(store.stat(&layout::format()).await, Ok(None)) && std::fs::remove_file(file).is_ok() {
        return;
    }
    context.talk.warn(&format!("{} was left, since it is not sure whether the repository was made", file.display()));
}
