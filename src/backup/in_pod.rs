//! Backing up what a program in a container of a pod writes to its standard output, knowing how it ended: a dump beside its server, with the client of the server's own version and
//! without a password on the way. As with a program of this machine, one that fails, takes too long, writes nothing or whose end nobody saw leaves no snapshot.
//!
//! The pod is looked for when the repository is ready. Nobody can end a program in a container: let go of, it may go on there.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use super::command::{CommandError, Stop, begun_at_all, stop};
use super::stdin::run_stdin;
use super::tail::Tail;
use super::{BackupError, BackupOptions, BackupReport, Context};
use crate::base::causes::in_one_line;
use crate::cluster::exec::{Exec, Room, Said};
use crate::cluster::kinds::pods;
use crate::cluster::list::whole_of;
use crate::cluster::object::{is_dying, name_of, text};
use crate::cluster::ready::{Readiness, obstacles, readiness};
use crate::cluster::{Cluster, ClusterError, Which};
use crate::config::{CommandSource, ContainerPlace, PodChoice};
use crate::format::entry::TreePath;
use crate::hooks::command::container;
use crate::repo::RepoError;

/// Pieces of output that wait for the pipeline, of at most 64 KiB.
const WAITING_MAX: usize = 16;
/// Bytes of standard error that are kept, from its end.
const SAID_BYTES_MAX: usize = 4096;
/// Pods that an error names.
const TOLD_MAX: usize = 5;

/// Where a cluster's pods are found, and programs run in them.
#[derive(Clone, Copy)]
pub struct Pods<'a> {
    /// Its objects.
    pub cluster: &'a dyn Cluster,
    /// Its containers.
    pub exec: &'a dyn Exec,
}

/// How it went.
enum Ending {
    Ended(Said),
    Stopped(Stop),
    NotRun(CommandError),
}

/// Why no pod is the one that is meant.
#[derive(Debug)]
pub enum NotFound {
    /// None runs, or several do.
    Why(String),
    /// Nobody knows.
    Cluster(ClusterError),
}

type Ended = Arc<Mutex<Option<Ending>>>;

fn lock(ended: &Ended) -> std::sync::MutexGuard<'_, Option<Ending>> {
    ended.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the program in a container and stores what it writes as one file.
pub async fn run_in_pod(
    context: &Context,
    options: &BackupOptions,
    (source, place): (&CommandSource, &ContainerPlace),
    pods: Pods<'_>,
    name: &TreePath,
) -> Result<BackupReport, BackupError> {
    let ended = Ended::default();
    let (sender, pieces) = mpsc::channel(WAITING_MAX);
    let (begun, begins) = oneshot::channel();
    // Not before the repository is ready: until then a database would hold a transaction open for nothing, and the time would run.
    let start = || {
        let _ = begun.send(());
        Ok(Poured {
            pieces,
            piece: Vec::new(),
            taken: 0,
            bytes: 0,
            tail: Tail::new(source.ends_with.clone()),
            ended: ended.clone(),
        })
    };
    let pour = async {
        begun_at_all(begins).await;
        let ending = tokio::select! {
            ending = poured(pods, source, place, sender.clone()) => ending,
            why = stop(source, context) => Ending::Stopped(why),
        };
        // Before the output ends: whoever reads it asks then.
        *lock(&ended) = Some(ending);
        drop(sender);
    };
    let run = run_stdin(context, options, name, start);
    tokio::pin!(run);
    let result = tokio::select! {
        result = &mut run => result,
        () = pour => run.await,
    };
    match (result, lock(&ended).take()) {
        // The output broke off because of how the program ended: that is the cause to tell.
        (Err(BackupError::Stdin { bytes, .. }), Some(ending)) => Err(cause(source, place, ending, bytes)),
        (result, _) => result,
    }
}

/// For people: the program, and where it runs.
fn shown(source: &CommandSource, place: &ContainerPlace) -> String {
    let program = source.argv.first().map_or("", String::as_str);
    let pod = match &place.pod {
        PodChoice::Named(name) => format!("pod {}/{name}", place.namespace),
        PodChoice::Labelled(labels) => format!("a pod of {} with {}", place.namespace, listed(labels)),
    };
    match &place.container {
        Some(container) => format!("{program} in {pod}, container {container},"),
        None => format!("{program} in {pod}"),
    }
}

fn listed(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

fn cause(source: &CommandSource, place: &ContainerPlace, ending: Ending, bytes: u64) -> BackupError {
    let program = shown(source, place);
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    match ending {
        Ending::Stopped(Stop::Cancelled) => RepoError::Cancelled.into(),
        Ending::NotRun(error) => error.into(),
        Ending::Stopped(Stop::TimedOut) => CommandError::Late { program, timeout: source.timeout }.into(),
        Ending::Ended(Said { code: 0, stderr, .. }) => match (bytes, &source.ends_with) {
            (1.., Some(text)) => CommandError::Cut { program, text: text.clone(), said: words(&stderr) }.into(),
            _ => CommandError::Empty { program, said: words(&stderr) }.into(),
        },
        Ending::Ended(Said { code, stderr, .. }) => CommandError::Failed { program, code, said: words(&stderr) }.into(),
    }
}

async fn poured(
    pods: Pods<'_>,
    source: &CommandSource,
    place: &ContainerPlace,
    output: mpsc::Sender<Vec<u8>>,
) -> Ending {
    let (pod, container) = match room(pods.cluster, source, place).await {
        Ok(room) => room,
        Err(error) => return Ending::NotRun(error),
    };
    let room = Room { namespace: &place.namespace, pod: &pod, container: &container, output_bytes_max: SAID_BYTES_MAX };
    let program = || shown(source, place);
    match pods.exec.pour(&room, &source.argv, output).await {
        Ok(said) => Ending::Ended(said),
        Err(source) if !source.may_have_begun() => {
            Ending::NotRun(CommandError::NotBegun { program: program(), source })
        }
        Err(source) => Ending::NotRun(CommandError::Lost { program: program(), source }),
    }
}

/// The pod and the container in which the program is to run, if they can be told: [`CommandError::NoPod`] or [`CommandError::NotBegun`] otherwise.
pub async fn room(
    cluster: &dyn Cluster,
    source: &CommandSource,
    place: &ContainerPlace,
) -> Result<(String, String), CommandError> {
    let program = || shown(source, place);
    let pod = match found(cluster, place).await {
        Ok(pod) => pod,
        Err(NotFound::Why(why)) => return Err(CommandError::NoPod { program: program(), why }),
        Err(NotFound::Cluster(source)) => return Err(CommandError::NotBegun { program: program(), source }),
    };
    match container(&pod, place.container.as_deref()) {
        Ok(container) => Ok((name_of(&pod).to_owned(), container.to_owned())),
        Err(error) => Err(CommandError::NoPod { program: program(), why: in_one_line(&error) }),
    }
}

/// The pod that is meant, if it can be told and runs.
pub async fn found(cluster: &dyn Cluster, place: &ContainerPlace) -> Result<Value, NotFound> {
    let why = |pod: &Value| match readiness(&pods(), pod) {
        Readiness::Ready => format!("it is {}", text(pod, &["status", "phase"])),
        Readiness::Waiting(why) | Readiness::Failed(why) => {
            Some(obstacles(pod).join("; ")).filter(|all| !all.is_empty()).unwrap_or(why)
        }
    };
    let runs = |pod: &Value| text(pod, &["status", "phase"]) == "Running" && !is_dying(pod);
    let labels = match &place.pod {
        PodChoice::Named(name) => {
            let found = cluster.get(&pods(), Some(&place.namespace), name).await.map_err(NotFound::Cluster)?;
            return match found {
                Some(pod) if runs(&pod) => Ok(pod),
                Some(pod) => Err(NotFound::Why(format!("it does not run: {}", why(&pod)))),
                None => Err(NotFound::Why(format!("there is no pod {}/{name}", place.namespace))),
            };
        }
        PodChoice::Labelled(labels) => labels,
    };
    let pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let which = Which { namespace: Some(&place.namespace), labels: &pairs };
    let all = whole_of(cluster, &pods(), which, Some).await.map_err(NotFound::Cluster)?;
    // One that runs and is not ready counts: it may be the one that has the data, and the other a copy that is behind.
    let (run, not): (Vec<Value>, Vec<Value>) = all.into_iter().partition(runs);
    let told = |pods: &[Value]| {
        pods.iter().take(TOLD_MAX).map(|pod| format!("{}: {}", name_of(pod), why(pod))).collect::<Vec<_>>().join("; ")
    };
    Err(NotFound::Why(match run.as_slice() {
        [pod] if readiness(&pods(), pod) == Readiness::Ready => return Ok(pod.clone()),
        [_] => format!("it is not ready: {}", told(&run)),
        [] if not.is_empty() => "there is none".to_owned(),
        [] => format!("none runs: {}", told(&not)),
        several => {
            let names: Vec<&str> = several.iter().take(TOLD_MAX).map(name_of).collect();
            format!("{} of them run, {} among them, and each may have other data", several.len(), names.join(", "))
        }
    }))
}

/// What the program has written; its end is an error unless the program ended well and wrote something.
struct Poured {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    /// Bytes of the piece that were read.
    taken: usize,
    bytes: u64,
    tail: Tail,
    ended: Ended,
}

impl io::Read for Poured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.piece.len() {
            let Some(piece) = self.pieces.blocking_recv() else {
                let is_well = matches!(&*lock(&self.ended), Some(Ending::Ended(said)) if said.code == 0);
                let is_whole = is_well && self.bytes > 0 && self.tail.lacks().is_none();
                return if is_whole { Ok(0) } else { Err(io::Error::other("the program did not end well")) };
            };
            self.tail.take(&piece);
            (self.piece, self.taken) = (piece, 0);
        }
        let rest = self.piece.get(self.taken..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.taken += length;
        self.bytes += length as u64;
        Ok(length)
    }
}
