//! `drill`: recoveries into throw-away targets, by the real program, and what stays of them: a record, and nothing else.

mod cluster;
mod folder;
mod machine;
mod servers;
mod status;
