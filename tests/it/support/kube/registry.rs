//! Which resources there are: the built-in ones from `resources.txt`, the custom ones from their definitions.
//!
//! `resources.txt` has a line a resource: group and version, plural, singular, kind, scope (N or C), short names, categories, verbs
//! (`*` for all), what it is stored as (`-` itself, `0` nothing, else the hash to show), subresources (`name=group/version/kind:verbs`).
//! Its content is what discovery of a Kubernetes 1.36 says.

use std::sync::Arc;

use data_encoding::BASE64;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::kube::status::{About, qualified};

const BUILT_IN: &str = include_str!("resources.txt");
pub(crate) const ALL_VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const CUSTOM_VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Subresource {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) verbs: Vec<String>,
}

/// A resource in one version.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) verbs: Vec<String>,
    pub(crate) hash: Option<String>,
    pub(crate) subresources: Vec<Subresource>,
    /// The definition and this version of it, for custom resources.
    pub(crate) custom: Option<Arc<Custom>>,
}

#[derive(Debug)]
pub(crate) struct Custom {
    pub(crate) definition: String,
    pub(crate) version: Value,
    pub(crate) conversion: String,
}

impl Custom {
    pub(crate) fn schema(&self) -> Option<&Value> {
        self.version.pointer("/schema/openAPIV3Schema")
    }
}

impl Resource {
    pub(crate) fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// The table in the store: the same for all versions, and for the two groups of events.
    pub(crate) fn table(&self) -> String {
        let group = if self.plural == "events" { "" } else { &self.group };
        qualified(&self.plural, group)
    }

    pub(crate) fn about(&self) -> About<'_> {
        About { resource: &self.plural, group: &self.group }
    }

    pub(crate) fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|sub| sub.name == subresource)
    }

    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|can| can == verb)
    }
}

pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// `(group, version)` of an `apiVersion`.
pub(crate) fn split_api_version(text: &str) -> (&str, &str) {
    text.split_once('/').unwrap_or(("", text))
}

fn hash(group: &str, version: &str, kind: &str) -> String {
    BASE64.encode(&Sha256::digest(format!("{group}/{version}/{kind}"))[..8])
}

fn words(text: &str) -> Vec<String> {
    if text == "-" { Vec::new() } else { text.split(',').map(str::to_owned).collect() }
}

pub(crate) fn built_in() -> Vec<Arc<Resource>> {
    BUILT_IN.lines().map(|line| Arc::new(parse(line))).collect()
}

fn parse(line: &str) -> Resource {
    let [gv, plural, singular, kind, scope, short, categories, verbs, stored, subs] =
        line.split(' ').collect::<Vec<_>>().try_into().expect("ten fields");
    let (group, version) = split_api_version(gv);
    let verbs = if verbs == "*" { ALL_VERBS.map(str::to_owned).to_vec() } else { words(verbs) };
    let hash = match stored {
        "0" => None,
        "-" | "?" => Some(hash(group, version, kind)),
        given => Some(given.to_owned()),
    };
    let subresource = |text: &str| {
        let (what, verbs) = text.split_once(':').expect("verbs");
        let (name, shape) = what.split_once('=').unwrap_or((what, ""));
        let mut shape = shape.split('/');
        Subresource {
            name: name.to_owned(),
            group: shape.next().unwrap_or_default().to_owned(),
            version: shape.next().unwrap_or_default().to_owned(),
            kind: shape.next().unwrap_or(kind).to_owned(),
            verbs: words(verbs),
        }
    };
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        singular: singular.to_owned(),
        kind: kind.to_owned(),
        namespaced: scope == "N",
        short_names: words(short),
        categories: words(categories),
        verbs,
        hash,
        subresources: if subs == "-" { Vec::new() } else { subs.split(';').map(subresource).collect() },
        custom: None,
    }
}

/// The served versions of a definition.
pub(crate) fn custom(definition: &Value) -> Vec<Arc<Resource>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let spec = &definition["spec"];
    let names = &spec["names"];
    let group = text(&spec["group"]);
    let served = spec["versions"].as_array().into_iter().flatten().filter(|version| version["served"] == true);
    served
        .map(|version| {
            let kind = text(&names["kind"]);
            let sub = |name: &str, group: &str, version: &str, kind: &str| Subresource {
                name: name.to_owned(),
                group: group.to_owned(),
                version: version.to_owned(),
                kind: kind.to_owned(),
                verbs: words("get,patch,update"),
            };
            let mut subresources = Vec::new();
            if version["subresources"]["status"].is_object() {
                subresources.push(sub("status", "", "", &kind));
            }
            if version["subresources"]["scale"].is_object() {
                subresources.push(sub("scale", "autoscaling", "v1", "Scale"));
            }
            let name = text(&version["name"]);
            Arc::new(Resource {
                hash: Some(hash(&group, &name, &kind)),
                group: group.clone(),
                version: name,
                plural: text(&names["plural"]),
                singular: text(&names["singular"]),
                kind,
                namespaced: spec["scope"] == "Namespaced",
                short_names: list(&names["shortNames"]),
                categories: list(&names["categories"]),
                verbs: CUSTOM_VERBS.map(str::to_owned).to_vec(),
                subresources,
                custom: Some(Arc::new(Custom {
                    definition: text(&definition["metadata"]["name"]),
                    version: version.clone(),
                    conversion: text(&spec["conversion"]["strategy"]),
                })),
            })
        })
        .collect()
}
