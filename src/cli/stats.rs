//! `stats`: how much there is, and what deduplication and compression save.

use crate::base::units;
use crate::cli::context::{Context, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::{count, table};
use crate::format::entry::escape;
use crate::stats::{self, Stats};

const EXAMPLES: &str = "\
Examples:
  homelab-dr stats
  homelab-dr stats --json | jq .total_ratio";

/// Show how much is stored, of what, and what deduplication and compression save
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

pub(crate) async fn run(_: Args, context: &mut Context) -> Result<Exit, Failure> {
    let repository = open::repository(context, Access::Read).await?;
    let stats = stats::stats(&repository).await?;
    let exit = if stats.unreadable_segments.is_empty() { Exit::Done } else { Exit::Damaged };
    for name in &stats.unreadable_segments {
        context.talk.warn(&format!("{name} cannot be read and is not counted; run `homelab-dr check --rebuild-index`"));
    }
    if context.out.json {
        context.out.document(&stats)?;
        return Ok(exit);
    }
    for line in listing(&stats) {
        context.out.line(&line)?;
    }
    Ok(exit)
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2} : 1"))
}

fn listing(stats: &Stats) -> Vec<String> {
    let row = |what: &str, size: u64, more: String| vec![what.to_owned(), units::bytes(size), more];
    let totals = [
        row("files of all snapshots", stats.logical_bytes, count(stats.snapshots, "snapshot")),
        row("distinct content", stats.data.plain_bytes, format!("deduplication {}", ratio(stats.dedup_ratio))),
        row(
            "compressed and sealed",
            stats.data.sealed_bytes,
            format!("compression {}", ratio(stats.compression_ratio)),
        ),
        row(
            "stored in all",
            stats.stored_bytes,
            format!("{}, together {}", count(stats.objects, "object"), ratio(stats.total_ratio)),
        ),
    ];
    let mut lines = table(&["", "SIZE", ""], &totals, &[1]);
    let prefixes: Vec<Vec<String>> = stats
        .by_prefix
        .iter()
        .map(|(prefix, stored)| vec![prefix.clone(), stored.objects.to_string(), units::bytes(stored.bytes)])
        .collect();
    lines.push(String::new());
    lines.extend(table(&["OBJECTS", "COUNT", "SIZE"], &prefixes, &[1, 2]));
    let sources: Vec<Vec<String>> = stats
        .sources
        .iter()
        .map(|source| {
            vec![
                escape(source.source.as_bytes()),
                source.snapshots.to_string(),
                local(source.newest),
                source.newest_files.to_string(),
                units::bytes(source.newest_bytes),
            ]
        })
        .collect();
    if !sources.is_empty() {
        lines.push(String::new());
        lines.extend(table(&["SOURCE", "SNAPSHOTS", "NEWEST", "FILES", "SIZE"], &sources, &[1, 3, 4]));
    }
    lines
}
