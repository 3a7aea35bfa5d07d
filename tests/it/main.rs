//! Integration tests, one binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, helpers too"
)]
#![allow(clippy::pedantic, reason = "taste in small things is for the program; a test is read for what it asserts")]

mod check;
mod cli;
mod clocks;
mod cluster;
mod concurrency;
mod configuration;
mod datastore;
mod demo;
mod deploy;
mod documents;
mod drill;
mod end_to_end;
mod faults;
mod folder;
mod format_vectors;
mod frozen;
mod full_disk;
mod fuzz;
mod gitops;
mod hooks;
mod kill;
mod kube;
mod layers;
mod library;
mod links;
mod live;
mod parity;
mod properties;
mod prune;
mod real;
mod recipients;
mod recover;
mod repair;
mod report;
mod rescue;
mod rotate;
mod runbook;
mod stage;
mod store;
mod support;
mod tree;
mod verify;
mod volumes;
mod volumes_backup;
mod volumes_restore;
