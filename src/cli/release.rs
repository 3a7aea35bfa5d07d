//! `release`: what dead runs have left held, listed, asked about, undone.

use std::path::PathBuf;

use serde::Serialize;

use crate::base::clock::Time;
use crate::cli::again::Again;
use crate::cli::context::{Context, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::count;
use crate::cli::prompt::confirm;
use crate::cluster::api::Api;
use crate::format::entry::escape;
use crate::hooks::hold::Released;
use crate::hooks::journal::{Journal, journals};
use crate::hooks::release::{Report, may_live, name, release};
use crate::hooks::unfinished::finish;
use crate::hooks::{Acting, HookError, Waits};

const EXAMPLES: &str = "\
Examples:
  homelab-dr release --plan
  homelab-dr release --kubeconfig ~/.kube/config
  homelab-dr release --run 5f0c1d2e --yes
  homelab-dr release --run 5f0c1d2e --unfinished

A run holds applications still while it reads or replaces their volumes: scaled to zero, asked to by
an annotation, or by a command in their container. It writes down first how that is undone, in a
ConfigMap of its namespace. If it was killed, this undoes it, the last first.";

/// Let go what a run that was killed has left held; lists it, and asks
///
/// A run that said within the last ten minutes that it is alive is left, unless --run names it. What somebody else has
/// changed meanwhile stays as they set it, is told, and ends with exit code 3.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The kubeconfig of the cluster [default: what KUBECONFIG names, ~/.kube/config, or the pod's account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Another context of the kubeconfig than its current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Only what this run has left, also if it may be alive; may be repeated
    #[arg(long, value_name = "ID")]
    run: Vec<String>,
    /// Also start what uses a volume that a restore in place has not done: what is in it is half of something; needs --run
    #[arg(long, requires = "run")]
    unfinished: bool,
    /// Show what would be released, and change nothing
    #[arg(long, short = 'n', visible_alias = "dry-run")]
    plan: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// A run that has left something.
#[derive(Serialize)]
struct Left {
    run: String,
    host: String,
    namespace: String,
    renewed: Time,
    may_be_alive: bool,
    holds: Vec<String>,
    /// The volume of which it has written a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished: Option<String>,
}

#[derive(Serialize)]
struct Document {
    dry_run: bool,
    runs: Vec<Left>,
    /// Runs that said a moment ago that they are alive: left alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alive: Vec<Left>,
    unreadable: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    released: Option<Vec<Report>>,
}

fn left(journal: &Journal, now: Time, at: &Again) -> Left {
    Left {
        run: journal.run.clone(),
        host: journal.host.clone(),
        namespace: journal.namespace.clone(),
        renewed: journal.renewed(),
        may_be_alive: may_live(journal, now),
        holds: journal.entries.iter().rev().map(name).collect(),
        unfinished: journal.unfinished.as_ref().map(|unfinished| at.told(&unfinished.told(&journal.run))),
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let api = Api::open(args.kubeconfig.as_deref(), args.context.as_deref()).await;
    let api = api.map_err(|source| HookError::Cluster { what: "look for what runs have left".to_owned(), source })?;
    let found = tokio::select! {
        found = journals(&api, None) => found?,
        () = context.cancel.cancelled() => return Err(Failure::Interrupted),
    };
    let now = context.clock.now();
    let (mut chosen, mut unreadable, mut alive) = (Vec::new(), Vec::new(), Vec::new());
    for journal in found {
        match journal {
            Err(error) => unreadable.push(error.to_string()),
            Ok(journal) if args.run.contains(&journal.run) => chosen.push(journal),
            Ok(_) if !args.run.is_empty() => {}
            Ok(journal) if may_live(&journal, now) => {
                let told =
                    format!("run {} of {} may be alive: left alone", journal.run, escape(journal.host.as_bytes()));
                context.talk.warn(&format!("{told} (--run {} releases it all the same)", journal.run));
                alive.push(left(&journal, now, context.talk.again()));
            }
            Ok(journal) => chosen.push(journal),
        }
    }
    let missing = args.run.iter().find(|run| !chosen.iter().any(|journal| journal.run == **run));
    if let Some(run) = missing {
        let help = "`homelab-dr release --plan` lists the runs that have left something";
        return Err(Failure::usage(format!("no run {run} has left anything"), help));
    }
    for why in &unreadable {
        context.talk.warn(why);
    }
    let mut document = Document {
        dry_run: args.plan,
        runs: chosen.iter().map(|journal| left(journal, now, context.talk.again())).collect(),
        alive,
        unreadable,
        released: None,
    };
    let shown = !context.out.json && (args.plan || !args.yes);
    if shown {
        show(&document.runs, document.alive.len(), args.plan, context)?;
    }
    if !args.plan && !chosen.is_empty() {
        context.out.flush()?;
        confirm(args.yes, "Release them?")?;
    }
    if !args.plan {
        document.released = Some(release_all(&api, &mut chosen, args.unfinished, context).await?);
    }
    let exit = exit_of(&document);
    if context.out.json {
        context.out.document(&document)?;
    } else if let Some(reports) = &document.released {
        tell(reports, context)?;
    }
    Ok(exit)
}

async fn release_all(
    api: &Api,
    chosen: &mut [Journal],
    unfinished: bool,
    context: &Context,
) -> Result<Vec<Report>, Failure> {
    let (clock, cancel) = (context.clock.clone(), context.cancel.clone());
    let acting = Acting { cluster: api, exec: api, clock: &*clock, waits: Waits::default(), cancel: &cancel };
    let mut reports = Vec::new();
    for journal in chosen {
        if !cancel.is_cancelled() {
            if unfinished {
                finish(&acting, journal).await?;
            }
            reports.push(release(&acting, journal).await);
        }
    }
    Ok(reports)
}

fn exit_of(document: &Document) -> Exit {
    let reports = document.released.as_deref().unwrap_or_default();
    if document.released.is_some() && reports.len() < document.runs.len() {
        Exit::Interrupted
    } else if document.unreadable.is_empty() && reports.iter().all(Report::is_well) {
        Exit::Done
    } else {
        Exit::Problems
    }
}

fn show(runs: &[Left], alive: usize, result: bool, context: &mut Context) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for run in runs {
        let (host, when) = (escape(run.host.as_bytes()), local(run.renewed));
        lines.push(format!(
            "run {} of {host}, last seen {when}, journal in {}",
            run.run,
            escape(run.namespace.as_bytes())
        ));
        lines.extend(run.unfinished.iter().map(|why| format!("  {}", escape(why.as_bytes()))));
        lines.extend(run.holds.iter().map(|what| format!("  release {}", escape(what.as_bytes()))));
    }
    if runs.is_empty() {
        let rest = if alive > 0 { " that is surely dead" } else { "" };
        lines.push(format!("nothing is held by any run{rest}"));
    }
    for line in lines {
        if result || runs.is_empty() {
            context.line(&line)?;
        } else {
            context.talk.put(&line);
        }
    }
    Ok(())
}

fn tell(reports: &[Report], context: &mut Context) -> Result<(), Failure> {
    for report in reports {
        for row in &report.rows {
            if let Some(told) = row.outcome.told() {
                context.line(&format!("{}: {told}", escape(row.what.as_bytes())))?;
            }
        }
        if let Some(why) = &report.journal {
            context.talk.warn(&format!("its journal could not be brought up to date: {why}"));
        }
        let number = |is: &dyn Fn(&Released) -> bool| report.rows.iter().filter(|row| is(&row.outcome)).count();
        let released = number(&|outcome| matches!(outcome, Released::Done | Released::Except { .. }));
        let mut text = format!("run {}: {} released", report.run, count(released as u64, "thing"));
        for (number, what) in [
            (number(&|outcome| *outcome == Released::NotHeld), "not held"),
            (number(&|outcome| *outcome == Released::Gone), "gone"),
            (number(&|outcome| !outcome.is_over()), "still held"),
        ] {
            if number > 0 {
                text = format!("{text}, {number} {what}");
            }
        }
        context.summary(!report.is_well(), &text)?;
    }
    Ok(())
}
