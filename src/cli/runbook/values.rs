//! The values of a runbook's parameters, as `--set` gives them.

use std::collections::BTreeMap;

use crate::cli::configuration::JUDGES;
use crate::cli::failure::Failure;
use crate::cli::output::quoted;
use crate::language::suggest;
use crate::runbook::{Runbook, Values};

/// `NAME=VALUE`.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a name and a value are expected, such as namespace=media".to_owned()),
    }
}

/// Those that were given, each once, each what its parameter takes.
pub(crate) fn given(runbook: &Runbook, settings: &[(String, String)]) -> Result<BTreeMap<String, String>, Failure> {
    let names: Vec<&str> = runbook.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let mut given = BTreeMap::new();
    for (name, value) in settings {
        let Some(parameter) = runbook.parameters.iter().find(|parameter| parameter.name == *name) else {
            let what = format!("the runbook has no parameter {}", quoted(name));
            return Err(Failure::usage(what, suggest(name, &names, "it has")));
        };
        let accepted = parameter.accept(value, &JUDGES);
        accepted.map_err(|complaint| Failure::usage(format!("--set {name}: {}", complaint.what), complaint.help))?;
        if given.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("--set {name} was given twice"), "give one value"));
        }
    }
    Ok(given)
}

/// With defaults where nothing was given; refused where there is none.
pub(crate) fn values(runbook: &Runbook, given: &BTreeMap<String, String>, run: &str) -> Result<Values, Failure> {
    Values::of(&runbook.parameters, given, run).map_err(|missing| {
        let help: Vec<String> = missing.iter().map(|name| format!("--set {name}=…")).collect();
        let what = format!("the runbook wants a value of {}", missing.join(", "));
        Failure::usage(what, format!("add {}; `homelab-dr runbook show` says what each is", help.join(" ")))
    })
}
