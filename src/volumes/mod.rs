//! Volumes of a cluster: the pod that reads one beside its application (the *mover*), and what it and whoever started it say to each other.
//!
//! Pure but for random names: manifests and messages as data. Who starts a mover, and what a mover does, is `backup`. Knows no repository.

pub mod labels;
pub mod pod;
pub mod policy;
pub mod protocol;
pub mod said;
