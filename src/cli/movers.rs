//! What movers need, from what this machine has: the store's address and credentials, a writer key, an image, and how long they may take.

use std::sync::Arc;
use std::time::Duration;

use crate::backup::volumes::Handed;
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::progress::Progress;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::open;
use crate::cluster::api::Api;
use crate::config::{SourceKind, VolumesSource};
use crate::crypto::writer_key::WriterKey;
use crate::format::entry::{TreePath, escape};
use crate::recover::cluster::movers::ByMovers;
pub(crate) use crate::recover::cluster::movers::Running;
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::store::url::HandOver;
use crate::volumes::mover::evidence::Evidence;
use crate::volumes::mover::{self, Crew, Limits};
use crate::volumes::policy::Reach;
use crate::volumes::protocol::SecretText;

/// Where no configuration says it: as its own defaults.
const START_TIMEOUT: Duration = Duration::from_mins(10);
const TIMEOUT: Duration = Duration::from_hours(24);
const MOVERS: usize = 2;

/// What movers need of the repository. A folder of this machine is refused, with `otherwise` as what to do.
pub(crate) async fn handed(context: &Context, key: &WriterKey, otherwise: &str) -> Result<Handed, Failure> {
    let HandOver { address, credentials, endpoint } = open::address(context)?.hand_over().await?;
    let Some((host, port)) = endpoint else {
        return Err(Failure::usage(
            format!(
                "the repository {} is a folder of this machine, which the pods of movers do not have",
                open::address(context)?
            ),
            otherwise,
        ));
    };
    Ok(Handed {
        address,
        credentials: credentials.into_iter().map(|(name, value)| (name.to_owned(), SecretText::new(value))).collect(),
        reach: Reach::of(&host, port),
        writer_key: SecretText::new(key.to_text()),
        limit_upload: context.globals.limit_upload.map(std::num::NonZeroU64::get),
        limit_download: context.globals.limit_download.map(std::num::NonZeroU64::get),
    })
}

/// By what was given, and else by the configuration's first source of volumes.
pub(crate) fn running(context: &Context, image: Option<&str>, movers: Option<u8>) -> Result<Running, Failure> {
    let all = context.configuration.as_ref().map(|loaded| loaded.config.sources.as_slice()).unwrap_or_default();
    let of_volumes =
        |kind: &SourceKind| if let SourceKind::Volumes(source) = kind { Some(source.clone()) } else { None };
    let source: Option<VolumesSource> = all.iter().find_map(|source| of_volumes(&source.kind));
    let image = image.map(str::to_owned).or_else(|| source.as_ref().map(|source| source.image.clone()));
    let image = image.ok_or_else(|| {
        Failure::usage(
            "volumes are to be filled, and nothing says which image movers run",
            "give --mover-image IMAGE, such as registry.example.org/homelab-dr:0.1, or have it in homelab-dr.yaml as the image of a source of volumes",
        )
    })?;
    Ok(Running {
        image,
        start_timeout: source.as_ref().map_or(START_TIMEOUT, |source| source.start_timeout),
        timeout: source.as_ref().map_or(TIMEOUT, |source| source.timeout),
        movers: movers.map(usize::from).or(source.map(|source| source.movers)).unwrap_or(MOVERS),
    })
}

/// What starts and hears movers that fill volumes.
pub(crate) fn crew_of<'a>(
    api: &'a Api,
    clock: &'a dyn Clock,
    progress: &'a Progress,
    cancel: &'a Cancel,
    running: &Running,
) -> Crew<'a> {
    let (start_timeout, timeout) = (running.start_timeout, running.timeout);
    Crew { cluster: api, streams: api, clock, progress, cancel, limits: Limits::default(), start_timeout, timeout }
}

/// Fills volumes with what is at and below `within` of their snapshots, by movers of a run of their own.
pub(crate) fn filling<'a>(
    crew: &Crew<'a>,
    handed: &'a Handed,
    running: &Running,
    reader: Arc<Reader>,
    within: TreePath,
) -> Result<ByMovers<'a>, Failure> {
    Ok(ByMovers::new(*crew, handed, running, reader, within).map_err(RepoError::from)?)
}

/// What there was to see of a mover that came to nothing, line by line for people: its pod is gone, and its log with it.
pub(crate) fn evidence(mover: &Evidence) -> impl Iterator<Item = String> {
    mover.lines().map(|line| format!("  {}", escape(line.as_bytes())))
}

/// Takes away what runs that died have left of movers.
pub(crate) async fn sweep(api: &Api, context: &Context) {
    let talk = context.talk.clone();
    match mover::sweep::sweep(api, context.clock.now(), &Limits::default()).await {
        Ok(swept) => {
            for left in swept.tell(&|text| talk.warn(text)) {
                talk.warn(&format!("LEFT BEHIND: {left}"));
            }
        }
        Err(error) => talk.warn(&format!("what earlier runs left could not be looked for: {error}")),
    }
}
