//! `mover`: started by `backup` and `restore` in a pod beside an application, never by hand. It has no configuration, no file and no variable of its own: everything it is
//! told comes through its standard input, and everything it says is a line of JSON in its log.

use std::io::Read as _;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::backup::mover::{self, InUse, tell_report};
use crate::backup::{BackupOptions, BackupReport, run_backup_if};
use crate::base::causes::causes;
use crate::chunker::BlockSize;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::crypto::content::HandedKey;
use crate::crypto::writer_key::WriterKey;
use crate::format::entry::TreePath;
use crate::recover::device::device;
use crate::recover::fill::{fill, in_place};
use crate::recover::select::Selection;
use crate::recover::{self, RestorePlan, RestoreReport};
use crate::repo::snapshots::read_one;
use crate::repo::{Repository, salvage};
use crate::store::url::StoreUrl;
use crate::tree::exclude::Excludes;
use crate::tree::walk::WalkOptions;
use crate::verify::{self, Origin, Seen};
use crate::volumes::mover::within::{Ears, Voice, Wanted};
use crate::volumes::protocol::{Credential, Job, RestoreJob, SecretText, VerifyJob};
use crate::volumes::said::{Failed, Said};

/// Pieces of input that wait; each is wiped when it was taken.
const PIECES_MAX: usize = 8;
const PIECE_BYTES: usize = 4096;
/// How long a backup that was told to stop may take to store what it has read; a read in a dead mount never ends.
const STOP_TIME_MAX: Duration = Duration::from_secs(45);

/// Back up, fill or look at a volume from within the cluster; started by `backup` and `restore`, not by hand
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run that it belongs to
    #[arg(long, value_name = "ID")]
    run: String,
    /// Where the volume is mounted
    #[arg(long, value_name = "PATH")]
    path: PathBuf,
    /// It is no directory but a raw volume, a block device
    #[arg(long)]
    device: bool,
    /// Where copies of databases in use are made
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// End after so many seconds in which nobody asked for it
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    silence: u64,
    /// Only look whether the repository is reached, and write nothing
    #[arg(long)]
    reach: bool,
    /// Only try whether this address is reached
    #[arg(long = "try", value_name = "HOST:PORT")]
    tried: Option<String>,
    /// With --try: so many seconds at most
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 30)]
    tried_for: u64,
    /// With --try: until it is not reached any more
    #[arg(long, requires = "tried")]
    denied: bool,
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

/// How long an attempt to reach an address may take, and how long is waited for the next.
const TRY_TIME: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// Attempts in a row that have to fail before an address counts as denied: some plugins need a moment for a new pod, and let nothing through before or everything.
const TRIES_DENIED: u32 = 3;

/// Whether an address is reached at last, and what came of the last attempt.
async fn try_address(address: &str, limit: Duration, denied: bool) -> (bool, String) {
    let (begun, mut failed) = (Instant::now(), 0);
    loop {
        let attempt = tokio::time::timeout(TRY_TIME, tokio::net::TcpStream::connect(address)).await;
        let (reached, why) = match attempt {
            Ok(Ok(_)) => (true, "connected".to_owned()),
            Ok(Err(error)) => (false, error.to_string()),
            Err(_) => (false, "no answer".to_owned()),
        };
        failed = if reached { 0 } else { failed + 1 };
        let is_over = if denied { failed >= TRIES_DENIED } else { reached };
        if is_over || begun.elapsed() >= limit {
            // One that was denied once may be reached the next time.
            return (reached || (denied && failed < TRIES_DENIED), why);
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    if let Some(address) = &args.tried {
        let voice = Voice::new(&args.run, Box::new(std::io::stdout()));
        let (reached, why) = try_address(address, Duration::from_secs(args.tried_for), args.denied).await;
        voice.say(Said::Tried { reached, why });
        return Ok(Exit::Done);
    }
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
    let result = work(&args, job, context, (&ears, &voice)).await;
    drop(telling);
    listening.abort();
    watching.abort();
    let failure = match result {
        Ok(Worked::Reached) => {
            voice.say(Said::Reached);
            return Ok(Exit::Done);
        }
        Ok(Worked::BackedUp(report)) => {
            tell_report(&voice, &report, begun.elapsed());
            return Ok(Exit::Done);
        }
        Ok(Worked::Restored(report)) => {
            recover::mover::tell_report(&voice, &report, begun.elapsed());
            return Ok(Exit::Done);
        }
        Ok(Worked::Verified(seen)) => {
            voice.say(Said::verified(seen.holds(), seen.said()));
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

/// What came of it.
enum Worked {
    /// It only looked.
    Reached,
    BackedUp(Box<BackupReport>),
    Restored(Box<RestoreReport>),
    Verified(Seen),
}

async fn work(
    args: &Args,
    task: oneshot::Receiver<Wanted>,
    context: &mut Context,
    heard: (&Ears, &Voice),
) -> Result<Worked, Failure> {
    let cancel = context.cancel.clone();
    let task = tokio::select! {
        task = task => task.map_err(|_| Failure::Interrupted)?,
        () = cancel.cancelled() => return Err(Failure::Interrupted),
    };
    // A restore has nothing to store: what it has begun another goes on with.
    let grace = if matches!(task, Wanted::Backup(_)) { STOP_TIME_MAX } else { Duration::ZERO };
    let late = async {
        cancel.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    let work = async {
        match task {
            Wanted::Backup(job) if args.reach => {
                let place = (job.address.as_str(), &*job.credentials, &job.writer_key);
                repository(place, context, Access::Read).await.map(|_| Worked::Reached)
            }
            Wanted::Backup(job) => {
                back_up(args, &job, context, heard).await.map(|report| Worked::BackedUp(Box::new(report)))
            }
            Wanted::Verify(job, keys) => look_inside(args, &job, keys, context).await.map(Worked::Verified),
            Wanted::Restore(job, keys) => {
                bring_back(args, &job, keys, context).await.map(|report| Worked::Restored(Box::new(report)))
            }
        }
    };
    tokio::select! {
        result = work => result,
        () = late => Err(Failure::Interrupted),
    }
}

/// What a job says of the repository: its address, what opens the store, and the writer key.
type Place<'a> = (&'a str, &'a [Credential], &'a SecretText);

async fn repository(
    (address, credentials, writer_key): Place<'_>,
    context: &Context,
    access: Access,
) -> Result<Arc<Repository>, Failure> {
    let named: Vec<(&str, &str)> =
        credentials.iter().map(|credential| (credential.name.as_str(), credential.value.expose())).collect();
    let url = StoreUrl::parse(address)?.with_named_credentials(&named);
    let key = WriterKey::parse(writer_key.expose())?;
    let store = open::wrapped(context, url.open().await?, access);
    Ok(Arc::new(Repository::open_with_writer(store, &key).await?))
}

/// Fills the volume. The writer key opens names and places; content opens with the keys that came, and with no other.
async fn bring_back(
    args: &Args,
    job: &RestoreJob,
    keys: Vec<HandedKey>,
    context: &mut Context,
) -> Result<RestoreReport, Failure> {
    context.globals.limit_download = job.limit_download.and_then(NonZeroU64::new);
    let repository = repository((&job.address, &job.credentials, &job.writer_key), context, Access::Read).await?;
    let reader = salvage::reader_with_keys(&repository, keys, |_| ()).await?;
    let record = read_one(&repository, job.snapshot).await?;
    let within = TreePath::new(job.within.as_slice()).map_err(|_| Failure::Interrupted)?;
    let plan = RestorePlan::whole(record.root, within, args.path.clone());
    let operation = context.operation(repository);
    if args.device {
        return Ok(device(&operation, &reader, plan, job.fresh || job.in_place).await?);
    }
    if job.in_place {
        return Ok(in_place(&operation, &reader, plan).await?);
    }
    Ok(fill(&operation, &reader, &job.snapshot, plan).await?)
}

/// Looks at what is in the volume, and writes nothing there. The same keys as for a restore, where it is compared with a snapshot.
async fn look_inside(
    args: &Args,
    job: &VerifyJob,
    keys: Vec<HandedKey>,
    context: &mut Context,
) -> Result<Seen, Failure> {
    if args.device {
        let what = format!("{} is a raw volume: nothing in it can be looked at", args.path.display());
        return Err(Failure::new(Exit::Refused, what, "leave the check out, or have one of the application's own"));
    }
    let from = match &job.against {
        None => None,
        Some(job) => {
            context.globals.limit_download = job.limit_download.and_then(NonZeroU64::new);
            let place = (job.address.as_str(), &*job.credentials, &job.writer_key);
            let repository = repository(place, context, Access::Read).await?;
            let reader = salvage::reader_with_keys(&repository, keys, |_| ()).await?;
            let root = read_one(&repository, job.snapshot).await?.root;
            let within = TreePath::new(job.within.as_slice()).map_err(|_| Failure::Interrupted)?;
            Some(Origin { reader, root, within, selection: Selection::default() })
        }
    };
    let around = (context.clock.clone(), context.cancel.clone());
    let seen = verify::mover::answer(job, (&args.path, args.scratch.as_deref()), from, around).await;
    if context.cancel.is_cancelled() { Err(Failure::Interrupted) } else { Ok(seen) }
}

async fn back_up(
    args: &Args,
    job: &Job,
    context: &mut Context,
    (ears, voice): (&Ears, &Voice),
) -> Result<BackupReport, Failure> {
    context.globals.limit_upload = job.limit_upload.and_then(NonZeroU64::new);
    context.globals.limit_download = job.limit_download.and_then(NonZeroU64::new);
    let repository = repository((&job.address, &job.credentials, &job.writer_key), context, Access::Write).await?;
    let walk = WalkOptions { exclude: Excludes::new(&job.exclude)?, ..WalkOptions::default() };
    let in_use = InUse { still: job.still, apart: job.apart, dumped: job.dumped.clone() };
    // Beside the application, which goes on writing, or at what would be there if the node had lost its power.
    let options = if args.device {
        mover::device_options(&job.source, args.path.clone())
    } else {
        mover::options(&job.source, args.path.clone(), args.scratch.clone(), in_use)
    };
    let (tags, host, run) = (job.tags.clone(), job.host.clone(), job.together.clone());
    let blocks = job.blocks.map(u64::from).and_then(BlockSize::new);
    let options = BackupOptions { walk, tags, host, run, reread: job.reread, blocks, ..options };
    // Whoever holds the application still sees whether it did; without that word there is no snapshot, whatever became of whoever should say it.
    let sure = async { !job.held || ears.may_commit(voice, Duration::from_secs(args.silence.max(1))).await };
    Ok(run_backup_if(&context.operation(repository), &options, sure).await?)
}
