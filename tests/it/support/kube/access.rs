//! Who asks, and may they: tokens of service accounts, RBAC, reviews.

use serde_json::{Value, json};

use crate::support::kube::request::Path;
use crate::support::kube::state::{Caller, State, Token, new_secret, new_uid, now, stamp, text};
use crate::support::kube::status::{About, Result, Status, qualified};

/// What is to be allowed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Access {
    pub(crate) fn of(verb: &str, path: &Path) -> Self {
        Self {
            verb: verb.to_owned(),
            group: path.group.clone(),
            resource: path.resource.clone(),
            subresource: path.subresource.split('/').next().unwrap_or_default().to_owned(),
            namespace: path.namespace.clone(),
            name: path.name.clone(),
        }
    }

    fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

impl State {
    /// From the `Authorization` header; nobody in particular without one.
    pub(crate) fn authenticate(&self, header: Option<&str>, manager: &str) -> Result<Caller> {
        let manager = manager.to_owned();
        let Some(token) = header.and_then(|header| header.strip_prefix("Bearer ")) else {
            if self.open {
                return self.authenticate(Some(&format!("Bearer {}", self.admin_token)), &manager);
            }
            let groups = vec!["system:unauthenticated".into()];
            return Ok(Caller { user: "system:anonymous".into(), groups, manager });
        };
        if token == self.admin_token && !self.faults.token_expired() {
            let groups = vec!["system:masters".into(), "system:authenticated".into()];
            return Ok(Caller { user: "kubernetes-admin".into(), groups, manager });
        }
        let known = self.tokens.get(token).filter(|known| known.expires > chrono::Utc::now());
        let known = known.filter(|known| self.object("serviceaccounts", &known.namespace, &known.account).is_some());
        let Token { namespace, account, .. } = known.ok_or_else(Status::unauthorized)?;
        Ok(Caller {
            user: format!("system:serviceaccount:{namespace}:{account}"),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
            manager,
        })
    }

    pub(crate) fn authorize(&self, who: &Caller, access: &Access) -> Result<()> {
        if self.allows(who, access) {
            return Ok(());
        }
        let Access { verb, group, namespace, name, .. } = access;
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{namespace}\"")
        };
        let why = format!(
            "User \"{}\" cannot {verb} resource \"{}\" in API group \"{group}\" {place}",
            who.user,
            access.full_resource()
        );
        Err(Status::forbidden(About { resource: &access.resource, group }, name, &why))
    }

    pub(crate) fn allows(&self, who: &Caller, access: &Access) -> bool {
        who.is_master() || self.rules(who, &access.namespace).iter().any(|rule| rule_allows(rule, access))
    }

    /// All rules that hold for a caller, in a namespace or at cluster scope.
    fn rules(&self, who: &Caller, namespace: &str) -> Vec<Value> {
        const GROUP: &str = "rbac.authorization.k8s.io";
        let mut rules = Vec::new();
        let bound = |binding: &Value| {
            binding["subjects"].as_array().into_iter().flatten().any(|subject| is(who, binding, subject))
        };
        let role = |binding: &Value, namespace: &str| {
            let reference = &binding["roleRef"];
            let (table, namespace) = if reference["kind"] == "ClusterRole" {
                (qualified("clusterroles", GROUP), "")
            } else {
                (qualified("roles", GROUP), namespace)
            };
            let role = self.object(&table, namespace, text(&reference["name"]));
            role.map(|role| role["rules"].as_array().cloned().unwrap_or_default()).unwrap_or_default()
        };
        for binding in self.objects(&qualified("clusterrolebindings", GROUP)) {
            if bound(&binding) {
                rules.extend(role(&binding, ""));
            }
        }
        for binding in self.objects(&qualified("rolebindings", GROUP)) {
            if !namespace.is_empty() && binding["metadata"]["namespace"] == namespace && bound(&binding) {
                rules.extend(role(&binding, namespace));
            }
        }
        if who.groups.iter().any(|group| group == "system:authenticated") {
            rules.push(json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]}));
            rules.push(json!({"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]}));
        }
        rules
    }

    pub(crate) fn token_request(&mut self, namespace: &str, account: &str, body: &Value) -> Result<Value> {
        const DEFAULT_SECONDS: u64 = 3600;
        let about = About { resource: "serviceaccounts", group: "" };
        if self.object("serviceaccounts", namespace, account).is_none() {
            return Err(Status::not_found(about, account));
        }
        let seconds = body["spec"]["expirationSeconds"].as_u64().unwrap_or(DEFAULT_SECONDS);
        let expires = chrono::Utc::now() + std::time::Duration::from_secs(seconds);
        let token = new_secret();
        let known = Token { namespace: namespace.to_owned(), account: account.to_owned(), expires };
        self.tokens.insert(token.clone(), known);
        let audiences = json!(["https://kubernetes.default.svc.cluster.local"]);
        Ok(json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": account, "namespace": namespace, "uid": new_uid(), "creationTimestamp": now()},
            "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": null},
            "status": {"token": token, "expirationTimestamp": stamp(expires)},
        }))
    }

    /// `SelfSubjectAccessReview`, `SubjectAccessReview` and the rest of authorization.k8s.io, answered in the object that asks.
    pub(crate) fn review(&self, who: &Caller, resource: &str, review: &mut Value) {
        let attributes = &review["spec"]["resourceAttributes"];
        let field = |name: &str| text(&attributes[name]).to_owned();
        let access = Access {
            verb: field("verb"),
            group: field("group"),
            resource: field("resource"),
            subresource: field("subresource"),
            namespace: field("namespace"),
            name: field("name"),
        };
        match resource {
            "selfsubjectrulesreviews" => {
                let namespace = text(&review["spec"]["namespace"]).to_owned();
                let mut rules = self.rules(who, &namespace);
                if who.is_master() {
                    rules.insert(0, json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
                }
                review["spec"] = json!({});
                review["status"] =
                    json!({"resourceRules": rules, "nonResourceRules": non_resource_rules(), "incomplete": false});
            }
            "selfsubjectreviews" => {
                review["status"] = json!({"userInfo": {"username": who.user, "groups": who.groups}});
            }
            "tokenreviews" => {
                let token = text(&review["spec"]["token"]);
                review["status"] = match self.authenticate(Some(&format!("Bearer {token}")), "") {
                    Ok(caller) => {
                        json!({"authenticated": true, "user": {"username": caller.user, "groups": caller.groups}})
                    }
                    Err(_) => json!({"user": {}, "error": "invalid bearer token"}),
                };
            }
            _ => {
                let who = if resource.starts_with("self") {
                    who.clone()
                } else {
                    let groups = review["spec"]["groups"].as_array().into_iter().flatten();
                    Caller {
                        user: text(&review["spec"]["user"]).to_owned(),
                        groups: groups.map(|group| text(group).to_owned()).collect(),
                        manager: String::new(),
                    }
                };
                review["status"] = json!({"allowed": self.allows(&who, &access)});
            }
        }
    }
}

fn is(who: &Caller, binding: &Value, subject: &Value) -> bool {
    let name = text(&subject["name"]);
    match text(&subject["kind"]) {
        "ServiceAccount" => {
            let namespace = subject["namespace"].as_str().unwrap_or_else(|| text(&binding["metadata"]["namespace"]));
            who.user == format!("system:serviceaccount:{namespace}:{name}")
        }
        "Group" => who.groups.iter().any(|group| group == name),
        _ => who.user == name,
    }
}

fn rule_allows(rule: &Value, access: &Access) -> bool {
    let listed = |list: &str, wanted: &str| {
        rule[list].as_array().into_iter().flatten().any(|entry| entry == "*" || entry == wanted)
    };
    let names = rule["resourceNames"].as_array();
    let full = access.full_resource();
    let any = format!("*/{}", access.subresource);
    listed("verbs", &access.verb)
        && listed("apiGroups", &access.group)
        && (listed("resources", &full) || (!access.subresource.is_empty() && listed("resources", &any)))
        && names.is_none_or(|names| names.is_empty() || names.iter().any(|name| *name == access.name))
}

fn non_resource_rules() -> Value {
    let open = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let openid = "/.well-known/openid-configuration";
    json!([
        {"verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"]},
        {"verbs": ["get"], "nonResourceURLs": [openid, "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/"]},
        {"verbs": ["get"], "nonResourceURLs": ["/.well-known", "/.well-known/*"]},
        {"verbs": ["get"], "nonResourceURLs": open},
    ])
}
