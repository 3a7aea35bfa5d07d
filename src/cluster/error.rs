//! What goes wrong with a cluster.

use std::time::Duration;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a cluster was not read.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no kubeconfig, or none that can be used.
    #[error("no access to a cluster: {what}")]
    Config {
        /// Which one.
        what: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// No connection, or it broke.
    #[error("{server} cannot be reached")]
    Unreachable {
        /// The API server.
        server: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// No answer in time.
    #[error("{server} did not answer {request} within {} s", limit.as_secs())]
    Silent {
        /// The API server.
        server: String,
        /// Method and path.
        request: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The server said no.
    #[error("{request}: {message} ({status})")]
    Refused {
        /// Method and path.
        request: String,
        /// The status code of HTTP.
        status: u16,
        /// The server's own words.
        message: String,
    },
    /// A folder that stands for a cluster cannot be read or written.
    #[error("{operation} {path}")]
    Folder {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: String,
        /// Why it did not work.
        #[source]
        source: Source,
    },
    /// A container was found, and no program was begun in it: there is none of that name, or none could be.
    #[error("{request}: nothing was begun: {message}")]
    NotBegun {
        /// Where.
        request: String,
        /// The server's own words.
        message: String,
    },
    /// The server answered with what is no object of Kubernetes.
    #[error("{request}: the answer is not understood: {what}")]
    Answer {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        what: String,
    },
    /// More objects than are taken.
    #[error("there are more than {limit} {kind}")]
    TooMany {
        /// Of which kind.
        kind: String,
        /// How many are taken.
        limit: usize,
    },
}

/// Whether words of the server say that nobody answers for a webhook that is asked about changes and fails closed.
#[must_use]
pub fn names_absent_webhook(words: &str) -> bool {
    words.contains("failed calling webhook")
}

impl ClusterError {
    /// Whether the moment that a list was begun at is too long ago for the server; the list has to begin anew.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Refused { status: 410, .. })
    }

    /// Whether there is no such thing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether somebody changed the object meanwhile, or it is there already.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// Whether another try may help: the server is away, busy or in trouble. A webhook that cannot be called is no such trouble, be it one that is asked
    /// about a change or one that converts: it is away for every object, and each would be waited for in vain.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, message, .. } => {
                matches!(status, 429 | 500 | 502 | 503 | 504)
                    && !names_absent_webhook(message)
                    && !self.is_of_a_conversion()
            }
            _ => false,
        }
    }

    /// Whether a webhook that is asked about changes cannot be called, and nothing passes without it.
    #[must_use]
    pub fn is_of_a_webhook(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if names_absent_webhook(message))
    }

    /// Whether a webhook that converts objects of a kind from one version to another does not do so: its operator does not run, perhaps not yet.
    #[must_use]
    pub fn is_of_a_conversion(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("conversion webhook for"))
    }

    /// Whether the cluster as a whole fails, and not this one request: nothing else would be answered either. What may pass counts, since whoever gets it
    /// as an error has tried for as long as there is patience.
    #[must_use]
    pub fn is_of_the_cluster(&self) -> bool {
        self.may_pass() || matches!(self, Self::Config { .. } | Self::Silent { .. } | Self::Refused { status: 401, .. })
    }

    /// Of a program in a container: whether it may have been begun all the same. The server says no before it begins anything; what stands before it may give up on an answer that is on
    /// its way.
    #[must_use]
    pub const fn may_have_begun(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 502..=504),
            Self::Config { .. } | Self::Folder { .. } | Self::TooMany { .. } | Self::NotBegun { .. } => false,
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Answer { .. } => true,
        }
    }

    /// Whether credentials or rights are missing: what no other try would mend.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403, .. })
    }
}
