//! `mover`: started by `backup` in a pod beside an application, never by hand. It has no configuration, no file and no variable of its own: everything it is
//! told comes through its standard input, and everything it says is a line of JSON in its log.

use std::io::Read as _;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::backup::mover::{Ears, Voice};
use crate::backup::{BackupOptions, BackupReport, run_backup};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, causes};
use crate::cli::open::{self, Access};
use crate::crypto::writer_key::WriterKey;
use crate::repo::Repository;
use crate::store::url::StoreUrl;
use crate::tree::exclude::Excludes;
use crate::tree::live::LiveOptions;
use crate::tree::live::postgres::Postgres;
use crate::tree::walk::WalkOptions;
use crate::volumes::protocol::Job;
use crate::volumes::said::{Failed, Said};

/// Pieces of input that wait; each is wiped when it was taken.
const PIECES_MAX: usize = 8;
const PIECE_BYTES: usize = 4096;
/// How long a backup that was told to stop may take to store what it has read; a read in a dead mount never ends.
const STOP_TIME_MAX: Duration = Duration::from_secs(45);

/// Back up a volume from within the cluster; started by `backup`, not by hand
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run that it belongs to
    #[arg(long, value_name = "ID")]
    run: String,
    /// Where the volume is mounted
    #[arg(long, value_name = "PATH")]
    path: PathBuf,
    /// Where copies of databases in use are made
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// End after so many seconds in which nobody asked for it
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    silence: u64,
    /// Only look whether the repository is reached, and write nothing
    #[arg(long)]
    reach: bool,
}

/// Reads standard input in a thread of its own, which nobody waits for: a read of it may never end.
fn standard_input() -> mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (sender, input) = mpsc::channel(PIECES_MAX);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        loop {
            let mut piece = Zeroizing::new(vec![0; PIECE_BYTES]);
            match stdin.read(&mut piece) {
                Ok(0) => return,
                Ok(length) => {
                    piece.truncate(length);
                    if sender.blocking_send(piece).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    input
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    // Asked to stop, it says how it ended.
    context.cancel.begin();
    let voice = Arc::new(Voice::new(&args.run, Box::new(std::io::stdout())));
    let ears = Arc::new(Ears::default());
    voice.say(Said::Waiting { version: env!("CARGO_PKG_VERSION").to_owned() });
    let (give, job) = oneshot::channel();
    let listening = tokio::spawn(ears.clone().listen(args.run.clone(), standard_input(), voice.clone(), give));
    let watching = tokio::spawn(ears.clone().watch(Duration::from_secs(args.silence.max(1)), context.cancel.clone()));
    let telling = voice.tell_progress(context.progress.clone(), ears.clone());
    let begun = Instant::now();
    let result = work(&args, job, context).await;
    drop(telling);
    listening.abort();
    watching.abort();
    let failure = match result {
        Ok(None) => {
            voice.say(Said::Reached);
            return Ok(Exit::Done);
        }
        Ok(Some(report)) => {
            voice.tell_report(&report, begun.elapsed());
            return Ok(Exit::Done);
        }
        Err(failure) => failure,
    };
    let exit = if ears.were_silent() { Exit::Error } else { failure.exit() };
    let (error, causes, help) = match &failure {
        Failure::Told(told) => (told.error.to_string(), causes(&*told.error), told.help.as_str()),
        Failure::Interrupted | Failure::OutputClosed if ears.were_silent() => (
            format!("the mover heard nothing for {} s, and ended", args.silence),
            Vec::new(),
            "the run that started it is gone, or could not reach it; what was stored is found by the next one",
        ),
        Failure::Interrupted | Failure::OutputClosed => {
            ("the mover was stopped".to_owned(), Vec::new(), "what was stored is found by the next run")
        }
    };
    voice.say(Said::Failed(Failed::new(&error, &causes, help, exit.code())));
    Ok(exit)
}

/// A report of the backup; none if it only looked.
async fn work(
    args: &Args,
    job: oneshot::Receiver<Box<Job>>,
    context: &mut Context,
) -> Result<Option<BackupReport>, Failure> {
    let cancel = context.cancel.clone();
    let job = tokio::select! {
        job = job => job.map_err(|_| Failure::Interrupted)?,
        () = cancel.cancelled() => return Err(Failure::Interrupted),
    };
    let late = async {
        cancel.cancelled().await;
        tokio::time::sleep(STOP_TIME_MAX).await;
    };
    let done = async {
        if args.reach {
            reach(&job, context).await.map(|()| None)
        } else {
            back_up(args, &job, context).await.map(Some)
        }
    };
    tokio::select! {
        result = done => result,
        () = late => Err(Failure::Interrupted),
    }
}

async fn repository(job: &Job, context: &Context, access: Access) -> Result<Repository, Failure> {
    let named: Vec<(&str, &str)> =
        job.credentials.iter().map(|credential| (credential.name.as_str(), credential.value.expose())).collect();
    let url = StoreUrl::parse(&job.address)?.with_named_credentials(&named);
    let key = WriterKey::parse(job.writer_key.expose())?;
    let store = open::wrapped(context, url.open().await?, access);
    Ok(Repository::open_with_writer(store, &key).await?)
}

/// Opens the repository for reading, and leaves it.
async fn reach(job: &Job, context: &Context) -> Result<(), Failure> {
    repository(job, context, Access::Read).await.map(drop)
}

async fn back_up(args: &Args, job: &Job, context: &mut Context) -> Result<BackupReport, Failure> {
    context.globals.limit_upload = job.limit_upload.and_then(NonZeroU64::new);
    context.globals.limit_download = job.limit_download.and_then(NonZeroU64::new);
    let repository = Arc::new(repository(job, context, Access::Write).await?);
    let postgres = if job.still { Postgres::CrashConsistent } else { Postgres::Refuse };
    let options = BackupOptions {
        source: job.source.clone(),
        paths: vec![args.path.clone()],
        walk: WalkOptions {
            exclude: Excludes::new(&job.exclude)?,
            one_file_system: false,
            repository: None,
            live: None,
        },
        tags: job.tags.clone(),
        host: job.host.clone(),
        reread: job.reread,
        level: None,
        threads: None,
        // Beside the application, which goes on writing, or at what would be there if the node had lost its power.
        live: Some(LiveOptions { scratch: args.scratch.clone(), postgres, ..LiveOptions::default() }),
    };
    Ok(run_backup(&context.operation(repository), &options).await?)
}
