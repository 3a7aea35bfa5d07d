//! The names of labels and annotations.

/// Label: who made it. Others use it too; only with [`RUN`] it is ours.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "homelab-dr";
/// Label: the run that made it.
pub const RUN: &str = "homelab-dr.io/run";
/// Annotation: from when on it may be removed by anybody, in RFC 3339 (a label can hold no colon); a run that lives may move it on.
pub const EXPIRES: &str = "homelab-dr.io/expires";
/// Annotation of a claim or a namespace: `"false"` leaves its volumes out, `"true"` takes them although somebody farther away leaves them out.
pub const BACKUP: &str = "homelab-dr.io/backup";
/// Annotation of a claim or a namespace: the only way that may be taken, `snapshot`, `clone` or `live`.
pub const MODE: &str = "homelab-dr.io/mode";
