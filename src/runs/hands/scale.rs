//! `scale`: a workload gets another number of replicas.

use serde_json::json;

use super::{World, because, failed};
use crate::cluster::edit::{Edited, Place, edit};
use crate::cluster::object::at;
use crate::runbook::Object;
use crate::runs::drive::Undone;
use crate::verify::objects::kind_of;
use crate::verify::words::name_of;

impl World<'_> {
    pub(super) async fn scale(&self, object: &Object, replicas: u64) -> Result<Vec<String>, Undone> {
        let cluster = self.cluster()?;
        let kind = kind_of(cluster, object).await.map_err(|why| failed(why, "restore its definition first"))?;
        let mut was = None;
        let place = Place { kind: &kind, namespace: object.namespace.as_deref(), name: &object.name };
        let edited = edit(cluster, place, |live| {
            was = at(live, &["spec", "replicas"]).as_u64();
            if let Some(spec) = live.get_mut("spec").and_then(serde_json::Value::as_object_mut) {
                spec.insert("replicas".to_owned(), json!(replicas));
            }
        });
        let name = name_of(object);
        let edited =
            edited.await.map_err(|error| because(&error, "see the rights of the account, and who else changes it"))?;
        let was = was.map_or_else(|| "no number of".to_owned(), |was| was.to_string());
        match edited {
            Edited::Gone => Err(failed(format!("there is no {name}"), "restore it first")),
            Edited::Same(_) => Ok(vec![format!("{name} has {replicas} replicas already")]),
            Edited::Written(_) => Ok(vec![format!("{name}: from {was} to {replicas} replicas")]),
        }
    }
}
