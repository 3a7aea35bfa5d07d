//! Admission: what the cluster adds to new objects, and on what grounds it refuses them.

use serde_json::{Value, json};

use crate::support::kube::kinds::{pod, security};
use crate::support::kube::quantity;
use crate::support::kube::registry::Resource;
use crate::support::kube::state::{Caller, How, State, suffix, text};
use crate::support::kube::status::{About, Cause, Result, Status, qualified};

impl State {
    /// Before validation: namespaces, service accounts, default classes, protection.
    pub(crate) fn admit_create(&mut self, resource: &Resource, namespace: &str, object: &mut Value) -> Result<()> {
        self.admit_namespace(resource, namespace, object)?;
        match resource.table().as_str() {
            "pods" => self.admit_pod(namespace, object)?,
            "persistentvolumeclaims" => {
                if object["spec"]["storageClassName"].is_null()
                    && object["spec"]["volumeName"].is_null()
                    && let Some(class) = self.default_class()
                {
                    object["spec"]["storageClassName"] = class.into();
                }
                protect(object, "kubernetes.io/pvc-protection");
            }
            "persistentvolumes" => protect(object, "kubernetes.io/pv-protection"),
            _ => {}
        }
        Ok(())
    }

    fn admit_namespace(&self, resource: &Resource, namespace: &str, object: &Value) -> Result<()> {
        if !resource.namespaced {
            return Ok(());
        }
        let Some(found) = self.object("namespaces", "", namespace) else {
            return Err(Status::not_found(About { resource: "namespaces", group: "" }, namespace));
        };
        if found["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let text_of = format!("namespace {namespace} is being terminated");
        let cause = Cause::new("NamespaceTerminating", "metadata.namespace", text_of);
        Err(Status::forbidden(resource.about(), text(&object["metadata"]["name"]), &why).because(&[cause]))
    }

    fn admit_pod(&self, namespace: &str, object: &mut Value) -> Result<()> {
        let account = object["spec"]["serviceAccountName"].as_str().unwrap_or("default").to_owned();
        let name = text(&object["metadata"]["name"]).to_owned();
        let about = About { resource: "pods", group: "" };
        let Some(account_object) = self.object("serviceaccounts", namespace, &account) else {
            let why = format!(
                "error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
            );
            return Err(Status::forbidden(about, &name, &why));
        };
        if object["spec"]["automountServiceAccountToken"].is_null()
            && account_object["automountServiceAccountToken"] == false
        {
            object["spec"]["automountServiceAccountToken"] = false.into();
            pod::admit(object, &suffix());
            object["spec"].as_object_mut().and_then(|spec| spec.remove("automountServiceAccountToken"));
        } else {
            pod::admit(object, &suffix());
        }
        if let Some(class) = object["spec"]["priorityClassName"].as_str() {
            let known = self.object("priorityclasses.scheduling.k8s.io", "", class);
            let Some(found) = known else {
                return Err(Status::forbidden(about, &name, &format!("no PriorityClass with name {class} was found")));
            };
            object["spec"]["priority"] = found["value"].clone();
        }
        Ok(())
    }

    fn default_class(&self) -> Option<String> {
        const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
        let classes = self.objects("storageclasses.storage.k8s.io");
        let class = classes.iter().find(|class| class["metadata"]["annotations"][DEFAULT] == "true")?;
        Some(text(&class["metadata"]["name"]).to_owned())
    }

    /// After validation: Pod Security, quota, webhooks.
    #[expect(clippy::too_many_arguments, reason = "all that an admission review says")]
    pub(crate) fn validate_admission(
        &self,
        who: &Caller,
        resource: &Resource,
        operation: &str,
        namespace: &str,
        object: &Value,
        old: Option<&Value>,
        how: &How,
    ) -> Result<()> {
        if operation == "CREATE" && resource.table() == "pods" {
            self.check_pod_security(namespace, object)?;
        }
        self.call_webhooks(who, resource, operation, namespace, object, old, how)?;
        if operation == "CREATE" {
            self.check_quota(resource, namespace, object)?;
        }
        Ok(())
    }

    fn check_pod_security(&self, namespace: &str, object: &Value) -> Result<()> {
        let labels =
            self.object("namespaces", "", namespace).map(|ns| ns["metadata"]["labels"].clone()).unwrap_or_default();
        let level = text(&labels["pod-security.kubernetes.io/enforce"]);
        let found = security::violations(level, &object["spec"]);
        if found.is_empty() {
            return Ok(());
        }
        let version = labels["pod-security.kubernetes.io/enforce-version"].as_str().unwrap_or("latest");
        let why = format!("violates PodSecurity \"{level}:{version}\": {}", found.join(", "));
        Err(Status::forbidden(About { resource: "pods", group: "" }, text(&object["metadata"]["name"]), &why))
    }

    fn check_quota(&self, resource: &Resource, namespace: &str, object: &Value) -> Result<()> {
        let name = text(&object["metadata"]["name"]);
        let inside = |quota: &&std::sync::Arc<Value>| quota["metadata"]["namespace"] == namespace;
        for quota in self.objects("resourcequotas").iter().filter(inside) {
            let quota_name = text(&quota["metadata"]["name"]);
            for (what, hard) in quota["spec"]["hard"].as_object().into_iter().flatten() {
                let Some(wanted) = charge(resource, what, object) else { continue };
                let Some(requested) = wanted else {
                    let containers = object["spec"]["containers"].as_array().into_iter().flatten();
                    let names: Vec<&str> = containers.map(|container| text(&container["name"])).collect();
                    let why = format!("failed quota: {quota_name}: must specify {what} for: {}", names.join(","));
                    return Err(Status::forbidden(resource.about(), name, &why));
                };
                let existing = self.store.list_at(&resource.table(), &format!("{namespace}/"), self.store.revision());
                let used: i128 = existing.iter().filter_map(|(_, object)| charge(resource, what, object)?).sum();
                let limit = quantity::parse(text(hard)).unwrap_or(0);
                if used + requested > limit {
                    let show = |amount: i128| quantity::format(amount, text(hard));
                    let why = format!(
                        "exceeded quota: {quota_name}, requested: {what}={}, used: {what}={}, limited: {what}={}",
                        show(requested),
                        show(used),
                        text(hard)
                    );
                    return Err(Status::forbidden(resource.about(), name, &why));
                }
            }
        }
        Ok(())
    }
}

/// How much of a quota's item an object takes, in thousandths; None if the item is not about it, `Some(None)` if it has to say and does not.
fn charge(resource: &Resource, what: &str, object: &Value) -> Option<Option<i128>> {
    const ONE: i128 = 1000;
    let counted = format!("count/{}", qualified(&resource.plural, &resource.group));
    if what == counted || (resource.group.is_empty() && what == resource.plural) {
        return Some(Some(ONE));
    }
    if resource.table() == "services" && matches!(what, "services.loadbalancers" | "services.nodeports") {
        let kind = text(&object["spec"]["type"]);
        let counts = kind == "LoadBalancer" || (what == "services.nodeports" && kind == "NodePort");
        return Some(Some(if counts { ONE } else { 0 }));
    }
    if resource.table() == "persistentvolumeclaims" && what == "requests.storage" {
        return Some(quantity::parse(text(&object["spec"]["resources"]["requests"]["storage"])));
    }
    if resource.table() != "pods" {
        return None;
    }
    let (side, item) = match what {
        "cpu" | "memory" => ("requests", what),
        _ => what.split_once('.')?,
    };
    if !matches!((side, item), ("requests" | "limits", "cpu" | "memory")) {
        return None;
    }
    let containers = object["spec"]["containers"].as_array().into_iter().flatten();
    let amounts = containers.map(|container| quantity::parse(text(&container["resources"][side][item])));
    Some(amounts.sum())
}

fn protect(object: &mut Value, finalizer: &str) {
    let metadata = &mut object["metadata"];
    match metadata["finalizers"].as_array_mut() {
        Some(list) if list.iter().any(|have| have == finalizer) => {}
        Some(list) => list.push(finalizer.into()),
        None => metadata["finalizers"] = json!([finalizer]),
    }
}
