//! `restore --into-claim --in-place`: one volume, where it is; what it does to what uses it is shown and asked about.

use serde::Serialize;

use super::Args;
use super::cluster::show::{origin, volume as volume_line};
use super::cluster::{WITHOUT_A_BUCKET, exit_of_volume};
use crate::base::units;
use crate::cli::configuration;
use crate::cli::context::{Context, host};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::count;
use crate::cli::prompt::confirm;
use crate::cli::{movers, progress, recover, select};
use crate::cluster::api::Api;
use crate::format::entry::escape;
use crate::hooks::{Acting, Waits};
use crate::recover::cluster::data::Data;
use crate::recover::cluster::in_place::{InPlace, InPlacePlan, Report, plan};
use crate::recover::cluster::{Identity, RecoverError};
use crate::repo::whole::Lack;

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    safety_copy: bool,
    plan: &'a InPlacePlan,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a Report>,
}

pub(super) async fn run(
    args: &Args,
    (namespace, name): &(String, String),
    context: &mut Context,
) -> Result<Exit, Failure> {
    let repository = open::with_identity(context, Access::Read).await?;
    let chain = open::chain(context, &repository).await?;
    let Some(given) = &args.snapshot else {
        return Err(Failure::usage("no snapshot was given", "such as latest:pvc/media/jellyfin"));
    };
    let (snapshot, within) = select::snapshot_path(context, &chain, given)?;
    let data = Data::of(&chain, snapshot, snapshot.record.started);
    if let Some(Lack::Emptied { held }) = data.lacks {
        let what = format!(
            "snapshot {} holds nothing, as if the volume had been away: all that is in the claim would be removed",
            snapshot.id.short()
        );
        let help = format!("nothing was changed; {} is the newest before it that holds something", held.short());
        return Err(Failure::new(Exit::Refused, what, help));
    }
    let of_plan = if data.is_doubtful() { Exit::Problems } else { Exit::Done };
    let handed = movers::handed(context, &repository.writer_key(), WITHOUT_A_BUCKET).await?;
    let running = movers::running(context, args.cluster.plan.mover_image.as_deref(), args.cluster.movers)?;
    let api = Api::open(args.cluster.plan.kubeconfig.as_deref(), args.cluster.plan.context.as_deref()).await;
    let api = api.map_err(RecoverError::from)?;
    let claim =
        Identity { kind: "persistentvolumeclaims".to_owned(), namespace: Some(namespace.clone()), name: name.clone() };
    let reader = open::reader(context, &repository).await?;
    let within = select::as_printed(&reader, snapshot, within).await?;
    // Nothing is written yet: it can be left wherever it is.
    let planned = tokio::select! {
        planned = plan(&api, claim, data, &within) => planned?,
        () = context.cancel.cancelled() => return Err(Failure::Interrupted),
    };
    let safety_copy = !args.cluster.no_safety_copy;
    if args.dry_run {
        if context.out.json {
            context.out.document(&Document { dry_run: true, safety_copy, plan: &planned, report: None })?;
        } else {
            lines(&planned, safety_copy).iter().try_for_each(|line| context.out.line(line))?;
        }
        return Ok(of_plan);
    }
    if !args.yes {
        for line in lines(&planned, safety_copy) {
            context.talk.put(&line);
        }
        confirm(false, "Replace what is in it?")?;
    }
    context.cancel.begin();
    let doing = Box::pin(async {
        movers::sweep(&api, context).await;
        let (clock, cancel, progress_of) = (context.clock.clone(), context.cancel.clone(), context.progress.clone());
        let crew = movers::crew_of(&api, &*clock, &progress_of, &cancel, &running);
        let movers = movers::filling(&crew, &handed, &running, reader, within)?;
        let acting = Acting { cluster: &api, exec: &api, clock: &*clock, waits: Waits::default(), cancel: &cancel };
        let journal_in = configuration::journal_namespace(context).unwrap_or_else(|| namespace.clone());
        context.progress.begin("restoring in place", "file");
        let display = progress::show(context);
        let run = InPlace { acting, movers, id: None, namespace: &journal_in, host: &host(), safety_copy };
        let report = run.run(&planned).await;
        display.finish();
        Ok::<_, Failure>(report)
    });
    let what = format!("restore in place of {namespace}/{name}");
    let report = recover::keeping((&api, &what), context, doing).await??;
    if context.out.json {
        context.out.document(&Document { dry_run: false, safety_copy, plan: &planned, report: Some(&report) })?;
    } else {
        tell(&planned, &report, context)?;
    }
    Ok(if context.cancel.is_cancelled() { Exit::Interrupted } else { exit_of(&report) })
}

/// What would be done, for people.
fn lines(plan: &InPlacePlan, safety_copy: bool) -> Vec<String> {
    let shown = |text: &str| escape(text.as_bytes());
    let (claim, cluster) = (shown(&plan.claim.to_string()), shown(&plan.cluster));
    let mut lines = vec![format!("restore the claim {claim} of {cluster} in place from {}", origin(&plan.data))];
    lines.extend(plan.data.doubt().map(|doubt| format!("  {doubt}")));
    if let Some(run) = &plan.goes_on {
        lines.push(format!("  go on where run {run} was cut off; what it holds stays held until all is written"));
        lines.extend(plan.safety_copy.as_ref().map(|copy| format!("  it made the safety copy {copy} before")));
    } else {
        lines.extend(plan.paused.iter().map(|what| format!("  pause {}, which keeps it as in Git", shown(what))));
        for hold in &plan.scale.holds {
            for change in
                hold.early.iter().chain(&hold.late).filter(|_| !plan.paused.contains(&hold.target.to_string()))
            {
                let value =
                    |value: Option<&serde_json::Value>| value.map_or_else(|| "unset".to_owned(), ToString::to_string);
                let (was, set) = (value(change.was.as_ref()), value(change.set.as_ref()));
                lines.push(format!(
                    "  hold {}: {} from {was} to {set}",
                    shown(&hold.target.to_string()),
                    change.field()
                ));
            }
        }
        if plan.scale.workloads.is_empty() {
            lines.push("  hold nothing: no pod uses it".to_owned());
        }
        lines.extend(plan.autoscalers.iter().map(|what| format!("  {} leaves alone what is at zero", shown(what))));
        lines.push(if safety_copy {
            format!(
                "  back up what is in it, as a snapshot of pvc/{}/{} with the tag before-restore",
                plan.claim.namespace.as_deref().unwrap_or_default(),
                plan.claim.name
            )
        } else {
            "  make NO safety copy: what is in it and not in the snapshot is lost".to_owned()
        });
    }
    let (files, bytes) = (count(plan.data.files, "file"), units::bytes(plan.data.bytes));
    lines.push(if plan.data.device {
        let capacity = shown(&plan.capacity);
        format!("  write the pieces of the device that differ, of {bytes}; the rest of a longer one becomes zeros (the claim has {capacity})")
    } else {
        format!("  remove what the snapshot does not have, and write what differs: {files} ({bytes}) at most")
    });
    lines.push("  then put back what was held".to_owned());
    lines
}

fn exit_of(report: &Report) -> Exit {
    let of_volume = match (&report.volume, &report.not_written) {
        (Some(filled), _) => exit_of_volume(filled),
        (None, Some(not)) => {
            let said = not.exit.and_then(|code| Exit::ALL.into_iter().find(|exit| exit.code() == code));
            said.filter(|exit| matches!(exit, Exit::Damaged | Exit::Unreachable | Exit::Key)).unwrap_or(Exit::Error)
        }
        (None, None) => Exit::Error,
    };
    let is_well = report.released.as_ref().is_none_or(crate::hooks::release::Report::is_well) && report.left.is_empty();
    if is_well { of_volume } else { of_volume.graver(Exit::Problems) }
}

fn tell(plan: &InPlacePlan, report: &Report, context: &mut Context) -> Result<(), Failure> {
    let shown = escape(plan.claim.to_string().as_bytes());
    if let Some(filled) = &report.volume {
        volume_line(filled, context)?;
        let restored = &filled.restored;
        let (written, removed) = (units::bytes(restored.written), count(restored.removed, "entry"));
        context.out.line(&format!("{written} written, since the rest was there already; {removed} removed"))?;
    }
    if let Some(copy) = &report.safety_copy {
        let (namespace, name) = (plan.claim.namespace.as_deref().unwrap_or_default(), &plan.claim.name);
        let copy = copy.get(..16).unwrap_or(copy);
        context.line(&format!(
            "what was in it before: snapshot {copy}; `homelab-dr restore {copy} --into-claim {namespace}/{name} --in-place` goes back to it"
        ))?;
    }
    context.out.flush()?;
    if let Some(not) = &report.not_written {
        context.talk.warn(&format!(
            "nothing was written: {}. {}",
            escape(not.why.as_bytes()),
            escape(not.mend.as_bytes())
        ));
        movers::evidence(&not.mover).for_each(|seen| context.talk.put(&seen));
    }
    for row in report.released.iter().flat_map(|released| &released.rows) {
        if let Some(told) = row.outcome.told() {
            context.talk.warn(&format!("{}: {}", escape(row.what.as_bytes()), escape(told.as_bytes())));
        }
    }
    for left in &report.left {
        context
            .talk
            .warn(&format!("this could not be removed, and a later run tries again: {}", escape(left.as_bytes())));
    }
    let is_well = report.volume.as_ref().is_some_and(|filled| filled.outcome.is_well());
    if report.released.is_none() {
        let held = if plan.scale.workloads.is_empty() {
            "nothing is started on it".to_owned()
        } else {
            format!("{} STAYS AT ZERO", plan.scale.workloads.join(", "))
        };
        context.talk.warn(&format!(
            "{held}, since the volume is half of something: `{}` goes on, and `homelab-dr release --run {} --unfinished` starts what uses it all the same",
            plan.command(),
            report.run
        ));
    }
    let word = if is_well { "restored" } else { "did NOT restore" };
    context.summary(!is_well, &format!("{word} {shown} in place"))
}
