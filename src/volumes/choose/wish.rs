//! Whether somebody wants a claim left out, or taken: the claim's annotation, its namespace's, the configuration. The nearest counts; one that nobody can read is an error
//! and no guess.

use super::{No, no};
use crate::volumes::facts::Wishes;
use crate::volumes::labels::BACKUP;

/// What is wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It is left out.
    Out {
        /// By whom.
        by: String,
    },
    /// The claim itself says that it is taken.
    Taken,
    /// Nobody leaves it out; a namespace may say that all of its claims are taken.
    Nothing,
}

/// Of a claim in a namespace (both as they wish themselves), and the pattern of the configuration that leaves it out.
pub(crate) fn wish(claim: &Wishes, space: &Wishes, namespace: &str, excluded: Option<&str>) -> Result<Wish, No> {
    let near = (claim, "of the claim".to_owned(), Wish::Taken);
    let far = (space, format!("of namespace {namespace}"), Wish::Nothing);
    for (wishes, whose, taken) in [near, far] {
        match wishes.backup.as_deref() {
            None => {}
            Some("false") => return Ok(Wish::Out { by: format!("annotation {BACKUP} {whose}") }),
            Some("true") => return Ok(taken),
            Some(other) => {
                let why = format!("annotation {BACKUP} {whose} is {other:?}");
                return no(why, format!("write \"true\" or \"false\" into {BACKUP}"));
            }
        }
    }
    let by = |pattern| Wish::Out { by: format!("the configuration: exclude {pattern}") };
    Ok(excluded.map_or(Wish::Nothing, by))
}
