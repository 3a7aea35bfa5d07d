//! What the server says when it refuses: `Status` objects with code, reason, details and causes, worded as the real one does.

use serde_json::{Value, json};

/// A refusal, or for `plain` a text that comes before the API machinery (unknown paths).
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) plain: bool,
    /// Seconds a client is told to wait.
    pub(crate) retry_after: Option<u64>,
}

pub(crate) type Result<T> = std::result::Result<T, Status>;

/// One thing wrong with one field.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) field: String,
}

impl Cause {
    pub(crate) fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), field: field.into() }
    }

    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {}", message.into()))
    }

    pub(crate) fn forbidden(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {}", message.into()))
    }

    pub(crate) fn required(field: impl Into<String>, message: &str) -> Self {
        let text = if message.is_empty() { "Required value".to_owned() } else { format!("Required value: {message}") };
        Self::new("FieldValueRequired", field, text)
    }

    fn json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

/// The resource a refusal is about: plural name and group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) resource: &'a str,
    pub(crate) group: &'a str,
}

impl About<'_> {
    /// `deployments.apps`, or `pods`.
    pub(crate) fn qualified(&self) -> String {
        qualified(self.resource, self.group)
    }

    fn details(&self, name: &str) -> Value {
        details(name, self.group, self.resource)
    }
}

pub(crate) fn qualified(what: &str, group: &str) -> String {
    if group.is_empty() { what.to_owned() } else { format!("{what}.{group}") }
}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut details = json!({});
    for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details[key] = value.into();
        }
    }
    details
}

impl Status {
    pub(crate) fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message.into(), "code": code,
        });
        if !reason.is_empty() {
            body["reason"] = reason.into();
        }
        Self { code, body, plain: false, retry_after: None }
    }

    fn with(mut self, details: Value) -> Self {
        self.body["details"] = details;
        self
    }

    pub(crate) fn page_not_found() -> Self {
        Self { code: 404, body: "404 page not found\n".into(), plain: true, retry_after: None }
    }

    pub(crate) fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with(json!({}))
    }

    pub(crate) fn not_found(about: About<'_>, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", about.qualified())).with(about.details(name))
    }

    pub(crate) fn already_exists(about: About<'_>, name: &str, dying: bool) -> Self {
        let prefix = if dying { "object is being deleted: " } else { "" };
        let message = format!("{prefix}{} \"{name}\" already exists", about.qualified());
        Self::new(409, "AlreadyExists", message).with(about.details(name))
    }

    pub(crate) fn conflict(about: About<'_>, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", about.qualified());
        Self::new(409, "Conflict", message).with(about.details(name))
    }

    pub(crate) fn modified(about: About<'_>, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(about, name, why)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        let causes = json!({"causes": [{"message": message}]});
        Self::new(500, "InternalError", format!("Internal error occurred: {message}")).with(causes)
    }

    pub(crate) fn forbidden(about: About<'_>, name: &str, why: &str) -> Self {
        let quoted = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
        let message = format!("{}{quoted} is forbidden: {why}", about.qualified());
        Self::new(403, "Forbidden", message).with(about.details(name))
    }

    /// The same with machine-readable causes.
    pub(crate) fn because(mut self, causes: &[Cause]) -> Self {
        self.body["details"]["causes"] = causes.iter().map(Cause::json).collect();
        self
    }

    pub(crate) fn invalid(kind: &str, group: &str, name: &str, causes: &[Cause]) -> Self {
        let texts: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        // The real one says each thing once in the text, and as often as it was found in the causes.
        let mut once: Vec<String> = Vec::new();
        for text in texts {
            if !once.contains(&text) {
                once.push(text);
            }
        }
        let all = if once.len() == 1 { once.concat() } else { format!("[{}]", once.join(", ")) };
        let message = format!("{} \"{name}\" is invalid: {all}", qualified(kind, group));
        Self::new(422, "Invalid", message).with(details(name, group, kind)).because(causes)
    }

    /// What a JSON patch gets that cannot be applied.
    pub(crate) fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message).with(json!({}))
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).with(json!({}))
    }
}
