//! What an error says of its causes.

use std::error::Error;

/// An error and its causes in one line.
pub fn in_one_line(error: &dyn Error) -> String {
    [vec![error.to_string()], causes(error)].concat().join(": ")
}

/// The causes of an error, each once: a cause that only repeats what was said before it is left out.
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut said = error.to_string();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !text.is_empty() && !said.contains(&text) {
            causes.push(text.clone());
            said = text;
        }
        next = cause.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{what}")]
    struct Statement {
        what: &'static str,
        #[source]
        cause: Option<Box<Statement>>,
    }

    #[test]
    fn a_cause_is_told_once() {
        let inner = Statement { what: "disk on fire", cause: None };
        let middle = Statement { what: "disk on fire", cause: Some(Box::new(inner)) };
        let outer = Statement { what: "could not write", cause: Some(Box::new(middle)) };
        assert_eq!(causes(&outer), ["disk on fire"]);
        assert_eq!(in_one_line(&outer), "could not write: disk on fire");
        let repeating = Statement { what: "could not write: disk on fire", cause: Some(Box::new(outer)) };
        assert_eq!(causes(&repeating), Vec::<String>::new());
        assert_eq!(in_one_line(&repeating), "could not write: disk on fire");
    }
}
