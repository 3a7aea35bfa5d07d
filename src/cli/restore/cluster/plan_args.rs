//! What a plan of a restore into a cluster is made from: what `restore --cluster` and `preflight restore` have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::base::when::Selector;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cluster::api::Api;
use crate::cluster::rewrite::namespaces::Namespaces;
use crate::cluster::rewrite::nodes::Nodes;
use crate::recover::cluster::data::{At, Volumes};
use crate::recover::cluster::select::Selection;
use crate::recover::cluster::{Existing, Options, RecoverError};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct PlanArgs {
    /// The kubeconfig of the cluster to restore into [default: what KUBECONFIG names, ~/.kube/config, or the pod's account]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) kubeconfig: Option<PathBuf>,
    /// Another context of the kubeconfig than its current one
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) context: Option<String>,
    /// Restore into a namespace of another name; may be repeated
    #[arg(long, value_name = "FROM=TO", requires = "cluster", value_parser = mapping)]
    pub(in crate::cli) namespace: Vec<(String, String)>,
    /// A node of another name: local volumes and workloads that are tied to FROM by its name are tied to TO; may be repeated
    #[arg(long, value_name = "FROM=TO", requires = "cluster", value_parser = node)]
    pub(in crate::cli) node: Vec<(String, String)>,
    /// What to do with objects that are there and differ [default: skip]
    #[arg(long, value_enum, value_name = "WHAT", requires = "cluster")]
    pub(in crate::cli) existing: Option<WhatIsThere>,
    /// Also restore secrets that External Secrets, 1Password or Bitwarden would fetch again: for when their store is lost too
    #[arg(long, requires = "cluster")]
    pub(in crate::cli) with_derived_secrets: bool,
    /// Take volumes of this storage class in the place of those of another, FROM=TO; may be repeated. With --into-claim the class of the new claim [default: that of the claim that the snapshot is of, if it is there]
    #[arg(long, value_name = "FROM=TO")]
    pub(in crate::cli) storage_class: Vec<String>,
    /// Which snapshot of each volume: the nearest to the objects, the nearest to a time, or the latest [default: objects]
    #[arg(long, value_name = "objects|TIME|latest", requires = "cluster")]
    pub(in crate::cli) volumes_at: Option<String>,
    /// The image that movers run, which is this program [default: the configuration's]
    #[arg(long, value_name = "IMAGE")]
    pub(in crate::cli) mover_image: Option<String>,
}

impl PlanArgs {
    /// The options of a plan, without what claims are filled from, and by which time that is chosen.
    pub(in crate::cli) fn options(&self, selection: Selection, context: &Context) -> Result<(Options, At), Failure> {
        let options = Options {
            selection,
            namespaces: mappings(&self.namespace)?,
            nodes: nodes(&self.node)?,
            existing: WhatIsThere::meant(self.existing),
            derived_secrets: self.with_derived_secrets,
            data: Volumes::new(),
            drill: None,
            storage_classes: classes(&self.storage_class)?,
            may_be_empty: BTreeSet::new(),
            coming: Vec::new(),
            unforeseen: false,
        };
        Ok((options, volumes_at(self.volumes_at.as_deref(), context)?))
    }

    /// The cluster to restore into.
    pub(in crate::cli) async fn target(&self) -> Result<Api, Failure> {
        let api = Api::open(self.kubeconfig.as_deref(), self.context.as_deref()).await;
        Ok(api.map_err(RecoverError::from)?)
    }
}

/// What is done with objects that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum WhatIsThere {
    /// Leave them
    Skip,
    /// Replace them, as they are in the snapshot
    Update,
    /// The same; what cannot be changed to that is deleted and made anew
    Recreate,
}

impl WhatIsThere {
    const fn meant(given: Option<Self>) -> Existing {
        match given {
            Some(Self::Update) => Existing::Update,
            Some(Self::Recreate) => Existing::Recreate,
            _ => Existing::Skip,
        }
    }
}

fn mapping(text: &str) -> Result<(String, String), String> {
    let fits = |name: &str| {
        !name.is_empty()
            && name.len() <= 63
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    match text.split_once('=') {
        Some((from, to)) if fits(from) && fits(to) => Ok((from.to_owned(), to.to_owned())),
        _ => Err("two names of namespaces are expected, such as media=media-copy".to_owned()),
    }
}

/// Names of nodes have dots, too.
fn node(text: &str) -> Result<(String, String), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let fits = |name: &str| !name.is_empty() && name.len() <= 253 && name.chars().all(plain);
    match text.split_once('=') {
        Some((from, to)) if fits(from) && fits(to) => Ok((from.to_owned(), to.to_owned())),
        _ => Err("two names of nodes are expected, such as old-nas=new-nas".to_owned()),
    }
}

/// All of them, each node once.
fn nodes(given: &[(String, String)]) -> Result<Nodes, Failure> {
    for (number, (from, to)) in given.iter().enumerate() {
        if let Some((_, before)) = given.iter().take(number).find(|(other, before)| other == from && before != to) {
            let what = format!("node {from} is to become {before} and {to}");
            return Err(Failure::usage(what, "nothing was written; give one --node for each"));
        }
    }
    Ok(given.iter().cloned().collect())
}

/// All of them, each namespace once.
fn mappings(given: &[(String, String)]) -> Result<Namespaces, Failure> {
    for (number, (from, to)) in given.iter().enumerate() {
        let earlier = given.iter().take(number).find(|(other, before)| other == from && before != to);
        if let Some((_, before)) = earlier {
            let what = format!("namespace {from} is to become {before} and {to}");
            return Err(Failure::usage(what, "nothing was written; restore it twice, once under each name"));
        }
    }
    Ok(given.iter().cloned().collect())
}

fn classes(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok((from.to_owned(), to.to_owned())),
        _ => Err(Failure::usage(
            format!("{text:?} is no mapping of storage classes"),
            "two names are expected, such as --storage-class local-path=longhorn",
        )),
    };
    given.iter().map(pair).collect()
}

fn volumes_at(given: Option<&str>, context: &Context) -> Result<At, Failure> {
    let wrong = || {
        let what = format!("{:?} is no moment for volumes", given.unwrap_or_default());
        Failure::usage(what, "give objects, latest, or a time such as 2026-11-01T03:00")
    };
    match given {
        None | Some("objects") => Ok(At::Objects),
        Some("latest") => Ok(At::Latest),
        Some(text) => match Selector::parse(text, context.zone()) {
            Ok(Selector::At(time)) => Ok(At::Time(time)),
            _ => Err(wrong()),
        },
    }
}
