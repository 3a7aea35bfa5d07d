//! Advice for operations as a whole.

use crate::backup::BackupError;
use crate::backup::command::CommandError;
use crate::backup::volumes::{MoverError, VolumesError};
use crate::base::id::ObjectId;
use crate::cli::exit::Exit;
use crate::cli::hints::{Advice, Advise};
use crate::cluster::ClusterError;
use crate::datastore::DatastoreError;
use crate::gitops::GitopsError;
use crate::hooks::HookError;
use crate::preflight::PreflightError;
use crate::recover::RestoreError;
use crate::recover::cluster::beside::BesideError;
use crate::recover::cluster::in_place::InPlaceError;
use crate::recover::cluster::select::PatternError;
use crate::recover::cluster::{Identity, RecoverError};
use crate::recover::device::FillDeviceError;
use crate::tree::device::DeviceError;
use crate::tree::exclude::ExcludeError;
use crate::tree::source::SourceError;
use crate::volumes as ways;

impl Advise for SourceError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Device(error) => return error.advice(),
            Self::Nothing => "name at least one directory or file",
            Self::Open { .. } => "see the path, and whether you may read it",
            Self::Kind { .. } => {
                "what is on it is backed up from a pipe: `homelab-dr backup --stdin --name disk.img --source NAME < DEVICE`"
            }
            Self::NoName { .. } => "back it up by itself, or by a path that ends in a name",
            Self::SameName { .. } => "back them up as two sources, or name the directory above them",
        };
        Some(Advice::new(Exit::Usage, help))
    }
}

impl Advise for ExcludeError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Empty(_) => "a pattern is a name, a path or a glob, such as cache/ or '*.tmp'",
            Self::Glob { .. } => "[ and { need their other half; a backslash before a sign takes it as it is",
        };
        Some(Advice::new(Exit::Usage, help))
    }
}

impl Advise for BackupError {
    fn advice(&self) -> Option<Advice> {
        match self {
            Self::Source(error) => error.advice(),
            Self::Repository(error) => error.advice(),
            Self::Command(error) => error.advice(),
            Self::Cluster(error) => error.advice(),
            Self::NotSure => Some(Advice::new(
                Exit::Error,
                "nothing was kept as a snapshot, and what was stored is found by the next run; see why the run that started it said nothing",
            )),
            Self::Empty => Some(Advice::new(
                Exit::Error,
                "nothing was kept as a snapshot; see why the program that should have written it did not",
            )),
            Self::Stdin { .. } => Some(Advice::new(
                Exit::Error,
                "nothing was kept as a snapshot; see why the program that writes it broke off",
            )),
        }
    }
}

/// Of a list that is longer than is taken.
const TOO_MANY: &str = "nothing was done; who makes so many of them? What is not needed can be deleted, such as what a program forgot to clear up";

impl Advise for ClusterError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Config { .. } => {
                "name a kubeconfig that `kubectl --kubeconfig FILE get namespaces` works with; in a pod the service account is taken"
            }
            Self::Unreachable { .. } | Self::Silent { .. } => {
                "no snapshot was made; is the API server up, and does `kubectl get --raw /readyz` say ok from here?"
            }
            Self::Refused { status: 401, .. } => {
                "no snapshot was made; the credentials of the kubeconfig are wrong or have run out"
            }
            Self::Refused { status: 403, .. } => {
                "no snapshot was made; grant get and list on everything (docs/cluster.md has the ClusterRole)"
            }
            Self::Refused { .. } | Self::NotBegun { .. } => "no snapshot was made; see what the API server says",
            Self::Folder { .. } => "see the path, and whether its files are manifests that you may read and write",
            Self::Answer { .. } => {
                "no snapshot was made; does the kubeconfig name an API server of Kubernetes, and no proxy before it?"
            }
            Self::TooMany { .. } => TOO_MANY,
        };
        // Not `Unreachable`, which is the store: other sources can be backed up all the same.
        Some(Advice::new(Exit::Error, help))
    }
}

impl Advise for VolumesError {
    fn advice(&self) -> Option<Advice> {
        match self {
            Self::Look(ways::VolumesError::Cluster { source: ClusterError::Refused { status: 403, .. }, .. }) => {
                Some(Advice::new(
                    Exit::Error,
                    "no volume was backed up; grant what docs/volumes.md lists: get and list on claims, volumes, pods, namespaces and nodes, and more",
                ))
            }
            Self::Look(ways::VolumesError::Cluster { source, .. }) => source.advice(),
            Self::Look(_) => Some(Advice::new(Exit::Error, "no volume was backed up")),
            Self::Hook(error) => error.advice(),
            Self::NoRandomness(_) => Some(Advice::new(Exit::Error, "see the system's random numbers (getrandom)")),
        }
    }
}

/// Why there is no snapshot or clone to read.
fn of_copy(error: &ways::VolumesError) -> &'static str {
    match error {
        ways::VolumesError::Cluster { source: ClusterError::Refused { status: 403, .. }, .. } => {
            "grant what docs/volumes.md has for snapshots and clones, or leave out the source's namespace to read every claim live"
        }
        ways::VolumesError::Cluster { source: ClusterError::Refused { status: 404, .. }, .. } => {
            "is the source's namespace there? It is not created by itself"
        }
        ways::VolumesError::Late { .. } | ways::VolumesError::Failed { .. } => {
            "see the storage's driver and the snapshot controller; with the annotation homelab-dr.io/mode: live the claim is read without them"
        }
        _ => "see what was found; nothing of the claim itself was changed",
    }
}

impl Advise for MoverError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Create { source: ClusterError::Refused { status: 403, .. }, .. } => {
                "see what the API server says: rights that are missing (docs/volumes.md has them), Pod Security or a policy that refuses the pod (another mode may pass), or a quota that is full"
            }
            Self::Create { .. } => "see what the API server says",
            Self::Prepare { source, .. } => of_copy(source),
            Self::Hook(error) => return error.downcast_ref::<HookError>().and_then(Advise::advice),
            Self::Stirred(_) => {
                "its newest snapshot, if one was made, may be torn: see who let it go on (another person, GitOps, an operator), and run again"
            }
            Self::Unreachable(error) if error.is_denied() => {
                "grant get and create on pods/attach, and get on pods/log (docs/volumes.md has the ClusterRole)"
            }
            Self::Unreachable(_) => "is the API server up? What was stored is found by the next run",
            Self::NeverStarted { .. } => {
                "mend what the cluster says, such as an image that cannot be pulled, or a node without room; if it only needs longer, set start-timeout"
            }
            Self::NodeAway { .. } => {
                "bring the node back; a mover that hears nothing ends itself, and what was stored is found by the next run"
            }
            Self::Vanished => "who deleted it? What was stored is found by the next run",
            Self::Ended { .. } | Self::Stopped { .. } => {
                "OOMKilled: the limit of 512 MiB was too low; DeadlineExceeded: set timeout; Evicted: make room on its node for what the node says it is short of; otherwise see its node. What was stored is found by the next run"
            }
            Self::TimedOut { .. } => {
                "what was stored is found by the next run; if it needs longer, set the source's timeout"
            }
            Self::Failed(failed) => {
                let exit = Exit::ALL.into_iter().find(|exit| exit.code() == failed.exit && *exit != Exit::Done);
                // What a mover calls wrong usage is nothing that this command line did wrong.
                let exit =
                    exit.filter(|exit| *exit != Exit::Usage && *exit != Exit::Interrupted).unwrap_or(Exit::Error);
                return Some(Advice::new(exit, failed.help.clone()));
            }
            Self::Job(_) => "the tags or patterns of this source are too long for it",
            Self::NoRandomness(_) => "see the system's random numbers (getrandom)",
            Self::Cancelled => return None,
        };
        Some(Advice::new(Exit::Error, help))
    }
}

impl Advise for DatastoreError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::NoDatastore(_) => {
                "no snapshot was made; data-dir is the server's `--data-dir`, on this machine; a datastore elsewhere (--datastore-endpoint) is dumped by a command source"
            }
            Self::Missing(_) | Self::Empty(_) => {
                "no snapshot was made; is this the node of a k3s server, and its data directory?"
            }
            Self::Unreadable { .. } => "no snapshot was made; only root may read these files",
            Self::NoSnapshot { .. } => {
                "no snapshot was made; take one: k3s etcd-snapshot save. Are they switched off (--etcd-disable-snapshots), or in another folder?"
            }
            Self::Old { .. } => {
                "no snapshot was made; see why k3s takes none (`k3s etcd-snapshot ls`), take one (`k3s etcd-snapshot save`), or set max-age"
            }
        };
        Some(Advice::new(Exit::Error, help))
    }
}

impl Advise for CommandError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Start { .. } => {
                "see the first word of argv: an absolute path, or a name on the PATH that this program was started with"
            }
            Self::NoPod { .. } => {
                "no snapshot was made; see `kubectl get pods -n NAMESPACE --show-labels`, and pod, labels and container of the source"
            }
            Self::NotBegun { source: ClusterError::Refused { status: 403, .. }, .. } => {
                "no snapshot was made; grant get and list on pods, and create and get on pods/exec, in that namespace (docs/live-databases.md has the role)"
            }
            Self::NotBegun { source: ClusterError::NotBegun { .. }, .. } => {
                "no snapshot was made; see what it says: is the first word of argv a program that the container has (there is no shell unless it is one), and may the container run one more?"
            }
            Self::NotBegun { source, .. } => return source.advice(),
            Self::Lost { .. } => {
                "no snapshot was made; run this again when the pod and the API server are there (the program may go on in its container)"
            }
            Self::Cut { .. } => {
                "no snapshot was made: the dump is not whole; run it by hand and look at its end, and at ends-with of the source"
            }
            Self::Failed { .. } => "no snapshot was made; what it said is above",
            Self::Killed { .. } => "no snapshot was made; signal 9 is often the kernel's, for want of memory",
            Self::Late { .. } => {
                "no snapshot was made; see whether it still runs in its container. If it needs longer, set the source's timeout; with `timeout 55m` before it in argv it ends by itself"
            }
            Self::TimedOut { .. } => "no snapshot was made; if it needs longer, set the source's timeout",
            Self::Empty { .. } => {
                "no snapshot was made: an empty dump is no backup; the data belongs on its standard output"
            }
        };
        Some(Advice::new(Exit::Error, help))
    }
}

impl Advise for DeviceError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Open { .. } if self.is_denied() => {
                "a device belongs to root unless the container runtime gives it to the user of the pod: annotate the claim with homelab-dr.io/mover-mode: root, \
                 or set device_ownership_from_security_context = true in containerd or CRI-O on the nodes"
            }
            Self::Open { .. } | Self::Kind { .. } | Self::Length { .. } => {
                "see whether the claim has volumeMode: Block, and what the node says of its volume (kubectl describe pod)"
            }
        };
        Some(Advice::new(Exit::Error, help))
    }
}

impl Advise for FillDeviceError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Device(error) => return error.advice(),
            Self::Files => Advice::new(
                Exit::Refused,
                "nothing was written; restore it into a claim with volumeMode: Filesystem, or take a snapshot of a device",
            ),
            Self::Small { .. } => {
                Advice::new(Exit::Refused, "nothing was written; have the claim ask for as much as the snapshot has")
            }
            Self::Taken { .. } => Advice::new(
                Exit::Refused,
                "nothing was written; see what it is: if nobody needs it, delete the claim and have its volume cleared or made anew, and run this again",
            ),
            Self::ReadBack { .. } => Advice::new(
                Exit::Error,
                "do not use that volume: see the logs of its node and of its storage, and have it made anew",
            ),
        })
    }
}

impl Advise for RestoreError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Repository(error) => return error.advice(),
            Self::Target(_) => {
                Advice::new(Exit::Usage, "see the path given with --target, and whether you may write there")
            }
            Self::NoSuchPath(_) => Advice::new(
                Exit::Usage,
                "`homelab-dr ls SNAPSHOT[:PATH]` shows what it has; paths begin below what was backed up",
            ),
            Self::DeleteBesideFile(_) => Advice::new(
                Exit::Usage,
                "nothing was changed; leave out --delete, or name the directory that the file is in",
            ),
            Self::NotEmpty { .. } => Advice::new(
                Exit::Refused,
                "nothing was written there: see what it is; `homelab-dr restore SNAPSHOT --into-claim NAMESPACE/NAME` fills a new claim beside it",
            ),
            Self::Device(error) => return error.advice(),
            Self::Mark { .. } => {
                Advice::new(Exit::Error, "see whether it is there and may be written to, and has room")
            }
            Self::Full { .. } => Advice::new(
                Exit::Error,
                "make room there and run the same command again: what is restored is not restored twice",
            ),
        })
    }
}

impl Advise for PatternError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Parts(_) => {
                "write a kind as kubectl names it, such as secrets or deployments.apps, or all of it, such as 'media/*/*'"
            }
            Self::Glob { .. } => "[ and { need their other half; a backslash before a sign takes it as it is",
        };
        Some(Advice::new(Exit::Usage, help))
    }
}

impl Advise for RecoverError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Repository(error) => return error.advice(),
            Self::Cluster(error) => Advice::new(Exit::Error, of_target(error)),
            Self::NoCluster { .. } => Advice::new(
                Exit::Usage,
                "name one of a source of the kind resources, such as latest:cluster; `homelab-dr snapshots` lists them",
            ),
            Self::NothingToMap { .. } => Advice::new(
                Exit::Usage,
                "nothing was written; see the name: `homelab-dr ls -R SNAPSHOT` has the namespaces as folders",
            ),
            Self::OneNamespaceOfTwo { .. } => {
                Advice::new(Exit::Usage, "nothing was written; give each a name of its own, or restore them one by one")
            }
            Self::OneObjectOfTwo { .. } => Advice::new(
                Exit::Usage,
                "nothing was written; leave out one of them with --exclude, or map the namespace to another name",
            ),
            Self::InPlace { claims } => {
                let command = |(claim, snapshot): &(Identity, ObjectId)| {
                    let namespace = claim.namespace.as_deref().unwrap_or_default();
                    let (snapshot, name) = (snapshot.short(), &claim.name);
                    format!("`homelab-dr restore {snapshot} --into-claim {namespace}/{name} --in-place`")
                };
                let commands: Vec<String> = claims.iter().map(command).collect();
                Advice::new(
                    Exit::Refused,
                    format!(
                        "nothing was written. Each volume is restored in place by itself: {}; then leave them out here with --exclude persistentvolumeclaims, or have --existing skip leave all as it is",
                        commands.join(", ")
                    ),
                )
            }
            Self::EmptyVolumes { .. } => Advice::new(
                Exit::Refused,
                "nothing was written. Give --empty-volumes to have them empty, or leave them out with --exclude persistentvolumeclaims, and what needs them",
            ),
        })
    }
}

impl Advise for HookError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Cancelled => return None,
            Self::Cluster { source: ClusterError::Config { .. }, .. } => {
                "name a kubeconfig that `kubectl --kubeconfig FILE get namespaces` works with"
            }
            Self::Cluster { source: ClusterError::Refused { status: 401 | 403, .. }, .. } => {
                "see the credentials of the kubeconfig, and what its account may do (docs/volumes.md has the ClusterRole of hooks)"
            }
            Self::Failed { .. } | Self::Cluster { source: ClusterError::NotBegun { .. }, .. } => {
                "see what the command says, and try it by hand with kubectl exec"
            }
            Self::Cluster { .. } => {
                "what was held is in its journal; once the API server is well, `homelab-dr release` undoes it"
            }
            Self::Refused { .. } => {
                "leave it out, choose another kind of hook, or stop its owner by its own means first"
            }
            Self::Container { .. } => {
                "name a container that every pod of the claim has, under container or in homelab-dr.io/hook-container"
            }
            Self::Stirred { .. } => "see who let it go on, and run again",
            Self::Changed { .. } => "begin anew, so that it is planned by what is there now",
            Self::Held { .. } => "wait for the other run; if it is dead, `homelab-dr release` undoes what it has left",
            Self::Late { .. } => {
                "see why that takes so long (kubectl describe); what was held is released by `homelab-dr release`"
            }
            Self::Journal { .. } => {
                "look at it with kubectl get configmap -o yaml; a later version of this program may know it"
            }
        };
        Some(Advice::new(Exit::Error, help))
    }
}

impl Advise for InPlaceError {
    fn advice(&self) -> Option<Advice> {
        match self {
            Self::Cluster(error) => Some(Advice::new(Exit::Error, of_target(error))),
            Self::Hook(error) => error.advice(),
            Self::Gitops { .. } => Some(Advice::new(
                Exit::Refused,
                "nothing was changed. See what the account may do (docs/recover-cluster.md has the ClusterRole); or pause it by `homelab-dr gitops pause` with another account first",
            )),
            Self::Refused { mend, .. } => Some(Advice::new(Exit::Refused, format!("nothing was changed; {mend}"))),
        }
    }
}

impl Advise for PreflightError {
    fn advice(&self) -> Option<Advice> {
        match self {
            Self::Cluster(ClusterError::Refused { status: 403, .. }) => Some(Advice::new(
                Exit::Error,
                "nothing was looked at: the account may not even ask what it may do (system:basic-user grants that to everybody)",
            )),
            Self::Cluster(error) => Some(Advice::new(Exit::Error, of_target(error))),
            Self::Volumes(error) => error.advice(),
        }
    }
}

impl Advise for GitopsError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Look(ClusterError::Config { .. }) => {
                "nothing was changed; name a kubeconfig that `kubectl --kubeconfig FILE get namespaces` works with"
            }
            Self::Look(ClusterError::Unreachable { .. } | ClusterError::Silent { .. }) => {
                "nothing was changed; is the API server up, and does `kubectl get --raw /readyz` say ok from here?"
            }
            Self::Look(ClusterError::Refused { status: 401, .. }) => {
                "nothing was changed; the credentials of the kubeconfig are wrong or have run out"
            }
            Self::Look(ClusterError::Refused { status: 403, .. }) => {
                "nothing was changed; the account needs get, list and patch on these kinds (docs/gitops.md has the ClusterRole)"
            }
            Self::Look(_) => "nothing was changed; see what the API server says",
            Self::Silent { .. } => {
                "nothing was changed; what is in the group could undo a restore: see why its definition or API service does not answer"
            }
            Self::Randomness(_) => "nothing was changed; the system lacks a working random number generator",
        };
        Some(Advice::new(Exit::Error, help))
    }
}

/// What to do when the cluster to restore into does not answer as it should.
const fn of_target(error: &ClusterError) -> &'static str {
    match error {
        ClusterError::Config { .. } => {
            "nothing was changed; name a kubeconfig that `kubectl --kubeconfig FILE get namespaces` works with"
        }
        ClusterError::Unreachable { .. } | ClusterError::Silent { .. } => {
            "nothing was changed; is the API server up, and does `kubectl get --raw /readyz` say ok from here?"
        }
        ClusterError::Refused { status: 401, .. } => {
            "nothing was changed; the credentials of the kubeconfig are wrong or have run out"
        }
        ClusterError::Refused { .. } | ClusterError::NotBegun { .. } => {
            "nothing was changed; see what the API server says"
        }
        ClusterError::Folder { .. } => {
            "nothing was changed; see the path, and whether its files are manifests that you may read and write"
        }
        ClusterError::Answer { .. } => {
            "nothing was changed; does the kubeconfig name an API server of Kubernetes, and no proxy before it?"
        }
        ClusterError::TooMany { .. } => TOO_MANY,
    }
}

impl Advise for BesideError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Cluster(error) => Advice::new(Exit::Error, of_target(error)),
            Self::Classless { .. } => {
                Advice::new(Exit::Refused, "nothing was changed; name a class that is there with --storage-class")
            }
            Self::Taken { .. } => Advice::new(
                Exit::Refused,
                "nothing was changed; give a name that is not taken, or --in-place to replace what is in it",
            ),
        })
    }
}
