//! What a container sees: folders for its volumes, its command with their paths in it, its environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::kube::controllers::is_dying;
use crate::support::kube::node::process::Program;
use crate::support::kube::node::{Node, users};
use crate::support::kube::state::{State, Token, new_secret, text};

/// Folder of each volume of a pod, by name. Err says what it waits for.
pub(crate) fn volumes(state: &mut State, node: &Node, pod: &Value) -> Result<BTreeMap<String, PathBuf>, String> {
    let namespace = text(&pod["metadata"]["namespace"]).to_owned();
    let root = state.folder.join("pods").join(text(&pod["metadata"]["uid"]));
    let mut folders = BTreeMap::new();
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        let name = text(&volume["name"]).to_owned();
        let own = root.join(&name);
        let folder = if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
            let bound = state.object("persistentvolumeclaims", &namespace, claim);
            if bound.as_ref().is_none_or(|claim| claim["status"]["phase"] != "Bound" || is_dying(claim)) {
                return Err(format!("persistentvolumeclaim \"{claim}\" is not bound"));
            }
            let block = bound.is_some_and(|claim| claim["spec"]["volumeMode"] == "Block");
            misused(pod, &name, block)?;
            let folder = state.claim_folder(&namespace, claim).ok_or_else(|| format!("claim {claim} has no folder"))?;
            let bound = state.claim_volume(&namespace, claim).expect("it has a folder");
            if bound["spec"]["local"].is_object() && !folder.exists() {
                let (volume, path) = (&bound["metadata"]["name"], folder.display());
                return Err(format!(
                    "MountVolume.NewMounter initialization failed for volume {volume} : path \"{path}\" does not exist"
                ));
            }
            let source = &volume["persistentVolumeClaim"];
            if node.users && source["readOnly"] != true && is_given(state, pod, claim, &bound) {
                users::give(pod, &folder);
            }
            folder
        } else if let Some(path) = volume["hostPath"]["path"].as_str() {
            PathBuf::from(path)
        } else {
            std::fs::create_dir_all(&own).expect("a folder");
            fill(state, pod, volume, &namespace, &own)?;
            own
        };
        folders.insert(name, folder);
    }
    Ok(folders)
}

/// Whether a kubelet gives a volume to the pod's `fsGroup`: by what it is, and a directory of the node only to the first pod that has it.
fn is_given(state: &State, pod: &Value, claim: &str, volume: &Value) -> bool {
    let driver = state.object("csidrivers.storage.k8s.io", "", text(&volume["spec"]["csi"]["driver"]));
    let policy = driver.as_ref().and_then(|driver| driver["spec"]["fsGroupPolicy"].as_str());
    let has_it = |other: &Value| {
        let mut volumes = other["spec"]["volumes"].as_array().into_iter().flatten();
        other["metadata"]["uid"] != pod["metadata"]["uid"]
            && other["metadata"]["namespace"] == pod["metadata"]["namespace"]
            && other["spec"]["nodeName"] == pod["spec"]["nodeName"]
            && other["status"]["phase"] == "Running"
            && volumes.any(|volume| volume["persistentVolumeClaim"]["claimName"] == claim)
    };
    let first = volume["spec"]["local"].is_null() || !state.objects("pods").iter().any(|other| has_it(other));
    first && users::is_given(volume, policy)
}

/// A kubelet does not mount a raw volume, nor hands out a file system as a device.
fn misused(pod: &Value, volume: &str, block: bool) -> Result<(), String> {
    let (mode, list) = if block { ("Block", "volumeMounts") } else { ("Filesystem", "volumeDevices") };
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        if container[list].as_array().into_iter().flatten().any(|mount| mount["name"] == volume) {
            return Err(format!("volume {volume} has volumeMode {mode}, but is specified in {list}"));
        }
    }
    Ok(())
}

/// Files of config maps, secrets and projections; an emptyDir stays empty.
fn fill(state: &mut State, pod: &Value, source: &Value, namespace: &str, folder: &Path) -> Result<(), String> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(folder)).expect("a folder");
        std::fs::write(path, bytes).expect("a file of a volume");
    };
    let config = &source["configMap"];
    let secret = &source["secret"];
    for (table, reference, field) in [("configmaps", config, "name"), ("secrets", secret, "secretName")] {
        if !reference.is_object() {
            continue;
        }
        let name = reference[field].as_str().unwrap_or_else(|| text(&reference["name"]));
        let Some(object) = state.object(table, namespace, name) else {
            if reference["optional"] == true {
                continue;
            }
            return Err(format!(
                "MountVolume.SetUp failed for volume {}: {} \"{name}\" not found",
                source["name"],
                table.trim_end_matches('s')
            ));
        };
        let items = reference["items"].as_array();
        for (key, value) in object["data"].as_object().into_iter().flatten() {
            let item = items.map(|items| items.iter().find(|item| item["key"] == key.as_str()));
            let path = match item {
                Some(None) => continue,
                Some(Some(item)) => text(&item["path"]),
                None => key,
            };
            if table == "secrets" {
                write(path, &data_encoding::BASE64.decode(text(value).as_bytes()).unwrap_or_default());
            } else {
                write(path, text(value).as_bytes());
            }
        }
    }
    for part in source["projected"]["sources"].as_array().into_iter().flatten() {
        if part["serviceAccountToken"].is_object() {
            let token = new_secret();
            let account = text(&pod["spec"]["serviceAccountName"]).to_owned();
            let seconds = part["serviceAccountToken"]["expirationSeconds"].as_u64().unwrap_or(3600);
            let expires = chrono::Utc::now() + std::time::Duration::from_secs(seconds);
            state.tokens.insert(token.clone(), Token { namespace: namespace.to_owned(), account, expires });
            write(part["serviceAccountToken"]["path"].as_str().unwrap_or("token"), token.as_bytes());
            let kubeconfig = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "pod",
                "clusters": [{"name": "pod", "cluster": {"server": format!("http://{}", state.address)}}],
                "users": [{"name": "pod", "user": {"token": token}}],
                "contexts": [{"name": "pod", "context": {"cluster": "pod", "user": "pod", "namespace": namespace}}],
            });
            write("kubeconfig", kubeconfig.to_string().as_bytes());
        }
        fill(state, pod, part, namespace, folder)?;
        for item in part["downwardAPI"]["items"].as_array().into_iter().flatten() {
            write(text(&item["path"]), field(pod, text(&item["fieldRef"]["fieldPath"])).as_bytes());
        }
    }
    Ok(())
}

/// A field of the pod as the downward API gives it.
fn field(pod: &Value, path: &str) -> String {
    if let Some((map, key)) = path.split_once("['") {
        let pointer = format!("/{}", map.replace('.', "/"));
        let value = pod.pointer(&pointer).map(|map| map[key.trim_end_matches("']")].clone());
        return value.map(|value| text(&value).to_owned()).unwrap_or_default();
    }
    match path {
        "status.podIP" | "status.hostIP" => "127.0.0.1".into(),
        _ => {
            pod.pointer(&format!("/{}", path.replace('.', "/"))).map(|value| text(value).to_owned()).unwrap_or_default()
        }
    }
}

/// Puts folders where mount paths stand.
pub(crate) fn rewrite(word: &str, mounts: &BTreeMap<String, PathBuf>) -> String {
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let mut result = String::new();
    let mut rest = word;
    'next: while !rest.is_empty() {
        let before = result.as_bytes().last().copied();
        if rest.starts_with('/') && before.is_none_or(|byte| !in_path(byte) && byte != b'/') {
            // The longest mount path first: one may be below another.
            let mut paths: Vec<&String> = mounts.keys().collect();
            paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
            for path in paths {
                let ends = |after: &str| after.as_bytes().first().is_none_or(|byte| !in_path(*byte));
                if let Some(after) = rest.strip_prefix(path.as_str())
                    && ends(after)
                {
                    result.push_str(&mounts[path].to_string_lossy());
                    rest = after;
                    continue 'next;
                }
            }
        }
        let first = rest.chars().next().expect("not empty");
        result.push(first);
        rest = &rest[first.len_utf8()..];
    }
    result
}

/// Mount path to folder, of one container.
pub(crate) fn mounts(container: &Value, volumes: &BTreeMap<String, PathBuf>) -> BTreeMap<String, PathBuf> {
    let list = container["volumeMounts"].as_array().into_iter().chain(container["volumeDevices"].as_array()).flatten();
    list.filter_map(|mount| {
        let folder = volumes.get(text(&mount["name"]))?;
        let folder = mount["subPath"].as_str().map_or_else(|| folder.clone(), |below| folder.join(below));
        let path = mount["mountPath"].as_str().or_else(|| mount["devicePath"].as_str())?;
        Some((path.trim_end_matches('/').to_owned(), folder))
    })
    .collect()
}

fn environment(
    state: &State,
    pod: &Value,
    container: &Value,
    mounts: &BTreeMap<String, PathBuf>,
) -> Vec<(String, String)> {
    let namespace = text(&pod["metadata"]["namespace"]);
    let mut env: Vec<(String, String)> = Vec::new();
    env.push(("PATH".into(), std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".into())));
    env.push(("HOSTNAME".into(), text(&pod["metadata"]["name"]).to_owned()));
    let shown: serde_json::Map<String, Value> =
        mounts.iter().map(|(path, folder)| (path.clone(), folder.to_string_lossy().into())).collect();
    env.push(("HOMELAB_DR_MOUNTS".into(), Value::Object(shown).to_string()));
    if let Some(folder) = mounts.get("/var/run/secrets/kubernetes.io/serviceaccount") {
        env.push(("KUBECONFIG".into(), folder.join("kubeconfig").to_string_lossy().into_owned()));
    }
    let decoded = |table: &str, value: &Value| {
        if table == "secrets" {
            let bytes = data_encoding::BASE64.decode(text(value).as_bytes()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            text(value).to_owned()
        }
    };
    for from in container["envFrom"].as_array().into_iter().flatten() {
        for (table, reference) in [("configmaps", &from["configMapRef"]), ("secrets", &from["secretRef"])] {
            let Some(object) = reference["name"].as_str().and_then(|name| state.object(table, namespace, name)) else {
                continue;
            };
            for (key, value) in object["data"].as_object().into_iter().flatten() {
                env.push((format!("{}{key}", text(&from["prefix"])), decoded(table, value)));
            }
        }
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let from = &variable["valueFrom"];
        let by_key = |table: &str, reference: &Value| {
            let object = state.object(table, namespace, text(&reference["name"]))?;
            Some(decoded(table, &object["data"][text(&reference["key"])]))
        };
        let value = if from["fieldRef"].is_object() {
            field(pod, text(&from["fieldRef"]["fieldPath"]))
        } else if from["secretKeyRef"].is_object() {
            by_key("secrets", &from["secretKeyRef"]).unwrap_or_default()
        } else if from["configMapKeyRef"].is_object() {
            by_key("configmaps", &from["configMapKeyRef"]).unwrap_or_default()
        } else {
            rewrite(text(&variable["value"]), mounts)
        };
        env.push((text(&variable["name"]).to_owned(), value));
    }
    env
}

/// Everything that starting a container takes. `argv` replaces the container's own command, for exec.
pub(crate) fn program(
    state: &State,
    node: &Node,
    pod: &Value,
    container: &Value,
    volumes: &BTreeMap<String, PathBuf>,
    argv: Option<&[String]>,
) -> Program {
    let mounts = mounts(container, volumes);
    let mut env = environment(state, pod, container, &mounts);
    // An image finds its own program by its name.
    if let Some(own) = node.images.get(text(&container["image"])).and_then(|program| program.parent()) {
        for (_, path) in env.iter_mut().filter(|(name, _)| name == "PATH") {
            *path = format!("{}:{path}", own.display());
        }
    }
    let words = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|word| rewrite(&expand(text(word), &env), &mounts)).collect()
    };
    let argv = argv.map_or_else(
        || {
            let mut all = words(&container["command"]);
            if all.is_empty() {
                let program = node.images.get(text(&container["image"]));
                all.extend(program.map(|program| program.to_string_lossy().into_owned()));
            }
            all.extend(words(&container["args"]));
            all
        },
        |argv| argv.iter().map(|word| rewrite(word, &mounts)).collect(),
    );
    let argv = if node.users { [users::before(pod, container), argv].concat() } else { argv };
    let folder = container["workingDir"].as_str().map(|path| PathBuf::from(rewrite(path, &mounts)));
    Program {
        argv,
        env,
        folder: folder.unwrap_or_else(|| state.folder.clone()),
        stdin: container["stdin"] == true,
        stdin_once: container["stdinOnce"] == true,
        is_beside: false,
    }
}

/// `$(NAME)`, as Kubernetes expands it.
fn expand(word: &str, env: &[(String, String)]) -> String {
    env.iter().fold(word.to_owned(), |word, (name, value)| word.replace(&format!("$({name})"), value))
}
