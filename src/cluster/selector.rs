//! Selectors of labels, as Kubernetes' and Cilium's policies and webhooks have them.

use serde_json::Value;

use super::object::{at, items, text};

/// The key without where Cilium says it comes from (`k8s:app`, `any:app`).
fn plain(key: &str) -> &str {
    key.strip_prefix("k8s:").or_else(|| key.strip_prefix("any:")).unwrap_or(key)
}

/// Whether a selector takes what has these labels. One that is absent or empty takes everything.
#[must_use]
pub fn takes(selector: &Value, labels: &Value) -> bool {
    let of = |key: &str| at(labels, &[plain(key)]).as_str();
    let equal = at(selector, &["matchLabels"]).as_object().into_iter().flatten();
    let mut equal = equal.map(|(key, value)| of(key) == value.as_str());
    let expressions = items(selector, &["matchExpressions"]).iter().all(|expression| {
        let value = of(text(expression, &["key"]));
        let listed = || items(expression, &["values"]).iter().any(|wanted| wanted.as_str() == value);
        match text(expression, &["operator"]) {
            "In" => value.is_some() && listed(),
            "NotIn" => value.is_none() || !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            // A word of a later version: better a finding too many.
            _ => true,
        }
    });
    equal.all(|is| is) && expressions
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_of_all_operators() {
        let labels = json!({"app": "web", "tier": "front"});
        let one = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (selector, expected) in [
            (Value::Null, true),
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"k8s:app": "web", "any:tier": "front"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (json!({"matchLabels": {"other": "x"}}), false),
            (one("app", "In", &["db", "web"]), true),
            (one("other", "In", &["x"]), false),
            (one("app", "NotIn", &["web"]), false),
            (one("other", "NotIn", &["x"]), true),
            (one("app", "Exists", &[]), true),
            (one("app", "DoesNotExist", &[]), false),
        ] {
            assert_eq!(takes(&selector, &labels), expected, "{selector}");
        }
    }
}
