//! `demo`: a homelab is lost and recovered, in a folder, in less than a minute.
//!
//! Every step calls the function that the command of the same name calls, with the configuration that it writes; only the homelab itself and the comparison at
//! the end are the demonstration's own (`crate::demo`).

mod attempt;
mod capture;
mod stage;
mod told;

use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::demo::stage::Stage;
use crate::cli::demo::told::Document;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::guard;

const EXAMPLES: &str = "\
Examples:
  homelab-dr demo
  homelab-dr demo --dir /tmp/demo --json | jq .verified

Everything it makes is in that one folder; remove the folder and nothing is left of it.";

/// Lose a small homelab and recover it, to see how it works
///
/// Makes a homelab in a folder, backs it up, shows that the key which wrote the backup cannot read it, burns the homelab
/// down, recovers it, and compares every file. The repository stays for you to play with. Uses some 200 MiB of disk.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The folder to make; refused if it is there
    #[arg(long, value_name = "DIR", default_value = "homelab-dr-demo")]
    dir: PathBuf,
}

/// Where things lie.
struct Places {
    dir: PathBuf,
    cluster: PathBuf,
    keys: PathBuf,
    identity: PathBuf,
    writer_key: PathBuf,
    repository: PathBuf,
    configuration: PathBuf,
    runbook: PathBuf,
    journals: PathBuf,
}

impl Places {
    fn below(dir: &Path) -> Result<Self, Failure> {
        let help = "name the folder by its full path";
        let what = "cannot tell which folder this is";
        let dir = std::path::absolute(dir).map_err(|error| Failure::because(Exit::Usage, what, error, help))?;
        let keys = dir.join("keys");
        Ok(Self {
            cluster: dir.join("cluster"),
            identity: keys.join("identity.txt"),
            writer_key: keys.join("writer.key"),
            keys,
            repository: dir.join("repository"),
            configuration: dir.join("homelab-dr.yaml"),
            runbook: dir.join("recover.md"),
            journals: dir.join("runs"),
            dir,
        })
    }

    /// Makes the folder. It must be new: the demonstration burns things down in it.
    fn make(&self) -> Result<(), Failure> {
        let shown = self.dir.display();
        let made = std::fs::create_dir(&self.dir).and_then(|()| std::fs::create_dir(&self.keys));
        made.map_err(|error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                return Failure::new(
                    Exit::Refused,
                    format!("{shown} exists already; nothing was changed"),
                    "name another folder with --dir, or remove this one if it is left from an earlier demonstration",
                );
            }
            let help = "see that the folder above it exists and that you may write there";
            Failure::because(Exit::Usage, format!("cannot make the folder {shown}"), error, help)
        })
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    guard::refuse_in_repository(context, &args.dir)?;
    let places = Places::below(&args.dir)?;
    places.make()?;
    let result = perform(&places, context).await;
    if result.is_err() {
        let dir = places.dir.display();
        context.talk.warn(&format!("the demonstration did not get to its end; what it made is left in {dir}"));
    }
    let document = result?;
    if context.out.json {
        context.out.document(&document)?;
    } else {
        for line in document.closing(&places) {
            context.out.line(&line)?;
        }
    }
    Ok(Exit::Done)
}

/// The steps, in order.
async fn perform(places: &Places, context: &mut Context) -> Result<Document, Failure> {
    let began = context.clock.now();
    let mut stage = Stage::new(places, context);
    let homelab = stage.build().await?;
    let identity = stage.make_identity()?;
    let key = stage.init(&identity).await?;
    let sources = stage.configure(&key)?;
    let first = stage.back_up(&key, &sources).await?;
    let refused = stage.try_without_identity(&key).await?;
    let (changes, second) = stage.another_day(&key, &sources, &first).await?;
    let before = stage.burn()?;
    let recovered = stage.recover(&key.fingerprint(), &second).await?;
    let verified = stage.verify(&before)?;
    let checked = stage.check(&key.fingerprint()).await?;
    Ok(Document {
        directory: places.dir.clone(),
        fingerprint: key.fingerprint().to_string(),
        homelab,
        first_backup: first,
        writer_key_cannot_read: refused,
        changes,
        second_backup: second,
        recovered,
        verified,
        checked,
        seconds: context.clock.now().since(began).as_secs_f64(),
    })
}
