//! `drills`: what drills came to, as the repository has it.

use serde::Serialize;

use crate::base::causes::in_one_line;
use crate::base::units;
use crate::cli::context::{Context, local};
use crate::cli::drill::show::{Held, came_to};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::{count, table};
use crate::drill::record::{Rehearsals, load};
use crate::format::entry::escape;
use crate::format::record::{RehearsalRecord, RehearsalTarget};

const EXAMPLES: &str = "\
Examples:
  homelab-dr drills
  homelab-dr drills --source photos
  homelab-dr drills --json | jq '.drills[0]'";

/// List the drills that were held, newest first: what was rehearsed, and what it came to
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only drills that brought back this source, or tried to
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    drills: Vec<Held<'a>>,
    unreadable: Vec<String>,
}

fn what(record: &RehearsalRecord) -> String {
    let sources: Vec<&str> = record.sources.iter().map(|source| source.source.as_str()).collect();
    match &record.runbook {
        Some(book) => escape(book.id.as_bytes()),
        None => escape(sources.join(", ").as_bytes()),
    }
}

fn row(record: &RehearsalRecord) -> Vec<String> {
    let seconds = |seconds: u64| units::duration(std::time::Duration::from_secs(seconds));
    let worst = record.sources.iter().map(|source| source.age).max();
    let target = match record.target {
        RehearsalTarget::Folder => "folder",
        RehearsalTarget::Cluster => "cluster",
    };
    vec![
        local(record.begun),
        escape(record.run.as_bytes()),
        came_to(record.outcome).to_owned(),
        record.took.map_or_else(|| "-".to_owned(), |took| seconds(took.div_ceil(1000))),
        worst.map_or_else(|| "-".to_owned(), |age| units::span(std::time::Duration::from_secs(age))),
        format!("{}/{}", record.held, record.checks),
        target.to_owned(),
        what(record),
    ]
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let repository = open::repository(context, Access::Look).await?;
    let Rehearsals { all, unreadable } = load(&repository).await?;
    let is_asked = |record: &RehearsalRecord| {
        args.source.as_ref().is_none_or(|wanted| record.sources.iter().any(|source| source.source == *wanted))
    };
    let all: Vec<_> = all.into_iter().filter(|(_, record)| is_asked(record)).collect();
    let exit = if unreadable.is_empty() { Exit::Done } else { Exit::Problems };
    let unreadable: Vec<String> =
        unreadable.iter().map(|(key, error)| format!("{key}: {}", in_one_line(error))).collect();
    if context.out.json {
        let drills = all.iter().map(|(id, record)| Held { id: Some(*id), record }).collect();
        context.out.document(&Document { drills, unreadable })?;
        return Ok(exit);
    }
    if all.is_empty() && unreadable.is_empty() {
        context.summary(false, "no drill was held, or none was recorded; `homelab-dr drill` holds one")?;
    } else {
        let rows: Vec<Vec<String>> = all.iter().map(|(_, record)| row(record)).collect();
        let head = ["BEGUN", "RUN", "CAME TO", "TOOK", "OLDEST DATA", "CHECKS", "INTO", "OF"];
        for line in table(&head, &rows, &[]) {
            context.out.line(&line)?;
        }
    }
    for line in &unreadable {
        context.talk.warn(line);
    }
    if !unreadable.is_empty() {
        context.talk.warn(&format!("{} cannot be read", count(unreadable.len() as u64, "record")));
    }
    Ok(exit)
}
