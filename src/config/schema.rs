//! The language as JSON Schema, for editors. It is laxer than the program where a pattern cannot say it, never stricter.

use serde_json::{Map, Value as Json, json};

use super::language::{Field, Need, ROOT, Shape};

/// The JSON Schema of the configuration (draft 2020-12).
#[must_use]
pub fn schema() -> Json {
    let mut schema = of(&ROOT);
    if let Some(map) = schema.as_object_mut() {
        map.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        map.insert("title".into(), json!("homelab-dr.yaml"));
        map.insert("description".into(), json!("What homelab-dr backs up, where to, and what it keeps."));
    }
    schema
}

fn of(shape: &Shape) -> Json {
    match shape {
        Shape::One(scalar) => scalar.schema(),
        Shape::List(scalar, least) => json!({ "type": "array", "items": scalar.schema(), "minItems": least }),
        Shape::Named(name, shape) => {
            json!({ "type": "object", "propertyNames": name.schema(), "additionalProperties": of(shape) })
        }
        Shape::Record(fields) => record(fields, 0),
        Shape::Rules(fields) => record(fields, 1),
        Shape::Each(fields) => json!({ "type": "array", "items": record(fields, 0) }),
    }
}

fn record(fields: &[Field], least: usize) -> Json {
    let mut properties = Map::new();
    for field in fields {
        let mut schema = of(field.shape);
        if let Some(map) = schema.as_object_mut() {
            map.insert("description".into(), json!(field.doc));
            if let (Need::Default(text), Shape::One(_)) = (field.need, field.shape) {
                let number = || text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number));
                let value = if text == "false" { json!(false) } else { number() };
                map.insert("default".into(), value);
            }
        }
        properties.insert(field.name.into(), schema);
    }
    let with = |need: Need| fields.iter().filter(move |field| field.need == need).map(|field| field.name);
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Some(map) = schema.as_object_mut() {
        let required: Vec<&str> = with(Need::Required).collect();
        if !required.is_empty() {
            map.insert("required".into(), json!(required));
        }
        let kinds: Vec<Json> = with(Need::OneOf).map(|name| json!({ "required": [name] })).collect();
        if !kinds.is_empty() {
            map.insert("oneOf".into(), json!(kinds));
        }
        if least > 0 {
            map.insert("minProperties".into(), json!(least));
        }
    }
    schema
}
