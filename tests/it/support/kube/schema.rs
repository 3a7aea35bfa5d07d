//! How the parts of an object merge: which lists are keyed and by what, which maps and lists are one value.
//!
//! For built-in kinds by the names of a field and its parent, which is all they need; for custom resources by their schema.

use serde_json::Value;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Schema<'a> {
    BuiltIn {
        kind: &'a str,
        parent: &'a str,
        field: &'a str,
    },
    /// A node of an OpenAPI schema; None is free of any.
    Custom {
        node: Option<&'a Value>,
        root: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListKind<'a> {
    Atomic,
    Set,
    Keyed(Keys<'a>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys<'a> {
    /// Key fields, each with its default.
    Fixed(&'static [(&'static str, Option<&'static str>)]),
    Named(&'a Value),
}

const NAME: ListKind<'static> = ListKind::Keyed(Keys::Fixed(&[("name", None)]));

impl<'a> Schema<'a> {
    pub(crate) const fn built_in(kind: &'a str) -> Self {
        Self::BuiltIn { kind, parent: "", field: "" }
    }

    pub(crate) const fn custom(node: Option<&'a Value>) -> Self {
        Self::Custom { node, root: true }
    }

    /// The schema of a field of an object.
    pub(crate) fn child(self, name: &'a str) -> Self {
        match self {
            Self::BuiltIn { kind, field, .. } => Self::BuiltIn { kind, parent: field, field: name },
            Self::Custom { root: true, .. } if name == "metadata" => {
                Self::BuiltIn { kind: "", parent: "", field: "metadata" }
            }
            Self::Custom { node, .. } => {
                let below = node.and_then(|node| {
                    node["properties"].get(name).or_else(|| node.get("additionalProperties").filter(|n| n.is_object()))
                });
                Self::Custom { node: below, root: false }
            }
        }
    }

    /// The schema of an item of a list.
    pub(crate) fn item(self) -> Self {
        match self {
            Self::BuiltIn { .. } => self,
            Self::Custom { node, .. } => Self::Custom { node: node.and_then(|node| node.get("items")), root: false },
        }
    }

    pub(crate) fn list(self) -> ListKind<'a> {
        match self {
            // The conditions of a job are one value.
            Self::BuiltIn { kind: "Job", field: "conditions", .. } => ListKind::Atomic,
            Self::BuiltIn { parent, field, .. } => built_in_list(parent, field),
            Self::Custom { node, .. } => {
                let Some(node) = node else { return ListKind::Atomic };
                match node["x-kubernetes-list-type"].as_str() {
                    Some("set") => ListKind::Set,
                    Some("map") => ListKind::Keyed(Keys::Named(&node["x-kubernetes-list-map-keys"])),
                    _ => ListKind::Atomic,
                }
            }
        }
    }

    /// Whether an object is one value.
    pub(crate) fn atomic_map(self) -> bool {
        match self {
            Self::BuiltIn { field, .. } => ATOMIC_MAPS.contains(&field),
            Self::Custom { node, .. } => node.is_some_and(|node| node["x-kubernetes-map-type"] == "atomic"),
        }
    }
}

const ATOMIC_MAPS: [&str; 22] = [
    "selector",
    "nodeSelector",
    "labelSelector",
    "namespaceSelector",
    "objectSelector",
    "podSelector",
    "ownerReferences",
    "involvedObject",
    "regarding",
    "related",
    "secretKeyRef",
    "configMapKeyRef",
    "fieldRef",
    "resourceFieldRef",
    "dataSource",
    "roleRef",
    "scopeSelector",
    "scaleTargetRef",
    "required",
    "preference",
    "secretRef",
    "targetRef",
];

fn built_in_list(parent: &str, field: &str) -> ListKind<'static> {
    const TCP: Option<&str> = Some("TCP");
    match (parent, field) {
        (_, "containers" | "initContainers" | "ephemeralContainers" | "env" | "imagePullSecrets" | "webhooks")
        | (_, "schedulingGates" | "resourceClaims" | "claims")
        | ("", "secrets") => NAME,
        ("spec", "volumes") => NAME,
        ("containers" | "initContainers" | "ephemeralContainers", "ports") => {
            ListKind::Keyed(Keys::Fixed(&[("containerPort", None), ("protocol", TCP)]))
        }
        ("spec", "ports") => ListKind::Keyed(Keys::Fixed(&[("port", None), ("protocol", TCP)])),
        ("containers" | "initContainers", "volumeMounts") => ListKind::Keyed(Keys::Fixed(&[("mountPath", None)])),
        (_, "volumeDevices") => ListKind::Keyed(Keys::Fixed(&[("devicePath", None)])),
        (_, "hostAliases" | "podIPs") => ListKind::Keyed(Keys::Fixed(&[("ip", None)])),
        (_, "topologySpreadConstraints") => {
            ListKind::Keyed(Keys::Fixed(&[("topologyKey", None), ("whenUnsatisfiable", None)]))
        }
        ("status", "conditions" | "addresses") => ListKind::Keyed(Keys::Fixed(&[("type", None)])),
        ("metadata", "ownerReferences") => ListKind::Keyed(Keys::Fixed(&[("uid", None)])),
        ("metadata", "finalizers") => ListKind::Set,
        _ => ListKind::Atomic,
    }
}

impl ListKind<'_> {
    /// The path element of an item, as FieldsV1 writes it; None where items have no names.
    pub(crate) fn element(self, item: &Value) -> Option<String> {
        match self {
            ListKind::Atomic => None,
            ListKind::Set => Some(format!("v:{item}")),
            ListKind::Keyed(keys) => {
                let mut named = serde_json::Map::new();
                let mut add = |key: &str, default: Option<&str>| {
                    let value = item.get(key).cloned().or_else(|| default.map(Value::from));
                    if let Some(value) = value {
                        named.insert(key.to_owned(), value);
                    }
                };
                match keys {
                    Keys::Fixed(keys) => keys.iter().for_each(|(key, default)| add(key, *default)),
                    Keys::Named(keys) => {
                        keys.as_array().into_iter().flatten().filter_map(Value::as_str).for_each(|key| add(key, None));
                    }
                }
                Some(format!("k:{}", Value::Object(named)))
            }
        }
    }
}
