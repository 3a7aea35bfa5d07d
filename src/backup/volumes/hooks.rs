//! How the application of a claim is to hold still: what its annotations say, else those of its namespace, else the configuration. What cannot be understood is refused,
//! since a guess would be a command in somebody's database.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Hook, HookWay, VolumesSource};
use crate::volumes::choose::policy::means;
use crate::volumes::facts::{Claim, Namespace};
use crate::volumes::labels::HOOK;

const BEFORE: &str = "homelab-dr.io/hook-before";
const AFTER: &str = "homelab-dr.io/hook-after";
const CONTAINER: &str = "homelab-dr.io/hook-container";

/// What is wanted for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// How.
    pub way: HookWay,
    /// How long that may take, and each command.
    pub limit: Duration,
}

/// Why it cannot be understood, and what to do about it.
pub(super) type Unclear = (String, String);

/// What is wanted for a claim; `None` if nobody wants anything.
pub(super) fn wanted(
    source: &VolumesSource,
    claim: &Claim,
    space: Option<&Namespace>,
) -> Result<Option<Wanted>, Unclear> {
    let of_space = space.map(|space| (&space.wishes.hooks, format!("of namespace {}", claim.namespace)));
    let near = Some((&claim.wishes.hooks, "of the claim".to_owned()));
    let annotated = near.into_iter().chain(of_space).find(|(hooks, _)| !hooks.is_empty());
    let (way, limit) = match annotated {
        Some((hooks, whose)) => match understood(hooks, &whose)? {
            None => return Ok(None),
            Some(way) => (way, Hook::TIMEOUT),
        },
        None => match source.hooks.iter().find(|hook| is_for(hook, claim)) {
            None => return Ok(None),
            Some(hook) => (hook.way.clone(), hook.timeout),
        },
    };
    if source.namespace.is_none() {
        let why = "an annotation asks for a hook, and the source has no namespace in which it is written down how it is undone";
        return Err((why.to_owned(), format!("set the source's namespace, or take the annotation {HOOK} away")));
    }
    Ok(Some(Wanted { way, limit }))
}

fn is_for(hook: &Hook, claim: &Claim) -> bool {
    means(&hook.claims, &claim.namespace, &claim.name)
        && hook.labels.iter().all(|(key, value)| claim.labels.get(key) == Some(value))
}

/// What annotations say; `None` for no hook on purpose.
fn understood(hooks: &BTreeMap<String, String>, whose: &str) -> Result<Option<HookWay>, Unclear> {
    let written = |name: &str| hooks.get(name).map(String::as_str);
    let known = [HOOK, BEFORE, AFTER, CONTAINER];
    if let Some(unknown) = hooks.keys().find(|name| !known.contains(&name.as_str())) {
        return Err((format!("annotation {unknown} {whose} is unknown"), format!("there are {}", known.join(", "))));
    }
    let alone = |way: Option<HookWay>| {
        let beside = known.iter().skip(1).find(|name| hooks.contains_key(**name));
        match beside {
            None => Ok(way),
            Some(name) => Err((
                format!("annotations {HOOK} and {name} {whose} contradict each other"),
                "leave one out".to_owned(),
            )),
        }
    };
    match (written(HOOK), written(BEFORE)) {
        (Some("none"), _) => alone(None),
        (Some("scale"), _) => alone(Some(HookWay::Scale)),
        (Some("handshake"), _) => alone(Some(HookWay::Handshake)),
        (Some(other), _) => {
            Err((format!("annotation {HOOK} {whose} is {other:?}"), "write scale, handshake or none".to_owned()))
        }
        (None, None) => {
            let why = format!("annotations {whose} have a command after, or a container, and no {BEFORE}");
            Err((why, format!("write the command into {BEFORE}")))
        }
        (None, Some(before)) => {
            let before = words(BEFORE, before, whose)?;
            if before.first().is_none_or(String::is_empty) {
                return Err((format!("annotation {BEFORE} {whose} names no program"), EXAMPLE.to_owned()));
            }
            let after = written(AFTER).map_or(Ok(Vec::new()), |after| words(AFTER, after, whose))?;
            Ok(Some(HookWay::Command { container: written(CONTAINER).map(str::to_owned), before, after }))
        }
    }
}

const EXAMPLE: &str = r#"write a list of words as JSON, such as ["pg_ctl", "checkpoint"]; no shell takes it apart"#;

fn words(name: &str, text: &str, whose: &str) -> Result<Vec<String>, Unclear> {
    let words = serde_json::from_str::<Vec<String>>(text);
    let words = words.ok().filter(|words| !words.iter().any(|word| word.contains('\0')));
    words.ok_or_else(|| (format!("annotation {name} {whose} is no list of words"), EXAMPLE.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn annotations_are_understood() {
        let way = |pairs: &[(&str, &str)]| understood(&annotated(pairs), "of the claim").expect("understood");
        assert_eq!(way(&[(HOOK, "none")]), None);
        assert_eq!(way(&[(HOOK, "scale")]), Some(HookWay::Scale));
        assert_eq!(way(&[(HOOK, "handshake")]), Some(HookWay::Handshake));
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            way(&[(BEFORE, r#"["pg_ctl", "checkpoint; rm"]"#), (AFTER, r#"["true"]"#), (CONTAINER, "db")]),
            Some(HookWay::Command {
                container: Some("db".into()),
                before: words(&["pg_ctl", "checkpoint; rm"]),
                after: words(&["true"]),
            })
        );
        assert_eq!(
            way(&[(BEFORE, r#"["sync"]"#)]),
            Some(HookWay::Command { container: None, before: words(&["sync"]), after: Vec::new() })
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_guessed() {
        for (pairs, says) in [
            (&[(HOOK, "")][..], "is \"\""),
            (&[(HOOK, "Scale")], "is \"Scale\""),
            (&[(HOOK, "command")], "is \"command\""),
            (&[(HOOK, "scale"), (BEFORE, r#"["x"]"#)], "contradict"),
            (&[(HOOK, "none"), (AFTER, r#"["x"]"#)], "contradict"),
            (&[(AFTER, r#"["x"]"#)], "no homelab-dr.io/hook-before"),
            (&[(CONTAINER, "db")], "no homelab-dr.io/hook-before"),
            (&[(BEFORE, "pg_ctl checkpoint")], "no list of words"),
            (&[(BEFORE, r#"[["x"]]"#)], "no list of words"),
            (&[(BEFORE, "[1]")], "no list of words"),
            (&[(BEFORE, r#"["a\u0000"]"#)], "no list of words"),
            (&[(BEFORE, "[]")], "names no program"),
            (&[(BEFORE, r#"[""]"#)], "names no program"),
            (&[(BEFORE, r#"["x"]"#), (AFTER, "x")], "hook-after of the claim is no list"),
            (&[("homelab-dr.io/hook-timeout", "5m")], "is unknown"),
        ] {
            let (why, mend) = understood(&annotated(pairs), "of the claim").expect_err(says);
            assert!(why.contains(says) && !mend.is_empty(), "{says}: {why}");
        }
    }
}
