//! What there is, as far as a recovery has to know it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::About;
use crate::cluster::Kind;
use crate::cluster::object::{annotation, at, controller_of, items, name_of, namespace_of, text};
use crate::cluster::order::{Stage, is_converted, place};
use crate::cluster::rewrite::skip::{Facts, Skip, skip};
use crate::volumes::labels::BACKUP;
use crate::volumes::quantity;

/// Namespaces that every cluster has.
const OWN: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// What images of databases are called, behind the last `/`.
const DATABASES: [&str; 12] = [
    "postgres",
    "postgresql",
    "pgvecto-rs",
    "pgvector",
    "timescaledb",
    "postgis",
    "mariadb",
    "mysql",
    "percona",
    "mongo",
    "mongodb",
    "influxdb",
];
const POSTGRES: [&str; 6] = ["postgres", "postgresql", "pgvecto-rs", "pgvector", "timescaledb", "postgis"];

/// A claim and how much is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// What is known to be in it, not what it asks for.
    pub(super) is_known: bool,
}

/// A workload whose image is that of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Database {
    /// As a runbook writes it.
    pub(super) object: String,
    pub(super) image: String,
    /// Its container, where it says `pg_isready`.
    pub(super) postgres: Option<String>,
}

/// A namespace.
#[derive(Debug, Clone, Default)]
pub(super) struct Space {
    pub(super) objects: u64,
    pub(super) workloads: BTreeSet<String>,
    pub(super) claims: Vec<Claim>,
    /// Claims that are left out of the backup on purpose, as a runbook writes them.
    pub(super) left_out: BTreeSet<String>,
    /// Volumes that somebody made for its claims: they come with those, or not at all.
    pub(super) volumes: BTreeSet<String>,
    pub(super) databases: Vec<Database>,
    /// Databases that their operator brings back, as a runbook writes them.
    pub(super) by_operator: Vec<String>,
    /// Certificates of cert-manager.
    pub(super) certificates: BTreeSet<String>,
    /// Hosts of its pages.
    pub(super) hosts: BTreeSet<String>,
    /// Its workloads may do something in the whole cluster: others need them.
    pub(super) serves_others: bool,
    /// Secrets that others come by.
    pub(super) secrets: BTreeSet<String>,
}

impl Space {
    pub(super) fn bytes(&self) -> u64 {
        self.claims.iter().map(|claim| claim.bytes).sum()
    }

    /// Whether nothing but databases runs in it.
    pub(super) fn is_database(&self) -> bool {
        !self.databases.is_empty() && self.databases.len() == self.workloads.len()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) spaces: BTreeMap<String, Space>,
    /// Kinds of objects in no namespace, by when they come.
    pub(super) wide: BTreeMap<Stage, BTreeSet<String>>,
    /// Kinds that come last, in namespaces too.
    pub(super) gates: BTreeSet<String>,
    pub(super) gitops: BTreeSet<String>,
    /// Storage classes of claims, and who makes their volumes.
    pub(super) classes: BTreeMap<String, String>,
    /// Whether the cluster's own DNS runs as a workload.
    pub(super) has_coredns: bool,
    /// Claims anywhere that are left out of the backup on purpose.
    pub(super) left_out: BTreeSet<String>,
    /// Kinds that are defined.
    pub(super) definitions: BTreeSet<String>,
}

/// Whether a name can stand in a runbook as it is. Kubernetes' own can; what a folder holds can be anything.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !name.is_empty() && name.len() <= 253 && name.chars().all(plain) && !name.starts_with(['-', '.'])
}

/// A host that a visitor could ask for.
fn is_host(host: &str) -> bool {
    is_plain(host) && host.contains('.') && !host.split('.').any(|part| part == "svc")
}

fn is_workload(kind: &Kind) -> bool {
    kind.group == "apps" && matches!(kind.name.as_str(), "Deployment" | "StatefulSet" | "DaemonSet")
}

/// What a selector of Traefik, ``Host(`a.example`) || Host(`b.example`)``, names.
fn hosts_of_rule(rule: &str) -> impl Iterator<Item = &str> {
    rule.split("Host(")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .flat_map(|inner| inner.split(','))
        .map(|host| host.trim().trim_matches('`'))
}

/// Hosts that lead to pages.
fn hosts(kind: &Kind, object: &Value) -> Vec<String> {
    let words = |list: &[Value]| list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    match (kind.group.as_str(), kind.name.as_str()) {
        ("networking.k8s.io", "Ingress") => {
            items(object, &["spec", "rules"]).iter().map(|rule| text(rule, &["host"]).to_owned()).collect()
        }
        ("gateway.networking.k8s.io", "HTTPRoute") => words(items(object, &["spec", "hostnames"])),
        ("traefik.io" | "traefik.containo.us", "IngressRoute") => {
            let rules = items(object, &["spec", "routes"]).iter();
            rules.flat_map(|route| hosts_of_rule(text(route, &["match"]))).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// The name of an image without registry, tag and digest.
fn image_name(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(['@', ':']).next().unwrap_or(last)
}

fn database(kind: &Kind, object: &Value) -> Option<Database> {
    let containers = items(object, &["spec", "template", "spec", "containers"]);
    let image = |container: &Value| text(container, &["image"]).to_owned();
    let is = |container: &&Value| DATABASES.contains(&image_name(&image(container)));
    let found = containers.iter().find(is)?;
    let (image, name) = (image(found), text(found, &["name"]));
    // A name of an image is of the same signs, and of those that part it.
    if !image.split(['/', ':', '@', '_']).all(|part| part.is_empty() || is_plain(&part.to_lowercase()))
        || !is_plain(name_of(object))
    {
        return None;
    }
    let postgres = (POSTGRES.contains(&image_name(&image)) && is_plain(name)).then(|| name.to_owned());
    let object = format!("{}/{kind}/{}", namespace_of(object).unwrap_or_default(), name_of(object));
    Some(Database { object, image, postgres })
}

/// Accounts that a binding of the whole cluster names: namespace and name.
fn bound_accounts(binding: &Value) -> impl Iterator<Item = (String, String)> {
    let accounts = items(binding, &["subjects"]).iter().filter(|subject| text(subject, &["kind"]) == "ServiceAccount");
    accounts.map(|subject| (text(subject, &["namespace"]).to_owned(), text(subject, &["name"]).to_owned()))
}

/// Namespaces of services that the API server asks for every cluster: webhooks and aggregated APIs.
fn answering<'a>(kind: &Kind, object: &'a Value) -> Vec<&'a str> {
    match (kind.group.as_str(), kind.name.as_str()) {
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            let hooks = items(object, &["webhooks"]).iter();
            hooks.map(|hook| text(hook, &["clientConfig", "service", "namespace"])).collect()
        }
        ("apiregistration.k8s.io", "APIService") => vec![text(object, &["spec", "service", "namespace"])],
        _ => Vec::new(),
    }
}

fn facts(about: &About<'_>) -> Facts {
    let mut facts = Facts { alive: true, ..Facts::default() };
    about.objects.iter().for_each(|captured| facts.hear(&captured.kind, &captured.object, true));
    facts
}

impl Survey {
    pub(super) fn of(about: &About<'_>) -> Self {
        let (mut survey, facts) = (Self::default(), facts(about));
        let converted: BTreeSet<(String, String)> = about
            .objects
            .iter()
            .filter(|one| one.kind.name == "CustomResourceDefinition" && is_converted(&one.object))
            .map(|one| {
                (
                    text(&one.object, &["spec", "group"]).to_owned(),
                    text(&one.object, &["spec", "names", "kind"]).to_owned(),
                )
            })
            .collect();
        let is_converted = |kind: &Kind| converted.contains(&(kind.group.clone(), kind.name.clone()));
        let bound: BTreeSet<(String, String)> = about
            .objects
            .iter()
            .filter(|one| one.kind.is("rbac.authorization.k8s.io", "ClusterRoleBinding"))
            .flat_map(|one| bound_accounts(&one.object).collect::<Vec<_>>())
            .collect();
        for one in about.objects {
            let (kind, object) = (&one.kind, &one.object);
            let stage = place(kind, object, &is_converted).0;
            let why = skip(kind, object, &facts);
            if kind.is("apps", "Deployment")
                && namespace_of(object) == Some("kube-system")
                && name_of(object) == "coredns"
            {
                survey.has_coredns = true;
            }
            match namespace_of(object) {
                None => survey.wide_object(kind, object, stage, why.as_ref()),
                Some(namespace) => survey.object((kind, object), namespace, (stage, why.as_ref()), about),
            }
            if why.is_none() && is_workload(kind) && controller_of(object).is_none() {
                survey.serves(object, &bound);
            }
        }
        for one in about.objects {
            for namespace in answering(&one.kind, &one.object) {
                if let Some(space) = survey.spaces.get_mut(namespace) {
                    space.serves_others = true;
                }
            }
        }
        survey.name_classes(about);
        let chosen = |namespace: &String| about.namespaces.is_empty() || about.namespaces.contains(namespace);
        survey.spaces.retain(|namespace, space| chosen(namespace) && space.objects > 0 && is_plain(namespace));
        survey
    }

    fn last(&mut self, kind: &Kind, stage: Stage) -> bool {
        match stage {
            Stage::Gates => self.gates.insert(kind.to_string()),
            Stage::Gitops => self.gitops.insert(kind.to_string()),
            _ => return false,
        };
        true
    }

    fn wide_object(&mut self, kind: &Kind, object: &Value, stage: Stage, why: Option<&Skip>) {
        if why.is_some() || self.last(kind, stage) {
            return;
        }
        if kind.is("", "PersistentVolume") {
            let space = self.spaces.entry(text(object, &["spec", "claimRef", "namespace"]).to_owned()).or_default();
            space.volumes.extend(Some(name_of(object)).filter(|name| is_plain(name)).map(str::to_owned));
            return;
        }
        if kind.name == "CustomResourceDefinition" && is_plain(name_of(object)) {
            self.definitions.insert(name_of(object).to_owned());
        }
        self.wide.entry(stage).or_default().insert(kind.to_string());
    }

    fn object(
        &mut self,
        (kind, object): (&Kind, &Value),
        namespace: &str,
        (stage, why): (Stage, Option<&Skip>),
        about: &About<'_>,
    ) {
        let name = name_of(object);
        let is_left_out =
            why.is_none() && kind.is("", "PersistentVolumeClaim") && annotation(object, BACKUP) == "false";
        if is_left_out && is_plain(namespace) && is_plain(name) {
            self.left_out.insert(format!("{namespace}/{name}"));
        }
        if OWN.contains(&namespace) && about.namespaces.is_empty() {
            return;
        }
        let space = self.spaces.entry(namespace.to_owned()).or_default();
        space.left_out.extend(self.left_out.get(&format!("{namespace}/{name}")).filter(|_| is_left_out).cloned());
        if why == Some(&Skip::RecoveredByItsOperator) && is_plain(name) {
            space.by_operator.push(format!("{namespace}/{kind}/{name}"));
        }
        if why.is_some() {
            return;
        }
        space.objects += 1;
        if stage == Stage::BootstrapSecrets && is_plain(name) {
            space.secrets.insert(name.to_owned());
        }
        space.hosts.extend(hosts(kind, object).into_iter().filter(|host| is_host(host)));
        if kind.is("cert-manager.io", "Certificate") && is_plain(name) {
            space.certificates.insert(name.to_owned());
        }
        if is_workload(kind) && controller_of(object).is_none() {
            space.workloads.insert(format!("{namespace}/{kind}/{name}"));
            space.databases.extend(database(kind, object));
        }
        if kind.is("", "PersistentVolumeClaim") {
            let known = about.bytes.get(&(namespace.to_owned(), name.to_owned())).copied();
            let asked = || quantity::bytes(text(object, &["spec", "resources", "requests", "storage"])).unwrap_or(0);
            space.claims.push(Claim {
                name: if is_plain(name) { name.to_owned() } else { "another".to_owned() },
                bytes: known.unwrap_or_else(asked),
                is_known: known.is_some(),
            });
            let class = text(object, &["spec", "storageClassName"]);
            if is_plain(class) {
                self.classes.entry(class.to_owned()).or_default();
            }
        }
        self.last(kind, stage);
    }

    /// A workload whose account is bound in the whole cluster serves others: an operator, a controller, a collector.
    fn serves(&mut self, object: &Value, bound: &BTreeSet<(String, String)>) {
        let namespace = namespace_of(object).unwrap_or_default();
        let account = match text(object, &["spec", "template", "spec", "serviceAccountName"]) {
            "" => "default",
            account => account,
        };
        if bound.contains(&(namespace.to_owned(), account.to_owned()))
            && let Some(space) = self.spaces.get_mut(namespace)
        {
            space.serves_others = true;
        }
    }

    fn name_classes(&mut self, about: &About<'_>) {
        for one in about.objects.iter().filter(|one| one.kind.is("storage.k8s.io", "StorageClass")) {
            if let Some(maker) = self.classes.get_mut(name_of(&one.object)) {
                at(&one.object, &["provisioner"]).as_str().unwrap_or_default().clone_into(maker);
            }
        }
    }
}
