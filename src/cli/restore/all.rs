//! `restore --all`: the newest snapshot of every source, each into a directory of its own.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

use super::{Args, Document, What, document, exit_of, held, is_all, lack, restore, warn_of};
use crate::base::causes::in_one_line;
use crate::base::units;
use crate::cli::context::{Context, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::guard::InUse;
use crate::cli::open;
use crate::cli::output::{count, table};
use crate::cli::verified;
use crate::format::entry::{TreePath, escape};
use crate::recover::RestoreReport;
use crate::repo::Repository;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::repo::whole::Lack;

/// What became of one source.
#[derive(Serialize)]
struct Row {
    source: String,
    directory: String,
    exit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    restored: Option<Document>,
}

#[derive(Serialize)]
struct Documents {
    sources: Vec<Row>,
    exit: u8,
}

/// The sources that have snapshots.
pub(super) fn sources(chain: &Chain) -> BTreeSet<&str> {
    chain.snapshots.iter().map(|snapshot| snapshot.record.source.as_str()).collect()
}

/// The name of a source's directory: `pvc/media` becomes `pvc%2Fmedia`, since directories of the names' parts would let
/// `pg` and `pg/app` lie in one another, and mix what they hold.
fn directory(source: &str) -> String {
    let mut name = String::with_capacity(source.len());
    for (at, c) in source.char_indices() {
        if matches!(c, '/' | '%') || c.is_control() || (at == 0 && c == '.') {
            let mut raw = [0; 4];
            for byte in c.encode_utf8(&mut raw).bytes() {
                let _ = write!(name, "%{byte:02X}");
            }
        } else {
            name.push(c);
        }
    }
    name
}

/// How it went, in a word or two.
fn result(report: &RestoreReport) -> String {
    match exit_of(report) {
        Exit::Done => "done".to_owned(),
        Exit::Damaged => format!("DAMAGED, {}", count(report.problems.len() as u64, "problem")),
        _ => count(report.problems.len() as u64, "problem"),
    }
}

/// Restores them one after another. One that fails does not stop the others, unless nothing could go on.
pub(super) async fn run(
    args: &Args,
    repository: &Arc<Repository>,
    chain: &Chain,
    in_use: &InUse,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let newest: Vec<&Snapshot> = sources(chain).into_iter().filter_map(|source| chain.latest_of(source)).collect();
    if newest.is_empty() {
        return Err(crate::base::when::SelectError::NoSnapshots.into());
    }
    for snapshot in &newest {
        in_use.refuse_target(&args.target.join(directory(&snapshot.record.source)), false)?;
    }
    let folders = held(args, context)?;
    let reader = open::reader(context, repository).await?;
    let (mut worst, mut rows, mut cells, mut good) = (Exit::Done, Vec::new(), Vec::new(), Vec::new());
    for snapshot in newest {
        let source = &snapshot.record.source;
        let name = directory(source);
        context.say(&format!("restoring {} into {}", escape(source.as_bytes()), args.target.join(&name).display()))?;
        let target = args.target.join(OsString::from(&name));
        let what = What { snapshot, within: TreePath::root(), target, spared: in_use.paths(), held: folders.as_ref() };
        let mut cell = vec![escape(source.as_bytes()), snapshot.id.short(), local(snapshot.record.started)];
        let mut row = Row { source: source.clone(), directory: name, exit: 0, error: None, restored: None };
        let exit = match restore(args, &what, repository, &reader, context).await {
            Ok((report, plan)) => {
                warn_of(&report, &plan, context)?;
                let result = match chain.lack(snapshot) {
                    Some(Lack::Emptied { .. }) => "NOTHING IN IT".to_owned(),
                    Some(Lack::Problems { .. }) if exit_of(&report) == Exit::Done => "NOT WHOLE".to_owned(),
                    _ => result(&report),
                };
                cell.extend([report.files.to_string(), units::bytes(report.bytes), result]);
                good.extend(report.verified.then_some(snapshot.id));
                row.restored = Some(document(&report, snapshot, chain, &plan));
                lack::warn(snapshot, chain, (exit_of(&report), is_all(args, &plan)), context)?
            }
            Err(Failure::Told(told)) if told.exit != Exit::Unreachable => {
                row.error = Some(in_one_line(&*told.error));
                cell.extend(["-".to_owned(), "-".to_owned(), "FAILED, see above".to_owned()]);
                context.out.flush()?;
                context.talk.error(&*told.error, &told.help);
                told.exit
            }
            Err(failure) => return Err(failure),
        };
        row.exit = exit.code();
        worst = worst.graver(exit);
        rows.push(row);
        cells.push(cell);
    }
    if context.out.json {
        context.out.document(&Documents { sources: rows, exit: worst.code() })?;
    } else {
        for line in table(&["SOURCE", "SNAPSHOT", "TIME", "FILES", "SIZE", "RESULT"], &cells, &[3, 4]) {
            context.summary(args.dry_run, &line)?;
        }
        let verb = if args.dry_run { "would restore" } else { "restored" };
        let sources = count(cells.len() as u64, "source");
        context.summary(args.dry_run, &format!("{verb} {sources} into {}", args.target.display()))?;
    }
    if !good.is_empty() && repository.refuse_if_removed().is_ok() {
        verified::record(context, repository, &good, &[]).await?;
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_source_leaves_the_target_or_lies_in_another() {
        for (source, name) in [
            ("photos", "photos"),
            ("pvc/media/jelly fin", "pvc%2Fmedia%2Fjelly fin"),
            ("..", "%2E."),
            ("../etc", "%2E.%2Fetc"),
            ("100%", "100%25"),
            ("pg%2Fapp", "pg%252Fapp"),
        ] {
            assert_eq!(directory(source), name);
        }
    }
}
