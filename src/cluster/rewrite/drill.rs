//! What of a captured object a drill takes over: into namespaces of its own, in a cluster that is in use, behind a policy that lets nothing out. docs/decisions/0019 says why.
//!
//! Only kinds that are on the list, and of those only what stays within the namespace: what reaches the node, its network, its storage or the API past the policy is left out or taken
//! away, and so is what is a word to controllers, which see the drill's namespaces like all others.

use serde_json::{Value, json};

use crate::cluster::Kind;
use crate::cluster::object::{annotation, at, fields_mut, items, items_mut, take, take_fields, take_items, text};

/// Longest name of a namespace.
const NAME_MAX: usize = 63;
/// Digits of the hash that stands for the end of a name that is too long.
const HASH_DIGITS: usize = 8;

/// How the names of all namespaces of a drill begin.
#[must_use]
pub fn prefix(run: &str) -> String {
    format!("drill-{run}-")
}

/// The namespace of a drill that stands for another. One that would be too long is cut, and ends with a hash of the whole: two names never become one.
#[must_use]
pub fn namespace(run: &str, name: &str) -> String {
    let whole = format!("{}{name}", prefix(run));
    if whole.len() <= NAME_MAX {
        return whole;
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let kept: String = whole.chars().take(NAME_MAX - HASH_DIGITS - 1).collect();
    format!("{}-{}", kept.trim_end_matches('-'), hash.get(..HASH_DIGITS).unwrap_or_default())
}

/// Annotation of a workload: `exclude` has a drill leave it without pods, since it would mail, poll or sync with what is outside.
pub const DRILL: &str = "homelab-dr.io/drill";
const EXCLUDE: &str = "exclude";
/// Beginnings of the annotations that stay: what Kubernetes itself and we go by. All others are words to controllers.
const ANNOTATIONS: [&str; 6] = [
    "kubernetes.io/",
    "deployment.kubernetes.io/",
    "volume.kubernetes.io/",
    "container.apparmor.security.beta.kubernetes.io/",
    "kubectl.kubernetes.io/default-container",
    "homelab-dr.io/",
];
/// Labels by which `GitOps` tools know what is theirs: they would remove what they do not find in Git.
const LABELS: [&str; 3] = ["argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/"];
const INSTANCE: &str = "app.kubernetes.io/instance";
/// Fields of a service that lead out of the cluster, or choose something of which there is one.
const OUTWARD: [&str; 8] = [
    "externalIPs",
    "externalName",
    "externalTrafficPolicy",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "loadBalancerClass",
    "allocateLoadBalancerNodePorts",
    "healthCheckNodePort",
];
/// Kinds of volumes that are made of what is in the drill. All others the node mounts, past every policy: its own folders, and shares on the network.
const VOLUMES: [&str; 8] =
    ["configMap", "secret", "emptyDir", "projected", "downwardAPI", "persistentVolumeClaim", "ephemeral", "image"];
/// What containers may add at most, as Pod Security `baseline` has it.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Namespaces of the cluster itself: what runs in them is for the cluster that is there.
const SYSTEM: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Makes of an object of a namespace, as it would be restored into the drill's, what the drill takes over. Returns what is different about it, for people.
///
/// # Errors
/// Why it is left out.
pub fn take_over(kind: &Kind, from: &str, object: &mut Value, run: &str) -> Result<Vec<String>, String> {
    let is_excluded = annotation(object, DRILL) == EXCLUDE;
    let mut notes = Vec::new();
    match (kind.group.as_str(), kind.name.as_str()) {
        _ if !kind.namespaced => return Err("it is of the whole cluster".to_owned()),
        _ if SYSTEM.contains(&from) => return Err("it is of the cluster itself".to_owned()),
        ("", "Secret") if text(object, &["type"]) == super::account::TOKEN => {
            return Err("it is a token for the API".to_owned());
        }
        ("", "ConfigMap" | "ServiceAccount" | "Secret") | ("rbac.authorization.k8s.io", "Role") => {}
        ("rbac.authorization.k8s.io", "RoleBinding") => binding(object, run)?,
        ("", "PersistentVolumeClaim") => claim_of(object)?,
        ("", "Service") => service(object, &mut notes)?,
        ("", "Pod") if is_excluded => return Err(format!("its annotation {DRILL} says so")),
        ("", "Pod") => pod(object, &["spec"])?,
        ("apps", "Deployment" | "StatefulSet" | "ReplicaSet") => {
            pod(object, &["spec", "template", "spec"])?;
            for template in items(object, &["spec", "volumeClaimTemplates"]) {
                claim_of(template)?;
            }
            if is_excluded {
                set(object, &["spec"], "replicas", json!(0));
                notes.push(format!("gets no pods: its annotation {DRILL} says so"));
            }
        }
        ("batch", "CronJob") => {
            set(object, &["spec"], "suspend", json!(true));
            notes.push("is suspended".to_owned());
        }
        ("batch", "Job") => return Err("it would be carried out again".to_owned()),
        ("apps", "DaemonSet") => return Err("it would run on every node".to_owned()),
        ("networking.k8s.io", "NetworkPolicy") => return Err("it would open what the drill closes".to_owned()),
        _ => return Err("a drill takes over no objects of this kind".to_owned()),
    }
    metadata(object, kind);
    Ok(notes)
}

fn set(object: &mut Value, path: &[&str], field: &str, value: Value) {
    if let Some(fields) = fields_mut(object, path) {
        fields.insert(field.to_owned(), value);
    }
}

fn metadata(object: &mut Value, kind: &Kind) {
    // Whoever set a finalizer would have to take it off again, and acts outside.
    take(object, &["metadata", "finalizers"]);
    let stays = |name: &str| ANNOTATIONS.iter().any(|start| name.starts_with(start)) && name != DRILL;
    let is_service = kind.is("", "Service");
    take_fields(object, &["metadata", "annotations"], |name| is_service || !stays(name));
    // Those of a pod are what services choose it by.
    let is_pod = kind.is("", "Pod");
    take_fields(object, &["metadata", "labels"], |name| {
        LABELS.iter().any(|start| name.starts_with(start)) || (name == INSTANCE && !is_pod)
    });
}

/// Only for accounts of the drill: nobody else gets rights in it.
fn binding(object: &mut Value, run: &str) -> Result<(), String> {
    let ours = prefix(run);
    take_items(object, &["subjects"], |subject| {
        text(subject, &["kind"]) != "ServiceAccount" || !text(subject, &["namespace"]).starts_with(&ours)
    });
    if items(object, &["subjects"]).is_empty() {
        Err("it gives rights to nobody of the drill".to_owned())
    } else {
        Ok(())
    }
}

/// A claim gets a volume that is made for it, never one that is there.
fn claim_of(claim: &Value) -> Result<(), String> {
    if !at(claim, &["spec", "selector"]).is_null() {
        return Err("it chooses a volume that is there, by its labels".to_owned());
    }
    if at(claim, &["spec", "storageClassName"]) == "" {
        return Err("it asks for a volume that is there, of no class".to_owned());
    }
    Ok(())
}

fn service(object: &mut Value, notes: &mut Vec<String>) -> Result<(), String> {
    let was = text(object, &["spec", "type"]).to_owned();
    if was == "ExternalName" {
        return Err(format!("it leads to {}", text(object, &["spec", "externalName"])));
    }
    if !matches!(was.as_str(), "" | "ClusterIP") {
        set(object, &["spec"], "type", json!("ClusterIP"));
        notes.push(format!("is ClusterIP, not {was}"));
    }
    for field in OUTWARD {
        take(object, &["spec", field]);
    }
    for port in items_mut(object, &["spec", "ports"]) {
        take(port, &["nodePort"]);
    }
    Ok(())
}

/// The pod of a workload stays within its namespace, or is none of the drill's.
fn pod(object: &mut Value, path: &[&str]) -> Result<(), String> {
    let spec = at(object, path);
    if let Some(why) = reaches(spec) {
        return Err(format!("it reaches past the policy: {why}"));
    }
    // Nobody in a drill talks to the API, and what is more important than others could take their place.
    set(object, path, "automountServiceAccountToken", json!(false));
    for field in ["priorityClassName", "priority"] {
        take(object, &[path, &[field]].concat());
    }
    let volumes = [path, &["volumes"]].concat();
    for volume in items_mut(object, &volumes) {
        take_items(volume, &["projected", "sources"], |source| !at(source, &["serviceAccountToken"]).is_null());
        let is_empty = volume.get("projected").is_some_and(|projected| projected.get("sources").is_none());
        if is_empty && let Some(fields) = volume.as_object_mut() {
            fields.remove("projected");
            fields.insert("emptyDir".to_owned(), json!({}));
        }
    }
    Ok(())
}

/// By what a pod gets at something that no network policy keeps it from.
fn reaches(spec: &Value) -> Option<String> {
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if at(spec, &[field]) == true {
            return Some(field.to_owned());
        }
    }
    for volume in items(spec, &["volumes"]) {
        let kinds = volume.as_object().into_iter().flatten().map(|(field, _)| field.as_str());
        if let Some(kind) = kinds.filter(|field| *field != "name").find(|field| !VOLUMES.contains(field)) {
            return Some(format!("the volume {} is a {kind}", text(volume, &["name"])));
        }
        let template = at(volume, &["ephemeral", "volumeClaimTemplate"]);
        if template.is_object()
            && let Err(why) = claim_of(template)
        {
            return Some(format!("the volume {}: {why}", text(volume, &["name"])));
        }
    }
    if at(spec, &["securityContext", "windowsOptions", "hostProcess"]) == true {
        return Some("hostProcess".to_owned());
    }
    ["containers", "initContainers"].iter().flat_map(|list| items(spec, &[list])).find_map(container)
}

fn container(container: &Value) -> Option<String> {
    let name = text(container, &["name"]);
    let context = |field: &str| at(container, &["securityContext", field]);
    if context("privileged") == true {
        return Some(format!("container {name} is privileged"));
    }
    let mut added = items(container, &["securityContext", "capabilities", "add"]).iter().filter_map(Value::as_str);
    if let Some(one) = added.find(|one| !CAPABILITIES.contains(one)) {
        return Some(format!("container {name} has the capability {one}"));
    }
    if !matches!(context("procMount"), Value::Null) && context("procMount") != "Default" {
        return Some(format!("container {name} has another procMount"));
    }
    if at(container, &["securityContext", "windowsOptions", "hostProcess"]) == true {
        return Some(format!("container {name} is a hostProcess"));
    }
    let is_host = |port: &&Value| at(port, &["hostPort"]).as_u64().is_some_and(|port| port > 0);
    let host = items(container, &["ports"]).iter().find(is_host)?;
    Some(format!("container {name} has the hostPort {}", at(host, &["hostPort"])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kind::example;

    #[test]
    fn names_are_short_enough_and_never_the_same() {
        assert_eq!(namespace("5f0c1d2e", "media"), "drill-5f0c1d2e-media");
        let long = |end: &str| namespace("5f0c1d2e", &format!("{}{end}", "a".repeat(55)));
        assert_eq!((long("x").len(), long("x") == long("y")), (63, false));
        assert_eq!(namespace("5f0c1d2e", &"a".repeat(48)).len(), 63, "as long as may be, and whole");
        let dashed = namespace("5f0c1d2e", &format!("{}{}", "a".repeat(38), "-".repeat(12)));
        assert!(!dashed.contains("--"), "{dashed}");
    }

    #[track_caller]
    fn taken(group: &str, name: &str, mut object: Value) -> Result<(Value, Vec<String>), String> {
        let notes = take_over(&example(group, "", name), "media", &mut object, "5f0c1d2e")?;
        Ok((object, notes))
    }

    fn deployment(pod: &Value) -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "template": {"spec": pod}}})
    }

    #[test]
    fn what_is_on_no_list_stays_where_it_is() {
        for (group, name) in [
            ("", "Endpoints"),
            ("", "Event"),
            ("apps", "DaemonSet"),
            ("batch", "Job"),
            ("networking.k8s.io", "NetworkPolicy"),
            ("networking.k8s.io", "Ingress"),
            ("gateway.networking.k8s.io", "HTTPRoute"),
            ("cert-manager.io", "Certificate"),
            ("external-secrets.io", "PushSecret"),
            ("postgresql.cnpg.io", "Cluster"),
            ("autoscaling", "HorizontalPodAutoscaler"),
            ("policy", "PodDisruptionBudget"),
            ("acme.example", "ConfigMap"),
        ] {
            assert!(taken(group, name, json!({"metadata": {"name": "x"}})).is_err(), "{name}.{group}");
        }
        let mut role = example("rbac.authorization.k8s.io", "", "Role");
        role.namespaced = false;
        assert!(take_over(&role, "", &mut json!({}), "5f0c1d2e").is_err(), "nothing of the whole cluster");
        let map = example("", "", "ConfigMap");
        assert!(take_over(&map, "kube-system", &mut json!({}), "5f0c1d2e").is_err(), "nor of the cluster itself");
        let token = json!({"type": "kubernetes.io/service-account-token"});
        assert!(taken("", "Secret", token).is_err());
    }

    #[test]
    fn no_annotation_label_or_finalizer_calls_a_controller() {
        let object = json!({"metadata": {
            "name": "x", "finalizers": ["acme.example/cleanup"],
            "annotations": {"reflector.v1.k8s.emberstack.com/reflection-allowed": "true", "homelab-dr.io/mover-user": "1"},
            "labels": {"app": "x", "app.kubernetes.io/instance": "x", "kustomize.toolkit.fluxcd.io/name": "apps"},
        }});
        let expected = json!({"metadata": {
            "name": "x", "annotations": {"homelab-dr.io/mover-user": "1"}, "labels": {"app": "x"},
        }});
        assert_eq!(taken("", "Secret", object).map(|(object, _)| object), Ok(expected));
        let service = json!({"metadata": {"annotations": {"kubernetes.io/x": "1"}}, "spec": {}});
        assert_eq!(taken("", "Service", service).map(|(object, _)| object), Ok(json!({"metadata": {}, "spec": {}})));
        let pod = json!({"metadata": {"labels": {"app.kubernetes.io/instance": "x"}}, "spec": {}});
        let (pod, _) = taken("", "Pod", pod).expect("taken");
        assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/instance"], "x", "services choose by it");
    }

    #[test]
    fn a_service_leads_nowhere_but_to_pods_of_the_drill() {
        let object = json!({"metadata": {"annotations": {"external-dns.alpha.kubernetes.io/hostname": "x.example"}}, "spec": {
            "type": "LoadBalancer", "selector": {"app": "web"}, "externalIPs": ["192.0.2.1"], "loadBalancerIP": "192.0.2.2",
            "loadBalancerSourceRanges": ["10.0.0.0/8"], "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
            "loadBalancerClass": "x", "allocateLoadBalancerNodePorts": true, "ports": [{"port": 80, "nodePort": 30080}],
        }});
        let (object, notes) = taken("", "Service", object).expect("taken");
        let spec = json!({"type": "ClusterIP", "selector": {"app": "web"}, "ports": [{"port": 80}]});
        assert_eq!((&object["spec"], notes), (&spec, vec!["is ClusterIP, not LoadBalancer".to_owned()]));
        assert!(object["metadata"].get("annotations").is_none());
        let external = json!({"spec": {"type": "ExternalName", "externalName": "db.example"}});
        assert_eq!(taken("", "Service", external), Err("it leads to db.example".to_owned()));
        let headless = json!({"metadata": {}, "spec": {"clusterIP": "None", "ports": []}});
        assert_eq!(taken("", "Service", headless.clone()).map(|(object, _)| object), Ok(headless));
    }

    #[test]
    fn what_reaches_past_the_policy_is_left_out() {
        let inside = |context: Value| json!({"containers": [{"name": "c", "securityContext": context}]});
        let volume = |volume: Value| json!({"volumes": [volume]});
        for (pod, why) in [
            (json!({"hostNetwork": true}), "hostNetwork"),
            (json!({"hostPID": true}), "hostPID"),
            (json!({"hostIPC": true}), "hostIPC"),
            (json!({"initContainers": [{"name": "i", "securityContext": {"privileged": true}}]}), "i is privileged"),
            (inside(json!({"privileged": true})), "c is privileged"),
            (inside(json!({"capabilities": {"add": ["CHOWN", "NET_ADMIN"]}})), "NET_ADMIN"),
            (inside(json!({"procMount": "Unmasked"})), "procMount"),
            (json!({"containers": [{"name": "c", "ports": [{"hostPort": 0}, {"hostPort": 53}]}]}), "hostPort 53"),
            (volume(json!({"name": "v", "hostPath": {"path": "/"}})), "v is a hostPath"),
            (volume(json!({"name": "v", "nfs": {"server": "nas"}})), "v is a nfs"),
            (volume(json!({"name": "v", "csi": {"driver": "x"}})), "v is a csi"),
            (
                volume(json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": ""}}}})),
                "of no class",
            ),
        ] {
            for (name, object) in [("Deployment", deployment(&pod)), ("StatefulSet", deployment(&pod))] {
                let refused = taken("apps", name, object).expect_err(why);
                assert!(refused.contains("past the policy") && refused.contains(why), "{refused}");
            }
            assert!(taken("", "Pod", json!({"spec": pod})).is_err());
        }
    }

    #[test]
    fn a_workload_has_no_token_no_precedence_and_no_pods_if_it_is_excluded() {
        let token = json!({"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
        let mixed =
            json!({"name": "m", "projected": {"sources": [{"serviceAccountToken": {}}, {"configMap": {"name": "x"}}]}});
        let pod = json!({"priorityClassName": "high", "volumes": [token, mixed, {"name": "d", "persistentVolumeClaim": {"claimName": "d"}}]});
        let (object, notes) = taken("apps", "Deployment", deployment(&pod)).expect("taken");
        let expected = json!({"automountServiceAccountToken": false, "volumes": [
            {"name": "t", "emptyDir": {}}, {"name": "m", "projected": {"sources": [{"configMap": {"name": "x"}}]}},
            {"name": "d", "persistentVolumeClaim": {"claimName": "d"}},
        ]});
        assert_eq!(
            (&object["spec"]["template"]["spec"], notes.len(), &object["spec"]["replicas"]),
            (&expected, 0, &json!(2))
        );
        let mut excluded = deployment(&pod);
        excluded["metadata"]["annotations"] = json!({DRILL: "exclude"});
        let (object, notes) = taken("apps", "Deployment", excluded).expect("taken");
        assert_eq!((&object["spec"]["replicas"], notes.len()), (&json!(0), 1));
        let bare = json!({"metadata": {"annotations": {DRILL: "exclude"}}, "spec": {}});
        assert!(taken("", "Pod", bare).is_err());
        let (object, _) = taken("batch", "CronJob", json!({"spec": {"suspend": false}})).expect("taken");
        assert_eq!(object, json!({"spec": {"suspend": true}}));
    }

    #[test]
    fn a_claim_never_gets_a_volume_that_is_there() {
        for spec in [json!({"storageClassName": ""}), json!({"selector": {"matchLabels": {"a": "b"}}})] {
            assert!(taken("", "PersistentVolumeClaim", json!({"spec": spec})).is_err(), "{spec}");
            let set = json!({"spec": {"template": {"spec": {}}, "volumeClaimTemplates": [{"spec": spec}]}});
            assert!(taken("apps", "StatefulSet", set).is_err(), "{spec}");
        }
        assert!(taken("", "PersistentVolumeClaim", json!({"spec": {"storageClassName": "fast"}})).is_ok());
        assert!(taken("", "PersistentVolumeClaim", json!({"spec": {}})).is_ok(), "the default class");
    }

    #[test]
    fn only_accounts_of_the_drill_get_rights() {
        let account = |namespace: &str| json!({"kind": "ServiceAccount", "name": "app", "namespace": namespace});
        let subjects = json!([account("drill-5f0c1d2e-media"), account("media"), account("drill-00000000-media"), {"kind": "User", "name": "me"}]);
        let (object, _) =
            taken("rbac.authorization.k8s.io", "RoleBinding", json!({"subjects": subjects})).expect("taken");
        assert_eq!(object["subjects"], json!([account("drill-5f0c1d2e-media")]));
        let nobody = json!({"subjects": [{"kind": "Group", "name": "system:authenticated"}]});
        assert!(taken("rbac.authorization.k8s.io", "RoleBinding", nobody).is_err());
    }
}
