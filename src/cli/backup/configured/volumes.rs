//! The volumes of a cluster as sources: a row for each claim, and whether all of them are covered.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::{Args, ProblemDocument, own_folder};
use super::reached::Reached;
use super::{HeldDocument, Outcome, Row};
use crate::backup;
use crate::backup::mover::ALWAYS_LEFT_OUT;
use crate::backup::volumes::claims::{self, Claim, Fate};
use crate::backup::volumes::hold::Foreseen;
use crate::backup::volumes::{self, Capture, Handed, Limits, MoverError, Movers, Wanted, folder};
use crate::cli::again::Again;
use crate::cli::context::{Context, host};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Told};
use crate::cli::movers;
use crate::cli::output::{ErrorDocument, count, was};
use crate::cli::progress;
use crate::cluster::api::Api;
use crate::cluster::folder::{Folder, MANIFESTS, VOLUMES};
use crate::config::{FolderVolumesSource, Source, SourceKind, VolumesSource};
use crate::format::entry::escape;
use crate::tree::exclude::Excludes;
use crate::tree::problem::Severity;
use crate::tree::walk::WalkOptions;
use crate::volumes::Left;
use crate::volumes::choose::{Choice, Way};
use crate::volumes::said::{ProblemLine, Summary};

/// A claim that nobody tries to capture, in the table.
const NOT: &str = "pvc";

/// How a claim is captured, as the table shows it.
const fn kind(choice: Option<&Choice>) -> &'static str {
    match choice {
        Some(Choice { way: Way::Snapshot { .. }, .. }) => "pvc, snapshot",
        Some(Choice { way: Way::Clone { .. }, .. }) => "pvc, clone",
        Some(Choice { way: Way::Live { .. }, .. }) => "pvc, live",
        _ => NOT,
    }
}

/// The same row with how its claim is captured, and why so.
fn because(choice: Option<&Choice>, held: Option<HeldDocument>, row: Row) -> Row {
    let Some(choice) = choice else { return row };
    let kind = match &held {
        Some(held) => format!("{}, {}", kind(Some(choice)), held.how).into(),
        None => kind(Some(choice)).into(),
    };
    Row { kind, held, reason: Some(choice.reason.clone()), cautions: choice.cautions.clone(), ..row }
}

/// What movers need, from what this machine has.
pub(in crate::cli) async fn handed(context: &Context) -> Result<Handed, Failure> {
    let Some(key) = context.globals.writer_key()? else {
        return Err(Failure::usage(
            "volumes are backed up with the writer key, and none was given",
            "give --writer-key-file FILE; an identity stays where it is",
        ));
    };
    movers::handed(context, &key, FOLDER).await
}

const FOLDER: &str = "volumes go into a bucket (s3:// or b2://), which may be in this cluster or on your NAS; or back their folders up on the node, as a path";

/// Other sources of the same cluster: a claim that one of them takes is no concern of this one.
pub(in crate::cli) fn others(source: &Source, volumes: &VolumesSource, context: &Context) -> Vec<VolumesSource> {
    let same = |other: &VolumesSource| other.kubeconfig == volumes.kubeconfig && other.context == volumes.context;
    let of_cluster = |kind: &SourceKind| match kind {
        SourceKind::Volumes(other) if same(other) => Some(other.clone()),
        _ => None,
    };
    all_but(source, context).filter_map(of_cluster).collect()
}

/// The other sources of the configuration.
fn all_but<'a>(source: &'a Source, context: &'a Context) -> impl Iterator<Item = &'a SourceKind> {
    let all = context.configuration.as_ref().map(|loaded| loaded.config.sources.as_slice()).unwrap_or_default();
    all.iter().filter(|other| other.name != source.name).map(|other| &other.kind)
}

/// What every backup of volumes has, whatever reads them.
struct Common<'a> {
    source: &'a Source,
    succeeded: BTreeSet<String>,
    wanted: Wanted,
}

impl<'a> Common<'a> {
    fn new(source: &'a Source, args: &Args, (run, before): (&str, &[Row])) -> Self {
        let mut tags = source.tags.clone();
        tags.extend(args.tag.iter().cloned());
        let succeeded = before.iter().filter(|row| row.result == Outcome::Done).map(|row| row.source.clone()).collect();
        let blocks = args.block_size.or(source.block_size);
        let wanted = Wanted { tags, host: host(), run: Some(run.to_owned()), reread: args.reread, blocks };
        Self { source, succeeded, wanted }
    }
}

/// Volumes that movers read. `before`: the run, and what it has made until now.
pub(super) async fn rows(
    source: &Source,
    volumes: &VolumesSource,
    args: &Args,
    context: &mut Context,
    before: (&str, &[Row]),
    reached: &mut Reached,
) -> Result<(Vec<Row>, Exit), Failure> {
    let api = Api::open(volumes.kubeconfig.as_deref(), volumes.context.as_deref()).await?;
    reached.look(&api).await?;
    let others = others(source, volumes, context);
    if args.dry_run {
        return Ok(of_plan(source, volumes::plan(&api, volumes, &others).await?, &place_of(volumes), context));
    }
    let handed = handed(context).await?;
    let common = Common::new(source, args, before);
    let movers = Movers {
        cluster: &api,
        streams: &api,
        exec: &api,
        clock: context.clock.clone(),
        progress: context.progress.clone(),
        cancel: context.cancel.clone(),
        source: volumes,
        others: &others,
        succeeded: &common.succeeded,
        handed: &handed,
        wanted: common.wanted.clone(),
        limits: Limits::default(),
    };
    captured_by(&movers, &common, &place_of(volumes), context).await
}

/// Volumes of a folder that stands for a cluster.
pub(super) async fn rows_of_folder(
    source: &Source,
    volumes: &FolderVolumesSource,
    args: &Args,
    context: &mut Context,
    operation: &backup::Context,
    before: (&str, &[Row]),
) -> Result<(Vec<Row>, Exit), Failure> {
    let folder = open_folder(&volumes.folder)?;
    let of_folder = |kind: &SourceKind| match kind {
        SourceKind::FolderVolumes(other) if other.folder == volumes.folder => Some(other.clone()),
        _ => None,
    };
    let others: Vec<FolderVolumesSource> = all_but(source, context).filter_map(of_folder).collect();
    if args.dry_run {
        return Ok(of_plan(source, folder::plan(&folder, volumes, &others).await?, &Again::default(), context));
    }
    let common = Common::new(source, args, before);
    let repository = own_folder(&[volumes.folder.join(VOLUMES)], context).await?;
    let exclude = Excludes::new(&[ALWAYS_LEFT_OUT.to_owned()])?;
    let reading = folder::Reading {
        cluster: &folder,
        source: volumes,
        others: &others,
        succeeded: &common.succeeded,
        context: operation,
        wanted: common.wanted.clone(),
        walk: WalkOptions { exclude, repository, ..WalkOptions::default() },
    };
    captured_by(&reading, &common, &Again::default(), context).await
}

/// Opens a folder that stands for a cluster, which has to be there: one that is not has no claims, and a backup of nothing would look like one of everything.
pub(in crate::cli) fn open_folder(path: &Path) -> Result<Folder, Failure> {
    if path.join(MANIFESTS).is_dir() {
        return Ok(Folder::open(path)?);
    }
    let what = format!("{} has no folder {MANIFESTS}: it stands for no cluster", path.display());
    Err(Failure::new(Exit::Error, what, "see whether it is mounted; `restore --cluster --into-folder` makes one"))
}

/// Runs, and makes rows of what came of it.
async fn captured_by(
    capture: &dyn Capture,
    common: &Common<'_>,
    at: &Again,
    context: &mut Context,
) -> Result<(Vec<Row>, Exit), Failure> {
    let source = common.source;
    let display = progress::show(context);
    let talk = context.talk.clone();
    let found = capture.run(&|text| talk.warn(&at.told(text))).await;
    display.finish();
    let volumes::Report { rows, left, still_held } = found?;
    let still_held: Vec<String> = still_held.iter().map(|held| at.told(held)).collect();
    let rows = rows.into_iter().map(|row| done(source, at, row, context)).collect();
    let (mut rows, mut exit) = judged(rows, context);
    for left in &left {
        tell_left("an earlier run left this behind, and it", left, at, context);
    }
    if !left.is_empty() || !still_held.is_empty() {
        exit = exit.graver(Exit::Problems);
        rows.push(Row { still_held, left, ..Row::new(source, Outcome::Problems) });
    }
    Ok((rows, exit))
}

/// What is still there, with the commands that remove it.
fn tell_left(what: &str, left: &Left, at: &Again, context: &Context) {
    context.talk.warn(&format!("LEFT BEHIND: {what} could not be removed: {}: {}", left.what, left.why));
    let help = "a later run removes it, once its time is over (an hour, for snapshots and clones up to two); by hand:";
    context.talk.put(help);
    for command in &left.commands {
        context.talk.put(&format!("    kubectl{} {command}", at.for_kubectl()));
    }
}

/// The cluster of the source: commands to run next are for that, and not for the one that a command finds by itself.
fn place_of(volumes: &VolumesSource) -> Again {
    Again::cluster(volumes.kubeconfig.as_deref(), volumes.context.as_deref())
}

/// The rows, the gravest of their exit codes, and a word on what is in no snapshot.
fn judged(rows: Vec<(Row, Exit)>, context: &Context) -> (Vec<Row>, Exit) {
    let exit = rows.iter().fold(Exit::Done, |exit, (_, of_row)| exit.graver(*of_row));
    let rows: Vec<Row> = rows.into_iter().map(|(row, _)| row).collect();
    if rows.is_empty() {
        context.talk.warn("the cluster has no PersistentVolumeClaim: nothing was backed up");
    }
    let uncovered: Vec<String> =
        rows.iter().filter(|row| row.result == Outcome::Failed).map(|row| escape(row.source.as_bytes())).collect();
    if !uncovered.is_empty() {
        let number = uncovered.len() as u64;
        context.talk.warn(&format!(
            "NOT COVERED: {} {} neither backed up nor left out on purpose: {}",
            count(number, "volume"),
            was(number),
            uncovered.join(", ")
        ));
    }
    (rows, exit)
}

fn row(source: &Source, name: String, kind: &'static str, result: Outcome) -> Row {
    Row { source: name, kind: kind.into(), ..Row::new(source, result) }
}

/// What a way of reading has to say of itself before it is begun.
trait Foresees {
    fn choice(&self) -> &Choice;

    fn held(&self) -> Option<HeldDocument> {
        None
    }
}

impl Foresees for claims::Read {
    fn choice(&self) -> &Choice {
        &self.choice
    }

    fn held(&self) -> Option<HeldDocument> {
        let told =
            |held: &Foreseen| HeldDocument { how: held.how, what: held.what.clone(), idle: held.idle, seconds: None };
        self.held.as_ref().map(told)
    }
}

impl Foresees for folder::Direct {
    fn choice(&self) -> &Choice {
        &self.choice
    }
}

fn of_plan<R: Foresees>(source: &Source, claims: Vec<Claim<R>>, at: &Again, context: &Context) -> (Vec<Row>, Exit) {
    judged(claims.into_iter().map(|claim| planned(source, claim, at, context)).collect(), context)
}

fn planned<R: Foresees>(source: &Source, claim: Claim<R>, at: &Again, context: &Context) -> (Row, Exit) {
    let name = claim.source();
    match claim.fate {
        Fate::Read(read) => {
            let row = row(source, name, NOT, Outcome::Done);
            (because(Some(read.choice()), read.held(), row), Exit::Done)
        }
        Fate::Excluded { by } => left_out(source, name, by),
        Fate::Dumped { by } => covered(source, name, by),
        Fate::Refused { why, mend } => refused(source, name, &why, &at.told(&mend), context),
        Fate::Unselected => refused(source, name, "no source takes it", "", context),
    }
}

fn left_out(source: &Source, name: String, by: String) -> (Row, Exit) {
    (Row { left_out_by: Some(by), ..row(source, name, NOT, Outcome::LeftOut) }, Exit::Done)
}

fn covered(source: &Source, name: String, by: String) -> (Row, Exit) {
    (Row { covered_by: Some(by), ..row(source, name, NOT, Outcome::Covered) }, Exit::Done)
}

fn refused(source: &Source, name: String, why: &str, mend: &str, context: &Context) -> (Row, Exit) {
    let what = format!("{} cannot be backed up: {why}", escape(name.as_bytes()));
    failed(source, name, NOT, Failure::new(Exit::Error, what, mend), context)
}

/// What to do about it, for the cluster of the source.
fn placed(failure: Failure, at: &Again) -> Failure {
    match failure {
        Failure::Told(told) => Failure::Told(Box::new(Told { help: at.told(&told.help), ..*told })),
        other => other,
    }
}

fn failed(source: &Source, name: String, kind: &'static str, failure: Failure, context: &Context) -> (Row, Exit) {
    let Failure::Told(told) = failure else {
        return (row(source, name, kind, Outcome::NotRun), Exit::Done);
    };
    let Told { exit, .. } = *told;
    context.talk.error(&*told.error, &told.help);
    (
        Row { error: Some(ErrorDocument::of(&told, context.talk.again())), ..row(source, name, kind, Outcome::Failed) },
        exit,
    )
}

fn done(source: &Source, at: &Again, of_claim: volumes::Row, context: &Context) -> (Row, Exit) {
    let volumes::Row { source: name, choice, outcome, held, still_held, except, took, left, evidence } = of_claim;
    let mut of_hooks = Exit::Done;
    for held in &still_held {
        let told = format!(
            "STILL HELD: {} (`homelab-dr release` lets it go; so does the next backup, if it begins ten minutes later)",
            escape(held.as_bytes())
        );
        context.talk.warn(&at.told(&told));
        of_hooks = Exit::Error;
    }
    for except in &except {
        context.talk.warn(&format!("let go, but {}", escape(except.as_bytes())));
        of_hooks = of_hooks.graver(Exit::Problems);
    }
    for left in &left {
        let what = format!("what was made for {}", escape(name.as_bytes()));
        tell_left(&what, left, at, context);
    }
    let (of_claim, exit) = match outcome {
        volumes::Outcome::Excluded { by } => return left_out(source, name, by),
        volumes::Outcome::Dumped { by } => return covered(source, name, by),
        volumes::Outcome::Refused { why, mend } => return refused(source, name, &why, &at.told(&mend), context),
        volumes::Outcome::Failed(error) => {
            let shown = escape(name.as_bytes());
            let failure = match error {
                MoverError::Cancelled => Failure::Interrupted,
                error => named(&shown, Failure::from(error)),
            };
            failed(source, name, NOT, placed(failure, at), context)
        }
        volumes::Outcome::NotStored(error) => {
            let failure = named(&escape(name.as_bytes()), Failure::from(error));
            failed(source, name, NOT, placed(failure, at), context)
        }
        volumes::Outcome::Captured { summary, problems } => captured(source, name, &summary, &problems, context),
    };
    if !context.out.json {
        movers::evidence(&evidence).for_each(|seen| context.talk.put(&seen));
    }
    let held = held.map(|held| HeldDocument {
        how: held.how,
        what: held.what,
        idle: false,
        seconds: Some(held.took.as_secs_f64()),
    });
    let row = Row { seconds: took.as_secs_f64(), still_held, mover: evidence, ..of_claim };
    let mut row = because(choice.as_ref(), held, row);
    let exit = exit.graver(of_hooks);
    if left.is_empty() {
        return (row, exit);
    }
    row.left = left;
    if row.result == Outcome::Done {
        row.result = Outcome::Problems;
    }
    (row, exit.graver(Exit::Problems))
}

/// The same failure, with the claim's name before it.
fn named(name: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Told(told) => {
            let Told { exit, error, help } = *told;
            Failure::because(exit, format!("{name} has no new snapshot"), error, help)
        }
        other => other,
    }
}

fn captured(
    source: &Source,
    name: String,
    summary: &Summary,
    problems: &[ProblemLine],
    context: &Context,
) -> (Row, Exit) {
    let shown = escape(name.as_bytes());
    let whole = summary.statistics.problems == 0 && summary.broken_packs == 0 && summary.emptied.is_none();
    for problem in problems {
        let text = format!("{shown}: {}", escape(problem.message.as_bytes()));
        if problem.missing { context.talk.warn(&text) } else { context.talk.say(&format!("note: {text}")) }
    }
    let untold = summary.problems.saturating_sub(problems.len() as u64);
    if untold > 0 {
        context.talk.warn(&format!("{shown}: {} more {} not told one by one", untold, was(untold)));
    }
    if let Some(before) = summary.emptied {
        context.talk.warn(&format!(
            "NOTHING WAS BACKED UP: {shown} holds nothing now, and an earlier snapshot held {}. Is the volume what it should be?",
            count(before.files, "file")
        ));
    }
    if summary.broken_packs > 0 {
        context.talk.warn(&format!(
            "{shown}: {} with metadata {} damaged; nothing of this snapshot rests on them: run `homelab-dr check --read-data`",
            count(summary.broken_packs, "pack"),
            was(summary.broken_packs)
        ));
    }
    let document = |problem: &ProblemLine| ProblemDocument {
        path: problem.path.clone(),
        message: problem.message.clone(),
        severity: if problem.missing { Severity::Problem } else { Severity::Note },
    };
    let result = if whole { Outcome::Done } else { Outcome::Problems };
    let row = Row {
        snapshot: Some(summary.snapshot.clone()),
        statistics: Some(summary.statistics),
        emptied: summary.emptied.is_some(),
        problems: problems.iter().map(document).collect(),
        ..row(source, name, NOT, result)
    };
    (row, if whole { Exit::Done } else { Exit::Problems })
}
