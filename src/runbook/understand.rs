//! From a step's tree that was judged right, variables replaced and defaults filled in, to a [`Step`]. `None` would be a bug of the judge.

use std::path::PathBuf;

use super::step::{
    Action, Answer, Check, Claim, InPod, Object, OnFailure, Origin, Overwrite, Probe, Query, Quiet, RestoreFiles,
    RestoreResources, RestoreVolume, Step,
};
use crate::base::units::{parse_percent, parse_size};
use crate::language::take::{named_texts, optional, text, texts, time, truth};
use crate::language::{Node, Value};

/// A step below its heading. Its needs, and whether it is one for a failure, are known of all steps together.
pub(super) fn step(node: &Node, title: &str) -> Option<Step> {
    let action = action(node)?;
    let is_destructive = action.is_destructive() || truth(node, "destructive").unwrap_or_default();
    Some(Step {
        id: text(node, "id")?,
        title: title.to_owned(),
        needs: Vec::new(),
        timeout: time(node, "timeout").ok()??,
        action,
        verify: node.field("verify").map_or(Some(Vec::new()), checks)?,
        on_failure: on_failure(node.field("on_failure")?)?,
        is_destructive,
        is_compensation: false,
    })
}

fn on_failure(node: &Node) -> Option<OnFailure> {
    if node.field("run").is_some() {
        return texts(node, "run").map(OnFailure::Run);
    }
    match node.text()? {
        "stop" => Some(OnFailure::Stop),
        "continue" => Some(OnFailure::Continue),
        "ask" => Some(OnFailure::Ask),
        _ => None,
    }
}

fn action(node: &Node) -> Option<Action> {
    let kind = super::language::kinds().find(|kind| node.field(kind).is_some())?;
    let of = node.field(kind)?;
    match kind {
        "restore.volume" => volume(of).map(Action::RestoreVolume),
        "restore.resources" => resources(of).map(Action::RestoreResources),
        "restore.files" => files(of).map(Action::RestoreFiles),
        "datastore.restore" => {
            let data_dir = text(of.field("k3s")?, "data_dir")?.into();
            Some(Action::RestoreDatastore { from: from(of)?, data_dir })
        }
        "gitops.pause" | "gitops.resume" => Some(Action::Gitops {
            pause: kind == "gitops.pause",
            namespaces: texts(of, "namespaces")?,
            names: texts(of, "names")?,
        }),
        "scale" => Some(Action::Scale { object: object(&text(of, "object")?)?, replicas: whole(of, "replicas")? }),
        "quiesce" => Some(Action::Quiesce {
            claims: texts(of, "claims")?.iter().map(|text| claim(text)).collect::<Option<_>>()?,
            how: quiet(of)?,
            until: text(of, "until"),
        }),
        "wait" => match of.field("until") {
            Some(until) => Some(Action::WaitUntil { checks: checks(until)?, every: time(of, "every").ok()?? }),
            None => time(of, "time").ok()?.map(Action::Pause),
        },
        "check" => checks(of).map(Action::Check),
        "exec" => in_pod(of).map(Action::Exec),
        "run" => texts(of, "argv").map(Action::Run),
        "notify" => text(of, "message").map(Action::Notify),
        "manual" => text(of, "confirm").map(Action::Manual),
        _ => None,
    }
}

fn whole(node: &Node, name: &str) -> Option<u64> {
    node.field(name)?.text()?.parse().ok()
}

fn path(node: &Node, name: &str) -> Option<PathBuf> {
    text(node, name).map(PathBuf::from)
}

fn claim(text: &str) -> Option<Claim> {
    let (namespace, name) = text.split_once('/')?;
    Some(Claim { namespace: namespace.to_owned(), name: name.to_owned() })
}

fn object(text: &str) -> Option<Object> {
    let (namespace, rest) = text.split_once('/')?;
    let (kind, name) = rest.split_once('/')?;
    let (resource, group) = kind.split_once('.').unwrap_or((kind, ""));
    Some(Object {
        namespace: (namespace != "_cluster").then(|| namespace.to_owned()),
        resource: resource.to_owned(),
        group: group.to_owned(),
        name: name.to_owned(),
    })
}

fn from(node: &Node) -> Option<Origin> {
    Some(Origin { source: text(node, "source")?, snapshot: text(node, "snapshot")? })
}

/// Without `into` the claim is that of the source; the judge knows that a source without one needs it.
fn volume(node: &Node) -> Option<RestoreVolume> {
    let from = from(node)?;
    let into = match text(node, "into") {
        Some(into) => claim(&into)?,
        None => claim(from.source.strip_prefix("pvc/")?)?,
    };
    Some(RestoreVolume {
        into,
        in_place: truth(node, "in_place")?,
        storage_class: text(node, "storage_class"),
        size: optional(node, "size", |text| parse_size(text).ok()).ok()?,
        from,
    })
}

fn resources(node: &Node) -> Option<RestoreResources> {
    Some(RestoreResources {
        from: from(node)?,
        include: texts(node, "include")?,
        exclude: texts(node, "exclude")?,
        namespaces: named_texts(node, "namespaces")?,
        nodes: named_texts(node, "nodes")?,
        storage_classes: named_texts(node, "storage_classes")?,
        update: text(node, "existing")? == "update",
        latest_volumes: text(node, "volumes_at")? == "latest",
        empty_volumes: truth(node, "empty_volumes")?,
        may_be_empty: texts(node, "may_be_empty")?.into_iter().collect(),
        with_derived_secrets: truth(node, "with_derived_secrets")?,
        drill: None,
    })
}

fn files(node: &Node) -> Option<RestoreFiles> {
    Some(RestoreFiles {
        from: from(node)?,
        path: text(node, "path"),
        target: path(node, "target")?,
        include: texts(node, "include")?,
        exclude: texts(node, "exclude")?,
        overwrite: match text(node, "overwrite")?.as_str() {
            "never" => Overwrite::Never,
            "changed" => Overwrite::Changed,
            "always" => Overwrite::Always,
            _ => return None,
        },
        delete: truth(node, "delete")?,
        no_owner: truth(node, "no_owner")?,
    })
}

fn quiet(node: &Node) -> Option<Quiet> {
    match (node.field("scale"), node.field("command"), node.field("handshake")) {
        (Some(_), None, None) => Some(Quiet::Scale),
        (None, Some(command), None) => Some(Quiet::Command {
            container: text(command, "container"),
            before: texts(command, "before")?,
            after: texts(command, "after")?,
        }),
        (None, None, Some(_)) => Some(Quiet::Handshake),
        _ => None,
    }
}

fn in_pod(node: &Node) -> Option<InPod> {
    Some(InPod {
        object: object(&text(node, "object")?)?,
        container: text(node, "container"),
        argv: texts(node, "argv")?,
    })
}

fn checks(node: &Node) -> Option<Vec<Check>> {
    node.elements().iter().map(check).collect()
}

fn check(node: &Node) -> Option<Check> {
    Some(Check {
        probe: probe(node)?,
        retries: match node.field("retries") {
            Some(_) => Some(whole(node, "retries")?),
            None => None,
        },
        deadline: time(node, "deadline").ok()?,
        every: time(node, "every").ok()??,
    })
}

fn answer(node: &Node) -> Option<Answer> {
    match (node.field("at_least"), node.field("equals")) {
        (Some(_), None) => whole(node, "at_least").map(Answer::AtLeast),
        (None, Some(equals)) => super::variables::as_text(&equals.value).map(Answer::Equals),
        (None, None) => Some(Answer::Any),
        (Some(_), Some(_)) => None,
    }
}

fn query(node: &Node) -> Option<Query> {
    Some(Query {
        address: text(node, "address"),
        database: text(node, "database"),
        user: text(node, "user"),
        password_file: path(node, "password_file"),
        query: text(node, "query")?,
        answer: answer(node)?,
    })
}

fn probe(node: &Node) -> Option<Probe> {
    let known = ["retries", "deadline", "every"];
    let (kind, of) = node.entries().iter().find(|(name, _)| !known.contains(&name.text.as_str()))?;
    match kind.text.as_str() {
        "files" => text(of, "sample").and_then(|share| parse_percent(&share).ok()).map(Probe::Files),
        "no-empty" => whole(of, "at_least").map(Probe::NoEmpty),
        "ready" => match text(of, "namespace") {
            Some(namespace) => Some(Probe::NamespaceReady(namespace)),
            None => texts(of, "objects")?.iter().map(|text| object(text)).collect::<Option<_>>().map(Probe::Ready),
        },
        "condition" => Some(Probe::Condition {
            object: object(&text(of, "object")?)?,
            condition: text(of, "type")?,
            status: text(of, "status")?,
        }),
        "room" => Some(Probe::Room {
            claim: claim(&text(of, "claim")?)?,
            at_least: text(of, "at_least").and_then(|share| parse_percent(&share).ok())?,
        }),
        "http" => {
            Some(Probe::Http { url: text(of, "url")?, status: whole(of, "status")?, contains: text(of, "contains") })
        }
        "tcp" => text(of, "address").map(Probe::Tcp),
        "dns" => {
            Some(Probe::Dns { name: text(of, "name")?, addresses: texts(of, "addresses")?, server: text(of, "server") })
        }
        "tls" => Some(Probe::Tls {
            address: text(of, "address")?,
            name: text(of, "name"),
            valid_for: time(of, "valid_for").ok()??,
        }),
        "postgres" => query(of).map(Probe::Postgres),
        "mysql" => query(of).map(Probe::Mysql),
        "sqlite" => Some(Probe::Sqlite {
            claim: text(of, "claim").map(|text| claim(&text).ok_or(())).transpose().ok()?,
            file: path(of, "file")?,
            query: text(of, "query"),
            answer: answer(of)?,
        }),
        "exec" => Some(Probe::Exec { what: in_pod(of)?, contains: text(of, "contains") }),
        "run" => Some(Probe::Run { argv: texts(of, "argv")?, contains: text(of, "contains") }),
        _ => None,
    }
}

/// What the front matter says, but for its parameters.
pub(super) fn objectives(front: &Node) -> Option<super::Objectives> {
    match front.field("objectives") {
        None => Some(super::Objectives::default()),
        Some(node) => Some(super::Objectives { rto: time(node, "rto").ok()?, rpo: time(node, "rpo").ok()? }),
    }
}

/// The parameters, in the order of the file.
pub(super) fn parameters(front: &Node) -> Option<Vec<super::Parameter>> {
    let entries = front.field("parameters").map(Node::entries).unwrap_or_default();
    let value = |node: &Node, name: &str| node.field(name).and_then(|node| super::variables::as_text(&node.value));
    let parameter = |(name, node): &(crate::language::Name, Node)| {
        Some(super::Parameter {
            name: name.text.clone(),
            kind: super::Type::parse(&text(node, "type")?)?,
            description: text(node, "description")?,
            default: value(node, "default"),
            example: value(node, "example"),
            values: node.field("values").map_or(Some(Vec::new()), |_| texts(node, "values"))?,
        })
    };
    entries.iter().map(parameter).collect()
}

/// How many steps at once.
pub(super) fn parallel(front: &Node) -> Option<usize> {
    match &front.field("parallel")?.value {
        Value::Number(text) => text.parse().ok(),
        _ => None,
    }
}
