//! A language of fields, written once: what may stand where, with its default and its sentence. The check of a document with line and column, its defaults, its
//! JSON Schema and the table in its documentation all come from such tables. Pure.
//!
//! The configuration and runbooks each have a language; what is said here of values, places, findings and suggestions holds for both. Nothing here knows either.
//!
//! ```text
//! bytes ─ node (YAML, places) ─ judge (against a shape) ─ fill (defaults) ─ whoever understands it
//! ```

mod argv;
mod fill;
mod finding;
mod judge;
mod node;
mod password;
mod scalar;
mod schema;
pub(crate) mod show;
mod suggest;
mod table;
pub(crate) mod take;

pub(crate) use argv::{judge_argv, judge_passwords};
pub(crate) use fill::fill;
pub(crate) use finding::short;
pub use finding::{Complaint, Finding, Place, Severity};
pub(crate) use judge::Judging;
pub(crate) use node::{Name, Node, Subject, Value, read};
pub(crate) use password::{NOT_SHOWN, holds_password, unless_secret};
pub(crate) use scalar::Scalar;
pub(crate) use scalar::is_id;
pub use scalar::{is_file_name, is_source_name};
pub(crate) use schema::Schemas;
pub(crate) use suggest::help as suggest;
pub(crate) use table::table;

/// What only higher layers can judge.
#[derive(Clone, Copy)]
pub struct Judges<'a> {
    /// Whether a text is the address of a store.
    pub url: &'a dyn Fn(&str) -> Result<(), Complaint>,
    /// Whether a text is an exclude pattern.
    pub pattern: &'a dyn Fn(&str) -> Result<(), Complaint>,
}

/// What may stand somewhere.
#[derive(Debug)]
pub(crate) enum Shape {
    /// One value.
    One(Scalar),
    /// A list of values, at least so many.
    List(Scalar, usize),
    /// Things by names of one's own choice.
    Named(Scalar, &'static Shape),
    /// Fields with fixed names.
    Record(&'static [Field]),
    /// Rules of which at least one is given.
    Rules(&'static [Field]),
    /// A list of things without names, each with these fields.
    Each(&'static [Field]),
    /// A list of things, at least one, whose fields are described in a place of their own, since they are used in several.
    Things(&'static Thing),
    /// One value, or these fields.
    OneOrRecord(Scalar, &'static [Field]),
}

/// Fields that several places take.
#[derive(Debug)]
pub(crate) struct Thing {
    /// What one is called.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

/// Whether a field has to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Has to be there.
    Required,
    /// May be left out.
    Optional,
    /// What it is when it is left out, as it would be written.
    Default(&'static str),
    /// Exactly one of all fields with this need has to be there.
    OneOf,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    pub need: Need,
    pub shape: &'static Shape,
    /// One sentence for the schema and the documentation.
    pub doc: &'static str,
}

/// A field of a table.
pub(crate) const fn field(name: &'static str, need: Need, shape: &'static Shape, doc: &'static str) -> Field {
    Field { name, need, shape, doc }
}

/// The names of fields, in their order.
pub(crate) fn names(fields: &[Field]) -> Vec<&'static str> {
    fields.iter().map(|field| field.name).collect()
}
