//! A language as JSON Schema, for editors. It is laxer than the program where a pattern cannot say it, never stricter.

use serde_json::{Map, Value as Json, json};

use super::{Field, Need, Scalar, Shape, Thing};

/// Makes the parts of one schema.
pub(crate) struct Schemas {
    /// Whether any text may hold `${name}`, which stands for a value that is known later.
    pub with_variables: bool,
    /// What was used in several places, by its name.
    things: Map<String, Json>,
}

impl Schemas {
    /// Of a language whose texts may hold variables, or not.
    pub fn new(with_variables: bool) -> Self {
        Self { with_variables, things: Map::new() }
    }

    /// The schema of a whole document whose root is described by `root`.
    pub fn finish(self, root: Json, title: &str, description: &str) -> Json {
        let mut schema = root;
        if let Some(map) = schema.as_object_mut() {
            map.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
            map.insert("title".into(), json!(title));
            map.insert("description".into(), json!(description));
            if !self.things.is_empty() {
                map.insert("$defs".into(), Json::Object(self.things));
            }
        }
        schema
    }

    /// What a shape takes.
    pub fn of(&mut self, shape: &Shape) -> Json {
        match shape {
            Shape::One(scalar) => self.one(*scalar),
            Shape::List(scalar, least) => json!({ "type": "array", "items": self.one(*scalar), "minItems": least }),
            Shape::Named(name, shape) => {
                json!({ "type": "object", "propertyNames": self.one(*name), "additionalProperties": self.of(shape) })
            }
            Shape::Record(fields) => self.record(fields, 0),
            Shape::Rules(fields) => self.record(fields, 1),
            Shape::Each(fields) => json!({ "type": "array", "items": self.record(fields, 0) }),
            Shape::Things(thing) => json!({ "type": "array", "minItems": 1, "items": self.thing(thing) }),
            Shape::OneOrRecord(scalar, fields) => json!({ "anyOf": [self.one(*scalar), self.record(fields, 0)] }),
        }
    }

    fn one(&self, scalar: Scalar) -> Json {
        if self.with_variables && scalar.may_vary() {
            json!({ "anyOf": [scalar.schema(), { "type": "string", "pattern": "\\$\\{" }] })
        } else {
            scalar.schema()
        }
    }

    fn thing(&mut self, thing: &Thing) -> Json {
        if !self.things.contains_key(thing.name) {
            let fields = self.record(thing.fields, 0);
            self.things.insert(thing.name.into(), fields);
        }
        json!({ "$ref": format!("#/$defs/{}", thing.name) })
    }

    fn record(&mut self, fields: &[Field], least: usize) -> Json {
        let mut properties = Map::new();
        for field in fields {
            let mut schema = self.of(field.shape);
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
}
