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
