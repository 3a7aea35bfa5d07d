//! A check in one line, for people: what is looked at, with every variable replaced.

use crate::base::units;
use crate::runbook::{Answer, Object, Probe, Query};

/// An object, as a runbook writes it.
pub(crate) fn name_of(object: &Object) -> String {
    let group = if object.group.is_empty() { String::new() } else { format!(".{}", object.group) };
    let namespace = object.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{namespace}{}{group}/{}", object.resource, object.name)
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Any => String::new(),
        Answer::AtLeast(least) => format!(" gives at least {least}"),
        Answer::Equals(wanted) => format!(" gives {wanted:?}"),
    }
}

fn query(kind: &str, of: &Query) -> String {
    let place = of.address.as_deref().unwrap_or("on a copy of the data directory");
    format!("{kind} {place}: {}{}", of.query, answer(&of.answer))
}

/// A check in one line.
#[must_use]
pub fn describe(probe: &Probe) -> String {
    match probe {
        Probe::Files(share) => format!("files: as in the snapshot, {share}% of the content read"),
        Probe::NoEmpty(at_least) => {
            format!("no-empty: at least {at_least} file{}", if *at_least == 1 { "" } else { "s" })
        }
        Probe::Ready(objects) => format!("ready: {}", objects.iter().map(name_of).collect::<Vec<_>>().join(", ")),
        Probe::NamespaceReady(namespace) => format!("ready: namespace {namespace}"),
        Probe::Condition { object: of, condition, status } => {
            format!("condition: {} {condition} {status}", name_of(of))
        }
        Probe::Room { claim, at_least } => {
            format!("room: {}/{} has at least {at_least}% free", claim.namespace, claim.name)
        }
        Probe::Http { url, status, contains } => {
            let contains = contains.as_ref().map(|text| format!(" with {text:?}")).unwrap_or_default();
            format!("http: {url} answers {status}{contains}")
        }
        Probe::Tcp(address) => format!("tcp: {address}"),
        Probe::Dns { name, addresses, server } => {
            let addresses = if addresses.is_empty() { String::new() } else { format!(" has {}", addresses.join(", ")) };
            let server = server.as_ref().map(|server| format!(" by {server}")).unwrap_or_default();
            format!("dns: {name}{addresses}{server}")
        }
        Probe::Tls { address, name, valid_for } => {
            let name = name.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
            format!("tls: {address}{name} lasts {}", units::duration(*valid_for))
        }
        Probe::Postgres(of) => query("postgres", of),
        Probe::Mysql(of) => query("mysql", of),
        Probe::Sqlite { claim, file, query, answer: wanted } => {
            let claim = claim.as_ref().map(|claim| format!("{}/{} ", claim.namespace, claim.name)).unwrap_or_default();
            let query = query.as_ref().map(|query| format!(": {query}{}", answer(wanted))).unwrap_or_default();
            format!("sqlite: {claim}{}{query}", file.display())
        }
        Probe::Exec { what, contains } => {
            let contains = contains.as_ref().map(|text| format!(" says {text:?}")).unwrap_or_default();
            format!("exec: {} in {}{contains}", what.argv.join(" "), name_of(&what.object))
        }
        Probe::Run { argv, contains } => {
            let contains = contains.as_ref().map(|text| format!(" says {text:?}")).unwrap_or_default();
            format!("run: {}{contains}", argv.join(" "))
        }
    }
}
