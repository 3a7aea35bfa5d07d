//! Programs that run in containers and whose output is backed up: the rights for it, and the pod.

use super::rights::{self, Need, Right};
use super::{Check, Finding, Findings, PreflightError, Severity};
use crate::backup::in_pod::{NotFound, found};
use crate::base::causes::in_one_line;
use crate::cluster::Cluster;
use crate::cluster::object::name_of;
use crate::config::{ContainerPlace, PodChoice};
use crate::hooks::command::container;

/// What running it there takes. docs/live-databases.md grants it; a test tries that.
fn needs(place: &ContainerPlace) -> [Need; 3] {
    let look = match &place.pod {
        PodChoice::Named(_) => "get",
        PodChoice::Labelled(_) => "list",
    };
    // Older servers ask for `get`, newer ones for `create`, too.
    [(look, "pods"), ("get", "pods/exec"), ("create", "pods/exec")].map(|(verb, resource)| Need {
        right: Right { verb: verb.to_owned(), group: String::new(), resource: resource.to_owned() },
        namespace: Some(place.namespace.clone()),
        for_words: false,
    })
}

/// Looks for the rights and the pod of each source, by its name.
pub(super) async fn look(
    cluster: &dyn Cluster,
    findings: &mut Findings,
    commands: &[(&str, &ContainerPlace)],
) -> Result<(), PreflightError> {
    for (source, place) in commands {
        let needs = needs(place);
        let missing = rights::missing(cluster, &needs).await?;
        rights::judge(findings, needs.len(), &missing, "live-databases.md");
        if missing.iter().any(|need| need.right.resource == "pods") {
            continue;
        }
        let mut blocks = |what: &str, why: String, mend: &str| {
            findings.add(Finding::new(Severity::Blocks, Check::Commands, *source, what).because(why).mended_by(mend));
        };
        let pod = match found(cluster, place).await {
            Ok(pod) => pod,
            Err(NotFound::Cluster(error)) => return Err(error.into()),
            Err(NotFound::Why(why)) => {
                let mend = "see pod and labels of the source, and `kubectl get pods --show-labels` in its namespace";
                blocks("no pod is there to run its program", why, mend);
                continue;
            }
        };
        match container(&pod, place.container.as_deref()) {
            Ok(container) => {
                let pod = name_of(&pod);
                let what = format!("its program will run in {}/{pod}, container {container}", place.namespace);
                findings.fine(Check::Commands, *source, what);
            }
            Err(error) => {
                let mend = "name one of them as container of the source";
                blocks("no container is there to run its program", in_one_line(&error), mend);
            }
        }
    }
    Ok(())
}
