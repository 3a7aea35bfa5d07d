//! One object of a real cluster: read, created, replaced, patched, deleted. Which requests are repeated is decided here: reading always; a replacement and a
//! patch too, since the one names the version of the object that it changes, and the other means any (one that names it is final when it is another); a deletion, since it names the uid; a creation only after a look at whether it
//! happened.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{Api, Asked, parse};
use crate::cluster::object::{name_of, namespace_of, uid_of};
use crate::cluster::{ClusterError, Created, Deleted, How, Kind};

/// Who the server says a field belongs to until it has its owners back.
pub const MANAGER: &str = "homelab-dr";
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

fn with_query(address: &str, how: How) -> String {
    let trial = if how == How::Trial { "&dryRun=All" } else { "" };
    format!("{address}?fieldManager={MANAGER}{trial}")
}

fn bytes(object: &Value) -> Bytes {
    Bytes::from(object.to_string())
}

impl Api {
    pub(super) async fn object(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, ClusterError> {
        let asked = Asked::get(&kind.address(namespace, Some(name)));
        match self.patiently(&asked).await {
            Ok(answer) => parse(&asked, &answer).map(Some),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn create_object(&self, kind: &Kind, object: &Value, how: How) -> Result<Created, ClusterError> {
        let (namespace, name) = (namespace_of(object), name_of(object));
        let path = with_query(&kind.address(namespace, None), how);
        let asked = Asked { method: Method::POST, path, content: Some((JSON, bytes(object))) };
        let mut patience = self.patience();
        loop {
            let failed = match self.once(&asked).await {
                Ok(answer) => return parse(&asked, &answer).map(Created::New),
                Err(failed) => failed,
            };
            // Too many requests: this one was not even looked at.
            let untouched = matches!(failed.0, ClusterError::Refused { status: 429, .. });
            let unsure = matches!(failed.0, ClusterError::Silent { .. }) || (failed.0.may_pass() && !untouched);
            let may_be_there = failed.0.is_conflict() || (unsure && how == How::Really);
            if may_be_there && let Some(found) = self.object(kind, namespace, name).await? {
                return Ok(Created::Found(found));
            }
            // A conflict without such an object is one with what the server counts meanwhile, such as a quota.
            patience.wait_for_others(failed).await?;
        }
    }

    pub(super) async fn replace_object(&self, kind: &Kind, object: &Value, how: How) -> Result<Value, ClusterError> {
        let path = with_query(&kind.address(namespace_of(object), Some(name_of(object))), how);
        let asked = Asked { method: Method::PUT, path, content: Some((JSON, bytes(object))) };
        parse(&asked, &self.patiently(&asked).await?)
    }

    pub(super) async fn patch_object(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        patch: &Value,
    ) -> Result<Value, ClusterError> {
        let address = with_query(&kind.address(namespace, Some(name)), How::Really);
        let asked = Asked { method: Method::PATCH, path: address, content: Some((MERGE_PATCH, bytes(patch))) };
        // It names no version, unless it says so: the server itself tries it five times against whoever writes at the same time, and then says conflict.
        let of_any_version = crate::cluster::object::text(patch, &["metadata", "resourceVersion"]).is_empty();
        let mut patience = self.patience();
        loop {
            match self.once(&asked).await {
                Ok(answer) => return parse(&asked, &answer),
                Err(failed) if of_any_version => patience.wait_for_others(failed).await?,
                Err(failed) => patience.wait(failed).await?,
            }
        }
    }

    pub(super) async fn delete_object(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
    ) -> Result<Deleted, ClusterError> {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": {"uid": uid}, "propagationPolicy": "Background",
        });
        let path = kind.address(namespace, Some(name));
        let asked = Asked { method: Method::DELETE, path, content: Some((JSON, bytes(&options))) };
        let refused = match self.patiently(&asked).await {
            Ok(_) => None,
            Err(error) if error.is_missing() => return Ok(Deleted::Gone),
            // Another object has its name by now; or else the server had another reason.
            Err(error) if error.is_conflict() => Some(error),
            Err(error) => return Err(error),
        };
        let left = self.object(kind, namespace, name).await?.filter(|object| uid_of(object) == uid);
        match (left, refused) {
            (None, _) => Ok(Deleted::Gone),
            (Some(_), Some(error)) => Err(error),
            (Some(_), None) => Ok(Deleted::Going),
        }
    }
}
