//! Owners: in another cluster they have other uids. An owner with a uid that is no one's, or that is being deleted, takes its objects with it within
//! seconds, so only owners that are there to stay are named. One that this run did not write itself is looked at each time before it is named.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::cluster::object::{is_dying, text, uid_of};
use crate::cluster::{Cluster, ClusterError, Kind};

/// Which uid became which, and what is known of kinds.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// From the uid in the snapshot to the one in the target: what this run wrote.
    written: HashMap<String, String>,
    /// The same of what was there without it, as it was when it was last looked at.
    found: HashMap<String, String>,
    /// Kinds by group and name.
    kinds: HashMap<(String, String), Kind>,
}

/// The owners of an object.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Resolved {
    /// Those that are there, with the uids that they have there.
    pub(super) there: Vec<Value>,
    /// The uids that they had and have.
    pub(super) renamed: Vec<(String, String)>,
    /// Those that are not, as kind and name.
    pub(super) missing: Vec<String>,
}

impl Owners {
    pub(super) fn know_kind(&mut self, kind: &Kind) {
        self.kinds.entry((kind.group.clone(), kind.name.clone())).or_insert_with(|| kind.clone());
    }

    /// An object that this run wrote.
    pub(super) fn know(&mut self, old: &str, live: &Value) {
        let new = uid_of(live);
        if !old.is_empty() && !new.is_empty() && !is_dying(live) {
            self.written.insert(old.to_owned(), new.to_owned());
        }
    }

    /// Those of the owners that are known to be there.
    pub(super) fn resolve(&self, owners: &[Value]) -> Resolved {
        let mut resolved = Resolved::default();
        for owner in owners {
            let old = text(owner, &["uid"]);
            match self.written.get(old).or_else(|| self.found.get(old)) {
                Some(new) => {
                    let mut owner = owner.clone();
                    if let Some(fields) = owner.as_object_mut() {
                        fields.insert("uid".to_owned(), json!(new));
                    }
                    resolved.there.push(owner);
                    resolved.renamed.push((old.to_owned(), new.clone()));
                }
                None => {
                    resolved.missing.push(format!("{} {}", text(owner, &["kind"]), text(owner, &["name"])));
                }
            }
        }
        resolved
    }

    /// Looks at owners that this run did not write: they may be there all the same, or not any more.
    pub(super) async fn look(
        &mut self,
        cluster: &dyn Cluster,
        owners: &[Value],
        namespace: Option<&str>,
    ) -> Result<(), ClusterError> {
        for owner in owners {
            let old = text(owner, &["uid"]);
            if old.is_empty() || self.written.contains_key(old) {
                continue;
            }
            self.found.remove(old);
            let group = text(owner, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
            let Some(kind) = self.kinds.get(&(group.to_owned(), text(owner, &["kind"]).to_owned())) else { continue };
            let live = match cluster.get(kind, namespace, text(owner, &["name"])).await {
                Ok(live) => live,
                Err(error) if error.is_of_the_cluster() => return Err(error),
                // Nobody knows whether it is there: it is not named.
                Err(_) => None,
            };
            if let Some(live) = live.filter(|live| !is_dying(live) && !uid_of(live).is_empty()) {
                self.found.insert(old.to_owned(), uid_of(&live).to_owned());
            }
        }
        Ok(())
    }
}

/// The owners of an object's fields as they were, the entries for its owners renamed as these were. What controllers wrote into subresources meanwhile, such
/// as `status`, stays theirs.
pub(super) fn field_owners(captured: Option<&Value>, live: &[Value], renamed: &[(String, String)]) -> Value {
    let mut text = captured.map_or_else(|| "[]".to_owned(), Value::to_string);
    for (old, new) in renamed {
        text = text.replace(old, new);
    }
    let mut entries: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    for entry in live.iter().filter(|entry| !self::text(entry, &["subresource"]).is_empty()) {
        let same = |other: &Value| {
            ["manager", "operation", "subresource"].iter().all(|field| other.get(*field) == entry.get(*field))
        };
        if !entries.iter().any(same) {
            entries.push(entry.clone());
        }
    }
    // An empty list would mean: leave them. A list of an empty entry means: nobody's.
    if entries.is_empty() { json!([{}]) } else { entries.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_owners_that_are_there_are_named_and_by_their_new_uid() {
        let mut owners = Owners::default();
        owners.know("old-1", &json!({"metadata": {"uid": "new-1"}}));
        let of = |uid: &str, name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "controller": true});
        let resolved = owners.resolve(&[of("old-1", "a"), of("old-2", "b")]);
        assert_eq!(resolved.there, [of("new-1", "a")]);
        assert_eq!(resolved.missing, ["ConfigMap b"]);
        owners.know("old-2", &json!({"metadata": {"uid": "new-2", "deletionTimestamp": "2026-11-21T00:00:00Z"}}));
        assert_eq!(owners.resolve(&[of("old-2", "b")]).missing, ["ConfigMap b"], "it goes, and would take it along");
    }

    #[test]
    fn field_owners_come_back_with_renamed_uids_and_controllers_keep_what_they_wrote() {
        let captured = json!([
            {"manager": "flux", "operation": "Apply", "fieldsV1": {"f:metadata": {"f:ownerReferences": {"k:{\"uid\":\"old-1\"}": {}}}}},
        ]);
        let live = [
            json!({"manager": "homelab-dr", "operation": "Update", "fieldsV1": {"f:spec": {}}}),
            json!({"manager": "controller", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}}),
        ];
        let back = field_owners(Some(&captured), &live, &[("old-1".into(), "new-1".into())]);
        let expected = json!([
            {"manager": "flux", "operation": "Apply", "fieldsV1": {"f:metadata": {"f:ownerReferences": {"k:{\"uid\":\"new-1\"}": {}}}}},
            {"manager": "controller", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
        ]);
        assert_eq!(back, expected);
        assert_eq!(field_owners(None, &[], &[]), json!([{}]), "nobody's");
    }
}
