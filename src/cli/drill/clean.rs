//! What drills that were killed have left is taken away: by the next drill, and by `drill --clean`, which takes what was kept too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::causes::in_one_line;
use crate::base::id::is_run;
use crate::cli::context::{Context, host};
use crate::cli::drill::Args;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::count;
use crate::cluster::Cluster;
use crate::cluster::api::Api;
use crate::drill::cluster;
use crate::drill::folder::{self, Swept};
use crate::recover::cluster::RecoverError;
use crate::runs::journal::Journal;
use crate::runs::lease::{self, Lease};

#[derive(Default, Serialize)]
struct Document {
    removed: Vec<String>,
    left: Vec<String>,
}

/// Where this machine held drills: what a killed one left may be elsewhere than where the next one is.
fn places(parent: &Path, journals: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(journals).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_run(name));
    let drills = names.filter_map(|run| Journal::look(journals, &run).ok()?.plan.drill);
    let parents = drills.filter_map(|part| part.folder.parent().map(Path::to_owned));
    parents.chain([parent.to_owned()]).collect()
}

async fn folders(parent: &Path, journals: &Path, kept_too: bool) -> Swept {
    let (parent, journals) = (parent.to_owned(), journals.to_owned());
    let sweep = move || {
        let mut all = Swept::default();
        for place in places(&parent, &journals) {
            let Swept { removed, kept, left } = folder::sweep(&place, kept_too);
            all.removed.extend(removed);
            all.kept.extend(kept);
            all.left.extend(left);
        }
        all
    };
    tokio::task::spawn_blocking(sweep).await.unwrap_or_default()
}

/// Takes away what is dead, and says so. Whoever calls it has the target.
pub(super) async fn sweep((parent, journals): (&Path, &Path), cluster: Option<&dyn Cluster>, context: &Context) {
    let Swept { mut removed, mut left, .. } = folders(parent, journals, false).await;
    if let Some(cluster) = cluster {
        match cluster::sweep(cluster, false).await {
            Ok(swept) => {
                removed.extend(swept.gone);
                left.extend(swept.left);
            }
            Err(error) => {
                left.push(format!("what earlier drills left could not be looked for: {}", in_one_line(&error)));
            }
        }
    }
    for what in &removed {
        context.talk.warn(&format!("a drill was cut off and left {what}, which was removed"));
    }
    for what in &left {
        context.talk.warn(&format!("LEFT BEHIND: {what}"));
    }
}

/// Of a cluster: everything of drills, with the lease that keeps a living one away.
async fn of_cluster(api: &Api, context: &Context) -> Result<Document, Failure> {
    let (machine, talk) = (host(), context.talk.clone());
    let waits = |holder: &str| talk.put(&format!("waiting up to half a minute to see whether {holder} lives"));
    let lease = Lease::take(api, ("drill --clean", &machine), &*context.clock, &waits).await?;
    let swept = tokio::select! {
        swept = cluster::sweep(api, true) => swept,
        other = lease.keep(&*context.clock) => {
            return Err(Failure::new(Exit::Refused, format!("the cluster was taken over by {other}"), "clean it when that is over"));
        }
    };
    if let Err(why) = lease.end().await {
        talk.warn(&format!("the cluster is not given free, and will be in half a minute: {why}"));
    }
    let swept = swept.map_err(RecoverError::from)?;
    Ok(Document { removed: swept.gone, left: swept.left })
}

pub(super) async fn run(args: &Args, journals: &Path, context: &mut Context) -> Result<Exit, Failure> {
    context.cancel.begin();
    let mut document = {
        let _machine = lease::machine(journals)?;
        let Swept { removed, left, .. } = folders(&args.parent(), journals, true).await;
        Document { removed, left }
    };
    let is_asked = args.kubeconfig.is_some() || args.context.is_some();
    if args.into_folder.is_none() {
        match Api::open(args.kubeconfig.as_deref(), args.context.as_deref()).await {
            Ok(api) => {
                let Document { removed, left } = of_cluster(&api, context).await?;
                document.removed.extend(removed);
                document.left.extend(left);
            }
            Err(error) if is_asked => return Err(RecoverError::from(error).into()),
            Err(_) => context.talk.say("note: no cluster was looked at: there is no kubeconfig"),
        }
    }
    let exit = if document.left.is_empty() { Exit::Done } else { Exit::Problems };
    if context.out.json {
        context.out.document(&document)?;
        return Ok(exit);
    }
    for what in &document.removed {
        context.out.line(&format!("removed {what}"))?;
    }
    for what in &document.left {
        context.talk.warn(&format!("LEFT BEHIND: {what}"));
    }
    context.summary(false, &format!("{} of drills removed", count(document.removed.len() as u64, "thing")))?;
    Ok(exit)
}
