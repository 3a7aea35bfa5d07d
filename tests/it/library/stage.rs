//! One homelab for many runbooks: an application with a claim, a tunnel, a certificate, Flux; a page on this machine; one backup of all.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::cli::Ran;
use crate::gitops::world::{define, definition};
use crate::support::kube::server::{KubeServer, Shared};
use crate::support::kube::state::State;
use crate::verify::trusted::Issuer;
use crate::volumes_backup::hooks::deployed;
use crate::volumes_restore::Disaster;

pub(super) const DEPLOYMENTS: &str = "deployments.apps";
const CERTIFICATES: &str = "certificates.cert-manager.io";

pub(super) struct Stage {
    pub(super) disaster: Disaster,
    /// Of the page by which recoveries are judged.
    pub(super) port: String,
    manager: Arc<AtomicBool>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.manager.store(false, Ordering::Relaxed);
    }
}

/// A Deployment of one pod without a claim.
pub(super) fn runs(name: &str, script: &str, volumes: Value, mounts: Value) -> Value {
    let labels = json!({"app": name});
    let container = json!({"name": "c", "image": "test:1", "command": ["sh", "-c", script], "volumeMounts": mounts});
    let spec = json!({"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": volumes});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    })
}

fn secret(name: &str, kind: &str, data: &[(&str, &str)]) -> Value {
    let encoded = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    let data: serde_json::Map<String, Value> =
        data.iter().map(|(key, text)| ((*key).to_owned(), json!(encoded(text)))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": data})
}

pub(super) async fn namespace(server: &KubeServer, name: &str) {
    server.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    server.until("its account", |state| state.object("serviceaccounts", name, "default").is_some()).await;
}

/// What every cluster has by itself here: DNS.
pub(super) async fn coredns(server: &KubeServer) {
    server.make("kube-system", runs("coredns", "exec sleep 900", json!([]), json!([])));
    until_ready(server, "kube-system", "coredns").await;
}

pub(super) async fn until_ready(server: &KubeServer, namespace: &str, name: &str) {
    server.until("it is ready", |state| is_ready(state, namespace, name)).await;
}

pub(super) fn is_ready(state: &State, namespace: &str, name: &str) -> bool {
    state.object(DEPLOYMENTS, namespace, name).is_some_and(|of| {
        of["spec"]["replicas"].as_u64().is_some_and(|wanted| wanted > 0)
            && of["status"]["readyReplicas"] == of["spec"]["replicas"]
            && of["status"]["observedGeneration"] == of["metadata"]["generation"]
    })
}

/// cert-manager, as far as a certificate is ready when its Secret has one.
fn cert_manager(shared: Arc<Shared>, on: Arc<AtomicBool>) {
    tokio::spawn(async move {
        while on.load(Ordering::Relaxed) {
            shared.with(|state| {
                for certificate in state.objects(CERTIFICATES) {
                    let secret = certificate["spec"]["secretName"].as_str().unwrap_or_default();
                    let filled = state
                        .object("secrets", "media", secret)
                        .is_some_and(|secret| secret["data"]["tls.crt"].as_str().is_some_and(|text| !text.is_empty()));
                    let (status, message) = if filled {
                        ("True", "Certificate is up to date and has not expired")
                    } else {
                        ("False", "Issuing certificate as Secret does not contain a certificate")
                    };
                    if certificate["status"]["conditions"][0]["status"] != status {
                        state.edit(&certificate, |object| {
                            object["status"] =
                                json!({"conditions": [{"type": "Ready", "status": status, "message": message}]});
                        });
                    }
                }
            });
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
}

impl Stage {
    pub(super) async fn new() -> Self {
        let disaster = Disaster::new().await;
        let world = &disaster.world;
        coredns(&world.kube).await;
        let issuer = Issuer::new("home");
        let port = issuer.lasting().await.rsplit(':').next().unwrap().to_owned();
        std::fs::write(world.lab.path("roots.pem"), issuer.pem()).unwrap();
        // What a container of a database has, as far as it says that the server answers.
        let bin = world.lab.path("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_homelab-dr"), bin.join("homelab-dr")).unwrap();
        std::fs::write(bin.join("pg_isready"), "#!/bin/sh\necho accepting connections\n").unwrap();
        std::fs::set_permissions(bin.join("pg_isready"), std::fs::Permissions::from_mode(0o755)).unwrap();

        deployed(world, "local-path", &["data"]).await;
        let folder = world.folder("media", "data");
        std::fs::create_dir_all(folder.join("albums/summer")).unwrap();
        std::fs::write(folder.join("albums/summer/1.jpg"), "the sea").unwrap();
        std::fs::write(folder.join("version"), "1").unwrap();
        world.kube.make("media", secret("registry", "Opaque", &[("token", "good")]));
        let settings =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"of": "1"}});
        world.kube.make("media", settings);

        namespace(&world.kube, "cloudflared").await;
        world.kube.make("cloudflared", secret("cloudflared-token", "Opaque", &[("token", "good")]));
        let volumes = json!([{"name": "token", "secret": {"secretName": "cloudflared-token"}}]);
        let mounts = json!([{"name": "token", "mountPath": "/etc/tunnel"}]);
        let mut connector = runs("cloudflared", "exec sleep 900", volumes, mounts);
        // Before it runs: without a probe, which the nodes here do not make, it would be ready for as long as it takes to see that the token is wrong.
        let pod = &mut connector["spec"]["template"]["spec"];
        let mut token = pod["containers"][0].clone();
        token["name"] = "token".into();
        token["command"][2] =
            "grep -q good /etc/tunnel/token || { echo Unauthorized: Invalid tunnel secret; exit 1; }".into();
        pod["initContainers"] = json!([token]);
        world.kube.make("cloudflared", connector);
        until_ready(&world.kube, "cloudflared", "cloudflared").await;

        let free = json!({});
        define(&world.kube, definition("cert-manager.io", "v1", "Certificate", &free)).await;
        let mut issuers = definition("cert-manager.io", "v1", "ClusterIssuer", &free);
        issuers["spec"]["scope"] = "Cluster".into();
        define(&world.kube, issuers).await;
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let made = world.kube.make("", json!({
            "apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": "letsencrypt"}, "spec": {"acme": {}},
        }));
        world.kube.shared.with(|state| state.edit(&made, |object| object["status"] = ready.clone()));
        world.kube.make(
            "media",
            secret("photos-tls", "kubernetes.io/tls", &[("tls.crt", "a certificate"), ("tls.key", "its key")]),
        );
        world.kube.make("media", json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "photos-tls"},
            "spec": {"secretName": "photos-tls", "dnsNames": ["localhost"], "issuerRef": {"kind": "ClusterIssuer", "name": "letsencrypt"}},
        }));
        let manager = Arc::new(AtomicBool::new(true));
        cert_manager(Arc::clone(&world.kube.shared), Arc::clone(&manager));
        let is_issued = |state: &State| {
            let certificate = state.object(CERTIFICATES, "media", "photos-tls");
            certificate.is_some_and(|certificate| certificate["status"]["conditions"][0]["status"] == "True")
        };
        world.kube.until("the certificate is ready", is_issued).await;

        define(
            &world.kube,
            definition("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", &json!({"suspend": {"type": "boolean"}})),
        )
        .await;
        namespace(&world.kube, "flux-system").await;
        world.kube.make("flux-system", json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": "apps"}, "spec": {"interval": "10m"},
        }));
        world.backup(&[]).await.exits(0);
        Self { disaster, port, manager }
    }

    pub(super) fn kube(&self) -> &KubeServer {
        &self.disaster.world.kube
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.disaster.world.folder("media", "data")
    }

    /// A file of the machine that recovers.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.disaster.world.lab.path(name)
    }

    /// Changes an object as a client does.
    pub(super) fn change(&self, table: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let object = self.kube().object(table, namespace, name).unwrap_or_else(|| panic!("no {table} {name}"));
        assert!(
            self.kube().shared.with(|state| state.change("kubectl", &object, "", edit)),
            "{table} {name} is not changed"
        );
    }

    /// Whether Flux is paused.
    pub(super) fn is_suspended(&self) -> bool {
        let of = self.kube().object("kustomizations.kustomize.toolkit.fluxcd.io", "flux-system", "apps").unwrap();
        of["spec"]["suspend"] == true
    }

    pub(super) async fn run(&self, args: &[&str]) -> Ran {
        let world = &self.disaster.world;
        let mut command = world.lab.command(args);
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).env("SSL_CERT_FILE", "roots.pem").env("HOME", world.lab.path(""));
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        Ran::of(&output.expect("it runs"))
    }

    async fn recover(&self, cluster: &str, book: &Book<'_>, more: &[&str]) -> Ran {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("runbooks/{}.md", book.name));
        let mut args = vec!["recover".to_owned(), file.to_str().unwrap().to_owned()];
        for (name, value) in book.set {
            args.extend(["--set".to_owned(), format!("{name}={value}")]);
        }
        let place = ["--kubeconfig", cluster, "--journals", "runs", "--no-progress"];
        args.extend(place.iter().chain(book.options).chain(more).map(|word| (*word).to_owned()));
        self.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Plans a runbook: what is shown is what was reviewed.
    pub(super) async fn plans(&self, cluster: &str, book: &Book<'_>) {
        let ran = self.recover(cluster, book, &["--plan"]).await.exits(0);
        let text = ran.out.replace(&self.port, "PORT");
        is_reviewed(book.name, &masked(&text, &self.path("")));
    }

    /// Plans a runbook, and carries it out; the manual steps of `done` are settled by the person of the test.
    pub(super) async fn carries_out(&self, cluster: &str, book: &Book<'_>, done: &[&str]) -> Ran {
        self.plans(cluster, book).await;
        let confirm = done.iter().flat_map(|step| ["--confirm", step]);
        let more: Vec<&str> = std::iter::once("--yes").chain(confirm).collect();
        self.recover(cluster, book, &more).await
    }

    /// Takes a run up after a person has settled a step.
    pub(super) async fn goes_on(&self, cluster: &str, run: &str, done: &[&str]) -> Ran {
        let confirm = done.iter().flat_map(|step| ["--confirm", step]);
        let place = ["--kubeconfig", cluster, "--journals", "runs", "--no-progress", "--yes"];
        let args: Vec<&str> = ["recover", "--resume", run].into_iter().chain(place).chain(confirm).collect();
        self.run(&args).await
    }
}

/// The plan of a runbook is the one that was reviewed.
pub(super) fn is_reviewed(name: &str, plan: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/library/plans/{name}.txt"));
    if std::env::var_os("HOMELAB_DR_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, plan).unwrap();
    }
    let reviewed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(reviewed == plan, "{}: review, then bless\n{plan}", file.display());
}

/// A plan without what differs from run to run: ids, ages, addresses, and how many objects controllers have made by then.
pub(super) fn masked(text: &str, lab: &Path) -> String {
    let text = text.replace(lab.to_str().unwrap().trim_end_matches('/'), "LAB");
    text.lines().map(|line| line_masked(line) + "\n").collect()
}

/// A runbook of `runbooks/`, and what its parameters are here.
pub(super) struct Book<'a> {
    pub(super) name: &'a str,
    pub(super) set: &'a [(&'a str, &'a str)],
    /// Which repository, if it is not the usual one.
    pub(super) options: &'a [&'a str],
}

/// What becomes of objects, without how many, and without those that stay as they are: they come and go with what controllers have made by then.
fn objects_masked(line: &str) -> Option<String> {
    let words = line.trim_start();
    let first = words.split(' ').nth(1)?;
    if !words.starts_with(|c: char| c.is_ascii_digit()) || !matches!(first, "object" | "objects") || words.contains(':')
    {
        return None;
    }
    let changed = |part: &&str| !part.contains("there already") && !part.contains("not restored by");
    let parts = words.split(", ").filter(changed).map(|part| {
        let said = part.trim_start_matches(|c: char| c.is_ascii_digit()).replace(" object ", " objects ");
        format!("N{}", said.replace("differs and stays", "differ and stay"))
    });
    Some(format!("       objects: {}", parts.collect::<Vec<_>>().join(", ")))
}

fn line_masked(line: &str) -> String {
    if let Some((before, _)) = line.split_once("the cluster http") {
        return format!("{before}the cluster URL");
    }
    if let Some((before, kinds)) = line.split_once("creates ")
        && kinds.starts_with(|c: char| c.is_ascii_digit())
    {
        return format!("{before}creates KINDS");
    }
    if let Some(objects) = objects_masked(line) {
        return objects;
    }
    let is_id =
        |word: &str| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
    let is_number = |word: &str| word.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    // How many objects there are, and how many bytes, is the affair of controllers and of the time of day.
    let counts = ["old,", "created,", "about ", "not checked until", "fills", "to bring back", "look at", "IN THE WAY"]
        .iter()
        .any(|word| line.contains(word));
    let words: Vec<String> = line
        .split(' ')
        .map(|word| {
            let bare = word.trim_end_matches([',', ')', ':', ';', ']', '}']);
            let tail = &word[bare.len()..];
            let (open, core) = bare.strip_prefix('(').map_or(("", bare), |core| ("(", core));
            let shown = match core {
                core if is_id(core) => "ID".to_owned(),
                core if core.starts_with("20") && core.ends_with('Z') => "TIME".to_owned(),
                core if core.starts_with("s3://") => "COPY".to_owned(),
                core if core.starts_with("hdr1-") => "FINGERPRINT".to_owned(),
                core if core.starts_with("age1") => "RECIPIENT".to_owned(),
                core if counts && is_number(core) => "N".to_owned(),
                core => core.to_owned(),
            };
            format!("{open}{shown}{tail}")
        })
        .collect();
    let text = words.join(" ");
    // Ages are in one unit or in two.
    let units = ["s", "min", "h", "d"].map(|unit| format!("N {unit}"));
    let pairs = units.iter().flat_map(|one| units.iter().map(move |other| format!("{one} {other} old")));
    let ages = pairs.chain(units.iter().map(|unit| format!("{unit} old")));
    ages.fold(text, |text, age| text.replace(&age, "N old"))
}
