//! What a run has left otherwise than it found it, and how it is put back: what is paused, and what stands at zero.

use std::collections::BTreeMap;

use crate::base::causes::in_one_line;
use crate::cli::again::Again;
use crate::cluster::Cluster;
use crate::gitops::note::State;
use crate::gitops::{Selection, plan::status};
use crate::runbook::{Action, Object, Step};
use crate::runs::event::{Event, Record};
use crate::verify::words::name_of;

/// Objects that a line names.
const NAMED_MAX: usize = 5;

fn step<'a>(steps: &'a [Step], id: &str) -> Option<&'a Step> {
    steps.iter().find(|step| step.id == id)
}

/// Everything that is left so at the end, a line each; nothing where all is as it was.
pub(super) async fn behind(
    cluster: Option<&dyn Cluster>,
    steps: &[Step],
    events: &[Record],
    again: &Again,
) -> Vec<String> {
    let mut lines = at_zero(steps, events, again);
    let pauses = |record: &Record| {
        let Event::Begun { step: id } = &record.event else { return false };
        step(steps, id).is_some_and(|step| matches!(step.action, Action::Gitops { pause: true, .. }))
    };
    if let (Some(cluster), true) = (cluster, events.iter().any(pauses)) {
        lines.extend(paused(cluster).await.map(|line| again.told(&line)));
    }
    lines
}

/// By what is in the cluster, not by what the journal says: a step of another run may have resumed it.
async fn paused(cluster: &dyn Cluster) -> Option<String> {
    let command = "`homelab-dr gitops resume`";
    let status = match status(cluster, &Selection::default()).await {
        Ok(status) => status,
        Err(error) => {
            let why = in_one_line(&error);
            return Some(format!(
                "whether Flux and ArgoCD are STILL PAUSED is not known: {why}; {command} lets them go on"
            ));
        }
    };
    let ours: Vec<String> = status
        .objects
        .iter()
        .filter(|standing| matches!(standing.state, State::Ours { .. }))
        .map(|standing| standing.object.to_string())
        .collect();
    if ours.is_empty() {
        return None;
    }
    let more = ours.len().saturating_sub(NAMED_MAX);
    let named = ours.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("STILL PAUSED: {named}{more}; {command} lets them go on"))
}

/// Workloads that a step has set to zero, and none to another number since.
fn at_zero(steps: &[Step], events: &[Record], again: &Again) -> Vec<String> {
    let mut now: BTreeMap<String, (&Object, &str, u64)> = BTreeMap::new();
    for record in events {
        let Event::Acted { step: id, .. } = &record.event else { continue };
        if let Some(Action::Scale { object, replicas }) = step(steps, id).map(|step| &step.action) {
            now.insert(name_of(object), (object, id, *replicas));
        }
    }
    let zero = now.into_iter().filter(|(_, (_, _, replicas))| *replicas == 0);
    zero.map(|(name, (object, id, _))| {
        let namespace = object.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
        let group = if object.group.is_empty() { String::new() } else { format!(".{}", object.group) };
        format!(
            "STILL AT ZERO, by step {id}: {name}; `kubectl{}{namespace} scale {}{group}/{} --replicas=N` starts it",
            again.for_kubectl(),
            object.resource,
            object.name
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::configuration::JUDGES;

    fn record(event: Event) -> Record {
        Record { at: String::new(), event }
    }

    fn acted(step: &str) -> Record {
        record(Event::Acted { step: step.into(), said: Vec::new() })
    }

    #[tokio::test]
    async fn what_stands_at_zero_at_the_end_is_named_with_what_starts_it() {
        let scale = |id: &str, name: &str, replicas: u64| {
            format!(
                "# S\nWhy.\n```yaml step\nid: {id}\nscale: {{object: media/deployments.apps/{name}, replicas: {replicas}}}\n```\n"
            )
        };
        let text = [
            "---\nid: t\ntitle: T\n---\n".to_owned(),
            scale("down", "web", 0),
            scale("up", "web", 2),
            scale("off", "db", 0),
        ];
        let runbook = crate::runbook::read(text.concat().as_bytes(), &JUDGES).runbook.expect("right");
        let steps = runbook.sampled(&JUDGES).expect("right");
        let (here, there) = (Again::default(), Again::cluster(Some("/k/old one".as_ref()), Some("home")));
        let left = behind(None, &steps, &[acted("down"), acted("up"), acted("off")], &here).await;
        let line = "STILL AT ZERO, by step off: media/deployments.apps/db; `kubectl -n media scale deployments.apps/db --replicas=N` starts it";
        assert_eq!(left, [line]);
        assert!(behind(None, &steps, &[record(Event::Begun { step: "down".into() })], &here).await.is_empty());
        let left = behind(None, &steps, &[acted("down")], &there).await;
        let command =
            "`kubectl --kubeconfig '/k/old one' --context home -n media scale deployments.apps/web --replicas=N`";
        assert!(left.len() == 1 && left[0].contains(command), "{left:?}");
    }
}
