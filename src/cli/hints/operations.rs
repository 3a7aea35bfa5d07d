//! Advice for operations as a whole.

use crate::backup::BackupError;
use crate::backup::command::CommandError;
use crate::cli::exit::Exit;
use crate::cli::hints::{Advice, Advise};
use crate::cluster::ClusterError;
use crate::gitops::GitopsError;
use crate::recover::RestoreError;
use crate::recover::cluster::RecoverError;
use crate::recover::cluster::select::PatternError;
use crate::tree::exclude::ExcludeError;
use crate::tree::source::SourceError;

impl Advise for SourceError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Nothing => "name at least one directory or file",
            Self::Open { .. } => "see the path, and whether you may read it",
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
            Self::Stdin { .. } => Some(Advice::new(
                Exit::Error,
                "nothing was kept as a snapshot; see why the program that writes it broke off",
            )),
        }
    }
}

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
            Self::Refused { .. } => "no snapshot was made; see what the API server says",
            Self::Folder { .. } => "see the path, and whether its files are manifests that you may read and write",
            Self::Answer { .. } => {
                "no snapshot was made; does the kubeconfig name an API server of Kubernetes, and no proxy before it?"
            }
        };
        // Not `Unreachable`, which is the store: other sources can be backed up all the same.
        Some(Advice::new(Exit::Error, help))
    }
}

impl Advise for CommandError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Start { .. } => {
                "see the first word of argv: an absolute path, or a name on the PATH that this program was started with"
            }
            Self::Failed { .. } => "no snapshot was made; what it said is above",
            Self::Killed { .. } => "no snapshot was made; signal 9 is often the kernel's, for want of memory",
            Self::TimedOut { .. } => "no snapshot was made; if it needs longer, set the source's timeout",
            Self::Empty { .. } => {
                "no snapshot was made: an empty dump is no backup; the data belongs on its standard output"
            }
        };
        Some(Advice::new(Exit::Error, help))
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
            Self::EmptyVolumes { .. } => Advice::new(
                Exit::Refused,
                "nothing was written. Give --empty-volumes to have them empty, or leave them out with --exclude persistentvolumeclaims, and what needs them",
            ),
        })
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
            "nothing was restored; name a kubeconfig that `kubectl --kubeconfig FILE get namespaces` works with"
        }
        ClusterError::Unreachable { .. } | ClusterError::Silent { .. } => {
            "nothing was restored; is the API server up, and does `kubectl get --raw /readyz` say ok from here?"
        }
        ClusterError::Refused { status: 401, .. } => {
            "nothing was restored; the credentials of the kubeconfig are wrong or have run out"
        }
        ClusterError::Refused { .. } => "nothing was restored; see what the API server says",
        ClusterError::Folder { .. } => {
            "nothing was restored; see the path, and whether its files are manifests that you may read and write"
        }
        ClusterError::Answer { .. } => {
            "nothing was restored; does the kubeconfig name an API server of Kubernetes, and no proxy before it?"
        }
    }
}
