//! `restore --into-claim`: one volume into a new claim, beside whatever is there.

use serde::Serialize;
use serde_json::{Value, json};

use super::Args;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::prompt::confirm;
use crate::cli::restore::cluster::exit_of_volume;
use crate::cli::restore::cluster::show::volume as volume_line;
use crate::cli::{movers, progress, select};
use crate::cluster::api::Api;
use crate::cluster::object::{annotation, is_dying};
use crate::cluster::rewrite::FILLING;
use crate::cluster::{Cluster as _, Created, How};
use crate::format::entry::escape;
use crate::recover::cluster::claims::lacks_class;
use crate::recover::cluster::data::Data;
use crate::recover::cluster::filling::unmark;
use crate::recover::cluster::volumes::{Filled, Filling, Volumes as _};
use crate::recover::cluster::{Identity, RecoverError};
use crate::volumes::kinds;

#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    dry_run: bool,
    claim: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<&'a Filled>,
}

/// `NAMESPACE/NAME`.
pub(super) fn place(text: &str) -> Result<(String, String), String> {
    let fits = |name: &str, longest: usize| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        !name.is_empty() && name.len() <= longest && name.bytes().all(allowed)
    };
    match text.split_once('/') {
        Some((namespace, name)) if fits(namespace, 63) && fits(name, 253) => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("a namespace and a name are expected, such as media/jellyfin-restored".to_owned()),
    }
}

fn manifest(namespace: &str, name: &str, class: Option<&str>, bytes: u64, data: &Data) -> Value {
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace, "annotations": {FILLING: data.snapshot.hex()}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": format!("{}Mi", bytes.div_ceil(1 << 20).max(1))}},
        },
    });
    if let (Some(class), Some(spec)) = (class, claim.get_mut("spec").and_then(Value::as_object_mut)) {
        spec.insert("storageClassName".to_owned(), class.into());
    }
    claim
}

/// The claim as it is now: made, or an earlier run's that is not full yet.
async fn make(api: &Api, claim: &Value, data: &Data, dry_run: bool) -> Result<Value, Failure> {
    let (kind, how) = (kinds::claims(), if dry_run { How::Trial } else { How::Really });
    match api.create(&kind, claim, how).await.map_err(RecoverError::from)? {
        Created::New(claim) => Ok(claim),
        Created::Found(found) if annotation(&found, FILLING) == data.snapshot.hex() && !is_dying(&found) => Ok(found),
        Created::Found(found) => {
            let begun = annotation(&found, FILLING);
            let what = if begun.is_empty() {
                "its data is somebody's".to_owned()
            } else {
                format!("it is being filled from snapshot {begun}")
            };
            Err(Failure::new(
                Exit::Refused,
                format!("the claim is there already, and {what}"),
                "nothing was changed; give a name that is not taken",
            ))
        }
    }
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
    let data = Data::of(snapshot, snapshot.record.started);
    let class = match args.cluster.plan.storage_class.as_slice() {
        [] => None,
        [class] if !class.contains('=') => Some(class.as_str()),
        _ => return Err(Failure::usage("one storage class is expected", "such as --storage-class longhorn")),
    };
    let bytes = args.cluster.size.unwrap_or(0).max(data.needs());
    let handed = movers::handed(context, &repository.writer_key(), super::cluster::WITHOUT_A_BUCKET).await?;
    let running = movers::running(context, args.cluster.plan.mover_image.as_deref(), args.cluster.movers)?;
    let api = args.cluster.plan.target().await?;
    let wanted = manifest(namespace, name, class, bytes, &data);
    let shown = format!("{namespace}/{name}");
    let is_there = api.get(&kinds::claims(), Some(namespace), name).await.map_err(RecoverError::from)?.is_some();
    if !is_there && let Some(why) = lacks_class(&api, &wanted).await.map_err(RecoverError::from)? {
        let help = "nothing was changed; name a class that is there with --storage-class";
        return Err(Failure::new(Exit::Refused, format!("the claim {shown} would never get a volume: {why}"), help));
    }
    if args.dry_run {
        let claim = make(&api, &wanted, &data, true).await?;
        if context.out.json {
            context.out.document(&Document {
                snapshot: data.snapshot.hex(),
                dry_run: true,
                claim: &claim,
                volume: None,
            })?;
        } else {
            context
                .summary(true, &format!("would fill the claim {shown} from {}", super::cluster::show::origin(&data)))?;
        }
        return Ok(Exit::Done);
    }
    if !args.yes {
        context.talk.put(&format!("fill the claim {shown} from {}", super::cluster::show::origin(&data)));
        confirm(false, "Create and fill it?")?;
    }
    movers::sweep(&api, context).await;
    let reader = open::reader(context, &repository).await?;
    let object = make(&api, &wanted, &data, false).await?;
    let clock = context.clock.clone();
    let (progress_of, cancel) = (context.progress.clone(), context.cancel.clone());
    let crew = movers::crew_of(&api, &*clock, &progress_of, &cancel, &running);
    let volumes = movers::filling(&crew, &handed, &running, reader, within)?;
    let claim =
        Identity { kind: "persistentvolumeclaims".to_owned(), namespace: Some(namespace.clone()), name: name.clone() };
    let filling = Filling { claim, object: object.clone(), data, consumers: Vec::new(), node: None };
    context.progress.begin("filling the volume", "file");
    let display = progress::show(context);
    let mut filled = volumes.fill(&filling).await;
    display.finish();
    unmark(&api, &mut filled).await;
    if context.out.json {
        let snapshot = filled.data.snapshot.hex();
        context.out.document(&Document { snapshot, dry_run: false, claim: &object, volume: Some(&filled) })?;
    } else {
        volume_line(&filled, context)?;
        let word = if filled.outcome.is_well() { "filled" } else { "did NOT fill" };
        context.summary(!filled.outcome.is_well(), &format!("{word} the claim {}", escape(shown.as_bytes())))?;
    }
    Ok(if context.cancel.is_cancelled() { Exit::Interrupted } else { exit_of_volume(&filled) })
}
