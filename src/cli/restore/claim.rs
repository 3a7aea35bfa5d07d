//! `restore --into-claim`: one volume into a new claim, beside whatever is there.

use serde::Serialize;
use serde_json::Value;

use super::Args;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::prompt::confirm;
use crate::cli::restore::cluster::exit_of_volume;
use crate::cli::restore::cluster::show::{origin, volume as volume_line};
use crate::cli::{movers, progress, recover, select};
use crate::cluster::api::Api;
use crate::cluster::{Cluster as _, How};
use crate::format::entry::escape;
use crate::recover::cluster::beside::{self, BesideError, Made, Wanted};
use crate::recover::cluster::data::Data;
use crate::recover::cluster::volumes::Filled;
use crate::repo::whole::Lack;

#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    /// Why it does not stand for all that its source held.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacks: Option<Lack>,
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

/// The claim as it is now. Whoever is nobody's filler finds none that is full.
async fn made(api: &Api, wanted: &Wanted<'_>, how: How) -> Result<Value, BesideError> {
    match beside::make(api, wanted, how).await? {
        Made::Claim(claim) => Ok(claim),
        Made::Full => Ok(Value::Null),
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
    let data = Data::of(&chain, snapshot, snapshot.record.started);
    let class = match args.cluster.plan.storage_class.as_slice() {
        [] => None,
        [class] if !class.contains('=') => Some(class.as_str()),
        _ => return Err(Failure::usage("one storage class is expected", "such as --storage-class longhorn")),
    };
    let handed = movers::handed(context, &repository.writer_key(), super::cluster::WITHOUT_A_BUCKET).await?;
    let running = movers::running(context, args.cluster.plan.mover_image.as_deref(), args.cluster.movers)?;
    let api = args.cluster.plan.target().await?;
    let (bytes, like) = (args.cluster.size.unwrap_or(0), beside::original(&api, &data.source).await);
    let wanted = Wanted { namespace, name, class, bytes, like: like.as_ref(), data: &data, by: None };
    let shown = format!("{namespace}/{name}");
    let whole = escape(format!("{shown} of {}", api.name()).as_bytes());
    beside::refuse(&api, &wanted).await?;
    if args.dry_run {
        let claim = made(&api, &wanted, How::Trial).await?;
        if context.out.json {
            context.out.document(&Document {
                snapshot: data.snapshot.hex(),
                lacks: data.lacks,
                dry_run: true,
                claim: &claim,
                volume: None,
            })?;
        } else {
            context.summary(true, &format!("would fill the claim {whole} from {}", origin(&data)))?;
            if let Some(doubt) = data.doubt() {
                context.talk.warn(&doubt);
            }
        }
        return Ok(if data.is_doubtful() { Exit::Problems } else { Exit::Done });
    }
    if !args.yes {
        context.talk.put(&format!("fill the claim {whole} from {}", origin(&data)));
        if let Some(doubt) = data.doubt() {
            context.talk.warn(&doubt);
        }
        confirm(false, "Create and fill it?")?;
    }
    let reader = open::reader(context, &repository).await?;
    let doing = async {
        movers::sweep(&api, context).await;
        let object = made(&api, &wanted, How::Really).await?;
        let clock = context.clock.clone();
        let (progress_of, cancel) = (context.progress.clone(), context.cancel.clone());
        let crew = movers::crew_of(&api, &*clock, &progress_of, &cancel, &running);
        let volumes = movers::filling(&crew, &handed, &running, reader, within)?;
        context.progress.begin("filling the volume", "file");
        let display = progress::show(context);
        let filled = beside::fill(&api, &volumes, &wanted, object.clone()).await;
        display.finish();
        Ok::<_, Failure>((object, filled))
    };
    let (object, filled) = recover::keeping((&api, &format!("restore into {shown}")), context, doing).await??;
    if context.out.json {
        let (snapshot, lacks) = (filled.data.snapshot.hex(), filled.data.lacks);
        context.out.document(&Document { snapshot, lacks, dry_run: false, claim: &object, volume: Some(&filled) })?;
    } else {
        volume_line(&filled, context)?;
        let word = if filled.outcome.is_well() { "filled" } else { "did NOT fill" };
        context.summary(!filled.outcome.is_well(), &format!("{word} the claim {}", escape(shown.as_bytes())))?;
    }
    Ok(if context.cancel.is_cancelled() { Exit::Interrupted } else { exit_of_volume(&filled) })
}
