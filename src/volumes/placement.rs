//! Which nodes a volume can be mounted on, by the node affinity of its `PersistentVolume`; and which take the pods of a template.

use serde_json::Value;

use super::facts::Node;
use crate::cluster::object::{at, items, text};

/// Whether a node fits a node selector (`nodeSelectorTerms`): any of its terms, all of the term's expressions.
#[must_use]
pub fn fits(selector: &Value, node: &Node) -> bool {
    items(selector, &["nodeSelectorTerms"]).iter().any(|term| {
        let expressions = items(term, &["matchExpressions"]);
        let fields = items(term, &["matchFields"]);
        // An empty term matches nothing.
        !(expressions.is_empty() && fields.is_empty())
            && expressions.iter().all(|it| matches(it, node.labels.get(text(it, &["key"])).map(String::as_str)))
            && fields.iter().all(|it| text(it, &["key"]) == "metadata.name" && matches(it, Some(&node.name)))
    })
}

/// Whether the scheduler may put pods of this spec onto a node: its labels, what the pod insists on, and the taints. What is free there is not known here.
#[must_use]
pub fn takes(spec: &Value, node: &Node) -> bool {
    let labels = at(spec, &["nodeSelector"]).as_object().into_iter().flatten();
    let mut labels = labels.map(|(key, value)| node.labels.get(key).map(String::as_str) == value.as_str());
    let wanted = at(spec, &["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"]);
    node.ready
        && !node.cordoned
        && labels.all(|fits| fits)
        && (wanted.is_null() || fits(wanted, node))
        && node.taints.iter().all(|taint| bears(items(spec, &["tolerations"]), taint))
}

/// Whether one of the tolerations bears a taint that keeps pods away.
fn bears(tolerations: &[Value], taint: &Value) -> bool {
    let effect = text(taint, &["effect"]);
    if !matches!(effect, "NoSchedule" | "NoExecute") {
        return true;
    }
    tolerations.iter().any(|it| {
        let exists = text(it, &["operator"]) == "Exists";
        let key = text(it, &["key"]);
        let means_key = key == text(taint, &["key"]) || (key.is_empty() && exists);
        let means_effect = text(it, &["effect"]).is_empty() || text(it, &["effect"]) == effect;
        means_key && means_effect && (exists || text(it, &["value"]) == text(taint, &["value"]))
    })
}

fn matches(expression: &Value, value: Option<&str>) -> bool {
    let wanted = || items(expression, &["values"]).iter().filter_map(Value::as_str);
    let listed = || value.is_some_and(|value| wanted().any(|wanted| wanted == value));
    let numbers = || Some((value?.parse::<i64>().ok()?, wanted().next()?.parse::<i64>().ok()?));
    match text(expression, &["operator"]) {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(has, wanted)| has > wanted),
        "Lt" => numbers().is_some_and(|(has, wanted)| has < wanted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn terms_are_alternatives_and_expressions_all_count() {
        let labels = [("kubernetes.io/hostname", "nas"), ("disk", "ssd"), ("room", "7")];
        let node = Node {
            name: "node-1".into(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ready: true,
            cordoned: false,
            taints: Vec::new(),
        };
        let one =
            |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        let expressions = |list: &[Value]| json!({"nodeSelectorTerms": [{"matchExpressions": list}]});
        let host = |name: &str| one("kubernetes.io/hostname", "In", &[name]);
        for (selector, expected) in [
            (expressions(&[host("nas")]), true),
            (expressions(&[host("node-1")]), false),
            (expressions(&[host("nas"), one("disk", "NotIn", &["ssd"])]), false),
            (
                expressions(&[one("disk", "Exists", &[]), one("gpu", "DoesNotExist", &[]), one("room", "Gt", &["6"])]),
                true,
            ),
            (expressions(&[one("room", "Lt", &["7"])]), false),
            (expressions(&[one("disk", "Like", &["ssd"])]), false),
            (
                json!({"nodeSelectorTerms": [{"matchExpressions": [host("x")]}, {"matchExpressions": [host("nas")]}]}),
                true,
            ),
            (json!({"nodeSelectorTerms": [{"matchFields": [one("metadata.name", "In", &["node-1"])]}]}), true),
            (json!({"nodeSelectorTerms": [{"matchFields": [one("metadata.uid", "In", &["node-1"])]}]}), false),
            (json!({"nodeSelectorTerms": [{}]}), false),
            (json!({}), false),
        ] {
            assert_eq!(fits(&selector, &node), expected, "{selector}");
        }
    }

    #[test]
    fn a_node_takes_the_pods_whose_wishes_it_meets_and_that_bear_its_taints() {
        let labels = [("disk".to_owned(), "ssd".to_owned())].into();
        let taints = vec![
            json!({"key": "gpu", "value": "yes", "effect": "NoSchedule"}),
            json!({"key": "x", "effect": "PreferNoSchedule"}),
        ];
        let node = Node { name: "a".into(), labels, ready: true, cordoned: false, taints };
        let bears = json!([{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}]);
        let wants = |key: &str| {
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]}}})
        };
        for (spec, expected) in [
            (json!({}), false),
            (json!({"tolerations": bears}), true),
            (json!({"tolerations": [{"operator": "Exists"}]}), true),
            (json!({"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}]}), false),
            (json!({"tolerations": [{"key": "gpu", "value": "no"}]}), false),
            (json!({"tolerations": bears, "nodeSelector": {"disk": "ssd"}}), true),
            (json!({"tolerations": bears, "nodeSelector": {"disk": "hdd"}}), false),
            (json!({"tolerations": bears, "affinity": wants("disk")}), true),
            (json!({"tolerations": bears, "affinity": wants("tape")}), false),
        ] {
            assert_eq!(takes(&spec, &node), expected, "{spec}");
        }
        let all = json!({"tolerations": [{"operator": "Exists"}]});
        assert!(!takes(&all, &Node { ready: false, ..node.clone() }) && !takes(&all, &Node { cordoned: true, ..node }));
    }
}
