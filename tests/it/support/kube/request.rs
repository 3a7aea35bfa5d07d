//! What a request asks for: its path, query and verb.

use hyper::Method;

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Path {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
}

impl Path {
    /// Of `/api/v1/…` and `/apis/<group>/<version>/…`; None for anything else, also for the bare versions.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let decoded: Vec<String> = path.trim_matches('/').split('/').map(percent_decoded).collect();
        let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // A namespace itself, or its subresource, or something within it.
            ["namespaces", _, "status" | "finalize"] | ["namespaces"] | ["namespaces", _] => ("", rest),
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            _ => ("", rest),
        };
        let (resource, name, subresource) = match rest {
            [] => return None,
            [resource] => (*resource, "", String::new()),
            [resource, name] => (*resource, *name, String::new()),
            [resource, name, subresource @ ..] => (*resource, *name, subresource.join("/")),
        };
        Some(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: namespace.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            subresource,
        })
    }
}

fn percent_decoded(text: &str) -> String {
    // A plus is a plus in a path.
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    if text.contains('%') { pairs.map(|(key, _)| key.into_owned()).collect() } else { text.to_owned() }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned())).collect())
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1" | "True")
    }
}

/// The verb that access is decided by.
pub(crate) fn verb(method: &Method, path: &Path, query: &Query) -> &'static str {
    let single = !path.name.is_empty();
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if single => "delete",
        Method::DELETE => "deletecollection",
        _ if query.is("watch") && path.subresource.is_empty() => "watch",
        _ if single => "get",
        _ => "list",
    }
}
