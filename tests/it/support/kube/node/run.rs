//! The life of a pod on its node: volumes, images, init containers, containers with restarts, and its end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::support::kube::controllers::is_dying;
use crate::support::kube::node::process::Container;
use crate::support::kube::node::status::{Seen, View, status};
use crate::support::kube::node::{PodRun, mounts, network};
use crate::support::kube::server::Shared;
use crate::support::kube::state::text;
use crate::support::kube::store::Store;

const TICK: Duration = Duration::from_millis(20);
/// The real one begins with ten seconds; doubled each time, and no longer than five.
const RESTART_MIN: Duration = Duration::from_millis(200);
const RESTART_MAX: Duration = Duration::from_secs(5);

struct Life {
    shared: Arc<Shared>,
    key: String,
    uid: String,
    run: Arc<PodRun>,
    address: String,
}

struct Slot {
    seen: Seen,
    restarts: u64,
    last: Option<Arc<Container>>,
    /// When it may start again.
    again: Option<Instant>,
}

impl Life {
    /// The pod as it is now; None when it is gone, another has its name, or the server has stopped.
    fn pod(&self) -> Option<Arc<Value>> {
        if self.shared.stopped.load(std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
        self.shared
            .with(|state| state.store.get("pods", &self.key).filter(|pod| pod["metadata"]["uid"] == self.uid.as_str()))
    }

    fn write(&self, pod: &Value, view: &View<'_>) {
        let status = status(pod, view, &self.address);
        self.shared.with(|state| state.change("kubelet", pod, "status", |object| object["status"] = status));
    }

    fn event(&self, pod: &Value, kind: &str, reason: &str, message: &str) {
        self.shared.with(|state| state.event(pod, "kubelet", kind, reason, message));
    }

    /// Whether the node has no power. A pod that is gone has none.
    fn is_off(&self) -> bool {
        let Some(pod) = self.pod() else { return false };
        self.shared.with(|state| state.faults.is_off(text(&pod["spec"]["nodeName"])))
    }

    /// Waits for a change, or a little.
    async fn wait(&self) {
        let mut changed = self.shared.changed.subscribe();
        let _ = tokio::time::timeout(TICK, changed.changed()).await;
    }
}

pub(crate) async fn run(shared: Arc<Shared>, key: String, run: Arc<PodRun>) {
    let Some(pod) = shared.with(|state| state.store.get("pods", &key)) else { return };
    let uid = text(&pod["metadata"]["uid"]).to_owned();
    // Addresses of 10.244.0.0/16, by uid: enough to tell pods apart.
    let number = uid.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let address = format!("10.244.{}.{}", number >> 8 & 0xff, number & 0xff);
    let life = Life { shared, key, uid, run, address };
    live(&life).await;
    end(&life).await;
}

/// Until nothing of the pod runs any more, or it was deleted before anything ran.
async fn live(life: &Life) {
    let Some(pod) = life.pod() else { return };
    let specs: Vec<Value> = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let inits: Vec<Value> = pod["spec"]["initContainers"].as_array().cloned().unwrap_or_default();
    let creating = if inits.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let waiting = |sandbox: bool| View {
        phase: "Pending",
        sandbox,
        initialized: inits.is_empty(),
        containers: specs.iter().map(|c| (c, Seen::Waiting(creating, String::new()), 0, None)).collect(),
        inits: inits.iter().map(|c| (c, Seen::Waiting("PodInitializing", String::new()))).collect(),
        reason: None,
    };
    life.write(&pod, &waiting(false));
    let folders = loop {
        let Some(pod) = life.pod().filter(|pod| !is_dying(pod)) else { return };
        match life.shared.with(|state| mounts::volumes(state, &life.shared.node, &pod)) {
            Ok(folders) => break folders,
            Err(why) => life.event(&pod, "Warning", "FailedMount", &why),
        }
        tokio::time::sleep(TICK * 5).await;
    };
    let Some(pod) = life.pod() else { return };
    life.write(&pod, &waiting(true));
    if without_image(life, &specs, &inits).await {
        return;
    }
    let mut done: Vec<(Value, Seen)> = Vec::new();
    for init in &inits {
        match initialize(life, &folders, init, &specs, &done).await {
            Some(process) => done.push((init.clone(), Seen::Ended(process))),
            None => return,
        }
    }
    supervise(life, &folders, &specs, &done).await;
}

/// A pod whose image nobody has waits until it is deleted; false if it has all of them.
async fn without_image(life: &Life, specs: &[Value], inits: &[Value]) -> bool {
    let absent = |spec: &&Value| life.shared.node.absent.contains(text(&spec["image"]));
    let Some(missing) = specs.iter().chain(inits).find(absent) else { return false };
    let image = text(&missing["image"]).to_owned();
    let never = missing["imagePullPolicy"] == "Never";
    let (reason, message) = if never {
        ("ErrImageNeverPull", format!("Container image \"{image}\" is not present with pull policy of Never"))
    } else {
        (
            "ImagePullBackOff",
            format!("Back-off pulling image \"{image}\": ErrImagePull: failed to resolve reference: not found"),
        )
    };
    let Some(pod) = life.pod() else { return true };
    life.event(&pod, "Warning", if never { "ErrImageNeverPull" } else { "Failed" }, &message);
    life.event(&pod, "Warning", "Failed", if never { "Error: ErrImageNeverPull" } else { "Error: ImagePullBackOff" });
    let view = View {
        phase: "Pending",
        sandbox: true,
        initialized: inits.is_empty(),
        containers: specs.iter().map(|c| (c, Seen::Waiting(reason, message.clone()), 0, None)).collect(),
        inits: Vec::new(),
        reason: None,
    };
    life.write(&pod, &view);
    while life.pod().is_some_and(|pod| !is_dying(&pod)) {
        life.wait().await;
    }
    true
}

fn start(
    life: &Life,
    pod: &Value,
    spec: &Value,
    folders: &BTreeMap<String, PathBuf>,
) -> Result<Arc<Container>, String> {
    let mut program = life.shared.with(|state| mounts::program(state, &life.shared.node, pod, spec, folders, None));
    network::route(&life.shared, pod, &mut program.argv);
    let name = text(&spec["name"]);
    let image = text(&spec["image"]);
    life.event(
        pod,
        "Normal",
        "Pulled",
        &format!("Container image \"{image}\" already present on machine and can be accessed by the pod"),
    );
    let started = Container::start(&program).map_err(|error| {
        let what = program.argv.first().cloned().unwrap_or_default();
        format!("failed to create containerd task: exec: \"{what}\": {error}")
    })?;
    life.event(pod, "Normal", "Created", "Container created");
    life.event(pod, "Normal", "Started", "Container started");
    life.run.put(name, Arc::clone(&started));
    Ok(started)
}

/// Runs one init container; None if that ended the pod.
async fn initialize(
    life: &Life,
    folders: &BTreeMap<String, PathBuf>,
    init: &Value,
    specs: &[Value],
    done: &[(Value, Seen)],
) -> Option<Arc<Container>> {
    loop {
        let pod = life.pod()?;
        let process = start(life, &pod, init, folders).ok()?;
        while process.exit().is_none() {
            if life.pod().is_none_or(|pod| is_dying(&pod)) {
                process.kill();
            }
            life.wait().await;
        }
        if process.exit().is_some_and(|exit| exit.code == 0) {
            return Some(process);
        }
        let pod = life.pod()?;
        if pod["spec"]["restartPolicy"] == "Never" || is_dying(&pod) {
            let mut inits: Vec<(&Value, Seen)> = done.iter().map(|(spec, seen)| (spec, seen.clone())).collect();
            inits.push((init, Seen::Ended(process)));
            let containers =
                specs.iter().map(|c| (c, Seen::Waiting("PodInitializing", String::new()), 0, None)).collect();
            let view = View { phase: "Failed", sandbox: false, initialized: false, containers, inits, reason: None };
            life.write(&pod, &view);
            return None;
        }
        tokio::time::sleep(RESTART_MIN).await;
    }
}

/// Runs the containers until all have ended for good.
async fn supervise(life: &Life, folders: &BTreeMap<String, PathBuf>, specs: &[Value], inits: &[(Value, Seen)]) {
    let began = Instant::now();
    let mut slots: Vec<Slot> = Vec::new();
    let Some(pod) = life.pod() else { return };
    let mut known = Arc::clone(&pod);
    for spec in specs {
        let seen = match start(life, &pod, spec, folders) {
            Ok(process) => Seen::Running(process),
            Err(why) => {
                life.event(&pod, "Warning", "Failed", &format!("Error: {why}"));
                Seen::Waiting("RunContainerError", why)
            }
        };
        slots.push(Slot { seen, restarts: 0, last: None, again: None });
    }
    let mut written = String::new();
    let mut stopping: Option<Instant> = None;
    let mut ending: Option<(&'static str, String)> = None;
    loop {
        if life.is_off() {
            life.run.all().iter().for_each(|container| container.kill());
            life.wait().await;
            continue;
        }
        let pod = life.pod();
        if let Some(pod) = &pod {
            known = Arc::clone(pod);
        }
        let policy = pod.as_ref().map_or("Never", |pod| text(&pod["spec"]["restartPolicy"])).to_owned();
        for slot in &mut slots {
            advance(slot, &policy, stopping.is_some());
        }
        if let Some(pod) = &pod {
            let deadline = pod["spec"]["activeDeadlineSeconds"].as_u64().map(Duration::from_secs);
            if ending.is_none() {
                if let Some(why) = life.run.eviction() {
                    life.shared.with(|state| state.mark_disrupted(pod, "TerminationByKubelet", &why));
                    ending = Some(("Evicted", why));
                } else if deadline.is_some_and(|deadline| began.elapsed() >= deadline) {
                    ending = Some((
                        "DeadlineExceeded",
                        "Pod was active on the node longer than the specified deadline".into(),
                    ));
                }
            }
        }
        let dying = pod.as_ref().is_none_or(|pod| is_dying(pod));
        if (dying || ending.is_some()) && stopping.is_none() {
            // Whoever is evicted has one second, whatever its spec says (immediateEvictionGracePeriodSeconds).
            let is_evicted = matches!(ending, Some(("Evicted", _)));
            let grace = pod.as_ref().filter(|_| !is_evicted).map_or(u64::from(is_evicted), |pod| {
                let own = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
                pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(own)
            });
            for spec in specs {
                life.event(&known, "Normal", "Killing", &format!("Stopping container {}", text(&spec["name"])));
            }
            life.run.all().iter().for_each(|container| container.terminate());
            stopping = Some(Instant::now() + Duration::from_secs(grace));
            // What waits to be started again is not waited for.
            slots.iter_mut().for_each(|slot| slot.again = None);
        }
        if stopping.is_some_and(|end| Instant::now() >= end) {
            life.run.all().iter().for_each(|container| container.kill());
        }
        for (slot, spec) in slots.iter_mut().zip(specs) {
            if slot.again.is_some_and(|again| Instant::now() >= again)
                && stopping.is_none()
                && let Some(pod) = &pod
                && let Ok(process) = start(life, pod, spec, folders)
            {
                slot.seen = Seen::Running(process);
                slot.restarts += 1;
                slot.again = None;
            }
        }
        let over = slots.iter().all(|slot| slot.again.is_none() && !matches!(slot.seen, Seen::Running(_)))
            && (stopping.is_some() || slots.iter().all(|slot| matches!(slot.seen, Seen::Ended(_))));
        if let Some(pod) = &pod {
            let shown = describe(&slots, specs, inits, "Running", None);
            let key = format!("{}{}", summary(&slots), pod["metadata"]["generation"]);
            // A pod that is being stopped says how it ended only when all of it has.
            if key != written && (stopping.is_none() || !slots.iter().any(|slot| matches!(slot.seen, Seen::Ended(_)))) {
                life.write(pod, &shown);
                written = key;
            }
        }
        if over {
            if let Some(pod) = life.pod() {
                let failed = ending.is_some() || slots.iter().any(failed);
                let reason = ending.clone();
                let view = describe(&slots, specs, inits, if failed { "Failed" } else { "Succeeded" }, reason);
                life.write(&pod, &view);
            }
            return;
        }
        life.wait().await;
    }
}

fn failed(slot: &Slot) -> bool {
    match &slot.seen {
        Seen::Ended(process) => process.exit().is_some_and(|exit| exit.code != 0),
        _ => true,
    }
}

fn summary(slots: &[Slot]) -> String {
    let kind = |slot: &Slot| match &slot.seen {
        Seen::Waiting(reason, _) => (*reason).to_owned(),
        Seen::Running(_) => format!("running {}", slot.restarts),
        Seen::Ended(_) => format!("ended {}", slot.restarts),
    };
    slots.iter().map(kind).collect::<Vec<_>>().join(",")
}

/// A process that has ended is marked so, and set to start again if the policy says that.
fn advance(slot: &mut Slot, policy: &str, stopping: bool) {
    let Seen::Running(process) = &slot.seen else { return };
    let Some(exit) = process.exit() else { return };
    let process = Arc::clone(process);
    let again = policy == "Always" || (policy == "OnFailure" && exit.code != 0);
    slot.seen = if again && !stopping {
        let doubled = RESTART_MIN * 2_u32.saturating_pow(u32::try_from(slot.restarts).unwrap_or(u32::MAX).min(10));
        slot.again = Some(Instant::now() + doubled.min(RESTART_MAX));
        slot.last = Some(process);
        Seen::Waiting("CrashLoopBackOff", "back-off restarting failed container".into())
    } else {
        Seen::Ended(process)
    };
}

fn describe<'a>(
    slots: &[Slot],
    specs: &'a [Value],
    inits: &'a [(Value, Seen)],
    phase: &'a str,
    reason: Option<(&'a str, String)>,
) -> View<'a> {
    View {
        phase,
        sandbox: true,
        initialized: true,
        containers: specs
            .iter()
            .zip(slots)
            .map(|(c, slot)| (c, slot.seen.clone(), slot.restarts, slot.last.clone()))
            .collect(),
        inits: inits.iter().map(|(spec, seen)| (spec, seen.clone())).collect(),
        reason,
    }
}

/// Waits for the deletion of a pod that has ended, and takes it away when it comes.
async fn end(life: &Life) {
    loop {
        let Some(pod) = life.pod() else { return };
        if is_dying(&pod) && !life.is_off() {
            life.shared.with(|state| take_away(&mut state.store, &life.key, &life.uid));
            return;
        }
        life.wait().await;
    }
}

/// The last step of a graceful deletion: no grace is left, and without finalizers the object goes.
fn take_away(store: &mut Store, key: &str, uid: &str) {
    let Some(pod) = store.get("pods", key).filter(|pod| pod["metadata"]["uid"] == uid) else { return };
    let mut object = (*pod).clone();
    if object["metadata"]["deletionGracePeriodSeconds"] != 0 {
        object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        store.put("pods", key, object);
    }
    if pod["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
        store.delete("pods", key);
    }
}
