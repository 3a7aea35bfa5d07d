//! The server itself: a listener on loopback, its connections, the tasks of the cluster, and what a test may do to all of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::kube::faults::Faults;
use crate::support::kube::node::{Node, Pods};
use crate::support::kube::state::{Caller, How, Pace, State, new_secret, now};
use crate::support::kube::store::Store;
use crate::support::kube::watch::Ending;
use crate::support::kube::{bootstrap, controllers, http, registry};

/// What a server is started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) pace: Pace,
    pub(crate) node: Node,
    /// Without controllers, scheduler and node nothing moves but by requests.
    pub(crate) still: bool,
    /// Whoever comes without a token is the administrator, as behind `kubectl proxy`: kubectl sends no token over plain HTTP.
    pub(crate) open: bool,
}

/// What requests and controllers share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The store's revision.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) watches_ended: watch::Sender<Ending>,
    /// Grows with each restart; connections older than that are dropped.
    pub(crate) restarts: watch::Sender<u64>,
    /// The same of the kubelet: what runs in containers is heard no more.
    pub(crate) kubelets: watch::Sender<u64>,
    pub(crate) node: Node,
    /// While true, controllers, scheduler and nodes do nothing new.
    pub(crate) paused: std::sync::atomic::AtomicBool,
    /// The server is gone: nothing starts any more.
    pub(crate) stopped: std::sync::atomic::AtomicBool,
    /// Method and path with query of each request.
    pub(crate) seen: Mutex<Vec<String>>,
}

impl Shared {
    /// One consistent step. Whoever waits for changes hears of it.
    pub(crate) fn with<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = step(&mut state);
        let revision = state.store.revision();
        self.changed.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        result
    }
}

pub(crate) struct KubeServer {
    pub(crate) shared: Arc<Shared>,
    address: SocketAddr,
    folder: tempfile::TempDir,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl KubeServer {
    pub(crate) async fn start(options: Options) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let folder = tempfile::tempdir().expect("a directory");
        if options.node.users {
            // Other users than ours find their volumes below it, by their paths.
            let passable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
            std::fs::set_permissions(folder.path(), passable).expect("it is ours");
        }
        let mut state = State {
            store: Store::new(),
            resources: registry::built_in(),
            tokens: std::collections::BTreeMap::default(),
            admin_token: new_secret(),
            open: options.open,
            faults: Faults::default(),
            pods: Pods::default(),
            pace: options.pace,
            folder: folder.path().to_owned(),
            address: address.to_string(),
            since: std::collections::BTreeMap::default(),
        };
        bootstrap::fill(&mut state);
        let revision = state.store.revision();
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: watch::Sender::new(revision),
            watches_ended: watch::Sender::new(Ending::Quiet),
            restarts: watch::Sender::new(0),
            kubelets: watch::Sender::new(0),
            node: options.node,
            paused: std::sync::atomic::AtomicBool::new(options.still),
            stopped: std::sync::atomic::AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        let tasks = vec![serving, tokio::spawn(controllers::run(Arc::clone(&shared)))];
        Self { shared, address, folder, tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Of the administrator, who may do everything.
    pub(crate) fn token(&self) -> String {
        self.shared.with(|state| state.admin_token.clone())
    }

    /// For kubectl and for the program.
    pub(crate) fn kubeconfig(&self) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url()}}],
            "users": [{"name": "admin", "user": {"token": self.token()}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": "default"}}],
        });
        config.to_string()
    }

    /// The folder of a bound claim's volume.
    pub(crate) fn volume(&self, namespace: &str, claim: &str) -> Option<PathBuf> {
        self.shared.with(|state| state.claim_folder(namespace, claim))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The faults, to be switched.
    pub(crate) fn faults<T>(&self, switch: impl FnOnce(&mut Faults) -> T) -> T {
        self.shared.with(|state| switch(&mut state.faults))
    }

    /// Drops every connection, as a restart of the API server does; objects, pods and volumes live on.
    pub(crate) fn restart(&self) {
        self.shared.restarts.send_modify(|restarts| *restarts += 1);
    }

    /// Drops every connection into containers; they live on.
    pub(crate) fn restart_kubelet(&self) {
        self.shared.kubelets.send_modify(|restarts| *restarts += 1);
    }

    /// Stops controllers, scheduler and nodes, or lets them go on. What runs, runs on.
    pub(crate) fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, std::sync::atomic::Ordering::Relaxed);
        // A step that has begun ends before the lock is free.
        self.shared.with(|_| ());
    }

    /// Forgets old revisions: pages and watches from before get 410.
    pub(crate) fn compact(&self) {
        self.shared.with(|state| state.store.compact());
    }

    /// Ends all watches, quietly or with 410.
    pub(crate) fn end_watches(&self, ending: Ending) {
        if ending == Ending::Expired {
            self.compact();
        }
        self.shared.watches_ended.send_replace(ending);
    }

    /// One more node; all of them are this machine.
    pub(crate) fn add_node(&self, name: &str) {
        self.shared.with(|state| bootstrap::node(state, name));
    }

    /// The node ends a pod, as it does when it runs out of something.
    pub(crate) fn evict(&self, namespace: &str, name: &str, why: &str) {
        self.shared.with(|state| {
            let pod = state.object("pods", namespace, name).expect("the pod");
            let run = state.pods.get(pod["metadata"]["uid"].as_str().unwrap_or_default()).expect("a pod on a node");
            run.evict(why);
        });
    }

    /// A node loses its power, and the node controller notices (the real one after 40 to 50 seconds): conditions, taints, its pods are not ready. They stay
    /// as they are otherwise, `Running` above all, because only a kubelet says how a container ended.
    pub(crate) fn power_off(&self, name: &str) {
        self.shared.with(|state| {
            state.faults.power(name, false);
            let Some(node) = state.object("nodes", "", name) else { return };
            state.edit(&node, |node| {
                let taint = |effect: &str| json!({"key": "node.kubernetes.io/unreachable", "effect": effect, "timeAdded": now()});
                node["spec"]["taints"] = json!([taint("NoSchedule"), taint("NoExecute")]);
                for condition in node["status"]["conditions"].as_array_mut().into_iter().flatten() {
                    condition["status"] = "Unknown".into();
                    condition["reason"] = "NodeStatusUnknown".into();
                    condition["message"] = "Kubelet stopped posting node status.".into();
                    condition["lastTransitionTime"] = now().into();
                }
            });
            for pod in state.objects("pods").iter().filter(|pod| pod["spec"]["nodeName"] == name) {
                state.edit(pod, |pod| {
                    let conditions = pod["status"]["conditions"].as_array_mut().into_iter().flatten();
                    for ready in conditions.filter(|condition| condition["type"] == "Ready") {
                        ready["status"] = "False".into();
                        ready["lastTransitionTime"] = now().into();
                    }
                });
            }
        });
    }

    /// The power is back: the kubelet finds that its containers are dead, and says so.
    pub(crate) fn power_on(&self, name: &str) {
        self.shared.with(|state| {
            state.faults.power(name, true);
            let Some(node) = state.object("nodes", "", name) else { return };
            state.edit(&node, |node| {
                node["spec"]["taints"] = json!([]);
                for condition in node["status"]["conditions"].as_array_mut().into_iter().flatten() {
                    condition["status"] = "True".into();
                    condition["reason"] = "KubeletReady".into();
                    condition["message"] = "kubelet is posting ready status".into();
                    condition["lastTransitionTime"] = now().into();
                }
            });
        });
    }

    /// Creates an object as the cluster itself would.
    pub(crate) fn make(&self, namespace: &str, object: Value) -> Value {
        self.shared.with(|state| {
            let resource =
                state.kind(object["apiVersion"].as_str().unwrap_or("v1"), object["kind"].as_str().unwrap_or_default());
            let resource = resource.unwrap_or_else(|| panic!("no resource for {object}"));
            let made = state.create(&Caller::system("test"), &resource, namespace, object, &How::default());
            made.unwrap_or_else(|status| panic!("{}", status.body)).0
        })
    }

    /// An object, by table (`resource.group`), namespace and name.
    pub(crate) fn object(&self, table: &str, namespace: &str, name: &str) -> Option<Value> {
        self.shared.with(|state| state.object(table, namespace, name).map(|object| (*object).clone()))
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until something is true of the state; panics after half a minute.
    pub(crate) async fn until(&self, what: &str, mut is: impl FnMut(&State) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        while !self.shared.with(|state| is(state)) {
            assert!(tokio::time::Instant::now() < limit, "waited in vain: {what}");
            // What a program in a pod does to its files is no change of the state.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(100), changed.changed()).await;
        }
    }
}

impl Drop for KubeServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        self.shared.stopped.store(true, std::sync::atomic::Ordering::Relaxed);
        self.shared.with(|state| state.pods.kill_all());
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let mut restarts = shared.restarts.subscribe();
        restarts.mark_unchanged();
        let service_shared = Arc::clone(&shared);
        let service = service_fn(move |request| http::answer(Arc::clone(&service_shared), request));
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            // A client that goes away ends its connection with an error that is nobody's.
            tokio::select! {
                _ = connection => {}
                _ = restarts.changed() => {}
            }
        });
    }
}
