//! Whether a live object is the one that was to be restored: the whole object, field by field. Says where they differ, never what the values are: among
//! them are secrets.

use serde_json::Value;

use super::Kind;
use super::rewrite::as_restored;

/// Places that are told of one object.
const PLACES_MAX: usize = 8;

/// Where they differ, as paths such as `spec.replicas`; empty if they are equal. What the server gives to every object, and what it gave out where the
/// restored object leaves it open, is no difference.
#[must_use]
pub fn differences(kind: &Kind, desired: &Value, live: &Value) -> Vec<String> {
    let live = as_restored(kind, live, desired);
    let mut places = Vec::new();
    let lenient = kind.is_built_in();
    compare("", desired, &live, lenient, &mut places);
    places
}

/// Built-in kinds do not tell `null` from nothing; custom ones may.
fn is_nothing(value: Option<&Value>, lenient: bool) -> bool {
    value.is_none_or(|value| lenient && value.is_null())
}

fn compare(path: &str, one: &Value, other: &Value, lenient: bool, places: &mut Vec<String>) {
    if places.len() >= PLACES_MAX || one == other {
        return;
    }
    match (one, other) {
        (Value::Object(ones), Value::Object(others)) => {
            let mut names: Vec<&String> = ones.keys().chain(others.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let (one, other) = (ones.get(name), others.get(name));
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match (one, other) {
                    (Some(one), Some(other)) => compare(&path, one, other, lenient, places),
                    _ if is_nothing(one, lenient) && is_nothing(other, lenient) => {}
                    _ => told(path, places),
                }
            }
        }
        (Value::Array(ones), Value::Array(others)) if ones.len() == others.len() => {
            for (at, (one, other)) in ones.iter().zip(others).enumerate() {
                compare(&format!("{path}[{at}]"), one, other, lenient, places);
            }
        }
        _ => told(path.to_owned(), places),
    }
}

fn told(path: String, places: &mut Vec<String>) {
    if places.len() < PLACES_MAX {
        places.push(path);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::kind::example;

    fn kind(group: &str, name: &str) -> Kind {
        example(group, "", name)
    }

    #[test]
    fn every_field_counts_and_values_are_not_told() {
        let one = json!({"metadata": {"name": "x"}, "data": {"a": "1", "b": "2"}, "list": [{"c": 1}, {"c": 2}]});
        let other = json!({"metadata": {"name": "x", "labels": {"l": "hunter2"}}, "data": {"a": "hunter2"}, "list": [{"c": 1}, {"c": 3}]});
        let places = differences(&kind("", "Secret"), &one, &other);
        assert_eq!(places, ["data.a", "data.b", "list[1].c", "metadata.labels"]);
        assert_eq!(differences(&kind("", "Secret"), &one, &one), Vec::<String>::new());
        let longer = json!({"metadata": {"name": "x"}, "data": {"a": "1", "b": "2"}, "list": []});
        assert_eq!(differences(&kind("", "Secret"), &one, &longer), ["list"]);
    }

    #[test]
    fn what_every_server_gives_is_no_difference() {
        let desired =
            json!({"metadata": {"name": "x"}, "spec": {"template": {"metadata": {"creationTimestamp": null}}}});
        let live = json!({
            "metadata": {"name": "x", "uid": "u", "resourceVersion": "1", "creationTimestamp": "t", "managedFields": [], "generation": 1},
            "spec": {"template": {"metadata": {}}}, "status": {"replicas": 1},
        });
        assert_eq!(differences(&kind("apps", "Deployment"), &desired, &live), Vec::<String>::new());
        assert_eq!(
            differences(&kind("example.org", "Thing"), &desired, &live),
            ["spec.template.metadata.creationTimestamp"]
        );
    }

    #[test]
    fn an_address_that_was_given_out_is_no_difference_and_one_that_was_chosen_is() {
        let service = |port: &Value| json!({"metadata": {"name": "x"}, "spec": {"type": "NodePort", "ports": [port]}});
        let mut live = service(&json!({"port": 80, "nodePort": 30080}));
        live["spec"]["clusterIP"] = "10.96.0.9".into();
        let compared = |port| differences(&kind("", "Service"), &service(&port), &live);
        assert_eq!(compared(json!({"port": 80})), Vec::<String>::new());
        assert_eq!(compared(json!({"port": 80, "nodePort": 30080})), Vec::<String>::new());
        assert_eq!(compared(json!({"port": 80, "nodePort": 30081})), ["spec.ports[0].nodePort"]);
    }
}
