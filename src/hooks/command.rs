//! A command in a container of the application, such as `pg_ctl promote` or `redis-cli save`: words, never a line for a shell.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hold::{Released, Target};
use super::journal::{Entry, Journal};
use super::{Acting, HookError, built_in};
use crate::cluster::exec::{Room, Said};
use crate::cluster::object::{at, text, uid_of};

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

/// The command for a pod that runs now.
pub async fn plan(
    acting: &Acting<'_>,
    (namespace, pod, container): (&str, &str, &str),
    (begin, begin_limit): (Vec<String>, Duration),
    (release, release_limit): (Vec<String>, Duration),
) -> Result<CommandPlan, HookError> {
    let kind = built_in("", "v1", "pods", "Pod", true);
    let found = acting.cluster.get(&kind, Some(namespace), pod).await;
    let found = found.map_err(|error| HookError::of(format!("read pod {namespace}/{pod}"), error))?;
    let changed = |why: &str| HookError::Changed { what: format!("pod {namespace}/{pod}"), why: why.to_owned() };
    let object = found.ok_or_else(|| changed("it is not there"))?;
    let containers = at(&object, &["spec", "containers"]).as_array().into_iter().flatten();
    if !containers.into_iter().any(|known| text(known, &["name"]) == container) {
        return Err(changed(&format!("it has no container {container}")));
    }
    let release = Release {
        pod: Target::of(&kind, &object),
        container: container.to_owned(),
        argv: release,
        limit_seconds: release_limit.as_secs().max(1),
    };
    Ok(CommandPlan { begin, begin_limit, release })
}

/// Runs the command that makes it hold still. After an error, also one of the command itself, the journal says what is to be released: it may have done half its work.
pub async fn begin(acting: &Acting<'_>, plan: &CommandPlan, journal: &mut Journal) -> Result<Said, HookError> {
    if !plan.release.argv.is_empty() {
        journal.add(acting.cluster, [Entry::Command(plan.release.clone())], acting.clock.now()).await?;
    }
    succeeded(&plan.release, plan.release.run(acting, &plan.begin, plan.begin_limit).await?)
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
    let kind = release.pod.kind();
    let failed = |error: &HookError| Released::Failed { why: crate::cluster::error::told(error) };
    match acting.cluster.get(&kind, Some(release.namespace()), &release.pod.name).await {
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
