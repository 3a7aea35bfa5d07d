//! `snapshots`: what there is to restore.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::clock::Time;
use crate::base::units;
use crate::cli::context::{Context, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::table;
use crate::cli::tags::TagFilter;
use crate::format::entry::escape;
use crate::format::record::Statistics;
use crate::repo::snapshots::Snapshot;

const EXAMPLES: &str = "\
Examples:
  homelab-dr snapshots
  homelab-dr snapshots --source photos --tag host=nas
  homelab-dr snapshots --json | jq -r '.snapshots[-1].id'

A snapshot is named by the start of its id, by latest, latest:SOURCE, or by a time (the newest
until then): 2026-11-01, 2026-11-01T03:00.";

/// List the snapshots, oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only with this tag; may be repeated, then all are needed
    #[arg(long, value_name = "KEY[=VALUE]")]
    tag: Vec<TagFilter>,
}

/// A snapshot in JSON.
#[derive(Serialize)]
struct Row<'a> {
    id: String,
    source: &'a str,
    started: Time,
    finished: Time,
    host: &'a str,
    program: &'a str,
    paths: Vec<String>,
    tags: &'a BTreeMap<String, String>,
    statistics: Statistics,
    based_on: Option<String>,
    /// Bytes; only if others than usual were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    block_size: Option<u32>,
}

#[derive(Serialize)]
struct Document<'a> {
    snapshots: Vec<Row<'a>>,
    unreadable: Vec<String>,
    missing: Vec<String>,
}

fn row(snapshot: &Snapshot) -> Row<'_> {
    let record = &snapshot.record;
    Row {
        id: snapshot.id.hex(),
        source: &record.source,
        started: record.started,
        finished: record.finished,
        host: &record.host,
        program: &record.program,
        paths: record.paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect(),
        tags: &record.tags,
        statistics: record.statistics,
        based_on: record.based_on.map(|id| id.hex()),
        block_size: record.blocks,
    }
}

/// Tags as they are given: `a=b c`.
fn tags(tags: &BTreeMap<String, String>) -> String {
    let shown: Vec<String> =
        tags.iter().map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key}={value}") }).collect();
    escape(shown.join(" ").as_bytes())
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let repository = open::repository(context, Access::Look).await?;
    let chain = open::chain(context, &repository).await?;
    let wanted = |snapshot: &&Snapshot| {
        args.source.as_ref().is_none_or(|source| snapshot.record.source == *source)
            && args.tag.iter().all(|tag| tag.matches(&snapshot.record.tags))
    };
    let found: Vec<&Snapshot> = chain.snapshots.iter().filter(wanted).collect();
    if context.out.json {
        let document = Document {
            snapshots: found.into_iter().map(row).collect(),
            unreadable: chain.unreadable.iter().map(|(id, _)| id.hex()).collect(),
            missing: chain.gaps().iter().map(crate::base::id::ObjectId::hex).collect(),
        };
        context.out.document(&document)?;
    } else if found.is_empty() {
        let none = if chain.snapshots.is_empty() { "no snapshots yet" } else { "no snapshot matches" };
        context.say(none)?;
    } else {
        for line in listing(&found) {
            context.out.line(&line)?;
        }
    }
    Ok(if chain.unreadable.is_empty() && chain.gaps().is_empty() { Exit::Done } else { Exit::Damaged })
}

fn listing(found: &[&Snapshot]) -> Vec<String> {
    let any_tags = found.iter().any(|snapshot| !snapshot.record.tags.is_empty());
    let any_problems = found.iter().any(|snapshot| snapshot.record.statistics.problems > 0);
    let mut head = vec!["ID", "TIME", "SOURCE", "FILES", "SIZE", "STORED"];
    let mut right = vec![3, 4, 5];
    if any_problems {
        right.push(head.len());
        head.push("PROBLEMS");
    }
    if any_tags {
        head.push("TAGS");
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|snapshot| {
            let statistics = &snapshot.record.statistics;
            let mut cells = vec![
                snapshot.id.short(),
                local(snapshot.record.started),
                escape(snapshot.record.source.as_bytes()),
                statistics.files.to_string(),
                units::bytes(statistics.bytes),
                units::bytes(statistics.bytes_stored),
            ];
            if any_problems {
                let problems = statistics.problems;
                cells.push(if problems == 0 { String::new() } else { problems.to_string() });
            }
            if any_tags {
                cells.push(tags(&snapshot.record.tags));
            }
            cells
        })
        .collect();
    table(&head, &rows, &right)
}
