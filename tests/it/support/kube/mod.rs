//! A Kubernetes API server within the process, with a cluster behind it: the firm ground for everything that speaks to a cluster.
//!
//! It promises to answer as a real Kubernetes 1.36 does wherever `fixtures/kube-transcripts` or a test says so, and to be no kinder
//! where neither does. One lock holds the state (`state`, `store`); `http` turns requests into operations (`ops`) and answers;
//! `controllers` and `node` do the cluster's own work; `faults` makes it fail on demand. `KubeServer` is all that a test needs.
//!
//! ```ignore
//! let server = KubeServer::start(Options::default()).await;      // Options: pace, node (images, absent), still, open
//! let config = server.kubeconfig();                              // or url() and token()
//! server.make("default", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}}));
//! server.faults(|faults| faults.fail(Failure { method: "GET".into(), path: "/pods".into(), nth: 2, status: 503 }));
//! server.until("it is bound", |state| state.object("persistentvolumeclaims", "default", "data").is_some()).await;
//! let folder = server.volume("default", "data");                 // the bytes of a claim
//! server.restart();                                              // also: compact, end_watches, pause, evict, add_node
//! ```
//!
//! Storage classes: `csi-hostpath-sc` (CSI, snapshots, immediate), `local-path` (waits for a consumer, no snapshots); snapshot class
//! `csi-hostpath-snapclass`; node `lab-node`. Tables are named `resource.group` (`pods`, `deployments.apps`).
//!
//! What it does not do: TLS, OpenAPI, SPDY, protobuf, admission policies in CEL, impersonation, port forwarding, cron jobs, gradual rollouts.
#![allow(dead_code, reason = "the tests of the cluster part use it piece by piece")]

mod access;
mod bootstrap;
mod controllers;
mod custom;
mod discovery;
pub(crate) mod faults;
mod fields;
mod http;
mod kinds;
mod logs;
mod managed;
pub(crate) mod node;
pub(crate) mod ops;
mod patch;
mod quantity;
mod registry;
mod reply;
mod request;
mod schema;
mod select;
pub(crate) mod server;
mod special;
pub(crate) mod state;
mod status;
mod store;
mod streams;
mod table;
mod typed;
pub(crate) mod watch;
