//! What an account may do, asked of the server itself (`SelfSubjectAccessReview`), right by right as the operation will need them.
//!
//! A right is first asked for in the whole cluster, and only if that is denied in each namespace where it is needed: an account with a `ClusterRole` costs one
//! request for each right, not one for each namespace too.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::{Check, Finding, Findings, Severity};
use crate::cluster::object::at;
use crate::cluster::{Cluster, ClusterError, Created, How, Kind};

/// Questions that are asked at once.
const ASKED_AT_ONCE: usize = 8;

/// One right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right {
    /// Such as `create`.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// As in roles: `pods`, `pods/attach`.
    pub resource: String,
}

/// A right, and where it is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Which.
    pub right: Right,
    /// In this namespace; without one in the whole cluster.
    pub namespace: Option<String>,
    /// Without it only words of errors are missing.
    pub for_words: bool,
}

/// When something is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Always, in the whole cluster.
    Always,
    /// Only for the words of errors.
    Words,
    /// Where movers run.
    Movers,
    /// Where movers run, and Cilium is there.
    Cilium,
    /// Where copies are made of claims, and what they are made from: with a namespace of ours.
    Copies,
    /// In our namespace.
    Home,
    /// In the whole cluster, with a namespace of ours.
    Storage,
}

/// Group, resource, verbs, and when: what a backup of volumes asks of the server. docs/volumes.md grants it; a test compares both, and what is really asked.
const VOLUMES: [(&str, &str, &[&str], When); 24] = [
    ("", "persistentvolumeclaims", &["list"], When::Always),
    ("", "persistentvolumes", &["list"], When::Always),
    ("", "namespaces", &["list"], When::Always),
    ("", "nodes", &["list"], When::Always),
    ("", "pods", &["list"], When::Always),
    ("storage.k8s.io", "storageclasses", &["list"], When::Always),
    ("storage.k8s.io", "csidrivers", &["list"], When::Always),
    ("networking.k8s.io", "networkpolicies", &["list"], When::Always),
    ("cilium.io", "ciliumnetworkpolicies", &["list"], When::Cilium),
    ("", "events", &["list"], When::Words),
    ("", "pods", &["get", "create", "patch", "delete"], When::Movers),
    // Older servers ask for `get` when a connection is upgraded, newer ones for `create`, too.
    ("", "pods/attach", &["get", "create"], When::Movers),
    ("", "pods/log", &["get"], When::Movers),
    ("networking.k8s.io", "networkpolicies", &["get", "create", "delete"], When::Movers),
    ("cilium.io", "ciliumnetworkpolicies", &["get", "create", "delete"], When::Cilium),
    ("snapshot.storage.k8s.io", "volumesnapshotclasses", &["list"], When::Storage),
    ("snapshot.storage.k8s.io", "volumesnapshotcontents", &["get", "list", "create", "patch", "delete"], When::Storage),
    ("snapshot.storage.k8s.io", "volumesnapshots", &["list"], When::Storage),
    ("", "persistentvolumes", &["get", "patch"], When::Storage),
    ("snapshot.storage.k8s.io", "volumesnapshots", &["get", "create", "delete"], When::Copies),
    ("", "persistentvolumeclaims", &["get", "create", "patch", "delete"], When::Copies),
    ("snapshot.storage.k8s.io", "volumesnapshots", &["get", "create", "delete"], When::Home),
    ("", "persistentvolumeclaims", &["get", "create", "patch", "delete"], When::Home),
    ("", "configmaps", &["get", "create", "patch"], When::Home),
];

/// What a backup of volumes will do, as far as rights go.
#[derive(Debug, Clone, Default)]
pub struct OfVolumes {
    /// Namespaces that movers run in.
    pub movers: BTreeSet<String>,
    /// Namespaces of claims that a copy is made of.
    pub copies: BTreeSet<String>,
    /// Nobody knows where: everywhere.
    pub anywhere: bool,
    /// Our namespace.
    pub home: Option<String>,
    /// The cluster has the kinds of Cilium.
    pub cilium: bool,
    /// It has those of CSI snapshots.
    pub snapshots: bool,
}

impl OfVolumes {
    /// Everything that it needs.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let mut needs = BTreeSet::new();
        for (group, resource, verbs, when) in VOLUMES {
            let unknown =
                (group == "cilium.io" && !self.cilium) || (group == "snapshot.storage.k8s.io" && !self.snapshots);
            if unknown {
                continue;
            }
            let somewhere = |namespaces: &BTreeSet<String>| {
                if self.anywhere { vec![None] } else { namespaces.iter().cloned().map(Some).collect::<Vec<_>>() }
            };
            let places = match when {
                When::Always | When::Words => vec![None],
                When::Storage => self.home.iter().map(|_| None).collect(),
                // Listed by the sweep, wherever they are.
                When::Cilium if verbs == ["list"] => vec![None],
                When::Movers | When::Cilium => somewhere(&self.movers),
                // Without a namespace of ours there are none.
                When::Copies if self.home.is_none() => Vec::new(),
                When::Copies => somewhere(&self.copies),
                When::Home => self.home.iter().cloned().map(Some).collect(),
            };
            for (verb, namespace) in verbs.iter().flat_map(|verb| places.iter().map(move |place| (*verb, place))) {
                let right = Right { verb: verb.to_owned(), group: group.to_owned(), resource: resource.to_owned() };
                needs.insert(Need { right, namespace: namespace.clone(), for_words: when == When::Words });
            }
        }
        needs.into_iter().collect()
    }
}

async fn may(cluster: &dyn Cluster, right: &Right, namespace: Option<&str>) -> Result<bool, ClusterError> {
    let kind = Kind::known("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", false);
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
    let review = json!({
        "apiVersion": kind.api_version(), "kind": kind.name, "metadata": {},
        "spec": {"resourceAttributes": {
            "verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource,
            "namespace": namespace.unwrap_or_default(),
        }},
    });
    // Nothing is kept of a review; the server answers in the object that asks.
    let (Created::New(answer) | Created::Found(answer)) = cluster.create(&kind, &review, How::Really).await?;
    Ok(at(&answer, &["status", "allowed"]) == true)
}

/// Those of the needs that the account does not have.
pub async fn missing(cluster: &dyn Cluster, needs: &[Need]) -> Result<Vec<Need>, ClusterError> {
    let rights: BTreeSet<&Right> = needs.iter().map(|need| &need.right).collect();
    let everywhere: BTreeSet<&Right> = stream::iter(rights)
        .map(|right| async move { may(cluster, right, None).await.map(|may| may.then_some(right)) })
        .buffered(ASKED_AT_ONCE)
        .try_filter_map(|allowed| async move { Ok(allowed) })
        .try_collect()
        .await?;
    let rest = needs.iter().filter(|need| !everywhere.contains(&need.right));
    stream::iter(rest)
        .map(|need| async move {
            let Some(namespace) = need.namespace.as_deref() else { return Ok(Some(need.clone())) };
            Ok(if may(cluster, &need.right, Some(namespace)).await? { None } else { Some(need.clone()) })
        })
        .buffered(ASKED_AT_ONCE)
        .try_filter_map(|missing| async move { Ok(missing) })
        .try_collect()
        .await
}

/// A rule of a role, as YAML.
pub(super) fn rule(group: &str, resource: &str, verbs: &[&str]) -> String {
    let group = if group.is_empty() { "''" } else { group };
    format!("- apiGroups: [{group}]\n  resources: [{resource}]\n  verbs: [{}]", verbs.join(", "))
}

/// What to do about a missing rule; the page has the whole role, if one has it.
pub(super) fn add_to_role(page: &str, rule: &str) -> String {
    let page = if page.is_empty() { String::new() } else { format!(" (docs/{page} has the whole role)") };
    format!("add this rule to the role of this account{page}:\n{rule}")
}

/// A finding for each resource and place of which rights are missing, or one that all are there.
pub(super) fn judge(findings: &mut Findings, asked: usize, missing: &[Need], page: &str) {
    let mut by_place: BTreeMap<(&str, &str, Option<&str>, bool), Vec<&str>> = BTreeMap::new();
    for Need { right, namespace, for_words } in missing {
        let key = (right.group.as_str(), right.resource.as_str(), namespace.as_deref(), *for_words);
        by_place.entry(key).or_default().push(&right.verb);
    }
    for ((group, resource, namespace, for_words), verbs) in &by_place {
        let place = namespace.map_or_else(|| "in the whole cluster".to_owned(), |name| format!("in namespace {name}"));
        let on = if group.is_empty() { (*resource).to_owned() } else { format!("{resource}.{group}") };
        let (severity, why) = if *for_words {
            (Severity::Doubtful, "only words of errors would be missing")
        } else {
            (Severity::Blocks, "the server says so (SelfSubjectAccessReview)")
        };
        let what = format!("the account may not {} them {place}", verbs.join(", "));
        let mend = add_to_role(page, &rule(group, resource, verbs));
        findings.add(Finding::new(severity, Check::Rights, on, what).because(why).mended_by(mend));
    }
    if by_place.is_empty() && asked > 0 {
        findings.fine(Check::Rights, "the account", format!("has all of the {asked} rights that are needed"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Everything that the role of a page grants, as group, resource and verb.
    fn granted(page: &str) -> BTreeSet<(String, String, String)> {
        let (_, rest) = page.split_once("```yaml rights\n").expect("the block is marked");
        let (text, _) = rest.split_once("\n```").expect("closed");
        let role: Value = serde_saphyr::from_str(text).expect("a manifest");
        let list = |rule: &Value, field: &str| -> Vec<String> {
            let items = rule.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
            items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let mut all = BTreeSet::new();
        for rule in role.get("rules").and_then(Value::as_array).expect("rules") {
            for group in list(rule, "apiGroups") {
                for resource in list(rule, "resources") {
                    all.extend(list(rule, "verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
                }
            }
        }
        all
    }

    #[test]
    fn the_documented_role_has_all_that_is_asked_for() {
        let role = granted(include_str!("../../docs/volumes.md"));
        for (group, resource, verbs, _) in VOLUMES {
            for verb in verbs {
                let right = (group.to_owned(), resource.to_owned(), (*verb).to_owned());
                assert!(role.contains(&right), "{right:?}");
            }
        }
        // And of everything that it grants at least one verb is needed.
        for (group, resource, _) in role {
            assert!(VOLUMES.iter().any(|(g, r, ..)| *g == group && *r == resource), "{resource}.{group}");
        }
    }

    #[test]
    fn what_is_needed_depends_on_where_movers_run_and_what_the_cluster_has() {
        let of = |movers: &[&str], home: Option<&str>, cilium| {
            let movers = movers.iter().map(|name| (*name).to_owned()).collect();
            OfVolumes { movers, home: home.map(str::to_owned), cilium, snapshots: true, ..OfVolumes::default() }.needs()
        };
        let has = |needs: &[Need], resource: &str, namespace: Option<&str>| {
            needs.iter().any(|need| need.right.resource == resource && need.namespace.as_deref() == namespace)
        };
        let plain = of(&["media"], None, false);
        assert!(has(&plain, "pods/attach", Some("media")) && !has(&plain, "configmaps", None));
        assert!(!has(&plain, "ciliumnetworkpolicies", Some("media")) && !has(&plain, "volumesnapshotclasses", None));
        let more = of(&["media"], Some("backup"), true);
        assert!(has(&more, "ciliumnetworkpolicies", Some("media")) && has(&more, "configmaps", Some("backup")));
        assert!(has(&more, "volumesnapshotcontents", None) && has(&more, "ciliumnetworkpolicies", None));
    }

    #[test]
    fn what_is_missing_is_told_as_a_rule_that_can_be_pasted() {
        let need = |verb: &str| Need {
            right: Right { verb: verb.into(), group: String::new(), resource: "pods/attach".into() },
            namespace: Some("media".into()),
            for_words: false,
        };
        let mut findings = Findings::default();
        judge(&mut findings, 9, &[need("create"), need("get")], "volumes.md");
        let [finding] = findings.findings.as_slice() else { unreachable!("one place") };
        assert_eq!((finding.severity, finding.on.as_str()), (Severity::Blocks, "pods/attach"));
        assert_eq!(finding.what, "the account may not create, get them in namespace media");
        let (_, rule) = finding.mend.split_once('\n').expect("a rule follows");
        let parsed: Value = serde_saphyr::from_str(rule).expect("YAML");
        assert_eq!(parsed, json!([{"apiGroups": [""], "resources": ["pods/attach"], "verbs": ["create", "get"]}]));
        let mut well = Findings::default();
        judge(&mut well, 9, &[], "volumes.md");
        assert!(!well.blocks() && well.count(Severity::Fine) == 1);
    }
}
