//! `status`: could this be recovered right now, by what the repository says?

use std::time::Duration;

use serde::Serialize;

use crate::base::causes::in_one_line;
use crate::base::id::ObjectId;
use crate::base::units::{self, parse_duration};
use crate::cli::context::{Context, local};
use crate::cli::drill::came_to;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::{count, table};
use crate::config::SourceKind;
use crate::drill::record;
use crate::format::entry::escape;
use crate::keys::list_key_drills;
use crate::status::{Facts, Limits, SourceStatus, Status, judge};
use crate::verified;

const EXAMPLES: &str = "\
Examples:
  homelab-dr status
  homelab-dr status --rpo 26h
  homelab-dr status --json | jq .sources

Not well is: no complete snapshot younger than --rpo (else the rpo of the last drill of the source,
else 8d); no drill of the source within --drill-every (35d), or the last one failed; no key drill
within 190d, or none since a recipient was removed; a snapshot that `check` found damaged, until
that one or a newer one is read whole. It reads the records of the repository alone and asks no
cluster, and it looks for no damage itself: `homelab-dr check` does. Exit code 3 if something is
not well.";

/// Sources that a line names before it only counts them.
const SOURCES_SHOWN: usize = 4;

/// Say whether everything could be recovered: how fresh each source is, and when it was last rehearsed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How old the newest complete snapshot of a source may be, such as 26h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    rpo: Option<Duration>,
    /// How long ago the last drill of a source may be [default: 35d]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    drill_every: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct Document<'a> {
    is_well: bool,
    #[serde(flatten)]
    status: &'a Status,
    /// Snapshots that are gone though nobody forgot them.
    missing: Vec<String>,
    unreadable: Vec<String>,
}

/// Sources that have snapshots of their own name; which claims a source of volumes takes is known to the cluster.
fn named(context: &Context) -> Vec<String> {
    let sources = context.configuration.iter().flat_map(|loaded| &loaded.config.sources);
    let is_one = |kind: &SourceKind| !matches!(kind, SourceKind::Volumes(_) | SourceKind::FolderVolumes(_));
    sources.filter(|source| is_one(&source.kind)).map(|source| source.name.clone()).collect()
}

fn row(source: &SourceStatus) -> Vec<String> {
    let none = || "never".to_owned();
    let newest = source.complete.as_ref();
    let drill = source.drill.as_ref();
    vec![
        if source.problems.is_empty() { "well".to_owned() } else { "NOT WELL".to_owned() },
        escape(source.source.as_bytes()),
        newest.map_or_else(none, |newest| format!("{} ({} old)", local(newest.started), units::age(newest.age))),
        drill.map_or_else(none, |drill| format!("{} ago: {}", units::age(drill.age), came_to(drill.outcome))),
        source.read_back.as_ref().map_or_else(none, |read| {
            let which = if read.is_newest { "the newest".to_owned() } else { read.id.short() };
            format!("{}, {which}", local(read.at))
        }),
    ]
}

/// What is not well with sources, in the order in which it is met; one drill that failed is told once, not for each of its sources.
fn by_problem(status: &Status) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for source in &status.sources {
        for problem in &source.problems {
            match found.iter_mut().find(|(known, _)| known == problem) {
                Some((_, sources)) => sources.push(&source.source),
                None => found.push((problem, vec![&source.source])),
            }
        }
    }
    found
}

fn named_or_counted(sources: &[&str]) -> String {
    let names = sources.iter().take(SOURCES_SHOWN).map(|name| escape(name.as_bytes())).collect::<Vec<_>>().join(", ");
    match sources.len().saturating_sub(SOURCES_SHOWN) {
        0 => names,
        more => format!("{names} and {}", count(more as u64, "other source")),
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let repository = open::repository(context, Access::Read).await?;
    let chain = open::chain(context, &repository).await?;
    let rehearsals = record::load(&repository).await?;
    let verified = verified::load(&repository).await?;
    let (keys, unreadable_keys) = list_key_drills(&repository).await?;
    let usual = Limits::default();
    let limits = Limits {
        data: args.rpo.unwrap_or(usual.data),
        data_is_asked: args.rpo.is_some(),
        drill: args.drill_every.unwrap_or(usual.drill),
        ..usual
    };
    let facts = Facts {
        now: context.clock.now(),
        chain: &chain,
        named: &named(context),
        rehearsals: &rehearsals.all,
        verified: &verified,
        keys: &keys,
        epoch: repository.epoch_begun(),
    };
    let status = judge(&facts, &limits);
    let broken = rehearsals.unreadable.iter().chain(&verified.unreadable);
    let mut unreadable: Vec<String> = broken.map(|(key, error)| format!("{key}: {}", in_one_line(error))).collect();
    unreadable.extend(unreadable_keys);
    unreadable
        .extend(chain.unreadable.iter().map(|(id, why)| format!("snapshot {} cannot be read: {why}", id.short())));
    let missing: Vec<String> = chain.gaps().iter().map(ObjectId::hex).collect();
    let is_well = status.is_well() && unreadable.is_empty() && missing.is_empty();
    let exit = if is_well { Exit::Done } else { Exit::Problems };
    if context.out.json {
        context.out.document(&Document { is_well, status: &status, missing, unreadable })?;
        return Ok(exit);
    }
    let rows: Vec<Vec<String>> = status.sources.iter().map(row).collect();
    if !rows.is_empty() {
        let head = ["", "SOURCE", "NEWEST COMPLETE", "LAST DRILL", "READ BACK"];
        for line in table(&head, &rows, &[]) {
            context.out.line(&line)?;
        }
    }
    if let Some((at, recipient)) = &status.key_drill {
        context.out.line(&format!("identity tried {} ({})", local(*at), escape(recipient.as_bytes())))?;
    }
    for (problem, sources) in by_problem(&status) {
        context.out.line(&format!("{}: {}", named_or_counted(&sources), escape(problem.as_bytes())))?;
    }
    for problem in status.problems.iter().chain(&unreadable) {
        context.out.line(&escape(problem.as_bytes()))?;
    }
    for id in &missing {
        context.out.line(&format!("snapshot {id} is missing though nobody forgot it: run `homelab-dr check`"))?;
    }
    let wrong = status.sources.iter().filter(|source| !source.problems.is_empty()).count() as u64;
    let line = if is_well {
        format!("all is well with {}", count(status.sources.len() as u64, "source"))
    } else {
        let others = (status.problems.len() + unreadable.len() + missing.len()) as u64;
        let sources = count(status.sources.len() as u64, "source");
        match (wrong, others) {
            (0, others) => format!("NOT WELL: {}; {sources} well", count(others, "thing")),
            (wrong, 0) => format!("NOT WELL: {wrong} of {sources}"),
            (wrong, others) => format!("NOT WELL: {wrong} of {sources}, and {}", count(others, "other thing")),
        }
    };
    context.summary(!is_well, &line)?;
    Ok(exit)
}
