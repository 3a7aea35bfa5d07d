//! What a step of a drill does, in one line.

use super::transform::kind_of;
use crate::runbook::{Action, Origin, Step};
use crate::verify::describe;
use crate::verify::words::name_of;

fn from(origin: &Origin) -> String {
    format!("{} ({})", origin.source, origin.snapshot)
}

/// What a step does, with everything as the drill has it.
#[must_use]
pub fn does(step: &Step) -> String {
    let what = match &step.action {
        Action::RestoreVolume(volume) => {
            format!("{} into {}/{}", from(&volume.from), volume.into.namespace, volume.into.name)
        }
        Action::RestoreResources(resources) => {
            let only = if resources.include.is_empty() { String::new() } else { resources.include.join(" ") };
            format!("{} {only}", from(&resources.from)).trim_end().to_owned()
        }
        Action::RestoreFiles(files) => format!("{} into {}", from(&files.from), files.target.display()),
        Action::Scale { object, replicas } => format!("{} to {replicas}", name_of(object)),
        Action::WaitUntil { checks, .. } | Action::Check(checks) => {
            checks.iter().map(|check| describe(&check.probe)).collect::<Vec<_>>().join("; ")
        }
        Action::Exec(what) => format!("{} in {}", what.argv.join(" "), name_of(&what.object)),
        _ => String::new(),
    };
    format!("{} {what}", kind_of(&step.action)).trim_end().to_owned()
}

/// Every check of a step, in the order in which they are looked at.
#[must_use]
pub fn checks(step: &Step) -> Vec<String> {
    let own = match &step.action {
        Action::WaitUntil { checks, .. } | Action::Check(checks) => checks.as_slice(),
        _ => &[],
    };
    own.iter().chain(&step.verify).map(|check| describe(&check.probe)).collect()
}
