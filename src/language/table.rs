//! A language as a table of fields, in Markdown.

use super::{Need, Shape};

/// A row of the table of fields: where it stands, what it takes, its default or need, its sentence.
fn rows(shape: &Shape, at: &str, out: &mut Vec<[String; 4]>) {
    match shape {
        Shape::One(_) | Shape::List(..) | Shape::Things(_) => {}
        Shape::Named(_, of) => rows(of, &format!("{at}.NAME"), out),
        Shape::Record(fields) | Shape::Rules(fields) | Shape::Each(fields) | Shape::OneOrRecord(_, fields) => {
            for field in *fields {
                let path = if at.is_empty() { field.name.to_owned() } else { format!("{at}.{}", field.name) };
                let takes = match field.shape {
                    Shape::One(scalar) => scalar.expected().into_owned(),
                    Shape::List(scalar, _) => format!("list: {}", scalar.expected()),
                    Shape::Named(_, Shape::One(scalar)) => format!("names: {}", scalar.expected()),
                    Shape::Named(..) => "names".to_owned(),
                    Shape::Record([]) => "`{}`".to_owned(),
                    Shape::Record(_) => "fields".to_owned(),
                    Shape::Each(_) => "list of fields".to_owned(),
                    Shape::Rules(_) => "at least one rule".to_owned(),
                    Shape::Things(thing) => format!("list of {}s, below", thing.name),
                    Shape::OneOrRecord(scalar, _) => format!("{}, or fields", scalar.expected()),
                };
                let need = match field.need {
                    Need::Required => "required".to_owned(),
                    Need::Optional => "–".to_owned(),
                    Need::Default(text) => format!("`{text}`"),
                    Need::OneOf => "exactly one kind".to_owned(),
                };
                out.push([format!("`{path}`"), takes, need, field.doc.to_owned()]);
                rows(field.shape, &path, out);
            }
        }
    }
}

/// The table of all fields below a shape.
pub(crate) fn table(root: &Shape) -> String {
    let mut all = Vec::new();
    rows(root, "", &mut all);
    let lines: Vec<String> = all.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
    format!("| Field | Takes | Default | Meaning |\n|---|---|---|---|\n{}\n", lines.join("\n"))
}
