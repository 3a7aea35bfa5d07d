//! Jobs: one pod after another until enough have succeeded or too many have failed. Cron jobs are stored, not run.

use serde_json::{Value, json};

use crate::support::kube::controllers::workloads::{is_ready, pod_from, pods_of};
use crate::support::kube::controllers::{MANAGER, drop_finalizer, has_finalizer, is_dying};
use crate::support::kube::state::{State, now, text};

const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const COMPONENT: &str = "job-controller";

pub(crate) fn step(state: &mut State) {
    for job in state.objects("jobs.batch") {
        if is_finished(&job) || is_dying(&job) {
            release(state, &job);
        } else if job["spec"]["suspend"] != true {
            run(state, &job);
        }
    }
    // A pod whose job is gone is tracked by nobody.
    for pod in state.objects("pods") {
        if has_finalizer(&pod, TRACKING) && is_dying(&pod) {
            state.edit(&pod, |object| drop_finalizer(object, TRACKING));
        }
    }
}

fn is_finished(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| matches!(text(&condition["type"]), "Complete" | "Failed"))
}

fn release(state: &mut State, job: &Value) {
    for pod in pods_of(state, job) {
        if has_finalizer(&pod, TRACKING) {
            state.edit(&pod, |object| drop_finalizer(object, TRACKING));
        }
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn run(state: &mut State, job: &Value) {
    let namespace = text(&job["metadata"]["namespace"]).to_owned();
    let pods = pods_of(state, job);
    let count = |phase: &str| pods.iter().filter(|pod| pod["status"]["phase"] == phase).count() as u64;
    let (succeeded, failed) = (count("Succeeded"), count("Failed"));
    let active: Vec<_> =
        pods.iter().filter(|pod| matches!(text(&pod["status"]["phase"]), "Pending" | "Running")).collect();
    let started = job["status"]["startTime"].as_str().map_or_else(now, str::to_owned);
    let completions = job["spec"]["completions"].as_u64().unwrap_or(1);
    let limit = number(&job["spec"]["backoffLimit"]);
    if succeeded >= completions {
        return finish(
            state,
            job,
            "SuccessCriteriaMet",
            "Complete",
            "CompletionsReached",
            "Reached expected number of succeeded pods",
            (succeeded, failed),
        );
    }
    if failed > limit {
        return finish(
            state,
            job,
            "FailureTarget",
            "Failed",
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
            (succeeded, failed),
        );
    }
    let wanted = number(&job["spec"]["parallelism"]).min(completions - succeeded);
    let mut made = 0;
    for _ in active.len() as u64..wanted {
        let mut pod = pod_from(job, &job["spec"]["template"]);
        pod["metadata"]["generateName"] = format!("{}-", text(&job["metadata"]["name"])).into();
        pod["metadata"]["finalizers"] = json!([TRACKING]);
        let Some(pod) = state.make(MANAGER, &namespace, pod) else { break };
        made += 1;
        let told = format!("Created pod: {}", text(&pod["metadata"]["name"]));
        state.event(job, COMPONENT, "Normal", "SuccessfulCreate", &told);
    }
    let ready = active.iter().filter(|pod| is_ready(pod)).count();
    let mut status = json!({
        "startTime": started, "terminating": 0, "uncountedTerminatedPods": {}, "ready": ready,
    });
    for (field, count) in [("active", active.len() as u64 + made), ("succeeded", succeeded), ("failed", failed)] {
        if count > 0 {
            status[field] = count.into();
        }
    }
    if job["status"] != status {
        state.change(MANAGER, job, "status", |object| object["status"] = status);
    }
}

/// In two steps, as the real controller does: the verdict, then, with all pods released, the end.
fn finish(state: &mut State, job: &Value, verdict: &str, end: &str, reason: &str, message: &str, counts: (u64, u64)) {
    let condition = |kind: &str| {
        let now = now();
        json!({"type": kind, "status": "True", "lastProbeTime": now, "lastTransitionTime": now, "reason": reason, "message": message})
    };
    let base =
        json!({"startTime": job["status"]["startTime"], "terminating": 0, "uncountedTerminatedPods": {}, "ready": 0});
    if job["status"]["conditions"].is_null() {
        state.change(MANAGER, job, "status", |object| {
            object["status"] = base;
            object["status"]["conditions"] = json!([condition(verdict)]);
        });
        return;
    }
    release(state, job);
    let first = job["status"]["conditions"][0].clone();
    state.change(MANAGER, job, "status", |object| {
        object["status"] = base;
        object["status"]["conditions"] = json!([first, condition(end)]);
        if end == "Complete" {
            object["status"]["completionTime"] = now().into();
        }
        for (field, count) in [("succeeded", counts.0), ("failed", counts.1)] {
            if count > 0 {
                object["status"][field] = count.into();
            }
        }
    });
    if end == "Complete" {
        state.event(job, COMPONENT, "Normal", "Completed", "Job completed");
    } else {
        state.event(job, COMPONENT, "Warning", reason, message);
    }
}
