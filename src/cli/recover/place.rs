//! Where a run recovers from and to: options, and what they open.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::configuration;
use crate::cli::context::{Context, host};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::guard::{InUse, real_path};
use crate::cli::open::{self, Access};
use crate::cli::restore::cluster::WITHOUT_A_BUCKET;
use crate::cli::{journals, movers, preflight, progress};
use crate::cluster::api::Api;
use crate::cluster::folder::{Folder, MANIFESTS};
use crate::drill::record;
use crate::preflight::Findings;
use crate::recover::cluster::RecoverError;
use crate::runbook::{Action, Objectives, Step};
use crate::runs::ahead::Filling;
use crate::runs::folders::Folders;
use crate::runs::hands::{Movers, Source, Target, World};
use crate::runs::measured::Measured;
use crate::runs::plan::{ClusterName, RunPlan};
use crate::runs::prepare::{Needs, Notice, Preparing, name_of_cluster};

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Where to")]
pub(crate) struct PlaceArgs {
    /// The kubeconfig of the cluster [default: what KUBECONFIG names, ~/.kube/config, or the pod's account]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Another context of the kubeconfig than its current one
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Into a folder that stands for a cluster: manifests into DIR/manifests, volumes into DIR/volumes/NAMESPACE/CLAIM
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) into_folder: Option<PathBuf>,
    /// The image that movers run, which is this program [default: the configuration's]
    #[arg(long, value_name = "IMAGE")]
    pub(crate) mover_image: Option<String>,
    /// How many volumes are filled at once [default: the configuration's, or 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) movers: Option<u8>,
    /// Where journals of runs are kept [default: ~/.local/state/homelab-dr/runs]
    #[arg(long, value_name = "DIR", env = "HOMELAB_DR_RUNS", hide_env_values = true)]
    pub(crate) journals: Option<PathBuf>,
}

impl PlaceArgs {
    /// A folder that stands for a cluster, with journals in another.
    pub(super) fn folder(folder: &Path, journals: &Path) -> Self {
        Self { into_folder: Some(folder.to_owned()), journals: Some(journals.to_owned()), ..Self::default() }
    }

    /// A plan for a folder is carried out there, unless another place is given: that is refused then. Which kubeconfig leads to a cluster no plan says.
    pub(super) fn as_planned(&mut self, plan: &RunPlan) {
        let folder = plan.cluster.as_ref().and_then(|cluster| cluster.folder.as_ref());
        if self.into_folder.is_none() && self.kubeconfig.is_none() && self.context.is_none() {
            self.into_folder = folder.map(PathBuf::from);
        }
    }

    /// The folder of journals.
    pub(super) fn journals(&self) -> Result<PathBuf, Failure> {
        journals::folder(self.journals.as_deref())
    }
}

/// What was opened.
pub(crate) struct Opened {
    pub(crate) source: Option<Source>,
    pub(crate) target: Target,
    spared: Vec<PathBuf>,
}

/// How movers would fill volumes, as far as options and configuration say.
async fn filling(args: &PlaceArgs, context: &Context) -> Filling {
    let mut findings = Findings::default();
    let reach = preflight::reach(context, &mut findings, WITHOUT_A_BUCKET).await;
    let running = movers::running(context, args.mover_image.as_deref(), args.movers).ok();
    let movers = running.as_ref().map_or(1, |running| running.movers);
    Filling { image: running.map(|running| running.image), movers, reach, findings }
}

/// Opens what the steps need, and nothing else.
pub(crate) async fn open(
    args: &PlaceArgs,
    steps: &[Step],
    needs: Needs,
    access: Access,
    context: &mut Context,
) -> Result<Opened, Failure> {
    let (mut source, mut spared) = (None, Vec::new());
    if needs.repository {
        let repository = open::with_identity(context, access).await?;
        let chain = open::chain(context, &repository).await?;
        let reader = open::reader(context, &repository).await?;
        let in_use = InUse::of(context)?;
        if let Some(folder) = &args.into_folder {
            in_use.refuse_manifests(&folder.join(MANIFESTS))?;
        }
        for step in steps {
            if let Action::RestoreFiles(files) = &step.action {
                in_use.refuse_target(&files.target, files.delete)?;
            }
        }
        spared = in_use.paths();
        source = Some(Source { repository, reader, chain });
    }
    let target = match &args.into_folder {
        Some(dir) if needs.cluster => {
            Target::Folder(Arc::new(Folder::open(dir).map_err(RecoverError::from)?), dir.clone())
        }
        None if needs.cluster => {
            let api = Api::open(args.kubeconfig.as_deref(), args.context.as_deref()).await;
            Target::Api(Arc::new(api.map_err(RecoverError::from)?))
        }
        _ => Target::Machine,
    };
    Ok(Opened { source, target, spared })
}

/// Has the folders of this machine to itself that a run writes into. Those that are not there yet are had by the steps that make them.
pub(super) fn have_folders(world: &World<'_>, steps: &[Step], context: &Context) -> Result<(), Failure> {
    let target = |step: &Step| match &step.action {
        _ if world.plan.skipped.contains(&step.id) => None,
        Action::RestoreFiles(files) => Some(files.target.clone()),
        Action::RestoreDatastore { data_dir, .. } => Some(data_dir.clone()),
        _ => None,
    };
    let targets: Vec<PathBuf> = steps.iter().filter_map(target).collect();
    let mut warnings = world.folders.take_all(&targets)?;
    if let Target::Folder(_, root) = &world.target {
        warnings.extend(world.folders.make(root)?);
    }
    for warning in &warnings {
        context.talk.warn(warning);
    }
    Ok(())
}

impl Opened {
    /// Fills a plan in by what is there, and says what stands in its way.
    pub(crate) async fn prepare(
        &self,
        plan: &mut RunPlan,
        steps: &[Step],
        (objectives, args): (Objectives, &PlaceArgs),
        context: &Context,
    ) -> Result<Vec<Notice>, Failure> {
        let filling = match &self.target {
            Target::Api(_) if self.source.is_some() => Some(filling(args, context).await),
            _ => None,
        };
        context.progress.begin("looking at snapshots and the target", "");
        let display = progress::show(context);
        let preparing = Preparing {
            measured: self.measured(args).await?,
            filling,
            source: self.source.as_ref(),
            target: &self.target,
            clock: context.clock.clone(),
            spared: &self.spared,
            zone: context.zone(),
            progress: context.progress.clone(),
            cancel: context.cancel.clone(),
        };
        // Nothing is written yet: it can be left wherever it is.
        let notices = tokio::select! {
            notices = preparing.fill_in(plan, steps, objectives) => notices,
            () = context.cancel.cancelled() => return Err(Failure::Interrupted),
        };
        display.finish();
        if let Some(name) = &mut plan.cluster {
            name.folder = self.folder();
        }
        plan.in_the_way = notices.iter().filter(|notice| notice.blocks).map(|notice| notice.what.clone()).collect();
        Ok(notices)
    }

    /// How long steps took before, by the journals of this machine and the drills in the repository. Records that cannot be read say nothing here: `drills` and `status` tell of them.
    async fn measured(&self, args: &PlaceArgs) -> Result<Measured, Failure> {
        let measured = Measured::look(&args.journals()?);
        let Some(source) = &self.source else { return Ok(measured) };
        let drills = record::load(&source.repository).await.map(|found| found.all).unwrap_or_default();
        Ok(measured.with_drills(drills.into_iter().map(|(_, record)| record).collect()))
    }

    /// Where the folder really is that stands for a cluster.
    fn folder(&self) -> Option<String> {
        match &self.target {
            Target::Folder(_, root) => Some(real_path(root).display().to_string()),
            Target::Machine | Target::Api(_) => None,
        }
    }

    /// A plan is for the cluster and the repository that it was made with.
    pub(super) async fn refuse_another(&self, plan: &RunPlan) -> Result<(), Failure> {
        if let (Some(planned), Some(cluster)) = (&plan.cluster, self.target.cluster()) {
            let found = name_of_cluster(cluster).await.map_err(RecoverError::from)?;
            let found = ClusterName { folder: self.folder(), ..found };
            if !planned.is(&found) {
                let (one, other) = (planned.folder.as_ref(), found.folder.as_ref());
                return Err(Failure::new(
                    Exit::Refused,
                    format!(
                        "the plan was made for {}, and {} is another",
                        one.map_or_else(
                            || format!("the cluster at {}", planned.shown),
                            |at| format!("the folder {at}")
                        ),
                        other.map_or_else(|| format!("the one at {}", found.shown), |at| format!("the folder {at}")),
                    ),
                    "nothing was changed; give the kubeconfig and context of that one, or its folder, or make a plan for this one",
                ));
            }
        }
        if let (Some(planned), Some(source)) = (&plan.repository, &self.source) {
            let found = source.repository.fingerprint().to_string();
            if found != *planned {
                return Err(Failure::new(
                    Exit::Refused,
                    format!("the plan was made with the repository {planned}, and this is {found}"),
                    "nothing was changed; give the address of that one, or of a replica of it",
                ));
            }
        }
        Ok(())
    }

    /// Everything that steps are carried out with.
    pub(crate) async fn world<'a>(
        self,
        plan: &'a RunPlan,
        steps: &[Step],
        args: &PlaceArgs,
        context: &Context,
    ) -> Result<World<'a>, Failure> {
        let fills = plan.fates.values().any(|fates| !fates.fill.is_empty())
            || steps
                .iter()
                .any(|step| matches!(step.action, Action::RestoreVolume(_)) && !plan.skipped.contains(&step.id));
        let movers = match (&self.source, &self.target) {
            (Some(source), Target::Api(api)) if fills => {
                movers::sweep(api, context).await;
                Some(Movers {
                    handed: movers::handed(context, &source.repository.writer_key(), WITHOUT_A_BUCKET).await?,
                    running: movers::running(context, args.mover_image.as_deref(), args.movers)?,
                })
            }
            _ => None,
        };
        Ok(World {
            plan,
            source: self.source,
            target: self.target,
            movers,
            clock: context.clock.clone(),
            board: Arc::default(),
            journals: configuration::journal_namespace(context),
            folder: args.journals()?.join(&plan.run),
            host: host(),
            begun_before: BTreeSet::new(),
            held: tokio::sync::Mutex::default(),
            looked: RefCell::default(),
            confined: None,
            folders: Folders::default(),
            spared: self.spared,
        })
    }
}
