//! An object as a manifest: YAML that a person reads, that `kubectl` takes, and that is the same text whenever the object is the same.

use serde::Serialize;
use serde::ser::{SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::{Map, Value};

/// Fields that come first, and that come last; all others are between, by name.
const TOP: (&[&str], &[&str]) = (&["apiVersion", "kind", "metadata"], &["status"]);
const METADATA: (&[&str], &[&str]) = (&["name", "namespace", "labels", "annotations"], &["managedFields"]);
const ANY: (&[&str], &[&str]) = (&[], &[]);

/// A value with its fields in order.
struct Ordered<'a> {
    value: &'a Value,
    order: (&'static [&'static str], &'static [&'static str]),
    is_object: bool,
}

fn fields<'a>(map: &'a Map<String, Value>, (first, last): (&[&str], &[&str])) -> Vec<(&'a String, &'a Value)> {
    let place = |name: &str| match (first.iter().position(|n| *n == name), last.contains(&name)) {
        (Some(at), _) => at,
        (None, false) => first.len(),
        (None, true) => first.len() + 1,
    };
    let mut fields: Vec<(&String, &Value)> = map.iter().collect();
    fields.sort_by_key(|(name, _)| (place(name), *name));
    fields
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (name, value) in fields(map, self.order) {
                    let is_metadata = self.is_object && name == "metadata";
                    let order = if is_metadata { METADATA } else { ANY };
                    out.serialize_entry(name, &Ordered { value, order, is_object: false })?;
                }
                out.end()
            }
            Value::Array(values) => {
                let mut out = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    out.serialize_element(&Ordered { value, order: ANY, is_object: false })?;
                }
                out.end()
            }
            other => other.serialize(serializer),
        }
    }
}

/// No text of any object is folded: a line of a manifest is a line of the object.
const NEVER: usize = 1 << 30;

/// The manifest of an object. Text that reads back as the same object, whatever is in it: should YAML ever not do so, it is JSON, which is YAML too.
#[must_use]
pub fn write(object: &Value) -> String {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: NEVER, min_fold_chars: NEVER };
    let ordered = Ordered { value: object, order: TOP, is_object: true };
    let text = serde_saphyr::to_string_with_options(&ordered, options);
    match text {
        Ok(text) if read(&text).is_ok_and(|back| back == *object) => text,
        _ => format!("{object:#}\n"),
    }
}

/// Why a text is no manifest: where it ends to be one, and none of its text, which may be a Secret.
#[derive(Debug, thiserror::Error)]
#[error("it is no YAML of one object{0}")]
pub struct NoManifest(String);

/// Where a text ends to be YAML, and none of the text, which may hold secrets.
pub(crate) fn place(error: &serde_saphyr::Error) -> String {
    error.location().map_or_else(String::new, |at| format!(", at line {}, column {}", at.line(), at.column()))
}

/// The object of a manifest.
pub fn read(text: &str) -> Result<Value, NoManifest> {
    let options = serde_saphyr::options! { budget: None };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| NoManifest(place(&error)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_that_tell_most_come_first_and_the_noise_last() {
        let object = json!({
            "status": {"phase": "Bound"},
            "spec": {"b": [1, {"z": null, "a": []}], "a": "on"},
            "metadata": {"uid": "u", "managedFields": [{"manager": "kubectl"}], "namespace": "media", "name": "x", "labels": {"no": "yes"}},
            "kind": "Thing", "apiVersion": "v1"
        });
        let text = write(&object);
        let order =
            ["apiVersion", "kind", "name:", "namespace:", "labels:", "uid:", "managedFields:", "spec:", "status:"];
        let places: Vec<usize> =
            order.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"))).collect();
        assert!(places.is_sorted(), "{text}");
        assert_eq!(read(&text).expect("a manifest"), object, "{text}");
    }

    #[test]
    fn what_other_readers_take_for_something_else_is_quoted() {
        let words = [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "null",
            "~",
            "1e3",
            "0x10",
            "0o7",
            "010",
            "1_000",
            "12:30:45",
            ".inf",
            "2001-01-01",
            "=",
            "<<",
            "-",
            "? a",
            "true",
            "",
            " a",
            "a ",
            "#a",
            "a: b",
            "- a",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "a\nb",
            "a\n",
            "\n",
            "a\n\n",
            "  a\n b",
            "\ta",
            "a\tb",
            "\r\n",
            "\u{85}",
            "\u{feff}",
            "\u{0}",
            "'",
            "\"",
            "{}",
            "[]",
            "---",
            "...",
        ];
        for word in words {
            let object = json!({"kind": "T", "data": {"k": word, word: "v"}, "list": [word]});
            let text = write(&object);
            assert_eq!(read(&text).expect("a manifest"), object, "{text}");
            // YAML 1.1, which kubectl reads, has more words that are no text.
            if ["yes", "no", "on", "off", "y", "n", "010", "1_000", "12:30:45", "2001-01-01", "=", "<<"].contains(&word)
            {
                assert!(!text.contains(&format!("k: {word}\n")), "{text}");
            }
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            any::<String>().prop_map(Value::from),
            "[ -~\n]{0,200}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn every_object_reads_back_as_it_was(spec in values()) {
            let object = json!({"apiVersion": "v1", "kind": "T", "spec": spec});
            let text = write(&object);
            prop_assert_eq!(read(&text).expect("a manifest"), object, "{}", text);
        }
    }

    #[test]
    fn what_does_not_parse_is_told_by_its_place_and_not_by_its_text() {
        for text in [
            "kind: Secret\ndata: [\n  token: ZGVtby1w\n",
            "kind: Secret\nstringData:\n  token: \"ZGVtby1w\n",
            "kind: Secret\nstringData:\n  token: : ZGVtby1w\n",
            "token: ZGVtby1w\ntoken: ZGVtby1w\n",
        ] {
            let told = read(text).expect_err("no manifest").to_string();
            assert!(told.contains("at line") && !told.contains("ZGV"), "{told}");
        }
    }
}
