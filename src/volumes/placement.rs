//! Which nodes a volume can be mounted on, by the node affinity of its `PersistentVolume`.

use serde_json::Value;

use super::facts::Node;
use crate::cluster::object::{items, text};

/// Whether a node fits a node selector (`nodeSelectorTerms`): any of its terms, all of the term's expressions.
pub(super) fn fits(selector: &Value, node: &Node) -> bool {
    items(selector, &["nodeSelectorTerms"]).iter().any(|term| {
        let expressions = items(term, &["matchExpressions"]);
        let fields = items(term, &["matchFields"]);
        // An empty term matches nothing.
        !(expressions.is_empty() && fields.is_empty())
            && expressions.iter().all(|it| matches(it, node.labels.get(text(it, &["key"])).map(String::as_str)))
            && fields.iter().all(|it| text(it, &["key"]) == "metadata.name" && matches(it, Some(&node.name)))
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
}
