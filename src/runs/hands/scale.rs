//! `scale`: a workload gets another number of replicas, and has them.
//!
//! Not the way to have a volume for oneself: that is `quiesce`, which keeps volumes and puts everything back. So nothing is scaled here of which a claim would be deleted, or which its
//! owner would scale back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{World, because, failed};
use crate::base::cancel::Cancel;
use crate::cluster::Cluster;
use crate::cluster::edit::{Edited, Place, edit};
use crate::cluster::object::{at, controller_of, text};
use crate::hooks::scale::{deletes_claims_at_scale_down, kept_by};
use crate::runbook::Object;
use crate::runs::drive::Undone;
use crate::verify::objects::kind_of;
use crate::verify::words::name_of;

/// Between two looks at how many there are. The step's `timeout` ends them.
const LOOK: Duration = Duration::from_secs(1);

/// Why a workload must not get another number of replicas here, and what to do instead.
fn refused(live: &Value, was: u64, replicas: u64) -> Option<(String, String)> {
    if let Some(owner) = controller_of(live) {
        let owner = format!("{} {}", text(owner, &["kind"]), text(owner, &["name"]));
        return Some((format!("{owner} looks after it, and would scale it back"), format!("scale {owner}")));
    }
    (replicas < was && deletes_claims_at_scale_down(live)).then(|| {
        (
            "it deletes the claims of replicas that go (whenScaled: Delete), and their data with them".to_owned(),
            "use `quiesce` with `scale: {}`, which keeps them; or set whenScaled to Retain first".to_owned(),
        )
    })
}

/// Whether its controller has seen the number and there are so many; an error if that will not come, and why.
fn settled(live: &Value, replicas: u64) -> Result<bool, String> {
    let wanted = at(live, &["spec", "replicas"]).as_u64();
    if wanted != Some(replicas) {
        let now = wanted.map_or_else(|| "no number".to_owned(), |now| now.to_string());
        return Err(format!("somebody else has set it to {now} replicas since"));
    }
    let number = |path: &[&str]| at(live, path).as_u64().unwrap_or(0);
    let seen = number(&["status", "observedGeneration"]) >= number(&["metadata", "generation"]);
    Ok(seen && number(&["status", "replicas"]) == replicas)
}

impl World<'_> {
    pub(super) async fn scale(
        &self,
        object: &Object,
        replicas: u64,
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        let cluster = self.cluster()?;
        let kind = kind_of(cluster, object).await.map_err(|why| failed(why, "restore its definition first"))?;
        let name = name_of(object);
        let (mut was, mut not) = (None, None);
        let place = Place { kind: &kind, namespace: object.namespace.as_deref(), name: &object.name };
        let edited = edit(cluster, place, |live| {
            was = at(live, &["spec", "replicas"]).as_u64();
            not = refused(live, was.unwrap_or(1), replicas);
            if let (None, Some(spec)) = (&not, live.get_mut("spec").and_then(Value::as_object_mut)) {
                spec.insert("replicas".to_owned(), json!(replicas));
            }
        });
        let edited =
            edited.await.map_err(|error| because(&error, "see the rights of the account, and who else changes it"))?;
        if let Some((why, help)) = not {
            return Err(failed(format!("{name} is not scaled: {why}"), help));
        }
        let was = was.map_or_else(|| "no number of".to_owned(), |was| was.to_string());
        let (live, mut said) = match edited {
            Edited::Gone => return Err(failed(format!("there is no {name}"), "restore it first")),
            Edited::Same(live) => (live, vec![format!("{name} was to have {replicas} replicas already")]),
            Edited::Written(live) => (live, vec![format!("{name}: from {was} to {replicas} replicas")]),
        };
        said.extend(kept_by(&live).map(|who| format!("{who} keeps it as it is in Git: `gitops.pause` comes before")));
        // Of other kinds nobody knows how they tell.
        if cluster.lives() && kind.group == "apps" {
            self.scaled(cluster, place, replicas, cancel).await?;
        }
        Ok(said)
    }

    /// Waits until there are so many.
    async fn scaled(
        &self,
        cluster: &dyn Cluster,
        place: Place<'_>,
        replicas: u64,
        cancel: &Arc<Cancel>,
    ) -> Result<(), Undone> {
        let help = "see what keeps it from that: `gitops.pause` for Git, its own means for an operator or autoscaler";
        loop {
            let found = cluster.get(place.kind, place.namespace, place.name).await;
            let found = found.map_err(|error| because(&error, "see whether the API server answers"))?;
            let live = found.ok_or_else(|| failed("it was removed meanwhile", "restore it first"))?;
            if settled(&live, replicas).map_err(|why| failed(why, help))? {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = cancel.cancelled() => return Err(Undone::Stopped),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(when_scaled: &str) -> Value {
        json!({
            "kind": "StatefulSet", "metadata": {"generation": 3},
            "spec": {"replicas": 2, "persistentVolumeClaimRetentionPolicy": {"whenScaled": when_scaled}},
            "status": {"observedGeneration": 3, "replicas": 2},
        })
    }

    #[test]
    fn a_set_that_would_delete_its_claims_and_what_an_owner_scales_are_refused() {
        assert!(refused(&set("Delete"), 2, 1).unwrap().0.contains("deletes the claims"));
        assert_eq!(refused(&set("Delete"), 2, 3), None, "nothing goes");
        assert_eq!(refused(&set("Retain"), 2, 0), None);
        let mut owned = set("Retain");
        owned["metadata"]["ownerReferences"] = json!([{"controller": true, "kind": "Cluster", "name": "pg"}]);
        assert!(refused(&owned, 2, 0).unwrap().1.contains("scale Cluster pg"));
    }

    #[test]
    fn it_is_settled_when_its_controller_has_seen_the_number_and_there_are_so_many() {
        assert_eq!(settled(&set("Retain"), 2), Ok(true));
        assert!(settled(&set("Retain"), 0).unwrap_err().contains("somebody else has set it to 2"));
        for (field, value) in [("observedGeneration", 2), ("replicas", 1)] {
            let mut unseen = set("Retain");
            unseen["status"][field] = json!(value);
            assert_eq!(settled(&unseen, 2), Ok(false), "{field}");
        }
    }
}
