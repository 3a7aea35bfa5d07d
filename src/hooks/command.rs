//! A command in a container of the application, such as `pg_ctl promote` or `redis-cli save`: words, never a line for a shell.

use std::pin::pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hold::{Released, Target};
use super::journal::{Entry, Journal, RENEW};
use super::{Acting, HookError, pods};
use crate::cluster::exec::{Room, Said};
use crate::cluster::object::{items, name_of, namespace_of, text, uid_of};

/// Bytes that are kept of what a command says on each of its outputs.
const SAID_BYTES_MAX: usize = 16 << 10;
/// Characters of it that an error tells.
const SAID_CHARS_TOLD: usize = 300;

/// A command before and a command after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandPlan {
    /// What makes the application hold still.
    pub begin: Vec<String>,
    /// How long that may take.
    pub begin_limit: Duration,
    /// What lets it go on, and where.
    pub release: Release,
}

/// What lets an application go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The pod. If it is gone, or another has its name, nothing is left that could be held.
    pub pod: Target,
    /// The container.
    pub container: String,
    /// The command; empty if there is nothing to do.
    pub argv: Vec<String>,
    /// How long it may take.
    pub limit_seconds: u64,
}

impl Release {
    fn namespace(&self) -> &str {
        self.pod.namespace.as_deref().unwrap_or_default()
    }

    /// For people.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}, container {}", self.pod, self.container)
    }

    /// It is the pod that was planned for, and has not ended: another one of its name would be held and never let go.
    pub(crate) async fn is_there(&self, acting: &Acting<'_>) -> Result<(), HookError> {
        let found = acting.cluster.get(&pods(), Some(self.namespace()), &self.pod.name).await;
        let found = found.map_err(|error| HookError::of(format!("read {}", self.pod), error))?;
        let has_ended = |pod: &Value| matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed");
        match found {
            Some(pod) if uid_of(&pod) == self.pod.uid && !has_ended(&pod) => Ok(()),
            _ => Err(HookError::Changed { what: self.pod.to_string(), why: "it is gone, or has ended".to_owned() }),
        }
    }

    async fn run(&self, acting: &Acting<'_>, argv: &[String], limit: Duration) -> Result<Said, HookError> {
        let room = Room {
            namespace: self.namespace(),
            pod: &self.pod.name,
            container: &self.container,
            output_bytes_max: SAID_BYTES_MAX,
        };
        let said = acting.exec.exec(&room, argv, limit).await;
        said.map_err(|error| HookError::of(format!("run {:?} in {}", argv.first(), self.name()), error))
    }
}

/// The container of a pod that is meant; without a name its only one.
pub fn container<'a>(pod: &'a Value, name: Option<&str>) -> Result<&'a str, HookError> {
    let refused = |why: String| {
        let pod = format!("{}/{}", namespace_of(pod).unwrap_or_default(), name_of(pod));
        Err(HookError::Container { pod, why })
    };
    let known: Vec<&str> =
        items(pod, &["spec", "containers"]).iter().map(|container| text(container, &["name"])).collect();
    match (name, known.as_slice()) {
        (Some(name), all) => match all.iter().find(|known| **known == name) {
            Some(known) => Ok(known),
            None => refused(format!("it has no container {name}, but {}", all.join(", "))),
        },
        (None, [only]) => Ok(only),
        (None, all) => refused(format!("it has several containers, {}, and none was named", all.join(", "))),
    }
}

/// The commands for a pod as it was listed; without a name the container is its only one.
pub fn plan(
    pod: &Value,
    container: Option<&str>,
    (begin, begin_limit): (Vec<String>, Duration),
    (release, release_limit): (Vec<String>, Duration),
) -> Result<CommandPlan, HookError> {
    let container = self::container(pod, container)?;
    let release = Release {
        pod: Target::of(&pods(), pod),
        container: container.to_owned(),
        argv: release,
        limit_seconds: release_limit.as_secs().max(1),
    };
    Ok(CommandPlan { begin, begin_limit, release })
}

/// Runs the command that makes it hold still. After an error, also one of the command itself, the journal says what is to be released: it may have done half its work.
pub async fn begin(acting: &Acting<'_>, plan: &CommandPlan, journal: &mut Journal) -> Result<Said, HookError> {
    plan.release.is_there(acting).await?;
    if !plan.release.argv.is_empty() {
        journal.add(acting.cluster, [Entry::Command(plan.release.clone())], acting.clock.now()).await?;
    }
    let mut running = pin!(plan.release.run(acting, &plan.begin, plan.begin_limit));
    let said = loop {
        tokio::select! {
            said = &mut running => break said?,
            () = tokio::time::sleep(RENEW) => journal.renew_if_old(acting.cluster, acting.clock.now()).await,
            // The command goes on; what lets the application go on is in the journal.
            () = acting.cancel.cancelled() => return Err(HookError::Cancelled),
        }
    };
    succeeded(&plan.release, said)
}

fn succeeded(release: &Release, said: Said) -> Result<Said, HookError> {
    if said.code == 0 {
        return Ok(said);
    }
    let text = if said.stderr.is_empty() { &said.stdout } else { &said.stderr };
    let text = String::from_utf8_lossy(text);
    let skipped = text.trim().chars().count().saturating_sub(SAID_CHARS_TOLD);
    let end: String = text.trim().chars().skip(skipped).collect();
    Err(HookError::Failed { what: release.name(), code: said.code, said: end })
}

/// Lets the application go on.
pub(crate) async fn release(acting: &Acting<'_>, release: &Release) -> Released {
    let failed = |error: &HookError| Released::Failed { why: crate::base::causes::in_one_line(error) };
    match acting.cluster.get(&pods(), Some(release.namespace()), &release.pod.name).await {
        Err(error) => return failed(&HookError::of(format!("read {}", release.pod), error)),
        Ok(Some(pod)) if uid_of(&pod) == release.pod.uid => {
            if matches!(text(&pod, &["status", "phase"]), "Succeeded" | "Failed") {
                return Released::Gone;
            }
        }
        Ok(_) => return Released::Gone,
    }
    let said = release.run(acting, &release.argv, Duration::from_secs(release.limit_seconds)).await;
    match said.and_then(|said| succeeded(release, said)) {
        Ok(_) => Released::Done,
        Err(error) => failed(&error),
    }
}
