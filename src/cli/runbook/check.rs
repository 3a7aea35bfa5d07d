//! `runbook check`: carries out what of a runbook only looks. One line for each check; all of them, also when one does not hold: the first from the outside to the
//! inside that does not says where it is broken.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::base::causes::in_one_line;
use crate::base::units;
use crate::cli::configuration::{self, JUDGES};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{count, quoted};
use crate::cli::runbook::values;
use crate::cluster::api::Api;
use crate::format::entry::escape;
use crate::language::suggest;
use crate::runbook::{Action, Check, Step};
use crate::runs::hands::OnThisMachine;
use crate::verify::{Seen, Surroundings, describe, hold};

const EXAMPLES: &str = "\
Examples:
  homelab-dr runbook check runbooks/page-unavailable.md --set host=photos.example.org
  homelab-dr runbook check runbooks/page-unavailable.md --only certificate --set host=photos.example.org
  homelab-dr runbook check my.md --json | jq '.checks[] | select(.holds | not)'

Only steps of the kind `check` are carried out, in their order and whatever the one before came to;
everything else of the runbook is left alone. Exit code 0: all hold; 7: one does not, or could not
be carried out.";

/// Carry out the steps of a runbook that only look, its `check` steps, and say what was seen
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only this step; may be repeated
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// The value of a parameter; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::setting)]
    set: Vec<(String, String)>,
    /// The kubeconfig of the cluster to look at [default: what KUBECONFIG names, ~/.kube/config, or the pod's account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Another context of the kubeconfig than its current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Serialize)]
struct Row {
    step: String,
    check: String,
    holds: bool,
    seen: String,
}

#[derive(Serialize)]
struct Document {
    runbook: String,
    holding: usize,
    failing: usize,
    checks: Vec<Row>,
}

pub(super) async fn run(args: &CheckArgs, context: &mut Context) -> Result<Exit, Failure> {
    let runbook = super::load(&args.file)?;
    // No run is begun: what a runbook makes of its id is of no use to who only looks.
    let values = values::values(&runbook, &values::given(&runbook, &args.set)?, "check")?;
    let steps = runbook.steps(&values, &JUDGES).map_err(|findings| {
        let shown = configuration::Findings(configuration::shown(&findings, &args.file));
        Failure::because(Exit::Usage, "the runbook is not right with these values", shown, "see the values of --set")
    })?;
    let chosen = chosen(&steps, &args.only)?;
    let around = surroundings(args, &chosen, context).await;
    let mut document = Document { runbook: runbook.id.clone(), holding: 0, failing: 0, checks: Vec::new() };
    for (step, checks) in chosen {
        for (check, seen) in carried_out(step, checks, &around).await {
            if context.cancel.is_cancelled() {
                return Err(Failure::Interrupted);
            }
            let row = Row {
                step: step.id.clone(),
                check: describe(&check.probe),
                holds: seen.holds(),
                seen: seen.said().to_owned(),
            };
            if !context.out.json {
                show(&row, context)?;
            }
            *(if row.holds { &mut document.holding } else { &mut document.failing }) += 1;
            document.checks.push(row);
        }
    }
    let failing = document.failing;
    if context.out.json {
        context.out.document(&document)?;
    } else {
        let text =
            format!("{}: {} hold, {failing} do not", count(document.checks.len() as u64, "check"), document.holding);
        context.summary(failing > 0, &text)?;
    }
    Ok(if failing > 0 { Exit::Refused } else { Exit::Done })
}

/// All checks of a step, within its time.
async fn carried_out<'a>(step: &Step, checks: &'a [Check], around: &Surroundings) -> Vec<(&'a Check, Seen)> {
    let end = tokio::time::Instant::now() + step.timeout;
    let mut seen = Vec::new();
    for check in checks {
        let late =
            || Seen::Not(format!("the step's time of {} was over before it was known", units::duration(step.timeout)));
        seen.push((check, tokio::time::timeout_at(end, hold(check, around)).await.unwrap_or_else(|_| late())));
    }
    seen
}

fn show(row: &Row, context: &mut Context) -> Result<(), Failure> {
    let word = if row.holds { "holds         " } else { "DOES NOT HOLD " };
    context.out.line(&format!("{word} {}  {}", row.step, escape(row.check.as_bytes())))?;
    context.out.line(&format!("               {}", escape(row.seen.as_bytes())))
}

type Chosen<'a> = Vec<(&'a Step, &'a [Check])>;

/// The steps that only look, or those of them that were named.
fn chosen<'a>(steps: &'a [Step], only: &[String]) -> Result<Chosen<'a>, Failure> {
    let looks = |step: &'a Step| match &step.action {
        Action::Check(checks) if !step.is_compensation => Some((step, checks.as_slice())),
        _ => None,
    };
    let all: Chosen<'a> = steps.iter().filter_map(looks).collect();
    let known: Vec<&str> = all.iter().map(|(step, _)| step.id.as_str()).collect();
    for name in only {
        if known.contains(&name.as_str()) {
            continue;
        }
        let what = if steps.iter().any(|step| step.id == *name) {
            format!("the step {} does not only look: it is no `check`", quoted(name))
        } else {
            format!("the runbook has no step {}", quoted(name))
        };
        return Err(Failure::usage(what, suggest(name, &known, "its checks are")));
    }
    if all.is_empty() {
        return Err(Failure::usage("the runbook has no step that only looks", "steps of the kind `check` do"));
    }
    Ok(all.into_iter().filter(|(step, _)| only.is_empty() || only.contains(&step.id)).collect())
}

/// What is looked at; the cluster only if a check is about it. One that cannot be had is what those checks say then.
async fn surroundings(args: &CheckArgs, chosen: &Chosen<'_>, context: &Context) -> Surroundings {
    let mut around = Surroundings::new(context.clock.clone(), context.cancel.clone(), Arc::new(OnThisMachine));
    let is_of_cluster = |check: &Check| check.probe.is_of_cluster();
    context.cancel.begin();
    if !chosen.iter().any(|(_, checks)| checks.iter().any(is_of_cluster)) {
        return around;
    }
    match Api::open(args.kubeconfig.as_deref(), args.context.as_deref()).await {
        Ok(api) => {
            let api = Arc::new(api);
            around.cluster = Ok(api.clone());
            around.exec = Ok(api);
        }
        Err(error) => {
            let why = in_one_line(&error);
            around.cluster = Err(why.clone());
            around.exec = Err(why);
        }
    }
    around
}
