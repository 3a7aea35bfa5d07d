//! What a drill makes before its first step, and takes away after its last: a folder of this machine, and namespaces of a cluster that are closed before anything runs in them.

use std::time::Duration;

use crate::base::causes::in_one_line;
use crate::base::clock::Time;
use crate::cli::context::Context;
use crate::cli::drill::ready::Ready;
use crate::cli::failure::Failure;
use crate::cli::movers;
use crate::cli::recover::place::PlaceArgs;
use crate::cluster::api::Api;
use crate::drill::cluster::{self, Place, PlaceError};
use crate::drill::folder::Scratch;
use crate::drill::part::Into;
use crate::drill::proof::{self, ProofError};
use crate::runbook::longest;
use crate::runs::event::Event;
use crate::runs::hands::{Target, World};
use crate::volumes::mover::MoverError;

/// Beyond the time limits of its steps: for making and taking away.
const SPARE: Duration = Duration::from_hours(1);

/// Why nothing was begun.
pub(super) enum Unmade {
    Stopped(String),
    Refused { why: String, help: String },
}

impl From<PlaceError> for Unmade {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Cancelled => Self::Stopped("it was asked to stop".to_owned()),
            error => Self::Refused { why: in_one_line(&error), help: error.mend().to_owned() },
        }
    }
}

impl From<ProofError> for Unmade {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Pod { source: MoverError::Cancelled, .. } => Self::Stopped("it was asked to stop".to_owned()),
            error => Self::Refused { why: in_one_line(&error), help: error.mend().to_owned() },
        }
    }
}

impl From<Failure> for Unmade {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Told(told) => Self::Refused { why: in_one_line(&*told.error), help: told.help },
            Failure::Interrupted | Failure::OutputClosed => Self::Stopped("it was asked to stop".to_owned()),
        }
    }
}

/// What was made so far.
#[derive(Default)]
pub(super) struct Made {
    folder: Option<Scratch>,
    /// Namespaces may be there.
    in_cluster: bool,
}

impl Made {
    /// Makes it. Returns what was made and seen, line by line.
    pub(super) async fn make(
        &mut self,
        ready: &Ready,
        place: &PlaceArgs,
        world: &World<'_>,
        context: &Context,
    ) -> Result<Vec<String>, Unmade> {
        let mut said = Vec::new();
        let part = ready.part();
        let scratch = Scratch::make(&part.folder, &ready.plan.run).map_err(Failure::from)?;
        said.push(format!("the folder {} was made", scratch.path().display()));
        self.folder = Some(scratch);
        if let (Into::Cluster, Target::Api(api)) = (part.into, &world.target) {
            self.in_cluster = true;
            said.extend(isolated(ready, place, api, context).await?);
        }
        Ok(said)
    }

    /// What is taken away in the end.
    pub(super) fn shown(&self) -> Option<String> {
        let folder = self.folder.as_ref().map(|scratch| scratch.path().display().to_string());
        let in_cluster = self.in_cluster.then(|| "the namespaces of the drill".to_owned());
        in_cluster.into_iter().chain(folder).reduce(|one, other| format!("{one} and {other}"))
    }

    /// Takes it away, or leaves it as asked.
    pub(super) async fn clear(self, keeps: bool, run: &str, world: &World<'_>, context: &Context) -> Event {
        context.progress.begin("taking away what was made", "");
        let (mut said, mut left) = (Vec::new(), Vec::new());
        if let (true, Some(cluster)) = (self.in_cluster, world.target.cluster()) {
            let cleared = if keeps { cluster::keep(cluster, run).await } else { cluster::clear(cluster, run).await };
            match cleared {
                Ok(cleared) => {
                    said.extend(cleared.gone.iter().map(|gone| format!("{gone} was removed")));
                    said.extend(cleared.kept.iter().map(|kept| format!("kept: {kept}")));
                    left.extend(cleared.left);
                }
                Err(error) => left.push(format!("namespaces of drill {run}: {}", in_one_line(&error))),
            }
        }
        if let Some(scratch) = self.folder {
            let path = scratch.path().display().to_string();
            if keeps {
                said.push(format!("kept: {path}"));
                left.extend(scratch.keep().err().map(|error| in_one_line(&error)));
            } else {
                match removed(scratch).await {
                    Ok(()) => said.push(format!("the folder {path} was removed")),
                    Err(why) => left.push(format!("{path}: {why}")),
                }
            }
        }
        if keeps {
            said.push("kept to be looked at, until `homelab-dr drill --clean`".to_owned());
        }
        Event::Cleared { said, left, kept: keeps }
    }
}

/// A folder with many files takes its time.
async fn removed(scratch: Scratch) -> Result<(), String> {
    let removed = tokio::task::spawn_blocking(move || scratch.remove()).await;
    removed.map_err(|error| error.to_string())?.map_err(|error| in_one_line(&error))
}

fn expires(now: Time, ready: &Ready) -> String {
    now.after(longest(&ready.steps).0.saturating_add(SPARE)).to_string()
}

/// Makes the namespaces, closes them, and proves it.
async fn isolated(ready: &Ready, place: &PlaceArgs, api: &Api, context: &Context) -> Result<Vec<String>, Unmade> {
    let part = ready.part();
    if part.namespaces.is_empty() {
        return Err(Unmade::Refused {
            why: "nothing of the runbook comes into a namespace".to_owned(),
            help: "see `homelab-dr drill --plan`: everything is left out".to_owned(),
        });
    }
    let running = movers::running(context, place.mover_image.as_deref(), place.movers)?;
    let crew = movers::crew_of(api, &*context.clock, &context.progress, &context.cancel, &running);
    let address = match &part.probe {
        Some(address) => address.clone(),
        None => proof::address(api).await?,
    };
    let target = Place {
        cluster: api,
        run: &ready.plan.run,
        namespaces: &part.namespaces,
        expires: expires(context.clock.now(), ready),
        storage_bytes: part.storage_bytes(),
        objects: part.brings.values().map(|brings| brings.objects.len()).sum(),
    };
    let (spaces, tried) = (&part.namespaces, (address.as_str(), Duration::from_secs(part.probe_seconds)));
    target.make(&context.cancel).await?;
    proof::reached(&crew, &running.image, spaces, tried).await?;
    target.close().await?;
    proof::denied(&crew, &running.image, spaces, tried).await?;
    let names = spaces.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    Ok(vec![
        format!("namespaces {names} were made"),
        format!("isolation proven in {names}: {address} was reached before the policy, and not any more with it"),
    ])
}
