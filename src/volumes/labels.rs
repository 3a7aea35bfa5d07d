//! The names of labels and annotations. What is temporary carries the label of its run, so that whatever a killed run left is found.

/// Labels of what we make, and the value of the first.
pub use crate::cluster::ours::{MANAGED_BY, MANAGER, RUN};
/// Annotation: from when on it is nobody's and may be removed, as RFC 3339 (a label can hold no colon); a run that lives moves it on.
pub const EXPIRES: &str = "homelab-dr.io/expires";
/// Annotation of a claim or a namespace: `"false"` leaves its volumes out, `"true"` takes them although somebody farther away leaves them out.
pub const BACKUP: &str = "homelab-dr.io/backup";
/// Annotation of a claim or a namespace: the only way that may be taken, `snapshot`, `clone` or `live`.
pub const MODE: &str = "homelab-dr.io/mode";
/// Annotation of a claim that we created: the snapshot that it is being filled from. It goes when all is there.
pub use crate::cluster::rewrite::FILLING;
/// Annotation of a claim whose volume is being restored in place: the snapshot. It goes when all of that is in it.
pub use crate::cluster::rewrite::FILLING_IN_PLACE;
/// Beginning of the annotations of a claim or a namespace that say how its application holds still; alone it is one of them.
pub const HOOK: &str = "homelab-dr.io/hook";
/// Annotation of a claim: the mover's permissions, instead of the configuration's.
pub const MOVER_MODE: &str = "homelab-dr.io/mover-mode";
/// Annotation of a claim: user and group that the mover runs as, such as `"1000"` or `"1000:1000"`, where the application's manifest does not say it.
pub const MOVER_USER: &str = "homelab-dr.io/mover-user";
/// Annotation of a namespace: `"true"` permits movers that are privileged.
pub const PRIVILEGED_MOVERS: &str = "homelab-dr.io/privileged-movers";
/// Annotation of a claim: which step of which run filled it, so that the same step knows when it is carried out again.
pub const RESTORED_BY: &str = "homelab-dr.io/restored-by";
